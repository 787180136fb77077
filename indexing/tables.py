"""The tables of the database as SQLAlchemy sees them, and the form that arrays take in them."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Dialect, Float, ForeignKey, Integer, LargeBinary, Text, TypeDecorator, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_RAW, _DEFLATED = b"r", b"z"

_CHUNK = 5_000
"""SQLite takes at least 32,766 values in one statement."""


def chunks(values: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield ``values`` in parts small enough for one statement."""
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def pack(array: NDArray[Any]) -> bytes:
    """Return ``array`` as a blob: ``r`` and its little-endian bytes, or ``z`` and them deflated where that is shorter.

    Deflated bytes are sorted by their place in the number first (all lowest bytes, then the next ones): the high
    bytes of neighbouring floats are alike, which makes boxes and times about half as long.

    Example:
        >>> packed = pack(np.zeros(1000, np.float32))
        >>> len(packed) < 50, unpack(packed, np.float32).shape
        (True, (1000,))
    """
    values = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    raw = values.tobytes()
    planes = np.frombuffer(raw, np.uint8).reshape(-1, values.dtype.itemsize).T
    deflated = zlib.compress(planes.tobytes(), 6)
    return _DEFLATED + deflated if len(deflated) < len(raw) else _RAW + raw


def unpack(blob: bytes, dtype: type[np.generic], *shape: int) -> NDArray[Any]:
    """Return the array that `pack` made ``blob`` of, in rows of ``shape``."""
    little = np.dtype(dtype).newbyteorder("<")
    raw = blob[1:]
    if blob[:1] == _DEFLATED:
        planes = np.frombuffer(zlib.decompress(raw), np.uint8)
        raw = planes.reshape(little.itemsize, -1).T.tobytes()
    return np.frombuffer(raw, little).astype(dtype).reshape(-1, *shape)


class WholeNumber(TypeDecorator[int]):
    """An integer; numpy's are taken too, which the driver of SQLite would store as blobs."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:
        """Return what SQLite stores."""
        return None if value is None else int(value)


class PathText(TypeDecorator[Path]):
    """A path as text; as the bytes of the file system where the name is no valid Unicode."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Path | None, dialect: Dialect) -> str | bytes | None:
        """Return what SQLite stores."""
        if value is None:
            return None
        try:
            return os.fspath(value).encode().decode()
        except UnicodeEncodeError:
            return os.fsencode(value)

    def process_result_value(self, value: str | bytes | None, dialect: Dialect) -> Path | None:
        """Return the path."""
        return None if value is None else Path(os.fsdecode(value))


class JsonText(TypeDecorator[Any]):
    """A JSON value as text. A column of type JSON would be numeric to SQLite, which makes ``"1.0"`` a number."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str:
        """Return what SQLite stores."""
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """Return the value."""
        return None if value is None else json.loads(value)


class Base(DeclarativeBase):
    """The tables."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        int: WholeNumber,
        float: Float,
        str: Text,
        bytes: LargeBinary,
        Path: PathText,
        dict[str, Any]: JsonText,
    }


class Meta(Base):
    """A named value, as JSON: the calibration, the revision of the embeddings."""

    __tablename__ = "meta"

    key: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[Any] = mapped_column(JsonText)


class Video(Base):
    """A video, its times (float64) and the first frames of its shots (int32), both packed."""

    __tablename__ = "videos"
    __table_args__ = (
        UniqueConstraint("content_hash", name="uq_videos_content_hash"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[Path]
    content_hash: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    fps: Mapped[float]
    duration: Mapped[float]
    is_image: Mapped[bool]
    frame_count: Mapped[int]
    end: Mapped[float]
    detector_id: Mapped[str]
    embedder_id: Mapped[str]
    settings: Mapped[dict[str, Any]]
    added_at: Mapped[str]
    emotion_id: Mapped[str | None]
    affect_derived: Mapped[bool] = mapped_column(server_default="1")
    enrolled: Mapped[bool] = mapped_column(server_default="0", default=False)
    timestamps: Mapped[bytes] = mapped_column(deferred=True)
    shots: Mapped[bytes] = mapped_column(deferred=True)


class IdentityRow(Base):
    """A person."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("name", name="uq_identities_name"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    ignored: Mapped[bool] = mapped_column(server_default="0", default=False)


class CorrectionRow(Base):
    """An entry of the log of what people said, see `indexing.corrections.Entry`."""

    __tablename__ = "corrections"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[str]
    kind: Mapped[str]
    identities: Mapped[list[int]] = mapped_column(JsonText)
    pins: Mapped[dict[str, Any]]
    bans: Mapped[list[list[int]]] = mapped_column(JsonText)
    name: Mapped[str | None]
    reason: Mapped[str | None]
    moved: Mapped[dict[str, Any]]
    created: Mapped[list[int]] = mapped_column(JsonText)
    confidences: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    undone_by: Mapped[int | None] = mapped_column(ForeignKey("corrections.id"))


class TrackRow(Base):
    """A track: where it is, how good, and whose."""

    __tablename__ = "tracks"
    __table_args__ = (
        UniqueConstraint("video_id", "number", name="uq_tracks_video_id_number"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"))
    number: Mapped[int]
    shot: Mapped[int]
    first_frame: Mapped[int]
    end_frame: Mapped[int]
    start: Mapped[float]
    end: Mapped[float]
    quality: Mapped[float]
    size: Mapped[float]
    identity_id: Mapped[int | None] = mapped_column(ForeignKey("identities.id", ondelete="SET NULL"), index=True)
    confidence: Mapped[float | None]


class TrackArrays(Base):
    """The arrays of a track, packed: one row a frame."""

    __tablename__ = "track_arrays"

    track_id: Mapped[int] = mapped_column(ForeignKey("tracks.id", ondelete="CASCADE"), primary_key=True)
    boxes: Mapped[bytes]
    scores: Mapped[bytes]
    sources: Mapped[bytes]
    landmarks: Mapped[bytes]


class AbsentTrack(Base):
    """Where a track was that went with its video and that an entry of the log speaks of; its boxes are packed."""

    __tablename__ = "absent_tracks"

    track_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    video_id: Mapped[int]
    content_hash: Mapped[str]
    first_frame: Mapped[int]
    boxes: Mapped[bytes]
    identity_id: Mapped[int | None]


class Thumbnail(Base):
    """The best view of a track as a JPEG file."""

    __tablename__ = "thumbnails"

    track_id: Mapped[int] = mapped_column(ForeignKey("tracks.id", ondelete="CASCADE"), primary_key=True)
    jpeg: Mapped[bytes]


class EmbeddingRow(Base):
    """An embedding: little-endian float32."""

    __tablename__ = "embeddings"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    track_id: Mapped[int] = mapped_column(ForeignKey("tracks.id", ondelete="CASCADE"), index=True)
    frame: Mapped[int]
    quality: Mapped[float]
    model_id: Mapped[str]
    vector: Mapped[bytes]


class _Feelings:
    angry: Mapped[float | None]
    disgust: Mapped[float | None]
    fear: Mapped[float | None]
    happy: Mapped[float | None]
    sad: Mapped[float | None]
    surprise: Mapped[float | None]
    neutral: Mapped[float | None]


class _Affect:
    valence: Mapped[float | None]
    arousal: Mapped[float | None]
    affect_source: Mapped[str | None]


class ExpressionRow(_Feelings, _Affect, Base):
    """A sample of what a face shows; nothing is known where a column is NULL."""

    __tablename__ = "expressions"
    __table_args__ = ({"sqlite_with_rowid": False},)

    track_id: Mapped[int] = mapped_column(ForeignKey("tracks.id", ondelete="CASCADE"), primary_key=True)
    frame: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[float]
    model_id: Mapped[str]
    emotion: Mapped[str | None]
    reason: Mapped[str | None]
    pose_pitch: Mapped[float | None]
    pose_yaw: Mapped[float | None]
    pose_roll: Mapped[float | None]
    gaze_x: Mapped[float | None]
    gaze_y: Mapped[float | None]
    mouth_opening: Mapped[float | None]
    eye_opening: Mapped[float | None]


class _OfIdentity:
    __table_args__: Any = ({"sqlite_with_rowid": False},)

    video_id: Mapped[int] = mapped_column(ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True)
    identity_id: Mapped[int] = mapped_column(
        ForeignKey("identities.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class CurveRow(_OfIdentity, _Feelings, _Affect, Base):
    """A point of the smoothed curve of an identity in a video; it stands for ``seconds`` from its time on."""

    __tablename__ = "emotion_curves"

    time: Mapped[float] = mapped_column(primary_key=True)
    seconds: Mapped[float]
    model_id: Mapped[str]
    emotion: Mapped[str | None]


class EpisodeRow(_OfIdentity, Base):
    """A stretch of time in which an identity shows one emotion."""

    __tablename__ = "emotion_episodes"

    onset: Mapped[float] = mapped_column(primary_key=True)
    apex: Mapped[float]
    offset: Mapped[float]
    emotion: Mapped[str]
    mean: Mapped[float]
    peak: Mapped[float]
    model_id: Mapped[str]


class SummaryRow(_OfIdentity, _Feelings, Base):
    """What an identity shows in a video, all in all: the share of time of each class."""

    __tablename__ = "emotion_summaries"

    seconds: Mapped[float]
    mean_valence: Mapped[float | None]
    mean_arousal: Mapped[float | None]
    affect_source: Mapped[str]
    model_id: Mapped[str]


class TransitionRow(_OfIdentity, Base):
    """How often an episode of one emotion was followed by one of another; never 0."""

    __tablename__ = "emotion_transitions"

    before: Mapped[str] = mapped_column(primary_key=True)
    after: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]


class JobRow(Base):
    """A job of the queue, see `indexing.jobs.Job`."""

    __tablename__ = "jobs"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[Path]
    content_hash: Mapped[str] = mapped_column(index=True)
    settings: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(index=True)
    created_at: Mapped[str]
    started_at: Mapped[str | None]
    finished_at: Mapped[str | None]
    frames_done: Mapped[int]
    frames_total: Mapped[int | None]
    message: Mapped[str | None]
    video_id: Mapped[int | None] = mapped_column(ForeignKey("videos.id", ondelete="SET NULL"), index=True)
    attempts: Mapped[int]
    crashes: Mapped[int]
    worker: Mapped[str | None]
    lease: Mapped[float | None]
    revision: Mapped[int] = mapped_column(index=True, unique=True)
