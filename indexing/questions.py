"""Who may be one person: the pairs of people of whom the vectors say least, to be shown to somebody who knows."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from indexing import calibrate, cluster, gallery
from indexing.calibrate import Calibration
from indexing.constraints import co_occurring
from indexing.corrections import Entry
from indexing.store import Store
from indexing.timeline import best_track
from indexing.types import TrackRecord, Verdicts
from tracker.types import Float32

BAND = (0.02, 0.98)
"""Probabilities of one person between which it is worth asking."""

_ROWS = 512
"""People who are compared with all others at a time."""

Pair = tuple[int, int]
"""Two identities, rising."""


@dataclass(frozen=True, slots=True)
class Question:
    """Two people who may be one.

    Attributes:
        a: One identity.
        b: The other, of a higher id.
        probability: Calibrated probability in [0, 1] that they are one.
        similarity: Cosine of their templates.
        track_a: The track with the best picture of ``a``.
        track_b: The same of ``b``.
    """

    a: int
    b: int
    probability: float
    similarity: float
    track_a: int
    track_b: int


def questions(store: Store, *, limit: int = 20) -> list[Question]:
    """Return the pairs of people who may be one, those first whose probability is nearest to a half.

    Left out are people who share a frame, who were said to be two or have two names, and who are ignored.

    Args:
        store: The store.
        limit: How many at most.
    """
    records = _of_people(store)
    people, templates = _templates(store, records)
    said = store.verdicts()
    settled = _in_one_picture(records) | _said_to_be_two(said, records)
    alike = _alike(people, templates, calibrate.for_store(store))
    # Two names are two people.
    asked = (p for p in alike if (p.a, p.b) not in settled and not (p.a in said.names and p.b in said.names))
    found = heapq.nsmallest(limit, asked, key=_Alike.rank)
    return [_question(pair, records) for pair in found]


def _question(pair: _Alike, records: Mapping[int, Sequence[TrackRecord]]) -> Question:
    track_a, track_b = (best_track(records[who], ()) or 0 for who in (pair.a, pair.b))
    return Question(pair.a, pair.b, pair.probability, pair.similarity, track_a, track_b)


class _Alike(NamedTuple):
    """Two people, rising, and how alike they are."""

    a: int
    b: int
    probability: float
    similarity: float

    def rank(self) -> tuple[float, float, int, int]:
        """Return the place of the pair: the least certain first."""
        return abs(self.probability - 0.5), -self.similarity, self.a, self.b


def answer(store: Store, a: int, b: int, *, same: bool, reason: str | None = None) -> Entry:
    """Keep what somebody says of two people: they are merged, or the tracks of the one are not the other for good.

    Args:
        store: The store.
        a: One identity.
        b: The other.
        same: They are one.
        reason: Why, for the log.

    Raises:
        FacetrackError: if there are no such people, they are one already, or it is contradictory.
    """
    if same:
        return gallery.merge(store, a, b, reason=reason)
    keys = [record.key for record in store.track_records(identity_id=b)]
    return gallery.not_(store, a, keys, reason=reason)


def _of_people(store: Store) -> dict[int, list[TrackRecord]]:
    """Return the tracks of each person who is not ignored."""
    found: dict[int, list[TrackRecord]] = {one.identity_id: [] for one in store.identities() if not one.ignored}
    for record in store.track_records():
        if record.identity_id in found:
            found[record.identity_id].append(record)
    return found


def _templates(store: Store, records: Mapping[int, Sequence[TrackRecord]]) -> tuple[list[int], Float32]:
    """Return the people who have an embedding, and a template of each."""
    rows = store.embeddings()
    if not len(rows):
        return [], rows.vectors
    owners = {record.key: who for who, theirs in records.items() for record in theirs}
    whose = np.array([owners.get(key, 0) for key in rows.track_keys.tolist()], np.int64)
    order = np.argsort(whose, kind="stable")
    people, starts = np.unique(whose[order], return_index=True)
    groups = [group for who, group in zip(people, np.split(order, starts[1:]), strict=True) if who]
    made = [cluster.template(rows.vectors[group], rows.qualities[group]) for group in groups]
    return people[people > 0].tolist(), np.array(made, np.float32)


def _alike(people: Sequence[int], templates: Float32, scale: Calibration) -> Iterator[_Alike]:
    """Yield the pairs within the band."""
    for start in range(0, len(people), _ROWS):
        similarities = templates[start : start + _ROWS] @ templates.T
        probabilities = scale.probability(similarities)
        inside = (probabilities > BAND[0]) & (probabilities < BAND[1])
        for row, column in np.argwhere(inside).tolist():
            if column > start + row:
                chance, likeness = float(probabilities[row, column]), float(similarities[row, column])
                yield _Alike(people[start + row], people[column], chance, likeness)


def _in_one_picture(records: Mapping[int, Sequence[TrackRecord]]) -> set[Pair]:
    tracks = [record for theirs in records.values() for record in theirs]
    shared = co_occurring(*([getattr(t, name) for t in tracks] for name in ("video_id", "first_frame", "end_frame")))
    return {_pair(tracks[i].identity_id or 0, tracks[j].identity_id or 0) for i, j in shared.tolist()}


def _said_to_be_two(said: Verdicts, records: Mapping[int, Sequence[TrackRecord]]) -> set[Pair]:
    """Return the pairs of which a track of the one was said not to be the other."""
    owners = {record.key: who for who, theirs in records.items() for record in theirs}
    return {_pair(owners[key], other) for key, other in said.bans if key in owners}


def _pair(a: int, b: int) -> Pair:
    return (a, b) if a < b else (b, a)
