"""How good a clustering, a tracking or an embedding is: figures with their sources, from plain arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.errors import FacetrackError
from tracker.types import Float32, Float64

BINS = 1 << 16
"""Bins over the scores [-1, 1] of a verification curve: a resolution of 3e-5 whatever the number of pairs."""

CHUNK = 1024
"""Rows of the similarity matrix that are held at a time."""

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Score:
    """Precision and recall in [0, 1].

    Example:
        >>> round(Score(0.5, 1.0).f, 3)
        0.667
    """

    precision: float
    recall: float

    @property
    def f(self) -> float:
        """The harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def integers(labels: ArrayLike) -> Labels:
    """Return ``labels`` of any kind as ``(N,)`` int64 from 0; each -1 (noise, unknown) becomes a label of its own.

    Example:
        >>> integers(["b", "a", "b"]).tolist(), integers([7, -1, -1]).tolist()
        ([1, 0, 1], [0, 1, 2])
    """
    values = np.asarray(labels).reshape(-1)
    codes = _codes(values)
    if not np.issubdtype(values.dtype, np.integer):
        return codes
    noise = values == -1
    codes[noise] = codes.max(initial=0) + 1 + np.arange(noise.sum())
    return _codes(codes)


def _codes(values: NDArray[Any]) -> Labels:
    return np.array(np.unique(values, return_inverse=True)[1], np.int64).reshape(-1)


def contingency(truth: ArrayLike, labels: ArrayLike) -> tuple[Labels, Labels, Labels]:
    """Return the counts of each pair of a person and a cluster that occurs, of each person and of each cluster.

    The second and third array give, for each of the pairs, the size of its person and of its cluster.

    Raises:
        FacetrackError: if the two have different lengths.
    """
    people, clusters = integers(truth), integers(labels)
    if len(people) != len(clusters):
        raise FacetrackError(f"{len(people)} true labels for {len(clusters)} predicted ones: give one for each item")
    pairs, counts = np.unique(np.stack([people, clusters], axis=1), axis=0, return_counts=True)
    return counts, np.bincount(people)[pairs[:, 0]], np.bincount(clusters)[pairs[:, 1]]


def bcubed(truth: ArrayLike, labels: ArrayLike) -> Score:
    """Return BCubed precision and recall (Bagga and Baldwin 1998): the mean over items, so large people weigh more.

    Example:
        >>> bcubed(["ada", "ada", "bob"], [0, 0, 0])
        Score(precision=0.5555555555555555, recall=1.0)
    """
    counts, people, clusters = contingency(truth, labels)
    total = max(int(counts.sum()), 1)
    squares = counts.astype(np.float64) ** 2
    return Score(float((squares / clusters).sum() / total), float((squares / people).sum() / total))


def pairwise(truth: ArrayLike, labels: ArrayLike) -> Score:
    """Return precision and recall over pairs of items: of those joined that belong together, and the reverse.

    Where there is no pair to judge the figure is 1.

    Example:
        >>> pairwise([0, 0, 1, 1], [5, 5, 5, 6])
        Score(precision=0.3333333333333333, recall=0.5)
    """
    counts = contingency(truth, labels)[0]
    both, joined, genuine = (int((n * (n - 1) // 2).sum()) for n in (counts, _sizes(labels), _sizes(truth)))
    return Score(both / joined if joined else 1.0, both / genuine if genuine else 1.0)


def nmi(truth: ArrayLike, labels: ArrayLike) -> float:
    """Return the mutual information normalised by the mean entropy, in [0, 1]."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(integers(truth), integers(labels)))


def ari(truth: ArrayLike, labels: ArrayLike) -> float:
    """Return the Rand index adjusted for chance (Hubert and Arabie 1985), at most 1."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score(integers(truth), integers(labels)))


@dataclass(frozen=True, slots=True)
class IdCounts:
    """The additive components of IDF1 (Ristani et al. 2016): add those of many videos, then ask for `idf1`.

    Attributes:
        matched: Faces whose predicted identity is the one mapped to their person (IDTP).
        truth: Faces to find (IDTP + IDFN).
        found: Faces reported (IDTP + IDFP).

    Example:
        >>> round((IdCounts(3, 4, 4) + IdCounts(1, 4, 0)).idf1, 3)
        0.667
    """

    matched: int = 0
    truth: int = 0
    found: int = 0

    def __add__(self, other: IdCounts) -> IdCounts:
        """Return the counts of both together."""
        return IdCounts(self.matched + other.matched, self.truth + other.truth, self.found + other.found)

    @property
    def idf1(self) -> float:
        """The F1 of identity, in [0, 1]."""
        total = self.truth + self.found
        return 2 * self.matched / total if total else 0.0


def id_counts(people: Sequence[Any], identities: Sequence[Any], *, missed: int = 0, extra: int = 0) -> IdCounts:
    """Return the components of IDF1 of one video.

    Args:
        people: True person of each face that was found and matched to a true one.
        identities: Predicted identity (or track) of the same faces.
        missed: True faces that were not found.
        extra: Faces found where there is none.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = integers(np.asarray(people)), integers(np.asarray(identities))
    if not len(rows):
        return IdCounts(0, missed, extra)
    table = np.zeros((rows.max() + 1, columns.max() + 1), np.int64)
    np.add.at(table, (rows, columns), 1)
    matched = int(table[linear_sum_assignment(table, maximize=True)].sum())
    return IdCounts(matched, len(rows) + missed, len(rows) + extra)


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """The errors of "same person" decisions as the threshold rises.

    Attributes:
        thresholds: ``(B,)`` float64 rising similarities; a pair at or above is taken for the same person.
        far: ``(B,)`` float64 share of impostor pairs accepted, falling.
        frr: ``(B,)`` float64 share of genuine pairs rejected, rising.
        genuine: Number of genuine pairs.
        impostors: Number of impostor pairs.
    """

    thresholds: Float64
    far: Float64
    frr: Float64
    genuine: int
    impostors: int

    def threshold(self, far: float) -> float:
        """Return the lowest threshold whose false accept rate is at most ``far``."""
        return float(self.thresholds[self._at(far)])

    def tar(self, far: float) -> float:
        """Return the share of genuine pairs accepted where the false accept rate is at most ``far``."""
        return float(1 - self.frr[self._at(far)])

    @property
    def eer(self) -> float:
        """The rate at which false accepts and false rejects are equal."""
        at = int(np.argmin(np.abs(self.far - self.frr)))
        return float((self.far[at] + self.frr[at]) / 2)

    @property
    def best_accuracy(self) -> tuple[float, float]:
        """The best accuracy, genuine and impostor pairs weighing equally as in LFW's protocol, and its threshold."""
        accuracy = 1 - (self.far + self.frr) / 2
        at = int(np.argmax(accuracy))
        return float(accuracy[at]), float(self.thresholds[at])

    def roc(self, points: int = 200) -> tuple[Float64, Float64]:
        """Return false accept rates spaced evenly in logarithm, and the true accept rate at each, for a picture."""
        lowest = 1 / max(self.impostors, 10)
        rates = np.geomspace(lowest, 1.0, points)
        return rates, np.array([self.tar(rate) for rate in rates])

    def _at(self, far: float) -> int:
        return int(np.argmax(self.far <= far))


def verification(vectors: Float32, labels: ArrayLike) -> Verification:
    """Compare every pair of ``vectors`` once and return the curves of errors; memory does not grow with the pairs.

    Args:
        vectors: ``(N, D)`` float32 rows of unit length.
        labels: The person of each row.

    Raises:
        FacetrackError: if there is no pair of one person, or no pair of two.
    """
    return from_histogram(*pair_counts(vectors, labels))


def pair_counts(vectors: Float32, labels: ArrayLike) -> tuple[Labels, Labels]:
    """Return the numbers of genuine and of impostor pairs of ``vectors`` in each of `BINS` bins of similarity."""
    genuine, impostors = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    for scores, same in pairs(vectors, labels):
        genuine += count_scores(scores[same])
        impostors += count_scores(scores[~same])
    return genuine, impostors


def count_scores(scores: ArrayLike) -> Labels:
    """Return how many of ``scores`` lie in each of `BINS` equal bins of [-1, 1]; what is outside counts at the end."""
    places = ((np.asarray(scores, np.float64).reshape(-1) + 1) * (BINS / 2)).astype(np.int64)
    return np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS).astype(np.int64)


def from_histogram(genuine: Labels, impostors: Labels) -> Verification:
    """Return the curves for counts of genuine and impostor pairs in equal bins of score over [-1, 1].

    Raises:
        FacetrackError: if one of the two is empty.
    """
    totals = int(genuine.sum()), int(impostors.sum())
    if not all(totals):
        raise FacetrackError(
            f"{totals[0]} pairs of one person and {totals[1]} of two people: both are needed; "
            "give at least two people, one of them with two faces"
        )
    thresholds = np.linspace(-1, 1, len(genuine) + 1)
    frr = np.concatenate([[0], np.cumsum(genuine)]) / totals[0]
    far = 1 - np.concatenate([[0], np.cumsum(impostors)]) / totals[1]
    return Verification(thresholds, far, frr, *totals)


def pairs(vectors: Float32, labels: ArrayLike) -> Iterator[tuple[Float32, NDArray[np.bool_]]]:
    """Iterate over all pairs of rows once, in chunks: similarities, and whether the two are one person."""
    people = integers(labels)
    for start in range(0, len(vectors), CHUNK):
        rows = np.arange(start, min(start + CHUNK, len(vectors)))
        after = np.arange(start, len(vectors)) > rows[:, None]
        scores = vectors[rows] @ vectors[start:].T
        same = people[rows, None] == people[None, start:]
        yield scores[after], same[after]


def _sizes(labels: ArrayLike) -> Labels:
    return np.bincount(integers(labels)).astype(np.int64)
