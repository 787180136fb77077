"""Who is who in all that is stored, said anew, and what a similarity means in this database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request, Response

from indexing import calibrate as calibration
from indexing import pipeline, wire
from indexing.carry import Changes
from indexing.server.context import Context, Ctx, answer
from indexing.server.errors import ProblemError
from indexing.server.routes import NOT_MODIFIED
from indexing.server.routes import router as subject

router = subject("clustering")


@router.post("/recluster")
def recluster(context: Ctx, body: wire.ReclusterBody | None = None) -> wire.Reclustering:
    """Say anew who is who in all that is stored, or tell what would change; corrections and ids are kept."""
    wanted = body or wire.ReclusterBody()
    with _alone(context):
        found = pipeline.recluster(context.store, clusterer=wanted.clusterer, far=wanted.far, dry_run=wanted.dry_run)
    return _shown(found, dry_run=wanted.dry_run)


@router.post("/calibrate")
def calibrate(context: Ctx) -> wire.CalibrationReport:
    """Adjust the probabilities of matches to what this database shows by itself, without labels."""
    with _alone(context):
        return wire.CalibrationReport.model_validate(calibration.calibrate(context.store).to_dict())


@router.get("/calibration", response_model=wire.CalibrationReport, responses=NOT_MODIFIED)
def get_calibration(request: Request, context: Ctx) -> Response:
    """Tell what the last calibration found."""

    def build() -> wire.CalibrationReport:
        kept = context.store.get_meta(calibration.KEPT_AS)
        if kept is None or kept["model_id"] != context.store.embedder_id:
            raise ProblemError(404, "this database was not calibrated for its embedder; POST /api/v1/calibrate does")
        return wire.CalibrationReport.model_validate(kept)

    return answer(request, context, build)


@contextmanager
def _alone(context: Context) -> Iterator[None]:
    """Do what takes all vectors once at a time: another one beside it would take as long again."""
    if not context.clustering.acquire(blocking=False):
        raise ProblemError(409, "all that is stored is being clustered or calibrated already; ask again after that")
    try:
        yield
    finally:
        context.clustering.release()


def _shown(found: Changes, *, dry_run: bool) -> wire.Reclustering:
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
