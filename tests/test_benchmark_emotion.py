"""The figures that the benchmark of emotion models reports."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import emotion
from tracker.models.emotions import fer_template
from tracker.types import EMOTIONS, Float32


def certain(*answers: int) -> Float32:
    return np.eye(len(EMOTIONS), dtype=np.float32)[list(answers)]


def test_score_counts_by_class() -> None:
    result = emotion.score(certain(3, 3, 3, 0, 6, 6), np.array([3, 3, 0, 0, 6, 4]))
    assert result.accuracy == pytest.approx(4 / 6)
    assert result.recalls[[0, 3, 4, 6]].tolist() == [0.5, 1, 0, 1]
    assert np.isnan(result.recalls[[1, 2, 5]]).all()
    assert result.macro_f1 == pytest.approx((2 / 3 + 4 / 5 + 2 / 3) / 7)
    assert result.ece == pytest.approx(2 / 6)
    assert result.faces == 6


def test_macro_f1_equals_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    random = np.random.default_rng(0)
    probabilities, truth = random.dirichlet(np.ones(7), 400).astype(np.float32), random.integers(0, 7, 400)
    wanted = f1_score(truth, probabilities.argmax(axis=1), average="macro")
    assert emotion.score(probabilities, truth).macro_f1 == pytest.approx(wanted)


def test_calibration_error_is_the_gap_in_each_bin() -> None:
    rows = np.array([[0.55, 0.45]] * 10 + [[0.95, 0.05]] * 30, np.float32)
    truth = np.array([0] * 4 + [1] * 6 + [0] * 27 + [1] * 3)
    wanted = (10 * abs(0.55 - 0.4) + 30 * abs(0.95 - 0.9)) / 40
    assert emotion.calibration_error(rows, truth) == pytest.approx(wanted, abs=1e-6)
    # In one bin, errors of both signs make up for each other.
    assert emotion.calibration_error(rows, truth, bins=1) == pytest.approx(abs(0.85 - 31 / 40), abs=1e-6)
    assert np.isnan(emotion.calibration_error(np.empty((0, 7), np.float32), np.empty(0, np.int64)))


@given(st.integers(0, 2**31), st.integers(1, 60))
def test_calibration_error_is_a_share_and_of_no_order(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    rows, truth = random.dirichlet(np.ones(7), count).astype(np.float32), random.integers(0, 7, count)
    error = emotion.calibration_error(rows, truth)
    assert 0 <= error <= 1
    order = random.permutation(count)
    assert emotion.calibration_error(rows[order], truth[order]) == pytest.approx(error)


def test_interval_holds_the_share() -> None:
    for share, count in ((0.0, 10), (0.3, 50), (1.0, 1000)):
        low, high = emotion.interval(share, count)
        assert -1e-9 <= low <= share <= high <= 1 + 1e-9


def faces(*, size: float = 42) -> emotion.Faces:
    """A face where the template has it, in pixels of the enlarged picture."""
    template = fer_template(48)
    mesh = np.zeros((1, 478, 3), np.float32)
    mesh[0, list(template.mesh_indices), :2] = enlarged(template.mesh_points)
    return emotion.Faces(enlarged(template.five_points)[None], mesh, np.array([size], np.float32))


def enlarged(points: Float32) -> Float32:
    return np.asarray((points + 0.5) * emotion.ZOOM - 0.5 + emotion.BORDER, np.float32)


def smooth_picture() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    x, y = np.meshgrid(np.arange(48), np.arange(48))
    return (x * 3 + y * 2).astype(np.uint8)


def test_face_in_its_place_is_cut_as_it_is() -> None:
    picture = smooth_picture()
    small = emotion.reduced_crop(faces(), 0, picture, fer_template(48))[:, :, 0]
    large = faces().crop(0, emotion.enlarged(picture), fer_template(48))[:, :, 0]
    for crop in (small, large):
        assert np.abs(crop[2:-2, 2:-2].astype(int) - picture[2:-2, 2:-2]).max() <= 2


@pytest.mark.parametrize("size", [48, 96])
def test_direct_crop_is_the_picture_at_the_scale_of_the_model(size: int) -> None:
    picture = smooth_picture()
    (crop,) = emotion.direct_crops(picture[None], fer_template(size))
    step = size // 48
    wanted = picture.repeat(step, axis=0).repeat(step, axis=1)
    assert np.abs(crop[:, :, 1].astype(int) - wanted).max() <= 2


def test_face_without_a_mesh_is_none() -> None:
    one = faces()
    assert one.found.tolist() == [True]
    assert emotion.Faces(one.landmarks, one.meshes * np.nan, one.sizes).found.tolist() == [False]
    assert emotion.Faces(one.landmarks * np.nan, one.meshes, one.sizes).found.tolist() == [False]


def test_reduced_face_is_cut_from_the_same_place() -> None:
    picture = smooth_picture()
    reduced = emotion.reduced(24)(picture)
    assert reduced.shape == (24, 24)
    crop = emotion.reduced_crop(faces(), 0, reduced, fer_template(48))[:, :, 0]
    assert np.abs(crop[3:-3, 3:-3].astype(int) - picture[3:-3, 3:-3]).max() <= 3


def test_blur_softens_and_none_changes_nothing() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (48, 48), np.uint8)
    assert emotion.blurred(0)(picture) is picture
    assert emotion.blurred(2)(picture).std() < picture.std() / 2


def test_groups_leave_out_what_is_rare_or_unknown() -> None:
    values = np.array([1] * 40 + [7] * 35 + [15] * 5 + [np.nan] * 40, np.float32)
    trial = emotion.Trial(values == 1, values * 0 + 1, values * 0, values)
    groups = emotion.grouped(trial, "m", "yaw", values, (0, 5, 10, 20))
    assert [(point.value, point.faces, point.accuracy) for point in groups] == [(1, 40, 1), (7, 35, 0)]


def test_curves_are_written_and_drawn(tmp_path: Path) -> None:
    points = [
        emotion.Point(model, measure, value, 100, 0.6, 0.5, 0.7, 0.8, 0.1)
        for model in ("one", "two")
        for measure in emotion.AXES
        for value in (1.0, 2.0)
    ]
    emotion.write_csv(points, tmp_path / "c.csv")
    emotion.draw(points, tmp_path / "c.png", guess=0.25)
    with (tmp_path / "c.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(points)
    assert rows[0] == {**rows[0], "model": "one", "measure": "blur", "value": "1", "faces": "100", "high": "0.7"}
    assert (tmp_path / "c.png").stat().st_size > 10_000
