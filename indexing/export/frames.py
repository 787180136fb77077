"""``frames``: CSV with one row for each face in each frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from indexing.export.rows import COLUMNS, frame_rows
from indexing.export.table import write_table
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
    """Write the rows of ``videos`` (of one person, where given) with a header; return the number of rows.

    A text that a spreadsheet would read as a formula gets an apostrophe before it; the JSON format leaves it as it is.
    """
    rows = (row.cells for video in videos for row in frame_rows(store, video, identity_id=identity_id, ignored=ignored))
    return write_table(stream, COLUMNS, rows)
