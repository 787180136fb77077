"""How the routes of the pages answer: with a filled template, and with a page that tells what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from indexing.gallery import ContradictionError
from indexing.server.page import texts
from tracker.errors import FacetrackError

THEME = "facetrack_theme"
"""Cookie in which the choice of dark or light is kept, so that the page comes in it and does not flash."""


@cache
def _environment() -> Environment:
    return texts.environment()


def filled(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Return a template with these values; one with a ``revision`` tells when somebody else has changed it."""
    theme = request.cookies.get(THEME)
    theme = theme if theme in ("dark", "light") else ""
    values = {"theme": theme, "path": request.url.path, "revision": "", **values}
    text = _environment().get_template(template).render(values)
    return HTMLResponse(text, status, {"Cache-Control": "no-cache"})


def reason_of(error: FacetrackError) -> tuple[str, bool]:
    """Return why something was refused, in words for the page, and whether it can be forced.

    Example:
        >>> reason_of(ContradictionError(["track 1 and track 2 share frame 7"]))
        ('track 1 and track 2 share frame 7', True)
        >>> reason_of(FacetrackError("there is no person 9"))
        ('there is no person 9', False)
    """
    if isinstance(error, ContradictionError):
        return "; ".join(error.reasons), True
    return str(error), False


def scripted(request: Request) -> bool:
    """Tell whether a script asks, which wants JSON and no page."""
    return "application/json" in request.headers.get("accept", "")


class PageRoute(APIRoute):
    """A route whose errors are pages too, unless a script asks."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with errors answered."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except FacetrackError as error:
                if scripted(request):
                    raise
                return _failed(request, str(error))
            except RequestValidationError:
                if scripted(request):
                    raise
                return _failed(request, f"{request.url.path} is no address of this service, or asks for too much")

        return handled


def _failed(request: Request, reason: str) -> Response:
    if request.method == "POST":
        return filled(request, "refused.html", status=422, reason=reason, forcible=False, fields=[], back="/")
    return filled(request, "error.html", status=404, reason=reason)
