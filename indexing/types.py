"""The values that the index passes on: records of the database, identities, and who is seen when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracker.errors import FacetrackError
from tracker.types import EMOTIONS, POSE, Float32, Int32, Segment, VideoInfo, frozen

Int64 = NDArray[np.int64]

UNKNOWN = "Unknown"
"""Shown to people in place of a name."""


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """A video of the database.

    Attributes:
        video_id: Its id; never used again.
        info: What the media file said of itself when it was added.
        frame_count: Number of decoded frames.
        end: Seconds at which the last frame ends.
        detector_id: Model id of the detector.
        embedder_id: Model id of the embedder.
        settings: Every option that changed the outcome, as JSON gives it back (tuples are lists).
        added_at: UTC time of adding, ISO 8601.
        emotion_id: Model id of the emotion model; None: no expressions were sampled.
        affect_derived: Valence and arousal are expectations over the classes, not a model's own answer.
        enrolled: It is a photograph that tells how a person looks; nobody appears in it.
    """

    video_id: int
    info: VideoInfo
    frame_count: int
    end: float
    detector_id: str
    embedder_id: str
    settings: dict[str, Any]
    added_at: str
    emotion_id: str | None = None
    affect_derived: bool = True
    enrolled: bool = False

    @property
    def path(self) -> Path:
        """The path as it was added."""
        return self.info.path

    @property
    def live(self) -> bool:
        """Whether it is a piece of a live stream: what was seen is known, its pictures were not kept."""
        return "live" in self.settings

    @property
    def started_at(self) -> datetime | None:
        """UTC time at which a piece of a live stream began; None of a file."""
        return datetime.fromisoformat(self.settings["live"]["started_at"]) if self.live else None

    def check_pictures(self) -> None:
        """Refuse what needs the pictures of a piece of a live stream.

        Raises:
            FacetrackError: if it is one.
        """
        if self.live:
            raise FacetrackError(
                f"{self.path} is a piece of a live stream, whose pictures were not kept; this needs a video that was "
                "added from a file"
            )


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """A track of the database without its arrays.

    Attributes:
        key: Id of the track over all videos; never used again.
        video_id: Its video.
        track_id: Number of the track in its video, from 0.
        shot: Number of the shot in its video, from 0.
        first_frame: Index of the first frame.
        end_frame: The frame after the last one.
        start: Seconds at which the first frame begins.
        end: Seconds at which the last frame ends.
        quality: Best quality of its keyframes, in [0, 1]; 0 without keyframes.
        size: Median side of its boxes in pixels.
        identity_id: Whose face it is; None: unknown.
        confidence: Probability in [0, 1] that it is; None where nobody said.
    """

    key: int
    video_id: int
    track_id: int
    shot: int
    first_frame: int
    end_frame: int
    start: float
    end: float
    quality: float
    size: float
    identity_id: int | None = None
    confidence: float | None = None

    @property
    def segment(self) -> Segment:
        """When it is seen."""
        return Segment(self.start, self.end)

    @property
    def frame_count(self) -> int:
        """Number of its frames."""
        return self.end_frame - self.first_frame


@dataclass(frozen=True, slots=True, eq=False)
class TrackEmbeddings:
    """The embeddings of many tracks, in order of their row ids.

    Attributes:
        row_ids: ``(N,)`` int64 ids of the embeddings in the database; never used again.
        track_keys: ``(N,)`` int64 `TrackRecord.key` of each.
        frames: ``(N,)`` int32 frame indices.
        qualities: ``(N,)`` float32 in [0, 1].
        vectors: ``(N, D)`` float32 rows, see `tracker.protocols.Embedder`; ``(0, 0)`` when there is none.
        model_id: The embedder that made them; None when there is none.

    Example:
        >>> rows = TrackEmbeddings([1, 2], [7, 8], [0, 5], [0.5, 0.9], [[1, 0], [0, 1]], "some-embedder")
        >>> rows[rows.track_keys == 8].row_ids
        array([2])
    """

    row_ids: Int64
    track_keys: Int64
    frames: Int32
    qualities: Float32
    vectors: Float32
    model_id: str | None = None

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        count = len(self.row_ids)
        object.__setattr__(self, "row_ids", frozen(self.row_ids, np.int64, (None,), "row_ids"))
        object.__setattr__(self, "track_keys", frozen(self.track_keys, np.int64, (count,), "track_keys"))
        object.__setattr__(self, "frames", frozen(self.frames, np.int32, (count,), "frames"))
        object.__setattr__(self, "qualities", frozen(self.qualities, np.float32, (count,), "qualities"))
        object.__setattr__(self, "vectors", frozen(self.vectors, np.float32, (count, None), "vectors"))

    def __len__(self) -> int:
        """Return the number of embeddings."""
        return len(self.row_ids)

    def __getitem__(self, which: Any) -> TrackEmbeddings:
        """Return the embeddings at ``which``: a slice, an index array or a mask."""
        return TrackEmbeddings(
            self.row_ids[which],
            self.track_keys[which],
            self.frames[which],
            self.qualities[which],
            self.vectors[which],
            self.model_id,
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """A person over all videos.

    Attributes:
        identity_id: Stable id; never used again.
        name: The name that a user gave; None until then.
        ignored: Of no interest, and in no list unless it is asked for.

    Example:
        >>> Identity(3, None).label, Identity(4, "Ada").label
        ('Person 3', 'Ada')
    """

    identity_id: int
    name: str | None = None
    ignored: bool = False

    @property
    def label(self) -> str:
        """The name, or ``Person`` and the id."""
        return self.name if self.name is not None else f"Person {self.identity_id}"


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What people have said of who is who; clustering obeys it. ``Verdicts()``: nobody said anything.

    Tracks pinned to one identity are one person, tracks pinned to two are two.

    Attributes:
        pins: Track key -> the identity that the track is of.
        bans: Pairs of a track key and an identity that the track is not of.
        names: Identity -> name.
        ignored: Identities that are of no interest: extras, posters.

    Example:
        >>> said = Verdicts(pins={7: 1}, bans=frozenset({(8, 1)}), names={1: "Ada"})
        >>> said.pins[7], (8, 1) in said.bans, bool(said), bool(Verdicts())
        (1, True, True, False)
    """

    pins: Mapping[int, int] = field(default_factory=dict)
    bans: frozenset[tuple[int, int]] = frozenset()
    names: Mapping[int, str] = field(default_factory=dict)
    ignored: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        """Make the mappings read-only."""
        object.__setattr__(self, "pins", MappingProxyType(dict(self.pins)))
        object.__setattr__(self, "names", MappingProxyType(dict(self.names)))

    def __bool__(self) -> bool:
        """Tell whether anything was said."""
        return bool(self.pins or self.bans or self.names or self.ignored)


@dataclass(frozen=True, slots=True)
class Appearance:
    """An interval in which an identity is seen in a video.

    Attributes:
        identity_id: Who; None: one track of an unknown person.
        video_id: Where.
        segment: When, [start, end) in seconds.
        track_keys: The tracks that make it up, by start.
    """

    identity_id: int | None
    video_id: int
    segment: Segment
    track_keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Person:
    """What the database knows of an identity.

    Attributes:
        identity: Who.
        videos: Number of videos they are seen in.
        appearances: Number of their appearances.
        screen_time: Seconds of all appearances together.
        first_seen: Path of the first video (in order of adding) and the second in it; None when never seen.
        last_seen: The same of the last video, with the second at which the last appearance ends.
        best_track: Key of the track with the best thumbnail; None when never seen.
    """

    identity: Identity
    videos: int
    appearances: int
    screen_time: float
    first_seen: tuple[Path, float] | None
    last_seen: tuple[Path, float] | None
    best_track: int | None


@dataclass(frozen=True, slots=True)
class Match:
    """A track that a probe face was found in.

    Attributes:
        identity_id: Whose track it is; None: unknown.
        track_key: The track.
        similarity: Cosine of the probe and the most similar embedding of the track, in [-1, 1].
        probability: Calibrated probability in [0, 1] that both show the same person.
    """

    identity_id: int | None
    track_key: int
    similarity: float
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class FrameExpressions:
    """What a face shows in each frame of its track; NaN where it is not known.

    Attributes:
        emotions: ``(T, 7)`` float32 probabilities of `tracker.types.EMOTIONS`, rows sum to 1.
        valence: ``(T,)`` float32 in [-1, 1].
        arousal: ``(T,)`` float32 in [-1, 1].
        pose: ``(T, 3)`` float32 radians, see `tracker.types.POSE`.
        gaze: ``(T, 2)`` float32 radians, see `tracker.types.Expressions`.
        openness: ``(T, 2)`` float32, the same.
        sources: ``(T,)`` text: where the emotion comes from: ``sampled``, ``interpolated``, or why there is none: the
            `tracker.types.Reason` in lower case, nothing where no sample is near.
    """

    emotions: Float32
    valence: Float32
    arousal: Float32
    pose: Float32
    gaze: Float32
    openness: Float32
    sources: NDArray[np.str_]

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        count = len(self.emotions)
        object.__setattr__(self, "emotions", frozen(self.emotions, np.float32, (None, len(EMOTIONS)), "emotions"))
        object.__setattr__(self, "valence", frozen(self.valence, np.float32, (count,), "valence"))
        object.__setattr__(self, "arousal", frozen(self.arousal, np.float32, (count,), "arousal"))
        object.__setattr__(self, "pose", frozen(self.pose, np.float32, (count, len(POSE)), "pose"))
        object.__setattr__(self, "gaze", frozen(self.gaze, np.float32, (count, 2), "gaze"))
        object.__setattr__(self, "openness", frozen(self.openness, np.float32, (count, 2), "openness"))
        object.__setattr__(self, "sources", frozen(self.sources, np.str_, (count,), "sources"))

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.emotions)


@dataclass(frozen=True, slots=True, eq=False)
class EmotionCurve:
    """What an identity shows over time in one video, joined over its tracks and smoothed; NaN where it is not known.

    Attributes:
        identity_id: Who.
        video_id: Where.
        times: ``(S,)`` float64 seconds, rising.
        emotions: ``(S, 7)`` float32 probabilities of `tracker.types.EMOTIONS`.
        valence: ``(S,)`` float32 in [-1, 1].
        arousal: ``(S,)`` float32 in [-1, 1].
        affect_derived: Valence and arousal are expectations over the classes, not a model's own answer.
    """

    identity_id: int
    video_id: int
    times: NDArray[np.float64]
    emotions: Float32
    valence: Float32
    arousal: Float32
    affect_derived: bool = True

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        count = len(self.times)
        object.__setattr__(self, "times", frozen(self.times, np.float64, (None,), "times"))
        object.__setattr__(self, "emotions", frozen(self.emotions, np.float32, (count, len(EMOTIONS)), "emotions"))
        object.__setattr__(self, "valence", frozen(self.valence, np.float32, (count,), "valence"))
        object.__setattr__(self, "arousal", frozen(self.arousal, np.float32, (count,), "arousal"))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.times)


@dataclass(frozen=True, slots=True)
class Episode:
    """A stretch of time in which an identity shows one emotion.

    Attributes:
        identity_id: Who.
        video_id: Where.
        label: One of `tracker.types.EMOTIONS`.
        onset: Seconds at which it begins.
        apex: Seconds at which it is strongest.
        offset: Seconds at which it ends; [onset, offset).
        mean: Mean probability over its samples, in [0, 1].
        peak: Probability at the apex, in [0, 1].
    """

    identity_id: int
    video_id: int
    label: str
    onset: float
    apex: float
    offset: float
    mean: float
    peak: float

    @property
    def segment(self) -> Segment:
        """When it lasts."""
        return Segment(self.onset, self.offset)


@dataclass(frozen=True, slots=True, eq=False)
class EmotionSummary:
    """What an identity shows in a video, all in all.

    Attributes:
        identity_id: Who.
        video_id: Where.
        seconds: Time for which an emotion is known.
        shares: ``(7,)`` float64 share of that time in which each of `tracker.types.EMOTIONS` is the strongest.
        transitions: ``(7, 7)`` int64 how often an episode of the row's class was followed by one of the column's.
        mean_valence: Mean of the curve, NaN where nothing is known.
        mean_arousal: The same of arousal.
    """

    identity_id: int
    video_id: int
    seconds: float
    shares: NDArray[np.float64]
    transitions: Int64
    mean_valence: float
    mean_arousal: float

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        side = len(EMOTIONS)
        object.__setattr__(self, "shares", frozen(self.shares, np.float64, (side,), "shares"))
        object.__setattr__(self, "transitions", frozen(self.transitions, np.int64, (side, side), "transitions"))
