"""``json``: JSON lines, one object for each face in each frame; an empty field is null."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TextIO

from indexing.export.rows import frame_rows
from indexing.store import Store
from indexing.types import VideoRecord


def write(store: Store, videos: Sequence[VideoRecord], stream: TextIO) -> int:
    """Write the rows of ``videos`` to ``stream``, one JSON object a line; return the number of rows."""
    count = 0
    for video in videos:
        for row in frame_rows(store, video):
            stream.write(json.dumps(asdict(row), ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count
