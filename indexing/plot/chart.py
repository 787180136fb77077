"""What a plot shows, read from the store once: panels of rows with their curves and bars."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from indexing.emotions import GAP
from indexing.lanes import Lane, face_of, lanes_of
from indexing.store import Store
from indexing.types import EmotionCurve, Episode, Identity, Int64, VideoRecord
from tracker.errors import FacetrackError
from tracker.types import EMOTIONS, Float64, Segment

MOST_ROWS = 40
"""Lanes in one plot, over all its panels; more could not be read. What is left out is said in it."""

NEUTRAL = EMOTIONS.index("neutral")


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of an appearance.

    Attributes:
        segment: When.
        label: One of `tracker.types.EMOTIONS`; None: seen, but it is not known what they show.
        episode: It is an episode of that emotion; otherwise it is only the strongest one of a mix.
    """

    segment: Segment
    label: str | None = None
    episode: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A part of a curve that is drawn as one: within an appearance, and known all through.

    Attributes:
        curve: Its samples, at least one, no emotion of them NaN.
        segment: The time that they stand for: each one up to the next.
    """

    curve: EmotionCurve
    segment: Segment

    @property
    def strongest(self) -> list[Bar]:
        """The piece, cut where another emotion becomes the strongest."""
        labels = self.curve.emotions.argmax(axis=1)
        starts = np.flatnonzero(np.diff(labels, prepend=-1)).tolist()
        times = [*self.curve.times[starts].tolist(), self.segment.end]
        spans = zip(starts, pairwise(times), strict=True)
        return [Bar(Segment(start, end), EMOTIONS[labels[row]]) for row, (start, end) in spans]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A lane with what its person shows.

    Attributes:
        lane: Who, and when they are seen.
        face: Their best view as a JPEG file; may be empty.
        bars: The appearances without a gap: episodes, between them what is strongest, and what is not known.
        pieces: The curve over time, cut where nothing is known.
    """

    lane: Lane
    face: bytes
    bars: tuple[Bar, ...]
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """A video with its lanes.

    Attributes:
        video: The video.
        shots: ``(S,)`` float64 seconds at which its shots begin, the first one included.
        rows: Its lanes, at least one unless nobody is seen.
        left_out: People beyond these.
    """

    video: VideoRecord
    shots: Float64
    rows: tuple[Row, ...]
    left_out: int


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """All that is drawn.

    Attributes:
        panels: One for each video, at least one.
        left_out: Videos beyond these.
        identity: The person that it is about; None: everybody.
    """

    panels: tuple[Panel, ...]
    left_out: int
    identity: Identity | None

    @property
    def title(self) -> str:
        """The person, or the video where it is only one."""
        if self.identity is not None:
            return self.identity.label
        return self.panels[0].video.path.name if len(self.panels) == 1 else f"{len(self.panels)} videos"


def read_chart(
    store: Store, *, video: VideoRecord | None = None, identity: Identity | None = None, ignored: bool = False
) -> Chart:
    """Return what `indexing.plot.plot` draws.

    Raises:
        FacetrackError: if there is nothing to draw.
    """
    videos = [record for record in ([video] if video else store.videos()) if not record.info.is_image]
    asked = ignored or identity is not None
    lanes = {record.video_id: _lanes(store, record, identity, ignored=asked) for record in videos}
    wanted = [record for record in videos if identity is None or lanes[record.video_id]]
    if not wanted:
        who = f"{identity.label} is in" if identity else "there is"
        raise FacetrackError(f"{who} no video to plot, only still pictures or nothing; add a video first")
    shown = _readable(wanted, [len(lanes[record.video_id]) for record in wanted])
    panels = tuple(_panel(store, record, lanes[record.video_id], ignored=asked) for record in shown)
    return Chart(panels, len(wanted) - len(shown), identity)


def _lanes(store: Store, video: VideoRecord, identity: Identity | None, *, ignored: bool) -> list[Lane]:
    return [lane for lane in lanes_of(store, video, ignored=ignored) if identity is None or lane.identity == identity]


def _readable(videos: Sequence[VideoRecord], rows: Sequence[int]) -> Sequence[VideoRecord]:
    total = np.cumsum(np.maximum(rows, 1))
    return videos[: max(1, int((total <= MOST_ROWS).sum()))]


def _panel(store: Store, video: VideoRecord, lanes: Sequence[Lane], *, ignored: bool) -> Panel:
    curves: dict[int | None, EmotionCurve] = {
        curve.identity_id: curve for curve in store.emotion_curves(video_id=video.video_id, ignored=ignored)
    }
    episodes = store.episodes(video_id=video.video_id, ignored=ignored)
    rows = tuple(_row(store, lane, curves, episodes) for lane in lanes[:MOST_ROWS])
    shots = store.timestamps(video.video_id)[store.shots(video.video_id)]
    return Panel(video, shots, rows, max(len(lanes) - MOST_ROWS, 0))


def _row(store: Store, lane: Lane, curves: dict[int | None, EmotionCurve], episodes: Sequence[Episode]) -> Row:
    face = face_of(store, lane)
    who = lane.identity.identity_id if lane.identity else None
    return row_of(lane, face, curves.get(who), [episode for episode in episodes if episode.identity_id == who])


def row_of(lane: Lane, face: bytes, curve: EmotionCurve | None, episodes: Sequence[Episode]) -> Row:
    """Return the row of a lane from its curve, None where there is none, and its episodes in any order."""
    seen = [appearance.segment for appearance in lane.appearances]
    pieces = [piece for segment in seen for piece in _pieces(curve, segment)] if curve is not None else []
    others = [bar for piece in pieces for bar in piece.strongest]
    shown = [Bar(e.segment, e.label, episode=True) for e in sorted(episodes, key=lambda episode: episode.onset)]
    parts = [part for segment in seen for part in _filled(segment, shown)]
    bars = [bar for part in parts for bar in ([part] if part.label else _filled(part.segment, _near(others, part)))]
    return Row(lane, face, tuple(bars), tuple(pieces))


def _pieces(curve: EmotionCurve, seen: Segment) -> list[Piece]:
    first, end = np.searchsorted(curve.times, [seen.start, seen.end]).tolist()
    here = first + np.flatnonzero(~np.isnan(curve.emotions[first:end]).any(axis=1))
    apart = (np.diff(here) > 1) | (np.diff(curve.times[here]) > GAP)
    return [_piece(curve, part, seen) for part in np.split(here, np.flatnonzero(apart) + 1) if len(part)]


def _piece(curve: EmotionCurve, here: Int64, seen: Segment) -> Piece:
    after = curve.times[here[-1] + 1 :][:1].tolist()
    end = min([*after, float(curve.times[here[-1]]) + GAP, seen.end])
    return Piece(take(curve, here), Segment(float(curve.times[here[0]]), end))


def take(curve: EmotionCurve, which: Int64) -> EmotionCurve:
    """Return the samples of a curve at these indices."""
    columns = ("times", "emotions", "valence", "arousal")
    return replace(curve, **{name: getattr(curve, name)[which] for name in columns})


def _near(bars: Sequence[Bar], part: Bar) -> Sequence[Bar]:
    """Return those of ``bars``, which do not overlap, that reach into ``part``: there may be thousands."""
    first = bisect_right(bars, part.segment.start, key=lambda bar: bar.segment.end)
    return bars[first : bisect_left(bars, part.segment.end, key=lambda bar: bar.segment.start)]


def _filled(whole: Segment, bars: Sequence[Bar]) -> list[Bar]:
    """Return the bars within ``whole``, and in the gaps between them bars without a label."""
    filled: list[Bar] = []
    at = whole.start
    for bar in bars:
        start, end = max(bar.segment.start, at), min(bar.segment.end, whole.end)
        if start < end:
            filled += [Bar(Segment(at, start))] * (start > at) + [replace(bar, segment=Segment(start, end))]
            at = end
    return filled + [Bar(Segment(at, whole.end))] * (at < whole.end)
