"""From tracks to who is seen when: appearances, and what they add up to for a person."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

from indexing.types import Appearance, Identity, Person, TrackRecord
from tracker.errors import FacetrackError
from tracker.types import Segment, Timeline

APPEARANCE_GAP = 0.5
"""Seconds without a person that do not end their appearance: a blink of the tracker, not a leave."""


def appearances(records: Iterable[TrackRecord], *, gap: float = APPEARANCE_GAP) -> list[Appearance]:
    """Return the union of each identity's tracks in each video, by video, start and identity.

    Args:
        records: The tracks; each one of an unknown person is an appearance by itself.
        gap: Seconds; gaps up to it are closed.

    Example:
        >>> rows = [TrackRecord(n, 1, n, 0, 0, 9, start, start + 1, 1, 50, 7) for n, start in enumerate((0, 1.5, 9))]
        >>> [(a.segment.start, a.segment.end, a.track_keys) for a in appearances(rows)]
        [(0, 2.5, (0, 1)), (9, 10, (2,))]
    """
    groups: dict[tuple[int, int | None, int], list[TrackRecord]] = defaultdict(list)
    for record in records:
        alone = record.key if record.identity_id is None else 0
        groups[record.video_id, record.identity_id, alone].append(record)
    found = [appearance for group in groups.values() for appearance in _united(group, gap)]
    return sorted(found, key=lambda a: (a.video_id, a.segment, a.identity_id or 0, a.track_keys))


def _united(records: Sequence[TrackRecord], gap: float) -> Iterator[Appearance]:
    segments = Timeline.union((record.segment for record in records), gap=gap).segments
    starts = [segment.start for segment in segments]
    keys: list[list[int]] = [[] for _ in segments]
    for record in sorted(records, key=lambda r: (r.start, r.key)):
        keys[bisect_right(starts, record.start) - 1].append(record.key)
    for segment, members in zip(segments, keys, strict=True):
        yield Appearance(records[0].identity_id, records[0].video_id, segment, tuple(members))


def person(
    identity: Identity, records: Sequence[TrackRecord], paths: Mapping[int, Path], pictured: Collection[int]
) -> Person:
    """Return what the tracks of an identity add up to.

    Args:
        identity: Who.
        records: All their tracks.
        paths: Video id -> path.
        pictured: Keys of the tracks that have a thumbnail.
    """
    if not records:
        return Person(identity, 0, 0, 0.0, None, None, None)
    seen = appearances(records)
    first = min(seen, key=lambda a: (a.video_id, a.segment.start))
    last = max(seen, key=lambda a: (a.video_id, a.segment.end))
    return Person(
        identity,
        videos=len({record.video_id for record in records}),
        appearances=len(seen),
        screen_time=sum(appearance.segment.duration for appearance in seen),
        first_seen=(paths[first.video_id], first.segment.start),
        last_seen=(paths[last.video_id], last.segment.end),
        best_track=best_track(records, pictured),
    )


def best_track(records: Iterable[TrackRecord], pictured: Collection[int]) -> int | None:
    """Return the key of the track with the best picture; None where there is no track.

    Args:
        records: The tracks.
        pictured: Keys of those that have a thumbnail.
    """
    best = best_record(records, pictured)
    return None if best is None else best.key


def best_record(records: Iterable[TrackRecord], pictured: Collection[int] = ()) -> TrackRecord | None:
    """Return the track that `best_track` names."""
    return max(records, key=lambda r: (r.key in pictured, r.quality, r.size, -r.key), default=None)


@dataclass(frozen=True, slots=True)
class CoAppearance:
    """An interval in which several people are all seen.

    Attributes:
        identity_ids: Who, rising.
        video_id: Where.
        segment: When, [start, end) in seconds; of no length in a still picture without a duration.
        track_keys: The tracks of their appearances, by person and start.
    """

    identity_ids: tuple[int, ...]
    video_id: int
    segment: Segment
    track_keys: tuple[int, ...]


def together(appearances: Iterable[Appearance], identity_ids: Iterable[int]) -> list[CoAppearance]:
    """Return when several people are all seen in one video, by video and start.

    Args:
        appearances: Of these people, and of others too.
        identity_ids: Two people or more.

    Raises:
        FacetrackError: if there is one only.

    Example:
        >>> seen = [Appearance(7, 1, Segment(0, 5), (1,)), Appearance(8, 1, Segment(3, 9), (2,))]
        >>> [(both.segment.start, both.segment.end, both.track_keys) for both in together(seen, [8, 7])]
        [(3, 5, (1, 2))]
    """
    people = sorted(set(identity_ids))
    if len(people) < 2:
        raise FacetrackError(f"{len(people)} different people are named; two or more can be seen together")
    seen: dict[tuple[int, int | None], list[Appearance]] = defaultdict(list)
    for appearance in appearances:
        seen[appearance.video_id, appearance.identity_id].append(appearance)
    videos = sorted({video_id for video_id, _ in seen})
    return [
        CoAppearance(tuple(people), video_id, segment, keys)
        for video_id in videos
        for segment, keys in _shared([seen.get((video_id, who), []) for who in people])
    ]


def _shared(people: Sequence[Sequence[Appearance]]) -> list[tuple[Segment, tuple[int, ...]]]:
    shared = [(seen.segment, seen.track_keys) for seen in people[0]]
    for others in people[1:]:
        shared = [
            (both, (*keys, *other.track_keys))
            for segment, keys in shared
            for other in others
            if (both := overlap(segment, other.segment)) is not None
        ]
    return sorted(shared)


@dataclass(frozen=True, slots=True)
class Crowd:
    """A time in which several people are seen at once.

    Attributes:
        count: How many.
        video_id: Where.
        segment: When, [start, end) in seconds.
    """

    count: int
    video_id: int
    segment: Segment


def most_at_once(appearances: Iterable[Appearance]) -> Crowd | None:
    """Return when the most of the people are seen at once, the first such time; None where there is nobody.

    Example:
        >>> seen = [Appearance(7, 1, Segment(0, 5), (1,)), Appearance(8, 1, Segment(3, 9), (2,))]
        >>> most_at_once(seen)
        Crowd(count=2, video_id=1, segment=Segment(start=3, end=5))
    """
    videos: dict[int, list[Segment]] = defaultdict(list)
    for seen in appearances:
        videos[seen.video_id].append(seen.segment)
    fullest = (_fullest(video_id, sorted(segments)) for video_id, segments in sorted(videos.items()))
    return max(fullest, key=lambda crowd: crowd.count, default=None)


def _fullest(video_id: int, segments: Sequence[Segment]) -> Crowd:
    """Return when the most of ``segments``, which come by their start, overlap."""
    there: list[Segment] = []
    best = Crowd(0, video_id, segments[0])
    for segment in segments:
        there = [other for other in there if overlap(other, segment) is not None] + [segment]
        if len(there) > best.count:
            best = Crowd(len(there), video_id, Segment(segment.start, min(other.end for other in there)))
    return best


def overlap(first: Segment, second: Segment) -> Segment | None:
    """Return the time that two segments share; None for none. One without a length is a moment that can be shared.

    Example:
        >>> overlap(Segment(0, 2), Segment(1, 3)), overlap(Segment(0, 1), Segment(1, 3)), overlap(
        ...     Segment(0, 0), Segment(0, 0)
        ... )
        (Segment(start=1, end=2), None, Segment(start=0, end=0))
    """
    start, end = max(first.start, second.start), min(first.end, second.end)
    moment = start == end and all(part.start <= start < part.end or not part.duration for part in (first, second))
    return Segment(start, end) if start < end or moment else None


def within(
    appearances: Iterable[Appearance],
    *,
    video_ids: Collection[int] | None = None,
    start: float = 0.0,
    end: float = inf,
) -> list[Appearance]:
    """Return the parts of appearances that lie in some videos and in [start, end).

    Args:
        appearances: Any.
        video_ids: Which videos; None: all.
        start: Seconds.
        end: Seconds.
    """
    limits = Segment(start, end)
    return [
        replace(seen, segment=part)
        for seen in appearances
        if (video_ids is None or seen.video_id in video_ids) and (part := overlap(seen.segment, limits)) is not None
    ]
