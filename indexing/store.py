"""The database of videos, tracks and people: domain values in and out.

It is the only truth; indexes, clusters and exports are rebuilt from it. The tables (see `indexing.tables`) may be read
by hand; ``SCHEMA.md`` beside this file describes them, with queries to begin with.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.orm import InstrumentedAttribute, Session

from indexing import correction_rows, emotion_rows, rows, succession, timeline
from indexing.corrections import NEW, Entry
from indexing.database import explained, open_engine, pragma
from indexing.succession import Former
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
    Verdicts,
    VideoRecord,
)
from tracker.errors import FacetrackError
from tracker.types import Float64, Int32, Keyframes, Track, TrackingResult

logger = logging.getLogger(__name__)

_REVISION = "embeddings_revision"
_CONTENT_REVISION = "revision"
_RESERVED_NAME = re.compile(r"\d+|person\s+\d+|unknown", re.IGNORECASE)
_PERSON = re.compile(r"(?:person\s+)?(\d+)", re.IGNORECASE)


class _Open(threading.local):
    """The transaction that a thread has open, and whether something that has to be overwritten was deleted in it."""

    session: Session | None = None
    has_erased: bool = False


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
        self._open = _Open()

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

    def add_video(self, result: TrackingResult, *, replace: bool = False, enrolled: bool = False) -> int:
        """Add a video with its tracks, all of it or (on any error) nothing; its people are unknown at first.

        If its content was there before, what was said of the faces in it holds again.

        Args:
            result: What the tracker found; ``settings`` has to be JSON.
            replace: Put it in place of an earlier result for the same content instead of refusing it; tracks that show
                the face of an earlier one are of the same person, and what was said of that one holds for them.
            enrolled: It is a photograph that tells how a person looks: nobody appears in it.

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
            video_id = rows.insert_video(session, result, pictures, enrolled=enrolled)
            succession.hand_over(session, video_id, replaced or [], result.tracks)
        if replaced is not None:
            self._scrub()
        return video_id

    def find_video(self, content_hash: str) -> VideoRecord | None:
        """Return the video whose file has this SHA-256, whatever its path; None if there is none."""
        with self._read() as session:
            row = session.scalar(select(Video).where(Video.content_hash == content_hash))
            return None if row is None else rows.video_record(row)

    def videos(self, *, enrolled: bool = False) -> list[VideoRecord]:
        """Return the videos in the order they were added.

        Args:
            enrolled: Among them the photographs that were enrolled.
        """
        with self._read() as session:
            found = [rows.video_record(row) for row in session.scalars(select(Video).order_by(Video.id))]
        return [video for video in found if enrolled or not video.enrolled]

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
        videos = self.videos(enrolled=True)
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

        What was said of its faces is kept with the places of their boxes, and holds again when the content comes back.

        Raises:
            FacetrackError: if there is no such video.
        """
        self.video(video_id)
        with self._write() as session:
            succession.leave(session, video_id)
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

    def people(self, include_empty: bool = False, *, ignored: bool = False) -> list[Person]:
        """Return what is known of each identity, by falling screen time.

        Args:
            include_empty: Among them those without a track.
            ignored: Among them those who are ignored.
        """
        with self._read() as session:
            identities = rows.identities(session, include_empty=include_empty)
            records = rows.track_records(session, TrackRow.identity_id.is_not(None))
            paths = {row.id: row.path for row in session.execute(select(Video.id, Video.path))}
            pictured = set(session.scalars(select(Thumbnail.track_id)))
            photographs = set(session.scalars(select(Video.id).where(Video.enrolled)))
        of_identity = defaultdict[int | None, list[TrackRecord]](list)
        for record in records:
            of_identity[record.identity_id].append(record)
        people = [
            _person(identity, of_identity[identity.identity_id], paths, pictured, photographs)
            for identity in identities
            if ignored or not identity.ignored
        ]
        return sorted(people, key=lambda p: (-p.screen_time, -p.appearances, p.identity.identity_id))

    def appearances(
        self,
        identity_id: int | None = None,
        video_id: int | None = None,
        *,
        gap: float = APPEARANCE_GAP,
        ignored: bool = False,
        min_quality: float = 0.0,
    ) -> list[Appearance]:
        """Return who is seen when, by video, start and identity; nobody appears in a photograph that was enrolled.

        Args:
            identity_id: One identity, ignored or not; None: all, and each track of an unknown person by itself.
            video_id: One video; None: all.
            gap: Seconds; shorter gaps (and equal ones) between the tracks of an identity are closed.
            ignored: Those of people who are ignored too.
            min_quality: Least quality of a track.
        """
        with self._read() as session:
            photographs = set(session.scalars(select(Video.id).where(Video.enrolled)))
            hidden = set() if ignored or identity_id is not None else _ignored(session)
        records = self.track_records(video_id, identity_id)
        seen = [r for r in records if r.video_id not in photographs and r.identity_id not in hidden]
        return timeline.appearances([r for r in seen if r.quality >= min_quality], gap=gap)

    def assign(
        self,
        groups: Sequence[tuple[int | None, Sequence[int]]],
        *,
        confidences: Mapping[int, float] | None = None,
        among: Collection[int] | None = None,
    ) -> list[int]:
        """Say anew whose tracks are, in one transaction; a track in no group is of an unknown person afterwards.

        Args:
            groups: A known identity (or None for a new person) and the keys of its tracks, each key once.
            confidences: Track key -> probability in [0, 1] that it is of its group.
            among: Keys of the tracks that this is about: all others stay whose they are, and are not looked at in the
                groups; None: all.

        Returns:
            The identity of each group.

        Raises:
            FacetrackError: if there is no such identity or track.
            ValueError: if a track is in two groups, an identity has two, or a new person has no track.
        """
        chosen = None if among is None else frozenset(among)
        if chosen is not None:
            groups = [(identity_id, [key for key in keys if key in chosen]) for identity_id, keys in groups]
        _check_groups(groups)
        with self._write() as session:
            there = set(session.scalars(select(TrackRow.id)))
            _check_there(there, [*(chosen or ()), *(key for _, keys in groups for key in keys)])
            ids = [_known_or_new(session, identity_id) for identity_id, _ in groups]
            owners: dict[int, int | None] = dict.fromkeys(there if chosen is None else chosen)
            owners.update({key: person for person, (_, keys) in zip(ids, groups, strict=True) for key in keys})
            correction_rows.move(session, owners, {key: _confidence(confidences, key) for key in owners})
        return ids

    def forget(self, identity_id: int) -> None:
        """Erase a person: names, tracks, embeddings, pictures, enrolled photographs and what was said of them.

        The bytes are overwritten and the id is not used again. Whoever was merged into the person is erased with them.
        The vector index beside the database is deleted too, as it holds the vectors; it is rebuilt at the next use.

        Raises:
            FacetrackError: if there is no such identity.
        """
        with self._write() as session:
            _check_people(session, [identity_id])
            correction_rows.forget(session, identity_id)
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
        raise self._unknown("person", text, [one.label for one in self.identities() if not one.ignored])

    # ---- what people said

    def log(self) -> list[Entry]:
        """Return the log of what people said, oldest first."""
        with self._read() as session:
            return correction_rows.log(session)

    def verdicts(self) -> Verdicts:
        """Return what follows from the log for the tracks and people that there are."""
        with self._read() as session:
            return correction_rows.verdicts(session)

    def correct(self, entry: Entry) -> Entry:
        """Append an entry to the log and do what it says, in one transaction; see `indexing.gallery` for the verbs.

        Tracks go to the people they are pinned to; guessed tracks that share a frame with them, or are banned, are
        nobody's. Contradictions are not looked for: of two entries the later one holds.

        Args:
            entry: The entry; `indexing.corrections.NEW` in it stands for a new person.

        Returns:
            The entry as it was written.

        Raises:
            FacetrackError: if there is no such person or track, or another person has the name.
        """
        with self._write() as session:
            _check_people(session, [person for person in entry.identities if person != NEW])
            _check_keys(session, entry.track_keys)
            if entry.kind in ("name", "enroll"):
                entry = replace(entry, name=_free_name(session, entry))
            if NEW in entry.identities:
                person = _known_or_new(session, None)
                entry = replace(entry.founded(person), created=(person,))
            return correction_rows.correct(session, entry)

    def rename(self, identity_id: int, name: str | None, *, reason: str | None = None) -> Entry:
        """Name a person; None takes the name away. The best picture of the person is theirs from now on.

        Raises:
            FacetrackError: if there is no such identity, another has the name, or it reads like an id.
        """
        best = self.best_track(identity_id)
        pins = {best: identity_id} if best is not None and name is not None else {}
        return self.correct(Entry("name", (identity_id,), pins=pins, name=name, reason=reason))

    def best_track(self, identity_id: int, *, without: Collection[int] = ()) -> int | None:
        """Return the key of the track with the best picture of a person, ``without`` some; None if there is none."""
        of_person = TrackRow.identity_id == identity_id
        with self._read() as session:
            records = rows.track_records(session, of_person)
            pictured = set(session.scalars(select(Thumbnail.track_id).join(TrackRow).where(of_person)))
        return timeline.best_track([record for record in records if record.key not in without], pictured)

    def owners(self) -> dict[int, int | None]:
        """Return, for the key of each track, whose it is; None: unknown."""
        with self._read() as session:
            return {key: person for key, (person, _) in correction_rows.states(session).items()}

    def absent_tracks(self) -> list[TrackRecord]:
        """Return the tracks that went with their video and that entries of the log speak of, by key.

        Of these only key, video and frames are known.
        """
        with self._read() as session:
            return succession.absent_records(session)

    def settle(self, entry: Entry, tracks: Iterable[TrackRecord], people: Collection[int]) -> Entry:
        """Write into the newest entry what followed from it, for undo to put it back.

        Args:
            entry: As `correct` returned it.
            tracks: The tracks as they were before it.
            people: The identities that there were before it.

        Returns:
            The entry with all that changed.
        """
        before = {track.key: (track.identity_id, track.confidence) for track in tracks}
        with self._write() as session:
            return correction_rows.settle(session, entry.entry_id, before, people)

    def undo(self, count: int = 1) -> tuple[list[Entry], frozenset[int]]:
        """Take back the last ``count`` entries that hold, in one transaction.

        Returns:
            The entries, newest first, and the tracks that could not be put back and want to be identified anew.

        Raises:
            FacetrackError: if there are fewer; nothing is changed then.
        """
        with self._write() as session:
            there = [entry for entry in correction_rows.log(session) if entry.holds]
            if not 1 <= count <= len(there):
                raise FacetrackError(
                    f"{count} entries cannot be undone: the log has {len(there)} that hold; give 1 to that many, and "
                    "see `facetrack log`"
                )
            entries = there[: -count - 1 : -1]
            _, unsettled = correction_rows.undo(session, entries)
        if any(entry.kind == "enroll" for entry in entries):
            self._scrub()
        return entries, unsettled

    # ---- emotions

    def emotion_curves(
        self, identity_id: int | None = None, video_id: int | None = None, *, ignored: bool = False
    ) -> list[EmotionCurve]:
        """Return what identities show over time, smoothed, by video and identity; see `indexing.emotions.smooth`.

        Args:
            identity_id: One identity, ignored or not; None: all.
            video_id: One video; None: all.
            ignored: Of people who are ignored too.
        """
        with self._read() as session:
            hidden = set() if ignored or identity_id is not None else _ignored(session)
            return [row for row in emotion_rows.curves(session, identity_id, video_id) if row.identity_id not in hidden]

    def episodes(
        self, identity_id: int | None = None, video_id: int | None = None, *, ignored: bool = False
    ) -> list[Episode]:
        """Return the episodes by video, identity and time; see `indexing.emotions.episodes`.

        Args:
            identity_id: One identity, ignored or not; None: all.
            video_id: One video; None: all.
            ignored: Of people who are ignored too.
        """
        with self._read() as session:
            hidden = set() if ignored or identity_id is not None else _ignored(session)
            return [
                row for row in emotion_rows.episodes(session, identity_id, video_id) if row.identity_id not in hidden
            ]

    def emotion_summaries(
        self, identity_id: int | None = None, video_id: int | None = None, *, ignored: bool = False
    ) -> list[EmotionSummary]:
        """Return what identities show all in all, by video and identity; see `indexing.emotions.summary`.

        Args:
            identity_id: One identity, ignored or not; None: all.
            video_id: One video; None: all.
            ignored: Of people who are ignored too.
        """
        with self._read() as session:
            hidden = set() if ignored or identity_id is not None else _ignored(session)
            return [
                row for row in emotion_rows.summaries(session, identity_id, video_id) if row.identity_id not in hidden
            ]

    def refresh_emotions(self) -> None:
        """Make curves, episodes and summaries anew; needed only where somebody else changed the tables."""
        with self._write() as session:
            emotion_rows.refresh(session, set(emotion_rows.owners(session).values()))

    # ---- values

    def get_meta(self, key: str, default: Any = None) -> Any:
        """Return the JSON value that is kept under ``key``; ``default`` if none is."""
        with self._read() as session:
            return rows.meta(session, key, default)

    def set_meta(self, key: str, value: Any, *, silent: bool = False) -> None:
        """Keep ``value``, anything that JSON can say, under ``key``.

        Args:
            key: A name.
            value: What is kept.
            silent: Nothing that is told of videos and people follows from it: `revision` stays as it is.

        Raises:
            ValueError: if the key is one that the database keeps itself.
        """
        if key in (_REVISION, _CONTENT_REVISION):
            raise ValueError(f"{key!r} is kept by the database itself")
        with self._write(silent=silent) as session:
            session.merge(Meta(key=key, value=value))

    @property
    def revision(self) -> str:
        """A token that is another one after every change of what is stored, and never the same again.

        The queue of jobs does not count: what is told of videos and people holds while a job goes on.
        """
        return str(self.get_meta(_CONTENT_REVISION))

    # ---- transactions

    def session(self, *, write: bool) -> AbstractContextManager[Session]:
        """Return a transaction for a module that keeps a table of its own in this database, as `indexing.jobs` does.

        It is committed at the end of the block, and rolled back by any error. `revision` stays as it is.

        Args:
            write: Wait for other writers and keep them out; else what is read is of one moment.
        """
        return self._write(silent=True) if write else self._read()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make one transaction of all that this thread reads and writes inside: all of it or (on any error) nothing.

        What is read inside does not change meanwhile, as no other thread or process can write: keep out what is slow.
        One inside of another is a part of it that fails by itself.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "facetrack.db") as store:
            ...     with store.transaction():
            ...         store.set_meta("visits", store.get_meta("visits", 0) + 1)
            ...     store.get_meta("visits")
            1
        """
        with self._write() as session:
            if self._open.session is not None:
                yield
                return
            self._open.session, self._open.has_erased = session, False
            try:
                yield
            finally:
                self._open.session = None
        if self._open.has_erased:
            self._scrub()

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
        return self._session("DEFERRED") if self._open.session is None else nullcontext(self._open.session)

    @contextmanager
    def _write(self, *, silent: bool = False) -> Iterator[Session]:
        # Taking the lock at once waits for other writers; taking it after a read would fail where another one wrote.
        joined = self._session("IMMEDIATE") if self._open.session is None else _part(self._open.session)
        with joined as session:
            yield session
            if not silent:
                # A random token, not a counter: a copy of the database that goes its own way never meets it again.
                session.merge(Meta(key=_CONTENT_REVISION, value=secrets.token_hex(16)))

    def _scrub(self) -> None:
        # Deleted faces would live on in the log of the database and in the vectors of the index.
        if self._open.session is not None:
            self._open.has_erased = True
            return
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


@contextmanager
def _part(session: Session) -> Iterator[Session]:
    """Give a part of a transaction that fails by itself; what it loaded is not what the next part sees."""
    with session.begin_nested():
        yield session
    session.expire_all()


def _make_room(session: Session, result: TrackingResult, *, replace: bool) -> list[Former] | None:
    """Delete an earlier result for the same content; return the tracks it had, None where there was none."""
    there = session.scalar(select(Video).where(Video.content_hash == result.video.content_hash))
    if there is None:
        return None
    if not replace:
        raise FacetrackError(
            f"{result.video.path}: the same content is in the database as video {there.id} ({there.path}); "
            "remove that one first or replace it"
        )
    return succession.leave(session, there.id)


def _check_keys(session: Session, keys: Iterable[int]) -> None:
    _check_there(set(session.scalars(select(TrackRow.id))), keys)


def _check_there(there: Collection[int], keys: Iterable[int]) -> None:
    unknown = set(keys).difference(there)
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


def _check_people(session: Session, people: Iterable[int]) -> None:
    for person in people:
        if session.get(IdentityRow, person) is None:
            raise _no_identity(person)


def _ignored(session: Session) -> set[int | None]:
    return set(session.scalars(select(IdentityRow.id).where(IdentityRow.ignored)))


def _free_name(session: Session, entry: Entry) -> str | None:
    """Return the name of an entry as it is stored, if nobody else has it."""
    if entry.name is None:
        return None
    name = checked_name(entry.name)
    others = select(IdentityRow.id, IdentityRow.name).where(IdentityRow.id.not_in(entry.identities))
    for other in session.execute(others):
        if (other.name or "").casefold() == name.casefold():
            raise FacetrackError(
                f"Person {other.id} is called {other.name!r} already; names are unique; choose another, or merge them"
            )
    return name


def _person(
    identity: Identity,
    records: Sequence[TrackRecord],
    paths: Mapping[int, Path],
    pictured: Collection[int],
    photographs: Collection[int],
) -> Person:
    """Return what is known of an identity; an enrolled photograph is its picture where there is no other."""
    seen = [record for record in records if record.video_id not in photographs]
    person = timeline.person(identity, seen, paths, pictured)
    return person if seen else replace(person, best_track=timeline.best_track(records, pictured))


def _no_identity(identity_id: int | None) -> FacetrackError:
    return FacetrackError(f"there is no person {identity_id}; `facetrack people` lists those there are")


def _confidence(confidences: Mapping[int, float] | None, key: int) -> float | None:
    value = (confidences or {}).get(key)
    return None if value is None else float(value)


def checked_name(name: str) -> str:
    """Return a name without space around it.

    Raises:
        FacetrackError: if it is empty, has control characters or reads like an id.
    """
    name = name.strip()
    if not name or not name.isprintable() or _RESERVED_NAME.fullmatch(name):
        raise FacetrackError(
            f"{name!r} cannot name a person: it is empty, has control characters or reads like an id; choose another"
        )
    return name
