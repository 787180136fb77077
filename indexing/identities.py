"""Whose each track is: known identities are kept, and new tracks join one, found one or stay unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from indexing import cluster
from indexing.calibrate import FARS, Calibration, for_database
from indexing.constraints import Constraints, co_occurring
from indexing.types import TrackEmbeddings, TrackRecord
from tracker.types import Float32, Float64

Int64 = NDArray[np.int64]

QUALITY_FLOOR = 0.02
"""Quality (`tracker.align.quality`) below which a track waits for the others to be clustered: profile or blur."""

FOUNDING_FRAMES = 10
"""Frames from which a track below the floor that joins nobody is a person all the same, and not a passing shadow."""

SAME_SHOT_FAR = 1e-4
"""Two tracks of one shot that the tracker did not join are one person only where so few strangers are as alike.

Who leaves a picture seldom comes back before the cut, while light, blur and bent heads that strangers share within a
shot make them alike.
"""

MEDOID_FAR = 0.1
"""Keyframes of a track that are less alike than a tenth of all strangers are no evidence of one face."""

MARGIN = 1.5
"""A waiting track joins an identity if this many times fewer strangers are as near to it as to the next one."""

SLACK = 2.0
"""It may do so at a false accept rate this many times that of the cut, as the margin speaks for it too."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Whose the tracks are, as `indexing.store.Store.assign` takes it.

    Attributes:
        groups: Known identity (None: a new one) and the keys of its tracks; the known ones first by id, then the new
            ones by their first track.
        confidences: Track key -> probability in [0, 1] that it is of its group.
        unknown: Keys of the tracks that are in no group, rising.
    """

    groups: tuple[tuple[int | None, tuple[int, ...]], ...]
    confidences: dict[int, float]
    unknown: tuple[int, ...]


def assign(
    tracks: Sequence[TrackRecord],
    embeddings: TrackEmbeddings,
    *,
    known: Mapping[int, int] | None = None,
    scale: Calibration | None = None,
    clusterer: str | cluster.Clusterer = "auto",
    far: float | None = None,
    quality_floor: float = QUALITY_FLOOR,
) -> Assignment:
    """Say whose each track is.

    The outcome depends on nothing but the arguments, and not on the order of the tracks. Tracks of a known identity
    stay with it and two known identities never become one; no two tracks that share a frame come together, save where
    ``known`` says so.

    Args:
        tracks: All tracks.
        embeddings: Their embeddings, of one embedder; a track without any stays unknown unless it is known.
        known: Track key -> identity; None: as the tracks themselves say.
        scale: The calibration of the embedder; None: see `indexing.calibrate.for_database`.
        clusterer: A name of `indexing.cluster.CLUSTERERS`, or an object (which has its own threshold).
        far: False accept rate at which clusters are cut, 1e-6 to 0.1; None: by what there is to cluster, see
            `indexing.calibrate.Calibration.cluster_threshold`.
        quality_floor: Tracks of a lower quality found no identity; they join one that is clearly nearest, or stay
            unknown.

    Raises:
        FacetrackError: if there is no such clusterer, or ``far`` is out of range.
    """
    check_clusterer(clusterer)
    ordered = sorted(tracks, key=lambda track: track.key)
    scale = for_database(ordered, embeddings) if scale is None else scale
    identities = {t.key: t.identity_id for t in ordered if t.identity_id is not None} if known is None else known
    evidence = _Evidence.of(ordered, embeddings, identities, scale)
    decent = evidence.seen & ((evidence.identities >= 0) | (evidence.qualities >= quality_floor))
    items = _Items.of(evidence, np.flatnonzero(decent))
    threshold = items.threshold(scale) if far is None else scale.threshold(far)
    labels = np.full(len(ordered), -1)
    labels[decent] = items.cluster(cluster.load(clusterer, threshold))
    return _assignment(evidence, _attach(evidence, labels, scale, threshold), scale)


def check_clusterer(clusterer: str | cluster.Clusterer) -> None:
    """Check the name of a clusterer, before any long work.

    Raises:
        FacetrackError: if there is none of that name.
    """
    cluster.load(clusterer, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Evidence:
    """The tracks as arrays by rising key; ``seen``: has an embedding; ``identities``: -1 where none is known."""

    keys: Int64
    qualities: Float64
    identities: Int64
    seen: NDArray[np.bool_]
    frames: Int64
    rows: Float32
    apart: Constraints

    @classmethod
    def of(
        cls, tracks: Sequence[TrackRecord], embeddings: TrackEmbeddings, known: Mapping[int, int], scale: Calibration
    ) -> _Evidence:
        keys = np.array([track.key for track in tracks], np.int64)
        shared = co_occurring(
            *([getattr(t, name) for t in tracks] for name in ("video_id", "first_frame", "end_frame"))
        )
        rows, seen = templates(keys, embeddings, floor=scale.threshold(MEDOID_FAR))
        doubtful = _unlike_in_shot(tracks, rows, scale.threshold(SAME_SHOT_FAR))
        return cls(
            keys,
            np.array([track.quality for track in tracks], np.float64),
            np.array([known.get(track.key, -1) for track in tracks], np.int64),
            seen,
            np.array([track.frame_count for track in tracks], np.int64),
            rows,
            Constraints(len(tracks), np.concatenate([shared, doubtful])),
        )


def _unlike_in_shot(tracks: Sequence[TrackRecord], rows: Float32, limit: float) -> Int64:
    """Return ``(P, 2)`` positions of tracks of one shot that are less alike than ``limit``, see `SAME_SHOT_FAR`."""
    shots: dict[tuple[int, int], list[int]] = {}
    for position, track in enumerate(tracks):
        shots.setdefault((track.video_id, track.shot), []).append(position)
    pairs = [
        (a, b) for members in shots.values() for a, b in combinations(members, 2) if float(rows[a] @ rows[b]) < limit
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def templates(
    keys: Int64, embeddings: TrackEmbeddings, *, floor: float | None = None
) -> tuple[Float32, NDArray[np.bool_]]:
    """Return the ``(T, D)`` template of each track (zeros without an embedding), and ``(T,)`` whether it has one.

    Args:
        keys: ``(T,)`` keys of the tracks, rising.
        embeddings: Their embeddings, in any order.
        floor: See `indexing.cluster.template`.
    """
    rows = np.zeros((len(keys), embeddings.vectors.shape[1]), np.float32)
    order = np.lexsort((embeddings.row_ids, embeddings.track_keys))
    starts = np.searchsorted(embeddings.track_keys[order], keys, side="left")
    ends = np.searchsorted(embeddings.track_keys[order], keys, side="right")
    for row, start, end in zip(rows, starts.tolist(), ends.tolist(), strict=True):
        members = order[start:end]
        if len(members):
            row[:] = cluster.template(embeddings.vectors[members], embeddings.qualities[members], floor=floor)
    return rows, ends > starts


@dataclass(frozen=True, slots=True, eq=False)
class _Items:
    """What is clustered: a track, or all tracks of a known identity as one; ``places``: the item of each track."""

    places: Int64
    means: Float32
    weights: Float64
    rules: Constraints

    @classmethod
    def of(cls, evidence: _Evidence, which: Int64) -> _Items:
        identities = evidence.identities[which]
        places = cluster.first_seen(np.where(identities >= 0, identities, -1 - np.arange(len(which))))
        means, weights = cluster.cluster_means(evidence.rows[which], np.ones(len(which)), places)
        rules = _without(evidence.apart.reorder(which), places).collapse(places)
        return cls(places, means, weights, Constraints(rules.count, rules.pairs, places[identities >= 0]))

    def threshold(self, scale: Calibration) -> float:
        return scale.cluster_threshold(self.means, anchored=self.rules.anchored())

    def cluster(self, clusterer: cluster.Clusterer) -> Int64:
        return clusterer.fit_predict(self.means, constraints=self.rules, weights=self.weights)[self.places]


def _without(rules: Constraints, items: Int64) -> Constraints:
    """Return ``rules`` less those within an item: what a user has said of a known identity outweighs them."""
    inside = items[rules.pairs[:, 0]] == items[rules.pairs[:, 1]]
    return Constraints(rules.count, rules.pairs[~inside], rules.anchors)


def _attach(evidence: _Evidence, labels: Int64, scale: Calibration, threshold: float) -> Int64:
    """Return ``labels`` with the waiting tracks joined to the clearly nearest cluster that is free in their frames.

    The clearest goes first, as each one that joins takes its cluster from those beside it. Long ones that are left
    found clusters of their own.
    """
    joined, apart = labels.copy(), evidence.apart.neighbours()
    waiting = np.flatnonzero(evidence.seen & (labels == -1)).tolist()
    limit = scale.threshold(min(scale.far(threshold) * SLACK, float(FARS[0])))
    while waiting and (found := _clearest(evidence, joined, waiting, apart, scale, limit)):
        track, cluster_of_track = found
        joined[track] = cluster_of_track
        waiting.remove(track)
    for track in waiting:
        if evidence.frames[track] >= FOUNDING_FRAMES:
            joined[track] = joined.max(initial=-1) + 1
    return joined


def _clearest(
    evidence: _Evidence,
    labels: Int64,
    waiting: Sequence[int],
    apart: Sequence[set[int]],
    scale: Calibration,
    limit: float,
) -> tuple[int, int] | None:
    """Return the waiting track that is nearest to a cluster it may join, and that cluster; None if there is none."""
    inside = labels >= 0
    if not inside.any():
        return None
    means, _ = cluster.cluster_means(evidence.rows[inside], np.ones(inside.sum()), labels[inside])
    best: tuple[float, int, int] | None = None
    for track in waiting:
        similarities = means @ evidence.rows[track]
        similarities[[int(labels[other]) for other in apart[track] if labels[other] >= 0]] = -1
        nearest, second = np.argsort(-similarities, kind="stable")[:2].tolist() if len(means) > 1 else (0, None)
        similarity = float(similarities[nearest])
        rival = -1.0 if second is None else float(similarities[second])
        clear = similarity >= limit and scale.far(similarity) * MARGIN <= scale.far(rival)
        if clear and (best is None or similarity > best[0]):
            best = (similarity, track, nearest)
    return best and best[1:]


def _assignment(evidence: _Evidence, labels: Int64, scale: Calibration) -> Assignment:
    confidences = _confidences(evidence, labels, scale)
    people: dict[int, list[int]] = {int(identity): [] for identity in np.unique(evidence.identities) if identity >= 0}
    owner = {int(label): int(i) for label, i in zip(labels, evidence.identities, strict=True) if label >= 0 <= i}
    founded: dict[int, list[int]] = {}
    for key, label, identity in zip(*(a.tolist() for a in (evidence.keys, labels, evidence.identities)), strict=True):
        person = identity if identity >= 0 else owner.get(label)
        if person is not None:
            people[person].append(key)
        elif label >= 0:
            founded.setdefault(label, []).append(key)
    groups = [(identity, tuple(keys)) for identity, keys in people.items()]
    groups_of_new: list[tuple[int | None, tuple[int, ...]]] = [(None, tuple(keys)) for keys in founded.values()]
    unknown = evidence.keys[(labels == -1) & (evidence.identities == -1)]
    return Assignment((*groups, *groups_of_new), confidences, tuple(unknown.tolist()))


def _confidences(evidence: _Evidence, labels: Int64, scale: Calibration) -> dict[int, float]:
    """Return, by key, the probability that a track is one person with the others of its cluster.

    A track alone in its cluster has no others: for it, the probability that it is nobody of the other clusters.
    """
    inside = np.flatnonzero(labels >= 0)
    if not len(inside):
        return {}
    rows, own = evidence.rows[inside], cluster.first_seen(labels[inside])
    means, sizes = cluster.cluster_means(rows, np.ones(len(inside)), own)
    others = sizes[own] - 1
    to_others = ((rows * means[own]).sum(axis=1) * sizes[own] - (rows * rows).sum(axis=1)) / np.maximum(others, 1)
    similarities = rows @ means.T
    similarities[np.arange(len(inside)), own] = -1
    chances = np.where(others > 0, scale.probability(to_others), 1 - scale.probability(similarities.max(axis=1)))
    return dict(zip(evidence.keys[inside].tolist(), chances.tolist(), strict=True))
