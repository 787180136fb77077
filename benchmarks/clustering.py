"""Compare the clusterers on labelled faces, and fit the calibration of an embedder.

    python benchmarks/clustering.py faces.npz|FOLDER [--calibrate MODEL_ID --source TEXT]

The faces come from an ``.npz`` with ``vectors`` (N, D) and ``names`` (N,), or from a folder with one sub-folder of
photographs a person. Nothing is measured on the people it was fitted on: the calibration comes from one half of the
people, the figures from the other, and the reverse. Prints Markdown. With ``--calibrate`` the calibration of all the
faces is then written to the package.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexing import calibrate, cluster, metrics

SHIPPED = Path(calibrate.__file__).with_name("calibrations.json")
CLUSTERERS = ("constrained", "hdbscan", "kmeans")
PEOPLE, PHOTOS = (1, 2, 5, 10, 50, 200), (30, 100, 300, 1000)


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--calibrate", metavar="MODEL_ID", help="write the calibration of all faces under this id")
    parser.add_argument("--source", default="", help="where the faces come from, for --calibrate")
    options = parser.parse_args(arguments)
    vectors, names = load(options.data)
    print(f"{len(vectors)} faces of {len(np.unique(names))} people, {vectors.shape[1]} numbers each\n")
    verification(vectors, names)
    halves(vectors, names)
    subsets(vectors, names)
    if options.calibrate:
        write(calibrate.fit(vectors, names, model_id=options.calibrate, source=options.source or options.data.name))
    return 0


def load(path: Path) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Return the vectors, as they are compared, and the names of a file or a folder."""
    if path.is_dir():
        return embed(path)
    data = np.load(path)
    return np.asarray(data["vectors"], np.float32), data["names"]


def embed(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Return the vector of the largest face of each photograph and the name of its folder."""
    from indexing import Store, process

    with tempfile.TemporaryDirectory() as scratch, Store(Path(scratch) / "faces.db") as store:
        process([folder], store)
        people = {video.video_id: video.path.parent.name for video in store.videos()}
        largest = {track.video_id: track.key for track in sorted(store.track_records(), key=lambda t: t.size)}
        names = {key: people[video] for video, key in largest.items()}
        rows = store.embeddings()
    rows = rows[np.isin(rows.track_keys, list(names))]
    return rows.vectors, np.array([names[key] for key in rows.track_keys.tolist()])


def verification(vectors: NDArray[np.float32], names: NDArray[np.str_]) -> None:
    """Print the figures of all pairs."""
    curve = metrics.verification(vectors, names)
    accuracy, at = curve.best_accuracy
    print(
        f"{curve.genuine} genuine and {curve.impostors} impostor pairs: best accuracy {accuracy:.4f} at {at:.3f}, ",
        end="",
    )
    print(
        f"EER {curve.eer:.4f}, " + ", ".join(f"TAR {curve.tar(far):.4f} at FAR {far:g}" for far in (1e-2, 1e-3, 1e-4))
    )


def halves(vectors: NDArray[np.float32], names: NDArray[np.str_]) -> None:
    """Print each clusterer on one half of the people, calibrated on the other half; the mean of both ways."""
    print(
        "\n| clusterer | BCubed P | R | F | pairwise F | NMI | clusters / people | seconds |"
        "\n|---|---|---|---|---|---|---|---|"
    )
    folds = list(split(vectors, names))
    for name in CLUSTERERS:
        rows = []
        for scale, test in folds:
            truth, start = names[test], time.perf_counter()
            labels = run(name, vectors[test], scale)
            seconds, score = time.perf_counter() - start, metrics.bcubed(truth, labels)
            ratio = (labels.max() + 1) / len(np.unique(truth))
            pairs = metrics.pairwise(truth, labels).f
            rows.append([score.precision, score.recall, score.f, pairs, metrics.nmi(truth, labels), ratio, seconds])
        print(f"| {name} | " + " | ".join(f"{value:.4f}" for value in np.mean(rows, axis=0)) + " |")


def subsets(vectors: NDArray[np.float32], names: NDArray[np.str_]) -> None:
    """Print the BCubed F on few people with all their photographs, and on few photographs of anybody."""
    print("\n| BCubed F of | " + " | ".join(CLUSTERERS) + " |\n|---" + "|---" * len(CLUSTERERS) + "|")
    folds = list(split(vectors, names))
    for size, people in [*((n, True) for n in PEOPLE), *((n, False) for n in PHOTOS)]:
        scores = []
        for scale, test in folds:
            for rows in draw(names, np.flatnonzero(test), size, people=people):
                found = [run(name, vectors[rows], scale) for name in CLUSTERERS]
                scores.append([metrics.bcubed(names[rows], labels).f for labels in found])
        if scores:
            print(f"| {size} {'people' if people else 'photographs'} | ", end="")
            print(" | ".join(f"{score:.4f}" for score in np.mean(scores, axis=0)) + " |", flush=True)


def split(
    vectors: NDArray[np.float32], names: NDArray[np.str_]
) -> Iterator[tuple[calibrate.Calibration, NDArray[np.bool_]]]:
    """Yield, for each half of the people, the calibration from the others and which faces are theirs."""
    people = np.random.default_rng(0).permutation(np.unique(names))
    half = np.isin(names, people[::2])
    for test in (half, ~half):
        yield calibrate.fit(vectors[~test], names[~test], model_id="measured here"), test


def draw(
    names: NDArray[np.str_], allowed: NDArray[np.int64], size: int, *, people: bool
) -> Iterator[NDArray[np.int64]]:
    """Yield sub-sets of the allowed faces: of ``size`` people with four photographs or more, or ``size`` of all."""
    rng = np.random.default_rng(size)
    found, counts = np.unique(names[allowed], return_counts=True)
    pool = found[counts >= 4] if people else allowed
    for _ in range(max(1, min(20, 600 // size)) if size <= len(pool) else 0):
        picked = rng.choice(pool, size, replace=False)
        yield allowed[np.isin(names[allowed], picked)] if people else np.sort(picked)


def run(name: str, vectors: NDArray[np.float32], scale: calibrate.Calibration) -> NDArray[np.int64]:
    """Return the clusters by the default settings."""
    return cluster.load(name, scale.cluster_threshold(vectors)).fit_predict(vectors)


def write(scale: calibrate.Calibration) -> None:
    """Put the calibration into the package's table."""
    table = json.loads(SHIPPED.read_text(encoding="utf-8")) | {scale.model_id: scale.to_dict()}
    lines = [f"  {json.dumps(key)}: {json.dumps(table[key])}" for key in sorted(table)]
    SHIPPED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"\ncalibration of {scale.model_id} written to {SHIPPED.name}")


if __name__ == "__main__":
    sys.exit(main())
