"""Frames of videos as JPEG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fastapi import Request, Response

from indexing.server.context import Context, tag_of, tagged
from indexing.server.errors import ProblemError
from tracker.errors import MediaError
from tracker.types import Image

_QUALITY = 85


def jpeg_of_frame(path: Path, index: int, time: float, *, width: int | None = None) -> bytes:
    """Return a frame of a video as a JPEG file.

    Args:
        path: The video, or a picture.
        index: Which frame, from 0.
        time: Its presentation time in seconds.
        width: Pixels that it is scaled down to; None: as it is.

    Raises:
        MediaError: if the file cannot be decoded so far.
    """
    from tracker.video import read_frame

    return _encoded(_scaled(read_frame(path, index, time), width))


def _scaled(image: Image, width: int | None) -> Image:
    from tracker.headless import cv2

    height, full = image.shape[:2]
    if width is None or width >= full:
        return image
    size = (width, max(1, round(height * width / full)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _encoded(image: Image) -> bytes:
    from tracker.headless import cv2

    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise MediaError(f"a picture of {image.shape[1]}x{image.shape[0]} pixels cannot be encoded as JPEG")
    return bytes(data.tobytes())


def thumbnail(request: Request, context: Context, track_key: int) -> Response:
    """Return the best view of a track as an answer.

    Raises:
        ProblemError: 404, if the tracker cut none.
    """
    body = context.store.thumbnail(track_key)
    if not body:
        raise ProblemError(404, f"track {track_key} has no picture")
    return tagged(request, body, tag_of(body), media_type="image/jpeg")
