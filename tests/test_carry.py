"""Ids survive a re-clustering, and what it changes is told in words."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from indexing.carry import Changes, Transfer, carry_over, changes


def carried(
    labels: list[int],
    known: list[int],
    *,
    frames: list[int] | None = None,
    pinned: list[int] | None = None,
    bans: list[tuple[int, int]] | None = None,
) -> dict[int, int]:
    count = len(labels)
    return carry_over(
        np.array(labels, np.int64),
        np.array(known, np.int64),
        frames=np.array(frames or [1] * count, np.int64),
        pinned=np.array(pinned or [-1] * count, np.int64),
        bans=np.array(bans or [], np.int64).reshape(-1, 2),
    )


def test_the_greater_part_keeps_the_id() -> None:
    assert carried([0, 0, 1], [7, 7, 7]) == {0: 7}
    assert carried([0, 0, 1], [7, 7, 7], frames=[10, 10, 50]) == {1: 7}


def test_of_two_that_are_merged_the_one_with_more_frames_stays() -> None:
    assert carried([0, 0], [3, 7], frames=[10, 11]) == {0: 7}
    assert carried([0, 0], [7, 3], frames=[10, 10]) == {0: 3}


def test_the_loser_of_one_cluster_may_keep_another() -> None:
    assert carried([0, 0, 1], [7, 8, 8], frames=[30, 20, 10]) == {0: 7, 1: 8}


def test_an_id_with_pins_goes_where_its_pins_are() -> None:
    assert carried([0, 0, 1], [7, 7, 7], frames=[90, 90, 1], pinned=[-1, -1, 7]) == {1: 7}
    assert carried([0, 0], [7, 8], frames=[90, 1], pinned=[-1, 8]) == {0: 8}


def test_a_ban_outweighs_any_share() -> None:
    assert carried([0, 0, 1], [7, 7, 7], frames=[90, 90, 1], bans=[(0, 7)]) == {1: 7}


@given(st.data())
def test_no_id_twice_and_none_lost_without_need(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    labels = data.draw(st.lists(st.integers(-1, 4), min_size=count, max_size=count))
    known = data.draw(st.lists(st.integers(-1, 4), min_size=count, max_size=count))
    bans = data.draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, 4)), max_size=4))
    found = carried(labels, known, bans=bans)
    assert len(set(found.values())) == len(found)
    assert not {(labels[track], who) for track, who in bans} & set(found.items())
    for label, who in zip(labels, known, strict=True):  # whoever could have kept an id without harm has kept it
        forbidden = {who for track, who in bans if labels[track] == label}
        assert label < 0 or who < 0 or label in found or who in found.values() or who in forbidden


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_what_stays_as_it_was_keeps_every_id(labels: list[int]) -> None:
    assert carried(labels, [10 + label for label in labels]) == {label: 10 + label for label in labels}


def test_changes_are_told_by_label() -> None:
    before = {1: 7, 2: 7, 3: 8, 4: 9, 5: 9, 6: 3}
    after = {1: 7, 2: -1, 3: 7, 4: 9, 5: 9, 10: -2}
    found = changes(before, after, labels={7: "Ada", 8: "Person 8"}, frames={})
    assert found == Changes(
        split=(("Ada", ("new person 1",)),),
        merged=((("Person 8",), "Ada"),),
        new=("new person 2",),
        gone=("Person 3",),
        transfers=(
            Transfer("Ada", "new person 1", (2,)),
            Transfer("Person 8", "Ada", (3,)),
            Transfer("Person 3", "Unknown", (6,)),
            Transfer("Unknown", "new person 2", (10,)),
        ),
    )
    assert found
    assert found.moved == 4


def test_most_frames_say_what_became_of_a_person() -> None:
    before, after = {1: 7, 2: 7, 3: 8, 4: 9}, {1: 8, 2: 9, 3: 8, 4: 9}
    assert changes(before, after, labels={}, frames={1: 5, 2: 50}).merged == ((("Person 7",), "Person 9"),)


def test_the_same_is_no_change() -> None:
    assert not changes({1: 7}, {1: 7}, labels={}, frames={})
