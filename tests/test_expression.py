"""Sampling of expressions, with the real models on real faces."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.cbook import get_sample_data
from skimage.data import astronaut

from tracker import models
from tracker.clock import Clock
from tracker.expression import ExpressionOptions, Sampler, Sighting
from tracker.options import options_for
from tracker.protocols import EmotionModel, LandmarkModel
from tracker.types import EMOTIONS, Expressions, Frame, Image, Reason

HAPPY = EMOTIONS.index("happy")


@pytest.fixture(scope="module")
def emotion() -> EmotionModel:
    return models.load("emotion", "emotion_cnn")


@pytest.fixture(scope="module")
def landmarks() -> LandmarkModel:
    return models.load("landmarks", "facemesh")


@pytest.fixture(scope="module")
def smiling() -> tuple[Image, Sighting]:
    """Eileen Collins, smiling, with her face as the detector finds it."""
    return _seen(np.ascontiguousarray(astronaut()[:, :, ::-1]))


def _seen(picture: Image) -> tuple[Image, Sighting]:
    found = models.load("detector", "centerface").detect(picture)
    return picture, Sighting(7, found.boxes[0], found.landmarks[0])


def _sampled(
    emotion: EmotionModel,
    landmarks: LandmarkModel,
    *shown: tuple[Image, Sighting],
    options: ExpressionOptions = ExpressionOptions(),  # noqa: B008 - frozen
) -> Expressions:
    with ThreadPoolExecutor(1) as pool:
        sampler = Sampler(emotion, landmarks, options=options, clock=Clock(), pool=pool)
        for index, (picture, sighting) in enumerate(shown):
            sampler.take(Frame(index, index / 25, picture), [sighting])
        sampler.flush()
        return sampler.release(7)


def test_a_smile_is_happy_and_frontal(
    emotion: EmotionModel, landmarks: LandmarkModel, smiling: tuple[Image, Sighting]
) -> None:
    seen = _sampled(emotion, landmarks, smiling)
    assert seen.emotions[0].argmax() == HAPPY
    assert seen.emotions[0].sum() == pytest.approx(1, abs=1e-5)
    assert seen.valence[0] > 0.3
    assert np.abs(seen.pose).max() < 0.5
    assert np.isfinite(seen.gaze).all()
    assert (seen.openness > 0).all()
    assert seen.reasons.tolist() == [Reason.NONE]


def test_the_batch_changes_nothing(
    emotion: EmotionModel, landmarks: LandmarkModel, smiling: tuple[Image, Sighting]
) -> None:
    hopper = _seen(cv2.imread(get_sample_data("grace_hopper.jpg", asfileobj=False)))
    together = _sampled(emotion, landmarks, *[smiling, hopper] * 20)
    assert together.frames.tolist() == list(range(40))
    for row, shown in enumerate((smiling, hopper)):
        alone = _sampled(emotion, landmarks, shown)
        np.testing.assert_allclose(together.emotions[row::2], alone.emotions.repeat(20, 0), atol=1e-4)


def test_no_guess_where_a_face_carries_none(
    emotion: EmotionModel, landmarks: LandmarkModel, smiling: tuple[Image, Sighting]
) -> None:
    picture, face = smiling
    small = cv2.resize(picture, None, fx=0.12, fy=0.12, interpolation=cv2.INTER_AREA)
    side = float(face.box[2] - face.box[0])
    soft = cv2.GaussianBlur(picture, (0, 0), side / 24)
    wall = replace(face, box=np.float32([5, 350, 95, 450]), landmarks=np.full((5, 2), np.nan, np.float32))
    shown = [
        (small, replace(face, box=face.box * 0.12, landmarks=face.landmarks * 0.12)),
        (soft, face),
        (np.full_like(picture, 90), wall),
    ]
    seen = _sampled(emotion, landmarks, *shown, options=ExpressionOptions(least_sharpness=0.45))
    assert seen.reasons.tolist() == [Reason.SMALL, Reason.BLURRED, Reason.UNCLEAR]
    assert np.isnan(seen.emotions).all()
    assert np.isnan(seen.valence).all()


def test_what_nobody_asks_for_is_forgotten(
    emotion: EmotionModel, landmarks: LandmarkModel, smiling: tuple[Image, Sighting]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        sampler = Sampler(emotion, landmarks, options=ExpressionOptions(), clock=Clock(), pool=pool)
        sampler.take(Frame(0, 0.0, smiling[0]), [smiling[1]])
        sampler.flush()
        assert len(sampler.release(1)) == 0
        sampler.forget()
        assert len(sampler.release(7)) == 0


@given(st.floats(0.5, 60), st.floats(1, 120), st.integers(1, 400))
def test_the_grid_gives_so_many_samples_a_second(wanted: float, fps: float, count: int) -> None:
    with ThreadPoolExecutor(1) as pool:
        sampler = Sampler(
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            options=ExpressionOptions(fps=wanted),
            clock=Clock(),
            pool=pool,
        )
        blank = np.zeros((1, 1, 3), np.uint8)
        due = sum(sampler.due(Frame(k, k / fps, blank)) for k in range(count))
    slots = count / fps * min(wanted, fps)
    assert slots - 1 <= due <= slots + 1


@pytest.mark.parametrize("fps", [0, -1, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_refused(fps: float) -> None:
    with pytest.raises(ValueError, match="emotion_fps"):
        options_for("balanced", emotion_fps=fps)
