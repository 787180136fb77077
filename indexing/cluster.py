"""Tracks to people: templates of tracks, and clusterers in scikit-learn's manner that obey cannot-links."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from indexing.constraints import Constraints, repair
from indexing.linkage import TIE, average_linkage
from tracker.errors import FacetrackError
from tracker.types import Float32, Float64

Int64 = NDArray[np.int64]


def unit(vectors: Float32) -> Float32:
    """Return ``(N, D)`` float32 rows scaled to unit length; a zero row stays zero."""
    rows = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), np.float32)


def template(vectors: Float32, qualities: Float32 | None = None, *, floor: float | None = None) -> Float32:
    """Return one vector for the embeddings of a track: their mean, weighted by quality squared.

    Weighting by quality follows MagFace+ (Meng et al., CVPR 2021). The mean is not brought back to unit length: so
    the dot product of two templates is the mean similarity over their cross pairs, on the scale of single faces that
    thresholds are measured on. (LFW in groups of five photographs: BCubed F 0.99 with means, 0.74 to 0.95 with unit
    vectors.) Members less similar than ``floor`` to the medoid (the member most similar to all, by the same weights)
    are left
    out: they are likely to show someone else.

    Args:
        vectors: ``(K, D)`` float32 rows of unit length, at least one.
        qualities: ``(K,)`` in [0, 1]; None: all the same.
        floor: Cosine in [-1, 1]; None: keep all.

    Example:
        >>> template(np.float32([[1, 0], [0, 1]]), np.float32([0.6, 0.2])).round(2).tolist()
        [0.8999999761581421, 0.10000000149011612]
    """
    weights = np.ones(len(vectors)) if qualities is None else np.maximum(np.asarray(qualities, np.float64), 1e-3) ** 2
    if floor is not None and len(vectors) > 2:
        alike = vectors @ vectors.T
        weights = weights * (alike[int(np.argmax(alike @ weights))] >= floor)
    return np.asarray(weights / weights.sum() @ vectors, np.float32)


def first_seen(labels: ArrayLike) -> Int64:
    """Return ``labels`` renumbered from 0 in order of first occurrence.

    Example:
        >>> first_seen([7, 3, 7, 0]).tolist()
        [0, 1, 0, 2]
    """
    _, first, codes = np.unique(np.asarray(labels), return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[codes.reshape(-1)], np.int64)


@dataclass(frozen=True, slots=True)
class Clusterer(ABC):
    """Groups vectors by person.

    The outcome depends neither on the order of the rows (but for rows that are equal) nor on the number of threads, and
    breaks no constraint.

    Attributes:
        threshold: Cosine in [-1, 1] from which two groups of faces are taken for one person, see `indexing.calibrate`.
    """

    threshold: float

    def fit_predict(
        self, vectors: Float32, *, constraints: Constraints | None = None, weights: ArrayLike | None = None
    ) -> Int64:
        """Return the ``(N,)`` int64 cluster of each row, from 0 in order of first occurrence; nothing is noise.

        Args:
            vectors: ``(N, D)`` float32; the mean of unit rows for a row that stands for several, else of unit length.
            constraints: Which rows are different people.
            weights: ``(N,)`` how many faces or tracks a row stands for; None: one each.

        Raises:
            FacetrackError: if shapes do not agree or a value is not finite.
        """
        rows, counts = _checked(vectors, weights)
        rules = Constraints(len(rows)) if constraints is None else constraints
        if rules.count != len(rows):
            raise FacetrackError(f"constraints over {rules.count} items for {len(rows)} vectors: give one item a row")
        if not rows.size:
            return np.arange(len(rows))
        order = np.argsort(rows.view(np.dtype((np.void, rows[0].nbytes)))[:, 0], kind="stable")
        labels = np.empty(len(rows), np.int64)
        with threadpool_limits(1):  # sums come out the same whatever the number of threads
            labels[order] = self._labels(rows[order], counts[order], rules.reorder(order))
        return first_seen(labels)

    @abstractmethod
    def _labels(self, rows: Float32, weights: Float64, rules: Constraints) -> Int64:
        """Return a label for each of the rows, which come in an order of their own."""


def _checked(vectors: Float32, weights: ArrayLike | None) -> tuple[Float32, Float64]:
    rows = np.ascontiguousarray(vectors, np.float32)
    counts = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    if rows.ndim != 2 or counts.shape != (len(rows),) or not np.isfinite(rows).all() or not (counts > 0).all():
        raise FacetrackError(
            f"vectors of shape {rows.shape} with weights of shape {counts.shape}: "
            "finite (N, D) and positive (N,) are needed"
        )
    return rows, counts


@dataclass(frozen=True, slots=True)
class Constrained(Clusterer):
    """Average linkage that never merges what cannot be one person, cut at the threshold; see `indexing.linkage`.

    It is what ``auto`` stands for: on LFW it measures best on many people and on albums of strangers, and within 0.005
    of the best on few people (`benchmarks/clustering.py`).
    """

    def _labels(self, rows: Float32, weights: Float64, rules: Constraints) -> Int64:
        return average_linkage(rows, weights, rules, self.threshold)


@dataclass(frozen=True, slots=True)
class Hdbscan(Clusterer):
    """HDBSCAN (Campello et al. 2013) of unit vectors, its clusters and its noise then linked at the threshold.

    Density cannot tell one person from two, nor a pose from a person. So a set that links into one cluster is one
    person; a dense cluster whose mean similarity is below the threshold is taken apart; and what is then left,
    clusters, loose rows and noise, is merged by average linkage under the constraints. `cluster_selection_epsilon` is
    left at 0: at the threshold it chains look-alikes together (BCubed precision below 0.01 with dlib's vectors on
    LFW).

    Attributes:
        min_cluster_size: Fewest rows of a dense cluster.
        min_samples: Neighbours that make a row dense.
    """

    min_cluster_size: int = 2
    min_samples: int = 1

    def _labels(self, rows: Float32, weights: Float64, rules: Constraints) -> Int64:
        alone = one_person(rows, weights, self.threshold)
        labels = np.zeros(len(rows), np.int64) if alone else self._dense(unit(rows))
        loose = (labels == -1) | ~self._tight(rows, weights, labels)
        labels[loose] = labels.max() + 1 + np.arange(loose.sum())
        parts = first_seen(repair(labels, rows, rules))
        means, counts = cluster_means(rows, weights, parts)
        return average_linkage(means, counts, rules.collapse(parts), self.threshold)[parts]

    def _dense(self, rows: Float32) -> Int64:
        from hdbscan import HDBSCAN

        if len(rows) < 2 * self.min_cluster_size:
            return np.full(len(rows), -1)
        model = HDBSCAN(min_cluster_size=self.min_cluster_size, min_samples=self.min_samples, core_dist_n_jobs=1)
        return np.array(model.fit_predict(rows.astype(np.float64)), np.int64)

    def _tight(self, rows: Float32, weights: Float64, labels: Int64) -> NDArray[np.bool_]:
        tight = np.ones(len(rows), np.bool_)
        for label in np.unique(labels[labels >= 0]):
            members = labels == label
            tight[members] = mean_similarity(rows[members], weights[members]) >= self.threshold
        return tight


@dataclass(frozen=True, slots=True)
class KMeans(Clusterer):
    """Spherical k-means (Dhillon and Modha 2001) whose k has the best simplified silhouette (Vendramin et al. 2010).

    The weakest of the clusterers: it favours people of equal size. The threshold only decides whether all is one
    person; clusters that break a constraint are split afterwards. Seeds are the farthest rows from each other: with
    k-means++ LFW comes out at BCubed F 0.72, with these at 0.91.

    Attributes:
        max_clusters: Largest k that is tried.
        sample: Rows that the silhouette is measured on, at most.
    """

    max_clusters: int = 2048
    sample: int = 2000

    def _labels(self, rows: Float32, weights: Float64, rules: Constraints) -> Int64:
        if one_person(rows, weights, self.threshold):
            return repair(np.zeros(len(rows), np.int64), rows, rules)
        if len(rows) < 3:
            return np.arange(len(rows))
        return repair(self._best(unit(rows), weights), rows, rules)

    def _best(self, rows: Float32, weights: Float64) -> Int64:
        largest = min(len(rows) - 1, self.max_clusters)
        seeds = _farthest_first(rows, largest)
        sample = np.sort(np.random.default_rng(0).permutation(len(rows))[: self.sample])
        tried: dict[int, tuple[float, Int64]] = {}
        best, step = 2, 2.0
        candidates = np.geomspace(2, largest, 9)
        # A coarse grid of k first, then ever finer around the best one.
        while untried := set(np.clip(np.round(candidates), 2, largest).astype(int).tolist()) - tried.keys():
            for k in untried:
                labels, centres = _lloyd(rows, weights, seeds[:k])
                tried[k] = (simplified_silhouette(rows[sample], centres, labels[sample]), labels)
            best = max(tried, key=lambda k: (tried[k][0], -k))
            candidates, step = np.array([best - 1, best + 1, *(best * step ** np.linspace(-0.5, 0.5, 5))]), step**0.5
        return tried[best][1]


def _farthest_first(rows: Float32, count: int) -> Float32:
    """Return ``count`` rows, each the farthest from those before (Gonzalez 1985); the first k seed k clusters."""
    picked = [int(np.argmax(rows @ rows.mean(axis=0)))]
    distances = np.full(len(rows), np.inf, np.float32)
    for _ in range(count - 1):
        distances = np.minimum(distances, 1 - rows @ rows[picked[-1]])
        picked.append(int(np.argmax(distances)))
    return rows[picked]


def _lloyd(rows: Float32, weights: Float64, centres: Float32, rounds: int = 20) -> tuple[Int64, Float32]:
    """Return the nearest centre of each row and the centres, moved until no row changes or ``rounds`` are over."""
    labels = np.full(len(rows), -1)
    for _ in range(rounds):
        nearest = np.argmax(rows @ centres.T, axis=1)
        if (nearest == labels).all():
            break
        labels = nearest
        taken = np.unique(labels)
        means, _ = cluster_means(rows, weights, np.searchsorted(taken, labels))
        centres = centres.copy()
        centres[taken] = unit(means)
    return labels, centres


def simplified_silhouette(rows: Float32, centres: Float32, labels: Int64) -> float:
    """Return the mean over rows of (b - a) / max(a, b), a and b the cosine distances to the own and the next centre.

    As in the full silhouette, a row alone in its cluster counts 0: else the most clusters would always win.

    Args:
        rows: ``(N, D)`` float32 unit rows.
        centres: ``(K, D)`` float32 unit rows, at least two.
        labels: ``(N,)`` the centre of each row.
    """
    distances = np.maximum(1 - rows @ centres.T, 0.0)
    own = distances[np.arange(len(rows)), labels]
    distances[np.arange(len(rows)), labels] = np.inf
    other = distances.min(axis=1)
    width = (other - own) / np.maximum(np.maximum(other, own), np.float32(1e-9))
    return float(np.where(own < TIE, 0.0, width).mean())


def cluster_means(rows: Float32, weights: Float64, labels: Int64) -> tuple[Float32, Float64]:
    """Return the ``(K, D)`` weighted mean row and the ``(K,)`` weight of each of the clusters 0 to K - 1."""
    totals = np.bincount(labels, weights).astype(np.float64)
    sums = np.zeros((len(totals), rows.shape[1]))
    np.add.at(sums, labels, rows * weights[:, None])
    return np.asarray(sums / totals[:, None], np.float32), totals


def one_person(rows: Float32, weights: Float64, threshold: float) -> bool:
    """Tell whether average linkage makes one cluster of all rows; their mean similarity would pass over a rare face."""
    return len(np.unique(average_linkage(rows, weights, Constraints(len(rows)), threshold))) == 1


def mean_similarity(rows: Float32, weights: Float64) -> float:
    """Return the mean similarity over all pairs of rows, each weighing as much as it stands for; 1 for a single row."""
    if len(rows) < 2:
        return 1.0
    total = (weights @ rows) @ (weights @ rows) - (weights**2) @ (rows * rows).sum(axis=1)
    return float(total / (weights.sum() ** 2 - (weights**2).sum()))


CLUSTERERS: dict[str, type[Clusterer]] = {
    "auto": Constrained,
    "constrained": Constrained,
    "hdbscan": Hdbscan,
    "kmeans": KMeans,
}
"""Clusterers by name; ``auto`` is the one that measures best at every size, see `Constrained`."""


def load(name: str | Clusterer, threshold: float) -> Clusterer:
    """Return the clusterer of that name with that threshold; an object is returned as it is.

    Raises:
        FacetrackError: if there is none of that name.

    Example:
        >>> load("hdbscan", 0.5).threshold
        0.5
    """
    if isinstance(name, Clusterer):
        return name
    if name not in CLUSTERERS:
        raise FacetrackError(f"no clusterer {name!r}; there are {', '.join(CLUSTERERS)}")
    return CLUSTERERS[name](threshold)
