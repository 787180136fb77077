"""What every request works with: the database, the limits, and answers that are kept until the database changes."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request, Response
from pydantic import BaseModel

from indexing.corrections import merged_into
from indexing.decoding import DecodingLimits
from indexing.jobs import JobQueue
from indexing.server.errors import ProblemError
from indexing.server.models import SearchModels
from indexing.server.uploads import Uploads
from indexing.store import Store
from indexing.types import Identity, TrackRecord, VideoRecord

T = TypeVar("T")

MB = 1 << 20

_KEPT = 128
"""Answers that are kept at most."""

_LARGEST = MB
"""Bytes of a body that is kept at most: what can be asked for in many ways must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for at most.

    Attributes:
        upload: Bytes of a video.
        pictures: Bytes of all pictures of a search or an enrolment.
        picture_count: Pictures of them.
        body: Bytes of any other request.
        searches: Searches a minute of one client.
        decoding: What decoding one of the pictures may take.
    """

    upload: int = 8192 * MB
    pictures: int = 64 * MB
    picture_count: int = 16
    body: int = MB
    searches: int = 30
    decoding: DecodingLimits = field(default_factory=DecodingLimits)


class Revision:
    """Tells whether what is stored has changed, whoever changed it, at the cost of looking at one number.

    As in `indexing.store.Store.revision`, jobs do not count.
    """

    def __init__(self, store: Store) -> None:
        # The number is of the connection: it counts what others commit, so nothing may be written through this one.
        self._connection = sqlite3.connect(store.path, check_same_thread=False, isolation_level=None)
        self._store, self._lock = store, threading.Lock()
        self._commits, self._token = -1, ""

    def __call__(self) -> str:
        """Return a token that is another one after each change."""
        with self._lock:
            commits = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
            if commits != self._commits:
                self._token, self._commits = self._store.revision, commits
            return self._token

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent.

    Attributes:
        data: The bytes.
        tag: Their entity tag.
    """

    data: bytes
    tag: str

    @classmethod
    def of(cls, data: bytes) -> Body:
        """Return a body with the tag that follows from it."""
        return cls(data, f'"{hashlib.sha256(data).hexdigest()[:32]}"')


class _Slot:
    """One kept answer; its lock lets one thread make it while the others wait for it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.revision: str | None = None
        self.value: Any = None


class Cache:
    """Answers that are kept until the database changes, so that many readers cost as much as one."""

    def __init__(self, revision: Callable[[], str], *, most: int = _KEPT) -> None:
        self._revision, self._most = revision, most
        self._slots: OrderedDict[Hashable, _Slot] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, build: Callable[[], T]) -> T:
        """Return what ``build`` made for ``key`` since the last change, or make it."""
        slot = self._slot(key)
        with slot.lock:
            # Read first: what changes while the answer is made has to make it old.
            now = self._revision()
            if slot.revision == now:
                kept: T = slot.value
                return kept
            value = build()
            if not isinstance(value, Body) or len(value.data) <= _LARGEST:
                slot.value, slot.revision = value, now
            return value

    def _slot(self, key: Hashable) -> _Slot:
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            self._slots.move_to_end(key)
            if len(self._slots) > self._most:
                self._slots.popitem(last=False)
            return slot


@dataclass(frozen=True, slots=True)
class Context:
    """What every request works with.

    Attributes:
        store: The database; safe for several threads.
        roots: Folders below which files may be named.
        uploads_folder: Folder in which uploaded files are kept.
        models_dir: Folder in which weights are looked for first.
        limits: What a request may ask for at most.
        revision: Tells a token that is another one after each change of what is stored.
        searching: The models of searches.
        queue: The jobs.
        uploads: The files that were uploaded.
        cache: Answers that are kept until the next change.
        correcting: Held while a correction is made: each is several transactions.
        clustering: Held while all tracks are clustered or looked at.
    """

    store: Store
    roots: tuple[Path, ...]
    uploads_folder: Path
    models_dir: Path | None
    limits: Limits
    revision: Revision
    searching: SearchModels
    queue: JobQueue = field(init=False)
    uploads: Uploads = field(init=False)
    cache: Cache = field(init=False)
    correcting: threading.Lock = field(default_factory=threading.Lock)
    clustering: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Make what follows from the store."""
        object.__setattr__(self, "queue", JobQueue(self.store))
        object.__setattr__(self, "uploads", Uploads(self.uploads_folder, self.store, self.queue))
        object.__setattr__(self, "cache", Cache(self.revision))

    def identities(self) -> dict[int, Identity]:
        """Return all identities by id."""
        return self.cache.get(
            "identities", lambda: {one.identity_id: one for one in self.store.identities(include_empty=True)}
        )

    def person(self, identity_id: int) -> Identity:
        """Return an identity.

        Raises:
            ProblemError: 404, if there is none, or it was merged into another one.
        """
        identity = self.identities().get(identity_id)
        if identity is None:
            raise ProblemError(404, f"there is no person {identity_id}; GET /api/v1/people lists those there are")
        now = self.cache.get("merged", lambda: merged_into(self.store.log())).get(identity_id)
        if now is not None:
            raise ProblemError(404, f"person {identity_id} was merged into person {now}; name that one, or undo it")
        return identity

    def video(self, video_id: int) -> VideoRecord:
        """Return a video.

        Raises:
            ProblemError: 404, if there is none.
        """
        video = self.videos().get(video_id)
        if video is None:
            raise ProblemError(404, f"there is no video {video_id}; GET /api/v1/videos lists those there are")
        return video

    def videos(self) -> dict[int, VideoRecord]:
        """Return all videos by id, among them the photographs that were enrolled."""
        return self.cache.get("videos", lambda: {one.video_id: one for one in self.store.videos(enrolled=True)})

    def records(self) -> dict[int, TrackRecord]:
        """Return all tracks by key, in the order of videos and numbers."""
        return self.cache.get("records", lambda: {one.key: one for one in self.store.track_records()})

    def track(self, key: int) -> TrackRecord:
        """Return a track.

        Raises:
            ProblemError: 404, if there is none.
        """
        record = self.records().get(key)
        if record is None:
            raise ProblemError(404, f"there is no track {key}; GET /api/v1/videos/ID/tracks lists those of a video")
        return record


def context_of(request: Request) -> Context:
    """Return the context of the application that a request came to."""
    context: Context = request.app.state.context
    return context


async def _asked_for(request: Request) -> Context:
    # What is not async is called in a thread, which takes longer than this does.
    return context_of(request)


Ctx = Annotated[Context, Depends(_asked_for)]
"""The context, as a parameter of an endpoint."""


def answer(request: Request, context: Context, build: Callable[[], BaseModel]) -> Response:
    """Return an answer with an entity tag, made once for each change of the database; 304 where the client has it."""
    key = (request.url.path, request.url.query)
    body = context.cache.get(key, lambda: Body.of(build().model_dump_json().encode()))
    return tagged(request, body, media_type="application/json")


def tagged(request: Request, body: Body, *, media_type: str, caching: str = "private, no-cache") -> Response:
    """Return a body with its tag, or 304 where the client says that it has it."""
    headers = {"ETag": body.tag, "Cache-Control": caching}
    if body.tag in known_tags(request):
        return Response(status_code=304, headers=headers)
    return Response(body.data, headers=headers, media_type=media_type)


def known_tags(request: Request) -> set[str]:
    """Return the tags of what a client has; weak ones count as well."""
    header = request.headers.get("if-none-match", "")
    return {part.strip().removeprefix("W/") for part in header.split(",")}
