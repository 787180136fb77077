"""``fer``: the table of a video by the FER package: ``box0``, ``angry0``, ... for each face, one row a frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TextIO

from indexing.export.rows import FrameRow, frame_rows, wanted
from indexing.export.table import write_table
from indexing.store import Store
from indexing.types import TrackRecord, VideoRecord
from tracker.types import EMOTIONS


def write(
    store: Store,
    videos: Sequence[VideoRecord],
    stream: TextIO,
    *,
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write one row for each frame of ``videos``; return the number of rows.

    The columns are those of ``Video.to_pandas`` in FER 25: as many faces as the fullest frame has, the box as
    ``[x, y, width, height]`` in whole pixels. A frame has no number there: it is that of the row, from 0.
    """
    is_wanted = wanted(store, identity_id, ignored=ignored)
    records = [[r for r in store.track_records(video.video_id) if is_wanted(r)] for video in videos]
    faces = max(map(most_at_once, records), default=0)
    header = [f"{name}{slot}" for slot in range(max(faces, 1)) for name in ("box", *EMOTIONS)]
    rows = (
        _cells(row_group, len(header))
        for video in videos
        for _, row_group in groupby(
            frame_rows(store, video, identity_id=identity_id, ignored=ignored), key=lambda row: row.frame
        )
    )
    return write_table(stream, header, rows)


def most_at_once(records: Iterable[TrackRecord]) -> int:
    """Return the largest number of tracks that share a frame.

    Example:
        >>> most_at_once([])
        0
    """
    changes = sorted(change for r in records for change in ((r.first_frame, 1), (r.end_frame, -1)))
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def _cells(rows: Iterable[FrameRow], width: int) -> list[object]:
    cells: list[object] = [cell for row in rows if row.success for cell in (_box(row), *row.emotions)]
    return cells + [None] * (width - len(cells))


def _box(row: FrameRow) -> str:
    return str([round(side) for side in (row.x, row.y, row.w, row.h) if side is not None])
