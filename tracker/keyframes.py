"""Which frames of a track are embedded: in each stretch of time the best view of each pose, and no more."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from tracker import align
from tracker import boxes as geometry
from tracker.headless import cv2
from tracker.types import Float32, Image

PATCH_SIDE = 400
"""Greatest side in pixels of the patch kept for a candidate: no embedder reads a face larger than half of it."""

_MARGIN = 0.6


class View(enum.IntEnum):
    """Coarse pose: which way the nose points, as seen in the image."""

    LEFT = -1
    FRONT = 0
    RIGHT = 1


@dataclass(frozen=True, slots=True)
class KeyframeOptions:
    """How many views are embedded.

    Attributes:
        window: Seconds in which one view of each pose is kept; doubled each time a track has `generation` more
            keyframes, so that their number grows with the logarithm of its length.
        generation: See `window`.
        spacing: Frames of a track that one keyframe stands for at least.
    """

    window: float = 2.0
    generation: int = 12
    spacing: int = 15


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A view that may be embedded, with the pixels that this takes.

    Attributes:
        frame: Index of its frame.
        quality: See `tracker.align.quality`.
        patch: ``(H, W, 3)`` uint8 BGR, the face with a margin, reduced to at most `PATCH_SIDE`.
        box: ``(4,)`` float32 xyxy in the patch.
        landmarks: ``(5, 2)`` float32 in the patch.
    """

    frame: int
    quality: float
    patch: Image
    box: Float32
    landmarks: Float32


def view(landmarks: Float32) -> View:
    """Return the coarse pose: beyond about 20 degrees of yaw a face is not frontal.

    Args:
        landmarks: ``(5, 2)`` float32; NaN: taken as frontal.

    Example:
        >>> view(np.float32([[38, 52], [74, 52], [72, 72], [48, 92], [72, 92]])).name
        'RIGHT'
    """
    eyes = landmarks[1] - landmarks[0]
    offset = float((landmarks[2] - (landmarks[0] + landmarks[1]) / 2) @ eyes) / max(float(eyes @ eyes), 1e-6)
    if not np.isfinite(offset) or abs(offset) < 0.25:
        return View.FRONT
    return View.RIGHT if offset > 0 else View.LEFT


def cut_patch(image: Image, frame: int, box: Float32, landmarks: Float32, quality: float) -> Candidate:
    """Return the face in ``box`` with a margin around it, as a `Candidate`.

    Args:
        image: ``(H, W, 3)`` uint8 BGR picture.
        frame: Its index.
        box: ``(4,)`` float32 xyxy in the picture.
        landmarks: ``(5, 2)`` float32 in the picture; where NaN, those of an upright frontal face in the box.
        quality: See `Candidate`.
    """
    points = landmarks if np.isfinite(landmarks).all() else align.box_landmarks(box)
    margin = _MARGIN * (box[2:] - box[:2])
    height, width = image.shape[:2]
    padded = geometry.clip(np.concatenate([box[:2] - margin, box[2:] + margin])[None], width, height)[0]
    x1, y1 = np.floor(padded[:2]).astype(int)
    x2, y2 = np.maximum(np.ceil(padded[2:]).astype(int), [x1 + 1, y1 + 1])
    patch = image[y1:y2, x1:x2]
    scale = min(1.0, PATCH_SIDE / max(patch.shape[:2]))
    if scale < 1:
        size = (max(1, round(patch.shape[1] * scale)), max(1, round(patch.shape[0] * scale)))
        patch = np.asarray(cv2.resize(patch, size, interpolation=cv2.INTER_AREA), np.uint8)
    else:
        patch = patch.copy()
    origin = np.array([x1, y1], np.float32)
    return Candidate(
        frame,
        quality,
        patch,
        np.asarray((box.reshape(2, 2) - origin).ravel() * scale, np.float32),
        np.asarray((points - origin) * scale, np.float32),
    )


@dataclass(slots=True, eq=False)
class KeyframeSelector:
    """Chooses the keyframes of one tracklet while it grows.

    Attributes:
        options: See `KeyframeOptions`.
        fps: Frames per second of the video.
    """

    options: KeyframeOptions
    fps: float
    _opened: int | None = None
    _best: dict[View, Candidate] = field(default_factory=dict)
    _chosen: int = 0
    _frames: int = 0

    def offer(self, image: Image, frame: int, box: Float32, landmarks: Float32, score: float) -> list[Candidate]:
        """Consider the face in ``box``; return the candidates of a window that has ended, to be embedded.

        Args:
            image: ``(H, W, 3)`` uint8 BGR picture.
            frame: Its index, rising from call to call.
            box: ``(4,)`` float32 xyxy.
            landmarks: ``(5, 2)`` float32, NaN where unknown.
            score: Detector score in [0, 1].
        """
        released = self.flush() if self._window_over(frame) else []
        if self._opened is None:
            self._opened = frame
        self._frames += 1
        pose = view(landmarks)
        best = self._best.get(pose)
        quality = partial(
            align.quality,
            score=score,
            size=float(geometry.sizes(box[None])[0]),
            frontality=align.frontality(landmarks),
        )
        # The pixels are looked at only where they can decide.
        if best is None or quality(sharpness=1.0) > best.quality:
            found = quality(sharpness=align.sharpness(geometry.pixels(image, box)))
            if best is None or found > best.quality:
                self._best[pose] = cut_patch(image, frame, box, landmarks, found)
        return released

    @property
    def best(self) -> Candidate | None:
        """The best view of the window so far."""
        return max(self._best.values(), key=lambda candidate: candidate.quality, default=None)

    def flush(self) -> list[Candidate]:
        """End the window; return its candidates in order of time: one in `spacing` frames, at least one a track."""
        allowed = max(round(self._frames / self.options.spacing), 1 if self._chosen == 0 else 0)
        ranked = sorted(self._best.values(), key=lambda c: (-c.quality, c.frame))[:allowed]
        self._opened, self._best, self._frames = None, {}, 0
        self._chosen += len(ranked)
        return sorted(ranked, key=lambda c: c.frame)

    def _window_over(self, frame: int) -> bool:
        window = self.options.window * 2 ** (self._chosen // self.options.generation)
        return self._opened is not None and frame - self._opened >= window * self.fps
