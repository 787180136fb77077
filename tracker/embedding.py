"""Keyframes to vectors: landmarks, alignment, embedder, and the picture that people see of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tracker import align, models
from tracker.clock import Clock
from tracker.headless import cv2
from tracker.keyframes import Candidate
from tracker.protocols import Detector, Embedder, EmotionModel, LandmarkModel
from tracker.types import Float32, Image, Keyframes

THUMBNAIL_SIDE = 192

_NO_PICTURE = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a run.

    Attributes:
        detector: Finds the faces.
        landmarks: Refines the alignment of what is embedded, and tells how far it can be trusted; None: the detector's
            landmarks alone, trusted.
        embedder: Turns faces into vectors.
        emotion: Tells expressions; None: they are not sampled.
    """

    detector: Detector
    landmarks: LandmarkModel | None
    embedder: Embedder
    emotion: EmotionModel | None = None


def load_models(
    *,
    detector: str | Detector = "centerface",
    embedder: str | Embedder = "dlib",
    emotion: str | EmotionModel | None = None,
    models_dir: Path | None = None,
) -> Models:
    """Load the models that the arguments name, see `tracker.models.load`; no emotion model for None.

    Raises:
        ModelError: if a name is unknown or weights are missing.
    """
    vectors = models.load("embedder", embedder, models_dir=models_dir)
    feelings = None if emotion is None else models.load("emotion", emotion, models_dir=models_dir)
    mesh = models.load("landmarks", "facemesh", models_dir=models_dir)
    return Models(models.load("detector", detector, models_dir=models_dir), mesh, vectors, feelings)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """An embedded keyframe.

    Attributes:
        frame: Index of its frame.
        quality: `tracker.align.quality` times `tracker.align.trust`.
        embedding: ``(D,)`` float32, see `tracker.protocols.Embedder`.
        thumbnail: ``(H, W, 3)`` uint8 BGR, at most `THUMBNAIL_SIDE` a side.
    """

    frame: int
    quality: float
    embedding: Float32
    thumbnail: Image


def embed(loaded: Models, candidates: Sequence[Candidate], *, clock: Clock | None = None) -> list[View]:
    """Return the candidates, embedded."""
    clock = clock or Clock()
    with clock("landmarks and alignment"):
        aligned = [_aligned(loaded, candidate) for candidate in candidates]
    with clock("embed"):
        vectors = loaded.embedder.embed([crop for crop, _ in aligned])
    return [
        View(c.frame, c.quality * trust, vector, _thumbnail(c))
        for c, (_, trust), vector in zip(candidates, aligned, vectors, strict=True)
    ]


def _aligned(loaded: Models, candidate: Candidate) -> tuple[Image, float]:
    """Return the crop for the embedder and how far its alignment can be trusted."""
    face = candidate.patch, candidate.landmarks, loaded.embedder.template
    if loaded.landmarks is None:
        return align.align(*face), 1.0
    mesh = loaded.landmarks.landmarks(candidate.patch, candidate.box)
    return align.align(*face, mesh=mesh), align.trust(*face, mesh=mesh)


def _thumbnail(candidate: Candidate) -> Image:
    height, width = candidate.patch.shape[:2]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(candidate.patch, size, interpolation=cv2.INTER_AREA), np.uint8)


def with_one_picture(views: Sequence[View], boundaries: Sequence[int] = ()) -> list[View]:
    """Return the views with the thumbnail of the best one alone: those of an hour would fill the memory.

    Args:
        views: The views of one face.
        boundaries: Rising frames; between two of them one view keeps its thumbnail.
    """
    best: dict[int, int] = {}
    for row, view in enumerate(views):
        part = bisect_right(boundaries, view.frame)
        if part not in best or view.quality > views[best[part]].quality:
            best[part] = row
    kept = set(best.values())
    return [view if row in kept else replace(view, thumbnail=_NO_PICTURE) for row, view in enumerate(views)]


def template(views: Sequence[View]) -> Float32:
    """Return the ``(D,)`` float32 unit vector of the sum of quality squared times embedding."""
    total = np.sum([view.quality**2 * view.embedding for view in views], axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)


def to_keyframes(views: Sequence[View]) -> Keyframes:
    """Return the views in order of time, as arrays."""
    ordered = sorted(views, key=lambda view: view.frame)
    return Keyframes(
        np.array([view.frame for view in ordered]),
        np.array([view.quality for view in ordered]),
        np.array([view.embedding for view in ordered]),
    )
