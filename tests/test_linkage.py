"""Average linkage on a graph of neighbours, against the textbook's method on the matrix of all similarities."""

from collections.abc import Iterator

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from indexing import linkage
from indexing.cluster import first_seen, unit
from indexing.constraints import Constraints
from indexing.linkage import average_linkage, neighbours
from indexing.metrics import bcubed
from tracker.types import Float32, Float64

Int64 = NDArray[np.int64]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Keep FAISS from waiting for its threads at every step of these small problems on a busy machine."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


@pytest.fixture(params=["whole", "nearest few", "inverted lists"])
def graph(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make graphs as those of few rows, of people with many tracks, and of many rows."""
    if request.param != "whole":
        monkeypatch.setattr(linkage, "NEIGHBOURS", 3)
        monkeypatch.setattr(linkage, "PAIRS", 0)
    if request.param == "inverted lists":
        monkeypatch.setattr(linkage, "LISTS_FROM", 30)
    return str(request.param)


def people(count: int, each: int, *, seed: int = 0, noise: float = 0.2, size: int = 16) -> tuple[Float32, Int64]:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(count), each)
    centres = unit(rng.normal(size=(count, size)))
    return unit(centres[truth] + rng.normal(scale=noise, size=(len(truth), size))), truth


def textbook(rows: Float32, weights: Float64, rules: Constraints, threshold: float) -> Int64:
    """Merge the closest pair of clusters until none is as similar as the threshold; minus infinity: cannot-link."""
    alike, weights, labels = rows.astype(np.float64) @ rows.T, weights.copy(), np.arange(len(rows))
    np.fill_diagonal(alike, -np.inf)
    for first, second in [*rules.pairs.tolist(), *((a, b) for a in rules.anchors for b in rules.anchors)]:
        alike[first, second] = alike[second, first] = -np.inf
    while alike.max(initial=-np.inf) >= threshold:
        into, gone = np.unravel_index(int(alike.argmax()), alike.shape)
        alike[into] = alike[:, into] = np.average(alike[[into, gone]], axis=0, weights=weights[[into, gone]])
        alike[gone] = alike[:, gone] = -np.inf
        weights[into] += weights[gone]
        labels[labels == gone] = into
    return first_seen(labels)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 40),
    links=st.integers(0, 60),
    anchors=st.integers(0, 4),
    threshold=st.sampled_from([-1.0, 0.0, 0.3, 0.6, 0.9]),
)
def test_it_is_the_textbooks_method(seed: int, count: int, links: int, anchors: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    rows = people(6, 7, seed=seed, noise=0.25, size=8)[0][rng.permutation(42)[:count]]
    weights = rng.integers(1, 5, count).astype(np.float64)
    rules = Constraints(count, rng.integers(0, count, (links, 2)), rng.integers(0, count, anchors))
    found = average_linkage(rows, weights, rules, threshold)
    assert first_seen(found).tolist() == textbook(rows, weights, rules, threshold).tolist()


def test_people_are_found_on_any_graph(graph: str) -> None:
    rows, truth = people(15, 16, noise=0.12, size=32)
    rules = Constraints(len(rows), np.random.default_rng(0).integers(0, len(rows), (100, 2)))
    rules = Constraints(len(rows), rules.pairs[truth[rules.pairs[:, 0]] != truth[rules.pairs[:, 1]]], [0, 16, 32])
    found = average_linkage(rows, np.ones(len(rows)), rules, 0.5)
    exact = textbook(rows, np.ones(len(rows)), rules, 0.5)
    assert len(rules.violations(found)) == 0
    assert abs(bcubed(truth, found).f - bcubed(truth, exact).f) < 0.01
    assert bcubed(truth, found).f > 0.98


def test_constraints_hold_on_any_graph(graph: str) -> None:
    rows, _ = people(4, 30)
    rules = Constraints(120, np.random.default_rng(1).integers(0, 120, (400, 2)), np.arange(0, 120, 9))
    for threshold in (-1.0, 0.4):
        assert len(rules.violations(average_linkage(rows, np.ones(120), rules, threshold))) == 0


def test_no_two_clusters_are_left_that_are_as_similar_as_the_threshold(graph: str) -> None:
    rows, _ = people(10, 30, noise=0.4)
    codes = first_seen(average_linkage(rows, np.ones(300), Constraints(300), 0.35))
    means = np.stack([rows[codes == code].mean(axis=0) for code in range(codes.max() + 1)])
    between = means @ means.T
    np.fill_diagonal(between, -1)
    assert between.max() < 0.35 + 1e-6


def test_poses_that_have_neighbours_enough_among_themselves_come_together(graph: str) -> None:
    centres = unit(np.random.default_rng(0).normal(size=(2, 32)))
    pose = np.repeat([0, 1], 100)
    rows = unit(centres[:1] + 0.6 * (pose[:, None] * centres[1:]) + people(1, 200, noise=0.05, size=32)[0] * 0.1)
    assert len(set(average_linkage(rows, np.ones(200), Constraints(200), 0.8).tolist())) == 1


def test_the_outcome_does_not_depend_on_the_number_of_threads(graph: str) -> None:
    rows, _ = people(20, 15, noise=0.25)
    outcomes = []
    for threads in (1, 4):
        with threadpool_limits(threads):
            outcomes.append(average_linkage(rows, np.ones(300), Constraints(300), 0.5).tolist())
    assert outcomes[0] == outcomes[1]


def test_equal_rows_are_one_cluster_unless_they_may_not_be(graph: str) -> None:
    rows = np.tile(unit(np.ones((1, 8))), (50, 1))
    assert set(average_linkage(rows, np.ones(50), Constraints(50), 0.9).tolist()) == {0}
    apart = Constraints(50, np.stack(np.triu_indices(10, 1), axis=1))
    assert len(set(average_linkage(rows, np.ones(50), apart, 0.9).tolist())) == 10


def test_neighbours_are_the_pairs_that_are_alike() -> None:
    rows, _ = people(20, 10, noise=0.3)
    found, whole = neighbours(rows, 0.6)
    alike = rows @ rows.T >= 0.6
    np.fill_diagonal(alike, False)
    assert whole
    assert (found.toarray() == alike).all()


def test_a_row_with_too_many_neighbours_keeps_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linkage, "NEIGHBOURS", 5)
    monkeypatch.setattr(linkage, "PAIRS", 0)
    rows, _ = people(2, 50, noise=0.1)
    found, whole = neighbours(rows, 0.0)
    alike = rows @ rows.T
    nearest = np.argsort(-alike, axis=1)[:, :5]  # a row counts among its own
    expected = np.zeros((100, 100), np.bool_)
    np.put_along_axis(expected, nearest, True, axis=1)
    np.fill_diagonal(expected, False)
    assert not whole
    assert (found.toarray() == (expected | expected.T)).all()
