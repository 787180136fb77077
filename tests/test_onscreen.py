"""Who is on screen: named where it is clear, unknown where it is not, and told once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes import make_result, person_vector
from hypothesis import given
from hypothesis import strategies as st

from indexing.calibrate import fallback
from indexing.onscreen import LINGER, LOOKS, PATIENCE, Event, Gallery, OnScreen
from indexing.store import Store
from indexing.types import Identity
from tracker.live import Face
from tracker.types import EMOTIONS, Float32

ADA, BOB, EXTRA = Identity(1, "Ada"), Identity(2, "Bob"), Identity(3, None, ignored=True)
LEFT, RIGHT = (10, 10, 60, 70), (200, 10, 250, 70)
NOBODY = Gallery((), np.empty((0, 0), np.float32), fallback("some-model"))


@pytest.fixture
def gallery() -> Gallery:
    return Gallery((ADA, BOB, EXTRA), np.stack([person_vector(n) for n in range(3)]), fallback("some-model"))


def face(
    number: int,
    person: int | None = None,
    *,
    box: tuple[float, ...] = LEFT,
    since: float = 0.0,
    follows: int | None = None,
    shows: dict[str, float] | None = None,
) -> Face:
    emotions = None
    if shows is not None:
        emotions = np.array([shows.get(name, 0.0) for name in EMOTIONS], np.float32)
    vector = None if person is None else person_vector(person)
    return Face(number, np.array(box, np.float32), since, follows, vector, emotions)


def told(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.kind, event.seen.label) for event in events]


def mixed(share: float) -> Float32:
    """Return a face between Ada and Bob."""
    vector = (1 - share) * person_vector(0) + share * person_vector(1)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


# ---- who it is


def test_a_store_gives_its_people_as_the_means_of_their_tracks(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        assert Gallery.of(store).people == ()
        store.add_video(make_result("a.mp4", [(0, 0, 20), (1, 5, 30), (0, 35, 50), (2, 40, 50)]))
        keys = [record.key for record in store.track_records()]
        store.assign([(None, [keys[0], keys[2]]), (None, [keys[1]])])
        store.rename(1, "Ada")
        gallery = Gallery.of(store)
        assert [person.label for person in gallery.people] == ["Ada", "Person 2"]
        answers = gallery.who([person_vector(0), person_vector(1), person_vector(2), None], [None] * 4)
        assert [None if answer is None else answer.identity.label for answer in answers] == [
            "Ada",
            "Person 2",
            None,
            None,
        ]
        assert all(answer.confidence > 0.95 for answer in answers if answer)


def test_a_face_between_two_people_is_neither(gallery: Gallery) -> None:
    assert [gallery.who([mixed(share)], [None])[0] is None for share in (0.0, 0.5, 1.0)] == [False, True, False]


def test_who_was_told_stays_where_it_is_still_likely(gallery: Gallery) -> None:
    turned = next(vector for vector in map(mixed, np.linspace(0, 0.5, 200)) if gallery.who([vector], [None])[0] is None)
    [answer] = gallery.who([turned], [ADA])
    assert answer is not None
    assert answer.identity == ADA
    assert gallery.who([person_vector(9)], [ADA]) == [None]


@given(st.lists(st.integers(0, 4), max_size=6), st.integers(0, 2**32 - 1))
def test_nobody_is_there_twice(people: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    gallery = Gallery((ADA, BOB, EXTRA), np.stack([person_vector(n) for n in range(3)]), fallback("some-model"))
    rows = [person_vector(person) + 0.1 * rng.standard_normal(16) for person in people]
    faces = [np.asarray(row / np.linalg.norm(row), np.float32) for row in rows]
    named = [answer.identity.identity_id for answer in gallery.who(faces, [None] * len(faces)) if answer]
    assert len(named) == len(set(named)) == len({person for person in people if person < 3})


def test_where_nobody_is_known_everybody_is_unknown() -> None:
    assert NOBODY.who([person_vector(0)], [ADA]) == [None]


# ---- coming and going


def test_who_is_known_is_told_at_once_and_leaves_once(gallery: Gallery) -> None:
    screen = OnScreen()
    assert told(screen.update([face(0, 0)], 0.2, gallery)) == [("enter", "Ada")]
    assert screen.update([face(0, 0)], 0.4, gallery) == []
    assert [seen.label for seen in screen.seen] == ["Ada"]
    for k in range(LOOKS):
        assert screen.update([], 0.5 + k / 10, gallery) == []
    [event] = screen.update([], 0.4 + LINGER + 0.1, gallery)
    assert (event.kind, event.seen.since, event.seen.until) == ("leave", 0.0, 0.4)
    assert screen.seen == ()


def test_an_unknown_face_is_told_after_a_while_and_may_be_recognised(gallery: Gallery) -> None:
    screen = OnScreen()
    assert screen.update([face(0, 7)], PATIENCE / 2, gallery) == []
    assert told(screen.update([face(0, 7)], PATIENCE, gallery)) == [("enter", "Unknown 1")]
    assert told(screen.update([face(0, 1)], 1.0, gallery)) == [("name", "Bob")]
    assert screen.seen[0].since == 0.0


def test_a_face_without_a_good_view_is_told_too(gallery: Gallery) -> None:
    assert told(OnScreen().update([face(0)], PATIENCE, gallery)) == [("enter", "Unknown 1")]


def test_who_comes_back_at_once_has_not_left(gallery: Gallery) -> None:
    screen = OnScreen()
    screen.update([face(0, 0)], 0.2, gallery)
    screen.update([], 0.4, gallery)
    assert screen.update([face(5, 0, box=RIGHT, since=0.9)], 1.0, gallery) == []
    assert [(seen.label, seen.since, seen.face) for seen in screen.seen] == [("Ada", 0.0, 1)]


def test_an_unknown_face_that_turns_out_to_be_one_just_gone_takes_their_place(gallery: Gallery) -> None:
    screen = OnScreen()
    screen.update([face(0, 0)], 0.2, gallery)
    screen.update([face(5, 7, since=0.2)], 1.0, gallery)
    assert told(screen.update([face(5, 0, since=0.2)], 1.2, gallery)) == [("name", "Ada"), ("leave", "Ada")]
    assert [seen.label for seen in screen.seen] == ["Ada"]


def test_few_pictures_are_no_reason_to_have_left(gallery: Gallery) -> None:
    screen = OnScreen()
    screen.update([face(0, 0)], 0.2, gallery)
    assert screen.update([], 5.0, gallery) == []
    assert told(screen.wait(5.1)) == [("leave", "Ada")]


def test_who_is_renamed_is_told_anew(gallery: Gallery) -> None:
    screen = OnScreen()
    screen.update([face(0, 0)], 0.2, gallery)
    later = Gallery((Identity(1, "Countess"), BOB, EXTRA), gallery.means, gallery.scale)
    assert told(screen.update([face(0, 0)], 0.4, later)) == [("name", "Countess")]


def test_people_who_are_ignored_are_not_told(gallery: Gallery) -> None:
    screen = OnScreen()
    assert screen.update([face(0, 2)], 5.0, gallery) == []
    assert screen.seen == ()
    shown = Gallery((ADA, BOB, Identity(3, None)), gallery.means, gallery.scale)
    assert told(screen.update([face(0, 2)], 5.2, shown)) == [("enter", "Person 3")]
    assert told(screen.update([face(0, 2)], 5.4, gallery)) == [("leave", "Person 3")]


def test_a_face_goes_on_after_a_crossing(gallery: Gallery) -> None:
    screen = OnScreen()
    screen.update([face(0, 0), face(1, 7, box=RIGHT)], 1.0, gallery)
    after = [face(2, box=RIGHT, follows=0), face(3, box=LEFT, follows=1)]
    assert screen.update(after, 1.2, gallery) == []
    assert [seen.label for seen in screen.seen] == ["Ada", "Unknown 2"]


def test_faces_are_found_again_by_their_place_when_a_piece_ends(gallery: Gallery) -> None:
    screen = OnScreen()
    screen.update([face(0, 0), face(1, 7, box=RIGHT)], 1.0, gallery)
    screen.begin()
    assert screen.update([], 1.2, gallery) == []
    assert screen.update([face(0, 7, box=RIGHT, since=1.2), face(1, 0, since=1.2)], 1.5, gallery) == []
    assert {(seen.face, seen.label) for seen in screen.seen} == {(1, "Ada"), (2, "Unknown 2")}


def test_a_gap_takes_everybody_off_the_screen(gallery: Gallery) -> None:
    screen = OnScreen()
    screen.update([face(0, 0), face(1, 1, box=RIGHT)], 1.0, gallery)
    assert told(screen.clear(1.1)) == [("leave", "Ada"), ("leave", "Bob")]
    assert told(screen.update([face(0, 1)], 3.0, gallery)) == [("enter", "Bob")]


def test_an_emotion_is_held_as_long_as_an_episode_of_it(gallery: Gallery) -> None:
    screen = OnScreen()
    [enter] = screen.update([face(0, 0, shows={"happy": 0.9})], 0.2, gallery)
    assert (enter.seen.emotion, enter.seen.intensity) == ("happy", pytest.approx(0.9))
    assert screen.update([face(0, 0, shows={"happy": 0.4, "sad": 0.45})], 0.4, gallery) == []
    [sad] = screen.update([face(0, 0, shows={"happy": 0.2, "sad": 0.6})], 0.6, gallery)
    assert (sad.kind, sad.seen.emotion) == ("emotion", "sad")
    [none] = screen.update([face(0, 0, shows={"sad": 0.3, "fear": 0.4})], 0.8, gallery)
    assert none.seen.emotion is None


@given(st.lists(st.tuples(st.lists(st.sampled_from(range(5)), max_size=3, unique=True), st.floats(0, 3)), max_size=25))
def test_whoever_enters_leaves_and_nobody_enters_twice(frames: list[tuple[list[int], float]]) -> None:
    gallery = Gallery((ADA, BOB, EXTRA), np.stack([person_vector(n) for n in range(3)]), fallback("some-model"))
    screen, time, events = OnScreen(), 0.0, list[Event]()
    for number, (people, passed) in enumerate(frames):
        time += passed
        # Every face is a new one in every frame: the worst that a tracker can do.
        faces = [face(10 * number + person, person, since=time) for person in people]
        events += screen.update(faces, time, gallery)
        named = [seen.identity for seen in screen.seen if seen.identity is not None]
        assert len(named) == len(set(named))
    events += screen.clear(time)
    there: set[int] = set()
    for event in events:
        assert (event.seen.face in there) == (event.kind != "enter")
        there ^= {event.seen.face} if event.kind in ("enter", "leave") else set()
    assert not there
    assert screen.seen == ()
