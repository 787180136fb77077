"""What all tests need: OpenCV imported the way that works on a bare server, before a test file imports it itself."""

import gc
import logging
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

# Idle threads of OpenMP otherwise spin and take the cores from the other workers; it is read when numpy is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import tracker.headless  # noqa: F401

# isort: split
import depth  # noqa: F401
from service_fixtures import demo, demo_service, drawn, short_clip  # noqa: F401

# Images of containers set it, and each of a hundred processes would compile all of our modules again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

LONGEST = (
    "test_page_browser",
    "test_worker",
    "test_cli",
    "test_notebooks",
    "test_server",
    "test_client",
    "test_live",
    "test_hard_cases",
    "test_gallery",
    "test_server_schema",
    "test_readme_service",
    "test_decoding",
    "test_store",
)
"""Files that take longest: begun first, so that no worker is left alone with one at the end."""


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    # Three workers for two cores: much of the time goes into waiting for processes, pages and the disk.
    cores = yield
    return cores if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else cores + cores // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


def pytest_runtest_setup(item: pytest.Item) -> None:
    # What a file imports stays. Left to the garbage collector, it would be gone through thousands of times for nothing.
    if item.path != _last.get("file"):
        _last["file"] = item.path
        gc.collect()
        gc.freeze()


_last: dict[str, Path] = {}
"""The file of the test before."""


@pytest.fixture(autouse=True)
def _loggers_of_a_library() -> None:
    """Undo what the command line did to the loggers of this process in another test: this one may want to read them."""
    for name in ("tracker", "indexing"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)
