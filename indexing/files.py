"""Output files that are either whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tracker.errors import FacetrackError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write to; it takes the place of ``path`` if the block ends without an error.

    Symbolic links are followed. What is no regular file (a pipe, ``/dev/stdout``) is written in place.

    Raises:
        FacetrackError: if the folder does not exist or ``path`` is a folder.
    """
    target = path.resolve()
    _check(path, target)
    if target.exists() and not target.is_file():
        yield path
        return
    beside = target.with_name(f".{target.stem}.{os.getpid()}{target.suffix}")
    try:
        yield beside
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _check(path: Path, target: Path) -> None:
    if target.is_dir():
        raise FacetrackError(f"{path} is a folder; name a file to write to")
    if not target.parent.is_dir():
        raise FacetrackError(f"the folder of {path} does not exist; create it first: mkdir -p {path.parent}")
