"""MediaPipe's models, whose weights come inside its wheel: BlazeFace full range and Face Mesh with iris."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from tracker import boxes as geometry
from tracker.models.onnx import best_faces
from tracker.models.tiles import detect_in_tiles, square_tiles
from tracker.types import Detections, Float32, Image

MESH_POINTS = 478
_MESH_SIDE = 256
_QUIET = threading.Lock()
_PYPLOT = "matplotlib.pyplot"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the start-up notes of MediaPipe's C++ code off the terminal; they bypass `sys.stderr`."""
    with _QUIET:
        kept = os.dup(2)
        try:
            with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - os.devnull is no path of ours
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _solutions() -> Any:
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _pyplot_later():
        import mediapipe

    return mediapipe.solutions


class _Later(types.ModuleType):
    """Stands for pyplot until somebody draws with it."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(_PYPLOT), name)


@contextlib.contextmanager
def _pyplot_later() -> Iterator[None]:
    """Have MediaPipe import no pyplot: that is two thirds of its start, for a function that nobody here calls."""
    if _PYPLOT in sys.modules:
        yield
        return
    sys.modules[_PYPLOT] = _Later(_PYPLOT)
    try:
        yield
    finally:
        del sys.modules[_PYPLOT]


def _rgb(image: Image) -> Image:
    return np.ascontiguousarray(image[:, :, ::-1])


class BlazeFace:
    """BlazeFace full range with six points, of which five are kept (the mouth's centre stands for both its corners).

    Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019. The network sees 192x192
    pixels, so `detect_small` looks at square tiles too. One instance serves one thread at a time.
    """

    def __init__(self, *, score_threshold: float = 0.3, nms_threshold: float = 0.4, tile_share: float = 0.6) -> None:
        """Load the network.

        Args:
            score_threshold: Least score of a face.
            nms_threshold: IoU above which the weaker of two boxes goes.
            tile_share: Side of a tile of `detect_small` as a share of the picture's shorter side.
        """
        with _quiet():
            self._network = _solutions().face_detection.FaceDetection(
                model_selection=1, min_detection_confidence=score_threshold
            )
            self._network.process(np.zeros((192, 192, 3), np.uint8))
        self._nms_threshold, self._tile_share = nms_threshold, tile_share

    @property
    def model_id(self) -> str:
        """Name and version of the weights."""
        return "mediapipe_blazeface_full_range"

    def detect(self, image: Image) -> Detections:
        """Return the faces of an ``(H, W, 3)`` uint8 BGR picture, best score first."""
        return self._once(image)

    def detect_small(self, image: Image) -> Detections:
        """Return the faces, the small ones too: the full frame and overlapping square tiles, merged."""
        side = round(min(image.shape[:2]) * self._tile_share)
        parts = [self._once(image), detect_in_tiles(self._once, image, square_tiles(image, side))]
        return best_faces(Detections.concatenate(parts), overlap=self._nms_threshold)

    def _once(self, image: Image) -> Detections:
        height, width = image.shape[:2]
        found = self._network.process(_rgb(image)).detections or []
        rows = [_detection(one, width, height) for one in found]
        if not rows:
            return Detections.empty()
        boxes, scores, landmarks = (np.array(column, np.float32) for column in zip(*rows, strict=True))
        boxes = geometry.clip(_hairline_to_chin(boxes), width, height)
        faces = Detections(boxes, scores, landmarks)[geometry.sizes(boxes) > 1]
        return best_faces(faces, overlap=self._nms_threshold)


def _detection(found: Any, width: int, height: int) -> tuple[list[float], float, list[list[float]]]:
    box, points = found.location_data.relative_bounding_box, found.location_data.relative_keypoints
    xyxy = [box.xmin * width, box.ymin * height, (box.xmin + box.width) * width, (box.ymin + box.height) * height]
    right_eye, left_eye, nose, mouth = ([point.x * width, point.y * height] for point in points[:4])
    # The corners lie beside the mouth's centre, along the line of the eyes, about 0.4 of their distance to each side.
    half = 0.4 * (np.array(left_eye) - np.array(right_eye))
    corners = [(np.array(mouth) - half).tolist(), (np.array(mouth) + half).tolist()]
    return xyxy, float(found.score[0]), [right_eye, left_eye, nose, *corners]


def _hairline_to_chin(boxes: Float32) -> Float32:
    """Return BlazeFace's square boxes, which end above the brows, grown upward to the hairline."""
    grown = boxes.copy()
    grown[:, 1] -= 0.15 * (boxes[:, 3] - boxes[:, 1])
    return grown


class FaceMesh:
    """Face Mesh with attention and iris: 478 points of one face.

    Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs", 2019; Grishchenko et al.,
    "Attention Mesh", 2020. Every picture is taken for itself, so results do not depend on earlier ones. Several threads
    may share an instance; they take turns.
    """

    def __init__(self, *, padding: float = 0.5, min_confidence: float = 0.2) -> None:
        """Load the network.

        Args:
            padding: Border around the box that the network looks at, as a share of the box's longer side.
            min_confidence: Least confidence of the network's own detector within that square.
        """
        with _quiet():
            self._network = _solutions().face_mesh.FaceMesh(
                static_image_mode=True, max_num_faces=1, refine_landmarks=True, min_detection_confidence=min_confidence
            )
            self._network.process(np.zeros((_MESH_SIDE, _MESH_SIDE, 3), np.uint8))
        self._padding = padding
        self._noted = False
        self._turn = threading.Lock()

    @property
    def model_id(self) -> str:
        """Name and version of the weights."""
        return "mediapipe_face_mesh_attention"

    def landmarks(self, image: Image, box: Float32) -> Float32 | None:
        """Return ``(478, 3)`` float32 points in pixels of ``image``, or None where no face is seen in the box.

        Args:
            image: ``(H, W, 3)`` uint8 BGR picture.
            box: ``(4,)`` float32 xyxy of the face in it.
        """
        corner, side = self._square(box)
        if not side > 1:
            return None
        patch = _patch(image, corner, side)
        found = self._process(_rgb(patch))
        if not found:
            return None
        points = np.array([[p.x, p.y, p.z] for p in found[0].landmark], np.float32) * np.float32(side)
        points[:, :2] += corner
        return points if _lies_in(points, box) else None

    def _process(self, patch: Image) -> Any:
        # The first face brings one more note of the C++ code.
        with self._turn, contextlib.nullcontext() if self._noted else _quiet():
            found = self._network.process(patch).multi_face_landmarks
        self._noted = self._noted or bool(found)
        return found

    def _square(self, box: Float32) -> tuple[Float32, float]:
        box = np.asarray(box, np.float32)
        side = float((box[2:] - box[:2]).max()) * (1 + 2 * self._padding)
        return np.asarray((box[:2] + box[2:] - side) / 2, np.float32), side


def _patch(image: Image, corner: Float32, side: float) -> Image:
    """Return the square at ``corner``, black outside of the image, brought to the side that the network needs."""
    from tracker.align import warp

    scale = _MESH_SIDE / side
    shift = 0.5 * scale - 0.5 - corner * scale
    return warp(image, np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64), _MESH_SIDE)


def _lies_in(points: Float32, box: Float32) -> bool:
    """Tell whether the mesh belongs to the face in ``box``, not to a neighbour within the padding."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return bool(geometry.iou(np.concatenate([low, high])[None], np.asarray(box, np.float32)[None])[0, 0] > 0.3)
