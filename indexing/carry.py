"""Ids over a re-clustering: which cluster is who, and what that changes for people."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.types import UNKNOWN

Int64 = NDArray[np.int64]


def carry_over(labels: Int64, known: Int64, *, frames: Int64, pinned: Int64, bans: Int64) -> dict[int, int]:
    """Return which clusters keep which identity: label -> id; the other clusters are new people.

    An identity with pins is where its pins are. The others go to the cluster that they share the most frames with (then
    the most tracks), the greatest share first, of equals the lower id; never to a cluster with a track that is banned
    from them.

    Args:
        labels: ``(N,)`` the cluster of each track, -1 for none.
        known: ``(N,)`` the identity it was of, -1 for none.
        frames: ``(N,)`` its number of frames.
        pinned: ``(N,)`` the identity it is pinned to, -1 for none.
        bans: ``(B, 2)`` position of a track and identity that it is not of.

    Example:
        >>> labels, known, nobody = np.array([0, 0, 1, 2]), np.array([7, 7, 7, -1]), np.full(4, -1)
        >>> carry_over(labels, known, frames=np.ones(4), pinned=nobody, bans=np.empty((0, 2), int))
        {0: 7}
    """
    carried = {int(label): int(who) for label, who in zip(labels, pinned, strict=True) if who >= 0 <= label}
    held = set(pinned.tolist())
    forbidden = {(int(labels[track]), int(who)) for track, who in bans.tolist()}
    shares: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for label, who, count in zip(labels.tolist(), known.tolist(), frames.tolist(), strict=True):
        if label >= 0 <= who and who not in held and (label, who) not in forbidden:
            shares[label, who][0] += count
            shares[label, who][1] += 1
    for (label, who), _ in sorted(shares.items(), key=lambda item: (-item[1][0], -item[1][1], item[0][1], item[0][0])):
        if label not in carried and who not in held:
            carried[label] = who
            held.add(who)
    return carried


@dataclass(frozen=True, slots=True)
class Transfer:
    """Tracks that go from one person to another.

    Attributes:
        before: Label of the person they were of, or ``Unknown``.
        after: Label of the person they are of now, or ``Unknown``.
        track_keys: The tracks, rising.
    """

    before: str
    after: str
    track_keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a re-clustering changes, or would change.

    Attributes:
        split: People that others were made of: the label, and the labels of the new people.
        merged: People that are no more, by the one that most of their frames are now: the labels, and that one's.
        new: Labels of the people that were made of unknown tracks.
        gone: Labels of the people that are no more and nobody else.
        transfers: All that goes from one person to another, by label.

    Example:
        >>> found = changes({1: 7, 2: 7, 3: 8}, {1: 7, 2: 9, 3: 7}, labels={8: "Ada"}, frames={})
        >>> found.split, found.merged, found.moved
        ((('Person 7', ('Person 9',)),), ((('Ada',), 'Person 7'),), 2)
    """

    split: tuple[tuple[str, tuple[str, ...]], ...] = ()
    merged: tuple[tuple[tuple[str, ...], str], ...] = ()
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    transfers: tuple[Transfer, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anything changes."""
        return bool(self.transfers)

    @property
    def moved(self) -> int:
        """Number of tracks that change hands."""
        return sum(len(transfer.track_keys) for transfer in self.transfers)


def changes(
    before: Mapping[int, int], after: Mapping[int, int], *, labels: Mapping[int, str], frames: Mapping[int, int]
) -> Changes:
    """Return what is different between two assignments.

    Args:
        before: Track key -> identity; a track that is not in it is unknown.
        after: The same afterwards; a negative identity is a person that has no id yet.
        labels: Identity -> label; without one it is ``Person`` and the id, or ``new person`` and a number.
        frames: Track key -> number of frames; 1 where it is not said.
    """
    moved: dict[tuple[int | None, int | None], list[int]] = defaultdict(list)
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            moved[before.get(key), after.get(key)].append(key)
    name = _namer(labels, after)
    made = sorted(set(after.values()) - set(before.values()), key=lambda who: (who < 0, abs(who)))
    ended = sorted(set(before.values()) - set(after.values()))
    split, merged = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    new: list[str] = []
    gone: list[str] = []
    for who in made:
        parent = _most({k: before.get(k) for k, person in after.items() if person == who}, frames)
        (new if parent is None else split[name(parent)]).append(name(who))
    for who in ended:
        heir = _most({k: after.get(k) for k, person in before.items() if person == who}, frames)
        (gone if heir is None else merged[name(heir)]).append(name(who))
    return Changes(
        tuple((label, tuple(parts)) for label, parts in split.items()),
        tuple((tuple(parts), label) for label, parts in merged.items()),
        tuple(new),
        tuple(gone),
        tuple(Transfer(name(a), name(b), tuple(keys)) for (a, b), keys in moved.items()),
    )


def _namer(labels: Mapping[int, str], after: Mapping[int, int]) -> _Namer:
    unborn = sorted((who for who in set(after.values()) if who < 0), reverse=True)
    return _Namer(labels, {who: f"new person {number}" for number, who in enumerate(unborn, 1)})


@dataclass(frozen=True, slots=True)
class _Namer:
    labels: Mapping[int, str]
    unborn: Mapping[int, str]

    def __call__(self, who: int | None) -> str:
        if who is None:
            return UNKNOWN
        return self.labels.get(who) or self.unborn.get(who) or f"Person {who}"


def _most(owners: Mapping[int, int | None], frames: Mapping[int, int]) -> int | None:
    """Return whom most frames of tracks are of; of equals the lowest id."""
    shares = Counter[int | None]()
    for key, who in owners.items():
        shares[who] += frames.get(key, 1)
    return max(shares, key=lambda who: (shares[who], who is not None, -(who or 0)))
