"""Tracklets of one shot become tracks: over gaps, and after crossings."""

import numpy as np

from tracker.associate import Tracklet
from tracker.link import LinkOptions, join, link
from tracker.types import Float32, Source

HERE = np.array([100, 100, 160, 180], np.float32)
ANN, BOB = np.array([1, 0], np.float32), np.array([0, 1], np.float32)


def tracklet(number: int, first: int, end: int, box: Float32 = HERE, follows: Tracklet | None = None) -> Tracklet:
    made = Tracklet(number, first, follows)
    for _ in range(first, end):
        made.add(box, 0.9, Source.DETECTED)
    return made


def groups(tracklets: list[Tracklet], templates: dict[int, Float32]) -> list[list[int]]:
    chains = link(tracklets, templates, same_face=0.6, fps=25, options=LinkOptions())
    return [[t.number for t in chain] for chain in chains]


def test_a_short_gap_is_bridged_by_appearance_though_the_face_has_moved() -> None:
    before, after = tracklet(0, 0, 10), tracklet(1, 25, 40, HERE + 60)
    assert groups([before, after], {0: ANN, 1: ANN}) == [[0, 1]]
    assert groups([before, after], {0: ANN, 1: BOB}) == [[0], [1]]
    assert groups([before, after], {}) == [[0], [1]]


def test_a_short_gap_is_bridged_by_place_alone() -> None:
    before, after = tracklet(0, 0, 10), tracklet(1, 20, 40, HERE + 5)
    assert groups([before, after], {}) == [[0, 1]]


def test_a_long_gap_or_a_far_place_is_not_bridged() -> None:
    before = tracklet(0, 0, 10)
    assert groups([before, tracklet(1, 40, 50)], {0: ANN, 1: ANN}) == [[0], [1]]
    assert groups([before, tracklet(1, 12, 50, HERE + 300)], {0: ANN, 1: ANN}) == [[0], [1]]


def test_two_who_were_lost_are_each_taken_up_by_the_right_one() -> None:
    lost = [tracklet(0, 0, 10), tracklet(1, 0, 10, HERE + 50)]
    found = [tracklet(2, 15, 30, HERE + 45), tracklet(3, 15, 30, HERE + 5)]
    assert groups([*lost, *found], {0: ANN, 1: BOB, 2: ANN, 3: BOB}) == [[0, 2], [1, 3]]


def crossing() -> list[Tracklet]:
    a, b = tracklet(0, 0, 10), tracklet(1, 0, 10, HERE + 200)
    a.rivals, b.rivals = {1}, {0}
    return [a, b, tracklet(2, 10, 20, follows=a), tracklet(3, 10, 20, HERE + 200, follows=b)]


def test_a_crossing_goes_on_as_it_was_where_appearance_agrees_or_is_not_known() -> None:
    assert groups(crossing(), {0: ANN, 1: BOB, 2: ANN, 3: BOB}) == [[0, 2], [1, 3]]
    assert groups(crossing(), {0: ANN, 1: BOB}) == [[0, 2], [1, 3]]
    alike = np.array([0.8, 0.6], np.float32)
    assert groups(crossing(), {0: ANN, 1: ANN, 2: alike, 3: ANN}) == [[0, 2], [1, 3]]


def test_a_swap_at_a_crossing_is_mended() -> None:
    assert groups(crossing(), {0: ANN, 1: BOB, 2: BOB, 3: ANN}) == [[0, 3], [1, 2]]


def test_the_frames_between_are_interpolated() -> None:
    joined = join([tracklet(0, 0, 2), tracklet(1, 5, 7, HERE + 8)])
    assert joined.first_frame == 0
    assert joined.end_frame == 7
    np.testing.assert_allclose([box[0] for box in joined.boxes], [100, 100, 102, 104, 106, 108, 108])
    assert [s.name[0] for s in joined.sources] == list("DDIIIDD")
    assert joined.hits == 4
