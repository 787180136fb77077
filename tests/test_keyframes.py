"""Which frames of a track are embedded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from tracker.keyframes import PATCH_SIDE, Candidate, KeyframeOptions, KeyframeSelector, View, cut_patch, view
from tracker.types import Float32, Image

BOX = np.array([170, 60, 290, 210], np.float32)
FRONT = np.array([[200, 110], [260, 110], [230, 140], [208, 170], [252, 170]], np.float32)
TURNED = FRONT + np.array([[0, 0], [0, 0], [28, 0], [10, 0], [0, 0]], np.float32)


@pytest.fixture(scope="module")
def portrait() -> Image:
    return np.ascontiguousarray(data.astronaut()[:, :, ::-1])


def select(images: list[Image], landmarks: list[Float32], *, scores: list[float] | None = None) -> list[Candidate]:
    selector = KeyframeSelector(KeyframeOptions(), fps=25)
    chosen = []
    for k, image in enumerate(images):
        chosen += selector.offer(image, k, BOX, landmarks[k], scores[k] if scores else 0.9)
    return chosen + selector.flush()


def test_every_track_has_a_keyframe_however_short(portrait: Image) -> None:
    assert [c.frame for c in select([portrait], [FRONT])] == [0]


def test_the_sharpest_of_a_stretch_is_taken(portrait: Image) -> None:
    import cv2

    blurred = np.asarray(cv2.GaussianBlur(portrait, (0, 0), 4), np.uint8)
    images = [blurred] * 20
    images[7] = portrait
    assert [c.frame for c in select(images, [FRONT] * 20)] == [7]


def test_a_better_score_wins_and_a_later_equal_one_does_not(portrait: Image) -> None:
    scores = [0.6, 0.9, 0.9, 0.7]
    assert [c.frame for c in select([portrait] * 4, [FRONT] * 4, scores=scores)] == [1]


def test_another_view_is_embedded_too(portrait: Image) -> None:
    landmarks = [FRONT] * 25 + [TURNED] * 15
    assert [view(landmarks[c.frame]) for c in select([portrait] * 40, landmarks)] == [View.FRONT, View.RIGHT]


def test_no_landmarks_count_as_frontal() -> None:
    assert view(np.full((5, 2), np.nan, np.float32)) is View.FRONT
    assert view(TURNED) is View.RIGHT
    assert view(TURNED[[1, 0, 2, 4, 3]] * [-1, 1]) is View.LEFT


@given(st.lists(st.sampled_from([0, 1]), min_size=1, max_size=400))
def test_at_most_one_keyframe_in_fifteen_frames_but_one_at_least(poses: list[int]) -> None:
    flat = np.full((240, 320, 3), 127, np.uint8)
    chosen = select([flat] * len(poses), [(FRONT, TURNED)[pose] for pose in poses])
    assert 1 <= len(chosen) <= max(1, round(len(poses) / 15) + 1)
    frames = [c.frame for c in chosen]
    assert frames == sorted(set(frames))


def test_their_number_grows_ever_slower() -> None:
    flat = np.full((240, 320, 3), 127, np.uint8)
    chosen = np.array([c.frame for c in select([flat] * 4800, [FRONT] * 4800)])
    # What is chosen of the first frames does not depend on those that come.
    counts = [int((chosen < n).sum()) for n in (600, 1200, 2400, 4800)]
    assert counts[0] == pytest.approx(12, abs=1)
    assert len(select([flat] * 600, [FRONT] * 600)) == counts[0]
    assert counts[3] - counts[2] < counts[2]
    assert counts[3] < 40


def test_a_patch_keeps_the_face_where_its_box_says(portrait: Image) -> None:
    candidate = cut_patch(portrait, 3, BOX, FRONT, 0.5)
    x1, y1, x2, y2 = np.round(candidate.box).astype(int)
    np.testing.assert_array_equal(candidate.patch[y1:y2, x1:x2], portrait[60:210, 170:290])
    np.testing.assert_allclose(candidate.landmarks - candidate.box[:2], FRONT - BOX[:2])


def test_a_patch_of_a_huge_face_is_reduced_and_one_at_the_border_is_cut() -> None:
    huge = np.zeros((4000, 4000, 3), np.uint8)
    box = np.array([-200, 500, 2000, 3500], np.float32)
    candidate = cut_patch(huge, 0, box, np.full((5, 2), np.nan, np.float32), 0.5)
    assert max(candidate.patch.shape[:2]) == PATCH_SIDE
    assert np.isfinite(candidate.landmarks).all()
