"""Exports in every format, the same files that the command line writes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import Path as PathParameter
from fastapi import Query
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from indexing import wire
from indexing.export import FORMATS, export
from indexing.server.context import Context, Ctx
from indexing.server.errors import ProblemError
from indexing.server.parameters import OfPerson
from indexing.server.routes import router as subject
from indexing.server.uploads import remove
from indexing.types import VideoRecord

router = subject("exports", prefix="/exports")


@router.get("/formats")
def list_formats() -> wire.Page[wire.ExportFormat]:
    """List the formats."""
    return wire.Page(
        items=[
            wire.ExportFormat(name=one.name, suffix=one.suffix, about=one.about, single=one.single)
            for one in FORMATS.values()
        ]
    )


@router.get("/{format}", response_class=FileResponse)
def get_export(
    context: Ctx,
    format: Annotated[str, PathParameter(max_length=40, description="A name of `/exports/formats`.")],
    video: Annotated[list[wire.Id] | None, Query(max_length=1000, description="These videos; none: all.")] = None,
    person: OfPerson = None,
) -> FileResponse:
    """Export what is seen in videos, or what they show of a person, as a file."""
    if format not in FORMATS:
        raise ProblemError(404, f"there is no export format {format!r}; choose one of: {', '.join(FORMATS)}")
    videos = _videos(context, video)
    if person is not None:
        context.person(person)
    folder = Path(tempfile.mkdtemp(prefix="facetrack-"))
    try:
        path = folder / f"export{FORMATS[format].suffix}"
        export(context.store, videos, path, format=format, identity_id=person)
    except BaseException:
        remove(folder)
        raise
    name = f"{videos[0].path.stem if len(videos) == 1 else 'facetrack'}{path.suffix}"
    return FileResponse(
        path, filename=name, media_type="application/octet-stream", background=BackgroundTask(remove, folder)
    )


def _videos(context: Context, ids: list[int] | None) -> list[VideoRecord]:
    if ids is None:
        return [video for video in context.videos().values() if not video.enrolled]
    return [context.video(one) for one in dict.fromkeys(ids)]
