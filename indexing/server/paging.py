"""Lists in parts: a cursor remembers where a part ended, so that nothing is told twice when the list changes."""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Query
from pydantic import BaseModel

from indexing.server.errors import ProblemError
from indexing.wire import Page

M = TypeVar("M", bound=BaseModel)

Cursor = Annotated[str | None, Query(max_length=1000, description="`next` of the part before.")]
Count = Annotated[int, Query(ge=1, le=500, description="Rows at most.")]

PAGE = 100
"""Rows of a part, if no other number is asked for."""

Key = tuple[Any, ...]


def page(items: Sequence[M], key: Callable[[M], Key], *, cursor: str | None, limit: int) -> Page[M]:
    """Return the part of a list that follows on a cursor.

    Args:
        items: The list.
        key: Its order: strings, numbers and None, different for each item.
        cursor: ``next`` of the part before; None: from the beginning.
        limit: Length of the part at most.

    Raises:
        ProblemError: 422, if the cursor is of another list.
    """
    ordered = sorted(items, key=key)
    start = 0 if cursor is None else _after([key(item) for item in ordered], cursor)
    part = ordered[start : start + limit]
    more = start + limit < len(ordered)
    return Page(items=part, next=encode(key(part[-1])) if more else None)


def _after(keys: Sequence[Key], cursor: str) -> int:
    key = decode(cursor)
    if any(len(key) != len(other) for other in keys[:1]):
        raise _bad(cursor)
    try:
        return bisect_right(keys, key)
    except TypeError as error:  # compared with what another order gave
        raise _bad(cursor) from error


def encode(key: Key) -> str:
    """Return a key as a cursor.

    Example:
        >>> decode(encode((-1.5, "Ada", 3)))
        (-1.5, 'Ada', 3)
    """
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def decode(cursor: str) -> Key:
    """Return the key that a cursor holds.

    Raises:
        ProblemError: 422, if it is no cursor.
    """
    try:
        key = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _bad(cursor) from error
    if not isinstance(key, list) or not all(isinstance(part, int | float | str) for part in key):
        raise _bad(cursor)
    return tuple(key)


def _bad(cursor: str) -> ProblemError:
    return ProblemError(422, f"{cursor[:40]!r} is no cursor of this list; take `next` of the part before")
