"""The client against a service that runs with a worker: a video is sent, watched, corrected and exported."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from service_fixtures import served

from indexing import wire
from indexing.client import Client, ServiceError
from tracker.errors import FacetrackError

TOKEN = "a token that nobody guesses"


@pytest.fixture(scope="module")
def service(short_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("client")
    roots = ["--root", str(short_clip.parent)]
    with served("--db", str(folder / "a.db"), *roots, "--workers", "1", token=TOKEN) as (address, process):
        yield address
    assert process.returncode == 0


@pytest.fixture(scope="module")
def client(service: str) -> Iterator[Client]:
    with Client(service, TOKEN) as opened:
        yield opened


@pytest.fixture(scope="module")
def job(client: Client, short_clip: Path) -> wire.Job:
    """A clip, sent and analysed."""
    sent = client.upload(short_clip, preset="fast", emotion="none")
    *states, last = client.watch(sent.id)
    assert [one.state for one in states][:1] in (["queued"], ["running"])
    assert [one.frames_done for one in states] == sorted(one.frames_done for one in states)
    return last


def test_a_video_is_sent_and_analysed(client: Client, job: wire.Job) -> None:
    assert (job.state, job.name) == ("done", "short.mp4"), job.message
    assert job.video is not None
    video = client.video(job.video)
    assert (video.name, video.frame_count, video.there) == ("short.mp4", job.frames_total, True)
    assert len(list(client.people())) == 2


def test_the_same_again_is_the_job_that_is_there(client: Client, job: wire.Job, short_clip: Path) -> None:
    settings = {"preset": "fast", "emotion": "none"}
    assert client.upload(short_clip, **settings).id == job.id
    assert client.add(str(short_clip), **settings).id == job.id
    assert [one.id for one in client.jobs()] == [job.id]


def test_people_are_asked_for_and_corrected(client: Client, job: wire.Job) -> None:
    first, second = client.people()
    assert client.person(first.id) == first
    assert client.thumbnail(first.id).startswith(b"\xff\xd8")
    before = client.revision()
    assert client.revision() == before
    assert client.name(first.id, "Ada").entry.name == "Ada"
    assert client.revision() != before
    with pytest.raises(ServiceError, match="share frame") as refused:
        client.merge(second.id, first.id)
    assert refused.value.problem.status == 409
    assert refused.value.problem.reasons
    assert [told.entry.kind for told in client.undo()] == ["name"]
    assert client.person(first.id).name is None
    assert {one.label for one in client.companions(first.id)} == {second.label}
    assert sum(one.end - one.start for one in client.together(first.id, second.id)) > 0.5
    assert sum(one.end - one.start for one in client.appearances(first.id)) == pytest.approx(first.screen_time)


def test_searches_and_exports(client: Client, job: wire.Job, tmp_path: Path) -> None:
    person = next(client.people())
    (tmp_path / "face.jpg").write_bytes(client.frame(1, 40))
    answer = client.search([tmp_path / "face.jpg"])
    assert answer.items[0].matches[0].identity in {one.id for one in client.people()}
    assert client.search_person(person.id).matches[0].identity == person.id
    assert {one.name for one in client.formats()} >= {"frames", "vtt", "elan"}
    assert client.export("vtt", tmp_path / "a.vtt", videos=[1]).read_text().startswith("WEBVTT")


def test_somebody_is_enrolled_by_a_photograph(client: Client, job: wire.Job, tmp_path: Path) -> None:
    (tmp_path / "two.jpg").write_bytes(client.frame(1, 40))
    with pytest.raises(ServiceError, match=r"^two\.jpg: 2 faces"):
        client.enroll("Grace", [tmp_path / "two.jpg"])
    face = client.boxes(1, start=1.6, end=1.62).tracks[0]
    x, y, width, height = face.boxes[0]
    sides = x - width / 2, y - height / 2, x + 1.5 * width, y + 1.5 * height
    with Image.open(tmp_path / "two.jpg") as picture:
        picture.crop(sides).save(tmp_path / "face.jpg", quality=95)
    before = client.stats().people
    told = client.enroll("Grace", [tmp_path / "face.jpg"])
    assert (told.entry.kind, told.entry.name) == ("enroll", "Grace")
    assert client.stats().people == before
    assert [one.name for one in client.people(q="grace")] == ["Grace"]
    client.undo()
    assert list(client.people(q="grace")) == []


def test_who_is_who_is_said_anew(client: Client, job: wire.Job) -> None:
    told = client.recluster(dry_run=True)
    assert (told.dry_run, told.moved, told.transfers) == (True, 0, [])
    assert client.recluster(clusterer="constrained", far=1e-2).moved == 0
    with pytest.raises(ServiceError, match="too few to calibrate from"):
        client.calibrate()
    with pytest.raises(ServiceError, match="was not calibrated"):
        client.calibration()


def test_what_is_no_video_is_not_kept(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(ServiceError, match=r"a\.mp4"):
        client.upload(tmp_path / "a.mp4")
    with pytest.raises(ServiceError, match="allowed root"):
        client.add(str(tmp_path / "a.mp4"))


def test_a_job_that_ended_is_not_cancelled(client: Client, job: wire.Job) -> None:
    with pytest.raises(ServiceError, match="done"):
        client.cancel(job.id)
    with pytest.raises(ServiceError, match="no job"):
        client.wait(job.id + 100)


def test_the_token_is_needed_and_the_page_asks_for_it(service: str) -> None:
    with Client(service) as stranger, pytest.raises(ServiceError, match="token"):
        stranger.stats()
    answer = httpx.get(service, headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login?next=/")
    assert httpx.get(f"{service}/login", headers={"Accept": "text/html"}).status_code == 200


def test_what_is_no_service_is_told(service: str) -> None:
    with Client(f"{service}/elsewhere", TOKEN) as lost, pytest.raises(FacetrackError, match="Not Found"):
        lost.health()


def test_a_service_ends_when_it_is_told_to(tmp_path: Path) -> None:
    # By SIGINT the service of the other tests ends.
    with served("--db", str(tmp_path / "a.db"), "--workers", "1") as (address, process):
        assert httpx.get(f"{address}/api/v1/health").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_a_foreign_address_without_a_token_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from indexing.cli import main; main()", "serve", "--host", "0.0.0.0"]
    ended = subprocess.run(
        [*command, "--db", str(tmp_path / "a.db")], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 1
    assert "--token-file" in ended.stderr
    assert not (tmp_path / "a.db").exists()
