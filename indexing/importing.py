"""Names that a person has corrected in CVAT or ELAN, brought back into a store."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from indexing.corrections import NEW, Entry
from indexing.readback import Corrections, Target, read_corrections
from indexing.store import Store
from indexing.types import UNKNOWN, Identity, TrackRecord, VideoRecord
from tracker.errors import FacetrackError

_UNKNOWN = re.compile(r"unknown(?: \d+)?", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:person\s+)?(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Moved:
    """A track that is another person's now.

    Attributes:
        record: The track as it was before.
        before: Label of the former person, or ``Unknown``.
        after: Label of the person now, or ``Unknown``.
    """

    record: TrackRecord
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import changed.

    Attributes:
        video: The video that the file is of.
        renamed: Former and new label of each person who has another name now.
        moved: The tracks that changed their person, by video and number.
        new_people: Names of the people whom the store did not know.
        unmatched: A line for each part of the file that is of no track, and each track that it lost.
    """

    video: VideoRecord
    renamed: tuple[tuple[str, str], ...]
    moved: tuple[Moved, ...]
    new_people: tuple[str, ...]
    unmatched: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether the store is another one now."""
        return bool(self.renamed or self.moved)


def import_names(store: Store, path: str | Path) -> Imported:
    """Take over the names that a person has corrected in an export of the format ``cvat`` or ``elan``.

    What the file still says as it was exported changes nothing. A track with another name is that person's now, a known
    or a new one; ``Unknown`` makes it nobody's. A tier of ELAN that is renamed as a whole renames its person, or, if
    another one has that name, makes both one in all videos. A new name for all tracks of a person in the video names
    that person, unless they have another name and are seen in other videos too: then somebody new is meant.

    Args:
        store: The database.
        path: The file.

    Raises:
        FacetrackError: if the file cannot be read, is of no such format or of another video, contradicts itself, or
            gives two faces of one frame the same name. Nothing is changed then.
    """
    said = read_corrections(store, Path(path))
    with store.transaction():
        plan = _Plan(said, store.identities(include_empty=True), store.track_records())
        try:
            plan.make()
        except FacetrackError as error:
            raise FacetrackError(f"{path}: {error}") from None
        return plan.carry_out(store, reason=f"imported from {Path(path).name}")


@dataclass(slots=True)
class _Plan:
    """Who is to be called what, and whose tracks change: ``names`` by identity, ``targets`` by track key."""

    said: Corrections
    identities: Sequence[Identity]
    records: Sequence[TrackRecord]
    names: dict[int, str] = field(default_factory=dict)
    targets: dict[int, Target] = field(default_factory=dict)

    def make(self) -> None:
        """Resolve what was said and check it."""
        for person, text in self.said.renames.items():
            self._rename(person, text)
        wished = {key: self._resolved(target) for key, target in self.said.wishes.items()}
        self.targets.update(wished)
        self._name_whole_people()
        now = {record.key: record.identity_id for record in self.records}
        self.targets = {key: target for key, target in self.targets.items() if target != now[key]}
        self._check_frames()

    def _rename(self, person: int, text: str) -> None:
        target = self._resolved(text)
        if isinstance(target, str):
            self.names[person] = target
        elif target == person:
            self._respell(person, text.strip())
        else:
            everywhere = target is not None
            held = [r for r in self.records if r.identity_id == person and (everywhere or self._is_here(r))]
            self.targets.update((record.key, target) for record in held)

    def _respell(self, person: int, text: str) -> None:
        name = self._identity(person).name
        if name is not None and name.casefold() == text.casefold() and name != text:
            self.names[person] = text

    def _resolved(self, target: Target) -> Target:
        """Return the identity that is meant, None for nobody, or a name that nobody has."""
        if not isinstance(target, str):
            return target if target is None else self._identity(target).identity_id
        text = target.strip()
        names = {person.name.casefold(): person.identity_id for person in self.identities if person.name is not None}
        names.update((name.casefold(), person) for person, name in self.names.items())
        if text.casefold() in names:
            return names[text.casefold()]
        if _UNKNOWN.fullmatch(text):
            return None
        if number := _NUMBERED.fullmatch(text):
            # Python refuses to read thousands of digits, and no id has nineteen.
            return self._identity(int(number[1][:19])).identity_id
        if not text or not text.isprintable():
            raise FacetrackError(f"{text!r} cannot name a person: it is empty or has control characters")
        return text

    def _identity(self, identity_id: int) -> Identity:
        for person in self.identities:
            if person.identity_id == identity_id:
                return person
        raise FacetrackError(f"there is no person {identity_id} any more, or yet; give a name instead")

    def _is_here(self, record: TrackRecord) -> bool:
        return record.video_id == self.said.video.video_id

    def _name_whole_people(self) -> None:
        """Give a new name to the person whose tracks all want it, instead of founding another one."""
        groups: dict[str, list[TrackRecord]] = defaultdict(list)
        for record in self.records:
            target = self.targets.get(record.key)
            if isinstance(target, str):
                groups[target.casefold()].append(record)
        for members in groups.values():
            sizes = Counter(record.identity_id for record in members)
            whole = [person for person, size in sizes.items() if person is not None and self._is_whole(person, size)]
            if whole:
                person = min(whole, key=lambda one: (-sizes[one], one))
                self.names[person] = str(self.targets[members[0].key])
                self.targets.update((record.key, person) for record in members)

    def _is_whole(self, person: int, size: int) -> bool:
        held = [record for record in self.records if record.identity_id == person]
        elsewhere = sum(not self._is_here(record) for record in held)
        free = person not in self.names and person not in self.targets.values()
        return free and size == len(held) - elsewhere and not (elsewhere and self._identity(person).name is not None)

    def _check_frames(self) -> None:
        people: dict[Target, list[TrackRecord]] = defaultdict(list)
        for record in self.records:
            people[self._owner(record)].append(record)
        for target, members in people.items():
            if target is not None:
                self._check_person(target, members)

    def _check_person(self, target: Target, members: Sequence[TrackRecord]) -> None:
        """Refuse two tracks of one person in one frame, save those that were one person's before."""
        open_tracks = list[TrackRecord]()
        for record in sorted(members, key=lambda r: (r.video_id, r.first_frame, r.key)):
            open_tracks = [r for r in open_tracks if r.video_id == record.video_id and r.end_frame > record.first_frame]
            for other in open_tracks:
                new = record.key in self.targets or other.key in self.targets
                if new and (record.identity_id is None or record.identity_id != other.identity_id):
                    raise FacetrackError(
                        f"frame {record.first_frame} of video {record.video_id} would show {self._label(target)!r} "
                        f"twice (tracks {other.track_id} and {record.track_id}); give one of them another name"
                    )
            open_tracks.append(record)

    def _owner(self, record: TrackRecord) -> Target:
        return self.targets.get(record.key, record.identity_id)

    def _label(self, target: Target) -> str:
        if target is None or isinstance(target, str):
            return target or UNKNOWN
        return self.names.get(target) or self._identity(target).label

    def carry_out(self, store: Store, *, reason: str) -> Imported:
        """Write what was said into the log of the store, which does it, and say what is another one now."""
        for person, name in self.names.items():
            store.rename(person, name, reason=reason)
        self._assign(store, reason)
        before = {person.identity_id: person.label for person in self.identities}
        changed = [record for record in self.records if record.key in self.targets]
        created = {t.casefold(): t for r in changed if isinstance(t := self.targets[r.key], str)}
        return Imported(
            self.said.video,
            tuple((before[person], name) for person, name in sorted(self.names.items())),
            tuple(
                Moved(r, UNKNOWN if r.identity_id is None else before[r.identity_id], self._label(self.targets[r.key]))
                for r in changed
            ),
            tuple(created.values()),
            self.said.unmatched,
        )

    def _assign(self, store: Store, reason: str) -> None:
        groups: dict[Target, list[TrackRecord]] = defaultdict(list)
        for record in self.records:
            if record.key in self.targets:
                target = self.targets[record.key]
                groups[target.casefold() if isinstance(target, str) else target].append(record)
        spelled = _spelled(self.targets.values())
        for target, members in groups.items():
            if target is None:
                self._ban(store, members, reason)
                continue
            person = NEW if isinstance(target, str) else target
            pins = dict.fromkeys((record.key for record in members), person)
            written = store.correct(Entry("assign", (person,), pins, reason=reason))
            if isinstance(target, str):
                store.rename(written.identities[0], spelled[target], reason=reason)

    def _ban(self, store: Store, members: Iterable[TrackRecord], reason: str) -> None:
        """Say of tracks that they are not whom they were taken for, whoever they are."""
        people: dict[int, list[int]] = defaultdict(list)
        for record in members:
            if record.identity_id is not None:
                people[record.identity_id].append(record.key)
        for person, keys in people.items():
            store.correct(Entry("not", (person,), bans=frozenset((key, person) for key in keys), reason=reason))


def _spelled(targets: Iterable[Target]) -> dict[str, str]:
    """Return the new names by how they are compared; of several spellings the first."""
    names = dict[str, str]()
    for target in targets:
        if isinstance(target, str):
            names.setdefault(target.casefold(), target)
    return names
