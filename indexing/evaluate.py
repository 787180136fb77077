"""How well the models tell people apart on a folder of photographs, one sub-folder a person."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from indexing.metrics import Score, Verification, bcubed, verification
from indexing.pipeline import Outcome, Progress, process
from indexing.store import Store
from indexing.types import TrackRecord, VideoRecord
from tracker.errors import FacetrackError
from tracker.types import Float32

if TYPE_CHECKING:
    from tracker.protocols import Detector, Embedder

FARS = (1e-2, 1e-3, 1e-4)
"""False accept rates at which the true accept rate is told."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The figures of one folder.

    Attributes:
        detector_id: Model id of the detector.
        embedder_id: Model id of the embedder.
        photographs: Photographs that were decoded.
        failed: One line for each file that was not.
        found: Photographs in which a face was found; the figures are of these.
        people: People among them.
        identities: Identities that clustering made of them.
        curve: The errors over all pairs of photographs.
        clustering: BCubed precision and recall of the identities.
    """

    detector_id: str
    embedder_id: str
    photographs: int
    failed: tuple[str, ...]
    found: int
    people: int
    identities: int
    curve: Verification
    clustering: Score

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as JSON values."""
        accuracy, threshold = self.curve.best_accuracy
        return {
            "detector": self.detector_id,
            "embedder": self.embedder_id,
            "photographs": self.photographs,
            "failed": list(self.failed),
            "faces_found": self.found / max(self.photographs, 1),
            "people": self.people,
            "identities": self.identities,
            "genuine_pairs": self.curve.genuine,
            "impostor_pairs": self.curve.impostors,
            "tar_at_far": {f"{far:g}": self.curve.tar(far) for far in FARS},
            "eer": self.curve.eer,
            "best_accuracy": accuracy,
            "best_threshold": threshold,
            "bcubed_precision": self.clustering.precision,
            "bcubed_recall": self.clustering.recall,
            "bcubed_f": self.clustering.f,
        }


def evaluate(
    folder: Path,
    *,
    detector: str | Detector = "centerface",
    embedder: str | Embedder = "dlib",
    preset: str = "balanced",
    clusterer: str = "auto",
    far: float | None = None,
    models_dir: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Add all photographs to a database of their own, as a user would, and score verification and clustering.

    In each photograph the face that is largest and nearest to the middle stands for the person of its folder.

    Args:
        folder: Holds one folder for each person.
        detector: See `indexing.pipeline.process`; so for the other options.
        embedder: The same.
        preset: The same.
        clusterer: The same.
        far: The same.
        models_dir: The same.
        progress: The same.

    Raises:
        FacetrackError: if there are not two people, one of them with two photographs that show a face.
    """
    people = _people(folder)
    with tempfile.TemporaryDirectory() as scratch, Store(Path(scratch) / "facetrack.db") as store:
        outcomes = process(
            people,
            store,
            detector=detector,
            embedder=embedder,
            emotion=None,
            preset=preset,
            clusterer=clusterer,
            far=far,
            models_dir=models_dir,
            progress=progress,
        )
        return _score(store, outcomes, folder)


def _people(folder: Path) -> list[Path]:
    people = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if len(people) < 2:
        raise FacetrackError(
            f"{folder} has {len(people)} sub-folders; give a folder with one sub-folder for each person"
        )
    return people


def _score(store: Store, outcomes: list[Outcome], folder: Path) -> Evaluation:
    faces = _standing_in(store)
    if not faces:
        raise FacetrackError(f"no face was found in the photographs of {folder}")
    videos = {video.video_id: video for video in store.videos()}
    names = [videos[record.video_id].path.relative_to(folder).parts[0] for record, _ in faces]
    # An unknown face is nobody's: it counts as an identity of its own.
    labels = [record.identity_id or -1 for record, _ in faces]
    some = next(iter(videos.values()))
    return Evaluation(
        detector_id=some.detector_id,
        embedder_id=some.embedder_id,
        photographs=len(videos),
        failed=tuple(f"{o.path}: {o.message}" for o in outcomes if o.status == "failed"),
        found=len(faces),
        people=len(set(names)),
        identities=len(set(labels) - {-1}) + labels.count(-1),
        curve=verification(np.stack([vector for _, vector in faces]), names),
        clustering=bcubed(names, labels),
    )


def _standing_in(store: Store) -> list[tuple[TrackRecord, Float32]]:
    """Return for each photograph with a face the track that stands for its person, and its vector."""
    rows = store.embeddings()
    vectors = {int(key): vector for key, vector in zip(rows.track_keys, rows.vectors, strict=True)}
    chosen = []
    for video in store.videos():
        tracks = [pair for pair in store.tracks(video.video_id) if pair[0].key in vectors]
        if tracks:
            record = max(tracks, key=lambda pair: _weight(video, pair[1].boxes[0]))[0]
            chosen.append((record, vectors[record.key]))
    return chosen


def _weight(video: VideoRecord, box: Float32) -> float:
    """Return the area of a face, less the square of its distance from the middle of the picture."""
    x1, y1, x2, y2 = (float(side) for side in box)
    off = ((x1 + x2) - video.info.width) / 2, ((y1 + y2) - video.info.height) / 2
    return (x2 - x1) * (y2 - y1) - 2.0 * (off[0] ** 2 + off[1] ** 2)


def figures(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the figures of `Evaluation.to_dict` as lines for people to read."""
    rates = [(f"TAR at FAR {far}", f"{tar:.2%}") for far, tar in values["tar_at_far"].items()]
    return [
        ("models", f"{values['detector']}, {values['embedder']}"),
        ("faces found", f"{values['faces_found']:.2%} of {values['photographs']} photographs"),
        ("pairs", f"{values['genuine_pairs']} of one person, {values['impostor_pairs']} of two"),
        *rates,
        ("EER", f"{values['eer']:.2%}"),
        ("best accuracy", f"{values['best_accuracy']:.2%} at similarity {values['best_threshold']:.3f}"),
        ("BCubed precision", f"{values['bcubed_precision']:.3f}"),
        ("BCubed recall", f"{values['bcubed_recall']:.3f}"),
        ("BCubed F", f"{values['bcubed_f']:.3f}"),
        ("identities", f"{values['identities']} for {values['people']} people"),
    ]
