"""Parquet: the rows of the frames, typed, in groups, with the models in the metadata."""

import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import make_result

from indexing.export import COLUMNS, export, parquet, write
from indexing.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "facetrack.db")
    store.add_video(make_result("a.mp4", emotion_every=5))
    store.assign([(None, [store.track_records()[0].key])])
    return store


def test_the_rows_equal_those_of_json(store: Store, tmp_path: Path) -> None:
    count = export(store, store.videos(), tmp_path / "out.parquet", format="parquet")
    stream = io.StringIO()
    write(store, store.videos(), stream, format="json")
    read = pq.read_table(tmp_path / "out.parquet")
    assert read.column_names == list(COLUMNS)
    assert read.to_pylist() == [json.loads(line) for line in stream.getvalue().splitlines()]
    assert read.num_rows == count


def test_columns_are_typed_and_tell_their_units(store: Store, tmp_path: Path) -> None:
    export(store, store.videos(), tmp_path / "out.parquet", format="parquet")
    schema = pq.read_schema(tmp_path / "out.parquet")
    kinds = {name: schema.field(name).type for name in ("video", "frame", "timestamp", "identity", "happy", "emotion")}
    assert list(kinds.values()) == [pa.string(), pa.int32(), pa.float64(), pa.int64(), pa.float64(), pa.string()]
    assert not schema.field("frame").nullable
    assert schema.field("timestamp").metadata[b"unit"] == b"s"
    assert schema.field("pose_Ry").metadata[b"unit"] == b"rad"
    assert schema.field("x").metadata[b"unit"] == b"px"


def test_the_metadata_names_the_models_of_each_video(store: Store, tmp_path: Path) -> None:
    store.add_video(make_result("b.mp4"))
    export(store, store.videos(), tmp_path / "out.parquet", format="parquet")
    videos = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"videos"])
    assert [video["path"] for video in videos] == ["a.mp4", "b.mp4"]
    assert [video["emotion"] for video in videos] == ["fake-emotion", None]
    assert videos[0]["embedder"] == "fake-embedder"


def test_rows_are_written_in_groups(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 16)
    count = export(store, store.videos(), tmp_path / "out.parquet", format="parquet")
    groups = pq.ParquetFile(tmp_path / "out.parquet").metadata
    assert groups.num_row_groups == -(-count // 16)
    assert [row["frame"] for row in pq.read_table(tmp_path / "out.parquet").to_pylist()] == sorted(
        row["frame"] for row in pq.read_table(tmp_path / "out.parquet").to_pylist()
    )


def test_it_goes_to_the_bytes_below_a_text_stream_even_into_a_pipe(store: Store) -> None:
    reading, writing = os.pipe()
    with open(writing, "w") as stream:  # noqa: PTH123 - a descriptor has no path
        write(store, store.videos(), stream, format="parquet")
    with open(reading, "rb") as stream:  # noqa: PTH123
        assert pq.read_table(io.BytesIO(stream.read())).num_rows == 65


def test_an_empty_selection_is_a_table_without_rows(store: Store) -> None:
    stream = io.BytesIO()
    assert write(store, [], stream, format="parquet") == 0
    assert pq.read_table(io.BytesIO(stream.getvalue())).column_names == list(COLUMNS)


def test_a_path_that_is_no_utf_8_is_written_with_its_bytes_escaped(store: Store) -> None:
    store.add_video(make_result(os.fsdecode(b"caf\xe9.mp4"), [], frames=1, content_hash="c" * 64))
    stream = io.BytesIO()
    write(store, [store.video(2)], stream, format="parquet")
    read = pq.read_table(io.BytesIO(stream.getvalue())).to_pylist()
    assert [row["video"] for row in read] == ["caf\\udce9.mp4"]
