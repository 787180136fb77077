"""The tables of other tools: exact columns, and values that pandas reads back as the database has them.

Py-Feat's own loader is not used: its package asks for torch, torchvision, torchcodec and XGBoost. It opens the file by
`pandas.read_csv` and picks the columns that are named here.
"""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fakes import HEIGHT, WIDTH, Span, make_result
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.export import fex, write
from indexing.export.fer import most_at_once
from indexing.export.rows import FrameRow, frame_rows
from indexing.store import Store
from tracker.headpose import rotation
from tracker.types import EMOTIONS


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "facetrack.db")
    store.add_video(make_result("a.mp4", emotion_every=5))
    keys = [record.key for record in store.track_records()]
    store.assign([(None, [keys[0], keys[2]])])
    store.rename(1, "Ada")
    return store


def table(store: Store, format: str, *, identity_id: int | None = None) -> pd.DataFrame:
    stream = io.StringIO()
    count = write(store, store.videos(), stream, format=format, identity_id=identity_id)
    read = pd.read_csv(io.StringIO(stream.getvalue()))
    assert len(read) == count
    return read


def faces_of(store: Store) -> list[FrameRow]:
    return [row for row in frame_rows(store, store.videos()[0]) if row.success]


def column(rows: list[FrameRow], name: str) -> list[float]:
    return [float("nan") if getattr(row, name) is None else getattr(row, name) for row in rows]


# ---- openface


def test_openface_has_the_header_of_its_release_2_2_without_spaces(store: Store) -> None:
    stream = io.StringIO()
    write(store, store.videos(), stream, format="openface")
    assert stream.getvalue().splitlines()[0] == (
        "frame,face_id,timestamp,confidence,success,gaze_angle_x,gaze_angle_y,pose_Rx,pose_Ry,pose_Rz"
    )


def test_openface_writes_every_frame_from_one_with_faces_numbered(store: Store) -> None:
    read = table(store, "openface")
    assert sorted(set(read.frame)) == list(range(1, 51))
    assert read.timestamp.to_numpy() == pytest.approx((read.frame - 1) / 25)
    assert read[read.frame == 11].face_id.tolist() == [0, 1]
    nobody = read[read.success == 0]
    assert nobody.frame.tolist() == [31, 32, 33, 34, 35]
    assert (nobody.drop(columns=["frame", "timestamp"]) == 0).all(axis=None)


def test_openface_tells_angles_as_they_are_and_leaves_unknown_ones_empty(store: Store) -> None:
    read, faces = table(store, "openface").query("success == 1"), faces_of(store)
    for name in ("confidence", "pose_Rx", "pose_Ry", "pose_Rz", "gaze_angle_x", "gaze_angle_y"):
        assert read[name].tolist() == pytest.approx(column(faces, name), nan_ok=True)
    assert read.pose_Rx.notna().any()


# ---- fer


def test_fer_has_a_row_a_frame_and_as_many_faces_as_the_fullest(store: Store) -> None:
    read = table(store, "fer")
    assert list(read.columns) == [f"{name}{slot}" for slot in (0, 1) for name in ("box", *EMOTIONS)]
    assert len(read) == 50
    assert read.iloc[30:35].isna().all(axis=None)


def test_fer_tells_boxes_and_emotions(store: Store) -> None:
    read = table(store, "fer")
    for face in faces_of(store):
        cells = read.iloc[face.frame]
        box = [int(side) for side in cells[f"box{face.face_id}"].strip("[]").split(",")]
        assert box == [round(side) for side in (face.x, face.y, face.w, face.h)]  # type: ignore[arg-type]
        for name in EMOTIONS:
            assert cells[f"{name}{face.face_id}"] == pytest.approx(column([face], name)[0], nan_ok=True)
    assert read.happy0.max() > 0.8


def test_fer_of_a_person_has_one_face(store: Store) -> None:
    read = table(store, "fer", identity_id=1)
    assert list(read.columns) == [f"{name}0" for name in ("box", *EMOTIONS)]
    assert read.box0.notna().tolist() == [True] * 20 + [False] * 15 + [True] * 15


def test_fer_of_a_video_without_faces_has_empty_rows(tmp_path: Path) -> None:
    with Store(tmp_path / "empty.db") as store:
        store.add_video(make_result("a.mp4", [], frames=3))
        read = pd.read_csv(io.StringIO(_text(store, "fer")))
    assert read.shape == (3, 8)
    assert read.isna().all(axis=None)


def _text(store: Store, format: str) -> str:
    stream = io.StringIO()
    write(store, store.videos(), stream, format=format)
    return stream.getvalue()


spans = st.tuples(st.integers(0, 2), st.integers(0, 29), st.integers(1, 12)).map(
    lambda drawn: (drawn[0], drawn[1], min(drawn[1] + drawn[2], 30))
)


@settings(max_examples=20, deadline=None)
@given(drawn=st.lists(spans, max_size=8))
def test_fer_has_room_for_every_face(drawn: list[Span], tmp_path_factory: pytest.TempPathFactory) -> None:
    counts = np.zeros(30, int)
    for _, first, end in drawn:
        counts[first:end] += 1
    with Store(tmp_path_factory.mktemp("any") / "facetrack.db") as store:
        store.add_video(make_result("a.mp4", drawn, frames=30, thumbnails=False))
        assert most_at_once(store.track_records()) == counts.max()
        read = pd.read_csv(io.StringIO(_text(store, "fer")))
    boxes = read[[name for name in read.columns if name.startswith("box")]]
    assert boxes.notna().sum(axis=1).tolist() == counts.tolist()


# ---- fex


def test_fex_has_the_columns_of_py_feat(store: Store) -> None:
    assert _text(store, "fex").splitlines()[0] == (
        "frame,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,Pitch,Roll,Yaw,X,Y,Z,"
        "anger,disgust,fear,happiness,sadness,surprise,neutral,FrameHeight,FrameWidth,input,approx_time,Identity"
    )


def test_fex_tells_boxes_emotions_and_angles_with_py_feats_signs(store: Store) -> None:
    read, faces = table(store, "fex"), faces_of(store)
    assert sorted(set(read.frame)) == list(range(50))
    assert set(read.input) == {"a.mp4"}
    assert (read.FrameHeight == HEIGHT).all()
    assert (read.FrameWidth == WIDTH).all()
    seen = read[read.FaceScore.notna()]
    same = {"FaceRectX": "x", "FaceRectWidth": "w", "FaceScore": "confidence", "Yaw": "pose_Ry"}
    for theirs, ours in {**same, "happiness": "happy", "anger": "angry", "neutral": "neutral"}.items():
        assert seen[theirs].tolist() == pytest.approx(column(faces, ours), nan_ok=True)
    assert (-seen.Pitch).tolist() == pytest.approx(column(faces, "pose_Rx"), nan_ok=True)
    assert (-seen.Roll).tolist() == pytest.approx(column(faces, "pose_Rz"), nan_ok=True)
    assert set(seen.Identity.dropna()) == {"Ada"}


@pytest.mark.parametrize(
    "angles", [(0.3, 0, 0), (-0.3, 0, 0), (0, 0.4, 0), (0, -0.4, 0), (0, 0, 0.2), (0.1, -0.3, -0.2)]
)
def test_fex_counts_up_and_the_subjects_right_as_positive(angles: tuple[float, float, float]) -> None:
    pitch, roll, yaw = fex.pose(FrameRow("a.mp4", 0, 0.0, pose_Rx=angles[0], pose_Ry=angles[1], pose_Rz=angles[2]))
    turned = rotation(np.float32(angles))
    (right, down, _), (top, *_) = turned @ [0, 0, -1], turned @ [0, -1, 0]
    # The subject's right is the left of the image.
    assert np.sign(np.round([pitch, yaw, roll], 6)).tolist() == np.sign(-np.round([down, right, top], 6)).tolist()


def test_fex_keeps_frames_without_a_face_as_empty_rows(store: Store) -> None:
    read = table(store, "fex")
    nobody = read[read.FaceScore.isna()]
    assert nobody.frame.tolist() == list(range(30, 35))
    assert nobody.drop(columns=["frame", "FrameHeight", "FrameWidth", "input", "approx_time"]).isna().all(axis=None)


def test_fex_tells_the_time_in_minutes_and_seconds(tmp_path: Path) -> None:
    with Store(tmp_path / "long.db") as store:
        store.add_video(make_result("a.mp4", [], frames=130, fps=1))
        read = table(store, "fex")
    assert read.approx_time.iloc[[0, 59, 60, 125]].tolist() == ["00:00", "00:59", "01:00", "02:05"]


# ---- emotions and episodes


def test_emotions_are_tidy_and_equal_the_curves(store: Store) -> None:
    read = table(store, "emotions")
    assert list(read.columns) == ["identity", "name", "video", "time", "label", "score"]
    assert set(read.identity) == {1}
    assert set(read.name) == {"Ada"}
    (curve,) = store.emotion_curves(1)
    wide = read.pivot(index="time", columns="label", values="score")[list(EMOTIONS)]
    assert wide.index.to_numpy() == pytest.approx(curve.times, abs=1e-6)
    assert wide.to_numpy() == pytest.approx(curve.emotions, abs=6e-5, nan_ok=True)
    assert len(curve)


def test_episodes_equal_those_of_the_store(store: Store) -> None:
    read = table(store, "episodes")
    assert list(read.columns) == ["identity", "name", "video", "label", "onset", "apex", "offset", "mean", "peak"]
    episodes = store.episodes(1)
    assert read.label.tolist() == [episode.label for episode in episodes]
    for name in ("onset", "apex", "offset", "mean", "peak"):
        assert read[name].tolist() == pytest.approx([getattr(e, name) for e in episodes], abs=6e-5)
    assert episodes


@pytest.mark.parametrize("format", ["emotions", "episodes"])
def test_curves_are_limited_to_a_person(store: Store, format: str) -> None:
    first, second = store.track_records()[:2]
    store.assign([(1, [first.key]), (None, [second.key])])
    assert set(table(store, format).identity) == {1, 2}
    assert set(table(store, format, identity_id=2).identity) == {2}


@pytest.mark.parametrize("format", ["fex", "emotions", "episodes"])
def test_no_table_carries_a_formula(store: Store, format: str) -> None:
    store.rename(1, "=cmd()")
    assert ",=cmd()" not in _text(store, format)
    assert "'=cmd()" in _text(store, format)
