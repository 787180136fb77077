"""What a store knows, as rows for tables and JSON, and the folder of thumbnails beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.files import replacing
from indexing.store import Store
from indexing.types import Appearance, Identity, Person
from tracker.errors import FacetrackError
from tracker.types import Segment, Statistics

if TYPE_CHECKING:
    from indexing.calibrate import Report
    from indexing.carry import Changes
    from indexing.curves import Rate
    from indexing.importing import Imported
    from indexing.presence import Presence
    from indexing.search import Answer, Found
    from indexing.timeline import CoAppearance, Crowd

logger = logging.getLogger(__name__)

Row = dict[str, Any]


def thumbnails_folder(store: Store) -> Path:
    """Return where the thumbnails of a store are kept: a cache beside the database that may be deleted."""
    return store.path.with_suffix(".thumbnails")


def person_thumbnail(store: Store, person: Person) -> Path | None:
    """Write the best view of a person into the folder and return its path; None where there is none."""
    return None if person.best_track is None else _thumbnail(store, person.best_track, str(person.identity.identity_id))


def track_thumbnail(store: Store, track_key: int) -> Path | None:
    """Write the best view of one track into the folder and return its path; None where there is none."""
    return _thumbnail(store, track_key, f"track-{track_key}")


def _thumbnail(store: Store, track_key: int, name: str) -> Path | None:
    data, path = store.thumbnail(track_key), thumbnails_folder(store) / f"{name}.jpg"
    if not data:
        return None
    try:
        _write_changed(path, data)
    except (OSError, FacetrackError) as error:
        logger.warning("the thumbnail %s cannot be written: %s", path, error)
        return None
    return path


def _write_changed(path: Path, data: bytes) -> None:
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as beside:
        beside.write_bytes(data)


def remove_thumbnails(store: Store) -> None:
    """Delete all thumbnails beside a store; they come back when they are asked for."""
    for pattern in ("[0-9]*.jpg", "track-[0-9]*.jpg"):
        for path in thumbnails_folder(store).glob(pattern):
            path.unlink(missing_ok=True)


def people_rows(store: Store, *, ignored: bool = False) -> list[Row]:
    """Return one row for each person, by falling screen time, and write their thumbnails."""
    return [_person_row(store, person) for person in store.people(ignored=ignored)]


def _person_row(store: Store, person: Person) -> Row:
    thumbnail = person_thumbnail(store, person)
    return {
        **_who(person.identity),
        "videos": person.videos,
        "appearances": person.appearances,
        "screen_time": round(person.screen_time, 6),
        "first_seen": _moment(person.first_seen),
        "last_seen": _moment(person.last_seen),
        "thumbnail": thumbnail and str(thumbnail),
    }


def _who(identity: Identity | None) -> Row:
    if identity is None:
        return {"identity": None, "name": None}
    return {"identity": identity.identity_id, "name": identity.label}


def _moment(seen: tuple[Path, float] | None) -> Row | None:
    return None if seen is None else {"video": str(seen[0]), "time": round(seen[1], 6)}


def appearances_of(store: Store, text: str, *, ignored: bool = False) -> list[Appearance]:
    """Return the appearances of the person, or in the video, that a user means by ``text``; people go first.

    Args:
        store: The store.
        text: What was typed.
        ignored: In a video, those of people who are ignored too.

    Raises:
        FacetrackError: if it is neither.
    """
    try:
        return store.appearances(identity_id=store.resolve_person(text).identity_id)
    except FacetrackError as no_person:
        try:
            return store.appearances(video_id=store.resolve_video(text).video_id, ignored=ignored)
        except FacetrackError as no_video:
            raise FacetrackError(f"{no_person}; {no_video}") from None


def appearance_rows(store: Store, appearances: Iterable[Appearance]) -> list[Row]:
    """Return one row for each appearance: who, in which video, and when, [start, end) in seconds."""
    paths = {video.video_id: video.path for video in store.videos()}
    people = {identity.identity_id: identity for identity in store.identities()}
    return [
        {
            **_who(None if seen.identity_id is None else people[seen.identity_id]),
            **_interval(paths[seen.video_id], seen.segment),
            "track_keys": list(seen.track_keys),
        }
        for seen in appearances
    ]


def presence_rows(found: Iterable[Presence]) -> list[Row]:
    """Return one row for each person: who, in how many videos, how often, and for how many seconds."""
    return [
        {
            **_who(one.identity),
            "videos": one.videos,
            "appearances": one.appearances,
            "screen_time": round(one.screen_time, 6),
        }
        for one in found
    ]


def crowd_row(store: Store, crowd: Crowd | None) -> Row | None:
    """Return when the most people are seen at once; None for nobody."""
    if crowd is None:
        return None
    return {"people": crowd.count, **_interval(store.video(crowd.video_id).path, crowd.segment)}


def together_rows(store: Store, found: Iterable[CoAppearance]) -> list[Row]:
    """Return one row for each time in which several people are seen: in which video, when, and by which tracks."""
    paths = {video.video_id: video.path for video in store.videos()}
    return [{**_interval(paths[both.video_id], both.segment), "track_keys": list(both.track_keys)} for both in found]


def _interval(path: Path, segment: Segment) -> Row:
    return {"video": str(path), "start": round(segment.start, 6), "end": round(segment.end, 6)}


def answer_rows(store: Store, answers: Iterable[Answer]) -> list[Row]:
    """Return one row for each face that was searched for, with the people found, and write their thumbnails."""
    return [_answer_row(store, answer) for answer in answers]


def _answer_row(store: Store, answer: Answer) -> Row:
    x1, y1, x2, y2 = (float(side) for side in answer.probe.box)
    return {
        "probe": answer.probe.label,
        "image": str(answer.probe.path),
        "box": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
        "far": answer.far,
        "threshold": round(answer.threshold, 6),
        "combined": [str(path) for path in answer.pictures],
        "outliers": [
            {"image": str(out.path), "similarity": round(out.similarity, 6), "needed": round(out.needed, 6)}
            for out in answer.outliers
        ],
        "matches": [_found_row(store, found) for found in answer.found],
    }


def _found_row(store: Store, found: Found) -> Row:
    thumbnail = track_thumbnail(store, found.match.track_key)
    seen = appearance_rows(store, found.appearances)
    return {
        **_who(found.identity),
        "probability": round(found.match.probability, 6),
        "similarity": round(found.match.similarity, 6),
        "far": float(f"{found.far:.3g}"),
        "track_keys": list(found.track_keys),
        "thumbnail": thumbnail and str(thumbnail),
        "appearances": [{key: row[key] for key in ("video", "start", "end")} for row in seen],
    }


def clock(seconds: float) -> str:
    """Return a time for people to read.

    Example:
        >>> clock(3.25), clock(75.5), clock(3725)
        ('0:03.2', '1:15.5', '1:02:05.0')
    """
    tenths = round(seconds * 10)
    hours, minutes, rest = tenths // 36000, tenths // 600 % 60, tenths % 600 / 10
    return f"{hours}:{minutes:02}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def printable(text: object) -> str:
    r"""Return ``text`` with what would steer a terminal, or cannot be encoded, shown as an escape.

    Example:
        >>> printable("a\x1b[31mb")
        'a\\x1b[31mb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def seconds_of_stages(statistics: Sequence[Statistics]) -> list[tuple[str, float]]:
    """Return the stages of several runs with the seconds they took in all, longest first."""
    total: dict[str, float] = {}
    for run in statistics:
        for stage, seconds in run.seconds.items():
            total[stage] = total.get(stage, 0.0) + seconds
    return sorted(total.items(), key=lambda item: -item[1])


def imported_lines(imported: Imported) -> list[str]:
    """Return what an import changed, a line each, and what it could not place."""
    renamed = [f"{printable(before)} is {printable(after)} now" for before, after in imported.renamed]
    moved = [
        f"track {change.record.track_id}: {printable(change.before)} -> {printable(change.after)}"
        for change in imported.moved
    ]
    new = [f"{printable(name)} is new" for name in imported.new_people]
    unmatched = [f"not taken over: {printable(line)}" for line in imported.unmatched]
    nothing = [] if imported.changed else [f"{printable(imported.video.path)}: nothing has changed"]
    return [*renamed, *moved, *new, *unmatched, *nothing]


def changes_lines(changes: Changes) -> list[str]:
    """Return what a re-clustering changes, a line each."""
    split = [f"{printable(label)} is divided: {printable(', '.join(parts))}" for label, parts in changes.split]
    merged = [f"{printable(', '.join(parts))} joined {printable(label)}" for parts, label in changes.merged]
    new = [f"{printable(label)} is new" for label in changes.new]
    gone = [f"{printable(label)} is gone" for label in changes.gone]
    moved = f"{changes.moved} tracks change hands" if changes else "nothing changes"
    return [*split, *merged, *new, *gone, moved]


def calibration_lines(found: Report) -> list[tuple[str, str]]:
    """Return what a calibration found, as lines for people to read."""
    return [
        ("prior", f"{found.prior}; the database itself weighs {found.weight:.0%} ({found.method})"),
        ("pairs", f"{found.genuine_pairs} of one track, {found.impostor_pairs} of two people in one frame"),
        *[
            (
                f"at a false accept rate of {point.far:g}",
                f"similarity {point.threshold:.3f}, {_rate(point.false_accepts)} false, "
                f"{_rate(point.false_rejects)} missed",
            )
            for point in found.points
        ],
        *[("note" if number == 0 else "", note) for number, note in enumerate(found.notes)],
    ]


def _rate(rate: Rate) -> str:
    return f"{rate.share:.2%} ({rate.low:.2%} to {rate.high:.2%})"
