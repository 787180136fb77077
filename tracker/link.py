"""Tracklets of one shot that are the same face become one track: over a gap, and after two faces have crossed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tracker import boxes as geometry
from tracker.associate import NO_LANDMARKS, Tracklet, best_pairs
from tracker.types import Float32, Source


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """When two tracklets are one face.

    Attributes:
        gap: Seconds over which a face that was lost is taken up again.
        reach: Sides of the face that it may move meanwhile.
        growth: Greatest ratio of the sizes before and after.
        overlap: IoU of the boxes before and after at which place alone carries over a gap, without appearance.
        swap: The crossing of two faces counts as a swap if exchanging them brings their mean distance below this share.
    """

    gap: float = 1.0
    reach: float = 1.5
    growth: float = 1.6
    overlap: float = 0.4
    swap: float = 0.75


def link(
    tracklets: Sequence[Tracklet],
    templates: Mapping[int, Float32],
    *,
    same_face: float,
    fps: float,
    options: LinkOptions,
) -> list[list[Tracklet]]:
    """Return groups of tracklets, each one track, in order of time.

    Args:
        tracklets: The tracklets of one shot by first frame.
        templates: Tracklet number -> unit vector ``(D,)`` of its embeddings, for those that have any.
        same_face: Cosine above which two views are the same person.
        fps: Frames per second.
        options: See `LinkOptions`.
    """
    follower = _crossings(tracklets, templates, options)
    ends = [k for k in range(len(tracklets)) if k not in follower]
    starts = [k for k in range(len(tracklets)) if k not in follower.values()]
    scores = np.zeros((len(ends), len(starts)))
    for row, before in enumerate(ends):
        for column, after in enumerate(starts):
            scores[row, column] = _gap_score(
                tracklets[before], tracklets[after], templates, same_face=same_face, fps=fps, options=options
            )
    follower |= {ends[row]: starts[column] for row, column in best_pairs(scores)}
    return _chains(tracklets, follower)


def _crossings(tracklets: Sequence[Tracklet], templates: Mapping[int, Float32], options: LinkOptions) -> dict[int, int]:
    """Return who goes on as whom after crossings: as flow and detections said, unless appearance says otherwise."""
    rows = {t.number: k for k, t in enumerate(tracklets)}
    follower = {
        rows[t.follows.number]: k for k, t in enumerate(tracklets) if t.follows is not None and t.follows.number in rows
    }
    for a in sorted(follower):
        for b in sorted(follower):
            if a < b and tracklets[b].number in tracklets[a].rivals:
                before = [templates.get(tracklets[k].number) for k in (a, b)]
                after = [templates.get(tracklets[follower[k]].number) for k in (a, b)]
                if _swapped(before, after, options) and _in_order(tracklets, a, follower[b], b, follower[a]):
                    follower[a], follower[b] = follower[b], follower[a]
    return follower


def _in_order(tracklets: Sequence[Tracklet], a: int, after_a: int, b: int, after_b: int) -> bool:
    pairs = ((a, after_a), (b, after_b))
    return all(tracklets[before].end_frame <= tracklets[after].first_frame for before, after in pairs)


def _swapped(before: Sequence[Float32 | None], after: Sequence[Float32 | None], options: LinkOptions) -> bool:
    vectors = [v for v in (*before, *after) if v is not None]
    if len(vectors) < 4:
        return False
    a, b, c, d = vectors
    straight, crossed = 2 - a @ c - b @ d, 2 - a @ d - b @ c
    return bool(crossed < options.swap * straight)


def _gap_score(
    before: Tracklet,
    after: Tracklet,
    templates: Mapping[int, Float32],
    *,
    same_face: float,
    fps: float,
    options: LinkOptions,
) -> float:
    """Return how well ``after`` goes on from ``before``; 0: not at all."""
    gap = after.first_frame - before.end_frame
    if not 0 <= gap <= options.gap * fps:
        return 0.0
    last, first = before.boxes[-1][None], after.boxes[0][None]
    sides = float(geometry.sizes(last)[0]), float(geometry.sizes(first)[0])
    distance = float(np.linalg.norm(geometry.centers(first) - geometry.centers(last)))
    if max(sides) > options.growth * min(sides) or distance > options.reach * max(sides):
        return 0.0
    overlap = float(geometry.iou(last, first)[0, 0])
    a, b = templates.get(before.number), templates.get(after.number)
    alike = float(a @ b) if a is not None and b is not None else -1.0
    if alike >= same_face:
        return 1.0 + alike + overlap
    return overlap if overlap >= options.overlap else 0.0


def _chains(tracklets: Sequence[Tracklet], follower: Mapping[int, int]) -> list[list[Tracklet]]:
    chains = []
    for start in sorted(set(range(len(tracklets))) - set(follower.values())):
        chain, current = [tracklets[start]], start
        while current in follower:
            current = follower[current]
            chain.append(tracklets[current])
        chains.append(chain)
    return chains


def join(chain: Sequence[Tracklet]) -> Tracklet:
    """Return one tracklet of all, the gaps between them filled by linear interpolation."""
    first, *others = chain
    joined = Tracklet(first.number, first.first_frame, hits=0)
    for tracklet in (first, *others):
        _fill(joined, tracklet)
        rows = zip(tracklet.boxes, tracklet.scores, tracklet.sources, tracklet.landmarks, strict=True)
        for box, score, source, landmarks in rows:
            joined.add(box, score, source, landmarks)
    return joined


def _fill(joined: Tracklet, after: Tracklet) -> None:
    gap = after.first_frame - joined.end_frame if joined.boxes else 0
    if gap <= 0:
        return
    before, score = joined.boxes[-1], min(joined.scores[-1], after.scores[0])
    for k in range(1, gap + 1):
        box = before + (after.boxes[0] - before) * (k / (gap + 1))
        joined.add(np.asarray(box, np.float32), score, Source.INTERPOLATED, NO_LANDMARKS)
