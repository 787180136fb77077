"""The schema of the database, step by step: each file of ``versions`` is one numbered step."""

from __future__ import annotations

import logging
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
