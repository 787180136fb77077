"""Endless sources: cameras and network streams, of which only the newest picture is kept."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from tracker.errors import MediaError
from tracker.shots import ShotDetector
from tracker.types import Image
from tracker.video import to_image

logger = logging.getLogger(__name__)

SCHEMES = ("rtsp", "rtsps", "http", "https", "tcp", "udp", "rtp", "srt", "rtmp")
"""Kinds of addresses that can be opened."""

CONNECT_SECONDS = 10.0
"""How long a source may take to answer."""

READ_SECONDS = 10.0
"""How long it may be silent: after that it is taken for gone."""

BACKOFF = (0.5, 30.0)
"""Seconds before the first attempt to connect again, and at most; each failure doubles them."""

LATE = 1.0
"""Seconds behind from which what was not decoded yet is left out, up to a picture that needs no other."""

LONGEST_SKIP = 10.0
"""Seconds of leaving out after which nothing can be waiting any more: the whole stream is later than it was."""

JUMP = 5.0
"""A step of the stream's clock by so many seconds more than have passed is a clock that starts anew."""

_SHOT_SIDE = 64

# What the addresses of one kind may lead to: a playlist from the network must not open files.
_PROTOCOLS = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,crypto,hls,srt,rtmp,rtmps"

_USUAL: Mapping[str, Mapping[str, str]] = {
    "rtsp": {"rtsp_transport": "tcp"},  # over UDP, lost packets tear the picture
    "rtsps": {"rtsp_transport": "tcp"},
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a stream comes from.

    Attributes:
        name: What people call it; it holds no password.
        address: What FFmpeg opens.
        format: FFmpeg's name of the format; None: it looks.
        options: FFmpeg's options.
        file: It is a file or standard input: its end is the end, and there is no connecting again.
    """

    name: str
    address: str = field(repr=False)
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    file: bool = False


def find_source(text: str, *, options: Mapping[str, str] | None = None) -> Source:
    """Return the source that a user means.

    Args:
        text: An address (see `SCHEMES`), a video device or its number, a file, or ``-`` for standard input.
        options: Options of FFmpeg, before the usual ones.

    Raises:
        MediaError: if it is none of them.

    Example:
        >>> find_source("rtsp://admin:secret@camera.local:554/door?token=1").name
        'rtsp://camera.local:554/door'
        >>> find_source("0").address, find_source("-").file
        ('/dev/video0', True)
    """
    given = dict(options or {})
    if text == "-":
        return Source("stdin", "pipe:0", None, {"protocol_whitelist": "pipe", **given}, file=True)
    if text.isdecimal() or re.fullmatch(r"/dev/video\d+", text):
        device = f"/dev/video{text}" if text.isdecimal() else text
        return Source(device, device, "v4l2", given)
    scheme, marked, _ = text.partition("://")
    if not marked:
        return _file(text, given)
    if scheme.lower() not in SCHEMES:
        raise MediaError(f"{scheme}:// cannot be opened; it can be {', '.join(SCHEMES)}, a device, a file or -")
    usual = {"protocol_whitelist": _PROTOCOLS, "analyzeduration": "1000000", **_USUAL.get(scheme.lower(), {})}
    return Source(without_credentials(text), text, None, usual | given)


def _file(text: str, options: Mapping[str, str]) -> Source:
    if not Path(text).exists() or Path(text).is_dir():
        raise MediaError(
            f"{text}: no such file; a source is an address ({', '.join(SCHEMES)}), /dev/video0 or 0, a file, or -"
        )
    return Source(text, f"file:{text}", None, {"protocol_whitelist": "file", **options}, file=True)


def without_credentials(address: str) -> str:
    """Return an address without user, password and query: each may hold a secret.

    Example:
        >>> without_credentials("http://user:pa@ss@[::1]:80/a/b.m3u8?key=1#x")
        'http://[::1]:80/a/b.m3u8'
    """
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True, slots=True, eq=False)
class Arrival:
    """The newest picture of a stream.

    Attributes:
        picture: The picture, as it was decoded.
        time: Seconds since the stream was opened, by its own clock.
        due: When it could be read, as `time.monotonic` counts: its age is the time since then.
        cut: A shot began with it, or with a picture between the last one that was taken and this one.
        connection: Count of connections before this one.
    """

    picture: VideoFrame = field(repr=False)
    time: float
    due: float
    cut: bool
    connection: int

    def image(self) -> Image:
        """Return the picture, upright, as ``(H, W, 3)`` uint8 BGR."""
        return to_image(self.picture)


class StreamClock:
    """Brings a stream's clock together with ours: when a picture belongs, and how far behind we are.

    What has to be waited for is on time. What can be read at once has been waiting somewhere, in a socket or in a
    decoder that is too slow, for as long as it is later than what was on time.

    Args:
        began: When the session began, as `time.monotonic` counts.
    """

    _WAITED, _RECENT = 0.008, 8
    _PULL = 0.01

    def __init__(self, began: float) -> None:
        self._began = began
        self._offset: float | None = None
        self._least = 0.0
        self._last = (-np.inf, -np.inf)
        self._waits: deque[bool] = deque(maxlen=self._RECENT)
        self.time = 0.0

    def restart(self) -> None:
        """Begin with a new connection, whose clock is another one."""
        self._offset = None
        self._waits.clear()

    def waited(self, seconds: float) -> None:
        """Note how long the next packet had to be waited for."""
        self._waits.append(seconds > self._WAITED)

    def behind(self, seconds: float, now: float) -> float:
        """Return how many seconds late a moment of the stream is, now.

        Args:
            seconds: The moment, by the stream's clock.
            now: As `time.monotonic` counts.
        """
        if self._offset is None or self._jumped(seconds, now):
            self._offset = max(now - self._began, self.time) - seconds
            self._least = 0.0
        self._last = seconds, now
        late = now - self._began - (seconds + self._offset)
        if sum(self._waits) > self._RECENT / 2:
            # No two clocks run alike: over days, the stream's would be off by seconds.
            self._offset += self._PULL * late
            late -= self._PULL * late
            self._least = late
        self._least = min(self._least, late)
        return late - self._least

    def catch_up(self) -> None:
        """Take it that nothing is waiting: the next moment is on time."""
        self._least = np.inf

    def stamp(self, seconds: float) -> float:
        """Return the time of a picture in seconds since the session began; it never falls."""
        self.time = max(self.time, seconds + (self._offset or 0.0))
        return self.time

    def due(self, seconds: float) -> float:
        """Return when a moment of the stream could be read at the earliest, as `time.monotonic` counts."""
        return self._began + seconds + (self._offset or 0.0) + self._least

    def early(self, seconds: float, now: float) -> float:
        """Return in how many seconds a moment of the stream comes, if it is played at its own rate."""
        return max(seconds + (self._offset or 0.0) - (now - self._began), 0.0)

    def _jumped(self, seconds: float, now: float) -> bool:
        before, then = self._last
        # B-frames and reordered packets step back by less.
        return not -1.0 <= seconds - before <= JUMP + now - then


class Stream:
    """A source that is read in a thread of its own; of what has come, `take` gives the newest picture alone.

    Nothing is queued: a picture that nobody took when the next one came is dropped and counted, and what was not even
    decoded in time is left out. A connection that breaks is made again, in ever longer intervals (see `BACKOFF`).

    Example:
        >>> from matplotlib.cbook import get_sample_data
        >>> with Stream(find_source(get_sample_data("grace_hopper.jpg", asfileobj=False))) as stream:
        ...     stream.take(10).image().shape
        (600, 512, 3)

    Attributes:
        received: Pictures that were decoded.
        dropped: Those of them that nobody took.
        skipped: Packets that were not decoded, as they came too late.
        reconnects: Connections after the first.
        fps: Frames a second, as the source says; 0: it does not say.
    """

    def __init__(self, source: Source, *, realtime: bool | None = None, max_reconnects: int | None = None) -> None:
        """Prepare to read.

        Args:
            source: What to read.
            realtime: Play it at its own rate; None: if it is a recording, which tells how long it lasts.
            max_reconnects: Attempts in a row after which it is given up; None: never.
        """
        self.received = self.dropped = self.skipped = self.reconnects = 0
        self.fps = 0.0
        self._source, self._realtime, self._most = source, realtime, max_reconnects
        self._finite = self._paced = False
        self._shots, self._reformatter = ShotDetector(lookahead=0), VideoReformatter()
        self._size = 0, 0
        self._newest: Arrival | None = None
        self._news = threading.Condition()
        self._stopping = threading.Event()
        self._connected = self._ended = False
        self._error: MediaError | None = None
        # A daemon: FFmpeg may be waiting for a camera when the program ends.
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def __enter__(self) -> Self:
        """Connect, and begin to read.

        Raises:
            MediaError: if the source cannot be opened.
        """
        self.began = time.monotonic()
        self._clock = StreamClock(self.began)
        self._container = self._open()
        self._connected = True
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop reading."""
        self._stopping.set()
        self._thread.join(timeout=1.0)

    @property
    def name(self) -> str:
        """What people call the source."""
        return self._source.name

    @property
    def connected(self) -> bool:
        """Whether pictures may come; not while the connection is made again, nor after the end."""
        return self._connected

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more, and everything was taken; `take` raises what has gone wrong."""
        with self._news:
            return self._ended and self._newest is None and self._error is None

    def take(self, timeout: float) -> Arrival | None:
        """Return the newest picture as soon as there is one that was not taken; None after ``timeout`` seconds.

        Raises:
            MediaError: if the connection broke and could not be made again.
        """
        with self._news:
            self._news.wait_for(lambda: self._newest is not None or self._ended, timeout)
            arrival, self._newest = self._newest, None
            if arrival is None and self._error is not None:
                raise self._error
            return arrival

    # -- the thread that reads ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._read_to_the_end()
                if self._finite:
                    return
                self._reconnect()
        except MediaError as error:
            self._error = error
        except Exception as error:  # whatever it is, those who wait have to hear of it
            logger.debug("where it came from:", exc_info=error)
            self._error = MediaError(f"{self.name}: reading failed ({_reason(error)})")
        finally:
            self._connected = False
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _read_to_the_end(self) -> None:
        reason = "it was closed"
        with self._container as container:
            try:
                self._read(container)
            except av.error.FFmpegError as error:
                reason = _reason(error)
        self._connected = False
        if not (self._finite or self._stopping.is_set()):
            logger.warning("%s: the connection broke (%s)", self.name, reason)

    def _reconnect(self) -> None:
        delay, longest = BACKOFF
        for attempt in count(1):
            if self._most is not None and attempt > self._most:
                raise MediaError(f"{self.name}: given up after {self._most} attempts to connect again")
            if self._stopping.wait(delay):
                return
            try:
                self._container = self._open()
            except MediaError as error:
                delay = min(2 * delay, longest)
                logger.warning("%s; attempt %d to connect again", error, attempt)
                continue
            self.reconnects += 1
            self._connected = True
            logger.warning("%s: connected again", self.name)
            return

    def _open(self) -> InputContainer:
        source = self._source
        try:
            container = av.open(
                source.address,
                format=source.format,
                options=dict(source.options),
                timeout=None if source.file else (CONNECT_SECONDS, READ_SECONDS),
                metadata_errors="replace",
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise MediaError(f"{source.name}: it cannot be opened ({_reason(error)})") from None
        if _video_stream(container) is None:
            container.close()
            raise MediaError(f"{source.name}: there is no video in it that can be decoded")
        self._finite = source.file or container.duration is not None
        self._paced = container.duration is not None if self._realtime is None else self._realtime
        return container

    def _read(self, container: InputContainer) -> None:
        stream = _video_stream(container)
        if stream is None:
            return
        # Frame threads would hold back a picture each.
        stream.thread_type = "SLICE"
        self.fps = float(stream.average_rate or stream.guessed_rate or 0)
        self._clock.restart()
        self._size = 0, 0
        for packet in self._in_time(container, stream):
            try:
                pictures = packet.decode()
            except av.error.FFmpegError:
                continue  # a damaged picture; what follows may be whole
            for picture in pictures:
                self._arrive(picture)

    def _in_time(self, container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
        """Yield the packets that are worth decoding; one that comes too soon is held back where that is wanted."""
        skipping, asked = _Skipping(), time.monotonic()
        for packet in container.demux(stream):
            now = time.monotonic()
            self._clock.waited(now - asked)
            behind = 0.0
            if packet.dts is not None and packet.time_base is not None:
                moment = float(packet.dts * packet.time_base)
                behind = self._clock.behind(moment, now)
                if self._paced:
                    self._stopping.wait(self._clock.early(moment, now))
            if self._stopping.is_set():
                return
            if skipping.skips(behind, now, entry=packet.is_keyframe):
                self.skipped += 1
            else:
                yield packet
            if skipping.in_vain(now):
                self._clock.catch_up()
            asked = time.monotonic()

    def _arrive(self, picture: VideoFrame) -> None:
        now = time.monotonic()
        seconds = self._clock.stamp(now - self.began if picture.time is None else picture.time)
        due = now if picture.time is None else min(self._clock.due(picture.time), now)
        arrival = Arrival(picture, seconds, due, self._starts_shot(picture), self.reconnects)
        with self._news:
            self.received += 1
            if self._newest is not None:
                self.dropped += 1
                arrival = replace(arrival, cut=arrival.cut or self._newest.cut)
            self._newest = arrival
            self._news.notify_all()

    def _starts_shot(self, picture: VideoFrame) -> bool:
        if (picture.width, picture.height) != self._size:
            self._size = picture.width, picture.height
            self._shots = ShotDetector(lookahead=0)
        scale = _SHOT_SIDE / max(self._size)
        width, height = (max(round(side * scale), 4) for side in self._size)
        small = self._reformatter.reformat(picture, width, height, "bgr24", interpolation="AREA")
        return bool(self._shots.update(np.asarray(small.to_ndarray(), np.uint8)))


class _Skipping:
    """Leaves out what is late, until a packet that needs none before it is on time again."""

    def __init__(self) -> None:
        self._since: float | None = None

    def skips(self, behind: float, now: float, *, entry: bool) -> bool:
        """Return whether a packet is left out.

        Args:
            behind: How many seconds late it is.
            now: As `time.monotonic` counts.
            entry: It needs none before it.
        """
        if self._since is None and behind > LATE:
            self._since = now
        elif self._since is not None and ((entry and behind < LATE / 2) or now - self._since > 2 * LONGEST_SKIP):
            self._since = None
        return self._since is not None

    def in_vain(self, now: float) -> bool:
        """Return whether so much was left out that nothing can be waiting."""
        return self._since is not None and now - self._since > LONGEST_SKIP


def _video_stream(container: InputContainer) -> VideoStream | None:
    pictured = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    return pictured[0] if pictured and pictured[0].codec_context is not None else None


def _reason(error: Exception) -> str:
    """Return what is wrong, without the address that FFmpeg adds: it may hold a password."""
    return str(getattr(error, "strerror", None) or type(error).__name__)
