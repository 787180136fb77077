"""``episodes``: CSV with one row for each stretch of time in which a person shows one emotion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from indexing.export.rows import number
from indexing.export.table import write_table
from indexing.store import Store
from indexing.types import Episode, VideoRecord

HEADER = ("identity", "name", "video", "label", "onset", "apex", "offset", "mean", "peak")
"""Onset, apex and offset in seconds, mean and peak probability in [0, 1]."""


def write(
    store: Store,
    videos: Sequence[VideoRecord],
    stream: TextIO,
    *,
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write the episodes of the people (or of one) in ``videos``; return the number of rows."""
    names = {identity.identity_id: identity.label for identity in store.identities()}
    rows = (
        (episode.identity_id, names[episode.identity_id], str(video.path), *_cells(episode))
        for video in videos
        for episode in store.episodes(identity_id, video.video_id, ignored=ignored)
    )
    return write_table(stream, HEADER, rows)


def _cells(episode: Episode) -> tuple[object, ...]:
    times = (number(time, 6) for time in (episode.onset, episode.apex, episode.offset))
    return (episode.label, *times, number(episode.mean, 4), number(episode.peak, 4))
