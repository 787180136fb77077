"""Alignment on the portrait of Eileen Collins, and the factors of quality."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from tracker import align
from tracker.models.onnx import ARCFACE_TEMPLATE
from tracker.protocols import Template
from tracker.types import Float32, Float64, Image

FACE = np.float32([[201, 100], [250, 101], [225, 125], [203, 145], [245, 146]])
"""The astronaut's landmarks."""

similarities = st.builds(
    lambda scale, turn, x, y: np.array(
        [[scale * np.cos(turn), -scale * np.sin(turn), x], [scale * np.sin(turn), scale * np.cos(turn), y]]
    ),
    st.floats(0.2, 5),
    st.floats(-np.pi, np.pi),
    st.floats(-500, 500),
    st.floats(-500, 500),
)


@pytest.fixture(scope="module")
def picture() -> Image:
    return np.ascontiguousarray(astronaut()[:, :, ::-1])


def _mean_difference(a: Image, b: Image) -> float:
    return float(np.abs(a.astype(int) - b).mean())


@given(similarities)
def test_similarity_is_recovered_exactly(matrix: Float64) -> None:
    found = align.similarity(FACE, align.transform(FACE, matrix))
    np.testing.assert_allclose(found, matrix, atol=2e-3 * max(1, np.abs(matrix).max() / 50))


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=5, max_size=5))
def test_similarity_is_the_least_squares_one(noise: list[tuple[float, float]]) -> None:
    target = ARCFACE_TEMPLATE.five_points + np.float32(noise)
    best = align.similarity(FACE, target)

    def error(matrix: Float64) -> float:
        return float(((align.transform(FACE, matrix) - target) ** 2).sum())

    for row, column in np.ndindex(2, 3):
        other = best.copy()
        other[row, column] += 1e-3
        twin = {(0, 0): (1, 1), (1, 1): (0, 0), (0, 1): (1, 0), (1, 0): (0, 1)}.get((row, column))
        if twin:
            other[twin] += 1e-3 if row == column else -1e-3
        assert error(other) >= error(best) - 1e-2


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan)])
def test_similarity_refuses_points_that_give_none(points: Float32) -> None:
    with pytest.raises(ValueError, match="no alignment"):
        align.similarity(points, FACE)


@pytest.mark.parametrize("turn", [-40, 15, 90, 180])
@pytest.mark.parametrize("scale", [0.8, 1.5])
def test_crop_does_not_change_with_turn_and_scale_of_the_picture(picture: Image, turn: float, scale: float) -> None:
    matrix = cv2.getRotationMatrix2D((225, 120), turn, scale) + np.array([[0, 0, 31], [0, 0, 136]])
    turned = cv2.warpAffine(picture, matrix, (512, 512), flags=cv2.INTER_CUBIC)
    straight = align.align(picture, FACE, ARCFACE_TEMPLATE)
    assert _mean_difference(straight, align.align(turned, align.transform(FACE, matrix), ARCFACE_TEMPLATE)) < 4


@pytest.mark.parametrize("factor", [3, 8])
def test_big_face_shrinks_without_aliasing(picture: Image, factor: int) -> None:
    big = cv2.resize(picture[40:200, 160:300], None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(0)
    noisy = np.clip(big + rng.normal(0, 60, big.shape), 0, 255).astype(np.uint8)
    points = ((FACE - [160, 40] + 0.5) * factor - 0.5).astype(np.float32)
    small = Template(size=56, five_points=ARCFACE_TEMPLATE.five_points / 2)
    clean = align.align(big, points, small)
    plain = cv2.warpAffine(noisy, align.alignment(points, small), (56, 56))
    assert _mean_difference(clean, align.align(noisy, points, small)) < _mean_difference(clean, plain) / 2


def test_reduction_keeps_the_crop_in_place(picture: Image) -> None:
    smooth = cv2.GaussianBlur(picture, (0, 0), 6)
    matrix = np.array([[0.5, 0.1, -60.3], [-0.1, 0.5, 20.7]])
    direct = cv2.warpAffine(smooth, matrix, (112, 112))
    assert _mean_difference(direct[4:-4, 4:-4], align.warp(smooth, matrix, 112)[4:-4, 4:-4]) < 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (7, 7)])
def test_tiny_pictures_and_faces_outside_give_a_crop(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 200, np.uint8)
    for shift in (-1000, 0, 1000):
        assert align.align(image, FACE + shift, ARCFACE_TEMPLATE).shape == (112, 112, 3)
        assert align.align(image, (FACE + shift) * 20, ARCFACE_TEMPLATE).shape == (112, 112, 3)


def test_mesh_and_landmarks_are_averaged_and_each_serves_alone() -> None:
    mesh = np.zeros((478, 3), np.float32)
    mesh[[10, 20, 30], :2] = [[10, 10], [50, 10], [30, 60]]
    template = Template(
        100, ARCFACE_TEMPLATE.five_points, mesh_indices=(10, 20, 30), mesh_points=[[30, 30], [70, 30], [50, 80]]
    )
    dense = np.array([[1, 0, 20], [0, 1, 20]])
    five = align.similarity(FACE, template.five_points)
    nothing = np.full((5, 2), np.nan, np.float32)
    np.testing.assert_allclose(align.alignment(nothing, template, mesh=mesh), dense, atol=1e-5)
    np.testing.assert_allclose(align.alignment(FACE, template), five)
    np.testing.assert_allclose(align.alignment(FACE, template, mesh=mesh), (dense + five) / 2, atol=1e-5)
    np.testing.assert_allclose(align.alignment(FACE, ARCFACE_TEMPLATE, mesh=mesh), five)
    with pytest.raises(ValueError, match="no alignment"):
        align.alignment(nothing, template)


@given(similarities)
@settings(max_examples=50)
def test_frontality_does_not_change_with_the_picture(matrix: Float64) -> None:
    assert align.frontality(align.transform(FACE, matrix)) == pytest.approx(align.frontality(FACE), abs=1e-2)


def test_frontality_falls_as_the_nose_wanders() -> None:
    steps = [
        align.frontality(FACE + np.float32([[0, 0], [0, 0], [shift, 0], [0, 0], [0, 0]])) for shift in range(0, 30, 5)
    ]
    assert steps == sorted(steps, reverse=True)
    assert steps[0] > 0.9
    assert steps[-1] == 0
    assert align.frontality(np.full((5, 2), np.nan, np.float32)) == 0


def test_sharpness_falls_with_blur_and_not_with_light(picture: Image) -> None:
    crop = align.align(picture, FACE, ARCFACE_TEMPLATE)
    blurred = [align.sharpness(cv2.GaussianBlur(crop, (0, 0), sigma)) for sigma in (0.5, 1, 2, 4)]
    assert [align.sharpness(crop), *blurred] == sorted([align.sharpness(crop), *blurred], reverse=True)
    assert align.sharpness(crop) > 0.5 > blurred[-2]
    darker = (crop * 0.6).astype(np.uint8)
    assert align.sharpness(darker) == pytest.approx(align.sharpness(crop), abs=0.1)
    assert align.sharpness(np.zeros((0, 0, 3), np.uint8)) == 0
    assert align.sharpness(np.full((9, 9, 3), 128, np.uint8)) == 0


@given(
    st.floats(allow_infinity=False),
    st.floats(allow_infinity=False),
    st.floats(allow_infinity=False),
    st.floats(allow_infinity=False),
)
def test_quality_stays_in_its_range(score: float, size: float, sharpness: float, frontality: float) -> None:
    assert 0 < align.quality(score=score, size=size, sharpness=sharpness, frontality=frontality) <= 1


def test_quality_grows_with_each_factor_and_no_poor_one_decides_alone() -> None:
    poor = {"score": 0.5, "size": 30.0, "sharpness": 0.2, "frontality": 0.3}
    good = {"score": 0.9, "size": 90.0, "sharpness": 0.8, "frontality": 1.0}
    for name, value in good.items():
        assert align.quality(**{**poor, name: value}) > align.quality(**poor)
    assert align.quality(**{**good, "frontality": 0.0}) > align.quality(**good) / 3


def _mesh(five: Float32) -> Float32:
    mesh = np.full((478, 2), np.nan, np.float32)
    mesh[[33, 133]] = five[0] + np.float32([[-9, 0], [9, 0]])
    mesh[[362, 263]] = five[1] + np.float32([[-9, 0], [9, 0]])
    mesh[[1, 61, 291]] = five[2:]
    return mesh


@given(similarities, st.floats(0, 60), st.floats(0, 6.28))
def test_agreement_tells_how_far_mesh_and_landmarks_lie_apart_at_any_scale(
    matrix: Float64, distance: float, direction: float
) -> None:
    shift = np.float32([distance * np.cos(direction), distance * np.sin(direction)])
    moved, mesh = align.transform(FACE + shift, matrix), _mesh(align.transform(FACE, matrix))
    assert align.agreement(moved, mesh) == pytest.approx(align.agreement(FACE + shift, _mesh(FACE)), abs=1e-2)
    size = np.sqrt(np.square(FACE - FACE.mean(axis=0)).sum() / 5)
    assert align.agreement(FACE + shift, _mesh(FACE)) == pytest.approx(
        1 / (1 + distance / size / align.APART), abs=1e-3
    )


def test_a_face_that_the_border_cuts_is_trusted_less(picture: Image) -> None:
    whole = align.trust(picture, FACE, ARCFACE_TEMPLATE, mesh=_mesh(FACE))
    assert whole == pytest.approx(1)
    left, top = int(FACE[2, 0]), int(FACE[:, 1].min()) - 60
    half = FACE - np.float32([left, top])
    cut = align.trust(picture[top:, left:], half, ARCFACE_TEMPLATE, mesh=_mesh(half))
    assert cut == pytest.approx(0.5**0.25, abs=0.03)


def test_a_face_without_a_mesh_is_trusted_least(picture: Image) -> None:
    assert align.trust(picture, FACE, ARCFACE_TEMPLATE, mesh=None) == align.NO_MESH
    apart = align.trust(picture, FACE, ARCFACE_TEMPLATE, mesh=_mesh(FACE + 12))
    assert align.NO_MESH < apart < 0.8


def test_box_landmarks_resemble_a_detectors() -> None:
    guessed = align.box_landmarks(np.float32([180, 60, 271, 178]))
    assert np.abs(guessed - FACE).max() < 12
