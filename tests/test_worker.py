"""Workers: what they are killed in the middle of is done all the same, and nothing that was stored is lost."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from skimage import data

from indexing import gallery, worker
from indexing.jobs import MOST_CRASHES, Job, JobQueue
from indexing.processes import MIB, environment, is_gone, name_of, resident
from indexing.store import Store
from indexing.worker import Limits, Workers, run
from tracker import models
from tracker.errors import FacetrackError

ROOMY = Limits(memory=1 << 40)
"""For workers in this process, which holds the models of all tests: one over its limit would end it."""

QUICK = {"emotion": None, "detect_every": 10}
FRAMES = 400
PATIENCE = 120.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person who sways, for longer than it takes to kill a worker."""
    path = tmp_path_factory.mktemp("clip") / "sway.mp4"
    scene = data.astronaut()[:240, 100:360, ::-1]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 240, 240, "yuv420p", Fraction(1, 25)
        for k in range(FRAMES):
            x = 10 + round(8 * np.sin(k / 20))
            picture = np.ascontiguousarray(scene[:, x : x + 240])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def photo() -> Path:
    return Path(get_sample_data("grace_hopper.jpg", asfileobj=False))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "facetrack.db") as opened:
        yield opened


@pytest.fixture
def queue(store: Store) -> JobQueue:
    return JobQueue(store)


def wait_for(queue: JobQueue, job: Job, reached: Callable[[Job], bool]) -> Job:
    deadline = time.monotonic() + PATIENCE
    while not reached(now := queue.get(job.job_id)):
        assert time.monotonic() < deadline, now
        assert not now.ended, now
        time.sleep(0.02)
    return now


def in_the_middle(job: Job) -> bool:
    return job.state == "running" and job.frames_done > 0


def ended(job: Job) -> bool:
    return job.ended


# ---- the work


def test_the_queue_is_worked_off(store: Store, queue: JobQueue, clip: Path, photo: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    jobs = [queue.submit(path, settings=QUICK) for path in (clip, text, photo)]
    run(store.path, limits=ROOMY, once=True)
    done, failed, last = (queue.get(job.job_id) for job in jobs)
    assert (done.state, done.frames_done, done.frames_total, done.attempts) == ("done", FRAMES, FRAMES, 1)
    assert done.video_id is not None
    assert store.video(done.video_id).path == clip
    assert (failed.state, failed.video_id) == ("failed", None)
    assert "not a video or picture" in str(failed.message)
    assert last.state == "done"
    assert [person.appearances for person in store.people()] == [1, 1]
    assert store.get_meta("models") == {"detector": "centerface", "embedder": "dlib"}


def test_models_are_loaded_once(
    store: Store, queue: JobQueue, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[object] = []
    load = models.load

    def spy(kind: str, spec: object, **options: object) -> object:
        if isinstance(spec, str) and kind != "landmarks":
            loaded.append(spec)
        return load(kind, spec, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(models, "load", spy)
    astronaut = tmp_path / "astronaut.png"
    cv2.imwrite(str(astronaut), data.astronaut()[:, :, ::-1])
    for path in (photo, astronaut):
        queue.submit(path, settings=QUICK)
    run(store.path, limits=ROOMY, once=True)
    assert queue.counts()["done"] == 2
    assert loaded == ["centerface", "dlib"]


def test_a_file_that_changed_since_is_not_taken(store: Store, queue: JobQueue, photo: Path, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(photo.read_bytes())
    job = queue.submit(path, settings=QUICK)
    path.write_bytes(photo.read_bytes() + b"more")
    run(store.path, limits=ROOMY, once=True)
    assert "is not the file that was submitted" in str(queue.get(job.job_id).message)
    assert store.videos() == []


def test_a_job_without_its_models_has_failed(store: Store, queue: JobQueue, photo: Path) -> None:
    job = queue.submit(photo, settings={**QUICK, "detector": "yunet"})
    run(store.path, limits=ROOMY, once=True)
    failed = queue.get(job.job_id)
    assert failed.state == "failed"
    assert "yunet" in str(failed.message)


def test_work_goes_on_while_progress_cannot_be_told(
    store: Store, queue: JobQueue, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queue.submit(clip, settings=QUICK)
    told: list[Job] = []

    def keep_others_out() -> None:
        wait_for(queue, job, in_the_middle)
        with closing(sqlite3.connect(store.path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            told.append(queue.get(job.job_id))
            time.sleep(0.5)
            told.append(queue.get(job.job_id))

    monkeypatch.setattr("indexing.database.BUSY_SECONDS", 0.05)
    other = threading.Thread(target=keep_others_out)
    other.start()
    run(store.path, limits=ROOMY, once=True)
    other.join()
    assert told[0] == told[1]
    assert queue.get(job.job_id).state == "done"


def test_a_worker_that_is_told_to_stop_takes_no_job(store: Store, queue: JobQueue, photo: Path) -> None:
    job = queue.submit(photo, settings=QUICK)
    stop = threading.Event()
    stop.set()
    run(store.path, limits=ROOMY, stop=stop)
    assert queue.get(job.job_id) == job


# ---- processes


def test_a_job_is_cancelled_in_the_middle_and_the_next_is_given_back(store: Store, queue: JobQueue, clip: Path) -> None:
    first, second = (queue.submit(clip, settings={**QUICK, "preset": preset}) for preset in ("fast", "accurate"))
    with Workers(store.path) as workers:
        wait_for(queue, first, in_the_middle)
        assert queue.cancel(first.job_id).state == "cancelled"
        wait_for(queue, second, in_the_middle)
        (pid,) = workers.pids
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    back = queue.get(second.job_id)
    assert (back.state, back.attempts, back.frames_done) == ("queued", 0, 0)
    assert queue.get(first.job_id).state == "cancelled"
    assert store.videos() == []


def test_a_job_that_kills_every_worker_has_failed_and_the_queue_goes_on(
    store: Store, queue: JobQueue, clip: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PAUSE", 0.0)
    deadly, other = queue.submit(clip, settings=QUICK), queue.submit(photo, settings=QUICK)
    with Workers(store.path) as workers:
        for attempt in range(1, MOST_CRASHES + 1):
            wait_for(queue, deadly, lambda job, n=attempt: job.state == "running" and job.attempts == n)  # type: ignore[misc]
            os.kill(workers.pids[0], signal.SIGKILL)
        assert wait_for(queue, other, ended).state == "done"
    failed = queue.get(deadly.job_id)
    assert failed.state == "failed"
    assert str(failed.message).startswith("its worker died 3 times")


@pytest.mark.skipif(not resident(), reason="this system does not tell what a process occupies")
def test_a_job_over_its_limits_has_failed(store: Store, queue: JobQueue, clip: Path, photo: Path) -> None:
    job = queue.submit(clip, settings=QUICK)
    with Workers(store.path, limits=Limits(memory=50 * MIB)):
        assert "it needs more than 50 MiB" in str(wait_for(queue, job, ended).message)
    job = queue.submit(photo)
    with Workers(store.path, limits=Limits(stall=0.1)):
        assert "no frame came for 0.1 s" in str(wait_for(queue, job, ended).message)
    assert store.videos() == []


SERVICE = """
import sys, time
from pathlib import Path
from indexing.worker import Workers
with Workers(Path(sys.argv[1])) as workers:
    print(*workers.pids, flush=True)
    time.sleep(600)
"""


@contextmanager
def service(store: Store) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Give a service in a process group of its own, and its worker; nothing of it is left."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE, str(store.path)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def wait_for_end(pid: int, name: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_gone(name):
        assert time.monotonic() < deadline, f"worker {pid} outlives its service"
        time.sleep(0.05)


@pytest.mark.skipif(not resident(), reason="this system does not tell whether a process is dead")
def test_a_service_that_is_killed_again_and_again_loses_nothing(
    store: Store, queue: JobQueue, clip: Path, photo: Path
) -> None:
    finished = queue.submit(photo, settings=QUICK)
    run(store.path, limits=ROOMY, once=True)
    job = queue.submit(clip, settings=QUICK)
    for number, with_its_worker in enumerate((True, False, True)):
        with service(store) as (process, pid):
            name = name_of(pid)
            wait_for(queue, job, in_the_middle)
            gallery.name(store, "1", f"Grace {number}")
            os.killpg(process.pid, signal.SIGKILL) if with_its_worker else process.kill()
            wait_for_end(pid, name)
        assert len(store.videos()) == 1
    with Workers(store.path):
        done = wait_for(queue, job, ended)
    # The worker that only lost its service gave the job back, which is no attempt.
    assert (done.state, done.attempts, queue.get(finished.job_id).state) == ("done", 3, "done")
    assert [entry.name for entry in store.log()] == ["Grace 0", "Grace 1", "Grace 2"]
    assert {person.identity.name for person in store.people()} == {"Grace 2", None}
    assert len(store.videos()) == 2


def test_a_negative_number_of_workers_is_refused(store: Store) -> None:
    with pytest.raises(FacetrackError, match="-1 workers cannot be started"):
        Workers(store.path, count=-1)
