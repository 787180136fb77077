"""Curves from pairs of faces of which it is known whether they are one person: rates, intervals and probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from indexing.metrics import BINS, Labels
from tracker.types import Float64, frozen

Curve = Callable[[Float64], Float64]
"""From similarities to the probability of one person."""

FOLDS = 5
"""Parts of the groups, each of which is judged by a fit on the others."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share that was counted, with its 95 % interval (Wilson 1927).

    Attributes:
        share: The share, in [0, 1].
        low: Lower end of the interval.
        high: Upper end.
        count: Independent cases that it was counted over.
    """

    share: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, share: float, count: int, *, z: float = 1.96) -> Rate:
        """Return the rate for a share of ``count`` cases; the interval is [0, 1] for no case.

        Example:
            >>> rate = Rate.of(0.0, 100)
            >>> rate.low, round(rate.high, 3)
            (0.0, 0.037)
        """
        if not count:
            return cls(share, 0.0, 1.0, 0)
        spread = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
        centre, scale = share + z**2 / (2 * count), 1 + z**2 / count
        low, high = max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
        return cls(share, low if share > 0 else 0.0, high if share < 1 else 1.0, count)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of faces of which it is known whether they are one person, in groups that are independent of each other.

    Attributes:
        scores: ``(P,)`` float64 similarities.
        same: ``(P,)`` bool: one person, or two.
        groups: ``(P,)`` int64: pairs of one group (a person, or a couple of people) are as good as one case.
        weights: ``(P,)`` float64 by which each group counts as one case.

    Example:
        >>> pairs = Pairs([0.9, 0.8, 0.1], [True, True, False], [0, 0, 1])
        >>> pairs.cases(True), pairs.share_above(0.85, same=True), pairs.share_above(0.85, same=False)
        (1, 0.5, 0.0)
    """

    scores: Float64
    same: NDArray[np.bool_]
    groups: Labels
    weights: Float64 = field(init=False)

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        object.__setattr__(self, "scores", frozen(self.scores, np.float64, (None,), "scores"))
        object.__setattr__(self, "same", frozen(self.same, np.bool_, (len(self.scores),), "same"))
        object.__setattr__(self, "groups", frozen(self.groups, np.int64, (len(self.scores),), "groups"))
        _, places, sizes = np.unique(self.groups, return_inverse=True, return_counts=True)
        object.__setattr__(self, "weights", 1 / sizes[places.reshape(-1)])

    def __getitem__(self, which: NDArray[np.bool_]) -> Pairs:
        """Return the pairs at a mask."""
        return Pairs(self.scores[which], self.same[which], self.groups[which])

    def cases(self, same: bool) -> int:
        """Return the number of groups of one kind."""
        return len(np.unique(self.groups[self.same == same]))

    def share_above(self, threshold: float, *, same: bool) -> float:
        """Return the share of the cases of one kind that reach ``threshold``; 0 where there is none."""
        weights = self.weights * (self.same == same)
        return float(weights[self.scores >= threshold].sum() / max(weights.sum(), 1e-12))

    def histogram(self, *, same: bool) -> Float64:
        """Return ``(BINS,)`` float64 cases of one kind in equal bins of similarity over [-1, 1]."""
        chosen = self.same == same
        places = np.clip((self.scores[chosen] + 1) * (BINS / 2), 0, BINS - 1).astype(np.int64)
        return np.asarray(np.bincount(places, self.weights[chosen], BINS), np.float64)

    def folds(self) -> list[NDArray[np.bool_]]:
        """Return `FOLDS` masks of the pairs that are held out in turn: each group once, both kinds spread evenly."""
        parts = np.empty(len(self.scores), np.int64)
        for side in (self.same, ~self.same):
            numbers, places = np.unique(self.groups[side], return_inverse=True)
            parts[side] = (np.random.default_rng(0).permutation(len(numbers)) % FOLDS)[places.reshape(-1)]
        return [parts == fold for fold in range(FOLDS)]


def centres(bins: int) -> Float64:
    """Return ``(bins,)`` float64 middles of equal bins over [-1, 1]."""
    return (np.arange(bins) + 0.5) * (2 / bins) - 1


def log_loss(probabilities: ArrayLike, pairs: Pairs) -> float:
    """Return the mean surprise in bits at what the pairs are, both kinds weighing the same: 1 for always saying 0.5."""
    chances = np.clip(np.asarray(probabilities, np.float64), 1e-6, 1 - 1e-6)
    surprise, weights = -np.log2(np.where(pairs.same, chances, 1 - chances)), pairs.weights
    sides = [np.average(surprise[side], weights=weights[side]) for side in (pairs.same, ~pairs.same) if side.any()]
    return float(np.mean(sides))


def platt(genuine: ArrayLike, impostors: ArrayLike) -> Curve:
    """Return the logistic curve (Platt 1999, with his softened answers) through counts in equal bins of similarity."""
    from sklearn.linear_model import LogisticRegression

    scores, answers, weights, (of_one, of_two) = _balanced(genuine, impostors)
    soft = np.where(answers == 1, 1 / (of_one + 2), 1 / (of_two + 2))
    twice = np.concatenate([scores, scores])[:, None]
    centre, scale = float(scores.mean()), max(float(scores.std()), 1e-6)
    model = LogisticRegression(C=1e6, max_iter=1000).fit(
        (twice - centre) / scale,
        np.concatenate([answers, 1 - answers]),
        sample_weight=np.concatenate([weights * (1 - soft), weights * soft]) * 1000,
    )
    slope, offset = max(float(model.coef_[0, 0]), 0.0), float(model.intercept_[0])
    return lambda values: np.asarray(1 / (1 + np.exp(-(slope * (values - centre) / scale + offset))))


def isotonic(genuine: ArrayLike, impostors: ArrayLike) -> Curve:
    """Return the rising steps (Zadrozny and Elkan 2002) through the counts, kept off 0 and 1 by what was not seen."""
    from sklearn.isotonic import IsotonicRegression

    scores, answers, weights, (of_one, of_two) = _balanced(genuine, impostors)
    model = IsotonicRegression(y_min=1 / (of_two + 2), y_max=1 - 1 / (of_one + 2), out_of_bounds="clip")
    model.fit(scores, answers, sample_weight=weights)
    return lambda values: np.asarray(model.predict(values), np.float64)


def _balanced(genuine: ArrayLike, impostors: ArrayLike) -> tuple[Float64, Float64, Float64, tuple[float, float]]:
    """Return scores, answers and weights of the filled bins, both kinds weighing the same, and the two totals."""
    sides = [(np.asarray(genuine, np.float64), 1.0), (np.asarray(impostors, np.float64), 0.0)]
    middles, totals = centres(len(sides[0][0])), (float(sides[0][0].sum()), float(sides[1][0].sum()))
    scores = np.concatenate([middles[counts > 0] for counts, _ in sides])
    answers = np.concatenate([np.full((counts > 0).sum(), answer) for counts, answer in sides])
    weights = np.concatenate([counts[counts > 0] / counts.sum() for counts, _ in sides])
    return scores, answers, weights, totals
