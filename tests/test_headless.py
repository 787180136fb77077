"""OpenCV where the system lacks the libraries of its windows."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tracker.headless import LIBRARIES, empty_library, missing_libraries

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is Linux's loader that is helped")

USE = """
from tracker.headless import cv2
import numpy, sys
print(cv2.resize(numpy.zeros((4, 4), numpy.uint8), (2, 2)).shape, sys.getdlopenflags())
"""


def write(path: Path, soname: str) -> Path:
    path.write_bytes(empty_library(soname, machine=platform.machine()))
    return path


def python(code: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(env or {})}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment as on a bare server: the loader finds empty files first and takes no others."""
    folder = tmp_path / "nothing"
    folder.mkdir()
    for name in LIBRARIES:
        (folder / name).touch()
    return {"LD_LIBRARY_PATH": str(folder)}


def test_the_loader_takes_the_empty_library(tmp_path: Path) -> None:
    library = ctypes.CDLL(str(write(tmp_path / "nothing.so", "libnothing.so.7")))
    with pytest.raises(AttributeError):
        library.anything  # noqa: B018


def test_no_other_machine_is_guessed_at() -> None:
    with pytest.raises(KeyError, match="riscv64"):
        empty_library("libnothing.so.7", machine="riscv64")


def test_only_what_the_system_lacks_is_missing() -> None:
    assert missing_libraries(["libc.so.6", "libfacetrackabsent.so.1"]) == ["libfacetrackabsent.so.1"]


def test_it_stands_in_for_the_library_that_another_one_asks_for(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler to make a library that asks for another")
    wanted, asks = tmp_path / "wanted.c", tmp_path / "asks.c"
    wanted.write_text("void window(void) {}\n")
    asks.write_text("void window(void); int works(void) { return 42; } void open_window(void) { window(); }\n")
    shared = [compiler, "-shared", "-fPIC", "-Wl,-z,lazy", "-o"]
    subprocess.run([*shared, "wanted.so", wanted, "-Wl,-soname,libfacetracktest.so.1"], cwd=tmp_path, check=True)
    subprocess.run([*shared, "asks.so", asks, "wanted.so"], cwd=tmp_path, check=True)
    without = f"import ctypes, os; print(ctypes.CDLL({str(tmp_path / 'asks.so')!r}, mode=os.RTLD_LAZY).works())"
    assert "libfacetracktest.so.1: cannot open shared object file" in python(without).stderr
    done = python("from tracker.headless import stand_in; stand_in(['libfacetracktest.so.1'])\n" + without)
    assert (done.stdout, done.stderr) == ("42\n", "")


def test_cv2_works_where_the_libraries_are_missing(bare: dict[str, str]) -> None:
    hidden = python("import ctypes; ctypes.CDLL('libGL.so.1')", bare)
    assert "OSError" in hidden.stderr
    done = python(USE, bare)
    assert (done.stdout, done.stderr) == (f"(2, 2) {sys.getdlopenflags()}\n", "")


def test_mediapipe_and_deepface_find_the_same_cv2(bare: dict[str, str]) -> None:
    code = "from tracker.models import load; load('landmarks', 'facemesh')\n"
    code += "from tracker.models.deepface import names; assert names()['detector']\n"
    code += "import sys; print({'cv2', 'mediapipe', 'deepface'} <= sys.modules.keys())"
    done = python(code, bare)
    assert done.stdout == "True\n", done.stderr


def test_the_error_says_what_to_install(bare: dict[str, str]) -> None:
    at_once = {**bare, "LD_BIND_NOW": "1"}
    if python("import cv2", bare).returncode == 0:
        pytest.skip("this OpenCV is one without windows and asks for nothing")
    done = python(USE, at_once)
    assert "FacetrackError: OpenCV cannot be imported" in done.stderr
    assert "apt install libgl1" in done.stderr


def test_the_help_of_the_command_line_needs_none_of_it() -> None:
    done = python("import indexing.cli, sys; print({'tracker.headless', 'cv2'} & sys.modules.keys())")
    assert done.stdout == "set()\n", done.stderr
