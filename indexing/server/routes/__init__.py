"""The routes of the API, a module for each subject."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from indexing.server.errors import MEDIA_TYPE
from indexing.server.security import API

_TOLD = {
    400: "The body cannot be read.",
    401: "A token is needed.",
    403: "Not allowed.",
    404: "There is no such thing.",
    409: "It contradicts what was said or seen, or what is there.",
    413: "It is too large.",
    421: "The service has another name.",
    422: "The request is not valid, or cannot be fulfilled.",
    429: "Too many at once; `Retry-After` tells when.",
    503: "The database is busy, or weights of a model are missing.",
    507: "The disk is full.",
}

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for status, text in _TOLD.items()
}
"""Answers that any route may give."""


def router(tag: str, *, prefix: str = "") -> APIRouter:
    """Return a router of a subject below the API."""
    return APIRouter(prefix=f"{API}{prefix}", tags=[tag], responses=PROBLEMS)


def jpeg() -> dict[int | str, dict[str, Any]]:
    """Return how a route that answers with a JPEG file is told in the OpenAPI document."""
    return {200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}}


NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "The client has it already (`If-None-Match`)."}}
