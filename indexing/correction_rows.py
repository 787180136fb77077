"""Between the log of corrections and rows: entries in and out, and what they do to the tracks and the people.

``corrections`` is what was said. The owners of the tracks, ``identities.name`` and ``identities.ignored`` follow from
it; every function here that changes the log leaves them right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from indexing import emotion_rows
from indexing.corrections import Entry, erased, merged_into, replay, sharing_a_frame
from indexing.rows import track_records
from indexing.tables import AbsentTrack, CorrectionRow, IdentityRow, TrackRow, Video, chunks
from indexing.types import TrackRecord, Verdicts

Owners = Mapping[int, int | None]
"""Track key -> whose it is; None: nobody known."""

States = Mapping[int, tuple[int | None, float | None]]
"""Track key -> whose it is, and with what confidence."""

SAID = 1.0
"""Confidence of a track that a person has named."""

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
        confidences={int(key): (before, after) for key, (before, after) in row.confidences.items()},
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
        "confidences": {str(key): told for key, told in entry.confidences.items()},
        "created": list(entry.created),
        "undone_by": entry.undone_by,
    }


def rewrite(session: Session, before: Sequence[Entry], after: Sequence[Entry]) -> None:
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
    before = move(session, wanted, dict.fromkeys(entry.pins, SAID))
    at = datetime.now(UTC).isoformat(timespec="seconds")
    written = replace(entry, at=at, **_changed(before, states(session, before)))
    entry_id = session.scalars(insert(CorrectionRow).returning(CorrectionRow.id), [_values(written)]).one()
    retell(session)
    return replace(written, entry_id=entry_id)


def _changed(before: States, now: States) -> dict[str, Any]:
    """Return what an entry keeps of the tracks for undo: whose those were that moved, and what confidences were."""
    both = sorted(before.keys() & now.keys())
    return {
        "moved": {key: before[key][0] for key in both if before[key][0] != now[key][0]},
        "confidences": {key: (before[key][1], now[key][1]) for key in both if before[key][1] != now[key][1]},
    }


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


def move(session: Session, owners: Owners, confidences: Mapping[int, float | None] | None = None) -> States:
    """Give tracks to people; return how they were before.

    Args:
        session: A session in a transaction.
        owners: Track key -> identity.
        confidences: Track key -> probability in [0, 1] that it is theirs; of the tracks that are not in it, those that
            stay keep theirs, and those that change hands have none.
    """
    told, before = confidences or {}, states(session, owners)
    changes = [
        {"id": key, "identity_id": owners[key], "confidence": told.get(key, None if owners[key] != person else chance)}
        for key, (person, chance) in before.items()
        if owners[key] != person or told.get(key, chance) != chance
    ]
    if changes:
        session.execute(update(TrackRow), changes)
    moved = [key for key, (person, _) in before.items() if owners[key] != person]
    touched = {
        (video_id, person)
        for part in chunks(moved)
        for key, video_id in session.execute(select(TrackRow.id, TrackRow.video_id).where(TrackRow.id.in_(part)))
        for person in (before[key][0], owners[key])
        if person is not None
    }
    emotion_rows.refresh(session, touched)
    return before


def states(session: Session, keys: Iterable[int] | None = None) -> dict[int, tuple[int | None, float | None]]:
    """Return whose tracks are and with what confidence, all or those with these keys, by rising key."""
    columns = select(TrackRow.id, TrackRow.identity_id, TrackRow.confidence).order_by(TrackRow.id)
    wanted = [columns] if keys is None else [columns.where(TrackRow.id.in_(part)) for part in chunks(sorted(keys))]
    rows = (row for part in wanted for row in session.execute(part))
    return {row.id: (row.identity_id, row.confidence) for row in rows}


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


def settle(session: Session, entry_id: int, before: States, people: Collection[int]) -> Entry:
    """Write into an entry all that changed since ``before``: what it moved itself, and what followed from that."""
    entry = _entry(session.get_one(CorrectionRow, entry_id))
    created = tuple(sorted(set(session.scalars(select(IdentityRow.id))) - set(people)))
    settled = replace(entry, created=created, **_changed(before, states(session)))
    rewrite(session, [entry], [settled])
    return settled


# ---- taking it back


def undo(session: Session, entries: Sequence[Entry]) -> tuple[Entry, frozenset[int]]:
    """Take entries back, the last ones that hold, newest first, and put the tracks where they were.

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
    release(session)
    retell(session)
    return written, unsettled


def _put_back(session: Session, entries: Sequence[Entry]) -> frozenset[int]:
    """Move the tracks back; return those that could not be, and are nobody's now."""
    before: dict[int, int | None] = {}
    changed: set[int] = set()
    for entry in entries:
        before.update(entry.moved)
        changed.update(entry.confidences)
    said, people = verdicts(session), set(session.scalars(select(IdentityRow.id)))
    # Tracks that came since to a person whom the entries made have no home when that person is gone.
    created = {person for entry in entries for person in entry.created}
    people_of_before = {person for person in before.values() if person is not None}
    records = _concerned(session, created | people_of_before, before.keys() | changed)
    wanted = {record.key: before.get(record.key, record.identity_id) for record in records}
    lost = {
        key for key, person in wanted.items() if person is not None and _is_wrong(key, person, said, people, created)
    }
    owners: dict[int, int | None] = {key: None if key in lost else person for key, person in wanted.items()}
    owners.update({key: person for key, person in said.pins.items() if key in owners})
    lost |= _make_room(records, owners, said.pins)
    # Who came since to where a track belongs makes room for it.
    lost |= _make_room(records, owners, before.keys() - said.pins.keys())
    there = {record.key: record.confidence for record in records if record.key not in lost}
    confidences = dict.fromkeys(lost & said.pins.keys(), SAID) | _confidences_of_before(entries, there, before)
    move(session, owners, confidences)
    return frozenset(key for key in lost if owners[key] is None)


def _confidences_of_before(
    entries: Sequence[Entry], now: Mapping[int, float | None], moved: Collection[int]
) -> dict[int, float | None]:
    """Return what confidences were before some entries; where a track stays and its changed since, they are kept."""
    found = dict(now)
    for entry in entries:
        for key, (before, after) in entry.confidences.items():
            if key in found and (key in moved or found[key] == after):
                found[key] = before
    return found


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
    keys.update(session.scalars(select(AbsentTrack.track_id).where(AbsentTrack.identity_id.in_(people))))
    rewrite(session, entries, erased(entries, people, keys))
    release(session)
    retell(session)


def release(session: Session) -> None:
    """Delete what is kept of tracks that are gone and of which no entry speaks any more."""
    spoken_of = {key for entry in log(session) if entry.holds for key in entry.track_keys}
    gone = set(session.scalars(select(AbsentTrack.track_id))) - spoken_of
    for part in chunks(sorted(gone)):
        session.execute(delete(AbsentTrack).where(AbsentTrack.track_id.in_(part)))
