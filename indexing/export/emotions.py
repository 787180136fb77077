"""``emotions``: what each person shows over time as tidy CSV, one row for each sample and label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from indexing.export.rows import number
from indexing.export.table import write_table
from indexing.store import Store
from indexing.types import EmotionCurve, VideoRecord
from tracker.types import EMOTIONS

HEADER = ("identity", "name", "video", "time", "label", "score")
"""``time`` in seconds, ``label`` one of `tracker.types.EMOTIONS`, ``score`` its probability; empty where not known."""


def write(
    store: Store,
    videos: Sequence[VideoRecord],
    stream: TextIO,
    *,
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write the smoothed curves of the people (or of one) in ``videos``; return the number of rows."""
    names = {identity.identity_id: identity.label for identity in store.identities()}
    curves = (
        (video, curve)
        for video in videos
        for curve in store.emotion_curves(identity_id, video.video_id, ignored=ignored)
    )
    rows = (
        (curve.identity_id, names[curve.identity_id], str(video.path), *sample)
        for video, curve in curves
        for sample in _samples(curve)
    )
    return write_table(stream, HEADER, rows)


def _samples(curve: EmotionCurve) -> Iterator[tuple[float | None, str, float | None]]:
    for time, emotions in zip(curve.times, curve.emotions, strict=True):
        for label, score in zip(EMOTIONS, emotions, strict=True):
            yield number(time, 6), label, number(score, 4)
