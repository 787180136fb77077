"""What a live stream looks like: a table in a terminal, lines or JSON lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from indexing.live import Figures, Segment
from indexing.onscreen import Event, Seen
from indexing.report import clock, printable

if TYPE_CHECKING:
    from rich.table import Table

REDRAW = 0.2
"""Seconds from one drawing of the table to the next."""

TELL_FIGURES = 10.0
"""Seconds from one line of figures to the next."""


def choose(*, as_json: bool) -> LineView:
    """Return the view that fits standard output."""
    if as_json:
        return JsonView()
    return TableView() if sys.stdout.isatty() else LineView()


class LineView:
    """A line for each thing that happens, with the local time."""

    def __init__(self) -> None:
        self.name, self.began = "", datetime.now(UTC)
        self._told = time.monotonic()

    def start(self, name: str, began: datetime) -> None:
        """See `indexing.live.Viewer`."""
        self.name, self.began = name, began
        self._say(began, f"watching {printable(name)}")

    def tell(self, event: Event) -> None:
        """See `indexing.live.Viewer`."""
        self._say(self.moment(event.time), _sentence(event))

    def show(self, seen: Sequence[Seen], figures: Figures) -> None:
        """See `indexing.live.Viewer`."""
        if time.monotonic() - self._told >= TELL_FIGURES:
            self._told = time.monotonic()
            self.told(figures)

    def told(self, figures: Figures) -> None:
        """Tell how it goes."""
        self._say(self.moment(figures.seconds), _state(figures))

    def kept(self, segment: Segment) -> None:
        """See `indexing.live.Viewer`."""
        moment = segment.started_at + timedelta(seconds=segment.seconds)
        self._say(moment, f"kept {clock(segment.seconds)} as video {segment.video_id}: {segment.tracks} tracks")

    def end(self, figures: Figures) -> None:
        """See `indexing.live.Viewer`."""
        for line in _summary(figures):
            self._say(self.moment(figures.seconds), line)

    def moment(self, seconds: float) -> datetime:
        """Return when a second of the session was."""
        return self.began + timedelta(seconds=seconds)

    def _say(self, moment: datetime, text: str) -> None:
        _write(f"{moment.astimezone():%H:%M:%S} {text}")


class JsonView(LineView):
    """The same as JSON, an object a line; times are UTC."""

    def start(self, name: str, began: datetime) -> None:
        """See `indexing.live.Viewer`."""
        self.name, self.began = name, began
        self._object("start", began, source=name)

    def tell(self, event: Event) -> None:
        """See `indexing.live.Viewer`."""
        seen = event.seen
        self._object(
            event.kind,
            self.moment(event.time),
            face=seen.face,
            identity=None if seen.identity is None else seen.identity.identity_id,
            person=seen.label,
            confidence=round(seen.confidence, 4),
            since=_iso(self.moment(seen.since)),
            until=_iso(self.moment(seen.until)),
            box=seen.box,
            emotion=seen.emotion,
            intensity=round(seen.intensity, 4),
        )

    def told(self, figures: Figures) -> None:
        """Tell how it goes."""
        self._object("figures", self.moment(figures.seconds), **_rounded(figures))

    def kept(self, segment: Segment) -> None:
        """See `indexing.live.Viewer`."""
        end = segment.started_at + timedelta(seconds=segment.seconds)
        told = {"video": segment.video_id, "path": str(segment.path), "started_at": _iso(segment.started_at)}
        self._object("kept", end, **told, seconds=round(segment.seconds, 3), tracks=segment.tracks)

    def end(self, figures: Figures) -> None:
        """See `indexing.live.Viewer`."""
        self._object("end", self.moment(figures.seconds), **_rounded(figures))

    def _object(self, kind: str, moment: datetime, **values: Any) -> None:
        _write(json.dumps({"event": kind, "at": _iso(moment), **values}))


class TableView(LineView):
    """A table of who is on screen, drawn over and over."""

    def __init__(self) -> None:
        from rich.live import Live

        super().__init__()
        self._live = Live(auto_refresh=False, transient=True)
        self._drawn = 0.0

    def start(self, name: str, began: datetime) -> None:
        """See `indexing.live.Viewer`."""
        self.name, self.began = name, began
        self._live.start()

    def tell(self, event: Event) -> None:
        """See `indexing.live.Viewer`."""

    def show(self, seen: Sequence[Seen], figures: Figures) -> None:
        """See `indexing.live.Viewer`."""
        if time.monotonic() - self._drawn >= REDRAW:
            self._drawn = time.monotonic()
            self._live.update(self._table(seen, figures), refresh=True)

    def kept(self, segment: Segment) -> None:
        """See `indexing.live.Viewer`."""

    def end(self, figures: Figures) -> None:
        """See `indexing.live.Viewer`."""
        self._live.stop()
        super().end(figures)

    def _table(self, seen: Sequence[Seen], figures: Figures) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        caption = Text(_state(figures))
        table = Table(title=Text(printable(self.name)), caption=caption, box=box.SIMPLE_HEAD, min_width=60)
        for column in ("person", "since", "emotion", "confidence"):
            table.add_column(column, justify="right" if column == "confidence" else "left")
        for one in seen:
            since = f"{self.moment(one.since).astimezone():%H:%M:%S}"
            sure = "" if one.identity is None else f"{one.confidence:.0%}"
            table.add_row(Text(printable(one.label)), since, _feeling(one), sure)
        return table


def _sentence(event: Event) -> str:
    seen, who = event.seen, printable(event.seen.label)
    sure = "" if seen.identity is None else f" ({seen.confidence:.0%})"
    if event.kind == "leave":
        return f"leaves   {who}, seen for {clock(seen.until - seen.since)}"
    if event.kind == "emotion":
        return f"emotion  {who}: {_feeling(seen) or 'none is clear'}"
    if event.kind == "name":
        return f"is       {who}{sure}, face {seen.face}"
    return f"enters   {who}{sure}"


def _feeling(seen: Seen) -> str:
    return "" if seen.emotion is None else f"{seen.emotion} {seen.intensity:.0%}"


def _state(figures: Figures) -> str:
    if not figures.connected:
        return f"no connection; {_kept(figures)}"
    left_out = f"{figures.dropped} dropped" + (f", {figures.skipped} skipped" if figures.skipped else "")
    return f"{figures.fps:.1f} frames/s, {figures.latency:.2f} s old (95 % within {figures.p95:.2f} s), {left_out}"


def _summary(figures: Figures) -> list[str]:
    again = f", connected again {figures.reconnects} times" if figures.reconnects else ""
    looked = f"{figures.frames} frames looked at, {figures.dropped} dropped, {figures.skipped} skipped"
    return [
        f"over after {clock(figures.seconds)}: {looked}{again}",
        f"a frame was told {figures.median:.2f} s after it came (median), 95 % within {figures.p95:.2f} s",
        _kept(figures),
    ]


def _kept(figures: Figures) -> str:
    return f"kept: {figures.tracks} tracks in {figures.segments} piece{'' if figures.segments == 1 else 's'}"


def _rounded(figures: Figures) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(figures).items()}


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
