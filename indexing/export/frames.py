"""``frames``: CSV with one row for each face in each frame."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple
from typing import TextIO

from indexing.export.rows import COLUMNS, frame_rows
from indexing.store import Store
from indexing.types import VideoRecord

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet read a text as a formula (OWASP, CSV Injection)."""


def write(store: Store, videos: Sequence[VideoRecord], stream: TextIO) -> int:
    """Write the rows of ``videos`` to ``stream`` with a header; return the number of rows.

    A text that a spreadsheet would read as a formula gets an apostrophe before it; the JSON format leaves it as it is.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for video in videos:
        for row in frame_rows(store, video):
            writer.writerow([_safe(cell) for cell in astuple(row)])
            count += 1
    return count


def _safe(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell
