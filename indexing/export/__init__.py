"""Exports: one module a format, each with a function that writes videos of a store to a stream."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Protocol

from indexing.export.rows import COLUMNS, FrameRow, frame_rows
from indexing.files import replacing
from indexing.store import Store
from indexing.types import VideoRecord
from tracker.errors import FacetrackError

__all__ = [
    "COLUMNS",
    "FORMATS",
    "Format",
    "FrameRow",
    "Writer",
    "export",
    "frame_rows",
    "select",
    "select_videos",
    "write",
]


class Writer(Protocol):
    """Writes videos of a store in one format."""

    def __call__(
        self,
        store: Store,
        videos: Sequence[VideoRecord],
        stream: Any,
        *,
        identity_id: int | None = None,
        ignored: bool = False,
    ) -> int:
        """Write ``videos``, or what they show of one person, to ``stream``; return the number of rows.

        People who are ignored are left out, unless one of them is the person or ``ignored`` asks for them.
        """
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """A format to export to.

    Attributes:
        name: What a user calls it.
        suffix: Of its files, with the dot.
        about: One line for a list.
        home: Its writer, ``module:function`` in this package; imported at first use, as some need heavy libraries.
        binary: Its stream takes bytes, not text.
        single: A file holds one video, as its rows do not say which they are of.
    """

    name: str
    suffix: str
    about: str
    home: str
    binary: bool = False
    single: bool = False

    @property
    def writer(self) -> Writer:
        """The function that writes it."""
        module, _, function = self.home.partition(":")
        writer: Writer = getattr(importlib.import_module(f"{__name__}.{module}"), function)
        return writer


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        format.name: format
        for format in (
            Format("frames", ".csv", "CSV, a row for each face in each frame", "frames:write"),
            Format("json", ".jsonl", "the same as JSON lines", "json_lines:write"),
            Format("parquet", ".parquet", "the same as Apache Parquet, typed", "parquet:write", binary=True),
            Format("openface", ".csv", "CSV as OpenFace 2.2 writes it", "openface:write", single=True),
            Format("fer", ".csv", "CSV as the FER package writes it, a row a frame", "fer:write", single=True),
            Format("fex", ".csv", "CSV with Py-Feat's columns", "fex:write"),
            Format("emotions", ".csv", "tidy CSV, a row for each person, time and label", "emotions:write"),
            Format("episodes", ".csv", "CSV, a row for each episode of an emotion", "episodes:write"),
            Format("vtt", ".vtt", "WebVTT subtitles: who is on screen", "subtitles:write_vtt", single=True),
            Format("srt", ".srt", "the same as SubRip", "subtitles:write_srt", single=True),
            Format("elan", ".eaf", "ELAN, tiers of appearances and emotions", "elan:write", single=True),
            Format("cvat", ".xml", "CVAT for video 1.1, a track a face", "cvat:write", single=True),
            Format("mot", ".txt", "MOTChallenge boxes, the id is the track's", "mot:write", single=True),
            Format("rttm", ".rttm", "NIST RTTM, a line for each appearance", "rttm:write"),
        )
    }
)
"""Name of a format -> the format."""


def write(
    store: Store,
    videos: Sequence[VideoRecord],
    stream: IO[Any],
    *,
    format: str = "frames",
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write ``videos`` to an open stream; return the number of rows.

    Args:
        store: The database.
        videos: Videos of it.
        stream: Takes what the format makes, text or bytes; of a text stream the bytes go to its ``buffer``.
        format: One of `FORMATS`.
        identity_id: Only what the videos show of this person, and only the videos that do.
        ignored: People who are ignored too.

    Raises:
        FacetrackError: if there is no such format (the message lists those there are), or it holds one video a file
            and several are chosen, or none shows the person.
    """
    chosen = _format(format)
    videos = _showing(store, videos, identity_id)
    _check_single(chosen, videos)
    sink = getattr(stream, "buffer", stream) if chosen.binary else stream
    return chosen.writer(store, videos, sink, identity_id=identity_id, ignored=ignored)


def export(
    store: Store,
    videos: Sequence[VideoRecord],
    output: Path,
    *,
    format: str = "frames",
    identity_id: int | None = None,
    ignored: bool = False,
) -> int:
    """Write ``videos`` to the file ``output``, which is whole or not there; return the number of rows.

    If ``output`` is a folder, each video has a file of its own in it, named as the video is.

    Args:
        store: The database.
        videos: Videos of it.
        output: A file, or a folder that is there.
        format: One of `FORMATS`.
        identity_id: Only what the videos show of this person, and only the videos that do.
        ignored: People who are ignored too.

    Raises:
        FacetrackError: as `write` does, and if there is no such folder.
    """
    chosen = _format(format)
    videos = _showing(store, videos, identity_id)
    if output.is_dir():
        parts = [([video], path) for video, path in _files(videos, output, chosen.suffix)]
    else:
        _check_single(chosen, videos)
        parts = [(list(videos), output)]
    return sum(_write_file(chosen, store, part, path, identity_id, ignored) for part, path in parts)


def select(store: Store, texts: Sequence[str]) -> tuple[list[VideoRecord], int | None]:
    """Return the videos that a user means, each once, and the person, where one is meant: to export only them.

    A text is a video (see `select_videos`) or, if it is none, a person: an id, ``Person 3``, or a name. A person alone
    stands for all videos that show them; beside videos, for those of these that do.

    Raises:
        FacetrackError: if a text is neither, several people are meant, or no video shows the person.
    """
    videos, people = list[VideoRecord](), list[int]()
    for text in texts:
        found = _videos_named(store, text)
        videos += found
        if not found:
            people.append(_person_named(store, text))
    if len(set(people)) > 1:
        raise FacetrackError(f"{len(set(people))} people are named; export one at a time, or their videos")
    identity_id = people[0] if people else None
    unique = list({video.video_id: video for video in videos}.values())
    return _showing(store, unique or store.videos(), identity_id) if people else unique, identity_id


def select_videos(store: Store, texts: Sequence[str]) -> list[VideoRecord]:
    """Return the videos that a user means, each once: by path, id or file name, or all that lie in a folder.

    Raises:
        FacetrackError: if a text names no video, and no folder with a video of the store.
    """
    chosen = [video for text in texts for video in _in_folder(store, text) or [store.resolve_video(text)]]
    return list({video.video_id: video for video in chosen}.values())


def _in_folder(store: Store, text: str) -> list[VideoRecord]:
    folder = Path(text).absolute()
    return [video for video in store.videos() if folder in video.path.absolute().parents]


def _videos_named(store: Store, text: str) -> list[VideoRecord]:
    try:
        return select_videos(store, [text])
    except FacetrackError:
        return []


def _person_named(store: Store, text: str) -> int:
    try:
        return store.resolve_person(text).identity_id
    except FacetrackError:
        videos = _some([f"{video.video_id} ({video.path})" for video in store.videos()])
        people = _some([identity.label for identity in store.identities() if not identity.ignored])
        raise FacetrackError(
            f"{text!r} names no video and no person of {store.path}, or several videos; videos: {videos}; "
            f"people: {people}"
        ) from None


def _some(known: Sequence[str]) -> str:
    return (", ".join(known[:20]) or "none") + (f" and {len(known) - 20} more" if len(known) > 20 else "")


def _showing(store: Store, videos: Sequence[VideoRecord], identity_id: int | None) -> list[VideoRecord]:
    if identity_id is None:
        return list(videos)
    seen_in = {record.video_id for record in store.track_records(identity_id=identity_id)}
    shown = [video for video in videos if video.video_id in seen_in]
    if not shown:
        raise FacetrackError(f"person {identity_id} is in none of the videos; facetrack people lists who is in which")
    return shown


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise FacetrackError(f"there is no export format {name!r}; choose one of: {', '.join(sorted(FORMATS))}")
    return FORMATS[name]


def _check_single(format: Format, videos: Sequence[VideoRecord]) -> None:
    if format.single and len(videos) != 1:
        raise FacetrackError(
            f"a file of the format {format.name} holds one video, and {len(videos)} are chosen; "
            "name one, or give a folder as output: each video has a file in it"
        )


def _files(videos: Sequence[VideoRecord], folder: Path, suffix: str) -> Iterator[tuple[VideoRecord, Path]]:
    # Compared without case, as some file systems do; ids keep films of one name apart.
    alike = len({video.path.stem.casefold() for video in videos}) < len(videos)
    for video in videos:
        stem = f"{video.path.stem}.{video.video_id}" if alike else video.path.stem
        yield video, folder / f"{stem}{suffix}"


def _write_file(
    format: Format, store: Store, videos: Sequence[VideoRecord], path: Path, identity_id: int | None, ignored: bool
) -> int:
    with replacing(path) as beside, _opened(beside, binary=format.binary) as stream:
        return format.writer(store, videos, stream, identity_id=identity_id, ignored=ignored)


@contextmanager
def _opened(path: Path, *, binary: bool) -> Iterator[IO[Any]]:
    if binary:
        with path.open("wb") as data:
            yield data
        return
    # Paths that are no UTF-8 go out as the bytes that they are.
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as text:
        yield text
