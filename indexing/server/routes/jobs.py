"""Jobs: videos that are to be added, and how far that is."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import anyio
from fastapi import Header, Query, Request, Response
from pydantic import ValidationError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from indexing import wire
from indexing.jobs import Job
from indexing.server import received
from indexing.server.context import Context, Ctx
from indexing.server.errors import ProblemError
from indexing.server.paging import PAGE, Count, Cursor, decode, encode
from indexing.server.parameters import JobId
from indexing.server.routes import router as subject
from indexing.server.uploads import INCOMING, remove
from tracker.errors import FacetrackError

router = subject("jobs")

POLL = 0.5
"""Seconds between two looks at the jobs that somebody watches."""

KNOWN: dict[int | str, dict[str, Any]] = {200: {"description": "The same was submitted before.", "model": wire.Job}}

_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "A video or an image."},
                        "settings": {"type": "string", "description": "Settings as a JSON object."},
                    },
                }
            }
        },
    }
}

_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Events, as they happen."}
}


def shown(job: Job) -> wire.Job:
    """Return a job as it is shown."""
    return wire.Job(
        id=job.job_id,
        name=job.path.name,
        path=str(job.path),
        state=job.state,
        settings=job.settings,
        content_hash=job.content_hash,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        frames_done=job.frames_done,
        frames_total=job.frames_total,
        message=job.message,
        video=job.video_id,
        attempts=job.attempts,
        revision=job.revision,
    )


# ---- submitting


@router.post("/jobs", status_code=202, responses=KNOWN)
def submit(context: Ctx, body: wire.JobBody, response: Response) -> wire.Job:
    """Add a video that lies below an allowed root."""
    return _submit(context, allowed(context, body.path), body.settings, response)


def allowed(context: Context, text: str) -> Path:
    """Return the file that a client names, if it may.

    Raises:
        ProblemError: 403, if it lies outside the roots, whether it is there or not; 422, if it is no file.
    """
    try:
        path = Path(text).resolve()
        there = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise ProblemError(422, f"{text!r} is no path") from error
    if not any(path.is_relative_to(root) for root in context.roots):
        roots = ", ".join(map(str, context.roots)) or "none: start the service with --root, or upload the file"
        raise ProblemError(403, f"{text!r} does not lie below an allowed root ({roots})")
    if not there:
        raise ProblemError(422, f"{text!r} is no file")
    return path


def _submit(context: Context, path: Path, settings: wire.Settings, response: Response) -> wire.Job:
    before = context.queue.revision
    job = context.queue.submit(path, settings=_keywords(settings))
    if job.revision <= before:
        response.status_code = 200
    return shown(job)


def _keywords(settings: wire.Settings) -> dict[str, Any]:
    given = settings.model_dump(exclude_none=True)
    if given.get("emotion") == "none":
        given["emotion"] = None
    return given


@router.post("/uploads", status_code=202, responses=KNOWN, openapi_extra=_FORM)
async def upload(request: Request, context: Ctx, response: Response) -> wire.Job:
    """Send a video, which is written to disk as it comes, and add it."""
    folder = await run_in_threadpool(tempfile.mkdtemp, prefix=INCOMING, dir=context.uploads.folder)
    try:
        form = await received.receive_file(request, Path(folder))
        return await run_in_threadpool(_take, context, form, response)
    finally:
        await run_in_threadpool(remove, Path(folder))


def _take(context: Context, form: received.Form, response: Response) -> wire.Job:
    settings = _settings(form.fields.get("settings", "{}"))
    assert form.path is not None
    received.check(form.path)
    with context.uploads.holding(form.path, form.digest) as path:
        return _submit(context, path, settings, response)


def _settings(text: str) -> wire.Settings:
    try:
        return wire.Settings.model_validate_json(text or "{}")
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
        raise ProblemError(422, f"the field 'settings' is not valid: {told}") from error


# ---- looking


@router.get("/jobs")
def list_jobs(
    context: Ctx, state: wire.State | None = None, cursor: Cursor = None, limit: Count = PAGE
) -> wire.Page[wire.Job]:
    """List the jobs by id."""
    found = context.queue.jobs(state=state, after=_after(cursor), limit=limit + 1)
    more = len(found) > limit
    return wire.Page(
        items=[shown(job) for job in found[:limit]], next=encode((found[limit - 1].job_id,)) if more else None
    )


def _after(cursor: str | None) -> int:
    match decode(cursor) if cursor is not None else (0,):
        case (int(after),) if 0 <= after <= wire.LARGEST_ID:
            return after
        case _:
            raise ProblemError(422, "this is no cursor of jobs; take `next` of the part before")


@router.get("/jobs/{job_id}")
def get_job(context: Ctx, job_id: JobId) -> wire.Job:
    """Tell how far a job is."""
    return shown(_found(context, job_id))


def _found(context: Context, job_id: int) -> Job:
    there = context.queue.jobs(after=job_id - 1, limit=1)
    if not there or there[0].job_id != job_id:
        raise ProblemError(404, f"there is no job {job_id}; GET /api/v1/jobs lists those there are")
    return there[0]


@router.post("/jobs/{job_id}/cancel")
def cancel(context: Ctx, job_id: JobId) -> wire.Job:
    """Stop a job that waits or runs."""
    _found(context, job_id)
    try:
        return shown(context.queue.cancel(job_id))
    except FacetrackError as error:
        raise ProblemError(409, str(error)) from error


@router.post("/jobs/{job_id}/retry")
def retry(context: Ctx, job_id: JobId) -> wire.Job:
    """Queue a job again that failed or was cancelled."""
    _found(context, job_id)
    try:
        return shown(context.queue.retry(job_id))
    except FacetrackError as error:
        raise ProblemError(409, str(error)) from error


# ---- watching


@router.get("/jobs/{job_id}/events", response_class=EventSourceResponse, responses=_EVENTS)
async def watch_job(context: Ctx, job_id: JobId) -> EventSourceResponse:
    """Tell of each change of a job until it has ended."""
    await run_in_threadpool(_found, context, job_id)
    return EventSourceResponse(_job_events(context, job_id))


async def _job_events(context: Context, job_id: int) -> AsyncIterator[ServerSentEvent]:
    seen = -1
    while True:
        job = await run_in_threadpool(context.queue.get, job_id)
        if job.revision > seen:
            seen = job.revision
            yield _event(job)
        if job.ended:
            return
        await anyio.sleep(POLL)


@router.get("/events", response_class=EventSourceResponse, responses=_EVENTS)
async def watch(
    context: Ctx,
    since: Annotated[int | None, Query(ge=0, le=wire.LARGEST_ID, description="Revision of a job.")] = None,
    last_event_id: Annotated[str | None, Header(max_length=20, include_in_schema=False)] = None,
) -> EventSourceResponse:
    """Tell of each change of any job, and with the event `people` of any other change."""
    last = int(last_event_id) if last_event_id and last_event_id.isdecimal() else since
    return EventSourceResponse(_events(context, None if last is None else min(last, wire.LARGEST_ID)))


async def _events(context: Context, since: int | None) -> AsyncIterator[ServerSentEvent]:
    seen = since if since is not None else await run_in_threadpool(lambda: context.queue.revision)
    revision = await run_in_threadpool(context.revision)
    while True:
        for job in await run_in_threadpool(context.queue.changes, seen):
            seen = job.revision
            yield _event(job)
        now = await run_in_threadpool(context.revision)
        if now != revision:
            revision = now
            yield ServerSentEvent("{}", event="people")
        await anyio.sleep(POLL)


def _event(job: Job) -> ServerSentEvent:
    return ServerSentEvent(shown(job).model_dump_json(), event="job", id=str(job.revision))
