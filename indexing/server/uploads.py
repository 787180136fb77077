"""The folder of uploaded files: each is kept once, by its content, and no longer than somebody needs it."""

from __future__ import annotations

import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from indexing.jobs import JobQueue, State
from indexing.store import Store

INCOMING = ".incoming-"
"""Beginning of the names of folders with files that are being received."""

KEPT = timedelta(days=1)
"""For so long a file outlives the job that failed with it or was cancelled: it can be tried again until then, and a
worker that learns late that it was cancelled has an end."""

_ENDED: tuple[State, ...] = ("done", "failed", "cancelled")
_OPEN: tuple[State, ...] = ("queued", "running")

_DIGITS = 32
_PLACE = re.compile(rf"[0-9a-f]{{{_DIGITS}}}")
"""What the folder of a file is called: digits of its SHA-256. Anything else in there is somebody else's."""

_MANY = 1_000_000
"""More jobs than there ever are."""


class Uploads:
    """What was uploaded. A file is needed by a video or photograph of the store, by a job, and by who is holding it."""

    def __init__(self, folder: Path, store: Store, queue: JobQueue) -> None:
        self._folder, self._store, self._queue = folder, store, queue
        self._lock = threading.Lock()
        self._held = Counter[str]()

    @property
    def folder(self) -> Path:
        """The folder, which is made where it is missing; nobody else may look into it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._folder

    def keeps(self, path: Path) -> bool:
        """Tell whether a file was uploaded, and goes when nobody needs it any more."""
        return self._is_place(path.parent)

    @contextmanager
    def holding(self, path: Path, digest: str) -> Iterator[Path]:
        """Move a file to the place that its content has, and give where it is; it goes if nobody needs it afterwards.

        Args:
            path: The file, called as its sender calls it.
            digest: SHA-256 of its content, hexadecimal.
        """
        place = self.folder / digest[:_DIGITS]
        with self._lock:
            self._held[place.name] += 1
            place.mkdir(exist_ok=True)
            kept = next(place.iterdir(), None) or Path(shutil.move(path, place / path.name))
        try:
            yield kept
        finally:
            with self._lock:
                self._held[place.name] -= 1
            self._discard([kept])

    @contextmanager
    def discarding(self) -> Iterator[None]:
        """Delete the files of all videos and photographs that are gone from the store after the block."""
        before = self._stored()
        yield
        self._discard(before)

    def discard_ended(self, kept: timedelta = KEPT) -> None:
        """Delete the files whose last job ended a while ago and left no video.

        Args:
            kept: For how long a file outlives its job.
        """
        last = (datetime.now(UTC) - kept).isoformat(timespec="seconds")
        ended = [job for state in _ENDED for job in self._queue.jobs(state=state, limit=_MANY)]
        fresh = {job.path for job in ended if (job.finished_at or "") > last}
        self._discard({job.path for job in ended} - fresh)

    def discard_rest(self) -> None:
        """Delete what a service that was killed had received in part."""
        for rest in self._folder.glob(f"{INCOMING}*"):
            remove(rest)

    def _discard(self, paths: Iterable[Path]) -> None:
        places = {path.parent.name for path in paths if self.keeps(path) and path.exists()}
        with self._lock:
            for name in places - self._needed() if places else ():
                remove(self._folder / name)

    def _needed(self) -> set[str]:
        waiting = [job.path for state in _OPEN for job in self._queue.jobs(state=state, limit=_MANY)]
        # Somebody else may have named a file by another way that leads here.
        inside = {path.resolve().parent for path in [*self._stored(), *waiting]}
        return {folder.name for folder in inside if self._is_place(folder)} | {*+self._held}

    def _is_place(self, folder: Path) -> bool:
        return folder.parent == self._folder and _PLACE.fullmatch(folder.name) is not None

    def _stored(self) -> list[Path]:
        return [video.path for video in self._store.videos(enrolled=True)]


def remove(folder: Path) -> None:
    """Delete a folder with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
