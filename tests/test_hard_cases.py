"""The cases that go wrong elsewhere, with the default models on real pixels."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from skimage import data

from indexing import Store, process
from tracker.types import Image
from tracker.video import read_image

FRAMES = 16
WIDTH, HEIGHT = 1000, 400

Clip = Callable[..., Path]


@pytest.fixture(scope="module")
def astronaut() -> Image:
    return np.ascontiguousarray(data.astronaut()[:400, 60:460, ::-1])


@pytest.fixture(scope="module")
def hopper() -> Image:
    return read_image(Path(get_sample_data("grace_hopper.jpg", asfileobj=False)))[:400, :500]


def write(path: Path, pictures: Iterable[Image], *, bitrate: int = 2_000_000) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.time_base = WIDTH, HEIGHT, "yuv420p", Fraction(1, 25)
        stream.bit_rate = bitrate
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def scene(*placed: tuple[Image, int]) -> Image:
    """Return a dark picture with others in it, each at a left edge; the later ones cover the earlier ones."""
    picture = np.full((HEIGHT, WIDTH, 3), 24, np.uint8)
    for portrait, left in placed:
        begin, end = max(left, 0), min(left + portrait.shape[1], WIDTH)
        picture[:, begin:end] = portrait[:, begin - left : end - left]
    return picture


def added(tmp_path: Path, *paths: Path) -> Store:
    store = Store(tmp_path / "people.db")
    for path in paths:
        (outcome,) = process([path], store, emotion=None)
        assert outcome.status == "added", outcome.message
    return store


def whose(store: Store) -> list[list[int | None]]:
    """Return the identity of each track, by video and start."""
    return [[track.identity_id for track in store.track_records(video.video_id)] for video in store.videos()]


def test_one_person_alone_is_one_person(tmp_path: Path, astronaut: Image) -> None:
    clip = write(tmp_path / "alone.mp4", (scene((astronaut, 100 + 8 * k)) for k in range(FRAMES)))
    with added(tmp_path, clip) as store:
        assert len(store.people()) == 1
        assert whose(store) == [[1]]


def test_a_poster_behind_a_person_is_somebody_else(tmp_path: Path, astronaut: Image, hopper: Image) -> None:
    clip = write(tmp_path / "poster.mp4", (scene((hopper, 0), (astronaut, 520 + 3 * k)) for k in range(FRAMES)))
    with added(tmp_path, clip) as store:
        ways = {record.identity_id: float(np.ptp(track.boxes[:, 0])) for record, track in store.tracks(1)}
        still, moving = sorted(ways.values())
        assert still < 15 < 30 < moving


def test_a_poster_of_the_person_beside_it_is_not_that_person(tmp_path: Path, astronaut: Image) -> None:
    clip = write(tmp_path / "self.mp4", (scene((astronaut, 0), (astronaut, 450 + 5 * k)) for k in range(FRAMES)))
    with added(tmp_path, clip) as store:
        assert len(set(whose(store)[0])) == 2  # two faces in one frame, however alike


def test_the_same_video_under_another_name_adds_nobody(tmp_path: Path, astronaut: Image, hopper: Image) -> None:
    pictures = [scene((astronaut, 2 * k), (hopper, 450 + 2 * k)) for k in range(FRAMES)]
    first, copy = write(tmp_path / "a.mp4", pictures), write(tmp_path / "b.mp4", pictures, bitrate=700_000)
    assert first.read_bytes() != copy.read_bytes()
    with added(tmp_path, first, copy) as store:
        here, there = whose(store)
        assert here == there
        assert len(set(here)) == 2


def test_who_is_crossed_by_another_stays_the_same_person(tmp_path: Path, astronaut: Image, hopper: Image) -> None:
    small = cv2.resize(astronaut, (250, 250))
    walker = np.vstack([np.full((150, 250, 3), 24, np.uint8), small])
    left = [-200 + 70 * k for k in range(FRAMES)]
    clip = write(tmp_path / "crossing.mp4", (scene((hopper, 250), (walker, x)) for x in left))
    with added(tmp_path, clip) as store:
        tracks = store.tracks(1)
        hoppers = {r.identity_id for r, t in tracks if np.ptp(t.boxes[:, 0]) < 60 and r.identity_id is not None}
        walkers = {r.identity_id for r, t in tracks if np.ptp(t.boxes[:, 0]) >= 60 and r.identity_id is not None}
        assert len(hoppers) == len(walkers) == 1
        assert hoppers != walkers


def test_light_and_mirror_make_nobody_new(tmp_path: Path, astronaut: Image, hopper: Image) -> None:
    plain = [scene((astronaut, 2 * k), (hopper, 450 + 2 * k)) for k in range(FRAMES)]
    dark = [(0.4 * picture).astype(np.uint8) for picture in plain]
    with added(
        tmp_path,
        write(tmp_path / "plain.mp4", plain),
        write(tmp_path / "shots.mp4", [*plain, *dark]),
        write(tmp_path / "mirror.mp4", [picture[:, ::-1] for picture in plain]),
    ) as store:
        first, shots, mirror = whose(store)
        assert len(set(first)) == 2
        assert len(store.shots(2)) == 2
        assert shots == [*first, *first]
        assert mirror in (first, first[::-1])


def test_a_face_seen_half_a_second_is_found_again(tmp_path: Path, astronaut: Image, hopper: Image) -> None:
    short = [scene((hopper, 300 + k)) for k in range(12)]
    long = [scene((astronaut, 2 * k), (hopper, 450 + 2 * k)) for k in range(FRAMES)]
    with added(tmp_path, write(tmp_path / "short.mp4", short), write(tmp_path / "long.mp4", long)) as store:
        (seen,), both = whose(store)
        assert seen in both
        assert len(set(both)) == 2
