"""What people said outlives a video that is removed, and taking it back brings back every confidence."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the confidences of before an entry, and the places of tracks that are gone and spoken of."""
    op.add_column("corrections", sa.Column("confidences", sa.Text, nullable=False, server_default="{}"))
    op.create_table(
        "absent_tracks",
        sa.Column("track_id", sa.Integer, primary_key=True, nullable=False),
        sa.Column("video_id", sa.Integer, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("first_frame", sa.Integer, nullable=False),
        sa.Column("boxes", sa.LargeBinary, nullable=False),
        sa.Column("identity_id", sa.Integer),
    )
