"""Appearances: checked against painting the tracks on a fine grid of time."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.timeline import appearances, most_at_once, overlap, together, within
from indexing.types import Appearance, TrackRecord
from tracker.errors import FacetrackError
from tracker.types import Segment

STEP = 0.25


def record(key: int, start: int, length: int, identity_id: int | None = 1, video_id: int = 1) -> TrackRecord:
    end = start + length
    return TrackRecord(key, video_id, key, 0, start, end, start * STEP, end * STEP, 0.5, 50, identity_id)


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 10)), min_size=1, max_size=12)


@given(spans, st.integers(0, 6))
def test_appearances_cover_the_tracks_and_the_short_gaps_alone(spans: list[tuple[int, int]], gap: int) -> None:
    found = appearances([record(key, *span) for key, span in enumerate(spans)], gap=gap * STEP)
    painted = np.zeros(100, bool)
    for start, length in spans:
        painted[start : start + length] = True
    seen = np.flatnonzero(painted)
    for left, right in pairwise(seen):
        if right - left - 1 <= gap:
            painted[left:right] = True
    covered = np.zeros(100, bool)
    for appearance in found:
        covered[round(appearance.segment.start / STEP) : round(appearance.segment.end / STEP)] = True
    np.testing.assert_array_equal(covered, painted)
    assert len(found) == int((np.diff(np.r_[0, painted.astype(int)]) == 1).sum())
    assert sorted(key for appearance in found for key in appearance.track_keys) == list(range(len(spans)))
    for appearance in found:
        for key in appearance.track_keys:
            assert appearance.segment.start <= spans[key][0] * STEP
            assert sum(spans[key]) * STEP <= appearance.segment.end


def test_tracks_of_unknown_people_are_never_joined() -> None:
    found = appearances([record(1, 0, 4, None), record(2, 2, 4, None), record(3, 1, 4), record(4, 3, 4)])
    assert [(a.identity_id, a.track_keys) for a in found] == [(None, (1,)), (1, (3, 4)), (None, (2,))]


def test_people_and_videos_are_kept_apart() -> None:
    found = appearances([record(1, 0, 4), record(2, 0, 4, 2), record(3, 0, 4, 1, 2)])
    assert [(a.video_id, a.identity_id) for a in found] == [(1, 1), (1, 2), (2, 1)]


def test_a_track_without_length_appears() -> None:
    (only,) = appearances([record(1, 0, 0)])
    assert only.segment.duration == 0


def painted(found: list, count: int = 100) -> np.ndarray:  # type: ignore[type-arg]
    grid = np.zeros(count, bool)
    for one in found:
        grid[round(one.segment.start / STEP) : round(one.segment.end / STEP)] = True
    return grid


@settings(deadline=None)
@given(st.lists(spans, min_size=2, max_size=4))
def test_people_are_together_exactly_where_all_are_seen(people: list[list[tuple[int, int]]]) -> None:
    numbered = [(who, span) for who, seen in enumerate(people) for span in seen]
    found = appearances([record(key, *span, identity_id=who) for key, (who, span) in enumerate(numbered)])
    both = together(found, range(len(people)))
    wanted = np.all([painted([one for one in found if one.identity_id == who]) for who in range(len(people))], axis=0)
    np.testing.assert_array_equal(painted(both), wanted)
    assert sum(one.segment.duration for one in both) == wanted.sum() * STEP  # no two overlap
    keys = {key: who for key, (who, _) in enumerate(numbered)}
    for one in both:
        assert {keys[key] for key in one.track_keys} == set(range(len(people)))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 8)), min_size=1, max_size=8))
def test_the_most_are_seen_at_once_when_no_other_time_has_more(drawn: list[tuple[int, int]]) -> None:
    seen = [Appearance(n, 1, Segment(start, start + length), (n,)) for n, (start, length) in enumerate(drawn)]
    crowd = most_at_once(seen)
    assert crowd is not None
    there = [sum(one.segment.start <= time < one.segment.end for one in seen) for time in range(30)]
    assert crowd.count == max(there)
    assert crowd.segment.start == there.index(crowd.count)
    assert all(there[time] == crowd.count for time in range(int(crowd.segment.start), int(crowd.segment.end)))


def test_nobody_is_no_crowd() -> None:
    assert most_at_once([]) is None


def test_people_of_two_videos_are_not_together_and_a_picture_is_a_moment() -> None:
    still = [TrackRecord(key, 3, key, 0, 0, 1, 0.0, 0.0, 0.5, 50, who) for key, who in ((1, 1), (2, 2))]
    apart = [record(3, 0, 5, 1, video_id=1), record(4, 0, 5, 2, video_id=2)]
    [both] = together(appearances([*still, *apart]), [1, 2])
    assert (both.video_id, both.segment, both.track_keys) == (3, Segment(0, 0), (1, 2))
    with pytest.raises(FacetrackError, match="1 different people"):
        together([], [1, 1])


def test_a_moment_at_the_end_of_a_segment_is_outside() -> None:
    assert overlap(Segment(0, 5), Segment(5, 5)) is None
    assert overlap(Segment(5, 5), Segment(5, 9)) == Segment(5, 5)
    assert overlap(Segment(0, 5), Segment(5, 9)) is None


@settings(deadline=None)
@given(spans, st.integers(0, 50), st.integers(1, 40))
def test_within_keeps_the_parts_inside(spans: list[tuple[int, int]], start: int, length: int) -> None:
    found = appearances([record(key, *span) for key, span in enumerate(spans)])
    wanted = painted(found)
    wanted[:start] = wanted[start + length :] = False
    kept = within(found, start=start * STEP, end=(start + length) * STEP, video_ids={1})
    np.testing.assert_array_equal(painted(kept), wanted)
    assert within(found, video_ids={2}) == []
