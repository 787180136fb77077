"""How numbers and times are told on the pages, and the environment that fills the templates."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from indexing.colors import color, emotion_color, hexadecimal
from indexing.jobs import DEFAULTS
from tracker.types import EMOTIONS


def clock(seconds: float, *, tenths: bool = True) -> str:
    """Return a moment of a video.

    Example:
        >>> clock(7.25), clock(75), clock(3661.04), clock(3661, tenths=False)
        ('0:07.2', '1:15.0', '1:01:01.0', '1:01:01')
    """
    total = int(seconds * 10 + 1e-6) if tenths else int(seconds) * 10
    minutes, rest = divmod(total, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / 10:04.1f}" if tenths else f"{rest // 10:02d}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def span(seconds: float) -> str:
    """Return how long something lasts.

    Example:
        >>> span(0), span(8.46), span(64), span(3725)
        ('0 s', '8.5 s', '1 min 04 s', '1 h 02 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds else "0 s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def count(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun.

    Example:
        >>> count(1, "video"), count(1200, "video"), count(3, "person", "people")
        ('1 video', '1,200 videos', '3 people')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def day(moment: str) -> str:
    """Return the day of an ISO 8601 time; the text itself where it is none.

    Example:
        >>> day("2026-11-25T15:44:28+00:00")
        '25 Nov 2026'
    """
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return f"{at.day} {at:%b %Y}"


def minute(moment: str) -> str:
    """Return day and minute of an ISO 8601 time; the text itself where it is none.

    Example:
        >>> minute("2026-11-25T15:44:28+00:00")
        '25 Nov 2026, 15:44 UTC'
    """
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def plain(text: object) -> str:
    r"""Return a text that a page can carry: a file name may hold bytes that are no text.

    Example:
        >>> plain("a\udcff.mp4")
        'a?.mp4'
    """
    return str(text).encode("utf-8", "replace").decode()


def unusual(settings: Mapping[str, Any]) -> str:
    """Return what is not as usual in the settings of a job.

    Example:
        >>> unusual({**DEFAULTS, "preset": "fast", "emotion": None}), unusual(DEFAULTS)
        ('fast, no emotions', '')
    """
    told = {
        "preset": str(settings["preset"]),
        "detect_every": f"detector every {settings['detect_every']} frames",
        "emotion": f"emotions by {settings['emotion']}" if settings["emotion"] else "no emotions",
        "emotion_fps": f"emotions {settings['emotion_fps']:g} times a second" if settings["emotion_fps"] else "",
        "detector": f"faces by {settings['detector']}",
        "embedder": f"compared by {settings['embedder']}",
    }
    return ", ".join(text for name, text in told.items() if settings[name] != DEFAULTS[name] and text)


def person_color(identity_id: int | None) -> str:
    """Return the colour of a person as HTML writes it; grey for an unknown one."""
    return hexadecimal(color(identity_id))


def environment() -> Environment:
    """Return what fills the templates; it escapes all that is put in, and takes no name that is not there."""
    made = Environment(
        loader=PackageLoader("indexing.server.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(clock=clock, span=span, day=day, minute=minute, plain=plain, unusual=unusual)
    made.globals.update(count=count, person_color=person_color, emotions=_emotions())
    return made


def _emotions() -> list[dict[str, Any]]:
    return [{"label": label, "color": hexadecimal(emotion_color(label))} for label in EMOTIONS]
