"""The verbs by which people correct who is who: each is an entry of the log, and clustering obeys it from then on.

A verb that contradicts an earlier one, or the picture, is refused with the reason, unless it is forced: then the later
word holds. Every one can be undone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from indexing import pipeline
from indexing.corrections import NEW, Entry, conflicts, describe, merged_into
from indexing.store import Store, checked_name
from indexing.types import Identity, TrackRecord
from tracker.boxes import sizes
from tracker.errors import FacetrackError
from tracker.types import TrackingResult

if TYPE_CHECKING:
    from tracker.embedding import Models
    from tracker.protocols import Detector, Embedder
    from tracker.video import Video

logger = logging.getLogger(__name__)

Who = int | str
"""A person: the id, ``Person 3``, or the name."""

FAR_LARGER = 2.0
"""A face of an enrolled photograph is the one that is meant if its side is so many times that of the next one."""

_MODELS = {"detector": "centerface", "embedder": "dlib"}

_TOLD = 5


P = ParamSpec("P")
T = TypeVar("T")


def _whole(verb: Callable[Concatenate[Store, P], T]) -> Callable[Concatenate[Store, P], T]:
    """Make one transaction of a verb: what it looks at is still so when it is written, and all that follows is too."""

    @wraps(verb)
    def said(store: Store, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with store.transaction():
            return verb(store, *args, **kwargs)

    return said


class ContradictionError(FacetrackError):
    """A correction that contradicts the picture or an earlier one.

    Attributes:
        reasons: What it contradicts, a sentence each; the last one tells how many more there are.
    """

    def __init__(self, found: Sequence[str]) -> None:
        more = [f"{len(found) - _TOLD} more"] if len(found) > _TOLD else []
        self.reasons = (*found[:_TOLD], *more)
        super().__init__(
            f"refused, as {'; '.join(self.reasons)}; undo what is wrong, or repeat it with --force: then the later "
            "word holds"
        )


# ---- the verbs


@_whole
def name(store: Store, person: Who, text: str | None, *, reason: str | None = None) -> Entry:
    """Name a person; None takes the name away. Their best picture, which has been looked at, is theirs for good.

    Args:
        store: The store.
        person: Who.
        text: The name.
        reason: Why, for the log.

    Raises:
        FacetrackError: if there is no such person, another has the name, or it reads like an id.
    """
    return store.rename(_person(store, person).identity_id, text, reason=reason)


@_whole
def confirm(store: Store, person: Who, *, reason: str | None = None, force: bool = False) -> Entry:
    """Say that all tracks that a person has now are theirs.

    Args:
        store: The store.
        person: Who.
        reason: Why, for the log.
        force: Write it although it contradicts what was said or seen.

    Raises:
        FacetrackError: if there is no such person, they have no track, or it is contradictory.
    """
    identity = _person(store, person)
    keys = _keys(store, identity)
    if not keys:
        raise FacetrackError(f"{identity.label} has no track to confirm; add a video or a photograph that shows them")
    entry = Entry("confirm", (identity.identity_id,), dict.fromkeys(keys, identity.identity_id), reason=reason)
    return _say(store, entry, force=force)


@_whole
def merge(store: Store, a: Who, b: Who, *, reason: str | None = None, force: bool = False) -> Entry:
    """Say that two people are one: a named one stays before an unnamed one, of two unnamed ones the one of lower id.

    Of two named people the first one stays, and the second name is dropped.

    Args:
        store: The store.
        a: One of them.
        b: The other.
        reason: Why, for the log.
        force: Write it although it contradicts what was said or seen.

    Raises:
        FacetrackError: if there are no such people, they are one already, or it is contradictory.
    """
    kept, gone = _in_order(_person(store, a), _person(store, b))
    keys = [*_keys(store, kept), *_keys(store, gone)]
    pins = dict.fromkeys(keys, kept.identity_id)
    return _say(store, Entry("merge", (kept.identity_id, gone.identity_id), pins, reason=reason), force=force)


@_whole
def split(store: Store, person: Who, tracks: Iterable[int], *, reason: str | None = None, force: bool = False) -> Entry:
    """Say that some tracks of a person are somebody else, who becomes a new person: the last of ``identities``.

    Args:
        store: The store.
        person: Who.
        tracks: Keys of the tracks; not all that the person has.
        reason: Why, for the log.
        force: Write it although it contradicts what was said or seen.

    Raises:
        FacetrackError: if there is no such person, a track is not theirs, none would be left, or it is contradictory.
    """
    identity, keys = _person(store, person), _named_keys(store, tracks)
    _check_theirs(store, identity, keys)
    anchor = store.best_track(identity.identity_id, without=keys)
    if anchor is None:
        raise FacetrackError(
            f"these are all tracks of {identity.label}: nobody would be left; name at most {len(keys) - 1} of them, or "
            f"merge or rename {identity.label}"
        )
    pins = {**dict.fromkeys(keys, NEW), anchor: identity.identity_id}
    bans = frozenset((key, identity.identity_id) for key in keys)
    return _say(store, Entry("split", (identity.identity_id, NEW), pins, bans, reason=reason), force=force)


@_whole
def not_(store: Store, person: Who, tracks: Iterable[int], *, reason: str | None = None, force: bool = False) -> Entry:
    """Say that tracks are not a person, now and ever; who they are is found anew.

    Args:
        store: The store.
        person: Who it is not.
        tracks: Keys of the tracks, whoever they are of.
        reason: Why, for the log.
        force: Write it although it contradicts what was said.

    Raises:
        FacetrackError: if there is no such person or track, or it is contradictory.
    """
    identity, keys = _person(store, person), _named_keys(store, tracks)
    bans = frozenset((key, identity.identity_id) for key in keys)
    return _say(store, Entry("not", (identity.identity_id,), bans=bans, reason=reason), force=force)


@_whole
def assign(
    store: Store, tracks: Iterable[int], person: Who | None, *, reason: str | None = None, force: bool = False
) -> Entry:
    """Say that tracks are a person; those that were guessed to be and share a frame with them make room.

    Args:
        store: The store.
        tracks: Keys of the tracks.
        person: Who; None: somebody new.
        reason: Why, for the log.
        force: Write it although it contradicts what was said or seen.

    Raises:
        FacetrackError: if there is no such person or track, or it is contradictory.
    """
    identity_id = NEW if person is None else _person(store, person).identity_id
    pins = dict.fromkeys(_named_keys(store, tracks), identity_id)
    return _say(store, Entry("assign", (identity_id,), pins, reason=reason), force=force)


@_whole
def ignore(store: Store, person: Who, *, reason: str | None = None) -> Entry:
    """Leave a person out of every list until asked for: an extra, a poster. New tracks still find them.

    Args:
        store: The store.
        person: Who.
        reason: Why, for the log.

    Raises:
        FacetrackError: if there is no such person, or they are ignored already.
    """
    identity = _person(store, person)
    if identity.ignored:
        raise FacetrackError(f"{identity.label} is ignored already; `facetrack unignore` brings them back")
    # As with a name: without a track for good, clustering anew could leave nobody of this id.
    best = store.best_track(identity.identity_id)
    pins = {} if best is None else {best: identity.identity_id}
    return _say(store, Entry("ignore", (identity.identity_id,), pins, reason=reason), force=True)


@_whole
def unignore(store: Store, person: Who, *, reason: str | None = None) -> Entry:
    """Bring a person who is ignored back into the lists.

    Args:
        store: The store.
        person: Who.
        reason: Why, for the log.

    Raises:
        FacetrackError: if there is no such person, or they are not ignored.
    """
    identity = _person(store, person)
    if not identity.ignored:
        raise FacetrackError(f"{identity.label} is not ignored; `facetrack people --ignored` lists who is")
    return _say(store, Entry("unignore", (identity.identity_id,), reason=reason), force=True)


@_whole
def undo(store: Store, count: int = 1) -> list[Entry]:
    """Take back the last entries that hold; people and tracks are as they were before.

    Args:
        store: The store.
        count: How many.

    Returns:
        The entries, newest first.

    Raises:
        FacetrackError: if there are fewer; nothing is changed then.
    """
    entries, unsettled = store.undo(count)
    if unsettled:
        pipeline.identify(store)
    return entries


def log(store: Store) -> list[tuple[Entry, str]]:
    """Return all entries, oldest first, each with a sentence that tells it."""
    entries = store.log()
    labels = {identity.identity_id: identity.label for identity in store.identities(include_empty=True)}
    return [(entry, describe(entry, labels, log=entries)) for entry in entries]


# ---- enrolment


def enroll(
    store: Store,
    name: str,
    photographs: Sequence[Path | str | Video],
    *,
    detector: str | Detector | None = None,
    embedder: str | Embedder | None = None,
    models_dir: Path | None = None,
    reason: str | None = None,
    force: bool = False,
) -> Entry:
    """Make photographs the measure of how a person looks; videos that are there, or come later, find them.

    The photographs are kept as enrolled: nobody appears in them, and only the face that is meant is kept. Where they
    clearly show a person of the store who has no name, that person gets it.

    Args:
        store: The store; it may be empty.
        name: The person's name, new or one that is there.
        photographs: Files, or pictures that are open, each with one face, or one that is larger than the others by far.
        detector: See `tracker.track_faces`; None: that of the store.
        embedder: The same; it has to be the store's.
        models_dir: Folder in which weights are looked for first.
        reason: Why, for the log.
        force: Write it although it contradicts what was said.

    Raises:
        FacetrackError: if a file is no photograph, shows no face or several, the name cannot be one, or it is
            contradictory; nothing is stored then.
    """
    from tracker.embedding import load_models

    wanted = checked_name(name)
    if not photographs:
        raise FacetrackError("no photograph was named; give one or more files that show the face")
    named = {**_MODELS, **store.get_meta(pipeline.MODELS, {}), **_given(detector=detector, embedder=embedder)}
    known, new = _faces(store, photographs, load_models(**named, models_dir=models_dir))
    with store.transaction():
        before = _Before.of(store)
        added = [store.add_video(result, enrolled=True) for result in new]
        pipeline.remember_models(store, **named)
        keys = [*known, *(record.key for video_id in added for record in store.track_records(video_id))]
        identity_id = _named(store, wanted, keys, identify=bool(added))
        entry = Entry("enroll", (identity_id,), dict.fromkeys(keys, identity_id), name=wanted, reason=reason)
        return _say(store, entry, force=force, before=before)


def _given(**models: object) -> dict[str, Any]:
    return {kind: model for kind, model in models.items() if model is not None}


def _faces(
    store: Store, photographs: Sequence[Path | str | Video], models: Models
) -> tuple[list[int], list[TrackingResult]]:
    """Return the tracks of photographs that are there, and what those that are not show, each face once."""
    known, new = dict[int, None](), dict[str, TrackingResult]()
    for photograph in photographs:
        result = _face(store, photograph, models)
        if isinstance(result, int):
            known[result] = None
        else:
            new.setdefault(result.video.content_hash, result)
    return list(known), list(new.values())


def _face(store: Store, photograph: Path | str | Video, models: Models) -> int | TrackingResult:
    from tracker.options import options_for
    from tracker.pipeline import track_video
    from tracker.video import opened

    with opened(photograph) as video:
        path = video.info.path
        if not video.info.is_image:
            raise FacetrackError(
                f"{path} is a video, and enrolling takes photographs; use `facetrack add`, then `facetrack name`"
            )
        there = store.find_video(video.info.content_hash)
        if there is not None:
            records = store.track_records(there.video_id)
            return records[_meant(path, [record.size for record in records])].key
        result = track_video(models, video, options=options_for("accurate"))
    tracks = [track for track in result.tracks if len(track.keyframes)]
    meant = _meant(path, [float(np.median(sizes(track.boxes))) for track in tracks])
    return replace(result, tracks=(replace(tracks[meant], track_id=0),))


def _meant(path: Path, sides: Sequence[float]) -> int:
    """Return which face of a photograph is meant, by their sizes in pixels."""
    if not sides:
        raise FacetrackError(f"{path}: no face was found; give a photograph that shows one clearly")
    first, *others = sorted(sides, reverse=True)
    if others and first < FAR_LARGER * others[0]:
        told = ", ".join(f"{side:.0f}" for side in (first, *others)[:_TOLD])
        raise FacetrackError(
            f"{path}: {len(sides)} faces are in it ({told} pixels wide), and it is not clear which one is meant; cut "
            f"out one, or give a photograph in which it is {FAR_LARGER:g} times as large as any other"
        )
    return int(np.argmax(sides))


def _named(store: Store, name: str, keys: Sequence[int], *, identify: bool) -> int:
    """Return the person of this name, or who without a name is clearly shown by the photographs, or `NEW`."""
    people = {identity.identity_id: identity for identity in store.identities(include_empty=True)}
    for identity in people.values():
        if (identity.name or "").casefold() == name.casefold():
            return identity.identity_id
    if identify:
        pipeline.identify(store)
    owners = store.owners()
    shown = {owners[key] for key in keys}
    known = {identity.identity_id: identity for identity in store.identities()}
    only = known.get(shown.pop() or NEW) if len(shown) == 1 else None
    return NEW if only is None or only.name is not None or only.ignored else only.identity_id


# ---- what the verbs share


@dataclass(frozen=True, slots=True)
class _Before:
    """The tracks, and who there was, before anything was said."""

    tracks: Sequence[TrackRecord]
    people: Collection[int]

    @classmethod
    def of(cls, store: Store) -> _Before:
        people = [identity.identity_id for identity in store.identities(include_empty=True)]
        return cls(store.track_records(), people)


def _say(store: Store, entry: Entry, *, force: bool, before: _Before | None = None) -> Entry:
    """Write an entry unless it is contradictory, and find anew who the tracks are that it concerns."""
    before = before or _Before.of(store)
    paths = {video.video_id: video.path for video in store.videos(enrolled=True)}
    found = conflicts(entry, store.log(), [*before.tracks, *store.absent_tracks()], paths=paths)
    if found and not force:
        raise ContradictionError(found)
    written = store.correct(entry)
    if written.moved:
        pipeline.identify(store)
    return store.settle(written, before.tracks, before.people)


def _person(store: Store, who: Who) -> Identity:
    identity = store.resolve_person(str(who))
    now = merged_into(store.log()).get(identity.identity_id)
    if now is not None:
        raise FacetrackError(
            f"{identity.label} was merged into {store.resolve_person(str(now)).label}; name that one, or undo the merge"
        )
    return identity


def _keys(store: Store, identity: Identity) -> list[int]:
    return sorted(record.key for record in store.track_records(identity_id=identity.identity_id))


def _named_keys(store: Store, tracks: Iterable[int]) -> list[int]:
    keys, there = sorted(set(tracks)), store.owners()
    if not keys:
        raise FacetrackError("no track was named; give one or more track keys, as `facetrack appearances` lists them")
    unknown = [key for key in keys if key not in there]
    if unknown:
        raise FacetrackError(
            f"there is no track {', '.join(map(str, unknown[:_TOLD]))} in {store.path}; `facetrack appearances` lists "
            "those of a person or a video"
        )
    return keys


def _check_theirs(store: Store, identity: Identity, keys: Sequence[int]) -> None:
    theirs = _keys(store, identity)
    others = [key for key in keys if key not in theirs]
    if others:
        told = ", ".join(map(str, theirs[:20])) + (" and more" if len(theirs) > 20 else "")
        raise FacetrackError(
            f"track {', '.join(map(str, others[:_TOLD]))} is not of {identity.label}, who has: {told or 'none'}"
        )


def _in_order(a: Identity, b: Identity) -> tuple[Identity, Identity]:
    if a.identity_id == b.identity_id:
        raise FacetrackError(f"{a.label} and {b.label} are one person already; name two people")
    if a.name is None and (b.name is not None or b.identity_id < a.identity_id):
        return b, a
    return a, b
