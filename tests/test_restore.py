"""Blurred faces are sharpened, and sharp ones are left as they are."""

import cv2
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data

from tracker import align
from tracker.embedding import Models, embed, load_models
from tracker.keyframes import Candidate, cut_patch
from tracker.restore import SHARP, sharpened

HOPPER = cv2.imread(str(get_sample_data("grace_hopper.jpg", asfileobj=False)))
BOX = np.float32([165, 60, 345, 290])


def face(blur: float) -> Candidate:
    picture = cv2.GaussianBlur(HOPPER, (0, 0), blur) if blur else HOPPER
    return cut_patch(np.asarray(picture, np.uint8), 0, BOX, np.full((5, 2), np.nan, np.float32), 1.0)


def sharpness(one: Candidate) -> float:
    x1, y1, x2, y2 = one.box.round().astype(int)
    return align.sharpness(one.patch[y1:y2, x1:x2])


def test_a_sharp_face_is_left_alone() -> None:
    assert sharpness(face(0)) >= SHARP
    assert sharpened(face(0)) is None


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


@pytest.mark.parametrize("blur", [4.0, 6.0, 8.0])
def test_a_blurred_face_comes_nearer_to_the_sharp_one(models: Models, blur: float) -> None:
    blurred = face(blur)
    restored = sharpened(blurred)
    assert restored is not None
    assert sharpness(blurred) < sharpness(restored)
    assert (restored.box == blurred.box).all()
    assert (restored.landmarks == blurred.landmarks).all()
    sharp, before, after = (view.embedding for view in embed(models, [face(0), blurred, restored]))
    assert sharp @ after > sharp @ before


def test_a_box_without_pixels_is_left_alone() -> None:
    empty = Candidate(0, 1.0, np.zeros((4, 4, 3), np.uint8), np.float32([2, 2, 2, 2]), np.zeros((5, 2), np.float32))
    assert sharpened(empty) is None
