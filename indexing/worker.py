"""The processes that work off the queue.

Decoders are what a hostile or damaged file can break, so a worker has a limit on memory and on time without progress.
`Workers` keeps workers alive.

A job that is interrupted, however, begins anew: a video is stored in one transaction, so it is in the database whole or
not at all, and a second run of a job whose video was stored finds it there and does the rest.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from indexing.decoding import check_pixels
from indexing.processes import MIB, address_space, command, environment, is_gone, limit, name_of, resident
from tracker.errors import FacetrackError

if TYPE_CHECKING:
    from indexing.jobs import Job, JobQueue
    from indexing.pipeline import Outcome
    from indexing.store import Store

MODELS = ("detector", "embedder", "emotion")
"""The settings of a job that name a model."""

TELL = 0.25
"""Seconds between two notes on how far a job is, which is also how late a worker learns that it was cancelled."""

LOOK = 0.5
"""Seconds between two looks of a worker at itself and its parent, and of the supervisor at its workers."""

GRACE = 10.0
"""Seconds in which a worker that is told to stop has to come to a frame, where it can."""

PAUSE = 5.0
"""Least seconds from one start of a worker to the next in its place, so that one that cannot run is no storm."""

OVER_LIMIT = 75
"""Exit code of a worker that ended itself."""

LIBRARIES = 4096 * MIB
"""Bytes of address space, most of them never occupied, that libraries and their threads are given in a worker."""

_MODULE = "indexing.worker"
"""This one, also where it is run as a program."""

logger = logging.getLogger(_MODULE)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may take.

    Attributes:
        memory: Bytes that its worker may occupy, models included.
        stall: Seconds without a frame after which the file is given up.
        pixels: Of a picture, by what the file declares before it is decoded.
    """

    memory: int = 4096 * MIB
    stall: float = 600.0
    pixels: int = 100_000_000


# ---- one worker


class _Stop(Exception):  # noqa: N818 - it is no error
    """The worker is to stop."""


class _Taken(Exception):  # noqa: N818
    """The job was cancelled, or given to another worker."""


def run(
    db: Path,
    *,
    models_dir: Path | None = None,
    poll: float = 0.5,
    once: bool = False,
    limits: Limits | None = None,
    stop: threading.Event | None = None,
    parent: int | None = None,
) -> None:
    """Work off the queue of a database, one job after the other, in a process that is there for nothing else.

    Args:
        db: The database.
        models_dir: See `tracker.track_faces`.
        poll: Seconds between two looks at an empty queue.
        once: Return when the queue is empty.
        limits: What a job may take; one that takes more has failed, and the process ends with code `OVER_LIMIT`.
        stop: Set by whoever wants an end; the running job is given back.
        parent: Process that this one is not to outlive.

    Raises:
        FacetrackError: if the database cannot be opened.
    """
    from indexing.store import Store

    ending = stop or threading.Event()
    with Store(db) as store, _Worker(store, models_dir, limits or Limits(), ending, parent) as worker:
        while not ending.is_set():
            if not worker.work() and (once or ending.wait(poll)):
                return


class _Worker:
    """A queue, the models that are kept from job to job, and a thread that looks after the job that runs."""

    def __init__(
        self, store: Store, models_dir: Path | None, limits: Limits, stop: threading.Event, parent: int | None
    ) -> None:
        from indexing.jobs import JobQueue

        self._store, self._queue = store, JobQueue(store)
        self._name = name_of(os.getpid())
        self._models = _Models(models_dir)
        self._limits, self._stop, self._parent = limits, stop, parent
        self._watch: _Watch | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def work(self) -> bool:
        """Do the next job; return whether there was one."""
        try:
            self._queue.revive()
            job = self._queue.claim(self._name)
            if job is not None:
                self._do(job)
        except FacetrackError as error:
            # The database is locked for long or the disk is full: it may pass. The lease of a job runs out.
            logger.error("%s", error)
            return False
        return job is not None

    def _do(self, job: Job) -> None:
        logger.info("job %d: %s", job.job_id, job.path)
        self._watch = _Watch(job, self._queue, self._name, self._stop)
        try:
            outcome = self._outcome(job, self._watch)
        except _Stop:
            self._queue.release(job.job_id, worker=self._name)
        except _Taken:
            logger.info("job %d was cancelled, or taken away", job.job_id)
        except Exception as error:
            self._end(job, "failed", _told(error), error=error)
        else:
            self._end(job, "failed" if outcome.status == "failed" else "done", outcome.message, outcome.video_id)
        finally:
            self._watch = None

    def _outcome(self, job: Job, watch: _Watch) -> Outcome:
        from indexing.pipeline import process, remember_models
        from tracker.video import content_hash

        check_pixels(job.path, self._limits.pixels)
        if content_hash(job.path) != job.content_hash:
            raise FacetrackError(f"{job.path} is not the file that was submitted; submit it again")
        names = {kind: job.settings[kind] for kind in MODELS}
        options = {name: value for name, value in job.settings.items() if name not in MODELS}
        models = {kind: self._models.get(kind, name) for kind, name in names.items()}
        (outcome,) = process(
            [job.path], self._store, **models, **options, models_dir=self._models.folder, progress=watch
        )
        if outcome.status != "failed":
            remember_models(self._store, detector=names["detector"], embedder=names["embedder"])
        return outcome

    def _end(
        self,
        job: Job,
        state: Literal["done", "failed"],
        message: str,
        video_id: int | None = None,
        *,
        error: Exception | None = None,
    ) -> None:
        level = logging.INFO if state == "done" else logging.WARNING
        logger.log(level, "job %d is %s: %s", job.job_id, state, message, exc_info=error)
        self._queue.finish(job.job_id, worker=self._name, state=state, message=message, video_id=video_id)

    # ---- in the thread beside it

    def _look_after(self) -> None:
        told: float | None = None
        while not self._closed.wait(LOOK):
            if self._parent is not None and os.getppid() != self._parent:
                self._stop.set()
            if self._stop.is_set():
                told = told or time.monotonic()
                if time.monotonic() - told > GRACE:
                    os._exit(OVER_LIMIT)
            watch = self._watch
            if watch is not None:
                with suppress(FacetrackError):  # locked for long, or full: the next look may do better
                    self._check(watch)

    def _check(self, watch: _Watch) -> None:
        watch.prolong()
        reason = watch.over(self._limits)
        if reason and self._queue.finish(watch.job.job_id, worker=self._name, state="failed", message=reason):
            # The other thread may hang in a decoder for good: nothing but the end of the process stops it.
            logger.warning("job %d is failed: %s", watch.job.job_id, reason)
            os._exit(OVER_LIMIT)


def _told(error: Exception) -> str:
    """Return what an error means to whoever submitted the job."""
    line = " ".join(str(error).split())
    if isinstance(error, (FacetrackError, OSError, ValueError)):
        return line
    if isinstance(error, MemoryError):
        return "it needs more memory than the service may have; give the service more, or a smaller file"
    return f"{type(error).__name__}: {line}; this is a mistake of facetrack, of which the log tells more"


class _Models:
    """The models of the last job, which are those of most others."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._kept: dict[str, tuple[str, Any]] = {}

    def get(self, kind: Any, name: str | None) -> Any:
        """Return a model; None for None."""
        from tracker import models

        if name is None:
            return None
        if self._kept.get(kind, ("", None))[0] != name:
            self._kept[kind] = (name, models.load(kind, name, models_dir=self.folder))
        return self._kept[kind][1]


class _Watch:
    """Follows a job as `indexing.pipeline.Progress`, tells the queue of it, and sees what it takes."""

    def __init__(self, job: Job, queue: JobQueue, worker: str, stop: threading.Event) -> None:
        self.job = job
        self._queue, self._worker, self._stop = queue, worker, stop
        self._done = 0
        self._total: int | None = None
        self._told = time.monotonic()
        self._moved: float | None = self._told

    def start(self, path: Path, frames: int | None) -> None:
        """See `indexing.pipeline.Progress`."""
        self._total = frames
        self._tell()

    def advance(self, frames: int) -> None:
        """See `indexing.pipeline.Progress`; what is raised here ends the job before anything is stored."""
        self._done += frames
        self._moved = time.monotonic()
        if self._stop.is_set():
            raise _Stop
        if self._moved - self._told >= TELL:
            self._tell()

    def finish(self, outcome: Outcome) -> None:
        """See `indexing.pipeline.Progress`; the video is stored, and what follows has no frames to be stopped at."""
        self._moved = None
        if self._done:
            self._total = self._done
            self._advance()

    def _tell(self) -> None:
        if not self._advance():
            raise _Taken

    def _advance(self) -> bool:
        self._told = time.monotonic()
        try:
            return self._queue.advance(self.job.job_id, self._done, self._total, worker=self._worker)
        except FacetrackError as error:
            # Others write for long, or the disk is full: no reason to give up work that is not to be stored yet.
            logger.warning("job %d: %s", self.job.job_id, error)
            return True

    def prolong(self) -> None:
        """Keep the lease where there is nothing to tell."""
        from indexing.jobs import LEASE

        if time.monotonic() - self._told > LEASE / 6:
            self._told = time.monotonic()
            self._queue.prolong(self.job.job_id, worker=self._worker)

    def over(self, limits: Limits) -> str | None:
        """Return which limit the job has gone over; None: none."""
        if resident() > limits.memory:
            return f"it needs more than {limits.memory // MIB} MiB; give the service more memory, or a smaller file"
        if self._moved is not None and time.monotonic() - self._moved > limits.stall:
            return f"no frame came for {limits.stall:g} s; the file may be damaged: convert it"
        return None


# ---- several workers


@dataclass(slots=True)
class _Child:
    """A worker process that was started.

    Attributes:
        process: It.
        name: Under which it claims jobs.
        since: Monotonic time of its start.
        buried: It died, and its job was queued again.
    """

    process: subprocess.Popen[bytes]
    name: str
    since: float
    buried: bool = False


class Workers:
    """Worker processes of a database: started, started again when they die, and stopped together."""

    def __init__(
        self,
        db: Path,
        *,
        count: int = 1,
        models_dir: Path | None = None,
        poll: float = 0.5,
        limits: Limits | None = None,
    ) -> None:
        """Say which workers are wanted.

        Args:
            db: The database.
            count: How many. One keeps several cores busy with a video already.
            models_dir: See `tracker.track_faces`.
            poll: Seconds between two looks at an empty queue.
            limits: What a job may take.

        Raises:
            FacetrackError: if ``count`` is negative.
        """
        if count < 0:
            raise FacetrackError(f"{count} workers cannot be started; give 0 or more")
        self._db, self._count = db, count
        self._order = {
            "db": os.fspath(db.absolute()),
            "models_dir": None if models_dir is None else os.fspath(models_dir.absolute()),
            "poll": poll,
            "limits": asdict(limits or Limits()),
            "parent": os.getpid(),
        }
        self._children: list[_Child] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="workers", daemon=True)

    def __enter__(self) -> Self:
        """Start the workers."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the workers."""
        self.stop()

    @property
    def pids(self) -> list[int]:
        """The processes that live."""
        return [child.process.pid for child in self._children if child.process.poll() is None]

    def start(self) -> None:
        """Queue again what an earlier service left, and start the workers.

        Raises:
            FacetrackError: if the database cannot be opened.
        """
        from indexing.jobs import JobQueue
        from indexing.store import Store

        self._store = Store(self._db)
        self._queue = JobQueue(self._store)
        for job in self._queue.revive(is_gone):
            logger.info("job %d was interrupted: it is %s", job.job_id, job.state)
        self._children = [self._begin() for _ in range(self._count)]
        self._thread.start()

    def stop(self) -> None:
        """Have the workers give their jobs back, and end them."""
        self._stopping.set()
        self._thread.join()
        for child in self._children:
            child.process.terminate()
        deadline = time.monotonic() + GRACE + LOOK
        for child in self._children:
            try:
                child.process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        with suppress(FacetrackError):  # whoever starts next does it too
            self._queue.revive(is_gone)
        self._store.close()

    def _begin(self) -> _Child:
        # No shell, and no session of its own: Ctrl-C reaches it too, and it leaves the answer to us.
        process = subprocess.Popen(command(_MODULE, order=self._order), env=environment(), stdin=subprocess.DEVNULL)
        return _Child(process, name_of(process.pid), time.monotonic())

    def _supervise(self) -> None:
        while not self._stopping.wait(LOOK):
            try:
                self._children = [self._tended(child) for child in self._children]
                self._queue.revive(is_gone)
            except (FacetrackError, OSError) as error:
                # The database is locked for long, or there is no room for a process: the next look may do better.
                logger.error("%s", error)

    def _tended(self, child: _Child) -> _Child:
        """Return the worker, or the one that takes the place of a dead one."""
        if child.process.poll() is None:
            return child
        if not child.buried:
            logger.warning(
                "worker %d ended with code %d; another takes its place", child.process.pid, child.process.returncode
            )
            self._queue.revive(lambda worker: worker == child.name, crashed=True)
            child.buried = True
        return self._begin() if time.monotonic() - child.since > PAUSE else child


def _main(order: Mapping[str, Any]) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop, limits = threading.Event(), Limits(**order["limits"])
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whoever asks is answered before work goes on. Address space is limited generously, against what grows faster than
    # the watch looks: short of memory, a decoder would leave out pictures, and the job would seem to be done.
    os.nice(10)
    limit(AS=address_space() + LIBRARIES + 2 * limits.memory, CORE=0)
    folder = order["models_dir"]
    run(
        Path(order["db"]),
        models_dir=None if folder is None else Path(folder),
        poll=order["poll"],
        limits=limits,
        stop=stop,
        parent=order["parent"],
    )


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
