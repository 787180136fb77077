"""What looks at every vector of the database, in a process of its own that lives as long as that takes.

The libraries that cluster hold Python's lock for seconds on end: in the service's process nobody would be answered.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from indexing import wire
from indexing.processes import REFUSED, command, environment
from tracker.errors import FacetrackError

Result = TypeVar("Result", bound=BaseModel)

_MODULE = "indexing.anew"
"""This one, also where it is run as a program."""

_BUSY = 75
"""Exit code of one that may do better later: the database is locked for long, or the disk is full."""

_LOOK = 0.5
"""Seconds between two looks whether who asked still lives."""

logger = logging.getLogger(_MODULE)


class BusyError(FacetrackError):
    """It could not be done now, and may be later."""


def recluster(db: Path, wanted: wire.ReclusterBody) -> wire.Reclustering:
    """Do what `indexing.pipeline.recluster` does.

    Raises:
        FacetrackError: if it is refused.
        BusyError: if the database is busy, or the process dies.
    """
    return _apart("recluster", db, wire.Reclustering, wanted.model_dump())


def calibrate(db: Path) -> wire.CalibrationReport:
    """Do what `indexing.calibrate.calibrate` does.

    Raises:
        FacetrackError: if it is refused.
        BusyError: if the database is busy, or the process dies.
    """
    return _apart("calibrate", db, wire.CalibrationReport, {})


def _apart(
    what: Literal["recluster", "calibrate"], db: Path, result: type[Result], options: Mapping[str, Any]
) -> Result:
    order = {"db": os.fspath(db.absolute()), "parent": os.getpid(), "options": options}
    done = subprocess.run(
        command(_MODULE, what, order=order),
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        return result.model_validate_json(done.stdout)
    if done.returncode in (REFUSED, _BUSY):
        raise {REFUSED: FacetrackError, _BUSY: BusyError}[done.returncode](done.stdout.decode())
    # What it printed may hold names, which the log does not.
    logger.error("the process to %s ended with %d", what, done.returncode)
    raise BusyError(f"the process to {what} ended with {done.returncode}; there may be too little memory: try again")


# ---- in the other process


def _recluster(db: Path, *, clusterer: str, far: float | None, dry_run: bool) -> wire.Reclustering:
    from indexing import pipeline
    from indexing.store import Store

    with Store(db, must_exist=True) as store:
        found = pipeline.recluster(store, clusterer=clusterer, far=far, dry_run=dry_run)
    return wire.Reclustering(
        dry_run=dry_run,
        moved=found.moved,
        split=[wire.Division(person=label, into=list(parts)) for label, parts in found.split],
        merged=[wire.Joining(people=list(parts), into=label) for parts, label in found.merged],
        new=list(found.new),
        gone=list(found.gone),
        transfers=[
            wire.Transfer(before=one.before, after=one.after, tracks=list(one.track_keys)) for one in found.transfers
        ],
    )


def _calibrate(db: Path) -> wire.CalibrationReport:
    from indexing import calibrate
    from indexing.store import Store

    with Store(db, must_exist=True) as store:
        return wire.CalibrationReport.model_validate(calibrate.calibrate(store).to_dict())


_WORK: Mapping[str, Callable[..., BaseModel]] = {"recluster": _recluster, "calibrate": _calibrate}


def _main(what: str, db: str, parent: int, options: Mapping[str, Any]) -> int:
    from sqlalchemy.exc import DatabaseError

    # Whoever asks for a page is answered first.
    os.nice(10)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    try:
        answer, code = _WORK[what](Path(db), **options).model_dump_json(), 0
    except FacetrackError as error:
        answer, code = str(error), _BUSY if isinstance(error.__cause__, DatabaseError) else REFUSED
    sys.stdout.buffer.write(answer.encode("utf-8", "replace"))
    return code


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], **json.loads(sys.argv[2])))
