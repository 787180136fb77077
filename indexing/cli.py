"""The command ``facetrack``: a thin face of the Python API; heavy imports wait inside the commands."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

import indexing
from indexing import gallery_commands, live_command, service_commands
from indexing.arguments import (
    AsJson,
    Cadence,
    Clusterer,
    Database,
    Detector,
    Embedder,
    Emotion,
    EmotionFps,
    End,
    Far,
    Ignored,
    InVideos,
    MinQuality,
    ModelsDir,
    OwnDetector,
    OwnEmbedder,
    Preset,
    PresetOption,
    Start,
    Yes,
    samples_a_second,
    scope,
)
from tracker.errors import FacetrackError

if TYPE_CHECKING:
    from indexing.console import Watcher
    from indexing.search import Answer

logger = logging.getLogger(__name__)

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of the signal."""


@contextmanager
def _errors_told() -> Iterator[None]:
    """Turn what a user can mend into one line on standard error and exit code 1."""
    try:
        yield
    except BrokenPipeError:
        # The reader of the pipe went away; Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except (FacetrackError, OSError) as error:
        from indexing.console import complain

        logger.debug("where it came from:", exc_info=error)
        complain(error)
        raise typer.Exit(1) from error
    except KeyboardInterrupt as error:
        typer.echo(f"interrupted: {error or 'nothing was changed'}", err=True)
        raise typer.Exit(INTERRUPTED) from error


class _Group(TyperGroup):
    """Runs every command under the one handler of errors."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        with _errors_told():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Group,
    name="facetrack",
    help="Who is on screen, and when, for any video: one command, one SQLite file, no download.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="List the models, or fetch the weights of one.", invoke_without_command=True)
app.add_typer(models_app, name="models")


def _log(wanted: bool) -> None:
    from indexing.console import LogHandler

    for name in ("tracker", "indexing"):
        package = logging.getLogger(name)
        package.handlers = [LogHandler()]
        package.setLevel(logging.INFO if wanted else logging.WARNING)
        package.propagate = False


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"facetrack {version('facetrack')}")
        raise typer.Exit


Profile = Annotated[bool, typer.Option("--profile", help="Print the time per stage.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", callback=_log, is_eager=True, expose_value=False, help="Say what is done.")
]


@app.callback()
def _facetrack(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    _log(False)


@app.command()
def add(
    paths: Annotated[list[Path], typer.Argument(help="Videos, images and folders of them.", metavar="PATH...")],
    db: Database = Path("facetrack.db"),
    detector: Detector = "centerface",
    embedder: Embedder = "dlib",
    emotion: Emotion = "emotion_cnn",
    preset: PresetOption = Preset.balanced,
    detect_every: Cadence = None,
    emotion_fps: EmotionFps = "5",
    clusterer: Clusterer = "auto",
    far: Far = None,
    models_dir: ModelsDir = None,
    profile: Profile = False,
    verbose: Verbose = False,
) -> None:
    """Add videos, images and folders, and say who is in them."""
    from indexing import console, report

    wanted = None if emotion == "none" else emotion
    models: dict[str, Any] = {"detector": detector, "embedder": embedder, "emotion": wanted, "models_dir": models_dir}
    looking: dict[str, Any] = {
        "preset": preset.value,
        "detect_every": detect_every,
        "emotion_fps": samples_a_second(emotion_fps),
    }
    with indexing.Store(db) as store, console.watch(db) as watcher:
        indexing.process(paths, store, **models, **looking, clusterer=clusterer, far=far, progress=watcher)
        console.people(report.people_rows(store))
    _finish(watcher, profile)


def _finish(watcher: Watcher, profile: bool) -> None:
    """Print the profile where wanted, and end with exit code 1 if any file failed."""
    from indexing import console

    if profile:
        console.profile(watcher)
    failed = sum(outcome.status == "failed" for outcome in watcher.outcomes)
    if failed:
        raise FacetrackError(f"{failed} of {len(watcher.outcomes)} files failed, see above; the others are kept")


@app.command()
def people(
    db: Database = Path("facetrack.db"),
    ignored: Ignored = False,
    as_json: AsJson = False,
) -> None:
    """List the people, by screen time."""
    from indexing import console, report

    with indexing.Store(db, must_exist=True) as store:
        rows = report.people_rows(store, ignored=ignored)
    console.print_json(rows) if as_json else console.people(rows)


@app.command()
def appearances(
    which: Annotated[str, typer.Argument(help="A person (id or name) or a video.", metavar="PERSON|VIDEO")],
    db: Database = Path("facetrack.db"),
    ignored: Ignored = False,
    as_json: AsJson = False,
) -> None:
    """List when a person, or who in a video, is seen: intervals [start, end), and the tracks that corrections name."""
    from indexing import console, report

    with indexing.Store(db, must_exist=True) as store:
        rows = report.appearance_rows(store, report.appearances_of(store, which, ignored=ignored))
    console.print_json(rows) if as_json else console.appearances(rows)


@app.command()
def search(
    pictures: Annotated[list[Path] | None, typer.Argument(help="Reference pictures.", metavar="IMAGE...")] = None,
    together: Annotated[bool, typer.Option("--together", help="The pictures show one person.")] = False,
    person: Annotated[str | None, typer.Option(help="Search for who looks like them.", metavar="PERSON")] = None,
    track: Annotated[int | None, typer.Option(help="Search for a track by its key.", metavar="KEY")] = None,
    at: Annotated[
        tuple[str, float, float, float] | None,
        typer.Option(help="Search for the face at a point of a video.", metavar="VIDEO SECONDS X Y"),
    ] = None,
    video: InVideos = None,
    start: Start = 0.0,
    end: End = inf,
    min_quality: MinQuality = 0.0,
    ignored: Ignored = False,
    db: Database = Path("facetrack.db"),
    far: Annotated[float, typer.Option(help="False accept rate, 1e-6 to 0.1.", metavar="RATE")] = 1e-3,
    as_json: AsJson = False,
    sheet: Annotated[Path | None, typer.Option(help="Write a picture of what was found.", metavar="FILE")] = None,
    detector: OwnDetector = None,
    embedder: OwnEmbedder = None,
    models_dir: ModelsDir = None,
    verbose: Verbose = False,
) -> None:
    """Search for every face in reference pictures, for a person, a track, or a face in a video."""
    from indexing import console, report
    from indexing import search as lookup

    _check_one(pictures, person, track, at)
    errors: list[FacetrackError] = []
    models: dict[str, Any] = {"detector": detector, "embedder": embedder, "models_dir": models_dir}
    with indexing.Store(db, must_exist=True) as store:
        where: dict[str, Any] = {"far": far, "scope": scope(store, video, start, end, min_quality, ignored=ignored)}
        if pictures:
            answers = lookup.search(store, pictures, one_person=together, **where, **models, on_error=errors.append)
        elif person is not None:
            answers = [lookup.search_person(store, store.resolve_person(person).identity_id, **where)]
        elif track is not None:
            answers = [lookup.search_track(store, track, **where)]
        elif at is not None:
            answers = [lookup.search_at(store, store.resolve_video(at[0]).video_id, *at[1:], **where)]
        rows = report.answer_rows(store, answers)
        _draw_sheet(store, answers, sheet)
    console.print_json(rows) if as_json else console.answers(answers, rows)
    _fail(errors)


def _check_one(*ways: object) -> None:
    if sum(way not in (None, []) for way in ways) != 1:
        raise typer.BadParameter("give pictures, or one of --person, --track and --at", param_hint="IMAGE...")


def _draw_sheet(store: indexing.Store, answers: Sequence[Answer], sheet: Path | None) -> None:
    if sheet is not None and answers:
        from indexing.pictures import draw_sheet

        draw_sheet(store, answers, sheet)


def _fail(errors: Sequence[FacetrackError]) -> None:
    from indexing.console import complain

    for error in errors:
        complain(error)
    if errors:
        raise typer.Exit(1)


@app.command()
def export(
    which: Annotated[
        list[str] | None, typer.Argument(help="Videos, folders, or a person.", metavar="VIDEO|FOLDER|PERSON...")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All videos.")] = False,
    format: Annotated[str, typer.Option(help="A name that --list prints.", metavar="NAME")] = "frames",
    output: Annotated[
        str, typer.Option("--output", "-o", help="A file, a folder for one file a video, or - .", metavar="FILE")
    ] = "-",
    known: Annotated[bool, typer.Option("--list", help="List the formats and exit.")] = False,
    ignored: Ignored = False,
    db: Database = Path("facetrack.db"),
) -> None:
    """Export faces, emotions and appearances in the formats of the field."""
    from indexing.export import FORMATS, select, write
    from indexing.export import export as export_to

    if known:
        typer.echo("\n".join(f"{name:10}{format.about}" for name, format in FORMATS.items()))
        return
    _check_selection(which, everything)
    with indexing.Store(db, must_exist=True) as store:
        videos, identity_id = (store.videos(), None) if everything else select(store, which or [])
        chosen: dict[str, Any] = {"format": format, "identity_id": identity_id, "ignored": ignored}
        if output == "-":
            write(store, videos, sys.stdout, **chosen)
            sys.stdout.flush()
        else:
            export_to(store, videos, Path(output), **chosen)


def _check_selection(which: Sequence[str] | None, everything: bool) -> None:
    if bool(which) == everything:
        raise typer.BadParameter("name videos, folders or a person, or give --all", param_hint="VIDEO|FOLDER|PERSON...")


@app.command(name="import")
def import_corrections(
    path: Annotated[Path, typer.Argument(help="An export of --format cvat or elan, corrected.", metavar="FILE")],
    db: Database = Path("facetrack.db"),
) -> None:
    """Take over the names that a person has corrected in CVAT or ELAN."""
    from indexing import report
    from indexing.importing import import_names

    with indexing.Store(db, must_exist=True) as store:
        for line in report.imported_lines(import_names(store, path)):
            typer.echo(line)


@app.command()
def plot(
    which: Annotated[str, typer.Argument(help="A video or a person.", metavar="VIDEO|PERSON")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="PNG, SVG, PDF, or HTML that plays along.", metavar="FILE")
    ] = Path("emotions.png"),
    ignored: Ignored = False,
    db: Database = Path("facetrack.db"),
) -> None:
    """Draw what each person shows over time."""
    from indexing.export import select
    from indexing.plot import plot as draw

    with indexing.Store(db, must_exist=True) as store:
        videos, identity_id = select(store, [which])
        if identity_id is not None:
            draw(store, output, identity=store.resolve_person(str(identity_id)))
        else:
            draw(store, output, video=videos[0], ignored=ignored)
    typer.echo(output)


@app.command()
def render(
    video: Annotated[str, typer.Argument(help="Path, id or file name.", metavar="VIDEO")],
    output: Annotated[Path, typer.Option("--output", "-o", help="MP4, MKV or MOV.", metavar="FILE")],
    ignored: Ignored = False,
    db: Database = Path("facetrack.db"),
    verbose: Verbose = False,
) -> None:
    """Write the video with boxes, names and track ids; the sound is kept."""
    from indexing import console
    from indexing.annotate import annotate

    with indexing.Store(db, must_exist=True) as store, console.watch() as watcher:
        record = store.resolve_video(video)
        watcher.start(record.path, record.frame_count)
        annotate(store, record, output, ignored=ignored, progress=lambda _: watcher.advance(1))
    typer.echo(output)


@app.command()
def timeline(
    which: Annotated[
        list[str] | None, typer.Argument(help="Videos, or folders; none: all.", metavar="VIDEO...")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG, PDF or SVG.", metavar="FILE")] = Path(
        "timeline.png"
    ),
    ignored: Ignored = False,
    db: Database = Path("facetrack.db"),
) -> None:
    """Draw who is seen when."""
    from indexing.export import select_videos
    from indexing.pictures import draw_timeline

    with indexing.Store(db, must_exist=True) as store:
        draw_timeline(store, output, videos=select_videos(store, which) if which else None, ignored=ignored)
    typer.echo(output)


@models_app.callback()
def models(ctx: typer.Context, models_dir: ModelsDir = None, as_json: AsJson = False) -> None:
    """List the models with task, licence, size, SHA-256, origin, and whether their weights are here."""
    from dataclasses import asdict

    from indexing import console
    from tracker.models import describe

    if ctx.invoked_subcommand is None:
        rows = [{**asdict(row), "path": row.path and str(row.path)} for row in describe(models_dir=models_dir)]
        console.print_json(rows) if as_json else console.models(rows)


@models_app.command()
def pull(name: Annotated[str, typer.Argument(help="A name that `facetrack models` lists.")]) -> None:
    """Fetch the weights of a model: resumable, checked by hash, whole or not at all."""
    from indexing import console
    from tracker.weights import pull as fetch

    with console.watch_download(name) as progress:
        path = fetch(name, progress=progress)
    typer.echo(path)


@app.command()
def reembed(
    embedder: Annotated[str, typer.Option(help="The model that is to replace the database's.", metavar="MODEL")],
    db: Database = Path("facetrack.db"),
    models_dir: ModelsDir = None,
    profile: Profile = False,
    verbose: Verbose = False,
) -> None:
    """Put the vectors of another embedder in place of all; people keep their ids."""
    from indexing import console

    with indexing.Store(db, must_exist=True) as store, console.watch() as watcher:
        indexing.reembed(store, embedder=embedder, models_dir=models_dir, progress=watcher)
    _finish(watcher, profile)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="One sub-folder for each person.", metavar="FOLDER")],
    detector: Detector = "centerface",
    embedder: Embedder = "dlib",
    preset: PresetOption = Preset.balanced,
    clusterer: Clusterer = "auto",
    far: Far = None,
    models_dir: ModelsDir = None,
    roc: Annotated[Path, typer.Option(help="Where the ROC picture is written.", metavar="FILE")] = Path("roc.png"),
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Score verification and clustering on a folder of photographs."""
    from indexing import console
    from indexing.evaluate import evaluate as score
    from indexing.evaluate import figures
    from indexing.pictures import draw_roc

    models: dict[str, Any] = {"detector": detector, "embedder": embedder, "models_dir": models_dir}
    with console.watch() as watcher:
        result = score(folder, **models, preset=preset.value, clusterer=clusterer, far=far, progress=watcher)
    draw_roc(result.curve, roc, title=f"{result.embedder_id} on {folder.name}")
    values = {**result.to_dict(), "roc": str(roc)}
    console.print_json(values) if as_json else console.figures([*figures(values), ("ROC picture", str(roc))])


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where all is written.", metavar="FOLDER")] = Path("facetrack-demo"),
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
    profile: Profile = False,
    verbose: Verbose = False,
) -> None:
    """Make a clip of two people, process it, and score what was found against the exact truth."""
    from indexing import console
    from indexing.showcase import showcase

    with console.watch() as watcher:
        shown = showcase(out, models_dir=models_dir, progress=watcher)
    console.print_json(shown.to_dict()) if as_json else console.people(shown.people)
    if not as_json:
        console.figures(shown.figures())
    _finish(watcher, profile)


@app.command()
def forget(
    person: Annotated[str, typer.Argument(help="Id or name.")],
    db: Database = Path("facetrack.db"),
    yes: Yes = False,
) -> None:
    """Erase a person: name, tracks, embeddings and pictures."""
    from indexing import report

    with indexing.Store(db, must_exist=True) as store:
        identity = store.resolve_person(person)
        _ask(f"Erase {identity.label} with all tracks and pictures?", yes)
        store.forget(identity.identity_id)
        report.remove_thumbnails(store)
    typer.echo(f"{identity.label} is erased")


@app.command()
def remove(
    video: Annotated[str, typer.Argument(help="Path, id or file name.")],
    db: Database = Path("facetrack.db"),
    yes: Yes = False,
) -> None:
    """Remove a video with its tracks from the database; the file stays."""
    from indexing import report

    with indexing.Store(db, must_exist=True) as store:
        record = store.resolve_video(video)
        _ask(f"Remove {record.path} with all its tracks from {db}?", yes)
        store.remove_video(record.video_id)
        report.remove_thumbnails(store)
    typer.echo(f"{report.printable(record.path)} is removed")


def _ask(question: str, yes: bool) -> None:
    if not yes and sys.stdin.isatty():
        typer.confirm(question, abort=True)


for commands in (gallery_commands, service_commands, live_command):
    commands.register(app)


def main() -> None:
    """Run the command line."""
    app()
