"""A video of a store with its people drawn on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from indexing.export.rows import wanted
from indexing.render import Shown, render
from indexing.store import Store
from indexing.types import UNKNOWN, VideoRecord
from tracker.errors import MediaError
from tracker.video import open_video


def annotate(
    store: Store,
    video: VideoRecord,
    output: Path,
    *,
    ignored: bool = False,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write a video of the store with its people marked, see `indexing.render.render`.

    Args:
        store: The store.
        video: Which one; its file has to be where it was and be the same.
        output: The new file.
        ignored: Mark people who are ignored too.
        progress: Called with the number of frames that are done, after each.

    Raises:
        MediaError: if the file is gone or has changed.
        FacetrackError: if the output cannot be written, or it is a piece of a live stream.
    """
    video.check_pictures()
    with open_video(video.path) as opened:
        if opened.info.content_hash != video.info.content_hash:
            raise MediaError(f"{video.path} is not the file that was added; put that one back, or add this one")
    render(video.path, shown(store, video, ignored=ignored), output, progress=progress)


def shown(store: Store, video: VideoRecord, *, ignored: bool = False) -> list[Shown]:
    """Return the tracks of a video with the names of their people, those of ignored people only where asked."""
    is_wanted = wanted(store, None, ignored=ignored)
    labels = {identity.identity_id: identity.label for identity in store.identities()}
    return [
        (track, UNKNOWN if record.identity_id is None else labels[record.identity_id], record.identity_id)
        for record, track in store.tracks(video.video_id)
        if is_wanted(record)
    ]
