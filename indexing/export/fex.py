"""``fex``: the columns of Py-Feat's ``Fex`` table, one row for each face in each frame.

Left out are action units, the 68 landmarks, gaze (Py-Feat's is relative to the head, ours to the camera) and the
embedding. Valence and arousal are left out as Py-Feat takes a table with them for one of its second detector, whose
emotions have other names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from indexing.export.rows import FrameRow, frame_rows
from indexing.export.table import write_table
from indexing.store import Store
from indexing.types import VideoRecord

EMOTION_NAMES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""Py-Feat's names, in the order of `tracker.types.EMOTIONS`."""

HEADER = (
    "frame",
    "FaceRectX",
    "FaceRectY",
    "FaceRectWidth",
    "FaceRectHeight",
    "FaceScore",
    "Pitch",
    "Roll",
    "Yaw",
    "X",
    "Y",
    "Z",
    *EMOTION_NAMES,
    "FrameHeight",
    "FrameWidth",
    "input",
    "approx_time",
    "Identity",
)
"""Py-Feat's names; pixels, radians, probabilities. ``X``, ``Y`` and ``Z``, the head's place, stay empty: ``Fex.poses``
asks for the columns."""


def write(
    store: Store,
    videos: Sequence[VideoRecord],
    stream: TextIO,
    *,
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write the rows of ``videos``, frames counted from 0; return the number of rows.

    As Py-Feat does, a frame without a face is a row whose cells are empty but for the frame, and ``approx_time`` is
    minutes and whole seconds, ``01:05``.
    """
    return write_table(
        stream, HEADER, (cells for video in videos for cells in _rows(store, video, identity_id, ignored))
    )


def _rows(store: Store, video: VideoRecord, identity_id: int | None, ignored: bool) -> Iterator[list[object]]:
    size = (video.info.height, video.info.width)
    for row in frame_rows(store, video, identity_id=identity_id, ignored=ignored):
        yield [
            row.frame,
            *(row.x, row.y, row.w, row.h, row.confidence),
            *pose(row),
            *(None, None, None),
            *row.emotions,
            *size,
            row.video,
            _clock(row.timestamp),
            row.name,
        ]


def pose(row: FrameRow) -> tuple[float | None, float | None, float | None]:
    """Return Py-Feat's pitch, roll and yaw in radians: up, tilted and turned to the subject's right are positive."""
    return _negative(row.pose_Rx), _negative(row.pose_Rz), row.pose_Ry


def _negative(value: float | None) -> float | None:
    return None if value is None else 0.0 - value


def _clock(seconds: float | None) -> str | None:
    return None if seconds is None else f"{int(seconds // 60):02d}:{int(seconds % 60):02d}"
