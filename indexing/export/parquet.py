"""``parquet``: the rows of ``frames`` as Apache Parquet, typed, with the models that made them in its metadata."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from indexing.export.rows import COLUMNS, FrameRow, frame_rows
from indexing.store import Store
from indexing.types import VideoRecord

ROW_GROUP = 32_768
"""Rows that are held in memory at a time, and that a reader can skip together."""

_WHOLE = MappingProxyType(
    {"frame": pa.int32(), "face_id": pa.int32(), "track_id": pa.int32(), "identity": pa.int64(), "success": pa.int8()}
)
_TEXTS = frozenset({"video", "name", "source", "emotion", "emotion_source"})
_UNITS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "s": ("timestamp",),
        "px": ("x", "y", "w", "h"),
        "rad": ("pose_Rx", "pose_Ry", "pose_Rz", "gaze_angle_x", "gaze_angle_y"),
    }
)


def schema(videos: Sequence[VideoRecord]) -> pa.Schema:
    """Return the columns with types and units; the metadata ``videos`` is JSON with the models of each video."""
    return pa.schema([_field(name) for name in COLUMNS], {"format": "facetrack frames", "videos": _models(videos)})


def write(
    store: Store,
    videos: Sequence[VideoRecord],
    stream: BinaryIO,
    *,
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write the rows of ``videos`` (of one person, where given), a row group at a time; return the number of rows."""
    rows = (row for video in videos for row in frame_rows(store, video, identity_id=identity_id, ignored=ignored))
    columns, count = schema(videos), 0
    with pq.ParquetWriter(stream, columns, compression="zstd") as writer:
        while batch := list(islice(rows, ROW_GROUP)):
            writer.write_batch(_batch(batch, columns))
            count += len(batch)
    return count


def _batch(rows: Sequence[FrameRow], columns: pa.Schema) -> pa.RecordBatch:
    cells = zip(*(row.cells for row in rows), strict=True)
    arrays = [pa.array(list(_sayable(column)), field.type) for column, field in zip(cells, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=columns)


def _sayable(cells: Sequence[object]) -> Iterator[object]:
    # Parquet's texts are UTF-8; a path that is none has its stray bytes as escapes.
    return (c.encode("utf-8", "backslashreplace").decode() if isinstance(c, str) else c for c in cells)


def _field(name: str) -> pa.Field:
    kind = pa.string() if name in _TEXTS else _WHOLE.get(name, pa.float64())
    unit = next((unit for unit, names in _UNITS.items() if name in names), None)
    return pa.field(name, kind, nullable=name not in ("video", "frame", "success"), metadata=unit and {"unit": unit})


def _models(videos: Sequence[VideoRecord]) -> str:
    return json.dumps(
        [
            {
                "path": str(video.path),
                "sha256": video.info.content_hash,
                "detector": video.detector_id,
                "embedder": video.embedder_id,
                "emotion": video.emotion_id,
                "affect_derived": video.affect_derived,
            }
            for video in videos
        ]
    )
