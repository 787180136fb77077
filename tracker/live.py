"""The tracks of a stream while it runs: frames go in one by one, the faces that are on screen come out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from tracker.associate import Tracklet
from tracker.clock import Clock
from tracker.embedding import Models, View, embed, template
from tracker.keyframes import Candidate
from tracker.options import TrackingOptions
from tracker.pipeline import Run
from tracker.types import Float32, Frame, Image, TrackingResult, VideoInfo

GLANCE_AGAIN = 0.5
"""Seconds from one early look at a face to the next, as long as no keyframe of it is chosen."""

GLANCE_BETTER = 1.1
"""An early look is taken again only at a later view that promises to be so many times as good as the last one was."""

MOST_GLANCES = 3
"""Early looks in one frame: the faces of a full room are embedded over several frames, so that none takes long."""

RECENT = 1.0
"""Seconds over which an emotion is told: a single answer may be wrong."""

USUAL_FPS = 25.0
"""Frames a second until they have been measured, where the source does not tell."""

_SMOOTHING, _SHORTEST_GAP, _LONGEST_GAP = 0.1, 1 / 240, 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face that is on screen now.

    Attributes:
        number: The same as long as it is followed, and never used again by its tracker.
        box: ``(4,)`` float32 xyxy in pixels.
        since: Seconds at which it was first seen.
        follows: The face that it went on from when two had crossed; None: of none. It may be the other one of the two.
        template: ``(D,)`` float32 unit vector of its best views so far; None where none was good enough yet.
        emotions: ``(7,)`` float32 mean probabilities of `tracker.types.EMOTIONS` over the last second; None where
            they are not known.
    """

    number: int
    box: Float32
    since: float
    follows: int | None
    template: Float32 | None
    emotions: Float32 | None


class LiveTracker:
    """Tracks the faces of frames that are handed over as they come, with the same steps as `tracker.track_faces`.

    Frames may be missing: times are what the timestamps say, and the number of frames a second is measured. Memory
    grows with what is seen until `finish`, so an endless stream is cut into pieces, each with a tracker of its own.

    Args:
        loaded: The models.
        width: Width of the pictures in pixels; all have to be of one size.
        height: Their height.
        fps: Frames a second that are to be expected; 0: not known.
        options: See `tracker.options.TrackingOptions`.
    """

    def __init__(
        self, loaded: Models, *, width: int, height: int, fps: float = 0.0, options: TrackingOptions | None = None
    ) -> None:
        self._models = loaded
        self._size = width, height
        self._gap = 1 / (fps or USUAL_FPS)
        self._times: list[float] = []
        self._glances: dict[int, View] = {}
        self._pools = ThreadPoolExecutor(1, "detector"), ThreadPoolExecutor(1, "expressions")
        info = VideoInfo(Path(), "", width, height, fps or USUAL_FPS, 0.0)
        # Nobody waits here for a batch to fill up: who is there is asked now.
        self._run = Run(loaded, options or TrackingOptions(), Clock(), info, *self._pools, batch=1)

    def __enter__(self) -> Self:
        """Return the tracker."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop its threads."""
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)

    @property
    def fps(self) -> float:
        """Frames a second, as measured of late."""
        return 1 / self._gap

    def push(self, image: Image, timestamp: float, *, cut: bool = False) -> list[Face]:
        """Take in the next frame.

        Args:
            image: ``(H, W, 3)`` uint8 BGR picture.
            timestamp: Its time in seconds; it may not fall.
            cut: A shot begins with it: what was seen before is ended.

        Returns:
            The faces in it that were seen often and clearly enough to be sure of them.
        """
        if self._times and timestamp > self._times[-1]:
            gap = min(max(timestamp - self._times[-1], _SHORTEST_GAP), _LONGEST_GAP)
            self._gap += _SMOOTHING * (gap - self._gap)
            self._run.pace(self.fps)
        frame = Frame(len(self._times), timestamp, image)
        cut = cut or not self._times
        self._times.append(timestamp)
        self._run.step(frame, cut, self._run.look(frame, cut))
        faces = self._run.running(frame.index)
        self._glance(faces, frame.index)
        return [self._face(tracklet) for tracklet in faces]

    def finish(self, path: Path, content_hash: str) -> TrackingResult:
        """End the tracks and return them; the times are those of the frames less that of the first one.

        Args:
            path: What the video is called from now on.
            content_hash: What tells it from all others.

        Raises:
            ValueError: if no frame was handed over.
        """
        if not self._times:
            raise ValueError("no frame was handed over; there is nothing to finish")
        self._run.end_shot()
        times = np.array(self._times) - self._times[0]
        end = float(times[-1]) + (float(times[-1]) / (len(times) - 1) if len(times) > 1 else self._gap)
        info = VideoInfo(path, content_hash, *self._size, len(times) / end if end else 0.0, end)
        return self._run.result(info, times.tolist(), end)

    def _glance(self, faces: list[Tracklet], frame: int) -> None:
        """Embed the best views so far of faces that no keyframe was chosen of yet: a window lasts seconds."""
        here = {tracklet.number for tracklet in faces}
        self._glances = {number: view for number, view in self._glances.items() if number in here}
        due: list[tuple[int, Candidate]] = []
        for tracklet in faces:
            candidate = self._run.best_candidate(tracklet.number)
            last = self._glances.get(tracklet.number)
            if candidate is None or self._run.views(tracklet.number) or len(due) == MOST_GLANCES:
                continue
            late = last is None or self._times[frame] - self._times[last.frame] >= GLANCE_AGAIN
            newer = last is None or candidate.frame > last.frame
            if late and newer and (last is None or candidate.quality > GLANCE_BETTER * last.quality):
                due.append((tracklet.number, candidate))
        views = embed(self._models, [candidate for _, candidate in due]) if due else []
        self._glances.update({number: view for (number, _), view in zip(due, views, strict=True)})

    def _face(self, tracklet: Tracklet) -> Face:
        glance = self._glances.get(tracklet.number)
        views = self._run.views(tracklet.number) or ([] if glance is None else [glance])
        return Face(
            tracklet.number,
            tracklet.boxes[-1],
            self._times[tracklet.first_frame],
            None if tracklet.follows is None else tracklet.follows.number,
            template(views) if views else None,
            self._emotions(tracklet),
        )

    def _emotions(self, tracklet: Tracklet) -> Float32 | None:
        first = int(np.searchsorted(self._times, self._times[-1] - RECENT))
        rows = self._run.shown(tracklet.number, since=first).emotions
        known = rows[np.isfinite(rows).all(axis=1)]
        return known.mean(axis=0) if len(known) else None
