"""From a video to people with the real models: what is promised of the whole."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from skimage import data

from indexing import Store, process, reembed
from tracker import boxes as geometry
from tracker import models, track_faces, weights
from tracker.errors import FacetrackError
from tracker.models.dlib_onnx import DlibEmbedder
from tracker.models.onnx import CenterFace
from tracker.types import TrackingResult
from tracker.video import read_image

FRAMES = 24


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people side by side who drift to the right."""
    path = tmp_path_factory.mktemp("clip") / "two.mp4"
    hopper = read_image(Path(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    scene = np.zeros((400, 1100, 3), np.uint8)
    scene[:, 20:420] = data.astronaut()[:400, 60:460, ::-1]
    scene[:, 560:1060] = hopper[:400, :500]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 1000, 400, "yuv420p", Fraction(1, 25)
        for k in range(FRAMES):
            picture = np.ascontiguousarray(scene[:, 2 * k : 2 * k + 1000])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def assert_equal(a: TrackingResult, b: TrackingResult) -> None:
    assert len(a.tracks) == len(b.tracks) == 2
    for one, other in zip(a.tracks, b.tracks, strict=True):
        np.testing.assert_array_equal(one.sources, other.sources)
        np.testing.assert_array_equal(one.keyframes.frames, other.keyframes.frames)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)
        np.testing.assert_allclose(one.keyframes.embeddings, other.keyframes.embeddings, atol=1e-4)


def test_two_people_are_two_whole_tracks(clip: Path) -> None:
    seen: list[int] = []
    result = track_faces(clip, advance=seen.append)
    assert (sum(seen), result.frame_count, result.shots.tolist()) == (FRAMES, FRAMES, [0])
    assert [(t.first_frame, t.end_frame) for t in result.tracks] == [(0, FRAMES)] * 2
    assert result.statistics.face_frames / result.statistics.embeddings >= 10


def test_threads_and_repetition_change_nothing(clip: Path) -> None:
    path = weights.find("centerface")
    alone = CenterFace(path, threads=2)
    alone.concurrent = False  # type: ignore[misc]
    first = track_faces(clip, detector=CenterFace(path))
    assert_equal(first, track_faces(clip, detector=alone))
    assert_equal(first, track_faces(clip, detector=CenterFace(path)))


def test_flow_carries_between_detections(clip: Path) -> None:
    every, fourth = track_faces(clip), track_faces(clip, detect_every=4)
    assert fourth.statistics.detector_runs == FRAMES // 4
    for a, b in zip(every.tracks, fourth.tracks, strict=True):
        last = 4 * ((FRAMES - 1) // 4)
        overlaps = np.diag(geometry.iou(a.boxes[:last], b.boxes[:last]))
        assert overlaps.min() > 0.8


def test_the_same_file_again_does_nothing(clip: Path, tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        assert [o.status for o in process([clip], store)] == ["added"]
        people = store.people()
        assert [o.status for o in process([clip, tmp_path / "missing.mp4"], store)] == ["unchanged", "failed"]
        assert store.people() == people
        assert len(people) == 2


def test_another_embedder_is_refused_until_all_is_embedded_anew(clip: Path, tmp_path: Path) -> None:
    other = DlibEmbedder(weights.find("dlib"), views=1)
    with Store(tmp_path / "a.db") as store:
        process([clip], store)
        before = {record.key: record.identity_id for record in store.track_records()}
        with pytest.raises(FacetrackError, match="facetrack reembed"):
            process([clip], store, embedder=other)
        reembed(store, embedder=other)
        assert store.embedder_id == other.model_id
        assert {record.key: record.identity_id for record in store.track_records()} == before
        assert len(store.embeddings()) > 0
        assert models.load("embedder", other) is other


def test_no_track_crosses_a_dissolve(tmp_path: Path) -> None:
    hopper = read_image(Path(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    a = np.ascontiguousarray(data.astronaut()[:400, 60:460, ::-1])
    b = np.ascontiguousarray(hopper[40:440, 50:450])
    shares = [0.0] * 30 + [(k + 1) / 13 for k in range(12)] + [1.0] * 30
    path = tmp_path / "dissolve.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 400, 400, "yuv420p", Fraction(1, 25)
        for share in shares:
            picture = np.round(a * (1 - share) + b * share).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    result = track_faces(path)
    first, second = result.shots.tolist()
    assert (first, abs(second - 36) <= 3) == (0, True)
    assert [track.shot for track in result.tracks] == [0, 1]
    assert result.tracks[0].end_frame <= second <= result.tracks[1].first_frame
    assert all(track.thumbnail.size and len(track.expressions) for track in result.tracks)
    assert float(result.tracks[0].keyframes.embeddings[0] @ result.tracks[1].keyframes.embeddings[0]) < 0.9
