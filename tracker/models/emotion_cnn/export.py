"""The trained network as ONNX: normalisation folded into the convolutions, weights in half precision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tracker.models.emotion_cnn import SIZE
from tracker.types import Float32

WIENER = 0.003
"""Power of the noise over that of the picture in the Wiener filter that undoes blur."""

_EPSILON = 1e-5
_OPSET = 17


class _Graph:
    """Nodes and weights of an ONNX graph as it grows."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values: NDArray[Any]) -> str:
        """Append values, as they are, and return their name."""
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weight(self, values: Float32) -> str:
        """Append weights in half precision; the runtime widens them once, when it loads the file."""
        return self.add("Cast", self.constant(values.astype(np.float16)), to=TensorProto.FLOAT)


def write_onnx(
    state: Mapping[str, Float32],
    output: Path,
    *,
    shift: Float32 | None = None,
    temperature: float = 1.0,
    blur: float = 0.0,
) -> None:
    """Write a network as ONNX: ``(N, 1, 44, 44)`` grey in [0, 255] to ``(N, 7)`` probabilities.

    The logits are the mean over a face and its mirror image; where the network learnt from blurred faces, the mirror
    image is shown as it knows those.

    Args:
        state: The parameters of `tracker.models.emotion_cnn.network.EmotionNet` by name.
        output: The file.
        shift: ``(7,)`` float32 added to the logits; None: nothing.
        temperature: That they are divided by then (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017).
        blur: Sigma in pixels of the Gaussian that was undone on the faces it learnt from; 0: there was none.
    """
    graph = _Graph()
    columns = graph.constant(np.arange(SIZE - 1, -1, -1))
    mirrored = graph.add("Gather", "face", columns, axis=3)
    both = graph.add("Concat", "face", _deblurred(graph, mirrored, blur) if blur else mirrored, axis=0)
    logits = _logits(graph, state, _standardised(graph, both))
    paired = graph.add("Reshape", logits, graph.constant(np.array([2, -1, 7])))
    mean = graph.add("ReduceMean", paired, axes=[0], keepdims=0)
    shifted = mean if shift is None else graph.add("Add", mean, graph.constant(np.asarray(shift, np.float32)))
    scaled = graph.add("Div", shifted, graph.constant(np.array(temperature, np.float32)))
    graph.nodes.append(helper.make_node("Softmax", [scaled], ["emotions"], axis=1))
    inputs = [helper.make_tensor_value_info("face", TensorProto.FLOAT, ["faces", 1, SIZE, SIZE])]
    outputs = [helper.make_tensor_value_info("emotions", TensorProto.FLOAT, ["faces", 7])]
    proto = helper.make_graph(graph.nodes, "emotion_cnn", inputs, outputs, graph.weights)
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(output))


def _deblurred(graph: _Graph, face: str, blur: float) -> str:
    """Show a face as a blurred one looks after the blur was undone: what the noise has swallowed stays lost."""
    kernel = kept_by_deblurring(blur)
    border = len(kernel) // 2
    pads = graph.constant(np.array([0, 0, border, border] * 2))
    padded = graph.add("Pad", face, pads, mode="reflect")
    return graph.add("Conv", padded, graph.constant(kernel[None, None]))


def kept_by_deblurring(blur: float, *, reach: int = 12) -> Float32:
    """Return the ``(25, 25)`` float32 kernel of a blur and the Wiener filter that undoes it, one after the other.

    Example:
        >>> kernel = kept_by_deblurring(2.9)
        >>> kernel.shape, round(float(kernel.sum()), 3)
        ((25, 25), 1.0)
    """
    side = 96
    gaussian = np.exp(-2 * (np.pi * blur * np.fft.fftfreq(side)) ** 2)
    power = np.outer(gaussian, gaussian) ** 2
    spatial = np.fft.fftshift(np.fft.ifft2(power / (power + WIENER)).real)
    middle = slice(side // 2 - reach, side // 2 + reach + 1)
    kernel = spatial[middle, middle]
    return np.asarray(kernel / kernel.sum(), np.float32)


def _standardised(graph: _Graph, face: str) -> str:
    """Bring each picture to mean 0 and deviation 1."""
    centred = graph.add("Sub", face, graph.add("ReduceMean", face, axes=[1, 2, 3], keepdims=1))
    variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), axes=[1, 2, 3], keepdims=1)
    deviation = graph.add("Add", graph.add("Sqrt", variance), graph.constant(np.array(1e-3, np.float32)))
    return graph.add("Div", centred, deviation)


def _logits(graph: _Graph, state: Mapping[str, Float32], x: str) -> str:
    x = graph.add("Relu", _convolution(graph, state, x, "features.0", "features.1", stride=1))
    for name in _blocks(state):
        x = _block(graph, state, x, name)
    features = graph.add("ReduceMean", x, axes=[2, 3], keepdims=0)
    weight, bias = (graph.weight(state[f"classifier.{part}"]) for part in ("weight", "bias"))
    return graph.add("Gemm", features, weight, bias, transB=1)


def _blocks(state: Mapping[str, Float32]) -> list[str]:
    numbers = {int(name.split(".")[1]) for name in state if name.endswith("first.weight")}
    return [f"features.{number}" for number in sorted(numbers)]


def _block(graph: _Graph, state: Mapping[str, Float32], x: str, name: str) -> str:
    projected = f"{name}.shortcut.0.weight" in state
    stride = 2 if projected else 1
    y = graph.add("Relu", _convolution(graph, state, x, f"{name}.first", f"{name}.first_norm", stride=stride))
    y = _convolution(graph, state, y, f"{name}.second", f"{name}.second_norm", stride=1)
    if projected:
        x = _convolution(graph, state, x, f"{name}.shortcut.0", f"{name}.shortcut.1", stride=stride)
    return graph.add("Relu", graph.add("Add", x, y))


def _convolution(graph: _Graph, state: Mapping[str, Float32], x: str, name: str, norm: str, *, stride: int) -> str:
    """Append a convolution with the batch normalisation behind it folded in."""
    weight = state[f"{name}.weight"]
    gain = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + _EPSILON)
    bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
    folded = graph.weight(weight * gain[:, None, None, None])
    border = weight.shape[-1] // 2
    return graph.add("Conv", x, folded, graph.weight(bias), strides=[stride] * 2, pads=[border] * 4)
