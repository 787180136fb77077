"""The rows of the queue: what is read of them, and every change that a job goes through.

Each change gives the job a revision above all that there were, by which others learn what is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, insert, or_, select, update
from sqlalchemy.orm import Session

from indexing.tables import JobRow

# ---- reading


def find(session: Session, job_id: int) -> JobRow | None:
    """Return a job; None if there is none."""
    return session.get(JobRow, job_id)


def listed(session: Session, *, state: str | None, after: int, limit: int) -> Sequence[JobRow]:
    """Return the jobs above an id, in order."""
    wanted = select(JobRow).where(JobRow.id > after).order_by(JobRow.id).limit(limit)
    return session.scalars(wanted if state is None else wanted.where(JobRow.state == state)).all()


def changed(session: Session, *, after: int, limit: int) -> Sequence[JobRow]:
    """Return the jobs above a revision, in order of their last change."""
    return session.scalars(select(JobRow).where(JobRow.revision > after).order_by(JobRow.revision).limit(limit)).all()


def newest_revision(session: Session) -> int:
    """Return the highest revision; 0 without jobs."""
    return session.scalar(select(func.max(JobRow.revision))) or 0


def counts(session: Session) -> dict[str, int]:
    """Return how many jobs are in each state; states without a job are left out."""
    rows = session.execute(select(JobRow.state, func.count().label("jobs")).group_by(JobRow.state))
    return {row.state: row.jobs for row in rows}


def twin(session: Session, content_hash: str, settings: Mapping[str, Any]) -> JobRow | None:
    """Return the job that waits, runs or whose result is there, for this content and these settings."""
    there = and_(JobRow.state == "done", JobRow.video_id.is_not(None))
    rows = session.scalars(
        select(JobRow)
        .where(JobRow.content_hash == content_hash, or_(JobRow.state.in_(("queued", "running")), there))
        .order_by(JobRow.id.desc())
    )
    return next((row for row in rows if row.settings == settings), None)


def first_queued(session: Session) -> int | None:
    """Return the id of the oldest job that waits; None if none does."""
    return session.scalar(select(JobRow.id).where(JobRow.state == "queued").order_by(JobRow.id).limit(1))


def running(session: Session) -> Sequence[JobRow]:
    """Return the jobs that workers are at."""
    return session.scalars(select(JobRow).where(JobRow.state == "running").order_by(JobRow.id)).all()


# ---- writing


def add(session: Session, **values: Any) -> JobRow:
    """Insert a job that waits."""
    row = {"state": "queued", "frames_done": 0, "attempts": 0, "crashes": 0, "revision": _next(), **values}
    job_id = session.scalars(insert(JobRow).values(row).returning(JobRow.id)).one()
    return session.get_one(JobRow, job_id)


def change(session: Session, job_id: int, *conditions: ColumnElement[bool], **values: Any) -> bool:
    """Change a job where ``conditions`` hold; return whether they did."""
    return _update(session, job_id, conditions, {**values, "revision": _next()})


def prolong(session: Session, job_id: int, worker: str, lease: float) -> bool:
    """Move the end of a lease, which is no change that anybody wants to hear of; return whether it was held."""
    return _update(session, job_id, (held(worker),), {"lease": lease})


def held(worker: str) -> ColumnElement[bool]:
    """Return the condition that ``worker`` is at the job."""
    return and_(JobRow.state == "running", JobRow.worker == worker)


def _next() -> Any:
    return select(func.coalesce(func.max(JobRow.revision), 0) + 1).scalar_subquery()


def _update(
    session: Session, job_id: int, conditions: Sequence[ColumnElement[bool]], values: Mapping[str, Any]
) -> bool:
    statement = update(JobRow).where(JobRow.id == job_id, *conditions).values(**values).returning(JobRow.id)
    return session.scalar(statement.execution_options(synchronize_session=False)) is not None
