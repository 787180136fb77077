"""Average linkage of many rows that obeys cannot-links, on the graph of those that are alike: no matrix of N x N."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from indexing.constraints import Constraints
from tracker.types import Float32, Float64

Int64 = NDArray[np.int64]

TIE = 1e-6
"""Similarities that differ by less are equal: the mean of a cluster is rounded, and a chain must not run in circles."""

NEIGHBOURS, PAIRS = 64, 1 << 20
"""Most neighbours of a row in the graph, or as many as give so many pairs in all; of a row with more, the nearest."""

LISTS_FROM = 20_000
"""Rows from which neighbours are looked for in inverted lists; fewer are all compared with each other."""

PROBED = 1 / 12
"""Share of the lists that is searched.

About one neighbour in a hundred is missed. A cluster has many, and what it then still lacks is found when the clusters
are compared anew: see benchmarks/scale.py.
"""

_TRAINED_ON = 48
"""Rows for each list that k-means sees."""

_CHUNK = 256
"""Rows whose neighbours are looked for at a time."""


def average_linkage(rows: Float32, weights: Float64, rules: Constraints, threshold: float) -> Int64:
    """Return the ``(N,)`` cluster of each row, by the number of one of its rows.

    The similarity of two clusters is the mean over all their cross pairs (UPGMA, Sokal and Michener 1958), which for
    dot products is the dot product of their means. So two clusters are as similar as the threshold only if a pair of
    their rows is, and only neighbours in the graph of such pairs can ever be joined. Merging along chains of nearest
    neighbours (Murtagh 1983) gives the same clusters as always merging the closest pair, as a cannot-link is inherited
    by the merged cluster and so never brings a third one nearer.

    The graph is made by FAISS. Where there are fewer rows than `LISTS_FROM`, and none has more neighbours than
    `NEIGHBOURS` says, it is whole and the outcome is exact. Else what came out is clustered again, on a graph of its
    own, until nothing is joined any more: people with more tracks than a row has neighbours come together so. Time and
    memory grow with the rows, but for the search in the lists.

    Args:
        rows: ``(N, D)`` float32; the mean of unit rows for a row that stands for several.
        weights: ``(N,)`` how much each stands for.
        rules: Which rows are different people.
        threshold: Similarity from which two clusters are joined.
    """
    merging = _Merging(rows, weights, rules, threshold)
    while merging.merge_all():
        pass
    return merging.roots(np.arange(len(rows)))


_NONE = np.empty(0, np.int64)


class _Merging:
    """Clusters that grow: a merged cluster lives on in the row of one of its two parts.

    ``near`` and ``apart`` name, for each cluster, rows of others that may be similar enough and that are someone else;
    they are looked up when they are needed, as these may have been merged meanwhile.
    """

    def __init__(self, rows: Float32, weights: Float64, rules: Constraints, threshold: float) -> None:
        self.means, self.weights, self.threshold = rows.copy(), weights.copy(), threshold
        self.anchored = rules.anchored()
        self.parent = np.arange(len(rows))
        self.apart = _lists(_graph(rules.pairs, len(rows)))
        self.near: list[Int64] = []
        self.closed = np.zeros(len(rows), np.bool_)  # nothing is similar enough
        self.taken = np.zeros(len(rows), np.bool_)  # scratch

    def merge_all(self) -> bool:
        """Merge along the graph of the clusters there are; return whether a graph of what is left may show more."""
        left = np.flatnonzero(self.parent == np.arange(len(self.parent)))
        graph, whole = neighbours(self.means[left], self.threshold)
        self.near = [_NONE] * len(self.parent)
        for row, near in zip(left.tolist(), _lists(graph), strict=True):
            self.near[row] = left[near]
        self.closed[left] = False
        for start in left.tolist():
            self._follow(start)
        merged = bool((self.roots(left) != left).any())
        return merged and not whole

    def roots(self, rows: Int64) -> Int64:
        """Return the clusters that rows are in now."""
        found = self.parent[rows]
        while (found != (above := self.parent[found])).any():
            found = above
        self.parent[rows] = found
        return found

    def _follow(self, start: int) -> None:
        chain = [] if self.closed[start] else [start]
        while chain:
            before = chain[-2] if len(chain) > 1 else None
            nearest = self._nearest(chain[-1], before)
            if nearest is None:
                self.closed[chain.pop()] = True
            elif nearest != before:
                chain.append(nearest)
            else:
                merged = self._merge(*sorted((chain.pop(), chain.pop())))
                chain = chain or [merged]

    def _nearest(self, row: int, before: int | None) -> int | None:
        """Return the most similar cluster that may be joined, if it is similar enough."""
        near, similarities = self._free(row, before)
        if not len(near) or similarities[nearest := int(np.argmax(similarities))] < self.threshold:
            return None
        # Going back on a tie ends the chain; going on could run in a circle.
        if before is not None and similarities[near == before][0] >= similarities[nearest] - TIE:
            return before
        return int(near[nearest])

    def _free(self, row: int, before: int | None) -> tuple[Int64, Float32]:
        """Return the clusters near to one that it may be joined to, and their similarities to it.

        Those that are not similar enough are forgotten: the mean of two similarities can only be enough if one is.
        """
        near = self.roots(self.near[row])
        if before is not None:
            near = np.concatenate([near, [before]])
        apart = self.roots(self.apart[row])
        self.taken[apart] = self.taken[row] = True
        near = near[~(self.taken[near] | self.closed[near] | (self.anchored[near] & self.anchored[row]))]
        self.taken[apart] = self.taken[row] = False
        similarities = self.means[near] @ self.means[row]
        alike = similarities >= self.threshold - TIE
        self.near[row] = near = near[alike]
        return near, similarities[alike]

    def _merge(self, into: int, row: int) -> int:
        weights = self.weights[[into, row]]
        self.means[into] = (weights / weights.sum()) @ self.means[[into, row]]
        self.weights[into] = weights.sum()
        self.anchored[into] |= self.anchored[row]
        self.closed[row], self.parent[row] = True, into
        for lists in (self.near, self.apart):
            lists[into] = np.unique(self.roots(np.concatenate([lists[into], lists[row]])))
            lists[row] = _NONE
        return into


def neighbours(rows: Float32, threshold: float) -> tuple[Any, bool]:
    """Return the graph of the pairs of rows at least as similar as a threshold, and whether none of them is missing.

    Args:
        rows: ``(N, D)`` float32.
        threshold: The similarity.

    Returns:
        A symmetric ``(N, N)`` sparse matrix (scipy's CSR), and whether it is whole, see `average_linkage`.
    """
    import faiss

    columns, counts, whole = [_NONE], [_NONE], len(rows) < LISTS_FROM
    most = max(NEIGHBOURS, PAIRS // max(len(rows), 1))
    with threadpool_limits(1):  # sums come out the same whatever the number of threads
        index = _flat(faiss, rows) if whole else _inverted(faiss, rows)
        for start in range(0, len(rows), _CHUNK):
            limits, similarities, near = index.range_search(rows[start : start + _CHUNK], threshold - TIE)
            kept = _nearest(limits.astype(np.int64), similarities, most)
            whole = whole and len(kept) == len(near)
            columns.append(near[kept])
            counts.append(np.diff(np.searchsorted(kept, limits)))
    first = np.repeat(np.arange(len(rows)), np.concatenate(counts))
    return _graph(np.stack([first, np.concatenate(columns)], axis=1), len(rows)), whole


def _nearest(limits: Int64, similarities: Float32, most: int) -> Int64:
    """Return the rising positions of the highest similarities between each two limits, at most so many of each."""
    kept = np.ones(len(similarities), np.bool_)
    for row in np.flatnonzero(np.diff(limits) > most).tolist():
        part = slice(limits[row], limits[row + 1])
        kept[part][np.argpartition(-similarities[part], most)[most:]] = False
    return np.flatnonzero(kept)


def _flat(faiss: Any, rows: Float32) -> Any:
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return index


def _inverted(faiss: Any, rows: Float32) -> Any:
    count, dimension = rows.shape
    lists = min(count, round(2 * math.sqrt(count)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dimension), dimension, lists, faiss.METRIC_INNER_PRODUCT)
    # Centres of unit length would not lie in the middle of their rows where those are all in one cone.
    index.cp.spherical = False
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, _TRAINED_ON
    index.train(rows)
    index.add(rows)
    index.nprobe = math.ceil(lists * PROBED)
    return index


def _graph(pairs: Int64, count: int) -> Any:
    """Return pairs of rows as a symmetric sparse matrix without a diagonal."""
    from scipy.sparse import csr_array

    first, second = pairs[pairs[:, 0] != pairs[:, 1]].T
    graph = csr_array((np.ones(len(first), np.bool_), (first, second)), shape=(count, count))
    return graph + graph.T


def _lists(graph: Any) -> list[Int64]:
    """Return the neighbours of each row."""
    return np.split(graph.indices.astype(np.int64), graph.indptr[1:-1])
