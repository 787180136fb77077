"""The lanes of a timeline: who is seen in a video, by falling screen time, and the face to show for each."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps

from indexing.store import Store
from indexing.timeline import best_record, best_track
from indexing.types import UNKNOWN, Appearance, Identity, TrackRecord, VideoRecord
from tracker.types import Image


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

    @property
    def label(self) -> str:
        """The name to show."""
        return self.identity.label if self.identity else UNKNOWN

    @property
    def face(self) -> int | None:
        """Key of the track that shows the person best; None for the unknown ones."""
        return best_track(self.records, ()) if self.identity else None

    @property
    def facts(self) -> str:
        """How long and how often they are seen, to show under the name."""
        count = len(self.appearances)
        return f"{self.screen_time:.1f} s  ·  {count} appearance{'s' * (count != 1)}"


def lanes_of(
    store: Store, video: VideoRecord, *, ignored: bool = False, people: Mapping[int, Identity] | None = None
) -> list[Lane]:
    """Return the lanes of a video: its people by falling screen time, then all unknown ones in one.

    Args:
        store: The store.
        video: One of its videos.
        ignored: Those of people who are ignored too.
        people: Id of each identity -> the identity, for who asks of many videos; None: they are read.
    """
    people = people or {identity.identity_id: identity for identity in store.identities()}
    seen: dict[int | None, list[Appearance]] = defaultdict(list)
    for appearance in store.appearances(video_id=video.video_id, ignored=ignored):
        seen[appearance.identity_id].append(appearance)
    records: dict[int | None, list[TrackRecord]] = defaultdict(list)
    for record in store.track_records(video.video_id):
        records[record.identity_id].append(record)
    lanes = [Lane(people[key] if key is not None else None, tuple(seen[key]), tuple(records[key])) for key in seen]
    return sorted(lanes, key=_rank)


def _rank(lane: Lane) -> tuple[bool, float, int]:
    return lane.identity is None, -lane.screen_time, lane.identity.identity_id if lane.identity else 0


def face_of(store: Store, lane: Lane) -> bytes:
    """Return the best view of a lane's person as a JPEG file; empty for the unknown ones and where none was cut."""
    return b"" if lane.face is None else store.thumbnail(lane.face)


def poster(video: VideoRecord, records: Iterable[TrackRecord]) -> int:
    """Return the frame that stands for a video: the middle of its best track, of the video where there is none."""
    best = best_record(records)
    return video.frame_count // 2 if best is None else (best.first_frame + best.end_frame - 1) // 2


def square(jpeg: bytes, side: int = 160) -> Image | None:
    """Return a JPEG as a square ``(side, side, 3)`` uint8 RGB array; None for no bytes."""
    if not jpeg:
        return None
    with PillowImage.open(io.BytesIO(jpeg)) as image:
        return np.asarray(ImageOps.fit(image.convert("RGB"), (side, side)))
