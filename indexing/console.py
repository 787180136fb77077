"""What the command line shows: progress, tables and errors."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.report import Row, clock, printable, seconds_of_stages
from indexing.types import UNKNOWN

if TYPE_CHECKING:
    from rich.console import Console

    from indexing.pipeline import Outcome
    from indexing.search import Answer

PATIENCE = 10.0
"""Seconds between two lines of progress where there is no terminal."""

WIDE = 200
"""Columns of a table where there is no terminal: nothing is cut."""


def say(line: object) -> None:
    """Write a line of progress to standard error."""
    sys.stderr.write(printable(line) + "\n")
    sys.stderr.flush()


def complain(error: object) -> None:
    """Write an error to standard error, in one line."""
    say(f"error: {' '.join(str(error).split())}")


class LogHandler(logging.Handler):
    """Writes records as lines to whatever standard error is at that moment, so that a progress bar stays whole."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        say(f"{record.levelname.lower()}: {record.getMessage()}")


class Watcher:
    """Progress as plain lines: one when a file is done, and one now and then before."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.frames = 0
        self.began = time.monotonic()
        self._path, self._total, self._done = Path(), 0, 0
        self._started = self._told = self.began

    @property
    def kept(self) -> int:
        """Files that are in the database."""
        return sum(outcome.status != "failed" for outcome in self.outcomes)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def start(self, path: Path, frames: int | None) -> None:
        """See `indexing.pipeline.Progress`."""
        self._path, self._total, self._done = path, frames or 0, 0
        self._started = self._told = time.monotonic()

    def advance(self, frames: int) -> None:
        """See `indexing.pipeline.Progress`."""
        self.frames += frames
        self._done += frames
        if time.monotonic() - self._told >= PATIENCE:
            self._told = time.monotonic()
            self._tell()

    def _tell(self) -> None:
        rate = self._done / max(time.monotonic() - self._started, 1e-6)
        left = f", {clock(max(self._total - self._done, 0) / rate)} to go" if self._total else ""
        of = f" of about {self._total}" if self._total else ""
        say(f"{self._path}: {self._done}{of} frames, {rate:.1f} frames/s{left}")

    def finish(self, outcome: Outcome) -> None:
        """See `indexing.pipeline.Progress`."""
        self.outcomes.append(outcome)
        if outcome.status == "failed":
            complain(_with_path(outcome))
        else:
            say(f"{outcome.status} {outcome.path}: {outcome.message}")


def _with_path(outcome: Outcome) -> str:
    named = str(outcome.path) in outcome.message
    return outcome.message if named else f"{outcome.path}: {outcome.message}"


class BarWatcher(Watcher):
    """Progress as a bar with the name of the file, frames, frames/s and the time to go."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        super().__init__()
        columns = [TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()]
        rate = TextColumn("{task.fields[rate]} frames/s  ETA")
        self._bar = Progress(*columns, rate, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", visible=False, rate="")

    def __enter__(self) -> BarWatcher:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._bar.stop()

    def start(self, path: Path, frames: int | None) -> None:
        """See `indexing.pipeline.Progress`."""
        super().start(path, frames)
        name = printable(path.name)[:40]
        self._bar.reset(self._task, total=frames, description=name, visible=True, rate="")

    def advance(self, frames: int) -> None:
        """See `indexing.pipeline.Progress`."""
        self.frames += frames
        self._done += frames
        rate = self._done / max(time.monotonic() - self._started, 1e-6)
        self._bar.update(self._task, advance=frames, rate=f"{rate:.1f}")

    def finish(self, outcome: Outcome) -> None:
        """See `indexing.pipeline.Progress`."""
        self._bar.update(self._task, visible=False)
        super().finish(outcome)


@contextmanager
def watch(kept_in: Path | None = None) -> Iterator[Watcher]:
    """Give a progress bar, or plain lines where standard error is no terminal.

    Args:
        kept_in: The database that finished files are in; an interruption tells of them.
    """
    watcher = Watcher()
    try:
        if sys.stderr.isatty():
            with BarWatcher() as watcher:
                yield watcher
        else:
            yield watcher
    except KeyboardInterrupt:
        kept = f"{watcher.kept} finished files are kept in {kept_in}" if kept_in else "nothing was kept"
        raise KeyboardInterrupt(f"{kept}; the same command goes on from there") from None


def _console() -> Console:
    from rich.console import Console

    # Without a terminal the output is for files and pipes: no cut, no wrapping.
    return Console() if sys.stdout.isatty() else Console(width=WIDE, color_system=None)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None) -> None:
    """Print a table to standard output; columns whose names end in ``>`` are set to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        right = name.endswith(">")
        shown.add_column(name.removesuffix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text("" if cell is None else printable(cell)) for cell in row))
    _console().print(shown)


def print_json(value: object) -> None:
    """Print a value as JSON, in ASCII: a path that is no UTF-8 stays valid JSON, and any terminal can show it."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def people(rows: Sequence[Row]) -> None:
    """Print the table of people."""
    if not rows:
        sys.stdout.write("no people yet\n")
        return
    columns = ("id>", "person", "videos>", "appearances>", "screen time>", "first seen", "last seen", "thumbnail")
    table(columns, [_person(row) for row in rows])


def _person(row: Row) -> tuple[Any, ...]:
    first, last = (_moment(row[key]) for key in ("first_seen", "last_seen"))
    counts = row["videos"], row["appearances"], clock(row["screen_time"])
    return row["identity"], row["name"] or UNKNOWN, *counts, first, last, row["thumbnail"]


def _moment(seen: Row | None) -> str | None:
    return None if seen is None else f"{Path(seen['video']).name} {clock(seen['time'])}"


def appearances(rows: Sequence[Row]) -> None:
    """Print the table of appearances."""
    cells = [(row["video"], row["identity"], row["name"] or UNKNOWN, *_interval(row), _tracks(row)) for row in rows]
    table(("video", "id>", "person", "start>", "end>", "tracks"), cells)


def together(rows: Sequence[Row]) -> None:
    """Print when several people are seen at once."""
    table(("video", "start>", "end>", "tracks"), [(row["video"], *_interval(row), _tracks(row)) for row in rows])


def _interval(row: Row) -> tuple[str, str]:
    return clock(row["start"]), clock(row["end"])


def _tracks(row: Row) -> str:
    return ", ".join(map(str, row["track_keys"]))


def counts(rows: Sequence[Row], crowd: Row | None) -> None:
    """Print how often and how long people are seen, and when the most at once."""
    cells = [
        (row["identity"], row["name"], row["videos"], row["appearances"], clock(row["screen_time"])) for row in rows
    ]
    table(("id>", "person", "videos>", "appearances>", "screen time>"), cells)
    if crowd is not None:
        where = f"{Path(crowd['video']).name} {'-'.join(_interval(crowd))}"
        sys.stdout.write(f"{len(rows)} people, at most {crowd['people']} at once: {printable(where)}\n")


def answers(found: Sequence[Answer], rows: Sequence[Row]) -> None:
    """Print what a search found: a table for each face."""
    for number, (answer, row) in enumerate(zip(found, rows, strict=True), 1):
        x, y, w, h = (round(value) for value in row["box"])
        one = f"one person in {len(answer.pictures)} pictures" if answer.pictures else f"face {number}"
        limit = f"similarity {answer.threshold:.3f} (FAR {answer.far:g})"
        heading = f"{printable(row['probe'])}: {one}, {w}x{h} pixels at {x},{y}, from {limit}"
        for outlier in answer.outliers:
            sys.stdout.write(f"{printable(outlier)}\n")
        if not answer.found:
            sys.stdout.write(f"{heading}: nobody\n")
            continue
        table(
            ("id>", "person", "confidence>", "similarity>", "FAR>", "seen", "tracks", "thumbnail"),
            map(_match, row["matches"]),
            title=heading,
        )


def _match(row: Row) -> tuple[Any, ...]:
    seen = [f"{Path(a['video']).name} {'-'.join(_interval(a))}" for a in row["appearances"]]
    figures = f"{row['probability']:.1%}", f"{row['similarity']:.3f}", f"{row['far']:.0e}"
    first = _first(seen, "; "), _first(list(map(str, row["track_keys"])), ", ")
    return row["identity"], row["name"] or UNKNOWN, *figures, *first, row["thumbnail"]


def _first(texts: Sequence[str], between: str) -> str:
    more = f" and {len(texts) - 5} more" if len(texts) > 5 else ""
    return between.join(texts[:5]) + more


def profile(watcher: Watcher) -> None:
    """Print how long each stage took in all, and how much was embedded."""
    runs = [outcome.statistics for outcome in watcher.outcomes]
    stages = seconds_of_stages(runs)
    frames = max(watcher.frames, 1)
    cells = [(stage, f"{seconds:.2f}", f"{1000 * seconds / frames:.2f}") for stage, seconds in stages]
    table(("stage", "seconds>", "ms/frame>"), cells, title="time per stage (stages run side by side)")
    faces, embedded = sum(run.face_frames for run in runs), sum(run.embeddings for run in runs)
    ratio = f", 1 in {faces / embedded:.0f} faces" if embedded else ""
    speed = f"{watcher.frames} frames in {watcher.elapsed:.1f} s, {watcher.frames / watcher.elapsed:.1f} frames/s"
    sys.stdout.write(f"{speed}; {faces} faces, {embedded} embeddings{ratio}\n")


def models(rows: Sequence[Row]) -> None:
    """Print the models, a paragraph each."""
    for row in rows:
        sys.stdout.write("\n".join(printable(line) for line in _model(row)) + "\n\n")


def _model(row: Row) -> Iterator[str]:
    size = f"{row['size'] / 1e6:.1f} MB" if row["size"] else "size differs"
    pullable = f"not here; `facetrack models pull {row['name']}` fetches it" if row["url"] else "not here"
    yield f"{row['name']:<15} {row['kind']:<19} {size:>12}   {row['licence']}"
    yield f"    {row['about']}; {row['origin']}"
    if row["sha256"]:
        yield f"    SHA-256 {row['sha256']}"
        yield f"    {row['path'] or pullable}"


def figures(lines: Sequence[tuple[str, str]]) -> None:
    """Print figures, one a line."""
    for label, value in lines:
        sys.stdout.write(f"{label:<18} {printable(value)}\n")


@contextmanager
def watch_download(name: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function to be told of the bytes that are here and the bytes in all."""
    told = time.monotonic()

    def tell(here: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= 1.0 or here >= total:
            told = time.monotonic()
            say(f"{name}: {here / 1e6:.1f} of {total / 1e6:.1f} MB")

    try:
        yield tell
    except KeyboardInterrupt:
        raise KeyboardInterrupt("what is here is kept; the same command goes on from there") from None
