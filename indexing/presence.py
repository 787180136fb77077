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
        moments: Where and when, by video and start: the id of the video and the interval.
    """

    identity: Identity
    moments: tuple[tuple[int, Segment], ...]

    @property
    def videos(self) -> int:
        """Number of videos."""
        return len({video_id for video_id, _ in self.moments})

    @property
    def appearances(self) -> int:
        """Number of intervals."""
        return len(self.moments)

    @property
    def screen_time(self) -> float:
        """Seconds of all of them together."""
        return sum(segment.duration for _, segment in self.moments)


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
    moments = {who: [(seen.video_id, seen.segment) for seen in appearances_of(store, who, scope)] for who in people}
    return _ranked(people, moments)


def _people(store: Store, identity_ids: Iterable[int] | None, scope: Scope) -> dict[int, Identity]:
    """Return those who are named, ignored or not, by id; None: everybody in a scope."""
    if identity_ids is None:
        return {one.identity_id: one for one in store.identities() if scope.ignored or not one.ignored}
    wanted = set(identity_ids)
    return {one.identity_id: one for one in store.identities() if one.identity_id in wanted}


def companions(
    store: Store, identity_id: int, identity_ids: Iterable[int] | None = None, *, scope: Scope = EVERYWHERE
) -> list[Presence]:
    """Return who is seen together with a person, where and when, by falling time.

    Args:
        store: Where to look.
        identity_id: The person.
        identity_ids: Who may be seen with them; None: everybody.
        scope: Where in the store.
    """
    own = defaultdict[int, list[Segment]](list)
    for seen in appearances_of(store, identity_id, scope):
        own[seen.video_id].append(seen.segment)
    people = _people(store, identity_ids, scope)
    people.pop(identity_id, None)
    shared = defaultdict[int, list[tuple[int, Segment]]](list)
    for other in _appearances(store, people, scope, everybody=identity_ids is None):
        if other.identity_id in people and other.video_id in own:
            both = (timeline.overlap(segment, other.segment) for segment in own[other.video_id])
            shared[other.identity_id] += [(other.video_id, moment) for moment in both if moment is not None]
    return _ranked(people, shared)


def _appearances(store: Store, people: Iterable[int], scope: Scope, *, everybody: bool) -> Iterable[Appearance]:
    """Return the appearances of people; those of everybody are read at once, not one after the other."""
    if everybody:
        return appearances_of(store, None, scope)
    return [seen for who in people for seen in appearances_of(store, who, scope)]


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


def _ranked(people: Mapping[int, Identity], moments: Mapping[int, Sequence[tuple[int, Segment]]]) -> list[Presence]:
    seen = [Presence(people[who], tuple(sorted(parts))) for who, parts in moments.items() if parts]
    return sorted(seen, key=lambda one: (-one.screen_time, -one.appearances, one.identity.identity_id))
