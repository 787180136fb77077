"""From a video to its tracks: one pass over the frames, in bounded memory."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from tracker import boxes as geometry
from tracker.associate import Associator, Tracklet
from tracker.clock import Clock
from tracker.embedding import Models, View, embed, load_models, template, to_keyframes, with_one_picture
from tracker.expression import Sampler, Sighting
from tracker.flow import LucasKanade, reduced_grey
from tracker.keyframes import Candidate, KeyframeSelector, cut_patch
from tracker.link import join, link
from tracker.options import TrackingOptions, options_for
from tracker.protocols import Detector, Embedder, EmotionModel, ScalableDetector
from tracker.shots import ShotDetector, mark_shots
from tracker.types import (
    Detections,
    Expressions,
    Frame,
    Image,
    Keyframes,
    Statistics,
    Track,
    TrackingResult,
    VideoInfo,
)
from tracker.video import Video, open_video

BATCH = 16
"""Keyframes embedded at a time."""

SMALLEST_LOOK = 320
"""Longer side in pixels below which a picture is not reduced for the detector."""


def track_faces(
    path: Path | str,
    *,
    detector: str | Detector = "centerface",
    embedder: str | Embedder = "dlib",
    emotion: str | EmotionModel | None = "emotion_cnn",
    preset: str = "balanced",
    detect_every: int | None = None,
    emotion_fps: float | None = 5.0,
    models_dir: Path | None = None,
    advance: Callable[[int], None] | None = None,
) -> TrackingResult:
    """Return the tracks of the faces in a video or an image.

    Args:
        path: The media file.
        detector: A name, ``module:Class`` or an object, see `tracker.protocols.Detector`.
        embedder: The same for `tracker.protocols.Embedder`.
        emotion: The same for `tracker.protocols.EmotionModel`; None: expressions are not sampled.
        preset: ``fast``, ``balanced`` or ``accurate``.
        detect_every: Frames from one run of the detector to the next, in place of the preset's.
        emotion_fps: Samples of expressions a second; None: each frame.
        models_dir: Folder in which weights are looked for first.
        advance: Called with 1 after each frame.

    Raises:
        MediaError: if the file cannot be decoded.
        ModelError: if a model is unknown or its weights are missing.
        ValueError: if an option is out of its range.
    """
    loaded = load_models(detector=detector, embedder=embedder, emotion=emotion, models_dir=models_dir)
    options = options_for(preset, detect_every=detect_every, emotion_fps=emotion_fps)
    with open_video(path) as video:
        return track_video(loaded, video, options=options, advance=advance)


def track_video(
    loaded: Models,
    video: Video,
    *,
    options: TrackingOptions | None = None,
    advance: Callable[[int], None] | None = None,
) -> TrackingResult:
    """Return the tracks of the faces in an open video, see `track_faces`."""
    options, clock, shots = options or TrackingOptions(), Clock(), ShotDetector()
    timestamps = []
    with (
        ThreadPoolExecutor(_workers(loaded.detector), "detector") as pool,
        ThreadPoolExecutor(1, "expressions") as side,
    ):
        run = Run(loaded, options, clock, video.info, pool, side, boundaries=shots)
        for frame, cut, found in _detected_ahead(_with_cuts(video, shots, clock), run):
            timestamps.append(frame.timestamp)
            run.step(frame, cut, found)
            if advance:
                advance(1)
        run.end_shot()
    return run.result(video.info, timestamps, video.end)


def _sampler(loaded: Models, options: TrackingOptions, clock: Clock, pool: ThreadPoolExecutor) -> Sampler | None:
    if loaded.emotion is None or loaded.landmarks is None:
        return None
    return Sampler(loaded.emotion, loaded.landmarks, options=options.expressions, clock=clock, pool=pool)


def embed_keyframes(
    loaded: Models, video: Video, tracks: Sequence[Track], *, advance: Callable[[int], None] | None = None
) -> list[Keyframes]:
    """Return the keyframes of tracks, embedded anew: same frames and qualities, another embedder."""
    wanted: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for position, track in enumerate(tracks):
        for frame, quality in zip(track.keyframes.frames, track.keyframes.qualities, strict=True):
            wanted[int(frame)].append((position, float(quality)))
    views: dict[int, list[View]] = defaultdict(list)
    for frame in video:
        owners = wanted.get(frame.index, [])
        candidates = [_candidate(frame, tracks[position], quality) for position, quality in owners]
        for (position, quality), view in zip(owners, embed(loaded, candidates), strict=True):
            views[position].append(replace(view, quality=quality))
        if advance:
            advance(1)
    return [to_keyframes(views[position]) for position in range(len(tracks))]


def _candidate(frame: Frame, track: Track, quality: float) -> Candidate:
    row = frame.index - track.first_frame
    return cut_patch(frame.image, frame.index, track.boxes[row], track.landmarks[row], quality)


def _workers(detector: Detector) -> int:
    """Return how many pictures a detector may look at side by side: one, unless it says that it allows more."""
    return min(4, os.cpu_count() or 1) if getattr(detector, "concurrent", False) else 1


def _with_cuts(video: Video, detector: ShotDetector, clock: Clock) -> Iterator[tuple[Frame, bool]]:
    """Yield the frames, each with whether a shot begins with it."""
    yield from clock.timed("decode and shots", mark_shots(video, detector))


def _detected_ahead(
    frames: Iterable[tuple[Frame, bool]], run: Run, *, depth: int = 4
) -> Iterator[tuple[Frame, bool, Future[Detections] | None]]:
    """Yield the frames with their running detections, a few frames late: detector and tracker work side by side."""
    iterator = iter(frames)
    ahead = [(frame, cut, run.look(frame, cut)) for frame, cut in islice(iterator, depth)]
    for frame, cut in iterator:
        ahead.append((frame, cut, run.look(frame, cut)))
        yield ahead.pop(0)
    yield from ahead


class Run:
    """The state of one pass over a video.

    Args:
        loaded: The models.
        options: What changes the outcome.
        clock: Counts the time of the stages.
        info: The video.
        pool: Where the detector runs.
        side: Where the landmarks of expressions are found: one thread.
        batch: Keyframes that wait to be embedded at a time.
        boundaries: Tells of gradual transitions; None: only hard cuts begin shots.
    """

    def __init__(
        self,
        loaded: Models,
        options: TrackingOptions,
        clock: Clock,
        info: VideoInfo,
        pool: ThreadPoolExecutor,
        side: ThreadPoolExecutor,
        *,
        batch: int = BATCH,
        boundaries: ShotDetector | None = None,
    ) -> None:
        self.shots: list[int] = []
        self._boundaries = boundaries
        self._models, self._options, self._clock, self._pool = loaded, options, clock, pool
        self._sampler = _sampler(loaded, options, clock, side)
        self._batch = batch
        self._fps = info.fps or 25.0
        self._single = info.is_image
        self._associator = Associator(LucasKanade(), width=info.width, fps=self._fps, options=options.association)
        self._selectors: dict[int, KeyframeSelector] = {}
        self._views: dict[int, list[View]] = defaultdict(list)
        self._waiting: list[tuple[int, Candidate]] = []
        self._finished: list[tuple[int, Track]] = []
        self._detector_runs = self._embeddings = 0
        self._last_look = self._last_closer_look = -1

    # -- the detector -------------------------------------------------------------------------------------------------

    def look(self, frame: Frame, cut: bool) -> Future[Detections] | None:
        """Send a frame to the detector if its turn has come; called some frames ahead of `step`."""
        cadence = self._options.detection
        if not cut and frame.index - self._last_look < cadence.every:
            return None
        self._last_look = frame.index
        self._detector_runs += 1
        if cut or frame.index - self._last_closer_look >= cadence.closer_every * self._fps:
            self._last_closer_look = frame.index
            return self._pool.submit(self._look_closer, frame.image)
        return self._pool.submit(self._detect, frame.image, self._look_size(frame.image))

    def _look_closer(self, image: Image) -> Detections:
        detector = self._models.detector
        with self._clock("detect, closer look"):
            return detector.detect_small(image) if isinstance(detector, ScalableDetector) else detector.detect(image)

    def _detect(self, image: Image, long_side: int | None) -> Detections:
        detector = self._models.detector
        with self._clock("detect"):
            if long_side is not None and isinstance(detector, ScalableDetector):
                return detector.detect_at(image, long_side)
            return detector.detect(image)

    def _look_size(self, image: Image) -> int | None:
        """Return the longer side at which the followed faces are large enough still; None: the detector's own."""
        detector, pixels = self._models.detector, self._options.detection.face_pixels
        followed = [t.boxes[-1] for t in self._associator.active if self._is_sure(t)]
        if not pixels or not followed or not isinstance(detector, ScalableDetector):
            return None
        smallest = float(geometry.sizes(np.stack(followed)).min())
        needed = pixels / max(smallest, 1.0) * max(image.shape[:2])
        return min(max(SMALLEST_LOOK, 32 * round(needed / 32)), detector.long_side)

    # -- one frame ----------------------------------------------------------------------------------------------------

    def step(self, frame: Frame, cut: bool, found: Future[Detections] | None) -> None:
        """Take in the next frame with what the detector found."""
        if cut:
            self.end_shot()
            self.shots.append(frame.index)
        with self._clock("wait for detector"):
            detections = found.result() if found else None
        with self._clock("flow and association"):
            hits = self._associator.step(frame.index, reduced_grey(frame.image), detections)
        self._sample(frame)
        if detections is not None:
            with self._clock("keyframes"):
                self._offer(frame, hits, detections)
            if len(self._waiting) >= self._batch:
                self._embed()

    def _sample(self, frame: Frame) -> None:
        """Sample the expressions of the faces in a frame if its turn has come."""
        if self._sampler is not None and self._sampler.due(frame):
            here = [t for t in self._associator.active if t.end_frame == frame.index + 1 and self._is_clear(t)]
            self._sampler.take(frame, [Sighting(t.number, t.boxes[-1], t.landmarks[-1]) for t in here])

    def _offer(self, frame: Frame, hits: Sequence[tuple[Tracklet, int]], detections: Detections) -> None:
        """Consider the detected faces as keyframes, but for those that another face covers in part."""
        for tracklet, row in hits:
            if tracklet.rivals:
                continue
            selector = self._selectors.get(tracklet.number)
            if selector is None:
                selector = KeyframeSelector(self._options.keyframes, self._fps)
                self._selectors[tracklet.number] = selector
            box, landmarks = detections.boxes[row], detections.landmarks[row]
            released = selector.offer(frame.image, frame.index, box, landmarks, float(detections.scores[row]))
            self._waiting += [(tracklet.number, candidate) for candidate in released]

    def _embed(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._embeddings += len(waiting)
        views = embed(self._models, [candidate for _, candidate in waiting], clock=self._clock)
        for (number, _), view in zip(waiting, views, strict=True):
            self._views[number] = with_one_picture([*self._views[number], view], self._transitions)

    # -- the running shot ---------------------------------------------------------------------------------------------

    def pace(self, fps: float) -> None:
        """Take another number of frames a second from now on: times are counted in frames."""
        self._fps = fps
        self._associator.pace(fps)
        for selector in self._selectors.values():
            selector.fps = fps

    def running(self, frame: int) -> list[Tracklet]:
        """Return the faces in the newest frame, ``frame``, that were seen often and clearly enough."""
        return [t for t in self._associator.active if t.end_frame == frame + 1 and self._is_sure(t)]

    def views(self, number: int) -> list[View]:
        """Return the embedded views of a running tracklet."""
        return self._views.get(number, [])

    def best_candidate(self, number: int) -> Candidate | None:
        """Return the best view of a running tracklet that is not yet chosen or dropped; None without one."""
        selector = self._selectors.get(number)
        return None if selector is None else selector.best

    def shown(self, number: int, *, since: int) -> Expressions:
        """Return what a running tracklet has shown from frame ``since`` on, without waiting for what is under way."""
        if self._sampler is None:
            return Expressions.empty()
        self._sampler.collect()
        return self._sampler.since(number, since)

    # -- the end of a shot --------------------------------------------------------------------------------------------

    def end_shot(self) -> None:
        """End what runs since the last cut: drop what was spurious, join what is one face.

        Shots that gradual transitions divide it into are known only now; a face that runs on through one is two tracks.
        """
        if not self.shots:
            return
        tracklets = self._associator.finish()
        self._finish_keyframes(tracklets)
        samples = self._samples(tracklets)
        cut = self.shots.pop()
        starts = [cut, *(frame for frame in self._transitions if frame > cut)]
        for first, end in pairwise([*starts, sys.maxsize]):
            self.shots.append(first)
            parts = [part for tracklet in tracklets if (part := tracklet.within(first, end)) is not None]
            self._end_part(parts, samples)
        self._selectors.clear()
        self._views.clear()

    @property
    def _transitions(self) -> tuple[int, ...]:
        return self._boundaries.transitions if self._boundaries else ()

    def _finish_keyframes(self, tracklets: Sequence[Tracklet]) -> None:
        for tracklet in filter(self._is_seen, tracklets):
            if tracklet.number in self._selectors:
                released = self._selectors[tracklet.number].flush()
                self._waiting += [(tracklet.number, candidate) for candidate in released]
        self._embed()

    def _samples(self, tracklets: Sequence[Tracklet]) -> dict[int, Expressions]:
        """Return the samples of expressions of each tracklet by its number."""
        if self._sampler is None:
            return {}
        self._sampler.flush()
        samples = {tracklet.number: self._sampler.release(tracklet.number) for tracklet in tracklets}
        self._sampler.forget()
        return samples

    def _end_part(self, tracklets: Sequence[Tracklet], samples: Mapping[int, Expressions]) -> None:
        """Make tracks of the tracklets of one shot."""
        seen = [tracklet for tracklet in tracklets if self._is_seen(tracklet)]
        views = {tracklet.number: self._views_of(tracklet) for tracklet in seen}
        for chain in self._linked(seen, views):
            whole = join(chain)
            if self._single or self._is_sure(whole):
                own = [view for tracklet in chain for view in views[tracklet.number]]
                track = _to_track(len(self.shots) - 1, whole, own, _expressions(chain, samples))
                self._finished.append((whole.number, track))

    def _is_seen(self, tracklet: Tracklet) -> bool:
        """Return whether a face was seen more than once, or goes on from one that was; a still picture is one frame."""
        return self._single or tracklet.hits > 1 or tracklet.follows is not None

    def _views_of(self, tracklet: Tracklet) -> list[View]:
        views = self._views.get(tracklet.number, [])
        return [view for view in views if tracklet.first_frame <= view.frame < tracklet.end_frame]

    def _linked(self, tracklets: Sequence[Tracklet], views: Mapping[int, Sequence[View]]) -> list[list[Tracklet]]:
        templates = {number: template(rows) for number, rows in views.items() if rows}
        same_face = self._models.embedder.same_face
        with self._clock("linking"):
            return link(tracklets, templates, same_face=same_face, fps=self._fps, options=self._options.linking)

    def _is_sure(self, tracklet: Tracklet) -> bool:
        """Return whether a face was seen often and clearly enough to be one."""
        needed = 2 if self._options.detection.every > 1 else self._options.min_hits
        return tracklet.hits >= needed and self._is_clear(tracklet)

    def _is_clear(self, tracklet: Tracklet) -> bool:
        """Return whether a face was seen clearly enough once to be one; a still picture shows it only once."""
        # The scores of detectors differ in what they mean; one that is sure of hands says how sure it is of faces.
        score = max(self._options.sure_score, getattr(self._models.detector, "sure_score", 0.0))
        return self._single or tracklet.best_score >= score

    # -- the outcome --------------------------------------------------------------------------------------------------

    def result(self, info: VideoInfo, timestamps: Sequence[float], end: float) -> TrackingResult:
        """Return all that was found.

        Args:
            info: The video.
            timestamps: The times of its frames.
            end: When the last one ends.
        """
        models = self._models
        return TrackingResult(
            video=info,
            timestamps=np.array(timestamps),
            end=end,
            shots=np.array(self.shots),
            tracks=self._tracks(),
            detector_id=models.detector.model_id,
            embedder_id=models.embedder.model_id,
            settings=asdict(self._options),
            statistics=self._statistics(),
            emotion_id=None if models.emotion is None else models.emotion.model_id,
            affect_derived=self._sampler is None or self._sampler.affect_derived,
        )

    def _tracks(self) -> tuple[Track, ...]:
        """Return the tracks in order of their first frames."""
        ordered = sorted(self._finished, key=lambda item: (item[1].first_frame, item[0]))
        return tuple(replace(track, track_id=k) for k, (_, track) in enumerate(ordered))

    def _statistics(self) -> Statistics:
        return Statistics(
            seconds=dict(self._clock.seconds),
            detector_runs=self._detector_runs,
            embeddings=self._embeddings,
            face_frames=sum(len(track) for _, track in self._finished),
        )


def _expressions(chain: Sequence[Tracklet], samples: Mapping[int, Expressions]) -> Expressions:
    """Return the samples of a chain, but for those in tails of flow that have been dropped."""
    parts = [(samples.get(tracklet.number, Expressions.empty()), tracklet) for tracklet in chain]
    return Expressions.concatenate(
        part[(part.frames >= tracklet.first_frame) & (part.frames < tracklet.end_frame)] for part, tracklet in parts
    )


def _to_track(shot: int, whole: Tracklet, views: Sequence[View], expressions: Expressions) -> Track:
    """Return a finished face as arrays, not numbered yet; they take a tenth of the memory of a tracklet."""
    best = max(views, key=lambda view: view.quality, default=None)
    return Track(
        track_id=-1,
        shot=shot,
        first_frame=whole.first_frame,
        boxes=np.stack(whole.boxes),
        scores=np.array(whole.scores),
        sources=np.array(whole.sources, np.uint8),
        landmarks=np.stack(whole.landmarks),
        keyframes=to_keyframes(views),
        thumbnail=np.zeros((0, 0, 3), np.uint8) if best is None else best.thumbnail,
        expressions=expressions,
    )
