"""The commands by which people correct who is who, and look after the gallery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import indexing
from indexing.arguments import (
    AsJson,
    Clusterer,
    Database,
    End,
    Far,
    Force,
    Ignored,
    InVideos,
    MinQuality,
    ModelsDir,
    OwnDetector,
    OwnEmbedder,
    Reason,
    Start,
    Tracks,
    Who,
    scope,
)

if TYPE_CHECKING:
    from indexing.corrections import Entry


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    corrections: list[Callable[..., Any]] = [name, merge, split, assign, confirm, ignore, unignore, undo, log, enroll]
    questions: list[Callable[..., Any]] = [together, count, identify, recluster, calibrate]
    for command in corrections + questions:
        app.command()(command)
    app.command(name="not")(not_them)


def name(
    person: Who,
    new_name: Annotated[str, typer.Argument(help="What to call them.", metavar="NAME")],
    db: Database = Path("facetrack.db"),
    reason: Reason = None,
) -> None:
    """Name a person."""
    from indexing import gallery

    with indexing.Store(db, must_exist=True) as store:
        _tell(store, gallery.name(store, person, new_name, reason=reason))


def merge(a: Who, b: Who, db: Database = Path("facetrack.db"), reason: Reason = None, force: Force = False) -> None:
    """Say that two people are one."""
    from indexing import gallery

    with indexing.Store(db, must_exist=True) as store:
        _tell(store, gallery.merge(store, a, b, reason=reason, force=force))


def split(
    person: Who, tracks: Tracks, db: Database = Path("facetrack.db"), reason: Reason = None, force: Force = False
) -> None:
    """Say that some tracks of a person are somebody else."""
    from indexing import gallery

    with indexing.Store(db, must_exist=True) as store:
        _tell(store, gallery.split(store, person, tracks, reason=reason, force=force))


def not_them(
    person: Who, tracks: Tracks, db: Database = Path("facetrack.db"), reason: Reason = None, force: Force = False
) -> None:
    """Say that tracks are not a person; who they are is found anew."""
    from indexing import gallery

    with indexing.Store(db, must_exist=True) as store:
        _tell(store, gallery.not_(store, person, tracks, reason=reason, force=force))


def assign(
    track: Annotated[int, typer.Argument(help="Key of the track.", metavar="TRACK")],
    person: Who,
    db: Database = Path("facetrack.db"),
    reason: Reason = None,
    force: Force = False,
) -> None:
    """Say whose a track is."""
    from indexing import gallery

    with indexing.Store(db, must_exist=True) as store:
        _tell(store, gallery.assign(store, [track], person, reason=reason, force=force))


def confirm(person: Who, db: Database = Path("facetrack.db"), reason: Reason = None, force: Force = False) -> None:
    """Say that all tracks that a person has now are theirs."""
    from indexing import gallery

    with indexing.Store(db, must_exist=True) as store:
        _tell(store, gallery.confirm(store, person, reason=reason, force=force))


def ignore(person: Who, db: Database = Path("facetrack.db"), reason: Reason = None) -> None:
    """Leave a person out of every list until asked for: an extra, a poster."""
    from indexing import gallery

    with indexing.Store(db, must_exist=True) as store:
        _tell(store, gallery.ignore(store, person, reason=reason))


def unignore(person: Who, db: Database = Path("facetrack.db"), reason: Reason = None) -> None:
    """Bring a person who is ignored back into the lists."""
    from indexing import gallery

    with indexing.Store(db, must_exist=True) as store:
        _tell(store, gallery.unignore(store, person, reason=reason))


def undo(
    count: Annotated[int, typer.Argument(min=1, help="How many corrections.", metavar="N")] = 1,
    db: Database = Path("facetrack.db"),
) -> None:
    """Take back the last corrections."""
    from indexing import gallery

    with indexing.Store(db, must_exist=True) as store:
        for entry in gallery.undo(store, count):
            _tell(store, entry, before="taken back: ")


def log(db: Database = Path("facetrack.db"), as_json: AsJson = False) -> None:
    """List all corrections, oldest first."""
    from indexing import console, gallery

    with indexing.Store(db, must_exist=True) as store:
        told = gallery.log(store)
    if as_json:
        console.print_json([{**entry.to_dict(), "told": sentence} for entry, sentence in told])
        return
    for entry, sentence in told:
        typer.echo(f"{entry.entry_id:4}  {entry.at[:19]}  {sentence}")


def enroll(
    new_name: Annotated[str, typer.Argument(help="The person's name.", metavar="NAME")],
    photographs: Annotated[list[Path], typer.Argument(help="Photographs of the face.", metavar="IMAGE...")],
    db: Database = Path("facetrack.db"),
    detector: OwnDetector = None,
    embedder: OwnEmbedder = None,
    models_dir: ModelsDir = None,
    reason: Reason = None,
    force: Force = False,
) -> None:
    """Make photographs the measure of how a person looks, before or after videos are added."""
    from indexing import gallery

    models = {"detector": detector, "embedder": embedder}
    with indexing.Store(db) as store:
        entry = gallery.enroll(
            store, new_name, photographs, **models, models_dir=models_dir, reason=reason, force=force
        )
        _tell(store, entry)


def together(
    people: Annotated[list[str], typer.Argument(help="Two people or more.", metavar="PERSON...")],
    video: InVideos = None,
    start: Start = 0.0,
    end: End = inf,
    min_quality: MinQuality = 0.0,
    db: Database = Path("facetrack.db"),
    as_json: AsJson = False,
) -> None:
    """List when several people are seen at once."""
    from indexing import console, report
    from indexing.presence import co_appearances

    with indexing.Store(db, must_exist=True) as store:
        where = scope(store, video, start, end, min_quality, ignored=True)
        rows = report.together_rows(store, co_appearances(store, _ids(store, people), scope=where))
    console.print_json(rows) if as_json else console.together(rows)


def count(
    people: Annotated[list[str] | None, typer.Argument(help="Who; none: everybody.", metavar="PERSON...")] = None,
    beside: Annotated[
        str | None, typer.Option("--with", help="Only while this person is seen too.", metavar="PERSON")
    ] = None,
    video: InVideos = None,
    start: Start = 0.0,
    end: End = inf,
    min_quality: MinQuality = 0.0,
    ignored: Ignored = False,
    db: Database = Path("facetrack.db"),
    as_json: AsJson = False,
) -> None:
    """Count how often and for how long people are seen, and how many at once."""
    from indexing import console, report
    from indexing.presence import companions, most_at_once, presence

    with indexing.Store(db, must_exist=True) as store:
        where = scope(store, video, start, end, min_quality, ignored=ignored)
        ids = _ids(store, people) if people else None
        if beside is not None:
            found = companions(store, store.resolve_person(beside).identity_id, ids, scope=where)
        else:
            found = presence(store, ids, scope=where)
        rows = report.presence_rows(found)
        crowd = None if people or beside else report.crowd_row(store, most_at_once(store, scope=where))
    console.print_json({"people": rows, "most_at_once": crowd}) if as_json else console.counts(rows, crowd)


def _ids(store: indexing.Store, people: Sequence[str]) -> list[int]:
    return [store.resolve_person(person).identity_id for person in people]


def identify(db: Database = Path("facetrack.db"), clusterer: Clusterer = "auto", far: Far = None) -> None:
    """Say who is who in what is new; all else is left alone."""
    from indexing import console, report

    with indexing.Store(db, must_exist=True) as store:
        indexing.identify(store, clusterer=clusterer, far=far)
        console.people(report.people_rows(store))


def recluster(
    db: Database = Path("facetrack.db"),
    clusterer: Clusterer = "auto",
    far: Far = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would change.")] = False,
) -> None:
    """Say anew who is who in all that is stored; corrections and ids are kept."""
    from indexing import pipeline, report

    with indexing.Store(db, must_exist=True) as store:
        for line in report.changes_lines(pipeline.recluster(store, clusterer=clusterer, far=far, dry_run=dry_run)):
            typer.echo(line)


def calibrate(db: Database = Path("facetrack.db")) -> None:
    """Adjust the probabilities of matches to what this database shows by itself, without labels."""
    from indexing import calibrate as calibration
    from indexing import console, report

    with indexing.Store(db, must_exist=True) as store:
        console.figures(report.calibration_lines(calibration.calibrate(store)))


def _tell(store: indexing.Store, entry: Entry, *, before: str = "") -> None:
    from indexing.corrections import describe
    from indexing.report import printable

    labels = {identity.identity_id: identity.label for identity in store.identities(include_empty=True)}
    typer.echo(printable(before + describe(entry, labels, log=store.log())))
