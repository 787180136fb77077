"""The log of what people said: what follows from it, what contradicts it, and what is left of the forgotten."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.corrections import NEW, Entry, conflicts, describe, erased, merged_into, replay, translated
from indexing.types import TrackRecord, Verdicts

AT = "2026-11-24T09:30:00+00:00"


def track(key: int, first: int, end: int, *, video: int = 1) -> TrackRecord:
    return TrackRecord(key, video, key, 0, first, end, first / 25, end / 25, 0.5, 50)


def bans(*pairs: tuple[int, int]) -> frozenset[tuple[int, int]]:
    return frozenset(pairs)


# ---- replay


def test_nothing_follows_from_an_empty_log() -> None:
    assert replay([]) == Verdicts()
    assert not replay([])


def test_names_pins_and_who_is_ignored_follow_from_the_log() -> None:
    log = [
        Entry("name", (1,), pins={4: 1}, name="Ada"),
        Entry("confirm", (2,), pins={5: 2, 6: 2}),
        Entry("ignore", (3,)),
        Entry("ignore", (4,)),
        Entry("unignore", (3,)),
        Entry("enroll", (5,), pins={9: 5}, name="Bob"),
    ]
    said = replay(log)
    assert said == Verdicts({4: 1, 5: 2, 6: 2, 9: 5}, names={1: "Ada", 5: "Bob"}, ignored=frozenset({4}))


def test_a_name_can_be_changed_and_taken_away() -> None:
    log = [Entry("name", (1,), name="Ada"), Entry("name", (1,), name="Eva")]
    assert replay(log).names == {1: "Eva"}
    assert replay([*log, Entry("name", (1,))]).names == {}


def test_what_was_undone_does_not_hold() -> None:
    log = [Entry("name", (1,), pins={4: 1}, name="Ada", undone_by=2), Entry("undo", entry_id=2)]
    assert replay(log) == Verdicts()


def test_of_two_entries_that_contradict_each_other_the_later_one_holds() -> None:
    is_ada, is_not = Entry("assign", (1,), pins={4: 1}), Entry("not", (1,), bans=bans((4, 1)))
    assert replay([is_ada, is_not]) == Verdicts(bans=bans((4, 1)))
    assert replay([is_not, is_ada]) == Verdicts(pins={4: 1})
    assert replay([is_ada, Entry("assign", (2,), pins={4: 2})]) == Verdicts(pins={4: 2})


def test_a_ban_from_one_person_leaves_the_pin_to_another() -> None:
    said = replay([Entry("split", (1, 2), pins={4: 2, 3: 1}, bans=bans((4, 1)))])
    assert said == Verdicts({4: 2, 3: 1}, bans((4, 1)))


def test_a_merge_takes_over_what_was_said_of_the_one_who_is_no_more() -> None:
    log = [
        Entry("name", (2,), pins={7: 2}, name="Bob"),
        Entry("not", (2,), bans=bans((8, 2))),
        Entry("ignore", (2,)),
        Entry("merge", (1, 2), pins={3: 1}),
    ]
    assert replay(log) == Verdicts({7: 1, 3: 1}, bans((8, 1)))
    undone = [*log[:3], replace(log[3], undone_by=5), Entry("undo", entry_id=5)]
    assert replay(undone) == replay(log[:3])


def test_merges_add_up() -> None:
    assert merged_into([Entry("merge", (2, 3)), Entry("merge", (1, 2)), Entry("merge", (1, 4), undone_by=9)]) == {
        3: 1,
        2: 1,
    }


entries = st.builds(
    Entry,
    st.sampled_from(["name", "confirm", "merge", "split", "not", "assign", "ignore", "unignore", "enroll"]),
    st.permutations([1, 2, 3]).map(lambda people: tuple(people[:2])),
    st.dictionaries(st.integers(1, 5), st.integers(1, 3), max_size=3),
    st.frozensets(st.tuples(st.integers(1, 5), st.integers(1, 3)), max_size=3),
    st.sampled_from([None, "Ada", "Bob"]),
)


@given(st.lists(entries, max_size=8))
def test_no_pin_meets_a_ban(log: list[Entry]) -> None:
    said = replay(log)
    assert not said.bans & set(said.pins.items())


@given(st.lists(entries, max_size=6), entries)
def test_the_last_word_holds_and_taking_it_back_leaves_no_trace(log: list[Entry], last: Entry) -> None:
    said = replay([*log, last])
    assert all(said.pins[key] == person for key, person in last.pins.items())
    assert last.bans - set(last.pins.items()) <= said.bans
    assert replay([*log, replace(last, undone_by=99), Entry("undo", entry_id=99)]) == replay(log)


@given(st.lists(entries, max_size=6))
def test_what_was_said_already_contradicts_nothing_that_was_said(log: list[Entry]) -> None:
    said = replay(log)
    again = Entry("assign", (1,), pins=said.pins, bans=said.bans)
    assert conflicts(again, log, []) == []


# ---- contradictions


def test_two_faces_of_one_frame_are_two_people() -> None:
    tracks = [track(4, 0, 200), track(7, 120, 300), track(8, 120, 300, video=2)]
    merged = Entry("merge", (1, 2), pins={4: 1, 7: 1, 8: 1})
    assert conflicts(merged, [], tracks, paths={1: Path("films/clip.mp4")}) == [
        "track 4 and track 7 of clip.mp4 share frame 120: two faces, two people"
    ]


def test_a_pinned_track_counts_though_the_entry_does_not_name_it() -> None:
    log = [Entry("confirm", (1,), pins={4: 1}, at=AT)]
    found = conflicts(Entry("assign", (1,), pins={7: 1}), log, [track(4, 0, 9), track(7, 8, 20), track(9, 0, 20)])
    assert found == ["track 4 and track 7 of video 1 share frame 8: two faces, two people"]


def test_what_was_forced_once_is_no_new_contradiction() -> None:
    tracks, log = [track(4, 0, 9), track(7, 5, 20)], [Entry("assign", (1,), pins={4: 1, 7: 1})]
    assert conflicts(Entry("confirm", (1,), pins={4: 1, 7: 1}), log, tracks) == []
    assert conflicts(Entry("merge", (2, 1), pins={4: 2, 7: 2}), log, tracks) == []


def test_tracks_that_only_follow_each_other_may_be_one_person() -> None:
    assert conflicts(Entry("confirm", (1,), pins={4: 1, 7: 1}), [], [track(4, 0, 9), track(7, 9, 20)]) == []


def test_a_pin_that_meets_a_ban_is_told_with_the_day() -> None:
    log = [Entry("name", (1,), name="Ada"), Entry("not", (1,), bans=bans((4, 1)), at=AT)]
    told = ["on 2026-11-24 you said that track 4 is not Ada"]
    assert conflicts(Entry("assign", (1,), pins={4: 1}), log, []) == told
    assert conflicts(Entry("merge", (2, 1), pins={4: 2}), log, []) == told
    assert conflicts(Entry("assign", (2,), pins={4: 2}), log, []) == []
    assert conflicts(Entry("assign", (1,), pins={4: 1}), [log[0], replace(log[1], undone_by=3)], []) == []


def test_a_pin_elsewhere_is_told_with_the_day() -> None:
    log = [Entry("name", (1,), pins={4: 1}, name="Ada", at=AT)]
    told = ["on 2026-11-24 you said that track 4 is Ada"]
    assert conflicts(Entry("assign", (2,), pins={4: 2}), log, []) == told
    assert conflicts(Entry("not", (1,), bans=bans((4, 1))), log, []) == told
    assert conflicts(Entry("split", (1, NEW), pins={4: NEW}, bans=bans((4, 1))), log, []) == told
    assert conflicts(Entry("merge", (2, 1), pins={4: 2}), log, []) == []
    assert conflicts(Entry("not", (2,), bans=bans((4, 2))), log, []) == []


def test_putting_together_what_was_split_is_told() -> None:
    log = [Entry("split", (1, 2), pins={4: 2, 3: 1}, bans=bans((4, 1)), at=AT)]
    assert conflicts(Entry("merge", (1, 2), pins={3: 1, 4: 1}), log, []) == [
        "on 2026-11-24 you said that track 4 is not Person 1"
    ]


# ---- erasing


def test_a_forgotten_person_leaves_no_trace_and_others_keep_theirs() -> None:
    log = [
        Entry("name", (1,), pins={4: 1}, name="Ada", entry_id=1),
        Entry("name", (2,), pins={5: 2}, name="Bob", reason="the brother of ADA", entry_id=2),
        Entry("split", (1, 3), pins={6: 3, 4: 1}, bans=bans((6, 1)), reason="not her", entry_id=3, moved={6: 1}),
        Entry("not", (1,), bans=bans((7, 1)), entry_id=4),
        Entry("assign", (2,), pins={8: 2}, entry_id=5, moved={8: 1, 4: 2}),
        Entry("not", (2,), bans=bans((4, 2)), entry_id=6),
        Entry("merge", (2, 1), undone_by=8, entry_id=7),
        Entry("undo", entry_id=8),
    ]
    left = erased(log, {1}, {4})
    assert [entry.entry_id for entry in left] == [2, 3, 5, 8]
    assert not any(entry.name == "Ada" or "ada" in (entry.reason or "").casefold() for entry in left)
    assert not any(4 in entry.track_keys or 4 in entry.moved for entry in left)
    assert not any(1 in (*entry.identities, *entry.pins.values(), *entry.moved.values()) for entry in left)
    said = replay(left)
    assert (said.names, said.pins, said.bans) == ({2: "Bob"}, {5: 2, 6: 3, 8: 2}, bans())


def test_a_name_that_was_given_and_undone_and_given_again_is_forgotten_everywhere() -> None:
    log = [
        Entry("enroll", (1,), pins={4: 1}, name="Ada", created=(1,), entry_id=1, undone_by=2),
        Entry("undo", entry_id=2),
        Entry("enroll", (2,), pins={5: 2}, name="ada", created=(2,), entry_id=3),
    ]
    assert [entry.kind for entry in erased(log, {2}, {5})] == ["undo"]


def test_forgetting_who_was_merged_away_keeps_the_tracks_with_the_other() -> None:
    log = [Entry("name", (2,), name="Bob", entry_id=1), Entry("merge", (1, 2), pins={4: 1, 5: 1}, entry_id=2)]
    (merge,) = erased(log, {2}, set())
    assert (merge.identities, dict(merge.pins)) == ((1,), {4: 1, 5: 1})
    assert replay([merge]) == Verdicts({4: 1, 5: 1})


@given(st.lists(entries, max_size=8), st.integers(1, 3), st.frozensets(st.integers(1, 5)))
def test_what_was_said_of_others_outlives_a_forgotten_person(log: list[Entry], person: int, keys: set[int]) -> None:
    # A merge has been followed by the time its people are forgotten: who is no more is forgotten with who stayed.
    log = [replace(entry, kind="assign") if entry.kind == "merge" else entry for entry in log]
    before, after = replay(log), replay(erased(log, {person}, keys))
    assert person not in {*after.pins.values(), *after.names, *after.ignored, *(other for _, other in after.bans)}
    assert not set(keys) & {*after.pins, *(key for key, _ in after.bans)}
    assert all(
        after.pins.get(key) == other for key, other in before.pins.items() if key not in keys and other != person
    )


def test_entries_follow_tracks_that_were_replaced() -> None:
    entry = Entry("split", (1, 2), pins={4: 2, 5: 1}, bans=bans((4, 1)), moved={4: 1, 6: None})
    after = translated(entry, {4: [8, 9], 5: []})
    assert (dict(after.pins), after.bans, dict(after.moved)) == (
        {8: 2, 9: 2},
        bans((8, 1), (9, 1)),
        {8: 1, 9: 1, 6: None},
    )


# ---- for people to read


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (Entry("name", (3,), name="Eva"), "Person 3 is called Eva"),
        (Entry("name", (3,)), "Person 3 has no name"),
        (Entry("merge", (1, 2)), "Ada and Person 2 are one person"),
        (Entry("split", (1, 2), pins={4: 2, 3: 1}), "track 4 is not Ada but Person 2"),
        (Entry("not", (1,), bans=bans((4, 1), (5, 1))), "tracks 4, 5 are not Ada"),
        (Entry("assign", (1,), pins={4: 1}), "track 4 is Ada"),
        (Entry("confirm", (1,), pins=dict.fromkeys([1, 2, 3, 9], 1)), "tracks 1-3, 9 are Ada"),
        (Entry("ignore", (2,)), "Person 2 is ignored"),
        (Entry("unignore", (2,)), "Person 2 is of interest again"),
        (Entry("enroll", (1,), pins={4: 1}, name="Ada"), "track 4 of a photograph is Ada"),
        (Entry("undo", entry_id=9), "takes back entries 7, 8"),
    ],
)
def test_an_entry_can_be_read(entry: Entry, told: str) -> None:
    log = [Entry("ignore", (2,), entry_id=n, undone_by=9) for n in (7, 8)]
    assert describe(entry, {1: "Ada"}, log=log) == told


def test_a_long_list_of_tracks_is_cut() -> None:
    told = describe(Entry("confirm", (1,), pins=dict.fromkeys(range(0, 100, 2), 1)))
    assert told.startswith("tracks 0, 2, 4, ")
    assert told.endswith(" and more are Person 1")
    assert len(told) < 80
