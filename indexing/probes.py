"""Faces that are searched for, and the one face that several pictures show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from indexing import cluster
from indexing.calibrate import Calibration
from tracker.errors import FacetrackError
from tracker.types import Float32, Image

OUTLIER_FAR = 1e-2
"""A picture that is less like the others than one stranger in a hundred is of somebody else."""


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A face that is searched for.

    Attributes:
        path: The picture, or the video it was taken from.
        box: ``(4,)`` float32 xyxy in its pixels.
        vector: ``(D,)`` float32 of unit length; shorter where it is the mean of several views.
        thumbnail: ``(H, W, 3)`` uint8 BGR.
        quality: See `tracker.align.quality`.
        title: What to call it where it is no picture of its own: a person or a track.
    """

    path: Path
    box: Float32
    vector: Float32
    thumbnail: Image
    quality: float = 1.0
    title: str = ""

    @property
    def label(self) -> str:
        """Its title, or the path of the picture."""
        return self.title or str(self.path)


@dataclass(frozen=True, slots=True)
class Outlier:
    """A picture that was left out of a template, as it shows somebody else.

    Attributes:
        path: The picture.
        similarity: Of its most similar face to the face that most pictures show.
        needed: The similarity from which it would have been taken.
    """

    path: Path
    similarity: float
    needed: float

    def __str__(self) -> str:
        """Return a line for people to read."""
        return (
            f"{self.path} was left out: it shows somebody else (similarity {self.similarity:.3f} < {self.needed:.3f})"
        )


def combine(
    faces: Sequence[Sequence[Probe]], scale: Calibration
) -> tuple[Probe, tuple[Path, ...], tuple[Outlier, ...]]:
    """Return the template of the one person whom most pictures show, the pictures that made it and those that did not.

    The face that is like one face of most other pictures stands for the person; of each other picture the most similar
    face is taken, if it is similar enough (`OUTLIER_FAR`). Faces weigh by quality squared.

    Args:
        faces: The faces of each picture.
        scale: The calibration of the embedder.

    Raises:
        FacetrackError: if no two of several pictures show one person, or it is not clear who is meant.
    """
    candidates = [[_Candidate.of(face, _without(faces, row), scale) for face in own] for row, own in enumerate(faces)]
    middle = max((candidate for own in candidates for candidate in own), key=lambda candidate: candidate.rank)
    rivals = next(own for own in candidates if middle in own)
    _check_clear(middle, [rival for rival in rivals if rival.votes >= middle.votes], len(faces))
    taken = [middle.face, *(face for _, face in middle.alike())]
    outliers = tuple(Outlier(face.path, s, middle.needed) for s, face in middle.nearest if s < middle.needed)
    qualities = np.array([face.quality for face in taken])
    vector = cluster.template(np.stack([face.vector for face in taken]), qualities)
    more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
    title = f"{middle.face.path}{more}"
    probe = replace(middle.face, vector=vector, quality=float(qualities.max()), title=title)
    return probe, tuple(face.path for face in taken), outliers


def _without(faces: Sequence[Sequence[Probe]], row: int) -> list[Sequence[Probe]]:
    return [*faces[:row], *faces[row + 1 :]]


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A face that may be the one meant, and the most similar face of each other picture with its similarity."""

    face: Probe
    nearest: tuple[tuple[float, Probe], ...]
    needed: float
    support: float

    @classmethod
    def of(cls, face: Probe, others: Sequence[Sequence[Probe]], scale: Calibration) -> _Candidate:
        scored = [[(float(face.vector @ other.vector), other) for other in picture] for picture in others]
        nearest = tuple(max(found, key=lambda pair: pair[0]) for found in scored)
        support = face.quality**2 + sum(float(scale.probability(s)) * other.quality**2 for s, other in nearest)
        return cls(face, nearest, scale.threshold(OUTLIER_FAR), support)

    def alike(self) -> list[tuple[float, Probe]]:
        """Return the other pictures that show the same person."""
        return [pair for pair in self.nearest if pair[0] >= self.needed]

    @property
    def votes(self) -> int:
        """Their number."""
        return len(self.alike())

    @property
    def rank(self) -> tuple[int, float]:
        """The higher, the likelier this face is meant."""
        return self.votes, self.support


def _check_clear(middle: _Candidate, rivals: Sequence[_Candidate], pictures: int) -> None:
    if pictures > 1 and not middle.votes:
        raise FacetrackError(
            f"no two of the {pictures} pictures show one person; give pictures of one, or search for each by itself"
        )
    if len(rivals) > 1:
        also = "no other picture tells" if pictures == 1 else "as many other pictures show each: none tells"
        raise FacetrackError(
            f"{middle.face.path} shows {len(rivals)} faces, and {also} who is meant; give a picture of one person alone"
        )
