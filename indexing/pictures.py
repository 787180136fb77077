"""Pictures to look at: who is seen when, what a search found, and the ROC curve of an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image as PillowImage
from PIL import ImageOps

from indexing.colors import Color, color
from indexing.lanes import Lane, face_of, lanes_of, square
from indexing.panels import (
    DPI,
    GREY,
    GRID,
    INK,
    MOST_LANES,
    MOST_PANELS,
    SOFT,
    Style,
    facts,
    label,
    panels,
    plain,
    save,
    style,
    title,
)
from indexing.store import Store
from indexing.types import VideoRecord
from tracker.errors import FacetrackError
from tracker.types import Image

if TYPE_CHECKING:
    from indexing.metrics import Verification
    from indexing.search import Answer

MOST_FOUND = 12
"""People in one row of a sheet; how many more there are is said."""

_LANE = 0.56


def draw_timeline(
    store: Store, output: Path, *, videos: Sequence[VideoRecord] | None = None, ignored: bool = False
) -> None:
    """Draw who is seen when: a panel for each video, a lane for each person, a bar for each appearance.

    The light part of a bar is the appearance, the full part the tracks that make it up; thin lines are shot boundaries.

    Args:
        store: The store.
        output: A file that matplotlib can write: PNG, PDF, SVG.
        videos: Which ones; None: all. Still pictures have no duration and are left out.
        ignored: People who are ignored too.

    Raises:
        FacetrackError: if there is no video among them.
    """
    chosen = [video for video in (store.videos() if videos is None else videos) if not video.info.is_image]
    if not chosen:
        raise FacetrackError("there is no video to draw, only still pictures or nothing; add a video first")
    shown = [(video, lanes_of(store, video, ignored=ignored)) for video in chosen[:MOST_PANELS]]
    figure, axes = panels([max(len(lanes), 1) for _, lanes in shown], lane=_LANE)
    for ax, (video, lanes) in zip(axes, shown, strict=True):
        _draw_panel(ax, store, video, lanes)
    if len(chosen) > MOST_PANELS:
        axes[-1].set_xlabel(f"the first {MOST_PANELS} of {len(chosen)} videos", color=SOFT)
    save(figure, output)


def _draw_panel(ax: Axes, store: Store, video: VideoRecord, lanes: Sequence[Lane]) -> None:
    shown = lanes[:MOST_LANES]
    cuts = store.timestamps(video.video_id)[store.shots(video.video_id)]
    style(ax, video.end, max(len(shown), 1))
    title(ax, video.path.name, facts(video, len(cuts), len(lanes) - len(shown)))
    for time in cuts[1:]:
        ax.axvline(time, color=GREY, linewidth=0.7, zorder=1.5)
    if not lanes:
        ax.text(0.5, 0.5, "no face", transform=ax.transAxes, ha="center", va="center", color=SOFT)
    for row, lane in enumerate(shown):
        _draw_bars(ax, row, lane, least=video.end * 0.002)
        label(ax, row, lane, face_of(store, lane), edge=_tint(lane))


def _draw_bars(ax: Axes, row: int, lane: Lane, *, least: float) -> None:
    tint = _tint(lane)
    spans = [(seen.segment.start, max(seen.segment.duration, least)) for seen in lane.appearances]
    tracks = [(record.start, max(record.end - record.start, least)) for record in lane.records]
    ax.broken_barh(spans, (row - 0.23, 0.46), facecolors=(*tint, 0.3), linewidth=0, zorder=2)
    ax.broken_barh(tracks, (row - 0.23, 0.46), facecolors=tint, linewidth=0, zorder=2.5)


def _tint(lane: Lane) -> Color:
    return color(lane.identity.identity_id if lane.identity else None)


def draw_sheet(store: Store, answers: Sequence[Answer], output: Path) -> None:
    """Draw what a search found: a row for each face, the face first, then people by falling similarity.

    Raises:
        FacetrackError: if there is no face.
    """
    if not answers:
        raise FacetrackError("there is no face to draw a sheet of")
    columns = 1 + min(max(len(answer.found) for answer in answers), MOST_FOUND)
    figure = Figure(figsize=(1.4 * columns, 1.8 * len(answers)), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(answers), columns, squeeze=False)
    for axes, answer in zip(grid, answers, strict=True):
        _draw_answer(axes, store, answer)
    for ax in grid.ravel():
        ax.set_axis_off()
    figure.tight_layout(pad=0.6)
    save(figure, output)


def _draw_answer(axes: Sequence[Axes], store: Store, answer: Answer) -> None:
    left_out = len(answer.found) - MOST_FOUND
    note = f"{left_out} more not shown" if left_out > 0 else "" if answer.found else "nobody found"
    _face(axes[0], _cut(answer.probe.thumbnail), f"{plain(answer.probe.path.name, 18)}\n{note}", INK)
    for ax, found in zip(axes[1:], answer.found, strict=False):
        caption = f"{plain(found.label, 16)}\n{found.match.probability:.0%} · FAR {found.far:.0e}"
        _face(ax, square(store.thumbnail(found.match.track_key)), caption, color(found.match.identity_id))


def _cut(image: Image, side: int = 160) -> Image | None:
    """Return a BGR picture as a square RGB one; None for an empty one."""
    if not image.size:
        return None
    return np.asarray(ImageOps.fit(PillowImage.fromarray(np.ascontiguousarray(image[..., ::-1])), (side, side)))


def _face(ax: Axes, picture: Image | None, caption: str, edge: Color | str) -> None:
    if picture is not None and picture.size:
        ax.imshow(picture)
        height, width = picture.shape[:2]
        frame = Rectangle((-0.5, -0.5), width, height, fill=False, edgecolor=edge, linewidth=3)
        ax.add_patch(frame)
    ax.set_title(caption, fontsize=7, color=INK, pad=3)


def draw_roc(curve: Verification, output: Path, *, title: str = "") -> None:
    """Draw the true accept rate over the false accept rate, the latter on a logarithmic axis."""
    figure = Figure(figsize=(6.4, 4.6), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    rates, accepted = curve.roc(400)
    ax.semilogx(rates, accepted, color=color(1), linewidth=2)
    for rate in (1e-4, 1e-3, 1e-2):
        if rate >= rates[0]:
            _mark(ax, rate, curve.tar(rate))
    ax.set(xlabel="false accept rate", ylabel="true accept rate", xlim=(rates[0], 1))
    ax.set_ylim(min(0.9, float(accepted.min()) - 0.02), 1.002)
    ax.set_title(title, loc="left", fontsize=10.5, color=INK)
    ax.grid(color=GRID, which="major")
    for name, side in ax.spines.items():
        side.set_visible(name in ("left", "bottom"))
    figure.tight_layout()
    save(figure, output)


def _mark(ax: Axes, rate: float, accepted: float) -> None:
    ax.plot([rate], [accepted], "o", color=color(1), markersize=5)
    place: Style = {"xytext": (6, -12), "textcoords": "offset points"}
    ax.annotate(f"{accepted:.1%} at {rate:g}", (rate, accepted), **place, fontsize=8, color=INK)
