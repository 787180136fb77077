"""What people say holds: through new videos, clustering anew and forgetting; and each word can be taken back."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from depth import bounded
from fakes import MiddleDetector, ShadeEmbedder, make_result, portrait
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from matplotlib.cbook import get_sample_data
from skimage import data

from indexing import gallery, identities
from indexing.corrections import Entry, sharing_a_frame
from indexing.index import load_or_rebuild
from indexing.pipeline import identify, process, recluster, reembed
from indexing.store import Store
from indexing.types import Identity
from tracker import weights
from tracker.errors import FacetrackError
from tracker.models.dlib_onnx import DlibEmbedder
from tracker.types import TrackingResult

ADA, BOB, EVA = 1, 2, 3
B_MP4 = make_result("films/b.mp4").video.content_hash


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Ada (tracks 1, 3, 4), Bob (2, 5) and Eva (6): Ada and Bob share frames of a.mp4, Bob and Eva of b.mp4."""
    with Store(tmp_path / "facetrack.db") as opened:
        opened.add_video(make_result("films/a.mp4", [(0, 0, 20), (1, 5, 30), (0, 35, 50)]))
        opened.add_video(make_result("films/b.mp4", [(0, 0, 10), (1, 20, 50), (2, 40, 50)]))
        identify(opened)
        assert owners(opened) == {1: ADA, 2: BOB, 3: ADA, 4: ADA, 5: BOB, 6: EVA}
        yield opened


def owners(store: Store) -> dict[int, int | None]:
    return {record.key: record.identity_id for record in store.track_records()}


def names(store: Store) -> dict[int, str | None]:
    return {identity.identity_id: identity.name for identity in store.identities(include_empty=True)}


def state(store: Store) -> tuple[dict[int, tuple[int | None, float | None]], list[Identity]]:
    """Return all that a taking back has to bring back: whose each track is, with what confidence, and the people."""
    tracks = {record.key: (record.identity_id, record.confidence) for record in store.track_records()}
    return tracks, store.identities(include_empty=True)


def bytes_on_disk(store: Store) -> bytes:
    return b"".join(path.read_bytes() for path in store.path.parent.iterdir() if path.is_file())


# ---- each verb


def test_a_name_pins_the_picture_that_was_looked_at(store: Store) -> None:
    best = next(p.best_track for p in store.people() if p.identity.identity_id == ADA)
    entry = gallery.name(store, "Person 1", " Ada ", reason="she said so")
    assert (entry.kind, dict(entry.pins), entry.name, entry.reason) == ("name", {best: ADA}, "Ada", "she said so")
    assert names(store)[ADA] == "Ada"
    assert store.verdicts().pins == {best: ADA}
    gallery.name(store, "ada", None)
    assert names(store)[ADA] is None


def test_a_name_is_of_one_person(store: Store) -> None:
    gallery.name(store, ADA, "Ada")
    gallery.name(store, ADA, "Ada")
    with pytest.raises(FacetrackError, match=r"Person 1 is called 'Ada' already.*merge"):
        gallery.name(store, BOB, "ada")
    with pytest.raises(FacetrackError, match="reads like an id"):
        gallery.name(store, BOB, "Person 9")
    assert len(store.log()) == 2


def test_a_merge_keeps_who_has_a_name(store: Store) -> None:
    gallery.name(store, EVA, "Eva")
    entry = gallery.merge(store, ADA, EVA)
    assert entry.identities == (EVA, ADA)
    assert owners(store) == {1: EVA, 2: BOB, 3: EVA, 4: EVA, 5: BOB, 6: EVA}
    assert store.verdicts().pins == dict.fromkeys([1, 3, 4, 6], EVA)
    assert names(store) == {ADA: None, BOB: None, EVA: "Eva"}


def test_a_merge_without_names_keeps_the_lower_id_and_with_two_the_first_name(store: Store) -> None:
    assert gallery.merge(store, EVA, ADA).identities == (ADA, EVA)
    gallery.undo(store)
    gallery.name(store, ADA, "Ada")
    gallery.name(store, EVA, "Eva")
    assert gallery.merge(store, "Eva", "Ada").identities == (EVA, ADA)
    assert names(store) == {ADA: None, BOB: None, EVA: "Eva"}


def test_who_was_merged_is_told_by_the_new_name(store: Store) -> None:
    gallery.name(store, ADA, "Ada")
    gallery.merge(store, ADA, EVA)
    for verb in (gallery.confirm, gallery.ignore):
        with pytest.raises(FacetrackError, match="Person 3 was merged into Ada; name that one"):
            verb(store, EVA)
    with pytest.raises(FacetrackError, match="one person already"):
        gallery.merge(store, ADA, "ada")


def test_two_people_of_one_frame_are_not_merged(store: Store) -> None:
    before = state(store)
    with pytest.raises(FacetrackError, match=r"track 1 and track 2 of a\.mp4 share frame 5.*--force"):
        gallery.merge(store, ADA, BOB)
    assert (state(store), store.log()) == (before, [])
    gallery.merge(store, ADA, BOB, force=True)
    assert owners(store) == {1: ADA, 2: ADA, 3: ADA, 4: ADA, 5: ADA, 6: EVA}
    recluster(store)
    assert owners(store) == {1: ADA, 2: ADA, 3: ADA, 4: ADA, 5: ADA, 6: EVA}


def test_a_split_makes_a_new_person_for_good(store: Store) -> None:
    entry = gallery.split(store, ADA, [4])
    assert (entry.identities, entry.created) == ((ADA, 4), (4,))
    assert owners(store)[4] == 4
    assert (4, ADA) in store.verdicts().bans
    recluster(store)
    assert owners(store)[4] == 4
    assert owners(store)[1] == ADA
    with pytest.raises(FacetrackError, match="you said that track 4 is not Person 1"):
        gallery.merge(store, ADA, 4)


def test_a_split_takes_tracks_of_that_person_and_leaves_some(store: Store) -> None:
    with pytest.raises(FacetrackError, match="track 2 is not of Person 1, who has: 1, 3, 4"):
        gallery.split(store, ADA, [2, 3])
    with pytest.raises(FacetrackError, match=r"all tracks of Person 1.*at most 2"):
        gallery.split(store, ADA, [1, 3, 4])
    with pytest.raises(FacetrackError, match="there is no track 99"):
        gallery.split(store, ADA, [99])
    with pytest.raises(FacetrackError, match="no track was named"):
        gallery.split(store, ADA, [])


def test_a_track_that_is_not_somebody_is_never_again(store: Store) -> None:
    entry = gallery.not_(store, ADA, [4])
    assert owners(store)[4] != ADA
    assert entry.moved == {4: ADA}
    for again in (identify, recluster, recluster):
        again(store)
        assert owners(store)[4] != ADA
    with pytest.raises(FacetrackError, match="you said that track 4 is not Person 1"):
        gallery.assign(store, [4], ADA)
    gallery.assign(store, [4], ADA, force=True)
    assert owners(store)[4] == ADA


def test_a_track_is_who_somebody_says(store: Store) -> None:
    gallery.name(store, EVA, "Eva")
    gallery.assign(store, [4], "Eva")
    recluster(store)
    assert owners(store)[4] == EVA
    with pytest.raises(FacetrackError, match="you said that track 4 is Eva"):
        gallery.assign(store, [4], ADA)
    with pytest.raises(FacetrackError, match="you said that track 4 is Eva"):
        gallery.not_(store, "Eva", [4])


def test_who_is_named_by_a_person_is_so_for_sure(store: Store) -> None:
    written = store.correct(Entry("assign", (EVA,), {4: EVA}))
    assert (written.moved, store.track_records(2)[0].confidence) == ({4: ADA}, 1.0)
    others = {record.key: record.confidence for record in store.track_records() if record.key != 4}
    store.undo()
    assert {record.key: record.confidence for record in store.track_records() if record.key != 4} == others


def test_a_track_can_be_somebody_new(store: Store) -> None:
    entry = gallery.assign(store, [3, 4], None)
    assert entry.identities == (4,)
    assert owners(store) == {1: ADA, 2: BOB, 3: 4, 4: 4, 5: BOB, 6: EVA}


def test_a_guessed_track_makes_room_in_its_frames(store: Store) -> None:
    entry = gallery.assign(store, [2], ADA)
    assert owners(store)[2] == ADA
    assert owners(store)[1] != ADA
    assert entry.moved.items() >= {2: BOB, 1: ADA}.items()
    gallery.undo(store)
    assert owners(store) == {1: ADA, 2: BOB, 3: ADA, 4: ADA, 5: BOB, 6: EVA}


def test_a_pinned_track_makes_no_room(store: Store) -> None:
    gallery.confirm(store, ADA)
    with pytest.raises(FacetrackError, match=r"track 1 and track 2 of a\.mp4 share frame 5"):
        gallery.assign(store, [2], ADA)


def test_confirming_keeps_all_tracks(store: Store) -> None:
    gallery.confirm(store, ADA)
    assert store.verdicts().pins == dict.fromkeys([1, 3, 4], ADA)
    store.remove_video(1)
    store.remove_video(2)
    with pytest.raises(FacetrackError, match="Person 1 has no track to confirm"):
        gallery.confirm(store, ADA)


def test_who_is_ignored_is_in_no_list_until_asked_for(store: Store) -> None:
    gallery.ignore(store, BOB, reason="a poster")
    assert [p.identity.identity_id for p in store.people()] == [ADA, EVA]
    assert [p.identity.identity_id for p in store.people(ignored=True)] == [BOB, ADA, EVA]
    assert {a.identity_id for a in store.appearances()} == {ADA, EVA}
    assert {a.identity_id for a in store.appearances(ignored=True)} == {ADA, BOB, EVA}
    assert len(store.appearances(BOB)) == 2
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("SELECT DISTINCT identity_id FROM appearances").fetchall() == [(ADA,), (EVA,)]
    recluster(store)
    assert store.identities()[1] == Identity(BOB, None, ignored=True)
    with pytest.raises(FacetrackError, match="ignored already"):
        gallery.ignore(store, BOB)
    gallery.unignore(store, BOB)
    assert len(store.people()) == 3
    with pytest.raises(FacetrackError, match="not ignored"):
        gallery.unignore(store, BOB)


def test_emotions_of_the_ignored_are_in_no_list(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        store.add_video(make_result(spans=[(0, 0, 200), (1, 0, 200)], frames=200, emotion_every=5))
        identify(store)
        gallery.ignore(store, 1)
        for found in (store.emotion_curves, store.episodes, store.emotion_summaries):
            assert {row.identity_id for row in found()} == {2}
            assert {row.identity_id for row in found(identity_id=1)} == {1}


# ---- the log and taking back


def test_the_log_tells_everything_with_time_and_reason(store: Store) -> None:
    gallery.name(store, ADA, "Ada")
    gallery.split(store, ADA, [4], reason="another nose")
    gallery.undo(store)
    told = gallery.log(store)
    assert [(entry.kind, sentence) for entry, sentence in told] == [
        ("name", "Person 1 is called Ada"),
        ("split", "track 4 is not Ada but Person 4"),
        ("undo", "takes back entry 2"),
    ]
    assert [entry.undone_by for entry, _ in told] == [None, 3, None]
    assert told[1][0].to_dict() == {
        "entry": 2, "at": told[1][0].at, "kind": "split", "identities": [1, 4], "track_keys": sorted(told[1][0].pins),
        "name": None, "reason": "another nose", "undone_by": 3,
    }  # fmt: skip
    assert told[0][0].at.endswith("+00:00")


def test_several_entries_are_undone_newest_first(store: Store) -> None:
    before = state(store)
    gallery.name(store, ADA, "Ada")
    named = state(store)
    gallery.assign(store, [4], BOB)
    gallery.split(store, BOB, [4], force=True)
    gallery.merge(store, ADA, EVA)
    assert [entry.kind for entry in gallery.undo(store, 3)] == ["merge", "split", "assign"]
    assert state(store) == named
    assert [entry.kind for entry in gallery.undo(store)] == ["name"]
    assert state(store) == before
    with pytest.raises(FacetrackError, match=r"1 entries cannot be undone.*has 0"):
        gallery.undo(store)
    with pytest.raises(FacetrackError, match="cannot be undone"):
        gallery.undo(store, 0)


def test_more_than_there_is_cannot_be_undone_and_nothing_is(store: Store) -> None:
    gallery.name(store, ADA, "Ada")
    with pytest.raises(FacetrackError, match=r"2 entries cannot be undone: the log has 1"):
        gallery.undo(store, 2)
    assert names(store)[ADA] == "Ada"


def test_taking_back_makes_room_for_who_was_there_before(store: Store) -> None:
    gallery.not_(store, ADA, [4])
    # Somebody came since to where track 4 belongs, in its frames.
    store.assign([(ADA, [1, 3, 5])], among=[5])
    store.add_video(make_result("films/c.mp4", [(0, 0, 9)]))
    identify(store)
    gallery.undo(store)
    assert owners(store)[4] == ADA
    assert owners(store)[5] is not None


def test_tracks_of_a_person_who_is_taken_back_find_another(store: Store) -> None:
    (new,) = gallery.split(store, ADA, [4]).created
    store.add_video(make_result("films/c.mp4", [(0, 0, 9)]))
    (key,) = (record.key for record in store.track_records(3))
    store.assign([(new, [key])], among=[key])
    gallery.undo(store)
    assert owners(store)[key] == ADA
    assert new not in names(store)


def test_a_verb_that_fails_in_the_middle_was_never_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(store)

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("indexing.identities.assign", fail)
    for verb, *arguments in ((gallery.merge, ADA, EVA), (gallery.split, ADA, [4]), (gallery.not_, ADA, [4])):
        with pytest.raises(KeyboardInterrupt):
            verb(store, *arguments)
        assert (state(store), store.log()) == (before, [])


DIE_IN_THE_MIDDLE = """
import os, sys
from indexing import gallery, identities
from indexing.store import Store
identities.assign = lambda *_, **__: os._exit(7)
gallery.not_(Store(sys.argv[1]), 1, [4])
"""


def test_a_process_that_dies_in_the_middle_of_a_verb_has_said_nothing(store: Store) -> None:
    before = state(store)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", DIE_IN_THE_MIDDLE, str(store.path)]
    assert subprocess.run(command, env=environment, timeout=120, check=False).returncode == 7
    assert (state(store), store.log()) == (before, [])
    gallery.not_(store, ADA, [4])
    assert owners(store)[4] != ADA


def test_every_confidence_comes_back(store: Store) -> None:
    before = state(store)
    gallery.name(store, ADA, "Ada")
    named = state(store)
    assert named[0] != before[0]
    gallery.merge(store, "Ada", EVA)
    assert {told for owner, told in state(store)[0].values() if owner == ADA} == {1.0}
    gallery.undo(store)
    assert state(store) == named
    gallery.undo(store)
    assert state(store) == before


def test_a_confidence_that_changed_since_is_kept(store: Store) -> None:
    gallery.confirm(store, ADA)
    store.assign([(ADA, [4])], confidences={4: 0.25}, among=[4])
    gallery.undo(store)
    told = {record.key: record.confidence for record in store.track_records()}
    assert told[4] == 0.25
    assert told[1] != 1.0


def test_what_is_said_while_people_are_found_anew_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    thought = 0
    clustered = identities.recluster

    def slowly(*arguments: Any, **options: Any) -> Any:
        nonlocal thought
        thought += 1
        if thought == 1:
            with Store(store.path) as other:
                gallery.not_(other, ADA, [4])
        return clustered(*arguments, **options)

    monkeypatch.setattr("indexing.identities.recluster", slowly)
    recluster(store)
    assert thought == 2
    assert owners(store)[4] != ADA


# ---- tracks that go and come


def test_a_removed_video_takes_nothing_said_of_others(store: Store) -> None:
    gallery.name(store, ADA, "Ada")
    gallery.confirm(store, ADA)
    store.remove_video(1)
    assert store.verdicts().pins == {4: ADA}
    assert names(store)[ADA] == "Ada"
    recluster(store)
    assert owners(store)[4] == ADA
    assert len(store.log()) == 2


def test_a_video_that_is_analysed_anew_keeps_its_people_and_what_was_said(store: Store) -> None:
    gallery.name(store, BOB, "Bob")
    gallery.assign(store, [4], "Bob")
    gallery.not_(store, BOB, [6])
    before = [(r.identity_id, r.first_frame) for r in store.track_records(2)]
    store.add_video(
        make_result("films/b.mp4", [(0, 0, 10), (1, 20, 50), (2, 40, 50)], settings={"detect_every": 9}), replace=True
    )
    identify(store)
    assert [(r.identity_id, r.first_frame) for r in store.track_records(3)] == before
    first, _, last = store.track_records(3)
    assert store.verdicts().pins[first.key] == BOB
    assert store.verdicts().bans == {(last.key, BOB)}
    gallery.undo(store, 2)
    assert owners(store)[first.key] == ADA


def test_what_was_said_holds_again_when_the_video_comes_back(store: Store) -> None:
    gallery.name(store, BOB, "Bob")
    gallery.assign(store, [4], "Bob")
    gallery.not_(store, BOB, [6])
    store.remove_video(2)
    assert (store.verdicts().pins.get(4), len(store.absent_tracks())) == (None, 2)
    store.add_video(make_result("films/c.mp4", [(0, 0, 9)]))
    store.add_video(make_result("elsewhere/b.mp4", [(0, 0, 10), (1, 20, 50), (2, 40, 50)], content_hash=B_MP4))
    identify(store)
    first, _, last = store.track_records(4)
    assert (first.identity_id, first.confidence) == (BOB, 1.0)
    assert (last.key, BOB) in store.verdicts().bans
    assert last.identity_id != BOB
    assert store.absent_tracks() == []
    recluster(store)
    assert owners(store)[first.key] == BOB
    gallery.undo(store, 2)
    assert owners(store)[first.key] != BOB


def test_it_holds_again_however_often_the_video_goes(store: Store) -> None:
    gallery.assign(store, [4], BOB)
    for video_id in (2, 3, 4):
        store.remove_video(video_id)
        store.add_video(make_result("films/b.mp4", [(0, 0, 10), (1, 20, 50), (2, 40, 50)]))
        identify(store)
    first = store.track_records(5)[0]
    assert (first.identity_id, dict(store.verdicts().pins)) == (BOB, {first.key: BOB})


def test_a_face_that_is_missed_once_is_remembered(store: Store) -> None:
    gallery.assign(store, [4], BOB)
    whole = make_result("films/b.mp4", [(0, 0, 10), (1, 20, 50), (2, 40, 50)])
    store.add_video(replace(whole, tracks=whole.tracks[1:]), replace=True)
    assert store.verdicts().pins == {}
    store.add_video(whole, replace=True)
    identify(store)
    first = store.track_records(4)[0]
    assert (first.first_frame, first.identity_id) == (0, BOB)


def test_what_is_said_of_tracks_that_are_gone_can_still_contradict(store: Store) -> None:
    gallery.confirm(store, ADA)
    gallery.confirm(store, BOB)
    store.remove_video(1)
    with pytest.raises(FacetrackError, match=r"track 1 and track 2 of video 1 share frame 5"):
        gallery.merge(store, ADA, BOB)


def test_nothing_is_kept_of_tracks_of_which_nobody_speaks(store: Store) -> None:
    gallery.assign(store, [4], BOB)
    store.remove_video(2)
    assert [record.key for record in store.absent_tracks()] == [4]
    gallery.undo(store)
    assert store.absent_tracks() == []


def test_a_forgotten_person_leaves_no_place_behind(store: Store) -> None:
    gallery.not_(store, BOB, [4])
    store.remove_video(2)
    assert [record.key for record in store.absent_tracks()] == [4]
    store.forget(ADA)
    assert (store.absent_tracks(), store.log()) == ([], [])


def test_faces_elsewhere_are_nobodys_heirs(store: Store) -> None:
    gallery.assign(store, [6], None)
    moved = make_result("films/b.mp4", [(0, 0, 10), (1, 20, 50), (2, 40, 50)])
    tracks = [replace(track, boxes=track.boxes + 200, landmarks=track.landmarks + 200) for track in moved.tracks]
    store.add_video(replace(moved, tracks=tuple(tracks)), replace=True)
    assert [record.identity_id for record in store.track_records(3)] == [None] * 3
    assert store.verdicts().pins == {}


# ---- forgetting


def test_a_forgotten_person_is_in_no_entry(store: Store) -> None:
    gallery.name(store, ADA, "Ada Unmistakable")
    gallery.name(store, BOB, "Bob", reason="brother of Ada Unmistakable")
    gallery.split(store, ADA, [4], reason="not Ada Unmistakable", force=True)
    gallery.name(store, EVA, "Eva Unmistakable")
    gallery.merge(store, ADA, EVA)
    assert b"Unmistakable" in bytes_on_disk(store)
    store.forget(ADA)
    assert b"Unmistakable" not in bytes_on_disk(store)
    assert set(owners(store)) == {2, 4, 5}
    assert owners(store)[4] == 4
    assert store.verdicts().pins[4] == 4
    assert names(store) == {BOB: "Bob", 4: None}
    for entry in store.log():
        assert not {ADA, EVA} & {*entry.identities, *entry.pins.values(), *entry.moved.values(), *entry.created}
        assert not {1, 3, 6} & {*entry.track_keys, *entry.moved}


def test_forgetting_who_is_nobody_any_more_keeps_the_other(store: Store) -> None:
    gallery.name(store, EVA, "Eva Unmistakable")
    gallery.name(store, ADA, "Ada")
    gallery.merge(store, ADA, EVA)
    store.forget(EVA)
    assert b"Unmistakable" not in bytes_on_disk(store)
    assert {key for key, person in owners(store).items() if person == ADA} == {1, 3, 4, 6}
    assert store.verdicts().pins[6] == ADA
    gallery.undo(store)
    assert owners(store)[6] != EVA


# ---- enrolment, with real faces


def picture(folder: Path, name: str, image: np.ndarray[Any, Any]) -> Path:
    path = folder / name
    cv2.imwrite(str(path), image)
    return path


ASTRONAUT = data.astronaut()[:300, 60:400, ::-1]


@pytest.fixture(scope="module")
def hopper() -> np.ndarray[Any, Any]:
    return cv2.imread(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))[:400]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "db").mkdir()
    with Store(tmp_path / "db" / "facetrack.db") as opened:
        yield opened


def test_an_enrolled_person_is_found_in_later_videos(
    empty: Store, tmp_path: Path, hopper: np.ndarray[Any, Any]
) -> None:
    photographs = [picture(tmp_path, "a.png", ASTRONAUT), picture(tmp_path, "b.png", ASTRONAUT[:, ::-1])]
    entry = gallery.enroll(empty, "Eileen", photographs)
    assert (entry.kind, entry.identities, len(entry.pins)) == ("enroll", (1,), 2)
    (person,) = empty.people()
    assert (person.identity, person.videos, person.appearances, person.screen_time) == (Identity(1, "Eileen"), 0, 0, 0)
    assert person.best_track in entry.pins
    assert (empty.videos(), empty.appearances(), len(empty.videos(enrolled=True))) == ([], [], 2)
    both = np.zeros((420, 800, 3), np.uint8)
    both[:300, :340], both[:400, 350:] = ASTRONAUT * 0.8, hopper[:400, :450]
    process([picture(tmp_path, "both.png", both)], empty, emotion=None)
    assert sorted(str(p.identity.name) for p in empty.people()) == ["Eileen", "None"]
    assert [a.identity_id for a in empty.appearances(1)] == [1]
    recluster(empty)
    assert [a.identity_id for a in empty.appearances(1)] == [1]
    reembed(empty, embedder=DlibEmbedder(weights.find("dlib"), views=1))
    assert set(empty.embeddings().track_keys.tolist()) == set(owners(empty))


def test_enrolling_names_who_is_there_already_and_can_be_undone(
    empty: Store, tmp_path: Path, hopper: np.ndarray[Any, Any]
) -> None:
    process([picture(tmp_path, "seen.png", ASTRONAUT), picture(tmp_path, "hopper.png", hopper)], empty, emotion=None)
    before = state(empty)
    photograph = picture(tmp_path, "photo.png", ASTRONAUT[:, ::-1] * 0.9)
    entry = gallery.enroll(empty, "Eileen", [photograph, photograph])
    assert len(entry.pins) == 1
    assert names(empty) == {1: "Eileen", 2: None}
    again = gallery.enroll(empty, "eileen", [tmp_path / "seen.png"])
    assert again.identities == (1,)
    assert len(empty.videos(enrolled=True)) == 3
    gallery.undo(empty, 2)
    assert state(empty) == before
    assert len(empty.videos(enrolled=True)) == 2


def test_forgetting_erases_enrolled_photographs(empty: Store, tmp_path: Path) -> None:
    gallery.enroll(empty, "Eileen", [picture(tmp_path, "unmistakable.png", ASTRONAUT)])
    assert b"unmistakable" in bytes_on_disk(empty)
    empty.forget(1)
    assert empty.videos(enrolled=True) == []
    assert not any(secret in bytes_on_disk(empty) for secret in (b"unmistakable", b"Eileen"))


def test_what_cannot_be_enrolled_is_told_and_leaves_nothing(
    empty: Store, tmp_path: Path, hopper: np.ndarray[Any, Any]
) -> None:
    good, blank = picture(tmp_path, "good.png", ASTRONAUT), picture(tmp_path, "blank.png", np.full((99, 99, 3), 127))
    two = np.zeros((420, 800, 3), np.uint8)
    two[:300, :340], two[:400, 350:] = ASTRONAUT, hopper[:400, :450]
    for wrong, message in (
        (blank, r"blank\.png: no face was found"),
        (picture(tmp_path, "two.png", two), r"two\.png: 2 faces.*not clear which one"),
        (tmp_path / "none.png", r"none\.png"),
    ):
        with pytest.raises(FacetrackError, match=message):
            gallery.enroll(empty, "Eileen", [good, wrong])
    with pytest.raises(FacetrackError, match="no photograph was named"):
        gallery.enroll(empty, "Eileen", [])
    with pytest.raises(FacetrackError, match="reads like an id"):
        gallery.enroll(empty, "Person 3", [good])
    assert (empty.videos(enrolled=True), empty.identities(include_empty=True), empty.log()) == ([], [], [])


def test_a_photograph_of_another_is_refused(empty: Store, tmp_path: Path) -> None:
    photograph = picture(tmp_path, "a.png", ASTRONAUT)
    gallery.enroll(empty, "Eileen", [photograph])
    with pytest.raises(FacetrackError, match="you said that track 1 is Eileen"):
        gallery.enroll(empty, "Grace", [photograph])
    assert names(empty) == {1: "Eileen"}


def test_the_largest_face_by_far_is_the_one_that_is_meant(
    empty: Store, tmp_path: Path, hopper: np.ndarray[Any, Any]
) -> None:
    small = cv2.resize(hopper, None, fx=0.3, fy=0.3)
    scene = np.zeros((700, 1000, 3), np.uint8)
    scene[:600, :680] = cv2.resize(ASTRONAUT, (680, 600))
    scene[: small.shape[0], 700 : 700 + small.shape[1]] = small
    entry = gallery.enroll(empty, "Eileen", [picture(tmp_path, "scene.png", scene)])
    ((record, _),) = empty.tracks(1)
    assert (record.key, record.size > 150) == (*entry.pins, True)


# ---- any order of everything


@dataclass(frozen=True)
class Said:
    """What the test itself keeps in mind of what was said."""

    pins: dict[int, int]
    bans: frozenset[tuple[int, int]]
    names: dict[int, str]
    ignored: frozenset[int]

    def heard(self, entry: Entry) -> "Said":
        pins, bans = dict(self.pins), set(self.bans)
        names, ignored = dict(self.names), set(self.ignored)
        if entry.kind == "merge":
            kept, gone = entry.identities
            pins = {key: kept if person == gone else person for key, person in pins.items()}
            bans = {(key, kept if person == gone else person) for key, person in bans}
            names.pop(gone, None)
            ignored.discard(gone)
        pins = {key: person for key, person in pins.items() if (key, person) not in entry.bans} | dict(entry.pins)
        bans = (bans | entry.bans) - set(pins.items())
        if entry.kind in ("name", "enroll"):
            names.update({person: str(entry.name) for person in entry.identities})
        ignored = ignored | set(entry.identities) if entry.kind == "ignore" else ignored
        ignored = ignored - set(entry.identities) if entry.kind == "unignore" else ignored
        return Said(pins, frozenset(bans), names, frozenset(ignored))

    def without(self, people: set[int], keys: set[int]) -> "Said":
        return Said(
            {key: person for key, person in self.pins.items() if key not in keys and person not in people},
            frozenset((key, person) for key, person in self.bans if key not in keys and person not in people),
            {person: name for person, name in self.names.items() if person not in people},
            self.ignored - people,
        )

    def translated(self, keys: dict[int, int]) -> "Said":
        pins = {keys.get(key, key): person for key, person in self.pins.items()}
        return replace(self, pins=pins, bans=frozenset((keys.get(key, key), person) for key, person in self.bans))


NOTHING = Said({}, frozenset(), {}, frozenset())
MODELS: dict[str, Any] = {"detector": MiddleDetector(), "embedder": ShadeEmbedder()}


class GalleryMachine(RuleBasedStateMachine):
    """Says things in any order, and compares what holds with what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name) / "a.db")
        self.said = NOTHING
        # Before each entry that can be undone: what was said, how all was, and how often else something had changed.
        self.past: list[tuple[Said, Any, int]] = []
        self.disturbed = 0
        self.results: dict[str, Callable[..., TrackingResult]] = {}
        # Of each removed video the tracks by number: the key, and whose it was.
        self.absent: dict[str, dict[int, tuple[int, int | None]]] = {}
        self.ids: set[int] = set()
        self.forced: set[frozenset[int]] = set()
        self.added = self.given = self.words = 0
        self.add([0, 1], 30, 1.0)
        self.add([0, 2], 30, 1.0)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    # -- what changes without a word

    @rule(
        people=st.lists(st.integers(0, 3), min_size=1, max_size=4),
        step=st.sampled_from([4, 10, 30]),
        quality=st.sampled_from([0.02, 1.0]),
    )
    def add(self, people: list[int], step: int, quality: float) -> None:
        self.added += 1
        self.disturbed += 1
        length = 12 if quality == 1 else 8  # the poor and short ones may stay unknown
        spans = [(person, n * step, n * step + length) for n, person in enumerate(people)]
        self.results[f"{self.added}.mp4"] = partial(make_result, spans=spans, frames=140, noise=0.1, quality=quality)
        self.store.add_video(self.results[f"{self.added}.mp4"](f"{self.added}.mp4"))
        identify(self.store)

    @precondition(lambda self: self.store.videos())
    @rule(data=st.data())
    def analyse_again(self, data: st.DataObject) -> None:
        video = data.draw(st.sampled_from(self.store.videos()))
        before = self.store.track_records(video.video_id)
        here = [record.identity_id for record in before]
        self.added += 1
        self.disturbed += 1
        again = self.results[video.path.name](video.path.name, settings={"detect_every": self.added})
        video_id = self.store.add_video(again, replace=True)
        after = self.store.track_records(video_id)
        numbers = {record.track_id: record.key for record in after}
        self.translate({record.key: numbers[record.track_id] for record in before})
        assert [record.identity_id for record in after if record.track_id in {r.track_id for r in before}] == here
        identify(self.store)

    def translate(self, keys: dict[int, int]) -> None:
        self.said = self.said.translated(keys)
        self.past = [(said.translated(keys), state, since) for said, state, since in self.past]
        self.forced = {frozenset(keys.get(key, key) for key in pair) for pair in self.forced}

    @precondition(lambda self: len(self.store.videos()) > 1)
    @rule(data=st.data(), for_good=st.booleans())
    def remove(self, data: st.DataObject, for_good: bool) -> None:
        video = data.draw(st.sampled_from(self.store.videos()))
        records = self.store.track_records(video.video_id)
        self.disturbed += 1
        self.absent[video.path.name] = {record.track_id: (record.key, record.identity_id) for record in records}
        self.store.remove_video(video.video_id)
        if not for_good:
            self.come_back(video.path.name)

    @precondition(lambda self: self.absent)
    @rule(data=st.data())
    def add_again(self, data: st.DataObject) -> None:
        self.come_back(data.draw(st.sampled_from(sorted(self.absent))))

    def come_back(self, name: str) -> None:
        gone = self.absent.pop(name)
        self.disturbed += 1
        video_id = self.store.add_video(self.results[name](name))
        now = {record.track_id: record.key for record in self.store.track_records(video_id)}
        self.translate({key: now[number] for number, (key, _) in gone.items()})
        identify(self.store)

    @rule()
    def identify(self) -> None:
        self.disturbed += 1
        identify(self.store)

    @rule()
    def recluster(self) -> None:
        self.disturbed += 1
        before = state(self.store)
        recluster(self.store, dry_run=True)
        assert state(self.store) == before
        recluster(self.store)

    # -- words

    def people(self) -> list[int]:
        return [identity.identity_id for identity in self.store.identities()]

    def say(self, verb: Callable[..., Entry], *arguments: Any, forcible: bool = True) -> None:
        before = state(self.store)
        try:
            entry = verb(self.store, *arguments)
        except FacetrackError as error:
            assert state(self.store) == before
            if not (forcible and "--force" in str(error)):
                return
            verb = partial(verb, force=True)
            entry = verb(self.store, *arguments)
        self.words += 1
        if self.words % 2:
            gallery.undo(self.store)
            assert state(self.store) == before
            entry = verb(self.store, *arguments)
        self.past.append((self.said, before, self.disturbed))
        self.said = self.said.heard(entry)
        now = owners(self.store)
        changed = {key: person for key, (person, _) in before[0].items() if now[key] != person}
        assert entry.moved == changed
        pinned = [r for r in self.store.track_records() if r.key in self.said.pins]
        for a, b in sharing_a_frame(pinned):
            if self.said.pins[a.key] == self.said.pins[b.key]:
                self.forced.add(frozenset((a.key, b.key)))

    @precondition(lambda self: self.people())
    @rule(data=st.data())
    def name(self, data: st.DataObject) -> None:
        self.given += 1
        self.say(gallery.name, data.draw(st.sampled_from(self.people())), f"Name{self.given}x", forcible=False)

    @precondition(lambda self: len(self.people()) > 1)
    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        self.say(gallery.merge, *data.draw(st.permutations(self.people()))[:2])

    @precondition(lambda self: self.people())
    @rule(data=st.data(), verb=st.sampled_from([gallery.split, gallery.not_]))
    def part(self, data: st.DataObject, verb: Callable[..., Entry]) -> None:
        person = data.draw(st.sampled_from(self.people()))
        keys = [record.key for record in self.store.track_records(identity_id=person)]
        self.say(verb, person, data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2, unique=True)))

    @precondition(lambda self: self.people())
    @rule(data=st.data())
    def assign(self, data: st.DataObject) -> None:
        keys = st.lists(st.sampled_from(sorted(owners(self.store))), min_size=1, max_size=2, unique=True)
        self.say(gallery.assign, data.draw(keys), data.draw(st.sampled_from([*self.people(), None])))

    @precondition(lambda self: self.people())
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        self.say(gallery.confirm, data.draw(st.sampled_from(self.people())))

    @rule(data=st.data(), people=st.lists(st.integers(0, 3), min_size=1, max_size=2))
    def enroll(self, data: st.DataObject, people: list[int]) -> None:
        self.given += 1
        known = [str(person.name) for person in self.store.identities(include_empty=True) if person.name]
        name = data.draw(st.sampled_from([*known, f"Name{self.given}x"]))
        photographs = [Path(self.folder.name) / f"{self.given}-{number}.png" for number in range(len(people))]
        for number, (path, person) in enumerate(zip(photographs, people, strict=True)):
            cv2.imwrite(str(path), portrait(person, 100 * self.given + number))
        self.say(partial(gallery.enroll, **MODELS), name, photographs)

    @precondition(lambda self: self.people())
    @rule(data=st.data(), verb=st.sampled_from([gallery.ignore, gallery.unignore]))
    def ignore(self, data: st.DataObject, verb: Callable[..., Entry]) -> None:
        self.say(verb, data.draw(st.sampled_from(self.people())), forcible=False)

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def undo(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, min(3, len(self.past))))
        taken_back = gallery.undo(self.store, count)
        assert len(taken_back) == count
        (self.said, there, since), self.past = self.past[-count], self.past[:-count]
        if since == self.disturbed:
            assert state(self.store) == there

    @precondition(lambda self: self.people())
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        person = data.draw(st.sampled_from(self.people()))
        people = {person}
        for entry in reversed(self.store.log()):
            if entry.holds and entry.kind == "merge" and entry.identities[0] in people:
                people.update(entry.identities)
        called = {e.name for e in self.store.log() if e.name and e.identities and people & set(e.identities)}
        keys = {key for key, owner in owners(self.store).items() if owner == person}
        keys |= {key for gone in self.absent.values() for key, owner in gone.values() if owner in people}
        self.store.forget(person)
        self.said = self.said.without(people, keys)
        # What can be undone is another list now: entries went.
        self.past = []
        self.disturbed += 1
        content = bytes_on_disk(self.store)
        assert not any(name.encode() in content for name in called)
        for entry in self.store.log():
            assert not people & {*entry.identities, *entry.pins.values(), *entry.moved.values(), *entry.created}
            assert not keys & {*entry.track_keys, *entry.moved}
        assert not people & set(names(self.store))

    # -- what holds at any time

    @invariant()
    def no_word_is_lost(self) -> None:
        there, people = owners(self.store), names(self.store)
        for key, person in self.said.pins.items():
            assert there.get(key, person) == person
        assert not self.said.bans & set(there.items())
        assert {p: name for p, name in people.items() if name is not None} == {
            p: name for p, name in self.said.names.items() if p in people
        }
        assert set(self.said.names) <= set(people)
        ignored = {i.identity_id for i in self.store.identities(include_empty=True) if i.ignored}
        assert ignored == self.said.ignored

    @invariant()
    def the_log_tells_what_was_said(self) -> None:
        there, people, said = owners(self.store), names(self.store), self.store.verdicts()
        assert said.pins == {key: person for key, person in self.said.pins.items() if key in there}
        assert said.bans == {(key, p) for key, p in self.said.bans if key in there and p in people}

    @invariant()
    def two_faces_of_a_frame_are_two_people_unless_it_was_forced(self) -> None:
        for a, b in sharing_a_frame(self.store.track_records()):
            if a.identity_id is not None and a.identity_id == b.identity_id:
                assert frozenset((a.key, b.key)) in self.forced
                assert self.said.pins[a.key] == self.said.pins[b.key] == a.identity_id

    @invariant()
    def ids_are_never_used_again(self) -> None:
        now = set(names(self.store))
        assert not any(new <= max(self.ids, default=0) for new in now - self.ids)
        self.ids |= now
        with closing(sqlite3.connect(self.store.path)) as connection:
            ((highest,),) = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'identities'").fetchall()
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        self.ids |= set(range(1, highest + 1))

    @invariant()
    def index_and_database_agree(self) -> None:
        index, rows = load_or_rebuild(self.store), self.store.embeddings()
        assert len(index) == len(rows)
        for hits, row_id in zip(index.range_search(rows.vectors, 0.999), rows.row_ids, strict=True):
            assert row_id in hits.ids
        assert set(self.store.embedding_tracks(rows.row_ids).tolist()) <= set(owners(self.store))


TestGalleryInAnyOrder = GalleryMachine.TestCase
TestGalleryInAnyOrder.settings = bounded(5, 15)
