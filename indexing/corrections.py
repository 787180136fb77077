"""What people said of who is who: entries of a log that is only added to, and what follows from them.

A person's word is never lost: clustering anew obeys the `indexing.types.Verdicts` that `replay` makes of the log, and
an entry that contradicts an earlier one, or the picture, is found by `conflicts` before it is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from indexing.constraints import co_occurring
from indexing.types import Identity, TrackRecord, Verdicts

Kind = Literal["name", "confirm", "merge", "split", "not", "assign", "ignore", "unignore", "enroll", "undo"]

NEW = 0
"""Stands in an entry for the person that it makes, until it is written; no identity has this id."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a person said.

    Attributes:
        kind: The verb.
        identities: The people it is about: of ``merge`` the one that stays and the one that is no more, of ``split``
            the one that was too many and the new one.
        pins: Track key -> the identity that it is.
        bans: Pairs of a track key and an identity that it is not.
        name: The name, where one was given; of ``name`` None: the name was taken away.
        reason: Why, in words.
        at: UTC time, ISO 8601.
        entry_id: Its number; 0 until it is written.
        moved: Track key -> whose it was before, for every track that the entry moved; None: nobody known.
        confidences: Track key -> its confidence before and after, for every track whose confidence the entry changed.
        created: The identities that did not exist before.
        undone_by: Number of the entry that took it back; None: it holds.
    """

    kind: Kind
    identities: tuple[int, ...] = ()
    pins: Mapping[int, int] = field(default_factory=dict)
    bans: frozenset[tuple[int, int]] = frozenset()
    name: str | None = None
    reason: str | None = None
    at: str = ""
    entry_id: int = 0
    moved: Mapping[int, int | None] = field(default_factory=dict)
    confidences: Mapping[int, tuple[float | None, float | None]] = field(default_factory=dict)
    created: tuple[int, ...] = ()
    undone_by: int | None = None

    def __post_init__(self) -> None:
        """Make the mappings read-only."""
        for name in ("pins", "moved", "confidences"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def holds(self) -> bool:
        """Whether it was not taken back; the taking back itself says nothing."""
        return self.undone_by is None and self.kind != "undo"

    @property
    def track_keys(self) -> tuple[int, ...]:
        """The tracks it is about, rising."""
        return tuple(sorted({*self.pins, *(key for key, _ in self.bans)}))

    def founded(self, identity_id: int) -> Entry:
        """Return the entry with the new person's id in place of `NEW`."""
        return replace(
            self,
            identities=tuple(identity or identity_id for identity in self.identities),
            pins={key: identity or identity_id for key, identity in self.pins.items()},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what a reader of the log wants to see, as JSON can say it."""
        return {
            "entry": self.entry_id,
            "at": self.at,
            "kind": self.kind,
            "identities": list(self.identities),
            "track_keys": list(self.track_keys),
            "name": self.name,
            "reason": self.reason,
            "undone_by": self.undone_by,
        }


def replay(entries: Iterable[Entry]) -> Verdicts:
    """Return what follows from a log: of two entries that contradict each other, the later one holds.

    Example:
        >>> log = [Entry("name", (1,), pins={7: 1}, name="Ada"), Entry("not", (1,), bans=frozenset({(8, 1)}))]
        >>> said = replay(log)
        >>> dict(said.names), dict(said.pins), sorted(said.bans)
        ({1: 'Ada'}, {7: 1}, [(8, 1)])
    """
    said = _Said.of(entries)
    pins = {key: identity for key, (identity, _) in said.pins.items()}
    return Verdicts(pins, frozenset(said.bans), said.names, frozenset(said.ignored))


@dataclass(slots=True)
class _Said:
    """The state of a replay: what holds, and which entry says so."""

    pins: dict[int, tuple[int, Entry]] = field(default_factory=dict)
    bans: dict[tuple[int, int], Entry] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    ignored: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> _Said:
        said = cls()
        for entry in entries:
            if entry.holds:
                said.hear(entry)
        return said

    def hear(self, entry: Entry) -> None:
        if entry.kind == "merge":
            self._merge(entry)
        for pair in entry.bans:
            self.bans[pair] = entry
            if pair[0] in self.pins and self.pins[pair[0]][0] == pair[1]:
                del self.pins[pair[0]]
        for key, identity in entry.pins.items():
            self.pins[key] = (identity, entry)
            self.bans.pop((key, identity), None)
        if entry.kind in ("name", "enroll"):
            self._name(entry)
        elif entry.kind == "ignore":
            self.ignored.update(entry.identities)
        elif entry.kind == "unignore":
            self.ignored.difference_update(entry.identities)

    def _merge(self, entry: Entry) -> None:
        kept, *gone = entry.identities
        for key, (identity, earlier) in self.pins.items():
            if identity in gone:
                self.pins[key] = (kept, earlier)
                self.bans.pop((key, kept), None)
        for (key, identity), earlier in list(self.bans.items()):
            if identity in gone:
                del self.bans[key, identity]
                if key not in self.pins or self.pins[key][0] != kept:
                    self.bans.setdefault((key, kept), earlier)
        for identity in gone:
            self.names.pop(identity, None)
            self.ignored.discard(identity)

    def _name(self, entry: Entry) -> None:
        for identity in entry.identities:
            self.names.pop(identity, None)
            if entry.name is not None:
                self.names[identity] = entry.name


def merged_into(entries: Iterable[Entry]) -> dict[int, int]:
    """Return, for each identity that was merged into another one, the one that it is now.

    Example:
        >>> merged_into([Entry("merge", (2, 3)), Entry("merge", (1, 2))])
        {3: 1, 2: 1}
    """
    now: dict[int, int] = {}
    for entry in entries:
        if entry.holds and entry.kind == "merge":
            kept, *gone = entry.identities
            now = {before: kept if after in gone else after for before, after in now.items()}
            now.update(dict.fromkeys(gone, kept))
    return now


# ---- contradictions


def conflicts(
    entry: Entry, log: Sequence[Entry], tracks: Sequence[TrackRecord], *, paths: Mapping[int, Path] | None = None
) -> list[str]:
    """Return why an entry cannot be true, each reason as a sentence; none where it can.

    It contradicts an earlier entry that still holds, or it says of two tracks that share a frame that they are one
    person. What an earlier entry said already is no new contradiction.

    Args:
        entry: What is to be written.
        log: The entries there are.
        tracks: All tracks, or at least those that are pinned to the people of the entry.
        paths: Video id -> path, for the sentences.

    Example:
        >>> log = [Entry("not", (1,), bans=frozenset({(8, 1)}), at="2026-11-24T09:00:00+00:00")]
        >>> conflicts(Entry("assign", (1,), pins={8: 1}), log, [])
        ['on 2026-11-24 you said that track 8 is not Person 1']
    """
    said = _Said.of(log)
    found = [*_contradictions(entry, said), *_in_one_picture(entry, said, tracks, paths or {})]
    return list(dict.fromkeys(found))


def _contradictions(entry: Entry, said: _Said) -> Iterator[str]:
    one = set(entry.identities) if entry.kind == "merge" else set()
    for key, identity in sorted(entry.pins.items()):
        for other in sorted({identity, *one}):
            if (key, other) in said.bans:
                yield f"{_when(said.bans[key, other])} track {key} is not {_label(other, said)}"
        pinned, earlier = said.pins.get(key, (identity, entry))
        if pinned != identity and pinned not in one:
            yield f"{_when(earlier)} track {key} is {_label(pinned, said)}"
    for key, identity in sorted(entry.bans):
        pinned, earlier = said.pins.get(key, (NEW, entry))
        if pinned == identity:
            yield f"{_when(earlier)} track {key} is {_label(pinned, said)}"


def _when(entry: Entry) -> str:
    return f"on {entry.at[:10]} you said that"


def _label(identity_id: int, said: _Said) -> str:
    return Identity(identity_id, said.names.get(identity_id)).label if identity_id != NEW else "a new person"


def _in_one_picture(
    entry: Entry, said: _Said, tracks: Sequence[TrackRecord], paths: Mapping[int, Path]
) -> Iterator[str]:
    before = {key: identity for key, (identity, _) in said.pins.items()}
    after = _Said(dict(said.pins), dict(said.bans), dict(said.names), set(said.ignored))
    after.hear(entry)
    touched = set(entry.pins.values())
    owners = {key: identity for key, (identity, _) in after.pins.items() if identity in touched}
    pinned = [track for track in tracks if track.key in owners]
    for a, b in sharing_a_frame(pinned):
        one = owners[a.key] == owners[b.key]
        known = before.get(a.key) is not None and before.get(a.key) == before.get(b.key)
        if one and not known:
            video = paths.get(a.video_id, Path(f"video {a.video_id}")).name
            frame = max(a.first_frame, b.first_frame)
            yield f"track {a.key} and track {b.key} of {video} share frame {frame}: two faces, two people"


def sharing_a_frame(tracks: Sequence[TrackRecord]) -> list[tuple[TrackRecord, TrackRecord]]:
    """Return the pairs of tracks that share a frame of a video."""
    pairs = co_occurring(*([getattr(t, name) for t in tracks] for name in ("video_id", "first_frame", "end_frame")))
    return [(tracks[a], tracks[b]) for a, b in pairs.tolist()]


# ---- erasing


def erased(entries: Sequence[Entry], identities: Iterable[int], tracks: Iterable[int]) -> list[Entry]:
    """Return the log without some people and tracks: what was said of others stays, and names in reasons go.

    An entry that was about nobody and nothing else is left out.

    Args:
        entries: The log.
        identities: Who is forgotten.
        tracks: Keys of the tracks that are erased with them.

    Example:
        >>> log = [Entry("name", (1,), name="Ada"), Entry("split", (1, 2), pins={5: 2, 4: 1}, bans=frozenset({(5, 1)}))]
        >>> [(e.kind, e.identities, dict(e.pins), len(e.bans)) for e in erased(log, {1}, {4})]
        [('split', (2,), {5: 2}, 0)]
    """
    people, keys = frozenset(identities), frozenset(tracks)
    names = {e.name.casefold() for e in entries if e.name is not None and people.intersection(e.identities)}
    kept = [entry for entry in entries if entry.kind == "undo" or not _is_about(entry, people, names)]
    left = [(entry, _without(entry, people, keys, names)) for entry in kept]
    return [after for before, after in left if after == before or not _is_hollow(after)]


def _is_about(entry: Entry, people: frozenset[int], names: Collection[str]) -> bool:
    mentioned = people.intersection(entry.identities)
    # Who was named, undone and named again has another id.
    called = not entry.holds and entry.name is not None and entry.name.casefold() in names
    return called or (bool(mentioned) and (not entry.holds or mentioned == set(entry.identities)))


def _is_hollow(entry: Entry) -> bool:
    speaks = entry.kind in ("name", "enroll", "ignore", "unignore", "undo")
    return not speaks and not entry.pins and not entry.bans and not (entry.kind == "merge" and entry.identities[1:])


def _without(entry: Entry, people: frozenset[int], keys: frozenset[int], names: Iterable[str]) -> Entry:
    reason = None if people.intersection(entry.identities) else entry.reason
    if reason is not None and any(name in reason.casefold() for name in names):
        reason = None
    return replace(
        entry,
        identities=tuple(identity for identity in entry.identities if identity not in people),
        pins={key: person for key, person in entry.pins.items() if key not in keys and person not in people},
        bans=frozenset((key, person) for key, person in entry.bans if key not in keys and person not in people),
        moved={k: None if person in people else person for k, person in entry.moved.items() if k not in keys},
        confidences={key: told for key, told in entry.confidences.items() if key not in keys},
        created=tuple(identity for identity in entry.created if identity not in people),
        reason=reason,
    )


def translated(entry: Entry, keys: Mapping[int, Sequence[int]]) -> Entry:
    """Return an entry whose tracks were replaced by others.

    Args:
        entry: What was said.
        keys: Key of a track that is no more -> those of the tracks that show the same face now, maybe none.

    Example:
        >>> dict(translated(Entry("assign", (1,), pins={4: 1, 5: 1}), {4: [8, 9]}).pins)
        {8: 1, 9: 1, 5: 1}
    """

    def now(key: int) -> Sequence[int]:
        return keys.get(key, (key,))

    return replace(
        entry,
        pins={new: person for key, person in entry.pins.items() for new in now(key)},
        bans=frozenset((new, person) for key, person in entry.bans for new in now(key)),
        moved={new: person for key, person in entry.moved.items() for new in now(key)},
        confidences={new: told for key, told in entry.confidences.items() for new in now(key)},
    )


# ---- for people to read


def describe(entry: Entry, labels: Mapping[int, str] | None = None, *, log: Sequence[Entry] = ()) -> str:
    """Return an entry as a sentence.

    Args:
        entry: The entry.
        labels: Identity -> label; those that are not in it are called ``Person`` and the id.
        log: The log, from which a taking back tells what it took back.

    Example:
        >>> describe(Entry("split", (1, 3), pins={4: 3, 5: 3, 6: 3, 2: 1}), {1: "Ada"})
        'tracks 4-6 are not Ada but Person 3'
        >>> describe(Entry("name", (3,), name="Ada"))
        'Person 3 is called Ada'
    """
    people = [(labels or {}).get(i, Identity(i).label) for i in entry.identities]
    who = people[0] if people else "nobody any more"
    other = people[-1] if len(people) > 1 else None
    match entry.kind:
        case "name":
            return f"{Identity(entry.identities[0]).label} " + (
                f"is called {entry.name}" if entry.name else "has no name"
            )
        case "merge":
            return f"{who} and {other or 'somebody who was forgotten'} are one person"
        case "split":
            mine = [key for key, identity in entry.pins.items() if identity == entry.identities[-1]]
            return (
                f"{_tracks(mine, 'is', 'are')} not {who} but {other}"
                if other
                else f"{_tracks(mine, 'is', 'are')} {who}"
            )
        case "not":
            return f"{_tracks(entry.track_keys, 'is', 'are')} not {who}"
        case "assign" | "confirm":
            return f"{_tracks(entry.track_keys, 'is', 'are')} {who}"
        case "enroll":
            return f"{_tracks(entry.track_keys, 'of a photograph is', 'of photographs are')} {entry.name}"
        case "undo":
            return (
                f"takes back {_listed('entry', 'entries', [e.entry_id for e in log if e.undone_by == entry.entry_id])}"
            )
        case _:
            return f"{who} is {'ignored' if entry.kind == 'ignore' else 'of interest again'}"


def _tracks(keys: Sequence[int], one: str, several: str) -> str:
    return f"{_listed('track', 'tracks', keys)} {one if len(keys) == 1 else several}"


def _listed(one: str, several: str, numbers: Sequence[int]) -> str:
    if not numbers:
        return f"no {one}"
    runs = [[n for _, n in run] for _, run in groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0])]
    told = ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs[:12])
    return f"{one if len(numbers) == 1 else several} {told}{' and more' if len(runs) > 12 else ''}"
