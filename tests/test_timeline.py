"""Appearances: checked against painting the tracks on a fine grid of time."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from indexing.timeline import appearances
from indexing.types import TrackRecord

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
