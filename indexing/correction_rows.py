"""Between the log of corrections and rows: entries in and out, and what they do to the tracks and the people.

``corrections`` is what was said. The owners of the tracks, ``identities.name`` and ``identities.ignored`` follow from
it; every function here that changes the log leaves them right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from indexing import emotion_rows
from indexing.corrections import Entry, erased, merged_into, replay, sharing_a_frame, translated
from indexing.rows import track_records
from indexing.tables import CorrectionRow, IdentityRow, TrackRow, Video, chunks
from indexing.types import TrackRecord, Verdicts
from tracker.types import Track

Owners = Mapping[int, int | None]
"""Track key -> whose it is; None: nobody known."""

SAID = 1.0
"""Confidence of a track that a person has named."""

SUCCEEDS = 0.5
"""Mean overlap (IoU) from which on a track of a video that was analysed anew shows the face of an earlier track."""

# ---- the log


def log(session: Session) -> list[Entry]:
    """Return the log, oldest first."""
    return [_entry(row) for row in session.scalars(select(CorrectionRow).order_by(CorrectionRow.id))]


def verdicts(session: Session) -> Verdicts:
    """Return what follows from the log for the tracks and people that there are."""
    said = replay(log(session))
    tracks = set(session.scalars(select(TrackRow.id))) if said.pins or said.bans else set()
    people = set(session.scalars(select(IdentityRow.id)))
    return Verdicts(
        {key: person for key, person in said.pins.items() if key in tracks and person in people},
        frozenset((key, person) for key, person in said.bans if key in tracks and person in people),
        {person: name for person, name in said.names.items() if person in people},
        said.ignored & people,
    )


def _entry(row: CorrectionRow) -> Entry:
    return Entry(
        kind=row.kind,  # type: ignore[arg-type]
        identities=tuple(row.identities),
        pins={int(key): person for key, person in row.pins.items()},
        bans=frozenset((key, person) for key, person in row.bans),
        name=row.name,
        reason=row.reason,
        at=row.at,
        entry_id=row.id,
        moved={int(key): person for key, person in row.moved.items()},
        created=tuple(row.created),
        undone_by=row.undone_by,
    )


def _values(entry: Entry) -> dict[str, object]:
    return {
        "at": entry.at,
        "kind": entry.kind,
        "identities": list(entry.identities),
        "pins": {str(key): person for key, person in entry.pins.items()},
        "bans": [list(pair) for pair in sorted(entry.bans)],
        "name": entry.name,
        "reason": entry.reason,
        "moved": {str(key): person for key, person in entry.moved.items()},
        "created": list(entry.created),
        "undone_by": entry.undone_by,
    }


def _rewrite(session: Session, before: Sequence[Entry], after: Sequence[Entry]) -> None:
    """Put ``after`` in place of the log; entries that are not in it are deleted."""
    old, new = {e.entry_id: e for e in before}, {e.entry_id: e for e in after}
    for entry_id in sorted(old.keys() - new.keys()):
        session.execute(delete(CorrectionRow).where(CorrectionRow.id == entry_id))
    for entry_id, entry in new.items():
        if entry != old[entry_id]:
            session.execute(update(CorrectionRow).where(CorrectionRow.id == entry_id).values(**_values(entry)))


# ---- saying something


def correct(session: Session, entry: Entry) -> Entry:
    """Append an entry, whose people are known, and do what it says; return it as it was written."""
    wanted = _obeyed(session, entry)
    moved = move(session, wanted, dict.fromkeys(entry.pins, SAID))
    written = replace(entry, at=datetime.now(UTC).isoformat(timespec="seconds"), moved=moved)
    entry_id = session.scalars(insert(CorrectionRow).returning(CorrectionRow.id), [_values(written)]).one()
    retell(session)
    return replace(written, entry_id=entry_id)


def _obeyed(session: Session, entry: Entry) -> dict[int, int | None]:
    """Return whose the tracks are that an entry concerns; a track that was only guessed makes room for a pinned one."""
    records = _concerned(session, {*entry.pins.values(), *entry.identities}, entry.track_keys)
    owners: dict[int, int | None] = {record.key: record.identity_id for record in records}
    for key, person in entry.bans:
        if owners.get(key) == person:
            owners[key] = None
    owners.update({key: person for key, person in entry.pins.items() if key in owners})
    pinned = {key: person for key, person in verdicts(session).pins.items() if key not in entry.track_keys}
    _make_room(records, owners, {**pinned, **entry.pins})
    return owners


def _make_room(records: Sequence[TrackRecord], owners: dict[int, int | None], pins: Collection[int]) -> set[int]:
    """Take tracks from the person that one of ``pins`` in the same frame is; return those that were taken."""
    taken = set[int]()
    for a, b in sharing_a_frame(records):
        if owners[a.key] is not None and owners[a.key] == owners[b.key] and (a.key in pins) != (b.key in pins):
            other = b.key if a.key in pins else a.key
            owners[other] = None
            taken.add(other)
    return taken


def _concerned(session: Session, people: Iterable[int], keys: Iterable[int]) -> list[TrackRecord]:
    """Return the tracks of these people, and those with these keys."""
    found = {r.key: r for person in people for r in track_records(session, TrackRow.identity_id == person)}
    for part in chunks(sorted(set(keys) - found.keys())):
        found.update({record.key: record for record in track_records(session, TrackRow.id.in_(part))})
    return list(found.values())


def move(
    session: Session, owners: Owners, confidences: Mapping[int, float | None] | None = None
) -> dict[int, int | None]:
    """Give tracks to people; return whose each one was that changed hands.

    Args:
        session: A session in a transaction.
        owners: Track key -> identity.
        confidences: Track key -> probability in [0, 1] that it is theirs; of the tracks that are not in it, those that
            stay keep theirs, and those that change hands have none.
    """
    told = confidences or {}
    columns = (TrackRow.id, TrackRow.video_id, TrackRow.identity_id, TrackRow.confidence)
    before = [
        row for part in chunks(sorted(owners)) for row in session.execute(select(*columns).where(TrackRow.id.in_(part)))
    ]
    changes = [
        {"id": key, "identity_id": owners[key], "confidence": told.get(key)}
        for key, _, person, confidence in before
        if owners[key] != person or told.get(key, confidence) != confidence
    ]
    if changes:
        session.execute(update(TrackRow), changes)
    moved = [(key, video_id, person) for key, video_id, person, _ in before if owners[key] != person]
    touched = {
        (video_id, person) for key, video_id, old in moved for person in (old, owners[key]) if person is not None
    }
    emotion_rows.refresh(session, touched)
    return {key: person for key, _, person in moved}


def retell(session: Session) -> None:
    """Write names and who is ignored as the log says."""
    said = verdicts(session)
    rows = {row.id: row for row in session.scalars(select(IdentityRow))}
    for person, row in rows.items():
        if row.name != said.names.get(person):
            row.name = None
    # Two people may change names with each other, and no two have one at any time.
    session.flush()
    for person, row in rows.items():
        row.name, row.ignored = said.names.get(person), person in said.ignored
    session.flush()


def settle(session: Session, entry_id: int, before: Owners, people: Collection[int]) -> Entry:
    """Write into an entry all that changed since ``before``: what it moved itself, and what followed from that."""
    now = owners(session)
    row = session.get_one(CorrectionRow, entry_id)
    row.moved = {str(key): before[key] for key in sorted(now.keys() & before.keys()) if now[key] != before[key]}
    row.created = sorted(set(session.scalars(select(IdentityRow.id))) - set(people))
    session.flush()
    return _entry(row)


def owners(session: Session) -> dict[int, int | None]:
    """Return whose each track is."""
    rows = session.execute(select(TrackRow.id, TrackRow.identity_id)).all()
    return {row.id: row.identity_id for row in rows}


# ---- taking it back


def undo(session: Session, entries: Sequence[Entry]) -> tuple[Entry, frozenset[int]]:
    """Take entries back, the last ones that hold, and put the tracks where they were.

    Returns:
        The entry that takes them back, and the tracks that could not be put back, as what came since is in the way:
        they are nobody's, and want to be identified anew.
    """
    written = correct(session, Entry("undo"))
    for entry in entries:
        marked = update(CorrectionRow).where(CorrectionRow.id == entry.entry_id)
        session.execute(marked.values(undone_by=written.entry_id))
    _remove_photographs(session, entries)
    unsettled = _put_back(session, entries)
    _remove_people(session, {person for entry in entries for person in entry.created})
    retell(session)
    return written, unsettled


def _put_back(session: Session, entries: Sequence[Entry]) -> frozenset[int]:
    before: dict[int, int | None] = {}
    for entry in sorted(entries, key=lambda e: -e.entry_id):
        before.update(entry.moved)
    said, people = verdicts(session), set(session.scalars(select(IdentityRow.id)))
    # Tracks that came since to a person whom the entries made have no home when that person is gone.
    created = {person for entry in entries for person in entry.created}
    records = _concerned(session, created | {person for person in before.values() if person is not None}, before)
    wanted = {record.key: before.get(record.key, record.identity_id) for record in records}
    lost = {
        key for key, person in wanted.items() if person is not None and _is_wrong(key, person, said, people, created)
    }
    owners: dict[int, int | None] = {key: None if key in lost else person for key, person in wanted.items()}
    owners.update({key: person for key, person in said.pins.items() if key in owners})
    lost |= _make_room(records, owners, said.pins)
    # Who came since to where a track belongs makes room for it.
    lost |= _make_room(records, owners, before.keys() - said.pins.keys())
    move(session, owners)
    return frozenset(key for key in lost if owners[key] is None)


def _is_wrong(key: int, person: int, said: Verdicts, people: Collection[int], created: Collection[int]) -> bool:
    if said.pins.get(key, person) != person:
        return True
    return person not in people or (key, person) in said.bans or (person in created and key not in said.pins)


def _remove_photographs(session: Session, entries: Sequence[Entry]) -> None:
    """Remove the photographs that entries enrolled and no other entry speaks of."""
    keys = {key for entry in entries if entry.kind == "enroll" for key in entry.pins} - verdicts(session).pins.keys()
    for part in chunks(sorted(keys)):
        shown = select(TrackRow.video_id).where(TrackRow.id.in_(part))
        session.execute(delete(Video).where(Video.enrolled, Video.id.in_(shown)))


def _remove_people(session: Session, people: Collection[int]) -> None:
    """Delete those of ``people`` who have no track and of whom nobody speaks."""
    said = verdicts(session)
    spoken_of = {*said.pins.values(), *said.names, *said.ignored, *(person for _, person in said.bans)}
    owners = set(session.scalars(select(TrackRow.identity_id)))
    for person in set(people) - spoken_of - owners:
        session.execute(delete(IdentityRow).where(IdentityRow.id == person))


# ---- when tracks go


def forget(session: Session, identity_id: int) -> None:
    """Erase a person, and who was merged into them: tracks, photographs, names, and what the log tells of them."""
    entries = log(session)
    people = {identity_id, *(before for before, now in merged_into(entries).items() if now == identity_id)}
    keys = set(session.scalars(select(TrackRow.id).where(TrackRow.identity_id.in_(people))))
    shown = select(TrackRow.video_id).where(TrackRow.identity_id.in_(people))
    session.execute(delete(Video).where(Video.enrolled, Video.id.in_(shown)))
    session.execute(delete(TrackRow).where(TrackRow.identity_id.in_(people)))
    session.execute(delete(IdentityRow).where(IdentityRow.id.in_(people)))
    _rewrite(session, entries, erased(entries, people, keys))
    retell(session)


def hand_over(session: Session, video_id: int, old: Sequence[tuple[TrackRecord, Track]], new: Sequence[Track]) -> None:
    """Give the tracks of a video that was analysed anew to the people of its earlier tracks, and what was said of them.

    Args:
        session: A session in a transaction.
        video_id: The video, with the new tracks.
        old: The tracks it had, which are deleted.
        new: Those that it has.
    """
    keys = session.scalars(select(TrackRow.id).where(TrackRow.video_id == video_id).order_by(TrackRow.number)).all()
    heirs: dict[int, list[int]] = {record.key: [] for record, _ in old}
    for key, place in zip(keys, _predecessors([track for _, track in old], new), strict=True):
        if place is not None:
            heirs[old[place][0].key].append(key)
    entries = log(session)
    _rewrite(session, entries, [translated(entry, heirs) for entry in entries])
    owners = {heir: record.identity_id for record, _ in old for heir in heirs[record.key]}
    pins = verdicts(session).pins
    for a, b in sharing_a_frame([r for r in track_records(session, TrackRow.video_id == video_id) if r.key in owners]):
        if owners[a.key] == owners[b.key] and not (a.key in pins and b.key in pins):
            owners[a.key if b.key in pins else b.key] = None
    move(session, owners)


def _predecessors(old: Sequence[Track], new: Sequence[Track]) -> list[int | None]:
    """Return, for each new track, the place of the old one that shows the same face; None if none does."""
    found: list[int | None] = []
    for track in new:
        overlaps = np.array([_overlap(track, other) for other in old])
        found.append(int(overlaps.argmax()) if overlaps.max(initial=0) >= SUCCEEDS else None)
    return found


def _overlap(track: Track, other: Track) -> float:
    """Return the mean IoU over the frames that two tracks share; 0 where these are less than half of the first one."""
    first, end = max(track.first_frame, other.first_frame), min(track.end_frame, other.end_frame)
    if 2 * (end - first) < len(track.boxes):
        return 0.0
    one, two = (t.boxes[first - t.first_frame : end - t.first_frame] for t in (track, other))
    inner = np.clip(np.minimum(one[:, 2:], two[:, 2:]) - np.maximum(one[:, :2], two[:, :2]), 0, None).prod(axis=1)
    outer = sum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, two)) - inner
    return float(np.mean(inner / outer))
