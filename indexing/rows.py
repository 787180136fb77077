"""Between domain values and rows: what is written for a tracking result, and what is read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, func, insert, select
from sqlalchemy.orm import Session

from indexing import emotion_rows
from indexing.tables import (
    EmbeddingRow,
    IdentityRow,
    Meta,
    Thumbnail,
    TrackArrays,
    TrackRow,
    Video,
    pack,
    unpack,
)
from indexing.types import Identity, TrackEmbeddings, TrackRecord, VideoRecord
from tracker.boxes import sizes
from tracker.errors import FacetrackError
from tracker.types import (
    LANDMARKS,
    Expressions,
    Float32,
    Image,
    Keyframes,
    Reason,
    Track,
    TrackingResult,
    VideoInfo,
)

JPEG_QUALITY = 90
"""OpenCV's quality of the thumbnails: no loss that the eye sees."""

VECTOR = np.dtype("<f4")
"""How a number of an embedding is stored."""

# ---- writing


def check(result: TrackingResult) -> None:
    """Check what the tables cannot.

    Raises:
        ValueError: if the result contradicts itself: times that fall, tracks beyond the frames, vectors of two lengths
            or with numbers that are not finite.
    """
    times = np.append(result.timestamps, result.end)
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise ValueError(f"{result.video.path}: the times of the frames and the end have to be finite and never fall")
    for track in result.tracks:
        frames = track.keyframes.frames
        if track.first_frame < 0 or track.end_frame > result.frame_count:
            raise ValueError(f"track {track.track_id} ends at {track.end_frame} of {result.frame_count} frames")
        if len(frames) and not track.first_frame <= frames.min() <= frames.max() < track.end_frame:
            raise ValueError(f"track {track.track_id} has keyframes outside of it: {frames}")
        if not np.isfinite(track.keyframes.embeddings).all():
            raise ValueError(f"track {track.track_id} has an embedding with numbers that are not finite")
        _check_expressions(result, track)
    if len(dimensions(track.keyframes for track in result.tracks)) > 1:
        raise ValueError(f"{result.video.path}: the embeddings differ in length")


def _check_expressions(result: TrackingResult, track: Track) -> None:
    shown, answered = track.expressions, np.isfinite(track.expressions.emotions).all(axis=1)
    frames = np.r_[track.first_frame - 1, shown.frames, track.end_frame]
    if (np.diff(frames) <= 0).any():
        raise ValueError(f"track {track.track_id} has expressions outside of it or not in order: {shown.frames}")
    if (answered != (shown.reasons == Reason.NONE)).any() or (answered & ~np.isfinite(shown.valence)).any():
        raise ValueError(f"track {track.track_id} has expressions with neither an answer nor a reason, or with half")
    if len(shown) and result.emotion_id is None:
        raise ValueError(f"track {track.track_id} has expressions, and nobody says of which model")


def dimensions(keyframes: Iterable[Keyframes]) -> set[int]:
    """Return the lengths of the vectors there are."""
    return {part.embeddings.shape[1] for part in keyframes if len(part)}


def check_embedder(session: Session, result: TrackingResult) -> None:
    """Check that the vectors of ``result`` may stand beside those in the database.

    Raises:
        FacetrackError: if they are of another embedder or of another length.
    """
    there = session.scalar(select(Video.embedder_id).limit(1))
    if there not in (None, result.embedder_id):
        raise FacetrackError(
            f"{result.video.path}: the database holds vectors of {there}, these are of {result.embedder_id}, and the "
            f"two cannot be compared; use --embedder {there}, another --db, or change all with `facetrack reembed`"
        )
    length = session.scalar(select(func.length(EmbeddingRow.vector)).limit(1))
    new = dimensions(track.keyframes for track in result.tracks)
    if length is not None and new - {length // VECTOR.itemsize}:
        raise FacetrackError(
            f"{result.video.path}: vectors of {result.embedder_id} in the database have {length // VECTOR.itemsize} "
            f"numbers, these have {new.pop()}; give the model another id, or use another --db"
        )


def insert_video(session: Session, result: TrackingResult, pictures: Sequence[bytes], *, enrolled: bool = False) -> int:
    """Insert a video and its tracks; return its id.

    Args:
        session: A session in a transaction.
        result: The video.
        pictures: The `jpeg` of each track's thumbnail, made before the transaction began to keep it short.
        enrolled: It is a photograph that was enrolled.
    """
    video = _video_row(result)
    video.enrolled = enrolled
    session.add(video)
    session.flush()
    if result.tracks:
        keys = _insert_tracks(session, video.id, result)
        session.execute(insert(TrackArrays), [_arrays(key, t) for key, t in zip(keys, result.tracks, strict=True)])
        thumbnails = [{"track_id": key, "jpeg": jpeg} for key, jpeg in zip(keys, pictures, strict=True) if jpeg]
        _insert(session, Thumbnail, thumbnails)
        keyframes = [(key, track.keyframes) for key, track in zip(keys, result.tracks, strict=True)]
        insert_embeddings(session, keyframes, result.embedder_id)
        for key, track in zip(keys, result.tracks, strict=True):
            emotion_rows.insert_expressions(session, key, track, result)
    return video.id


def _insert(session: Session, table: type[Any], rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        session.execute(insert(table), rows)


def _video_row(result: TrackingResult) -> Video:
    info = result.video
    return Video(
        path=info.path,
        content_hash=info.content_hash,
        width=info.width,
        height=info.height,
        fps=float(info.fps),
        duration=float(info.duration),
        is_image=info.is_image,
        frame_count=result.frame_count,
        end=float(result.end),
        detector_id=result.detector_id,
        embedder_id=result.embedder_id,
        settings=result.settings,
        added_at=datetime.now(UTC).isoformat(timespec="seconds"),
        emotion_id=result.emotion_id,
        affect_derived=result.affect_derived,
        timestamps=pack(result.timestamps),
        shots=pack(result.shots),
    )


def _insert_tracks(session: Session, video_id: int, result: TrackingResult) -> Sequence[int]:
    times = np.append(result.timestamps, result.end)
    rows = [
        {
            "video_id": video_id,
            "number": track.track_id,
            "shot": track.shot,
            "first_frame": track.first_frame,
            "end_frame": track.end_frame,
            "start": float(times[track.first_frame]),
            "end": float(times[track.end_frame]),
            "quality": float(track.keyframes.qualities.max(initial=0)),
            "size": float(np.median(sizes(track.boxes))),
        }
        for track in result.tracks
    ]
    return session.scalars(insert(TrackRow).returning(TrackRow.id, sort_by_parameter_order=True), rows).all()


def _arrays(key: int, track: Track) -> dict[str, Any]:
    return {
        "track_id": key,
        "boxes": pack(track.boxes),
        "scores": pack(track.scores),
        "sources": pack(track.sources),
        "landmarks": pack(track.landmarks),
    }


def insert_embeddings(session: Session, keyframes: Iterable[tuple[int, Keyframes]], model_id: str) -> None:
    """Insert the embeddings of tracks, given by their keys."""
    rows = [
        {
            "track_id": key,
            "frame": int(frame),
            "quality": float(quality),
            "model_id": model_id,
            "vector": vector.astype(VECTOR).tobytes(),
        }
        for key, part in keyframes
        for frame, quality, vector in zip(part.frames, part.qualities, part.embeddings, strict=True)
    ]
    _insert(session, EmbeddingRow, rows)


def jpeg(image: Image) -> bytes:
    """Return an ``(H, W, 3)`` uint8 BGR picture as a JPEG file; nothing for an empty one."""
    if not image.size:
        return b""
    from tracker.headless import cv2

    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f"a thumbnail of shape {image.shape} cannot be written as JPEG")
    return encoded.tobytes()


# ---- reading


def video_record(row: Video) -> VideoRecord:
    """Return the value of a row."""
    info = VideoInfo(row.path, row.content_hash, row.width, row.height, row.fps, row.duration, row.is_image)
    return VideoRecord(
        video_id=row.id,
        info=info,
        frame_count=row.frame_count,
        end=row.end,
        detector_id=row.detector_id,
        embedder_id=row.embedder_id,
        settings=row.settings,
        added_at=row.added_at,
        emotion_id=row.emotion_id,
        affect_derived=row.affect_derived,
        enrolled=row.enrolled,
    )


def track_records(session: Session, *conditions: ColumnElement[bool]) -> list[TrackRecord]:
    """Return the tracks that all ``conditions`` hold for, by video and number."""
    columns = (
        TrackRow.id,
        TrackRow.video_id,
        TrackRow.number,
        TrackRow.shot,
        TrackRow.first_frame,
        TrackRow.end_frame,
        TrackRow.start,
        TrackRow.end,
        TrackRow.quality,
        TrackRow.size,
        TrackRow.identity_id,
        TrackRow.confidence,
    )
    rows = session.execute(select(*columns).where(*conditions).order_by(TrackRow.video_id, TrackRow.number))
    return [TrackRecord(*row) for row in rows]


def full_tracks(session: Session, video_id: int) -> list[tuple[TrackRecord, Track]]:
    """Return the tracks of a video with their arrays, by number."""
    of_video = TrackRow.video_id == video_id
    joined = select(TrackArrays).join(TrackRow, TrackRow.id == TrackArrays.track_id).where(of_video)
    arrays = {row.track_id: row for row in session.scalars(joined)}
    rows = embeddings(session, of_video)
    # Row ids rise with the track and its frames, so each track's embeddings lie together.
    bounds = {int(key): np.flatnonzero(rows.track_keys == key) for key in np.unique(rows.track_keys)}
    none, shown = np.empty(0, np.int64), emotion_rows.expressions(session, of_video)
    return [
        (record, _track(record, arrays[record.key], rows[bounds.get(record.key, none)], shown.get(record.key)))
        for record in track_records(session, of_video)
    ]


def _track(record: TrackRecord, arrays: TrackArrays, rows: TrackEmbeddings, shown: Expressions | None) -> Track:
    return Track(
        track_id=record.track_id,
        shot=record.shot,
        first_frame=record.first_frame,
        boxes=unpack(arrays.boxes, np.float32, 4),
        scores=unpack(arrays.scores, np.float32),
        sources=unpack(arrays.sources, np.uint8),
        landmarks=unpack(arrays.landmarks, np.float32, LANDMARKS, 2),
        keyframes=Keyframes(rows.frames, rows.qualities, rows.vectors),
        expressions=Expressions.empty() if shown is None else shown,
    )


def embeddings(session: Session, *conditions: ColumnElement[bool]) -> TrackEmbeddings:
    """Return the embeddings of the tracks that all ``conditions`` hold for, in order of their row ids."""
    columns = (
        EmbeddingRow.id,
        EmbeddingRow.track_id,
        EmbeddingRow.frame,
        EmbeddingRow.quality,
        EmbeddingRow.model_id,
        EmbeddingRow.vector,
    )
    wanted = select(*columns).order_by(EmbeddingRow.id)
    if conditions:
        wanted = wanted.join(TrackRow, TrackRow.id == EmbeddingRow.track_id).where(*conditions)
    rows = session.execute(wanted).all()
    if not rows:
        return TrackEmbeddings([], [], [], [], np.empty((0, 0), np.float32))  # type: ignore[arg-type]
    ids, keys, frames, qualities, models, vectors = zip(*rows, strict=True)
    return TrackEmbeddings(ids, keys, frames, qualities, _matrix(vectors), models[0])  # type: ignore[arg-type]


def _matrix(vectors: Sequence[bytes]) -> Float32:
    return np.frombuffer(b"".join(vectors), VECTOR).reshape(len(vectors), -1).astype(np.float32)


def identities(session: Session, *, include_empty: bool) -> list[Identity]:
    """Return the identities by id; those without a track only where asked."""
    wanted = select(IdentityRow).order_by(IdentityRow.id)
    if not include_empty:
        wanted = wanted.where(IdentityRow.id.in_(select(TrackRow.identity_id)))
    return [Identity(row.id, row.name, row.ignored) for row in session.scalars(wanted)]


def meta(session: Session, key: str, default: Any = None) -> Any:
    """Return the value under ``key``."""
    row = session.get(Meta, key)
    return default if row is None else row.value
