"""Jobs over HTTP without a worker: what is sent is kept once, what happens is told, and nothing bad stays."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fakes import make_result
from service_fixtures import asking, live

from indexing import gallery
from indexing.jobs import JobQueue
from indexing.server import create_app
from indexing.server.context import Cache
from indexing.server.uploads import Uploads
from indexing.store import Store
from tracker.video import content_hash


@pytest.fixture
def photo() -> Path:
    from matplotlib.cbook import get_sample_data

    return Path(get_sample_data("grace_hopper.jpg", asfileobj=False))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    app = create_app(tmp_path / "a.db", roots=[tmp_path], uploads=tmp_path / "kept", page=False)
    with live(app) as address, asking(f"{address}/api/v1", timeout=60) as client:
        yield client


def send(service: httpx.Client, name: str, data: bytes, **fields: str) -> httpx.Response:
    return service.post("/uploads", files={"file": (name, data)}, data=fields)


def kept(folder: Path) -> list[Path]:
    return [path for path in (folder / "kept").rglob("*") if path.is_file() or path.name.startswith(".")]


def test_what_is_sent_is_kept_by_its_content(service: httpx.Client, photo: Path, tmp_path: Path) -> None:
    first = send(service, "../../evil/../Grace.jpg", photo.read_bytes())
    assert first.status_code == 202, first.text
    job = first.json()
    assert (job["state"], job["name"]) == ("queued", "Grace.jpg")
    assert job["content_hash"] == hashlib.sha256(photo.read_bytes()).hexdigest()
    [path] = kept(tmp_path)
    assert path.read_bytes() == photo.read_bytes()
    assert Path(job["path"]) == path
    again = send(service, "other-name.jpg", photo.read_bytes())
    assert (again.status_code, again.json()["id"]) == (200, job["id"])
    assert kept(tmp_path) == [path]


def test_settings_come_as_json(service: httpx.Client, photo: Path) -> None:
    job = send(service, "a.jpg", photo.read_bytes(), settings='{"preset": "fast", "emotion": "none"}').json()
    assert (job["settings"]["preset"], job["settings"]["emotion"]) == ("fast", None)
    for wrong in ("{", '{"preset": "slow"}', '{"detector": "os:system"}', '{"unknown": 1}', "[]"):
        assert send(service, "a.jpg", photo.read_bytes(), settings=wrong).status_code == 422, wrong


def part(disposition: str) -> bytes:
    return f"--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\nx".encode()


END = b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"--b--\r\n",
        b"--b\r\n\r\n",
        part('name="file"; filename="a.jpg"'),
        part('name="file"') + END,
        part('name="other"; filename="a.jpg"') + END,
        part('name="file"; filename="a.jpg"') + b"\r\n" + part('name="file"; filename="b.jpg"') + END,
    ],
)
def test_a_damaged_form_leaves_nothing(service: httpx.Client, tmp_path: Path, body: bytes) -> None:
    answer = service.post("/uploads", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 422
    assert service.post("/uploads", json={}).status_code == 422
    assert kept(tmp_path) == []


def test_a_file_goes_when_nobody_needs_it_any_more(service: httpx.Client, photo: Path, tmp_path: Path) -> None:
    job = send(service, "a.jpg", photo.read_bytes()).json()
    with Store(tmp_path / "a.db") as store:
        result = make_result(job["path"], [(0, 0, 1)], frames=1, is_image=True, content_hash=job["content_hash"])
        video = store.add_video(result)
        assert service.delete(f"/videos/{video}").status_code == 204
        assert kept(tmp_path) == [Path(job["path"])], "the job still waits"
        service.post(f"/jobs/{job['id']}/cancel")
        assert service.delete(f"/videos/{store.add_video(result)}").status_code == 204
    assert kept(tmp_path) == []


def test_settings_that_are_refused_leave_nothing(service: httpx.Client, photo: Path, tmp_path: Path) -> None:
    assert send(service, "a.jpg", photo.read_bytes(), settings='{"detector": "os:system"}').status_code == 422
    assert kept(tmp_path) == []


def uploads(folder: Path, store: Store) -> Uploads:
    return Uploads(folder / "kept", store, JobQueue(store))


def test_a_file_outlives_its_job_for_a_while_and_a_retry_says_what_to_do(
    service: httpx.Client, photo: Path, tmp_path: Path
) -> None:
    job = send(service, "a.jpg", photo.read_bytes()).json()
    with Store(tmp_path / "a.db") as store:
        tidy, none = uploads(tmp_path, store), timedelta(seconds=-1)
        tidy.discard_ended(none)
        assert kept(tmp_path) == [Path(job["path"])], "the job waits"
        service.post(f"/jobs/{job['id']}/cancel")
        tidy.discard_ended()
        assert service.post(f"/jobs/{job['id']}/retry").json()["state"] == "queued"
        claimed = JobQueue(store).claim("a worker")
        assert claimed is not None
        tidy.discard_ended(none)
        JobQueue(store).finish(claimed.job_id, worker="a worker", state="failed", message="no memory")
        again = Path(shutil.copy(photo, tmp_path / "again.jpg"))
        with tidy.holding(again, job["content_hash"]) as path:
            tidy.discard_ended(none)
            assert path.is_file(), "somebody is sending the same again"
        assert kept(tmp_path) == []
    refused = service.post(f"/jobs/{job['id']}/retry")
    assert refused.status_code == 409
    assert "a.jpg is gone; put it back, or send it again" in refused.json()["detail"]
    assert send(service, "a.jpg", photo.read_bytes()).json()["id"] == job["id"] + 1


def test_a_file_that_a_video_or_another_job_needs_stays(service: httpx.Client, photo: Path, tmp_path: Path) -> None:
    first = send(service, "a.jpg", photo.read_bytes()).json()
    second = send(service, "a.jpg", photo.read_bytes(), settings='{"preset": "fast"}').json()
    assert first["path"] == second["path"]
    with Store(tmp_path / "a.db") as store:
        tidy, none = uploads(tmp_path, store), timedelta(seconds=-1)
        service.post(f"/jobs/{first['id']}/cancel")
        tidy.discard_ended(none)
        assert kept(tmp_path) == [Path(first["path"])]
        result = make_result(first["path"], [(0, 0, 1)], frames=1, is_image=True, content_hash=first["content_hash"])
        video = store.add_video(result)
        service.post(f"/jobs/{second['id']}/cancel")
        tidy.discard_ended(none)
        assert kept(tmp_path) == [Path(first["path"])]
        store.remove_video(video)
        tidy.discard_ended(none)
    assert kept(tmp_path) == []


def test_only_what_was_uploaded_is_deleted(tmp_path: Path) -> None:
    films = tmp_path / "kept" / "films"
    films.mkdir(parents=True)
    (films / "a.mp4").write_bytes(b"a")
    with Store(tmp_path / "a.db") as store:
        queue = JobQueue(store)
        queue.cancel(queue.submit(films / "a.mp4").job_id)
        uploads(tmp_path, store).discard_ended(timedelta(seconds=-1))
    assert (films / "a.mp4").is_file()


def test_a_service_that_begins_deletes_what_nobody_needs(photo: Path, tmp_path: Path) -> None:
    place = tmp_path / "kept" / content_hash(photo)[:32]
    place.mkdir(parents=True)
    (place / "a.jpg").write_bytes(photo.read_bytes())
    with Store(tmp_path / "a.db") as store, closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        queue = JobQueue(store)
        queue.cancel(queue.submit(place / "a.jpg").job_id)
        connection.execute("UPDATE jobs SET finished_at = '2020-01-01T00:00:00+00:00'")
        connection.commit()
    with live(create_app(tmp_path / "a.db", uploads=tmp_path / "kept", page=False)):
        until(lambda: kept(tmp_path) == [])


def test_a_client_that_goes_away_leaves_nothing(
    service: httpx.Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    address = service.base_url
    head = f"POST /api/v1/uploads HTTP/1.1\r\nHost: {address.host}\r\nContent-Length: 10000\r\n"
    with caplog.at_level(logging.INFO):
        with socket.create_connection((address.host, address.port or 80)) as connection:
            connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode())
            connection.sendall(part('name="file"; filename="a.mp4"') * 2)
            until(lambda: kept(tmp_path) != [])
        until(lambda: kept(tmp_path) == [])
        until(lambda: "POST /api/v1/uploads 499" in caplog.text)
    assert "unexpected" not in caplog.text


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_was_received_in_part_is_removed(tmp_path: Path) -> None:
    rest = tmp_path / "kept" / ".incoming-x"
    rest.mkdir(parents=True)
    (rest / "a.mp4").write_bytes(b"a part")
    with live(create_app(tmp_path / "a.db", uploads=tmp_path / "kept", page=False)):
        assert kept(tmp_path) == []


def test_what_is_no_media_is_not_kept(service: httpx.Client, tmp_path: Path) -> None:
    answer = send(service, "a.mp4", b"no video")
    assert (answer.status_code, "a.mp4" in answer.json()["detail"]) == (422, True)
    assert str(tmp_path) not in answer.text
    assert kept(tmp_path) == []


def test_jobs_are_listed_in_parts_and_cancelled(service: httpx.Client, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(bytes([number]))
        service.post("/jobs", json={"path": str(tmp_path / f"{number}.mp4")})
    page = service.get("/jobs", params={"limit": 2}).json()
    rest = service.get("/jobs", params={"limit": 2, "cursor": page["next"]}).json()
    assert [job["id"] for job in page["items"] + rest["items"]] == [1, 2, 3]
    assert rest["next"] is None
    assert service.post("/jobs/2/cancel").json()["state"] == "cancelled"
    assert service.post("/jobs/2/cancel").status_code == 409
    assert [job["id"] for job in service.get("/jobs", params={"state": "cancelled"}).json()["items"]] == [2]
    assert service.post("/jobs/2/retry").json()["state"] == "queued"
    assert service.get("/stats").json()["jobs"]["queued"] == 3


# ---- events


@contextmanager
def events(service: httpx.Client, path: str, **headers: str) -> Iterator[Iterator[tuple[str, dict[str, object]]]]:
    with service.stream("GET", path, headers=headers, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield _events(answer)


def _events(answer: httpx.Response) -> Iterator[tuple[str, dict[str, object]]]:
    name = ""
    for line in answer.iter_lines():
        if line.startswith("event:"):
            name = line.removeprefix("event:").strip()
        elif line.startswith("data:"):
            yield name, json.loads(line.removeprefix("data:"))


def test_a_job_is_watched_until_it_ends(service: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a")
    job = service.post("/jobs", json={"path": str(tmp_path / "a.mp4")}).json()
    with Store(tmp_path / "a.db") as store, events(service, f"/jobs/{job['id']}/events") as seen:
        queue = JobQueue(store)
        assert next(seen)[1]["state"] == "queued"
        queue.claim("a worker")
        assert next(seen)[1]["state"] == "running"
        queue.advance(job["id"], 5, 10, worker="a worker")
        assert next(seen)[1]["frames_done"] == 5
        queue.finish(job["id"], worker="a worker", state="failed", message="no video")
        assert [(name, told["state"], told["message"]) for name, told in seen] == [("job", "failed", "no video")]


def test_all_changes_are_watched_and_none_is_lost_by_a_break(service: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a")
    job = service.post("/jobs", json={"path": str(tmp_path / "a.mp4")}).json()
    service.post(f"/jobs/{job['id']}/cancel")
    with events(service, "/events", **{"Last-Event-ID": str(job["revision"])}) as seen:
        name, told = next(seen)
        assert (name, told["state"]) == ("job", "cancelled")
    with Store(tmp_path / "a.db") as store, events(service, "/events") as seen:
        store.add_video(make_result())
        assert next(seen) == ("people", {})
        store.assign([(None, [1])])
        gallery.name(store, 1, "Ada")
        assert next(seen) == ("people", {})


# ---- answers that are kept


def test_many_readers_cost_as_much_as_one() -> None:
    revision, built = ["a"], list[str]()
    cache = Cache(lambda: revision[0])
    started = threading.Barrier(8)

    def build() -> str:
        built.append(revision[0])
        return revision[0]

    def read() -> None:
        started.wait()
        for _ in range(50):
            cache.get("key", build)

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert built == ["a"]
    revision[0] = "b"
    assert cache.get("key", build) == "b"
    assert built == ["a", "b"]


def test_a_change_while_an_answer_is_made_makes_it_old() -> None:
    revision = ["a"]
    cache = Cache(lambda: revision[0])

    def build() -> str:
        made = revision[0]
        revision[0] = "b"
        return made

    assert cache.get("key", build) == "a"
    assert cache.get("key", build) == "b"


def test_no_more_is_kept_than_allowed_and_an_error_is_not_kept() -> None:
    cache, built = Cache(lambda: "a", most=2), list[int]()
    for key in (1, 2, 3, 1):
        cache.get(key, lambda key=key: built.append(key))
    assert built == [1, 2, 3, 1]
    with pytest.raises(ZeroDivisionError):
        cache.get("error", lambda: 1 // 0)
    assert cache.get("error", lambda: 5) == 5
