"""The plot as a picture, for a paper: PNG, SVG or PDF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from indexing.colors import NOT_KNOWN, PLEASANT, UNPLEASANT, Color, emotion_color
from indexing.panels import GREY, INK, SOFT, WIDTH, Style, facts, label, panels, plain, save, style
from indexing.panels import title as write_title
from indexing.plot.chart import NEUTRAL, Bar, Chart, Panel, Piece, Row
from tracker.types import EMOTIONS, Float64, Segment

VALENCE = LinearSegmentedColormap.from_list("valence", [UNPLEASANT, "#F7F7F7", PLEASANT])
"""From unpleasant (-1) over white to pleasant (1)."""

_LANE, _LEGEND = 0.9, 0.68

# Parts of a lane, from its middle down, in lane heights: the curves, the bar, the strip of valence.
_FULL, _BASE = -0.41, 0.13
_BAR, _STRIP = (0.17, 0.17), (0.365, 0.065)

_FINEST = 1500
"""Samples across the picture beyond which they are averaged: about one a pixel."""

_MOST_LINES = 100
"""Shots in a panel up to which their boundaries are lines."""

_DASHED = (0, (4, 2))
_HATCH, _HATCH_INK = "/////", "#BCC2C8"


def draw_chart(chart: Chart, output: Path) -> None:
    """Write a chart as a picture.

    Raises:
        FacetrackError: if the suffix is of no format that matplotlib writes, or the folder does not exist.
    """
    rows = [max(len(panel.rows), 1) for panel in chart.panels]
    figure, axes = panels(rows, lane=_LANE, top=_LEGEND)
    for ax, panel in zip(axes, chart.panels, strict=True):
        _draw_panel(ax, panel)
    if chart.left_out:
        count = len(chart.panels)
        axes[-1].set_xlabel(f"the first {count} of {count + chart.left_out} videos", color=SOFT)
    _draw_legend(figure, chart)
    save(figure, output)


def _draw_panel(ax: Axes, panel: Panel) -> None:
    style(ax, panel.video.end, max(len(panel.rows), 1))
    said = facts(panel.video, len(panel.shots), panel.left_out)
    model = panel.video.emotion_id
    write_title(ax, panel.video.path.name, said + (f"  ·  {plain(model, 60)}" if model else ""))
    # Lines of many short shots would hide the curves: then each is a mark at the upper edge.
    rows = max(len(panel.rows), 1) if len(panel.shots) <= _MOST_LINES else 0.06
    ax.vlines(panel.shots[1:], -0.5, rows - 0.5, color=INK, linewidth=0.7, alpha=0.55, linestyle=_DASHED, zorder=4)
    if not panel.rows:
        ax.text(0.5, 0.5, "no face", transform=ax.transAxes, ha="center", va="center", color=SOFT)
    for number, row in enumerate(panel.rows):
        label(ax, number, row.lane, row.face, edge=GREY)
        _draw_row(ax, number, row, panel.video.end)


def _draw_row(ax: Axes, number: int, row: Row, end: float) -> None:
    pieces = row.pieces
    _draw_bars(ax, number + _BAR[0] if pieces else number - _BAR[1] / 2, row, end)
    if pieces:
        spans = [(piece.segment.start, piece.segment.duration) for piece in pieces]
        ax.broken_barh(spans, (number + _FULL, _BASE - _FULL), facecolors="#F6F7F8", linewidth=0, zorder=1)
        _draw_scale(ax, number)
        joined = _joined([_thinned(piece, end / _FINEST) for piece in pieces])
        _draw_mix(ax, number, *joined)
        _draw_valence(ax, number, *joined)


def _draw_bars(ax: Axes, top: float, row: Row, end: float) -> None:
    place = (top, _BAR[1])
    seen = [_span(appearance.segment, end) for appearance in row.lane.appearances]
    look: Style = {"facecolors": NOT_KNOWN, "edgecolor": _HATCH_INK, "hatch": _HATCH, "linewidth": 0}
    ax.broken_barh(seen, place, **look, zorder=2)
    known = [(bar, bar.label) for bar in row.bars if bar.label]
    tints = [_tint(bar) for bar, _ in known]
    ax.broken_barh([_span(bar.segment, end) for bar, _ in known], place, facecolors=tints, linewidth=0, zorder=2.5)
    for bar, name in known:
        if bar.episode and bar.segment.duration / end > 0.0065 * len(name) + 0.008:
            middle = (bar.segment.start + bar.segment.end) / 2
            at: Style = {"ha": "center", "va": "center_baseline", "clip_on": True, "zorder": 5}
            ax.text(middle, top + _BAR[1] / 2, name, **at, fontsize=6.8, color=_readable(_tint(bar)))


def _span(segment: Segment, end: float) -> tuple[float, float]:
    """Return where a bar begins and how wide it is: at least as wide as a line."""
    return segment.start, max(segment.duration, end * 0.0015)


def _tint(bar: Bar) -> Color:
    red, green, blue = emotion_color(bar.label or "neutral")
    return (red, green, blue) if bar.episode else (pale(red), pale(green), pale(blue))


def pale(part: float) -> float:
    """Return a part of a colour as it is shown where an emotion is the strongest of a mix, but no episode."""
    return 1 - 0.4 * (1 - part)


def _readable(tint: Color) -> str:
    red, green, blue = tint
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else INK


def _draw_scale(ax: Axes, number: int) -> None:
    for value in (0, 1):
        height = number + _BASE + value * (_FULL - _BASE)
        place: Style = {"xy": (1, height), "xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        ax.annotate(f"{value:.0%}", **place, xytext=(4, 0), va="center", fontsize=6, color=SOFT, annotation_clip=False)


def _thinned(piece: Piece, width: float) -> Piece:
    """Return a piece with the means of its samples in each ``width`` seconds."""
    curve = piece.curve
    cells = np.floor(curve.times / width)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(cells)) + 1])
    counts = np.diff([*starts, len(curve)])
    columns = {name: getattr(curve, name).astype(np.float64) for name in ("emotions", "valence", "arousal")}
    means = {name: (np.add.reduceat(values, starts).T / counts).T for name, values in columns.items()}
    return replace(piece, curve=replace(curve, times=curve.times[starts], **means))


def _joined(pieces: Sequence[Piece]) -> tuple[Float64, Float64]:
    """Return ``(N,)`` times and ``(N, 8)`` emotions and valence, where each piece ends, and NaN between the pieces.

    One shape for a whole row is drawn far faster than one for each piece.
    """
    rows = []
    for piece in pieces:
        values = np.column_stack([piece.curve.times, piece.curve.emotions, piece.curve.valence])
        last = values[-1:].copy()
        last[0, 0] = piece.segment.end
        rows += [values, last, np.full((1, values.shape[1]), np.nan)]
    table = np.concatenate(rows)
    return np.where(np.isnan(table[:, 0]), np.roll(table[:, 0], 1), table[:, 0]), table[:, 1:]


def _draw_mix(ax: Axes, number: int, times: Float64, values: Float64) -> None:
    below = np.zeros(len(times))
    for column, name in enumerate(EMOTIONS):
        if column != NEUTRAL:
            above = below + values[:, column]
            low, high = (number + _BASE + part * (_FULL - _BASE) for part in (below, above))
            known = ~np.isnan(high)
            ax.fill_between(times, low, high, where=known, color=emotion_color(name), linewidth=0, zorder=2)
            below = above
    ax.plot(times, number + _BASE + below * (_FULL - _BASE), color=INK, linewidth=0.6, zorder=3)


def _draw_valence(ax: Axes, number: int, times: Float64, values: Float64) -> None:
    levels = np.round(values[:, -1] * 16) / 16
    starts = np.append(np.flatnonzero(np.diff(levels, prepend=np.nan) != 0), len(levels))
    spans = [(start, end, level) for start, end, level in _runs(starts.tolist(), times, levels) if not np.isnan(level)]
    tints = VALENCE([(level + 1) / 2 for *_, level in spans])
    bars = [(start, end - start) for start, end, _ in spans]
    ax.broken_barh(bars, (number + _STRIP[0], _STRIP[1]), facecolors=tints, linewidth=0, zorder=2)


def _runs(starts: Sequence[int], times: Float64, levels: Float64) -> Iterator[tuple[float, float, float]]:
    for first, after in pairwise(starts):
        yield float(times[first]), float(times[min(after, len(times) - 1)]), float(levels[first])


def _draw_legend(figure: Figure, chart: Chart) -> None:
    height = figure.get_figheight()
    ax = figure.add_axes((0.15 / WIDTH, 1 - _LEGEND / height, 1 - 0.3 / WIDTH, _LEGEND / height))
    ax.set(xlim=(0, WIDTH - 0.3), ylim=(0, _LEGEND))
    ax.set_axis_off()
    x = 0.0
    for name in EMOTIONS:
        x = _swatch(ax, x, _LEGEND - 0.27, name, facecolor=emotion_color(name), linewidth=0)
    _swatch(ax, x, _LEGEND - 0.27, "not known", facecolor=NOT_KNOWN, edgecolor=_HATCH_INK, hatch=_HATCH, linewidth=0)
    _draw_reading(ax, _LEGEND - 0.55, [panel.video.affect_derived for panel in chart.panels])


def _draw_reading(ax: Axes, y: float, derived: Sequence[bool]) -> None:
    bars = "bar: episodes, pale where one is only the strongest of a mix"
    x = _write(ax, 0.0, y, f"area: probabilities, the rest up to 100% is neutral   ·   {bars}   ·") + 0.1
    x = _write(ax, x, y, f"strip: valence{' (derived)' * all(derived)}, unpleasant") + 0.06
    ax.imshow(np.linspace(0, 1, 64)[None], cmap=VALENCE, extent=(x, x + 0.6, y + 0.02, y + 0.12), aspect="auto")
    x = _write(ax, x + 0.66, y, "pleasant   ·") + 0.1
    ax.plot([x, x + 0.3], [y + 0.07] * 2, color=INK, linewidth=0.7, alpha=0.55, linestyle=_DASHED)
    _write(ax, x + 0.36, y, "shot boundary")
    ax.set(xlim=(0, WIDTH - 0.3), ylim=(0, _LEGEND))


def _swatch(ax: Axes, x: float, y: float, text: str, **look: Any) -> float:
    ax.add_patch(Rectangle((x, y), 0.24, 0.14, **look))
    return _write(ax, x + 0.3, y, text, color=INK, fontsize=8.5) + 0.22


def _write(ax: Axes, x: float, y: float, text: str, *, color: str = SOFT, fontsize: float = 7.8) -> float:
    """Write ``text`` and return where it ends, in inches as the axes have."""
    written = ax.text(x, y + 0.07, text, color=color, fontsize=fontsize, va="center_baseline")
    return x + float(written.get_window_extent().width) / ax.figure.dpi
