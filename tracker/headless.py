"""OpenCV on a bare server: its wheels ask the system for libraries that serve windows, which facetrack never opens.

Where such a library is missing, the loader is handed an empty one of its name before ``cv2`` is imported. Modules take
``cv2`` from here, and do so before they import MediaPipe or deepface, which import it too.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import platform
import struct
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tracker.errors import FacetrackError

LIBRARIES = ("libGL.so.1", "libglib-2.0.so.0", "libgthread-2.0.so.0")
"""What the OpenCV wheels with windows ask of the system, and a bare server does not have."""

_MACHINES = {"x86_64": 62, "aarch64": 183}
_LARGEST_PAGE = 0x10000


def empty_library(soname: str, *, machine: str) -> bytes:
    """Return a 64-bit little-endian ELF shared object that has a name and nothing else.

    System V ABI, chapters 4 and 5. Nothing in it is executable, so that a folder mounted ``noexec`` can hold it.

    Args:
        soname: Its name, by which the loader takes it for the library that others ask for.
        machine: ``x86_64`` or ``aarch64``.

    Raises:
        KeyError: if the machine is another one.
    """
    strings = b"\0" + soname.encode() + b"\0"
    symbols = 64 + 3 * 56
    table = symbols + 24
    dynamic = table + len(strings) + -(table + len(strings)) % 8
    soname_strtab_strsz_symtab_syment = [(14, 1), (5, table), (10, len(strings)), (6, symbols), (11, 24)]
    entries = b"".join(struct.pack("<qQ", *entry) for entry in [*soname_strtab_strsz_symtab_syment, (0, 0)])
    segments = [
        _segment(1, 0, dynamic + len(entries), align=_LARGEST_PAGE),  # LOAD
        _segment(2, dynamic, len(entries), align=8),  # DYNAMIC
        _segment(0x6474E551, 0, 0, align=16),  # GNU_STACK: without it the loader asks for an executable stack
    ]
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 3, _MACHINES[machine], 1, 0, 64, 0, 0, 64, 56, 3, 64, 0, 0)
    named = header + b"".join(segments) + bytes(24) + strings
    return named.ljust(dynamic, b"\0") + entries


def _segment(kind: int, start: int, size: int, *, align: int) -> bytes:
    read_write = 6  # the loader relocates the dynamic section in place
    return struct.pack("<IIQQQQQQ", kind, read_write, start, start, start, size, size, align)


def missing_libraries(names: Sequence[str] = LIBRARIES) -> list[str]:
    """Return those of ``names`` that the system lacks and an empty library can stand in for; none beside Linux."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return []
    return [name for name in names if not _loads(name)]


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def stand_in(names: Sequence[str]) -> None:
    """Load an empty library for each of ``names``: glibc takes a library as loaded once one of its name is.

    Raises:
        OSError: if no temporary folder can be written to, or the loader refuses the libraries.
    """
    # Files, as many builds of Python have no memfd_create; once they are loaded, the loader needs them no more.
    with tempfile.TemporaryDirectory(prefix="facetrack-") as folder:
        for name in names:
            path = Path(folder, name)
            path.write_bytes(empty_library(name, machine=platform.machine()))
            ctypes.CDLL(str(path))


def import_cv2() -> None:
    """Import ``cv2`` though libraries of the system may be missing.

    Raises:
        ImportError: if OpenCV is not installed.
        FacetrackError: if it cannot be imported without what is missing.
    """
    missing = [] if "cv2" in sys.modules else missing_libraries()
    if not missing:
        importlib.import_module("cv2")
        return
    flags = sys.getdlopenflags()
    # Python binds functions as it loads a module, those of missing libraries too; lazily, it is when they are called.
    sys.setdlopenflags(os.RTLD_LAZY)
    try:
        with contextlib.suppress(OSError):  # OpenCV may be one without windows, which asks for none of them
            stand_in(missing)
        importlib.import_module("cv2")
    except ModuleNotFoundError:
        raise
    except ImportError as error:
        raise FacetrackError(
            f"OpenCV cannot be imported ({error}): this system lacks {', '.join(missing)}; "
            "install them, on Debian and Ubuntu with `apt install libgl1 libglib2.0-0`"
        ) from error
    finally:
        sys.setdlopenflags(flags)


import_cv2()
import cv2  # noqa: E402

__all__ = ["LIBRARIES", "cv2", "empty_library", "import_cv2", "missing_libraries", "stand_in"]
