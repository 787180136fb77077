"""The cases that go wrong elsewhere, with the default models on real pixels."""

import csv
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from skimage import data

from indexing import Store, gallery, process
from indexing.pipeline import recluster
from indexing.presence import most_at_once
from indexing.search import track_at
from tracker.types import Image
from tracker.video import open_video, read_image

DATA = Path(__file__).parents[2] / "shared" / "data"
CLIPS, LFW = DATA / "clips", DATA / "lfw"

FRAMES = 16
WIDTH, HEIGHT = 1000, 400

Clip = Callable[..., Path]


@pytest.fixture(scope="module")
def astronaut() -> Image:
    return np.ascontiguousarray(data.astronaut()[:400, 60:460, ::-1])


@pytest.fixture(scope="module")
def hopper() -> Image:
    return read_image(Path(get_sample_data("grace_hopper.jpg", asfileobj=False)))[:400, :500]


def write(
    path: Path, pictures: Iterable[Image], *, bitrate: int = 2_000_000, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.pix_fmt, stream.time_base, stream.bit_rate = "yuv420p", Fraction(1, 25), bitrate
        stream.width, stream.height = size
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


def test_two_shots_of_different_light_are_of_the_same_people(tmp_path: Path, astronaut: Image, hopper: Image) -> None:
    plain = [scene((astronaut, 2 * k), (hopper, 450 + 2 * k)) for k in range(FRAMES)]
    warm = np.float32([0.25, 0.4, 0.65]) * np.linspace(1.3, 0.5, WIDTH, dtype=np.float32)[:, None]
    other = [scene((hopper, 2 * k), (astronaut, 550 + 2 * k)) for k in range(FRAMES)]
    evening = [(warm * picture).astype(np.uint8) for picture in other]
    with added(tmp_path, write(tmp_path / "shots.mp4", [*plain, *evening])) as store:
        assert len(store.shots(1)) == 2
        tracks = sorted(store.tracks(1), key=lambda pair: (pair[0].shot, float(pair[1].boxes[0, 0])))
        left, right, *evening_left_right = [record.identity_id for record, _ in tracks]
        assert left != right
        assert evening_left_right == [right, left]


def test_a_mirrored_video_shows_the_same_people(tmp_path: Path, astronaut: Image, hopper: Image) -> None:
    plain = [scene((astronaut, 2 * k), (hopper, 450 + 2 * k)) for k in range(FRAMES)]
    mirrored = [picture[:, ::-1] for picture in plain]
    clips = write(tmp_path / "plain.mp4", plain), write(tmp_path / "mirrored.mp4", mirrored)
    with added(tmp_path, *clips) as store:
        first, other = map(set, whose(store))
        assert len(first) == 2
        assert other == first


def test_a_mirror_beside_a_person_is_somebody_else_until_somebody_says_so(tmp_path: Path, astronaut: Image) -> None:
    mirror = [scene((astronaut[:, ::-1], 40 - k), (astronaut, 500 + k)) for k in range(FRAMES)]
    alone = [scene((astronaut, 300 + 4 * k)) for k in range(FRAMES)]
    clips = write(tmp_path / "mirror.mp4", mirror), write(tmp_path / "alone.mp4", alone)
    with added(tmp_path, *clips) as store:
        pair, (seen,) = whose(store)
        assert len(set(pair)) == 2
        assert seen in pair
        gallery.merge(store, *pair, force=True)
        recluster(store)
        assert {who for video in whose(store) for who in video} == {min(pair)}


def test_two_people_in_the_same_pose_stay_two(tmp_path: Path, astronaut: Image, hopper: Image) -> None:
    """Each portrait and its mirror image are turned to two sides: who shares a side is no one person."""
    stills = []
    for name, portrait in (("eileen", astronaut), ("grace", hopper)):
        for side, picture in (("left", portrait), ("right", portrait[:, ::-1])):
            stills.append(tmp_path / f"{name}-{side}.png")
            cv2.imwrite(str(stills[-1]), picture)
    with added(tmp_path, *stills) as store:
        left, right, other_left, other_right = (video[0] for video in whose(store))
        assert left == right != other_left == other_right


def test_a_crowd_is_as_many_people_as_faces(tmp_path: Path, astronaut: Image, hopper: Image) -> None:
    faces = [cv2.resize(portrait, (200, 200)) for portrait in (astronaut, hopper)]
    faces += [(0.6 * face[:, ::-1]).astype(np.uint8) for face in faces]
    rows = [np.hstack([faces[(column + 2 * row) % 4] for column in range(5)]) for row in range(2)]
    crowd = np.vstack(rows)
    clip = write(tmp_path / "crowd.mp4", (np.roll(crowd, k, axis=1) for k in range(FRAMES)))
    with added(tmp_path, clip) as store:
        (seen,) = whose(store)
        assert len(seen) == len(set(seen)) == 10
        most = most_at_once(store)
        assert most is not None
        assert most.count == 10


def test_a_face_seen_half_a_second_is_found_again(tmp_path: Path, astronaut: Image, hopper: Image) -> None:
    short = [scene((hopper, 300 + k)) for k in range(12)]
    long = [scene((astronaut, 2 * k), (hopper, 450 + 2 * k)) for k in range(FRAMES)]
    with added(tmp_path, write(tmp_path / "short.mp4", short), write(tmp_path / "long.mp4", long)) as store:
        (seen,), both = whose(store)
        assert seen in both
        assert len(set(both)) == 2


# ---- other people's pixels, where they are at hand


@pytest.mark.skipif(not (CLIPS / "talk.mp4").exists(), reason="the clip of two men who turn from profile is not here")
def test_who_turns_from_profile_stays_the_same_person(tmp_path: Path) -> None:
    """The beginnings of three shots; in the first and the second one of the men is seen from the side."""
    with open_video(CLIPS / "talk.mp4") as video:
        pictures = {frame.index: frame.image for frame in video if frame.index % 80 < 40 and frame.index < 200}
    clip = write(tmp_path / "talk.mp4", pictures.values(), bitrate=4_000_000, size=(708, 480))
    with added(tmp_path, clip) as store, (CLIPS.parent / "truth" / "talk.csv").open() as truth:
        assert len(store.shots(1)) == 3
        people = [
            (row["person"], identity_at(store, row, list(pictures).index(int(row["frame"]))))
            for row in csv.DictReader(truth)
            if row["person"] in ("man_green_shirt", "man_black_tshirt") and int(row["frame"]) in pictures
        ]
    assert len(people) > 20
    assert len(set(people)) == len({identity for _, identity in people}) == 2


def identity_at(store: Store, row: dict[str, str], frame: int) -> int | None:
    """Return whose face is at the middle of a labelled box."""
    x, y = ((float(row[f"{side}1"]) + float(row[f"{side}2"])) / 2 for side in "xy")
    return track_at(store, 1, float(store.timestamps(1)[frame]), x, y).identity_id


@pytest.mark.skipif(not LFW.exists(), reason="the photographs of Labeled Faces in the Wild are not here")
def test_a_crowd_is_recognised_in_another_order(tmp_path: Path) -> None:
    people = [folder for folder in sorted(LFW.iterdir()) if len(list(folder.iterdir())) > 1][:20]
    seats = np.random.default_rng(0)
    seen: list[dict[int, int | None]] = []
    stills, orders = [tmp_path / "now.png", tmp_path / "then.png"], [seats.permutation(20) for _ in range(2)]
    for number, (still, order) in enumerate(zip(stills, orders, strict=True)):
        photographs = [read_image(sorted(people[who].iterdir())[number]) for who in order]
        cv2.imwrite(str(still), np.vstack([np.hstack(photographs[row : row + 5]) for row in range(0, 20, 5)]))
    with added(tmp_path, *stills) as store:
        for number, order in enumerate(orders, 1):
            middles = [(125 + 250 * (seat % 5), 125 + 250 * (seat // 5)) for seat in range(20)]
            tracks = [track_at(store, number, 0, *middle) for middle in middles]
            seen.append({int(who): track.identity_id for who, track in zip(order, tracks, strict=True)})
    now, then = seen
    assert len(set(now.values())) == len(set(then.values())) == 20
    assert sum(now[who] == then[who] for who in range(20)) >= 18
    assert not any(now[who] == then[other] for who in range(20) for other in range(20) if who != other)
