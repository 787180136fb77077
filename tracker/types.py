"""The values that the tracker passes on: frozen structs of arrays, checked once, read-only.

Images are ``(H, W, 3)`` uint8 BGR. Boxes are ``(N, 4)`` float32 ``x1, y1, x2, y2`` in source pixels. Times are
presentation timestamps in seconds. Frames are counted from 0 in decoding order.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt8 = NDArray[np.uint8]

LANDMARKS = 5
"""Landmarks of a detection: right eye (the subject's), left eye, nose tip, right and left corner of the mouth."""


EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""The classes of an emotion, in the order of FER-2013."""

POSE = ("pitch", "yaw", "roll")
"""Head rotations in radians about OpenFace's axes: x to the right of the image, y down, z away from the camera."""


class Reason(enum.IntEnum):
    """Why a sampled face has no emotion."""

    NONE = 0
    SMALL = 1
    BLURRED = 2
    TURNED = 3
    UNCLEAR = 4


class Source(enum.IntEnum):
    """Where the box of a track in a frame comes from."""

    DETECTED = 0
    FLOW = 1
    INTERPOLATED = 2


def frozen(values: Any, dtype: type[np.generic], shape: tuple[int | None, ...], name: str) -> NDArray[Any]:
    """Return ``values`` as a read-only contiguous array of ``dtype``, its shape checked (None: any length).

    Raises:
        ValueError: if the shape is another one.
    """
    array = np.array(values, dtype=dtype, order="C")
    if array.size == 0 and array.ndim != len(shape):
        array = array.reshape([0 if n is None else n for n in shape])
    if array.ndim != len(shape) or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("N" if n is None else str(n) for n in shape)
        raise ValueError(f"{name} has shape {array.shape}; ({wanted}) is needed")
    array.flags.writeable = False
    return array


def _same_length(what: str, **arrays: NDArray[Any]) -> None:
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{what}: all arrays need the same length, got {lengths}")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A decoded picture.

    Attributes:
        index: Count of decoded frames before this one.
        timestamp: Presentation time in seconds.
        image: ``(H, W, 3)`` uint8 BGR, turned upright.
    """

    index: int
    timestamp: float
    image: Image


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The faces that a detector found in one picture.

    Attributes:
        boxes: ``(N, 4)`` float32 xyxy in pixels of the picture.
        scores: ``(N,)`` float32 in [0, 1].
        landmarks: ``(N, 5, 2)`` float32 in pixels, see `LANDMARKS`; NaN where the detector gives none.

    Example:
        >>> found = Detections([[10, 10, 50, 60], [80, 12, 99, 40]], [0.9, 0.4])
        >>> len(found), len(found[found.scores > 0.5])
        (2, 1)
    """

    boxes: Float32
    scores: Float32
    landmarks: Float32 = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        boxes = frozen(self.boxes, np.float32, (None, 4), "boxes")
        landmarks = np.full((len(boxes), LANDMARKS, 2), np.nan) if self.landmarks is None else self.landmarks
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", frozen(self.scores, np.float32, (None,), "scores"))
        object.__setattr__(self, "landmarks", frozen(landmarks, np.float32, (None, LANDMARKS, 2), "landmarks"))
        _same_length("Detections", boxes=self.boxes, scores=self.scores, landmarks=self.landmarks)

    @classmethod
    def empty(cls) -> Detections:
        """Return no detections."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32))

    @classmethod
    def concatenate(cls, parts: Iterable[Detections]) -> Detections:
        """Return all detections of ``parts``, in their order."""
        several = [cls.empty(), *parts]
        return cls(
            np.concatenate([p.boxes for p in several]),
            np.concatenate([p.scores for p in several]),
            np.concatenate([p.landmarks for p in several]),
        )

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.boxes)

    def __getitem__(self, which: Any) -> Detections:
        """Return the detections at ``which``: a slice, an index array or a mask."""
        return Detections(self.boxes[which], self.scores[which], self.landmarks[which])


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """Boxes moved to the next picture by flow.

    Attributes:
        boxes: ``(N, 4)`` float32 xyxy in source pixels; where flow is lost, the box as it was.
        confidences: ``(N,)`` float32 in [0, 1]: share of points that came back to their start; 0 where flow is lost.
    """

    boxes: Float32
    confidences: Float32

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        object.__setattr__(self, "boxes", frozen(self.boxes, np.float32, (None, 4), "boxes"))
        object.__setattr__(self, "confidences", frozen(self.confidences, np.float32, (None,), "confidences"))
        _same_length("Carried", boxes=self.boxes, confidences=self.confidences)


@dataclass(frozen=True, slots=True, eq=False)
class Keyframes:
    """The frames of a track that were embedded.

    Attributes:
        frames: ``(K,)`` int32 frame indices, rising.
        qualities: ``(K,)`` float32 in [0, 1], `tracker.align.quality` times `tracker.align.trust`.
        embeddings: ``(K, D)`` float32 rows, see `tracker.protocols.Embedder`.
    """

    frames: Int32
    qualities: Float32
    embeddings: Float32

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        object.__setattr__(self, "frames", frozen(self.frames, np.int32, (None,), "frames"))
        object.__setattr__(self, "qualities", frozen(self.qualities, np.float32, (None,), "qualities"))
        object.__setattr__(self, "embeddings", frozen(self.embeddings, np.float32, (None, None), "embeddings"))
        _same_length("Keyframes", frames=self.frames, qualities=self.qualities, embeddings=self.embeddings)

    def __len__(self) -> int:
        """Return the number of keyframes."""
        return len(self.frames)


@dataclass(frozen=True, slots=True, eq=False)
class Expressions:
    """What a face shows at its sampled frames; NaN where it could not be told.

    Attributes:
        frames: ``(S,)`` int32 frame indices, rising.
        emotions: ``(S, 7)`` float32 probabilities of `EMOTIONS`, rows sum to 1; a row of NaN: no answer, see reasons.
        valence: ``(S,)`` float32 in [-1, 1], unpleasant to pleasant.
        arousal: ``(S,)`` float32 in [-1, 1], calm to excited.
        reasons: ``(S,)`` uint8, see `Reason`: why there is no emotion.
        pose: ``(S, 3)`` float32 radians, see `POSE`.
        gaze: ``(S, 2)`` float32 radians in world coordinates, mean of both eyes: to the right of the image, and down
            (OpenFace's gaze_angle_x and gaze_angle_y).
        openness: ``(S, 2)`` float32: height over width of the inner mouth, and of the eyes (their mean).
    """

    frames: Int32
    emotions: Float32
    valence: Float32
    arousal: Float32
    reasons: UInt8
    pose: Float32
    gaze: Float32
    openness: Float32

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        count = len(self.frames)
        object.__setattr__(self, "frames", frozen(self.frames, np.int32, (None,), "frames"))
        object.__setattr__(self, "emotions", frozen(self.emotions, np.float32, (count, len(EMOTIONS)), "emotions"))
        object.__setattr__(self, "valence", frozen(self.valence, np.float32, (count,), "valence"))
        object.__setattr__(self, "arousal", frozen(self.arousal, np.float32, (count,), "arousal"))
        object.__setattr__(self, "reasons", frozen(self.reasons, np.uint8, (count,), "reasons"))
        object.__setattr__(self, "pose", frozen(self.pose, np.float32, (count, len(POSE)), "pose"))
        object.__setattr__(self, "gaze", frozen(self.gaze, np.float32, (count, 2), "gaze"))
        object.__setattr__(self, "openness", frozen(self.openness, np.float32, (count, 2), "openness"))

    @classmethod
    def empty(cls) -> Expressions:
        """Return no samples.

        Example:
            >>> len(Expressions.empty())
            0
        """
        return cls.unanswered(np.empty(0, np.int32), Reason.NONE)

    @classmethod
    def unanswered(cls, frames: Any, reason: Reason) -> Expressions:
        """Return samples at ``frames`` of which nothing is known, for one reason."""
        count = len(frames)
        nothing = np.full((count, len(EMOTIONS)), np.nan, np.float32)
        return cls(
            frames=frames,
            emotions=nothing,
            valence=nothing[:, 0],
            arousal=nothing[:, 0],
            reasons=np.full(count, reason, np.uint8),
            pose=nothing[:, :3],
            gaze=nothing[:, :2],
            openness=nothing[:, :2],
        )

    @classmethod
    def concatenate(cls, parts: Iterable[Expressions]) -> Expressions:
        """Return the samples of all parts in order of their frames."""
        several = [cls.empty(), *parts]
        columns = {name: np.concatenate([getattr(part, name) for part in several]) for name in cls.__slots__}
        return cls(**columns)[np.argsort(columns["frames"], kind="stable")]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.frames)

    def __getitem__(self, which: Any) -> Expressions:
        """Return the samples at ``which``: a slice, an index array or a mask."""
        return Expressions(**{name: getattr(self, name)[which] for name in self.__slots__})


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One face through consecutive frames of one shot.

    Attributes:
        track_id: Number of the track in its video, from 0, by first frame.
        shot: Number of the shot in its video, from 0.
        first_frame: Index of the first frame; row ``i`` of the arrays is frame ``first_frame + i``.
        boxes: ``(T, 4)`` float32 xyxy.
        scores: ``(T,)`` float32, the detector's score, or how far flow vouches for the box, in [0, 1].
        sources: ``(T,)`` uint8, see `Source`.
        landmarks: ``(T, 5, 2)`` float32, NaN where no detection gave them.
        keyframes: The embedded frames.
        thumbnail: The best view, ``(H, W, 3)`` uint8 BGR; empty if none was cut.
        expressions: What the face shows at its sampled frames; empty if none was asked for.
    """

    track_id: int
    shot: int
    first_frame: int
    boxes: Float32
    scores: Float32
    sources: UInt8
    landmarks: Float32
    keyframes: Keyframes
    thumbnail: Image = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))
    expressions: Expressions = field(default_factory=Expressions.empty)

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        object.__setattr__(self, "boxes", frozen(self.boxes, np.float32, (None, 4), "boxes"))
        object.__setattr__(self, "scores", frozen(self.scores, np.float32, (None,), "scores"))
        object.__setattr__(self, "sources", frozen(self.sources, np.uint8, (None,), "sources"))
        object.__setattr__(self, "landmarks", frozen(self.landmarks, np.float32, (None, LANDMARKS, 2), "landmarks"))
        object.__setattr__(self, "thumbnail", frozen(self.thumbnail, np.uint8, (None, None, 3), "thumbnail"))
        _same_length("Track", boxes=self.boxes, scores=self.scores, sources=self.sources, landmarks=self.landmarks)
        if not len(self.boxes):
            raise ValueError(f"track {self.track_id} has no frame")

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.boxes)

    @property
    def end_frame(self) -> int:
        """The frame after the last one."""
        return self.first_frame + len(self.boxes)

    @property
    def frames(self) -> Int32:
        """``(T,)`` int32 indices of the frames."""
        return np.arange(self.first_frame, self.end_frame, dtype=np.int32)


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """A half-open interval of time, [start, end), in seconds."""

    start: float
    end: float

    def __post_init__(self) -> None:
        """Check the order of the ends."""
        if not self.start <= self.end:
            raise ValueError(f"a segment needs start <= end, got [{self.start}, {self.end})")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Timeline:
    """Segments that neither overlap nor touch, in order of time.

    Example:
        >>> Timeline.union([Segment(3, 4), Segment(0, 1), Segment(0.5, 2)]).segments
        (Segment(start=0, end=2), Segment(start=3, end=4))
        >>> Timeline.union([Segment(0, 1), Segment(1.2, 2)], gap=0.5).duration
        2
    """

    segments: tuple[Segment, ...] = ()

    @classmethod
    def union(cls, segments: Iterable[Segment], *, gap: float = 0.0) -> Timeline:
        """Return the union of ``segments``; gaps of up to ``gap`` seconds are closed."""
        joined: list[Segment] = []
        for segment in sorted(segments):
            if joined and segment.start <= joined[-1].end + gap:
                joined[-1] = Segment(joined[-1].start, max(joined[-1].end, segment.end))
            else:
                joined.append(segment)
        return cls(tuple(joined))

    def __iter__(self) -> Iterator[Segment]:
        """Iterate over the segments in order of time."""
        return iter(self.segments)

    def __len__(self) -> int:
        """Return the number of segments."""
        return len(self.segments)

    @property
    def duration(self) -> float:
        """Length of all segments together, in seconds."""
        return sum(segment.duration for segment in self.segments)


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a media file says of itself, and its content hash.

    Attributes:
        path: The path as it was given.
        content_hash: SHA-256 of the file's bytes, hexadecimal.
        width: Width of the upright picture in pixels.
        height: Height of the upright picture in pixels.
        fps: Mean frames per second by the container; 0 for an image.
        duration: Seconds by the container; 0 where it does not say.
        is_image: A still picture: one frame.
    """

    path: Path
    content_hash: str
    width: int
    height: int
    fps: float
    duration: float
    is_image: bool = False


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a run did and how long each stage took.

    Attributes:
        seconds: Stage name -> seconds of work.
        detector_runs: Frames the detector looked at.
        embeddings: Embeddings computed.
        face_frames: Boxes in all frames.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    detector_runs: int = 0
    embeddings: int = 0
    face_frames: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class TrackingResult:
    """All that the tracker knows of a video: the one value that passes from `tracker` to `indexing`.

    Attributes:
        video: The media file.
        timestamps: ``(F,)`` float64 presentation times in seconds of all decoded frames.
        end: Seconds at which the last frame ends.
        shots: ``(S,)`` int32 first frame of each shot; the first is 0.
        tracks: The tracks in order of ``track_id``.
        detector_id: Model id of the detector.
        embedder_id: Model id of the embedder.
        settings: Name -> value of every option that changes the outcome.
        statistics: What the run did.
        emotion_id: Model id of the emotion model; None: no expressions were sampled.
        affect_derived: Valence and arousal are expectations over the classes, not a model's own answer.
    """

    video: VideoInfo
    timestamps: Float64
    end: float
    shots: Int32
    tracks: tuple[Track, ...]
    detector_id: str
    embedder_id: str
    settings: dict[str, Any] = field(default_factory=dict)
    statistics: Statistics = field(default_factory=Statistics)
    emotion_id: str | None = None
    affect_derived: bool = True

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        object.__setattr__(self, "timestamps", frozen(self.timestamps, np.float64, (None,), "timestamps"))
        object.__setattr__(self, "shots", frozen(self.shots, np.int32, (None,), "shots"))

    @property
    def frame_count(self) -> int:
        """Number of decoded frames."""
        return len(self.timestamps)
