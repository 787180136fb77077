"""``elan``: who is seen when and shows what, as an annotation document of ELAN: tiers of appearances and emotions."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TextIO

from pympi.Elan import Eaf, to_string

from indexing.export.texts import clean
from indexing.store import Store
from indexing.types import UNKNOWN, VideoRecord
from tracker.types import Segment

APPEARANCE, EMOTION = "appearance", "emotion"
"""Linguistic types of the two kinds of tiers."""

VIDEO_PROPERTY = "facetrack-video"
"""Property of the document with the content hash of the video; ELAN keeps it."""

TIERS_PROPERTY = "facetrack-tiers"
"""Property with what the tiers of appearances held at first, for an import: JSON, name of a tier -> ``identity`` (id or
null) and ``tracks``, number -> first frame and the frame after the last."""

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"


@dataclass(frozen=True, slots=True)
class Span:
    """An appearance on a tier.

    Attributes:
        start: Milliseconds at which it begins.
        end: Milliseconds at which it ends, at least one later.
        track_keys: The tracks that make it up.
    """

    start: int
    end: int
    track_keys: tuple[int, ...] = ()


def write(
    store: Store,
    videos: Sequence[VideoRecord],
    stream: TextIO,
    *,
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write one video as EAF 3.0; return the number of annotations.

    A person has a tier of appearances and, where emotions are known, one of episodes; the name is the tier, its
    participant and the value of each appearance. Unknown faces share as few tiers as hold them without overlap.
    """
    (video,) = videos
    document, written = _document(video), 0
    names = {identity.identity_id: identity.label for identity in store.identities()}
    shown = _episodes(store, video, names, identity_id, ignored)
    seen = tiers(store, video, identity_id=identity_id, ignored=ignored)
    document.properties.append((TIERS_PROPERTY, _held(store, video, seen)))
    for name, spans in seen.items():
        written += _add_tier(document, name, [(span, name) for span in spans], kind=APPEARANCE, person=name)
        if name in shown:
            # A person may be called what another one's tier of emotions would be.
            free = next(tier for n in count() if (tier := f"{name}: emotion{n or ''}") not in seen)
            written += _add_tier(document, free, shown[name], kind=EMOTION, person=name)
    _order_slots(document)
    stream.write(f"<?xml version='1.0' encoding='UTF-8'?>\n{to_string(document)}\n")
    return written


def tiers(
    store: Store, video: VideoRecord, *, identity_id: int | None = None, ignored: bool = False
) -> dict[str, list[Span]]:
    """Return the appearances on each tier: a person's by their label, then those of unknown faces.

    Args:
        store: The database.
        video: One of its videos.
        identity_id: Only this person.
        ignored: People who are ignored too.
    """
    names = {identity.identity_id: identity.label for identity in store.identities()}
    found, unknown = dict[str, list[Span]](), list[list[Span]]()
    for seen in store.appearances(identity_id, video.video_id, ignored=ignored):
        span = Span(*milliseconds(seen.segment), seen.track_keys)
        if seen.identity_id is not None:
            found.setdefault(names[seen.identity_id], []).append(span)
        else:
            _pack(span, unknown)
    free = (label for n in count(1) if (label := UNKNOWN if n == 1 else f"{UNKNOWN} {n}") not in names.values())
    return {**found, **dict(zip(free, unknown, strict=False))}


def milliseconds(segment: Segment) -> tuple[int, int]:
    """Return start and end as ELAN counts time: in whole milliseconds, one at least apart.

    Example:
        >>> milliseconds(Segment(0.04, 1.0006)), milliseconds(Segment(0.0, 0.0))
        ((40, 1001), (0, 1))
    """
    start = round(segment.start * 1000)
    return start, max(round(segment.end * 1000), start + 1)


def _pack(span: Span, rows: list[list[Span]]) -> None:
    """Append ``span`` to the first row that it does not overlap; spans come by start."""
    free = next((row for row in rows if row[-1].end <= span.start), None)
    if free is None:
        rows.append(free := [])
    free.append(span)


def _episodes(
    store: Store, video: VideoRecord, names: Mapping[int, str], identity_id: int | None, ignored: bool
) -> dict[str, list[tuple[Span, str]]]:
    shown: dict[str, list[tuple[Span, str]]] = {}
    for episode in store.episodes(identity_id, video.video_id, ignored=ignored):
        span = Span(*milliseconds(episode.segment))
        shown.setdefault(names[episode.identity_id], []).append((span, episode.label))
    return shown


def _held(store: Store, video: VideoRecord, seen: Mapping[str, Sequence[Span]]) -> str:
    records = {record.key: record for record in store.track_records(video.video_id)}
    held = {}
    for name, spans in seen.items():
        members = [records[key] for span in spans for key in span.track_keys]
        tracks = {str(record.track_id): [record.first_frame, record.end_frame] for record in members}
        held[name] = {"identity": members[0].identity_id, "tracks": tracks}
    return json.dumps(held)


def _document(video: VideoRecord) -> Eaf:
    document = Eaf(author="facetrack")
    # No clock: the same database gives the same file.
    document.adocument |= {"DATE": video.added_at, "VERSION": "3.0", "FORMAT": "3.0"}
    document.adocument["xsi:noNamespaceSchemaLocation"] = _SCHEMA
    document.header |= {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"}
    # ELAN takes these as plain paths: nothing is percent-encoded.
    document.add_linked_file(
        clean(f"file:///{video.path.absolute().as_posix().lstrip('/')}"),
        relpath=clean(f"./{video.path.name}"),
        mimetype=mimetypes.guess_type(video.path.name)[0] or "unknown",
    )
    document.properties = [(VIDEO_PROPERTY, video.info.content_hash)]
    document.remove_tier("default")
    document.add_linguistic_type(APPEARANCE)
    document.add_linguistic_type(EMOTION)
    return document


def _add_tier(document: Eaf, name: str, values: Sequence[tuple[Span, str]], *, kind: str, person: str) -> int:
    document.add_tier(name, ling=kind, part=person)
    for span, value in values:
        document.add_annotation(name, span.start, span.end, value)
    return len(values)


def _order_slots(document: Eaf) -> None:
    """Number the time slots by time, as ELAN expects them; pympi numbers them as they are made."""
    ordered = sorted(document.timeslots, key=document.timeslots.__getitem__)
    new = {slot: f"ts{number}" for number, slot in enumerate(ordered, 1)}
    document.timeslots = {new[slot]: document.timeslots[slot] for slot in ordered}
    for aligned, *_ in document.tiers.values():
        for key, (start, end, *rest) in aligned.items():
            aligned[key] = (new[start], new[end], *rest)
