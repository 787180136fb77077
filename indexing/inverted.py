"""Candidates for a range search over many vectors: inverted lists of 8-bit codes, of which only near lists are read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from indexing.types import Int64
from tracker.types import Float32

Float64 = NDArray[np.float64]

RECALL = 0.995
"""Share of the pairs that each stretch of the table of probes finds; above the 0.99 that is promised, as a margin."""

_LISTS = 2.0
"""Lists per square root of the vectors: twice as many read a third less in the end and take twice as long to make."""

_TRAINED_ON = 48
"""Vectors for each list that k-means sees; more take longer and give lists that are hardly better."""

_MARGIN = 0.25
"""How far the codes reach beyond the numbers of the training at either end, as a share of their range.

A number that lies outside is cut off, and one such vector makes the error that all searches have to allow for ten times
as large; finer steps would gain less.
"""

_QUERIES, _GALLERY = 500, 50_000
"""Vectors that are compared with each other to measure how many lists a search has to read."""

_STRETCH, _STRETCHES = 1000, 1000
"""Pairs, of neighbouring similarities, that one entry of the table of probes is measured on; entries at most."""

_CHUNK = 50_000
"""Rows that are worked on at a time, so that temporary arrays stay small beside the index."""


@dataclass(frozen=True, slots=True, eq=False)
class Probes:
    """How many lists hold nearly all that is at least so similar, as measured on the vectors themselves.

    Below the last similarity nothing was measured, and all lists have to be read.

    Attributes:
        similarities: ``(T,)`` float64, falling: entry ``i`` serves thresholds from this one up to that of ``i - 1``.
        counts: ``(T,)`` int64, rising.

    Example:
        >>> probes = Probes(np.array([0.8, 0.5]), np.array([2, 7]))
        >>> [probes.at(threshold, 100) for threshold in (0.9, 0.8, 0.6, 0.4)]
        [2, 2, 7, 100]
    """

    similarities: Float64
    counts: Int64

    def at(self, threshold: float, lists: int) -> int:
        """Return how many of so many lists to read for all vectors of at least ``threshold``."""
        entry = int(np.searchsorted(-self.similarities, -threshold))
        return int(self.counts[entry]) if entry < len(self.counts) else lists


class InvertedLists:
    """Vectors in lists around the centres of k-means, each number of one as 8 bits.

    The answers are candidates, to be compared exactly afterwards. In the lists that are read none is missed, as the
    largest error of any code is known and allowed for (by Cauchy and Schwarz no inner product with a unit vector is
    further off); how many lists are read is measured, see `Probes`. Jegou et al., "Searching in one billion vectors",
    2011; Johnson et al., "Billion-scale similarity search with GPUs", 2017.
    """

    def __init__(self, index: Any, *, error: float = 0.0, trained: int = 0, probes: Probes | None = None) -> None:
        """Take FAISS's index and what is known of it; `build` makes one."""
        self._index = index
        self._error = error
        self._trained = trained
        self._probes = probes or Probes(np.empty(0), np.empty(0, np.int64))

    def __len__(self) -> int:
        """Return the number of vectors."""
        return int(self._index.ntotal)

    @property
    def fits(self) -> bool:
        """Whether there are neither twice nor half as many vectors as the lists were made for."""
        return bool(self._trained <= 2 * len(self) <= 4 * self._trained)

    @classmethod
    def build(cls, ids: Int64, vectors: Float32) -> Self:
        """Return lists of ``(N, D)`` float32 vectors under ``(N,)`` different ids; N is at least 1."""
        count, dimension = vectors.shape
        lists = max(1, min(count, round(_LISTS * math.sqrt(count))))
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatL2(dimension),
            dimension,
            lists,
            faiss.ScalarQuantizer.QT_8bit,
            faiss.METRIC_INNER_PRODUCT,
            False,  # codes of differences from the centres would need inner products with these, and gain little
        )
        # Centres of unit length would not lie in the middle of their vectors where those are all in one cone.
        index.cp.spherical = False
        index.cp.min_points_per_centroid = 1
        index.sq.rangestat_arg = _MARGIN
        index.train(_sample(vectors, _TRAINED_ON * lists))
        made = cls(index, trained=count)
        made.add(ids, vectors)
        made.measure(vectors)
        return made

    def add(self, ids: Int64, vectors: Float32) -> None:
        """Add ``(N, D)`` float32 vectors under ``(N,)`` new ids."""
        for part in _chunks(len(ids)):
            rows, names = np.ascontiguousarray(vectors[part]), np.ascontiguousarray(ids[part])
            nearest = self._index.quantizer.assign(rows, 1)[:, 0]
            pointers = (faiss.swig_ptr(array) for array in (rows, names, nearest))
            self._index.add_core(len(rows), *pointers)
            decoded = self._index.sq.decode(self._index.sq.compute_codes(rows))
            self._error = max(self._error, float(np.linalg.norm(rows - decoded, axis=1).max()))

    def remove(self, ids: Int64) -> None:
        """Remove the vectors of ``(N,)`` ids, as far as they are there."""
        self._index.remove_ids(ids)

    def candidates(self, queries: Float32, threshold: float) -> list[Int64]:
        """Return for each of ``(Q, D)`` queries ids, nearly all with an inner product of ``threshold`` among them."""
        units, lengths = _normalised(queries)
        limits = threshold / lengths
        probes = np.array([self._probes.at(limit, self._index.nlist) for limit in limits])
        found: list[Int64] = [np.empty(0, np.int64)] * len(queries)
        for count in np.unique(probes).tolist():
            same = np.flatnonzero(probes == count)
            lowest = float(limits[same].min()) - self._error
            bounds, _, ids = self._index.range_search(units[same], lowest, params=_reading(count))
            for row, (start, end) in zip(same.tolist(), pairwise(bounds.astype(np.int64)), strict=True):
                found[row] = ids[start:end]
        return found

    def nearest(self, query: Float32, k: int) -> Int64:
        """Return ids of at most ``k`` vectors that are similar to a ``(D,)`` query, from the lists next to it."""
        unit, _ = _normalised(query[None])
        ids = self._index.search(unit, k, params=_reading(max(1, self._index.nlist // 32)))[1][0]
        return np.asarray(ids[ids >= 0], np.int64)

    def measure(self, vectors: Float32) -> None:
        """Find out how many lists a search has to read, by comparing some of ``(N, D)`` vectors with each other.

        Every stretch of a thousand pairs of neighbouring similarities has to be found by itself: the pairs just above a
        threshold, which lie furthest apart, are not made up for by those that are found easily.
        """
        gallery = _sample(vectors, _GALLERY)
        step = max(1, len(gallery) // _QUERIES)
        queries = gallery[::step][:_QUERIES]
        queries, _ = _normalised(queries)
        similarities = queries @ gallery.T
        similarities[np.arange(len(queries)), np.arange(len(queries)) * step] = -np.inf
        best = _largest(similarities.ravel(), min(_STRETCH * _STRETCHES, similarities.size // 4))
        best = best[: len(best) // _STRETCH * _STRETCH]
        ranks = self._ranks(queries)
        lists = self._index.quantizer.assign(np.ascontiguousarray(gallery), 1)[:, 0]
        rows, columns = np.divmod(best, len(gallery))
        needed = np.quantile(ranks[rows, lists[columns]].reshape(-1, _STRETCH) + 1, RECALL, axis=1, method="higher")
        bounds = similarities.ravel()[best].reshape(-1, _STRETCH)[:, -1]
        counts = np.maximum.accumulate(needed.astype(np.int64)) if len(needed) else np.empty(0, np.int64)
        self._probes = Probes(bounds.astype(np.float64), counts)

    def state(self) -> dict[str, Any]:
        """Return what `write` leaves out, for JSON."""
        return {
            "error": self._error,
            "trained": self._trained,
            "similarities": self._probes.similarities.tolist(),
            "probes": self._probes.counts.tolist(),
        }

    def write(self, file: BinaryIO) -> None:
        """Write FAISS's part to a file."""
        write_index(self._index, file)

    @classmethod
    def read(cls, file: BinaryIO, state: dict[str, Any]) -> Self:
        """Return what was written by `write`, with its `state`."""
        probes = Probes(np.asarray(state["similarities"], np.float64), np.asarray(state["probes"], np.int64))
        return cls(read_index(file), error=state["error"], trained=state["trained"], probes=probes)

    def _ranks(self, queries: Float32) -> Int64:
        """Return the ``(Q, lists)`` place of each list in the order in which a query reads them."""
        lists = self._index.nlist
        order = self._index.quantizer.assign(np.ascontiguousarray(queries), lists)
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.broadcast_to(np.arange(lists), order.shape), axis=1)
        return np.asarray(ranks, np.int64)


def write_index(index: Any, file: BinaryIO) -> None:
    """Write an index of FAISS to an open file."""
    faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined] # its stubs lack it


def read_index(file: BinaryIO) -> Any:
    """Return the index of FAISS that comes next in an open file."""
    return faiss.read_index(faiss.PyCallbackIOReader(file.read))  # type: ignore[attr-defined] # its stubs lack it


def _reading(lists: int) -> Any:
    parameters: Any = faiss.SearchParametersIVF()
    parameters.nprobe = lists
    return parameters


def _normalised(queries: Float32) -> tuple[Float32, Float64]:
    """Return the ``(Q, D)`` queries as unit vectors, and the ``(Q,)`` lengths they had."""
    lengths = np.maximum(np.linalg.norm(queries.astype(np.float64), axis=1), 1e-12)
    return np.asarray(queries / lengths[:, None], np.float32), lengths


def _sample(vectors: Float32, size: int) -> Float32:
    if len(vectors) <= size:
        return vectors
    return np.asarray(vectors[np.sort(np.random.default_rng(0).choice(len(vectors), size, replace=False))])


def _largest(values: Float32, count: int) -> Int64:
    """Return where the ``count`` largest values are, largest first."""
    where = np.argpartition(values, -count)[-count:] if count else np.empty(0, np.int64)
    return np.asarray(where[np.argsort(-values[where], kind="stable")], np.int64)


def _chunks(count: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, count, _CHUNK))
