"""The service as a process: a socket, the application, and the workers beside it, ended together."""

from __future__ import annotations

import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from indexing.server.app import create_app
from indexing.server.context import Limits
from indexing.server.security import LOOPBACK
from indexing.worker import Workers
from tracker.errors import FacetrackError

_GRACE = 5
"""Seconds in which open requests may come to an end."""


def serve(
    store_path: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    roots: Sequence[Path] = (),
    token: str | None = None,
    uploads: Path | None = None,
    workers: int = 1,
    models_dir: Path | None = None,
    limits: Limits | None = None,
    ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Serve a database until SIGINT or SIGTERM; jobs that run then are given back to the queue.

    Args:
        store_path: See `create_app`.
        host: Address to listen at; any but the loopback needs a token.
        port: 0: any that is free.
        roots: See `create_app`.
        token: The same.
        uploads: The same.
        workers: Processes that work off the queue.
        models_dir: See `create_app`.
        limits: The same.
        ready: Told the address when the service can be asked.

    Raises:
        FacetrackError: if the address needs a token and there is none or cannot be listened at, a root is no folder,
            or the database cannot be opened.
    """
    _check(host, token, roots)
    hosts = {*LOOPBACK, _in_url(host)} if is_loopback(host) else None
    with _listening(host, port) as bound:
        app = create_app(
            store_path, roots=roots, token=token, uploads=uploads, models_dir=models_dir, hosts=hosts, limits=limits
        )
        with Workers(store_path, count=workers, models_dir=models_dir), _terminable():
            ready(f"http://{_in_url(host)}:{bound.getsockname()[1]}")
            uvicorn.Server(config(app)).run(sockets=[bound])


def config(app: FastAPI) -> uvicorn.Config:
    """Return how the service is run: it logs requests itself, and does not say what it is made of."""
    return uvicorn.Config(app, access_log=False, log_config=None, server_header=False, timeout_graceful_shutdown=_GRACE)


def _check(host: str, token: str | None, roots: Sequence[Path]) -> None:
    if token is None and not is_loopback(host):
        raise FacetrackError(
            f"{host} can be reached from other machines, and faces are nobody else's business: give --token-file, or "
            "listen at 127.0.0.1"
        )
    for root in roots:
        if not root.is_dir():
            raise FacetrackError(f"{root} is no folder; name one that holds videos")


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine alone.

    Example:
        >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org")]
        [True, True, True, False, False]
    """
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        bound = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise FacetrackError(f"{host}:{port} cannot be listened at: {error.strerror or error}") from error
    with bound:
        # Connections inherit it; asyncio sets it on sockets that name their protocol alone. Without it an answer, which
        # is written in two pieces, waits 40 ms for the other side to acknowledge the first one.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield bound


@contextmanager
def _terminable() -> Iterator[None]:
    """End the block at SIGINT and SIGTERM without a trace, so that what is around it is left in order."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        # Uvicorn ends by itself, and then hands the signal on.
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
