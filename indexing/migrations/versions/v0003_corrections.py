"""What people say of who is who: the log, photographs that were enrolled, and people of no interest."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# As in the first step, without people who are ignored and photographs that were enrolled: nobody appeared in those.
APPEARANCES = """
CREATE VIEW appearances AS
WITH seen AS (
    SELECT tracks.identity_id, tracks.video_id, tracks.start, tracks."end",
        MAX(tracks."end") OVER (
            PARTITION BY tracks.identity_id, tracks.video_id ORDER BY tracks.start, tracks."end"
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached
    FROM tracks JOIN identities ON identities.id = tracks.identity_id JOIN videos ON videos.id = tracks.video_id
    WHERE NOT identities.ignored AND NOT videos.enrolled
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

# A name was given to a face: the best picture, which is what the person who gave it looked at, keeps it for good.
NAMES_OF_BEFORE = """
INSERT INTO corrections (at, kind, identities, pins, bans, name, reason, moved, created)
SELECT strftime('%Y-%m-%dT%H:%M:%S+00:00', 'now'), 'name', '[' || id || ']',
    COALESCE((
        SELECT '{"' || tracks.id || '": ' || identities.id || '}' FROM tracks
        LEFT JOIN thumbnails ON thumbnails.track_id = tracks.id WHERE tracks.identity_id = identities.id
        ORDER BY thumbnails.track_id IS NULL, tracks.quality DESC, tracks.size DESC, tracks.id LIMIT 1
    ), '{}'), '[]', name, 'named before there was a log', '{}', '[]'
FROM identities WHERE name IS NOT NULL ORDER BY id
"""


def _log() -> None:
    op.create_table(
        "corrections",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("identities", sa.Text, nullable=False),
        sa.Column("pins", sa.Text, nullable=False),
        sa.Column("bans", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("moved", sa.Text, nullable=False),
        sa.Column("created", sa.Text, nullable=False),
        sa.Column("undone_by", sa.Integer, sa.ForeignKey("corrections.id")),
        sqlite_autoincrement=True,
    )


def upgrade() -> None:
    """Add the log, with the names that were given before; nobody is ignored or enrolled."""
    op.add_column("videos", sa.Column("enrolled", sa.Boolean, nullable=False, server_default="0"))
    op.add_column("identities", sa.Column("ignored", sa.Boolean, nullable=False, server_default="0"))
    _log()
    op.execute("DROP VIEW appearances")
    op.execute(APPEARANCES)
    op.execute(NAMES_OF_BEFORE)
