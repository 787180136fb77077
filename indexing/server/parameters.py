"""Parameters that several routes share."""

from __future__ import annotations

from math import inf
from typing import Annotated

from fastapi import Path, Query

from indexing.wire import LARGEST_ID

PersonId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="Id of the person.")]
VideoId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="Id of the video.")]
TrackKey = Annotated[int, Path(ge=1, le=LARGEST_ID, description="Key of the track.")]
JobId = Annotated[int, Path(ge=1, le=LARGEST_ID, description="Id of the job.")]

OfVideo = Annotated[int | None, Query(ge=1, le=LARGEST_ID, description="In this video only.")]
OfPerson = Annotated[int | None, Query(ge=1, le=LARGEST_ID, description="Of this person only.")]
Start = Annotated[float, Query(ge=0, allow_inf_nan=False, description="Seconds from which on.")]
End = Annotated[float | None, Query(gt=0, allow_inf_nan=False, description="Seconds before which.")]


def until(end: float | None) -> float:
    """Return where a time ends that may have no end."""
    return inf if end is None else end
