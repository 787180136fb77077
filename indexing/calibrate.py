"""What a similarity means: the probability of one person, and the threshold at a stated false accept rate.

Every embedder has a scale of its own: the thresholds of one never serve another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from indexing.constraints import co_occurring
from indexing.metrics import BINS, Labels, Verification, count_scores, from_histogram, pair_counts
from indexing.types import TrackEmbeddings, TrackRecord
from tracker.errors import FacetrackError
from tracker.types import Float32, Float64, frozen

FARS = np.geomspace(0.1, 1e-6, 26)
"""False accept rates of the table of thresholds."""

KNOTS = 65
"""Points of the map from similarity to probability."""

ISOTONIC_FROM = 5000
"""Genuine and impostor pairs from which isotonic regression gives the probabilities; below, a logistic curve."""

FEWEST = 50
"""Tracks with several keyframes, and couples of tracks in one frame, that a calibration from a database needs."""

FALSE_PER_MISSED = 2.0
"""A clustering is cut where it expects this many false pairs above the cut for each genuine pair below it.

Both are estimated from the calibration and the pairs that are seen above the cut. So an album of strangers, whose pairs
are impostors almost all, is cut high, and a video of two people low. Average linkage bears more false pairs than missed
ones, as one pair alone joins nothing. Chosen on LFW sub-sets of 1 to 1,249 people with three embedders, where 0.5 to
2 differ by less than 0.005.
"""

CLUSTER_FAR = 0.01
"""Highest false accept rate at which a clustering is cut."""

CUT_SAMPLE = 4096
"""Most items whose pairs are looked at for the cut."""

PUBLISHED = {
    "mobilefacenet": 0.35,
    "facenet512": 0.70,
    "facenet": 0.60,
    "arcface": 0.32,
    "sface": 0.407,
    "vgg": 0.32,
    "ghostface": 0.35,
    "dlib": 0.91,
}
"""Cosine of "same person" as makers and DeepFace publish it (best accuracy, about FAR 1e-2), by part of the name."""

UNKNOWN_EMBEDDER = 0.45
"""The same where nothing is published: above that of most families, so that people are split rather than merged."""


USUAL_TARS = 1 - 0.01 * (1e-2 / FARS) ** 0.4
"""True accept rates of a fair embedder at `FARS`, between those measured for dlib's network and EdgeFace on LFW."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The scale of one embedder.

    Attributes:
        model_id: The embedder.
        source: Where the figures come from, for people to read.
        thresholds: ``(26,)`` float64 similarity at each rate of `FARS`, rising.
        tars: ``(26,)`` float64 true accept rate at each of them, falling.
        scores: ``(K,)`` float64 rising similarities.
        probabilities: ``(K,)`` float64 probability of one person at each, genuine and impostor pairs being equally
            many.

    Example:
        >>> scale = fallback("some-model")
        >>> scale.threshold(1e-4) > scale.threshold(1e-2), scale.probability(0.9) > 0.95
        (True, True)
    """

    model_id: str
    source: str
    thresholds: Float64
    tars: Float64
    scores: Float64
    probabilities: Float64

    def __post_init__(self) -> None:
        """Check the arrays and make them read-only."""
        object.__setattr__(self, "thresholds", frozen(self.thresholds, np.float64, (len(FARS),), "thresholds"))
        object.__setattr__(self, "tars", frozen(self.tars, np.float64, (len(FARS),), "tars"))
        object.__setattr__(self, "scores", frozen(self.scores, np.float64, (None,), "scores"))
        count = len(self.scores)
        object.__setattr__(self, "probabilities", frozen(self.probabilities, np.float64, (count,), "probabilities"))
        for name in ("thresholds", "scores", "probabilities"):
            if (np.diff(getattr(self, name)) < 0).any():
                raise FacetrackError(f"calibration of {self.model_id}: {name} must not fall; fit it anew")

    def threshold(self, far: float) -> float:
        """Return the similarity that a share ``far`` of the pairs of two people reaches.

        Raises:
            FacetrackError: if ``far`` is not within the table, 1e-6 to 0.1.
        """
        if not FARS[-1] * 0.999 <= far <= FARS[0] * 1.001:
            raise FacetrackError(f"false accept rate {far}: {FARS[-1]:g} to {FARS[0]:g} are known; give one between")
        return float(np.interp(-np.log10(far), -np.log10(FARS), self.thresholds))

    def far(self, similarity: float) -> float:
        """Return the share of pairs of two people that reach ``similarity``, within the table's 1e-6 to 0.1."""
        return float(10 ** -np.interp(similarity, self.thresholds, -np.log10(FARS)))

    def cluster_threshold(self, rows: Float32, *, anchored: NDArray[np.bool_] | None = None) -> float:
        """Return the similarity at which a clustering of ``rows`` is cut, see `FALSE_PER_MISSED`.

        Args:
            rows: ``(N, D)`` float32 templates.
            anchored: ``(N,)`` whether the row is a known identity; pairs of two such say nothing. None: there is none.
        """
        known = np.zeros(len(rows), np.bool_) if anchored is None else anchored
        sample = np.sort(np.random.default_rng(0).permutation(len(rows))[:CUT_SAMPLE])
        counts = _all_pairs(rows[sample]) - _all_pairs(rows[sample][known[sample]])
        fars = np.geomspace(CLUSTER_FAR, FARS[-1], 80)
        thresholds, tars = (
            np.interp(-np.log10(fars), -np.log10(FARS), table) for table in (self.thresholds, self.tars)
        )
        above = np.cumsum(counts[::-1])[::-1][np.clip(((thresholds + 1) * (BINS / 2)).astype(int), 0, BINS - 1)]
        false = fars * counts.sum()
        missed = np.maximum(above - false, 0) * (1 - tars) / np.maximum(tars, 1e-6)
        fits = (false <= FALSE_PER_MISSED * missed) | (above == 0)
        return float(thresholds[np.argmax(fits) if fits.any() else -1])

    def probability(self, scores: ArrayLike) -> Float64:
        """Return the probability of one person for each similarity, both answers being equally likely before."""
        return np.asarray(np.interp(np.asarray(scores, np.float64), self.scores, self.probabilities))

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration as JSON values, rounded to five digits."""
        rounded = {n: np.round(getattr(self, n), 5).tolist() for n in ("thresholds", "tars", "scores", "probabilities")}
        return {"model_id": self.model_id, "source": self.source, **rounded}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Return the calibration that `to_dict` wrote."""
        return cls(**values)


def for_model(model_id: str) -> Calibration:
    """Return the shipped calibration of an embedder, or else the conservative `fallback`."""
    values = _shipped().get(model_id)
    return fallback(model_id) if values is None else Calibration.from_dict(values)


def for_database(tracks: Sequence[TrackRecord], rows: TrackEmbeddings) -> Calibration:
    """Return the shipped calibration of the embedder of ``rows``, or else one by `from_tracks`, or the `fallback`."""
    model_id = rows.model_id or ""
    shipped = model_id in _shipped()
    return (None if shipped else from_tracks(tracks, rows)) or for_model(model_id)


def fallback(model_id: str) -> Calibration:
    """Return a guess on the strict side for an embedder that was never measured.

    From the published threshold (FAR 1e-2) each decade takes up 12 % of what is left to 1, as InsightFace's models do.
    """
    names = [name for name in PUBLISHED if name in model_id.lower()]
    middle = PUBLISHED[names[0]] if names else UNKNOWN_EMBEDDER
    rest = 1 - middle
    scores = np.linspace(-1, 1, 2 * KNOTS)
    return Calibration(
        model_id,
        "published threshold" if names else "a guess: no figure is known of this embedder",
        middle + 0.12 * rest * np.log10(1e-2 / FARS),
        USUAL_TARS,
        scores,
        1 / (1 + np.exp(-(scores - middle) / (0.06 * rest))),
    )


def fit(vectors: Float32, labels: ArrayLike, *, model_id: str, source: str = "labelled faces") -> Calibration:
    """Return the calibration measured on labelled faces.

    Args:
        vectors: ``(N, D)`` float32 rows of unit length.
        labels: The person of each row.
        model_id: The embedder.
        source: Where the faces come from.

    Raises:
        FacetrackError: if there is no pair of one person, or no pair of two.
    """
    return from_counts(*pair_counts(vectors, labels), model_id=model_id, source=source)


def from_tracks(tracks: Sequence[TrackRecord], rows: TrackEmbeddings) -> Calibration | None:
    """Return the calibration of a database from what needs no label, or None where there is too little (`FEWEST`).

    The keyframes of one track are one person (easy pairs, of one minute and one light: the probabilities come out too
    sure, and the true accept rates are held down to the usual ones); the faces of tracks that share a frame are two
    people.

    Args:
        tracks: The tracks.
        rows: Their embeddings.
    """
    members = {key: rows.vectors[rows.track_keys == key] for key in np.unique(rows.track_keys).tolist()}
    seen = [track for track in tracks if track.key in members]
    shared = co_occurring([t.video_id for t in seen], [t.first_frame for t in seen], [t.end_frame for t in seen])
    views = [members[track.key] for track in seen]
    several = [view for view in views if len(view) > 1]
    if rows.model_id is None or min(len(several), len(shared)) < FEWEST:
        return None
    genuine = sum((_all_pairs(view) for view in several), start=np.zeros(BINS, np.int64))
    impostors = sum((count_scores(views[i] @ views[j].T) for i, j in shared.tolist()), start=np.zeros(BINS, np.int64))
    source = f"{len(several)} tracks and {len(shared)} couples in one frame of this database"
    scale = from_counts(genuine, impostors, model_id=rows.model_id, source=source)
    return replace(scale, tars=np.minimum(scale.tars, USUAL_TARS))


def _all_pairs(rows: Float32) -> Labels:
    genuine, impostors = pair_counts(rows, np.zeros(len(rows), np.int64))
    return genuine + impostors


def from_counts(genuine: Labels, impostors: Labels, *, model_id: str, source: str) -> Calibration:
    """Return the calibration for the counts of genuine and impostor pairs in equal bins of similarity over [-1, 1].

    Raises:
        FacetrackError: if one of the two is empty.
    """
    curve = from_histogram(genuine, impostors)
    few = min(curve.genuine, curve.impostors) < ISOTONIC_FROM
    probability = _platt(genuine, impostors) if few else _isotonic(genuine, impostors)
    taken = np.flatnonzero(genuine + impostors)
    centres = _centres(len(genuine))
    scores = np.linspace(float(centres[taken[0]]), float(centres[taken[-1]]), KNOTS)
    thresholds = _thresholds(curve, impostors)
    tars = 1 - np.interp(thresholds, curve.thresholds, curve.frr)
    return Calibration(model_id, source, thresholds, tars, scores, probability(scores))


def _centres(bins: int) -> Float64:
    return (np.arange(bins) + 0.5) * (2 / bins) - 1


def _thresholds(curve: Verification, impostors: Labels) -> Float64:
    """Return the threshold at each of `FARS`: measured where ten impostors lie above, then along a normal tail."""
    from scipy.stats import norm

    measured = max(int((FARS * curve.impostors >= 10).sum()), 1)
    thresholds = np.array([curve.threshold(far) for far in FARS])
    centres, weights = _centres(len(impostors)), impostors / impostors.sum()
    deviation = float(np.sqrt(weights @ (centres - weights @ centres) ** 2))
    quantiles = norm.isf(FARS)
    thresholds[measured:] = thresholds[measured - 1] + deviation * (quantiles[measured:] - quantiles[measured - 1])
    return np.minimum(np.maximum.accumulate(thresholds), 1.0)


def _balanced(genuine: Labels, impostors: Labels) -> tuple[Float64, Float64, Float64]:
    """Return scores, answers and weights of the filled bins, genuine and impostor pairs weighing the same in all."""
    centres = _centres(len(genuine))
    sides = [(genuine, 1.0), (impostors, 0.0)]
    scores = np.concatenate([centres[counts > 0] for counts, _ in sides])
    answers = np.concatenate([np.full((counts > 0).sum(), answer) for counts, answer in sides])
    return scores, answers, np.concatenate([counts[counts > 0] / counts.sum() for counts, _ in sides])


def _platt(genuine: Labels, impostors: Labels) -> Callable[[Float64], Float64]:
    """Return the logistic curve (Platt 1999, with his softened answers) through the counts."""
    from sklearn.linear_model import LogisticRegression

    scores, answers, weights = _balanced(genuine, impostors)
    soft = np.where(answers == 1, 1 / (genuine.sum() + 2), 1 / (impostors.sum() + 2))
    twice = np.concatenate([scores, scores])[:, None]
    centre, scale = float(scores.mean()), max(float(scores.std()), 1e-6)
    model = LogisticRegression(C=1e6, max_iter=1000).fit(
        (twice - centre) / scale,
        np.concatenate([answers, 1 - answers]),
        sample_weight=np.concatenate([weights * (1 - soft), weights * soft]) * 1000,
    )
    slope, offset = max(float(model.coef_[0, 0]), 0.0), float(model.intercept_[0])
    return lambda values: np.asarray(1 / (1 + np.exp(-(slope * (values - centre) / scale + offset))))


def _isotonic(genuine: Labels, impostors: Labels) -> Callable[[Float64], Float64]:
    """Return the rising steps (Zadrozny and Elkan 2002) through the counts, kept off 0 and 1 by what was not seen."""
    from sklearn.isotonic import IsotonicRegression

    lowest, highest = 1 / (impostors.sum() + 2), 1 - 1 / (genuine.sum() + 2)
    model = IsotonicRegression(y_min=lowest, y_max=highest, out_of_bounds="clip")
    scores, answers, weights = _balanced(genuine, impostors)
    model.fit(scores, answers, sample_weight=weights)
    return lambda values: np.asarray(model.predict(values), np.float64)


@cache
def _shipped() -> Mapping[str, Any]:
    text = resources.files("indexing").joinpath("calibrations.json").read_text(encoding="utf-8")
    shipped: Mapping[str, Any] = json.loads(text)
    return shipped
