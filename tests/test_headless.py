"""OpenCV where the system lacks the libraries of its windows."""

import ctypes
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tracker.headless import empty_library

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the loader of Linux")


def write(path: Path, soname: str) -> Path:
    path.write_bytes(empty_library(soname, machine=platform.machine()))
    return path


def test_the_loader_takes_the_empty_library(tmp_path: Path) -> None:
    library = ctypes.CDLL(str(write(tmp_path / "nothing.so", "libnothing.so.7")))
    with pytest.raises(AttributeError):
        library.anything  # noqa: B018


def test_it_stands_in_for_the_library_that_another_one_asks_for(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler to make a library that asks for another")
    stand_in = write(tmp_path / "stand-in.so", "libfacetracktest.so.1")
    source = tmp_path / "asks.c"
    source.write_text("void window(void); int works(void) { return 42; } void open_window(void) { window(); }\n")
    asks = tmp_path / "asks.so"
    link = [compiler, "-shared", "-fPIC", "-Wl,-z,lazy", "-o", asks, source, stand_in]
    subprocess.run(link, check=True)
    code = f"""
import ctypes, os
try:
    ctypes.CDLL({str(asks)!r}, mode=os.RTLD_LAZY)
    raise SystemExit("loads without")
except OSError:
    pass
ctypes.CDLL({str(stand_in)!r}, mode=ctypes.RTLD_GLOBAL)
print(ctypes.CDLL({str(asks)!r}, mode=os.RTLD_LAZY).works())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("42", 0), done.stderr


def test_cv2_works_with_a_stand_in(tmp_path: Path) -> None:
    code = """
from tracker.headless import import_cv2
print(import_cv2(["libfacetracktest.so.1"]))
import sys, cv2, numpy
print(cv2.resize(numpy.zeros((4, 4), numpy.uint8), (2, 2)).shape, sys.getdlopenflags())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["['libfacetracktest.so.1']", f"(2, 2) {sys.getdlopenflags()}"], done.stderr
