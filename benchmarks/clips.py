"""Score the default run on hand-labelled clips: faces found, tracks, identities. Prints Markdown.

    python benchmarks/clips.py FOLDER SCORER [--clips a,b] [--detector NAME] [--models-dir DIR] [--sheet extras.png]

FOLDER holds ``CLIP.mp4`` and ``CLIP.csv`` side by side, or ``clips/CLIP.mp4`` and ``truth/CLIP.csv``. SCORER is the
script that compares truth and an export (``frame,person,x1,y1,x2,y2,ignore`` and ``--format frames``). The sheet shows
every box in a labelled frame that lies on no labelled face, to be looked at by eye.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from indexing import Store, process
from indexing.export import export
from tracker import boxes as geometry
from tracker.types import Float32, Image
from tracker.video import open_video

COLUMNS = (
    "recall",
    "labelled_share",
    "IDF1_track",
    "id_switches",
    "IDF1_identity",
    "persons",
    "persons_split",
    "identities_merged",
    "bcubed_f",
)


def find_clips(folder: Path, names: Sequence[str]) -> list[tuple[Path, Path]]:
    """Return the clips with their truths, all of the folder or those that are named."""
    truths = sorted((folder / "truth").glob("*.csv")) or sorted(folder.glob("*.csv"))
    pairs = [(next(p for p in _places(folder, t.stem) if p), t) for t in truths if any(_places(folder, t.stem))]
    return [(clip, truth) for clip, truth in pairs if not names or clip.stem in names]


def _places(folder: Path, name: str) -> list[Path]:
    return [path for path in (folder / "clips" / f"{name}.mp4", folder / f"{name}.mp4") if path.is_file()]


def load_scorer(path: Path) -> Any:
    """Return the scorer as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(clip: Path, rows: Path, **options: Any) -> dict[str, float]:
    """Process one clip into a database of its own, export it to ``rows``; return what the run cost."""
    with tempfile.TemporaryDirectory() as scratch, Store(Path(scratch) / "clip.db") as store:
        start = time.perf_counter()
        (outcome,) = process([clip], store, **options)
        seconds = time.perf_counter() - start
        if outcome.status != "added":
            raise SystemExit(f"{clip}: {outcome.message}")
        export(store, store.videos(), rows)
        statistics, frames = outcome.statistics, store.videos()[0].frame_count
    return {
        "fps": round(frames / seconds, 1),
        "boxes": statistics.face_frames,
        "face_frames_per_embedding": round(statistics.face_frames / max(statistics.embeddings, 1), 1),
    }


def extras(clip: Path, truth: dict[int, Any], found: dict[int, Any]) -> list[Image]:
    """Return a picture of each box of a labelled frame that overlaps no labelled face."""
    pictures: list[Image] = []
    with open_video(clip) as video:
        for frame in video:
            labelled = _array([face[1] for face in truth.get(frame.index, [])])
            mine = _array([face[2] for face in found.get(frame.index, [])])
            if frame.index in truth and len(mine):
                alone = geometry.iou(mine, labelled).max(axis=1, initial=0) < 0.4
                pictures += [_picture(frame.image, box, f"{clip.stem} {frame.index}") for box in mine[alone]]
    return pictures


def _array(boxes: Sequence[Any]) -> Float32:
    return np.array(boxes, np.float32).reshape(-1, 4)


def _picture(image: Image, box: Float32, text: str, *, side: int = 160) -> Image:
    margin = (box[2:] - box[:2]) / 2
    x1, y1 = np.maximum(np.round(box[:2] - margin).astype(int), 0)
    x2, y2 = np.round(box[2:] + margin).astype(int)
    picture = np.asarray(cv2.resize(image[y1:y2, x1:x2], (side, side)), np.uint8)
    cv2.putText(picture, text, (4, side - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 255, 255), 1, cv2.LINE_AA)
    return picture


def write_sheet(pictures: Sequence[Image], path: Path, *, columns: int = 8) -> None:
    """Write pictures of one size as a contact sheet."""
    blank = np.zeros_like(pictures[0])
    padded = [*pictures, *[blank] * (-len(pictures) % columns)]
    rows = [np.hstack(padded[k : k + columns]) for k in range(0, len(padded), columns)]
    cv2.imwrite(str(path), np.vstack(rows))


def score_all(pairs: Sequence[tuple[Path, Path]], scorer: Any, *, sheet: Path | None, **options: Any) -> list[str]:
    """Return a Markdown table of all clips and, below, of all together weighed by faces to find."""
    lines = ["| clip | " + " | ".join((*COLUMNS, "fps", "boxes", "face-frames per embedding")) + " |"]
    lines.append("|" + "---|" * (len(COLUMNS) + 4))
    totals: dict[str, list[tuple[float, float]]] = defaultdict(list)
    pictures: list[Image] = []
    with tempfile.TemporaryDirectory() as scratch:
        for clip, truth_path in pairs:
            rows = Path(scratch) / "rows.csv"
            cost = run(clip, rows, **options)
            truth = scorer.read_truth(truth_path)
            found = scorer.read_frames(rows, set(truth))
            figures = scorer.score(truth, found, 0.4)
            pictures += extras(clip, truth, found) if sheet else []
            lines.append(f"| {clip.stem} | " + " | ".join(str(v) for v in _cells(figures, cost)) + " |")
            for name in COLUMNS:
                totals[name].append((figures[name], figures["faces_to_find"]))
    lines.append("| **all** | " + " | ".join(_total(name, totals[name]) for name in COLUMNS) + " | | | |")
    if sheet and pictures:
        write_sheet(pictures, sheet)
    return lines


def _cells(figures: dict[str, Any], cost: dict[str, float]) -> list[object]:
    return [*(figures[name] for name in COLUMNS), *cost.values()]


def _total(name: str, values: list[tuple[float, float]]) -> str:
    if isinstance(values[0][0], int):
        return f"**{sum(value for value, _ in values)}**"
    weight = sum(faces for _, faces in values)
    return f"**{sum(value * faces for value, faces in values) / max(weight, 1):.4f}**"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("scorer", type=Path)
    parser.add_argument("--clips", default="", help="names, separated by commas")
    parser.add_argument("--detector", default="centerface")
    parser.add_argument("--embedder", default="dlib")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--clusterer", default="auto")
    parser.add_argument("--models-dir", type=Path)
    parser.add_argument("--sheet", type=Path)
    options = vars(parser.parse_args())
    pairs = find_clips(options.pop("folder"), [name for name in options.pop("clips").split(",") if name])
    scorer = load_scorer(options.pop("scorer"))
    print("\n".join(score_all(pairs, scorer, **options)))


if __name__ == "__main__":
    main()
