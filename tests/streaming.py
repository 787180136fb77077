"""Sources that play a clip over and over at its own rate: over TCP, over RTSP, into a pipe."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import skimage.data
from matplotlib.cbook import get_sample_data

from tracker.types import Image
from tracker.video import read_image

HOPPER = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))
FPS = 25
LONGEST = 120.0
"""Seconds after which a source ends by itself, whatever happens."""


def two_people(count: int = 40) -> list[Image]:
    """Return pictures of Eileen Collins and Grace Hopper, side by side, who drift to and fro."""
    scene = np.zeros((400, 1100, 3), np.uint8)
    scene[:, 20:420] = skimage.data.astronaut()[:400, 60:460, ::-1]
    scene[:, 560:1060] = read_image(HOPPER)[:400, :500]
    shifts = np.abs(np.arange(count) - count // 2)
    return [np.ascontiguousarray(scene[::2, 2 * k : 2 * k + 1000 : 2]) for k in shifts]


def write_clip(path: Path, pictures: list[Image], *, fps: int = FPS) -> Path:
    """Write pictures as H.264, a second of which begins anew every ten frames."""
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "tune": "zerolatency", "g": "10", "crf": "18"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, fps)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


class Sink:
    """A file for FFmpeg to write to that hands the bytes on, as long as somebody takes them."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send
        self.gone = False

    def write(self, data: bytes) -> int:
        try:
            self._send(bytes(data))
        except (OSError, ValueError):
            self.gone = True
        return len(data)


def play(clip: Path, sink: Sink, format: str, stop: threading.Event, **opening: Any) -> None:
    """Write a clip to a sink at its own rate, over and over with times that go on, until ``stop`` is set."""
    began, offset = time.monotonic(), 0.0
    with av.open(str(clip)) as source, av.open(sink, "w", format=format, **opening) as output:  # type: ignore[call-overload]
        video = source.streams.video[0]
        stream = output.add_stream_from_template(video)
        length = float(video.duration * video.time_base)
        while time.monotonic() - began < LONGEST:
            for packet in source.demux(video):
                if packet.dts is None:
                    continue
                moment = offset + float(packet.dts * packet.time_base)
                if stop.wait(max(began + moment - time.monotonic(), 0.0)) or sink.gone:
                    return
                shift = round(offset / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                output.mux(packet)
            source.seek(0)
            offset += length


class Server:
    """A camera on the loopback device; each connection sees the clip from the start."""

    scheme = "tcp"

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"{self.scheme}://127.0.0.1:{self._socket.getsockname()[1]}"
        self._playing = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def drop(self) -> None:
        """Break the connection; the next one is served."""
        self._playing.set()

    def close(self) -> None:
        """Break the connection and serve no more."""
        if self._socket.fileno() != -1:
            # Closing alone does not wake who waits for a connection.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._playing.set()

    def _serve(self) -> None:
        while self._socket.fileno() != -1:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._playing = threading.Event()
            with connection:
                try:
                    self._answer(connection)
                except OSError:
                    continue

    def _answer(self, connection: socket.socket) -> None:
        play(self._clip, Sink(connection.sendall), "mpegts", self._playing)


class RtspServer(Server):
    """The same by RTSP, as RFC 2326 has it, with the RTP packets inside the one connection."""

    scheme = "rtsp"

    def _answer(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as requests:
            while True:
                method, _, number = self._request(requests)
                headers = {
                    "OPTIONS": "Public: DESCRIBE, SETUP, PLAY, TEARDOWN",
                    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1",
                    "PLAY": "Session: 1",
                }.get(method, "")
                body = self._description() if method == "DESCRIBE" else ""
                if body:
                    headers = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}"
                lines = ["RTSP/1.0 200 OK", f"CSeq: {number}", *filter(None, [headers])]
                connection.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
                if method == "PLAY":
                    send = Sink(lambda packet: connection.sendall(_interleaved(packet)))
                    play(self._clip, send, "rtp", self._playing, buffer_size=1400)
                if method in ("PLAY", "TEARDOWN"):
                    return

    def _request(self, requests: Any) -> tuple[str, str, str]:
        lines = []
        while line := requests.readline().decode().strip():
            lines.append(line)
        if not lines:
            raise ConnectionError("the client has gone")
        method, address, _ = lines[0].split()
        number = next(line.partition(":")[2].strip() for line in lines if line.lower().startswith("cseq"))
        return method, address, number

    def _description(self) -> str:
        with av.open(str(self._clip)) as container:
            units = container.streams.video[0].codec_context.extradata.split(b"\x00\x00\x00\x01")
        sets = ",".join(base64.b64encode(unit.strip(b"\x00")).decode() for unit in units if unit)
        lines = ("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=door", "c=IN IP4 127.0.0.1", "t=0 0", "m=video 0 RTP/AVP 96")
        coding = ("a=rtpmap:96 H264/90000", f"a=fmtp:96 packetization-mode=1; sprop-parameter-sets={sets}")
        return "\r\n".join((*lines, *coding, "a=control:track1", ""))


def _interleaved(packet: bytes) -> bytes:
    control = 72 <= packet[1] & 0x7F <= 76
    return b"$" + bytes([control]) + len(packet).to_bytes(2, "big") + packet


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Give a server, and close it in the end."""
    try:
        yield server
    finally:
        server.close()
