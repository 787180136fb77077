"""Optical flow on real pixels whose motion is known."""

import cv2
import numpy as np
import pytest
from skimage import data

from tracker import boxes as geometry
from tracker.flow import FLOW_WIDTH, LucasKanade, reduced_grey
from tracker.types import Float32, Image

FACE = np.array([[170, 60, 290, 210]], np.float32)


@pytest.fixture(scope="module")
def portrait() -> Image:
    return np.ascontiguousarray(data.astronaut()[:, :, ::-1])


def moved(image: Image, *, scale: float = 1.0, angle: float = 0.0, shift: tuple[float, float] = (0, 0)) -> Image:
    center = tuple(float(v) for v in geometry.centers(FACE)[0])
    matrix = cv2.getRotationMatrix2D(center, angle, scale)
    matrix[:, 2] += shift
    return np.asarray(cv2.warpAffine(image, matrix, image.shape[1::-1]), np.uint8)


def carry(before: Image, after: Image, boxes: Float32 = FACE) -> tuple[Float32, Float32]:
    carried = LucasKanade().carry(reduced_grey(before), reduced_grey(after), boxes, width=before.shape[1])
    return carried.boxes, carried.confidences


@pytest.mark.parametrize("shift", [(0, 0), (6, 0), (-4, 7), (12, -9)])
def test_a_shift_is_followed_to_the_pixel(portrait: Image, shift: tuple[float, float]) -> None:
    boxes, confidences = carry(portrait, moved(portrait, shift=shift))
    np.testing.assert_allclose(boxes[0], FACE[0] + [*shift, *shift], atol=1.0)
    assert confidences[0] > 0.8


@pytest.mark.parametrize("scale", [0.95, 1.06])
def test_a_face_that_comes_closer_grows(portrait: Image, scale: float) -> None:
    boxes, confidences = carry(portrait, moved(portrait, scale=scale))
    ratio = geometry.sizes(boxes)[0] / geometry.sizes(FACE)[0]
    assert ratio == pytest.approx(scale, abs=0.02)
    assert confidences[0] > 0.8


def test_coordinates_are_those_of_the_source_however_large_it_is(portrait: Image) -> None:
    large = np.asarray(cv2.resize(portrait, None, fx=3, fy=3), np.uint8)
    assert max(reduced_grey(large).shape) == FLOW_WIDTH
    after = np.roll(large, 18, axis=1)
    boxes, _ = carry(large, after, FACE * 3)
    np.testing.assert_allclose(boxes[0], FACE[0] * 3 + [18, 0, 18, 0], atol=3)


def test_another_picture_is_not_vouched_for(portrait: Image) -> None:
    other = np.ascontiguousarray(portrait[::-1, ::-1])
    boxes, confidences = carry(portrait, other)
    assert confidences[0] < 0.5
    flat = np.full_like(portrait, 90)
    assert carry(portrait, flat)[1][0] == 0
    np.testing.assert_array_equal(carry(portrait, flat)[0], FACE)
    assert boxes.shape == (1, 4)


def test_a_half_occluded_face_is_trusted_less(portrait: Image) -> None:
    covered = moved(portrait, shift=(3, 0))
    covered[:, :235] = 30
    assert carry(portrait, covered)[1][0] < carry(portrait, moved(portrait, shift=(3, 0)))[1][0]


def test_faces_do_not_depend_on_each_other(portrait: Image) -> None:
    second = FACE + np.float32(40)
    after = moved(portrait, shift=(5, 3))
    together, _ = carry(portrait, after, np.concatenate([FACE, second]))
    alone, _ = carry(portrait, after, second)
    np.testing.assert_allclose(together[1], alone[0], atol=1e-3)


def test_no_box_and_a_box_of_no_size_are_no_error(portrait: Image) -> None:
    assert len(carry(portrait, portrait, np.empty((0, 4), np.float32))[0]) == 0
    _, confidences = carry(portrait, portrait, np.array([[10, 10, 11, 11]], np.float32))
    assert confidences[0] == 0
