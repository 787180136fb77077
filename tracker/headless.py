"""OpenCV on a bare server: its wheels ask the system for libraries that only serve windows, which facetrack never opens.

Where such a library is missing, the loader is handed an empty one of its name before ``cv2`` is imported.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import struct
import sys
from collections.abc import Sequence
from contextlib import ExitStack

_MACHINES = {"x86_64": 62, "aarch64": 183}
LIBRARIES = ("libGL.so.1", "libglib-2.0.so.0", "libgthread-2.0.so.0")
"""What the OpenCV wheels with windows ask of the system, and a bare server does not have."""

_PAGE = 0x10000


def empty_library(soname: str, *, machine: str) -> bytes:
    """Return a 64-bit little-endian ELF shared object that has a name and nothing else (System V ABI, chapters 4 and 5).

    Args:
        soname: Its name, by which the loader takes it for the library that others ask for.
        machine: ``x86_64`` or ``aarch64``.

    Raises:
        KeyError: if the machine is another one.
    """
    strings = b"\0" + soname.encode() + b"\0"
    headers = 64 + 3 * 56
    symbols, table = headers, headers + 24
    dynamic = table + len(strings) + -(table + len(strings)) % 8
    entries = [(14, 1), (5, table), (10, len(strings)), (6, symbols), (11, 24), (0, 0)]  # SONAME STRTAB STRSZ SYMTAB SYMENT
    end = dynamic + 16 * len(entries)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 3, _MACHINES[machine], 1, 0, 64, 0, 0, 64, 56, 3, 64, 0, 0)
    read_write = 6  # the loader relocates the dynamic section in place
    segments = [
        (1, read_write, 0, end, _PAGE),  # LOAD
        (2, read_write, dynamic, end - dynamic, 8),  # DYNAMIC
        (0x6474E551, read_write, 0, 0, 16),  # GNU_STACK: without it the loader asks for an executable stack
    ]
    programs = b"".join(struct.pack("<IIQQQQQQ", kind, flags, at, at, at, size, size, align) for kind, flags, at, size, align in segments)
    body = header + programs + bytes(24) + strings
    return body.ljust(dynamic, b"\0") + b"".join(struct.pack("<qQ", *entry) for entry in entries)


def import_cv2(libraries: Sequence[str] = LIBRARIES) -> list[str]:
    """Import ``cv2`` though ``libraries`` may be missing; return those for which an empty one stands in.

    glibc takes a library as loaded once one of its name is. The functions in it are looked up when they are called, which
    they never are, if modules are bound lazily; Python's own way is to bind them at once.

    Raises:
        ImportError: if cv2 cannot be imported for another reason.
    """
    missing = [name for name in libraries if sys.platform == "linux" and not _loads(name)]
    flags = sys.getdlopenflags() if missing else 0
    # All files stay open meanwhile, as the loader knows a file by its path too, and a closed one's number is used again.
    with ExitStack() as files:
        for name in missing:
            file = files.enter_context(os.fdopen(os.memfd_create(name), "wb", buffering=0))
            file.write(empty_library(name, machine=platform.machine()))
            ctypes.CDLL(f"/proc/self/fd/{file.fileno()}", mode=ctypes.RTLD_GLOBAL)
        if missing:
            files.callback(sys.setdlopenflags, flags)
            sys.setdlopenflags(os.RTLD_LAZY)
        importlib.import_module("cv2")
    return missing


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


import_cv2()
import cv2  # noqa: E402

__all__ = ["LIBRARIES", "cv2", "empty_library", "import_cv2"]
