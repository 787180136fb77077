"""Geometry of boxes: pure functions on ``(N, 4)`` arrays of ``x1, y1, x2, y2``, and the pixels in one."""

from __future__ import annotations

import numpy as np

from tracker.types import Float32, Image


def sizes(boxes: Float32) -> Float32:
    """Return ``(N,)`` side lengths: the square root of each box's area, in pixels.

    Example:
        >>> sizes(np.array([[0, 0, 4, 9]], np.float32))
        array([6.], dtype=float32)
    """
    extent = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(np.sqrt(extent[:, 0] * extent[:, 1]), np.float32)


def centers(boxes: Float32) -> Float32:
    """Return ``(N, 2)`` centres in pixels."""
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2, np.float32)


def _overlaps(a: Float32, b: Float32) -> tuple[Float32, Float32, Float32]:
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.prod(np.maximum(bottom_right - top_left, 0), axis=2)
    return overlap, sizes(a)[:, None] ** 2, sizes(b)[None] ** 2


def iou(a: Float32, b: Float32) -> Float32:
    """Return ``(N, M)`` float32 intersection over union of ``(N, 4)`` and ``(M, 4)`` boxes, in [0, 1].

    Example:
        >>> iou(np.array([[0, 0, 2, 2]], np.float32), np.array([[0, 0, 2, 1], [5, 5, 6, 6]], np.float32))
        array([[0.5, 0. ]], dtype=float32)
    """
    overlap, area_a, area_b = _overlaps(a, b)
    return np.asarray(overlap / np.maximum(area_a + area_b - overlap, 1e-9), np.float32)


def pixels(image: Image, box: Float32) -> Image:
    """Return the part of ``image`` in a box, a view of at least one pixel.

    Args:
        image: ``(H, W, 3)`` uint8.
        box: ``(4,)`` float32 xyxy; what lies outside of the picture is left out.

    Example:
        >>> pixels(np.zeros((40, 60, 3), np.uint8), np.array([-5, 10.4, 20, 30], np.float32)).shape
        (20, 20, 3)
    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = np.round(clip(box[None], width, height)[0]).astype(int)
    return image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]


def containment(a: Float32, b: Float32) -> Float32:
    """Return ``(N, M)`` float32 intersection over the smaller area, in [0, 1]."""
    overlap, area_a, area_b = _overlaps(a, b)
    return np.asarray(overlap / np.maximum(np.minimum(area_a, area_b), 1e-9), np.float32)


def clip(boxes: Float32, width: int, height: int) -> Float32:
    """Return the boxes cut at the borders of a picture."""
    return np.asarray(np.clip(boxes, 0, [width, height, width, height]), np.float32)


def nms(boxes: Float32, scores: Float32, *, threshold: float = 0.4) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return indices of the boxes that survive greedy non-maximum suppression, best score first.

    Args:
        boxes: ``(N, 4)`` float32.
        scores: ``(N,)`` float32.
        threshold: IoU above which the lower of two boxes goes.
    """
    order = np.argsort(-scores, kind="stable")
    overlaps = iou(boxes, boxes) > threshold
    keep = np.ones(len(boxes), bool)
    for position, index in enumerate(order):
        if keep[index]:
            keep[order[position + 1 :]] &= ~overlaps[index, order[position + 1 :]]
    return np.asarray([i for i in order if keep[i]], np.int64)
