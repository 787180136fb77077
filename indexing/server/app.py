"""The application: routes, errors and what stands before every request, put together."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool

from indexing.server import errors
from indexing.server import page as pages
from indexing.server.context import Context, Limits, Revision
from indexing.server.metrics import Metrics
from indexing.server.models import SearchModels
from indexing.server.routes import (
    clustering,
    corrections,
    exports,
    jobs,
    people,
    search,
    session,
    system,
    tracks,
    videos,
)
from indexing.server.security import API, LOOPBACK, Guard
from indexing.store import Store
from tracker.errors import FacetrackError

TIDY = 600.0
"""Seconds between two looks for uploads that nobody needs any more."""

logger = logging.getLogger(__name__)


def create_app(
    store_path: Path,
    *,
    roots: Sequence[Path] = (),
    token: str | None = None,
    uploads: Path | None = None,
    models_dir: Path | None = None,
    hosts: Collection[str] | None = LOOPBACK,
    limits: Limits | None = None,
    page: bool = True,
) -> FastAPI:
    """Return the service as an ASGI application; it opens the database at once and closes it at shutdown.

    Args:
        store_path: The database; made where there is none.
        roots: Folders below which videos may be named by their path.
        token: What everybody has to know; None: nobody is asked, which is for this machine alone.
        uploads: Folder for uploaded videos; None: ``NAME.uploads`` beside the database.
        models_dir: Folder in which weights are looked for first.
        hosts: Names under which the service may be asked; None: any, which needs a token.
        limits: What a request may ask for at most.
        page: Serve the pages, too.

    Raises:
        FacetrackError: if the database cannot be opened, or any name is allowed and no token needed.
    """
    if hosts is None and token is None:
        raise FacetrackError("a service that may be asked under any name needs a token; give one, or name the hosts")
    context = _context(store_path, roots, uploads, models_dir, limits or Limits())
    metrics = Metrics()
    metrics.watch(lambda: system.gauges(context), lambda: system.jobs_by_state(context))
    app = FastAPI(
        title="facetrack",
        summary="Who is on screen, when, and with what expression.",
        version=system.version(),
        openapi_url=f"{API}/openapi.json",
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},  # addresses hold names
        lifespan=_lifespan(context),
    )
    app.state.context, app.state.token, app.state.metrics = context, token, metrics
    errors.register(app)
    # `search` goes before `people`, as enrolling is below it.
    for subject in (system, jobs, videos, search, people, tracks, corrections, clustering, exports, session):
        app.include_router(subject.router)
    app.include_router(system.metrics_router)
    if page:
        _add_pages(app)
    app.add_middleware(Guard, token=token, hosts=hosts, limits=context.limits, metrics=metrics)
    return app


def _context(
    path: Path, roots: Sequence[Path], uploads: Path | None, models_dir: Path | None, limits: Limits
) -> Context:
    store = Store(path)
    folder = (uploads or path.with_suffix(".uploads")).resolve()
    return Context(
        store=store,
        roots=tuple(root.resolve() for root in roots),
        uploads_folder=folder,
        models_dir=models_dir,
        limits=limits,
        revision=Revision(store),
        searching=SearchModels(store, models_dir),
    )


def _lifespan(context: Context) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        context.uploads.discard_rest()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_tidy, context)
            yield
            tasks.cancel_scope.cancel()
        context.revision.close()
        context.store.close()

    return lifespan


async def _tidy(context: Context) -> None:
    while True:
        try:
            await run_in_threadpool(context.uploads.discard_ended)
        except (FacetrackError, OSError) as error:
            # The database is locked for long, say: the next time may do better.
            logger.error("uploads that nobody needs stay for now: %s", error)
        await anyio.sleep(TIDY)


def _add_pages(app: FastAPI) -> None:
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=pages.STATIC), name="static")
