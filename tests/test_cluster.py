"""Clusterers: who is together, who may not be, and that nothing but the evidence decides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from threadpoolctl import threadpool_limits

from indexing.cluster import CLUSTERERS, Clusterer, Constrained, Hdbscan, KMeans, first_seen, load, template, unit
from indexing.constraints import Constraints
from indexing.metrics import ari, bcubed
from tracker.errors import FacetrackError
from tracker.types import Float32

KINDS = [Constrained, Hdbscan, KMeans]
every_kind = pytest.mark.parametrize("kind", KINDS)


def people(
    count: int, each: int, *, seed: int = 0, noise: float = 0.05, size: int = 32
) -> tuple[Float32, NDArray[np.int64]]:
    """Return unit vectors of people that are as different as chance makes them, and who each is."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(count), each)
    centres = unit(rng.normal(size=(count, size)))
    return unit(centres[truth] + rng.normal(scale=noise, size=(len(truth), size))), truth


@st.composite
def constrained_rows(draw: st.DrawFn) -> tuple[Float32, Constraints]:
    """Return rows, many of them equal, and cannot-links and known identities among them."""
    count = draw(st.integers(1, 14))
    codes = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    item = st.integers(0, count - 1)
    pairs = draw(st.lists(st.tuples(item, item), max_size=20))
    anchors = draw(st.lists(item, max_size=3))
    vectors = unit(np.random.default_rng(1).normal(size=(4, 5)))[codes]
    return vectors, Constraints(count, np.array(pairs, np.int64), np.array(anchors, np.int64))


@every_kind
@settings(max_examples=60, deadline=None)
@given(case=constrained_rows(), threshold=st.sampled_from([-1.0, 0.5, 0.99]))
def test_no_clusterer_breaks_a_constraint_or_drops_a_row(
    kind: type[Clusterer], case: tuple[Float32, Constraints], threshold: float
) -> None:
    vectors, rules = case
    labels = kind(threshold).fit_predict(vectors, constraints=rules)
    assert len(rules.violations(labels)) == 0
    assert labels.tolist() == first_seen(labels).tolist()
    assert (labels >= 0).all()


@every_kind
@pytest.mark.parametrize("count", [2, 3, 9])
def test_one_face_many_times_in_one_frame_is_as_many_people(kind: type[Clusterer], count: int) -> None:
    pairs = np.stack(np.triu_indices(count, 1), axis=1)
    vectors = np.tile(unit(np.ones((1, 8), np.float32)), (count, 1))
    assert kind(0.5).fit_predict(vectors, constraints=Constraints(count, pairs)).tolist() == list(range(count))


@every_kind
def test_split_screen_of_two_people_over_time(kind: type[Clusterer]) -> None:
    vectors, truth = people(2, 20)
    frames = np.arange(40) % 20  # each frame holds one face of either
    rules = Constraints(40, [[i, i + 20] for i in range(20)])
    labels = kind(0.6).fit_predict(vectors, constraints=rules)
    assert bcubed(truth, labels).f == 1
    assert len({(frame, label) for frame, label in zip(frames, labels, strict=True)}) == 40


@every_kind
@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_one_person_alone_is_one_person(kind: type[Clusterer], count: int) -> None:
    assert set(kind(0.6).fit_predict(people(1, count)[0]).tolist()) == {0}


@every_kind
@pytest.mark.parametrize(("count", "each"), [(2, 1), (2, 2), (2, 15), (5, 6), (40, 5)])
def test_people_as_different_as_chance_are_told_apart(kind: type[Clusterer], count: int, each: int) -> None:
    vectors, truth = people(count, each)
    labels = kind(0.6).fit_predict(vectors)
    assert bcubed(truth, labels).f == 1


@pytest.mark.parametrize("kind", [Constrained, Hdbscan])
def test_a_rare_face_beside_a_frequent_one_is_found(kind: type[Clusterer]) -> None:
    vectors, truth = people(2, 30)
    rows = np.r_[0:30, 30]
    assert bcubed(truth[rows], kind(0.6).fit_predict(vectors[rows])).f == 1


@pytest.mark.parametrize("kind", [Constrained, Hdbscan])
def test_poses_of_one_person_come_together(kind: type[Clusterer]) -> None:
    rng = np.random.default_rng(3)
    truth, pose = np.repeat(np.arange(6), 20), np.tile(np.arange(20) % 2, 6)
    centres, poses = unit(rng.normal(size=(6, 64))), unit(rng.normal(size=(12, 64)))
    vectors = unit(centres[truth] + 0.45 * poses[2 * truth + pose] + rng.normal(scale=0.02, size=(120, 64)))
    assert bcubed(truth, kind(0.6).fit_predict(vectors)).f == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.3, 0.5]))
def test_constrained_without_constraints_is_average_linkage(seed: int, threshold: float) -> None:
    vectors, _ = people(6, 7, seed=seed, noise=0.2, size=8)
    distances = 1 - vectors.astype(np.float64) @ vectors.T
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(np.maximum(distances, 0), checks=False), "average")
    expected = fcluster(tree, 1 - threshold, "distance")
    assert ari(expected, Constrained(threshold).fit_predict(vectors)) == pytest.approx(1)


@every_kind
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_order_and_threads_do_not_matter(kind: type[Clusterer], seed: int) -> None:
    vectors, _ = people(8, 5, noise=0.15)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(vectors))
    pairs = rng.integers(0, len(vectors), (10, 2))
    rules = Constraints(len(vectors), pairs)
    with threadpool_limits(4):
        labels = kind(0.5).fit_predict(vectors, constraints=rules)
    with threadpool_limits(1):
        moved = kind(0.5).fit_predict(vectors[order], constraints=rules.reorder(order))
    assert first_seen(labels[order]).tolist() == moved.tolist()


@pytest.mark.parametrize("kind", [Constrained, Hdbscan])
def test_known_identities_never_merge_and_take_in_what_is_theirs(kind: type[Clusterer]) -> None:
    vectors, truth = people(3, 4)
    twins = np.concatenate([vectors, vectors[:1]])  # a second identity with the face of the first
    labels = kind(0.6).fit_predict(twins, constraints=Constraints(13, anchors=[0, 4, 12]))
    assert len({labels[0], labels[4], labels[12]}) == 3
    assert bcubed(truth[3:], labels[3:12]).f == 1


def test_a_row_may_stand_for_many() -> None:
    vectors, _ = people(2, 3, noise=0.3)
    means = np.stack([vectors[:2].mean(axis=0), vectors[2], vectors[3], vectors[4:].mean(axis=0)])
    for threshold in np.linspace(-0.2, 0.9, 12):
        together = Constrained(threshold).fit_predict(means, weights=[2, 1, 1, 2])
        groups = np.array([0, 0, 1, 2, 3, 3])
        # Two rows that merge first of all in the long form give the short form.
        if len(set(Constrained(threshold).fit_predict(vectors)[[0, 1]])) == 1:
            assert (together[groups][0] == together[groups][1]).all()


def test_a_conflict_splits_what_would_be_one_cluster() -> None:
    vectors, _ = people(1, 6)
    labels = Constrained(0.6).fit_predict(vectors, constraints=Constraints(6, [[0, 1]]))
    assert len(set(labels.tolist())) == 2
    assert labels[0] != labels[1]


@every_kind
def test_nothing_gives_nothing(kind: type[Clusterer]) -> None:
    assert kind(0.5).fit_predict(np.empty((0, 8), np.float32)).tolist() == []
    assert kind(0.5).fit_predict(np.empty((2, 0), np.float32)).tolist() == [0, 1]


@every_kind
def test_bad_input_is_refused(kind: type[Clusterer]) -> None:
    with pytest.raises(FacetrackError, match="finite"):
        kind(0.5).fit_predict(np.array([[np.nan, 1]], np.float32))
    with pytest.raises(FacetrackError, match="2 items for 1 vectors"):
        kind(0.5).fit_predict(np.ones((1, 3), np.float32), constraints=Constraints(2))


def test_clusterers_have_names() -> None:
    assert [type(load(name, 0.3)) for name in CLUSTERERS] == [Constrained, Constrained, Hdbscan, KMeans]
    own = Hdbscan(0.4, min_cluster_size=3)
    assert load(own, 0.3) is own
    with pytest.raises(FacetrackError, match="no clusterer 'dbscan'; there are auto, constrained"):
        load("dbscan", 0.3)


def test_a_template_leans_to_the_better_views_and_leaves_out_a_stranger() -> None:
    rng = np.random.default_rng(0)
    views = unit(np.eye(8)[0] + rng.normal(scale=0.05, size=(5, 8)))
    stranger = np.eye(8, dtype=np.float32)[3]
    rows = np.concatenate([views, stranger[None]])
    assert template(rows)[3] > 0.1
    assert abs(template(rows, floor=0.5)[3]) < 0.1
    better = template(rows[4:], np.float32([0.1, 0.9]))
    assert better @ stranger > 0.98


def test_the_product_of_templates_is_the_mean_similarity() -> None:
    first, second = people(1, 4)[0], people(1, 3, seed=1)[0]
    assert template(first) @ template(second) == pytest.approx((first @ second.T).mean(), abs=1e-6)
