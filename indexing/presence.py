"""Who is seen where, when, for how long and with whom, in all of a store or a part of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from indexing import timeline
from indexing.store import Store
from indexing.timeline import CoAppearance, Crowd
from indexing.types import Appearance, Identity, TrackRecord
from tracker.errors import FacetrackError
from tracker.types import Segment


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a search looks; ``Scope()``: everywhere.

    Attributes:
        video_ids: Videos; None: all.
        start: Seconds from which on, in each video.
        end: Seconds before which.
        min_quality: Least quality of a track, see `tracker.align.quality`.
        ignored: People who are ignored too.
    """

    video_ids: frozenset[int] | None = None
    start: float = 0.0
    end: float = inf
    min_quality: float = 0.0
    ignored: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 <= self.start < self.end:
            raise FacetrackError(
                f"from {self.start:g} to {self.end:g} s is no time to look in; give from < to, from 0 on"
            )
        if not 0 <= self.min_quality <= 1:
            raise FacetrackError(f"a quality of {self.min_quality:g}: it lies between 0 and 1")

    @property
    def limited(self) -> bool:
        """Whether some appearances lie outside."""
        return self.video_ids is not None or self.start > 0 or self.end < inf

    def holds(self, record: TrackRecord) -> bool:
        """Tell whether a track lies inside, at least in part."""
        there = self.video_ids is None or record.video_id in self.video_ids
        seen = timeline.overlap(record.segment, Segment(self.start, self.end)) is not None
        return there and seen and record.quality >= self.min_quality

    def cut(self, appearances: Iterable[Appearance]) -> list[Appearance]:
        """Return the parts of appearances that lie inside."""
        return timeline.within(appearances, video_ids=self.video_ids, start=self.start, end=self.end)


EVERYWHERE = Scope()
"""All of a store."""


@dataclass(frozen=True, slots=True)
class Presence:
    """How much of somebody is seen.

    Attributes:
        identity: Who.
        videos: Number of videos.
        appearances: Number of intervals.
        screen_time: Seconds of all of them together.
    """

    identity: Identity
    videos: int
    appearances: int
    screen_time: float


def co_appearances(store: Store, identity_ids: Iterable[int], *, scope: Scope = EVERYWHERE) -> list[CoAppearance]:
    """Return when several people are all seen, by video and start.

    Args:
        store: Where to look.
        identity_ids: Two people or more.
        scope: Where in the store; the quality counts for each track.

    Raises:
        FacetrackError: if there is one person only.
    """
    people = list(identity_ids)
    seen = [appearance for who in dict.fromkeys(people) for appearance in appearances_of(store, who, scope)]
    return timeline.together(seen, people)


def presence(store: Store, identity_ids: Iterable[int] | None = None, *, scope: Scope = EVERYWHERE) -> list[Presence]:
    """Return how often and for how long people are seen, by falling screen time; those who are not seen are left out.

    Args:
        store: Where to look.
        identity_ids: Who; None: everybody.
        scope: Where in the store.
    """
    people = _people(store, identity_ids, scope)
    return _ranked(_presence(person, appearances_of(store, person.identity_id, scope)) for person in people)


def _people(store: Store, identity_ids: Iterable[int] | None, scope: Scope) -> list[Identity]:
    """Return those who are named, ignored or not; None: everybody in a scope."""
    if identity_ids is None:
        return [person for person in store.identities() if scope.ignored or not person.ignored]
    wanted = set(identity_ids)
    return [person for person in store.identities() if person.identity_id in wanted]


def companions(
    store: Store, identity_id: int, identity_ids: Iterable[int] | None = None, *, scope: Scope = EVERYWHERE
) -> list[Presence]:
    """Return who is seen together with a person, and for how long, by falling time.

    Args:
        store: Where to look.
        identity_id: The person.
        identity_ids: Who may be seen with them; None: everybody.
        scope: Where in the store.
    """
    own = appearances_of(store, identity_id, scope)
    others = [p for p in _people(store, identity_ids, scope) if p.identity_id != identity_id]
    theirs = _appearances(store, others, scope, everybody=identity_ids is None)
    return _ranked(
        _presence(p, timeline.together([*own, *theirs[p.identity_id]], [identity_id, p.identity_id])) for p in others
    )


def _appearances(
    store: Store, people: Sequence[Identity], scope: Scope, *, everybody: bool
) -> Mapping[int | None, Sequence[Appearance]]:
    """Return the appearances of each person; those of everybody are read at once, not one after the other."""
    if not everybody:
        return {p.identity_id: appearances_of(store, p.identity_id, scope) for p in people}
    seen = defaultdict[int | None, list[Appearance]](list)
    for appearance in appearances_of(store, None, scope):
        seen[appearance.identity_id].append(appearance)
    return seen


def most_at_once(store: Store, *, scope: Scope = EVERYWHERE) -> Crowd | None:
    """Return when the most people are seen at once, the first such time; None where nobody is seen.

    Each track of an unknown person counts as one.

    Args:
        store: Where to look.
        scope: Where in the store.
    """
    return timeline.most_at_once(appearances_of(store, None, scope))


def appearances_of(store: Store, identity_id: int | None, scope: Scope = EVERYWHERE) -> list[Appearance]:
    """Return the appearances of a person, or of everybody, within a scope, of tracks that are good enough."""
    return scope.cut(store.appearances(identity_id, ignored=scope.ignored, min_quality=scope.min_quality))


def _presence(identity: Identity, seen: Sequence[Appearance | CoAppearance]) -> Presence:
    seconds = sum(one.segment.duration for one in seen)
    return Presence(identity, len({one.video_id for one in seen}), len(seen), seconds)


def _ranked(found: Iterable[Presence]) -> list[Presence]:
    seen = [one for one in found if one.appearances]
    return sorted(seen, key=lambda one: (-one.screen_time, -one.appearances, one.identity.identity_id))
