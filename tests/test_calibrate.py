"""Thresholds keep their false accept rate on people who were not there, and probabilities mean what they say."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from indexing import calibrate
from indexing.calibrate import FARS, FEWEST, Calibration, fallback, fit, for_database, for_model, from_tracks
from indexing.cluster import Constrained, unit
from indexing.metrics import bcubed, verification
from indexing.types import TrackEmbeddings, TrackRecord
from tracker.errors import FacetrackError
from tracker.types import Float32


def faces(count: int, each: int, *, seed: int, noise: float = 0.9, size: int = 24) -> tuple[Float32, NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(count), each)
    centres = unit(rng.normal(size=(count, size)))
    return unit(centres[truth] + noise * unit(rng.normal(size=(len(truth), size)))), truth


def database(videos: int, *, model_id: str = "some-embedder") -> tuple[list[TrackRecord], TrackEmbeddings]:
    """Return videos with two people side by side, four keyframes a track."""
    vectors, truth = faces(2 * videos, 4, seed=5)
    tracks = [TrackRecord(key, key // 2, key % 2, 0, 0, 9, 0.0, 1.0, 0.8, 90.0) for key in range(2 * videos)]
    count = len(truth)
    return tracks, TrackEmbeddings(np.arange(count), truth, np.zeros(count), np.ones(count), vectors, model_id)


@pytest.mark.parametrize(("count", "each"), [(20, 4), (150, 10)], ids=["platt", "isotonic"])
def test_a_threshold_keeps_its_rate_on_other_people(count: int, each: int) -> None:
    scale = fit(*faces(count, each, seed=1), model_id="m")
    curve = verification(*faces(150, 10, seed=2))
    for far in (1e-2, 1e-3):
        accepted = curve.far[np.argmax(curve.thresholds >= scale.threshold(far))]
        assert far / 3 < accepted < far * 3


@pytest.mark.parametrize(("count", "each"), [(20, 4), (150, 10)], ids=["platt", "isotonic"])
def test_probabilities_are_frequencies(count: int, each: int) -> None:
    scale = fit(*faces(count, each, seed=1), model_id="m")
    vectors, truth = faces(150, 10, seed=2)
    upper = np.triu_indices(len(truth), 1)
    scores, same = (vectors @ vectors.T)[upper], (truth[:, None] == truth)[upper]
    chances = scale.probability(scores)
    weights = np.where(same, 1 / same.sum(), 1 / (~same).sum())  # both answers equally likely, as documented
    for low, high in ((0.2, 0.4), (0.4, 0.6), (0.6, 0.8)):
        inside = (chances >= low) & (chances < high)
        assert low - 0.1 < (weights * same)[inside].sum() / weights[inside].sum() < high + 0.1


def test_thresholds_go_on_rising_beyond_what_was_counted() -> None:
    scale = fit(*faces(10, 4, seed=1), model_id="m")  # 720 impostor pairs
    assert (np.diff(scale.thresholds) >= 0).all()
    assert scale.threshold(1e-6) > scale.threshold(1e-2) + 0.05


def test_probability_rises_and_stays_within_bounds() -> None:
    scale = fit(*faces(150, 10, seed=1), model_id="m")
    chances = scale.probability(np.linspace(-1, 1, 101))
    assert (np.diff(chances) >= 0).all()
    assert 0 <= chances[0] < 0.01
    assert 0.99 < chances[-1] <= 1


@pytest.mark.parametrize("far", [0.0, 1e-9, 0.5, float("nan")])
def test_rates_outside_of_the_table_are_refused(far: float) -> None:
    with pytest.raises(FacetrackError, match="give one between"):
        fallback("m").threshold(far)


def test_a_calibration_survives_json() -> None:
    scale = fit(*faces(20, 4, seed=1), model_id="m", source="here")
    back = Calibration.from_dict(json.loads(json.dumps(scale.to_dict())))
    assert (back.model_id, back.source) == ("m", "here")
    np.testing.assert_allclose(back.thresholds, scale.thresholds, atol=1e-5)
    np.testing.assert_allclose(back.probability(0.4), scale.probability(0.4), atol=1e-4)


def test_falling_tables_are_refused() -> None:
    with pytest.raises(FacetrackError, match="must not fall"):
        Calibration("m", "", np.linspace(1, 0, len(FARS)), np.ones(len(FARS)), np.zeros(2), np.zeros(2))


def test_the_default_embedder_has_a_shipped_calibration() -> None:
    table = calibrate._shipped()
    assert any(model_id.startswith("dlib") for model_id in table)
    for model_id in table:
        scale = for_model(model_id)
        assert scale.model_id == model_id
        assert scale.source
        assert scale.probability(scale.threshold(1e-4)) > 0.9


def test_an_unknown_embedder_gets_a_strict_guess() -> None:
    assert "guess" in for_model("never-heard-of").source
    assert for_model("deepface-ArcFace").threshold(1e-3) == pytest.approx(0.40, abs=0.01)
    assert for_model("deepface-Facenet512").threshold(1e-2) == pytest.approx(0.70)


def test_a_database_calibrates_an_unknown_embedder() -> None:
    tracks, rows = database(60)
    scale = for_database(tracks, rows)
    assert scale.source == "120 tracks and 60 couples in one frame of this database"
    curve = verification(*faces(150, 10, seed=2))
    assert curve.far[np.argmax(curve.thresholds >= scale.threshold(1e-2))] < 0.03


def test_a_small_database_calibrates_nothing() -> None:
    tracks, rows = database(FEWEST - 1)
    assert from_tracks(tracks, rows) is None
    assert "guess" in for_database(tracks, rows).source
    empty = TrackEmbeddings([], [], [], [], np.empty((0, 0)))
    assert "guess" in for_database([], empty).source


def test_one_setting_serves_few_people_and_strangers() -> None:
    scale = fit(*faces(200, 6, seed=1, noise=0.5), model_id="m")
    for count, each in ((2, 8), (8, 6), (120, 1), (150, 6)):
        vectors, truth = faces(count, each, seed=count, noise=0.5)
        labels = Constrained(scale.cluster_threshold(vectors)).fit_predict(vectors)
        assert bcubed(truth, labels).f > 0.93


def test_strangers_raise_the_cut_and_known_people_say_nothing() -> None:
    scale = fit(*faces(200, 6, seed=1), model_id="m")
    strangers, _ = faces(100, 1, seed=7)
    family, _ = faces(4, 25, seed=7)
    assert scale.cluster_threshold(strangers) > scale.cluster_threshold(family)
    everybody_known = np.ones(100, np.bool_)
    assert scale.cluster_threshold(strangers, anchored=everybody_known) == scale.cluster_threshold(family)
    assert scale.cluster_threshold(np.empty((0, 0), np.float32)) == pytest.approx(scale.threshold(0.01))
