"""How much strangers look like a face, and vectors that make up for it.

A blurred face, one that looks down, or simply a common one is near to many strangers, so one threshold accepts far more
of them for it than for others. Speaker verification subtracts from each score what its two sides score against
strangers (symmetric score normalisation with the nearest of a cohort, see Matejka et al., "Analysis of score
normalization in multilingual speaker recognition", Interspeech 2017). Here no cohort of faces is kept: a quadratic
function of the vector predicts its mean similarity to the ten nearest strangers, and the vector is shortened by half of
what that exceeds the usual. The dot product of two such vectors is then about their cosine less the mean of both
excesses.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from tracker.types import Float32, Float64, frozen

NEAREST = 10
"""Strangers whose mean similarity is predicted."""


@dataclass(frozen=True, slots=True, eq=False)
class Typicality:
    """A quadratic function of a unit vector: the mean similarity to its `NEAREST` strangers, less the usual one.

    Attributes:
        quadratic: ``(D, D)`` float32, symmetric.
        linear: ``(D,)`` float32.
        offset: ``(1,)`` float32.
    """

    quadratic: Float32
    linear: Float32
    offset: Float32

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        size = len(self.linear)
        object.__setattr__(self, "quadratic", frozen(self.quadratic, np.float32, (size, size), "quadratic"))
        object.__setattr__(self, "linear", frozen(self.linear, np.float32, (size,), "linear"))
        object.__setattr__(self, "offset", frozen(self.offset, np.float32, (1,), "offset"))

    def excess(self, vectors: Float32) -> Float64:
        """Return ``(N,)`` float64: by how much more than usual strangers look like each of ``(N, D)`` unit vectors."""
        rows = np.asarray(vectors, np.float64)
        # Row by row, so that a vector cannot depend on its neighbours in a batch.
        return np.array([row @ self.quadratic @ row + row @ self.linear + self.offset[0] for row in rows], np.float64)

    def shortened(self, vectors: Float32) -> Float32:
        """Return ``(N, D)`` float32 unit vectors, each shortened by half of its `excess` (lengthened where it is < 0).

        Example:
            >>> flat = Typicality(np.zeros((2, 2)), np.float32([0.1, 0]), np.zeros(1))
            >>> flat.shortened(np.float32([[1, 0], [0, 1]])).round(3).tolist()
            [[0.949999988079071, 0.0], [0.0, 1.0]]
        """
        return np.asarray(vectors * (1 - self.excess(vectors)[:, None] / 2), np.float32)


@cache
def of_dlib() -> Typicality:
    """Return the function for dlib's vectors of four views; `benchmarks/typicality.py` fits it on LFW."""
    with resources.files("tracker.models").joinpath("dlib_typicality.npz").open("rb") as file, np.load(file) as values:
        return Typicality(values["quadratic"], values["linear"], values["offset"])
