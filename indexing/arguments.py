"""Arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Preset(StrEnum):
    """How much work goes into finding faces."""

    fast = "fast"
    balanced = "balanced"
    accurate = "accurate"


Database = Annotated[Path, typer.Option("--db", envvar="FACETRACK_DB", help="The database.", metavar="FILE")]
Detector = Annotated[
    str, typer.Option(help="centerface, mediapipe, yunet, scrfd, deepface:NAME or module:Class.", metavar="MODEL")
]
Embedder = Annotated[
    str, typer.Option(help="dlib, mobilefacenet, sface, deepface:NAME or module:Class.", metavar="MODEL")
]
Emotion = Annotated[
    str,
    typer.Option(
        help="emotion_cnn, hsemotion, mini_xception, deepface:Emotion, module:Class, or none.", metavar="MODEL"
    ),
]
EmotionFps = Annotated[str, typer.Option(help="Samples of expressions a second of video, or all.", metavar="N|all")]
Cadence = Annotated[
    int | None, typer.Option(min=1, help="Frames from one run of the detector to the next.", metavar="N")
]
PresetOption = Annotated[Preset, typer.Option(help="Speed against small and short faces.")]
OwnDetector = Annotated[str | None, typer.Option("--detector", help="Default: the database's.", metavar="MODEL")]
OwnEmbedder = Annotated[str | None, typer.Option("--embedder", help="Default: the database's.", metavar="MODEL")]
ModelsDir = Annotated[
    Path | None,
    typer.Option(help="Folder in which weights are looked for first (also FACETRACK_MODELS).", metavar="FOLDER"),
]
Clusterer = Annotated[str, typer.Option(help="auto, hdbscan, kmeans or constrained.", metavar="NAME")]
Far = Annotated[
    float | None,
    typer.Option(
        help="False accept rate of identities, 1e-6 to 0.1; default: by the number of tracks.", metavar="RATE"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Reason = Annotated[str | None, typer.Option(help="Why, for the log.", metavar="TEXT")]
Force = Annotated[bool, typer.Option("--force", help="Although it contradicts what was said or seen.")]
Who = Annotated[str, typer.Argument(help="Id, Person 3, or a name.", metavar="PERSON")]
Tracks = Annotated[list[int], typer.Argument(help="Keys of tracks, as appearances --json tells.", metavar="TRACK...")]


def samples_a_second(text: str) -> float | None:
    """Return the samples of expressions a second that a user means; None: one each frame.

    Raises:
        typer.BadParameter: if it is neither a rate nor ``all``.
    """
    if text == "all":
        return None
    rate = float(text) if text.replace(".", "", 1).isdecimal() else 0.0
    if rate <= 0:
        raise typer.BadParameter(f"{text!r} is no rate; give a number above 0, or all", param_hint="--emotion-fps")
    return rate
