"""What the pictures share: panels with a time axis and lanes, their labels, and the way they are written."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import FixedLocator, FuncFormatter

from indexing.colors import Color
from indexing.files import replacing
from indexing.lanes import Lane, square
from indexing.report import clock
from indexing.types import VideoRecord
from tracker.errors import FacetrackError

logger = logging.getLogger(__name__)

Style = dict[str, Any]

MOST_LANES, MOST_PANELS = 40, 20
"""People of a video, and videos, in one picture; more could not be read. What is left out is said in it."""

WIDTH, LEFT, RIGHT = 12.0, 2.6, 0.35
"""Inches: the picture, the labels at its left, the margin at its right."""

HEAD, FOOT = 0.45, 0.5
"""Inches above a panel for its title and below it for its times."""

INK, SOFT, GRID, GREY = "#22262b", "#70767d", "#e6e8eb", "#9aa0a6"
DPI = 160

_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000)
"""Seconds between marks on a time axis that people can count in."""


def panels(lanes: Sequence[int], *, lane: float, top: float = 0.0) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with axes one below the other.

    Args:
        lanes: Lanes of each panel; beyond `MOST_LANES` they get no room.
        lane: Inches of a lane.
        top: Inches to leave above the first panel.
    """
    shown = [min(count, MOST_LANES) for count in lanes]
    height = top + sum(HEAD + lane * count + FOOT for count in shown)
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes, upper = [], height - top
    for count in shown:
        lower = upper - HEAD - lane * count
        place = (LEFT / WIDTH, lower / height, 1 - (LEFT + RIGHT) / WIDTH, lane * count / height)
        axes.append(figure.add_axes(place))
        upper = lower - FOOT
    return figure, axes


def style(ax: Axes, end: float, rows: int) -> None:
    """Give a panel its time axis from 0 to ``end`` seconds and a line between its lanes; lane 0 is at the top."""
    end = max(end, 1e-3)
    ax.set_xlim(0, end)
    ax.set_ylim(rows - 0.5, -0.5)
    ax.set_yticks([])
    ax.xaxis.set_major_locator(FixedLocator(ticks(end).tolist()))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value)[:-2] if end >= 90 else f"{value:g} s"))
    ax.tick_params(axis="x", length=0, colors=SOFT, labelsize=8.5, pad=5)
    ax.grid(axis="x", color=GRID, linewidth=0.8, zorder=0)
    ax.set_axisbelow(True)
    for side in ax.spines.values():
        side.set_visible(False)
    for row in range(rows + 1):
        ax.axhline(row - 0.5, color=GRID, linewidth=0.8, zorder=0, clip_on=False)


def ticks(end: float, *, most: int = 13) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return where a time axis from 0 to ``end`` seconds is marked: at most ``most`` even places.

    Example:
        >>> ticks(60).tolist() == list(range(0, 61, 5)), ticks(3 * 3600)[:3]
        (True, array([   0.,  900., 1800.]))
    """
    step = next((step for step in _STEPS if end / step < most), end / (most - 1))
    return np.round(np.arange(0, end + step * 1e-6, step), 6)


def title(ax: Axes, name: str, facts: str) -> None:
    """Write a name above a panel at its left, and facts at its right."""
    above: Style = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "va": "bottom",
        "annotation_clip": False,
    }
    left: Style = {"xy": (0, 1), "xytext": (-(LEFT - 0.15) * 72, 7)}
    ax.annotate(plain(name, 60), **left, **above, color=INK, fontsize=11.5, fontweight="bold")
    ax.annotate(facts, xy=(1, 1), xytext=(0, 7), **above, ha="right", color=SOFT, fontsize=8.5)


def facts(video: VideoRecord, shots: int, left_out: int) -> str:
    """Return what is said of a video above its panel."""
    text = f"{clock(video.end)}  ·  {video.frame_count} frames  ·  {shots} shot{'s' * (shots != 1)}"
    return text + f"  ·  {left_out} more people not shown" * bool(left_out)


def label(ax: Axes, row: int, lane: Lane, face: bytes, *, edge: Color | str) -> None:
    """Write at the left of a lane who it is, with their face (a JPEG; none for no bytes) in a frame."""
    place: Style = {"xy": (0, row), "xycoords": ("axes fraction", "data"), "annotation_clip": False}
    picture = square(face)
    if picture is not None:
        image = OffsetImage(picture, zoom=0.46 * 72 / picture.shape[0])
        frame = {"edgecolor": edge, "linewidth": 1.4}
        box = AnnotationBbox(
            image, **place, xybox=(-(LEFT - 0.42) * 72, 0), boxcoords="offset points", pad=0.04, bboxprops=frame
        )
        ax.add_artist(box)
    text: Style = {**place, "textcoords": "offset points", "ha": "left"}
    x = -(LEFT - 0.78) * 72
    ax.annotate(plain(lane.label, 20), **text, xytext=(x, 1.5), va="bottom", color=INK, fontsize=10)
    ax.annotate(lane.facts, **text, xytext=(x, -1.5), va="top", color=SOFT, fontsize=8)


def plain(text: str, longest: int) -> str:
    """Return ``text`` for matplotlib: no formulas, no control characters, not too long."""
    shown = re.sub(r"[^\w\s\-.,()'&+]", "?", "".join(c if c.isprintable() else "?" for c in text))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def save(figure: Figure, output: Path) -> None:
    """Write a figure in the format that the suffix of ``output`` says; text stays text in SVG and PDF.

    Raises:
        FacetrackError: if the suffix is of no format that matplotlib writes, or the folder does not exist.
    """
    known: Callable[[], dict[str, str]] = figure.canvas.get_supported_filetypes
    suffix = output.suffix[1:].lower()
    if suffix not in known():
        raise FacetrackError(
            f"{output}: a picture is written as {', '.join(sorted(known()))}; end the name in one of them"
        )
    # The same picture gives the same file: no date, no random ids. Journals ask for embedded TrueType fonts.
    options: Any = {"svg.hashsalt": "facetrack", "svg.fonttype": "none", "pdf.fonttype": 42}
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with replacing(output) as beside, mpl.rc_context(options), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no reason to fail.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(beside, metadata=undated.get(suffix))
    logger.info("wrote %s", output)
