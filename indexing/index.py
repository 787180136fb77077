"""Range search over embeddings: a cache that is rebuilt from the database whenever it is missing, stale or damaged."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import faiss
import numpy as np
from numpy.typing import ArrayLike

from indexing.inverted import InvertedLists, read_index, write_index
from indexing.types import Int64, TrackEmbeddings
from tracker.errors import FacetrackError
from tracker.types import Float32, frozen

logger = logging.getLogger(__name__)

_SLACK = 1e-5
"""More than float32 sums of unit vectors differ by between ways of computing them; hits are judged anew afterwards."""

_MAGIC = "facetrack-index"

FLAT, LISTS = "faiss-flat-ip", "faiss-ivf-sq8"

KINDS = ((FLAT, 0), (LISTS, 100_000))
"""The kinds of index, and the number of vectors from which each is used: benchmarks/index.py times both.

Flat compares a query with every vector. The other kind reads 8-bit codes of the lists next to it, and compares what
that leaves exactly.
"""

_PART = ".part"

_ABANDONED = 3600.0
"""Seconds after which a half-written file belongs to no process any more."""


def kind_for(count: int) -> str:
    """Return the kind of index for so many vectors.

    Example:
        >>> kind_for(1000), kind_for(1_000_000)
        ('faiss-flat-ip', 'faiss-ivf-sq8')
    """
    return [kind for kind, begins in KINDS if count >= begins][-1]


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What was found for one query, most similar first; equals in order of their ids.

    Attributes:
        ids: ``(N,)`` int64 ids of the vectors.
        similarities: ``(N,)`` float32 inner products with the query.
    """

    ids: Int64
    similarities: Float32

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        object.__setattr__(self, "ids", frozen(self.ids, np.int64, (None,), "ids"))
        object.__setattr__(
            self, "similarities", frozen(self.similarities, np.float32, (len(self.ids),), "similarities")
        )

    def __len__(self) -> int:
        """Return the number of hits."""
        return len(self.ids)


class VectorIndex(Protocol):
    """Vectors under ids, searched by inner product."""

    @property
    def dimension(self) -> int:
        """Length of a vector; 0 until the first one is added."""
        ...

    def __len__(self) -> int:
        """Return the number of vectors."""
        ...

    def add(self, ids: ArrayLike, vectors: Float32) -> None:
        """Add ``(N, D)`` float32 vectors under ``(N,)`` new ids."""
        ...

    def remove(self, ids: ArrayLike) -> int:
        """Remove the vectors of ``(N,)`` ids, as far as they are there; return how many were."""
        ...

    def range_search(self, vectors: Float32, threshold: float) -> list[Hits]:
        """Return for each of ``(Q, D)`` queries all vectors whose inner product is at least ``threshold``."""
        ...

    def search(self, vectors: Float32, k: int) -> list[Hits]:
        """Return for each of ``(Q, D)`` queries the ``k`` most similar vectors, or all if there are fewer."""
        ...

    def save(self, path: Path, *, stamp: str = "") -> None:
        """Write the index to ``path``, whole or not at all; ``stamp`` says what it was made from."""
        ...

    @classmethod
    def load(cls, path: Path, *, stamp: str | None = None) -> Self:
        """Return the index at ``path``.

        Raises:
            FacetrackError: if it is missing, damaged, of another kind, or made from something else than ``stamp``.
        """
        ...


class EmbeddingSource(Protocol):
    """What an index is made from: `indexing.store.Store` has all of it."""

    @property
    def index_path(self) -> Path:
        """Where the index is kept."""
        ...

    @property
    def embeddings_revision(self) -> str:
        """A token that is another one after every change of the embeddings."""
        ...

    def embeddings(self) -> TrackEmbeddings:
        """Return all embeddings."""
        ...


class FaissIndex:
    """Inner products by FAISS (Douze et al., "The Faiss library", 2024); similarities do not depend on the batch.

    Small ones are flat: all that is above a threshold is found. Large ones have inverted lists as well, see `KINDS` and
    `build`: at least 0.99 of it is found at any threshold, in a fraction of the time. What is found is exact in both.

    Example:
        >>> index = FaissIndex()
        >>> index.add([7, 9], np.eye(2, dtype=np.float32))
        >>> [hits.ids.tolist() for hits in index.range_search(np.array([[0.8, 0.6]], np.float32), 0.7)]
        [[7]]
    """

    def __init__(self, dimension: int = 0) -> None:
        """Make an empty flat index.

        Args:
            dimension: Length of a vector; 0: the first one that is added tells.
        """
        self._index: Any = _flat(dimension) if dimension else None
        self._lists: InvertedLists | None = None
        self._places: tuple[Int64, Int64] | None = None

    @property
    def kind(self) -> str:
        """Which of `KINDS` it is."""
        return FLAT if self._lists is None else LISTS

    @property
    def fits(self) -> bool:
        """Whether it is of the right kind for the vectors it has now, or near enough to it."""
        return kind_for(len(self)) == FLAT if self._lists is None else self._lists.fits

    @property
    def dimension(self) -> int:
        """Length of a vector; 0 until it is known."""
        return 0 if self._index is None else int(self._index.d)

    def __len__(self) -> int:
        """Return the number of vectors."""
        return 0 if self._index is None else int(self._index.ntotal)

    @property
    def ids(self) -> Int64:
        """``(N,)`` int64 ids of all vectors, in order of adding."""
        return np.empty(0, np.int64) if self._index is None else faiss.vector_to_array(self._index.id_map)

    def add(self, ids: ArrayLike, vectors: Float32) -> None:
        """Add ``(N, D)`` float32 vectors under ``(N,)`` new ids of 0 or more.

        Raises:
            ValueError: if shapes do not fit, or an id is negative, given twice or taken.
        """
        new = frozen(ids, np.int64, (None,), "ids")
        rows = _matrix(vectors, len(new), self.dimension)
        if len(new) == 0:
            return
        if new.min() < 0 or len(np.unique(new)) < len(new) or np.isin(new, self.ids).any():
            raise ValueError("the ids of an index have to be 0 or more, all different, and not taken yet")
        if self._index is None:
            self._index = _flat(rows.shape[1])
        self._places = None
        self._index.add_with_ids(rows, new)
        if self._lists is not None:
            self._lists.add(new, rows)

    def remove(self, ids: ArrayLike) -> int:
        """Remove the vectors of ``(N,)`` ids, as far as they are there; return how many were."""
        unwanted = frozen(ids, np.int64, (None,), "ids")
        if not (len(self) and len(unwanted)):
            return 0
        self._places = None
        if self._lists is not None:
            self._lists.remove(unwanted)
        return int(self._index.remove_ids(unwanted))

    def make_lists(self) -> None:
        """Make the inverted lists for the vectors that are in it now: it takes seconds for 100,000 of them."""
        self._lists = InvertedLists.build(self.ids, self._vectors()) if len(self) else None

    def measure(self) -> None:
        """Measure anew how many lists a search has to read, after much was added or removed."""
        if self._lists is not None:
            self._lists.measure(self._vectors())

    def missing_from(self, ids: Int64, vectors: Float32) -> Int64:
        """Return the ids of the index that are not among ``(N,)`` rising ids, or not with that row of ``(N, D)``."""
        own = self.ids
        where = np.minimum(np.searchsorted(ids, own), max(len(ids) - 1, 0))
        if not (len(ids) and vectors.shape[1] == self.dimension):
            return own
        mine = self._vectors()
        same = ids[where] == own
        for part in _chunks(len(own)):
            same[part] &= (mine[part] == vectors[where[part]]).all(axis=1)
        return np.asarray(own[~same])

    def range_search(self, vectors: Float32, threshold: float) -> list[Hits]:
        """Return for each of ``(Q, D)`` queries all vectors whose inner product is at least ``threshold``.

        All of them where the index is flat; of a large one at least 0.99, as measured on its own vectors.

        Args:
            vectors: Float32 rows.
            threshold: Smallest inner product, compared with float32 ones; -1 finds all of unit length.

        Raises:
            ValueError: if the queries have another length than the vectors, or the threshold is not finite.
        """
        if not np.isfinite(threshold):
            raise ValueError(f"a threshold has to be a finite number, got {threshold}")
        queries = self._queries(vectors)
        if not len(self):
            return [_NOTHING for _ in queries]
        parts = self._candidates(queries, threshold - _SLACK * max(1.0, abs(threshold)))
        return [self._ranked(query, part, threshold) for query, part in zip(queries, parts, strict=True)]

    def search(self, vectors: Float32, k: int) -> list[Hits]:
        """Return for each of ``(Q, D)`` queries the ``k`` most similar vectors, or all if there are fewer.

        Raises:
            ValueError: if the queries have another length than the vectors, or ``k`` is less than 1.
        """
        if k < 1:
            raise ValueError(f"k has to be 1 or more, got {k}")
        queries = self._queries(vectors)
        if not len(self):
            return [_NOTHING for _ in queries]
        count = min(k, len(self))
        if self._lists is not None:
            return [self._nearest(self._lists, query, count) for query in queries]
        _, places = self._flat.search(queries, count)
        return [self._ranked(query, part) for query, part in zip(queries, self.ids[places], strict=True)]

    def save(self, path: Path, *, stamp: str = "") -> None:
        """Write the index to ``path``, whole or not at all; ``stamp`` says what it was made from.

        The file is one line of JSON (kind, stamp, count, dimension, SHA-256 of it all) and FAISS's own format.
        """
        header = {
            "format": _MAGIC,
            "kind": self.kind,
            "stamp": stamp,
            "count": len(self),
            "dimension": self.dimension,
            "lists": None if self._lists is None else self._lists.state(),
        }
        _write_whole(path, header, self._write)

    @classmethod
    def load(cls, path: Path, *, stamp: str | None = None) -> Self:
        """Return the index at ``path``.

        Raises:
            FacetrackError: if it is missing, damaged, of another kind, or made from something else than ``stamp``.
        """
        try:
            with path.open("rb") as file:
                header = _read_checked(file, path)
                if stamp is not None and header["stamp"] != stamp:
                    raise FacetrackError(f"{path}: this index was made from other embeddings")
                return cls._read(file, header)
        except OSError as error:
            raise FacetrackError(f"{path}: this index cannot be read: {error}") from error

    def _write(self, file: BinaryIO) -> None:
        if self._index is not None:
            write_index(self._index, file)
        if self._lists is not None:
            self._lists.write(file)

    @classmethod
    def _read(cls, file: BinaryIO, header: dict[str, Any]) -> Self:
        index = cls()
        if header["dimension"]:
            index._index = read_index(file)
        if header["lists"] is not None:
            index._lists = InvertedLists.read(file, header["lists"])
        return index

    @property
    def _flat(self) -> Any:
        # FAISS wakes all its threads to put ids in place of a few places; on a busy machine that takes far longer than
        # the search itself, so it is done here.
        return faiss.downcast_index(self._index.index)

    def _vectors(self) -> Float32:
        """Return the ``(N, D)`` vectors in order of `ids`, without a copy: they are of no use after a change."""
        flat = self._flat
        return np.asarray(faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d))

    def _rows(self, ids: Int64) -> Float32:
        if self._places is None:
            order = np.argsort(self.ids, kind="stable")
            self._places = order, self.ids[order]
        order, rising = self._places
        return np.asarray(self._vectors()[order[np.searchsorted(rising, ids)]])

    def _candidates(self, queries: Float32, threshold: float) -> list[Int64]:
        if self._lists is not None:
            return self._lists.candidates(queries, threshold)
        if not len(queries):
            return []  # of no query FAISS returns what lay in memory
        limits, _, places = self._flat.range_search(queries, threshold)
        ids = self.ids[places]
        return [ids[start:end] for start, end in pairwise(limits.astype(np.int64))]

    def _nearest(self, lists: InvertedLists, query: Float32, count: int) -> Hits:
        # The last of some that are near is a threshold above which the nearest have to lie.
        some = self._ranked(query, lists.nearest(query, count))
        threshold = float(some.similarities[-1]) if len(some) == count else -np.inf
        (ids,) = lists.candidates(query[None], threshold - _SLACK * max(1.0, abs(threshold)))
        hits = self._ranked(query, ids)
        return Hits(hits.ids[:count], hits.similarities[:count])

    def _queries(self, vectors: Float32) -> Float32:
        return frozen(vectors, np.float32, (None, self.dimension or None), "queries")

    def _ranked(self, query: Float32, ids: Int64, threshold: float = -np.inf) -> Hits:
        # FAISS sums in another order for one query than for many; each pair by itself is the same in any batch.
        if not len(ids):
            return _NOTHING
        products = self._rows(ids).astype(np.float64) * query.astype(np.float64)
        similarities = products.sum(axis=1).astype(np.float32)
        order = np.lexsort((ids, -similarities))
        order = order[similarities[order].astype(np.float64) >= threshold]
        return Hits(ids[order], similarities[order])


_NOTHING = Hits(np.empty(0, np.int64), np.empty(0, np.float32))


def _flat(dimension: int) -> Any:
    return faiss.IndexIDMap(faiss.IndexFlatIP(dimension))


def _matrix(vectors: Float32, count: int, dimension: int) -> Float32:
    # A copy of a million vectors is gigabytes, so those that are as they should be are not copied.
    array = np.ascontiguousarray(vectors, np.float32)
    fits = array.ndim == 2 and len(array) == count and array.shape[1] and dimension in (0, array.shape[1])
    return array if fits else frozen(array, np.float32, (count, dimension or None), "vectors")


def _chunks(count: int, size: int = 50_000) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def load_or_rebuild(source: EmbeddingSource, path: Path | None = None) -> FaissIndex:
    """Return the index over all embeddings of ``source`` by their row ids: from its file, or made anew and kept there.

    Inverted lists of other embeddings are brought up to date by what was added and removed, where that is less than
    half of them.

    Args:
        source: The database.
        path: The file; None: beside the database. It may be deleted at any time.
    """
    path = source.index_path if path is None else path
    stamp = source.embeddings_revision
    try:
        return FaissIndex.load(path, stamp=stamp)
    except FacetrackError as error:
        logger.info("making the index anew: %s", error)
    embeddings = source.embeddings()
    index = _updated(path, embeddings) or build(embeddings)
    # Another process may have written between the two reads; its own next look makes the file then.
    if source.embeddings_revision == stamp:
        _keep(index, path, stamp)
    # What another process has erased meanwhile is not to live on in the file.
    if source.embeddings_revision != stamp:
        path.unlink(missing_ok=True)
    return index


def build(embeddings: TrackEmbeddings, *, kind: str | None = None) -> FaissIndex:
    """Return the index over ``embeddings`` by their row ids.

    Args:
        embeddings: The vectors.
        kind: One of `KINDS`; None: by their number.
    """
    index = FaissIndex()
    index.add(embeddings.row_ids, embeddings.vectors)
    if (kind or kind_for(len(index))) == LISTS:
        index.make_lists()
    return index


def _updated(path: Path, embeddings: TrackEmbeddings) -> FaissIndex | None:
    """Return the index of other embeddings made that of these; None where it is not worth it or there is none."""
    if kind_for(len(embeddings)) == FLAT:
        return None
    try:
        index = FaissIndex.load(path)
    except FacetrackError:
        return None
    index.remove(index.missing_from(embeddings.row_ids, embeddings.vectors))
    if index.kind == FLAT or 2 * len(index) < len(embeddings):
        return None
    new = ~np.isin(embeddings.row_ids, index.ids)
    index.add(embeddings.row_ids[new], embeddings.vectors[new])
    index.measure()
    return index if index.fits else None


def _keep(index: FaissIndex, path: Path, stamp: str) -> None:
    try:
        index.save(path, stamp=stamp)
    except OSError as error:
        logger.warning("the index cannot be kept (%s); it will be made anew each time", error)


def _write_whole(path: Path, header: dict[str, Any], write: Callable[[BinaryIO], None]) -> None:
    """Write the header, with the checksum of what follows, and what follows; or leave what was there."""
    _remove_abandoned(path)
    descriptor, name = tempfile.mkstemp(prefix=path.name + ".", suffix=_PART, dir=path.parent)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            file.write(_line(header))
            start = file.tell()
            write(file)
            file.seek(start)
            checksum = _checksum(header, file)
            file.seek(0)
            file.write(_line(header, checksum))
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _line(header: dict[str, Any], checksum: str = "0" * 64) -> bytes:
    return json.dumps(header | {"sha256": checksum}).encode() + b"\n"


def _checksum(header: dict[str, Any], file: Any) -> str:
    """Return the SHA-256 of the header and the rest of the file."""
    return hashlib.file_digest(file, lambda: hashlib.sha256(_line(header))).hexdigest()


def _remove_abandoned(path: Path) -> None:
    """Remove what processes that were killed have left: the faces in it are as private as those of the database."""
    for part in path.parent.glob(f"{glob.escape(path.name)}.*{_PART}"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink()


def _read_checked(file: BinaryIO, path: Path) -> dict[str, Any]:
    """Return the header of an index, and leave the file where the rest begins, its checksum found right."""
    try:
        header = json.loads(file.readline())
        start = file.tell()
        sound = header["format"] == _MAGIC and header["sha256"] == _checksum(header, file)
        known = header["kind"] in dict(KINDS) and isinstance(header["stamp"], str)
    except (ValueError, KeyError, TypeError) as error:
        raise FacetrackError(f"{path}: this index cannot be read: {error}") from error
    if not (sound and known and (header["kind"] == LISTS) == (header.get("lists") is not None)):
        raise FacetrackError(f"{path}: this index is damaged or of another kind; delete it")
    file.seek(start)
    return dict(header)
