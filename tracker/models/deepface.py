"""Any model of the deepface package, by its name there; deepface fetches the weights of most at first use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tracker import boxes as geometry
from tracker import weights
from tracker.errors import ModelError
from tracker.models.emotions import FER_LABELS, FER_SIDE, fer_template, stacked, to_emotions
from tracker.models.onnx import ARCFACE_TEMPLATE, unit_rows
from tracker.protocols import Feelings, Template
from tracker.types import Detections, Float32, Image

DLIB_FILE = "dlib_face_recognition_resnet_model_v1.dat"

_PARTS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
_LEAST_SIDE = 2


def home() -> Path:
    """Return the folder in which deepface keeps its ``.deepface``: ``DEEPFACE_HOME``, else a folder of our cache."""
    chosen = os.environ.get("DEEPFACE_HOME")
    return Path(chosen) if chosen else weights.cache_dir() / "deepface"


def _deepface() -> Any:
    """Import deepface, which makes folders in its home as it is imported and reports with prints unless told not to."""
    os.environ.setdefault("DEEPFACE_HOME", str(home()))
    os.environ.setdefault("DEEPFACE_LOG_LEVEL", "40")
    os.environ.setdefault("DEEPFACE_BACKEND_ENGINE", "onnx")  # else torch or TensorFlow, where they happen to be
    Path(os.environ["DEEPFACE_HOME"]).mkdir(parents=True, exist_ok=True)
    _place_dlib_weights()
    try:
        from deepface import DeepFace
    except ImportError as error:
        raise ModelError(f"deepface cannot be imported ({error}); run `pip install deepface werkzeug`") from error
    return DeepFace


def _place_dlib_weights() -> None:
    """Link, or copy, dlib's file from its package into deepface's folder, so that its model Dlib needs no network."""
    folder = home() / ".deepface" / "weights"
    source, target = weights.locate("dlib"), folder / DLIB_FILE
    if source is None or target.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)  # a link whose target has gone
    try:
        target.symlink_to(source)
    except FileExistsError:
        return  # another process was quicker
    except OSError:
        shutil.copyfile(source, target)


def names() -> Mapping[str, tuple[str, ...]]:
    """Return deepface's names for the kinds ``detector``, ``embedder`` and ``emotion``; imports deepface.

    Raises:
        ModelError: if deepface cannot be imported.
    """
    _deepface()
    from deepface.modules.modeling import AVAILABLE_MODELS

    return MappingProxyType(
        {
            "detector": tuple(AVAILABLE_MODELS["face_detector"]),
            "embedder": tuple(AVAILABLE_MODELS["facial_recognition"]),
            "emotion": ("Emotion",),
        }
    )


def _build(task: str, kind: str, name: str) -> Any:
    known = names()[kind]
    if name not in known:
        raise ModelError(f"deepface has no {kind} {name!r}; it has {', '.join(known)}")
    from deepface.modules.modeling import build_model

    try:
        return build_model(task=task, model_name=name)
    except Exception as error:  # deepface raises whatever its back ends raise
        raise ModelError(
            f"deepface:{name} cannot be loaded: {error}; deepface fetches its weights into {home()}/.deepface/weights, "
            "which takes a network or the file put there by hand, and some models need a package of their own"
        ) from error


class DeepFaceEmbedder:
    """An embedder of deepface. One instance serves one thread at a time."""

    def __init__(self, name: str) -> None:
        """Load a model.

        Args:
            name: deepface's ``model_name``, such as ``Facenet512`` or ``Dlib``.

        Raises:
            ModelError: if deepface does not know the name or the weights cannot be fetched.
        """
        self._network = _build("facial_recognition", "embedder", name)
        self._name = name
        self._template = _template(name, max(self._network.input_shape))

    @property
    def model_id(self) -> str:
        """Name and version of the weights."""
        return f"deepface:{self._name}"

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return int(self._network.output_shape)

    @property
    def template(self) -> Template:
        """ArcFace's template, scaled to the size of the model's input; for Dlib its own."""
        return self._template

    @property
    def same_face(self) -> float:
        """Cosine that deepface's own threshold for this model stands for."""
        from deepface.modules.verification import find_threshold

        return 1.0 - float(find_threshold(self._name, "cosine"))

    def embed(self, crops: Sequence[Image]) -> Float32:
        """Return ``(N, dimension)`` float32 rows of unit length for N crops of ``template.size`` squared, BGR."""
        if not len(crops):
            return np.empty((0, self.dimension), np.float32)
        return unit_rows(np.stack([self.describe(crop) for crop in crops]))

    def describe(self, crop: Image) -> Float32:
        """Return the ``(dimension,)`` float32 vector as deepface gives it, of no fixed length."""
        # One crop at a time: with several, represent() returns a list more deeply nested.
        (found,) = _deepface().represent(
            np.ascontiguousarray(crop),
            model_name=self._name,
            detector_backend="skip",
            enforce_detection=False,
            align=False,
        )
        return np.asarray(found["embedding"], np.float32).reshape(-1)


def _template(name: str, size: int) -> Template:
    if name == "Dlib":
        from tracker.models.dlib_onnx import CHIP_TEMPLATE

        return CHIP_TEMPLATE
    return Template(size=size, five_points=ARCFACE_TEMPLATE.five_points * (size / ARCFACE_TEMPLATE.size))


class DeepFaceEmotion:
    """deepface's emotion network: seven classes of FER-2013, 48 px grey. One instance serves one thread at a time."""

    def __init__(self, name: str = "Emotion") -> None:
        """Load the network.

        Args:
            name: deepface's name of it; there is only ``Emotion``.

        Raises:
            ModelError: if deepface does not know the name or the weights cannot be fetched.
        """
        self._network = _build("facial_attribute", "emotion", name)
        self._template = fer_template(FER_SIDE)

    @property
    def model_id(self) -> str:
        """Name and version of the weights."""
        return "deepface:Emotion"

    @property
    def template(self) -> Template:
        """The framing of FER-2013."""
        return self._template

    def classify(self, crops: Sequence[Image]) -> Feelings:
        """Return what N crops of ``template.size`` squared, BGR, show."""
        faces = stacked(crops, FER_SIDE).astype(np.float32) / np.float32(255)  # as DeepFace.analyze scales them
        if not len(faces):
            return Feelings(np.empty((0, len(FER_LABELS)), np.float32))
        rows = np.asarray(self._network.predict(faces), np.float32)  # one face gives one row without a leading axis
        return Feelings(to_emotions(rows.reshape(len(faces), -1), FER_LABELS))


class DeepFaceDetector:
    """A detector of deepface. One instance serves one thread at a time."""

    def __init__(self, name: str) -> None:
        """Load a model.

        Args:
            name: deepface's ``detector_backend``, such as ``opencv`` or ``retinaface``.

        Raises:
            ModelError: if deepface does not know the name or the weights cannot be fetched.
        """
        self._network = _build("face_detector", "detector", name)
        self._name = name

    @property
    def model_id(self) -> str:
        """Name and version of the weights."""
        return f"deepface:{self._name}"

    def detect(self, image: Image) -> Detections:
        """Return the faces of an ``(H, W, 3)`` uint8 BGR picture, best score first; landmarks may be NaN."""
        faces = self._network.detect_faces(np.ascontiguousarray(image))
        if not len(faces):
            return Detections.empty()
        boxes = np.array([[face.x, face.y, face.x + face.w, face.y + face.h] for face in faces], np.float32)
        boxes = geometry.clip(boxes, image.shape[1], image.shape[0])
        scores = np.array([_score(face) for face in faces], np.float32)
        found = Detections(boxes, scores, np.array([_landmarks(face) for face in faces]))
        order = np.argsort(-scores, kind="stable")
        return found[order[geometry.sizes(boxes[order]) >= _LEAST_SIDE]]


def _score(face: Any) -> float:
    # Some back ends give no confidence, and Haar cascades one that can leave [0, 1].
    return 1.0 if face.confidence is None else float(np.clip(face.confidence, 0, 1))


def _landmarks(face: Any) -> list[tuple[float, float]]:
    points = [getattr(face, part) for part in _PARTS]
    return points if all(point is not None for point in points) else [(np.nan, np.nan)] * len(points)
