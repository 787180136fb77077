"""The plot as a page: one HTML file without any reference to the network, which plays along with the video."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import logging
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image as PillowImage

from indexing.colors import NOT_KNOWN, PLEASANT, UNPLEASANT, emotion_color, hexadecimal
from indexing.files import replacing
from indexing.lanes import square
from indexing.plot.chart import Chart, Panel, Piece, Row
from tracker.types import EMOTIONS

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_FACE = 96
"""Side in pixels of the faces in the page."""


def write_page(chart: Chart, output: Path) -> None:
    """Write a chart as a page.

    Raises:
        FacetrackError: if the folder does not exist.
    """
    text = _filled(chart.title, page_data(chart, output))
    with replacing(output) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")
    logger.info("wrote %s", output)


def page_data(chart: Chart, output: Path) -> Json:
    """Return what the page shows: seconds, and probabilities and valence to three decimals."""
    return {
        "title": _text(chart.title),
        "emotions": [{"label": name, "color": hexadecimal(emotion_color(name))} for name in EMOTIONS],
        "colors": {"unknown": NOT_KNOWN, "pleasant": PLEASANT, "unpleasant": UNPLEASANT},
        "left_out": chart.left_out,
        "panels": [_panel(panel, output) for panel in chart.panels],
    }


def _panel(panel: Panel, output: Path) -> Json:
    return {
        "video": _text(panel.video.path.name),
        "src": _relative(panel.video.path, output),
        "end": _rounded(panel.video.end),
        "frames": panel.video.frame_count,
        "derived": panel.video.affect_derived,
        "model": panel.video.emotion_id,
        "left_out": panel.left_out,
        "shots": [_rounded(time) for time in panel.shots.tolist()],
        "rows": [_row(row) for row in panel.rows],
    }


def _row(row: Row) -> Json:
    places = {name: place for place, name in enumerate(EMOTIONS)}
    return {
        "identity": row.lane.identity.identity_id if row.lane.identity else None,
        "name": row.lane.label,
        "facts": row.lane.facts,
        "face": _face(row.face),
        "bars": [
            [
                _rounded(bar.segment.start),
                _rounded(bar.segment.end),
                places[bar.label] if bar.label else -1,
                int(bar.episode),
            ]
            for bar in row.bars
        ],
        "pieces": [_piece(piece) for piece in row.pieces],
    }


def _piece(piece: Piece) -> Json:
    """Return a piece of the curve; probabilities in thousandths, which is half the size of decimals."""
    curve = piece.curve
    return {
        "start": _rounded(piece.segment.start),
        "end": _rounded(piece.segment.end),
        "times": [_rounded(time) for time in curve.times.tolist()],
        "emotions": (curve.emotions * 1000).round().astype(int).tolist(),
        "valence": (curve.valence * 1000).round().astype(int).tolist(),
        "arousal": (curve.arousal * 1000).round().astype(int).tolist(),
    }


def _rounded(seconds: float) -> float:
    return round(float(seconds), 3)


def _text(text: str) -> str:
    # A file name may hold bytes that are no text; a page cannot.
    return text.encode("utf-8", "replace").decode()


def _face(jpeg: bytes) -> str:
    picture = square(jpeg, _FACE)
    if picture is None:
        return ""
    stream = io.BytesIO()
    PillowImage.fromarray(picture).save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _relative(video: Path, output: Path) -> str:
    """Return the address of a video as seen from the page; a file address where no relative one leads there."""
    try:
        way = Path(os.path.relpath(video.resolve(), output.resolve().parent))
    except ValueError:  # another drive
        return video.resolve().as_uri()
    return quote(os.fsencode(way.as_posix()))


def _filled(title: str, data: Json) -> str:
    page = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    texts = {
        "TITLE": html.escape(_text(title)),
        "STYLE_HASH": _digest(page, "style"),
        "SCRIPT_HASH": _digest(page, "script"),
        "DATA": _embedded(data),
    }
    return re.sub(r"\{\{([A-Z_]+)\}\}", lambda found: texts[found[1]], page)


def _digest(page: str, tag: str) -> str:
    """Return the hash by which the page's policy allows its own style or script and no other."""
    found = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert found is not None
    return "sha256-" + base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()


def _embedded(data: Json) -> str:
    """Return JSON that stays inside its script element, whatever the names are."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    return re.sub("[<>&\u2028\u2029]", lambda found: escapes[found[0]], text)
