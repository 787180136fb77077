"""What all tests need: OpenCV imported the way that works on a bare server, before a test file imports it itself."""

import logging

import pytest

import tracker.headless  # noqa: F401

# isort: split
from service_fixtures import demo, demo_service, short_clip  # noqa: F401


@pytest.fixture(autouse=True)
def _loggers_of_a_library() -> None:
    """Undo what the command line did to the loggers of this process in another test: this one may want to read them."""
    for name in ("tracker", "indexing"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)
