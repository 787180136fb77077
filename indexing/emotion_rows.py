"""Between what faces show and rows: the samples of each track, and the tables that are made of them.

``expressions`` is what was seen. ``emotion_curves``, ``emotion_episodes``, ``emotion_summaries`` and
``emotion_transitions`` follow from it and from whose each track is; `refresh` writes them anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Row, Select, delete, select
from sqlalchemy.orm import Session

from indexing.emotions import EmotionTimeline, Samples, emotion_timeline, strongest
from indexing.tables import CurveRow, EpisodeRow, ExpressionRow, SummaryRow, TrackRow, TransitionRow, Video, chunks
from indexing.types import EmotionCurve, EmotionSummary, Episode
from tracker.types import EMOTIONS, Expressions, Float64, Reason, Track, TrackingResult

Pair = tuple[int, int]
"""A video and an identity."""

_CACHES = (CurveRow, EpisodeRow, SummaryRow, TransitionRow)

_VALUES = (*EMOTIONS, "valence", "arousal")

_POSTURE = ("pose_pitch", "pose_yaw", "pose_roll", "gaze_x", "gaze_y", "mouth_opening", "eye_opening")

_REASONS = [None if reason is Reason.NONE else reason.name.lower() for reason in Reason]

_PART = 50_000
"""Rows read at a time, to make numbers of before there are more."""


# ---- writing


def insert_expressions(session: Session, key: int, track: Track, result: TrackingResult) -> None:
    """Insert the samples of a track of ``result`` under its key."""
    shown, source = track.expressions, _source(derived=result.affect_derived)
    emotions = strongest(shown.emotions)
    columns = {
        "track_id": [key] * len(shown),
        "frame": shown.frames.tolist(),
        "time": result.timestamps[shown.frames].tolist(),
        "model_id": [result.emotion_id] * len(shown),
        "emotion": emotions,
        "affect_source": [None if emotion is None else source for emotion in emotions],
        "reason": [_REASONS[reason] for reason in shown.reasons.tolist()],
        **_columns(_VALUES, shown.emotions, shown.valence, shown.arousal),
        **_columns(_POSTURE, shown.pose, shown.gaze, shown.openness),
    }
    _insert(session, ExpressionRow, columns)


def _source(*, derived: bool) -> str:
    return "derived" if derived else "model"


def _columns(names: Sequence[str], *parts: NDArray[Any]) -> dict[str, list[Any]]:
    # The driver of SQLite stores NaN as NULL.
    return dict(zip(names, np.column_stack(parts).T.tolist(), strict=True))


def _insert(session: Session, table: type[Any], columns: Mapping[str, Sequence[Any]]) -> None:
    """Insert rows given by their columns, past what SQLAlchemy does for each row: there may be hundred thousands."""
    rows = list(zip(*columns.values(), strict=True))
    if rows:
        names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
        command = f"INSERT INTO {table.__tablename__} ({names}) VALUES ({marks})"
        session.connection().exec_driver_sql(command, rows)


# ---- reading what was seen


def expressions(session: Session, *conditions: ColumnElement[bool]) -> dict[int, Expressions]:
    """Return the samples of the tracks that all ``conditions`` hold for, by the tracks' keys."""
    columns = [getattr(ExpressionRow, name) for name in ("track_id", "frame", "reason", *_VALUES, *_POSTURE)]
    wanted = select(*columns).join(TrackRow, TrackRow.id == ExpressionRow.track_id).where(*conditions)
    rows = _streamed(session, wanted.order_by(ExpressionRow.track_id, ExpressionRow.frame))
    return {key: _expressions(group) for key, group in groupby(rows, key=itemgetter(0))}


def _expressions(rows: Iterator[Row[Any]]) -> Expressions:
    _, frames, reasons, *numbers = zip(*rows, strict=True)
    values = np.array(numbers, np.float32).T
    return Expressions(
        frames=np.array(frames),
        emotions=values[:, :7],
        valence=values[:, 7],
        arousal=values[:, 8],
        reasons=np.array([_REASONS.index(reason) for reason in reasons]),
        pose=values[:, 9:12],
        gaze=values[:, 12:14],
        openness=values[:, 14:],
    )


def _streamed(session: Session, wanted: Select[Any]) -> Iterator[Row[Any]]:
    return iter(session.execute(wanted.execution_options(yield_per=_PART)))


# ---- the tables that follow from it


def refresh(session: Session, pairs: Collection[Pair]) -> None:
    """Write anew what follows for these identities in these videos."""
    for video_id, group in groupby(sorted(pairs), key=itemgetter(0)):
        video = session.execute(select(Video.emotion_id, Video.affect_derived).where(Video.id == video_id)).one()
        if video.emotion_id is not None:
            for identities in chunks([identity_id for _, identity_id in group]):
                _forget(session, video_id, identities)
                for identity_id, samples in _samples(session, video_id, identities):
                    told = emotion_timeline(
                        samples, identity_id=identity_id, video_id=video_id, affect_derived=video.affect_derived
                    )
                    _insert_timeline(session, told, video.emotion_id)


def _forget(session: Session, video_id: int, identities: Sequence[int]) -> None:
    for table in _CACHES:
        session.execute(delete(table).where(table.video_id == video_id, table.identity_id.in_(identities)))


def owners(session: Session) -> dict[int, Pair]:
    """Return the video and the identity of each track that has one, by its key."""
    wanted = select(TrackRow.id, TrackRow.video_id, TrackRow.identity_id).where(TrackRow.identity_id.is_not(None))
    return {key: (video_id, identity_id) for key, video_id, identity_id in session.execute(wanted) if identity_id}


def _samples(session: Session, video_id: int, identities: Sequence[int]) -> Iterator[tuple[int, Samples]]:
    names = (TrackRow.identity_id, ExpressionRow.time, TrackRow.end, TrackRow.size)
    wanted = (
        select(*names, *(getattr(ExpressionRow, name) for name in _VALUES))
        .join(TrackRow, TrackRow.id == ExpressionRow.track_id)
        .where(TrackRow.video_id == video_id, TrackRow.identity_id.in_(identities))
        .order_by(TrackRow.identity_id, TrackRow.id, ExpressionRow.frame)
    )
    for part in _grouped(_numbers(session, wanted, len(names) + len(_VALUES)), keys=1):
        yield int(part[0, 0]), Samples(part[:, 1], part[:, 2], np.maximum(part[:, 3], 1.0), part[:, 4:])


def _grouped(values: Float64, *, keys: int) -> Iterator[Float64]:
    """Yield the rows of ``values`` that agree in their first ``keys`` columns; equal ones lie together."""
    changes = np.flatnonzero((np.diff(values[:, :keys], axis=0) != 0).any(axis=1)) + 1
    yield from (part for part in np.split(values, changes) if len(part))


def _numbers(session: Session, wanted: Select[Any], width: int) -> Float64:
    """Return ``(N, width)`` numbers, NaN for NULL."""
    parts = session.execute(wanted.execution_options(yield_per=_PART)).partitions()
    arrays = [np.array([tuple(row) for row in part], np.float64) for part in parts]
    return np.concatenate([np.empty((0, width)), *arrays])


def _insert_timeline(session: Session, told: EmotionTimeline, model_id: str) -> None:
    curve, owner = told.curve, {"video_id": told.curve.video_id, "identity_id": told.curve.identity_id}
    emotions, source = strongest(curve.emotions), _source(derived=curve.affect_derived)
    points = {
        "time": curve.times.tolist(),
        "seconds": told.seconds.tolist(),
        "emotion": emotions,
        "affect_source": [None if emotion is None else source for emotion in emotions],
        **_columns(_VALUES, curve.emotions, curve.valence, curve.arousal),
    }
    _insert(session, CurveRow, _owned(owner | {"model_id": model_id}, points))
    _insert(session, EpisodeRow, _owned(owner | {"model_id": model_id}, _episode_columns(told.episodes)))
    _insert_summary(session, told.summary, owner, {"model_id": model_id, "affect_source": source})


def _owned(owner: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    count = len(next(iter(columns.values())))
    return {**{name: [value] * count for name, value in owner.items()}, **columns}


def _episode_columns(episodes: Sequence[Episode]) -> dict[str, list[Any]]:
    names = ("onset", "apex", "offset", "mean", "peak")
    numbers = {name: [getattr(episode, name) for episode in episodes] for name in names}
    return {"emotion": [episode.label for episode in episodes], **numbers}


def _insert_summary(
    session: Session, summary: EmotionSummary, owner: Mapping[str, Any], origin: Mapping[str, Any]
) -> None:
    numbers = {"seconds": [summary.seconds], **_columns(EMOTIONS, summary.shares[None])}
    means = {"mean_valence": [summary.mean_valence], "mean_arousal": [summary.mean_arousal]}
    _insert(session, SummaryRow, _owned({**owner, **origin}, {**numbers, **means}))
    before, after = np.nonzero(summary.transitions)
    changes = {
        "before": [EMOTIONS[place] for place in before],
        "after": [EMOTIONS[place] for place in after],
        "count": summary.transitions[before, after].tolist(),
    }
    _insert(session, TransitionRow, _owned(owner, changes))


# ---- reading them


def _of(table: type[Any], identity_id: int | None, video_id: int | None) -> list[ColumnElement[bool]]:
    wanted = ((table.identity_id, identity_id), (table.video_id, video_id))
    return [column == value for column, value in wanted if value is not None]


def curves(session: Session, identity_id: int | None, video_id: int | None) -> list[EmotionCurve]:
    """Return the curves, of one identity or in one video where given, by video and identity."""
    names = ("video_id", "identity_id", "time", *_VALUES)
    wanted = select(*(getattr(CurveRow, name) for name in names)).where(*_of(CurveRow, identity_id, video_id))
    values = _numbers(session, wanted.order_by(CurveRow.video_id, CurveRow.identity_id, CurveRow.time), len(names))
    derived = {row.id: row.affect_derived for row in session.execute(select(Video.id, Video.affect_derived))}
    return [_curve(part, derived) for part in _grouped(values, keys=2)]


def _curve(values: Float64, derived: Mapping[int, bool]) -> EmotionCurve:
    video_id, identity_id = (int(number) for number in values[0, :2])
    return EmotionCurve(
        identity_id=identity_id,
        video_id=video_id,
        times=values[:, 2],
        emotions=values[:, 3:10].astype(np.float32),
        valence=values[:, 10].astype(np.float32),
        arousal=values[:, 11].astype(np.float32),
        affect_derived=derived[video_id],
    )


def episodes(session: Session, identity_id: int | None, video_id: int | None) -> list[Episode]:
    """Return the episodes, of one identity or in one video where given, by video, identity and time."""
    names = ("identity_id", "video_id", "emotion", "onset", "apex", "offset", "mean", "peak")
    wanted = select(*(getattr(EpisodeRow, name) for name in names)).where(*_of(EpisodeRow, identity_id, video_id))
    rows = session.execute(wanted.order_by(EpisodeRow.video_id, EpisodeRow.identity_id, EpisodeRow.onset))
    return [Episode(*row) for row in rows]


def summaries(session: Session, identity_id: int | None, video_id: int | None) -> list[EmotionSummary]:
    """Return the summaries, of one identity or in one video where given, by video and identity."""
    wanted = select(SummaryRow).where(*_of(SummaryRow, identity_id, video_id))
    changes = dict[Pair, NDArray[np.int64]]()
    for row in session.scalars(select(TransitionRow).where(*_of(TransitionRow, identity_id, video_id))):
        matrix = changes.setdefault((row.video_id, row.identity_id), _no_transitions())
        matrix[EMOTIONS.index(row.before), EMOTIONS.index(row.after)] = row.count
    rows = session.scalars(wanted.order_by(SummaryRow.video_id, SummaryRow.identity_id))
    return [_summary(row, changes.get((row.video_id, row.identity_id), _no_transitions())) for row in rows]


def _no_transitions() -> NDArray[np.int64]:
    return np.zeros((len(EMOTIONS), len(EMOTIONS)), np.int64)


def _summary(row: SummaryRow, transitions: NDArray[np.int64]) -> EmotionSummary:
    return EmotionSummary(
        identity_id=row.identity_id,
        video_id=row.video_id,
        seconds=row.seconds,
        shares=np.array([getattr(row, name) for name in EMOTIONS]),
        transitions=transitions,
        mean_valence=_number(row.mean_valence),
        mean_arousal=_number(row.mean_arousal),
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
