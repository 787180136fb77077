"""The commands that keep running: the service."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from indexing.arguments import Database, ModelsDir

MB = 1 << 20


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command()(serve)


def serve(
    db: Database = Path("facetrack.db"),
    host: Annotated[str, typer.Option(help="Address to listen at; any but this machine's own needs a token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    root: Annotated[
        list[Path] | None, typer.Option(help="Videos below it may be named by path; may be repeated.", metavar="FOLDER")
    ] = None,
    uploads: Annotated[
        Path | None, typer.Option(help="Where uploads are kept; default: beside the database.", metavar="FOLDER")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="FACETRACK_TOKEN", help="What everybody has to know.", metavar="TEXT")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="A file that holds the token.", metavar="FILE")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Videos that are analysed at once.", metavar="N")] = 1,
    max_upload: Annotated[int, typer.Option(min=1, help="Largest upload.", metavar="MB")] = 8192,
    models_dir: ModelsDir = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log each request.")] = False,
) -> None:
    """Serve the database: a web page and a REST API, until Ctrl-C."""
    from indexing import server
    from indexing.server import Limits
    from indexing.server.security import read_token

    if verbose:
        logging.getLogger("indexing").setLevel(logging.INFO)
    server.serve(
        db,
        host=host,
        port=port,
        roots=root or (),
        uploads=uploads,
        token=read_token(token, token_file),
        workers=workers,
        models_dir=models_dir,
        limits=Limits(upload=max_upload * MB),
        ready=lambda address: typer.echo(f"{db} is served at {address}; Ctrl-C ends it"),
    )
