"""Exports: every frame has its rows, the columns are fixed, and a file is whole or not there."""

import csv
import io
import json
from collections import Counter
from pathlib import Path

import pytest
from fakes import Span, make_result
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.export import COLUMNS, FORMATS, export, select_videos, write
from indexing.store import Store
from tracker.errors import FacetrackError
from tracker.types import Source

HEADER = "video,frame,timestamp,face_id,track_id,identity,name,success,confidence,source,quality,x,y,w,h"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "facetrack.db")
    store.add_video(make_result("films/a.mp4"))
    keys = [record.key for record in store.track_records()]
    store.assign([(None, [keys[0], keys[2]])])
    return store


def written(store: Store, format: str = "frames") -> str:
    stream = io.StringIO()
    write(store, store.videos(), stream, format=format)
    return stream.getvalue()


def rows_of(store: Store) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(written(store))))


def test_the_columns_are_exactly_those_promised(store: Store) -> None:
    assert written(store).splitlines()[0] == HEADER
    assert ",".join(COLUMNS) == HEADER


def test_each_row_tells_what_the_track_holds(store: Store) -> None:
    video = store.videos()[0]
    expected = {
        (frame, track.track_id): (track.boxes[at], track.scores[at], track.sources[at], record)
        for record, track in store.tracks(video.video_id)
        for at, frame in enumerate(track.frames)
    }
    for row in rows_of(store):
        assert row["video"] == "films/a.mp4"
        assert float(row["timestamp"]) == pytest.approx(int(row["frame"]) / 25)
        if row["success"] == "0":
            assert all(row[name] == "" for name in COLUMNS if name not in ("video", "frame", "timestamp", "success"))
            continue
        (x1, y1, x2, y2), score, source, record = expected.pop((int(row["frame"]), int(row["track_id"])))
        assert [float(row[k]) for k in "xywh"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.006)
        assert float(row["confidence"]) == pytest.approx(score, abs=1e-4)
        assert float(row["quality"]) == pytest.approx(record.quality, abs=1e-4)
        assert row["source"] == Source(source).name.lower()
        assert row["identity"] == ("" if record.identity_id is None else str(record.identity_id))
        assert row["name"] == ("" if record.identity_id is None else f"Person {record.identity_id}")
    assert not expected


def test_slots_of_a_frame_count_from_zero_in_order_of_tracks(store: Store) -> None:
    for frame in range(5, 20):
        rows = [row for row in rows_of(store) if row["frame"] == str(frame)]
        assert [(row["face_id"], row["track_id"]) for row in rows] == [("0", "0"), ("1", "1")]


spans = st.tuples(st.integers(0, 2), st.integers(0, 29), st.integers(1, 12)).map(
    lambda drawn: (drawn[0], drawn[1], min(drawn[1] + drawn[2], 30))
)


@settings(max_examples=30, deadline=None)
@given(drawn=st.lists(spans, max_size=8))
def test_every_decoded_frame_has_a_row_and_every_face_one(
    drawn: list[Span], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Store(tmp_path_factory.mktemp("any") / "facetrack.db") as store:
        store.add_video(make_result("a.mp4", drawn, frames=30, thumbnails=False))
        rows = rows_of(store)
    faces = Counter(frame for _, first, end in drawn for frame in range(first, end))
    assert [int(row["frame"]) for row in rows] == [f for f in range(30) for _ in range(max(faces[f], 1))]
    assert sum(row["success"] == "1" for row in rows) == sum(faces.values())


def test_json_lines_hold_the_same_rows_with_null_for_empty(store: Store) -> None:
    objects = [json.loads(line) for line in written(store, "json").splitlines()]
    assert all(list(row) == list(COLUMNS) for row in objects)
    as_text = [{k: "" if v is None else str(v) for k, v in row.items()} for row in objects]
    assert as_text == rows_of(store)


def test_videos_follow_each_other_under_one_header(store: Store) -> None:
    store.add_video(make_result("b.mp4", [], frames=3))
    rows = rows_of(store)
    assert [row["video"] for row in rows[-3:]] == ["b.mp4"] * 3
    assert {row["success"] for row in rows[-3:]} == {"0"}


@pytest.mark.parametrize("start", ["=", "+", "-", "@"])
def test_a_name_is_no_formula_for_a_spreadsheet_and_untouched_in_json(store: Store, start: str) -> None:
    store.rename(1, f"{start}cmd()")
    assert {row["name"] for row in rows_of(store)} == {"", f"'{start}cmd()"}
    assert {json.loads(line)["name"] for line in written(store, "json").splitlines()} == {None, f"{start}cmd()"}


def test_a_name_with_commas_quotes_and_accents_comes_back(store: Store) -> None:
    store.rename(1, 'Zoë "Zo", K.')
    assert {row["name"] for row in rows_of(store)} == {"", 'Zoë "Zo", K.'}


def test_a_file_equals_the_stream_and_replaces_an_older_one(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    count = export(store, store.videos(), target)
    assert target.read_text() == written(store)
    assert count == len(rows_of(store))


def test_a_failed_export_leaves_the_old_file_and_nothing_beside_it(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "out.csv").write_text("old")
    gone = store.videos()
    store.remove_video(gone[0].video_id)
    with pytest.raises(FacetrackError):
        export(store, gone, folder / "out.csv")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("out.csv", "old")]


def test_an_unknown_format_lists_the_known_ones_and_writes_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FacetrackError, match="frames, json"):
        export(store, store.videos(), tmp_path / "out.xml", format="xml")
    assert not (tmp_path / "out.xml").exists()
    assert set(FORMATS) == {"frames", "json"}


@pytest.mark.parametrize("output", ["missing/out.csv", "."])
def test_a_path_that_cannot_be_written_is_told(store: Store, tmp_path: Path, output: str) -> None:
    with pytest.raises(FacetrackError, match="folder"):
        export(store, store.videos(), tmp_path / output)


def test_videos_are_chosen_by_path_id_name_and_folder_each_once(store: Store) -> None:
    for path in ("films/b.mp4", "films/deep/c.mp4", "other/d.mp4"):
        store.add_video(make_result(path))
    named = {text: [video.path.name for video in select_videos(store, [text])] for text in ("films", "4", "b.mp4")}
    assert named == {"films": ["a.mp4", "b.mp4", "c.mp4"], "4": ["d.mp4"], "b.mp4": ["b.mp4"]}
    assert len(select_videos(store, ["films", "films/a.mp4", "a.mp4"])) == 3
    with pytest.raises(FacetrackError, match="nowhere"):
        select_videos(store, ["nowhere"])
