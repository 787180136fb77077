"""Shot boundaries on pictures whose cuts are known."""

from collections.abc import Callable, Sequence

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


def boundaries(images: Sequence[Image]) -> tuple[list[int], list[int]]:
    """Return the hard cuts and the middles of gradual transitions."""
    detector = ShotDetector()
    decided = list(mark_shots((Frame(index, index / 25, image) for index, image in enumerate(images)), detector))
    assert [frame.index for frame, _ in decided] == list(range(len(images)))
    return [frame.index for frame, cut in decided if cut], list(detector.transitions)


def cuts(images: Sequence[Image]) -> list[int]:
    """Return the hard cuts of pictures without a gradual transition."""
    hard, gradual = boundaries(images)
    assert gradual == []
    return hard


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
    found, _ = boundaries([a] * 10 + images + [b] * 10)
    assert any(24 <= k <= 30 for k in found)


def dissolve(a: Image, b: Image, share: float) -> Image:
    return np.asarray(cv2.addWeighted(a, 1 - share, b, share, 0), np.uint8)


def wipe(a: Image, b: Image, share: float) -> Image:
    return np.hstack([b[:, : round(share * SIZE[0])], a[:, round(share * SIZE[0]) :]])


def iris(a: Image, b: Image, share: float) -> Image:
    y, x = np.indices(a.shape[:2]) - np.array(a.shape[:2]).reshape(2, 1, 1) / 2
    return np.where((np.hypot(x, y) <= share * np.hypot(*a.shape[:2]) / 2)[..., None], b, a)


@pytest.mark.parametrize("length", [8, 16, 30])
@pytest.mark.parametrize("kind", [dissolve, wipe, iris])
def test_a_gradual_transition_is_found_in_its_middle(
    portraits: tuple[Image, Image], kind: Callable[[Image, Image, float], Image], length: int
) -> None:
    a, b = (crop(p, 0, 0.05, 1) for p in portraits)
    between = [kind(a, b, (k + 1) / (length + 1)) for k in range(length)]
    hard, gradual = boundaries(noisy(a, 50) + between + noisy(b, 50, seed=1))
    assert hard == [0]
    assert len(gradual) == 1
    assert abs(gradual[0] - (50 + length / 2)) <= 3 + length / 6


def test_transitions_before_and_after_a_cut(portraits: tuple[Image, Image]) -> None:
    a, b = (crop(p, 0, 0.05, 1) for p in portraits)
    there = [dissolve(a, b, (k + 1) / 11) for k in range(10)]
    images = noisy(a, 40) + there + noisy(b, 40, seed=1)
    hard, gradual = boundaries(images + images)
    assert hard == [0, 90]
    assert len(gradual) == 2
    assert gradual[1] - gradual[0] == 90
