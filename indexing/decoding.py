"""Decoding of files that nobody vouches for, each in a process of its own that has limits and ends.

Decoders are what a hostile or damaged file can break. `probe` looks at a file before anybody trusts it,
`decode_picture` gives the pixels of a picture, `still` a frame of a video; who asks for them decodes nothing.
"""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexing.processes import MIB, REFUSED, address_space, command, environment, limit
from tracker.errors import MediaError

if TYPE_CHECKING:
    from tracker.types import Image, VideoInfo
    from tracker.video import Video

READ_RATE = 20 * MIB
"""Bytes a second that the slowest disk is taken to read: large files may be looked at for longer."""

_MODULE = "indexing.decoding"
"""This one, also where it is run as a program."""

_CHANNELS = 3

_QUALITY = 85

logger = logging.getLogger(_MODULE)


@dataclass(frozen=True, slots=True)
class DecodingLimits:
    """What decoding a picture, or looking at a file, may take.

    Attributes:
        memory: Bytes of address space beyond what the libraries need.
        seconds: Of time.
        pixels: Of a picture, by what the file declares before it is decoded.
    """

    memory: int = 2048 * MIB
    seconds: float = 20.0
    pixels: int = 100_000_000


FOR_STILLS = DecodingLimits(seconds=30.0)
"""A file that cannot be sought in is decoded from its start."""


def probe(path: Path | str, *, limits: DecodingLimits | None = None) -> VideoInfo:
    """Say what a media file is, without letting it near this process.

    Another process checks the size that the file declares, decodes the first frame (a still picture as a whole), reads
    the file for its hash, and ends. It can neither grow beyond its limits nor write files.

    Args:
        path: The file.
        limits: What the look may take, beside the time for reading the file.

    Returns:
        What the file says of itself; a video has about ``fps * duration`` frames.

    Raises:
        MediaError: if it is no video or picture, has too many pixels, or its decoder takes too much or dies.
    """
    from tracker.types import VideoInfo

    path, allowed = Path(path), limits or DecodingLimits()
    size = path.stat().st_size if path.is_file() else 0
    said = json.loads(_apart("probe", path, replace(allowed, seconds=allowed.seconds + size / READ_RATE)))
    return VideoInfo(**{**said, "path": path})


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """A picture that another process has decoded.

    Attributes:
        info: Of the file it was decoded from.
        pixels: File of the bare bytes of the upright BGR picture.
    """

    info: VideoInfo
    pixels: Path

    def open(self) -> Video:
        """Return it as `tracker.video.open_video` returns a picture; the pixels are read when they are asked for."""
        from tracker.video import one_frame

        return one_frame(self.info, self._read)

    def _read(self) -> Image:
        import numpy as np

        return np.fromfile(self.pixels, np.uint8).reshape(self.info.height, self.info.width, _CHANNELS)


def decode_picture(path: Path, pixels: Path, *, limits: DecodingLimits | None = None) -> DecodedPicture:
    """Decode a picture in another process, which leaves nothing but its pixels.

    Args:
        path: The file.
        pixels: A new file for the pixels, of three bytes each.
        limits: What decoding may take.

    Raises:
        MediaError: if it is no picture, has too many pixels, or its decoder takes too much or dies.
    """
    from tracker.types import VideoInfo
    from tracker.video import content_hash

    allowed = limits or DecodingLimits()
    said = json.loads(_apart("picture", path, allowed, into=os.fspath(pixels.absolute())))
    width, height = int(said["width"]), int(said["height"])
    # The other process had the file in its hands: what it says is believed as far as it can be checked.
    if min(width, height) < 1 or pixels.stat().st_size != width * height * _CHANNELS:
        raise MediaError(f"{path}: its decoder broke; convert it to JPEG or PNG")
    return DecodedPicture(VideoInfo(path, content_hash(path), width, height, 0.0, 0.0, is_image=True), pixels)


def still(
    path: Path, index: int, timestamp: float, *, width: int | None = None, limits: DecodingLimits | None = None
) -> bytes:
    """Return a frame of a video, or a picture, as a JPEG file.

    Args:
        path: The file.
        index: Number of the frame, from 0.
        timestamp: Its presentation time in seconds.
        width: Pixels that it is scaled down to; None: as it is.
        limits: What it may take.

    Raises:
        MediaError: if the file cannot be decoded so far, or that takes too much.
    """
    return _apart("still", path, limits or FOR_STILLS, index=index, timestamp=timestamp, width=width)


def check_pixels(path: Path, most: int) -> None:
    """Check the size that a file declares, before anything of it is decoded.

    Raises:
        MediaError: if it is larger, or the file is no video or picture.
    """
    from tracker.video import declared_size

    width, height = declared_size(path)
    if width * height > most:
        raise MediaError(f"{path}: {width}x{height} pixels, and {most / 1e6:g} megapixels are allowed; scale it down")


def _apart(what: str, path: Path, limits: DecodingLimits, **more: Any) -> bytes:
    """Do one of `_WORK` in another process, and return what it wrote."""
    told = (
        f"{path}: it cannot be decoded in {limits.memory // MIB} MiB and {limits.seconds:.0f} s, or breaks the "
        "decoder; convert it to H.264 in MP4 or to JPEG, or give a smaller one"
    )
    order = {"path": os.fspath(path.absolute()), "limits": asdict(limits), **more}
    try:
        done = subprocess.run(
            command(_MODULE, what, order=order),
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limits.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MediaError(told) from error
    if done.returncode == REFUSED:
        raise MediaError(done.stdout.decode("utf-8", "surrogateescape").replace(order["path"], str(path)))
    if done.returncode or not done.stdout:
        logger.warning("%s: decoding it ended with %d: %s", path, done.returncode, done.stderr[-500:])
        raise MediaError(told)
    return done.stdout


# ---- in the other process


def _probed(path: Path, limits: DecodingLimits) -> bytes:
    from tracker.video import open_video

    check_pixels(path, limits.pixels)
    with open_video(path) as video:
        return json.dumps({**asdict(video.info), "path": ""}).encode()


def _pictured(path: Path, limits: DecodingLimits, into: str) -> bytes:
    from tracker.video import is_image, read_image

    check_pixels(path, limits.pixels)
    if not is_image(path):
        raise MediaError(f"{path} is a video; send pictures, or add it as a job")
    image = read_image(path)
    image.tofile(into)
    return json.dumps({"width": image.shape[1], "height": image.shape[0]}).encode()


def _still(path: Path, _: DecodingLimits, index: int, timestamp: float, width: int | None) -> bytes:
    from tracker.headless import cv2
    from tracker.video import read_frame

    image = read_frame(path, index, timestamp)
    height, full = image.shape[:2]
    if width is not None and width < full:
        image = cv2.resize(image, (width, max(1, round(height * width / full))), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])


_WORK: Mapping[str, Callable[..., bytes]] = {"probe": _probed, "picture": _pictured, "still": _still}


def _main(what: str, path: str, limits: Mapping[str, Any], **more: Any) -> int:
    import tracker.video  # noqa: F401 - what the libraries need does not count

    allowed = DecodingLimits(**limits)
    largest = allowed.pixels * _CHANNELS if what == "picture" else 0
    limit(AS=address_space() + allowed.memory, CPU=math.ceil(allowed.seconds), FSIZE=largest, CORE=0)
    try:
        answer, code = _WORK[what](Path(path), allowed, **more), 0
    except MediaError as error:
        answer, code = _bytes(str(error)), REFUSED
    except MemoryError:
        needed = f"{path}: it needs more than {allowed.memory // MIB} MiB to be decoded; scale it down"
        answer, code = _bytes(needed), REFUSED
    sys.stdout.buffer.write(answer)
    return code


def _bytes(message: str) -> bytes:
    # A file may have a name that is no text.
    return message.encode("utf-8", "surrogateescape")


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], **json.loads(sys.argv[2])))
