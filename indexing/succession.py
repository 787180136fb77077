"""Tracks that go and come back: what was said of a face holds for the track that shows it when its video is back.

A video may be analysed anew, or be removed and added again. Tracks get new keys then, and the entries of the log follow
them. Of a track that is gone, and of which an entry speaks, it is kept where it was and in which content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from indexing.correction_rows import SAID, log, move, rewrite, verdicts
from indexing.corrections import sharing_a_frame, translated
from indexing.rows import track_records
from indexing.tables import AbsentTrack, TrackArrays, TrackRow, Video, chunks, unpack
from indexing.types import TrackRecord
from tracker.types import Float32, Track

SUCCEEDS = 0.5
"""Mean overlap (IoU) from which on a track of a video that is there again shows the face of an earlier track."""


@dataclass(frozen=True, slots=True, eq=False)
class Former:
    """A track that is no more.

    Attributes:
        key: The key that it had.
        first_frame: Its first frame.
        boxes: ``(T, 4)`` float32 xyxy.
        identity_id: Whom its heirs are of; None: who they are is found anew.
        confidence: With what probability.
    """

    key: int
    first_frame: int
    boxes: Float32
    identity_id: int | None = None
    confidence: float | None = None

    @property
    def end_frame(self) -> int:
        """The frame after its last one."""
        return self.first_frame + len(self.boxes)


def leave(session: Session, video_id: int) -> list[Former]:
    """Delete a video; return the tracks it had, and keep where those were that entries speak of."""
    columns = (TrackRow.id, TrackRow.first_frame, TrackArrays.boxes, TrackRow.identity_id, TrackRow.confidence)
    joined = select(*columns).join(TrackArrays, TrackArrays.track_id == TrackRow.id)
    rows = session.execute(joined.where(TrackRow.video_id == video_id).order_by(TrackRow.number)).all()
    spoken_of = {key for entry in log(session) if entry.holds for key in entry.track_keys}
    content = session.scalars(select(Video.content_hash).where(Video.id == video_id)).one()
    kept = [
        {
            "track_id": row.id,
            "video_id": video_id,
            "content_hash": content,
            "first_frame": row.first_frame,
            "boxes": row.boxes,
            "identity_id": row.identity_id,
        }
        for row in rows
        if row.id in spoken_of
    ]
    if kept:
        session.execute(insert(AbsentTrack), kept)
    session.execute(delete(Video).where(Video.id == video_id))
    return [
        Former(row.id, row.first_frame, unpack(row.boxes, np.float32, 4), row.identity_id, row.confidence)
        for row in rows
    ]


def hand_over(session: Session, video_id: int, before: Sequence[Former], new: Sequence[Track]) -> None:
    """Give what was said of the former tracks of some content to the tracks that show the same faces now.

    Args:
        session: A session in a transaction.
        video_id: The video, with the new tracks.
        before: The tracks that it had until now; those that went earlier are known.
        new: Those that it has.
    """
    former = {**_absent(session, video_id), **{track.key: track for track in before}}
    if not former:
        return
    heirs = _heirs(session, video_id, list(former.values()), new)
    entries = log(session)
    rewrite(session, entries, [translated(entry, heirs) for entry in entries])
    for part in chunks(sorted(heirs)):
        session.execute(delete(AbsentTrack).where(AbsentTrack.track_id.in_(part)))
    _settle(session, video_id, {heir: former[key] for key, several in heirs.items() for heir in several})


def absent_records(session: Session) -> list[TrackRecord]:
    """Return the tracks that are gone and that entries speak of, as far as they are known: where they were."""
    return [
        TrackRecord(
            key=row.track_id,
            video_id=row.video_id,
            track_id=0,
            shot=0,
            first_frame=row.first_frame,
            end_frame=row.first_frame + len(unpack(row.boxes, np.float32, 4)),
            start=0.0,
            end=0.0,
            quality=0.0,
            size=0.0,
        )
        for row in session.scalars(select(AbsentTrack).order_by(AbsentTrack.track_id))
    ]


def _absent(session: Session, video_id: int) -> dict[int, Former]:
    content = select(Video.content_hash).where(Video.id == video_id).scalar_subquery()
    rows = session.scalars(select(AbsentTrack).where(AbsentTrack.content_hash == content))
    return {row.track_id: Former(row.track_id, row.first_frame, unpack(row.boxes, np.float32, 4)) for row in rows}


def _heirs(session: Session, video_id: int, former: Sequence[Former], new: Sequence[Track]) -> dict[int, list[int]]:
    """Return, for each former track that has one, the keys of the tracks that show its face."""
    keys = session.scalars(select(TrackRow.id).where(TrackRow.video_id == video_id).order_by(TrackRow.number)).all()
    heirs: dict[int, list[int]] = {}
    for key, place in zip(keys, _predecessors(former, new), strict=True):
        if place is not None:
            heirs.setdefault(former[place].key, []).append(key)
    return heirs


def _settle(session: Session, video_id: int, predecessors: Mapping[int, Former]) -> None:
    """Give the new tracks to the people of those before them; of two in one frame one has to be found anew."""
    pins = verdicts(session).pins
    owners = {key: pins.get(key, former.identity_id) for key, former in predecessors.items()}
    told = {key: SAID if key in pins else former.confidence for key, former in predecessors.items()}
    for a, b in sharing_a_frame([r for r in track_records(session, TrackRow.video_id == video_id) if r.key in owners]):
        if owners[a.key] == owners[b.key] and not (a.key in pins and b.key in pins):
            loser = a.key if b.key in pins else b.key
            owners[loser], told[loser] = None, None
    move(session, owners, told)


def _predecessors(former: Sequence[Former], new: Sequence[Track]) -> list[int | None]:
    """Return, for each new track, the place of the former one that shows the same face; None if none does."""
    found: list[int | None] = []
    for track in new:
        overlaps = np.array([_overlap(track, other) for other in former])
        found.append(int(overlaps.argmax()) if overlaps.max(initial=0) >= SUCCEEDS else None)
    return found


def _overlap(track: Track, other: Former) -> float:
    """Return the mean IoU over the frames that two tracks share; 0 where these are less than half of the first one."""
    first, end = max(track.first_frame, other.first_frame), min(track.end_frame, other.end_frame)
    if 2 * (end - first) < len(track.boxes):
        return 0.0
    one, two = (t.boxes[first - t.first_frame : end - t.first_frame] for t in (track, other))
    inner = np.clip(np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2]), 0, None).prod(axis=1)
    outer = sum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, two)) - inner
    return float(np.mean(inner / outer))
