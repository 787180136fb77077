"""Search: all above the threshold and nothing below it, answered as people."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import make_result, person_vector
from matplotlib.cbook import get_sample_data
from numpy.typing import ArrayLike

from indexing import calibrate
from indexing.pipeline import process, remember_models
from indexing.search import Probe, answer, search
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


def probe(vector: ArrayLike) -> Probe:
    unit = np.asarray(vector, np.float32)
    unit = unit / np.linalg.norm(unit)
    return Probe(Path("probe.jpg"), np.float32([0, 0, 9, 9]), unit, np.zeros((4, 4, 3), np.uint8))


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
