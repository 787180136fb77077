"""The queue of the service: what is to be analysed, what is being analysed, and what became of it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


# A random token, not a counter: a copy of the database that goes its own way never meets the same value again.
REVISION = """
INSERT INTO meta (key, value) VALUES ('revision', '"' || lower(hex(randomblob(16))) || '"')
"""


def upgrade() -> None:
    """Add the queue, with nothing in it, and the revision of everything else."""
    op.execute(REVISION)
    op.create_table(
        "jobs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", sa.Text, nullable=False),
        sa.Column("started_at", sa.Text),
        sa.Column("finished_at", sa.Text),
        sa.Column("frames_done", sa.Integer, nullable=False),
        sa.Column("frames_total", sa.Integer),
        sa.Column("message", sa.Text),
        sa.Column("video_id", sa.Integer, sa.ForeignKey("videos.id", ondelete="SET NULL")),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("lease", sa.Float),
        sa.Column("revision", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    for column in ("content_hash", "state", "video_id"):
        op.create_index(f"ix_jobs_{column}", "jobs", [column])
    op.create_index("ix_jobs_revision", "jobs", ["revision"], unique=True)
