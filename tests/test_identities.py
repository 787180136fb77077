"""Identities are kept over all videos, found by evidence, and never hold two faces of one frame."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.calibrate import Calibration, fit
from indexing.cluster import CLUSTERERS, template, unit
from indexing.identities import NEVER, UNSEEN, Assignment, assign, check_clusterer, recluster, templates, weights
from indexing.metrics import ari
from indexing.types import TrackEmbeddings, TrackRecord, Verdicts
from tracker.errors import FacetrackError
from tracker.types import Float32

SIZE = 24
VIEWS = 3


def views(person: int, *, seed: int, noise: float = 0.5) -> Float32:
    """Return keyframe vectors of a track of a person."""
    centre = unit(np.random.default_rng(1000 + person).normal(size=(1, SIZE)))
    return unit(centre + noise * unit(np.random.default_rng(seed).normal(size=(VIEWS, SIZE))))


def track(key: int, video: int = 1, first: int = 0, end: int = 10, *, quality: float = 0.8) -> TrackRecord:
    return TrackRecord(key, video, key, 0, first, end, float(first), float(end), quality, 90.0)


def rows(people: dict[int, int], *, noise: float = 0.5) -> TrackEmbeddings:
    """Return the embeddings of tracks: key -> person."""
    keys = np.repeat(list(people), VIEWS)
    vectors = np.concatenate([views(person, seed=key, noise=noise) for key, person in people.items()])
    count = len(keys)
    return TrackEmbeddings(np.arange(count), keys, np.zeros(count), np.full(count, 0.8), vectors, "m")


@pytest.fixture(scope="module")
def scale() -> Calibration:
    people = np.repeat(np.arange(100), 4 * VIEWS)
    vectors = np.concatenate([views(p, seed=9000 + 4 * p + i) for p in range(100) for i in range(4)])
    return fit(vectors, people, model_id="m")


def owners(result: Assignment) -> dict[int, object]:
    """Return whose each track is: the known id, or the place of the new group."""
    return {key: who or f"new {place}" for place, (who, keys) in enumerate(result.groups) for key in keys}


def test_tracks_of_one_person_found_one_identity(scale: Calibration) -> None:
    people = {1: 0, 2: 1, 3: 0, 4: 1, 5: 2}
    tracks = [track(key, first=20 * key, end=20 * key + 10) for key in people]
    result = assign(tracks, rows(people), scale=scale)
    assert result.groups == ((None, (1, 3)), (None, (2, 4)), (None, (5,)))
    assert result.unknown == ()
    assert set(result.confidences) == set(people)
    assert min(result.confidences.values()) > 0.9


@pytest.mark.parametrize("clusterer", CLUSTERERS)
def test_one_face_twice_in_a_frame_is_two_people(scale: Calibration, clusterer: str) -> None:
    tracks = [track(1), track(2), track(3, first=9, end=20), track(4, first=20, end=30)]
    same = rows(dict.fromkeys((1, 2, 3, 4), 0), noise=0.0)
    whose = owners(assign(tracks, same, scale=scale, clusterer=clusterer))
    assert len({whose[1], whose[2], whose[3]}) == 3
    assert whose[4] in {whose[1], whose[2], whose[3]}


def test_known_identities_keep_their_tracks_and_their_ids(scale: Calibration) -> None:
    people = {1: 0, 2: 1, 3: 0, 4: 1, 5: 2}
    tracks = [track(key, video=key) for key in people]
    known = [replace(tracks[0], identity_id=7), replace(tracks[1], identity_id=3), *tracks[2:]]
    result = assign(known, rows(people), scale=scale)
    assert result.groups == ((3, (2, 4)), (7, (1, 3)), (None, (5,)))


def test_known_identities_become_one_when_a_track_between_them_comes(scale: Calibration) -> None:
    same = rows(dict.fromkeys((1, 2, 3), 0), noise=0.0)
    tracks = [track(1, video=1), track(2, video=2, end=30), track(3, video=3)]
    result = assign(tracks, same, known={1: 5, 2: 6}, scale=scale)
    assert result.groups == ((6, (1, 2, 3)),)  # the id with the most frames stays


def test_pinned_identities_never_become_one(scale: Calibration) -> None:
    same = rows(dict.fromkeys((1, 2, 3), 0), noise=0.0)
    said = Verdicts(pins={1: 5, 2: 6})
    for known in ({1: 5, 2: 6}, {}):
        whose = owners(assign([track(k, video=k) for k in (1, 2, 3)], same, known=known, verdicts=said, scale=scale))
        assert (whose[1], whose[2]) == (5, 6)
        assert whose[3] in (5, 6)


def test_what_a_user_has_merged_stays_merged_even_in_one_frame(scale: Calibration) -> None:
    people = {1: 0, 2: 1, 3: 0}
    said = Verdicts(pins={1: 5, 2: 5})
    for make in (assign, recluster):
        result = make([track(1), track(2), track(3)], rows(people), verdicts=said, scale=scale)
        assert result.groups == ((5, (1, 2)), (None, (3,)))
        assert result.confidences[1] == result.confidences[2] == 1


def test_who_is_not_a_person_is_never_found_to_be(scale: Calibration) -> None:
    people = dict.fromkeys((1, 2, 3, 4), 0)
    tracks = [track(key, video=key) for key in people]
    known = dict.fromkeys(people, 7)
    said = Verdicts(bans=frozenset({(2, 7), (3, 7)}))
    for make in (assign, recluster):
        result = make(tracks, rows(people, noise=0.1), known=known, verdicts=said, scale=scale)
        assert result.groups == ((7, (1, 4)), (None, (2, 3)))


def test_tracks_that_are_split_off_take_along_those_that_are_like_them(scale: Calibration) -> None:
    people = {1: 0, 2: 0, 3: 1, 4: 1}
    tracks = [track(key, video=key) for key in people]
    said = Verdicts(pins={3: 8, 1: 7}, bans=frozenset({(3, 7)}))
    result = assign(tracks, rows(people), known=dict.fromkeys(people, 7), verdicts=said, scale=scale)
    assert result.groups == ((7, (1, 2)), (8, (3, 4)))


def test_a_name_is_not_lost_with_the_track_that_was_named(scale: Calibration) -> None:
    people = dict.fromkeys((1, 2, 3), 0)
    tracks = [track(1, video=1, end=500), track(2, video=2), track(3, video=3)]
    said = Verdicts(names={4: "Ada"})
    for make in (assign, recluster):
        result = make(tracks, rows(people, noise=0.1), known={1: 3, 2: 4}, verdicts=said, scale=scale)
        assert result.groups == ((4, (1, 2, 3)),)


def test_what_is_out_of_reach_is_not_looked_at(scale: Calibration) -> None:
    people = {key: key % 20 for key in range(1, 61)}
    tracks = [track(key, video=key) for key in people]
    known = {key: 100 + key for key in people if key <= 40}  # as no clustering would have it: each a person
    fresh = {key for key in people if key > 40 and people[key] < 3}
    result = assign(tracks, rows(people), known=known, fresh=fresh, scale=scale)
    looked = set(result.clustered)
    assert fresh <= looked < set(people)
    whose = owners(result)
    assert all(whose[key] == who for key, who in known.items() if key not in looked)
    assert {key for key in people if people[key] < 3} <= looked
    assert set(result.unknown) == {key for key in people if key > 40} - fresh


def test_nothing_new_changes_nothing(scale: Calibration) -> None:
    people = {1: 0, 2: 0, 3: 1}
    tracks = [replace(track(key, video=key), identity_id=10 + key, confidence=0.5) for key in people]
    result = assign(tracks, rows(people), scale=scale)
    assert result.groups == ((11, (1,)), (12, (2,)), (13, (3,)))
    assert result.confidences == dict.fromkeys(people, 0.5)
    assert result.clustered == ()


def test_a_poor_track_joins_and_founds_nothing_where_it_is_short(scale: Calibration) -> None:
    people = {1: 0, 2: 1, 3: 0, 4: 2}
    tracks = [track(1), track(2), track(3, video=2, quality=0.01), track(4, video=3, quality=0.01, end=4)]
    result = assign(tracks, rows(people), scale=scale)
    assert result.groups == ((None, (1, 3)), (None, (2,)))
    assert result.unknown == (4,)
    assert 4 not in result.confidences


def test_a_long_poor_track_that_is_like_nobody_is_a_person(scale: Calibration) -> None:
    tracks = [track(1), track(2, video=2, quality=0.01, end=200)]
    assert assign(tracks, rows({1: 0, 2: 1}), scale=scale).groups == ((None, (1,)), (None, (2,)))


def test_a_poor_track_does_not_join_the_person_beside_it(scale: Calibration) -> None:
    result = assign([track(1), track(2, quality=0.01, end=4)], rows({1: 0, 2: 0}), scale=scale)
    assert result.groups == ((None, (1,)),)
    assert result.unknown == (2,)


def test_alike_tracks_of_one_shot_need_more_evidence_than_those_of_two(scale: Calibration) -> None:
    limit = (scale.threshold(1e-3) + scale.threshold(1e-4)) / 2
    pair = np.array([[1, 0], [limit, np.sqrt(1 - limit**2)]], np.float32)
    vectors = TrackEmbeddings([1, 2], [1, 2], [0, 0], [0.9, 0.9], pair, "m")
    together = assign([track(1), track(2, first=50, end=60)], vectors, scale=scale, far=1e-3)
    apart = assign([track(1), track(2, video=2)], vectors, scale=scale, far=1e-3)
    assert together.groups == ((None, (1,)), (None, (2,)))
    assert apart.groups == ((None, (1, 2)),)


def test_a_decent_face_seen_once_founds_an_identity(scale: Calibration) -> None:
    result = assign([track(1, quality=0.3, end=1)], rows({1: 0}), scale=scale)
    assert result.groups == ((None, (1,)),)
    assert result.confidences == {1: pytest.approx(1, abs=0.01)}


def test_a_track_without_a_vector_is_unknown_unless_known(scale: Calibration) -> None:
    tracks = [track(1), track(2, first=50, end=60), track(3, first=70, end=80)]
    result = assign(tracks, rows({1: 0}), known={3: 9}, scale=scale)
    assert result.groups == ((9, (3,)), (None, (1,)))
    assert result.unknown == (2,)


def test_nothing_gives_nothing() -> None:
    empty = TrackEmbeddings([], [], [], [], np.empty((0, 0)))
    assert assign([], empty) == Assignment((), {}, ())
    assert assign([track(1)], empty) == Assignment((), {}, (1,), (1,))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_properties_of_any_outcome(scale: Calibration, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    people = {key: data.draw(st.integers(0, 3)) for key in range(1, count + 1)}
    tracks = []
    for key in people:
        video, first = data.draw(st.integers(1, 2)), data.draw(st.integers(0, 30))
        quality = data.draw(st.sampled_from([0.01, 0.8]))
        tracks.append(track(key, video, first, first + data.draw(st.integers(1, 15)), quality=quality))
    clusterer = data.draw(st.sampled_from(["constrained", "hdbscan", "kmeans"]))
    result = assign(tracks, rows(people), scale=scale, clusterer=clusterer)
    grouped = [key for _, keys in result.groups for key in keys]
    assert sorted([*grouped, *result.unknown]) == sorted(people)
    by_key = {t.key: t for t in tracks}
    for _, keys in result.groups:
        members = [by_key[key] for key in keys]
        for i, one in enumerate(members):
            for other in members[:i]:
                apart = one.video_id != other.video_id or one.end_frame <= other.first_frame
                assert apart or other.end_frame <= one.first_frame
    order = data.draw(st.permutations(range(count)))
    shuffled = rows(people)[np.random.default_rng(0).permutation(VIEWS * count)]
    again = assign([tracks[i] for i in order], shuffled, scale=scale, clusterer=clusterer)
    assert again.groups == result.groups


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_was_said_holds_whatever_comes(scale: Calibration, data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 14))
    people = {key: data.draw(st.integers(0, 3)) for key in range(1, count + 1)}
    tracks = []
    for key in people:
        video, first = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 30))
        quality = data.draw(st.sampled_from([0.01, 0.8, 0.8]))
        tracks.append(track(key, video, first, first + data.draw(st.integers(1, 15)), quality=quality))
    keys, ids = st.sampled_from(sorted(people)), st.integers(1, 4)
    known = data.draw(st.dictionaries(keys, ids))
    pins = data.draw(st.dictionaries(keys, ids, max_size=4))
    bans = data.draw(st.frozensets(st.tuples(keys, ids), max_size=4))
    said = Verdicts(pins, frozenset(ban for ban in bans if pins.get(ban[0]) != ban[1]))
    embeddings = rows(people)
    order = data.draw(st.permutations(tracks))
    for make in (assign, recluster):
        result = make(tracks, embeddings, known=known, verdicts=said, scale=scale)
        assert make(order, embeddings, known=known, verdicts=said, scale=scale) == result
        whose = owners(result)
        assert {key: whose.get(key) for key in pins} == pins
        assert not {(key, who) for key, who in whose.items()} & said.bans
        assert sorted([*whose, *result.unknown]) == sorted(people)
        looked = set(result.clustered)
        assert {key: whose.get(key) for key in people if key not in looked} == {
            key: known.get(key) for key in people if key not in looked
        }
        by_key = {t.key: t for t in tracks}
        for _, members in result.groups:
            inside = [by_key[key] for key in members if key in looked]
            for one, other in combinations(inside, 2):
                apart = one.video_id != other.video_id or one.end_frame <= other.first_frame
                apart = apart or other.end_frame <= one.first_frame
                assert apart or pins.get(one.key, -1) == pins.get(other.key, -2)


@pytest.mark.parametrize("seed", range(4))
def test_little_by_little_comes_to_the_same_as_all_at_once(scale: Calibration, seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = {key: int(rng.integers(25)) for key in range(1, 121)}
    embeddings, tracks = rows(people), [track(key, video=key) for key in people]
    known: dict[int, int] = {}
    there: list[TrackRecord] = []
    for part in np.array_split(rng.permutation(len(tracks)), 24):
        there += [tracks[i] for i in part]
        result = assign(there, embeddings, known=known, scale=scale)
        new = iter(range(max(known.values(), default=0) + 1, 1000))
        known = {key: who or number for who, keys in result.groups for number in [who or next(new)] for key in keys}
    full = owners(recluster(tracks, embeddings, known={}, scale=scale))
    assert ari([known[key] for key in sorted(people)], [str(full[key]) for key in sorted(people)]) > 0.97


def test_all_anew_keeps_ids_by_the_frames_they_share(scale: Calibration) -> None:
    people = {1: 0, 2: 0, 3: 1, 4: 1, 5: 2}
    tracks = [track(key, video=key, end=10 * key) for key in people]
    result = recluster(tracks, rows(people), known={1: 7, 2: 8, 3: 8, 4: 9}, scale=scale)
    # 1 and 2 are one: 8 has 20 of their frames, 7 has 10; 3 and 4 are one: 9 has 40, 8 has 30
    assert result.groups == ((8, (1, 2)), (9, (3, 4)), (None, (5,)))


def test_everything_is_clustered_anew_when_the_cut_has_moved(scale: Calibration) -> None:
    people = {key: key % 5 for key in range(1, 16)}
    tracks, vectors = [track(key, video=key) for key in people], rows(people)
    astray = dict.fromkeys(range(1, 6), 7) | {key: 10 + people[key] for key in range(6, 16)}
    settled = recluster(tracks, vectors, known=astray, scale=scale)
    assert settled.settled_at is not None
    unmoved = assign(tracks, vectors, known=astray, fresh=[], scale=scale, settled_at=settled.settled_at)
    assert (owners(unmoved), unmoved.settled_at) == (astray, settled.settled_at)
    assert owners(assign(tracks, vectors, known=astray, fresh=[], scale=scale)) == astray
    assert assign(tracks, vectors, known=astray, fresh=[], scale=scale, settled_at=NEVER) == settled


def test_a_track_counts_by_how_clear_its_views_are() -> None:
    keys, qualities = [1, 1, 2, 4, 4], np.float32([0.5, 0.4, 0.1, 1, 0.9])
    views = TrackEmbeddings(np.arange(5), keys, np.zeros(5), qualities, np.eye(5, dtype=np.float32), "m")
    np.testing.assert_allclose(weights(np.array([1, 2, 3, 4]), views), [0.41, 0.01, UNSEEN, 1.0], rtol=1e-5)


def test_tracks_without_a_vector_stay_where_they_may(scale: Calibration) -> None:
    tracks = [track(1, video=1), track(2, video=1, first=50, end=60), track(3, video=1, first=5, end=12), track(4, 2)]
    result = recluster(tracks, rows({1: 0, 4: 0}), known={1: 7, 2: 7, 3: 7, 4: 8}, scale=scale)
    assert result.groups == ((7, (1, 2, 4)),)
    assert result.unknown == (3,)  # it shares a frame with track 1


def test_templates_follow_the_keys() -> None:
    found, seen = templates(np.array([1, 2, 3]), rows({3: 0, 1: 1}))
    assert seen.tolist() == [True, False, True]
    np.testing.assert_allclose(found[0], views(1, seed=1).mean(axis=0), atol=1e-6)
    assert not found[1].any()


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(0, 99))
def test_templates_are_those_of_each_track_alone(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, keys = unit(rng.normal(size=(sum(sizes), 4)).astype(np.float32)), np.repeat(np.arange(len(sizes)), sizes)
    qualities = rng.uniform(0, 1, len(keys)).astype(np.float32)
    all_of = TrackEmbeddings(np.arange(len(keys)), keys, np.zeros(len(keys)), qualities, vectors, "m")
    found, _ = templates(np.arange(len(sizes)), all_of, floor=0.0)
    for key in range(len(sizes)):
        alone = template(vectors[keys == key], qualities[keys == key], floor=0.0)
        np.testing.assert_allclose(found[key], alone, atol=1e-6)


def test_unknown_clusterers_are_refused_early() -> None:
    with pytest.raises(FacetrackError, match="no clusterer 'dbscan'"):
        check_clusterer("dbscan")
    check_clusterer("auto")
