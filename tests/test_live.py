"""Live streams with the real models: who is on screen is told at once, and kept."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from fakes import make_result
from streaming import HOPPER, RtspServer, Server, Sink, play, serving, two_people, write_clip
from typer.testing import CliRunner

from indexing import Store, gallery, live, live_view, reembed
from indexing.annotate import annotate
from indexing.cli import app
from indexing.live import Figures, Segment, follow
from indexing.onscreen import Event, Seen
from indexing.types import Identity
from tracker import boxes as geometry
from tracker import stream as streams
from tracker import track_faces
from tracker.embedding import Models, load_models
from tracker.errors import FacetrackError, MediaError
from tracker.live import Face, LiveTracker
from tracker.types import Detections
from tracker.video import open_video

ROOT = Path(__file__).parents[1]
ENOUGH = 90.0
"""Seconds within which a busy machine does anything that is asked of it here."""

ADA, GRACE = "Ada", "Grace"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("live") / "two.ts", two_people())


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models(emotion="emotion_cnn")


@pytest.fixture(scope="module")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database that knows both people from photographs."""
    folder = tmp_path_factory.mktemp("enrolled")
    cv2.imwrite(str(folder / "ada.png"), skimage.data.astronaut()[:300, 60:400, ::-1])
    with Store(folder / "facetrack.db") as store:
        gallery.enroll(store, ADA, [folder / "ada.png"])
        gallery.enroll(store, GRACE, [HOPPER])
    return folder / "facetrack.db"


@pytest.fixture
def db(enrolled: Path, tmp_path: Path) -> Path:
    """Return a copy of it to change."""
    shutil.copy(enrolled, tmp_path / "facetrack.db")
    return tmp_path / "facetrack.db"


class Watching:
    """A viewer that keeps what it is told, and acts as soon as it has seen enough."""

    def __init__(self, act: Callable[[Watching], None] | None = None) -> None:
        self.events: list[Event] = []
        self.segments: list[Segment] = []
        self.most: set[str] = set()
        self.seen: tuple[Seen, ...] = ()
        self.figures = Figures()
        self.stop = threading.Event()
        self._act, self._deadline = act, time.monotonic() + ENOUGH

    def start(self, name: str, began: datetime) -> None:
        self.name, self.began = name, began

    def tell(self, event: Event) -> None:
        self.events.append(event)

    def show(self, seen: Sequence[Seen], figures: Figures) -> None:
        self.seen, self.figures = tuple(seen), figures
        self.most |= {one.label for one in seen}
        if self._act is not None:
            self._act(self)
        if time.monotonic() > self._deadline:
            self.stop.set()

    def kept(self, segment: Segment) -> None:
        self.segments.append(segment)

    def end(self, figures: Figures) -> None:
        self.figures = figures

    def told(self, kind: str) -> list[str]:
        return [event.seen.label for event in self.events if event.kind == kind]


def until(condition: Callable[[Watching], bool]) -> Watching:
    """Return a viewer that stops when ``condition`` holds."""
    return Watching(lambda viewer: viewer.stop.set() if condition(viewer) else None)


# ---- the tracker, frame by frame


def pushed(models: Models, clip: Path, *, every: int = 1) -> tuple[LiveTracker, list[list[Face]]]:
    with open_video(clip) as video:
        info = video.info
        tracker = LiveTracker(models, width=info.width, height=info.height, fps=info.fps)
        seen = [tracker.push(frame.image, 7 + frame.timestamp) for frame in video if frame.index % every == 0]
    return tracker, seen


def test_frame_by_frame_the_tracks_are_those_of_the_file(clip: Path, models: Models) -> None:
    whole = track_faces(clip)
    tracker, seen = pushed(models, clip)
    with tracker:
        result = tracker.finish(Path("door", "now"), "0" * 64)
    assert (result.frame_count, result.shots.tolist(), result.emotion_id) == (40, [0], whole.emotion_id)
    assert result.timestamps.tolist() == pytest.approx(whole.timestamps.tolist())
    assert (result.end, result.video.fps) == (pytest.approx(whole.end), pytest.approx(25))
    assert [(t.first_frame, t.end_frame) for t in result.tracks] == [(t.first_frame, t.end_frame) for t in whole.tracks]
    for mine, other in zip(result.tracks, whole.tracks, strict=True):
        assert np.diag(geometry.iou(mine.boxes, other.boxes)).min() > 0.8
        assert float(mine.keyframes.embeddings[0] @ other.keyframes.embeddings[0]) > 0.95
        assert len(mine.expressions) == len(other.expressions)
        assert mine.thumbnail.size
    assert [len(faces) for faces in seen[:2]] == [0, 0]
    assert all(len(faces) == 2 for faces in seen[2:])


def test_faces_are_known_by_their_vectors_before_a_keyframe_is_chosen(clip: Path, models: Models) -> None:
    tracker, seen = pushed(models, clip)
    with tracker:
        result = tracker.finish(Path("door", "now"), "0" * 64)
    faces = sorted(seen[4], key=lambda face: face.box[0])
    tracks = sorted(result.tracks, key=lambda track: track.boxes[0, 0])
    for face, track in zip(faces, tracks, strict=True):
        assert face.template is not None
        assert (face.since, face.follows) == (7.0, None)
        assert float(face.template @ track.keyframes.embeddings[0]) > 0.9
    assert any(face.emotions is not None and face.emotions.sum() == pytest.approx(1) for face in seen[-1])


def test_missing_frames_break_no_track(clip: Path, models: Models) -> None:
    tracker, _ = pushed(models, clip, every=4)
    assert tracker.fps < 15
    with tracker:
        result = tracker.finish(Path("door", "now"), "0" * 64)
    assert [(t.first_frame, t.end_frame) for t in result.tracks] == [(0, 10)] * 2
    assert result.timestamps.tolist() == pytest.approx((np.arange(10) * 0.16).tolist())


def test_a_cut_ends_the_tracks(clip: Path, models: Models) -> None:
    tracker, _ = pushed(models, clip, every=4)
    with tracker, open_video(clip) as video:
        for frame in video:
            if frame.index < 20:
                tracker.push(frame.image[:, ::-1].copy(), 10 + frame.timestamp, cut=frame.index == 0)
        result = tracker.finish(Path("door", "now"), "0" * 64)
    assert result.shots.tolist() == [0, 10]
    assert [(t.shot, t.first_frame, t.end_frame) for t in result.tracks] == [(0, 0, 10)] * 2 + [(1, 10, 30)] * 2


def test_nothing_pushed_is_nothing_to_finish(models: Models) -> None:
    with LiveTracker(models, width=64, height=64) as tracker, pytest.raises(ValueError, match="no frame"):
        tracker.finish(Path("door", "now"), "0" * 64)


# ---- a session


def test_a_camera_is_watched_over_a_broken_connection(
    clip: Path, db: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(streams, "BACKOFF", (0.05, 0.2))

    def act(viewer: Watching) -> None:
        both = {ADA, GRACE} <= {seen.label for seen in viewer.seen if seen.emotion}
        if both and not dropped:
            dropped.append(True)
            server.drop()
        if both and viewer.figures.reconnects:
            viewer.stop.set()

    dropped: list[bool] = []
    viewer = Watching(act)
    with serving(RtspServer(clip)) as server, Store(db) as store:
        address = server.address.replace("://", "://admin:secret@") + "/door?pin=secret"
        figures = follow(address, store, viewer=viewer, stop=viewer.stop)
        videos, people = store.videos(), {person.identity.label: person for person in store.people()}
        curves = store.emotion_curves()
        settings = json.dumps([video.settings for video in videos])
        pieces = [store.tracks(video.video_id) for video in videos]
    assert viewer.most >= {ADA, GRACE}
    assert sorted(viewer.told("enter"))[:2] == [ADA, ADA]
    assert viewer.told("enter").count(GRACE) == viewer.told("leave").count(GRACE) == 2
    assert (figures.reconnects, figures.segments) == (1, len(viewer.segments))
    assert [segment.video_id for segment in viewer.segments] == [video.video_id for video in videos]
    assert [(people[name].videos, people[name].appearances > 1) for name in (ADA, GRACE)] == [(2, True)] * 2
    assert {(curve.video_id, curve.identity_id) for curve in curves} >= {
        (video.video_id, people[ADA].identity.identity_id) for video in videos
    }
    assert all(len(track.keyframes) and len(track.expressions) for piece in pieces for _, track in piece)
    for video, segment in zip(videos, viewer.segments, strict=True):
        assert video.path.parent == Path(server.address + "/door")
        assert video.started_at == segment.started_at
        assert timedelta(0) <= segment.started_at - viewer.began < timedelta(seconds=ENOUGH)
    assert len({video.info.content_hash for video in videos}) == 2
    assert "secret" not in settings + str([video.path for video in videos]) + caplog.text


def test_a_long_shot_is_kept_in_pieces_and_nobody_leaves(clip: Path, db: Path) -> None:
    viewer = until(lambda viewer: len(viewer.segments) >= 3)
    with serving(Server(clip)) as server, Store(db) as store:
        follow(server.address, store, viewer=viewer, stop=viewer.stop, segment=2.0, name="front door", emotion=None)
        videos = store.videos()
        seen = store.appearances(store.resolve_person(ADA).identity_id)
    assert sorted(viewer.told("enter")) == sorted(viewer.told("leave")) == [ADA, GRACE]
    assert len(videos) >= 3
    assert {video.path.parent for video in videos} == {Path("front door")}
    assert {appearance.video_id for appearance in seen} == {video.video_id for video in videos}
    assert all(video.emotion_id is None for video in videos)
    starts = [video.started_at for video in videos if video.started_at]
    ends = [start + timedelta(seconds=video.end) for start, video in zip(starts, videos, strict=True)]
    gaps = [(start - end).total_seconds() for start, end in zip(starts[1:], ends, strict=False)]
    assert all(abs(gap) < 2 for gap in gaps)


class SlowDetector:
    """Finds nothing, and takes its time."""

    model_id = "slow"

    def detect(self, image: np.ndarray) -> Detections:
        time.sleep(0.3)
        return Detections.empty()


def test_one_who_is_slow_drops_frames_and_falls_not_behind(clip: Path, tmp_path: Path) -> None:
    viewer = until(lambda viewer: viewer.figures.frames >= 12)
    with serving(Server(clip)) as server, Store(tmp_path / "a.db") as store:
        figures = follow(server.address, store, viewer=viewer, stop=viewer.stop, detector=SlowDetector(), emotion=None)
        assert store.videos() == []
    # In 12 times 0.3 s come 90 pictures; in a queue, the twelfth would be 3 s old.
    assert figures.dropped > 3 * figures.frames
    assert viewer.figures.latency < 2.0
    assert 0 < figures.median <= figures.p95
    assert figures.segments == 0


def test_what_was_seen_is_kept_when_the_camera_is_gone(clip: Path, db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BACKOFF", (0.05, 0.1))
    with serving(Server(clip)) as server, Store(db) as store:
        viewer = Watching(lambda viewer: server.close() if {ADA, GRACE} <= viewer.most else None)
        with pytest.raises(MediaError, match="given up after 1"):
            follow(server.address, store, viewer=viewer, emotion=None, max_reconnects=1)
        assert [person.identity.label for person in store.people() if person.appearances] == [ADA, GRACE]
    assert viewer.figures.segments == 1
    assert sorted(viewer.told("leave")) == [ADA, GRACE]


def test_names_given_elsewhere_meanwhile_are_told(clip: Path, db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "REFRESH", 0.2)

    def act(viewer: Watching) -> None:
        if "Countess" in viewer.most:
            viewer.stop.set()
        elif ADA in {seen.label for seen in viewer.seen} and "Countess" not in known:
            known.append("Countess")
            with Store(db) as other:
                gallery.name(other, ADA, "Countess")

    known: list[str] = []
    viewer = Watching(act)
    with serving(Server(clip)) as server, Store(db) as store:
        follow(server.address, store, viewer=viewer, stop=viewer.stop, emotion=None)
    assert "Countess" in viewer.told("name")


def test_a_store_of_another_embedder_is_refused(clip: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        store.add_video(make_result())
        with pytest.raises(FacetrackError, match="fake-embedder"):
            follow(str(clip), store)


def test_a_piece_has_no_pictures_to_come_back_to(tmp_path: Path) -> None:
    told = {"source": "door", "started_at": "2026-11-25T07:08:09+00:00", "session": "0", "piece": 0}
    with Store(tmp_path / "a.db") as store:
        store.add_video(make_result("door/2026-11-25T07-08-09-000Z", settings={"live": told}))
        store.add_video(make_result("clip.mp4"))
        piece, video = store.videos()
        assert (piece.live, piece.started_at) == (True, datetime(2026, 11, 25, 7, 8, 9, tzinfo=UTC))
        assert (video.live, video.started_at) == (False, None)
        with pytest.raises(FacetrackError, match="live stream"):
            annotate(store, piece, tmp_path / "out.mp4")
        with pytest.raises(FacetrackError, match="live stream"):
            reembed(store, embedder="dlib")
        assert store.resolve_video("2026-11-25T07-08-09-000Z") == piece


# ---- the command


def in_a_process(*arguments: str | Path, stdin: int | None = None) -> subprocess.Popen[str]:
    code = "import sys; from indexing.cli import main; sys.argv[0] = 'facetrack'; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_what_runs_is_kept(clip: Path, db: Path, number: signal.Signals) -> None:
    process = in_a_process("live", "-", "--db", db, "--json", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    stop, pipe = threading.Event(), process.stdin.buffer.raw  # type: ignore[attr-defined]

    feeding = {"target": play, "args": (clip, Sink(pipe.write), "mpegts", stop)}
    threading.Thread(**feeding, daemon=True).start()  # type: ignore[arg-type]
    lines = []
    for line in process.stdout:
        lines.append(json.loads(line))
        if {ADA, GRACE} <= {one.get("person") for one in lines}:
            process.send_signal(number)
            break
    rest, errors = process.communicate(timeout=ENOUGH)
    stop.set()
    lines += map(json.loads, rest.splitlines())
    assert process.returncode == 0, errors
    assert lines[0] == {"event": "start", "at": lines[0]["at"], "source": "stdin"}
    entered = next(one for one in lines if one.get("person") == ADA)
    assert entered["event"] == "enter"
    assert entered["confidence"] > 0.9
    assert len(entered["box"]) == 4
    assert datetime.fromisoformat(entered["since"]) <= datetime.fromisoformat(entered["at"])
    [kept] = [one for one in lines if one["event"] == "kept"]
    assert (kept["tracks"] >= 2, lines[-1]["event"], lines[-1]["segments"]) == (True, "end", 1)
    with Store(db) as store:
        assert [str(video.path) for video in store.videos()] == [kept["path"]]
        assert {person.identity.label for person in store.people() if person.appearances} == {ADA, GRACE}


def test_a_file_is_played_to_its_end_in_lines(clip: Path, db: Path) -> None:
    result = CliRunner().invoke(app, ["live", str(clip), "--db", str(db), "--emotion", "none"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].endswith(f"watching {clip}")
    assert "frames looked at" in lines[-3]
    assert "95 % within" in lines[-2]
    assert lines[-1].partition(" ")[2].startswith("kept: ")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["gopher://a/b"], "cannot be opened"),
        (["tcp://127.0.0.1:1"], "Connection refused"),
        (["rtsp://a/b", "--option", "nonsense"], "KEY=VALUE"),
        (["rtsp://a/b", "--segment", "0"], "segment"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(arguments: list[str], reason: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["live", *arguments, "--db", str(tmp_path / "a.db")])
    assert result.exit_code in (1, 2)
    assert reason in result.output


def seen(label: str | None, **changes: object) -> Seen:
    identity = None if label is None else Identity(4, label)
    values = {"face": 2, "confidence": 0.97, "since": 1.0, "until": 3.5, "box": (1.0, 2.0, 3.0, 4.0)}
    return Seen(identity=identity, emotion="happy", intensity=0.8, **{**values, **changes})  # type: ignore[arg-type]


def test_the_table_shows_who_is_there_and_how_it_goes() -> None:
    from rich.console import Console

    view = live_view.TableView()
    view.name, view.began = "rtsp://camera/door", datetime(2026, 11, 25, 7, 0, tzinfo=UTC).astimezone()
    figures = Figures(seconds=9.0, frames=80, dropped=12, fps=8.25, latency=0.21, median=0.2, p95=0.4)
    console = Console(width=100, color_system=None)
    with console.capture() as capture:
        console.print(view._table([seen("Ada\x1b[31m"), seen(None)], figures))
    shown = capture.get()
    for text in ("rtsp://camera/door", "Ada", "Unknown 2", "97%", "happy 80%", "8.2 frames/s", "0.21 s", "12 dropped"):
        assert text in shown
    assert f"{view.moment(1.0):%H:%M:%S}" in shown
    assert "\x1b" not in shown
    with console.capture() as capture:
        console.print(view._table([], Figures(connected=False)))
    assert "no connection" in capture.get()


def test_lines_tell_what_happens(capsys: pytest.CaptureFixture[str]) -> None:
    view = live_view.choose(as_json=False)
    view.start("door", datetime(2026, 11, 25, 7, 0, tzinfo=UTC))
    for kind in ("enter", "name", "emotion", "leave"):
        view.tell(Event(kind, 3.5, seen("Ada")))  # type: ignore[arg-type]
    said = [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "watching door",
        "enters   Ada (97%)",
        "is       Ada (97%), face 2",
        "emotion  Ada: happy 80%",
        "leaves   Ada, seen for 0:02.5",
    ]
