"""The pages that are looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from indexing import gallery
from indexing.corrections import merged_into
from indexing.export import FORMATS
from indexing.server.context import context_of
from indexing.server.page import views
from indexing.server.page.answers import PageRoute, filled
from indexing.server.page.views import Paged
from indexing.store import Store

ENTRIES_A_PAGE = 50
QUESTIONS = 24

router = APIRouter(route_class=PageRoute)

Page = Annotated[int, Query(ge=1)]

View = TypeVar("View")


def _kept(request: Request, build: Callable[[Store], View]) -> View:
    """Return what a page shows; it is read once for each change of the database."""
    context = context_of(request)
    return context.cache.get(("page", request.url.path, request.url.query), lambda: build(context.store))


def _revision(request: Request) -> str:
    """Return what the database is at; asked before it is read, so that a change in between is told."""
    return context_of(request).revision()


@router.get("/")
def library(request: Request, q: str = "", page: Page = 1) -> Response:
    """Show all videos."""
    now = _revision(request)
    found = _kept(request, lambda store: views.library(store, query=q.strip(), page=page))
    database = context_of(request).store.path
    return filled(request, "library.html", revision=now, library=found, query=q.strip(), database=database)


@router.get("/videos/{video_id}")
def video(request: Request, video_id: int, lanes: Literal["first", "all"] = "first") -> Response:
    """Show a video with who is seen in it when, and what they show."""
    now = _revision(request)
    view = _kept(request, lambda store: views.video_view(store, video_id, everybody=lanes == "all"))
    uploaded = context_of(request).uploads.keeps(view.video.path)
    return filled(request, "video.html", revision=now, view=view, uploaded=uploaded, formats=FORMATS.values())


@router.get("/people")
def people(
    request: Request,
    q: str = "",
    sort: Literal["screen_time", "name", "id"] = "screen_time",
    ignored: bool = False,
    page: Page = 1,
) -> Response:
    """Show all people."""
    now = _revision(request)
    found = _kept(request, lambda store: views.people(store, query=q.strip(), sort=sort, ignored=ignored, page=page))
    return filled(request, "people.html", revision=now, people=found, query=q.strip(), sort=sort, ignored=ignored)


@router.get("/people/{identity_id}")
def person(
    request: Request,
    identity_id: int,
    videos: Literal["first", "all"] = "first",
    tracks: Literal["time", "uncertain"] = "time",
    page: Page = 1,
) -> Response:
    """Show a person; one who was merged is looked for where they went."""
    kept = merged_into(context_of(request).store.log()).get(identity_id)
    if kept is not None:
        return RedirectResponse(f"/people/{kept}", 303)
    now = _revision(request)
    wanted = {"everywhere": videos == "all", "uncertain": tracks == "uncertain"}
    view = _kept(request, lambda store: views.person_view(store, identity_id, page=page, **wanted))
    return filled(request, "person.html", revision=now, view=view, order=tracks, formats=FORMATS.values())


@router.get("/review")
def review(request: Request) -> Response:
    """Ask about the pairs of people of whom it is least certain whether they are one."""
    return filled(request, "review.html", cards=_kept(request, lambda store: views.questions(store, limit=QUESTIONS)))


@router.get("/search")
def search(request: Request) -> Response:
    """Show where a picture can be dropped; what is found is put in by the script."""
    return filled(request, "search.html")


@router.get("/jobs")
def jobs(request: Request, page: Page = 1) -> Response:
    """Show what is being worked on, and what people have said."""
    context = context_of(request)
    entries = Paged.of(list(reversed(gallery.log(context.store))), page, ENTRIES_A_PAGE)
    return filled(request, "jobs.html", jobs=views.jobs(context.queue), entries=entries)


@router.get("/login")
def login(request: Request, next: str = "/", failed: bool = False) -> Response:
    """Ask for the token."""
    return filled(request, "login.html", next=next, failed=failed)
