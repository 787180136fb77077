"""Tracks too poor to found an identity: each joins the clearly nearest one, the clearest first, or stays unknown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.linkage import TIE
from tracker.types import Float32, Float64

Int64 = NDArray[np.int64]

FOUNDING_FRAMES = 10
"""Frames from which a track below the floor that joins nobody is a person all the same, and not a passing shadow."""

_CHUNK = 1024


def attach(
    labels: Int64,
    waiting: Int64,
    rows: Float32,
    *,
    frames: Int64,
    apart: Sequence[Set[int]],
    far: Callable[[float], float],
    limit: float,
    rival: float,
    margin: float,
) -> Int64:
    """Return ``labels`` with the waiting tracks joined to the clearly nearest cluster that is free in their frames.

    The clearest goes first, as each one that joins takes its cluster from those beside it. Long ones that are left
    found clusters of their own, see `FOUNDING_FRAMES`.

    Args:
        labels: ``(N,)`` clusters from 0, -1 for none.
        waiting: ``(W,)`` rising positions of the tracks to join.
        rows: ``(N, D)`` float32 templates.
        frames: ``(N,)`` number of frames of each track.
        apart: For each track those that are someone else.
        far: Similarity -> share of strangers that are as alike.
        limit: Similarity from which a track may join.
        rival: Similarity from which a cluster may be a rival to one at ``limit``; below, none is.
        margin: The rate of the nearest cluster has to be so many times smaller than that of the next one.
    """
    state = _Waiting.of(labels, waiting, rows, rival)
    joined = state.labels
    clearest, wanted = np.full(len(waiting), -np.inf), np.full(len(waiting), -1)
    asked: Iterable[int] = range(len(waiting))
    while True:
        for i in asked:
            clearest[i], wanted[i] = state.choice(i, apart[waiting[i]], far, limit, margin)
        first = int(np.argmax(clearest)) if len(waiting) else 0
        if not len(waiting) or clearest[first] == -np.inf:
            break
        asked = state.join(first, int(wanted[first]), apart[waiting[first]])
    for track in waiting[joined[waiting] == -1].tolist():
        if frames[track] >= FOUNDING_FRAMES:
            joined[track] = joined.max(initial=-1) + 1
    return joined


@dataclass(slots=True, eq=False)
class _Waiting:
    """Who waits, and which clusters are near: ``near[i]`` is cluster -> similarity, ``holders`` the other way.

    ``alike[i]``: those that wait and are so similar to it that a cluster which it joins may come near to them.
    """

    labels: Int64
    waiting: Int64
    numbers: dict[int, int]
    faces: Float32
    alike: list[Int64]
    rival: float
    sums: Float64
    sizes: Float64
    near: list[dict[int, float]]
    holders: dict[int, set[int]]

    @classmethod
    def of(cls, labels: Int64, waiting: Int64, rows: Float32, rival: float) -> _Waiting:
        inside = labels >= 0
        sizes = np.bincount(labels[inside]).astype(np.float64)
        sums = np.zeros((len(sizes), rows.shape[1]))
        np.add.at(sums, labels[inside], rows[inside].astype(np.float64))
        numbers = {track: i for i, track in enumerate(waiting.tolist())}
        near: list[dict[int, float]] = [{} for _ in waiting]
        state = cls(labels.copy(), waiting, numbers, rows[waiting], [], rival, sums, sizes, near, defaultdict(set))
        means = (sums / sizes[:, None]).astype(np.float32)
        for start in range(0, len(waiting), _CHUNK):
            faces = state.faces[start : start + _CHUNK]
            state.alike += [np.flatnonzero(row) for row in faces @ state.faces.T >= rival - TIE]
            similarities = faces @ means.T
            for i, place in np.argwhere(similarities >= rival).tolist():
                state._hold(start + i, place, float(similarities[i, place]))
        return state

    def _hold(self, i: int, place: int, similarity: float) -> None:
        self.near[i][place] = similarity
        self.holders[place].add(i)

    def choice(
        self, i: int, apart: Set[int], far: Callable[[float], float], limit: float, margin: float
    ) -> tuple[float, int]:
        """Return the similarity of the clearly nearest cluster and the cluster; minus infinity if none is clear."""
        taken = {int(self.labels[other]) for other in apart}
        free = sorted((-similarity, place) for place, similarity in self.near[i].items() if place not in taken)
        if not free or -free[0][0] < limit:
            return -np.inf, -1
        similarity, place = -free[0][0], free[0][1]
        rival = -free[1][0] if len(free) > 1 else -1.0
        return (similarity, place) if far(similarity) * margin <= far(rival) else (-np.inf, -1)

    def join(self, i: int, place: int, apart: Set[int]) -> list[int]:
        """Join the one who waits to a cluster; return who has to choose anew, the one that has chosen for all time."""
        self.labels[self.waiting[i]] = place
        self.sums[place] += self.faces[i]
        self.sizes[place] += 1
        self.near[i].clear()
        asked = self.holders.pop(place, set())
        # The mean of two similarities is not enough unless one is: no others can have come near.
        maybe = np.union1d(np.fromiter(asked, np.int64, len(asked)), self.alike[i])
        asked |= {self.numbers[other] for other in apart if other in self.numbers} | {i}
        similarities = self.faces[maybe] @ (self.sums[place] / self.sizes[place]).astype(np.float32)
        for j in asked:
            self.near[j].pop(place, None)
        for j, similarity in zip(maybe.tolist(), similarities.tolist(), strict=True):
            if similarity >= self.rival and self.labels[self.waiting[j]] == -1:
                self._hold(j, place, similarity)
                asked.add(j)
        return sorted(asked)
