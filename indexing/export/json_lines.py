"""``json``: JSON lines, one object for each face in each frame; an empty field is null."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TextIO

from indexing.export.rows import COLUMNS, frame_rows
from indexing.store import Store
from indexing.types import VideoRecord


def write(
    store: Store,
    videos: Sequence[VideoRecord],
    stream: TextIO,
    *,
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write the rows of ``videos`` (of one person, where given), an object a line; return the number of rows."""
    count = 0
    for video in videos:
        for row in frame_rows(store, video, identity_id=identity_id, ignored=ignored):
            stream.write(
                json.dumps(dict(zip(COLUMNS, row.cells, strict=True)), ensure_ascii=False, allow_nan=False) + "\n"
            )
            count += 1
    return count
