"""What the tracked faces show: samples on a time grid of their own, and no answer where a face does not carry one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from tracker import align, headpose
from tracker import boxes as geometry
from tracker.affect import expectation
from tracker.clock import Clock
from tracker.protocols import EmotionModel, LandmarkModel
from tracker.types import Expressions, Float32, Frame, Image, Reason

BATCH = 32
"""Crops classified at a time."""

MOST_PENDING = 4
"""Pictures that may wait for their landmarks."""


@dataclass(frozen=True, slots=True)
class ExpressionOptions:
    """When a face is sampled, and which faces get an answer.

    The limits are where the accuracy of our network on PublicTest of FER-2013 falls to nine tenths (60 to 54 %; see
    ``benchmarks/results/emotion-degradation.png``), for the size well before, and for the yaw where the test has hardly
    a face beyond.

    Attributes:
        fps: Samples a second of video; None: each frame.
        smallest: Side of a face in pixels (root of its box's area) from which its emotion is told.
        least_sharpness: `tracker.align.sharpness` of the crop from which it is.
        widest_yaw: Yaw in radians up to which it is.
    """

    fps: float | None = 5.0
    smallest: float = 20.0
    least_sharpness: float = 0.12
    widest_yaw: float = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    key: int
    frame: int
    reason: Reason
    crop: Image | None
    pose: Float32
    gaze: Float32
    openness: Float32


@dataclass(frozen=True, slots=True, eq=False)
class Sighting:
    """A face to sample.

    Attributes:
        key: Whose sample it will be.
        box: ``(4,)`` float32 xyxy in the picture.
        landmarks: ``(5, 2)`` float32, NaN where there are none.
    """

    key: int
    box: Float32
    landmarks: Float32


class Sampler:
    """Samples the faces of one video; landmarks are found in a thread of its own, crops classified in batches."""

    def __init__(
        self,
        model: EmotionModel,
        landmarks: LandmarkModel,
        *,
        options: ExpressionOptions,
        clock: Clock,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._model, self._landmarks, self._options, self._clock, self._pool = model, landmarks, options, clock, pool
        self.affect_derived = True
        self._last_slot = -1
        self._pending: list[Future[list[_Sample]]] = []
        self._waiting: list[_Sample] = []
        self._done: dict[int, list[Expressions]] = defaultdict(list)

    def due(self, frame: Frame) -> bool:
        """Return whether a new slot of the time grid begins with a frame."""
        if self._options.fps is None or not math.isfinite(frame.timestamp):
            return True
        slot = math.floor(frame.timestamp * self._options.fps + 1e-6)
        due, self._last_slot = slot != self._last_slot, slot
        return due

    def take(self, frame: Frame, sightings: Sequence[Sighting]) -> None:
        """Sample the faces of a frame."""
        if not sightings:
            return
        self._pending.append(self._pool.submit(self._look, frame, sightings))
        if len(self._pending) > MOST_PENDING:
            self._collect(self._pending.pop(0))

    def collect(self) -> None:
        """Classify what is ready without waiting for the rest: for those who look on."""
        while self._pending and self._pending[0].done():
            self._waiting += self._pending.pop(0).result()
        self._classify()

    def since(self, key: int, frame: int) -> Expressions:
        """Return the finished samples of ``key`` from a frame on; they are kept."""
        parts = self._done.get(key, [])
        recent = list(takewhile(lambda part: part.frames[-1] >= frame, reversed(parts)))
        samples = Expressions.concatenate(recent)
        return samples[samples.frames >= frame]

    def release(self, key: int) -> Expressions:
        """Return the finished samples of ``key``, which are forgotten; `flush` finishes all."""
        return Expressions.concatenate(self._done.pop(key, []))

    def flush(self) -> None:
        """Finish what is under way."""
        while self._pending:
            self._collect(self._pending.pop(0))
        self._classify()

    def forget(self) -> None:
        """Drop the samples that nobody asked for: those of faces that turned out to be none."""
        self._done.clear()

    def _collect(self, pending: Future[list[_Sample]]) -> None:
        self._waiting += pending.result()
        if len(self._waiting) >= BATCH:
            self._classify()

    def _look(self, frame: Frame, sightings: Sequence[Sighting]) -> list[_Sample]:
        with self._clock("expression landmarks"):
            return [self._sample(frame, sighting) for sighting in sightings]

    def _sample(self, frame: Frame, seen: Sighting) -> _Sample:
        if float(geometry.sizes(seen.box[None])[0]) < self._options.smallest:
            return _unanswered(frame, seen, Reason.SMALL)
        mesh = self._landmarks.landmarks(frame.image, seen.box)
        if mesh is None:
            return _unanswered(frame, seen, Reason.UNCLEAR)
        pose = headpose.head_pose(mesh)
        crop = align.align(frame.image, seen.landmarks, self._model.template, mesh=mesh)
        return _Sample(
            key=seen.key,
            frame=frame.index,
            reason=self._reason(crop, pose),
            crop=crop,
            pose=pose,
            gaze=headpose.gaze(mesh, pose),
            openness=headpose.openness(mesh),
        )

    def _reason(self, crop: Image, pose: Float32) -> Reason:
        if not abs(float(pose[1])) <= self._options.widest_yaw:
            return Reason.TURNED
        return Reason.BLURRED if align.sharpness(crop) < self._options.least_sharpness else Reason.NONE

    def _classify(self) -> None:
        samples, self._waiting = self._waiting, []
        if not samples:
            return
        emotions, affect = self._told(samples)
        rows = defaultdict[int, list[int]](list)
        for row, sample in enumerate(samples):
            rows[sample.key].append(row)
        for key, mine in rows.items():
            self._done[key].append(_expressions([samples[row] for row in mine], emotions[mine], affect[mine]))

    def _told(self, samples: Sequence[_Sample]) -> tuple[Float32, Float32]:
        """Return emotions and affect of samples, NaN where there is a reason for none."""
        emotions = np.full((len(samples), 7), np.nan, np.float32)
        affect = np.full((len(samples), 2), np.nan, np.float32)
        clear = [row for row, sample in enumerate(samples) if sample.reason is Reason.NONE]
        crops = [crop for row in clear if (crop := samples[row].crop) is not None]
        if crops:
            with self._clock("emotion"):
                answer = self._model.classify(crops)
            emotions[clear] = answer.emotions
            self.affect_derived = answer.affect is None
            affect[clear] = expectation(answer.emotions) if answer.affect is None else answer.affect
        return emotions, affect


_NO_POSE, _NO_PAIR = np.full(3, np.nan, np.float32), np.full(2, np.nan, np.float32)


def _unanswered(frame: Frame, seen: Sighting, reason: Reason) -> _Sample:
    return _Sample(seen.key, frame.index, reason, None, _NO_POSE, _NO_PAIR, _NO_PAIR)


def _expressions(samples: Sequence[_Sample], emotions: Float32, affect: Float32) -> Expressions:
    return Expressions(
        frames=np.array([sample.frame for sample in samples]),
        emotions=emotions,
        valence=affect[:, 0],
        arousal=affect[:, 1],
        reasons=np.array([sample.reason for sample in samples], np.uint8),
        pose=np.stack([sample.pose for sample in samples]),
        gaze=np.stack([sample.gaze for sample in samples]),
        openness=np.stack([sample.openness for sample in samples]),
    )
