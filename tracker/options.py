"""Everything but the models that changes what the tracker finds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tracker.associate import AssociationOptions
from tracker.expression import ExpressionOptions
from tracker.keyframes import KeyframeOptions
from tracker.link import LinkOptions


@dataclass(frozen=True, slots=True)
class DetectionOptions:
    """How much work goes into finding faces.

    Attributes:
        every: Frames from one run of the detector to the next; flow carries the boxes in between.
        closer_every: Seconds from one closer look, for small faces, to the next; each shot begins with one.
        face_pixels: The picture is reduced for the detector as far as the smallest face that is followed keeps this
            side in pixels, where the detector can look at any size; 0: never reduced.
    """

    every: int = 1
    closer_every: float = 2.0
    face_pixels: int = 20


PRESETS = {
    "fast": DetectionOptions(every=4),
    "balanced": DetectionOptions(),
    "accurate": DetectionOptions(closer_every=0.2, face_pixels=0),
}


@dataclass(frozen=True, slots=True)
class TrackingOptions:
    """Everything but the models that changes what is found; stands in the database beside each video.

    Attributes:
        detection: See `DetectionOptions`.
        association: See `AssociationOptions`.
        keyframes: See `KeyframeOptions`.
        linking: See `LinkOptions`.
        expressions: See `ExpressionOptions`.
        min_hits: Detections that a track of a video needs: spurious ones do not become people.
        sure_score: Best score that a track of a video needs.
    """

    detection: DetectionOptions = field(default_factory=DetectionOptions)
    association: AssociationOptions = field(default_factory=AssociationOptions)
    keyframes: KeyframeOptions = field(default_factory=KeyframeOptions)
    linking: LinkOptions = field(default_factory=LinkOptions)
    expressions: ExpressionOptions = field(default_factory=ExpressionOptions)
    min_hits: int = 3
    sure_score: float = 0.6


def options_for(preset: str, *, detect_every: int | None = None, emotion_fps: float | None = 5.0) -> TrackingOptions:
    """Return the options of a preset, its cadence overridden by ``detect_every`` where given.

    Args:
        preset: A name of `PRESETS`.
        detect_every: Frames from one run of the detector to the next; None: the preset's.
        emotion_fps: Samples of expressions a second; None: each frame.

    Raises:
        ValueError: if the preset is unknown, ``detect_every`` is less than 1 or ``emotion_fps`` is not above 0.

    Example:
        >>> options_for("balanced", detect_every=3).detection.every
        3
    """
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r} is unknown; there are {', '.join(PRESETS)}")
    detection = PRESETS[preset]
    if detect_every is not None:
        if detect_every < 1:
            raise ValueError(f"detect_every is {detect_every}; it counts frames and is at least 1")
        detection = replace(detection, every=detect_every)
    if emotion_fps is not None and not 0 < emotion_fps < float("inf"):
        raise ValueError(f"emotion_fps is {emotion_fps}; samples a second above 0 are needed, or None for each frame")
    return TrackingOptions(detection=detection, expressions=ExpressionOptions(fps=emotion_fps))
