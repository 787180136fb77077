"""Tracks: one face through consecutive frames of one shot."""

from __future__ import annotations

from fastapi import Request, Response

from indexing import wire
from indexing.server import views
from indexing.server.context import Ctx, answer
from indexing.server.parameters import TrackKey
from indexing.server.pictures import thumbnail
from indexing.server.routes import NOT_MODIFIED, jpeg
from indexing.server.routes import router as subject

router = subject("tracks", prefix="/tracks")


@router.get("/{key}", response_model=wire.Track, responses=NOT_MODIFIED)
def get_track(request: Request, context: Ctx, key: TrackKey) -> Response:
    """Tell of one track."""
    return answer(request, context, lambda: views.tracks(context, [context.track(key)])[0])


@router.get("/{key}/thumbnail.jpg", response_class=Response, responses={**NOT_MODIFIED, **jpeg()})
def get_thumbnail(request: Request, context: Ctx, key: TrackKey) -> Response:
    """Return the best view of a track."""
    context.track(key)
    return thumbnail(request, context, key)
