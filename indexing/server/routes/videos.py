"""Videos: what is seen in them, and the pictures themselves."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Annotated

from fastapi import Path as PathParameter
from fastapi import Query, Request, Response
from fastapi.responses import FileResponse

from indexing import wire
from indexing.server import pictures, views
from indexing.server.context import Ctx, answer
from indexing.server.errors import ProblemError
from indexing.server.paging import PAGE, Count, Cursor, page
from indexing.server.parameters import End, OfPerson, Start, VideoId, until
from indexing.server.routes import NOT_MODIFIED, jpeg
from indexing.server.routes import router as subject

router = subject("videos", prefix="/videos")


@router.get("", response_model=wire.Page[wire.Video], responses=NOT_MODIFIED)
def list_videos(request: Request, context: Ctx, cursor: Cursor = None, limit: Count = PAGE) -> Response:
    """List the videos in the order they were added."""

    def build() -> wire.Page[wire.Video]:
        return page(views.videos(context), lambda one: (one.id,), cursor=cursor, limit=limit)

    return answer(request, context, build)


@router.get("/{video_id}", response_model=wire.Video, responses=NOT_MODIFIED)
def get_video(request: Request, context: Ctx, video_id: VideoId) -> Response:
    """Tell of one video."""
    return answer(request, context, lambda: views.video(context, video_id))


@router.delete("/{video_id}", status_code=204)
def delete_video(context: Ctx, video_id: VideoId) -> None:
    """Remove a video with its tracks; the file goes only where it was uploaded."""
    context.video(video_id)
    with context.uploads.discarding():
        context.store.remove_video(video_id)


@router.get("/{video_id}/media", response_class=FileResponse)
def get_media(context: Ctx, video_id: VideoId) -> FileResponse:
    """Return the file itself; `Range` is obeyed."""
    record = context.video(video_id)
    record.check_pictures()
    path = record.path
    if not path.is_file():
        raise ProblemError(404, f"the file of video {video_id} is no longer where it was; put it back")
    return FileResponse(path, media_type=_media_type(path))


def _media_type(path: Path) -> str:
    """Return a type that no browser runs, whatever the name of a file says."""
    guessed = mimetypes.guess_type(path.name)[0] or ""
    harmless = guessed.startswith("video/") or (guessed.startswith("image/") and "svg" not in guessed)
    return guessed if harmless else "application/octet-stream"


@router.get("/{video_id}/frames/{frame}.jpg", response_class=Response, responses={**NOT_MODIFIED, **jpeg()})
def get_frame(
    request: Request,
    context: Ctx,
    video_id: VideoId,
    frame: Annotated[int, PathParameter(ge=0, le=wire.LARGEST_ID, description="Frames are counted from 0.")],
    width: Annotated[int | None, Query(ge=16, le=4096, description="Scaled down to this width.")] = None,
) -> Response:
    """Return a decoded frame."""
    return pictures.frame(request, context, context.video(video_id), frame, width)


@router.get("/{video_id}/appearances", response_model=wire.Page[wire.Appearance], responses=NOT_MODIFIED)
def list_appearances(
    request: Request, context: Ctx, video_id: VideoId, cursor: Cursor = None, limit: Count = PAGE
) -> Response:
    """List who is seen when in a video."""

    def build() -> wire.Page[wire.Appearance]:
        context.video(video_id)
        rows = views.appearances(context, context.store.appearances(video_id=video_id))
        return page(rows, lambda one: (one.start, one.end, one.tracks[0]), cursor=cursor, limit=limit)

    return answer(request, context, build)


@router.get("/{video_id}/tracks", response_model=wire.Page[wire.Track], responses=NOT_MODIFIED)
def list_tracks(
    request: Request, context: Ctx, video_id: VideoId, cursor: Cursor = None, limit: Count = PAGE
) -> Response:
    """List the tracks of a video."""

    def build() -> wire.Page[wire.Track]:
        context.video(video_id)
        rows = views.tracks(context, views.records_of(context, video_id))
        return page(rows, lambda one: (one.key,), cursor=cursor, limit=limit)

    return answer(request, context, build)


@router.get("/{video_id}/boxes", response_model=wire.Boxes, responses=NOT_MODIFIED)
def get_boxes(request: Request, context: Ctx, video_id: VideoId, start: Start = 0.0, end: End = None) -> Response:
    """Return the boxes of all faces in a part of a video."""
    return answer(request, context, lambda: views.boxes(context, video_id, start, until(end)))


@router.get("/{video_id}/lanes", response_model=wire.Lanes, responses=NOT_MODIFIED)
def get_lanes(request: Request, context: Ctx, video_id: VideoId) -> Response:
    """Return the swimlanes of a video: who is seen when, and with what expression."""
    return answer(request, context, lambda: views.lanes(context, video_id))


@router.get("/{video_id}/emotions", response_model=wire.Page[wire.Curve], responses=NOT_MODIFIED)
def list_emotions(
    request: Request,
    context: Ctx,
    video_id: VideoId,
    identity: OfPerson = None,
    cursor: Cursor = None,
    limit: Count = PAGE,
) -> Response:
    """List what each person of a video shows over time."""

    def build() -> wire.Page[wire.Curve]:
        context.video(video_id)
        rows = views.curves(context, context.store.emotion_curves(identity, video_id))
        return page(rows, lambda one: (one.identity,), cursor=cursor, limit=limit)

    return answer(request, context, build)


@router.get("/{video_id}/episodes", response_model=wire.Page[wire.Episode], responses=NOT_MODIFIED)
def list_episodes(
    request: Request,
    context: Ctx,
    video_id: VideoId,
    identity: OfPerson = None,
    cursor: Cursor = None,
    limit: Count = PAGE,
) -> Response:
    """List the episodes of emotions in a video."""

    def build() -> wire.Page[wire.Episode]:
        context.video(video_id)
        rows = views.episodes(context, context.store.episodes(identity, video_id))
        return page(rows, lambda one: (one.onset, one.identity), cursor=cursor, limit=limit)

    return answer(request, context, build)
