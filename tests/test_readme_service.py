"""What the README says of the service is run against a service."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from service_fixtures import served
from typer.testing import CliRunner

from indexing.cli import app
from tracker.video import open_video

ROOT = Path(__file__).parent.parent
ADDRESS = "http://127.0.0.1:8000"

_README = (ROOT / "README.md").read_text(encoding="utf-8")
_section = re.search(r"^## The service\n(.*?)(?=^## |\Z)", _README, re.M | re.S)

if _section is None:
    pytest.skip("the README has no section on the service", allow_module_level=True)


def fences(language: str) -> list[str]:
    assert _section is not None
    return re.findall(rf"^```{language}\n(.*?)^```", _section[1], re.M | re.S)


@pytest.fixture(scope="module")
def folder(short_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples name."""
    made = tmp_path_factory.mktemp("readme")
    shutil.copy(short_clip, made / "clip.mp4")
    with open_video(short_clip) as video:
        image = next(frame.image for frame in video if frame.index == 40)
    Image.fromarray(image[:, :, ::-1]).save(made / "photo.jpg")
    (made / ".curlrc").write_text("fail\nsilent\nshow-error\n")
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with served("--db", str(folder / "facetrack.db"), "--root", str(folder)) as (told, _):
        yield told


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("example", [fence for fence in fences("sh") if "curl" in fence])
def test_the_examples_for_curl_run(example: str, address: str, folder: Path) -> None:
    ended = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.replace(ADDRESS, address)],
        cwd=folder,
        env={**os.environ, "CURL_HOME": str(folder), "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert '"state":"done"' in ended.stdout
    assert (folder / "face.jpg").read_bytes().startswith(b"\xff\xd8")
    assert (folder / "who.vtt").read_text(encoding="utf-8").startswith("WEBVTT")


def test_the_example_in_python_runs(address: str, folder: Path) -> None:
    [example] = fences("python")
    ended = subprocess.run(
        [sys.executable, "-c", example.replace(ADDRESS, address)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "no_proxy": "*"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Person" in ended.stdout


def test_the_commands_have_their_options() -> None:
    lines = [line for fence in fences("sh") for line in fence.splitlines() if line.startswith("facetrack ")]
    assert lines
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0, line
        options = CliRunner().invoke(app, [words[0], "--help"], env={"COLUMNS": "200"}).output
        assert not [word for word in words if word.startswith("--") and word not in options], line


def test_the_token_of_the_example_is_long_enough(folder: Path) -> None:
    from indexing.server.security import read_token

    [command] = re.findall(r"python3 -c '(.*?)' > token", "".join(fences("sh")))
    token = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout
    (folder / "token").write_text(token)
    assert read_token(None, folder / "token") == token.strip()
