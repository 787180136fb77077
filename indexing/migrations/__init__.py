"""The schema of the database, step by step: each file of ``versions`` is one numbered step."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection

logger = logging.getLogger(__name__)

HEAD = "0005"
"""Revision of the newest step."""

APPLICATION_ID = 0x66747262
"""Mark in the header of the file (``PRAGMA application_id``): a database of facetrack."""


SCHEMA = Path(__file__).with_name("schema.sql")
"""What all steps make of an empty database; to be written anew after each new step."""


def create(connection: Connection) -> None:
    """Make the newest schema in an empty database, as `upgrade` would, inside the transaction that is open on it."""
    for statement in _statements():
        connection.exec_driver_sql(statement)


@cache
def _statements() -> tuple[str, ...]:
    return tuple(split(SCHEMA.read_text(encoding="utf-8")))


def split(script: str) -> Iterator[str]:
    """Split a script into its statements, each of which begins on a line of its own.

    SQLite's own way to run a script would end the transaction first.
    """
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Bring the database of ``connection`` up to ``revision``, inside the transaction that is open on it."""
    # Alembic takes a third of a second to import, and a database that is up to date needs none of it.
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    scripts, context = steps(), MigrationContext.configure(connection)
    missing = list(scripts.iterate_revisions(revision, context.get_current_revision() or "base"))
    with Operations.context(context):
        for step in reversed(missing):
            logger.info("database: step %s, %s", step.revision, step.doc)
            step.module.upgrade()
            context.stamp(scripts, step.revision)


def steps() -> ScriptDirectory:
    """Return Alembic's view of the steps."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(Path(__file__).parent))
