"""From tracks to who is seen when: appearances, and what they add up to for a person."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from indexing.types import Appearance, Identity, Person, TrackRecord
from tracker.types import Timeline

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
    best = max(records, key=lambda r: (r.key in pictured, r.quality, r.size, -r.key))
    return Person(
        identity,
        videos=len({record.video_id for record in records}),
        appearances=len(seen),
        screen_time=sum(appearance.segment.duration for appearance in seen),
        first_seen=(paths[first.video_id], first.segment.start),
        last_seen=(paths[last.video_id], last.segment.end),
        best_track=best.key,
    )
