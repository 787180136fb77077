"""Who is seen when, over all videos: tracks to people, in one SQLite file.

Example:
    >>> from indexing import Store, identify, process
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexing.live import follow
    from indexing.pipeline import Outcome, Progress, identify, process, reembed
    from indexing.store import Store
    from indexing.types import Appearance, Identity, Match, Person, TrackRecord, VideoRecord

# Imported at first use: `import indexing`, and with it the help of the command line, stays light.
_HOMES = {
    "Appearance": "indexing.types",
    "Identity": "indexing.types",
    "Match": "indexing.types",
    "Outcome": "indexing.pipeline",
    "Person": "indexing.types",
    "Progress": "indexing.pipeline",
    "Store": "indexing.store",
    "TrackRecord": "indexing.types",
    "VideoRecord": "indexing.types",
    "follow": "indexing.live",
    "identify": "indexing.pipeline",
    "process": "indexing.pipeline",
    "reembed": "indexing.pipeline",
}

__all__ = [
    "Appearance",
    "Identity",
    "Match",
    "Outcome",
    "Person",
    "Progress",
    "Store",
    "TrackRecord",
    "VideoRecord",
    "follow",
    "identify",
    "process",
    "reembed",
]


def __getattr__(name: str) -> object:
    """Import a public name at its first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
