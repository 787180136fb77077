"""``rttm``: who is seen when, in the format of NIST's Rich Transcription evaluations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from indexing.store import Store
from indexing.types import UNKNOWN, VideoRecord


def write(
    store: Store,
    videos: Sequence[VideoRecord],
    stream: TextIO,
    *,
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write a ``SPEAKER`` line for each appearance; return the number of lines.

    The fields are those of "The 2009 (RT-09) Rich Transcription Meeting Recognition Evaluation Plan", appendix A: type,
    file, channel, onset, duration, two unused ones, name, confidence, one unused. Fields hold no spaces: those of names
    and of files become underscores. Videos of one name are told apart by their ids.
    """
    files = Counter(_token(video.path.stem) for video in videos)
    names = {identity.identity_id: identity.label for identity in store.identities()}
    count = 0
    for video in videos:
        file = _token(video.path.stem)
        file = f"{file}.{video.video_id}" if files[file] > 1 else file
        for seen in store.appearances(identity_id, video.video_id, ignored=ignored):
            name = UNKNOWN if seen.identity_id is None else names[seen.identity_id]
            times = f"{seen.segment.start:.3f} {seen.segment.duration:.3f}"
            stream.write(f"SPEAKER {file} 1 {times} <NA> <NA> {_token(name)} <NA> <NA>\n")
            count += 1
    return count


def _token(text: str) -> str:
    """Return ``text`` as one field.

    Example:
        >>> _token("Ada  Lovelace"), _token("")
        ('Ada_Lovelace', '_')
    """
    return re.sub(r"\s+", "_", text) or "_"
