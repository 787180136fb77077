"""Thumbnails and frames as answers."""

from __future__ import annotations

import threading

from fastapi import Request, Response

from indexing.decoding import still
from indexing.server.context import Body, Context, known_tags, tagged
from indexing.server.errors import ProblemError
from indexing.types import VideoRecord

_DECODERS = threading.BoundedSemaphore(2)
"""Frames that are decoded at once; the others wait."""

_HOUR = "private, max-age=3600"


def thumbnail(request: Request, context: Context, track_key: int) -> Response:
    """Return the best view of a track as an answer.

    Raises:
        ProblemError: 404, if the tracker cut none.
    """
    picture = context.store.thumbnail(track_key)
    if not picture:
        raise ProblemError(404, f"track {track_key} has no picture")
    return tagged(request, Body.of(picture), media_type="image/jpeg")


def frame(request: Request, context: Context, video: VideoRecord, index: int, width: int | None) -> Response:
    """Return a frame of a video as an answer.

    Raises:
        ProblemError: 404, if there is no such frame, or the file is gone.
        MediaError: if it cannot be decoded.
    """
    if index >= video.frame_count:
        raise ProblemError(404, f"video {video.video_id} has {video.frame_count} frames; there is no frame {index}")
    # Known before the frame is decoded.
    tag = f'"{video.info.content_hash[:24]}-{index}-{width or 0}"'
    data = b"" if tag in known_tags(request) else _decoded(context, video, index, width)
    return tagged(request, Body(data, tag), media_type="image/jpeg", caching=_HOUR)


def _decoded(context: Context, video: VideoRecord, index: int, width: int | None) -> bytes:
    if not video.path.is_file():
        raise ProblemError(404, f"the file of video {video.video_id} is no longer where it was; put it back")
    with _DECODERS:
        return still(video.path, index, float(context.store.timestamps(video.video_id)[index]), width=width)
