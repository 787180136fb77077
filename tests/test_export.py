"""Exports: every frame has its rows, the columns are fixed, and a file is whole or not there."""

import csv
import io
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import Span, make_result
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import gallery
from indexing.emotions import per_frame
from indexing.export import COLUMNS, FORMATS, export, select, select_videos, write
from indexing.store import Store
from indexing.types import EmotionCurve, Episode
from tracker.errors import FacetrackError
from tracker.types import EMOTIONS, Float64, Source

OURS = ("frames", "json", "parquet", "openface", "fer", "fex", "emotions", "episodes")

HEADER = (
    "video,frame,timestamp,face_id,track_id,identity,name,success,confidence,source,quality,x,y,w,h,"
    "pose_Rx,pose_Ry,pose_Rz,gaze_angle_x,gaze_angle_y,emotion,angry,disgust,fear,happy,sad,surprise,neutral,"
    "valence,arousal,emotion_source"
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "facetrack.db")
    store.add_video(make_result("films/a.mp4", emotion_every=5))
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


def test_each_row_tells_what_the_face_shows(store: Store) -> None:
    video = store.videos()[0]
    told = {track.track_id: (track, per_frame(track, store.timestamps(1))) for _, track in store.tracks(1)}
    sources = Counter[str]()
    for row in rows_of(store):
        if row["success"] == "0":
            continue
        track, shown = told[int(row["track_id"])]
        at = int(row["frame"]) - track.first_frame
        values = [*shown.pose[at], *shown.gaze[at], *shown.emotions[at], shown.valence[at], shown.arousal[at]]
        cells = [row[name] for name in COLUMNS[COLUMNS.index("pose_Rx") : -1] if name != "emotion"]
        assert [float(cell or "nan") for cell in cells] == pytest.approx(values, abs=6e-5, nan_ok=True)
        known = np.isfinite(shown.emotions[at]).all()
        assert row["emotion"] == (EMOTIONS[int(shown.emotions[at].argmax())] if known else "")
        assert row["emotion_source"].removesuffix("+derived") == shown.sources[at]
        assert row["emotion_source"].endswith("+derived") == (video.affect_derived and known)
        sources[row["emotion_source"]] += 1
    assert set(sources) >= {"sampled+derived", "interpolated+derived", "blurred"}


def test_valence_and_arousal_of_a_model_are_not_called_derived(store: Store) -> None:
    store.add_video(replace(make_result("own.mp4", [(0, 0, 20)], emotion_every=5), affect_derived=False))
    rows = [row for row in rows_of(store) if row["video"] == "own.mp4" and row["emotion"]]
    assert {row["emotion_source"] for row in rows} == {"sampled", "interpolated"}


def test_without_sampled_emotions_their_columns_are_empty(store: Store) -> None:
    store.add_video(make_result("plain.mp4", [(0, 0, 20)]))
    rows = [row for row in rows_of(store) if row["video"] == "plain.mp4"]
    assert {row[name] for row in rows for name in COLUMNS[COLUMNS.index("pose_Rx") :]} == {""}


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


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_who_is_ignored_is_in_no_format_until_asked_for(store: Store, name: str) -> None:
    def export_of(**options: object) -> bytes:
        stream = io.BytesIO() if FORMATS[name].binary else io.StringIO()
        write(store, store.videos(), stream, format=name, **options)
        content = stream.getvalue()
        return content if isinstance(content, bytes) else content.encode()

    store.assign([(1, [1, 3]), (None, [2])])
    everybody = export_of()
    hers, his = export_of(identity_id=1), export_of(identity_id=2)
    gallery.ignore(store, 2)
    shown = export_of()
    assert shown != everybody
    assert len(shown) == pytest.approx(len(hers), rel=0.02)
    assert export_of(ignored=True) == everybody
    assert (export_of(identity_id=1), export_of(identity_id=2)) == (hers, his)
    if name not in ("mot", "openface", "fer", "parquet"):
        told = shown.replace(b"_", b" ")
        assert (b"Person 1" in told, b"Person 2" in told) == (True, False)


class Breaking(Store):
    """A store that cannot be read beyond its first video."""

    def timestamps(self, video_id: int) -> Float64:
        self._check(video_id)
        return super().timestamps(video_id)

    def emotion_curves(
        self, identity_id: int | None = None, video_id: int | None = None, *, ignored: bool = False
    ) -> list[EmotionCurve]:
        self._check(video_id)
        return super().emotion_curves(identity_id, video_id, ignored=ignored)

    def episodes(
        self, identity_id: int | None = None, video_id: int | None = None, *, ignored: bool = False
    ) -> list[Episode]:
        self._check(video_id)
        return super().episodes(identity_id, video_id, ignored=ignored)

    def _check(self, video_id: int | None) -> None:
        if video_id != 1:
            raise FacetrackError("the disk is gone")


@pytest.mark.parametrize("name", OURS)
def test_an_export_that_breaks_off_leaves_no_half_file_in_any_format(store: Store, tmp_path: Path, name: str) -> None:
    store.add_video(make_result("b.mp4", emotion_every=5))
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old").write_text("old")
    videos = store.videos()[1:] if FORMATS[name].single else store.videos()
    with Breaking(store.path) as broken, pytest.raises(FacetrackError, match="disk"):
        export(broken, videos, folder / "old", format=name)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("old", "old")]


def test_an_unknown_format_lists_the_known_ones_and_writes_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FacetrackError, match=", ".join(sorted(FORMATS))):
        export(store, store.videos(), tmp_path / "out.xml", format="xml")
    assert not (tmp_path / "out.xml").exists()


def test_formats_can_be_listed_and_each_has_its_writer() -> None:
    assert set(OURS) <= set(FORMATS)
    for name, format in FORMATS.items():
        assert format.name == name
        assert format.suffix.startswith(".")
        assert format.about
        assert callable(format.writer)


def test_listing_formats_imports_no_heavy_library() -> None:
    code = "import sys, indexing.export; sys.exit('pyarrow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_a_path_that_cannot_be_written_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FacetrackError, match="folder"):
        export(store, store.videos(), tmp_path / "missing/out.csv")


@pytest.mark.parametrize("name", OURS)
def test_into_a_folder_goes_a_file_for_each_video(store: Store, tmp_path: Path, name: str) -> None:
    store.add_video(make_result("films/b.mp4", [], frames=3))
    folder = tmp_path / "out"
    folder.mkdir()
    count = export(store, store.videos(), folder, format=name)
    suffix = FORMATS[name].suffix
    assert {path.name for path in folder.iterdir()} == {f"a{suffix}", f"b{suffix}"}
    assert count == sum(
        write(store, [video], io.BytesIO() if FORMATS[name].binary else io.StringIO(), format=name)
        for video in store.videos()
    )


def test_files_of_videos_with_one_name_are_kept_apart(store: Store, tmp_path: Path) -> None:
    store.add_video(make_result("other/A.mkv", [], frames=3))
    folder = tmp_path / "out"
    folder.mkdir()
    export(store, store.videos(), folder)
    assert {path.name for path in folder.iterdir()} == {"a.1.csv", "A.2.csv"}


@pytest.mark.parametrize("name", [name for name in OURS if FORMATS[name].single])
def test_a_format_without_a_column_for_the_video_holds_one(store: Store, tmp_path: Path, name: str) -> None:
    store.add_video(make_result("b.mp4", [], frames=3))
    with pytest.raises(FacetrackError, match=r"one video.*folder"):
        write(store, store.videos(), io.StringIO(), format=name)
    with pytest.raises(FacetrackError, match=r"one video.*folder"):
        export(store, store.videos(), tmp_path / "out.csv", format=name)
    assert not (tmp_path / "out.csv").exists()


def test_an_export_of_a_person_has_the_frames_of_their_videos_and_nobody_else(store: Store) -> None:
    store.add_video(make_result("other.mp4", [(1, 0, 10)]))
    stream = io.StringIO()
    write(store, store.videos(), stream, identity_id=1)
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert {row["video"] for row in rows} == {"films/a.mp4"}
    assert [int(row["frame"]) for row in rows] == list(range(50))
    assert [row["frame"] for row in rows if row["success"] == "1"] == [str(f) for f in [*range(20), *range(35, 50)]]
    assert {(row["identity"], row["face_id"]) for row in rows} == {("1", "0"), ("", "")}


def test_a_person_in_none_of_the_videos_is_told(store: Store, tmp_path: Path) -> None:
    store.add_video(make_result("other.mp4", [(1, 0, 10)]))
    with pytest.raises(FacetrackError, match="none of the videos"):
        export(store, [store.video(2)], tmp_path / "out.csv", identity_id=1)
    assert not (tmp_path / "out.csv").exists()


def test_videos_are_chosen_by_path_id_name_and_folder_each_once(store: Store) -> None:
    for path in ("films/b.mp4", "films/deep/c.mp4", "other/d.mp4"):
        store.add_video(make_result(path))
    named = {text: [video.path.name for video in select_videos(store, [text])] for text in ("films", "4", "b.mp4")}
    assert named == {"films": ["a.mp4", "b.mp4", "c.mp4"], "4": ["d.mp4"], "b.mp4": ["b.mp4"]}
    assert len(select_videos(store, ["films", "films/a.mp4", "a.mp4"])) == 3
    with pytest.raises(FacetrackError, match="nowhere"):
        select_videos(store, ["nowhere"])


def test_a_text_means_a_video_before_a_person(store: Store) -> None:
    store.add_video(make_result("b.mp4"))
    store.rename(1, "Ada")

    def selected(*texts: str) -> tuple[list[str], int | None]:
        videos, identity_id = select(store, texts)
        return [video.path.name for video in videos], identity_id

    assert selected("1") == (["a.mp4"], None)
    assert selected("Person 1") == (["a.mp4"], 1)
    assert selected("ada") == (["a.mp4"], 1)
    assert selected("films", "b.mp4") == (["a.mp4", "b.mp4"], None)
    assert selected("films", "Ada", "Person 1") == (["a.mp4"], 1)


def test_a_text_that_is_neither_lists_videos_and_people(store: Store) -> None:
    store.rename(1, "Ada")
    with pytest.raises(FacetrackError, match=r"'Eve'.*1 \(films/a.mp4\).*Ada"):
        select(store, ["Eve"])


def test_people_are_exported_one_at_a_time_and_where_they_are_seen(store: Store) -> None:
    store.add_video(make_result("b.mp4"))
    keys = [record.key for record in store.track_records()]
    store.assign([(1, keys[:1]), (None, keys[1:2])])
    with pytest.raises(FacetrackError, match="one at a time"):
        select(store, ["Person 1", "Person 2"])
    with pytest.raises(FacetrackError, match="none of the videos"):
        select(store, ["b.mp4", "Person 1"])
