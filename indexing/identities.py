"""Whose each track is: known identities are kept, and new tracks join one, found one or stay unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing import cluster
from indexing.calibrate import FARS, Calibration, for_database
from indexing.constraints import Constraints, co_occurring
from indexing.types import TrackEmbeddings, TrackRecord
from tracker.types import Float32, Float64

Int64 = NDArray[np.int64]

QUALITY_FLOOR = 0.03
"""Quality (`tracker.align.quality`) below which a track founds no identity: too small, too blurred or turned away."""

MEDOID_FAR = 0.1
"""Keyframes of a track that are less alike than a tenth of all strangers are no evidence of one face."""

MARGIN = 10.0
"""A poor track joins the nearest identity if the next is farther by what makes false accepts so many times as rare."""


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
    evidence = _Evidence.of(ordered, embeddings, identities, floor=scale.threshold(MEDOID_FAR))
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
    rows: Float32
    apart: Constraints

    @classmethod
    def of(
        cls, tracks: Sequence[TrackRecord], embeddings: TrackEmbeddings, known: Mapping[int, int], *, floor: float
    ) -> _Evidence:
        keys = np.array([track.key for track in tracks], np.int64)
        shared = co_occurring(
            *([getattr(t, name) for t in tracks] for name in ("video_id", "first_frame", "end_frame"))
        )
        rows, seen = templates(keys, embeddings, floor=floor)
        return cls(
            keys,
            np.array([track.quality for track in tracks], np.float64),
            np.array([known.get(track.key, -1) for track in tracks], np.int64),
            seen,
            rows,
            Constraints(len(tracks), shared),
        )


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
    """Return ``labels`` with the poor tracks joined to the cluster that is clearly nearest, if it is free just then.

    The nearest of all tracks goes first. A cluster that is nearest but not free leaves the track unknown: it is a
    mirror, a picture, or a double of the face beside it.
    """
    poor = np.flatnonzero(evidence.seen & (labels == -1))
    if not len(poor) or labels.max(initial=-1) < 0:
        return labels
    joined, apart = labels.copy(), evidence.apart.neighbours()
    means, _ = cluster.cluster_means(evidence.rows[labels >= 0], np.ones((labels >= 0).sum()), labels[labels >= 0])
    similarities = evidence.rows[poor] @ means.T
    for place in np.argsort(-similarities.max(axis=1), kind="stable").tolist():
        nearest, clear = _clear(similarities[place], threshold, scale)
        taken = {int(joined[other]) for other in apart[poor[place]]}
        if clear and nearest not in taken:
            joined[poor[place]] = nearest
    return joined


def _clear(similarities: Float32, threshold: float, scale: Calibration) -> tuple[int, bool]:
    nearest = int(np.argmax(similarities))
    second = float(np.partition(similarities, -2)[-2]) if len(similarities) > 1 else -1.0
    margin = scale.threshold(float(FARS[0]) / MARGIN) - scale.threshold(float(FARS[0]))
    best = float(similarities[nearest])
    return nearest, best >= threshold and best - second >= margin


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
