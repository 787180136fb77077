"""The rows that the frame-wise formats share: one for each face in each frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from indexing.store import Store
from indexing.types import Identity, TrackRecord, VideoRecord
from tracker.types import Source, Track


@dataclass(frozen=True, slots=True)
class FrameRow:
    """One face in one frame, or a frame without a face: ``success`` is 0 and all that is known of a face is None.

    Attributes:
        video: The path as it was added.
        frame: Decoded frames before this one.
        timestamp: Presentation time in seconds.
        face_id: Slot of the face in the frame, from 0, in the order of track ids.
        track_id: Number of the track in its video.
        identity: Identity id; None while the person is unknown.
        name: The person's name, or "Person 3".
        success: 1 for a face, 0 for a frame without one.
        confidence: The detector's score, or how far flow vouches for the box, in [0, 1].
        source: ``detected``, ``flow`` or ``interpolated``.
        quality: Quality of the track, in [0, 1].
        x: Left side of the box in source pixels.
        y: Upper side of the box.
        w: Width of the box.
        h: Height of the box.
    """

    video: str
    frame: int
    timestamp: float | None
    face_id: int | None = None
    track_id: int | None = None
    identity: int | None = None
    name: str | None = None
    success: int = 0
    confidence: float | None = None
    source: str | None = None
    quality: float | None = None
    x: float | None = None
    y: float | None = None
    w: float | None = None
    h: float | None = None


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(FrameRow))
"""Names of the columns, in order; a field added to `FrameRow` is a column of every frame-wise format."""

_NAMES = {source: source.name.lower() for source in Source}


def frame_rows(store: Store, video: VideoRecord) -> Iterator[FrameRow]:
    """Yield the rows of ``video`` in order of frames, then track ids.

    Rows are made one by one from the tracks that are alive, so an export takes no more memory than the tracks do.
    """
    pairs = sorted(store.tracks(video.video_id), key=lambda pair: (pair[1].first_frame, pair[1].track_id))
    people = {identity.identity_id: identity for identity in store.identities()}
    path, alive, upcoming = str(video.info.path), list[tuple[TrackRecord, Track]](), 0
    for frame, timestamp in enumerate(store.timestamps(video.video_id)):
        alive = [pair for pair in alive if pair[1].end_frame > frame]
        while upcoming < len(pairs) and pairs[upcoming][1].first_frame <= frame:
            alive.append(pairs[upcoming])
            upcoming += 1
        yield from _rows_of_frame(path, frame, _number(timestamp, 6), alive, people)


def _rows_of_frame(
    path: str,
    frame: int,
    timestamp: float | None,
    alive: Sequence[tuple[TrackRecord, Track]],
    people: Mapping[int, Identity],
) -> Iterator[FrameRow]:
    if not alive:
        yield FrameRow(path, frame, timestamp)
    for slot, (record, track) in enumerate(sorted(alive, key=lambda pair: pair[1].track_id)):
        position = frame - track.first_frame
        x1, y1, x2, y2 = (float(side) for side in track.boxes[position])
        person = None if record.identity_id is None else people[record.identity_id]
        yield FrameRow(
            video=path,
            frame=frame,
            timestamp=timestamp,
            face_id=slot,
            track_id=track.track_id,
            identity=record.identity_id,
            name=None if person is None else person.label,
            success=1,
            confidence=_number(track.scores[position], 4),
            source=_NAMES[Source(track.sources[position])],
            quality=_number(record.quality, 4),
            x=_number(x1, 2),
            y=_number(y1, 2),
            w=_number(x2 - x1, 2),
            h=_number(y2 - y1, 2),
        )


def _number(value: float, digits: int) -> float | None:
    return round(float(value), digits) if math.isfinite(value) else None
