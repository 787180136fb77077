"""From a video to its tracks: one pass over the frames, in bounded memory."""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from tracker import align, models
from tracker.associate import AssociationOptions, Associator, Tracklet
from tracker.flow import LucasKanade, reduced_grey
from tracker.keyframes import Candidate, KeyframeOptions, KeyframeSelector
from tracker.link import LinkOptions, join, link
from tracker.protocols import Detector, Embedder, LandmarkModel
from tracker.shots import ShotDetector
from tracker.types import (
    Detections,
    Float32,
    Frame,
    Image,
    Keyframes,
    Source,
    Statistics,
    Track,
    TrackingResult,
    UInt8,
)
from tracker.video import Video, open_video

logger = logging.getLogger(__name__)

T = TypeVar("T")
U = TypeVar("U")

THUMBNAIL_SIDE = 192


@dataclass(frozen=True, slots=True)
class Preset:
    """How much work goes into finding faces.

    Attributes:
        detect_every: Frames from one run of the detector to the next; flow carries the boxes in between.
        closer_every: Seconds from one closer look, for small faces, to the next; shots begin with one.
    """

    detect_every: int
    closer_every: float


PRESETS = {
    "fast": Preset(detect_every=5, closer_every=2.0),
    "balanced": Preset(detect_every=1, closer_every=1.0),
    "accurate": Preset(detect_every=1, closer_every=0.2),
}


@dataclass(frozen=True, slots=True)
class TrackingOptions:
    """Everything but the models that changes what is found; stands in the database beside each video.

    Attributes:
        preset: See `Preset`.
        association: See `AssociationOptions`.
        keyframes: See `KeyframeOptions`.
        linking: See `LinkOptions`.
        min_hits: Detections that a track of a video needs: spurious ones do not become people.
        sure_score: Best score that a track of a video needs.
    """

    preset: Preset = PRESETS["balanced"]
    association: AssociationOptions = field(default_factory=AssociationOptions)
    keyframes: KeyframeOptions = field(default_factory=KeyframeOptions)
    linking: LinkOptions = field(default_factory=LinkOptions)
    min_hits: int = 3
    sure_score: float = 0.6


@dataclass(frozen=True, slots=True)
class Models:
    """The models of a run.

    Attributes:
        detector: Finds the faces.
        landmarks: Refines the alignment of what is embedded; None: the detector's landmarks alone.
        embedder: Turns faces into vectors.
    """

    detector: Detector
    landmarks: LandmarkModel | None
    embedder: Embedder


def load_models(
    *,
    detector: str | Detector = "centerface",
    embedder: str | Embedder = "dlib",
    models_dir: Path | None = None,
) -> Models:
    """Load the models that ``detector`` and ``embedder`` name, see `tracker.models.load`.

    Raises:
        ModelError: if a name is unknown or weights are missing.
    """
    loaded = models.load("embedder", embedder, models_dir=models_dir)
    mesh = models.load("landmarks", "facemesh", models_dir=models_dir) if loaded.template.mesh_indices else None
    return Models(models.load("detector", detector, models_dir=models_dir), mesh, loaded)


def track_faces(
    path: Path | str,
    *,
    detector: str | Detector = "centerface",
    embedder: str | Embedder = "dlib",
    preset: str = "balanced",
    detect_every: int | None = None,
    models_dir: Path | None = None,
    advance: Callable[[int], None] | None = None,
) -> TrackingResult:
    """Return the tracks of the faces in a video or an image.

    Args:
        path: The media file.
        detector: A name, ``module:Class`` or an object, see `tracker.protocols.Detector`.
        embedder: The same for `tracker.protocols.Embedder`.
        preset: ``fast``, ``balanced`` or ``accurate``.
        detect_every: Frames from one run of the detector to the next, in place of the preset's.
        models_dir: Folder in which weights are looked for first.
        advance: Called with 1 after each frame.

    Raises:
        MediaError: if the file cannot be decoded.
        ModelError: if a model is unknown or its weights are missing.
        ValueError: if an option is out of its range.
    """
    loaded = load_models(detector=detector, embedder=embedder, models_dir=models_dir)
    options = options_for(preset, detect_every=detect_every)
    with open_video(path) as video:
        return track_video(loaded, video, options=options, advance=advance)


def options_for(preset: str, *, detect_every: int | None = None) -> TrackingOptions:
    """Return the options of a preset, its cadence overridden by ``detect_every`` where given.

    Raises:
        ValueError: if the preset is unknown or ``detect_every`` is less than 1.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r} is unknown; there are {', '.join(PRESETS)}")
    chosen = PRESETS[preset]
    if detect_every is not None:
        if detect_every < 1:
            raise ValueError(f"detect_every is {detect_every}; it counts frames and is at least 1")
        chosen = replace(chosen, detect_every=detect_every)
    return TrackingOptions(preset=chosen)


def track_video(
    loaded: Models,
    video: Video,
    *,
    options: TrackingOptions | None = None,
    advance: Callable[[int], None] | None = None,
) -> TrackingResult:
    """Return the tracks of the faces in an open video, see `track_faces`."""
    options = options or TrackingOptions()
    clock = Clock()
    with ThreadPoolExecutor(_workers(loaded.detector), "detector") as pool:
        run = _Run(loaded, options, clock, fps=video.info.fps or 25.0, width=video.info.width, pool=pool)
        timestamps = []
        for frame, cut, found in _detected_ahead(_with_cuts(video, clock), run):
            timestamps.append(frame.timestamp)
            run.step(frame, cut, found)
            if advance:
                advance(1)
        run.end_shot(single=video.info.is_image)
    return TrackingResult(
        video=video.info,
        timestamps=np.array(timestamps),
        end=video.end,
        shots=np.array(run.shots),
        tracks=run.tracks(),
        detector_id=loaded.detector.model_id,
        embedder_id=loaded.embedder.model_id,
        settings=asdict(options),
        statistics=run.statistics(),
    )


def _workers(detector: Detector) -> int:
    """Return how many pictures a detector may look at side by side: one, unless it says that it allows more."""
    return min(4, os.cpu_count() or 1) if getattr(detector, "concurrent", False) else 1


class Clock:
    """Adds up the seconds that each stage takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of the ``with`` block for ``stage``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start

    def timed(self, stage: str, items: Iterable[T]) -> Iterator[T]:
        """Iterate over ``items``; count for ``stage`` the time that it takes to get them."""
        iterator = iter(items)
        while True:
            with self(stage):
                item = next(iterator, None)
            if item is None:
                return
            yield item


def _with_cuts(video: Video, clock: Clock) -> Iterator[tuple[Frame, bool]]:
    """Yield the frames, each with whether a shot begins with it."""
    frames = clock.timed("decode", video)
    if video.info.is_image:
        yield from ((frame, True) for frame in frames)
        return
    shots = ShotDetector()
    for frame in frames:
        with clock("shots"):
            ready = list(shots.push(frame))
        yield from ready
    yield from shots.flush()


class _Run:
    """The state of one pass over a video."""

    def __init__(
        self, loaded: Models, options: TrackingOptions, clock: Clock, *, fps: float, width: int, pool: ThreadPoolExecutor
    ) -> None:
        self.shots: list[int] = []
        self._models, self._options, self._clock, self._fps, self._pool = loaded, options, clock, fps, pool
        self._associator = Associator(LucasKanade(), width=width, fps=fps, options=options.association)
        self._selectors: dict[int, KeyframeSelector] = {}
        self._views: dict[int, list[_View]] = defaultdict(list)
        self._waiting: list[tuple[int, Candidate]] = []
        self._finished: list[tuple[int, Tracklet, list[_View]]] = []
        self._detector_runs = self._embeddings = 0
        self._last_closer = -1
        self._last_scheduled = -1

    # -- one frame ------------------------------------------------------------------------------------------------

    def schedule(self, frame: Frame, cut: bool) -> Future[Detections] | None:
        """Send a frame to the detector if its turn has come; called some frames ahead of `step`."""
        cadence = self._options.preset
        if not cut and frame.index - self._last_scheduled < cadence.detect_every:
            return None
        self._last_scheduled = frame.index
        closer = cut or frame.index - self._last_closer >= cadence.closer_every * self._fps
        return self._submit(frame, closer=closer)

    def step(self, frame: Frame, cut: bool, found: Future[Detections] | None) -> None:
        """Take in the next frame with what the detector found."""
        if cut:
            self.end_shot()
            self.shots.append(frame.index)
        with self._clock("wait for detector"):
            detections = found.result() if found else None
        with self._clock("flow and association"):
            hits = self._associator.step(frame.index, reduced_grey(frame.image), detections)
        if detections is not None:
            self._offer(frame, hits, detections)

    def _submit(self, frame: Frame, *, closer: bool) -> Future[Detections]:
        self._detector_runs += 1
        look = self._models.detector.detect
        if closer:
            self._last_closer = frame.index
            look = getattr(self._models.detector, "detect_small", look)
        return self._pool.submit(self._detect, look, frame.image)

    def _detect(self, look: Callable[[Image], Detections], image: Image) -> Detections:
        with self._clock("detect"):
            return look(image)

    # -- keyframes ------------------------------------------------------------------------------------------------

    def _offer(self, frame: Frame, hits: Sequence[tuple[Tracklet, int]], detections: Detections) -> None:
        with self._clock("keyframes"):
            for tracklet, row in hits:
                if not tracklet.rivals:
                    selector = self._selectors.setdefault(
                        tracklet.number, KeyframeSelector(self._options.keyframes, self._fps)
                    )
                    released = selector.offer(
                        frame.image,
                        frame.index,
                        detections.boxes[row],
                        detections.landmarks[row],
                        float(detections.scores[row]),
                    )
                    self._waiting += [(tracklet.number, candidate) for candidate in released]
        if len(self._waiting) >= 16:
            self._embed()

    def _embed(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        with self._clock("landmarks and alignment"):
            crops = [self._crop(candidate) for _, candidate in waiting]
        with self._clock("embed"):
            vectors = self._models.embedder.embed(crops)
        self._embeddings += len(vectors)
        for (number, candidate), vector in zip(waiting, vectors, strict=True):
            self._views[number].append(_View(candidate.frame, candidate.quality, vector, _thumbnail(candidate)))

    def _crop(self, candidate: Candidate) -> Image:
        mesh = self._models.landmarks and self._models.landmarks.landmarks(candidate.patch, candidate.box)
        return align.align(candidate.patch, candidate.landmarks, self._models.embedder.template, mesh=mesh)

    # -- the end of a shot ----------------------------------------------------------------------------------------

    def end_shot(self, *, single: bool = False) -> None:
        """End the running shot: drop what was spurious, join what is one face.

        Args:
            single: The shot is a still picture, in which one detection is all there can be.
        """
        if not self.shots:
            return
        tracklets = self._associator.finish()
        kept = [t for t in tracklets if single or t.hits > 1 or t.follows is not None]
        for tracklet in kept:
            selector = self._selectors.get(tracklet.number)
            self._waiting += [(tracklet.number, candidate) for candidate in (selector.flush() if selector else [])]
        self._embed()
        with self._clock("linking"):
            self._finish_tracks(kept, single=single)
        self._selectors.clear()
        self._views.clear()

    def _finish_tracks(self, tracklets: Sequence[Tracklet], *, single: bool) -> None:
        templates = {number: _template(views) for number, views in self._views.items()}
        same_face = self._models.embedder.same_face
        chains = link(tracklets, templates, same_face=same_face, fps=self._fps, options=self._options.linking)
        shot = len(self.shots) - 1
        for chain in chains:
            whole = join(chain)
            if single or self._is_sure(whole):
                views = [view for tracklet in chain for view in self._views.get(tracklet.number, [])]
                self._finished.append((shot, whole, views))

    def _is_sure(self, tracklet: Tracklet) -> bool:
        detected = [s for s, source in zip(tracklet.scores, tracklet.sources, strict=True) if source is Source.DETECTED]
        needed = 2 if self._options.preset.detect_every > 1 else self._options.min_hits
        return tracklet.hits >= needed and max(detected, default=0) >= self._options.sure_score

    # -- the outcome ----------------------------------------------------------------------------------------------

    def tracks(self) -> tuple[Track, ...]:
        """Return the tracks in order of their first frames."""
        ordered = sorted(self._finished, key=lambda item: (item[1].first_frame, item[1].number))
        return tuple(_to_track(k, shot, whole, views) for k, (shot, whole, views) in enumerate(ordered))

    def statistics(self) -> Statistics:
        """Return what the run did."""
        return Statistics(
            seconds=dict(self._clock.seconds),
            detector_runs=self._detector_runs,
            embeddings=self._embeddings,
            face_frames=sum(len(whole.boxes) for _, whole, _ in self._finished),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """An embedded keyframe."""

    frame: int
    quality: float
    embedding: Float32
    thumbnail: Image


def _detected_ahead(
    frames: Iterable[tuple[Frame, bool]], run: _Run, *, depth: int = 4
) -> Iterator[tuple[Frame, bool, Future[Detections] | None]]:
    """Yield the frames with their running detections, a few frames late, so that detector and tracker work side by side."""
    iterator = iter(frames)
    ahead = [(frame, cut, run.schedule(frame, cut)) for frame, cut in islice(iterator, depth)]
    for frame, cut in iterator:
        ahead.append((frame, cut, run.schedule(frame, cut)))
        yield ahead.pop(0)
    yield from ahead


def _template(views: Sequence[_View]) -> Float32:
    total = np.sum([view.quality**2 * view.embedding for view in views], axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)


def _thumbnail(candidate: Candidate) -> UInt8:
    scale = min(1.0, THUMBNAIL_SIDE / max(candidate.patch.shape[:2]))
    size = tuple(max(1, round(side * scale)) for side in candidate.patch.shape[1::-1])
    return np.asarray(cv2.resize(candidate.patch, size, interpolation=cv2.INTER_AREA), np.uint8)


def _to_track(track_id: int, shot: int, whole: Tracklet, views: Sequence[_View]) -> Track:
    views = sorted(views, key=lambda view: view.frame)
    extra: dict[str, Any] = {}
    if views:
        extra["thumbnail"] = max(views, key=lambda view: view.quality).thumbnail
    return Track(
        track_id=track_id,
        shot=shot,
        first_frame=whole.first_frame,
        boxes=np.stack(whole.boxes),
        scores=np.array(whole.scores),
        sources=np.array(whole.sources, np.uint8),
        landmarks=np.stack(whole.landmarks),
        keyframes=Keyframes(
            np.array([view.frame for view in views]),
            np.array([view.quality for view in views]),
            np.array([view.embedding for view in views]),
        ),
        **extra,
    )
