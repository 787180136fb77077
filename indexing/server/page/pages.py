"""The pages that are looked at."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from indexing import gallery
from indexing.corrections import merged_into
from indexing.export import FORMATS
from indexing.server.page import views
from indexing.server.page.answers import PageRoute, filled, store_of
from indexing.server.page.views import Paged

ENTRIES_A_PAGE = 50
QUESTIONS = 24

router = APIRouter(route_class=PageRoute)

Page = Annotated[int, Query(ge=1)]


@router.get("/")
def library(request: Request, q: str = "", page: Page = 1) -> Response:
    """Show all videos."""
    store = store_of(request)
    found = views.library(store, query=q.strip(), page=page)
    return filled(request, "library.html", library=found, query=q.strip(), database=store.path)


@router.get("/videos/{video_id}")
def video(request: Request, video_id: int, lanes: Literal["first", "all"] = "first") -> Response:
    """Show a video with who is seen in it when, and what they show."""
    view = views.video_view(store_of(request), video_id, everybody=lanes == "all")
    return filled(request, "video.html", view=view, formats=FORMATS.values())


@router.get("/people")
def people(
    request: Request,
    q: str = "",
    sort: Literal["screen_time", "name", "id"] = "screen_time",
    ignored: bool = False,
    page: Page = 1,
) -> Response:
    """Show all people."""
    found = views.people(store_of(request), query=q.strip(), sort=sort, ignored=ignored, page=page)
    return filled(request, "people.html", people=found, query=q.strip(), sort=sort, ignored=ignored)


@router.get("/people/{identity_id}")
def person(
    request: Request,
    identity_id: int,
    videos: Literal["first", "all"] = "first",
    tracks: Literal["time", "uncertain"] = "time",
    page: Page = 1,
) -> Response:
    """Show a person; one who was merged is looked for where they went."""
    store = store_of(request)
    kept = merged_into(store.log()).get(identity_id)
    if kept is not None:
        return RedirectResponse(f"/people/{kept}", 303)
    view = views.person_view(store, identity_id, everywhere=videos == "all", uncertain=tracks == "uncertain", page=page)
    return filled(request, "person.html", view=view, order=tracks, formats=FORMATS.values())


@router.get("/review")
def review(request: Request) -> Response:
    """Ask about the pairs of people of whom it is least certain whether they are one."""
    return filled(request, "review.html", cards=views.questions(store_of(request), limit=QUESTIONS))


@router.get("/search")
def search(request: Request) -> Response:
    """Show where a picture can be dropped; what is found is put in by the script."""
    return filled(request, "search.html")


@router.get("/jobs")
def jobs(request: Request, page: Page = 1) -> Response:
    """Show what is being worked on, and what people have said."""
    entries = Paged.of(list(reversed(gallery.log(store_of(request)))), page, ENTRIES_A_PAGE)
    return filled(request, "jobs.html", jobs=views.jobs(store_of(request)), entries=entries)


@router.get("/login")
def login(request: Request, next: str = "/", failed: bool = False) -> Response:
    """Ask for the token."""
    return filled(request, "login.html", next=next, failed=failed)
