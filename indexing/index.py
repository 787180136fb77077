"""Range search over embeddings: a cache that is rebuilt from the database whenever it is missing, stale or damaged."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, Self

import faiss
import numpy as np
from numpy.typing import ArrayLike

from indexing.types import Int64, TrackEmbeddings
from tracker.errors import FacetrackError
from tracker.types import Float32, frozen

logger = logging.getLogger(__name__)

_SLACK = 1e-5
"""More than float32 sums of unit vectors differ by between ways of computing them; hits are judged anew afterwards."""

_MAGIC = "facetrack-index"


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
    """Vectors under ids, searched by inner product. Other kinds than `FaissIndex` may be approximate."""

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
    """Exact inner products by FAISS (Douze et al., "The Faiss library", 2024); similarities do not depend on the batch.

    Example:
        >>> index = FaissIndex()
        >>> index.add([7, 9], np.eye(2, dtype=np.float32))
        >>> [hits.ids.tolist() for hits in index.range_search(np.array([[0.8, 0.6]], np.float32), 0.7)]
        [[7]]
    """

    kind = "faiss-flat-ip"
    """Name of the kind of index in its file."""

    def __init__(self, dimension: int = 0) -> None:
        """Make an empty index.

        Args:
            dimension: Length of a vector; 0: the first one that is added tells.
        """
        self._index: Any = _flat(dimension) if dimension else None

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
        rows = frozen(vectors, np.float32, (len(new), self.dimension or None), "vectors")
        if len(new) == 0:
            return
        if new.min() < 0 or len(np.unique(new)) < len(new) or np.isin(new, self.ids).any():
            raise ValueError("the ids of an index have to be 0 or more, all different, and not taken yet")
        if self._index is None:
            self._index = _flat(rows.shape[1])
        self._index.add_with_ids(rows, new)

    def remove(self, ids: ArrayLike) -> int:
        """Remove the vectors of ``(N,)`` ids, as far as they are there; return how many were."""
        unwanted = frozen(ids, np.int64, (None,), "ids")
        return int(self._index.remove_ids(unwanted)) if len(self) and len(unwanted) else 0

    def range_search(self, vectors: Float32, threshold: float) -> list[Hits]:
        """Return for each of ``(Q, D)`` queries all vectors whose inner product is at least ``threshold``.

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
        limits, _, ids = self._index.range_search(queries, threshold - _SLACK * max(1.0, abs(threshold)))
        bounds = limits.astype(np.int64)
        parts = [ids[start:end] for start, end in pairwise(bounds)]
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
        _, ids = self._index.search(queries, min(k, len(self)))
        return [self._ranked(query, part) for query, part in zip(queries, ids, strict=True)]

    def save(self, path: Path, *, stamp: str = "") -> None:
        """Write the index to ``path``, whole or not at all; ``stamp`` says what it was made from.

        The file is one line of JSON (kind, stamp, count, dimension, SHA-256 of the rest) and FAISS's own format.
        """
        payload = b"" if self._index is None else faiss.serialize_index(self._index).tobytes()
        header = {
            "format": _MAGIC,
            "kind": self.kind,
            "stamp": stamp,
            "count": len(self),
            "dimension": self.dimension,
            "sha256": hashlib.sha256(payload).hexdigest(),
        }
        _write_whole(path, json.dumps(header).encode() + b"\n", payload)

    @classmethod
    def load(cls, path: Path, *, stamp: str | None = None) -> Self:
        """Return the index at ``path``.

        Raises:
            FacetrackError: if it is missing, damaged, of another kind, or made from something else than ``stamp``.
        """
        header, payload = _read_checked(path, cls.kind)
        if stamp is not None and header["stamp"] != stamp:
            raise FacetrackError(f"{path}: this index was made from other embeddings")
        index = cls()
        if payload:
            index._index = faiss.deserialize_index(np.frombuffer(payload, np.uint8))
        return index

    def _queries(self, vectors: Float32) -> Float32:
        return frozen(vectors, np.float32, (None, self.dimension or None), "queries")

    def _ranked(self, query: Float32, ids: Int64, threshold: float = -np.inf) -> Hits:
        # FAISS sums in another order for one query than for many; each pair by itself is the same in any batch.
        if not len(ids):
            return _NOTHING
        products = self._index.reconstruct_batch(ids).astype(np.float64) * query.astype(np.float64)
        similarities = products.sum(axis=1).astype(np.float32)
        order = np.lexsort((ids, -similarities))
        order = order[similarities[order].astype(np.float64) >= threshold]
        return Hits(ids[order], similarities[order])


_NOTHING = Hits(np.empty(0, np.int64), np.empty(0, np.float32))


def _flat(dimension: int) -> Any:
    return faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))


def load_or_rebuild(source: EmbeddingSource, path: Path | None = None) -> FaissIndex:
    """Return the index over all embeddings of ``source`` by their row ids: from its file, or made anew and kept there.

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
    index = build(source.embeddings())
    # Another process may have written between the two reads; its own next look makes the file then.
    if source.embeddings_revision == stamp:
        _keep(index, path, stamp)
    return index


def build(embeddings: TrackEmbeddings) -> FaissIndex:
    """Return the index over ``embeddings`` by their row ids."""
    index = FaissIndex()
    index.add(embeddings.row_ids, embeddings.vectors)
    return index


def _keep(index: FaissIndex, path: Path, stamp: str) -> None:
    try:
        index.save(path, stamp=stamp)
    except OSError as error:
        logger.warning("the index cannot be kept (%s); it will be made anew each time", error)


def _write_whole(path: Path, *parts: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=path.name + ".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _read_checked(path: Path, kind: str) -> tuple[dict[str, Any], bytes]:
    try:
        line, _, payload = path.read_bytes().partition(b"\n")
        header = json.loads(line)
        sound = header["format"] == _MAGIC and header["sha256"] == hashlib.sha256(payload).hexdigest()
        known = header["kind"] == kind and isinstance(header["stamp"], str)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FacetrackError(f"{path}: this index cannot be read: {error}") from error
    if not (sound and known):
        raise FacetrackError(f"{path}: this index is damaged or of another kind; delete it")
    return header, payload
