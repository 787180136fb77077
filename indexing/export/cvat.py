"""``cvat``: the boxes of a video as CVAT's own format for video tasks, to look at, correct and import again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TextIO
from xml.etree import ElementTree as ET

import numpy as np

from indexing.emotions import per_frame, strongest
from indexing.export.rows import wanted
from indexing.export.texts import clean
from indexing.store import Store
from indexing.types import UNKNOWN, TrackRecord, VideoRecord
from tracker.types import EMOTIONS, Float64, Track

TOLERANCE = 0.5
"""Pixels by which CVAT's line between two keyframes may miss a side of a box."""

NAME, TRACK, VIDEO = "name", "track", "video"
"""Attributes that an import reads: who it is, the number of the track, and the first digits of the content hash.

CVAT writes the head of a file anew and numbers tracks anew, so all that has to come back is an attribute. It may not be
called ``track_id``, which CVAT keeps for itself.
"""

HASH_DIGITS = 16
"""Digits of the content hash in `VIDEO`: 64 bits, no two videos of a database share them by chance."""

_MUTABLE = {NAME: False, "identity": False, TRACK: False, VIDEO: False, "emotion": True}
_NO_EMOTION = "unknown"


def write(
    store: Store,
    videos: Sequence[VideoRecord],
    stream: TextIO,
    *,
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write "CVAT for video 1.1" for one video; return the number of boxes.

    Every frame of a track has its box, as in CVAT's own files. CVAT reads those that are marked as keyframes and draws
    straight lines between them: they are chosen so that no side is off by more than `TOLERANCE`, and stand where the
    emotion changes. After the last frame comes a box marked as outside.
    """
    (video,) = videos
    names = {identity.identity_id: identity.label for identity in store.identities()}
    stream.write("<?xml version='1.0' encoding='utf-8'?>\n<annotations>\n<version>1.1</version>\n")
    stream.write(_text(_meta(video)))
    timestamps, count = store.timestamps(video.video_id), 0
    is_wanted = wanted(store, identity_id, ignored=ignored)
    for record, track in store.tracks(video.video_id):
        if is_wanted(record):
            stream.write(_text(_track(video, record, track, names, timestamps)))
            count += len(track)
    stream.write("</annotations>\n")
    return count


def _text(element: ET.Element) -> str:
    ET.indent(element)
    return ET.tostring(element, encoding="unicode") + "\n"


def _meta(video: VideoRecord) -> ET.Element:
    meta = ET.Element("meta")
    task = ET.SubElement(meta, "task")
    facts = {
        "id": video.video_id,
        "name": clean(video.path.stem),
        "size": video.frame_count,
        "mode": "interpolation",
        "overlap": 0,
        "bugtracker": "",
        "created": video.added_at,
        "updated": video.added_at,
        "start_frame": 0,
        "stop_frame": max(video.frame_count - 1, 0),
        "frame_filter": "",
        "z_order": False,
    }
    _add(task, facts)
    _add_label(ET.SubElement(task, "labels"))
    _add(ET.SubElement(task, "original_size"), {"width": video.info.width, "height": video.info.height})
    _add(task, {"source": clean(video.path.name)})
    # No clock: the same database gives the same file.
    _add(meta, {"dumped": video.added_at})
    return meta


def _add(parent: ET.Element, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        ET.SubElement(parent, name).text = str(value)


def _add_label(labels: ET.Element) -> None:
    label = ET.SubElement(labels, "label")
    _add(label, {"name": "face", "type": "rectangle"})
    attributes = ET.SubElement(label, "attributes")
    for name, mutable in _MUTABLE.items():
        choices = "\n".join((_NO_EMOTION, *EMOTIONS)) if mutable else ""
        kind, default = ("select", _NO_EMOTION) if mutable else ("text", "")
        facts = {"name": name, "mutable": mutable, "input_type": kind, "default_value": default, "values": choices}
        _add(ET.SubElement(attributes, "attribute"), facts)


def _track(
    video: VideoRecord, record: TrackRecord, track: Track, names: Mapping[int, str], timestamps: Float64
) -> ET.Element:
    found = ET.Element("track", id=str(track.track_id), label="face", source="auto")
    who = UNKNOWN if record.identity_id is None else names[record.identity_id]
    same = {
        NAME: who,
        "identity": "" if record.identity_id is None else str(record.identity_id),
        TRACK: str(track.track_id),
        VIDEO: video.info.content_hash[:HASH_DIGITS],
    }
    for frame, box, emotion, keyframe, outside in _boxes(track, timestamps, video.frame_count):
        flags = {"frame": str(frame), "keyframe": str(keyframe), "outside": str(outside), "occluded": "0"}
        sides = dict(zip(("xtl", "ytl", "xbr", "ybr"), (f"{side:.2f}" for side in box), strict=True))
        shape = ET.SubElement(found, "box", {**flags, **sides, "z_order": "0"})
        for name, value in {**same, "emotion": emotion}.items():
            ET.SubElement(shape, "attribute", name=name).text = value
    return found


def _boxes(track: Track, timestamps: Float64, frame_count: int) -> Iterator[tuple[int, Sequence[float], str, int, int]]:
    """Yield frame, box, emotion, and the marks keyframe and outside."""
    boxes = np.asarray(track.boxes.round(2), np.float64)
    emotions = [label or _NO_EMOTION for label in strongest(per_frame(track, timestamps).emotions)]
    kept = keyframes(boxes, breaks=[at for at in range(1, len(track)) if emotions[at] != emotions[at - 1]])
    for at, (box, emotion) in enumerate(zip(boxes.tolist(), emotions, strict=True)):
        yield track.first_frame + at, box, emotion, int(at in kept), 0
    if track.end_frame < frame_count:
        yield track.end_frame, boxes[-1].tolist(), emotions[-1], 1, 1


def keyframes(boxes: Float64, *, breaks: Sequence[int] = (), tolerance: float = TOLERANCE) -> set[int]:
    """Return the rows between which straight lines give all the others within ``tolerance``.

    Douglas and Peucker, "Algorithms for the reduction of the number of points required to represent a digitized line or
    its caricature", 1973.

    Args:
        boxes: ``(T, 4)`` float64.
        breaks: Rows that have to be among them, as the first and the last are.
        tolerance: In units of the boxes.

    Example:
        >>> sorted(keyframes(np.array([[0.0] * 4, [1.0] * 4, [2.0] * 4, [9.0] * 4])))
        [0, 2, 3]
    """
    kept = sorted({0, *breaks, len(boxes) - 1})
    found, waiting = set(kept), list(pairwise(kept))
    while waiting:
        first, last = waiting.pop()
        shares = np.linspace(0.0, 1.0, last - first + 1)[:, None]
        lines = boxes[first] + shares * (boxes[last] - boxes[first])
        misses = np.abs(boxes[first : last + 1] - lines).max(axis=1)
        worst = int(misses.argmax())
        if misses[worst] > tolerance:
            found.add(first + worst)
            waiting += [(first, first + worst), (first + worst, last)]
    return found
