"""The database of videos, tracks and people: domain values in and out.

It is the only truth; indexes, clusters and exports are rebuilt from it. The tables (see `indexing.tables`) may be read
by hand; ``SCHEMA.md`` beside this file describes them, with queries to begin with.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from indexing import emotion_rows, rows, timeline
from indexing.database import explained, open_engine, pragma
from indexing.tables import EmbeddingRow, IdentityRow, Meta, Thumbnail, TrackRow, Video, chunks, unpack
from indexing.timeline import APPEARANCE_GAP
from indexing.types import (
    Appearance,
    EmotionCurve,
    EmotionSummary,
    Episode,
    Identity,
    Int64,
    Person,
    TrackEmbeddings,
    TrackRecord,
    VideoRecord,
)
from tracker.errors import FacetrackError
from tracker.types import Float64, Int32, Keyframes, Track, TrackingResult

logger = logging.getLogger(__name__)

_REVISION = "embeddings_revision"
_RESERVED_NAME = re.compile(r"\d+|person\s+\d+|unknown", re.IGNORECASE)
_PERSON = re.compile(r"(?:person\s+)?(\d+)", re.IGNORECASE)


class Store:
    """A facetrack database. Safe for several threads; other processes may read and write the same file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "facetrack.db") as store:
        ...     store.people()
        []
    """

    def __init__(self, path: str | Path, *, must_exist: bool = False) -> None:
        """Open the database at ``path``, made or brought to the newest schema where needed.

        Args:
            path: The file.
            must_exist: Refuse to make a new one.

        Raises:
            FacetrackError: if there is none, it cannot be opened, is no such database, or is of a newer version.
        """
        self._path = Path(path)
        self._engine = open_engine(self._path.absolute(), must_exist=must_exist)
        self._closed = False

    @classmethod
    def open(cls, path: str | Path, must_exist: bool = False) -> Self:
        """Return the database at ``path``; the same as `Store`, for those who prefer a verb."""
        return cls(path, must_exist=must_exist)

    def close(self) -> None:
        """Close the file; the store is of no use afterwards."""
        self._closed = True
        self._engine.dispose()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    @property
    def path(self) -> Path:
        """The file of the database, as it was given."""
        return self._path

    @property
    def index_path(self) -> Path:
        """Where the vector index is kept: a cache beside the database that may be deleted."""
        return self._path.with_name(self._path.name + ".faiss")

    # ---- videos

    def add_video(self, result: TrackingResult, *, replace: bool = False) -> int:
        """Add a video with its tracks, all of it or (on any error) nothing; its people are unknown at first.

        Args:
            result: What the tracker found; ``settings`` has to be JSON.
            replace: Put it in place of an earlier result for the same content instead of refusing it.

        Returns:
            The id of the video.

        Raises:
            FacetrackError: if the content is there already, or the database holds vectors of another embedder.
            ValueError: if the result contradicts itself.
        """
        rows.check(result)
        pictures = [rows.jpeg(track.thumbnail) for track in result.tracks]
        with self._write() as session:
            replaced = _make_room(session, result, replace=replace)
            rows.check_embedder(session, result)
            video_id = rows.insert_video(session, result, pictures)
        if replaced:
            self._scrub()
        return video_id

    def find_video(self, content_hash: str) -> VideoRecord | None:
        """Return the video whose file has this SHA-256, whatever its path; None if there is none."""
        with self._read() as session:
            row = session.scalar(select(Video).where(Video.content_hash == content_hash))
            return None if row is None else rows.video_record(row)

    def videos(self) -> list[VideoRecord]:
        """Return all videos in the order they were added."""
        with self._read() as session:
            return [rows.video_record(row) for row in session.scalars(select(Video).order_by(Video.id))]

    def video(self, which: int | str | Path) -> VideoRecord:
        """Return one video by its id, or by its path as `resolve_video` does.

        Raises:
            FacetrackError: if there is no such video; the message lists those there are.
        """
        if not isinstance(which, int):
            return self.resolve_video(str(which))
        with self._read() as session:
            row = session.get(Video, which)
            if row is not None:
                return rows.video_record(row)
        raise self._unknown("video", str(which), [f"{v.video_id} ({v.path})" for v in self.videos()])

    def resolve_video(self, text: str) -> VideoRecord:
        """Return the video that a user means: its path, its id, or its file name where only one has it.

        Raises:
            FacetrackError: if there is no such video or several; the message lists those there are.
        """
        videos = self.videos()
        wanted = Path(text)
        for tries in (
            [v for v in videos if v.path == wanted],
            [v for v in videos if v.path.absolute() == wanted.absolute()],
            [v for v in videos if text.isdecimal() and v.video_id == int(text)],
            [v for v in videos if v.path.name == text],
        ):
            if len(tries) == 1:
                return tries[0]
        raise self._unknown("video", text, [f"{v.video_id} ({v.path})" for v in videos])

    def remove_video(self, video_id: int) -> None:
        """Remove a video with its tracks, embeddings and thumbnails; its people stay, their ids are not used again.

        Raises:
            FacetrackError: if there is no such video.
        """
        self.video(video_id)
        with self._write() as session:
            session.execute(delete(Video).where(Video.id == video_id))
        self._scrub()

    def timestamps(self, video_id: int) -> Float64:
        """Return ``(F,)`` float64 presentation times in seconds of all decoded frames of a video."""
        return np.asarray(unpack(self._blob(Video.timestamps, Video.id == video_id), np.float64))

    def shots(self, video_id: int) -> Int32:
        """Return ``(S,)`` int32 first frame of each shot of a video."""
        return np.asarray(unpack(self._blob(Video.shots, Video.id == video_id), np.int32))

    # ---- tracks

    def track_records(self, video_id: int | None = None, identity_id: int | None = None) -> list[TrackRecord]:
        """Return the tracks, of one video or one identity where given, by video and number."""
        conditions: list[ColumnElement[bool]] = []
        if video_id is not None:
            conditions.append(TrackRow.video_id == video_id)
        if identity_id is not None:
            conditions.append(TrackRow.identity_id == identity_id)
        with self._read() as session:
            return rows.track_records(session, *conditions)

    def tracks(self, video_id: int) -> list[tuple[TrackRecord, Track]]:
        """Return the tracks of a video with all their arrays, by number; ``Track.thumbnail`` is left empty.

        See `thumbnail` for the pictures.
        """
        with self._read() as session:
            return rows.full_tracks(session, video_id)

    def thumbnail(self, track_key: int) -> bytes:
        """Return the best view of a track as a JPEG file; empty if the tracker cut none.

        Raises:
            FacetrackError: if there is no such track.
        """
        with self._read() as session:
            if session.get(TrackRow, track_key) is None:
                raise FacetrackError(f"there is no track {track_key} in {self._path}")
            return session.scalar(select(Thumbnail.jpeg).where(Thumbnail.track_id == track_key)) or b""

    # ---- embeddings

    @property
    def embedder_id(self) -> str | None:
        """Model id of the embedder of all vectors; None while there is no video."""
        with self._read() as session:
            return session.scalar(select(Video.embedder_id).limit(1))

    @property
    def embeddings_revision(self) -> str:
        """A token that is another one after every change of the embeddings, and never the same again."""
        return str(self.get_meta(_REVISION))

    def embeddings(self) -> TrackEmbeddings:
        """Return all embeddings in order of their row ids."""
        with self._read() as session:
            return rows.embeddings(session)

    def embedding_tracks(self, row_ids: Sequence[int] | Int64) -> Int64:
        """Return ``(N,)`` int64 keys of the tracks that these embeddings belong to; -1 for an id that is not there."""
        ids = [int(row_id) for row_id in row_ids]
        keys: dict[int, int] = {}
        with self._read() as session:
            for part in chunks(sorted(set(ids))):
                found = select(EmbeddingRow.id, EmbeddingRow.track_id).where(EmbeddingRow.id.in_(part))
                keys.update((row.id, row.track_id) for row in session.execute(found))
        return np.array([keys.get(row_id, -1) for row_id in ids], np.int64)

    def replace_embeddings(self, model_id: str, keyframes: Iterable[tuple[int, Keyframes]]) -> None:
        """Put the vectors of another embedder in place of all there are, in one transaction.

        Args:
            model_id: The new embedder.
            keyframes: Track keys with their keyframes; a track that is not named has no embedding afterwards.

        Raises:
            FacetrackError: if there is no such track.
            ValueError: if the vectors differ in length.
        """
        keyed = list(keyframes)
        if len(rows.dimensions(part for _, part in keyed)) > 1:
            raise ValueError(f"the vectors of {model_id} differ in length")
        with self._write() as session:
            _check_keys(session, [key for key, _ in keyed])
            session.execute(delete(EmbeddingRow))
            rows.insert_embeddings(session, keyed, model_id)
            best = select(func.coalesce(func.max(EmbeddingRow.quality), 0.0)).where(
                EmbeddingRow.track_id == TrackRow.id
            )
            session.execute(update(TrackRow).values(quality=best.scalar_subquery()))
            session.execute(update(Video).values(embedder_id=model_id))
        self._scrub()

    # ---- people

    def identities(self, *, include_empty: bool = False) -> list[Identity]:
        """Return the identities by id; those without a track only where asked."""
        with self._read() as session:
            return rows.identities(session, include_empty=include_empty)

    def people(self, include_empty: bool = False) -> list[Person]:
        """Return what is known of each identity, by falling screen time."""
        with self._read() as session:
            identities = rows.identities(session, include_empty=include_empty)
            records = rows.track_records(session, TrackRow.identity_id.is_not(None))
            paths = {row.id: row.path for row in session.execute(select(Video.id, Video.path))}
            pictured = set(session.scalars(select(Thumbnail.track_id)))
        of_identity = defaultdict[int | None, list[TrackRecord]](list)
        for record in records:
            of_identity[record.identity_id].append(record)
        people = [timeline.person(i, of_identity[i.identity_id], paths, pictured) for i in identities]
        return sorted(people, key=lambda p: (-p.screen_time, -p.appearances, p.identity.identity_id))

    def appearances(
        self, identity_id: int | None = None, video_id: int | None = None, *, gap: float = APPEARANCE_GAP
    ) -> list[Appearance]:
        """Return who is seen when, by video, start and identity.

        Args:
            identity_id: One identity; None: all, and each track of an unknown person by itself.
            video_id: One video; None: all.
            gap: Seconds; shorter gaps (and equal ones) between the tracks of an identity are closed.
        """
        return timeline.appearances(self.track_records(video_id, identity_id), gap=gap)

    def assign(
        self, groups: Sequence[tuple[int | None, Sequence[int]]], *, confidences: Mapping[int, float] | None = None
    ) -> list[int]:
        """Say anew whose every track is, in one transaction; a track in no group is of an unknown person afterwards.

        Args:
            groups: A known identity (or None for a new person) and the keys of its tracks, each key once.
            confidences: Track key -> probability in [0, 1] that it is of its group.

        Returns:
            The identity of each group.

        Raises:
            FacetrackError: if there is no such identity or track.
            ValueError: if a track is in two groups, an identity has two, or a new person has no track.
        """
        _check_groups(groups)
        with self._write() as session:
            _check_keys(session, [key for _, keys in groups for key in keys])
            ids = [_known_or_new(session, identity_id) for identity_id, _ in groups]
            before = set(emotion_rows.owners(session).items())
            session.execute(update(TrackRow).values(identity_id=None, confidence=None))
            changes = [
                {"id": key, "identity_id": identity_id, "confidence": _confidence(confidences, key)}
                for identity_id, (_, keys) in zip(ids, groups, strict=True)
                for key in keys
            ]
            if changes:
                session.execute(update(TrackRow), changes)
            changed = before ^ set(emotion_rows.owners(session).items())
            emotion_rows.refresh(session, {pair for _, pair in changed})
        return ids

    def rename(self, identity_id: int, name: str | None) -> None:
        """Name a person; None takes the name away.

        Raises:
            FacetrackError: if there is no such identity, another has the name, or it reads like an id.
        """
        name = None if name is None else _checked_name(name)
        with self._write() as session:
            row = session.get(IdentityRow, identity_id)
            if row is None:
                raise _no_identity(identity_id)
            named = session.execute(select(IdentityRow.id, IdentityRow.name).where(IdentityRow.id != identity_id))
            for other in named:
                if name is not None and (other.name or "").casefold() == name.casefold():
                    raise FacetrackError(f"Person {other.id} is called {other.name!r} already; names are unique")
            row.name = name

    def forget(self, identity_id: int) -> None:
        """Erase a person: name, tracks, embeddings and thumbnails; the bytes are overwritten, the id not used again.

        The vector index beside the database is deleted too, as it holds the vectors; it is rebuilt at the next use.

        Raises:
            FacetrackError: if there is no such identity.
        """
        with self._write() as session:
            row = session.get(IdentityRow, identity_id)
            if row is None:
                raise _no_identity(identity_id)
            session.execute(delete(TrackRow).where(TrackRow.identity_id == identity_id))
            session.delete(row)
        self._scrub()

    def resolve_person(self, text: str) -> Identity:
        """Return the identity that a user means: its id, ``Person 3``, or its name in any case.

        Raises:
            FacetrackError: if there is none; the message lists those there are.
        """
        identities = self.identities(include_empty=True)
        number = _PERSON.fullmatch(text.strip())
        for identity in identities:
            if number and identity.identity_id == int(number[1]):
                return identity
            if identity.name is not None and identity.name.casefold() == text.strip().casefold():
                return identity
        raise self._unknown("person", text, [identity.label for identity in identities])

    # ---- emotions

    def emotion_curves(self, identity_id: int | None = None, video_id: int | None = None) -> list[EmotionCurve]:
        """Return what identities show over time, smoothed, by video and identity; see `indexing.emotions.smooth`.

        Args:
            identity_id: One identity; None: all.
            video_id: One video; None: all.
        """
        with self._read() as session:
            return emotion_rows.curves(session, identity_id, video_id)

    def episodes(self, identity_id: int | None = None, video_id: int | None = None) -> list[Episode]:
        """Return the episodes by video, identity and time; see `indexing.emotions.episodes`.

        Args:
            identity_id: One identity; None: all.
            video_id: One video; None: all.
        """
        with self._read() as session:
            return emotion_rows.episodes(session, identity_id, video_id)

    def emotion_summaries(self, identity_id: int | None = None, video_id: int | None = None) -> list[EmotionSummary]:
        """Return what identities show all in all, by video and identity; see `indexing.emotions.summary`.

        Args:
            identity_id: One identity; None: all.
            video_id: One video; None: all.
        """
        with self._read() as session:
            return emotion_rows.summaries(session, identity_id, video_id)

    def refresh_emotions(self) -> None:
        """Make curves, episodes and summaries anew; needed only where somebody else changed the tables."""
        with self._write() as session:
            emotion_rows.refresh(session, set(emotion_rows.owners(session).values()))

    # ---- values

    def get_meta(self, key: str, default: Any = None) -> Any:
        """Return the JSON value that is kept under ``key``; ``default`` if none is."""
        with self._read() as session:
            return rows.meta(session, key, default)

    def set_meta(self, key: str, value: Any) -> None:
        """Keep ``value``, anything that JSON can say, under ``key``.

        Raises:
            ValueError: if the key is one that the database keeps itself.
        """
        if key == _REVISION:
            raise ValueError(f"{key!r} is kept by the database itself")
        with self._write() as session:
            session.merge(Meta(key=key, value=value))

    # ---- transactions

    @contextmanager
    def _session(self, begin: str) -> Iterator[Session]:
        if self._closed:
            raise FacetrackError(f"{self._path}: this store was closed")
        try:
            with Session(self._engine.execution_options(begin=begin)) as session, session.begin():
                session.connection()
                yield session
        except IntegrityError:
            raise
        except DatabaseError as error:
            raise explained(self._path, error) from error

    def _read(self) -> AbstractContextManager[Session]:
        return self._session("DEFERRED")

    def _write(self) -> AbstractContextManager[Session]:
        # Taking the lock at once waits for other writers; taking it after a read would fail where another one wrote.
        return self._session("IMMEDIATE")

    def _scrub(self) -> None:
        # Deleted faces would live on in the log of the database and in the vectors of the index.
        self.index_path.unlink(missing_ok=True)
        if pragma(self._engine, "wal_checkpoint(TRUNCATE)"):
            logger.warning("%s is being read elsewhere: erased data leaves its log when that ends", self._path)

    def _blob(self, column: InstrumentedAttribute[bytes], condition: ColumnElement[bool]) -> bytes:
        with self._read() as session:
            blob = session.scalar(select(column).where(condition))
        if blob is None:
            raise FacetrackError(f"there is no such video in {self._path}")
        return bytes(blob)

    def _unknown(self, kind: str, text: str, known: Sequence[str]) -> FacetrackError:
        listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
        return FacetrackError(f"{text!r} names no {kind} of {self._path}, or several; it has: {listed or 'none'}")


def _make_room(session: Session, result: TrackingResult, *, replace: bool) -> bool:
    there = session.scalar(select(Video).where(Video.content_hash == result.video.content_hash))
    if there is None:
        return False
    if not replace:
        raise FacetrackError(
            f"{result.video.path}: the same content is in the database as video {there.id} ({there.path}); "
            "remove that one first or replace it"
        )
    session.execute(delete(Video).where(Video.id == there.id))
    return True


def _check_keys(session: Session, keys: Sequence[int]) -> None:
    unknown = set(keys) - set(session.scalars(select(TrackRow.id)))
    if unknown:
        raise FacetrackError(f"the database has no tracks {sorted(unknown)[:20]}; was their video removed meanwhile?")


def _check_groups(groups: Sequence[tuple[int | None, Sequence[int]]]) -> None:
    keys = [key for _, members in groups for key in members]
    known = [identity_id for identity_id, _ in groups if identity_id is not None]
    if len(set(keys)) < len(keys):
        raise ValueError("a track is in two groups")
    if len(set(known)) < len(known):
        raise ValueError("an identity has two groups")
    if any(identity_id is None and not len(members) for identity_id, members in groups):
        raise ValueError("a new person needs at least one track")


def _known_or_new(session: Session, identity_id: int | None) -> int:
    row = IdentityRow() if identity_id is None else session.get(IdentityRow, identity_id)
    if row is None:
        raise _no_identity(identity_id)
    session.add(row)
    session.flush()
    return row.id


def _no_identity(identity_id: int | None) -> FacetrackError:
    return FacetrackError(f"there is no person {identity_id}; `facetrack people` lists those there are")


def _confidence(confidences: Mapping[int, float] | None, key: int) -> float | None:
    value = (confidences or {}).get(key)
    return None if value is None else float(value)


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or not name.isprintable() or _RESERVED_NAME.fullmatch(name):
        raise FacetrackError(
            f"{name!r} cannot name a person: it is empty, has control characters or reads like an id; choose another"
        )
    return name
