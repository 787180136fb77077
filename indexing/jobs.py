"""The queue of the service: files that wait for analysis, in the database that the result goes to.

A job is kept by its content and settings: submitting the same again gives the job that is there. One worker at a time
holds a job, by a lease that it prolongs while it lives; what a dead worker left is queued again and begins anew. As a
video is stored in one transaction, it is in the database whole or not at all, whenever a worker dies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from indexing import job_rows
from indexing.tables import JobRow
from tracker.errors import FacetrackError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from indexing.store import Store

State = Literal["queued", "running", "done", "failed", "cancelled"]

STATES: tuple[State, ...] = get_args(State)

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "detector": "centerface",
        "embedder": "dlib",
        "emotion": "emotion_cnn",
        "preset": "balanced",
        "detect_every": None,
        "emotion_fps": 5.0,
    }
)
"""The settings of a job, which are arguments of `indexing.process`, and their values where none are given."""

LEASE = 60.0
"""Seconds for which a worker holds a job without a sign of life; longer than a writer may have to wait for others."""

MOST_CRASHES = 3
"""After so many deaths of a worker, and of it alone, the job is taken for the cause."""

MOST_ATTEMPTS = 50
"""After so many beginnings a job has failed, whatever the cause: a service that starts over and over has to end."""


@dataclass(frozen=True, slots=True)
class Job:
    """A file that is to be analysed, is being analysed, or was.

    Attributes:
        job_id: Its id; never used again.
        path: The file.
        state: ``queued``, ``running``, ``done``, ``failed`` or ``cancelled``.
        settings: All of `DEFAULTS`, with the values that were asked for.
        content_hash: SHA-256 of the file, hexadecimal.
        created_at: UTC time, ISO 8601.
        started_at: UTC time at which its last attempt began; None: it waits for its first.
        finished_at: UTC time at which it ended, however; None: it has not.
        frames_done: Frames that the running attempt has behind it.
        frames_total: About how many there are; None: not known.
        message: What came of it, in a line.
        video_id: The video in the store; None: there is none, or it was removed or analysed anew since.
        attempts: How often it was begun, without those that ended because the service was stopped.
        revision: Rises with each change, and is another one for each change of any job.
    """

    job_id: int
    path: Path
    state: State
    settings: dict[str, Any]
    content_hash: str
    created_at: str
    started_at: str | None
    finished_at: str | None
    frames_done: int
    frames_total: int | None
    message: str | None
    video_id: int | None
    attempts: int
    revision: int

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state not in ("queued", "running")


class JobQueue:
    """The jobs of a store. Safe for several threads and processes; every change is one transaction.

    Example:
        >>> import tempfile
        >>> from matplotlib.cbook import get_sample_data
        >>> from indexing.store import Store
        >>> photo = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))
        >>> with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "facetrack.db") as store:
        ...     queue = JobQueue(store)
        ...     first, again = queue.submit(photo), queue.submit(photo)
        ...     claimed = queue.claim("a worker")
        ...     (first.state, again.job_id == first.job_id, claimed.state, queue.claim("another"))
        ('queued', True, 'running', None)
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    # ---- for those who ask

    def submit(self, path: Path, *, settings: Mapping[str, Any] | None = None) -> Job:
        """Queue a file, unless the same content waits, is worked at or was done with the same settings.

        The file is read once for its hash.

        Args:
            path: A video or image.
            settings: Arguments of `indexing.process`, see `DEFAULTS`. Models go by name: what a job names is loaded
                by a process that others rely on, so ``module:Class`` is refused.

        Returns:
            The new job, or the one there is.

        Raises:
            FacetrackError: if the file cannot be read, or a setting is none of those there are.
        """
        wanted, digest = checked_settings(settings or {}), _hash(path)
        with self._store.session(write=True) as session:
            there = job_rows.twin(session, digest, wanted)
            return _job(
                there
                or job_rows.add(session, path=path.absolute(), content_hash=digest, settings=wanted, created_at=_now())
            )

    def get(self, job_id: int) -> Job:
        """Return a job.

        Raises:
            FacetrackError: if there is none of this id.
        """
        with self._store.session(write=False) as session:
            return _job(_found(session, job_id))

    def jobs(self, *, state: str | None = None, after: int = 0, limit: int = 100) -> list[Job]:
        """Return jobs by id.

        Args:
            state: Only those in this state.
            after: Only those with a higher id.
            limit: At most so many.

        Raises:
            FacetrackError: if there is no such state.
        """
        if state is not None and state not in STATES:
            raise FacetrackError(f"{state!r} is no state of a job; there are {', '.join(STATES)}")
        with self._store.session(write=False) as session:
            return [_job(row) for row in job_rows.listed(session, state=state, after=after, limit=limit)]

    def changes(self, after: int = 0, *, limit: int = 100) -> list[Job]:
        """Return the jobs that changed since a revision, in order of their last change."""
        with self._store.session(write=False) as session:
            return [_job(row) for row in job_rows.changed(session, after=after, limit=limit)]

    @property
    def revision(self) -> int:
        """The highest revision of a job; 0 without jobs."""
        with self._store.session(write=False) as session:
            return job_rows.newest_revision(session)

    def counts(self) -> dict[State, int]:
        """Return how many jobs are in each state, 0 among them."""
        with self._store.session(write=False) as session:
            there = job_rows.counts(session)
        return {state: there.get(state, 0) for state in STATES}

    def cancel(self, job_id: int) -> Job:
        """Stop a job: at once if it waits, within a few frames if a worker is at it.

        A worker that has no frame left to stop at finishes the job; then it is done.

        Raises:
            FacetrackError: if there is no such job, or it has ended.
        """
        with self._store.session(write=True) as session:
            row = _found(session, job_id)
            if row.state not in ("queued", "running"):
                raise FacetrackError(
                    f"job {job_id} cannot be cancelled: it is {row.state}; only jobs that wait or run can"
                )
            job_rows.change(session, job_id, state="cancelled", message="cancelled", finished_at=_now(), lease=None)
            return _reread(session, row)

    def retry(self, job_id: int) -> Job:
        """Queue a job again that failed or was cancelled; its attempts are counted anew.

        Raises:
            FacetrackError: if there is no such job, it is in another state, its file is gone, or another job does the
                same already.
        """
        with self._store.session(write=True) as session:
            row = _found(session, job_id)
            if row.state not in ("failed", "cancelled"):
                raise FacetrackError(
                    f"job {job_id} cannot be tried again: it is {row.state}; only failed and cancelled jobs can"
                )
            if not row.path.is_file():
                raise FacetrackError(
                    f"job {job_id} cannot be tried again: {row.path} is gone; put it back, or send it again if it was "
                    "uploaded (the service keeps the file of a job that failed or was cancelled for a day)"
                )
            there = job_rows.twin(session, row.content_hash, row.settings)
            if there is not None:
                raise FacetrackError(
                    f"job {there.id} is {there.state} for the same file and settings; look at that one"
                )
            job_rows.change(session, job_id, attempts=0, crashes=0, started_at=None, **_WAITING)
            return _reread(session, row)

    # ---- for workers

    def claim(self, worker: str) -> Job | None:
        """Take the oldest job that waits; None if none does.

        Args:
            worker: A name that no other worker has or had.
        """
        with self._store.session(write=False) as session:
            if job_rows.first_queued(session) is None:
                return None
        with self._store.session(write=True) as session:
            # Another worker may have taken it while this one waited for the lock.
            job_id = job_rows.first_queued(session)
            if job_id is None:
                return None
            row = _found(session, job_id)
            job_rows.change(
                session,
                job_id,
                state="running",
                worker=worker,
                lease=_lease(),
                started_at=_now(),
                attempts=row.attempts + 1,
            )
            return _reread(session, row)

    def advance(self, job_id: int, frames_done: int, frames_total: int | None, *, worker: str) -> bool:
        """Tell how far a job is, which prolongs the lease.

        Returns:
            Whether to go on: False if the job was cancelled, or taken from this worker.
        """
        with self._store.session(write=True) as session:
            return job_rows.change(
                session,
                job_id,
                job_rows.held(worker),
                frames_done=frames_done,
                frames_total=frames_total,
                lease=_lease(),
            )

    def prolong(self, job_id: int, *, worker: str) -> bool:
        """Prolong the lease of a job while there is nothing to tell; see `advance`."""
        with self._store.session(write=True) as session:
            return job_rows.prolong(session, job_id, worker, _lease())

    def finish(
        self,
        job_id: int,
        *,
        worker: str,
        state: Literal["done", "failed"],
        message: str | None = None,
        video_id: int | None = None,
    ) -> bool:
        """Tell what came of a job.

        Returns:
            Whether it was this worker's to tell. A job that was cancelled too late to be stopped is done all the same.
        """
        with self._store.session(write=True) as session:
            row = _found(session, job_id)
            mine = row.worker == worker and (row.state == "running" or (row.state, state) == ("cancelled", "done"))
            return mine and job_rows.change(
                session,
                job_id,
                state=state,
                message=message,
                video_id=video_id,
                finished_at=_now(),
                lease=None,
                worker=None,
            )

    def release(self, job_id: int, *, worker: str) -> bool:
        """Give a job back because the worker is told to stop; the attempt does not count.

        Returns:
            Whether it was this worker's.
        """
        with self._store.session(write=True) as session:
            row = _found(session, job_id)
            return job_rows.change(session, job_id, job_rows.held(worker), attempts=row.attempts - 1, **_WAITING)

    def revive(self, gone: Callable[[str], bool] | None = None, *, crashed: bool = False) -> list[Job]:
        """Queue again what dead workers left; what was begun too often has failed.

        Args:
            gone: Says of a worker whether it is dead for certain; None: nobody knows, and leases decide alone.
            crashed: Those workers, and nobody whose lease ran out, died by themselves while the service lived: the job
                may be the cause, and after `MOST_CRASHES` it has failed.

        Returns:
            The jobs.
        """

        def is_left(row: JobRow) -> bool:
            dead = gone is not None and row.worker is not None and gone(row.worker)
            return dead or (not crashed and (row.lease or 0.0) < time.time())

        with self._store.session(write=False) as session:
            if not any(is_left(row) for row in job_rows.running(session)):
                return []
        with self._store.session(write=True) as session:
            left = [row for row in job_rows.running(session) if is_left(row)]
            return [_given_up_or_queued(session, row, crashed=crashed) for row in left]


_WAITING: Mapping[str, Any] = MappingProxyType(
    {
        "state": "queued",
        "frames_done": 0,
        "frames_total": None,
        "finished_at": None,
        "message": None,
        "worker": None,
        "lease": None,
    }
)
"""The columns of a job that waits for a worker to begin it."""


def _hash(path: Path) -> str:
    from tracker.video import content_hash

    try:
        # Anything else may be endless: a pipe, a device.
        if path.exists() and not path.is_file():
            raise FacetrackError(f"{path}: no regular file; a job takes one file, a video or an image")
        return content_hash(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise FacetrackError(f"{path}: cannot be read ({reason}); check the path and its permissions") from error


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the defaults filled in.

    Raises:
        FacetrackError: if one is unknown or out of its range.

    Example:
        >>> checked_settings({"preset": "fast"})["preset"], checked_settings({})["embedder"]
        ('fast', 'dlib')
    """
    from tracker.options import options_for

    unknown = sorted(set(settings) - set(DEFAULTS))
    if unknown:
        raise FacetrackError(f"{', '.join(unknown)}: no setting of a job; there are {', '.join(DEFAULTS)}")
    wanted = {**DEFAULTS, **settings}
    for kind in ("detector", "embedder", "emotion"):
        _check_model(kind, wanted[kind])
    looking = {name: wanted[name] for name in ("preset", "detect_every", "emotion_fps")}
    _check_types(looking)
    try:
        options_for(**looking)
    except ValueError as error:
        raise FacetrackError(str(error)) from error
    return wanted


def _check_model(kind: str, name: Any) -> None:
    from tracker.models import MODELS

    if name is None and kind == "emotion":
        return
    known = [model.name for model in MODELS.values() if model.kind == kind]
    if not isinstance(name, str) or not (name in known or name.startswith("deepface:")):
        raise FacetrackError(f"{name!r} is no {kind} of a job; there are {', '.join(known)} and deepface:NAME")


def _check_types(looking: Mapping[str, Any]) -> None:
    allowed = {"preset": (str,), "detect_every": (int, type(None)), "emotion_fps": (int, float, type(None))}
    for name, value in looking.items():
        if isinstance(value, bool) or not isinstance(value, allowed[name]):
            raise FacetrackError(f"{name} is {value!r}; see `facetrack add --help` for what is allowed")


def _given_up_or_queued(session: Session, row: JobRow, *, crashed: bool) -> Job:
    crashes = row.crashes + crashed
    if crashes >= MOST_CRASHES or row.attempts >= MOST_ATTEMPTS:
        why = (
            f"its worker died {crashes} times; the file may be damaged, or need more memory than there is"
            if crashes >= MOST_CRASHES
            else f"it was begun {row.attempts} times and never came to an end"
        )
        ended = {"state": "failed", "finished_at": _now(), "message": f"{why}; look at the log, then retry it"}
        job_rows.change(session, row.id, crashes=crashes, worker=None, lease=None, **ended)
    else:
        job_rows.change(session, row.id, crashes=crashes, **_WAITING)
    return _reread(session, row)


def _found(session: Session, job_id: int) -> JobRow:
    row = job_rows.find(session, job_id)
    if row is None:
        raise FacetrackError(f"there is no job {job_id}")
    return row


def _reread(session: Session, row: JobRow) -> Job:
    session.refresh(row)
    return _job(row)


def _job(row: JobRow) -> Job:
    return Job(
        job_id=row.id,
        path=row.path,
        state=cast(State, row.state),
        settings=row.settings,
        content_hash=row.content_hash,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        frames_done=row.frames_done,
        frames_total=row.frames_total,
        message=row.message,
        video_id=row.video_id,
        attempts=row.attempts,
        revision=row.revision,
    )


def _lease() -> float:
    return time.time() + LEASE


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
