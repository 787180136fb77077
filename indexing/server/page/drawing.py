"""Lanes as paths of SVG: seconds to the right, 0 to 100 downwards, one path a colour however many bars there are.

The pages scale them with ``preserveAspectRatio="none"`` and zoom by the view box alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from indexing.colors import color, emotion_color, hexadecimal
from indexing.lanes import Lane
from indexing.plot.chart import NEUTRAL, Bar, Piece, Row
from tracker.types import EMOTIONS, Segment

HEIGHT = 100

_BAR = (64.0, 28.0)
"""Upper edge and height of the bars where a curve stands on them."""

_ALONE = (28.0, 44.0)
"""The same where there is no curve."""

_MIX = (4.0, 64.0)
"""Upper and lower edge of the mix of emotions."""

MOST_POINTS = 1_500
"""Points of a mix in one lane; a screen has no more pixels."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One path.

    Attributes:
        path: What SVG calls ``d``.
        color: How it is filled; nothing: as the style sheet says.
        kind: ``full``: when somebody is seen, or an episode; ``faint``: no episode but the strongest of a mix;
            ``unknown``: seen, but it is not known what they show; ``mix``: how probable an emotion is.
    """

    path: str
    color: str = ""
    kind: Literal["full", "faint", "unknown", "mix"] = "full"


def lane_shapes(row: Row, *, emotional: bool) -> list[Shape]:
    """Return what a lane shows: the mix of emotions where it is known, and a bar for each appearance.

    Args:
        row: The lane.
        emotional: Emotions were sampled in the video: a bar in the colour of its person could be taken for one.
    """
    if not emotional:
        return [presence_shape(row.lane, *_ALONE)]
    return [*_mixes(row.pieces), *_bars(row.bars)]


def presence_shape(lane: Lane, top: float, height: float) -> Shape:
    """Return when somebody is seen, in their colour."""
    who = lane.identity.identity_id if lane.identity else None
    return Shape(_boxes((seen.segment for seen in lane.appearances), top, height), hexadecimal(color(who)))


def cuts_path(times: Sequence[float]) -> str:
    """Return a line for each shot boundary."""
    return "".join(f"M{_number(time)} 0v{HEIGHT}" for time in times)


def _bars(bars: Iterable[Bar]) -> list[Shape]:
    groups: dict[tuple[str | None, bool], list[Segment]] = defaultdict(list)
    for bar in bars:
        groups[bar.label, bar.episode].append(bar.segment)
    return [
        Shape(_boxes(segments, *_BAR), hexadecimal(emotion_color(label)), "full" if episode else "faint")
        if label
        else Shape(_boxes(segments, *_BAR), kind="unknown")
        for (label, episode), segments in groups.items()
    ]


def _boxes(segments: Iterable[Segment], top: float, height: float) -> str:
    return "".join(
        f"M{_number(s.start)} {_number(top)}h{_number(s.duration)}v{_number(height)}h{_number(-s.duration)}z"
        for s in segments
    )


def _mixes(pieces: Sequence[Piece]) -> list[Shape]:
    """Return an area for each emotion but neutral, one upon the other."""
    step = max(1, -(-sum(len(piece.curve) for piece in pieces) // MOST_POINTS))
    paths: dict[int, list[str]] = defaultdict(list)
    for piece in pieces:
        for label, path in _areas(piece, step):
            paths[label].append(path)
    return [Shape("".join(parts), hexadecimal(emotion_color(EMOTIONS[label])), "mix") for label, parts in paths.items()]


def _areas(piece: Piece, step: int) -> Iterable[tuple[int, str]]:
    times = np.append(piece.curve.times[::step], piece.segment.end)
    shares = piece.curve.emotions[::step].astype(np.float64)
    shares = np.vstack([shares, shares[-1:]])
    shares[:, NEUTRAL] = 0
    above = np.cumsum(shares, axis=1)
    upper, lower = _MIX
    for label in range(len(EMOTIONS)):
        if label == NEUTRAL or shares[:, label].max() < 0.01:
            continue
        tops = lower - above[:, label] * (lower - upper)
        floors = lower - (above[:, label] - shares[:, label]) * (lower - upper)
        there = zip(times.tolist(), tops.tolist(), strict=True)
        back = zip(times[::-1].tolist(), floors[::-1].tolist(), strict=True)
        yield label, "M" + "L".join(f"{_number(x)} {_number(y, 1)}" for x, y in [*there, *back]) + "z"


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") or "0"
