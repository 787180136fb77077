"""Measure what the quality of a view says of its vector: LFW photographs spoilt at random. Prints Markdown.

    python benchmarks/quality.py LFW [--detector NAME] [--models-dir DIR] [--photographs 12]

LFW holds one folder of photographs a person; people with eight or more are taken. Each photograph is left as it is, cut
through the face, made small and blurred, or squeezed and turned, and goes through detector, alignment and embedder. The
first table tells, by quality, how much nearer a view is to clean photographs of its person than to those of strangers.
The second one compares weights: groups of two to four such views become templates, and the share of pairs of
templates of one person is told that are more alike than all but one in a thousand pairs of two.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tracker import align
from tracker import boxes as geometry
from tracker.embedding import Models, embed, load_models
from tracker.keyframes import Candidate, cut_patch
from tracker.types import Detections
from tracker.video import read_image

Picture = NDArray[np.uint8]
Rows = NDArray[np.float32]
Values = NDArray[np.float64]

LEAST = 8
FAR = 1e-3
REPEATS = 16
BINS = (0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 1.01)


@dataclass(frozen=True)
class View:
    """A spoilt photograph: its person, its photograph, its vector and what is known of its quality."""

    person: int
    photograph: Path
    vector: Rows
    product: float
    quality: float
    trusted: float


def main(arguments: list[str] | None = None) -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--detector", default="centerface")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--photographs", type=int, default=12)
    options = parser.parse_args(arguments)
    models = load_models(detector=options.detector, models_dir=options.models_dir)
    folders = [sorted(f.glob("*.jpg"))[: options.photographs] for f in sorted(options.data.iterdir())]
    people = [paths for paths in folders if len(paths) >= min(LEAST, options.photographs)]
    clean = {path: view.vector for view, path in seen(models, people, lambda image, _: image)}
    views = [view for view, _ in seen(models, people, spoilt)]
    print(f"{len(views)} views of {len(people)} people, {models.detector.model_id}, {models.embedder.model_id}\n")
    by_quality(views, clean, people)
    print()
    by_weight(views)
    return 0


def seen(
    models: Models, people: list[list[Path]], spoil: Callable[[Picture, np.random.Generator], Picture]
) -> Iterator[tuple[View, Path]]:
    """Yield the largest face of each photograph, spoilt."""
    random = np.random.default_rng(1)
    for person, paths in enumerate(people):
        for path in paths:
            image = np.ascontiguousarray(spoil(read_image(path), random))
            found = models.detector.detect(image)
            if len(found.boxes):
                yield looked_at(models, image, found, person, path), path


def looked_at(models: Models, image: Picture, found: Detections, person: int, path: Path) -> View:
    """Return the largest face that was found, embedded."""
    row = int(np.argmax(geometry.sizes(found.boxes)))
    factors = {
        "score": float(found.scores[row]),
        "size": float(geometry.sizes(found.boxes)[row]),
        "sharpness": align.sharpness(geometry.pixels(image, found.boxes[row])),
        "frontality": align.frontality(found.landmarks[row]),
    }
    shares = np.clip([*factors.values()] / np.array([1, align.FULL_SIZE, 1, 1]), align.FLOOR, 1)
    face: Candidate = cut_patch(image, 0, found.boxes[row], found.landmarks[row], align.quality(**factors))
    [view] = embed(models, [face])
    return View(person, path, view.embedding, float(shares.prod()), face.quality, view.quality)


# -- ways to spoil a photograph of 250 by 250, whose face lies between 70 and 180 ------------------------------------


def spoilt(image: Picture, random: np.random.Generator) -> Picture:
    """Return the photograph spoilt in one of four ways."""
    ways = (cut, small_and_blurred, squeezed_and_turned, lambda image, _: image)
    return ways[random.integers(len(ways))](image, random)


def cut(image: Picture, random: np.random.Generator) -> Picture:
    """Return a part of the picture whose border runs through up to 60 % of the face, from any side."""
    turns, depth = int(random.integers(4)), int(random.uniform(0, 0.6) * 110)
    turned = np.rot90(image, turns)
    return np.rot90(turned[70 + depth :], -turns)


def small_and_blurred(image: Picture, random: np.random.Generator) -> Picture:
    """Return the picture at 20 to 50 % of its size, out of focus."""
    scale = random.uniform(0.2, 0.5)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), random.uniform(0.5, 1.5)), np.uint8)


def squeezed_and_turned(image: Picture, random: np.random.Generator) -> Picture:
    """Return the picture narrow or flat, as a face that looks aside, up or down, and rolled by up to 60 degrees."""
    height, width = image.shape[:2]
    share = random.uniform(0.4, 0.8)
    size = (int(width * share), height) if random.random() < 0.5 else (width, int(height * share))
    squeezed = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), random.uniform(-60, 60), 1)
    return np.asarray(cv2.warpAffine(squeezed, turn, size, borderMode=cv2.BORDER_REFLECT), np.uint8)


# -- the tables ------------------------------------------------------------------------------------------------------


def by_quality(views: list[View], clean: dict[Path, Rows], people: list[list[Path]]) -> None:
    """Print how much nearer views are to their person than to strangers, by their quality."""
    photographs = [path for paths in people for path in paths if path in clean]
    owners = np.array([row for row, paths in enumerate(people) for path in paths if path in clean])
    gallery = np.stack([clean[path] for path in photographs])
    gains = np.array([gain(view, gallery, owners, photographs) for view in views])
    qualities = np.array([view.trusted for view in views])
    print("| quality | views | its person | strangers | difference |\n|---|---|---|---|---|")
    for low, high in pairwise(BINS):
        rows = gains[(qualities >= low) & (qualities < high)]
        if len(rows):
            own, other = rows.mean(axis=0)
            print(f"| {low:g} to {min(high, 1):g} | {len(rows)} | {own:.3f} | {other:.3f} | {own - other:.3f} |")
    measures = {
        "product": [v.product for v in views],
        "quality": [v.quality for v in views],
        "with trust": [v.trusted for v in views],
    }
    correlations = (
        f"{name} {np.corrcoef(values, gains[:, 0] - gains[:, 1])[0, 1]:.2f}" for name, values in measures.items()
    )
    print(f"\nCorrelation with the difference: {', '.join(correlations)}.")


def gain(view: View, gallery: Rows, owners: NDArray[np.int64], photographs: list[Path]) -> tuple[float, float]:
    """Return the mean similarity to other photographs of the person, and to those of all others."""
    alike = gallery @ view.vector
    own = owners == view.person
    own_others = own & np.array([path != view.photograph for path in photographs])
    return float(alike[own_others].mean()), float(alike[~own].mean())


def by_weight(views: list[View]) -> None:
    """Print how well templates of spoilt views tell people apart, by the weights that made them."""
    weights: dict[str, Values] = {
        "all alike": np.ones(len(views)),
        "product of the four factors, squared": squared(v.product for v in views),
        "quality squared": squared(v.quality for v in views),
        "quality times trust, squared": squared(v.trusted for v in views),
    }
    people, vectors = np.array([v.person for v in views]), np.stack([v.vector for v in views])
    print("| weights | two views | three | four |\n|---|---|---|---|")
    for name, values in weights.items():
        rates = [mean_rate(people, vectors, values, count) for count in (2, 3, 4)]
        print(f"| {name} | {' | '.join(f'{rate:.1%}' for rate in rates)} |")


def squared(values: Iterable[float]) -> Values:
    """Return the squares of the values."""
    return np.square(np.fromiter(values, np.float64))


def mean_rate(people: NDArray[np.int64], vectors: Rows, weights: Values, count: int) -> float:
    """Return the mean true accept rate at `FAR` over random groupings."""
    return float(np.mean([rate(people, vectors, weights, count, seed) for seed in range(REPEATS)]))


def rate(people: NDArray[np.int64], vectors: Rows, weights: Values, count: int, seed: int) -> float:
    """Return the true accept rate at `FAR` of templates of so many views."""
    random = np.random.default_rng(seed)
    groups: list[NDArray[np.int64]] = []
    for person in np.unique(people):
        rows = random.permutation(np.flatnonzero(people == person))
        groups += list(rows[: len(rows) // count * count].reshape(-1, count))
    rows, owners = np.stack(groups), people[np.stack(groups)[:, 0]]
    shares = weights[rows] / weights[rows].sum(axis=1, keepdims=True)
    templates = (shares[:, :, None] * vectors[rows]).sum(axis=1)
    first, second = np.triu_indices(len(templates), 1)
    alike, same = (templates @ templates.T)[first, second], owners[first] == owners[second]
    return float((alike[same] > np.quantile(alike[~same], 1 - FAR)).mean())


if __name__ == "__main__":
    sys.exit(main())
