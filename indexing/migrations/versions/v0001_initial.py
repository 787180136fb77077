"""All tables of the first version, and the view that tells who is seen when."""

import sqlalchemy as sa
from alembic import op

from indexing.migrations import APPLICATION_ID

revision = "0001"
down_revision = None

# The gap of half a second is the one of `Store.appearances`; the running maximum finds where a new interval begins.
APPEARANCES = """
CREATE VIEW appearances AS
WITH seen AS (
    SELECT identity_id, video_id, start, "end",
        MAX("end") OVER (
            PARTITION BY identity_id, video_id ORDER BY start, "end"
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached
    FROM tracks WHERE identity_id IS NOT NULL
), counted AS (
    SELECT *, SUM(reached IS NULL OR start > reached + 0.5) OVER (
        PARTITION BY identity_id, video_id ORDER BY start, "end" ROWS UNBOUNDED PRECEDING
    ) AS number
    FROM seen
)
SELECT counted.identity_id AS identity_id, COALESCE(identities.name, 'Person ' || identities.id) AS person,
    counted.video_id AS video_id, videos.path AS video,
    MIN(counted.start) AS start, MAX(counted."end") AS "end", COUNT(*) AS tracks
FROM counted JOIN identities ON identities.id = counted.identity_id JOIN videos ON videos.id = counted.video_id
GROUP BY counted.identity_id, counted.video_id, counted.number
"""

# A random token, not a counter: a copy of the database that goes its own way never meets the same value again.
REVISION = """
INSERT OR REPLACE INTO meta (key, value) VALUES ('embeddings_revision', '"' || lower(hex(randomblob(16))) || '"')
"""


def _meta_and_videos() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "videos",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("fps", sa.Float, nullable=False),
        sa.Column("duration", sa.Float, nullable=False),
        sa.Column("is_image", sa.Boolean, nullable=False),
        sa.Column("frame_count", sa.Integer, nullable=False),
        sa.Column("end", sa.Float, nullable=False),
        sa.Column("detector_id", sa.Text, nullable=False),
        sa.Column("embedder_id", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("added_at", sa.Text, nullable=False),
        sa.Column("timestamps", sa.LargeBinary, nullable=False),
        sa.Column("shots", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("content_hash", name="uq_videos_content_hash"),
        sqlite_autoincrement=True,
    )


def _identities_and_tracks() -> None:
    op.create_table(
        "identities",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text),
        sa.UniqueConstraint("name", name="uq_identities_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tracks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("video_id", sa.Integer, sa.ForeignKey("videos.id", ondelete="CASCADE"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("shot", sa.Integer, nullable=False),
        sa.Column("first_frame", sa.Integer, nullable=False),
        sa.Column("end_frame", sa.Integer, nullable=False),
        sa.Column("start", sa.Float, nullable=False),
        sa.Column("end", sa.Float, nullable=False),
        sa.Column("quality", sa.Float, nullable=False),
        sa.Column("size", sa.Float, nullable=False),
        sa.Column("identity_id", sa.Integer, sa.ForeignKey("identities.id", ondelete="SET NULL")),
        sa.Column("confidence", sa.Float),
        sa.UniqueConstraint("video_id", "number", name="uq_tracks_video_id_number"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tracks_identity_id", "tracks", ["identity_id"])


def _arrays_thumbnails_embeddings() -> None:
    def track(*, primary_key: bool) -> sa.Column[int]:
        owner = sa.ForeignKey("tracks.id", ondelete="CASCADE")
        return sa.Column("track_id", sa.Integer, owner, primary_key=primary_key, nullable=False)

    op.create_table(
        "track_arrays",
        track(primary_key=True),
        sa.Column("boxes", sa.LargeBinary, nullable=False),
        sa.Column("scores", sa.LargeBinary, nullable=False),
        sa.Column("sources", sa.LargeBinary, nullable=False),
        sa.Column("landmarks", sa.LargeBinary, nullable=False),
    )
    op.create_table("thumbnails", track(primary_key=True), sa.Column("jpeg", sa.LargeBinary, nullable=False))
    op.create_table(
        "embeddings",
        sa.Column("id", sa.Integer, primary_key=True),
        track(primary_key=False),
        sa.Column("frame", sa.Integer, nullable=False),
        sa.Column("quality", sa.Float, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_embeddings_track_id", "embeddings", ["track_id"])


def upgrade() -> None:
    """Create everything."""
    op.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    _meta_and_videos()
    _identities_and_tracks()
    _arrays_thumbnails_embeddings()
    op.execute(APPEARANCES)
    op.execute(REVISION)
    for change in ("INSERT", "UPDATE", "DELETE"):
        op.execute(f"CREATE TRIGGER embeddings_{change.lower()} AFTER {change} ON embeddings BEGIN {REVISION}; END")
