"""How the service is, and how much it holds."""

from __future__ import annotations

from fastapi import Request, Response

from indexing import wire
from indexing.server.context import Context, Ctx, answer
from indexing.server.routes import NOT_MODIFIED
from indexing.server.routes import router as subject

router = subject("system")


@router.get("/health")
def get_health() -> wire.Health:
    """Tell that the service answers; no token is needed."""
    return wire.Health(version=version())


def version() -> str:
    """Return the version of facetrack."""
    from importlib.metadata import version as of

    return of("facetrack")


@router.get("/stats", response_model=wire.Stats, responses=NOT_MODIFIED)
def get_stats(request: Request, context: Ctx) -> Response:
    """Tell how much is in the database."""
    return answer(request, context, lambda: stats(context))


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


def jobs_by_state(context: Context) -> dict[str, int]:
    """Return the number of jobs in each state."""
    return {}
