"""The rows that the frame-wise formats share: one for each face in each frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.emotions import per_frame
from indexing.store import Store
from indexing.types import Identity, TrackRecord, VideoRecord
from tracker.types import EMOTIONS, Float32, Float64, Source, Track


@dataclass(frozen=True, slots=True)
class FrameRow:
    """One face in one frame, or a frame without a face: ``success`` is 0 and all that is known of a face is None.

    Attributes:
        video: The path as it was added.
        frame: Decoded frames before this one.
        timestamp: Presentation time in seconds.
        face_id: Slot of the face among those of the frame that are exported, from 0, in the order of track ids.
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
        pose_Rx: Pitch of the head in radians, about OpenFace's axes; see `tracker.types.POSE`.
        pose_Ry: Yaw.
        pose_Rz: Roll.
        gaze_angle_x: Gaze to the right of the image in radians, mean of both eyes, in world coordinates.
        gaze_angle_y: Gaze downwards.
        emotion: Label of the highest of the next seven.
        angry: Probability in [0, 1].
        disgust: The same.
        fear: The same.
        happy: The same.
        sad: The same.
        surprise: The same.
        neutral: The same.
        valence: Unpleasant to pleasant, in [-1, 1].
        arousal: Calm to excited, in [-1, 1].
        emotion_source: ``sampled``, or ``interpolated`` between two samples, with ``+derived`` where valence and
            arousal are expectations over the classes; or why there is no emotion: ``small``, ``blurred``, ``turned``,
            ``unclear``. None where nothing was sampled.
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
    pose_Rx: float | None = None  # noqa: N815 - OpenFace's name
    pose_Ry: float | None = None  # noqa: N815
    pose_Rz: float | None = None  # noqa: N815
    gaze_angle_x: float | None = None
    gaze_angle_y: float | None = None
    emotion: str | None = None
    angry: float | None = None
    disgust: float | None = None
    fear: float | None = None
    happy: float | None = None
    sad: float | None = None
    surprise: float | None = None
    neutral: float | None = None
    valence: float | None = None
    arousal: float | None = None
    emotion_source: str | None = None

    @property
    def cells(self) -> tuple[Any, ...]:
        """The values of `COLUMNS`, in order."""
        # dataclasses.astuple copies each value and takes longer than all the rest of an export.
        cells: tuple[Any, ...] = _CELLS(self)
        return cells

    @property
    def emotions(self) -> tuple[float | None, ...]:
        """The probabilities of `tracker.types.EMOTIONS`."""
        return (self.angry, self.disgust, self.fear, self.happy, self.sad, self.surprise, self.neutral)


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(FrameRow))
"""Names of the columns, in order; a field added to `FrameRow` is a column of ``frames``, ``json`` and ``parquet``."""

_CELLS = attrgetter(*COLUMNS)
_NAMES = {source: source.name.lower() for source in Source}
_SHOWN = ("pose_Rx", "pose_Ry", "pose_Rz", "gaze_angle_x", "gaze_angle_y", *EMOTIONS, "valence", "arousal")
_FIRST, _END = _SHOWN.index(EMOTIONS[0]), _SHOWN.index(EMOTIONS[-1]) + 1


@dataclass(frozen=True, slots=True, eq=False)
class _Face:
    """A track that is alive, with what it shows: ``(T, 14)`` float32 values of `_SHOWN`, and ``(T,)`` where from."""

    record: TrackRecord
    track: Track
    shown: Float32
    sources: NDArray[np.str_]
    derived: bool

    def source(self, position: int) -> str | None:
        """Return where the emotion comes from, as the files say it."""
        source = str(self.sources[position])
        return f"{source}+derived" if self.derived and source in ("sampled", "interpolated") else source or None


def wanted(store: Store, identity_id: int | None, *, ignored: bool = False) -> Callable[[TrackRecord], bool]:
    """Return what tells whether a track is exported.

    Args:
        store: The database.
        identity_id: Only those of this person, ignored or not; None: those of everybody and of nobody known.
        ignored: Those of people who are ignored too.
    """
    hidden = set() if ignored else {person.identity_id for person in store.identities() if person.ignored}

    def is_wanted(record: TrackRecord) -> bool:
        return record.identity_id == identity_id if identity_id is not None else record.identity_id not in hidden

    return is_wanted


def frame_rows(
    store: Store, video: VideoRecord, *, identity_id: int | None = None, ignored: bool = False
) -> Iterator[FrameRow]:
    """Yield the rows of ``video`` in order of frames, then track ids; each frame has at least one.

    Rows are made one by one from the tracks that are alive, so an export takes no more memory than the tracks do.

    Args:
        store: The database.
        video: One of its videos.
        identity_id: Only the faces of this person; the other frames are rows without a face.
        ignored: Those of people who are ignored too.
    """
    is_wanted = wanted(store, identity_id, ignored=ignored)
    pairs = [pair for pair in store.tracks(video.video_id) if is_wanted(pair[0])]
    pairs.sort(key=lambda pair: (pair[1].first_frame, pair[1].track_id))
    people = {identity.identity_id: identity for identity in store.identities()}
    path, alive, upcoming = str(video.info.path), list[_Face](), 0
    timestamps = store.timestamps(video.video_id)
    for frame, timestamp in enumerate(timestamps):
        alive = [face for face in alive if face.track.end_frame > frame]
        while upcoming < len(pairs) and pairs[upcoming][1].first_frame <= frame:
            alive.append(_face(*pairs[upcoming], timestamps, derived=video.affect_derived))
            upcoming += 1
        yield from _rows_of_frame(path, frame, number(timestamp, 6), alive, people)


def number(value: float, digits: int) -> float | None:
    """Return ``value`` rounded for a file; None for NaN.

    Example:
        >>> number(0.123456, 4), number(float("nan"), 4)
        (0.1235, None)
    """
    return round(float(value), digits) if math.isfinite(value) else None


def _face(record: TrackRecord, track: Track, timestamps: Float64, *, derived: bool) -> _Face:
    told = per_frame(track, timestamps)
    shown = np.column_stack([told.pose, told.gaze, told.emotions, told.valence, told.arousal])
    return _Face(record, track, shown, told.sources, derived)


def _rows_of_frame(
    path: str, frame: int, timestamp: float | None, alive: Sequence[_Face], people: Mapping[int, Identity]
) -> Iterator[FrameRow]:
    if not alive:
        yield FrameRow(path, frame, timestamp)
    for slot, face in enumerate(sorted(alive, key=lambda face: face.track.track_id)):
        track, position = face.track, frame - face.track.first_frame
        x1, y1, x2, y2 = (float(side) for side in track.boxes[position])
        person = None if face.record.identity_id is None else people[face.record.identity_id]
        yield FrameRow(
            video=path,
            frame=frame,
            timestamp=timestamp,
            face_id=slot,
            track_id=track.track_id,
            identity=face.record.identity_id,
            name=None if person is None else person.label,
            success=1,
            confidence=number(track.scores[position], 4),
            source=_NAMES[Source(track.sources[position])],
            quality=number(face.record.quality, 4),
            x=number(x1, 2),
            y=number(y1, 2),
            w=number(x2 - x1, 2),
            h=number(y2 - y1, 2),
            emotion_source=face.source(position),
            **_expression(face.shown[position].tolist()),
        )


def _expression(shown: Sequence[float]) -> dict[str, Any]:
    emotions = shown[_FIRST:_END]
    label = EMOTIONS[emotions.index(max(emotions))] if all(map(math.isfinite, emotions)) else None
    return {"emotion": label, **{name: number(value, 4) for name, value in zip(_SHOWN, shown, strict=True)}}
