"""Files that a client sends: streamed to disk, and opened by other processes alone."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from fastapi import Request, UploadFile
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from indexing.decoding import DecodedPicture, decode_picture, probe
from indexing.gallery import ContradictionError
from indexing.server.context import Context
from indexing.server.errors import ProblemError
from indexing.server.uploads import INCOMING
from tracker.errors import FacetrackError

_LONGEST_FIELD = 64 << 10
"""Bytes of a field that is no file."""

_LONGEST_NAME = 120
"""Bytes of the name of a file that are kept, its suffix among them."""


@dataclass(slots=True)
class Form:
    """A form as it comes in: one file, written while it is read, and short fields."""

    folder: Path
    path: Path | None = None
    digest: str = ""
    fields: dict[str, str] = field(default_factory=dict)


async def receive_file(request: Request, folder: Path) -> Form:
    """Write the file of a multipart request into a folder, piece by piece, and return what came.

    Raises:
        ProblemError: 422, if it is no such form, or has no file or several.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ProblemError(422, "send a form: multipart/form-data with the field 'file'")
    form = Form(folder)
    reader = _Reader(form)
    try:
        parser = MultipartParser(options[b"boundary"], reader.callbacks())
        async for piece in request.stream():
            await run_in_threadpool(parser.write, piece)
        parser.finalize()
    except FormParserError as error:
        raise ProblemError(422, f"the form is damaged: {error}") from error
    except OSError as error:
        raise ProblemError(507, f"the file cannot be kept: {error.strerror}; make room, then send it again") from error
    finally:
        reader.close()
    if form.path is None or not reader.ended:
        raise ProblemError(422, "the form has no field 'file' with a file, or ends in the middle of it")
    return form


class _Reader:
    """What the parser calls for each piece of a form."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._field, self._text = "", bytearray()
        self.ended = False

    def callbacks(self) -> Any:
        """Return the functions by the names that the parser calls them by."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._open,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        self._headers, self._text, self._field = {}, bytearray(), ""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _open(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            return
        if self._field != "file" or self._form.path is not None:
            raise ProblemError(422, "one file is taken at a time, in the field 'file'")
        self._form.path = self._form.folder / safe_name(options[b"filename"].decode("utf-8", "replace"))
        self._file = self._form.path.open("xb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._file is not None:
            self._file.write(piece)
            self._hash.update(piece)
        elif len(self._text) + len(piece) <= _LONGEST_FIELD:
            self._text += piece
        else:
            raise ProblemError(413, f"the field {self._field[:40]!r} is longer than {_LONGEST_FIELD} bytes")

    def _end(self) -> None:
        if self._file is not None:
            self.close()
            self._form.digest = self._hash.hexdigest()
        else:
            self._form.fields[self._field] = self._text.decode("utf-8", "replace")

    def _finish(self) -> None:
        self.ended = True


def safe_name(name: str) -> str:
    r"""Return the name of a file as it may stand in a folder: no path, no hidden file, nothing that steers a terminal.

    Example:
        >>> safe_name("../../etc/passwd"), safe_name("C:\\films\\a b.mp4"), safe_name(".."), safe_name("")
        ('passwd', 'a b.mp4', 'file', 'file')
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(c for c in last if c.isprintable() and c not in ':"*<>?|').strip().lstrip(".")
    path = Path(plain or "file")
    suffix = path.suffix[:16]
    stem = path.name.removesuffix(path.suffix).encode()[: _LONGEST_NAME - len(suffix.encode())].decode(errors="ignore")
    return f"{stem or 'file'}{suffix}"


# ---- pictures


@contextmanager
def pictures(context: Context, files: Sequence[UploadFile]) -> Iterator[list[DecodedPicture]]:
    """Write pictures to a folder that lasts as long as the block, and have them decoded by other processes.

    Raises:
        ProblemError: 422, if one is no picture, or would not stay within the limits when it is decoded.
    """
    if len(files) > context.limits.picture_count:
        raise ProblemError(422, f"{len(files)} pictures came; send at most {context.limits.picture_count}")
    with tempfile.TemporaryDirectory(prefix=INCOMING, dir=context.uploads.folder) as folder:
        paths = [_written(file, Path(folder, str(number))) for number, file in enumerate(files)]
        with calling(paths):
            decoded = [
                decode_picture(path, Path(folder, f"{number}.bgr"), limits=context.limits.decoding)
                for number, path in enumerate(paths)
            ]
        yield decoded


@contextmanager
def keeping(context: Context, received: Iterable[DecodedPicture]) -> Iterator[list[DecodedPicture]]:
    """Keep pictures for the store; those that it does not know after the block are deleted."""
    with ExitStack() as stack:
        kept = [
            (stack.enter_context(context.uploads.holding(one.info.path, one.info.content_hash)), one)
            for one in received
        ]
        yield [replace(one, info=replace(one.info, path=path)) for path, one in kept]


def _written(file: UploadFile, folder: Path) -> Path:
    folder.mkdir()
    path = folder / safe_name(file.filename or "")
    with path.open("xb") as target:
        shutil.copyfileobj(file.file, target)
    return path


def check(path: Path) -> None:
    """Look at a video or picture in another process.

    Raises:
        ProblemError: 422, if it is none, or needs too much to be decoded.
    """
    with calling([path]):
        probe(path)


@contextmanager
def calling(paths: Iterable[Path]) -> Iterator[None]:
    """Call files by the names that the client gave, not by where they are, in what is refused within the block."""
    try:
        yield
    except ContradictionError:
        raise
    except FacetrackError as error:
        raise ProblemError(422, named(str(error), paths)) from error


def named(text: str, paths: Iterable[Path]) -> str:
    """Return a message with the names that the client gave in place of where the files are."""
    for path in paths:
        text = text.replace(str(path), path.name)
    return text
