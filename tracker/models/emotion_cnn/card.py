"""The figures of the model card: ``python -m tracker.models.emotion_cnn.card fer2013.npz``.

Fits the temperature on one half of PublicTest and measures the calibration on the other, both ways; writes the network
with the temperature of all, and the confusion matrix as a picture; prints the figures as Markdown.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tracker.models.emotion_cnn import EmotionCnn
from tracker.models.emotion_cnn.export import write_onnx
from tracker.models.emotion_cnn.faces import middles, read_fer2013
from tracker.types import EMOTIONS, Float32

logger = logging.getLogger(__name__)

HOME = Path(__file__).parent
ADJUSTMENT = 0.5
"""Strength of the logit adjustment, see `rarity`."""

BINS = 15
"""Of the expected calibration error, Guo et al., ICML 2017."""


def fit_temperature(logits: Float32, truth: NDArray[np.int64]) -> float:
    """Return the temperature of least negative log likelihood, by search over a fine grid."""
    grid = np.geomspace(0.3, 3, 200)
    losses = [-float(np.log(softmax(logits / t)[np.arange(len(truth)), truth] + 1e-12).mean()) for t in grid]
    return float(grid[int(np.argmin(losses))])


def softmax(logits: Float32) -> Float32:
    """Return probabilities of ``(N, C)`` logits."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def calibration_error(probabilities: Float32, truth: NDArray[np.int64]) -> float:
    """Return the expected calibration error: mean gap of confidence and accuracy over `BINS` equal bins."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == truth
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(float(confidence[places == b].mean() - right[places == b].mean())) for b in np.unique(places)]
    return float(np.dot(gaps, np.bincount(places)[np.unique(places)]) / len(truth))


def confusion(guess: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``(7, 7)`` counts, true class by row, answer by column."""
    return np.bincount(truth * len(EMOTIONS) + guess, minlength=len(EMOTIONS) ** 2).reshape(len(EMOTIONS), -1)


def draw_confusion(counts: NDArray[np.int64], output: Path) -> None:
    """Draw the confusion matrix in shares of the true class."""
    shares = counts / counts.sum(1, keepdims=True)
    figure = Figure(figsize=(6, 5), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*shares.shape):
        ink = "white" if shares[row, column] > 0.5 else "#22262b"
        ax.text(column, row, f"{100 * shares[row, column]:.0f}", ha="center", va="center", color=ink, fontsize=9)
    labels = [f"{name} ({total})" for name, total in zip(EMOTIONS, counts.sum(1), strict=True)]
    ax.set_xticks(range(len(EMOTIONS)), EMOTIONS, rotation=40, ha="right")
    ax.set_yticks(range(len(EMOTIONS)), labels)
    ax.set(xlabel="answer, % of the true class", ylabel="label of FER-2013")
    figure.tight_layout()
    figure.savefig(output)


def rarity(labels: Float32) -> Float32:
    """Return ``(7,)`` float32 to add to the logits, so that rare classes are not passed over.

    Menon et al., "Long-tail Learning via Logit Adjustment", ICLR 2021, with half of its strength, as training has
    weighted the classes already.
    """
    return np.asarray(-ADJUSTMENT * np.log(labels.mean(0)), np.float32)


def report(logits: Float32, truth: NDArray[np.int64]) -> None:
    """Log the figures as Markdown."""
    halves = np.random.default_rng(0).permutation(len(truth)) % 2 == 0
    errors = [
        calibration_error(softmax(logits[~half] / fit_temperature(logits[half], truth[half])), truth[~half])
        for half in (halves, ~halves)
    ]
    counts = confusion(logits.argmax(1), truth)
    recall, precision = np.diag(counts) / counts.sum(1), np.diag(counts) / np.maximum(counts.sum(0), 1)
    f1 = 2 * recall * precision / np.maximum(recall + precision, 1e-9)
    logger.info("accuracy %.4f, macro-F1 %.4f", np.diag(counts).sum() / counts.sum(), f1.mean())
    logger.info("calibration error before %.4f, after %.4f", calibration_error(softmax(logits), truth), np.mean(errors))
    logger.info("temperature %.3f", fit_temperature(logits, truth))
    logger.info("| class | faces | recall | precision | F1 |\n|---|---|---|---|---|")
    for row in zip(EMOTIONS, counts.sum(1), recall, precision, f1, strict=True):
        logger.info("| %s | %d | %.3f | %.3f | %.3f |", *row)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="fer2013.npz")
    parser.add_argument("weights", type=Path, help="what train.py wrote, .pt")
    parser.add_argument("--blur", type=float, default=0.0, help="as given to train.py")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    saved = torch.load(options.weights, map_location="cpu", weights_only=True)
    state = {name: value.numpy() for name, value in saved.items()}
    training, test = read_fer2013(options.data)
    shift, output = rarity(training.targets), HOME / "emotion_cnn.onnx"
    write_onnx(state, output, shift=shift, blur=options.blur)
    crops = [np.repeat(face[0, :, :, None], 3, 2).astype(np.uint8) for face in middles(test).numpy()]
    logits, truth = np.log(EmotionCnn(output).classify(crops).emotions + 1e-9), test.targets.argmax(1)
    report(logits, truth)
    write_onnx(state, output, shift=shift, temperature=fit_temperature(logits, truth), blur=options.blur)
    draw_confusion(confusion(logits.argmax(1), truth), HOME / "confusion.png")


if __name__ == "__main__":
    main()
