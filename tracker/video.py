"""Decoding of videos and still pictures into upright BGR frames with true presentation times."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import statistics
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from tracker.errors import MediaError
from tracker.headless import cv2
from tracker.types import Frame, Image, VideoInfo

logger = logging.getLogger(__name__)

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif",
    ".ppm", ".pgm", ".jp2",
))
# fmt: on
"""Suffixes (lower case) of the still pictures that are looked for in folders."""

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts", ".wmv",
    ".asf", ".flv", ".f4v", ".ogv", ".3gp", ".3g2", ".vob", ".mxf", ".dv", ".y4m", ".mjpeg", ".h264", ".h265",
    ".hevc", ".ivf", ".nut",
))
# fmt: on
"""Suffixes (lower case) of the videos that are looked for in folders."""

_NO_VIDEO_FORMATS = frozenset({"tty", "concat", "hls", "dash", "image2", "lavfi"})
"""Demuxers that take text or lists of other files for a video."""

_MAX_PIXELS = 178_956_970
"""Pillow's own limit against decompression bombs; a picture of 8K has 33 million pixels."""

_MAX_THREADS = 8
"""Every decoding thread holds a picture; more than eight cost memory and bring no speed."""

_DISCONTINUITY = 1.0
"""A step back of more seconds than this is a clock that starts anew, a smaller one a slip."""

_SEEKABLE = ("mov,mp4", "matroska")
"""Demuxers that have an index, by which a seek leads to a keyframe."""

_SEEK_MARGIN = 0.1
"""Seconds by which a seek goes further back: an index counts decoding times, which lie before those of showing."""

_SAME_TIME = 1e-4
"""Seconds that two timestamps of one frame differ at most."""

_FALLBACK_GAP = 1 / 25
"""Seconds between frames where neither the stream nor the container tells."""


@dataclass(frozen=True, slots=True)
class _Orientation:
    """How a stored picture is turned upright: transposed first, then flipped."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> _Orientation:
        """Read the display matrix, in which x' = a x + c y and y' = b x + d y; other angles go to the nearest 90."""
        side_data: Any = frame.side_data  # PyAV's own stubs call it something else than it is
        stored = side_data.get("DISPLAYMATRIX")
        if stored is None:
            return cls()
        matrix = np.frombuffer(bytes(stored), np.int32)
        a, b, _, c, d = matrix[:5].tolist()
        if abs(a) >= abs(b):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def apply(self, image: Image) -> Image:
        if self.transpose:
            image = cv2.transpose(image)  # type: ignore[assignment]
        if self.flip_x or self.flip_y:
            code = -1 if self.flip_x and self.flip_y else int(self.flip_x)
            image = cv2.flip(image, code)  # type: ignore[assignment]
        return image


class _Clock:
    """Turns the timestamps of decoded frames into seconds that never decrease."""

    def __init__(self, origin: float, gap: float) -> None:
        self._offset = -origin
        self._gap = gap
        self._duration = 0.0
        self.times: list[float] = []

    def stamp(self, frame: VideoFrame) -> float:
        """Return the presentation time of the next frame."""
        time = self._next() if frame.pts is None or frame.time is None else self._follow(frame.time)
        base = float(frame.time_base) if frame.time_base else 0.0
        self._duration = max(frame.duration or 0, 0) * base
        self.times.append(time)
        return time

    def _follow(self, seconds: float) -> float:
        time = seconds + self._offset
        if not self.times or time >= self.times[-1]:
            return time
        if time >= self.times[-1] - _DISCONTINUITY:
            return self.times[-1]
        self._offset += self._next() - time
        return self._next()

    def _next(self) -> float:
        return self.times[-1] + (self._duration or self._gap) if self.times else 0.0

    @property
    def end(self) -> float:
        """The time at which the last frame ends."""
        gaps = [b - a for a, b in zip(self.times, self.times[1:], strict=False) if b > a]
        if not self.times:
            return 0.0
        return self.times[-1] + (self._duration or (statistics.median(gaps) if gaps else self._gap))


class Video:
    """A video or still picture, decoded by iterating over it; see `open_video`.

    Attributes:
        info: What the file says of itself.
        end: Seconds at which the last frame so far ends; of the whole video once the iteration is over.
            A still picture ends at 0.
        damaged: Packets and pictures so far that the decoder found damaged.
    """

    def __init__(self, info: VideoInfo, decode: Callable[[Video], Iterator[Frame]]) -> None:
        self.info = info
        self.damaged = 0
        self._clock = _Clock(0.0, 0.0)
        self._decode = decode
        self._running: list[Iterator[Frame]] = []

    @property
    def end(self) -> float:
        """Seconds at which the last frame so far ends."""
        return 0.0 if self.info.is_image else self._clock.end

    def __iter__(self) -> Iterator[Frame]:
        """Decode from the start; every call is a pass of its own."""
        self.close()
        self.damaged = 0
        frames = self._decode(self)
        self._running.append(frames)
        return frames

    def close(self) -> None:
        """End a running iteration and close its file."""
        while self._running:
            self._running.pop().close()  # type: ignore[attr-defined]

    def __enter__(self) -> Self:
        """Return the video."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


def open_video(path: Path | str) -> Video:
    """Open a video, or a still picture as a video of one frame.

    Timestamps are the container's presentation times (variable rate, edit lists and B-frames as players show them)
    in seconds from the start of its first stream; they never decrease. Frames are turned upright by the display
    matrix or EXIF tag. Damaged packets are skipped with a warning, and a truncated file gives what decodes.

    Args:
        path: A file that FFmpeg or Pillow reads.

    Raises:
        MediaError: if the file is missing, unreadable, empty, no media, has sound only or no frame that decodes.

    Example:
        >>> from matplotlib.cbook import get_sample_data
        >>> with open_video(get_sample_data("grace_hopper.jpg", asfileobj=False)) as video:
        ...     [(frame.index, frame.timestamp, frame.image.shape) for frame in video]
        [(0, 0.0, (600, 512, 3))]
    """
    path = Path(path)
    _check_file(path)
    return _open_image(path) if is_image(path) else _open_stream(path)


def opened(media: Path | str | Video) -> Video:
    """Return a video that is open already, or open a file; see `open_video`."""
    return media if isinstance(media, Video) else open_video(media)


def one_frame(info: VideoInfo, read: Callable[[], Image]) -> Video:
    """Return a still picture that somebody else decodes as `open_video` returns one.

    Args:
        info: Of its file.
        read: Gives the picture as `read_image` does, whenever it is iterated over.
    """

    def decode(_: Video) -> Iterator[Frame]:
        yield Frame(0, 0.0, read())

    return Video(info, decode)


def read_image(path: Path | str) -> Image:
    """Return a still picture, upright, as ``(H, W, 3)`` uint8 BGR; of an animation the first picture.

    Grey, palette, CMYK and 16-bit pictures are converted, transparent ones laid on white.

    Raises:
        MediaError: if the file is missing, unreadable, empty, no picture, damaged or larger than 178 megapixels.
    """
    path = Path(path)
    _check_file(path)
    try:
        with _open_pillow(path) as picture:
            return _to_bgr(picture)
    except MediaError:
        raise
    except UnidentifiedImageError as error:
        raise MediaError(f"{path}: not a picture that Pillow can read; convert it to JPEG or PNG") from error
    except Exception as error:  # Pillow's decoders raise whatever a damaged file drives them into
        raise MediaError(f"{path}: the picture is damaged or truncated ({_reason(error)})") from error


def read_frame(path: Path | str, index: int, timestamp: float) -> Image:
    """Return one frame of a video, upright, as ``(H, W, 3)`` uint8 BGR.

    Decoding begins at the keyframe before it where the file can be sought in, and at the start otherwise.

    Args:
        path: See `open_video`.
        index: Number of the frame, from 0.
        timestamp: Its presentation time in seconds, as `open_video` gives it.

    Raises:
        MediaError: if the file cannot be decoded so far.
    """
    path = Path(path)
    _check_file(path)
    if is_image(path):
        return read_image(path)
    sought = _sought_frame(path, timestamp)
    if sought is not None:
        return sought
    with open_video(path) as video:
        for frame in video:
            if frame.index == index:
                return frame.image
    raise MediaError(f"{path}: frame {index} could not be decoded; the file may be damaged, or another one now")


def declared_size(path: Path | str) -> tuple[int, int]:
    """Return the width and height that a video or picture declares, not turned upright; no picture is decoded for it.

    Raises:
        MediaError: if the file is missing, unreadable, empty, no media, or has sound only.
    """
    path = Path(path)
    _check_file(path)
    if is_image(path):
        with _open_pillow(path) as picture:
            return picture.size
    with _open_container(path) as container:
        context = _video_stream(container, path).codec_context
        return context.width, context.height


def to_image(picture: VideoFrame) -> Image:
    """Return a decoded picture of a video, upright, as ``(H, W, 3)`` uint8 BGR."""
    return _Orientation.of(picture).apply(np.asarray(picture.to_ndarray(format="bgr24"), np.uint8))


def content_hash(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes, hexadecimal, read in pieces."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_media(path: Path | str) -> list[Path]:
    """Return the media files of a folder and its sub-folders in natural order; a file returns itself.

    Hidden files and folders are skipped; by suffix `IMAGE_SUFFIXES` and `VIDEO_SUFFIXES` count as media. A file that
    is named is taken whatever its suffix.

    Raises:
        MediaError: if there is no such path, or no media in the folder.
    """
    path = Path(path)
    if not path.is_dir():
        _check_file(path)
        return [path]
    found = sorted(_media_below(path), key=_natural)
    if not found:
        raise MediaError(f"{path}: no media in this folder; looked for {_suffixes()}")
    return found


def _media_below(folder: Path) -> Iterator[Path]:
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
    for parent, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (
            Path(parent, name) for name in names if not name.startswith(".") and Path(name).suffix.lower() in known
        )


def _unreadable(error: OSError) -> None:
    raise MediaError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error


def _natural(path: Path) -> list[tuple[int, int, str]]:
    pieces = re.split(r"(\d+)", str(path).lower())
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces if piece]


def _suffixes() -> str:
    return " ".join(sorted(VIDEO_SUFFIXES) + sorted(IMAGE_SUFFIXES))


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise MediaError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise MediaError(f"{path}: is a folder, not a media file") from None
    except OSError as error:
        _unreadable(error)
    if empty:
        raise MediaError(f"{path}: the file is empty (0 bytes)")


# Still pictures


def _open_pillow(path: Path) -> PillowImage.Image:
    try:
        with warnings.catch_warnings():
            # Pillow warns from half its limit on; a large panorama is no attack.
            warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)
            return PillowImage.open(path)
    except PillowImage.DecompressionBombError:
        raise MediaError(
            f"{path}: the picture has more than {_MAX_PIXELS // 1_000_000} megapixels; scale it down"
        ) from None


def is_image(path: Path) -> bool:
    """Tell whether a file is a still picture and no video; one that is too large counts."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return False
    try:
        with _open_pillow(path):
            return True
    except MediaError:
        return True
    except Exception:  # whatever a file that is no picture drives Pillow's parsers into
        return False


def _open_image(path: Path) -> Video:
    image = read_image(path)
    height, width = image.shape[:2]
    return one_frame(VideoInfo(path, content_hash(path), width, height, 0.0, 0.0, is_image=True), lambda: image)


def _to_bgr(picture: PillowImage.Image) -> Image:
    picture.seek(0)
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith(("I", "F")):
        upright = PillowImage.fromarray(_to_8_bits(np.asarray(upright)))
    if upright.has_transparency_data:
        upright = _on_white(upright.convert("RGBA"))
    return np.ascontiguousarray(np.asarray(upright.convert("RGB"))[:, :, ::-1])


def _on_white(picture: PillowImage.Image) -> PillowImage.Image:
    return PillowImage.alpha_composite(PillowImage.new("RGBA", picture.size, "white"), picture)


def _to_8_bits(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Image:
    """Map deep grey values on 0..255: integers above 255 by 16 bits, floats by the range they fill."""
    deep = np.nan_to_num(values.astype(np.float64))
    top = deep.max(initial=0)
    full = next((limit for limit in (1.0, 255.0, 65535.0) if top <= limit), top)
    if np.issubdtype(values.dtype, np.integer) and full == 1.0:
        full = 255.0
    if values.dtype.itemsize == 2:
        full = 65535.0
    return np.asarray(np.clip(deep * (255 / full), 0, 255).round(), np.uint8)


# Videos


def _open_stream(path: Path) -> Video:
    with _open_container(path) as container:
        stream = _video_stream(container, path)
        first = next(_pictures(container, stream, path), None)
        if first is None:
            raise MediaError(f"{path}: no frame could be decoded; the file may be damaged or truncated")
        orientation = _Orientation.of(first)
        size = (first.height, first.width) if orientation.transpose else (first.width, first.height)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        info = VideoInfo(path, content_hash(path), *size, rate, _duration(container, stream))
    return Video(info, _decode)


def _decode(video: Video) -> Iterator[Frame]:
    path = video.info.path
    with _open_container(path) as container:
        stream = _video_stream(container, path)
        origin = (container.start_time or 0) / av.time_base
        video._clock = clock = _Clock(origin, 1 / video.info.fps if video.info.fps else _FALLBACK_GAP)
        size, orientation = (0, 0), _Orientation()
        for index, picture in enumerate(_pictures(container, stream, path, video)):
            if not index:
                size, orientation = (picture.width, picture.height), _Orientation.of(picture)
            image = np.asarray(picture.to_ndarray(format="bgr24", width=size[0], height=size[1]), np.uint8)
            yield Frame(index, clock.stamp(picture), orientation.apply(image))
    if video.damaged:
        logger.warning("%s: %d damaged packets or pictures in all", path, video.damaged)


def _sought_frame(path: Path, timestamp: float) -> Image | None:
    """Return the frame with this timestamp by seeking; None where that does not lead to exactly it."""
    with _open_container(path) as container:
        stream = _video_stream(container, path)
        if not stream.time_base or not container.format.name.startswith(_SEEKABLE):
            return None
        wanted = timestamp + (container.start_time or 0) / av.time_base
        try:
            container.seek(max(int((wanted - _SEEK_MARGIN) / stream.time_base), 0), stream=stream, backward=True)
        except av.error.FFmpegError:
            return None
        for picture in _pictures(container, stream, path):
            if picture.time is None or picture.time > wanted + _SAME_TIME:
                return None
            if picture.time >= wanted - _SAME_TIME:
                return _Orientation.of(picture).apply(np.asarray(picture.to_ndarray(format="bgr24"), np.uint8))
    return None


def _pictures(
    container: InputContainer, stream: VideoStream, path: Path, video: Video | None = None
) -> Iterator[VideoFrame]:
    """Decode packet by packet: the decoder goes on after a damaged one, a container's own iterator would end."""
    for packet in _until_damaged(container.demux(stream), path):
        try:
            pictures = packet.decode()
        except av.error.FFmpegError as error:
            _note_damage(video, path, _reason(error))
            continue
        for picture in pictures:
            if picture.is_corrupt:
                _note_damage(video, path, "a picture was concealed")
            yield picture
    try:
        yield from stream.decode(None)
    except av.error.FFmpegError:
        return


def _until_damaged(packets: Iterator[Packet[VideoStream]], path: Path) -> Iterator[Packet[VideoStream]]:
    try:
        yield from packets
    except av.error.FFmpegError as error:
        logger.warning("%s: ends early (%s)", path, _reason(error))


def _note_damage(video: Video | None, path: Path, what: str) -> None:
    if video is None:
        return
    video.damaged += 1
    if video.damaged == 1:
        logger.warning("%s: damaged after %.2f s (%s); going on", path, video.end, what)


def _open_container(path: Path) -> InputContainer:
    try:
        # "file:" keeps FFmpeg from taking a colon in a name for a protocol; the list keeps it off other protocols.
        container = av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise MediaError(f"{path}: not a video or picture, or damaged ({_reason(error)})") from error
    if container.format.name in _NO_VIDEO_FORMATS:
        container.close()
        raise MediaError(f"{path}: not a video or picture ({container.format.long_name})")
    return container


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    pictured = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not pictured:
        raise MediaError(f"{path}: no video in it, {'sound only' if container.streams.audio else 'no pictures'}")
    stream = pictured[0]
    if stream.codec_context is None:
        raise MediaError(f"{path}: no decoder for its video; convert it, for example to H.264 in MP4")
    # A picture may turn out larger than the container said; FFmpeg itself would go up to 2,147 megapixels.
    stream.codec_context.options = {"max_pixels": str(_MAX_PIXELS)}
    stream.thread_type = "AUTO"
    stream.thread_count = min(os.cpu_count() or 1, _MAX_THREADS)
    return stream


def _duration(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base
