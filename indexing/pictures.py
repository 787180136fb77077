"""Pictures to look at: who is seen when, what a search found, and the ROC curve of an embedder."""

from __future__ import annotations

import io
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image as PillowImage
from PIL import ImageOps

from indexing.colors import Color, color
from indexing.files import replacing
from indexing.report import clock
from indexing.store import Store
from indexing.types import UNKNOWN, Appearance, Identity, TrackRecord, VideoRecord
from tracker.errors import FacetrackError
from tracker.types import Image

if TYPE_CHECKING:
    from indexing.metrics import Verification
    from indexing.search import Answer

logger = logging.getLogger(__name__)

_Style = dict[str, Any]

MOST_FOUND = 12
"""People in one row of a sheet; how many more there are is said."""

MOST_LANES, MOST_PANELS = 40, 20
"""People of a video, and videos, in one picture; more could not be read. What is left out is said in it."""

_WIDTH, _LEFT, _RIGHT = 12.0, 2.6, 0.35
_LANE, _HEAD, _FOOT = 0.56, 0.45, 0.5
_INK, _SOFT, _GRID, _GREY = "#22262b", "#70767d", "#e6e8eb", "#9aa0a6"
_DPI = 160


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of a panel: a person, or all unknown ones together.

    Attributes:
        identity: Who; None: the unknown ones.
        appearances: When they are seen in the video.
        records: Their tracks in it.
    """

    identity: Identity | None
    appearances: tuple[Appearance, ...]
    records: tuple[TrackRecord, ...]

    @property
    def screen_time(self) -> float:
        """Seconds of all appearances together."""
        return sum(seen.segment.duration for seen in self.appearances)


def draw_timeline(store: Store, output: Path, *, videos: Sequence[VideoRecord] | None = None) -> None:
    """Draw who is seen when: a panel for each video, a lane for each person, a bar for each appearance.

    The light part of a bar is the appearance, the full part the tracks that make it up; thin lines are shot boundaries.

    Args:
        store: The store.
        output: A file that matplotlib can write: PNG, PDF, SVG.
        videos: Which ones; None: all. Still pictures have no duration and are left out.

    Raises:
        FacetrackError: if there is no video among them.
    """
    chosen = [video for video in (store.videos() if videos is None else videos) if not video.info.is_image]
    if not chosen:
        raise FacetrackError("there is no video to draw, only still pictures or nothing; add a video first")
    panels = [(video, lanes_of(store, video)) for video in chosen[:MOST_PANELS]]
    figure, axes = _panels([max(len(lanes), 1) for _, lanes in panels])
    for ax, (video, lanes) in zip(axes, panels, strict=True):
        _draw_panel(ax, store, video, lanes)
    if len(chosen) > MOST_PANELS:
        axes[-1].set_xlabel(f"the first {MOST_PANELS} of {len(chosen)} videos", color=_SOFT)
    _save(figure, output)


def lanes_of(store: Store, video: VideoRecord) -> list[Lane]:
    """Return the lanes of a video: its people by falling screen time, then all unknown ones in one."""
    people = {identity.identity_id: identity for identity in store.identities()}
    seen: dict[int | None, list[Appearance]] = defaultdict(list)
    for appearance in store.appearances(video_id=video.video_id):
        seen[appearance.identity_id].append(appearance)
    records: dict[int | None, list[TrackRecord]] = defaultdict(list)
    for record in store.track_records(video.video_id):
        records[record.identity_id].append(record)
    lanes = [Lane(people[key] if key is not None else None, tuple(seen[key]), tuple(records[key])) for key in seen]
    return sorted(lanes, key=_rank)


def _rank(lane: Lane) -> tuple[bool, float, int]:
    return lane.identity is None, -lane.screen_time, lane.identity.identity_id if lane.identity else 0


def _panels(lanes: Sequence[int]) -> tuple[Figure, list[Axes]]:
    shown = [min(count, MOST_LANES) for count in lanes]
    height = sum(_HEAD + _LANE * count + _FOOT for count in shown)
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes, top = [], height
    for count in shown:
        bottom = top - _HEAD - _LANE * count
        place = (_LEFT / _WIDTH, bottom / height, 1 - (_LEFT + _RIGHT) / _WIDTH, _LANE * count / height)
        axes.append(figure.add_axes(place))
        top = bottom - _FOOT
    return figure, axes


def _draw_panel(ax: Axes, store: Store, video: VideoRecord, lanes: Sequence[Lane]) -> None:
    shown = lanes[:MOST_LANES]
    _style(ax, video, max(len(shown), 1))
    _title(ax, store, video, len(lanes) - len(shown))
    for time in store.timestamps(video.video_id)[store.shots(video.video_id)][1:]:
        ax.axvline(time, color=_GREY, linewidth=0.7, zorder=1.5)
    if not lanes:
        ax.text(0.5, 0.5, "no face", transform=ax.transAxes, ha="center", va="center", color=_SOFT)
    for row, lane in enumerate(shown):
        _draw_bars(ax, row, lane, least=video.end * 0.002)
        _draw_label(ax, store, row, lane)


def _style(ax: Axes, video: VideoRecord, rows: int) -> None:
    ax.set_xlim(0, max(video.end, 1e-3))
    ax.set_ylim(rows - 0.5, -0.5)
    ax.set_yticks([])
    ax.xaxis.set_major_locator(MaxNLocator(nbins=12, steps=[1, 2, 3, 5, 6, 10]))
    long = video.end >= 90
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value)[:-2] if long else f"{value:g} s"))
    ax.tick_params(axis="x", length=0, colors=_SOFT, labelsize=8.5, pad=5)
    ax.grid(axis="x", color=_GRID, linewidth=0.8, zorder=0)
    ax.set_axisbelow(True)
    for side in ax.spines.values():
        side.set_visible(False)
    for row in range(rows + 1):
        ax.axhline(row - 0.5, color=_GRID, linewidth=0.8, zorder=0, clip_on=False)


def _title(ax: Axes, store: Store, video: VideoRecord, left_out: int) -> None:
    shots = len(store.shots(video.video_id))
    facts = f"{clock(video.end)}  ·  {video.frame_count} frames  ·  {shots} shot{'s' * (shots != 1)}"
    facts += f"  ·  {left_out} more people not shown" * bool(left_out)
    above: _Style = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "va": "bottom",
        "annotation_clip": False,
    }
    left: _Style = {"xy": (0, 1), "xytext": (-(_LEFT - 0.15) * 72, 7)}
    ax.annotate(_plain(video.path.name, 60), **left, **above, color=_INK, fontsize=11.5, fontweight="bold")
    ax.annotate(facts, xy=(1, 1), xytext=(0, 7), **above, ha="right", color=_SOFT, fontsize=8.5)


def _draw_bars(ax: Axes, row: int, lane: Lane, *, least: float) -> None:
    tint = _tint(lane)
    spans = [(seen.segment.start, max(seen.segment.duration, least)) for seen in lane.appearances]
    tracks = [(record.start, max(record.end - record.start, least)) for record in lane.records]
    ax.broken_barh(spans, (row - 0.23, 0.46), facecolors=(*tint, 0.3), linewidth=0, zorder=2)
    ax.broken_barh(tracks, (row - 0.23, 0.46), facecolors=tint, linewidth=0, zorder=2.5)


def _tint(lane: Lane) -> Color:
    return color(lane.identity.identity_id if lane.identity else None)


def _draw_label(ax: Axes, store: Store, row: int, lane: Lane) -> None:
    best = max(lane.records, key=lambda record: (record.quality, record.size, -record.key))
    place: _Style = {"xy": (0, row), "xycoords": ("axes fraction", "data"), "annotation_clip": False}
    picture = _picture(store.thumbnail(best.key)) if lane.identity else None
    if picture is not None:
        image = OffsetImage(picture, zoom=0.46 * 72 / picture.shape[0])
        frame = {"edgecolor": _tint(lane), "linewidth": 1.4}
        box = AnnotationBbox(
            image, **place, xybox=(-(_LEFT - 0.42) * 72, 0), boxcoords="offset points", pad=0.04, bboxprops=frame
        )
        ax.add_artist(box)
    label = _plain(lane.identity.label, 20) if lane.identity else UNKNOWN
    count = len(lane.appearances)
    facts = f"{lane.screen_time:.1f} s  ·  {count} appearance{'s' * (count != 1)}"
    text: _Style = {**place, "textcoords": "offset points", "ha": "left"}
    x = -(_LEFT - 0.78) * 72
    ax.annotate(label, **text, xytext=(x, 1.5), va="bottom", color=_INK, fontsize=10)
    ax.annotate(facts, **text, xytext=(x, -1.5), va="top", color=_SOFT, fontsize=8)


def _picture(jpeg: bytes, side: int = 160) -> Image | None:
    """Return a JPEG as a square ``(side, side, 3)`` uint8 RGB array; None for no bytes."""
    if not jpeg:
        return None
    with PillowImage.open(io.BytesIO(jpeg)) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (side, side)))


def _plain(text: str, longest: int) -> str:
    """Return ``text`` for matplotlib: no formulas, no control characters, not too long."""
    shown = re.sub(r"[^\w\s\-.,()'&+]", "?", "".join(c if c.isprintable() else "?" for c in text))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def draw_sheet(store: Store, answers: Sequence[Answer], output: Path) -> None:
    """Draw what a search found: a row for each face, the face first, then people by falling similarity.

    Raises:
        FacetrackError: if there is no face.
    """
    if not answers:
        raise FacetrackError("there is no face to draw a sheet of")
    columns = 1 + min(max(len(answer.found) for answer in answers), MOST_FOUND)
    figure = Figure(figsize=(1.4 * columns, 1.8 * len(answers)), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(answers), columns, squeeze=False)
    for axes, answer in zip(grid, answers, strict=True):
        _draw_answer(axes, store, answer)
    for ax in grid.ravel():
        ax.set_axis_off()
    figure.tight_layout(pad=0.6)
    _save(figure, output)


def _draw_answer(axes: Sequence[Axes], store: Store, answer: Answer) -> None:
    left_out = len(answer.found) - MOST_FOUND
    note = f"{left_out} more not shown" if left_out > 0 else "" if answer.found else "nobody found"
    _face(axes[0], _square(answer.probe.thumbnail), f"{_plain(answer.probe.path.name, 18)}\n{note}", _INK)
    for ax, found in zip(axes[1:], answer.found, strict=False):
        label = f"{_plain(found.label, 16)}\n{found.match.probability:.0%} · {found.match.similarity:.2f}"
        _face(ax, _picture(store.thumbnail(found.match.track_key)), label, color(found.match.identity_id))


def _square(image: Image, side: int = 160) -> Image | None:
    """Return a BGR picture as a square RGB one; None for an empty one."""
    if not image.size:
        return None
    return np.asarray(ImageOps.fit(PillowImage.fromarray(np.ascontiguousarray(image[..., ::-1])), (side, side)))


def _face(ax: Axes, picture: Image | None, label: str, edge: Color | str) -> None:
    if picture is not None and picture.size:
        ax.imshow(picture)
        height, width = picture.shape[:2]
        frame = Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=edge, linewidth=3)
        ax.add_patch(frame)
    ax.set_title(label, fontsize=7, color=_INK, pad=3)


def draw_roc(curve: Verification, output: Path, *, title: str = "") -> None:
    """Draw the true accept rate over the false accept rate, the latter on a logarithmic axis."""
    figure = Figure(figsize=(6.4, 4.6), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    rates, accepted = curve.roc(400)
    ax.semilogx(rates, accepted, color=color(1), linewidth=2)
    for rate in (1e-4, 1e-3, 1e-2):
        if rate >= rates[0]:
            _mark(ax, rate, curve.tar(rate))
    ax.set(xlabel="false accept rate", ylabel="true accept rate", xlim=(rates[0], 1))
    ax.set_ylim(min(0.9, float(accepted.min()) - 0.02), 1.002)
    ax.set_title(title, loc="left", fontsize=10.5, color=_INK)
    ax.grid(color=_GRID, which="major")
    for name, side in ax.spines.items():
        side.set_visible(name in ("left", "bottom"))
    figure.tight_layout()
    _save(figure, output)


def _mark(ax: Axes, rate: float, accepted: float) -> None:
    ax.plot([rate], [accepted], "o", color=color(1), markersize=5)
    place: _Style = {"xytext": (6, -12), "textcoords": "offset points"}
    ax.annotate(f"{accepted:.1%} at {rate:g}", (rate, accepted), **place, fontsize=8, color=_INK)


def _save(figure: Figure, output: Path) -> None:
    known: Callable[[], dict[str, str]] = figure.canvas.get_supported_filetypes
    if output.suffix[1:].lower() not in known():
        raise FacetrackError(
            f"{output}: a picture is written as {', '.join(sorted(known()))}; end the name in one of them"
        )
    with replacing(output) as beside:
        figure.savefig(beside)
    logger.info("wrote %s", output)
