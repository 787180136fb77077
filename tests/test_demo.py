"""The demo clip: its truth is exact, its faces are found and told apart, and its score tells what went wrong."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from service_fixtures import Drawn

from indexing.demo import COLLINS, COLUMNS, HEIGHT, HOPPER, WIDTH, Truth, make_demo_clip, score, write_truth
from indexing.types import TrackRecord
from tracker import boxes as geometry
from tracker import models
from tracker.align import align
from tracker.errors import FacetrackError
from tracker.types import Detections, Image, Keyframes, Track
from tracker.video import open_video


@pytest.fixture(scope="module")
def clip(drawn: Drawn) -> tuple[Path, Truth]:
    return drawn.clip, drawn.truth


@pytest.fixture(scope="module")
def sampled(clip: tuple[Path, Truth]) -> dict[int, Image]:
    with open_video(clip[0]) as video:
        return {frame.index: frame.image for frame in video if frame.index % 15 == 0}


def test_clip_is_what_its_truth_says(clip: tuple[Path, Truth]) -> None:
    path, truth = clip
    with open_video(path) as video:
        times = [frame.timestamp for frame in video]
        assert (video.info.width, video.info.height) == (WIDTH, HEIGHT)
    assert len(times) == truth.frame_count
    assert times == pytest.approx(np.arange(len(times)) / 25)


def test_people_cross_leave_and_come_back(clip: tuple[Path, Truth]) -> None:
    _, truth = clip
    shot_of = np.searchsorted(truth.shots, truth.frames, side="right") - 1
    seen = {(person, int(shot)) for person, shot in zip(truth.people, shot_of, strict=True)}
    assert seen == {(COLLINS, 0), (HOPPER, 0), (HOPPER, 1), (COLLINS, 2), (HOPPER, 2)}
    assert truth.ignore.any()
    assert set(range(truth.frame_count)) - set(truth.frames.tolist())
    middle = truth.boxes[:, ::2].mean(axis=1)
    for shot in (0, 2):
        sides = _side(truth, middle, shot_of == shot)
        assert {1, -1} <= set(sides)


def _side(truth: Truth, middle: np.ndarray, rows: np.ndarray) -> list[int]:
    """Which of the two is on the left, frame by frame."""
    at = {(int(truth.frames[k]), truth.people[k]): middle[k] for k in np.flatnonzero(rows)}
    both = [frame for frame, person in at if person == COLLINS and (frame, HOPPER) in at]
    return [int(np.sign(at[frame, HOPPER] - at[frame, COLLINS])) for frame in both]


def test_boxes_lie_in_the_picture(clip: tuple[Path, Truth]) -> None:
    _, truth = clip
    low, high = truth.boxes[:, :2], truth.boxes[:, 2:]
    assert (low >= 0).all()
    assert (high <= [WIDTH, HEIGHT]).all()
    assert (high > low).all()
    sizes = geometry.sizes(truth.boxes)[~truth.ignore]
    assert sizes.max() > 1.8 * sizes.min()


def test_every_frame_is_told_while_it_is_made(drawn: Drawn) -> None:
    assert drawn.told == drawn.truth.frame_count


def test_truth_as_csv_tells_every_frame(clip: tuple[Path, Truth], tmp_path: Path) -> None:
    write_truth(clip[1], tmp_path / "truth.csv")
    with (tmp_path / "truth.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {int(row["frame"]) for row in rows} == set(range(clip[1].frame_count))
    told = [row for row in rows if row["person"]]
    assert len(told) == len(clip[1])
    assert [float(told[5][key]) for key in COLUMNS[2:6]] == pytest.approx(clip[1].boxes[5], abs=0.01)


def test_no_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(FacetrackError, match="does not exist"):
        make_demo_clip(tmp_path / "none" / "demo.mp4")


def test_default_models_find_and_separate_the_two(clip: tuple[Path, Truth], sampled: dict[int, Image]) -> None:
    _, truth = clip
    detector, embedder = models.load("detector", "centerface"), models.load("embedder", "dlib")
    crops, people = [], []
    for frame, image in sampled.items():
        rows = np.flatnonzero((truth.frames == frame) & ~truth.ignore)
        if not len(rows):
            continue
        found: Detections = detector.detect(image)
        overlaps = geometry.iou(truth.boxes[rows], found.boxes)
        assert (overlaps.max(axis=1, initial=0) > 0.5).all(), f"a face of frame {frame} is not found"
        crops += [align(image, found.landmarks[k], embedder.template) for k in overlaps.argmax(axis=1)]
        people += [truth.people[row] for row in rows]
    vectors = embedder.embed(crops)
    same = np.equal.outer(np.array(people), np.array(people))
    cosines = vectors @ vectors.T
    assert cosines[same].min() > cosines[~same].max()


def _tracks(truth: Truth, *, keep: float = 1.0) -> list[tuple[TrackRecord, Track]]:
    """Tracks that follow the truth: one for each unbroken run of a person in a shot."""
    found = []
    for person in (COLLINS, HOPPER):
        rows = np.flatnonzero([name == person for name in truth.people])
        shots = np.searchsorted(truth.shots, truth.frames[rows], side="right")
        breaks = np.flatnonzero((np.diff(truth.frames[rows]) > 1) | (np.diff(shots) > 0)) + 1
        for run in np.split(rows, breaks):
            run = run[: max(1, int(len(run) * keep))]
            found.append(_track(truth, run, len(found), 1 + (person == HOPPER)))
    return found


def _track(truth: Truth, rows: np.ndarray, number: int, identity_id: int) -> tuple[TrackRecord, Track]:
    first, count = int(truth.frames[rows[0]]), len(rows)
    track = Track(
        track_id=number,
        shot=0,
        first_frame=first,
        boxes=truth.boxes[rows],
        scores=np.ones(count),
        sources=np.zeros(count),
        landmarks=np.full((count, 5, 2), np.nan),
        keyframes=Keyframes(np.array([first]), np.ones(1), np.ones((1, 4)) / 2),
    )
    return TrackRecord(number, 1, number, 0, first, first + count, 0.0, 1.0, 1.0, 50.0, identity_id, 1.0), track


def test_the_truth_itself_scores_full(clip: tuple[Path, Truth]) -> None:
    result = score(clip[1], _tracks(clip[1]))
    assert (result.recall, result.precision, result.idf1) == (1.0, 1.0, 1.0)
    assert result.identity_switches == 0
    assert result.identities == {COLLINS: 1, HOPPER: 2}
    assert result.faces == (~clip[1].ignore).sum()


def test_half_of_the_frames_halve_the_recall(clip: tuple[Path, Truth]) -> None:
    result = score(clip[1], _tracks(clip[1], keep=0.5))
    assert 0.35 < result.recall < 0.65
    assert result.precision == 1.0
    assert result.idf1 == pytest.approx(2 * result.recall / (1 + result.recall))


def test_a_split_person_and_a_false_face_cost(clip: tuple[Path, Truth]) -> None:
    tracks = _tracks(clip[1])
    record, track = tracks[0]
    split = [(replace(record, identity_id=9), track), *tracks[1:]]
    result = score(clip[1], split)
    assert result.recall == 1.0
    assert result.idf1 < 0.9
    assert result.identity_switches == 1
    far = replace(track, boxes=np.full((len(track), 4), [0, 500, 20, 520]))
    assert score(clip[1], [*tracks, (record, far)]).precision == pytest.approx(
        result.faces / (result.faces + len(track))
    )


def test_a_track_that_breaks_is_a_switch(clip: tuple[Path, Truth]) -> None:
    tracks = _tracks(clip[1])
    alone = next(k for k, (_, track) in enumerate(tracks) if track.first_frame == clip[1].shots[1])
    record, track = tracks.pop(alone)
    rows = np.flatnonzero((clip[1].frames >= track.first_frame) & (clip[1].frames < track.end_frame))
    before = score(clip[1], [*tracks, (record, track)]).id_switches
    parts = [_track(clip[1], rows[:10], 50, 2), _track(clip[1], rows[10:], 51, 2)]
    assert score(clip[1], [*tracks, *parts]).id_switches == before + 1


def test_nothing_found_scores_nothing(clip: tuple[Path, Truth]) -> None:
    result = score(clip[1], [])
    assert (result.recall, result.precision, result.idf1, result.identities) == (0.0, 0.0, 0.0, {})
