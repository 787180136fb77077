"""Compare adding photographs little by little with clustering all of them at once.

    python benchmarks/incremental.py DATABASE|FOLDER [--orders 20]

The photographs lie in one sub-folder a person; a database of them is made with `facetrack add FOLDER --db DATABASE`.
They are embedded once; then they come in random orders and batches of random sizes, are identified after each batch,
and in the end compared with `recluster` by the adjusted Rand index over all tracks, and with the truth (the largest
face of each photograph) by BCubed F. Then what one photograph more takes, beside what all of them take. Prints
Markdown.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexing import calibrate, identities, metrics
from indexing.identities import Assignment
from indexing.store import Store
from indexing.types import TrackEmbeddings, TrackRecord

SIZES = (1, 20, 100, 500)
"""Photographs of a batch; those of one order are drawn from up to one of these sizes."""

SINGLE = 200
"""Photographs that come one by one where the batches are of one; those before them come at once, to save time."""

TIMED, REPEATS = (1000, 2000, 3000, 4000), 20


@dataclass(frozen=True, slots=True)
class Faces:
    """All tracks with their embeddings, and of the largest face of each photograph the person."""

    tracks: Sequence[TrackRecord]
    rows: TrackEmbeddings
    names: dict[int, str]
    scale: calibrate.Calibration

    def of(self, videos: NDArray[np.int64]) -> tuple[list[TrackRecord], TrackEmbeddings]:
        """Return the tracks of some photographs, and their embeddings."""
        wanted = set(videos.tolist())
        tracks = [track for track in self.tracks if track.video_id in wanted]
        return tracks, self.rows[np.isin(self.rows.track_keys, [track.key for track in tracks])]


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--orders", type=int, default=20, help="number of random orders (default: 20)")
    parser.add_argument("--photographs", type=int, help="only so many, drawn at random")
    options = parser.parse_args(arguments)
    faces = load(options.data)
    videos = np.unique([track.video_id for track in faces.tracks])
    videos = np.random.default_rng(0).permutation(videos)[: options.photographs]
    there = {track.key for track in faces.of(videos)[0]}
    faces = replace(faces, names={key: name for key, name in faces.names.items() if key in there})
    print(f"{len(videos)} photographs of {len(set(faces.names.values()))} people\n")
    agreement(faces, videos, options.orders)
    seconds(faces, videos)
    return 0


def load(path: Path) -> Faces:
    """Return the faces of a database, or of a folder."""
    if not path.is_dir():
        with Store(path, must_exist=True) as store:
            return read(store)
    from indexing import process

    with tempfile.TemporaryDirectory() as scratch, Store(Path(scratch) / "faces.db") as store:
        process([path], store, emotion=None)
        return read(store)


def read(store: Store) -> Faces:
    """Return the faces of a database."""
    people = {video.video_id: video.path.parent.name for video in store.videos()}
    tracks = [track for track in store.track_records() if track.video_id in people]
    largest = {track.video_id: track.key for track in sorted(tracks, key=lambda t: t.size)}
    names = {key: people[video] for video, key in largest.items()}
    return Faces(tracks, store.embeddings(), names, calibrate.for_model(store.embedder_id or ""))


def agreement(faces: Faces, videos: NDArray[np.int64], orders: int) -> None:
    """Print how near the outcome of each order is to that of all at once."""
    tracks, rows = faces.of(videos)
    full = owners(identities.recluster(tracks, rows, known={}, scale=faces.scale))
    print(
        f"All at once: BCubed F {score(faces, full):.4f}, {len(set(full.values()))} people.\n\n"
        "| order | batches of up to | batches | adjusted Rand | BCubed F | people | tracks of another than before |"
        "\n|---|---|---|---|---|---|---|"
    )
    found = []
    for order in range(orders):
        size = SIZES[order % len(SIZES)]
        known, batches, moved = grow(faces, videos, size, np.random.default_rng(order))
        found.append((agree(full, known), score(faces, known)))
        print(
            f"| {order} | {size} | {batches} | {found[-1][0]:.4f} | {found[-1][1]:.4f} | {len(set(known.values()))} "
            f"| {moved} |",
            flush=True,
        )
    rand, f = np.array(found).T
    print(f"\nAdjusted Rand {rand.mean():.4f} (lowest {rand.min():.4f}), BCubed F {f.mean():.4f} ({f.min():.4f}).\n")


def grow(
    faces: Faces, videos: NDArray[np.int64], size: int, rng: np.random.Generator
) -> tuple[dict[int, int], int, int]:
    """Add the photographs in batches; return whose each track is, the number of batches, and how often one moved."""
    order, known, moved, count = rng.permutation(videos), dict[int, int](), 0, 0
    waiting, settled_at = set[int](), identities.NEVER
    for there in batches(order, size, rng):
        count += 1
        tracks, rows = faces.of(there)
        fresh = [track.key for track in tracks if track.key not in known and track.key not in waiting]
        result = identities.assign(tracks, rows, known=known, fresh=fresh, scale=faces.scale, settled_at=settled_at)
        settled_at = result.settled_at or settled_at
        now = owners(result, beyond=max(known.values(), default=0))
        moved += sum(now.get(key) != who for key, who in known.items())
        known, waiting = now, set(result.unknown)
    return known, count, moved


def batches(order: NDArray[np.int64], size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield what is there after each batch."""
    end = max(len(order) - SINGLE, 0) if size == 1 else 0
    while end < len(order):
        end += 1 + int(rng.integers(size))
        yield order[:end]


def owners(result: Assignment, *, beyond: int = 0) -> dict[int, int]:
    """Return whose each track is; new people get the numbers after ``beyond``."""
    known: dict[int, int] = {}
    for who, keys in result.groups:
        beyond += who is None
        known |= dict.fromkeys(keys, beyond if who is None else who)
    return known


def agree(one: dict[int, int], other: dict[int, int]) -> float:
    """Return the adjusted Rand index of two outcomes; a track of nobody is alone."""
    keys = sorted(one.keys() | other.keys())
    return metrics.ari(*([whose.get(key, -key) for key in keys] for whose in (one, other)))


def score(faces: Faces, known: dict[int, int]) -> float:
    """Return the BCubed F of the largest faces; one of nobody is alone."""
    return metrics.bcubed(list(faces.names.values()), [known.get(key, -key) for key in faces.names]).f


def seconds(faces: Faces, videos: NDArray[np.int64]) -> None:
    """Print what a photograph more takes when so many are there, and what clustering all of them anew takes."""
    print("| photographs | one more: seconds | tracks looked at | all anew: seconds |\n|---|---|---|---|")
    for count in (size for size in TIMED if size + REPEATS <= len(videos)):
        tracks, rows = faces.of(videos[:count])
        start = time.perf_counter()
        known = owners(identities.recluster(tracks, rows, known={}, scale=faces.scale))
        anew = time.perf_counter() - start
        found = [one_more(faces, np.append(videos[:count], videos[count + i]), known) for i in range(REPEATS)]
        spent, looked = np.median(found, axis=0)
        print(f"| {count} | {spent:.3f} | {looked:.0f} | {anew:.2f} |", flush=True)


def one_more(faces: Faces, videos: NDArray[np.int64], known: dict[int, int]) -> tuple[float, int]:
    """Return the seconds that the last photograph takes, and how many tracks are clustered."""
    tracks, rows = faces.of(videos)
    fresh = [track.key for track in tracks if track.video_id == videos[-1]]
    start = time.perf_counter()
    result = identities.assign(tracks, rows, known=known, fresh=fresh, scale=faces.scale)
    return time.perf_counter() - start, len(result.clustered)


if __name__ == "__main__":
    sys.exit(main())
