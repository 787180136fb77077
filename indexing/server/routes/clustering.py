"""Who is who in all that is stored, said anew, and what a similarity means in this database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request, Response

from indexing import anew, wire
from indexing.calibrate import KEPT_AS
from indexing.server.context import Context, Ctx, answer
from indexing.server.errors import ProblemError
from indexing.server.routes import NOT_MODIFIED
from indexing.server.routes import router as subject

router = subject("clustering")


@router.post("/recluster")
def recluster(context: Ctx, body: wire.ReclusterBody | None = None) -> wire.Reclustering:
    """Say anew who is who in all that is stored, or tell what would change; corrections and ids are kept."""
    with _alone(context):
        return anew.recluster(context.store.path, body or wire.ReclusterBody())


@router.post("/calibrate")
def calibrate(context: Ctx) -> wire.CalibrationReport:
    """Adjust the probabilities of matches to what this database shows by itself, without labels."""
    with _alone(context):
        return anew.calibrate(context.store.path)


@router.get("/calibration", response_model=wire.CalibrationReport, responses=NOT_MODIFIED)
def get_calibration(request: Request, context: Ctx) -> Response:
    """Tell what the last calibration found."""

    def build() -> wire.CalibrationReport:
        kept = context.store.get_meta(KEPT_AS)
        if kept is None or kept["model_id"] != context.store.embedder_id:
            raise ProblemError(404, "this database was not calibrated for its embedder; POST /api/v1/calibrate does")
        return wire.CalibrationReport.model_validate(kept)

    return answer(request, context, build)


@contextmanager
def _alone(context: Context) -> Iterator[None]:
    """Do what takes all cores and all vectors once at a time."""
    if not context.clustering.acquire(blocking=False):
        raise ProblemError(409, "all that is stored is being clustered or calibrated already; ask again after that")
    try:
        yield
    finally:
        context.clustering.release()
