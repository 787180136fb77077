"""Errors as answers: every one is a problem+json of RFC 9457 that says what to do."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DatabaseError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from indexing.anew import BusyError
from indexing.gallery import ContradictionError
from indexing.wire import Problem
from tracker.errors import FacetrackError, ModelError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class ProblemError(FacetrackError):
    """An error of which the status is known.

    Attributes:
        status: The status to answer with.
        headers: Headers to answer with.
    """

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.headers = status, dict(headers or {})


def problem(
    status: int,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    reasons: Sequence[str] | None = None,
    errors: Sequence[dict[str, Any]] | None = None,
) -> Response:
    """Return a problem as an answer."""
    title = HTTPStatus(status).phrase
    told = Problem(
        title=title,
        status=status,
        detail=detail,
        reasons=None if reasons is None else list(reasons),
        errors=None if errors is None else list(errors),
    )
    body = told.model_dump_json(exclude_none=True)
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)


def register(app: FastAPI) -> None:
    """Make an application answer every error with a problem."""
    app.add_exception_handler(FacetrackError, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def _refused(_: Request, error: Exception) -> Response:
    reasons = error.reasons if isinstance(error, ContradictionError) else None
    headers = error.headers if isinstance(error, ProblemError) else None
    return problem(status_of(error), _detail(error), reasons=reasons, headers=headers)


def status_of(error: Exception) -> int:
    """Return the status that an error is answered with."""
    if isinstance(error, ProblemError):
        return error.status
    if isinstance(error, ContradictionError):
        return 409
    if isinstance(error, (ModelError, BusyError)) or isinstance(error.__cause__, DatabaseError):
        return 503
    return 422


def _detail(error: Exception) -> str:
    if isinstance(error, ContradictionError):
        return f"refused, as {'; '.join(error.reasons)}; undo what is wrong, or repeat it with force: true"
    return " ".join(str(error).split())


def _invalid(_: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    # What came may be a name or a picture: it is not sent back.
    errors = [{"where": ".".join(map(str, one["loc"])), "what": one["msg"]} for one in found]
    told = "; ".join(f"{one['where']}: {one['what']}" for one in errors[:5])
    return problem(422, f"the request is not valid: {told}", errors=errors)


def _http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return problem(error.status_code, str(error.detail), headers=error.headers)
