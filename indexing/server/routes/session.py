"""Logging in: a browser shows the token once and gets a cookie for it."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from indexing.server.errors import ProblemError
from indexing.server.routes import PROBLEMS
from indexing.server.security import COOKIE, cookie_of, is_token, local_path

router = APIRouter(tags=["session"], responses=PROBLEMS)

_SECONDS = 30 * 24 * 3600


@router.post("/login", status_code=303, response_class=Response)
def log_in(
    request: Request,
    token: Annotated[str, Form(max_length=1000)],
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Take a token and give a cookie for it; goes on to the page `next` of this service."""
    wanted: str | None = request.app.state.token
    if wanted is not None and not is_token(token, wanted):
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(f"/login?failed=1&next={quote(local_path(next), safe='/')}", 303)
        raise ProblemError(401, "this is not the token that the service was started with")
    answer = RedirectResponse(local_path(next), 303, {"Cache-Control": "no-store"})
    if wanted is not None:
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, cookie_of(wanted), max_age=_SECONDS, httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/logout", status_code=303, response_class=Response)
def log_out() -> Response:
    """Take the cookie away."""
    answer = RedirectResponse("/login", 303, {"Cache-Control": "no-store"})
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer
