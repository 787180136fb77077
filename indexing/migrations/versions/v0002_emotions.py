"""What the faces show: the samples of each track, and what they add up to for each identity in each video."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")


def _numbers(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.Float) for name in names]


def _samples() -> None:
    op.add_column("videos", sa.Column("emotion_id", sa.Text))
    op.add_column("videos", sa.Column("affect_derived", sa.Boolean, nullable=False, server_default="1"))
    op.create_table(
        "expressions",
        sa.Column("track_id", sa.Integer, sa.ForeignKey("tracks.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("frame", sa.Integer, primary_key=True),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("emotion", sa.Text),
        *_numbers(*EMOTIONS, "valence", "arousal"),
        sa.Column("affect_source", sa.Text),
        sa.Column("reason", sa.Text),
        *_numbers("pose_pitch", "pose_yaw", "pose_roll", "gaze_x", "gaze_y", "mouth_opening", "eye_opening"),
        sqlite_with_rowid=False,
    )


def _of_identity(name: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        name,
        sa.Column("video_id", sa.Integer, sa.ForeignKey("videos.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("identity_id", sa.Integer, sa.ForeignKey("identities.id", ondelete="CASCADE"), primary_key=True),
        *columns,
        sqlite_with_rowid=False,
    )
    op.create_index(f"ix_{name}_identity_id", name, ["identity_id"])


def _curves() -> None:
    _of_identity(
        "emotion_curves",
        sa.Column("time", sa.Float, primary_key=True),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("emotion", sa.Text),
        *_numbers(*EMOTIONS, "valence", "arousal"),
        sa.Column("affect_source", sa.Text),
    )


def _episodes() -> None:
    _of_identity(
        "emotion_episodes",
        sa.Column("onset", sa.Float, primary_key=True),
        sa.Column("apex", sa.Float, nullable=False),
        sa.Column("offset", sa.Float, nullable=False),
        sa.Column("emotion", sa.Text, nullable=False),
        sa.Column("mean", sa.Float, nullable=False),
        sa.Column("peak", sa.Float, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
    )


def _summaries() -> None:
    _of_identity(
        "emotion_summaries",
        sa.Column("seconds", sa.Float, nullable=False),
        *_numbers(*EMOTIONS, "mean_valence", "mean_arousal"),
        sa.Column("affect_source", sa.Text, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
    )
    _of_identity(
        "emotion_transitions",
        sa.Column("before", sa.Text, primary_key=True),
        sa.Column("after", sa.Text, primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
    )


def upgrade() -> None:
    """Add the tables; videos that are there keep none until they are added again with an emotion model."""
    _samples()
    _curves()
    _episodes()
    _summaries()
