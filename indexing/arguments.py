"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Database = Annotated[Path, typer.Option("--db", envvar="FACETRACK_DB", help="The database.", metavar="FILE")]
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
