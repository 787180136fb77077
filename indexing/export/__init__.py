"""Exports: one module a format, each a function that writes videos of a store to a text stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, TextIO

from indexing.export import frames, json_lines
from indexing.export.rows import COLUMNS, FrameRow, frame_rows
from indexing.files import replacing
from indexing.store import Store
from indexing.types import VideoRecord
from tracker.errors import FacetrackError

__all__ = ["COLUMNS", "FORMATS", "FrameRow", "Writer", "export", "frame_rows", "select_videos", "write"]


class Writer(Protocol):
    """Writes videos of a store in one format."""

    def __call__(self, store: Store, videos: Sequence[VideoRecord], stream: TextIO) -> int:
        """Write ``videos`` to ``stream``; return the number of rows."""
        ...


FORMATS: Mapping[str, Writer] = MappingProxyType({"frames": frames.write, "json": json_lines.write})
"""Name of a format -> its writer."""


def write(store: Store, videos: Sequence[VideoRecord], stream: TextIO, *, format: str = "frames") -> int:
    """Write ``videos`` to an open stream; return the number of rows.

    Raises:
        FacetrackError: if there is no such format; the message lists those there are.
    """
    return _writer(format)(store, videos, stream)


def export(store: Store, videos: Sequence[VideoRecord], output: Path, *, format: str = "frames") -> int:
    """Write ``videos`` to the file ``output``, which is whole or not there; return the number of rows.

    Raises:
        FacetrackError: if there is no such format or no such folder.
    """
    writer = _writer(format)
    # Paths that are no UTF-8 go out as the bytes that they are.
    with (
        replacing(output) as beside,
        beside.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
    ):
        return writer(store, videos, stream)


def select_videos(store: Store, texts: Sequence[str]) -> list[VideoRecord]:
    """Return the videos that a user means, each once: by path, id or file name, or all that lie in a folder.

    Raises:
        FacetrackError: if a text names no video, and no folder with a video of the store.
    """
    chosen = [video for text in texts for video in _in_folder(store, text) or [store.resolve_video(text)]]
    return list({video.video_id: video for video in chosen}.values())


def _in_folder(store: Store, text: str) -> list[VideoRecord]:
    folder = Path(text).absolute()
    return [video for video in store.videos() if folder in video.path.absolute().parents]


def _writer(format: str) -> Writer:
    if format not in FORMATS:
        raise FacetrackError(f"there is no export format {format!r}; choose one of: {', '.join(sorted(FORMATS))}")
    return FORMATS[format]
