"""Measure what helps a reference photograph in odd light: LFW photographs spoilt, against clean galleries.

    python benchmarks/probes.py LFW [--people 300] [--cache FOLDER]

LFW holds one folder of photographs a person. The first photograph of each of so many people is the gallery, as it is;
the second one is spoilt, goes through detector and all, and is searched for as it is, as the mean of its augmented
views, and as `indexing.search` does it (sharpened where it is blurred). A photograph is identified if its person is
the most similar of the gallery and lies above the similarity that one stranger in a thousand reaches with
photographs so spoilt and so treated. Prints Markdown. Vectors are kept in the cache: an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from indexing import calibrate
from tracker.embedding import Models, embed, load_models
from tracker.keyframes import Candidate, cut_patch
from tracker.options import options_for
from tracker.pipeline import track_video
from tracker.restore import sharpened
from tracker.types import Track
from tracker.video import open_video, read_image

Picture = NDArray[np.uint8]
Rows = NDArray[np.float32]

FAR = 1e-3
TREATMENTS = ("as it is", "augmented", "sharpened if blurred")


def main(arguments: list[str] | None = None) -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--people", type=int, default=300)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "facetrack-probes")
    options = parser.parse_args(arguments)
    options.cache.mkdir(parents=True, exist_ok=True)
    models = load_models()
    folders = sorted(folder for folder in options.data.iterdir() if len(list(folder.glob("*.jpg"))) >= 2)
    chosen = [folders[row] for row in np.random.default_rng(0).permutation(len(folders))[: options.people]]
    rows = {folder.name: vectors(folder, models, options.cache) for folder in chosen}
    kept = {name: found for name, found in rows.items() if found["gallery"] is not None}
    print(f"{len(kept)} people, {models.embedder.model_id}\n")
    table(kept, calibrate.for_model(models.embedder.model_id).threshold(FAR))
    return 0


def vectors(folder: Path, models: Models, cache: Path) -> dict[str, Rows | None]:
    """Return the vector of the gallery's photograph, and one row a treatment for each spoilt one; None: no face."""
    path = cache / f"{folder.name}.npz"
    if not path.is_file():
        found = {name: row for name, row in measured(folder, models) if row is not None}
        np.savez(path, **found)
    with np.load(path) as data:
        return {name: data.get(name) for name in ("gallery", *SPOILT)}


def measured(folder: Path, models: Models) -> Iterator[tuple[str, Rows | None]]:
    """Yield what `vectors` returns, made anew."""
    clean, probe = (read_image(path) for path in sorted(folder.glob("*.jpg"))[:2])
    face = main_face(clean, models)
    yield "gallery", None if face is None else face[0][None]
    for name, spoil in SPOILT.items():
        found = main_face(spoil(probe), models)
        yield name, None if found is None else treated(*found, models)


def main_face(image: Picture, models: Models) -> tuple[Rows, Candidate] | None:
    """Return the vector and the pixels of the face nearest to the middle, as the tracker sees it."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "picture.png"
        cv2.imwrite(str(path), image)
        with open_video(path) as video:
            tracks = track_video(models, video, options=options_for("accurate")).tracks
    middle = np.array(image.shape[1::-1]) / 2
    near = sorted((t for t in tracks if len(t.keyframes)), key=lambda t: float(np.linalg.norm(centre(t) - middle)))
    if not near:
        return None
    rows = near[0].keyframes
    face = cut_patch(image, 0, near[0].boxes[0], near[0].landmarks[0], float(rows.qualities[0]))
    return rows.embeddings[0], face


def centre(track: Track) -> Rows:
    """Return the middle of a track's first box."""
    return (track.boxes[0][:2] + track.boxes[0][2:]) / 2


def treated(own: Rows, face: Candidate, models: Models) -> Rows:
    """Return one row for each of `TREATMENTS`."""
    views = [view.embedding for view in embed(models, list(augmented(face)))]
    sharp = sharpened(face)
    return np.stack(
        [own, np.mean([own, *views], axis=0), own if sharp is None else embed(models, [sharp])[0].embedding]
    )


def augmented(face: Candidate) -> Iterator[Candidate]:
    """Yield the face mirrored, brighter, darker, with more and with less contrast, and shifted by 3 % of its side."""
    width = face.patch.shape[1] - 1
    landmarks = face.landmarks[[1, 0, 2, 4, 3]] * np.array([-1, 1]) + np.array([width, 0])
    box = face.box[[2, 1, 0, 3]] * np.array([-1, 1, -1, 1]) + np.array([width, 0, width, 0])
    yield replace(
        face,
        patch=np.ascontiguousarray(face.patch[:, ::-1]),
        landmarks=landmarks.astype(np.float32),
        box=box.astype(np.float32),
    )
    mean = float(face.patch.mean())
    for gain, offset in ((1.4, 0.0), (0.7, 0.0), (1.4, -0.4 * mean), (0.7, 0.3 * mean)):
        yield replace(face, patch=lit(face.patch, gain, offset))
    step = 0.03 * float(face.box[2] - face.box[0])
    for shift in ((step, 0), (-step, 0), (0, step), (0, -step)):
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
        moved = cv2.warpAffine(face.patch, matrix, face.patch.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        # The landmarks stay: so the crop is cut off its place, as it is where the landmarks err.
        yield replace(face, patch=np.asarray(moved, np.uint8))


def lit(image: Picture, gain: float | NDArray[np.float64], offset: float = 0.0) -> Picture:
    """Return a picture whose values are multiplied and shifted."""
    return np.clip(image * np.asarray(gain) + offset, 0, 255).round().astype(np.uint8)


def darkened(image: Picture) -> Picture:
    """Return a picture with a fifth of its light and the noise of a sensor."""
    noise = np.random.default_rng(int(image.sum())).normal(0, 4, image.shape)
    return np.clip(image * 0.2 + noise, 0, 255).round().astype(np.uint8)


def half_lit(image: Picture) -> Picture:
    """Return a picture whose right half lies in the dark, with a soft edge down the middle."""
    across = np.linspace(-7, 7, image.shape[1])[None, :, None]
    return lit(image, 0.12 + 0.88 / (1 + np.exp(across)))


def jpeg_20(image: Picture) -> Picture:
    """Return a picture that went through JPEG of quality 20."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 20])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


SPOILT: dict[str, Callable[[Picture], Picture]] = {
    "clean": lambda image: image,
    "darkened": darkened,
    "tinted": lambda image: lit(image, np.array([0.45, 0.8, 1.25])),
    "blurred": lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 3.0), np.uint8),
    "half-lit": half_lit,
    "JPEG 20": jpeg_20,
}


@dataclass(frozen=True)
class Result:
    """Shares of one way to treat one kind of photograph."""

    identified: float
    false: float


def table(rows: dict[str, dict[str, Rows | None]], threshold: float) -> None:
    """Print the identification rates at `FAR`, and the false accept rates at the calibrated threshold."""
    gallery = np.concatenate([found["gallery"] for found in rows.values() if found["gallery"] is not None])
    print(f"| photograph | faces found | {' | '.join(TREATMENTS)} | false accepts at the stated {FAR:g} |")
    print("|---" * (len(TREATMENTS) + 3) + "|")
    for name in SPOILT:
        seen = [(row, found[name]) for row, found in enumerate(rows.values()) if found[name] is not None]
        probes = np.stack([vector for _, vector in seen])
        results = [
            score(gallery, probes[:, way], [row for row, _ in seen], threshold) for way in range(len(TREATMENTS))
        ]
        rates = " | ".join(f"{result.identified:.1%}" for result in results)
        false = ", ".join(f"{result.false:.2%}" for result in results)
        print(f"| {name} | {len(seen) / len(rows):.1%} | {rates} | {false} |", flush=True)


def score(gallery: Rows, probes: Rows, people: list[int], threshold: float) -> Result:
    """Return the rates over all people of the gallery; one whose face was not found is not identified."""
    similarities = probes @ gallery.T
    own = similarities[np.arange(len(probes)), people].copy()
    strangers = np.delete(similarities.reshape(-1), np.arange(len(probes)) * len(gallery) + people)
    least = np.quantile(strangers, 1 - FAR)
    first = own >= similarities.max(axis=1)
    return Result(float((first & (own >= least)).sum() / len(gallery)), float((strangers >= threshold).mean()))


if __name__ == "__main__":
    sys.exit(main())
