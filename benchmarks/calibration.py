"""Measure whether a stated false accept rate holds on people who had no part in the calibration.

    python benchmarks/calibration.py faces.npz|FOLDER [--splits 10]

The faces are those of `benchmarks/clustering.py`. The people are split into halves at random; one half calibrates, the
other one is asked which share of the pairs of two people lies above each threshold, and the reverse, and both counts
are put together. The calibration is made from the labels; or without them, from a database that is made of the same
half: up to four photographs are the keyframes of a track, and so many people share a frame. Such positives are harder
than those of a real track, as they were taken on different days. The prior is the first calibration, or the guess for
an embedder that nobody measured. Prints Markdown: the median over the splits and the range.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from clustering import load
from numpy.typing import NDArray

from indexing import calibrate, metrics
from indexing.calibrate import STATED, Calibration
from indexing.types import TrackEmbeddings, TrackRecord

Rows = NDArray[np.float32]
Names = NDArray[np.str_]
Maker = Callable[[Rows, Names], Calibration]

UNMEASURED = "an embedder that nobody measured"


def main(arguments: list[str] | None = None) -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--splits", type=int, default=10)
    options = parser.parse_args(arguments)
    vectors, names = load(options.data)
    print(f"{len(vectors)} faces of {len(np.unique(names))} people, {options.splits} splits\n")
    print("| calibrated from | " + " | ".join(f"stated {far:g}" for far in STATED) + " | within a factor of 2 |")
    print("|---" * (len(STATED) + 2) + "|")
    for name, make in MAKERS.items():
        found = np.array([measured(vectors, names, half, make) for half in halves(names, options.splits)])
        shown = [f"{np.median(rates):.2g} ({rates.min():.2g} to {rates.max():.2g})" for rates in found.T]
        held = [
            f"{((rates > far / 2) & (rates < far * 2)).mean():.0%}" for rates, far in zip(found.T, STATED, strict=True)
        ]
        print(f"| {name} | " + " | ".join(shown) + " | " + ", ".join(held) + " |", flush=True)
    return 0


def halves(names: Names, splits: int) -> Iterator[NDArray[np.bool_]]:
    """Yield the faces of one half of the people, drawn anew each time."""
    for seed in range(splits):
        yield np.isin(names, np.random.default_rng(seed).permutation(np.unique(names))[::2])


def measured(vectors: Rows, names: Names, half: NDArray[np.bool_], make: Maker) -> list[float]:
    """Return the false accept rate at each of `STATED`, each half being judged by the other one."""
    accepted, pairs = np.zeros(len(STATED)), 0
    for test in (half, ~half):
        scale = make(vectors[~test], names[~test])
        impostors = metrics.pair_counts(vectors[test], names[test])[1]
        above = np.cumsum(impostors[::-1])[::-1]
        places = [int((scale.threshold(far) + 1) * (metrics.BINS / 2)) for far in STATED]
        accepted, pairs = accepted + above[places], pairs + int(impostors.sum())
    return (accepted / pairs).tolist()


def from_labels(vectors: Rows, names: Names) -> Calibration:
    """Return the calibration of labelled faces."""
    return calibrate.fit(vectors, names, model_id="measured here")


def unlabelled(crowd: int, *, guess: bool) -> Maker:
    """Return what calibrates from a database with so many people in a frame, with a measured prior or a guess."""

    def make(vectors: Rows, names: Names) -> Calibration:
        tracks, rows = database(vectors, names, crowd)
        return calibrate.measure(tracks, rows, prior=None if guess else from_labels(vectors, names)).calibration

    return make


def database(vectors: Rows, names: Names, crowd: int) -> tuple[list[TrackRecord], TrackEmbeddings]:
    """Return one track a person, of up to four photographs, and ``crowd`` people in each video."""
    people = np.random.default_rng(0).permutation(np.unique(names))
    rows = [np.flatnonzero(names == person)[:4] for person in people]
    tracks = [TrackRecord(key, key // crowd, key % crowd, 0, 0, 9, 0.0, 1.0, 0.8, 90.0) for key in range(len(people))]
    keys, taken = np.repeat(np.arange(len(people)), [len(r) for r in rows]), np.concatenate(rows)
    count = len(taken)
    return tracks, TrackEmbeddings(np.arange(count), keys, np.zeros(count), np.ones(count), vectors[taken], UNMEASURED)


MAKERS: dict[str, Maker] = {
    "labels": from_labels,
    "the same as prior, and no labels: 2 in a frame": unlabelled(2, guess=False),
    "the same as prior, and no labels: 6 in a frame": unlabelled(6, guess=False),
    "the same as prior, and no labels: 25 in a frame": unlabelled(25, guess=False),
    "a guess as prior, and no labels: 6 in a frame": unlabelled(6, guess=True),
    "a guess as prior, and no labels: 25 in a frame": unlabelled(25, guess=True),
}


if __name__ == "__main__":
    sys.exit(main())
