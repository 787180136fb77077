"""Geometry of boxes."""

import hypothesis.extra.numpy as npst
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracker import boxes as geometry
from tracker.types import Float32


def boxes(least: int = 0) -> st.SearchStrategy[Float32]:
    corners = st.floats(0, 500, width=32)
    return (
        st.integers(least, 6)
        .flatmap(lambda n: npst.arrays(np.float32, (n, 4), elements=corners))
        .map(lambda a: np.concatenate([np.minimum(a[:, :2], a[:, 2:]), np.maximum(a[:, :2], a[:, 2:]) + 1], axis=1))
    )


@given(boxes(), boxes())
def test_iou_is_symmetric_and_in_range(a: Float32, b: Float32) -> None:
    overlaps = geometry.iou(a, b)
    assert overlaps.shape == (len(a), len(b))
    assert ((overlaps >= 0) & (overlaps <= 1 + 1e-5)).all()
    np.testing.assert_allclose(overlaps, geometry.iou(b, a).T, atol=1e-5)
    np.testing.assert_allclose(np.diag(geometry.iou(a, a)), 1, atol=1e-5)


@given(boxes(), st.floats(-50, 50), st.floats(0.5, 3))
def test_iou_does_not_change_with_shift_and_scale(a: Float32, shift: float, scale: float) -> None:
    moved = np.asarray(a * scale + shift, np.float32)
    np.testing.assert_allclose(geometry.iou(a, a), geometry.iou(moved, moved), atol=1e-3)


@given(boxes(1))
def test_nms_keeps_the_best_and_no_two_that_overlap(a: Float32) -> None:
    scores = np.linspace(0.3, 0.9, len(a)).astype(np.float32)
    kept = geometry.nms(a, scores, threshold=0.4)
    assert kept[0] == scores.argmax()
    overlaps = geometry.iou(a[kept], a[kept]) - np.eye(len(kept))
    assert (overlaps <= 0.4 + 1e-6).all()
    dropped = np.setdiff1d(np.arange(len(a)), kept)
    assert all((geometry.iou(a[[d]], a[kept]) > 0.4).any() for d in dropped)


def test_a_box_inside_another_is_wholly_contained() -> None:
    outer, inner = np.array([[0, 0, 10, 10]], np.float32), np.array([[2, 2, 4, 4]], np.float32)
    assert geometry.containment(outer, inner)[0, 0] == 1


def test_clip_keeps_boxes_inside_the_picture() -> None:
    clipped = geometry.clip(np.array([[-5, -5, 30, 30]], np.float32), 20, 10)
    assert clipped.tolist() == [[0, 0, 20, 10]]
