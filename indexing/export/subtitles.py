"""``vtt`` and ``srt``: who is on screen, as subtitles; a cue lasts as long as the same people are seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from html import escape
from itertools import pairwise
from typing import TextIO

import pysubs2

from indexing.store import Store
from indexing.types import UNKNOWN, VideoRecord

_MARKS = str.maketrans("{}\\", "()/")
"""What pysubs2 would take for marks of SubStation, in which it keeps texts, and what stands for it."""

SHORTEST = 0.04
"""Seconds below which a cue is left out: one frame, which nobody reads."""


def write_vtt(
    store: Store,
    videos: Sequence[VideoRecord],
    stream: TextIO,
    *,
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write WebVTT for one video; return the number of cues."""
    return _write(store, videos, stream, "vtt", identity_id, ignored)


def write_srt(
    store: Store,
    videos: Sequence[VideoRecord],
    stream: TextIO,
    *,
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write SubRip for one video; return the number of cues."""
    return _write(store, videos, stream, "srt", identity_id, ignored)


def _write(
    store: Store, videos: Sequence[VideoRecord], stream: TextIO, kind: str, identity_id: int | None, ignored: bool
) -> int:
    subtitles = pysubs2.SSAFile()
    for video in videos:
        for start, end, text in cues(store, video, identity_id=identity_id, ignored=ignored):
            line = pysubs2.SSAEvent(pysubs2.make_time(s=start), pysubs2.make_time(s=end))
            text = text.translate(_MARKS)
            # WebVTT has marks too, and a way to say that something is none; SubRip has no such way.
            line.plaintext = escape(text, quote=False) if kind == "vtt" else text
            subtitles.append(line)
    stream.write(subtitles.to_string(kind))
    return len(subtitles)


def cues(
    store: Store, video: VideoRecord, *, identity_id: int | None = None, ignored: bool = False
) -> Iterator[tuple[float, float, str]]:
    """Yield start and end in seconds and the text of each cue: the people seen, each with the emotion they show."""
    names = {identity.identity_id: identity.label for identity in store.identities()}
    running: tuple[float, float, str] | None = None
    for start, end, scene in _scenes(store, video, identity_id, ignored):
        text = scene.text(names)
        if running is not None and running[1:] == (start, text):
            running = (running[0], end, text)
            continue
        yield from _worth_reading(running)
        running = (start, end, text)
    yield from _worth_reading(running)


def _worth_reading(cue: tuple[float, float, str] | None) -> Iterator[tuple[float, float, str]]:
    if cue is not None and cue[2] and cue[1] - cue[0] >= SHORTEST:
        yield cue


class _Scene:
    """Who is on screen and what they show, as time goes on."""

    def __init__(self) -> None:
        self.seen: Counter[int | None] = Counter()
        self.shown: dict[int, str] = {}

    def text(self, names: Mapping[int, str]) -> str:
        """Return a line for each person, unknown ones last and counted."""
        known = sorted((key for key, count in self.seen.items() if key is not None and count), key=names.__getitem__)
        lines = [f"{names[key]} ({self.shown[key]})" if key in self.shown else names[key] for key in known]
        unknown = self.seen[None]
        return "\n".join(lines + [UNKNOWN if unknown == 1 else f"{unknown} x {UNKNOWN}"] * bool(unknown))


def _scenes(
    store: Store, video: VideoRecord, identity_id: int | None, ignored: bool
) -> Iterator[tuple[float, float, _Scene]]:
    """Yield the stretches of time between two changes, in order, each with the scene in it."""
    scene, changes = _Scene(), defaultdict[float, list[Callable[[], object]]](list)
    for seen in store.appearances(identity_id, video.video_id, ignored=ignored):
        changes[seen.segment.start].append(partial(scene.seen.update, [seen.identity_id]))
        changes[seen.segment.end].append(partial(scene.seen.subtract, [seen.identity_id]))
    # Ends first: an episode may begin in the moment in which the last one ends.
    episodes = store.episodes(identity_id, video.video_id, ignored=ignored)
    for episode in episodes:
        changes[episode.offset].append(partial(scene.shown.pop, episode.identity_id, None))
    for episode in episodes:
        changes[episode.onset].append(partial(scene.shown.update, {episode.identity_id: episode.label}))
    for start, end in pairwise(sorted(changes)):
        for change in changes[start]:
            change()
        yield start, end, scene
