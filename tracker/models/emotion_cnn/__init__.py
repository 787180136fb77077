"""Our own emotion network: seven classes of FER-2013 from grey faces of 44 pixels; see MODEL_CARD.md beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tracker.headless import cv2
from tracker.models.sessions import open_session
from tracker.protocols import Feelings, Template
from tracker.types import Image

SIZE = 44

# Medians of the landmarks of 3,400 FER-2013 pictures of 48 pixels, evened left and right; the crop is their middle.
_FIVE_POINTS = np.array([[14.7, 18.8], [32.3, 18.8], [23.5, 28.5], [16.4, 35.6], [30.6, 35.6]], np.float32)
_MESH_INDICES = (33, 133, 362, 263, 168, 2)
_MESH_POINTS = np.array(
    [[11.1, 18.0], [18.5, 18.7], [28.5, 18.7], [35.9, 18.0], [23.5, 17.5], [23.5, 30.9]], np.float32
)

TEMPLATE = Template(
    size=SIZE,
    five_points=_FIVE_POINTS - (48 - SIZE) / 2,
    mesh_indices=_MESH_INDICES,
    mesh_points=_MESH_POINTS - (48 - SIZE) / 2,
)
"""Where a face lies in the crop: as in the pictures of FER-2013."""


class EmotionCnn:
    """The network, run by onnxruntime; calibrated probabilities."""

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        """Load the network.

        Args:
            path: The ONNX file.
            threads: See `tracker.models.sessions.open_session`.

        Raises:
            ModelError: if the file is no such network.
        """
        self._session = open_session(path, threads=threads)
        self._input = self._session.get_inputs()[0].name

    @property
    def model_id(self) -> str:
        """Name and version of the weights."""
        return "emotion_cnn_v1"

    @property
    def template(self) -> Template:
        """How the crops are cut."""
        return TEMPLATE

    def classify(self, crops: Sequence[Image]) -> Feelings:
        """Return what N crops of 44x44 pixels, BGR, show."""
        if not crops:
            return Feelings(np.empty((0, 7), np.float32))
        grey = np.stack([cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY) for crop in crops])
        (emotions,) = self._session.run(None, {self._input: grey[:, None].astype(np.float32)})
        return Feelings(emotions)
