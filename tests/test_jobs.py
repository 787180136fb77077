"""The queue: nothing is done twice, nothing is lost, and only who holds a job may speak for it."""

import inspect
import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from depth import bounded
from fakes import make_result
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from indexing import process
from indexing.jobs import DEFAULTS, LEASE, MOST_ATTEMPTS, MOST_CRASHES, Job, JobQueue
from indexing.store import Store
from tracker.errors import FacetrackError
from tracker.video import content_hash


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "facetrack.db") as opened:
        yield opened


@pytest.fixture
def queue(store: Store) -> JobQueue:
    return JobQueue(store)


def a_file(folder: Path, name: str = "clip.mp4", content: str = "") -> Path:
    path = folder / name
    path.write_text(content or name)
    return path


def claimed(queue: JobQueue, worker: str = "w") -> Job:
    job = queue.claim(worker)
    assert job is not None
    return job


def let_leases_run_out(store: Store) -> None:
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE jobs SET lease = lease - ?", (LEASE + 1,))


# ---- submitting


def test_a_job_says_what_it_is_of(queue: JobQueue, tmp_path: Path) -> None:
    path = a_file(tmp_path)
    job = queue.submit(path, settings={"preset": "fast"})
    assert (job.path, job.content_hash, job.state) == (path, content_hash(path), "queued")
    assert job.settings == {**DEFAULTS, "preset": "fast"}
    assert (job.frames_done, job.frames_total, job.attempts, job.video_id, job.ended) == (0, None, 0, None, False)
    assert job.created_at.endswith("+00:00")
    assert job.started_at is job.finished_at is job.message is None
    assert queue.get(job.job_id) == job


def test_the_defaults_are_those_of_process() -> None:
    options = inspect.signature(process).parameters
    assert {name: options[name].default for name in DEFAULTS} == DEFAULTS


def test_the_same_content_and_settings_are_one_job(queue: JobQueue, tmp_path: Path) -> None:
    job = queue.submit(a_file(tmp_path, "a.mp4", "same"))
    copy = a_file(tmp_path, "b.mp4", "same")
    assert queue.submit(copy) == job
    assert queue.submit(copy, settings=dict(DEFAULTS)) == job
    other = queue.submit(copy, settings={"emotion": None})
    assert other.job_id != job.job_id
    claimed(queue)
    assert queue.submit(copy).job_id == job.job_id
    assert [j.job_id for j in queue.jobs()] == [job.job_id, other.job_id]


def test_a_job_that_is_done_is_not_done_again_while_its_video_is_there(
    queue: JobQueue, store: Store, tmp_path: Path
) -> None:
    path = a_file(tmp_path)
    job = queue.submit(path)
    result = make_result(path, content_hash=job.content_hash)
    claimed(queue)
    assert queue.finish(job.job_id, worker="w", state="done", message="ok", video_id=store.add_video(result))
    assert queue.submit(path).job_id == job.job_id
    store.add_video(result, replace=True)
    assert queue.get(job.job_id).video_id is None
    assert queue.submit(path).job_id != job.job_id


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_what_came_to_nothing_may_be_submitted_again(queue: JobQueue, tmp_path: Path, ending: str) -> None:
    path = a_file(tmp_path)
    job = queue.submit(path)
    if ending == "failed":
        claimed(queue)
        queue.finish(job.job_id, worker="w", state="failed", message="no")
    else:
        queue.cancel(job.job_id)
    again = queue.submit(path)
    assert (again.state, again.job_id > job.job_id) == ("queued", True)
    with pytest.raises(FacetrackError, match=rf"job {again.job_id} is queued for the same file"):
        queue.retry(job.job_id)


def test_many_who_submit_the_same_at_once_get_one_job(queue: JobQueue, tmp_path: Path) -> None:
    path = a_file(tmp_path)
    ids: list[int] = []
    several = [threading.Thread(target=lambda: ids.append(queue.submit(path).job_id)) for _ in range(8)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join(60)
    assert len(ids) == 8
    assert len(set(ids)) == 1


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"clusterer": "auto"}, "clusterer: no setting of a job; there are detector"),
        ({"detector": "os:system"}, "'os:system' is no detector of a job"),
        ({"embedder": "centerface"}, "'centerface' is no embedder of a job; there are dlib"),
        ({"embedder": None}, "None is no embedder"),
        ({"detector": ["centerface"]}, "is no detector"),
        ({"preset": "best"}, "preset 'best' is unknown"),
        ({"preset": 3}, "preset is 3"),
        ({"detect_every": 0}, "detect_every is 0"),
        ({"detect_every": True}, "detect_every is True"),
        ({"emotion_fps": -1}, "emotion_fps is -1"),
        ({"emotion_fps": "5"}, "emotion_fps is '5'"),
        ({"emotion_fps": float("nan")}, "emotion_fps is nan"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    queue: JobQueue, tmp_path: Path, wanted: dict[str, Any], told: str
) -> None:
    with pytest.raises(FacetrackError, match=told):
        queue.submit(a_file(tmp_path), settings=wanted)
    assert queue.jobs() == []


def test_what_is_no_file_is_refused(queue: JobQueue, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FacetrackError, match="No such file"):
        queue.submit(tmp_path / "none.mp4")
    with pytest.raises(FacetrackError, match="null"):
        queue.submit(tmp_path / "a\0b.mp4")
    for name in (".", "pipe"):
        with pytest.raises(FacetrackError, match="no regular file"):
            queue.submit(tmp_path / name)


# ---- asking


def test_jobs_are_listed_in_pages_and_by_state(queue: JobQueue, tmp_path: Path) -> None:
    ids = [queue.submit(a_file(tmp_path, f"{n}.mp4")).job_id for n in range(5)]
    assert claimed(queue).job_id == ids[0]
    assert [job.job_id for job in queue.jobs(limit=2)] == ids[:2]
    assert [job.job_id for job in queue.jobs(after=ids[1], limit=2)] == ids[2:4]
    assert [job.job_id for job in queue.jobs(state="running")] == ids[:1]
    assert [job.job_id for job in queue.jobs(state="queued", after=ids[2])] == ids[3:]
    assert queue.counts() == {"queued": 4, "running": 1, "done": 0, "failed": 0, "cancelled": 0}
    with pytest.raises(FacetrackError, match="'lost' is no state of a job; there are queued"):
        queue.jobs(state="lost")


def test_changes_are_told_since_a_revision(queue: JobQueue, tmp_path: Path) -> None:
    assert queue.revision == 0
    first, second = (queue.submit(a_file(tmp_path, name)) for name in ("a.mp4", "b.mp4"))
    assert queue.changes() == [first, second]
    since = queue.revision
    assert queue.changes(since) == []
    claimed(queue)
    queue.advance(first.job_id, 7, 100, worker="w")
    (change,) = queue.changes(since)
    assert (change.job_id, change.frames_done, change.frames_total) == (first.job_id, 7, 100)
    assert change.revision == queue.revision == since + 2


def test_the_queue_changes_nothing_of_what_is_told_of_people(queue: JobQueue, store: Store, tmp_path: Path) -> None:
    before = store.revision
    job = queue.submit(a_file(tmp_path))
    claimed(queue)
    queue.advance(job.job_id, 1, 2, worker="w")
    queue.finish(job.job_id, worker="w", state="failed", message="no")
    store.set_meta("bookkeeping", 1, silent=True)
    assert store.revision == before
    store.add_video(make_result())
    after = store.revision
    store.set_meta("calibration", {"a": 1.5})
    assert len({before, after, store.revision}) == 3


def test_a_job_that_is_not_there_is_told(queue: JobQueue) -> None:
    for ask in (queue.get, queue.cancel, queue.retry):
        with pytest.raises(FacetrackError, match="there is no job 3"):
            ask(3)


# ---- workers


def test_jobs_are_claimed_in_order_and_once(queue: JobQueue, tmp_path: Path) -> None:
    ids = [queue.submit(a_file(tmp_path, f"{n}.mp4")).job_id for n in range(20)]
    taken: list[tuple[str, int]] = []

    def work(name: str) -> None:
        while job := queue.claim(name):
            taken.append((name, job.job_id))

    several = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join(60)
    assert sorted(job_id for _, job_id in taken) == ids
    for name in "abcd":
        mine = [job_id for who, job_id in taken if who == name]
        assert mine == sorted(mine)


def test_only_the_worker_at_a_job_speaks_for_it(queue: JobQueue, tmp_path: Path) -> None:
    job = queue.submit(a_file(tmp_path))
    claimed(queue, "mine")
    assert not queue.advance(job.job_id, 1, 2, worker="other")
    assert not queue.prolong(job.job_id, worker="other")
    assert not queue.finish(job.job_id, worker="other", state="done")
    assert not queue.release(job.job_id, worker="other")
    assert queue.advance(job.job_id, 1, 2, worker="mine")
    assert queue.finish(job.job_id, worker="mine", state="failed", message="no")
    assert not queue.finish(job.job_id, worker="mine", state="failed", message="twice")
    assert (queue.get(job.job_id).state, queue.get(job.job_id).message) == ("failed", "no")


def test_a_running_job_learns_that_it_is_cancelled(queue: JobQueue, tmp_path: Path) -> None:
    job = queue.submit(a_file(tmp_path))
    claimed(queue)
    assert queue.cancel(job.job_id).state == "cancelled"
    assert not queue.advance(job.job_id, 1, 2, worker="w")
    with pytest.raises(FacetrackError, match="cannot be cancelled: it is cancelled"):
        queue.cancel(job.job_id)
    assert queue.retry(job.job_id).state == "queued"
    assert not queue.advance(job.job_id, 1, 2, worker="w")


def test_a_video_that_was_stored_before_the_cancel_came_is_done(queue: JobQueue, store: Store, tmp_path: Path) -> None:
    job = queue.submit(a_file(tmp_path))
    claimed(queue)
    queue.cancel(job.job_id)
    assert not queue.finish(job.job_id, worker="w", state="failed", message="no")
    assert queue.finish(job.job_id, worker="w", state="done", video_id=store.add_video(make_result()))
    assert queue.get(job.job_id).state == "done"


def test_a_job_that_is_given_back_has_not_been_tried(queue: JobQueue, tmp_path: Path) -> None:
    job = queue.submit(a_file(tmp_path))
    claimed(queue)
    queue.advance(job.job_id, 5, 9, worker="w")
    assert queue.release(job.job_id, worker="w")
    back = queue.get(job.job_id)
    assert (back.state, back.attempts, back.frames_done, back.frames_total) == ("queued", 0, 0, None)


def test_a_job_whose_lease_ran_out_is_queued_again(queue: JobQueue, store: Store, tmp_path: Path) -> None:
    first, second = (queue.submit(a_file(tmp_path, name)) for name in ("a.mp4", "b.mp4"))
    claimed(queue, "silent")
    claimed(queue, "alive")
    assert queue.revive() == []
    let_leases_run_out(store)
    assert queue.revive(lambda worker: worker == "another", crashed=True) == []
    queue.prolong(second.job_id, worker="alive")
    assert [job.job_id for job in queue.revive()] == [first.job_id]
    assert not queue.advance(first.job_id, 1, 2, worker="silent")
    assert (claimed(queue, "next").job_id, queue.get(first.job_id).attempts) == (first.job_id, 2)


def test_a_job_that_kills_its_workers_has_failed(queue: JobQueue, tmp_path: Path) -> None:
    job = queue.submit(a_file(tmp_path))
    for _ in range(MOST_CRASHES):
        assert queue.get(job.job_id).state == "queued"
        claimed(queue)
        (left,) = queue.revive(lambda worker: worker == "w", crashed=True)
    assert (left.state, left.attempts) == ("failed", MOST_CRASHES)
    assert left.message is not None
    assert left.message.startswith("its worker died 3 times; the file may be damaged")
    assert queue.retry(job.job_id).attempts == 0
    claimed(queue)
    assert queue.revive(lambda worker: worker == "w", crashed=True)[0].state == "queued"


def test_a_service_that_starts_over_and_over_ends_the_job(queue: JobQueue, tmp_path: Path) -> None:
    job = queue.submit(a_file(tmp_path))
    for _ in range(MOST_ATTEMPTS):
        assert queue.get(job.job_id).state == "queued"
        claimed(queue)
        queue.revive(lambda _: True)
    assert queue.get(job.job_id).state == "failed"


# ---- any order


KEYS = [(content, preset) for content in "ab" for preset in ("fast", "balanced")]


class QueueMachine(RuleBasedStateMachine):
    """Compares the queue with a list of what each job should be."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name)
        self.open()
        self.jobs: dict[int, dict[str, Any]] = {}
        self.revision = 0
        self.videos = 0

    def open(self) -> None:
        self.store = Store(self.path / "a.db")
        self.queue = JobQueue(self.store)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def live(self, key: tuple[str, str]) -> list[int]:
        return [n for n, job in self.jobs.items() if job["key"] == key and job["state"] in ("queued", "running")]

    def held(self, worker: str) -> list[int]:
        return [n for n, job in self.jobs.items() if job["worker"] == worker and job["state"] == "running"]

    def wait_again(self, job_id: int, **changes: Any) -> None:
        self.jobs[job_id] |= {"state": "queued", "worker": None, "frames": 0, "video": None, **changes}

    @rule(key=st.sampled_from(KEYS))
    def submit(self, key: tuple[str, str]) -> None:
        job = self.queue.submit(a_file(self.path, key[0]), settings={"preset": key[1]})
        done = [n for n, j in self.jobs.items() if j["key"] == key and j["state"] == "done" and j["video"]]
        there = self.live(key) or done
        assert (job.job_id in there) if there else (job.job_id not in self.jobs)
        if not there:
            self.jobs[job.job_id] = {"key": key, "attempts": 0, "crashes": 0, "video": None}
            self.wait_again(job.job_id)

    @rule(worker=st.sampled_from("xyz"))
    def claim(self, worker: str) -> None:
        if self.held(worker):
            return
        waiting = [n for n, job in self.jobs.items() if job["state"] == "queued"]
        job = self.queue.claim(worker)
        assert (job.job_id if job else None) == min(waiting, default=None)
        if job:
            self.jobs[job.job_id] |= {"state": "running", "worker": worker}
            self.jobs[job.job_id]["attempts"] += 1

    @rule(worker=st.sampled_from("xyz"), data=st.data(), frames=st.integers(1, 99))
    def advance(self, worker: str, data: st.DataObject, frames: int) -> None:
        if self.jobs:
            job_id = data.draw(st.sampled_from(sorted(self.jobs)))
            mine = job_id in self.held(worker)
            assert self.queue.advance(job_id, frames, 99, worker=worker) == mine
            if mine:
                self.jobs[job_id]["frames"] = frames

    @rule(worker=st.sampled_from("xyz"), state=st.sampled_from(["done", "failed"]), data=st.data())
    def finish(self, worker: str, state: Any, data: st.DataObject) -> None:
        if self.jobs:
            job_id = data.draw(st.sampled_from(sorted(self.jobs)))
            job = self.jobs[job_id]
            late = job["worker"] == worker and job["state"] == "cancelled" and state == "done"
            mine = job_id in self.held(worker) or late
            video = self.new_video() if mine and state == "done" else None
            assert self.queue.finish(job_id, worker=worker, state=state, video_id=video) == mine
            if mine:
                job |= {"state": state, "worker": None, "video": video}

    def new_video(self) -> int:
        self.videos += 1
        return self.store.add_video(make_result(f"{self.videos}.mp4", [], frames=1))

    @rule(data=st.data())
    @precondition(lambda self: any(job["video"] for job in self.jobs.values()))
    def remove_video(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from([n for n, job in sorted(self.jobs.items()) if job["video"]]))
        self.store.remove_video(self.jobs[job_id]["video"])
        self.jobs[job_id]["video"] = None

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.jobs:
            job_id = data.draw(st.sampled_from(sorted(self.jobs)))
            if self.jobs[job_id]["state"] in ("queued", "running"):
                assert self.queue.cancel(job_id).state == "cancelled"
                self.jobs[job_id]["state"] = "cancelled"
            else:
                with pytest.raises(FacetrackError):
                    self.queue.cancel(job_id)

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        if self.jobs:
            job_id = data.draw(st.sampled_from(sorted(self.jobs)))
            job = self.jobs[job_id]
            done = any(j["key"] == job["key"] and j["state"] == "done" and j["video"] for j in self.jobs.values())
            if job["state"] in ("failed", "cancelled") and not self.live(job["key"]) and not done:
                assert self.queue.retry(job_id).state == "queued"
                self.wait_again(job_id, attempts=0, crashes=0)
            else:
                with pytest.raises(FacetrackError):
                    self.queue.retry(job_id)

    @rule(worker=st.sampled_from("xyz"))
    def stop(self, worker: str) -> None:
        for job_id in self.held(worker):
            assert self.queue.release(job_id, worker=worker)
            self.wait_again(job_id, attempts=self.jobs[job_id]["attempts"] - 1)

    @rule(worker=st.sampled_from("xyz"), crashed=st.booleans())
    def die(self, worker: str, crashed: bool) -> None:
        left = self.queue.revive(lambda name: name == worker, crashed=crashed)
        assert [job.job_id for job in left] == self.held(worker)
        for job_id in self.held(worker):
            job = self.jobs[job_id]
            job["crashes"] += crashed
            if job["crashes"] >= MOST_CRASHES:
                job |= {"state": "failed", "worker": None}
            else:
                self.wait_again(job_id)

    @rule()
    def fall_silent(self) -> None:
        let_leases_run_out(self.store)
        running = [n for n, job in self.jobs.items() if job["state"] == "running"]
        assert [job.job_id for job in self.queue.revive()] == running
        for job_id in running:
            self.wait_again(job_id)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()

    @invariant()
    def holds_what_it_should(self) -> None:
        told = {job.job_id: job for job in self.queue.jobs(limit=1000)}
        assert {n: job.state for n, job in told.items()} == {n: job["state"] for n, job in self.jobs.items()}
        for n, job in self.jobs.items():
            assert (told[n].attempts, told[n].video_id) == (job["attempts"], job["video"])
            assert (told[n].finished_at is not None) == told[n].ended
            assert told[n].state not in ("queued", "running") or told[n].frames_done == job["frames"]
        assert all(len(self.live(key)) <= 1 for key in KEYS)
        assert sum(self.queue.counts().values()) == len(told)

    @invariant()
    def every_change_is_told_once(self) -> None:
        changes = self.queue.changes(self.revision)
        revisions = [job.revision for job in changes]
        assert revisions == sorted(set(revisions))
        assert all(revision > self.revision for revision in revisions)
        self.revision = self.queue.revision
        assert max([self.revision, *revisions]) == self.revision


TestQueueInAnyOrder = QueueMachine.TestCase
TestQueueInAnyOrder.settings = bounded(12, 25)
