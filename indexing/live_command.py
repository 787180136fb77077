"""The command that watches a live stream."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

import indexing
from indexing.arguments import (
    Cadence,
    Clusterer,
    Database,
    Emotion,
    EmotionFps,
    Far,
    ModelsDir,
    OwnDetector,
    OwnEmbedder,
    Preset,
    PresetOption,
    samples_a_second,
)


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command()(live)


def live(
    source: Annotated[
        str,
        typer.Argument(
            help="An address (rtsp, http, ...), /dev/video0 or 0, a file, or - for a pipe.", metavar="SOURCE"
        ),
    ],
    db: Database = Path("facetrack.db"),
    name: Annotated[
        str | None, typer.Option(help="What it is called in the database; default: the address without secrets.")
    ] = None,
    segment: Annotated[
        float, typer.Option(min=1, help="Length of the pieces that are stored.", metavar="SECONDS")
    ] = 60,
    realtime: Annotated[
        bool | None, typer.Option("--realtime/--no-realtime", help="Play at its own rate; default: what has an end.")
    ] = None,
    max_reconnects: Annotated[
        int | None, typer.Option(min=0, help="Attempts in a row before it gives up; default: no end.", metavar="N")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="An option of FFmpeg for opening it.", metavar="KEY=VALUE")
    ] = None,
    detector: OwnDetector = None,
    embedder: OwnEmbedder = None,
    emotion: Emotion = "emotion_cnn",
    preset: PresetOption = Preset.balanced,
    detect_every: Cadence = None,
    emotion_fps: EmotionFps = "5",
    clusterer: Clusterer = "auto",
    far: Far = None,
    models_dir: ModelsDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, an object a line.")] = False,
) -> None:
    """Say who is on screen in a live stream, and keep it, until Ctrl-C."""
    from indexing import live_view
    from indexing.live import follow

    given = _options(option or [])
    models: dict[str, Any] = {"detector": detector, "embedder": embedder, "models_dir": models_dir}
    looking: dict[str, Any] = {"preset": preset.value, "detect_every": detect_every}
    with indexing.Store(db) as store, _until_interrupted() as stop:
        follow(
            source,
            store,
            viewer=live_view.choose(as_json=as_json),
            stop=stop,
            name=name,
            segment=segment,
            realtime=realtime,
            max_reconnects=max_reconnects,
            stream_options=given,
            emotion=None if emotion == "none" else emotion,
            emotion_fps=samples_a_second(emotion_fps),
            clusterer=clusterer,
            far=far,
            **models,
            **looking,
        )


def _options(texts: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for text, (key, marked, _) in zip(texts, pairs, strict=True):
        if not (key and marked):
            raise typer.BadParameter(f"{text!r} is no option of the form KEY=VALUE", param_hint="--option")
    return {key: value for key, _, value in pairs}


@contextmanager
def _until_interrupted() -> Iterator[threading.Event]:
    """Give an event that Ctrl-C, or the end of a service, sets: then what runs is stored. The second one interrupts."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt("the last piece may not be stored")
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
