"""Time the kinds of vector index: build, memory, file, and the latency and recall of range searches.

    nice -n 10 python benchmarks/index.py [--counts 10000 100000 1000000] [--dimensions 128 512] [--compare 100000]

The vectors are synthetic, see `Faces`: one normal distribution for people and one for what differs between pictures
of a person. Their spectra and energies are those that dlib's network (128 numbers) and an ArcFace one (512) have on
photographs of LFW, with heavy tails on both sides: look-alikes, and tracks that are worse than others. The first table
says which similarities come of it. Exact neighbours are by brute force. Every case runs in a process of its own. Times
are of the clock, and in brackets of the processor, which other work on the machine hardly changes. Prints Markdown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from indexing.index import FLAT, KINDS, FaissIndex, kind_for

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

FARS = (1e-3, 1e-6)
"""The default of a search, and what one of a million vectors asks for: one false hit a query instead of a thousand."""

KEYFRAMES, TRACKS, ALIKE = 5, 8, 300
"""Embeddings of a track, mean tracks of a person, groups of people that look alike."""

EXACT = 100
"""Queries that are answered by brute force, too."""


@dataclass(frozen=True, slots=True)
class Faces:
    """How embeddings are distributed: a vector is the unit vector of offset + person + track + picture.

    People are normal with ``people`` of the variance, ``alike`` of it shared by those of one of 300 groups; the rest
    is half of the track and half of the picture, scaled for each track by a log-normal factor of spread ``spread``.
    The eigenvalues fall as a power of their rank, worth so many dimensions in all (their participation ratio).
    The tracks of people are as unequal as Zipf's law with exponent 0.7.
    """

    dimension: int
    offset: float
    people: float
    people_dimensions: float
    pictures: float
    pictures_dimensions: float
    alike: float
    spread: float

    def draw(self, count: int, queries: int) -> tuple[Float32, Int64, Float32, Int64]:
        """Return vectors, their people, and other pictures of some of these people as queries, with their people."""
        rng = np.random.default_rng(0)
        tracks = -(-count // KEYFRAMES)
        centres = self._centres(max(1, tracks // TRACKS), rng)
        weights = np.arange(1, len(centres) + 1) ** -0.7
        person = np.sort(rng.choice(len(centres), tracks, p=weights / weights.sum()))
        vectors = np.empty((tracks, KEYFRAMES, self.dimension), np.float32)
        for start in range(0, tracks, 10_000):
            part = person[start : start + 10_000]
            vectors[start : start + 10_000] = self._tracks(centres[part], rng, KEYFRAMES)
        asked = rng.choice(person, queries)
        probes = self._tracks(centres[asked], rng, 1)[:, 0]
        return vectors.reshape(-1, self.dimension)[:count], np.repeat(person, KEYFRAMES)[:count], probes, asked

    def _centres(self, people: int, rng: np.random.Generator) -> Float32:
        shape = _shape(self.dimension, self.people, self.people_dimensions, seed=1)
        own = rng.standard_normal((people, self.dimension), np.float32) * np.float32(np.sqrt(1 - self.alike))
        group = rng.standard_normal((ALIKE, self.dimension), np.float32) * np.float32(np.sqrt(self.alike))
        offset = np.random.default_rng(3).standard_normal(self.dimension)
        offset *= self.offset / np.linalg.norm(offset)
        return np.asarray((own + group[rng.integers(ALIKE, size=people)]) @ shape + offset, np.float32)

    def _tracks(self, centres: Float32, rng: np.random.Generator, pictures: int) -> Float32:
        shape = _shape(self.dimension, self.pictures, self.pictures_dimensions, seed=2)
        scale = np.exp(self.spread * rng.standard_normal(len(centres)) - self.spread**2) * np.sqrt(0.5)
        noise = rng.standard_normal((len(centres), pictures + 1, self.dimension), np.float32) @ shape
        vectors = (noise[:, 1:] + noise[:, :1]) * scale[:, None, None].astype(np.float32) + centres[:, None]
        return np.asarray(vectors / np.linalg.norm(vectors, axis=2, keepdims=True), np.float32)


FACES = {
    128: Faces(128, 0.917, 0.1178, 24, 0.0409, 60, 0.35, 0.3),
    512: Faces(512, 0.0, 0.6, 85, 0.4, 200, 0.2, 0.35),
}


def _shape(dimension: int, energy: float, worth: float, *, seed: int) -> Float32:
    """Return the matrix that gives normal numbers so much variance, worth so many dimensions."""
    low, high = 0.0, 10.0
    for _ in range(60):
        power = (low + high) / 2
        values = np.arange(1, dimension + 1) ** -power
        low, high = (power, high) if values.sum() ** 2 / (values**2).sum() > worth else (low, power)
    axes = np.linalg.qr(np.random.default_rng(seed).standard_normal((dimension, dimension)))[0]
    return np.asarray((axes * np.sqrt(energy * values / values.sum())).T, np.float32)


@dataclass(frozen=True, slots=True)
class Problem:
    """Vectors, queries, exact similarities of some of the queries, and the threshold at each of `FARS`."""

    vectors: Float32
    queries: Float32
    exact: Float32
    thresholds: tuple[float, ...]
    tars: tuple[float, ...]


def make_problem(dimension: int, count: int, queries: int) -> Problem:
    """Return the problem of a case: the same for every kind."""
    vectors, people, probes, asked = FACES[dimension].draw(count, queries)
    exact = np.concatenate(
        [probes[:EXACT] @ vectors[part : part + 50_000].T for part in range(0, count, 50_000)], axis=1
    )
    same = asked[:EXACT, None] == people[None]
    thresholds = tuple(float(np.quantile(exact[~same], 1 - far)) for far in FARS)
    tars = tuple(float((exact[same] >= threshold).mean()) for threshold in thresholds)
    return Problem(vectors, probes, exact, thresholds, tars)


def latencies(search: Callable[[Float32], object], queries: Float32) -> str:
    """Return the median and the 99th percentile of a search, one query at a time, in ms; the median of the CPU's."""
    for query in queries[:5]:
        search(query[None])
    taken = []
    for query in queries:
        start = time.perf_counter(), time.process_time()
        search(query[None])
        taken.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    clock, processor = 1e3 * np.array(taken).T
    return f"{np.median(clock):.1f} / {np.percentile(clock, 99):.1f} ({np.median(processor):.1f})"


def recall(found: list[Int64], exact: Float32, threshold: float, removed: int = 0) -> float:
    """Return the share of what is at or above the threshold, the first ids aside, that was found."""
    wanted = [np.flatnonzero(row[removed:] >= threshold) + removed for row in exact]
    hits = sum(int(np.isin(rows, ids).sum()) for rows, ids in zip(wanted, found, strict=True))
    return hits / max(1, sum(map(len, wanted)))


def resident() -> float:
    """Return the megabytes of memory that the process holds."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def seconds(work: Callable[[], Any]) -> tuple[Any, str]:
    """Return what the work gives, and the seconds that it takes by the clock (and of the processor)."""
    start = time.perf_counter(), time.process_time()
    result = work()
    return result, f"{time.perf_counter() - start[0]:.1f} ({time.process_time() - start[1]:.1f})"


def measure(dimension: int, count: int, kind: str, queries: int) -> str:
    """Return the row of a kind."""
    problem = make_problem(dimension, count, queries)

    def make() -> FaissIndex:
        index = FaissIndex()
        index.add(np.arange(count), problem.vectors)
        if kind != FLAT:
            index.make_lists()
        return index

    index, building = seconds(make)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        _, saving = seconds(lambda: index.save(path))
        size = path.stat().st_size / 2**20
        del index
        before = resident()
        index, loading = seconds(lambda: FaissIndex.load(path))
        memory = resident() - before
    cells = [building, saving, loading, f"{size:.0f}", f"{memory:.0f}"]
    for threshold in problem.thresholds:
        hits = [found.ids for found in index.range_search(problem.queries[:EXACT], threshold)]
        cells += [f"{np.mean([len(ids) for ids in hits]):.0f}", f"{recall(hits, problem.exact, threshold):.4f}"]
        cells.append(latencies(lambda query, limit=threshold: index.range_search(query, limit), problem.queries))  # type: ignore[misc]
    gone = count // 10
    _, removing = seconds(lambda: index.remove(np.arange(gone)))
    left = [found.ids for found in index.range_search(problem.queries[:EXACT], problem.thresholds[0])]
    cells += [removing, f"{recall(left, problem.exact, problem.thresholds[0], gone):.4f}"]
    chosen = " (chosen)" if kind_for(count) == kind else ""
    return f"| {dimension} | {count:,} | {kind}{chosen} | " + " | ".join(cells) + " |"


def similarities(dimension: int, count: int, queries: int) -> str:
    """Return the row of what the vectors are like."""
    problem = make_problem(dimension, count, queries)
    pairs = zip(problem.thresholds, problem.tars, strict=True)
    return f"| {dimension} | {count:,} | " + " | ".join(f"{limit:.3f} | {tar:.3f}" for limit, tar in pairs) + " |"


def others(dimension: int, count: int, queries: int) -> Iterator[str]:
    """Yield rows of kinds of FAISS that were not taken: their candidates before the exact comparison."""
    problem = make_problem(dimension, count, queries)
    threshold, lists = problem.thresholds[0], round(2 * count**0.5)
    for name, settings in (
        ("SQ8", [{}]),
        (f"IVF{lists},Flat", [{"nprobe": lists // 16}, {"nprobe": lists // 8}, {"nprobe": lists // 4}]),
        (f"IVF{lists},PQ{dimension // 4}", [{"nprobe": lists // 8}, {"nprobe": lists // 4}]),
        ("HNSW32", [{"efSearch": value} for value in (64, 512, 4096)]),
    ):
        index = faiss.index_factory(dimension, name, faiss.METRIC_INNER_PRODUCT)

        def fill(index: Any = index) -> None:
            index.train(problem.vectors[:: max(1, count // 50_000)])
            index.add(problem.vectors)

        _, building = seconds(fill)
        size = len(faiss.serialize_index(index)) / 2**20
        for setting in settings:
            yield f"| {dimension} | {name} {_told(setting)} | {building} | {size:.0f} | " + _answers(
                index, setting, problem, threshold
            )


def _told(setting: dict[str, int]) -> str:
    return " ".join(f"{key}={value}" for key, value in setting.items())


def _answers(index: Any, setting: dict[str, int], problem: Problem, threshold: float) -> str:
    for key, value in setting.items():
        faiss.ParameterSpace().set_index_parameter(index, key, value)
    slack = _slack(index, problem)
    limits, _, ids = index.range_search(problem.queries[:EXACT], threshold - slack)
    found = [ids[int(start) : int(end)] for start, end in pairwise(limits)]
    share = recall(found, problem.exact, threshold)
    more = len(ids) / max(1, int((problem.exact >= threshold).sum()))
    timed = latencies(lambda query: index.range_search(query, threshold - slack), problem.queries)
    return f"{share:.4f} | {more:.1f} | {timed} |"


def _slack(index: Any, problem: Problem) -> float:
    """Return the error of inner products of codes that 99.5 % of the pairs with the nearest vectors stay below."""
    rows = np.argsort(-problem.exact, axis=1)[:, :50]
    if isinstance(index, faiss.IndexIVF):
        index.make_direct_map()
    decoded = np.stack([index.reconstruct(int(row)) for row in rows.ravel()]).reshape(*rows.shape, -1)
    guessed = np.einsum("qkd,qd->qk", decoded, problem.queries[:EXACT])
    return float(np.quantile(np.take_along_axis(problem.exact, rows, axis=1) - guessed, 0.995))


def apart(work: Callable[..., Any], *arguments: object) -> Any:
    """Return what the work gives in a process of its own, so that its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def other_rows(dimension: int, count: int, queries: int) -> list[str]:
    """Return the rows of `others`."""
    return list(others(dimension, count, queries))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--dimensions", type=int, nargs="+", default=list(FACES), choices=list(FACES))
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--compare", type=int, metavar="COUNT", help="other kinds of FAISS on so many vectors, too")
    options = parser.parse_args()
    print("| numbers | vectors | threshold at FAR 1e-3 | TAR | at 1e-6 | TAR |" + "\n|" + "---|" * 6, flush=True)
    for dimension in options.dimensions:
        print(apart(similarities, dimension, options.counts[0], options.queries), flush=True)
    print(
        "\n| numbers | vectors | kind | build s | save s | load s | file MB | memory MB "
        "| hits at FAR 1e-3 | recall | p50 / p99 ms | hits at FAR 1e-6 | recall | p50 / p99 ms "
        "| remove 10 % s | recall after |\n|" + "---|" * 16
    )
    for dimension in options.dimensions:
        for count in options.counts:
            for kind, _ in KINDS:
                print(apart(measure, dimension, count, kind, options.queries), flush=True)
    if options.compare:
        print(
            f"\nOther kinds, {options.compare:,} vectors, FAR 1e-3, the threshold lowered by what their codes are off:"
            "\n\n| numbers | kind | build s | file MB | recall | candidates per hit | p50 / p99 ms |"
            "\n|---|---|---|---|---|---|---|"
        )
        for dimension in options.dimensions:
            print("\n".join(apart(other_rows, dimension, options.compare, options.queries)), flush=True)


if __name__ == "__main__":
    main()
