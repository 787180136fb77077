"""Detections and carried boxes become tracklets: birth, continuation, death, frame by frame inside one shot."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tracker import boxes as geometry
from tracker.protocols import FlowTracker
from tracker.types import LANDMARKS, Detections, Float32, Float64, Source, UInt8

NO_LANDMARKS = np.full((LANDMARKS, 2), np.nan, np.float32)


@dataclass(frozen=True, slots=True)
class AssociationOptions:
    """When tracklets begin, go on and end.

    Attributes:
        start_score: A detection of at least this score begins a tracklet (ByteTrack's high threshold, Zhang et al.,
            ECCV 2022).
        keep_score: A detection of at least this score continues one (its low threshold).
        gate: IoU below which a detection and a carried box are not the same face.
        sure: IoU from which a detection goes on from the box of the frame before without asking flow, where nothing
            else comes near.
        flow_confidence: Flow of at least this confidence carries a box without a detection.
        patience: Seconds without a detection after which a tracklet ends.
        tail: Seconds of flow kept before the first and after the last detection.
        crossing: IoU of two faces from which their boxes can be mixed up.
        apart: IoU below which two faces that crossed are told apart again.
    """

    start_score: float = 0.5
    keep_score: float = 0.3
    gate: float = 0.3
    sure: float = 0.6
    flow_confidence: float = 0.5
    patience: float = 1.0
    tail: float = 0.4
    crossing: float = 0.3
    apart: float = 0.1


@dataclass(slots=True, eq=False)
class Tracklet:
    """A track that grows.

    Attributes:
        number: Count of tracklets begun before it in the video; a stable key while tracking.
        first_frame: Index of the first frame.
        follows: The tracklet that this one continued after a crossing.
        hits: Number of detections in it.
        last_hit: Frame of the last detection.
        best_score: Highest score of a detection.
        rivals: Tracklets that it is crossing with.
    """

    number: int
    first_frame: int
    follows: Tracklet | None = None
    hits: int = 0
    last_hit: int = -1
    best_score: float = 0.0
    rivals: set[int] = field(default_factory=set)
    boxes: list[Float32] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    landmarks: list[Float32] = field(default_factory=list)

    @property
    def end_frame(self) -> int:
        """The frame after the last one."""
        return self.first_frame + len(self.boxes)

    def add(self, box: Float32, score: float, source: Source, landmarks: Float32 = NO_LANDMARKS) -> None:
        """Append the next frame."""
        if source is Source.DETECTED:
            self.hits += 1
            self.last_hit = self.end_frame
            self.best_score = max(self.best_score, score)
        self.boxes.append(box)
        self.scores.append(score)
        self.sources.append(source)
        self.landmarks.append(landmarks)

    def prepend(self, box: Float32, score: float) -> None:
        """Put a frame that flow carried backward before the first one."""
        self.first_frame -= 1
        self.boxes.insert(0, box)
        self.scores.insert(0, score)
        self.sources.insert(0, Source.FLOW)
        self.landmarks.insert(0, NO_LANDMARKS)

    def trim(self, end_frame: int) -> None:
        """Drop the frames from ``end_frame`` on."""
        keep = max(1, end_frame - self.first_frame)
        for rows in (self.boxes, self.scores, self.sources, self.landmarks):
            del rows[keep:]

    def within(self, first: int, end: int) -> Tracklet | None:
        """Return the part in the frames ``first`` to ``end`` - 1, or None if there is none; all of it is itself."""
        if first <= self.first_frame and self.end_frame <= end:
            return self
        begin, stop = max(first, self.first_frame), min(end, self.end_frame)
        if begin >= stop:
            return None
        part = Tracklet(self.number, begin, self.follows if begin == self.first_frame else None, rivals=self.rivals)
        for row in range(begin - self.first_frame, stop - self.first_frame):
            part.add(self.boxes[row], self.scores[row], self.sources[row], self.landmarks[row])
        return part

    def box_at(self, frame: int) -> Float32 | None:
        """Return the box in ``frame``, or None outside the tracklet."""
        row = frame - self.first_frame
        return self.boxes[row] if 0 <= row < len(self.boxes) else None

    def correct_drift(self, row: int, box: Float32) -> None:
        """Spread over the flow frames before ``row`` what flow was off when a detection, ``box``, ended them."""
        start = row
        while start > 0 and self.sources[start - 1] is Source.FLOW:
            start -= 1
        if start == row or start == 0:
            return
        drift = box - self.boxes[row - 1]
        for k in range(start, row):
            self.boxes[k] = self.boxes[k] + drift * ((k - start + 1) / (row - start + 1))


def best_pairs(scores: Float32 | Float64) -> list[tuple[int, int]]:
    """Return the pairs (row, column) of greatest total score, one to one, each above 0.

    Hungarian assignment (Kuhn 1955) by `scipy.optimize.linear_sum_assignment`.

    Args:
        scores: ``(N, M)``, none below 0.

    Example:
        >>> best_pairs(np.array([[0.9, 0.8], [0.8, 0.0], [0.0, 0.0]]))
        [(0, 1), (1, 0)]
    """
    # SciPy takes a quarter of a second to import, in which the detector already looks at the first frames.
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-scores)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if scores[row, column] > 0]


def match(boxes: Float32, detections: Float32, *, gate: float) -> list[tuple[int, int]]:
    """Return pairs (row of ``boxes``, row of ``detections``) of greatest total IoU, each of at least ``gate``.

    Example:
        >>> a = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
        >>> match(a, a[::-1] + 1, gate=0.3)
        [(0, 1), (1, 0)]
    """
    overlaps = geometry.iou(boxes, detections)
    return best_pairs(np.where(overlaps >= gate, overlaps, 0))


class Associator:
    """Keeps the tracklets of the running shot; one `step` a frame, `finish` at its end."""

    def __init__(self, flow: FlowTracker, *, width: int, fps: float, options: AssociationOptions) -> None:
        self._flow = flow
        self._width = width
        self._options = options
        self.pace(fps)
        self._greys: deque[UInt8] = deque(maxlen=self._tail + self._patience + 1)
        self._newest = -1
        self._begun = 0
        self.active: list[Tracklet] = []
        self.ended: list[Tracklet] = []

    def pace(self, fps: float) -> None:
        """Take another number of frames a second from now on."""
        self._patience = max(2, round(self._options.patience * fps))
        self._tail = max(1, round(self._options.tail * fps))

    def step(self, frame: int, grey: UInt8, detections: Detections | None) -> list[tuple[Tracklet, int]]:
        """Take in the next frame.

        Args:
            frame: Its index.
            grey: Its reduced grey picture.
            detections: What the detector found, or None if it did not run.

        Returns:
            The tracklets that a detection continued or began, each with the row of that detection.
        """
        hits = [] if detections is None else self._go_on_surely(detections)
        waiting = [t for t in self.active if t.end_frame == frame]
        carried = self._carry(grey, waiting)
        self._greys.append(grey)
        self._newest = frame
        if detections is None:
            self._go_on(waiting, carried, frame)
        else:
            hits += self._associate(frame, waiting, carried, detections, taken={row for _, row in hits})
        continued = self._watch_crossings(frame)
        return [(continued.get(tracklet.number, tracklet), row) for tracklet, row in hits]

    def finish(self) -> list[Tracklet]:
        """End the shot; return its tracklets in the order of their first frames."""
        for tracklet in list(self.active):
            self._end(tracklet)
        ended = sorted(self.ended, key=lambda t: (t.first_frame, t.number))
        self.ended = []
        self._greys.clear()
        return ended

    @property
    def vanished(self) -> bool:
        """Whether a tracklet of detections is carried by flow alone just now."""
        return any(t.sources[-1] is Source.FLOW and t.hits > 1 for t in self.active)

    def _go_on_surely(self, detections: Detections) -> list[tuple[Tracklet, int]]:
        """Continue the tracklets that moved little and have no rival: most faces in most frames need no flow."""
        if not self.active or not len(detections):
            return []
        options = self._options
        overlaps = geometry.iou(np.stack([t.boxes[-1] for t in self.active]), detections.boxes)
        strong = detections.scores >= options.start_score
        near = overlaps > options.apart
        alone = (near.sum(axis=1) == 1)[:, None] & (near.sum(axis=0) == 1)[None]
        rows, columns = np.nonzero((overlaps >= options.sure) & alone & strong[None])
        hits = [(self.active[row], int(column)) for row, column in zip(rows, columns, strict=True)]
        for tracklet, row in hits:
            self._hit(tracklet, detections, row)
        return hits

    def _carry(self, grey: UInt8, tracklets: Sequence[Tracklet]) -> list[tuple[Float32, float]]:
        if not tracklets or not self._greys:
            return []
        boxes = np.stack([t.boxes[-1] for t in tracklets])
        carried = self._flow.carry(self._greys[-1], grey, boxes, width=self._width)
        return [(box, float(c)) for box, c in zip(carried.boxes, carried.confidences, strict=True)]

    def _associate(
        self,
        frame: int,
        tracklets: Sequence[Tracklet],
        carried: Sequence[tuple[Float32, float]],
        detections: Detections,
        *,
        taken: set[int],
    ) -> list[tuple[Tracklet, int]]:
        """Match carried boxes with the detections that are not taken, strong ones first; begin and end tracklets."""
        options = self._options
        free = np.array([row not in taken for row in range(len(detections))], bool)
        high = np.flatnonzero(free & (detections.scores >= options.start_score))
        low = np.flatnonzero(
            free & (detections.scores >= options.keep_score) & (detections.scores < options.start_score)
        )
        waiting = list(range(len(tracklets)))
        hits: list[tuple[Tracklet, int]] = []
        for rows in (high, low):
            boxes = np.array([carried[index][0] for index in waiting], np.float32).reshape(-1, 4)
            pairs = match(boxes, detections.boxes[rows], gate=options.gate)
            for position, column in pairs:
                tracklet, row = tracklets[waiting[position]], int(rows[column])
                self._hit(tracklet, detections, row)
                hits.append((tracklet, row))
            matched = {position for position, _ in pairs}
            waiting = [index for position, index in enumerate(waiting) if position not in matched]
        self._go_on([tracklets[index] for index in waiting], [carried[index] for index in waiting], frame)
        used = {row for _, row in hits}
        hits += [(self._begin(frame, detections, int(row)), int(row)) for row in high if int(row) not in used]
        self._drop_doubles(frame)
        return hits

    def _hit(self, tracklet: Tracklet, detections: Detections, row: int) -> None:
        tracklet.correct_drift(len(tracklet.boxes), detections.boxes[row])
        tracklet.add(detections.boxes[row], float(detections.scores[row]), Source.DETECTED, detections.landmarks[row])
        if tracklet.hits == 2 and tracklet.follows is None:
            self._extend_backward(tracklet)

    def _begin(self, frame: int, detections: Detections, row: int) -> Tracklet:
        tracklet = self._new(frame)
        tracklet.add(detections.boxes[row], float(detections.scores[row]), Source.DETECTED, detections.landmarks[row])
        return tracklet

    def _new(self, frame: int, follows: Tracklet | None = None) -> Tracklet:
        tracklet = Tracklet(self._begun, frame, follows)
        self._begun += 1
        self.active.append(tracklet)
        return tracklet

    def _go_on(self, tracklets: Sequence[Tracklet], carried: Sequence[tuple[Float32, float]], frame: int) -> None:
        """Carry on without a detection where flow vouches for the box; end the others."""
        for tracklet, (box, confidence) in zip(list(tracklets), carried, strict=True):
            if confidence >= self._options.flow_confidence and frame - tracklet.last_hit <= self._patience:
                tracklet.add(box, confidence, Source.FLOW)
            else:
                self._end(tracklet)

    def _end(self, tracklet: Tracklet) -> None:
        if tracklet.last_hit >= 0:
            tracklet.trim(self._end_of_tail(tracklet))
        self.active.remove(tracklet)
        self.ended.append(tracklet)

    def _drop_doubles(self, frame: int) -> None:
        """End a tracklet that flow has carried onto a face which a detection gave to another one."""
        seen = [t for t in self.active if t.sources[-1] is Source.DETECTED]
        carried = [t for t in self.active if t.sources[-1] is Source.FLOW]
        if not seen or not carried:
            return
        overlaps = geometry.containment(np.stack([t.boxes[-1] for t in carried]), np.stack([t.boxes[-1] for t in seen]))
        for tracklet, overlap in zip(carried, overlaps.max(axis=1), strict=True):
            if overlap > 0.6:
                tracklet.trim(frame)
                self._end(tracklet)

    def _extend_backward(self, tracklet: Tracklet) -> None:
        """Carry a new tracklet back from its first frame, as far as flow vouches and no other face is in the way."""
        greys = list(self._greys)
        for _ in range(self._tail):
            row = len(greys) - 1 - (self._newest - tracklet.first_frame)
            if row < 1:
                return
            carried = self._flow.carry(greys[row], greys[row - 1], tracklet.boxes[0][None], width=self._width)
            box, confidence = carried.boxes[0], float(carried.confidences[0])
            if confidence < self._options.flow_confidence or self._occupied(tracklet, box, tracklet.first_frame - 1):
                return
            tracklet.prepend(box, confidence)

    def _end_of_tail(self, tracklet: Tracklet) -> int:
        """Return the frame up to which flow after the last detection is kept: not where another face comes near."""
        end = tracklet.last_hit + 1
        while end < min(tracklet.end_frame, tracklet.last_hit + 1 + self._tail):
            if self._occupied(tracklet, tracklet.boxes[end - tracklet.first_frame], end):
                break
            end += 1
        return end

    def _occupied(self, tracklet: Tracklet, box: Float32, frame: int) -> bool:
        """Return whether another face lies beside ``box`` in ``frame``: flow may have slipped onto it, or off it."""
        others = [t.box_at(frame) for t in (*self.active, *self.ended) if t is not tracklet]
        there = [other for other in others if other is not None]
        if not there:
            return False
        margin = (box[2:] - box[:2]) / 2
        around = np.concatenate([box[:2] - margin, box[2:] + margin])[None]
        return bool((geometry.iou(around, np.stack(there)) > 0).any())

    def _watch_crossings(self, frame: int) -> dict[int, Tracklet]:
        """Note which faces overlap; where they part again, begin anew, so that appearance settles who is who.

        Returns:
            Number of a tracklet that ended here -> the one that goes on in its place.
        """
        continued: dict[int, Tracklet] = {}
        if not self.active:
            return continued
        boxes = np.stack([t.boxes[-1] for t in self.active])
        overlaps = geometry.iou(boxes, boxes)
        numbers = [t.number for t in self.active]
        for index, tracklet in enumerate(list(self.active)):
            close = {numbers[k] for k in np.flatnonzero(overlaps[index] > self._options.crossing) if k != index}
            near = {numbers[k] for k in np.flatnonzero(overlaps[index] > self._options.apart) if k != index}
            apart = bool(tracklet.rivals) and not tracklet.rivals & near
            tracklet.rivals |= close
            if apart and tracklet.first_frame < frame:
                continued[tracklet.number] = self._restart(tracklet, frame)
        return continued

    def _restart(self, tracklet: Tracklet, frame: int) -> Tracklet:
        row = frame - tracklet.first_frame
        box, score = tracklet.boxes[row], tracklet.scores[row]
        source, landmarks = tracklet.sources[row], tracklet.landmarks[row]
        tracklet.trim(frame)
        self.active.remove(tracklet)
        self.ended.append(tracklet)
        fresh = self._new(frame, tracklet)
        fresh.add(box, score, source, landmarks)
        fresh.last_hit = max(fresh.last_hit, tracklet.last_hit)
        return fresh
