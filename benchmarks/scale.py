"""Cluster 100,000 tracks: time, memory, and how far what comes out is from the exact method.

    python benchmarks/scale.py DATABASE [--tracks 100000] [--exact 8000] [--seed 0]

The tracks are simulated from the faces of a labelled database, which `facetrack add FOLDER --db DATABASE` makes of
photographs in one sub-folder a person (the figures are from those of LFW):

- A person is a smoothed bootstrap of the real ones: a real person's mean vector, less what its few photographs add to
  the variance, plus normal noise with the covariance of people, in parts of 0.6 and 0.4 of the variance. So people
  differ as much as real ones do, along the same axes, and have look-alikes as often: the false accept rates of the
  strangers that come of it are in the first table, beside those of the real faces.
- A track is its person plus what made a real photograph differ from the mean of its person: nine parts of one drawn at
  random, one part of another (no two are the same). It is neither isotropic nor normal: its axes and its heavy tail
  are those of light, age and pose. People vary by a log-normal factor of spread 0.12. A tenth of the tracks is poor:
  1.5 times as far off and of a quality below the floor, so that they wait for the others and then join.
- One embedding a track: photographs of other days are less alike than the keyframes of a track.
- People have as many tracks as a Pareto law with exponent 1.1 says, 2,000 at most. A person comes in runs of about
  eight tracks, each in one of the videos, of 250 tracks each. The tracks of a video are dealt to shots of one to four
  people, most of whom share frames: cannot-links.

They are written to a database of their own. Who is who is then found in it by `identify` as after the first videos, and
by `recluster`, in a process of its own. Then a part of the people is clustered by the textbook's method on the matrix
of all similarities, too. Times are of the clock and, in brackets, of the processor, which other work on the machine
hardly changes. Prints Markdown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from indexing import calibrate, cluster, identities, linkage, metrics, pipeline
from indexing.constraints import Constraints, co_occurring
from indexing.store import Store
from indexing.types import TrackEmbeddings, TrackRecord
from tracker.types import Expressions, Keyframes, Source, Track, TrackingResult, VideoInfo

Float32, Float64, Int64 = NDArray[np.float32], NDArray[np.float64], NDArray[np.int64]

REAL = 0.6
"""Share of the variance of people that is that of real ones; the rest is drawn."""

MAIN = 0.9
"""Share of the variance within a person that is of one real photograph; the rest is of another."""

SPREAD = 0.12
"""Spread of the logarithm of how much people vary."""

POOR, POOR_FACTOR = 0.1, 1.5
"""Share of tracks of poor quality, and how much further off they are."""

EXPONENT, MOST = 1.1, 2000
"""Of the Pareto law of tracks of a person, and the most that one has."""

RUN, VIDEO = 8, 250
"""Mean tracks of a person in a video, and tracks of a video."""

COMPANY = (0.4, 0.3, 0.2, 0.1)
"""Share of the shots with one to four people."""

SHOT = 60
"""Frames of a shot."""

IMPOSTOR, GENUINE = (0.5, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5), (0.01, 0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Faces:
    """Real faces: unit vectors and the person of each."""

    vectors: Float32
    people: Int64

    @classmethod
    def read(cls, path: Path) -> Faces:
        """Return the largest face of each photograph of a database."""
        with Store(path, must_exist=True) as store:
            names = {video.video_id: video.path.parent.name for video in store.videos()}
            largest = {t.video_id: t.key for t in sorted(store.track_records(), key=lambda t: (t.size, t.key))}
            rows = store.embeddings()
        owners = {key: names[video] for video, key in largest.items()}
        keys, first = np.unique(rows.track_keys, return_index=True)
        taken = first[np.isin(keys, list(owners))]
        people = np.unique([owners[key] for key in rows.track_keys[taken].tolist()], return_inverse=True)[1]
        return cls(rows.vectors[taken], people)


@dataclass(frozen=True, slots=True)
class Population:
    """What people and photographs are drawn from.

    Attributes:
        middle: ``(D,)`` the mean of people.
        people: ``(P, D)`` real people less ``middle``, with the covariance that people have.
        axes: ``(D, D)``: normal numbers times this have that covariance, too.
        residuals: ``(N, D)`` what sets photographs apart from their people.
    """

    middle: Float64
    people: Float64
    axes: Float64
    residuals: Float64

    @classmethod
    def of(cls, faces: Faces) -> Population:
        """Return the population that faces come from: of people with two photographs or more."""
        counts = np.bincount(faces.people)
        rows = faces.vectors[counts[faces.people] > 1].astype(np.float64)
        _, people, sizes = np.unique(faces.people[counts[faces.people] > 1], return_inverse=True, return_counts=True)
        means = np.stack([rows[people == person].mean(axis=0) for person in range(len(sizes))])
        # The mean of n photographs has taken up one n-th of the variance.
        residuals = (rows - means[people]) * np.sqrt(sizes / (sizes - 1))[people, None]
        observed = np.cov(means.T)
        within = residuals.T @ residuals / len(residuals)
        values, vectors = np.linalg.eigh(observed - within * (1 / sizes).mean())
        axes = (vectors * np.sqrt(np.maximum(values, 0))).T
        values, vectors = np.linalg.eigh(observed)
        whitened = (means - means.mean(axis=0)) @ (vectors / np.sqrt(np.maximum(values, 1e-12)))
        return cls(means.mean(axis=0), whitened @ axes, axes, residuals)

    def draw(self, people: Int64, poor: NDArray[np.bool_], rng: np.random.Generator) -> Float32:
        """Return a unit vector for each entry of ``people``, numbers of new people from 0."""
        count = int(people.max()) + 1
        own = rng.standard_normal((count, len(self.axes))) @ self.axes
        like = self.people[rng.integers(len(self.people), size=count)]
        centres = self.middle + np.sqrt(REAL) * like + np.sqrt(1 - REAL) * own
        factors = np.exp(SPREAD * rng.standard_normal(count) - SPREAD**2)[people] * np.where(poor, POOR_FACTOR, 1.0)
        vectors = np.empty((len(people), len(self.axes)), np.float32)
        for start in range(0, len(people), 10_000):
            part = slice(start, start + 10_000)
            one, other = self.residuals[rng.integers(len(self.residuals), size=(2, len(people[part])))]
            noise = np.sqrt(MAIN) * one + np.sqrt(1 - MAIN) * other
            vectors[part] = cluster.unit((centres[people[part]] + factors[part, None] * noise).astype(np.float32))
        return vectors


@dataclass(frozen=True, slots=True)
class Tracks:
    """Simulated tracks in order of their videos, struct of arrays."""

    people: Int64
    poor: NDArray[np.bool_]
    vectors: Float32
    videos: Int64
    shots: Int64
    first: Int64
    end: Int64

    @classmethod
    def simulate(cls, population: Population, count: int, seed: int) -> Tracks:
        """Return so many tracks."""
        rng = np.random.default_rng(seed)
        people = _people(count, rng)
        runs = np.cumsum(np.concatenate([[1], np.diff(people) != 0]) | (rng.random(count) < 1 / RUN))
        videos = rng.integers(max(1, count // VIDEO), size=runs[-1] + 1)[runs]
        order = np.lexsort((rng.random(count), videos))
        people, videos = people[order], videos[order]
        shots = _shots(people, videos, rng)
        first = SHOT * shots + rng.integers(20, size=count)
        end = first + rng.integers(10, 40, size=count)
        poor = rng.random(count) < POOR
        return cls(people, poor, population.draw(people, poor, rng), videos, shots, first, end)

    def records(self) -> list[TrackRecord]:
        """Return them as a database has them."""
        qualities = np.where(self.poor, identities.QUALITY_FLOOR / 2, 0.5).tolist()
        spans = zip(self.videos.tolist(), self.shots.tolist(), self.first.tolist(), self.end.tolist(), strict=True)
        return [
            TrackRecord(key, video, key, shot, first, end, first / 25, end / 25, qualities[key], 90.0)
            for key, (video, shot, first, end) in enumerate(spans)
        ]

    def embeddings(self) -> TrackEmbeddings:
        """Return one embedding a track."""
        keys = np.arange(len(self.people))
        return TrackEmbeddings(keys, keys, self.first, np.where(self.poor, 0.01, 0.5), self.vectors, "simulated")

    def of(self, people: Int64) -> Tracks:
        """Return the tracks of some people."""
        taken = np.isin(self.people, people)
        return Tracks(*(getattr(self, name)[taken] for name in self.__slots__))


def _people(count: int, rng: np.random.Generator) -> Int64:
    sizes = np.minimum(rng.random(count) ** (-1 / EXPONENT), MOST).astype(np.int64)
    return np.repeat(np.arange(count), sizes)[:count]


def _shots(people: Int64, videos: Int64, rng: np.random.Generator) -> Int64:
    """Return the shot of each track: the next one begins when it is full, or somebody would be in it twice."""
    shots, inside, room, shot = np.empty(len(people), np.int64), set[int](), 0, -1
    before = -1
    for place, (person, video) in enumerate(zip(people.tolist(), videos.tolist(), strict=True)):
        if video != before or len(inside) == room or person in inside:
            shot = 0 if video != before else shot + 1
            inside, room, before = set(), 1 + int(rng.choice(len(COMPANY), p=COMPANY)), video
        inside.add(person)
        shots[place] = shot
    return shots


# ---- how like the real ones they are


def likeness(faces: Faces, simulated: Tracks) -> None:
    """Print the quantiles of similarities of the real faces and of the simulated ones that are not poor."""
    rates = [f"FAR {rate:g}" for rate in IMPOSTOR] + [f"genuine {share:g}" for share in GENUINE]
    print("| similarity at | " + " | ".join(rates) + " |\n" + "|---" * (len(rates) + 1) + "|")
    sizes = np.bincount(faces.people)
    rng = np.random.default_rng(0)
    good = rng.permutation(np.flatnonzero(~simulated.poor))
    # As many of a person as LFW has.
    drawn = [
        good[simulated.people[good] == person][: rng.choice(sizes)]
        for person in rng.permutation(np.unique(simulated.people))[:1249]
    ]
    rows = np.concatenate(drawn)
    for name, vectors, people in (
        ("real", faces.vectors, faces.people),
        ("simulated", simulated.vectors[rows], simulated.people[rows]),
    ):
        genuine, impostors = (np.cumsum(counts) / counts.sum() for counts in metrics.pair_counts(vectors, people))
        at = [np.searchsorted(impostors, 1 - rate) for rate in IMPOSTOR]
        at += [np.searchsorted(genuine, share) for share in GENUINE]
        print(f"| {name} | " + " | ".join(f"{2 * bin_ / metrics.BINS - 1:.4f}" for bin_ in at) + " |")


# ---- all of them


def write(tracks: Tracks, model_id: str, path: Path) -> None:
    """Write tracks to a new database."""
    with Store(path) as store:
        for video in range(int(tracks.videos.max()) + 1):
            if len(which := np.flatnonzero(tracks.videos == video)):
                store.add_video(_result(tracks, video, which, model_id))


def _result(tracks: Tracks, video: int, which: Int64, model_id: str) -> TrackingResult:
    frames = int(tracks.end[which].max())
    return TrackingResult(
        video=VideoInfo(Path(f"{video}.mp4"), f"{video:064x}", 640, 360, 25.0, frames / 25, is_image=False),
        timestamps=np.arange(frames) / 25,
        end=frames / 25,
        shots=np.arange(0, frames, SHOT, dtype=np.int32),
        tracks=tuple(_track(tracks, number, row) for number, row in enumerate(which.tolist())),
        detector_id="simulated",
        embedder_id=model_id,
        settings={},
    )


def _track(tracks: Tracks, number: int, row: int) -> Track:
    first, count = int(tracks.first[row]), int(tracks.end[row] - tracks.first[row])
    quality = identities.QUALITY_FLOOR / 2 if tracks.poor[row] else 0.5
    return Track(
        track_id=number,
        shot=int(tracks.shots[row]),
        first_frame=first,
        boxes=np.tile(np.float32([100, 100, 190, 190]), (count, 1)),
        scores=np.full(count, 0.9, np.float32),
        sources=np.full(count, Source.DETECTED, np.uint8),
        landmarks=np.full((count, 5, 2), np.nan, np.float32),
        keyframes=Keyframes(np.int32([first]), np.float32([quality]), tracks.vectors[row : row + 1]),
        thumbnail=np.zeros((0, 0, 3), np.uint8),
        expressions=Expressions.empty(),
    )


def find(path: Path) -> tuple[dict[str, str], float, list[int | None]]:
    """Return seconds of each step, gigabytes at the highest, and whose each track is in the end, in order of keys."""
    with Store(path, must_exist=True) as store:
        _, first = seconds(lambda: pipeline.identify(store))
        changes, again = seconds(lambda: pipeline.recluster(store))
        owners = store.owners()
    assert not changes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"identify": first, "recluster": again}, peak, [owners[key] for key in sorted(owners)]


def seconds(work: Callable[[], Any]) -> tuple[Any, str]:
    """Return what the work gives, and the seconds that it takes by the clock (and of the processor)."""
    start = time.perf_counter(), time.process_time()
    result = work()
    return result, f"{time.perf_counter() - start[0]:.1f} ({time.process_time() - start[1]:.1f})"


def everything(tracks: Tracks, model_id: str) -> None:
    """Print what it takes to find who is who among all tracks, in a database, and how right it is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tracks.db"
        write(tracks, model_id, path)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            spent, peak, owners = pool.apply(find, (path,))
    found = np.array([-1 if owner is None else owner for owner in owners])
    pairs = co_occurring(tracks.videos, tracks.first, tracks.end)
    broken = len(Constraints(len(found), pairs).violations(found))
    score, people = metrics.bcubed(tracks.people, found), len(np.unique(tracks.people))
    print(
        f"\n| tracks | people | cannot-links by frames | identify s | recluster s | peak GB | BCubed P | R | F "
        f"| people found | tracks of nobody | cannot-links broken |\n{'|---' * 12}|\n| {len(found):,} | {people:,} "
        f"| {len(pairs):,} | {spent['identify']} | {spent['recluster']} | {peak:.2f} | {score.precision:.4f} "
        f"| {score.recall:.4f} | {score.f:.4f} | {len(np.unique(found[found >= 0])):,} | {(found < 0).sum():,} "
        f"| {broken} |",
        flush=True,
    )


# ---- against the exact method


@dataclass(frozen=True, slots=True)
class Exact(cluster.Clusterer):
    """Average linkage on the matrix of all similarities, the closest pair first; cannot-links are minus infinity."""

    def _labels(self, rows: Float32, weights: Float64, rules: Constraints) -> Int64:
        alike, weights, labels = (rows @ rows.T).astype(np.float64), weights.copy(), np.arange(len(rows))
        np.fill_diagonal(alike, -np.inf)
        alike[rules.pairs[:, 0], rules.pairs[:, 1]] = alike[rules.pairs[:, 1], rules.pairs[:, 0]] = -np.inf
        alike[np.ix_(rules.anchors, rules.anchors)] = -np.inf
        nearest, best = alike.argmax(axis=1), alike.max(axis=1)
        while best[into := int(best.argmax())] >= self.threshold:
            gone = int(nearest[into])
            shares = weights[[into, gone]] / weights[[into, gone]].sum()
            alike[into] = alike[:, into] = shares @ alike[[into, gone]]
            alike[gone] = alike[:, gone] = -np.inf
            weights[into] += weights[gone]
            labels[labels == gone] = into
            stale = np.flatnonzero((nearest == into) | (nearest == gone))
            stale = np.union1d(stale, [into, gone])
            nearest[stale], best[stale] = alike[stale].argmax(axis=1), alike[stale].max(axis=1)
        return labels


def against_exact(tracks: Tracks, scale: calibrate.Calibration, size: int) -> None:
    """Print how a part of the people comes out by each method, all steps included."""
    people = np.random.default_rng(0).permutation(np.unique(tracks.people))
    most = np.searchsorted(np.cumsum(np.bincount(tracks.people)[people]), size)
    part = tracks.of(people[:most])
    records, rows = part.records(), part.embeddings()
    far = scale.far(scale.cluster_threshold(part.vectors))
    print(
        f"\n{len(records):,} of the tracks, of {most:,} people:\n\n| method | seconds | BCubed P | R | F "
        "| people found | adjusted Rand index with exact |\n|---|---|---|---|---|---|---|"
    )
    exact: Int64 | None = None
    for name, clusterer, settings in methods(scale.threshold(far)):
        with mock.patch.dict(vars(linkage), settings):
            result, spent = seconds(
                lambda which=clusterer: identities.recluster(records, rows, scale=scale, clusterer=which, far=far)
            )
        found = np.full(len(records), -1)
        for number, (_, keys) in enumerate(result.groups):
            found[list(keys)] = number
        exact = found if exact is None else exact
        score = metrics.bcubed(part.people, found)
        print(
            f"| {name} | {spent} | {score.precision:.4f} | {score.recall:.4f} | {score.f:.4f} | {len(result.groups):,} "
            f"| {metrics.ari(exact, found):.4f} |",
            flush=True,
        )


def methods(threshold: float) -> Iterator[tuple[str, str | cluster.Clusterer, dict[str, int]]]:
    """Yield a name, the clusterer and settings of `indexing.linkage`: exact, as it is, and as it is for many tracks."""
    yield "exact, all similarities", Exact(threshold), {}
    yield "facetrack", "auto", {}
    yield "facetrack, as it does with 100,000", "auto", {"LISTS_FROM": 1000, "PAIRS": 0}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", type=Path)
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--exact", type=int, default=8000, help="tracks that are clustered by the exact method, too")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with Store(options.database, must_exist=True) as store:
        model_id = store.embedder_id or ""
    faces = Faces.read(options.database)
    tracks = Tracks.simulate(Population.of(faces), options.tracks, options.seed)
    sizes = np.bincount(tracks.people)
    print(
        f"{len(tracks.people):,} tracks of {len(sizes):,} people ({(sizes == 1).sum():,} with one, the largest with "
        f"{sizes.max():,}) in {len(np.unique(tracks.videos)):,} videos\n"
    )
    likeness(faces, tracks)
    against_exact(tracks, calibrate.for_model(model_id), options.exact)
    everything(tracks, model_id)


if __name__ == "__main__":
    main()
