"""Tracking results without a video: the same arguments give the same values."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tracker.models.onnx import ARCFACE_TEMPLATE
from tracker.types import (
    Detections,
    Expressions,
    Float32,
    Image,
    Keyframes,
    Reason,
    Source,
    Track,
    TrackingResult,
    VideoInfo,
)

Span = tuple[int, int, int]
"""Person, first frame, frame after the last one."""

WIDTH, HEIGHT = 640, 360


def make_result(
    path: str | Path = "clip.mp4",
    spans: Sequence[Span] = ((0, 0, 20), (1, 5, 30), (0, 35, 50)),
    *,
    frames: int = 50,
    fps: float = 25.0,
    shots: Sequence[int] = (0,),
    dimension: int = 16,
    keyframes: int = 2,
    noise: float = 0.05,
    embedder_id: str = "fake-embedder",
    detector_id: str = "fake-detector",
    content_hash: str | None = None,
    thumbnails: bool = True,
    is_image: bool = False,
    settings: dict[str, object] | None = None,
    emotion_every: int = 0,
    quality: float = 1.0,
) -> TrackingResult:
    """Return a result with one track for each of ``spans``, all embeddings of a person within ``noise``.

    The qualities of the keyframes lie between 0.3 and 1 times ``quality``.

    The content hash is that of the path unless it is given; frame ``i`` is shown at ``i / fps``. With
    ``emotion_every`` each so many frames of a track carry an expression, see `make_expressions`.
    """
    name = str(path)
    content = content_hash or hashlib.sha256(name.encode()).hexdigest()
    rng = np.random.default_rng(int(content[:8], 16))
    ordered = sorted(spans, key=lambda span: span[1])
    return TrackingResult(
        video=VideoInfo(Path(path), content, WIDTH, HEIGHT, 0.0 if is_image else fps, frames / fps, is_image),
        timestamps=np.arange(frames) / fps,
        end=frames / fps,
        shots=np.asarray(shots, np.int32),
        tracks=tuple(
            make_track(
                number,
                span,
                rng,
                shots=shots,
                dimension=dimension,
                keyframes=keyframes,
                noise=noise,
                thumbnail=thumbnails,
                emotion_every=emotion_every,
                quality=quality,
            )
            for number, span in enumerate(ordered)
        ),
        detector_id=detector_id,
        embedder_id=embedder_id,
        settings={"detect_every": 1} if settings is None else settings,
        emotion_id="fake-emotion" if emotion_every else None,
    )


def make_track(
    number: int,
    span: Span,
    rng: np.random.Generator,
    *,
    shots: Sequence[int] = (0,),
    dimension: int = 16,
    keyframes: int = 2,
    noise: float = 0.05,
    thumbnail: bool = True,
    emotion_every: int = 0,
    quality: float = 1.0,
) -> Track:
    """Return the track of one person: a box that wanders, mostly detected, with landmarks where it is."""
    person, first, end = span
    count = end - first
    sources = np.where(np.arange(count) % 3 == 2, Source.FLOW, Source.DETECTED).astype(np.uint8)
    boxes = _boxes(count, rng)
    scores = rng.uniform(0.5, 1, count).astype(np.float32)
    views = _keyframes(person, first, count, rng, dimension=dimension, wanted=keyframes, noise=noise)
    return Track(
        track_id=number,
        shot=int(np.searchsorted(shots, first, side="right")) - 1,
        first_frame=first,
        boxes=boxes,
        scores=scores,
        sources=sources,
        landmarks=_landmarks(boxes, sources),
        keyframes=replace(views, qualities=views.qualities * np.float32(quality)),
        thumbnail=_picture(person) if thumbnail else np.zeros((0, 0, 3), np.uint8),
        expressions=make_expressions(first, end, every=emotion_every) if emotion_every else Expressions.empty(),
    )


def make_expressions(first: int, end: int, *, every: int) -> Expressions:
    """Return samples of a face that is happy in the first half of its frames, then sad; the third one is blurred."""
    frames = np.arange(first, end, every, dtype=np.int32)
    emotions = np.full((len(frames), 7), 0.02, np.float32)
    emotions[np.arange(len(frames)), np.where(frames < (first + end) / 2, 3, 4)] = 0.88
    reasons = np.zeros(len(frames), np.uint8)
    reasons[2:3], emotions[2:3] = Reason.BLURRED, np.nan
    happy = emotions[:, 3] - emotions[:, 4]
    angle = np.linspace(-0.3, 0.3, len(frames), dtype=np.float32)
    return Expressions(
        frames=frames,
        emotions=emotions,
        valence=0.8 * happy,
        arousal=0.4 * happy,
        reasons=reasons,
        pose=np.stack([angle, -angle, angle / 2], 1),
        gaze=np.stack([angle / 3, angle / 4], 1),
        openness=np.full((len(frames), 2), 0.3, np.float32),
    )


def person_vector(person: int, dimension: int = 16) -> Float32:
    """Return the unit vector that the embeddings of a person lie around."""
    vector = np.random.default_rng(1000 + person).standard_normal(dimension)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def _boxes(count: int, rng: np.random.Generator) -> Float32:
    corner = rng.uniform([20, 20], [WIDTH - 120, HEIGHT - 120]) + rng.uniform(-1, 1, (count, 2)).cumsum(axis=0)
    return np.hstack([corner, corner + rng.uniform(50, 60, (count, 2))]).astype(np.float32)


def _landmarks(boxes: Float32, sources: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> Float32:
    inside = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
    points = boxes[:, None, :2] + inside * (boxes[:, None, 2:] - boxes[:, None, :2])
    points[sources != Source.DETECTED] = np.nan
    return np.asarray(points, np.float32)


def _keyframes(
    person: int, first: int, count: int, rng: np.random.Generator, *, dimension: int, wanted: int, noise: float
) -> Keyframes:
    frames = np.unique(np.linspace(first, first + count - 1, min(wanted, count)).astype(np.int32))
    vectors = person_vector(person, dimension) + noise * rng.standard_normal((len(frames), dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    qualities = rng.uniform(0.3, 1, len(frames)).astype(np.float32)
    return Keyframes(frames, qualities, vectors.astype(np.float32))


def _picture(person: int) -> Image:
    column = np.linspace(0, 200, 48, dtype=np.uint8)
    return np.stack(np.broadcast_arrays(column[:, None], column[None], np.uint8(40 * person % 256)), axis=2)


class MiddleDetector:
    """A detector for pictures that show one face in their middle, such as `portrait` paints."""

    model_id = "fake-detector"

    def detect(self, image: Image) -> Detections:
        """Return the middle half of the picture."""
        height, width = image.shape[:2]
        return Detections([[width / 4, height / 4, 3 * width / 4, 3 * height / 4]], [0.9])


class ShadeEmbedder:
    """An embedder that knows the people of `portrait` by their shade; its vectors lie beside those of `make_track`."""

    model_id = "fake-embedder"
    dimension = 16
    template = ARCFACE_TEMPLATE
    same_face = 0.5

    def embed(self, crops: Sequence[Image]) -> Float32:
        """Return the vector of each person."""
        people = [round(float(crop[..., 0].mean()) / SHADE) for crop in crops]
        return np.stack([person_vector(person, self.dimension) for person in people])


SHADE = 20


def portrait(person: int, number: int) -> Image:
    """Return a picture of a person, a different one for each number."""
    picture = np.random.default_rng(number).integers(0, 255, (160, 160, 3), np.uint8)
    picture[..., 0] = SHADE * person
    return picture
