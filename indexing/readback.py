"""What a person has corrected in an export to CVAT or ELAN: read, checked, matched with the tracks of its video."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from indexing.store import Store
from indexing.timeline import APPEARANCE_GAP
from indexing.types import UNKNOWN, Identity, TrackRecord, VideoRecord
from tracker.errors import FacetrackError
from tracker.types import Float64, Int64, Segment, Timeline, Track

APPEARANCE_TYPE, EMOTION_TYPE = "appearance", "emotion"
HASH_PROPERTY, TIERS_PROPERTY = "facetrack-video", "facetrack-tiers"
"""ELAN: the types of tiers, and properties with the content hash of the video and what each of
these tiers held at the export, as `indexing.export.elan` writes them."""

NAME, IDENTITY, TRACK, VIDEO = "name", "identity", "track", "video"
"""CVAT: attributes of a box, as `indexing.export.cvat` writes them."""

HASH_DIGITS = 16
"""Digits of a content hash that a file says at least."""

SHARE = 0.5
"""Share of its time or frames in which one thing has to cover another one to be it."""

SAME_BOX = 0.5
"""Intersection over union from which two boxes are of one face."""

_LARGEST = 1 << 30
"""Bytes that are unpacked at most: a small archive can hold any number of zeros."""

_SHORTEST = 1e-3
"""Seconds that anything lasts at least in a file of milliseconds."""

Target = int | str | None
"""Whose a track is to be: an identity, whoever has a name, or nobody known."""


@dataclass(frozen=True, slots=True)
class Corrections:
    """What a file says other than it did when it was exported.

    Attributes:
        video: The video that it is of.
        wishes: Track key -> whose it is to be.
        renames: Identity -> the new name of its tier.
        unmatched: A line for each part that is of no track, and each track that is in no part any more.
    """

    video: VideoRecord
    wishes: Mapping[int, Target]
    renames: Mapping[int, str] = field(default_factory=dict)
    unmatched: tuple[str, ...] = ()


def read_corrections(store: Store, path: Path) -> Corrections:
    """Return what a person has changed in an export of the format ``cvat`` or ``elan``.

    Raises:
        FacetrackError: if the file cannot be read, is of no such format, is of a video that the store does not have, or
            contradicts itself.
    """
    try:
        root = _read_xml(path)
        if root.tag not in _READERS:
            raise FacetrackError(f"it is neither of ELAN (.eaf) nor of CVAT for video 1.1; it begins with {root.tag!r}")
        return _READERS[root.tag](store, root)
    except FacetrackError as error:
        raise FacetrackError(f"{path}: {error}") from None


class _Builder(ElementTree.TreeBuilder):
    """Builds a tree of a document without a type: no entity can be declared, so none can grow."""

    def doctype(self, *_: str | None) -> NoReturn:
        raise FacetrackError("it declares a document type, which no export has; it is not read")


def _read_xml(path: Path) -> Element:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FacetrackError(f"it cannot be read: {error.strerror or error}") from error
    try:
        data = _unpacked(path) if zipfile.is_zipfile(path) else data
        return ElementTree.fromstring(data, ElementTree.XMLParser(target=_Builder()))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise FacetrackError(f"it is no whole XML file ({error}); export it anew") from error


def _unpacked(path: Path) -> bytes:
    """Return the annotations in an archive, as CVAT hands them out."""
    try:
        with zipfile.ZipFile(path) as archive:
            if "annotations.xml" in archive.namelist() and archive.getinfo("annotations.xml").file_size <= _LARGEST:
                return archive.read("annotations.xml")
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise FacetrackError(f"it is an archive that cannot be unpacked: {error}") from error
    raise FacetrackError("it is an archive without an annotations.xml, or with one above 1 GB")


def _video(store: Store, hashes: Iterable[str]) -> VideoRecord:
    known = {text.strip() for text in hashes} - {""}
    if len(known) != 1:
        what = "says of several videos" if known else "does not say of which video"
        raise FacetrackError(f"it {what} it is; correct an export of facetrack, and leave all but the names in it")
    (content_hash,) = known
    for video in store.videos():
        if len(content_hash) >= HASH_DIGITS and video.info.content_hash.startswith(content_hash):
            return video
    raise FacetrackError(
        f"it is of another video, with content hash {content_hash[:HASH_DIGITS]!r}, which {store.path} does not have"
    )


# ---- ELAN


@dataclass(frozen=True, slots=True)
class _Held:
    """What a tier held when it was exported."""

    identity_id: int | None
    tracks: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Mark:
    """An annotation; in a tier of its own kind it speaks of a person only if its text came from a tier that does."""

    tier: str
    segment: Segment
    value: str
    is_person: bool = True

    def __str__(self) -> str:
        return f"{self.tier!r}, {self.segment.start:.3f} s to {self.segment.end:.3f} s"


def _read_elan(store: Store, root: Element) -> Corrections:
    properties = {element.get("NAME"): element.text or "" for element in root.iter("PROPERTY")}
    video = _video(store, [properties.get(HASH_PROPERTY, "")])
    records = {record.track_id: record for record in store.track_records(video.video_id)}
    held = _held(properties.get(TIERS_PROPERTY, ""), records)
    tiers = {tier.get("TIER_ID", ""): tier for tier in root.iter("TIER")}
    marks = [mark for mark in _marks(root, tiers) if mark.is_person or mark.value in held]
    claims, lines = _claims(marks, held, records)
    return _differences(video, held, records, claims, set(tiers), lines)


def _held(text: str, records: Mapping[int, TrackRecord]) -> dict[str, _Held]:
    try:
        tiers = {
            str(name): (
                _identity_id(tier["identity"]),
                {int(number): tuple(span) for number, span in tier["tracks"].items()},
            )
            for name, tier in json.loads(text).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FacetrackError(f"its property {TIERS_PROPERTY} is missing or damaged; export it anew") from error
    spans = {number: span for _, tracks in tiers.values() for number, span in tracks.items()}
    if any(n not in records or span != (records[n].first_frame, records[n].end_frame) for n, span in spans.items()):
        raise FacetrackError("the video was tracked anew since this export; export it again")
    return {name: _Held(identity_id, frozenset(tracks)) for name, (identity_id, tracks) in tiers.items()}


def _identity_id(value: object) -> int | None:
    if value is not None and not isinstance(value, int):
        raise TypeError(f"{value!r} is no identity")
    return value


def _marks(root: Element, tiers: Mapping[str, Element]) -> Iterator[_Mark]:
    slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    for name, tier in tiers.items():
        kind = tier.get("LINGUISTIC_TYPE_REF")
        for annotation in tier.iter("ALIGNABLE_ANNOTATION") if kind != EMOTION_TYPE else ():
            times = [slots.get(annotation.get(end)) for end in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
            try:
                start, end = (int(time or "") / 1000 for time in times)
            except (ValueError, OverflowError):
                raise FacetrackError(f"an annotation of the tier {name!r} has no time; save the file in ELAN") from None
            value = (annotation.findtext("ANNOTATION_VALUE") or "").strip()
            yield _Mark(name, _lasting(start, end), value, kind == APPEARANCE_TYPE)


def _lasting(start: float, end: float) -> Segment:
    return Segment(start, max(end, start + _SHORTEST))


def _claims(
    marks: Sequence[_Mark], held: Mapping[str, _Held], records: Mapping[int, TrackRecord]
) -> tuple[dict[int, str], list[str]]:
    """Return the tier that each track is in, and a line for each annotation that is of no track.

    An annotation stands for the tracks of its time that were in the tier that its text names, as ELAN keeps the text of
    what is moved; otherwise for those of its own tier, and if it had none, for those that are in no tier any more.
    """
    spans = {number: _lasting(record.start, record.end) for number, record in records.items()}
    holders = {number: name for name, tier in held.items() for number in tier.tracks}
    found: dict[int, list[_Mark]] = defaultdict(list)
    strays, lines = list[_Mark](), list[str]()
    for mark in marks:
        own = _of_tier(mark, mark.tier, held, spans)
        moved = _of_tier(mark, mark.value, held, spans) if mark.value != mark.tier else []
        for number in moved or own:
            found[number].append(mark)
        if not moved and not own:
            strays.append(mark)
        elif not moved and mark.value not in ("", mark.tier):
            lines.append(f"{mark}: its text is {mark.value!r}, but its tier says who it is; move it there")
    for mark in strays:
        free = [number for number in _covered(mark, spans) if number not in found]
        best = _likeliest(mark, free, holders, spans)
        lines += [] if best else [f"{mark}: no face is seen there for at least half of the time, or several are"]
        found.update((number, [mark]) for number in best)
    return {number: _only_tier(number, marks) for number, marks in found.items()}, lines


def _of_tier(mark: _Mark, tier: str, held: Mapping[str, _Held], spans: Mapping[int, Segment]) -> list[int]:
    own = held[tier].tracks if tier in held else frozenset()
    return [number for number in _covered(mark, spans) if number in own]


def _covered(mark: _Mark, spans: Mapping[int, Segment]) -> list[int]:
    """Return the tracks of whose time an annotation covers enough."""
    return [number for number, span in spans.items() if _shared(mark.segment, [span]) >= SHARE * span.duration]


def _fills(mark: _Mark, numbers: Iterable[int], spans: Mapping[int, Segment]) -> bool:
    """Tell whether tracks cover enough of the time of an annotation, gaps that end no appearance included."""
    return _shared(mark.segment, [spans[number] for number in numbers]) >= SHARE * mark.segment.duration


def _shared(segment: Segment, others: Iterable[Segment]) -> float:
    """Return for how many seconds of ``segment`` any of ``others`` lasts."""
    parts = Timeline.union(others, gap=APPEARANCE_GAP)
    return sum(max(0.0, min(segment.end, part.end) - max(segment.start, part.start)) for part in parts)


def _likeliest(
    mark: _Mark, free: Iterable[int], holders: Mapping[int, str], spans: Mapping[int, Segment]
) -> Sequence[int]:
    """Return those of the tracks of one former tier that fit an annotation best; none if none or several do."""
    groups: dict[str | None, list[int]] = defaultdict(list)
    for number in free:
        groups[holders.get(number)].append(number)
    fits = sorted(
        ((_fit(mark, numbers, spans), numbers) for numbers in groups.values() if _fills(mark, numbers, spans)),
        reverse=True,
    )
    clear = len(fits) == 1 or (len(fits) > 1 and fits[0][0] > fits[1][0])
    return fits[0][1] if clear else ()


def _fit(mark: _Mark, numbers: Iterable[int], spans: Mapping[int, Segment]) -> float:
    """Return intersection over union of an annotation and tracks, in time."""
    parts = [spans[number] for number in numbers]
    shared = _shared(mark.segment, parts)
    return shared / (mark.segment.duration + Timeline.union(parts, gap=APPEARANCE_GAP).duration - shared)


def _only_tier(number: int, marks: Sequence[_Mark]) -> str:
    tiers = {mark.tier: mark for mark in marks}
    if len(tiers) > 1:
        first, second, *_ = tiers.values()
        raise FacetrackError(f"track {number} is in two tiers ({first}; {second}); leave it in one")
    return marks[0].tier


def _differences(
    video: VideoRecord,
    held: Mapping[str, _Held],
    records: Mapping[int, TrackRecord],
    claims: Mapping[int, str],
    tiers: set[str],
    lines: Sequence[str],
) -> Corrections:
    holders = {number: name for name, tier in held.items() for number in tier.tracks}
    gone = [
        f"track {number} is in no tier any more and stays as it was; in the tier {UNKNOWN!r} it loses its name"
        for number in sorted(set(holders) - set(claims))
    ]
    former = _former(held, claims, tiers)
    wishes = dict[int, Target]()
    for number, name in claims.items():
        before = held.get(holders.get(number, ""))
        now: Target = held[name].identity_id if name in held else name
        stays = before is not None and name in held and now == before.identity_id
        if not stays and name not in former:
            wishes[records[number].key] = now
    return Corrections(video, wishes, {person: name for name, person in former.items()}, (*lines, *gone))


def _former(held: Mapping[str, _Held], claims: Mapping[int, str], tiers: set[str]) -> dict[str, int]:
    """Return the tiers that were renamed as a whole, with their person.

    Such a tier is new and another one is gone, and it has all tracks of that one that are left, and no others.
    """
    found = dict[str, int]()
    for lost in set(held) - tiers:
        takers = {claims[number] for number in held[lost].tracks if number in claims}
        taker = takers.pop() if len(takers) == 1 else ""
        taken = {number for number, name in claims.items() if name == taker}
        person = held[lost].identity_id
        if person is not None and taker and taker not in held and taken <= held[lost].tracks:
            found[taker] = person
    return found


# ---- CVAT


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """A track of CVAT: ``(F,)`` frames in which it is seen, ``(F, 4)`` boxes there, attributes."""

    number: str
    frames: Int64
    boxes: Float64
    attributes: Mapping[str, str]

    def __str__(self) -> str:
        name = self.attributes.get(NAME, "")
        return f"track {self.number!r} of CVAT, {name!r}, frames {self.frames[0]} to {self.frames[-1]}"


def _read_cvat(store: Store, root: Element) -> Corrections:
    elements = root.findall("track")
    if not elements:
        raise FacetrackError("it has no tracks; export from CVAT as 'CVAT for video 1.1'")
    attributes = [box.findall("attribute") for element in elements for box in element.iter("box")]
    hashes = {one.text or "" for some in attributes for one in some if one.get("name") == VIDEO}
    video = _video(store, hashes)
    drawn = [one for element in elements if (one := _drawn(element, video.frame_count)) is not None]
    labels = {"": {UNKNOWN.casefold()}}
    for identity in store.identities(include_empty=True):
        # Who had no name at the export may have one now: both are no correction.
        unnamed = Identity(identity.identity_id).label
        labels[str(identity.identity_id)] = {identity.label.casefold(), unnamed.casefold()}
    return _matched(video, store.tracks(video.video_id), drawn, labels)


def _drawn(element: Element, frame_count: int) -> _Drawn | None:
    """Return a track of CVAT, its boxes interpolated; None if it is never seen."""
    number = element.get("id", "")
    try:
        boxes = {int(box.get("frame", "")): box for box in element.iter("box")}
        sides = {at: [float(box.get(side, "")) for side in ("xtl", "ytl", "xbr", "ybr")] for at, box in boxes.items()}
    except ValueError as error:
        raise FacetrackError(f"a box of track {number!r} is damaged: {error}") from error
    # CVAT may count a frame more than we decoded.
    order = sorted(frame for frame in boxes if frame <= frame_count)
    points = np.array([sides[frame] for frame in order], np.float64).reshape(-1, 4)
    if any(frame < 0 for frame in order) or not np.isfinite(points).all():
        raise FacetrackError(f"a box of track {number!r} is damaged: its frame or a side is no number that can be")
    seen = [frame for frame in order if frame < frame_count and boxes[frame].get("outside") != "1"]
    if not seen:
        return None
    ends = dict(pairwise([*order, frame_count]))
    frames = np.concatenate([np.arange(frame, ends[frame]) for frame in seen])
    between = np.column_stack([np.interp(frames, order, side) for side in points.T])
    return _Drawn(number, frames, between, _attributes(number, [(frame, boxes[frame]) for frame in seen]))


def _attributes(number: str, boxes: Sequence[tuple[int, Element]]) -> dict[str, str]:
    """Return the attributes of the first box that has each; the name has to be one throughout."""
    found, named = dict[str, str](), dict[str, int]()
    for frame, box in boxes:
        for attribute in box.iter("attribute"):
            name, value = attribute.get("name", ""), (attribute.text or "").strip()
            found.setdefault(name, value)
            if name == NAME:
                named.setdefault(value, frame)
    if len(named) > 1:
        (one, first), (other, second), *_ = named.items()
        raise FacetrackError(
            f"track {number!r} is called {one!r} in frame {first} and {other!r} in frame {second}; give it one name"
        )
    return found


def _matched(
    video: VideoRecord,
    pairs: Sequence[tuple[TrackRecord, Track]],
    drawn: Sequence[_Drawn],
    labels: Mapping[str, set[str]],
) -> Corrections:
    wishes, lines, claims = dict[int, Target](), list[str](), dict[int, _Drawn]()
    for one in drawn:
        record, name = _record(one, pairs), one.attributes.get(NAME, "")
        if record is None or not name:
            lines.append(f"{one}: {'it has no name' if record else 'no face is seen there'}; left out")
            continue
        other = claims.setdefault(record.key, one)
        if other.attributes[NAME].casefold() != name.casefold():
            raise FacetrackError(f"face track {record.track_id} is named twice ({other}; {one}); give it one name")
        if name.casefold() not in labels.get(one.attributes.get(IDENTITY, "none"), ()):
            wishes[record.key] = name
    return Corrections(video, wishes, unmatched=tuple(lines))


def _record(one: _Drawn, pairs: Sequence[tuple[TrackRecord, Track]]) -> TrackRecord | None:
    """Return the track that is meant: by its number if its boxes are there, otherwise by the boxes alone."""
    number = one.attributes.get(TRACK, "")
    for record, track in pairs:
        if number == str(record.track_id):
            alike = _alike(one, track)
            if alike.size and alike.mean() >= SHARE:
                return record
    scored = [(int(_alike(one, track).sum()), record, len(track)) for record, track in pairs]
    fitting = [(same, -r.track_id, r) for same, r, length in scored if same >= SHARE * max(length, len(one.frames))]
    return max(fitting, key=lambda fit: fit[:2])[2] if fitting else None


def _alike(one: _Drawn, track: Track) -> NDArray[np.bool_]:
    """Return, for each frame that both have, whether their boxes are of one face."""
    inside = (one.frames >= track.first_frame) & (one.frames < track.end_frame)
    a, b = one.boxes[inside], track.boxes[one.frames[inside] - track.first_frame].astype(np.float64)
    shared = np.prod(np.maximum(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0), axis=1)
    areas = np.prod(a[:, 2:] - a[:, :2], axis=1) + np.prod(b[:, 2:] - b[:, :2], axis=1)
    return np.asarray(shared >= SAME_BOX * (areas - shared))


_READERS: Mapping[str, Callable[[Store, Element], Corrections]] = MappingProxyType(
    {"annotations": _read_cvat, "ANNOTATION_DOCUMENT": _read_elan}
)
"""The reader of each kind of file, by the name of its root."""
