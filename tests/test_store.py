"""The database: everything comes back as it was put in, nothing is left half done, and faces can be erased."""

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from depth import bounded
from fakes import make_result, person_vector
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from sqlalchemy import event

from indexing.corrections import NEW, Entry
from indexing.emotions import EmotionTimeline, Samples, emotion_timeline
from indexing.index import load_or_rebuild
from indexing.store import Store
from indexing.types import Identity
from tracker.errors import FacetrackError
from tracker.types import Expressions, Keyframes, Reason, Segment, TrackingResult


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "facetrack.db") as opened:
        yield opened


def sql(store: Store, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(store.path)) as connection:
        return connection.execute(query).fetchall()


def counts(store: Store) -> dict[str, int]:
    tables = ("videos", "tracks", "track_arrays", "thumbnails", "embeddings", "expressions", "identities")
    return {table: int(str(sql(store, f"SELECT COUNT(*) FROM {table}")[0][0])) for table in tables}


def assert_sound(store: Store) -> None:
    assert sql(store, "PRAGMA foreign_key_check") == []
    assert sql(store, "PRAGMA integrity_check") == [("ok",)]


# ---- what is put in comes back


def test_a_video_comes_back_as_it_was(store: Store) -> None:
    result = make_result("films/a.mp4", settings={"detect_every": 2, "sizes": [1, 2], "preset": None})
    video_id = store.add_video(result)
    record = store.video(video_id)
    assert record.info == result.video
    assert (record.frame_count, record.end) == (result.frame_count, result.end)
    assert (record.detector_id, record.embedder_id) == (result.detector_id, result.embedder_id)
    assert record.settings == result.settings
    assert record.added_at.endswith("+00:00")
    assert store.timestamps(video_id).tobytes() == result.timestamps.tobytes()
    assert store.shots(video_id).tolist() == result.shots.tolist()


def test_tracks_come_back_bit_by_bit(store: Store) -> None:
    result = make_result(shots=(0, 34))
    pairs = store.tracks(store.add_video(result))
    assert len(pairs) == len(result.tracks) == 3
    for (record, back), track in zip(pairs, result.tracks, strict=True):
        assert (record.track_id, record.shot, record.first_frame) == (track.track_id, track.shot, track.first_frame)
        assert (back.track_id, back.shot, back.first_frame) == (track.track_id, track.shot, track.first_frame)
        for name in ("boxes", "scores", "sources", "landmarks"):
            assert getattr(back, name).tobytes() == getattr(track, name).tobytes()
        for name in ("frames", "qualities", "embeddings"):
            assert getattr(back.keyframes, name).tobytes() == getattr(track.keyframes, name).tobytes()


def test_expressions_come_back_bit_by_bit(store: Store) -> None:
    result = make_result(emotion_every=4)
    video_id = store.add_video(result)
    assert (store.video(video_id).emotion_id, store.video(video_id).affect_derived) == ("fake-emotion", True)
    for (_, back), track in zip(store.tracks(video_id), result.tracks, strict=True):
        assert len(back.expressions) == len(track.expressions) > 3
        for name in Expressions.__slots__:
            np.testing.assert_array_equal(getattr(back.expressions, name), getattr(track.expressions, name))
            assert getattr(back.expressions, name).dtype == getattr(track.expressions, name).dtype


def test_without_an_emotion_model_there_are_no_expressions(store: Store) -> None:
    video_id = store.add_video(make_result())
    store.assign([(None, [1, 2, 3])])
    assert store.video(video_id).emotion_id is None
    assert [len(track.expressions) for _, track in store.tracks(video_id)] == [0, 0, 0]
    assert store.emotion_curves() == store.episodes() == store.emotion_summaries() == []


def test_samples_can_be_read_by_hand(store: Store) -> None:
    store.add_video(make_result(emotion_every=5))
    query = (
        "SELECT frame, time, model_id, emotion, ROUND(happy, 2), affect_source, reason, pose_yaw IS NULL"
        " FROM expressions WHERE track_id = 1 ORDER BY frame"
    )
    assert sql(store, query) == [
        (0, 0.0, "fake-emotion", "happy", 0.88, "derived", None, 0),
        (5, 0.2, "fake-emotion", "happy", 0.88, "derived", None, 0),
        (10, 0.4, "fake-emotion", None, None, None, "blurred", 0),
        (15, 0.6, "fake-emotion", "sad", 0.02, "derived", None, 0),
    ]


def test_a_track_ends_where_its_next_frame_begins_or_the_video_ends(store: Store) -> None:
    times = np.array([0.0, 0.5, 0.6, 1.7, 1.8])
    result = replace(make_result(spans=[(0, 1, 3), (1, 2, 5)], frames=5), timestamps=times, end=2.5)
    records = store.track_records(store.add_video(result))
    assert [record.segment for record in records] == [Segment(0.5, 1.7), Segment(0.6, 2.5)]


def test_a_track_record_sums_up_its_track(store: Store) -> None:
    result = make_result()
    (record, *_), track = store.track_records(store.add_video(result)), result.tracks[0]
    extent = track.boxes[:, 2:] - track.boxes[:, :2]
    assert record.size == pytest.approx(np.median(np.sqrt(extent.prod(axis=1))), rel=1e-5)
    assert record.quality == track.keyframes.qualities.max()
    assert (record.identity_id, record.confidence) == (None, None)


def test_embeddings_come_back_beside_their_tracks(store: Store) -> None:
    results = [make_result("a.mp4"), make_result("b.mp4")]
    for result in results:
        store.add_video(result)
    rows, records = store.embeddings(), {record.key: record for record in store.track_records()}
    tracks = {(n + 1, track.track_id): track for n, result in enumerate(results) for track in result.tracks}
    assert rows.model_id == "fake-embedder"
    assert len(rows) == sum(len(track.keyframes) for track in tracks.values())
    for row_id, key, frame, quality, vector in zip(
        rows.row_ids, rows.track_keys, rows.frames, rows.qualities, rows.vectors, strict=True
    ):
        keyframes = tracks[records[key].video_id, records[key].track_id].keyframes
        (place,) = np.flatnonzero(keyframes.frames == frame)
        assert quality == keyframes.qualities[place]
        assert vector.tobytes() == keyframes.embeddings[place].tobytes()
        assert store.embedding_tracks([int(row_id)]).tolist() == [key]
    assert store.embedding_tracks([999, *rows.row_ids[:2]]).tolist() == [-1, *rows.track_keys[:2]]


def test_embeddings_are_little_endian_float32_in_the_file(store: Store) -> None:
    result = make_result()
    store.add_video(result)
    ((blob, model),) = sql(store, "SELECT vector, model_id FROM embeddings WHERE id = 1")
    assert blob == result.tracks[0].keyframes.embeddings[0].astype("<f4").tobytes()
    assert model == "fake-embedder"


def test_a_thumbnail_is_a_jpeg_of_the_best_view(store: Store) -> None:
    result = make_result()
    (record, *_) = store.track_records(store.add_video(result))
    decoded = cv2.imdecode(np.frombuffer(store.thumbnail(record.key), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == result.tracks[0].thumbnail.shape
    assert np.abs(decoded.astype(int) - result.tracks[0].thumbnail).mean() < 3


def test_a_track_without_thumbnail_or_keyframes_is_kept(store: Store) -> None:
    result = make_result(thumbnails=False, keyframes=0)
    (record, *_) = store.track_records(store.add_video(result))
    assert store.thumbnail(record.key) == b""
    assert record.quality == 0
    assert len(store.embeddings()) == 0
    assert len(store.tracks(1)[0][1].keyframes) == 0


def test_a_video_without_faces_and_an_image_are_videos(store: Store) -> None:
    empty = store.add_video(make_result("none.mp4", []))
    image = store.add_video(make_result("a.jpg", [(0, 0, 1)], frames=1, is_image=True))
    assert store.tracks(empty) == []
    assert store.video(image).info.is_image
    assert len(store.tracks(image)) == 1


def test_the_numbers_of_numpy_are_taken_as_ids(store: Store) -> None:
    video_id: Any = np.int64(store.add_video(make_result()))
    (key, *_) = store.embeddings().track_keys
    assert store.thumbnail(key)
    assert len(store.track_records(video_id)) == 3
    person: Any = np.int64(store.assign([(None, [key])])[0])
    assert [record.key for record in store.track_records(identity_id=person)] == [key]
    assert store.video(video_id).video_id == video_id


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux")
def test_a_path_that_is_no_unicode_comes_back(store: Store) -> None:
    path = Path(os.fsdecode(b"caf\xe9.mp4"))
    store.add_video(make_result(path, content_hash="00000000ff"))
    assert store.videos()[0].path == path


# ---- one video, once


def test_the_same_content_under_another_path_is_the_same_video(store: Store) -> None:
    video_id = store.add_video(make_result("a.mp4", content_hash="12345678"))
    found = store.find_video("12345678")
    assert found is not None
    assert found.video_id == video_id
    assert store.find_video("other") is None
    with pytest.raises(FacetrackError, match=r"b.mp4: the same content .* video 1 \(a.mp4\)"):
        store.add_video(make_result("b.mp4", content_hash="12345678"))
    assert counts(store)["videos"] == 1


def test_a_video_can_be_replaced(store: Store) -> None:
    store.add_video(make_result("a.mp4"))
    store.add_video(make_result("b.mp4"))
    again = store.add_video(make_result("a.mp4", [(0, 0, 9)], settings={"detect_every": 5}), replace=True)
    assert [(v.video_id, str(v.path)) for v in store.videos()] == [(2, "b.mp4"), (again, "a.mp4")]
    assert again == 3
    assert counts(store)["tracks"] == 4
    assert_sound(store)


def test_another_embedder_is_refused_with_the_way_out(store: Store) -> None:
    assert store.embedder_id is None
    store.add_video(make_result("a.mp4"))
    with pytest.raises(FacetrackError, match=r"fake-embedder.*other.*facetrack reembed"):
        store.add_video(make_result("b.mp4", embedder_id="other"))
    with pytest.raises(FacetrackError, match=r"have 16 numbers, these have 8"):
        store.add_video(make_result("b.mp4", dimension=8))
    assert store.embedder_id == "fake-embedder"
    store.remove_video(1)
    store.add_video(make_result("b.mp4", embedder_id="other", dimension=8))
    assert store.embedder_id == "other"


def _with_expressions(**changes: Any) -> TrackingResult:
    result = make_result(emotion_every=5)
    shown = result.tracks[0].expressions
    first = replace(result.tracks[0], expressions=replace(shown, **changes))
    return replace(result, tracks=(first, *result.tracks[1:]))


def _with_bad_vector(result: TrackingResult) -> TrackingResult:
    track = result.tracks[-1]
    vectors = np.array(track.keyframes.embeddings)
    vectors[0, 0] = np.nan
    broken = replace(track, keyframes=replace(track.keyframes, embeddings=vectors))
    return replace(result, tracks=(*result.tracks[:-1], broken))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (replace(make_result(), timestamps=np.zeros(10), end=1.0), "of 10 frames"),
        (replace(make_result(), end=0.1), "never fall"),
        (replace(make_result(), end=float("nan")), "finite"),
        (replace(make_result(), tracks=(replace(make_result().tracks[0], first_frame=25),)), "keyframes outside"),
        (replace(make_result(), tracks=make_result().tracks[:1] + make_result(dimension=8).tracks[1:]), "length"),
        (_with_bad_vector(make_result()), "not finite"),
        (_with_expressions(frames=np.array([0, 5, 10, 20])), "outside of it or not in order"),
        (_with_expressions(frames=np.array([0, 5, 5, 7])), "outside of it or not in order"),
        (_with_expressions(reasons=np.zeros(4, np.uint8)), "neither an answer nor a reason"),
        (_with_expressions(reasons=np.ones(4, np.uint8)), "neither an answer nor a reason"),
        (_with_expressions(valence=np.full(4, np.nan)), "half"),
        (replace(make_result(emotion_every=5), emotion_id=None), "of which model"),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(store: Store, broken: TrackingResult, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        store.add_video(broken)
    assert set(counts(store).values()) == {0}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("table", ["tracks", "track_arrays", "thumbnails", "embeddings", "expressions"])
def test_nothing_is_half_written(store: Store, table: str, error: type[BaseException]) -> None:
    store.add_video(make_result("a.mp4"))
    before = counts(store)

    def fail(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith(f"INSERT INTO {table} "):
            raise error("in the middle")

    event.listen(store._engine, "after_cursor_execute", fail)
    with pytest.raises(error, match="in the middle"):
        store.add_video(make_result("b.mp4", emotion_every=5))
    event.remove(store._engine, "after_cursor_execute", fail)
    assert counts(store) == before
    assert store.add_video(make_result("b.mp4", emotion_every=5)) == 2
    assert_sound(store)


DIE_IN_THE_MIDDLE = """
import os, sys
from fakes import make_result
from indexing.store import Store
from sqlalchemy import event
store = Store(sys.argv[1])
def die(connection, cursor, statement, *rest):
    if statement.startswith("INSERT INTO embeddings "):
        os._exit(7)
event.listen(store._engine, "after_cursor_execute", die)
store.add_video(make_result("b.mp4"))
"""


def run_beside(store: Store, program: str, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", program, str(store.path), *arguments], env=environment)


def test_a_process_that_dies_in_the_middle_leaves_nothing(store: Store) -> None:
    store.add_video(make_result("a.mp4"))
    before = counts(store)
    assert run_beside(store, DIE_IN_THE_MIDDLE).wait(120) == 7
    assert counts(store) == before
    assert store.add_video(make_result("b.mp4")) == 2
    assert_sound(store)


def test_settings_that_are_no_json_leave_nothing(store: Store) -> None:
    with pytest.raises(Exception, match="JSON serializable"):
        store.add_video(make_result(settings={"model": object()}))
    assert set(counts(store).values()) == {0}


# ---- people


def test_tracks_are_of_nobody_until_assigned(store: Store) -> None:
    store.add_video(make_result())
    assert store.identities() == []
    assert store.people() == []
    assert [a.identity_id for a in store.appearances()] == [None] * 3


def test_assigning_makes_and_keeps_identities(store: Store) -> None:
    store.add_video(make_result())
    assert store.assign([(None, [1, 3]), (None, [2])], confidences={1: 0.9, 2: 0.75}) == [1, 2]
    assert [(r.identity_id, r.confidence) for r in store.track_records()] == [(1, 0.9), (2, 0.75), (1, None)]
    assert store.assign([(2, [1]), (None, [2])]) == [2, 3]
    assert [(r.identity_id, r.confidence) for r in store.track_records()] == [(2, None), (3, None), (None, None)]
    assert store.identities() == [Identity(2), Identity(3)]
    assert store.identities(include_empty=True) == [Identity(1), Identity(2), Identity(3)]
    assert [record.key for record in store.track_records(identity_id=2)] == [1]


def test_an_assignment_that_fails_changes_nothing(store: Store) -> None:
    store.add_video(make_result())
    store.assign([(None, [1, 2, 3])])
    with pytest.raises(FacetrackError, match="no person 9"):
        store.assign([(None, [1]), (9, [2])])
    with pytest.raises(FacetrackError, match=r"no tracks \[77\]"):
        store.assign([(1, [77])])
    for groups in ([(1, [1]), (1, [2])], [(1, [1]), (None, [1])], [(None, list[int]())]):
        with pytest.raises(ValueError, match=r"group|track"):
            store.assign(groups)
    assert {record.identity_id for record in store.track_records()} == {1}
    assert store.identities(include_empty=True) == [Identity(1)]


def test_an_assignment_among_some_tracks_leaves_the_others(store: Store) -> None:
    store.add_video(make_result())
    store.assign([(None, [1, 3]), (None, [2])], confidences={1: 0.9, 2: 0.75, 3: 0.5})
    assert store.assign([(1, [1, 3]), (None, [2])], confidences={1: 0.1, 2: 0.25}, among=[2]) == [1, 3]
    assert [(r.identity_id, r.confidence) for r in store.track_records()] == [(1, 0.9), (3, 0.25), (1, 0.5)]
    store.assign([], among=[1])
    assert [(r.identity_id, r.confidence) for r in store.track_records()] == [(None, None), (3, 0.25), (1, 0.5)]
    with pytest.raises(ValueError, match="at least one track"):
        store.assign([(None, [1])], among=[2])
    with pytest.raises(FacetrackError, match=r"no tracks \[77\]"):
        store.assign([], among=[77])


def test_nobody_appears_in_an_enrolled_photograph(store: Store) -> None:
    store.add_video(make_result("ada.jpg", [(0, 0, 1)], frames=1, is_image=True), enrolled=True)
    store.add_video(make_result("a.mp4", [(0, 0, 20)]))
    assert [video.enrolled for video in store.videos(enrolled=True)] == [True, False]
    assert [str(video.path) for video in store.videos()] == ["a.mp4"]
    assert store.resolve_video("ada.jpg").enrolled
    store.assign([(None, [1])])
    (person,) = store.people()
    assert (person.videos, person.appearances, person.screen_time, person.best_track) == (0, 0, 0, 1)
    store.assign([(1, [1, 2])])
    (person,) = store.people()
    assert (person.videos, person.appearances, person.best_track) == (1, 1, 2)
    assert [a.track_keys for a in store.appearances()] == [(2,)]
    assert store.appearances(video_id=1) == []
    assert sql(store, "SELECT person, video, tracks FROM appearances") == [("Person 1", "a.mp4", 1)]
    assert len(store.embeddings()) == 3


def test_a_photograph_that_is_added_is_one_like_any_other(store: Store) -> None:
    photograph = make_result("ada.jpg", [(0, 0, 1)], frames=1, is_image=True)
    store.add_video(photograph, enrolled=True)
    store.rename(store.assign([(None, [1])])[0], "Ada")
    store.add_video(replace(photograph, settings={"detect_every": 3}), replace=True)
    assert [video.enrolled for video in store.videos()] == [False]
    assert [(p.identity.label, p.videos) for p in store.people()] == [("Ada", 1)]
    assert store.verdicts().pins == {2: 1}


def test_what_was_said_is_written_whole_or_not_at_all(store: Store) -> None:
    store.add_video(make_result())
    store.assign([(None, [1, 3]), (None, [2])])

    def fail(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("INSERT INTO corrections "):
            raise RuntimeError("in the middle")

    event.listen(store._engine, "after_cursor_execute", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        store.correct(Entry("assign", (NEW,), {1: NEW}))
    event.remove(store._engine, "after_cursor_execute", fail)
    assert [record.identity_id for record in store.track_records()] == [1, 2, 1]
    assert (store.log(), store.identities(include_empty=True)) == ([], [Identity(1), Identity(2)])
    for entry in (Entry("assign", (9,), {1: 9}), Entry("assign", (1,), {77: 1})):
        with pytest.raises(FacetrackError, match=r"no person 9|no tracks \[77\]"):
            store.correct(entry)


def test_ids_are_never_used_again(store: Store) -> None:
    store.add_video(make_result())
    store.assign([(None, [1]), (None, [2]), (None, [3])])
    store.forget(3)
    store.remove_video(1)
    assert store.identities() == []
    assert store.identities(include_empty=True) == [Identity(1), Identity(2)]
    assert store.add_video(make_result()) == 2
    keys = [record.key for record in store.track_records()]
    assert keys == [4, 5, 6]
    assert store.embeddings().row_ids.tolist() == [7, 8, 9, 10, 11, 12]
    assert store.assign([(None, keys)]) == [4]


def test_people_come_with_all_that_is_known_by_screen_time(store: Store) -> None:
    store.add_video(make_result("a.mp4", [(0, 0, 20), (1, 5, 30), (0, 35, 50)]))
    store.add_video(make_result("b.mp4", [(1, 10, 50)]))
    store.assign([(None, [1, 3]), (None, [2, 4])])
    store.rename(1, "Ada")
    second, first = store.people()
    assert (first.identity, second.identity) == (Identity(1, "Ada"), Identity(2))
    assert (first.videos, first.appearances, second.videos, second.appearances) == (1, 2, 2, 2)
    assert first.screen_time == pytest.approx(0.8 + 0.6)
    assert second.screen_time == pytest.approx(1.0 + 1.6)
    assert (second.first_seen, second.last_seen) == ((Path("a.mp4"), 0.2), (Path("b.mp4"), 2.0))
    best = max(store.track_records(identity_id=2), key=lambda record: record.quality)
    assert second.best_track == best.key


def test_a_track_without_picture_is_no_best_track(store: Store) -> None:
    pictured, plain = make_result().tracks[0], make_result(thumbnails=False).tracks[1]
    perfect = replace(plain, keyframes=replace(plain.keyframes, qualities=np.ones(2, np.float32)))
    store.add_video(replace(make_result(), tracks=(pictured, perfect)))
    store.assign([(None, [1, 2])])
    assert store.people()[0].best_track == 1


def test_people_without_a_track_are_listed_only_when_asked(store: Store) -> None:
    store.add_video(make_result())
    store.assign([(None, [1, 2, 3])])
    store.remove_video(1)
    assert store.people() == []
    (nobody,) = store.people(include_empty=True)
    assert (nobody.appearances, nobody.screen_time, nobody.first_seen, nobody.best_track) == (0, 0, None, None)


def test_appearances_close_short_gaps(store: Store) -> None:
    store.add_video(make_result("a.mp4", [(0, 0, 10), (0, 20, 30), (0, 45, 50)]))
    store.assign([(None, [1, 2, 3])])
    assert [(a.segment, a.track_keys) for a in store.appearances(1)] == [
        (Segment(0, 1.2), (1, 2)),
        (Segment(1.8, 2), (3,)),
    ]
    assert len(store.appearances(1, gap=0)) == 3
    assert len(store.appearances(1, gap=0.7)) == 1
    assert store.appearances(2) == store.appearances(video_id=2) == []


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 90), st.integers(1, 9)), min_size=1, max_size=12))
def test_the_view_tells_the_same_appearances(store: Store, drawn: list[tuple[int, int, int]]) -> None:
    spans = [(person, first, first + length) for person, first, length in drawn]
    video_id = store.add_video(make_result("v.mp4", spans, frames=100, keyframes=1, thumbnails=False), replace=True)
    records = store.track_records(video_id)
    owners = [person for person, *_ in sorted(spans, key=lambda span: span[1])]
    groups = [[r.key for r, owner in zip(records, owners, strict=True) if owner == p] for p in range(3)]
    store.assign([(None, keys) for keys in groups if keys])
    told = sql(
        store, "SELECT identity_id, video_id, start, end, tracks FROM appearances ORDER BY start, identity_id, end"
    )
    wanted = [
        (a.identity_id, a.video_id, a.segment.start, a.segment.end, len(a.track_keys)) for a in store.appearances()
    ]
    assert sorted(told) == sorted(wanted)


def test_a_user_can_ask_by_hand(store: Store) -> None:
    store.add_video(make_result("a.mp4"))
    store.assign([(None, [1, 3]), (None, [2])])
    store.rename(2, "Ada")
    people = sql(store, "SELECT person, video, start, end FROM appearances ORDER BY start, person")
    assert people == [("Person 1", "a.mp4", 0.0, 0.8), ("Ada", "a.mp4", 0.2, 1.2), ("Person 1", "a.mp4", 1.4, 2.0)]
    assert sql(store, "SELECT id, start, end, first_frame, end_frame FROM tracks WHERE identity_id = 2") == [
        (2, 0.2, 1.2, 5, 30)
    ]


# ---- emotions

DERIVED = ("emotion_curves", "emotion_episodes", "emotion_summaries", "emotion_transitions")


def derived(store: Store) -> dict[str, list[tuple[object, ...]]]:
    return {table: sql(store, f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4") for table in DERIVED}


def long_result(path: str = "a.mp4", **options: Any) -> TrackingResult:
    return make_result(path, [(0, 0, 200), (1, 50, 300), (0, 210, 350)], frames=400, emotion_every=5, **options)


def test_what_identities_show_comes_with_their_tracks(store: Store) -> None:
    store.add_video(long_result())
    assert all(not found for found in derived(store).values())
    store.assign([(None, [1, 3]), (None, [2])])
    first, second = store.emotion_curves()
    assert (first.identity_id, second.identity_id, first.video_id) == (1, 2, 1)
    assert len(first) == len(store.tracks(1)[0][1].expressions) + len(store.tracks(1)[2][1].expressions)
    assert [(e.identity_id, e.label) for e in store.episodes()] == [
        (1, "happy"), (1, "sad"), (1, "happy"), (1, "sad"), (2, "happy"), (2, "sad")
    ]  # fmt: skip
    ada, bob = store.emotion_summaries()
    assert (ada.seconds, bob.seconds) == pytest.approx((340 / 25, 250 / 25))
    assert ada.transitions[3, 4] == 2
    assert ada.transitions[4, 3] == bob.transitions.sum() == 1
    assert ada.shares.sum() == pytest.approx(1)


def test_what_is_read_is_what_follows_from_the_tracks(store: Store) -> None:
    store.add_video(long_result())
    store.assign([(None, [1, 3]), (None, [2])])
    for identity_id in (1, 2):
        wanted = expected(store, 1, identity_id)
        (curve,), (found,) = store.emotion_curves(identity_id), store.emotion_summaries(identity_id, 1)
        for name in ("times", "emotions", "valence", "arousal"):
            np.testing.assert_array_equal(getattr(curve, name), getattr(wanted.curve, name))
        assert tuple(store.episodes(identity_id)) == wanted.episodes
        np.testing.assert_array_equal(found.shares, wanted.summary.shares)
        np.testing.assert_array_equal(found.transitions, wanted.summary.transitions)
        assert (found.mean_valence, found.mean_arousal) == (wanted.summary.mean_valence, wanted.summary.mean_arousal)


def expected(store: Store, video_id: int, identity_id: int) -> EmotionTimeline:
    times, parts = store.timestamps(video_id), []
    for record, track in store.tracks(video_id):
        if record.identity_id == identity_id:
            shown = track.expressions
            rows = np.column_stack([shown.emotions, shown.valence, shown.arousal])
            parts.append((times[shown.frames], [record.end] * len(shown), [record.size] * len(shown), rows))
    samples = Samples(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return emotion_timeline(samples, identity_id=identity_id, video_id=video_id)


def test_emotions_are_asked_for_by_person_and_video(store: Store) -> None:
    store.add_video(long_result("a.mp4"))
    store.add_video(long_result("b.mp4"))
    store.assign([(None, [1, 3, 4]), (None, [2, 5])])
    for ask in (store.emotion_curves, store.episodes, store.emotion_summaries):
        pairs = {(found.video_id, found.identity_id) for found in ask()}
        assert pairs == {(1, 1), (1, 2), (2, 1), (2, 2)}
        assert {(found.video_id, found.identity_id) for found in ask(2)} == {(1, 2), (2, 2)}
        assert {(found.video_id, found.identity_id) for found in ask(video_id=2)} == {(2, 1), (2, 2)}
        assert {(found.video_id, found.identity_id) for found in ask(1, 2)} == {(2, 1)}
        assert ask(9) == []


def test_assigning_again_gives_what_a_fresh_start_gives(store: Store, tmp_path: Path) -> None:
    store.add_video(long_result())
    store.assign([(None, [1]), (None, [2, 3])])
    store.assign([(1, [1, 2, 3]), (2, [])])
    assert {summary.identity_id for summary in store.emotion_summaries()} == {1}
    store.assign([(1, [1, 3]), (2, [2])])
    with Store(tmp_path / "fresh.db") as fresh:
        fresh.add_video(long_result())
        fresh.assign([(None, [1, 3]), (None, [2])])
        assert derived(fresh) == derived(store)
    before = derived(store)
    store.refresh_emotions()
    assert derived(store) == before


def test_only_what_changed_is_made_anew(store: Store) -> None:
    store.add_video(long_result("a.mp4"))
    store.add_video(long_result("b.mp4"))
    store.assign([(None, [1, 3, 4]), (None, [2])])
    written: list[str] = []
    event.listen(store._engine, "before_cursor_execute", lambda *arguments: written.append(arguments[2]))
    store.assign([(1, [1, 3, 4]), (2, [2])])
    assert not any("emotion_" in statement for statement in written)
    store.assign([(1, [1, 3, 4]), (2, [2, 5])])
    assert sum(statement.startswith("INSERT INTO emotion_curves") for statement in written) == 1


def test_a_failed_assignment_leaves_the_emotions(store: Store) -> None:
    store.add_video(long_result())
    store.assign([(None, [1, 3]), (None, [2])])
    before = derived(store)

    def fail(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("INSERT INTO emotion_episodes "):
            raise RuntimeError("in the middle")

    event.listen(store._engine, "after_cursor_execute", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        store.assign([(1, [1, 2, 3])])
    event.remove(store._engine, "after_cursor_execute", fail)
    assert derived(store) == before
    assert [record.identity_id for record in store.track_records()] == [1, 2, 1]


def test_emotions_go_with_their_video_and_their_person(store: Store) -> None:
    store.add_video(long_result("a.mp4"))
    store.add_video(long_result("b.mp4"))
    store.assign([(None, [1, 3, 4, 6]), (None, [2, 5])])
    store.rename(1, "Ada")
    store.remove_video(1)
    assert {(e.video_id, e.identity_id) for e in store.episodes()} == {(2, 1), (2, 2)}
    store.forget(1)
    pairs = {(row[0], row[1]) for found in derived(store).values() for row in found}
    assert pairs == {(2, 2)}
    assert sql(store, "SELECT DISTINCT track_id FROM expressions") == [(5,)]
    store.add_video(long_result("b.mp4", settings={"detect_every": 7}), replace=True)
    assert {(row[0], row[1]) for found in derived(store).values() for row in found} == {(3, 2)}
    assert_sound(store)


def test_an_image_has_a_curve_of_one_point(store: Store) -> None:
    store.add_video(make_result("a.jpg", [(0, 0, 1)], frames=1, emotion_every=1, is_image=True))
    store.assign([(None, [1])])
    (curve,), (found,) = store.emotion_curves(), store.emotion_summaries()
    assert (len(curve), store.episodes()) == (1, [])
    assert found.shares.max() == 1


def test_a_face_that_never_answers_has_a_summary_of_nothing(store: Store) -> None:
    result = make_result(spans=[(0, 0, 50)], emotion_every=5)
    nothing = Expressions.unanswered(result.tracks[0].expressions.frames, Reason.TURNED)
    store.add_video(replace(result, tracks=(replace(result.tracks[0], expressions=nothing),)))
    store.assign([(None, [1])])
    (curve,), (found,) = store.emotion_curves(), store.emotion_summaries()
    assert np.isnan(curve.emotions).all()
    assert found.seconds == found.shares.sum() == 0
    assert np.isnan([found.mean_valence, found.mean_arousal]).all()
    assert store.episodes() == []


# ---- names


def test_a_person_is_found_by_id_label_and_name(store: Store) -> None:
    store.add_video(make_result())
    store.assign([(None, [1]), (None, [2])])
    store.rename(2, " Ada Lovelace ")
    for text in ("2", "Person 2", "person 2", "Ada Lovelace", "ada lovelace "):
        assert store.resolve_person(text) == Identity(2, "Ada Lovelace")
    with pytest.raises(FacetrackError, match=r"'Bob' names no person.*Person 1, Ada Lovelace"):
        store.resolve_person("Bob")
    store.rename(2, None)
    assert store.resolve_person("2").label == "Person 2"


@pytest.mark.parametrize("name", ["", "  ", "7", "Person 9", "person  1", "Unknown"])
def test_a_name_that_reads_like_an_id_is_refused(store: Store, name: str) -> None:
    store.add_video(make_result())
    store.assign([(None, [1])])
    with pytest.raises(FacetrackError, match="cannot name a person"):
        store.rename(1, name)


def test_a_name_is_given_once(store: Store) -> None:
    store.add_video(make_result())
    store.assign([(None, [1]), (None, [2])])
    store.rename(1, "Ada")
    store.rename(1, "ADA")
    with pytest.raises(FacetrackError, match="Person 1 is called 'ADA' already"):
        store.rename(2, "ada")
    with pytest.raises(FacetrackError, match="no person 5"):
        store.rename(5, "Bob")


def test_a_video_is_found_by_path_id_and_file_name(store: Store) -> None:
    store.add_video(make_result("films/a.mp4"))
    store.add_video(make_result("films/b.mp4"))
    store.add_video(make_result("more/b.mp4"))
    for which in ("films/a.mp4", "./films/a.mp4", "a.mp4", "1", str(Path("films/a.mp4").absolute())):
        assert store.resolve_video(which).video_id == 1
    assert store.video(Path("more/b.mp4")).video_id == store.video(3).video_id == 3
    for unclear in ("b.mp4", "c.mp4", "9"):
        with pytest.raises(FacetrackError, match=r"names no video .*, or several; it has: 1 \(films/a.mp4\)"):
            store.resolve_video(unclear)


@pytest.mark.parametrize("ask", ["video", "remove_video", "timestamps", "shots", "thumbnail", "forget"])
def test_what_is_not_there_is_told(store: Store, ask: str) -> None:
    with pytest.raises(FacetrackError):
        getattr(store, ask)(5)


# ---- removing and forgetting


def bytes_on_disk(store: Store) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(store.path.parent.iterdir()))


def test_removing_a_video_leaves_no_orphan(store: Store) -> None:
    store.add_video(make_result("a.mp4"))
    store.add_video(make_result("b.mp4"))
    before = store.embeddings_revision
    store.remove_video(1)
    assert counts(store) == {
        "videos": 1, "tracks": 3, "track_arrays": 3, "thumbnails": 3, "embeddings": 6, "expressions": 0, "identities": 0
    }  # fmt: skip
    assert store.embeddings_revision != before
    assert_sound(store)


def test_a_forgotten_person_is_gone_to_the_last_byte(store: Store) -> None:
    result = make_result("a.mp4", [(0, 0, 20), (1, 5, 30), (0, 35, 50)], dimension=128)
    store.add_video(result)
    store.add_video(make_result("b.mp4", [(2, 0, 9)], dimension=128))
    store.assign([(None, [1, 3]), (None, [2])])
    store.rename(1, "Somebody Unmistakable")
    load_or_rebuild(store)
    faces = [result.tracks[n].keyframes.embeddings[k].tobytes() for n in (0, 2) for k in (0, 1)]
    secrets = [*faces, store.thumbnail(1)[100:], b"Somebody Unmistakable"]
    assert all(secret in bytes_on_disk(store) for secret in secrets)
    store.forget(1)
    assert not any(secret in bytes_on_disk(store) for secret in secrets)
    assert result.tracks[1].keyframes.embeddings[0].tobytes() in bytes_on_disk(store)
    assert [record.key for record in store.track_records()] == [2, 4]
    assert store.identities(include_empty=True) == [Identity(2)]
    assert len(load_or_rebuild(store)) == len(store.embeddings()) == 4
    assert_sound(store)


def test_all_embeddings_can_be_replaced(store: Store) -> None:
    store.add_video(make_result("a.mp4"))
    store.assign([(None, [1, 3]), (None, [2])])
    old = store.embeddings_revision
    one = Keyframes([3], [0.25], person_vector(0, 8)[None])  # type: ignore[arg-type]
    store.replace_embeddings("other", [(1, one)])
    rows = store.embeddings()
    assert (store.embedder_id, rows.model_id, rows.track_keys.tolist()) == ("other", "other", [1])
    assert rows.vectors.tobytes() == one.embeddings.tobytes()
    assert [record.quality for record in store.track_records()] == [0.25, 0, 0]
    assert [record.identity_id for record in store.track_records()] == [1, 2, 1]
    assert store.embeddings_revision != old
    with pytest.raises(FacetrackError, match="no tracks"):
        store.replace_embeddings("third", [(99, one)])
    assert store.embedder_id == "other"


# ---- values


def test_values_are_kept_as_json(store: Store) -> None:
    store.set_meta("calibration", {"a": [1.5, -0.25]})
    store.set_meta("nothing", None)
    assert store.get_meta("calibration") == {"a": [1.5, -0.25]}
    assert store.get_meta("nothing", 3) is None
    assert store.get_meta("never", 3) == 3
    store.set_meta("calibration", 7)
    assert store.get_meta("calibration") == 7
    assert sql(store, "SELECT value FROM meta WHERE key = 'calibration'") == [("7",)]
    with pytest.raises(ValueError, match="kept by the database"):
        store.set_meta("embeddings_revision", "x")


def test_the_revision_changes_with_the_embeddings_alone(store: Store) -> None:
    start = store.embeddings_revision
    store.set_meta("a", 1)
    assert store.embeddings_revision == start
    store.add_video(make_result("a.mp4"))
    added = store.embeddings_revision
    store.assign([(None, [1])])
    store.rename(1, "Ada")
    assert store.embeddings_revision == added != start
    store.remove_video(1)
    assert store.embeddings_revision not in (start, added)


# ---- others at the same file


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.db")
    store.close()
    store.close()
    with pytest.raises(FacetrackError, match="was closed"):
        store.videos()


def test_two_stores_see_what_the_other_writes(store: Store) -> None:
    with Store(store.path) as other:
        other.add_video(make_result("a.mp4"))
        assert len(store.videos()) == 1
        store.assign([(None, [1])])
        assert other.identities() == [Identity(1)]


def test_reading_goes_on_while_another_writes(store: Store) -> None:
    store.add_video(make_result("a.mp4"))
    with Store(store.path) as other, other._write() as session:
        session.connection().exec_driver_sql("DELETE FROM videos")
        assert len(store.videos()) == 1
        assert len(store.embeddings()) == 6


def test_a_reader_sees_one_state_while_another_writes(store: Store) -> None:
    store.add_video(make_result("a.mp4"))
    with Store(store.path) as other, store._read() as session:
        before = session.connection().exec_driver_sql("SELECT COUNT(*) FROM videos").scalar()
        other.add_video(make_result("b.mp4"))
        after = session.connection().exec_driver_sql("SELECT COUNT(*) FROM videos").scalar()
    assert before == after == 1
    assert len(store.videos()) == 2


def test_a_writer_waits_for_another_one(store: Store) -> None:
    with Store(store.path) as other:
        with other._write():
            waiting = threading.Thread(target=store.set_meta, args=("key", 1))
            waiting.start()
            waiting.join(0.3)
            assert waiting.is_alive()
        waiting.join(60)
    assert store.get_meta("key") == 1


def test_threads_share_a_store(store: Store) -> None:
    several = [threading.Thread(target=store.add_video, args=(make_result(f"{n}.mp4"),)) for n in range(6)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join(60)
    assert counts(store)["tracks"] == 18
    assert_sound(store)


ADD_FIVE = """
import sys
import tempfile
from fakes import make_result
from indexing.store import Store
with Store(sys.argv[1]) as store:
    for number in range(5):
        store.add_video(make_result(f"{sys.argv[2]} {number}.mp4"))
"""


def test_another_process_writes_while_this_one_reads_and_writes(store: Store) -> None:
    others = [run_beside(store, ADD_FIVE, name) for name in "ab"]
    for number in range(5):
        store.add_video(make_result(f"here {number}.mp4"))
        assert len(store.embeddings()) % 6 == 0
    assert [process.wait(120) for process in others] == [0, 0]
    assert counts(store)["embeddings"] == 15 * 6
    assert_sound(store)


# ---- several things in one transaction


def test_a_transaction_is_seen_by_others_when_it_is_done(store: Store) -> None:
    with Store(store.path) as other:
        with store.transaction():
            store.add_video(make_result())
            (new,) = store.assign([(None, [1, 3])])
            store.rename(new, "Ada")
            assert [one.name for one in store.identities()] == ["Ada"]
            assert (other.videos(), other.identities(include_empty=True)) == ([], [])
        assert [one.name for one in other.identities()] == ["Ada"]
    assert_sound(store)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_transaction_that_fails_leaves_nothing(store: Store, error: type[BaseException]) -> None:
    store.add_video(make_result("a.mp4"))
    before = counts(store)

    def fail() -> None:
        with store.transaction():
            store.set_meta("key", 1)
            store.add_video(make_result("b.mp4", emotion_every=5))
            store.assign([(None, [1, 3])])
            raise error("in the middle")

    with pytest.raises(error, match="in the middle"):
        fail()
    assert (counts(store), store.get_meta("key"), store.identities()) == (before, None, [])
    assert store.add_video(make_result("b.mp4")) == 2


def test_what_fails_in_a_transaction_fails_by_itself(store: Store) -> None:
    store.add_video(make_result())
    with store.transaction():
        (ada, bob) = store.assign([(None, [1, 3]), (None, [2])])
        store.rename(ada, "Ada")
        with pytest.raises(FacetrackError, match="called 'Ada' already"):
            store.rename(bob, "Ada")
        with suppress(RuntimeError), store.transaction():
            store.forget(bob)
            raise RuntimeError
        store.rename(bob, "Bob")
    assert [one.name for one in store.identities()] == ["Ada", "Bob"]
    assert [entry.name for entry in store.log()] == ["Ada", "Bob"]


def test_what_is_erased_in_a_transaction_is_gone_when_it_is_done(store: Store) -> None:
    store.add_video(make_result(embedder_id="unmistakable-embedder"))
    load_or_rebuild(store)
    with store.transaction():
        store.remove_video(1)
        assert store.index_path.exists()
    assert not store.index_path.exists()
    assert b"unmistakable" not in b"".join(path.read_bytes() for path in store.path.parent.glob("*.db*"))


def test_a_transaction_is_of_one_thread(store: Store) -> None:
    store.add_video(make_result())
    with store.transaction():
        store.set_meta("key", "unseen")
        seen = list[object]()
        reader = threading.Thread(target=lambda: seen.append(store.get_meta("key")))
        reader.start()
        reader.join(60)
        writer = threading.Thread(target=store.set_meta, args=("other", 1))
        writer.start()
        writer.join(0.3)
        assert (seen, writer.is_alive()) == ([None], True)
    writer.join(60)
    assert (store.get_meta("key"), store.get_meta("other")) == ("unseen", 1)


# ---- any order of adding, removing, assigning and forgetting


class StoreMachine(RuleBasedStateMachine):
    """Compares the store with a plain dictionary of what it has to hold."""

    videos_there: Bundle[int] = Bundle("videos_there")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(Path(self.folder.name) / "a.db")
        self.owner: dict[int, int | None] = {}
        self.videos: dict[int, list[int]] = {}
        self.retired: set[int] = set()
        self.added = 0

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(target=videos_there, people=st.lists(st.integers(0, 3), max_size=4))
    def add(self, people: list[int]) -> int:
        self.added += 1
        spans = [(person, 2 * n, 2 * n + 5) for n, person in enumerate(people)]
        video_id = self.store.add_video(make_result(f"{self.added}.mp4", spans, emotion_every=1))
        self.videos[video_id] = [record.key for record in self.store.track_records(video_id)]
        assert not set(self.videos[video_id]) & set(self.owner)
        self.owner.update(dict.fromkeys(self.videos[video_id]))
        return video_id

    @rule(video_id=consumes(videos_there))
    def remove(self, video_id: int) -> None:
        self.store.remove_video(video_id)
        for key in self.videos.pop(video_id):
            self.owner.pop(key, None)

    @rule(data=st.data())
    def assign(self, data: st.DataObject) -> None:
        known = [identity.identity_id for identity in self.store.identities(include_empty=True)]
        chosen = data.draw(st.lists(st.sampled_from(known), unique=True, max_size=2)) if known else []
        places = [*chosen, "new", "unknown"]
        drawn = {key: data.draw(st.sampled_from(places)) for key in self.owner}
        members = {place: [key for key, at in drawn.items() if at == place] for place in places}
        groups: list[tuple[int | None, list[int]]] = [(identity, members[identity]) for identity in chosen]
        ids = self.store.assign(groups + ([(None, members["new"])] if members["new"] else []))
        assert ids[: len(chosen)] == chosen
        assert not set(ids[len(chosen) :]) & (self.retired | set(known))
        self.owner = {key: None if at == "unknown" else ids[places.index(at)] for key, at in drawn.items()}

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        known = [identity.identity_id for identity in self.store.identities(include_empty=True)]
        if known:
            person = data.draw(st.sampled_from(known))
            self.store.forget(person)
            self.retired.add(person)
            self.owner = {key: owner for key, owner in self.owner.items() if owner != person}

    @invariant()
    def holds_what_it_should(self) -> None:
        assert_sound(self.store)
        assert {record.key: record.identity_id for record in self.store.track_records()} == self.owner
        held = counts(self.store)
        assert held["videos"] == len(self.videos)
        assert held["tracks"] == held["track_arrays"] == held["thumbnails"] == len(self.owner)
        assert held["embeddings"] == 2 * len(self.owner)
        assert held["expressions"] == 5 * len(self.owner)
        assert {i.identity_id for i in self.store.identities()} == set(self.owner.values()) - {None}

    @invariant()
    def emotions_follow_from_the_tracks(self) -> None:
        pairs = {(r.video_id, r.identity_id) for r in self.store.track_records() if r.identity_id is not None}
        assert {(curve.video_id, curve.identity_id) for curve in self.store.emotion_curves()} == pairs
        for curve in self.store.emotion_curves():
            wanted = expected(self.store, curve.video_id, curve.identity_id)
            np.testing.assert_array_equal(curve.emotions, wanted.curve.emotions)
        assert len(self.store.emotion_summaries()) == len(pairs)


TestStoreInAnyOrder = StoreMachine.TestCase
TestStoreInAnyOrder.settings = bounded(10, 12)
