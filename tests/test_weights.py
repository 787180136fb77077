"""Downloads from a loopback server, and where files are looked for."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from tracker import weights
from tracker.errors import ModelError

CONTENT = bytes(range(256)) * 3000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _Server(http.server.ThreadingHTTPServer):
    """Serves `CONTENT` at any path; the next answer ends after ``cut`` bytes if that is set."""

    cut: int | None = None
    ranges = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/model.bin"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.seen.append(asked)
        if self.path.endswith("missing"):
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, self.server.cut = self.server.cut, None
        self.wfile.write(body[:cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACETRACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FACETRACK_MODELS", raising=False)


def _download(url: str, target: Path, *, digest: str = DIGEST, progress: weights.Progress | None = None) -> Path:
    return weights.download(url, target, sha256_wanted=digest, size=len(CONTENT), progress=progress)


def test_download_is_whole_and_reports_progress(server: _Server, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    target = _download(server.url, tmp_path / "new" / "m.bin", progress=lambda *step: steps.append(step))
    assert target.read_bytes() == CONTENT
    assert os.listdir(target.parent) == ["m.bin"]  # noqa: PTH208 - hidden files count too
    assert [here for here, _ in steps] == sorted(here for here, _ in steps)
    assert steps[-1] == (len(CONTENT), len(CONTENT))


def test_second_download_asks_nobody(server: _Server, tmp_path: Path) -> None:
    _download(server.url, tmp_path / "m.bin")
    _download(server.url, tmp_path / "m.bin")
    assert len(server.seen) == 1


def test_interrupted_download_resumes(server: _Server, tmp_path: Path) -> None:
    server.cut = 300_000
    with pytest.raises(ModelError, match="run the command again"):
        _download(server.url, tmp_path / "m.bin")
    assert not (tmp_path / "m.bin").exists()
    kept = (tmp_path / "m.bin.part").stat().st_size
    assert 0 < kept <= 300_000
    assert _download(server.url, tmp_path / "m.bin").read_bytes() == CONTENT
    assert server.seen == [None, f"bytes={kept}-"]


def test_server_without_ranges_starts_over(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "m.bin.part").write_bytes(CONTENT[:1000])
    server.ranges = False
    assert _download(server.url, tmp_path / "m.bin").read_bytes() == CONTENT


def test_wrong_hash_is_refused_and_leaves_nothing(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="another file"):
        _download(server.url, tmp_path / "m.bin", digest="0" * 64)
    assert not list(tmp_path.glob("m.bin*"))


def test_damaged_part_is_refused_and_the_next_attempt_succeeds(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "m.bin.part").write_bytes(b"x" * 1000)
    with pytest.raises(ModelError, match="another file"):
        _download(server.url, tmp_path / "m.bin")
    assert _download(server.url, tmp_path / "m.bin").read_bytes() == CONTENT


def test_part_that_is_too_long_starts_over(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "m.bin.part").write_bytes(CONTENT + b"more")
    assert _download(server.url, tmp_path / "m.bin").read_bytes() == CONTENT


def test_damaged_target_is_replaced(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "m.bin").write_bytes(b"old")
    assert _download(server.url, tmp_path / "m.bin").read_bytes() == CONTENT


def test_concurrent_downloads_share_one(server: _Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        paths = list(pool.map(lambda _: _download(server.url, tmp_path / "m.bin"), range(6)))
    assert {path.read_bytes() == CONTENT for path in paths} == {True}
    assert len(server.seen) == 1


def test_file_url(tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(CONTENT)
    (tmp_path / "m.bin.part").write_bytes(CONTENT[:99])
    assert _download(source.as_uri(), tmp_path / "m.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/nobody", "file:///no/such/file", "{server}/missing"])
def test_unreachable_source_is_one_clear_error(server: _Server, tmp_path: Path, url: str) -> None:
    with pytest.raises(ModelError, match="cannot fetch"):
        _download(url.format(server=server.url), tmp_path / "m.bin")
    assert not (tmp_path / "m.bin").exists()


def test_pull_by_name_into_the_cache(server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = replace(weights.get("yunet"), url=server.url, sha256=DIGEST, size=len(CONTENT))
    monkeypatch.setattr(weights, "REGISTRY", MappingProxyType({"yunet": ours}))
    assert weights.locate("yunet") is None
    pulled = weights.pull("yunet")
    assert pulled == weights.find("yunet") == tmp_path / "cache" / "weights" / ours.file
    assert pulled.read_bytes() == CONTENT


def test_pull_of_what_a_package_brings_needs_no_network() -> None:
    assert weights.pull("dlib") == weights.find("dlib")


def test_pull_of_what_nobody_offers_says_what_to_do() -> None:
    with pytest.raises(ModelError, match="FACETRACK_MODELS"):
        weights.pull("mobilefacenet")


def test_missing_weights_name_the_command() -> None:
    with pytest.raises(ModelError, match="facetrack models pull yunet"):
        weights.find("yunet")


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ModelError, match=r"'nosuch'.*centerface.*yunet"):
        weights.find("nosuch")


def test_given_folders_come_first_and_are_searched_deeply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = weights.find("centerface")
    for folder in ("argument/deep/er", "environment"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "centerface.onnx").write_bytes(packaged.read_bytes())
    monkeypatch.setenv("FACETRACK_MODELS", str(tmp_path / "environment"))
    assert weights.find("centerface").parent == tmp_path / "environment"
    assert weights.find("centerface", models_dir=tmp_path / "argument").parent == tmp_path / "argument/deep/er"


def test_another_file_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / weights.get("yunet").file).write_bytes(b"not it")
    with pytest.raises(ModelError, match="SHA-256"):
        weights.find("yunet", models_dir=tmp_path)


def test_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        weights.find("yunet", models_dir=tmp_path / "nowhere")


@pytest.mark.parametrize("name", [name for name, known in weights.REGISTRY.items() if known.package])
def test_registry_matches_the_packages(name: str) -> None:
    path = weights.find(name)
    assert (path.stat().st_size, weights.sha256(path)) == (weights.get(name).size, weights.get(name).sha256)


def test_registry_matches_the_shared_models() -> None:
    shared = Path(__file__).parents[2] / "shared" / "models"
    if not shared.is_dir():
        pytest.skip("the folder of shared models is not here")
    checked = 0
    for known in weights.REGISTRY.values():
        for path in shared.rglob(known.file):
            assert (path.stat().st_size, weights.sha256(path)) == (known.size, known.sha256)
            checked += 1
    assert checked


def test_atomic_write_replaces_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    for data in (b"one", b"two"):
        weights.write_atomically(tmp_path / "deep" / "file", data)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]
    assert (tmp_path / "deep" / "file").read_bytes() == b"two"


def test_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelError, match="FACETRACK_CACHE"):
        weights.write_atomically(tmp_path / "file" / "below", b"data")
