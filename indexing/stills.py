"""Single frames of videos as JPEG files, decoded in a process of their own that has limits and ends."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexing.processes import MIB, address_space, command, environment, limit
from tracker.errors import MediaError

_MODULE = "indexing.stills"
"""This one, also where it is run as a program."""

_QUALITY = 85


@dataclass(frozen=True, slots=True)
class StillLimits:
    """What decoding a frame may take.

    Attributes:
        memory: Bytes of address space beyond what the libraries need.
        seconds: Of time; a file that cannot be sought in is decoded from its start.
    """

    memory: int = 2048 * MIB
    seconds: float = 30.0


def still(
    path: Path, index: int, timestamp: float, *, width: int | None = None, limits: StillLimits | None = None
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
    allowed = limits or StillLimits()
    order = {
        "path": os.fspath(path.absolute()),
        "index": index,
        "timestamp": timestamp,
        "width": width,
        "limits": asdict(allowed),
    }
    told = (
        f"{path.name}: frame {index} cannot be decoded in {allowed.memory // MIB} MiB and {allowed.seconds:g} s, or "
        "the file is damaged"
    )
    try:
        done = subprocess.run(
            command(_MODULE, order=order),
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=allowed.seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MediaError(told) from error
    if done.returncode or not done.stdout:
        raise MediaError(told)
    return done.stdout


def _main(order: Mapping[str, Any]) -> None:
    from tracker.video import read_frame

    allowed = StillLimits(**order["limits"])
    limit(AS=address_space() + allowed.memory, CPU=math.ceil(allowed.seconds), FSIZE=0, CORE=0)
    image = read_frame(Path(order["path"]), order["index"], order["timestamp"])
    sys.stdout.buffer.write(_jpeg(image, order["width"]))


def _jpeg(image: Any, width: int | None) -> bytes:
    from tracker.headless import cv2

    height, full = image.shape[:2]
    if width is not None and width < full:
        image = cv2.resize(image, (width, max(1, round(height * width / full))), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1])


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
