"""A video to its face tracks: boxes in every frame, embeddings of the best and most different views.

Example:
    >>> from tracker import track_faces
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.errors import FacetrackError, MediaError, ModelError
    from tracker.pipeline import track_faces
    from tracker.types import Detections, Frame, Keyframes, Segment, Source, Timeline, Track, TrackingResult, VideoInfo

# Imported at first use: `import tracker`, and with it the help of the command line, stays light.
_HOMES = {
    "Detections": "tracker.types",
    "FacetrackError": "tracker.errors",
    "Frame": "tracker.types",
    "Keyframes": "tracker.types",
    "MediaError": "tracker.errors",
    "ModelError": "tracker.errors",
    "Segment": "tracker.types",
    "Source": "tracker.types",
    "Timeline": "tracker.types",
    "Track": "tracker.types",
    "TrackingResult": "tracker.types",
    "VideoInfo": "tracker.types",
    "track_faces": "tracker.pipeline",
}

__all__ = [
    "Detections",
    "FacetrackError",
    "Frame",
    "Keyframes",
    "MediaError",
    "ModelError",
    "Segment",
    "Source",
    "Timeline",
    "Track",
    "TrackingResult",
    "VideoInfo",
    "track_faces",
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
