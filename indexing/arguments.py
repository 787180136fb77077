"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from indexing.presence import Scope
    from indexing.store import Store


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
Tracks = Annotated[list[int], typer.Argument(help="Keys of tracks, as appearances tells.", metavar="TRACK...")]
Ignored = Annotated[bool, typer.Option("--ignored", help="People who are ignored, too.")]
InVideos = Annotated[list[str] | None, typer.Option("--video", help="Look in this video only.", metavar="VIDEO")]
Start = Annotated[float, typer.Option("--from", help="Seconds from which on.", metavar="SECONDS")]
End = Annotated[float, typer.Option("--to", help="Seconds before which.", metavar="SECONDS")]
MinQuality = Annotated[float, typer.Option(min=0, max=1, help="Least quality of a track.", metavar="0..1")]


def scope(
    store: Store, videos: Sequence[str] | None, start: float, end: float, min_quality: float, *, ignored: bool
) -> Scope:
    """Return where to look, as these options say it."""
    from indexing.presence import Scope

    ids = frozenset(store.resolve_video(name).video_id for name in videos) if videos else None
    return Scope(ids, start, end, min_quality, ignored)


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
