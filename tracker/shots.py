"""Shot boundaries in one streaming pass, a few frames behind the decoder."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from tracker.headless import cv2
from tracker.types import Float32, Frame, Image

LOOKAHEAD = 3
"""Frames that have to be seen after a frame before it is known whether it starts a shot; flashes last no longer."""

MIN_SHOT = 6
"""Frames between two cuts at the least: a quarter of a second at 25 frames/s."""

_LONG_SIDE = 64
_SEARCH = 0.19
_BLANK_VARIANCE = 12.0
_NOISE_VARIANCE = 64.0


@dataclass(frozen=True, slots=True, eq=False)
class _Sketch:
    """A picture reduced to what shot boundaries need."""

    pixels: Float32
    variance: float

    @classmethod
    def of(cls, image: Image) -> _Sketch:
        height, width = image.shape[:2]
        scale = _LONG_SIDE / max(height, width)
        size = max(round(width * scale), 4), max(round(height * scale), 4)
        pixels = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
        _, deviation = cv2.meanStdDev(pixels)
        return cls(pixels, float(np.square(deviation).mean()))

    @property
    def blank(self) -> bool:
        return self.variance < _BLANK_VARIANCE


def _difference(a: _Sketch, b: _Sketch) -> float:
    """Return how little of ``b``'s middle is found anywhere near in ``a``: 0 the same, about 1 unrelated.

    It is one minus SSIM's contrast and structure term (Wang et al., 2004), so an even change of light counts nothing
    and noise in the dark little, at the best shift, so a pan counts nothing.
    """
    height, width = b.pixels.shape[:2]
    x, y = round(_SEARCH * width), round(_SEARCH * height)
    middle = b.pixels[y : height - y, x : width - x]
    correlation = float(cv2.matchTemplate(a.pixels, middle, cv2.TM_CCOEFF_NORMED).max())
    common = 2 * min(max(correlation, 0.0), 1.0) * math.sqrt(a.variance * b.variance)
    return 1 - (common + _NOISE_VARIANCE) / (a.variance + b.variance + _NOISE_VARIANCE)


class ShotDetector:
    """Finds hard cuts, and the first picture after a blank one, in frames that are handed over one by one.

    A frame starts a shot when it differs from the frame before it by `threshold`, and `ratio` times as much as the
    frames just before and just after do among themselves (the rolling ratio of PySceneDetect's adaptive detector),
    and when no frame shortly after it takes up the picture before it again, as after a camera flash. Answers come
    `LOOKAHEAD` frames late; `mark_shots` brings frames and answers together.

    Args:
        threshold: Least difference at a cut, in (0, 1).
        ratio: Least ratio to the differences around.
        lookahead: Frames that are waited for; 0: every answer comes at once, and a flash may start a shot.
    """

    def __init__(self, *, threshold: float = 0.3, ratio: float = 2.5, lookahead: int = LOOKAHEAD) -> None:
        self._threshold = threshold
        self._ratio = ratio
        self._lookahead = lookahead
        self._sketches: deque[_Sketch] = deque(maxlen=2 * LOOKAHEAD + 2)
        self._steps: deque[float] = deque(maxlen=2 * LOOKAHEAD + 2)
        self._ahead = 0
        self._since_cut = MIN_SHOT
        self._started = False

    def update(self, image: Image) -> bool | None:
        """Take the next frame; return whether the one ``lookahead`` frames ago starts a shot, None if there is none.

        Args:
            image: ``(H, W, 3)`` uint8 BGR, all of one size.
        """
        sketch = _Sketch.of(image)
        self._steps.append(_difference(self._sketches[-1], sketch) if self._sketches else 0.0)
        self._sketches.append(sketch)
        self._ahead += 1
        return self._decide() if self._ahead > self._lookahead else None

    def finish(self) -> list[bool]:
        """Return the answers for the last frames, of which no more follow; the next frame begins a new video."""
        answers = [self._decide() for _ in range(self._ahead)]
        self.__init__(threshold=self._threshold, ratio=self._ratio, lookahead=self._lookahead)  # type: ignore[misc]
        return answers

    def _decide(self) -> bool:
        position = len(self._sketches) - self._ahead
        self._ahead -= 1
        first = not self._started
        self._started = True
        cut = first or (self._since_cut >= MIN_SHOT and (self._is_cut(position) or self._leaves_blank(position)))
        self._since_cut = 1 if cut else self._since_cut + 1
        return cut

    def _is_cut(self, at: int) -> bool:
        step = self._steps[at]
        if step < self._threshold or step < self._ratio * self._motion(at):
            return False
        return self._lasts(at)

    def _motion(self, at: int) -> float:
        steps = list(self._steps)
        before, after = steps[max(at - 2, 0) : at], steps[at + 1 : at + 3]
        return max(float(np.mean(part)) if part else 0.0 for part in (before, after))

    def _lasts(self, at: int) -> bool:
        sketches = list(self._sketches)
        later = (_difference(sketches[at - 1], b) for b in sketches[at + 1 : at + 1 + LOOKAHEAD])
        earlier = (_difference(a, sketches[at]) for a in sketches[max(at - 1 - LOOKAHEAD, 0) : at - 1])
        return all(d >= self._threshold for part in (later, earlier) for d in part)

    def _leaves_blank(self, at: int) -> bool:
        sketches = list(self._sketches)
        before = sketches[max(at - LOOKAHEAD, 0) : at]
        return not sketches[at].blank and len(before) == LOOKAHEAD and all(s.blank for s in before)


def mark_shots(frames: Iterable[Frame], detector: ShotDetector | None = None) -> Iterator[tuple[Frame, bool]]:
    """Yield every frame with whether it starts a shot; the first does. Holds back `LOOKAHEAD` frames at the most.

    Example:
        >>> dark, light = np.zeros((36, 64, 3), np.uint8), np.indices((36, 64, 3)).sum(0).astype(np.uint8) * 9
        >>> frames = [Frame(i, i / 25, dark if i < 10 else light) for i in range(20)]
        >>> [frame.index for frame, starts in mark_shots(frames) if starts]
        [0, 10]
    """
    detector = detector or ShotDetector()
    waiting: deque[Frame] = deque()
    for frame in frames:
        waiting.append(frame)
        answer = detector.update(frame.image)
        if answer is not None:
            yield waiting.popleft(), answer
    for answer in detector.finish():
        yield waiting.popleft(), answer
