"""The service as a process: how it listens."""

import socket

import pytest

from indexing.server.run import _listening
from tracker.errors import FacetrackError


def test_answers_do_not_wait_for_an_acknowledgement() -> None:
    with _listening("127.0.0.1", 0) as bound, socket.create_connection(bound.getsockname()):
        connection, _ = bound.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_told() -> None:
    with _listening("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        with (
            pytest.raises(FacetrackError, match=f"127.0.0.1:{port} cannot be listened at"),
            _listening("127.0.0.1", port),
        ):
            pass
