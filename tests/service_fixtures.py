"""A service that really runs, on a port of its own, and a small database of the demo clip with the real models."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from indexing.demo import Truth, make_demo_clip
from indexing.pipeline import process
from indexing.server import create_app
from indexing.server.run import config
from indexing.store import Store

SHORT = 2.4
"""Seconds of the clip that suffice where faces are to be found at all."""

START = 20.0
"""Seconds in which a service has to begin to answer."""


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the whole test run, filled by the first worker that asks for it; the others wait."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with folder.with_suffix(".lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not lock.seek(0, os.SEEK_END):
            folder.mkdir()
            make(folder)
            lock.write("made")
    return folder


@dataclass(frozen=True, slots=True)
class Drawn:
    """The demo clip, its truth, and how many frames were told while it was made."""

    clip: Path
    truth: Truth
    told: int


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Two people in a clip of twelve seconds, with expressions."""

    def make(folder: Path) -> None:
        told: list[int] = []
        truth = make_demo_clip(folder / "demo.mp4", progress=told.append)
        assert list(folder.iterdir()) == [folder / "demo.mp4"]
        (folder / "truth.pickle").write_bytes(pickle.dumps((truth, sum(told))))

    folder = once(tmp_path_factory, "drawn", make)
    return Drawn(folder / "demo.mp4", *pickle.loads((folder / "truth.pickle").read_bytes()))


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo clip, and a database of it; both are shared, so change a copy."""

    clip: Path
    database: Path

    def copy(self, folder: Path) -> Path:
        """Return the path of a copy of the database."""
        return Path(shutil.copy(self.database, folder / "demo.db"))


@pytest.fixture(scope="session")
def demo(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The clip, analysed."""

    def make(folder: Path) -> None:
        with Store(folder / "demo.db") as store:
            process([drawn.clip], store, preset="fast", emotion_fps=2.0)

    return Demo(drawn.clip, once(tmp_path_factory, "analysed", make) / "demo.db")


@pytest.fixture(scope="session")
def short_clip(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first seconds of the clip, in which two people come into the picture."""
    path = tmp_path_factory.mktemp("short") / "short.mp4"
    with av.open(str(drawn.clip)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None and packet.dts * stream.time_base < SHORT:
                packet.stream = copied
                target.mux(packet)
    return path


class _Prompt(uvicorn.Server):
    """The server, which looks more often than ten times a second whether it has to end."""

    async def main_loop(self) -> None:
        tick = 0
        while not await self.on_tick(tick):
            tick += 1
            await asyncio.sleep(0.01)


@contextmanager
def live(app: FastAPI) -> Iterator[str]:
    """Run an application in a thread; gives its address, such as ``http://127.0.0.1:41234``."""
    bound = socket.create_server(("127.0.0.1", 0))
    server = _Prompt(config(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        deadline = time.monotonic() + START
        while not server.started:
            assert thread.is_alive(), "the service ended before it began"
            assert time.monotonic() < deadline, "the service did not begin"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def asking(address: str, *, timeout: float = 5.0) -> httpx.Client:
    """Return a client of a service; it loads no certificates, which take longer than most answers."""
    return httpx.Client(base_url=address, timeout=timeout, verify=False)


@pytest.fixture(scope="session")
def demo_service(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a service on a copy of the database, without pages; tests that change something make their own."""
    database = demo.copy(tmp_path_factory.mktemp("served"))
    app = create_app(database, roots=[demo.clip.parent], page=False)
    with live(app) as address, asking(f"{address}/api/v1", timeout=60) as client:
        yield client


@contextmanager
def served(*arguments: str, token: str | None = None) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run ``facetrack serve`` at a free port; gives its address and the process, which is ended like by Ctrl-C."""
    command = [sys.executable, "-c", "from indexing.cli import main; main()", "serve", "--port", "0", *arguments]
    environment = {**os.environ, **({"FACETRACK_TOKEN": token} if token else {})}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.search(r"http://\S+:\d+", line)
        assert found, line + (process.stderr.read() if process.stderr else "")
        yield found[0], process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
