"""Small faces in large pictures: a detector applied to overlapping square tiles."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tracker import boxes as geometry
from tracker.protocols import Detector
from tracker.types import Detections, Image

OVERLAP = 0.25
"""Share of a tile's side that it has in common with the next: faces up to that size are whole in one of them."""

_BORDER = 2.0


def square_tiles(image: Image, side: int, *, overlap: float = OVERLAP) -> NDArray[np.int64]:
    """Return ``(N, 4)`` int64 xyxy of square tiles that cover ``image``, evenly spread; none outside of it.

    Args:
        image: ``(H, W, 3)``.
        side: Side of a tile in pixels; a picture's shorter side limits it.
        overlap: Least share of a side that neighbours have in common.

    Example:
        >>> square_tiles(np.zeros((100, 150, 3), np.uint8), 100).tolist()
        [[0, 0, 100, 100], [50, 0, 150, 100]]
    """
    height, width = image.shape[:2]
    side = max(1, min(side, height, width))
    starts = [_starts(length, side, overlap) for length in (height, width)]
    return np.array([[x, y, x + side, y + side] for y in starts[0] for x in starts[1]], np.int64)


def _starts(length: int, side: int, overlap: float) -> list[int]:
    steps = math.ceil((length - side) / (side * (1 - overlap)))
    return [round(i * (length - side) / steps) for i in range(steps + 1)] if steps else [0]


def detect_in_tiles(detect: Callable[[Image], Detections], image: Image, tiles: NDArray[np.int64]) -> Detections:
    """Return what ``detect`` finds in each tile, in pixels of ``image``, but for faces cut by a tile's inner border.

    The same face may come from several tiles: suppress the weaker ones afterwards.

    Args:
        detect: Finds the faces of a picture.
        image: ``(H, W, 3)`` uint8 BGR.
        tiles: ``(N, 4)`` xyxy, see `square_tiles`.
    """
    return Detections.concatenate(_in_tile(detect, image, tile) for tile in tiles)


def _in_tile(detect: Callable[[Image], Detections], image: Image, tile: NDArray[np.int64]) -> Detections:
    x1, y1, x2, y2 = (int(edge) for edge in tile)
    found = detect(np.ascontiguousarray(image[y1:y2, x1:x2]))
    corner = np.array([x1, y1], np.float32)
    boxes = found.boxes + np.tile(corner, 2)
    height, width = image.shape[:2]
    inner = np.array([x1 > 0, y1 > 0, x2 < width, y2 < height])
    cut = (np.abs(boxes - tile) < _BORDER) & inner
    return Detections(boxes, found.scores, found.landmarks + corner)[~cut.any(axis=1)]


class TiledDetector:
    """Gives any detector a `detect_small`: the full frame and overlapping square tiles, merged."""

    def __init__(self, detector: Detector, *, tile_share: float = 0.6, nms_threshold: float = 0.4) -> None:
        """Wrap a detector.

        Args:
            detector: Finds the faces of a picture.
            tile_share: Side of a tile as a share of the picture's shorter side.
            nms_threshold: IoU above which the weaker of two boxes goes.
        """
        self._detector, self._tile_share, self._nms_threshold = detector, tile_share, nms_threshold

    @property
    def model_id(self) -> str:
        """The detector's own name."""
        return self._detector.model_id

    def detect(self, image: Image) -> Detections:
        """Return the faces of the full frame."""
        return self._detector.detect(image)

    def detect_small(self, image: Image) -> Detections:
        """Return the faces of the full frame and of the tiles, best score first."""
        tiles = square_tiles(image, round(min(image.shape[:2]) * self._tile_share))
        found = Detections.concatenate([self.detect(image), detect_in_tiles(self.detect, image, tiles)])
        return found[geometry.nms(found.boxes, found.scores, threshold=self._nms_threshold)]
