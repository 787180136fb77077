"""Endless sources: the newest picture alone is kept, clocks are brought together, connections are made again."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streaming import FPS, RtspServer, Server, Sink, play, serving, two_people, write_clip

from tracker import stream as streams
from tracker.errors import MediaError
from tracker.stream import Arrival, Stream, StreamClock, find_source

ENOUGH = 60.0
"""Seconds within which a busy machine does anything that is asked of it here."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("stream") / "two.ts", two_people())


def taken(stream: Stream) -> Iterator[Arrival]:
    """Yield what comes, until the end."""
    deadline = time.monotonic() + ENOUGH
    while not stream.ended and time.monotonic() < deadline:
        arrival = stream.take(0.5)
        if arrival is not None:
            yield arrival


# ---- which source is meant


@pytest.mark.parametrize(
    ("text", "name", "address", "file"),
    [
        ("rtsp://ada:pa@ss@10.0.0.7:554/door?user=a&pwd=b", "rtsp://10.0.0.7:554/door", None, False),
        ("https://h.example/live/a.m3u8?token=secret#t", "https://h.example/live/a.m3u8", None, False),
        ("tcp://127.0.0.1:9", "tcp://127.0.0.1:9", None, False),
        ("2", "/dev/video2", "/dev/video2", False),
        ("/dev/video0", "/dev/video0", "/dev/video0", False),
        ("-", "stdin", "pipe:0", True),
        (__file__, __file__, f"file:{__file__}", True),
    ],
)
def test_a_source_is_named_without_secrets(text: str, name: str, address: str | None, file: bool) -> None:
    source = find_source(text)
    assert (source.name, source.address, source.file) == (name, address or text, file)
    assert "secret" not in repr(source)
    assert "pa@ss" not in repr(source)


@pytest.mark.parametrize("text", ["gopher://old.example/1", "no-such-file.mp4", ""])
def test_what_is_no_source_is_refused(text: str) -> None:
    with pytest.raises(MediaError, match="rtsp"):
        find_source(text)


def test_options_come_before_the_usual_ones() -> None:
    assert find_source("rtsp://a/b").options["rtsp_transport"] == "tcp"
    assert find_source("rtsp://a/b", options={"rtsp_transport": "udp"}).options["rtsp_transport"] == "udp"


@pytest.mark.parametrize("text", ["rtsp://ada:secret@127.0.0.1:1/door", "tcp://ada:secret@127.0.0.1:1", "/dev/video99"])
def test_a_source_that_does_not_answer_is_told_without_secrets(text: str) -> None:
    with pytest.raises(MediaError, match="cannot be opened") as caught, Stream(find_source(text)):
        pass
    assert "secret" not in str(caught.value)


def test_a_file_without_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    with pytest.raises(MediaError, match="no video"), Stream(find_source(str(path))):
        pass


# ---- the newest picture


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave nothing out, however busy the machine is."""
    monkeypatch.setattr(streams, "LATE", float("inf"))


@pytest.mark.usefixtures("patient")
def test_a_recording_is_played_at_its_own_rate_to_its_end(clip: Path) -> None:
    began = time.monotonic()
    with Stream(find_source(str(clip))) as stream:
        times = [arrival.time for arrival in taken(stream)]
    assert time.monotonic() - began > 39 / FPS
    assert stream.received == len(times) + stream.dropped == 40
    assert times == sorted(times)
    assert (stream.fps, stream.skipped, stream.reconnects) == (FPS, 0, 0)


def test_one_who_is_slow_gets_the_newest_picture(clip: Path) -> None:
    with serving(Server(clip)) as server, Stream(find_source(server.address)) as stream:
        first, asleep = stream.take(ENOUGH), time.monotonic()
        time.sleep(1.0)
        second, third = stream.take(ENOUGH), stream.take(ENOUGH)
        assert first is not None
        assert second is not None
        assert third is not None
        assert stream.dropped >= 5
        # A queue would give the next picture, 0.04 s later, and then the one after it.
        assert second.time - first.time > 0.5
        assert third.time > second.time
        assert third.due - asleep > 0.5


@pytest.mark.usefixtures("patient")
def test_cuts_among_dropped_pictures_are_told(tmp_path: Path) -> None:
    pictures = two_people(30)
    cut = write_clip(tmp_path / "cut.mp4", [*pictures[:15], *[picture[::-1].copy() for picture in pictures[15:]]])
    with Stream(find_source(str(cut))) as stream:
        first = stream.take(ENOUGH)
        time.sleep(1.0)
        second, third = stream.take(ENOUGH), stream.take(0.3)
    assert first is not None
    assert second is not None
    assert (first.cut, second.cut) == (True, True)
    assert third is None or not third.cut


class SlowStream(Stream):
    """A stream that takes longer to decode a picture than to show it."""

    def _arrive(self, picture: av.VideoFrame) -> None:
        time.sleep(0.1)
        super()._arrive(picture)


def test_what_cannot_be_decoded_in_time_is_left_out(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LATE", 0.4)
    ages = []
    with serving(Server(clip)) as server, SlowStream(find_source(server.address)) as stream:
        deadline = time.monotonic() + ENOUGH
        while stream.skipped < 30 and time.monotonic() < deadline:
            arrival = stream.take(1.0)
            if arrival is not None:
                ages.append(time.monotonic() - arrival.due)
    # Ten times a second of what comes 25 times: without leaving out, they would be 0.6 s later with every second.
    assert stream.skipped >= 30
    assert max(ages) < 1.5


def test_a_playlist_cannot_open_files(tmp_path: Path, clip: Path) -> None:
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{clip}\n#EXT-X-ENDLIST\n".encode()
    with serving(_Once(clip, playlist)) as server:
        address = server.address.replace("tcp", "http") + "/live.m3u8"
        with pytest.raises(MediaError, match="cannot be opened"), Stream(find_source(address)):
            pass


class _Once(Server):
    """Answers one HTTP request."""

    def __init__(self, clip: Path, body: bytes) -> None:
        self._body = body
        super().__init__(clip)

    def _answer(self, connection: socket.socket) -> None:
        connection.recv(4096)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/x-mpegurl\r\nContent-Length: {len(self._body)}\r\n\r\n"
        connection.sendall(head.encode() + self._body)


def test_standard_input_is_read(clip: Path) -> None:
    reading, writing = os.pipe()
    stop = threading.Event()

    def feed() -> None:
        with open(writing, "wb", buffering=0) as pipe:  # noqa: PTH123 - a descriptor
            play(clip, Sink(pipe.write), "mpegts", stop)

    before = os.dup(0)
    os.dup2(reading, 0)
    try:
        threading.Thread(target=feed, daemon=True).start()
        with Stream(find_source("-")) as stream:
            times = [arrival.time for arrival, _ in zip(taken(stream), range(10), strict=False)]
            stop.set()
            assert len(times) == 10
            assert not list(taken(stream))[50:]
            assert stream.ended
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(reading)


# ---- the connection


@pytest.mark.parametrize("kind", [Server, RtspServer])
def test_a_broken_connection_is_made_again(
    clip: Path, kind: type[Server], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(streams, "BACKOFF", (0.05, 0.2))
    seen: list[Arrival] = []

    def watch(stream: Stream) -> None:
        for arrival in taken(stream):
            seen.append(arrival)
            if sum(one.connection == arrival.connection for one in seen) == 5:
                server.close() if arrival.connection else server.drop()

    with caplog.at_level(logging.WARNING, "tracker"), serving(kind(clip)) as server:
        source = find_source(server.address.replace("://", "://ada:secret@"))
        with Stream(source, max_reconnects=2) as stream, pytest.raises(MediaError, match="given up after 2"):
            watch(stream)
    assert {arrival.connection for arrival in seen} == {0, 1}
    assert [arrival.time for arrival in seen] == sorted(arrival.time for arrival in seen)
    assert next(arrival for arrival in seen if arrival.connection).cut
    assert not stream.connected
    assert "the connection broke" in caplog.text
    assert "connected again" in caplog.text
    assert "secret" not in caplog.text


# ---- clocks


def test_what_is_waited_for_is_on_time() -> None:
    clock = StreamClock(100.0)
    for number in range(50):
        clock.waited(0.03)
        # Half a second more on the way from here on, as when a route changes: that is nobody's backlog.
        now = 100.0 + number / 25 + (0.5 if number > 20 else 0.0)
        assert clock.behind(number / 25, now) < 0.01


@pytest.mark.parametrize("rate", [0.999, 1.0, 1.001])
def test_a_clock_that_runs_fast_or_slow_is_kept_to_ours(rate: float) -> None:
    clock = StreamClock(100.0)
    for number in range(20_000):
        clock.waited(0.03)
        clock.behind(number / 25, 100.0 + rate * number / 25)
        clock.stamp(number / 25)
    assert clock.time == pytest.approx(rate * number / 25, abs=0.05)


def test_what_could_have_been_read_before_is_late() -> None:
    clock = StreamClock(100.0)
    late = []
    for number in range(50):
        clock.waited(0.0)
        late.append(clock.behind(number / 25, 100.0 + number / 10))
    assert late[0] == 0
    assert late[-1] == pytest.approx(49 / 10 - 49 / 25)
    clock.catch_up()
    assert clock.behind(2.0, 105.0) == 0


def test_a_clock_that_starts_anew_is_followed() -> None:
    clock = StreamClock(100.0)
    for number in range(10):
        clock.behind(900.0 + number / 25, 100.0 + number / 25)
        clock.stamp(900.0 + number / 25)
    assert clock.time == pytest.approx(9 / 25)
    assert clock.behind(0.0, 100.4) == 0
    assert clock.stamp(0.0) == pytest.approx(0.4)
    assert clock.behind(70_000.0, 100.44) == 0
    assert clock.stamp(70_000.0) == pytest.approx(0.44)


def test_a_stall_is_no_new_clock() -> None:
    clock = StreamClock(0.0)
    clock.behind(0.0, 0.0)
    assert clock.behind(20.0, 20.0) == 0
    assert clock.stamp(20.0) == 20.0


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 10), st.floats(0, 1)), max_size=30))
def test_times_never_fall_whatever_the_source_says(steps: list[tuple[float, float, float]]) -> None:
    clock, now, times = StreamClock(5.0), 5.0, [0.0]
    for seconds, passed, waited in steps:
        now += passed
        clock.waited(waited)
        assert clock.behind(seconds, now) >= 0
        times.append(clock.stamp(seconds))
    assert times == sorted(times)
