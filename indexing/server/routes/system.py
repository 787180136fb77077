"""How the service is, and how much it holds."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from indexing import wire
from indexing.server.context import Context, Ctx
from indexing.server.metrics import CONTENT_TYPE, Metrics
from indexing.server.routes import router as subject

router = subject("system")
metrics_router = APIRouter()


@router.get("/health")
def get_health() -> wire.Health:
    """Tell that the service answers; no token is needed."""
    return wire.Health(version=version())


def version() -> str:
    """Return the version of facetrack."""
    from importlib.metadata import version as of

    return of("facetrack")


@router.get("/revision")
def get_revision(context: Ctx) -> wire.Revision:
    """Tell whether anything has changed since: a token that is compared with an earlier one."""
    return wire.Revision(revision=context.revision())


@router.get("/stats")
def get_stats(context: Ctx) -> wire.Stats:
    """Tell how much is in the database, and how many jobs are in which state."""
    return stats(context)


def stats(context: Context) -> wire.Stats:
    """Return how much is in the database."""
    from indexing.server import views

    videos = [video for video in context.videos().values() if not video.enrolled]
    records, people = context.records().values(), views.people(context)
    return wire.Stats(
        videos=len(videos),
        people=sum(person.best_track is not None for person in people),
        tracks=len(records),
        unknown_tracks=sum(record.identity_id is None for record in records),
        seconds=round(sum(video.end for video in videos), 3),
        screen_time=round(sum(person.screen_time for person in people), 3),
        corrections=sum(entry.holds for entry in context.store.log()),
        jobs=jobs_by_state(context),
    )


@metrics_router.get("/metrics", response_class=Response, include_in_schema=False)
def get_metrics(request: Request) -> Response:
    """Tell Prometheus what it asks for."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), media_type=CONTENT_TYPE)


def gauges(context: Context) -> dict[str, float]:
    """Return what the metrics tell of the database."""
    held = stats(context)
    return {"videos": held.videos, "people": held.people, "tracks": held.tracks, "video_seconds": held.seconds}


def jobs_by_state(context: Context) -> dict[str, int]:
    """Return the number of jobs in each state."""
    return {str(state): count for state, count in context.queue.counts().items()}
