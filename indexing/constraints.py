"""What is known before any face is compared: who cannot be one person, and who is known to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracker.errors import FacetrackError
from tracker.types import Float32, frozen

Int64 = NDArray[np.int64]


def co_occurring(video_ids: ArrayLike, first_frames: ArrayLike, end_frames: ArrayLike) -> Int64:
    """Return the pairs of tracks that share a frame of a video: two faces in one frame are two people.

    Args:
        video_ids: ``(N,)`` integers, the video of each track.
        first_frames: ``(N,)`` integers, its first frame.
        end_frames: ``(N,)`` integers, the frame after its last one.

    Returns:
        ``(P, 2)`` int64 positions ``i < j``, sorted.

    Example:
        >>> co_occurring([1, 1, 1, 2], [0, 5, 10, 5], [10, 15, 20, 15]).tolist()
        [[0, 1], [1, 2]]
    """
    videos, first, end = (np.asarray(values, np.int64).reshape(-1) for values in (video_ids, first_frames, end_frames))
    order = np.lexsort((first, videos))
    # Frames are laid end to end over all videos: tracks that begin before another one of their video ends follow it.
    _, rank = np.unique(videos, return_inverse=True)
    offset = rank.reshape(-1) * (end.max(initial=0) + 1)
    begins, ends = (first + offset)[order], (end + offset)[order]
    position = np.arange(len(order))
    counts = np.searchsorted(begins, ends, side="left") - position - 1
    earlier = np.repeat(position, counts)
    later = earlier + 1 + np.arange(len(earlier)) - np.repeat(np.cumsum(counts) - counts, counts)
    return unique_pairs(np.stack([order[earlier], order[later]], axis=1))


def unique_pairs(pairs: ArrayLike) -> Int64:
    """Return ``pairs`` as ``(P, 2)`` int64, each once with the smaller position first, sorted; no item with itself."""
    ordered = np.sort(np.asarray(pairs, np.int64).reshape(-1, 2), axis=1)
    return np.asarray(np.unique(ordered[ordered[:, 0] != ordered[:, 1]], axis=0), np.int64)


def unlike_in_shot(shots: Sequence[tuple[int, int]], rows: Float32, limit: float) -> Int64:
    """Return the pairs of tracks of one shot that are less alike than a limit.

    Args:
        shots: Video and shot of each track.
        rows: ``(N, D)`` float32 templates.
        limit: The similarity.

    Returns:
        ``(P, 2)`` int64 positions ``i < j``.

    Example:
        >>> unlike_in_shot([(1, 0), (1, 0), (2, 0)], np.eye(3, dtype=np.float32), 0.5).tolist()
        [[0, 1]]
    """
    members: dict[tuple[int, int], list[int]] = {}
    for position, shot in enumerate(shots):
        members.setdefault(shot, []).append(position)
    found = [np.empty((0, 2), np.int64)]
    for several in (np.array(group) for group in members.values() if len(group) > 1):
        unlike = np.argwhere(np.triu(rows[several] @ rows[several].T < limit, 1))
        found.append(several[unlike].reshape(-1, 2))
    return np.concatenate(found)


def spoken(known: Int64, pinned: Int64, bans: Int64) -> Int64:
    """Return the pairs of tracks that are two people because somebody said so.

    A track that is banned from an identity is not one with the tracks that are pinned to it. It is not one with those
    that it has now either: they stay, and the banned one goes. A banned track that is pinned elsewhere may take along
    those that are like it.

    Args:
        known: ``(N,)`` the identity of each track, -1 for none.
        pinned: ``(N,)`` the identity it is pinned to, -1 for none.
        bans: ``(B, 2)`` position of a track and identity that it is not of.

    Returns:
        ``(P, 2)`` int64 positions.

    Example:
        >>> spoken(np.array([7, 7, -1, 7]), np.array([7, -1, -1, -1]), np.array([[2, 7], [3, 7]])).tolist()
        [[2, 0], [2, 1], [3, 0], [3, 1]]
    """
    banned = set(map(tuple, bans.tolist()))
    found = [np.empty((0, 2), np.int64)]
    for track, person in bans.tolist():
        theirs = pinned == person
        if pinned[track] < 0:
            theirs |= (known == person) & (pinned < 0)
        others = [other for other in np.flatnonzero(theirs).tolist() if (other, person) not in banned]
        found.append(np.array([(track, other) for other in others], np.int64).reshape(-1, 2))
    return np.concatenate(found)


@dataclass(frozen=True, slots=True, eq=False)
class Constraints:
    """Which of ``count`` items are different people.

    Attributes:
        count: Number of items.
        pairs: ``(P, 2)`` int64 positions that are two people, sorted, each once.
        anchors: ``(K,)`` int64 positions that are known identities: any two of them are two people.

    Example:
        >>> rules = Constraints(3, [[1, 0]])
        >>> rules.neighbours()[0], rules.violations([7, 7, 7]).tolist(), rules.violations([7, 8, 7]).tolist()
        ({1}, [[0, 1]], [])
    """

    count: int
    pairs: Int64 = field(default_factory=lambda: np.empty((0, 2), np.int64))
    anchors: Int64 = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        """Sort the positions, check them and make them read-only."""
        object.__setattr__(self, "pairs", frozen(unique_pairs(self.pairs), np.int64, (None, 2), "pairs"))
        anchors = np.unique(np.asarray(self.anchors, np.int64))
        object.__setattr__(self, "anchors", frozen(anchors, np.int64, (None,), "anchors"))
        named = np.concatenate([self.pairs.reshape(-1), self.anchors])
        if len(named) and (named.min() < 0 or named.max() >= self.count):
            raise FacetrackError(f"a constraint names item {named.max()}; there are {self.count}, counted from 0")

    def __bool__(self) -> bool:
        """Tell whether there is any constraint."""
        return len(self.pairs) > 0 or len(self.anchors) > 1

    def neighbours(self) -> list[set[int]]:
        """Return, for each item, the items that ``pairs`` says are someone else."""
        found: list[set[int]] = [set() for _ in range(self.count)]
        for first, second in self.pairs.tolist():
            found[first].add(second)
            found[second].add(first)
        return found

    def anchored(self) -> NDArray[np.bool_]:
        """Return ``(count,)`` whether the item is a known identity."""
        mask = np.zeros(self.count, np.bool_)
        mask[self.anchors] = True
        return mask

    def violations(self, labels: ArrayLike) -> Int64:
        """Return ``(V, 2)`` pairs of different people whom ``labels`` puts together; none if all is well."""
        values = np.asarray(labels).reshape(-1)
        anchors = self.anchors[np.argsort(values[self.anchors], kind="stable")]
        candidates = np.concatenate([self.pairs, np.stack([anchors[:-1], anchors[1:]], axis=1)])
        first, second = values[candidates[:, 0]], values[candidates[:, 1]]
        return unique_pairs(candidates[(first == second) & (first != -1)])

    def reorder(self, order: ArrayLike) -> Constraints:
        """Return the constraints of ``items[order]``; those with an item that is not taken are dropped."""
        taken = np.asarray(order, np.int64)
        place = np.full(self.count, -1)
        place[taken] = np.arange(len(taken))
        pairs, anchors = place[self.pairs], place[self.anchors]
        return Constraints(len(taken), pairs[(pairs >= 0).all(axis=1)], anchors[anchors >= 0])

    def without(self, groups: ArrayLike) -> Constraints:
        """Return the constraints less those within a group of items: what a person has said of it outweighs them."""
        place = np.asarray(groups, np.int64)
        inside = place[self.pairs[:, 0]] == place[self.pairs[:, 1]]
        return Constraints(self.count, self.pairs[~inside], self.anchors)

    def collapse(self, groups: ArrayLike) -> Constraints:
        """Return the constraints between groups of items.

        Args:
            groups: ``(N,)`` the group of each item, 0 to G - 1: items that must stay together.

        Raises:
            FacetrackError: if two items of one group cannot be one person.
        """
        place = np.asarray(groups, np.int64)
        if len(broken := self.violations(place)):
            raise FacetrackError(
                f"items {broken[0, 0]} and {broken[0, 1]} are two people (they share a frame, or are known as two) "
                "and are said to be one; take one of them out of the group"
            )
        return Constraints(int(place.max(initial=-1)) + 1, place[self.pairs], place[self.anchors])


def repair(labels: ArrayLike, vectors: Float32, constraints: Constraints) -> Int64:
    """Split the clusters that break a constraint, for clusterers that know of none.

    The items of such a cluster are taken by the number of their conflicts, the most bound first; each joins the most
    similar part that it may join, or founds one (greedy colouring, Welsh and Powell 1967). Other clusters stay.

    Args:
        labels: ``(N,)`` clusters; -1 is left alone.
        vectors: ``(N, D)`` float32 rows.
        constraints: Who is someone else.

    Returns:
        ``(N,)`` int64 labels without a violation; the first part of a cluster keeps its label.
    """
    repaired = np.array(labels, np.int64)
    broken = np.unique(repaired[constraints.violations(repaired)[:, 0]])
    conflicts = constraints.neighbours() if len(broken) else []
    anchored = constraints.anchored()
    for label in broken.tolist():
        for part in _parts(np.flatnonzero(repaired == label).tolist(), vectors, conflicts, anchored)[1:]:
            repaired[part] = repaired.max() + 1
    return repaired


def _parts(
    members: Sequence[int], vectors: Float32, conflicts: Sequence[set[int]], anchored: NDArray[np.bool_]
) -> list[list[int]]:
    inside = set(members)
    parts: list[list[int]] = []
    for item in sorted(members, key=lambda m: (not anchored[m], -len(conflicts[m] & inside), m)):
        allowed = [
            part for part in parts if conflicts[item].isdisjoint(part) and not (anchored[item] and anchored[part].any())
        ]
        if allowed:
            max(allowed, key=lambda part: float(vectors[part].mean(axis=0) @ vectors[item])).append(item)
        else:
            parts.append([item])
    return parts
