"""Detectors and embedders that come as ONNX files: CenterFace, SCRFD and the 112 px ArcFace family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tracker import boxes as geometry
from tracker.errors import ModelError
from tracker.headless import cv2
from tracker.models.sessions import open_session
from tracker.protocols import Template
from tracker.types import Detections, Float32, Image

MOST_UPSCALING = 2.0
"""Pictures smaller than the network likes are enlarged up to this factor; beyond it nothing more is found."""

ARCFACE_TEMPLATE = Template(
    size=112,
    five_points=np.array(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
    ),
)
"""The five-point template of ArcFace (Deng et al., CVPR 2019), which InsightFace's and most 112 px embedders share."""


def resized(image: Image, long_side: int) -> tuple[Image, float]:
    """Return ``image`` with its longer side brought to ``long_side`` (see `MOST_UPSCALING`), and the factor."""
    height, width = image.shape[:2]
    scale = min(long_side / max(height, width), MOST_UPSCALING)
    if scale == 1:
        return image, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(_halved(image, size), size, interpolation=cv2.INTER_LINEAR), np.uint8), scale


def _halved(image: Image, size: tuple[int, int]) -> Image:
    """Return ``image`` halved as often as it stays larger than ``size``: averaging areas is fast by whole factors."""
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1]:
        even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
        half = (even.shape[1] // 2, even.shape[0] // 2)
        image = np.asarray(cv2.resize(even, half, interpolation=cv2.INTER_AREA), np.uint8)
    return image


def padded(image: Image, multiple: int) -> Image:
    """Return ``image`` with black added right and below until both sides are multiples of ``multiple``."""
    height, width = image.shape[:2]
    bottom, right = -height % multiple, -width % multiple
    if not (bottom or right):
        return image
    return np.asarray(cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT), np.uint8)


def best_faces(found: Detections, *, overlap: float) -> Detections:
    """Return ``found`` after non-maximum suppression at IoU ``overlap``, best score first."""
    return found[geometry.nms(found.boxes, found.scores, threshold=overlap)]


def _with_free_size(path: Path) -> bytes:
    """Return the model with any batch, height and width in place of fixed ones, and weights that nobody can override.

    Weights that are inputs too are no constants to onnxruntime, which then leaves the graph as it is: half as fast.
    """
    import onnx

    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's own, and those of the file
        raise ModelError(f"{path} is no ONNX model: {error}; fetch the file again") from error
    initial = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in initial]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    for value in [*model.graph.input, *model.graph.output]:
        for axis in (0, 2, 3):
            value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}_{axis}"
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())


class CenterFace:
    """CenterFace: an anchor-free face detector with five landmarks, made for the CPU.

    Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019 (arXiv:1911.03599). A face is
    a peak of a heat map at a quarter of the input's resolution. Runs may share one instance between threads.
    """

    concurrent = True

    _STRIDE = 4
    _OUTPUTS = ("537", "538", "539", "540")

    def __init__(
        self,
        path: Path,
        *,
        long_side: int = 640,
        small_side: int = 1280,
        score_threshold: float = 0.3,
        nms_threshold: float = 0.35,
        threads: int = 1,
    ) -> None:
        """Load the network.

        Args:
            path: ``centerface.onnx``.
            long_side: Longer side of the picture as `detect` sees it, in pixels.
            small_side: The same for the second look of `detect_small`, which never enlarges the picture.
            score_threshold: Least score of a face.
            nms_threshold: IoU above which the weaker of two boxes goes.
            threads: See `tracker.models.sessions.open_session`.

        Raises:
            ModelError: if the file cannot be loaded.
        """
        self._session = open_session(_with_free_size(path), threads=threads)
        self._long_side, self._small_side = long_side, small_side
        self._score_threshold, self._nms_threshold = score_threshold, nms_threshold

    @property
    def model_id(self) -> str:
        """Name and version of the weights."""
        return "centerface"

    @property
    def long_side(self) -> int:
        """Longer side of the picture as `detect` sees it, in pixels."""
        return self._long_side

    def detect(self, image: Image) -> Detections:
        """Return the faces of an ``(H, W, 3)`` uint8 BGR picture, best score first."""
        return self.detect_at(image, self._long_side)

    def detect_small(self, image: Image) -> Detections:
        """Return the faces, the small ones too: `detect` and a second look at a larger scale, merged.

        The network is fully convolutional: one larger input sees what overlapping tiles would, without looking twice
        at the overlaps.
        """
        found = self.detect(image)
        closer_side = min(self._small_side, max(image.shape[:2]))
        if closer_side <= self._long_side:
            return found
        closer = self.detect_at(image, closer_side)
        return best_faces(Detections.concatenate([found, closer]), overlap=self._nms_threshold)

    def detect_at(self, image: Image, long_side: int) -> Detections:
        """Return the faces of ``image`` brought to a longer side of ``long_side`` pixels, best score first."""
        small, scale = resized(image, long_side)
        pixels = cv2.dnn.blobFromImage(padded(small, 32))
        outputs = self._session.run(self._OUTPUTS, {"input.1": pixels})
        found = best_faces(self._decode(*(output[0] for output in outputs)), overlap=self._nms_threshold)
        height, width = image.shape[:2]
        boxes = geometry.clip(found.boxes / scale, width, height)
        return Detections(boxes, found.scores, found.landmarks / scale)[geometry.sizes(boxes) > 1]

    def _decode(self, heat: Float32, log_size: Float32, offset: Float32, points: Float32) -> Detections:
        rows, columns = np.nonzero(heat[0] >= self._score_threshold)
        at = (slice(None), rows, columns)
        center = (np.stack([columns, rows]) + offset[at][::-1] + 0.5) * self._STRIDE
        size = np.exp(log_size[at][::-1]) * self._STRIDE
        corner = center - size / 2
        places = points[at].reshape(5, 2, -1)[:, ::-1]
        landmarks = corner[None] + places * size[None]
        return Detections(
            np.concatenate([corner, corner + size]).T, heat[0][rows, columns].clip(0, 1), landmarks.transpose(2, 0, 1)
        )


class Scrfd:
    """SCRFD with five landmarks, as InsightFace exports it: two anchors at each place of strides 8, 16 and 32.

    Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", ICLR 2022. Runs may share one
    instance between threads.
    """

    concurrent = True
    _STRIDES = (8, 16, 32)
    _ANCHORS = 2

    def __init__(
        self,
        path: Path,
        *,
        model_id: str = "",
        long_side: int = 640,
        score_threshold: float = 0.3,
        nms_threshold: float = 0.4,
        threads: int = 0,
    ) -> None:
        """Load the network.

        Args:
            path: A ``scrfd_*_bnkps.onnx`` file with nine outputs.
            model_id: Name and version of the weights; empty: the file's name.
            long_side: Longer side of the picture as the network sees it; a fixed input size of the file goes before.
            score_threshold: Least score of a face.
            nms_threshold: IoU above which the weaker of two boxes goes.
            threads: See `tracker.models.sessions.open_session`.

        Raises:
            ModelError: if the file cannot be loaded or is another kind of network.
        """
        self._session = open_session(path, threads=threads)
        if len(self._session.get_outputs()) != 3 * len(self._STRIDES):
            count = len(self._session.get_outputs())
            raise ModelError(f"{path} has {count} outputs; a SCRFD with five landmarks (bnkps) has 9")
        (declared,) = self._session.get_inputs()
        self._input, fixed = declared.name, declared.shape[2]
        self._fixed_side = fixed if isinstance(fixed, int) else None
        self._long_side = self._fixed_side or long_side
        self._score_threshold, self._nms_threshold = score_threshold, nms_threshold
        self._model_id = model_id or path.stem

    @property
    def model_id(self) -> str:
        """Name and version of the weights."""
        return self._model_id

    def detect(self, image: Image) -> Detections:
        """Return the faces of an ``(H, W, 3)`` uint8 BGR picture, best score first."""
        small, scale = resized(image, self._long_side)
        canvas = padded(small, self._fixed_side or 32)
        pixels = (canvas[:, :, ::-1].astype(np.float32) - 127.5) / 128
        outputs = self._session.run(None, {self._input: pixels.transpose(2, 0, 1)[None]})
        found = best_faces(self._decode(outputs, canvas.shape[1]), overlap=self._nms_threshold)
        height, width = image.shape[:2]
        boxes = geometry.clip(found.boxes / scale, width, height)
        return Detections(boxes, found.scores, found.landmarks / scale)[geometry.sizes(boxes) > 1]

    def _decode(self, outputs: list[Any], width: int) -> Detections:
        """Return all faces above the threshold; outputs are told apart by their last axis (1, 4, 10) and length."""
        rows = [output.reshape(-1, output.shape[-1]) for output in outputs]
        scores, boxes, points = (
            sorted((r for r in rows if r.shape[1] == columns), key=len, reverse=True) for columns in (1, 4, 10)
        )
        levels = zip(self._STRIDES, scores, boxes, points, strict=True)
        return Detections.concatenate(self._decode_level(*level, width // level[0]) for level in levels)

    def _decode_level(self, stride: int, scores: Float32, boxes: Float32, points: Float32, columns: int) -> Detections:
        chosen = np.flatnonzero(scores[:, 0] >= self._score_threshold)
        place = chosen // self._ANCHORS
        center = np.stack([place % columns, place // columns], axis=1).astype(np.float32) * stride
        left_top, right_bottom = boxes[chosen, :2] * stride, boxes[chosen, 2:] * stride
        landmarks = center[:, None] + points[chosen].reshape(-1, 5, 2) * stride
        xyxy = np.concatenate([center - left_top, center + right_bottom], axis=1)
        return Detections(xyxy, scores[chosen, 0].clip(0, 1), landmarks)


def unit_rows(vectors: Float32) -> Float32:
    """Return the rows scaled to length one; a zero row stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


class ArcFaceEmbedder:
    """An embedder of 112 px RGB crops in ArcFace's template: MobileFaceNet, ArcFace, EdgeFace and their kin."""

    def __init__(
        self,
        path: Path,
        *,
        same_face: float,
        model_id: str = "",
        scale: float = 127.5,
        flip: bool = False,
        threads: int = 0,
    ) -> None:
        """Load the network.

        Args:
            path: An ONNX file with one input ``(N, 3, 112, 112)``.
            same_face: Cosine above which two fair views are the same person.
            model_id: Name and version of the weights; empty: the file's name.
            scale: The input is ``(rgb - 127.5) / scale``.
            flip: Add the mirrored crop's vector; better by a little, at twice the cost.
            threads: See `tracker.models.sessions.open_session`.

        Raises:
            ModelError: if the file cannot be loaded or takes another input.
        """
        self._session = open_session(path, threads=threads)
        (declared,) = self._session.get_inputs()
        if list(declared.shape[1:]) != [3, 112, 112]:
            raise ModelError(f"{path} takes input {declared.shape}; an embedder of this family takes (N, 3, 112, 112)")
        self._input, self._scale, self._flip = declared.name, scale, flip
        self._dimension = int(self._session.get_outputs()[0].shape[-1])
        self._same_face = same_face
        self._model_id = (model_id or path.stem) + ("+flip" if flip else "")

    @property
    def model_id(self) -> str:
        """Name and version of the weights."""
        return self._model_id

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self._dimension

    @property
    def template(self) -> Template:
        """ArcFace's template."""
        return ARCFACE_TEMPLATE

    @property
    def same_face(self) -> float:
        """Cosine above which two fair views are the same person."""
        return self._same_face

    def embed(self, crops: Sequence[Image]) -> Float32:
        """Return ``(N, dimension)`` float32 rows of unit length for N ``(112, 112, 3)`` uint8 BGR crops."""
        if not len(crops):
            return np.empty((0, self.dimension), np.float32)
        return unit_rows(np.stack([self._embed_one(crop) for crop in crops]))

    def _embed_one(self, crop: Image) -> Float32:
        # One at a time: a quantised network's scales would otherwise depend on the neighbours in the batch.
        vector = self._run(crop)
        return unit_rows(vector[None])[0] + unit_rows(self._run(crop[:, ::-1])[None])[0] if self._flip else vector

    def _run(self, crop: Image) -> Float32:
        pixels = (crop[:, :, ::-1].astype(np.float32) - 127.5) / self._scale
        (vector,) = self._session.run(None, {self._input: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])})[:1]
        return np.asarray(vector[0], np.float32)
