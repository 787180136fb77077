"""What a model has to offer to take part: structural types, so any object with these members will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from tracker.types import EMOTIONS, Carried, Detections, Float32, Image, UInt8, frozen


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """Where a face has to lie in the square crop that a model was trained on.

    Attributes:
        size: Side of the crop in pixels.
        five_points: ``(5, 2)`` float32 pixels of the crop, one for each of `tracker.types.LANDMARKS`.
        mesh_indices: Face Mesh points to align by where a mesh is found; empty: align by the five points alone.
        mesh_points: ``(len(mesh_indices), 2)`` float32 pixels of the crop.
    """

    size: int
    five_points: Float32
    mesh_indices: tuple[int, ...] = ()
    mesh_points: Float32 = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        mesh_points = np.empty((0, 2)) if self.mesh_points is None else self.mesh_points
        object.__setattr__(self, "five_points", frozen(self.five_points, np.float32, (5, 2), "five_points"))
        count = len(self.mesh_indices)
        object.__setattr__(self, "mesh_points", frozen(mesh_points, np.float32, (count, 2), "mesh_points"))


@runtime_checkable
class Detector(Protocol):
    """Finds faces in a picture."""

    @property
    def model_id(self) -> str:
        """Name and version of the weights; stands in the database."""
        ...

    def detect(self, image: Image) -> Detections:
        """Return the faces of ``image``, an ``(H, W, 3)`` uint8 BGR picture; also those of low score (from 0.3)."""
        ...


@runtime_checkable
class ScalableDetector(Detector, Protocol):
    """A detector that looks at a picture at any size; what it sees of small faces, and its time, grow with the size."""

    @property
    def long_side(self) -> int:
        """Longer side in pixels at which `detect` looks."""
        ...

    def detect_at(self, image: Image, long_side: int) -> Detections:
        """Return the faces of ``image`` brought to a longer side of ``long_side`` pixels."""
        ...

    def detect_small(self, image: Image) -> Detections:
        """Return the faces, those too that are small in the picture; takes longer."""
        ...


@runtime_checkable
class LandmarkModel(Protocol):
    """Finds the dense landmarks of one face."""

    @property
    def model_id(self) -> str:
        """Name and version of the weights; stands in the database."""
        ...

    def landmarks(self, image: Image, box: Float32) -> Float32 | None:
        """Return ``(478, 3)`` float32 Face Mesh points in pixels of ``image`` (z in the same scale), or None.

        Args:
            image: ``(H, W, 3)`` uint8 BGR picture.
            box: ``(4,)`` float32 xyxy of the face in it.
        """
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns aligned crops into vectors whose dot product tells how alike two faces are."""

    @property
    def model_id(self) -> str:
        """Name and version of the weights; vectors of two ids are never compared."""
        ...

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        ...

    @property
    def template(self) -> Template:
        """How the crops are cut."""
        ...

    @property
    def same_face(self) -> float:
        """Similarity above which two fair views are the same person (about one false match in a thousand)."""
        ...

    def embed(self, crops: Sequence[Image]) -> Float32:
        """Return ``(N, dimension)`` float32 rows for N crops of ``template.size`` squared, BGR.

        The dot product of two is their similarity. Rows are of unit length, or near it where the model says by the
        length how much a face tells.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Feelings:
    """What an emotion model says of several faces.

    Attributes:
        emotions: ``(N, 7)`` float32 probabilities of `tracker.types.EMOTIONS`, rows sum to 1.
        affect: ``(N, 2)`` float32 valence and arousal in [-1, 1]; None where the model predicts neither.
    """

    emotions: Float32
    affect: Float32 | None = None

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        object.__setattr__(self, "emotions", frozen(self.emotions, np.float32, (None, len(EMOTIONS)), "emotions"))
        if self.affect is not None:
            shape = (len(self.emotions), 2)
            object.__setattr__(self, "affect", frozen(self.affect, np.float32, shape, "affect"))


@runtime_checkable
class EmotionModel(Protocol):
    """Tells the expression of aligned crops."""

    @property
    def model_id(self) -> str:
        """Name and version of the weights; stands in the database."""
        ...

    @property
    def template(self) -> Template:
        """How the crops are cut."""
        ...

    def classify(self, crops: Sequence[Image]) -> Feelings:
        """Return what N crops of ``template.size`` squared, BGR, show."""
        ...


@runtime_checkable
class FlowTracker(Protocol):
    """Carries boxes from one picture to the next by the motion of the pixels."""

    def carry(self, previous: UInt8, current: UInt8, boxes: Float32, *, width: int) -> Carried:
        """Return ``(N, 4)`` boxes of the previous grey picture where they lie in the current one.

        Args:
            previous: ``(h, w)`` uint8 grey picture.
            current: ``(h, w)`` uint8 grey picture.
            boxes: ``(N, 4)`` float32 xyxy in source pixels.
            width: Width in pixels of the source picture that the grey ones were reduced from.
        """
        ...
