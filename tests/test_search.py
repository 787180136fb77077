"""Search: all above the threshold and nothing below it, answered as people."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import make_result, person_vector
from matplotlib.cbook import get_sample_data
from numpy.typing import ArrayLike

from indexing import calibrate, gallery
from indexing.pipeline import process, remember_models
from indexing.presence import Scope, co_appearances, companions, presence
from indexing.probes import Outlier, Probe, combine
from indexing.search import answer, search, search_at, search_combined, search_person, search_track, track_at
from indexing.store import Store
from tracker.errors import FacetrackError, MediaError

HOPPER = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))
FAR = 1e-3


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store of two videos: persons 0 and 1 are identities, person 2 is unknown, twice."""
    store = Store(tmp_path / "facetrack.db")
    for path in ("a.mp4", "b.mp4"):
        store.add_video(make_result(path, [(0, 0, 10), (1, 5, 20), (2, 20, 30)]))
    first, second = ([record.key for record in store.track_records(video)] for video in (1, 2))
    store.assign([(None, [first[0], second[0]]), (None, [first[1], second[1]])])
    store.rename(1, "Ada")
    return store


def probe(vector: ArrayLike, path: str = "probe.jpg", quality: float = 1.0) -> Probe:
    unit = np.asarray(vector, np.float32)
    unit = unit / np.linalg.norm(unit)
    return Probe(Path(path), np.float32([0, 0, 9, 9]), unit, np.zeros((4, 4, 3), np.uint8), quality)


def view(person: int, seed: int, quality: float = 1.0, path: str = "") -> Probe:
    """Return a noisy view of a person."""
    noise = np.random.default_rng(seed).normal(size=16) * 0.08
    return probe(person_vector(person) + noise, path or f"{person}-{seed}.jpg", quality)


def test_a_known_person_is_answered_once_with_all_appearances(store: Store) -> None:
    [found] = answer(store, [probe(person_vector(0))], far=FAR)[0].found
    assert (found.label, found.match.identity_id) == ("Ada", 1)
    assert sorted(found.track_keys) == [1, 4]
    assert [(seen.video_id, seen.segment.start) for seen in found.appearances] == [(1, 0.0), (2, 0.0)]
    assert found.match.similarity > 0.9
    assert found.match.probability > 0.9


def test_an_unknown_person_is_answered_track_by_track(store: Store) -> None:
    found = answer(store, [probe(person_vector(2))], far=FAR)[0].found
    assert [(one.label, one.match.identity_id) for one in found] == [("Unknown", None)] * 2
    assert sorted(one.track_keys for one in found) == [(3,), (6,)]
    assert [len(one.appearances) for one in found] == [1, 1]


def test_a_stranger_is_nobody(store: Store) -> None:
    assert answer(store, [probe(person_vector(9))], far=FAR)[0].found == ()


@pytest.mark.parametrize("far", [1e-5, 1e-3, 0.1])
def test_the_answer_is_every_track_above_the_threshold_and_no_other(store: Store, far: float) -> None:
    asked = probe(person_vector(0) + person_vector(1) + 0.9 * person_vector(2))
    rows = store.embeddings()
    above = rows.vectors @ asked.vector >= calibrate.for_model("fake-embedder").threshold(far)
    [result] = answer(store, [asked], far=far)
    assert {key for one in result.found for key in one.track_keys} == set(rows.track_keys[above].tolist())
    similarities = [one.match.similarity for one in result.found]
    assert similarities == sorted(similarities, reverse=True)


def test_each_probe_has_its_own_answer(store: Store) -> None:
    answers = answer(store, [probe(person_vector(who)) for who in (1, 9, 0)], far=FAR)
    assert [[one.label for one in result.found] for result in answers] == [["Person 2"], [], ["Ada"]]


def test_a_rate_out_of_range_is_told(store: Store) -> None:
    with pytest.raises(FacetrackError, match="false accept rate"):
        answer(store, [probe(person_vector(0))], far=2.0)


def test_an_empty_database_is_told(tmp_path: Path) -> None:
    with Store(tmp_path / "facetrack.db") as store, pytest.raises(FacetrackError, match="no faces to search"):
        search(store, [HOPPER])


def test_another_embedder_is_refused_with_the_way_out(store: Store) -> None:
    with pytest.raises(FacetrackError, match=r"fake-embedder.*--embedder"):
        search(store, [HOPPER])


def test_a_forgotten_person_is_found_no_more(store: Store) -> None:
    store.forget(1)
    assert answer(store, [probe(person_vector(0))], far=FAR)[0].found == ()


def test_names_of_models_are_kept_until_they_change(store: Store) -> None:
    remember_models(store, detector="yunet", embedder="dlib")
    remember_models(store, embedder="sface")
    assert store.get_meta("models") == {"detector": "yunet", "embedder": "sface"}


def test_real_faces_are_found_and_a_picture_without_one_is_told(tmp_path: Path) -> None:
    blank, broken = tmp_path / "blank.png", tmp_path / "broken.jpg"
    cv2.imwrite(str(blank), np.full((120, 160, 3), 127, np.uint8))
    broken.write_bytes(b"no picture")
    smaller = tmp_path / "smaller.png"
    cv2.imwrite(str(smaller), cv2.resize(cv2.imread(str(HOPPER)), None, fx=0.8, fy=0.8)[:, ::-1])
    with Store(tmp_path / "facetrack.db") as store:
        process([HOPPER], store)
        [result] = search(store, [smaller])
        assert [found.label for found in result.found] == ["Person 1"]
        assert result.found[0].match.probability > 0.9
        with pytest.raises(FacetrackError, match=r"blank\.png.*no face"):
            search(store, [blank])
        with pytest.raises(MediaError):
            search(store, [broken])
        errors: list[FacetrackError] = []
        answers = search(store, [blank, HOPPER, broken], on_error=errors.append)
    assert [one.probe.path for one in answers] == [HOPPER]
    assert len(errors) == 2


def test_every_match_shows_the_rate_at_which_it_was_made(store: Store) -> None:
    [result] = answer(store, [view(0, 1)], far=1e-2)
    scale = calibrate.for_store(store)
    assert result.far == 1e-2
    assert result.threshold == scale.threshold(1e-2)
    for found in result.found:
        assert found.far == scale.far(found.match.similarity) <= 1e-2
        assert found.match.probability == scale.probability(found.match.similarity)


def test_a_calibrated_store_answers_by_its_own_scale(store: Store) -> None:
    scale = calibrate.for_store(store)
    kept = scale.to_dict() | {"thresholds": (scale.thresholds + 0.1).tolist()}
    store.set_meta(calibrate.KEPT_AS, {"model_id": "fake-embedder", "calibration": kept})
    assert answer(store, [view(0, 1)], far=FAR)[0].threshold == pytest.approx(scale.threshold(FAR) + 0.1)


# ---- several pictures of one person


def test_pictures_are_combined_by_quality_and_outliers_are_named(store: Store) -> None:
    good, poor, other = view(0, 1, 0.9), view(0, 2, 0.3), view(1, 3, 1.0, "bob.jpg")
    result = search_combined(store, [[good], [other], [poor]], far=FAR)
    assert [found.label for found in result.found] == ["Ada"]
    assert set(result.pictures) == {good.path, poor.path}
    [left_out] = result.outliers
    assert left_out.path == Path("bob.jpg")
    assert "bob.jpg was left out" in str(left_out)
    assert float(result.probe.vector @ good.vector) > float(result.probe.vector @ poor.vector)
    assert result.probe.title.endswith(" and 1 more")


def test_the_person_whom_all_pictures_show_is_meant() -> None:
    scale = calibrate.for_model("fake-embedder")
    faces = [[view(1, 1), view(0, 2)], [view(0, 3), view(2, 4)], [view(3, 5), view(0, 6)]]
    found, pictures, outliers = combine(faces, scale)
    assert len(pictures) == 3
    assert outliers == ()
    assert float(found.vector @ person_vector(0)) > 0.9


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_what_is_left_out_does_not_depend_on_the_order(order: list[int]) -> None:
    faces = [[view(0, 1)], [view(0, 2)], [view(1, 3)], [view(0, 4)]]
    _, pictures, outliers = combine([faces[n] for n in order], calibrate.for_model("fake-embedder"))
    assert {outlier.path for outlier in outliers} == {faces[2][0].path}
    assert {*pictures} == {face.path for [face] in (faces[0], faces[1], faces[3])}


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        ([[view(0, 1)], [view(1, 2)]], "no two of the 2 pictures show one person"),
        ([[view(0, 1), view(1, 2)]], "shows 2 faces, and no other picture tells"),
        ([[view(0, 1), view(1, 2)], [view(1, 3), view(0, 4)]], "shows 2 faces, and as many other"),
    ],
)
def test_pictures_that_do_not_tell_who_is_meant_are_refused(faces: list[list[Probe]], message: str) -> None:
    with pytest.raises(FacetrackError, match=message):
        combine(faces, calibrate.for_model("fake-embedder"))


def test_an_outlier_says_how_far_off_it_is() -> None:
    assert str(Outlier(Path("a.jpg"), 0.5, 0.9)).endswith("(similarity 0.500 < 0.900)")


# ---- by person, track and click


def test_a_person_finds_their_own_tracks_and_who_looks_alike(tmp_path: Path) -> None:
    with Store(tmp_path / "facetrack.db") as store:
        store.add_video(make_result("a.mp4", [(0, 0, 20), (1, 0, 20), (0, 25, 40)]))
        keys = [record.key for record in store.track_records()]
        [who] = store.assign([(None, keys[:1])])
        result = search_person(store, who, far=FAR)
        assert [(found.identity and found.identity.identity_id, found.track_keys) for found in result.found] == [
            (who, (keys[0],)),
            (None, (keys[2],)),
        ]
        assert (result.probe.label, result.probe.path) == (f"Person {who}", Path("a.mp4"))
        assert result.probe.thumbnail.shape == (48, 48, 3)
        with pytest.raises(FacetrackError, match="person"):
            search_person(store, 99)


def test_a_track_finds_the_others_of_its_person(store: Store) -> None:
    result = search_track(store, 3, far=FAR)
    assert {key for found in result.found for key in found.track_keys} == {3, 6}
    assert result.probe.label == "track 3"
    with pytest.raises(FacetrackError, match="no track 77"):
        search_track(store, 77)


def test_a_track_without_an_embedding_is_told(tmp_path: Path) -> None:
    with Store(tmp_path / "facetrack.db") as store:
        store.add_video(make_result("a.mp4", [(0, 0, 20)]))
        store.add_video(make_result("b.mp4", [(0, 0, 20)], keyframes=0))
        with pytest.raises(FacetrackError, match="track 2: no face of it was good enough"):
            search_track(store, 2)


def test_a_click_finds_the_track_whose_box_holds_the_point(store: Store) -> None:
    times = store.timestamps(1)
    for record, track in store.tracks(1):
        for row in (0, len(track) // 2, len(track) - 1):
            x, y = (track.boxes[row][:2] + track.boxes[row][2:]) / 2
            hit = track_at(store, 1, float(times[record.first_frame + row]) + 0.01, float(x), float(y))
            assert hit.key == record.key
    record, track = store.tracks(1)[0]
    x, y = (track.boxes[0][:2] + track.boxes[0][2:]) / 2
    assert search_at(store, 1, 0.0, float(x), float(y)).found[0].label == "Ada"


def test_of_two_boxes_the_nearer_middle_wins(tmp_path: Path) -> None:
    with Store(tmp_path / "facetrack.db") as store:
        store.add_video(make_result("a.mp4", [(person, 0, 10) for person in range(40)]))
        tracks = store.tracks(1)
        for record, track in tracks:
            x, y = (float(v) for v in (track.boxes[0][:2] + track.boxes[0][2:]) / 2)
            assert track_at(store, 1, 0.0, x, y).key == record.key


def test_a_click_beside_every_face_tells_where_they_are(store: Store) -> None:
    _, track = store.tracks(1)[0]
    x, y = ((track.boxes[0][:2] + track.boxes[0][2:]) / 2).round().astype(int).tolist()
    with pytest.raises(FacetrackError, match=rf"no face at -5,0 at 0 s; it shows track 1 at {x},{y}"):
        track_at(store, 1, 0.0, -5, 0)
    with pytest.raises(FacetrackError, match=r"nor elsewhere then; the nearest is track 3, 0\.80 to 1\.20 s"):
        track_at(store, 1, 1.5, 5, 5)
    for time in (-1.0, 99.0):
        with pytest.raises(FacetrackError, match=r"lasts 2\.00 s"):
            track_at(store, 1, time, 5, 5)


# ---- filters


def test_a_video_and_a_time_limit_what_is_answered(store: Store) -> None:
    [result] = answer(store, [view(1, 1)], far=FAR, scope=Scope(video_ids=frozenset({2})))
    assert [found.track_keys for found in result.found] == [(5,)]
    assert {seen.video_id for seen in result.found[0].appearances} == {2}
    [result] = answer(store, [view(1, 1)], far=FAR, scope=Scope(start=0.5, end=0.6))
    assert [(a.segment.start, a.segment.end) for a in result.found[0].appearances] == [(0.5, 0.6)] * 2
    assert answer(store, [view(1, 1)], far=FAR, scope=Scope(start=0.9))[0].found == ()
    unknown = answer(store, [view(2, 1)], far=FAR, scope=Scope(end=1.0))[0].found
    assert [found.appearances[0].segment.end for found in unknown] == [1.0, 1.0]


def test_poor_tracks_are_left_out_where_quality_is_asked_for(store: Store) -> None:
    qualities = sorted(record.quality for record in store.track_records(identity_id=1))
    between = sum(qualities) / 2
    [found] = answer(store, [view(0, 1)], far=FAR, scope=Scope(min_quality=between))[0].found
    assert len(found.track_keys) == len(found.appearances) == 1
    assert answer(store, [view(0, 1)], far=FAR, scope=Scope(min_quality=1.0))[0].found == ()


@pytest.mark.parametrize("limits", [{"start": 5, "end": 5}, {"start": -1}, {"end": float("nan")}, {"min_quality": 2.0}])
def test_limits_that_hold_nothing_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(FacetrackError):
        Scope(**limits)


def test_ignored_people_are_found_when_they_are_asked_for(store: Store) -> None:
    gallery.ignore(store, 1)
    assert answer(store, [view(0, 1)], far=FAR)[0].found == ()
    [found] = answer(store, [view(0, 1)], far=FAR, scope=Scope(ignored=True))[0].found
    assert found.label == "Ada"
    assert [one.identity.identity_id for one in presence(store)] == [2]
    assert companions(store, 2) == []


# ---- who is seen with whom


def test_two_people_are_seen_together_where_their_appearances_overlap(store: Store) -> None:
    both = co_appearances(store, [2, 1])
    assert [(one.video_id, one.segment.start, one.segment.end) for one in both] == [(1, 0.2, 0.4), (2, 0.2, 0.4)]
    assert [one.track_keys for one in both] == [(1, 2), (4, 5)]
    assert co_appearances(store, [1, 2], scope=Scope(start=0.3, video_ids=frozenset({1})))[0].segment.start == 0.3
    with pytest.raises(FacetrackError, match="two or more"):
        co_appearances(store, [1, 1])


def test_presence_counts_and_adds_up(store: Store) -> None:
    rows = {one.identity.label: one for one in presence(store)}
    assert list(rows) == ["Person 2", "Ada"]
    assert (rows["Ada"].videos, rows["Ada"].appearances) == (2, 2)
    assert rows["Ada"].screen_time == pytest.approx(0.8)
    people = {person.identity.label: person for person in store.people()}
    assert {label: row.screen_time for label, row in rows.items()} == {
        label: pytest.approx(person.screen_time) for label, person in people.items()
    }
    [ada] = presence(store, [1], scope=Scope(start=0.1, end=0.2))
    assert ada.screen_time == pytest.approx(0.2)
    assert presence(store, [1], scope=Scope(start=1.0)) == []
    [other] = companions(store, 1)
    assert (other.identity.identity_id, other.appearances) == (2, 2)
    assert other.screen_time == pytest.approx(0.4)


def test_companions_are_seen_where_co_appearances_say(tmp_path: Path) -> None:
    with Store(tmp_path / "crowd.db") as crowd:
        for name, shift in (("a.mp4", 0), ("b.mp4", 7), ("c.mp4", 0)):
            spans = [
                (person, (11 * person + shift * k) % 40 + 45 * k, 45 * (k + 1)) for person in range(5) for k in (0, 1)
            ]
            crowd.add_video(make_result(name, spans, frames=100))
        records = crowd.track_records()
        crowd.assign([(None, [r.key for r in records if r.key % 5 == person]) for person in range(5)])
        people = [one.identity_id for one in crowd.identities()]
        for scope in (Scope(), Scope(start=0.5, end=2.0), Scope(video_ids=frozenset({2}))):
            for who in people:
                found = {one.identity.identity_id: one for one in companions(crowd, who, scope=scope)}
                assert who not in found
                for other in set(people) - {who}:
                    both = co_appearances(crowd, [who, other], scope=scope)
                    moments = found[other].moments if other in found else ()
                    assert list(moments) == [(one.video_id, one.segment) for one in both]
                    named = companions(crowd, who, [other], scope=scope)
                    assert named == ([found[other]] if other in found else [])


# ---- real pixels


def test_one_person_of_several_pictures_and_a_blurred_one(tmp_path: Path) -> None:
    from skimage.data import astronaut

    hopper = cv2.imread(str(HOPPER))
    blurred, other = tmp_path / "blurred.png", tmp_path / "eileen.png"
    cv2.imwrite(str(blurred), cv2.GaussianBlur(hopper, (0, 0), 5.0))
    cv2.imwrite(str(other), astronaut()[:, :, ::-1])
    with Store(tmp_path / "facetrack.db") as store:
        process([HOPPER], store, emotion=None)
        [result] = search(store, [HOPPER, other, blurred], one_person=True)
        assert [outlier.path for outlier in result.outliers] == [other]
        assert set(result.pictures) == {HOPPER, blurred}
        assert [found.label for found in result.found] == ["Person 1"]
        [alone] = search(store, [blurred])
        assert [found.label for found in alone.found] == ["Person 1"]
