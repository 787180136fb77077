"""The file of the database: opened with the right switches, brought to the newest schema, or refused with a reason."""

from __future__ import annotations

import logging
import sqlite3
import time
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError

from indexing.migrations import APPLICATION_ID, HEAD, upgrade
from tracker.errors import FacetrackError

logger = logging.getLogger(__name__)

BUSY_SECONDS = 30.0
"""How long a writer waits for another one."""


def open_engine(path: Path, *, must_exist: bool = False) -> Engine:
    """Return an engine on the database at ``path``, made or brought up to date where needed.

    A transaction on it begins as its execution option ``begin`` says: ``DEFERRED`` to read, ``IMMEDIATE`` to write.

    Args:
        path: The file.
        must_exist: Refuse to make a new one.

    Raises:
        FacetrackError: if there is none, it cannot be opened, is no database of facetrack, or is of a newer version.
    """
    _check_place(path, must_exist=must_exist)
    engine = _engine(path)
    try:
        _check_kind(engine, path, must_exist=must_exist)
        _switch_to_wal(engine)
        _bring_up_to_date(engine, path)
    except (DatabaseError, sqlite3.DatabaseError) as error:
        engine.dispose()
        raise explained(path, error) from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def explained(path: Path, error: DatabaseError | sqlite3.DatabaseError) -> FacetrackError:
    """Return what an error of SQLite at ``path`` means to a user."""
    reason = str(error.orig if isinstance(error, DatabaseError) else error)
    advice = next((advice for words, advice in _ADVICE.items() if words in reason), "check the file and its folder")
    return FacetrackError(f"{path}: {reason}: {advice}")


_ADVICE = {
    "not a database": "this file is no facetrack database; name another one with --db",
    "unable to open": "it cannot be opened; the file and its folder have to be readable and writable",
    "readonly": "it cannot be written; the file and its folder have to be writable",
    "locked": f"another process was writing for more than {BUSY_SECONDS:.0f} s; try again when it is done",
    "full": "the disk is full; nothing was changed",
    "malformed": "the database is damaged; restore a backup",
}


def _check_place(path: Path, *, must_exist: bool) -> None:
    if path.is_dir():
        raise FacetrackError(f"{path}: this is a folder; name a database file")
    if must_exist and not path.exists():
        raise FacetrackError(f"{path}: there is no such database; `facetrack add` makes one, --db names another")
    if not path.parent.is_dir():
        raise FacetrackError(f"{path}: the folder {path.parent} does not exist; make it first")


def _engine(path: Path) -> Engine:
    url = URL.create("sqlite+pysqlite", database=str(path))
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _set_switches)
    event.listen(engine, "begin", _begin)
    event.listen(engine, "close", _roll_back)
    return engine


def _set_switches(connection: sqlite3.Connection, _record: object) -> None:
    # Python's driver would begin transactions on its own, too late for reads and never for changes of the schema.
    connection.isolation_level = None
    for switch in ("foreign_keys = ON", "secure_delete = ON", "synchronous = NORMAL"):
        connection.execute(f"PRAGMA {switch}").close()


def _roll_back(connection: sqlite3.Connection, _record: object) -> None:
    # After a key press in the middle, SQLAlchemy closes the connection as it is; the traceback keeps a cursor alive,
    # the cursor keeps the lock, and a notebook keeps the traceback.
    if connection.in_transaction:
        connection.rollback()


def _begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get("begin", "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")


def pragma(engine: Engine, command: str) -> object:
    """Run ``PRAGMA command`` outside of a transaction and return the first value it answers with."""
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        row = cursor.execute(f"PRAGMA {command}").fetchone()
        cursor.close()
        return None if row is None else row[0]
    finally:
        raw.close()


def _check_kind(engine: Engine, path: Path, *, must_exist: bool) -> None:
    # Two processes may make the same database at once: the mark and the tables appear together, in one transaction.
    with engine.connect() as connection:
        mark = connection.scalar(text("PRAGMA application_id"))
        tables = connection.scalar(text("SELECT COUNT(*) FROM sqlite_master"))
    if mark != APPLICATION_ID and (tables or must_exist):
        raise FacetrackError(f"{path}: this SQLite file is no facetrack database; name another one with --db")


def _switch_to_wal(engine: Engine) -> None:
    # SQLite does not wait by itself when another process makes the same switch.
    deadline = time.monotonic() + BUSY_SECONDS
    while pragma(engine, "journal_mode") != "wal":
        try:
            if pragma(engine, "journal_mode = WAL") != "wal":
                logger.warning("this file system has no write-ahead log: readers and writers wait for each other")
                return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _bring_up_to_date(engine: Engine, path: Path) -> None:
    with engine.connect() as connection:
        if _is_current(connection, path):
            return
    with engine.execution_options(begin="IMMEDIATE").begin() as connection:
        # Another process may have done it while this one waited for the lock.
        if not _is_current(connection, path):
            upgrade(connection)


def _is_current(connection: Connection, path: Path) -> bool:
    exists = connection.scalar(text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"))
    revision = connection.scalar(text("SELECT version_num FROM alembic_version")) if exists else None
    if revision is not None and revision > HEAD:
        raise FacetrackError(
            f"{path}: this database was made by a newer facetrack (schema {revision}, this one knows up to {HEAD}); "
            "upgrade facetrack"
        )
    return bool(revision == HEAD)
