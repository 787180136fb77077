"""``openface``: the CSV of OpenFace 2.2 with the columns that are known here.

Left out are gaze vectors, eye landmarks, head translation (``pose_T*``), the 68 landmarks and action units, as nothing
here measures them. Versions 2.0 and 2.1 wrote a space after each comma, 2.2 none; its readers strip them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from indexing.export.rows import FrameRow, frame_rows
from indexing.export.table import write_table
from indexing.store import Store
from indexing.types import VideoRecord

HEADER = (
    "frame",
    "face_id",
    "timestamp",
    "confidence",
    "success",
    "gaze_angle_x",
    "gaze_angle_y",
    "pose_Rx",
    "pose_Ry",
    "pose_Rz",
)
"""OpenFace's names in OpenFace's order; times in seconds, angles in radians."""


def write(
    store: Store,
    videos: Sequence[VideoRecord],
    stream: TextIO,
    *,
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write each frame of ``videos``, counted from 1, its faces as ``face_id`` 0, 1, ...; return the number of rows.

    As OpenFace does, a frame without a face is one row of zeros with ``success`` 0. An angle of a face that is not
    known is an empty cell.
    """
    rows = (
        _cells(row) for video in videos for row in frame_rows(store, video, identity_id=identity_id, ignored=ignored)
    )
    return write_table(stream, HEADER, rows)


def _cells(row: FrameRow) -> list[object]:
    if not row.success:
        return [row.frame + 1, 0, row.timestamp, *[0] * 7]
    angles = [row.gaze_angle_x, row.gaze_angle_y, row.pose_Rx, row.pose_Ry, row.pose_Rz]
    return [row.frame + 1, row.face_id, row.timestamp, row.confidence, row.success, *angles]
