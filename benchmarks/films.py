"""Films cut from labelled clips: short shots interleaved, each changed in crop, scale, flip, gamma and compression.

The truth is exact by construction: each labelled box of a clip goes through the same geometry as its frame. Written to
a folder as ``film0.mp4`` and ``film0.csv`` (the columns of the labelled clips), and so on.

    python benchmarks/films.py ../shared/data OUT [--films 3] [--shots 24] [--seed 0]
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from tracker.types import Image
from tracker.video import open_video

WIDTH, HEIGHT, FPS = 960, 540, 25

CLIPS = ("friends1", "hamilton", "talk", "meeting", "wolf")

SAME_PERSON = {"friends1/man_magazine": "talk/man_black_tshirt"}
"""One actor plays in two of the clips."""

WIPE_MARGIN = 30
"""Frames around a cut of ``meeting``, most of which are gradual, that no shot is taken from."""


FRAMINGS = 8
"""Random framings of which a shot takes the one that shows most faces, as someone behind a camera would."""


@dataclass(frozen=True, slots=True)
class Label:
    """A labelled face in a frame of a clip."""

    person: str
    box: tuple[float, float, float, float]
    ignore: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """A piece of a clip and what is done to it.

    Attributes:
        clip: Name of the clip.
        start: First frame.
        end: Frame after the last.
        matrix: ``(2, 3)`` from pixels of the clip to pixels of the film.
        gamma: Exponent of the brightness.
        quality: JPEG quality of each frame before the film is encoded, 0 to 100.
    """

    clip: str
    start: int
    end: int
    matrix: np.ndarray
    gamma: float
    quality: int


def read_labels(path: Path) -> dict[int, list[Label]]:
    """Return frame -> its labelled faces."""
    labels: dict[int, list[Label]] = defaultdict(list)
    for row in csv.DictReader(path.open()):
        faces = labels[int(row["frame"])]
        if row["person"]:
            person = f"{path.stem}/{row['person']}"
            x1, y1, x2, y2 = (float(row[k]) for k in ("x1", "y1", "x2", "y2"))
            faces.append(Label(SAME_PERSON.get(person, person), (x1, y1, x2, y2), row["ignore"].strip() == "1"))
    return dict(labels)


def shots_of(data: Path, clip: str, frames: int) -> list[tuple[int, int]]:
    """Return the shots of a clip as [start, end) frames."""
    rows = csv.DictReader((data / "truth" / "shots.csv").open())
    cuts = [int(row["first_frame"]) for row in rows if row["clip"] == clip]
    margin = WIPE_MARGIN if clip == "meeting" else 0
    edges = zip([0, *cuts], [*cuts, frames], strict=True)
    shots = [(start + (margin if start else 0), end - (margin if end < frames else 0)) for start, end in edges]
    return [(start, end) for start, end in shots if end - start >= FPS // 2]


def plan(
    rng: np.random.Generator,
    sizes: dict[str, tuple[int, int, int]],
    data: Path,
    labels: dict[str, dict[int, list[Label]]],
) -> Iterator[Cut]:
    """Yield cuts without end, from clips in turn; only such as show a labelled face."""
    while True:
        for clip in rng.permutation(CLIPS):
            width, height, frames = sizes[str(clip)]
            shots = shots_of(data, str(clip), frames)
            start, end = shots[rng.integers(len(shots))]
            length = min(int(rng.uniform(1, 4) * FPS), end - start)
            first = int(rng.integers(start, end - length + 1))
            inside = [face for k in range(first, first + length) for face in labels[str(clip)].get(k, [])]
            framings = [_geometry(rng, width, height) for _ in range(FRAMINGS)]
            best = max(framings, key=lambda matrix: _shown(inside, matrix))
            if _shown(inside, best):
                yield Cut(
                    str(clip),
                    first,
                    first + length,
                    best,
                    gamma=float(np.exp(rng.uniform(-0.4, 0.4))),
                    quality=int(rng.integers(35, 95)),
                )


def _geometry(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Return a crop that fills the film, mirrored half of the time."""
    zoom = max(WIDTH / width, HEIGHT / height) * rng.uniform(1.0, 1.5)
    x = rng.uniform(0, width * zoom - WIDTH)
    y = rng.uniform(0, height * zoom - HEIGHT)
    matrix = np.array([[zoom, 0, -x], [0, zoom, -y]])
    return np.array([[-1, 0, WIDTH], [0, 1, 0]]) @ np.vstack([matrix, [0, 0, 1]]) if rng.random() < 0.5 else matrix


def _shown(faces: Sequence[Label], matrix: np.ndarray) -> int:
    places = [moved(face, matrix) for face in faces if not face.ignore]
    return sum(place is not None and not place[1] for place in places)


def changed(image: Image, cut: Cut) -> Image:
    """Return a frame of the clip as the film shows it."""
    framed = cv2.warpAffine(image, cut.matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    table = (np.linspace(0, 1, 256) ** cut.gamma * 255).astype(np.uint8)
    _, packed = cv2.imencode(".jpg", cv2.LUT(framed, table), [cv2.IMWRITE_JPEG_QUALITY, cut.quality])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


def moved(label: Label, matrix: np.ndarray) -> tuple[list[float], bool] | None:
    """Return the box in the film and whether it may be missed; None where less than a quarter of it is left."""
    corners = np.array(label.box).reshape(2, 2) @ matrix[:, :2].T + matrix[:, 2]
    low, high = corners.min(axis=0), corners.max(axis=0)
    clipped = np.clip([low, high], 0, [WIDTH, HEIGHT])
    share = np.prod(clipped[1] - clipped[0]) / np.prod(high - low)
    if share < 0.25:
        return None
    return clipped.ravel().round(1).tolist(), label.ignore or share < 0.75


def write_film(path: Path, cuts: Sequence[Cut], data: Path, labels: dict[str, dict[int, list[Label]]]) -> None:
    """Write a film and, beside it, its truth."""
    rows: list[list[object]] = []
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = WIDTH, HEIGHT, "yuv420p", Fraction(1, FPS)
        count = 0
        for cut in cuts:
            for index, image in _frames(data / "clips" / f"{cut.clip}.mp4", cut):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(changed(image, cut), format="bgr24")))
                if index in labels[cut.clip]:
                    rows += _rows(count, labels[cut.clip][index], cut)
                count += 1
        container.mux(stream.encode())
    with path.with_suffix(".csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["frame", "person", "x1", "y1", "x2", "y2", "ignore"])
        writer.writerows(rows)


def _rows(frame: int, faces: Sequence[Label], cut: Cut) -> list[list[object]]:
    seen = [(face.person, place) for face in faces if (place := moved(face, cut.matrix))]
    return [[frame, person, *box, int(ignore)] for person, (box, ignore) in seen] or [[frame, "", "", "", "", "", 0]]


def _frames(path: Path, cut: Cut) -> Iterator[tuple[int, Image]]:
    with open_video(path) as video:
        for frame in video:
            if frame.index >= cut.end:
                return
            if frame.index >= cut.start:
                yield frame.index, frame.image


def _size(path: Path) -> tuple[int, int, int]:
    with open_video(path) as video:
        return video.info.width, video.info.height, sum(1 for _ in video)


def make_films(data: Path, folder: Path, *, films: int = 3, shots: int = 24, seed: int = 0) -> list[Path]:
    """Write films into a folder; return their paths. The same arguments give the same films."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = {clip: read_labels(data / "truth" / f"{clip}.csv") for clip in CLIPS}
    sizes = {clip: _size(data / "clips" / f"{clip}.mp4") for clip in CLIPS}
    paths = []
    for number in range(films):
        cuts = plan(np.random.default_rng([seed, number]), sizes, data, labels)
        paths.append(folder / f"film{number}.mp4")
        write_film(paths[-1], [next(cuts) for _ in range(shots)], data, labels)
    return paths


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    for name, default in (("films", 3), ("shots", 24), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    for path in make_films(options.data, options.out, films=options.films, shots=options.shots, seed=options.seed):
        print(path)


if __name__ == "__main__":
    main()
