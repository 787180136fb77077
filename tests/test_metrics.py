"""The figures agree with their definitions, counted out pair by pair."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from indexing import metrics
from indexing.cluster import unit
from indexing.metrics import IdCounts, bcubed, id_counts, pairwise, verification
from tracker.errors import FacetrackError

labelled = st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 4)), min_size=1, max_size=25)


@given(labelled)
def test_bcubed_is_the_mean_over_items(items: list[tuple[int, int]]) -> None:
    truth, labels = (np.array(column) for column in zip(*items, strict=True))
    same_person = truth[:, None] == truth
    together = (labels[:, None] == labels) & (labels[:, None] != -1) | np.eye(len(truth), dtype=bool)
    both = (same_person & together).sum(axis=1)
    score = bcubed(truth, labels)
    assert score.precision == pytest.approx(np.mean(both / together.sum(axis=1)))
    assert score.recall == pytest.approx(np.mean(both / same_person.sum(axis=1)))


@given(labelled)
def test_pairwise_counts_pairs(items: list[tuple[int, int]]) -> None:
    truth, labels = (np.array(column) for column in zip(*items, strict=True))
    upper = np.triu_indices(len(truth), 1)
    genuine = (truth[:, None] == truth)[upper]
    joined = ((labels[:, None] == labels) & (labels[:, None] != -1))[upper]
    score = pairwise(truth, labels)
    assert score.precision == pytest.approx((genuine & joined).sum() / joined.sum() if joined.any() else 1)
    assert score.recall == pytest.approx((genuine & joined).sum() / genuine.sum() if genuine.any() else 1)


@given(labelled)
def test_a_perfect_clustering_scores_one_whatever_its_labels_are(items: list[tuple[int, int]]) -> None:
    truth = np.array([person for person, _ in items])
    names = np.array(["a", "b", "c", "d", "e"])[truth]
    assert bcubed(names, 9 - truth).f == pairwise(names, 9 - truth).f == 1
    assert metrics.nmi(names, 9 - truth) == pytest.approx(1)
    assert metrics.ari(names, 9 - truth) == pytest.approx(1)


def test_labels_of_other_length_are_refused() -> None:
    with pytest.raises(FacetrackError, match="2 true labels for 3"):
        bcubed([0, 1], [0, 1, 2])


def test_id_counts_take_the_best_map_of_each_video() -> None:
    first = id_counts(["ada", "ada", "ada", "bob"], [1, 1, 2, 1], missed=2, extra=1)
    assert first == IdCounts(matched=2, truth=6, found=5)
    second = id_counts(["bob", "bob"], [1, 1])
    assert (first + second).idf1 == pytest.approx(2 * 4 / (8 + 7))


def test_id_counts_of_nothing() -> None:
    assert id_counts([], [], missed=3) == IdCounts(0, 3, 0)
    assert IdCounts().idf1 == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40))
def test_verification_agrees_with_the_roc_of_all_pairs(seed: int, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, 30)
    vectors = unit(rng.normal(size=(30, 8)) + 1.5 * np.eye(8)[labels])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "CHUNK", chunk)
        curve = verification(vectors, labels)
    upper = np.triu_indices(30, 1)
    scores, same = (vectors @ vectors.T)[upper], (labels[:, None] == labels)[upper]
    assert (curve.genuine, curve.impostors) == (same.sum(), (~same).sum())
    fpr, tpr, _ = roc_curve(same, scores)
    for far in (0.01, 0.1, 0.5):
        assert curve.tar(far) == pytest.approx(tpr[fpr <= far].max(), abs=1.5 / curve.genuine)
        assert (scores[~same] >= curve.threshold(far)).mean() <= far + 1e-9
    best, at = curve.best_accuracy
    assert best == pytest.approx(((1 - fpr + tpr) / 2).max(), abs=2 / curve.genuine)
    accepted = scores >= at
    assert best == pytest.approx((accepted[same].mean() + 1 - accepted[~same].mean()) / 2, abs=2 / curve.genuine)


def test_verification_of_separable_people_is_without_error() -> None:
    curve = verification(np.repeat(np.eye(3, dtype=np.float32), 4, axis=0), np.repeat([0, 1, 2], 4))
    assert curve.eer == 0
    assert curve.best_accuracy[0] == 1
    rates, accepted = curve.roc(points=5)
    assert rates[0] < rates[-1] == 1
    assert (accepted == 1).all()


@pytest.mark.parametrize("labels", [[0, 1], [0, 0]])
def test_verification_needs_pairs_of_both_kinds(labels: list[int]) -> None:
    with pytest.raises(FacetrackError, match="both are needed"):
        verification(np.eye(2, dtype=np.float32), labels)
