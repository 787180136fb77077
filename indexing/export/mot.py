"""``mot``: boxes as the MOTChallenge benchmarks write them; frames and ids from 1, the id is the track's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from indexing.export.rows import frame_rows
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
    """Write ``frame,id,left,top,width,height,confidence,-1,-1,-1`` for each face; return the number of lines.

    Milan et al., "MOT16: A Benchmark for Multi-Object Tracking", 2016: no header, the left upper pixel is (1, 1).
    """
    count = 0
    for video in videos:
        for row in frame_rows(store, video, identity_id=identity_id, ignored=ignored):
            if row.success and row.track_id is not None and row.x is not None and row.y is not None:
                box = f"{row.x + 1:.2f},{row.y + 1:.2f},{row.w:.2f},{row.h:.2f}"
                stream.write(f"{row.frame + 1},{row.track_id + 1},{box},{row.confidence or 0:.4f},-1,-1,-1\n")
                count += 1
    return count
