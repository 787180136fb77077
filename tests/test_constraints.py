"""Two faces in one frame are two people."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.constraints import Constraints, co_occurring, repair
from tracker.errors import FacetrackError

span = st.tuples(st.integers(1, 3), st.integers(0, 20), st.integers(1, 12))


@given(st.lists(span, max_size=25))
def test_co_occurring_finds_all_and_only_the_tracks_that_share_a_frame(spans: list[tuple[int, int, int]]) -> None:
    expected = [
        [i, j]
        for i, (video, first, length) in enumerate(spans)
        for j, (other, begin, lasting) in enumerate(spans)
        if i < j and video == other and first < begin + lasting and begin < first + length
    ]
    videos, firsts, lengths = (np.array(c) for c in zip(*spans, strict=True)) if spans else (np.empty(0, int),) * 3
    assert co_occurring(videos, firsts, firsts + lengths).tolist() == expected


def test_tracks_that_touch_share_no_frame() -> None:
    assert co_occurring([1, 1, 2], [0, 10, 5], [10, 20, 15]).tolist() == []


def test_violations_name_the_pairs_and_noise_is_nobody() -> None:
    rules = Constraints(5, [[0, 1], [3, 2]], anchors=[3, 4])
    assert rules.violations([0, 0, 1, 1, 1]).tolist() == [[0, 1], [2, 3], [3, 4]]
    assert rules.violations([-1, -1, -1, -1, -1]).tolist() == []
    assert rules.violations([0, 1, 0, 1, 2]).tolist() == []


def test_anchors_far_apart_in_order_are_seen_too() -> None:
    rules = Constraints(4, anchors=[0, 1, 3])
    assert rules.violations([7, 2, 2, 7]).tolist() == [[0, 3]]


def test_reorder_follows_the_items() -> None:
    rules = Constraints(4, [[0, 1], [1, 3]], anchors=[0, 3]).reorder([3, 1])
    assert rules.pairs.tolist() == [[0, 1]]
    assert rules.anchors.tolist() == [0]


def test_collapse_hands_the_links_to_the_groups() -> None:
    rules = Constraints(4, [[0, 1], [2, 3]], anchors=[3]).collapse([0, 1, 0, 2])
    assert rules.pairs.tolist() == [[0, 1], [0, 2]]
    assert rules.anchors.tolist() == [2]


def test_collapse_refuses_a_group_of_two_people() -> None:
    with pytest.raises(FacetrackError, match="items 0 and 2 are two people"):
        Constraints(3, [[0, 2]]).collapse([0, 1, 0])


def test_items_that_do_not_exist_are_refused() -> None:
    with pytest.raises(FacetrackError, match="names item 3; there are 3"):
        Constraints(3, [[0, 3]])


@given(st.data())
def test_repair_leaves_no_violation_and_touches_nothing_else(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    item = st.integers(0, count - 1)
    rules = Constraints(
        count,
        np.array(data.draw(st.lists(st.tuples(item, item), max_size=15)), np.int64),
        np.array(data.draw(st.lists(item, max_size=4)), np.int64),
    )
    labels = np.array(data.draw(st.lists(st.integers(-1, 3), min_size=count, max_size=count)))
    vectors = np.random.default_rng(count).normal(size=(count, 4)).astype(np.float32)
    repaired = repair(labels, vectors, rules)
    assert len(rules.violations(repaired)) == 0
    broken = set(labels[rules.violations(labels)[:, 0]].tolist())
    whole = ~np.isin(labels, list(broken))
    assert (repaired[whole] == labels[whole]).all()
    for label in set(repaired.tolist()):  # parts come from one cluster: nothing is joined
        assert len(set(labels[repaired == label].tolist())) == 1


def test_repair_sends_each_item_to_the_part_it_resembles() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.9, 0.1], [0.1, 0.9]], np.float32)
    repaired = repair([5, 5, 5, 5], vectors, Constraints(4, [[0, 1]]))
    assert repaired[0] == repaired[2] != repaired[1] == repaired[3]
