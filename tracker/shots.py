"""Shot boundaries: hard cuts and fades through black, found in the one pass over the frames, three frames late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from tracker.types import Float32, Frame, Image

SMALL = (64, 36)
"""Width and height to which a picture is reduced to be compared."""

_SHIFT = (12, 7)
_CONTRAST = 64.0


def thumbprint(image: Image) -> Float32:
    """Return the ``(36, 64, 3)`` float32 picture that shots are told apart by."""
    return np.asarray(cv2.resize(image, SMALL, interpolation=cv2.INTER_AREA), np.float32)


def dissimilarity(a: Float32, b: Float32) -> float:
    """Return how unlike two pictures are, in [0, 2]: 0 for the same one, also if it has shifted or its light has changed.

    One minus the best normalised cross-correlation of the middle of one picture over shifts of the other (by up to a
    fifth of a side, so that a pan is no cut), weighed by contrast as in the structure term of SSIM (Wang et al., IEEE TIP
    2004), so that two flat pictures are alike and a flat one is unlike a rich one.

    Args:
        a: See `thumbprint`.
        b: See `thumbprint`.
    """
    dx, dy = _SHIFT
    middle = b[dy : SMALL[1] - dy, dx : SMALL[0] - dx]
    correlation = float(np.clip(cv2.matchTemplate(a, middle, cv2.TM_CCOEFF_NORMED).max(), -1, 1))
    if not np.isfinite(correlation):
        correlation = 0.0
    spread_a, spread_b = (float(np.mean((p - p.mean((0, 1))) ** 2)) for p in (a, b))
    return 1 - (2 * correlation * np.sqrt(spread_a * spread_b) + _CONTRAST) / (spread_a + spread_b + _CONTRAST)


@dataclass(frozen=True, slots=True)
class ShotOptions:
    """What is a cut.

    Attributes:
        threshold: Least `dissimilarity` of the frames on both sides.
        ratio: How many times it exceeds that of the frames around: a fast pan or a crowd differs all the time.
        flash: Frames after which a picture may come back as it was: a camera flash, not a cut.
        shortest: Frames of a shot at least.
        black: Mean brightness below which a frame is black.
    """

    threshold: float = 0.3
    ratio: float = 2.5
    flash: int = 3
    shortest: int = 6
    black: float = 6.0


class ShotDetector:
    """Tells, frame by frame, where a shot begins; holds back `ShotOptions.flash` frames to see what comes after.

    The idea of a threshold that adapts to the frames around is that of PySceneDetect's AdaptiveDetector. Slow dissolves
    and wipes are not found: tracks end in them by themselves.
    """

    def __init__(self, *, options: ShotOptions | None = None) -> None:
        self._options = options or ShotOptions()
        self._frames: list[Frame] = []
        self._prints: list[Float32] = []
        self._now = 0
        self._since = self._options.shortest
        self._begun = False

    def push(self, frame: Frame) -> Iterator[tuple[Frame, bool]]:
        """Take in the next frame; yield those that are decided, each with whether a shot begins with it."""
        self._frames.append(frame)
        self._prints.append(thumbprint(frame.image))
        while len(self._frames) - self._now > self._options.flash:
            yield self._decide()

    def flush(self) -> Iterator[tuple[Frame, bool]]:
        """Yield the frames that are left at the end of the video."""
        while self._now < len(self._frames):
            yield self._decide()

    def _decide(self) -> tuple[Frame, bool]:
        frame = self._frames[self._now]
        cut = not self._begun or (self._since >= self._options.shortest and self._is_cut())
        self._begun = True
        self._since = 1 if cut else self._since + 1
        self._now += 1
        behind = self._now - self._options.flash - 2
        if behind > 0:
            del self._frames[:behind], self._prints[:behind]
            self._now -= behind
        return frame, cut

    def _is_cut(self) -> bool:
        before, after = self._prints[: self._now], self._prints[self._now :]
        if self._is_black(before[-1]) and not self._is_black(after[0]):
            return True
        step = dissimilarity(before[-1], after[0])
        if step < self._options.threshold:
            return False
        around = max(_mean_step(before[-3:]), _mean_step(after[:3]))
        return step >= self._options.ratio * (0.02 + around) and not self._comes_back(before, after, step)

    def _comes_back(self, before: list[Float32], after: list[Float32], step: float) -> bool:
        """Return whether a frame soon after looks like the one before, or a frame soon before like the one after."""
        pairs = [(before[-1], p) for p in after[1:]] + [(p, after[0]) for p in before[:-1]]
        return any(dissimilarity(a, b) < step / 2 for a, b in pairs)

    def _is_black(self, small: Float32) -> bool:
        return float(small.mean()) < self._options.black


def _mean_step(prints: list[Float32]) -> float:
    steps = [dissimilarity(a, b) for a, b in zip(prints, prints[1:], strict=False)]
    return float(np.mean(steps)) if steps else 0.0
