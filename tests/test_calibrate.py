"""Thresholds keep their false accept rate on people who were not there, and probabilities mean what they say."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import make_result
from numpy.typing import NDArray

from indexing import calibrate
from indexing.calibrate import (
    FARS,
    FEWEST,
    MOST_OWN,
    STATED,
    Calibration,
    fallback,
    fit,
    for_database,
    for_model,
    for_store,
    from_tracks,
    measure,
)
from indexing.cluster import Constrained, unit
from indexing.curves import FOLDS, Curve, Pairs, Rate, isotonic, log_loss, platt
from indexing.metrics import bcubed, verification
from indexing.store import Store
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
    assert scale.source.startswith("120 people and 60 couples in one frame of this database")
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


def crowd(
    people: int, each: int, *, seed: int, noise: float = 0.9, at_a_time: int = 10
) -> tuple[list[TrackRecord], TrackEmbeddings]:
    """Return videos that each show so many people at a time, ``each`` keyframes a track."""
    vectors, truth = faces(people, each, seed=seed, noise=noise)
    tracks = [TrackRecord(n + 1, n // at_a_time, n % at_a_time, 0, 0, 9, 0.0, 2.0, 0.8, 90.0) for n in range(people)]
    count = len(truth)
    return tracks, TrackEmbeddings(
        np.arange(count), truth + 1, np.zeros(count), np.ones(count), vectors, "never-heard-of"
    )


def far_of(scale: Calibration, far: float, *, noise: float = 0.9) -> float:
    """Return the share of other strangers that reach the threshold for ``far``."""
    curve = verification(*faces(150, 10, seed=2, noise=noise))
    return float(curve.far[np.argmax(curve.thresholds >= scale.threshold(far))])


@pytest.mark.parametrize(("share", "count", "low", "high"), [(0.5, 10, 0.2366, 0.7634), (0.1, 100, 0.0552, 0.1744)])
def test_intervals_are_those_of_wilson(share: float, count: int, low: float, high: float) -> None:
    rate = Rate.of(share, count)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=1e-4)  # Newcombe 1998, method 3


def test_an_interval_of_nothing_says_nothing() -> None:
    assert (Rate.of(0.0, 0).low, Rate.of(0.0, 0).high) == (0.0, 1.0)
    assert Rate.of(1.0, 50).high == 1.0
    assert Rate.of(1.0, 50).low == pytest.approx(1 - Rate.of(0.0, 50).high)


def test_a_group_is_one_case_however_many_pairs_it_has() -> None:
    pairs = Pairs(np.array([0.9, *[0.1] * 99]), np.ones(100, np.bool_), np.array([0, *[1] * 99]))
    assert pairs.cases(True) == 2
    assert pairs.share_above(0.5, same=True) == pytest.approx(0.5)
    assert pairs.histogram(same=True).sum() == pytest.approx(2)


def test_folds_hold_out_each_group_once() -> None:
    groups = np.repeat(np.arange(30), 4)
    pairs = Pairs(np.zeros(120), groups < 12, groups)
    folds = pairs.folds()
    assert len(folds) == FOLDS
    assert (np.sum(folds, axis=0) == 1).all()
    for held in folds:
        assert not set(groups[held]) & set(groups[~held])
        assert {True, False} == set(pairs.same[held].tolist())


def test_surprise_is_a_bit_for_not_knowing_and_none_for_knowing() -> None:
    pairs = Pairs(np.zeros(4), [True, False, False, False], np.arange(4))
    assert log_loss(np.full(4, 0.5), pairs) == pytest.approx(1)
    assert log_loss([1, 0, 0, 0], pairs) < 1e-4
    assert log_loss([0, 0, 0, 0], pairs) > 5


@pytest.mark.parametrize("curve", [platt, isotonic])
def test_curves_rise_from_two_people_to_one(curve: Callable[..., Curve]) -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(0.7, 0.1, 500), rng.normal(0.1, 0.1, 500)])
    pairs = Pairs(scores, np.arange(1000) < 500, np.arange(1000))
    chances = curve(pairs.histogram(same=True), pairs.histogram(same=False))(np.linspace(-1, 1, 50))
    assert (np.diff(chances) >= 0).all()
    assert chances[0] < 0.02
    assert chances[-1] > 0.98


def test_a_crowd_finds_the_rates_of_an_embedder_that_nobody_measured() -> None:
    report = measure(*crowd(300, 6, seed=1))
    assert (report.people, report.couples) == (300, 1350)
    assert (report.genuine_pairs, report.impostor_pairs) == (4500, 1350 * 36)
    assert 0.005 < far_of(report.calibration, 1e-2) < 0.02
    assert far_of(report.calibration, 1e-3) < 0.002  # too few couples to count: on the strict side


def test_a_measured_prior_stands_until_there_is_enough_to_move_it() -> None:
    prior = fit(*faces(150, 10, seed=3), model_id="m")
    moved = replace(prior, thresholds=prior.thresholds + 0.08)
    few, many = (measure(*crowd(count, 6, seed=1), prior=moved).calibration for count in (20, 300))
    few_off, many_off = (abs(scale.threshold(1e-2) - prior.threshold(1e-2)) for scale in (few, many))
    assert many_off < 0.02 < few_off < 0.07
    same = measure(*crowd(300, 6, seed=1), prior=prior).calibration
    for far in STATED:
        assert far / 2 < far_of(same, far) < far * 2


def test_errors_are_told_of_people_held_out_with_intervals() -> None:
    report = measure(*crowd(300, 6, seed=1))
    for point in report.points[:2]:
        assert point.false_accepts.low <= point.false_accepts.share <= point.false_accepts.high
        assert point.false_accepts.low <= point.far * 2
        assert point.false_accepts.high >= point.far / 2
        assert point.false_accepts.count == report.couples
        assert point.false_rejects.count == report.people
    frr = [point.false_rejects.share for point in report.points]
    assert frr == sorted(frr)
    assert report.losses["mixed"] <= report.losses["prior"]


def test_own_probabilities_never_outweigh_measured_ones() -> None:
    prior = fit(*faces(150, 10, seed=3), model_id="m")
    blunt = replace(prior, probabilities=np.full(len(prior.scores), 0.5))
    assert measure(*crowd(300, 6, seed=1), prior=blunt).weight == MOST_OWN
    assert measure(*crowd(300, 6, seed=1), prior=prior).losses["prior"] < 1
    assert measure(*crowd(300, 6, seed=1)).weight > 0.9  # beside a guess they do


def test_few_pairs_are_fitted_by_a_logistic_curve_and_many_by_steps() -> None:
    assert measure(*crowd(30, 3, seed=1)).method == "platt"
    assert measure(*crowd(400, 6, seed=1)).method == "isotonic"


def test_the_report_says_why_its_pairs_are_too_easy() -> None:
    report = measure(*crowd(30, 4, seed=1))
    notes = " ".join(report.notes)
    assert "tracks last 2.0 s" in notes
    assert "too easy" in notes
    assert "135 couples cannot tell" in notes
    assert "mirror" not in notes


def test_somebody_twice_in_a_picture_is_no_impostor() -> None:
    tracks, rows = crowd(60, 4, seed=1)
    vectors = rows.vectors.copy()
    vectors[4:8] = vectors[:4]  # track 2 is the mirror image of track 1
    report = measure(tracks, TrackEmbeddings(rows.row_ids, rows.track_keys, rows.frames, rows.qualities, vectors, "m"))
    assert report.set_aside == 1
    assert "mirror" in report.notes[-1]
    known = [replace(track, identity_id=1) if track.key <= 2 else track for track in tracks]
    assert measure(known, rows).couples < measure(tracks, rows).couples


def test_people_count_once_however_often_they_meet() -> None:
    tracks, rows = crowd(60, 4, seed=1)
    again = [replace(t, key=t.key + 60, video_id=t.video_id + 6) for t in tracks]
    named = [replace(t, identity_id=(t.key - 1) % 60 + 1) for t in [*tracks, *again]]
    count = len(rows)
    twice = TrackEmbeddings(
        np.arange(2 * count),
        np.concatenate([rows.track_keys, rows.track_keys + 60]),
        np.zeros(2 * count),
        np.ones(2 * count),
        np.concatenate([rows.vectors, rows.vectors]),
        rows.model_id,
    )
    once, both = measure(tracks, rows), measure(named, twice)
    assert (both.people, both.couples) == (once.people, once.couples) == (60, 270)


def test_too_little_is_told() -> None:
    tracks, rows = crowd(4, 4, seed=1)
    with pytest.raises(FacetrackError, match=r"4 people .* and 6 couples .* several people at a time"):
        measure(tracks, rows)
    with pytest.raises(FacetrackError, match="0 people"):
        measure([], TrackEmbeddings([], [], [], [], np.empty((0, 0))))


def test_a_store_keeps_its_calibration_until_the_embedder_changes(tmp_path: Path) -> None:
    with Store(tmp_path / "facetrack.db") as store:
        for number in range(4):
            spans = [(10 * number + person, 0, 20) for person in range(6)]
            store.add_video(make_result(f"{number}.mp4", spans, keyframes=4, noise=0.2))
        before = for_store(store)
        report = calibrate.calibrate(store)
        kept = for_store(store)
        assert (report.people, report.couples) == (24, 60)
        assert kept.source == report.calibration.source != before.source
        np.testing.assert_allclose(kept.thresholds, report.calibration.thresholds, atol=1e-5)
        assert store.get_meta(calibrate.KEPT_AS)["model_id"] == "fake-embedder"
        assert json.loads(json.dumps(report.to_dict()))["points"][0]["false_accepts"]["count"] == 60
        assert any("of 60 couples" in text for _, text in report.lines())
        keyframes = [
            (record.key, track.keyframes) for v in store.videos() for record, track in store.tracks(v.video_id)
        ]
        store.replace_embeddings("other-embedder", keyframes)
        assert for_store(store).model_id == "other-embedder"
        assert for_store(store).source != report.calibration.source
