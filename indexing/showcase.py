"""The demonstration from end to end: a clip with known truth, processed, drawn and scored in one folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from indexing.annotate import annotate
from indexing.demo import DemoScore, make_demo_clip, score, write_truth
from indexing.pictures import draw_timeline
from indexing.pipeline import Progress, process
from indexing.plot import plot
from indexing.report import Row, people_rows
from indexing.store import Store
from indexing.types import UNKNOWN
from tracker.errors import FacetrackError

CLIP = "demo.mp4"
FILES = (CLIP, "truth.csv", "demo.db", "annotated.mp4", "timeline.png", "emotions.png")
"""The clip, its exact truth, the database, the annotated clip, and the pictures of who is seen when and shows what."""

TRUE_PEOPLE = 2
DETECTOR, EMBEDDER = "centerface", "dlib"


@dataclass(frozen=True, slots=True)
class Showcase:
    """What the demonstration made.

    Attributes:
        people: The rows of `indexing.report.people_rows`.
        score: How well the clip was understood.
        files: What was written.
    """

    people: list[Row]
    score: DemoScore
    files: tuple[Path, ...]

    def to_dict(self) -> Row:
        """Return all of it as JSON values."""
        return {"people": self.people, "score": asdict(self.score), "files": [str(path) for path in self.files]}

    def figures(self) -> list[tuple[str, str]]:
        """Return score and files as lines for people to read."""
        names = {row["identity"]: row["name"] for row in self.people}
        who = [(true, names.get(identity, UNKNOWN)) for true, identity in self.score.identities.items()]
        return [
            *[(true, f"found as {found}") for true, found in who],
            ("people", f"{len(self.people)} found, {TRUE_PEOPLE} true"),
            ("faces found", f"{self.score.recall:.1%} of {self.score.faces}"),
            ("boxes on faces", f"{self.score.precision:.1%}"),
            ("identity F1", f"{self.score.idf1:.3f}"),
            (
                "switches",
                f"{self.score.id_switches} of tracks inside a shot, {self.score.identity_switches} of identities",
            ),
            *[("written" if number == 0 else "", str(path)) for number, path in enumerate(self.files)],
        ]


def showcase(folder: Path, *, models_dir: Path | None = None, progress: Progress | None = None) -> Showcase:
    """Make the clip in ``folder``, process it, draw what was found, and score it against the exact truth.

    Args:
        folder: Made where there is none; the database of an earlier demonstration in it is replaced.
        models_dir: See `indexing.pipeline.process`.
        progress: The same.

    Raises:
        FacetrackError: if the folder holds a database with other videos, or the clip could not be processed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clip, truth_file, database, annotated, seen, shown = (folder / name for name in FILES)
    _clear(database)
    truth = make_demo_clip(clip)
    write_truth(truth, truth_file)
    with Store(database) as store:
        [outcome] = process(
            [clip], store, detector=DETECTOR, embedder=EMBEDDER, models_dir=models_dir, progress=progress
        )
        if outcome.video_id is None:
            raise FacetrackError(outcome.message)
        video = store.video(outcome.video_id)
        annotate(store, video, annotated)
        draw_timeline(store, seen)
        plot(store, shown, video=video)
        people = people_rows(store)
        result = score(truth, store.tracks(outcome.video_id))
        thumbnails = tuple(Path(row["thumbnail"]) for row in people if row["thumbnail"])
        return Showcase(people, result, (clip, truth_file, database, annotated, seen, shown, *thumbnails))


def _clear(database: Path) -> None:
    """Delete the database of an earlier demonstration, and nothing else's."""
    if not database.exists():
        return
    with Store(database) as store:
        if any(video.path.name != CLIP for video in store.videos()):
            raise FacetrackError(
                f"{database} holds other videos than the demonstration's; name another folder with --out"
            )
        index = store.index_path
    for path in (database, Path(f"{database}-wal"), Path(f"{database}-shm"), index):
        path.unlink(missing_ok=True)
