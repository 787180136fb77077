"""Shot boundaries on pictures whose cuts are known."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from skimage import data

from tracker.shots import ShotDetector, mark_shots
from tracker.types import Frame, Image

SIZE = (320, 180)


def crop(image: Image, x: float, y: float, width: float) -> Image:
    """Return a 16:9 part of a picture, all measures as shares of its width."""
    side = image.shape[1]
    x1, y1, w = round(x * side), round(y * side), round(width * side)
    return np.asarray(cv2.resize(image[y1 : y1 + w * 9 // 16, x1 : x1 + w], SIZE), np.uint8)


@pytest.fixture(scope="module")
def portraits() -> tuple[Image, Image]:
    hopper = np.asarray(cv2.imread(get_sample_data("grace_hopper.jpg", asfileobj=False)), np.uint8)
    return np.ascontiguousarray(data.astronaut()[:, :, ::-1]), hopper


def noisy(image: Image, count: int, *, seed: int = 0) -> list[Image]:
    rng = np.random.default_rng(seed)
    return [np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8) for _ in range(count)]


def cuts(images: Sequence[Image]) -> list[int]:
    decided = list(mark_shots(Frame(index, index / 25, image) for index, image in enumerate(images)))
    assert [frame.index for frame, _ in decided] == list(range(len(images)))
    return [frame.index for frame, cut in decided if cut]


def test_every_cut_is_found_at_its_frame(portraits: tuple[Image, Image]) -> None:
    a, b = (crop(p, 0, 0.05, 1) for p in portraits)
    images = [frame for k, p in enumerate((a, b, a, b, a)) for frame in noisy(p, 9, seed=k)]
    assert cuts(images) == [0, 9, 18, 27, 36]


def test_without_lookahead_the_answer_comes_at_once(portraits: tuple[Image, Image]) -> None:
    a, b = (crop(p, 0, 0.05, 1) for p in portraits)
    images = [frame for k, p in enumerate((a, b, a)) for frame in noisy(p, 9, seed=k)]
    detector = ShotDetector(lookahead=0)
    assert [k for k, image in enumerate(images) if detector.update(image)] == [0, 9, 18]
    assert detector.finish() == []


@pytest.mark.parametrize("light", [0.4, 0.15])
def test_a_cut_between_dark_pictures(portraits: tuple[Image, Image], light: float) -> None:
    a, b = ((crop(p, 0, 0.05, 1) * light).astype(np.uint8) for p in portraits)
    assert cuts(noisy(a, 15) + noisy(b, 15, seed=1)) == [0, 15]


def test_one_picture_and_few_frames() -> None:
    grey = np.full((90, 160, 3), 127, np.uint8)
    assert cuts([]) == []
    assert cuts([grey]) == [0]
    assert cuts([grey] * 3) == [0]


@pytest.mark.parametrize("step", [0.004, 0.02])
def test_a_pan_is_no_cut(portraits: tuple[Image, Image], step: float) -> None:
    assert cuts([crop(portraits[0], k * step, 0.2, 0.4) for k in range(round(0.55 / step))]) == [0]


def test_a_zoom_is_no_cut(portraits: tuple[Image, Image]) -> None:
    assert cuts([crop(portraits[0], 0.02 * k, 0.01 * k, 1 - 0.04 * k) for k in range(18)]) == [0]


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("gain", [1.6, 3, 8])
def test_a_flash_is_no_cut(portraits: tuple[Image, Image], frames: int, gain: float) -> None:
    images = noisy(crop(portraits[0], 0, 0.05, 1), 40)
    for k in range(20, 20 + frames):
        images[k] = np.clip(images[k] * gain + 20 * gain, 0, 255).astype(np.uint8)
    assert cuts(images) == [0]


def test_a_light_that_goes_on_is_no_cut(portraits: tuple[Image, Image]) -> None:
    dim = crop(portraits[0], 0, 0.05, 1)
    assert cuts([dim] * 15 + [np.clip(dim.astype(int) + 50, 0, 255).astype(np.uint8)] * 15) == [0]


def test_a_shot_begins_after_black(portraits: tuple[Image, Image]) -> None:
    a, b = (crop(p, 0, 0.05, 1) for p in portraits)
    down, up = np.linspace(1, 0, 12), np.linspace(0, 1, 12)
    images = [(a * k).astype(np.uint8) for k in down] + [a * 0] * 4 + [(b * k).astype(np.uint8) for k in up]
    found = cuts([a] * 10 + images + [b] * 10)
    assert any(24 <= k <= 30 for k in found)
