"""Fit how much strangers look like a face (`tracker.models.typicality`), and measure it on people it was not fitted on.

    python benchmarks/typicality.py faces.npz|DATABASE [--folds 5] [--ship]

The faces come from an ``.npz`` with ``vectors`` (N, 128; dlib's four views, of unit length) and ``names`` (N,), or from
a database of photographs in one sub-folder a person, of each the largest face. Every figure is of people held out: the
function is fitted on the other folds, and the cut of the clustering comes from the shipped rule on the calibration of
vectors so made. With ``--ship`` the function of all faces is written to the package, and the calibration of the vectors
held out.
"""

from __future__ import annotations

import argparse
import sqlite3
from pathlib import Path

import clustering
import numpy as np
from numpy.typing import NDArray

from indexing import calibrate, cluster, metrics
from tracker.models import typicality
from tracker.models.typicality import NEAREST, Typicality

Vectors = NDArray[np.float32]
Names = NDArray[np.str_]

RIDGE = 0.1
"""Weight of the ridge penalty; 0.1 to 1 differ by 0.001 of BCubed F."""

MODEL_ID = "dlib_resnet29_v1+4views+typicality"
SHIPPED = Path(typicality.__file__).with_name("dlib_typicality.npz")


def main() -> None:
    """Measure, and ship where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--ship", action="store_true", help="write the function and the calibration to the package")
    options = parser.parse_args()
    vectors, names = load(options.data)
    held_out = crossed(vectors, names, folds=options.folds)
    print("| vectors | TAR at 1e-2 | 1e-3 | 1e-4 | 1e-5 | BCubed P | R | F |\n|---|---|---|---|---|---|---|---|")
    for label, rows in (("unit length", vectors), ("shortened", held_out)):
        print(f"| {label} | " + " | ".join(f"{value:.4f}" for value in figures(rows, names)) + " |", flush=True)
    if options.ship:
        whole = fit(vectors, names)
        np.savez(SHIPPED, quadratic=whole.quadratic, linear=whole.linear, offset=whole.offset)
        source = f"all pairs of LFW: {len(vectors)} faces of {len(np.unique(names))} people, held out"
        clustering.write(calibrate.fit(held_out, names, model_id=MODEL_ID, source=source))


def load(path: Path) -> tuple[Vectors, Names]:
    """Return the unit vectors and the names."""
    if path.suffix == ".npz":
        return clustering.load(path)
    question = """SELECT videos.path, embeddings.vector, MAX(tracks.size) FROM embeddings
        JOIN tracks ON tracks.id = embeddings.track_id JOIN videos ON videos.id = tracks.video_id
        GROUP BY videos.id ORDER BY videos.path"""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        rows = database.execute(question).fetchall()
    vectors = np.stack([np.frombuffer(vector, "<f4") for _, vector, _ in rows])
    return cluster.unit(vectors), np.array([Path(photograph).parent.name for photograph, _, _ in rows])


def fit(vectors: Vectors, names: Names) -> Typicality:
    """Return the function fitted on labelled faces, by ridge regression on all products of two coordinates."""
    upper = np.triu_indices(vectors.shape[1])
    products = vectors[:, upper[0]] * vectors[:, upper[1]]
    features = np.concatenate([vectors, products], axis=1).astype(np.float64)
    wanted = nearness(vectors, names)
    middle, usual = features.mean(axis=0), wanted.mean()
    # As many unknowns as features are many more than faces: the dual form solves for one a face.
    centred = features - middle
    weights = centred.T @ np.linalg.solve(centred @ centred.T + RIDGE * np.eye(len(centred)), wanted - usual)
    linear, quadratic = weights[: vectors.shape[1]], np.zeros((vectors.shape[1],) * 2)
    quadratic[upper] = weights[vectors.shape[1] :]
    return Typicality((quadratic + quadratic.T) / 2, linear, np.array([-middle @ weights]))


def nearness(vectors: Vectors, names: Names) -> NDArray[np.float64]:
    """Return the mean similarity of each face to the `NEAREST` strangers, one photograph of each."""
    _, first = np.unique(names, return_index=True)
    similarities = vectors @ vectors[first].T
    similarities[names[:, None] == names[first][None]] = -1
    return np.sort(similarities, axis=1)[:, -NEAREST:].mean(axis=1)


def crossed(vectors: Vectors, names: Names, *, folds: int) -> Vectors:
    """Return the vectors shortened by functions that were fitted on other people."""
    people = np.random.default_rng(0).permutation(np.unique(names))
    rows = np.empty_like(vectors)
    for fold in range(folds):
        here = np.isin(names, people[fold::folds])
        rows[here] = fit(vectors[~here], names[~here]).shortened(vectors[here])
    return rows


def figures(rows: Vectors, names: Names) -> list[float]:
    """Return true accept rates and the BCubed figures of the default clustering."""
    curve = metrics.verification(rows, names)
    scale = calibrate.fit(rows, names, model_id="measured here")
    score = metrics.bcubed(names, clustering.run("auto", rows, scale))
    return [*(curve.tar(far) for far in (1e-2, 1e-3, 1e-4, 1e-5)), score.precision, score.recall, score.f]


if __name__ == "__main__":
    main()
