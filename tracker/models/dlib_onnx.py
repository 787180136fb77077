"""dlib's face recognition network, converted once from the package's own file to ONNX and run by onnxruntime."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tracker import weights
from tracker.errors import ModelError
from tracker.headless import cv2
from tracker.models import typicality
from tracker.models.onnx import unit_rows
from tracker.models.sessions import open_session
from tracker.protocols import Template
from tracker.types import Float32, Image

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

SIZE = 150
DIMENSION = 128
PADDING = 0.25
"""Border that dlib leaves around its landmark square, as a share of the square's side."""

MESH_INDICES = (263, 362, 33, 133, 2)
"""Face Mesh points of dlib's five landmarks: left eye outer and inner corner, right eye outer and inner, nose base."""

_MESH_POINTS = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
_FIVE_POINTS = np.array([[0.2138, 0.2265], [0.7924, 0.2151], [0.5047, 0.5470], [0.2470, 0.8035], [0.7405, 0.7929]])
"""Where CenterFace's landmarks fall in dlib's square: medians over 4,108 LFW photographs aligned by Face Mesh."""

ZOOM = 1.12
"""Magnification of the closer view. TAR at FAR 1e-3 over all pairs of 4,131 LFW photographs: one view 0.933, with its
mirror image 0.952, both at this zoom too 0.958."""

MOST_VIEWS = 4
"""Dlib's view and the closer one, each with its mirror image."""

_MEAN_RGB = np.array([122.782, 117.001, 104.298], np.float32)
_INPUT_SCALE = 256.0
_TENSOR_VERSION = 2


def _template(size: int) -> Template:
    five, mesh = ((points + PADDING) / (1 + 2 * PADDING) * size for points in (_FIVE_POINTS, _MESH_POINTS))
    return Template(size=size, five_points=five, mesh_indices=MESH_INDICES, mesh_points=mesh)


CHIP_TEMPLATE = _template(SIZE)
"""dlib's five-landmark template (get_face_chip_details) with its padding, at the network's own size."""

TEMPLATE = _template(round(SIZE * ZOOM))
"""The same, magnified by `ZOOM`: reduced it gives dlib's view, its middle the closer one."""


@dataclass(frozen=True, slots=True)
class _Convolution:
    weight: Float32
    bias: Float32


class _Reader:
    """Reads dlib's serialization: variable-length integers, and tensors as five of them before raw float32."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def seek_layer(self, *names: str) -> str | None:
        """Move behind the next of the layer tags and return it; None at the end."""
        tags = b"|".join(re.escape(bytes([1, len(name)]) + name.encode()) for name in names)
        match = re.compile(tags).search(self._data, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match.group()[2:].decode()

    def integer(self) -> int:
        """Return the next integer: a byte with sign bit and length, then that many bytes, lowest first."""
        head = self._data[self._at]
        length, negative = head & 0x0F, bool(head & 0x80)
        value = int.from_bytes(self._data[self._at + 1 : self._at + 1 + length], "little")
        self._at += 1 + length
        return -value if negative else value

    def tensor(self) -> Float32:
        """Return the next tensor, flat."""
        version, *shape = (self.integer() for _ in range(5))
        count = int(np.prod(shape))
        if version != _TENSOR_VERSION or not 0 < count * 4 <= len(self._data) - self._at:
            raise ValueError(f"tensor of version {version} and shape {shape} at byte {self._at}")
        values = np.frombuffer(self._data, "<f4", count, self._at)
        self._at += 4 * count
        return values


def _read_layers(data: bytes) -> tuple[list[_Convolution], Float32]:
    """Return the 29 convolutions, each with its affine layer folded in, and the ``(256, 128)`` last matrix."""
    reader = _Reader(data)
    convolutions: list[_Convolution] = []
    filters = [32, *_plan_filters()]
    channels, side = 3, 7
    while reader.seek_layer("con_4", "fc_2") == "con_4":
        count = filters[len(convolutions)]
        values = reader.tensor()
        weight, bias = values[:-count].reshape(count, channels, side, side), values[-count:]
        if reader.seek_layer("affine_") is None:
            raise ValueError("a convolution without its affine layer")
        gain, shift = np.split(reader.tensor(), 2)
        convolutions.append(_Convolution(weight * gain[:, None, None, None], bias * gain + shift))
        channels, side = count, 3
    if len(convolutions) != len(filters):
        raise ValueError(f"{len(convolutions)} convolutions instead of {len(filters)}")
    outputs, inputs = reader.integer(), reader.integer()
    return convolutions, reader.tensor().reshape(inputs, outputs)


_STAGES = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""Filters, residual blocks, and whether the first block halves the picture, from the input to the output."""


def _plan_filters() -> Iterator[int]:
    for filters, blocks, _ in _STAGES:
        yield from [filters] * (2 * blocks)


class _Graph:
    """Nodes and constants of the ONNX graph as it grows from input to output."""

    def __init__(self, convolutions: Sequence[_Convolution]) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._layers = iter(convolutions)

    def constant(self, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def convolution(self, source: str, stride: int) -> str:
        layer = next(self._layers)
        side = layer.weight.shape[2]
        # dlib pads a convolution of stride 1 to keep the size and does not pad one of stride 2.
        pad = side // 2 if stride == 1 else 0
        weight, bias = self.constant(layer.weight), self.constant(layer.bias)
        return self.node("Conv", source, weight, bias, strides=[stride] * 2, pads=[pad] * 4, kernel_shape=[side] * 2)

    def block(self, source: str, shape: tuple[int, int], filters: int, halves: bool) -> tuple[str, tuple[int, int]]:
        """Add a residual block to a tensor of ``shape`` (channels, side) and return its output and shape."""
        channels, side = shape
        inner_side = (side - 3) // 2 + 1 if halves else side
        inner = self.node("Relu", self.convolution(source, 2 if halves else 1))
        inner = self.convolution(inner, 1)
        shortcut, shortcut_side = source, side
        if halves:
            shortcut, shortcut_side = self.node("AveragePool", source, kernel_shape=[2, 2], strides=[2, 2]), side // 2
        out = (max(filters, channels), max(inner_side, shortcut_side))
        total = self.node(
            "Add", self.grown(inner, (filters, inner_side), out), self.grown(shortcut, (channels, shortcut_side), out)
        )
        return self.node("Relu", total), out

    def grown(self, source: str, shape: tuple[int, int], wanted: tuple[int, int]) -> str:
        """Add zeros at the end of the axes, as dlib's add_prev does for the smaller operand."""
        more_channels, more_pixels = wanted[0] - shape[0], wanted[1] - shape[1]
        if not (more_channels or more_pixels):
            return source
        pads = np.array([0, 0, 0, 0, 0, more_channels, more_pixels, more_pixels], np.int64)
        return self.node("Pad", source, self.constant(pads))


def to_onnx(data: bytes) -> ModelProto:
    """Return dlib's ``dlib_face_recognition_resnet_model_v1.dat`` as an ONNX model.

    Input ``rgb``: ``(N, 3, 150, 150)`` float32 in 0..255; output ``vector``: ``(N, 128)`` float32 as dlib gives it (not
    of unit length). ResNet-29 after He et al. with dlib's own padding (Davis King, dlib 19.3, 2017).

    Raises:
        ModelError: if the bytes are another or a damaged file.
    """
    from onnx import TensorProto, helper

    try:
        convolutions, last = _read_layers(data)
    except (ValueError, IndexError) as error:
        raise ModelError(
            f"this is no dlib_face_recognition_resnet_model_v1.dat ({error}); install the package again"
        ) from error
    graph = _Graph(convolutions)
    centered = graph.node("Sub", "rgb", graph.constant(_MEAN_RGB[:, None, None]))
    current = graph.node("Div", centered, graph.constant(np.array(_INPUT_SCALE, np.float32)))
    current = graph.node("Relu", graph.convolution(current, 2))
    current = graph.node("MaxPool", current, kernel_shape=[3, 3], strides=[2, 2])
    shape = (32, 35)
    for filters, blocks, halves in _STAGES:
        for block in range(blocks):
            current, shape = graph.block(current, shape, filters, halves and block == 0)
    pooled = graph.node("Flatten", graph.node("GlobalAveragePool", current))
    graph.nodes.append(helper.make_node("MatMul", [pooled, graph.constant(last)], ["vector"]))
    described = helper.make_graph(
        graph.nodes,
        "dlib_resnet29",
        [helper.make_tensor_value_info("rgb", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["N", DIMENSION])],
        graph.constants,
    )
    return helper.make_model(described, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def converted(source: Path) -> Path:
    """Return the ONNX file of dlib's file ``source``; it is made at the first call and kept in the cache.

    Raises:
        ModelError: if ``source`` is another or a damaged file.
    """
    data = source.read_bytes()
    target = weights.cache_dir() / f"dlib_resnet29_{hashlib.sha256(data).hexdigest()[:16]}.onnx"
    if not target.is_file():
        weights.write_atomically(target, to_onnx(data).SerializeToString())
    return target


class DlibEmbedder:
    """dlib's ResNet-29 face embedder, 128 numbers.

    Each face is seen in four views, whose descriptors are added: dlib's own and a closer one, and both mirrored. The
    vectors of faces that many strangers look like are shortened, see `tracker.models.typicality`: on people it was not
    fitted on that brings TAR at FAR 1e-4 from 0.835 to 0.896 (LFW, all pairs). Runs may share one instance between
    threads.
    """

    def __init__(self, path: Path, *, views: int = MOST_VIEWS, threads: int = 0) -> None:
        """Load the network; at the first time it is converted, which takes a second.

        Args:
            path: dlib's ``.dat`` file.
            views: 4, 2 (dlib's view and its mirror image) or 1; time grows with it. Fewer than 4 stay of unit length.
            threads: See `tracker.models.sessions.open_session`.

        Raises:
            ModelError: if the file is another or a damaged one.
            ValueError: if ``views`` is another number.
        """
        if views not in (1, 2, MOST_VIEWS):
            raise ValueError(f"views is {views}; 1, 2 and 4 are possible")
        self._session = open_session(converted(path), threads=threads)
        self._views = views

    @property
    def model_id(self) -> str:
        """Name and version of the weights, and of what is done with them."""
        return f"dlib_resnet29_v1+{self._views}views" + ("+typicality" if self._views == MOST_VIEWS else "")

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return DIMENSION

    @property
    def template(self) -> Template:
        """The template of dlib, magnified."""
        return TEMPLATE

    @property
    def same_face(self) -> float:
        """Similarity at a false accept rate of 1e-3 over all pairs of LFW."""
        return {1: 0.926, 2: 0.929, 4: 0.927}[self._views]

    def describe(self, chips: Sequence[Image]) -> Float32:
        """Return ``(N, 128)`` float32 descriptors as dlib's ``compute_face_descriptor`` gives them, of no fixed length.

        Args:
            chips: N ``(150, 150, 3)`` uint8 BGR crops, aligned to `CHIP_TEMPLATE`.
        """
        if not len(chips):
            return np.empty((0, DIMENSION), np.float32)
        return np.concatenate([self._run(chip) for chip in chips])

    def embed(self, crops: Sequence[Image]) -> Float32:
        """Return ``(N, 128)`` float32 rows of about unit length for N crops of ``template.size`` squared, uint8 BGR."""
        if not len(crops):
            return np.empty((0, DIMENSION), np.float32)
        rows = unit_rows(np.stack([self.describe(_chips(crop)[: self._views]).sum(axis=0) for crop in crops]))
        return typicality.of_dlib().shortened(rows) if self._views == MOST_VIEWS else rows

    def _run(self, chip: Image) -> Float32:
        # One at a time, so that a vector cannot depend on its neighbours in a batch; a batch is no faster here.
        pixels = np.ascontiguousarray(chip[:, :, ::-1].transpose(2, 0, 1)[None], np.float32)
        return np.asarray(self._session.run(None, {"rgb": pixels})[0], np.float32)


def _chips(crop: Image) -> list[Image]:
    """Return dlib's view, its mirror image, the closer view and its mirror image, each 150 px, of a magnified crop."""
    border = (TEMPLATE.size - SIZE) // 2
    own = np.asarray(cv2.resize(crop, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)
    closer = crop[border : border + SIZE, border : border + SIZE]
    return [own, own[:, ::-1], closer, closer[:, ::-1]]
