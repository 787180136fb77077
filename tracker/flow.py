"""Optical flow that carries boxes from one picture to the next, and says when it cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tracker import boxes as geometry
from tracker.headless import cv2
from tracker.types import Carried, Float32, Image, Int64, UInt8

FLOW_WIDTH = 640


def reduced_grey(image: Image) -> UInt8:
    """Return ``image`` as a grey picture of at most `FLOW_WIDTH` pixels a side."""
    height, width = image.shape[:2]
    scale = min(1.0, FLOW_WIDTH / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


@dataclass(frozen=True, slots=True)
class LucasKanade:
    """Pyramidal Lucas-Kanade with a forward-backward check and a median similarity.

    Points inside each face are followed to the next picture and back (Bouguet 2000); those that do not come back to
    their start are dropped, and the box takes the median shift and the median change of pair distances of the others
    (Kalal, Mikolajczyk, Matas: Forward-backward error, ICPR 2010).

    Attributes:
        grid: Points a side of the regular grid in each box.
        corners: Points at the strongest corners of each box, added to the grid.
        central: Share of the box in which points are taken, as its border shows background.
        window: Side of the Lucas-Kanade window in pixels.
        max_error: Forward-backward error in pixels of the reduced picture above which a point is dropped.
        min_points: A box with fewer points left is lost.
        max_spread: Median deviation of the shifts from their median, as a share of the box's side, above which the
            points do not move as one face.
    """

    grid: int = 5
    corners: int = 15
    central: float = 0.7
    window: int = 15
    max_error: float = 1.5
    min_points: int = 8
    max_spread: float = 0.08

    def carry(self, previous: UInt8, current: UInt8, boxes: Float32, *, width: int) -> Carried:
        """Return ``boxes`` of the previous picture where they lie in the current one.

        Args:
            previous: ``(h, w)`` uint8 reduced grey picture, see `reduced_grey`.
            current: ``(h, w)`` uint8 reduced grey picture.
            boxes: ``(N, 4)`` float32 xyxy in source pixels.
            width: Width of the source picture in pixels.
        """
        if not len(boxes):
            return Carried(boxes, np.empty(0, np.float32))
        scale = previous.shape[1] / width
        reduced = np.asarray(boxes * scale, np.float32)
        points, owner = self._points(previous, reduced)
        if not len(points):
            return Carried(boxes, np.zeros(len(boxes), np.float32))
        moved, error = self._follow(previous, current, points)
        carried, confidences = boxes.copy(), np.zeros(len(boxes), np.float32)
        for index, box in enumerate(reduced):
            mine = owner == index
            box_moved, confidence = self._similarity(box, points[mine], moved[mine], error[mine])
            if confidence > 0 and _inside(box_moved, current.shape):
                carried[index], confidences[index] = box_moved / scale, confidence
        return Carried(carried, confidences)

    def _points(self, grey: UInt8, boxes: Float32) -> tuple[Float32, Int64]:
        height, width = grey.shape
        found, owner = [], []
        for index, box in enumerate(boxes):
            inner = geometry.clip(_shrink(box, self.central)[None], width - 1, height - 1)[0]
            points = np.concatenate([self._grid_points(inner), self._corner_points(grey, inner)])
            found.append(points)
            owner.append(np.full(len(points), index))
        return np.concatenate(found).astype(np.float32), np.concatenate(owner)

    def _grid_points(self, box: Float32) -> Float32:
        if (box[2:] - box[:2] < 2).any():
            return np.empty((0, 2), np.float32)
        xs = np.linspace(box[0], box[2], self.grid)
        ys = np.linspace(box[1], box[3], self.grid)
        return np.asarray(np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2), np.float32)

    def _corner_points(self, grey: UInt8, box: Float32) -> Float32:
        x1, y1, x2, y2 = np.round(box).astype(int)
        patch = grey[y1:y2, x1:x2]
        if min(patch.shape, default=0) < 8:
            return np.empty((0, 2), np.float32)
        found = cv2.goodFeaturesToTrack(patch, self.corners, 0.01, max(2, min(patch.shape) / 10))
        if found is None:
            return np.empty((0, 2), np.float32)
        return np.asarray(found.reshape(-1, 2) + np.array([x1, y1]), np.float32)

    def _follow(self, previous: UInt8, current: UInt8, points: Float32) -> tuple[Float32, Float32]:
        """Return where the points lie in the current picture and their forward-backward errors, inf where lost."""
        options: dict[str, Any] = {"winSize": (self.window, self.window), "maxLevel": 3}
        follow: Any = cv2.calcOpticalFlowPyrLK
        moved, there, _ = follow(previous, current, points, None, **options)
        returned, back, _ = follow(current, previous, moved, None, **options)
        error = np.linalg.norm(returned - points, axis=1)
        error[(there.ravel() == 0) | (back.ravel() == 0)] = np.inf
        return np.asarray(moved, np.float32), np.asarray(error, np.float32)

    def _similarity(self, box: Float32, start: Float32, end: Float32, error: Float32) -> tuple[Float32, float]:
        """Return the box moved by the median similarity of its good points, and the share of these."""
        good = error <= self.max_error
        if good.sum() < self.min_points:
            return box, 0.0
        # Kalal's rule: the better half, as the worse one holds what was occluded.
        good &= error <= max(float(np.median(error[good])), 0.1)
        if good.sum() < self.min_points // 2:
            return box, 0.0
        shifts = end[good] - start[good]
        shift = np.median(shifts, axis=0)
        spread = float(np.median(np.linalg.norm(shifts - shift, axis=1)))
        side = float(geometry.sizes(box[None])[0])
        if spread > self.max_spread * side + 0.5:
            return box, 0.0
        factor = _scale(start[good], end[good])
        center, half = (box[:2] + box[2:]) / 2 + shift, (box[2:] - box[:2]) / 2 * factor
        share = float((error <= self.max_error).mean())
        return np.concatenate([center - half, center + half]).astype(np.float32), share


def _scale(start: Float32, end: Float32) -> float:
    """Return the median ratio of pair distances, within what a face does from one picture to the next."""
    first, second = np.triu_indices(len(start), 1)
    before = np.linalg.norm(start[first] - start[second], axis=1)
    after = np.linalg.norm(end[first] - end[second], axis=1)
    far = before > 2
    return float(np.clip(np.median(after[far] / before[far]), 0.92, 1.09)) if far.any() else 1.0


def _shrink(box: Float32, share: float) -> Float32:
    center, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * share
    return np.concatenate([center - half, center + half]).astype(np.float32)


def _inside(box: Float32, shape: tuple[int, ...]) -> bool:
    x, y = (box[:2] + box[2:]) / 2
    return bool(0 <= x < shape[1] and 0 <= y < shape[0])
