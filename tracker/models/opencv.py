"""OpenCV's own face models, from OpenCV Zoo: YuNet finds, SFace embeds."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tracker import boxes as geometry
from tracker.errors import ModelError
from tracker.headless import cv2
from tracker.models.onnx import ARCFACE_TEMPLATE, resized, unit_rows
from tracker.protocols import Template
from tracker.types import Detections, Float32, Image

_CANDIDATES = 5000


class YuNet:
    """YuNet: a tiny face detector with five landmarks.

    Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023. OpenCV's object
    carries the picture's size as state, so each thread has its own.
    """

    concurrent = True
    sure_score = 0.85
    """Best score of a track below which YuNet has mostly seen hands and folds."""

    def __init__(
        self,
        path: Path,
        *,
        long_side: int = 1280,
        score_threshold: float = 0.3,
        nms_threshold: float = 0.3,
    ) -> None:
        """Load the network.

        Args:
            path: ``face_detection_yunet_*.onnx``.
            long_side: Longer side of the picture as the network sees it, in pixels; smaller pictures keep their size.
            score_threshold: Least score of a face.
            nms_threshold: IoU above which the weaker of two boxes goes.

        Raises:
            ModelError: if the file cannot be loaded.
        """
        self._path, self._long_side = path, long_side
        self._thresholds = (score_threshold, nms_threshold)
        self._per_thread = threading.local()
        self._network()

    @property
    def model_id(self) -> str:
        """Name and version of the weights."""
        return self._path.stem

    def detect(self, image: Image) -> Detections:
        """Return the faces of an ``(H, W, 3)`` uint8 BGR picture, best score first."""
        small, scale = resized(image, min(self._long_side, max(image.shape[:2])))
        network = self._network()
        network.setInputSize((small.shape[1], small.shape[0]))
        rows = network.detect(small)[1]
        if rows is None:
            return Detections.empty()
        rows = rows[np.isfinite(rows).all(axis=1)]
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1) / scale
        boxes = geometry.clip(boxes, image.shape[1], image.shape[0])
        found = Detections(boxes, rows[:, 14].clip(0, 1), rows[:, 4:14].reshape(-1, 5, 2) / scale)
        return found[geometry.sizes(boxes) > 1]

    def _network(self) -> cv2.FaceDetectorYN:
        if not hasattr(self._per_thread, "network"):
            score, overlap = self._thresholds
            try:
                made = cv2.FaceDetectorYN.create(str(self._path), "", (320, 320), score, overlap, _CANDIDATES)
            except cv2.error as error:
                raise ModelError(
                    f"OpenCV cannot load YuNet from {self._path}: {error.err}; fetch the file again"
                ) from error
            self._per_thread.network = made
        network: cv2.FaceDetectorYN = self._per_thread.network
        return network


class SFace:
    """SFace: a MobileFaceNet in ArcFace's template, 128 numbers.

    Zhong et al., "SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition", TIP 2021. One instance
    serves one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        """Load the network.

        Args:
            path: ``face_recognition_sface_*.onnx``.

        Raises:
            ModelError: if the file cannot be loaded.
        """
        try:
            self._network = cv2.FaceRecognizerSF.create(str(path), "")
        except cv2.error as error:
            raise ModelError(f"OpenCV cannot load SFace from {path}: {error.err}; fetch the file again") from error
        self._model_id = path.stem

    @property
    def model_id(self) -> str:
        """Name and version of the weights."""
        return self._model_id

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return 128

    @property
    def template(self) -> Template:
        """ArcFace's template, which SFace shares."""
        return ARCFACE_TEMPLATE

    @property
    def same_face(self) -> float:
        """Cosine that OpenCV's documentation of `FaceRecognizerSF` gives for the same person."""
        return 0.363

    def embed(self, crops: Sequence[Image]) -> Float32:
        """Return ``(N, 128)`` float32 rows of unit length for N ``(112, 112, 3)`` uint8 BGR crops."""
        if not len(crops):
            return np.empty((0, self.dimension), np.float32)
        # feature() returns a view of a buffer that the next call fills again.
        return unit_rows(np.concatenate([self._network.feature(np.ascontiguousarray(crop)).copy() for crop in crops]))
