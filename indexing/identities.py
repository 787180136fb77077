"""Whose each track is: clustered anew in full, or only what is near to the new ones; ids are carried over."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from indexing import cluster
from indexing.attach import attach
from indexing.calibrate import FARS, Calibration, for_database
from indexing.carry import carry_over
from indexing.constraints import Constraints, co_occurring, spoken, unlike_in_shot
from indexing.types import TrackEmbeddings, TrackRecord, Verdicts
from tracker.types import Float32, Float64

Int64 = NDArray[np.int64]

QUALITY_FLOOR = 0.1
"""Quality below which a track waits for the others to be clustered: its views tell its person from strangers by less
than half of what clear ones do (`benchmarks/quality.py`)."""

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

DRIFT = 1.05
"""Everything is clustered anew when the false accept rate of the cut has changed by this factor since the last time.

The rate falls about as the number of tracks grows, so this happens some fifty times from a dozen tracks to thousands.
"""

NEVER = 1.0
"""In place of the similarity at which everything was last clustered, where it never was."""

UNSEEN = 1e-9
"""What a track without an embedding counts in the mean of its cluster: it has a place, and next to no say."""

_CHUNK = 1024
"""Rows that are compared with all others at a time."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Whose the tracks are, as `indexing.store.Store.assign` takes it.

    Attributes:
        groups: Known identity (None: a new one) and the keys of its tracks; the known ones first by id, then the new
            ones by their first track. An identity that no track is left to is in none.
        confidences: Track key -> probability in [0, 1] that it is of its group.
        unknown: Keys of the tracks that are in no group, rising.
        clustered: Keys of the tracks that were looked at, rising; all others are whose they were.
        settled_at: Similarity at which everything was last clustered, for the next call of `assign`; None: unknown.
    """

    groups: tuple[tuple[int | None, tuple[int, ...]], ...]
    confidences: dict[int, float]
    unknown: tuple[int, ...]
    clustered: tuple[int, ...] = ()
    settled_at: float | None = None


def assign(
    tracks: Sequence[TrackRecord],
    embeddings: TrackEmbeddings,
    *,
    known: Mapping[int, int] | None = None,
    fresh: Collection[int] | None = None,
    verdicts: Verdicts | None = None,
    scale: Calibration | None = None,
    clusterer: str | cluster.Clusterer = "auto",
    far: float | None = None,
    quality_floor: float = QUALITY_FLOOR,
    settled_at: float | None = None,
) -> Assignment:
    """Say whose the fresh tracks are; only they and the identities within their reach are clustered anew.

    Average linkage joins two clusters at the cut only if a pair of their tracks is as similar as the cut. So the
    identities with such a track are clustered together with the fresh tracks, from their tracks and not from what they
    were; then those that what came out is now similar enough to, until there is none left (the idea of Monath et al.,
    KDD 2019: mend a hierarchy only where an insertion breaks it). The cut is that of all tracks, so that the outcome is
    that of `recluster` but for what the moving of the cut would change elsewhere. It moves the less
    the more tracks there are; when it has moved by more than `DRIFT`, everything is clustered anew.

    The outcome depends on nothing but the arguments, and not on the order of the tracks. What was said holds: pinned
    tracks are of their identities, banned ones are not, and no two tracks that share a frame come together, save where
    they are pinned.

    Args:
        tracks: All tracks.
        embeddings: Their embeddings, of one embedder; a track without any stays whose it is.
        known: Track key -> identity; None: as the tracks themselves say.
        fresh: Keys of the tracks to place; None: all of no identity. Those whose identity contradicts ``verdicts`` are
            placed too.
        verdicts: What people said; None: nothing.
        scale: The calibration of the embedder; None: see `indexing.calibrate.for_database`.
        clusterer: A name of `indexing.cluster.CLUSTERERS`, or an object (which has its own threshold). With ``hdbscan``
            and ``kmeans`` the agreement with `recluster` is looser.
        far: False accept rate at which clusters are cut, 1e-6 to 0.1; None: by what there is to cluster, see
            `indexing.calibrate.Calibration.cluster_threshold`.
        quality_floor: Tracks of a lower quality found no identity; they join one that is clearly nearest, or stay
            unknown.
        settled_at: The similarity at which everything was last clustered, see `Assignment`; `NEVER`: not yet; None:
            leave all that is out of reach alone, however much the cut has moved.

    Raises:
        FacetrackError: if there is no such clusterer, or ``far`` is out of range.
    """
    check_clusterer(clusterer)
    evidence, cut = _prepared(tracks, embeddings, known, verdicts, scale, clusterer, far, quality_floor)
    if settled_at is not None and cut.has_moved_from(settled_at):
        return _anew(evidence, cut)
    which = evidence.closure(evidence.to_place(fresh))
    reached = np.union1d(which, _within_reach(evidence, which, cut))
    return replace(_grown(evidence, evidence.closure(reached), cut), settled_at=settled_at)


def recluster(
    tracks: Sequence[TrackRecord],
    embeddings: TrackEmbeddings,
    *,
    known: Mapping[int, int] | None = None,
    verdicts: Verdicts | None = None,
    scale: Calibration | None = None,
    clusterer: str | cluster.Clusterer = "auto",
    far: float | None = None,
    quality_floor: float = QUALITY_FLOOR,
) -> Assignment:
    """Say anew whose every track is, from the embeddings and what was said; ids are carried over, see `carry_over`.

    Args:
        tracks: All tracks.
        embeddings: See `assign`.
        known: See `assign`; it only says which ids the clusters get.
        verdicts: See `assign`.
        scale: See `assign`.
        clusterer: See `assign`.
        far: See `assign`.
        quality_floor: See `assign`.

    Raises:
        FacetrackError: if there is no such clusterer, or ``far`` is out of range.
    """
    check_clusterer(clusterer)
    evidence, cut = _prepared(tracks, embeddings, known, verdicts, scale, clusterer, far, quality_floor)
    return _anew(evidence, cut)


def _anew(evidence: _Evidence, cut: _Cut) -> Assignment:
    every = np.arange(len(evidence.keys))
    return replace(_assignment(evidence, every, _solved(evidence, cut), cut.scale), settled_at=cut.threshold)


def check_clusterer(clusterer: str | cluster.Clusterer) -> None:
    """Check the name of a clusterer, before any long work.

    Raises:
        FacetrackError: if there is none of that name.
    """
    cluster.load(clusterer, 0.0)


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where clusters end: the clusterer with its threshold, and the similarities at which a waiting track joins one.

    ``limit``: from which it may join; ``rival``: from which another cluster is a rival.
    """

    scale: Calibration
    clusterer: cluster.Clusterer
    limit: float
    rival: float

    @classmethod
    def of(cls, scale: Calibration, clusterer: str | cluster.Clusterer, threshold: float) -> _Cut:
        far, highest = scale.far(threshold), float(FARS[0])
        limit, rival = (scale.threshold(min(far * times, highest)) for times in (SLACK, SLACK * MARGIN))
        return cls(scale, cluster.load(clusterer, threshold), limit, rival)

    @property
    def threshold(self) -> float:
        return self.clusterer.threshold

    def has_moved_from(self, threshold: float) -> bool:
        """Tell whether so many more or fewer strangers are as alike as this cut than as that one, see `DRIFT`."""
        rates = self.scale.far(self.threshold), self.scale.far(threshold)
        return max(rates) > DRIFT * min(rates)


def _prepared(
    tracks: Sequence[TrackRecord],
    embeddings: TrackEmbeddings,
    known: Mapping[int, int] | None,
    verdicts: Verdicts | None,
    scale: Calibration | None,
    clusterer: str | cluster.Clusterer,
    far: float | None,
    quality_floor: float,
) -> tuple[_Evidence, _Cut]:
    ordered = sorted(tracks, key=lambda track: track.key)
    scale = for_database(ordered, embeddings) if scale is None else scale
    owners = {t.key: t.identity_id for t in ordered if t.identity_id is not None} if known is None else dict(known)
    said = _held(verdicts or Verdicts(), ordered, owners)
    evidence = _Evidence.of(ordered, embeddings, owners, said, scale, quality_floor)
    threshold = _Items.of(evidence).threshold(scale) if far is None else scale.threshold(far)
    return evidence, _Cut.of(scale, clusterer, threshold)


def _held(verdicts: Verdicts, tracks: Sequence[TrackRecord], owners: Mapping[int, int]) -> Verdicts:
    """Return ``verdicts`` with a pin for each named or ignored identity that has none: its best track.

    The track that a person has named may have gone with its video.
    """
    loose = (verdicts.names.keys() | verdicts.ignored) - set(verdicts.pins.values())
    best: dict[int, TrackRecord] = {}
    for track in tracks if loose else ():
        owner = owners.get(track.key)
        free = owner in loose and track.key not in verdicts.pins and (track.key, owner) not in verdicts.bans
        if owner is not None and free and (owner not in best or track.quality > best[owner].quality):
            best[owner] = track
    return replace(verdicts, pins={**verdicts.pins, **{track.key: owner for owner, track in best.items()}})


_PER_TRACK = ("keys", "known", "pinned", "frames", "rows", "weights", "seen", "decent")


@dataclass(frozen=True, slots=True, eq=False)
class _Evidence:
    """The tracks as arrays by rising key.

    ``known``, ``pinned``: the identity, -1 where none; ``bans``: ``(B, 2)`` position and identity; ``weights``: see
    `weights`; ``seen``: has an embedding; ``decent``: may found an identity.
    """

    tracks: tuple[TrackRecord, ...]
    keys: Int64
    known: Int64
    pinned: Int64
    bans: Int64
    frames: Int64
    rows: Float32
    weights: Float64
    seen: NDArray[np.bool_]
    decent: NDArray[np.bool_]
    shot_limit: float

    @classmethod
    def of(
        cls,
        tracks: Sequence[TrackRecord],
        embeddings: TrackEmbeddings,
        known: Mapping[int, int],
        said: Verdicts,
        scale: Calibration,
        quality_floor: float,
    ) -> _Evidence:
        keys = np.array([track.key for track in tracks], np.int64)
        place = {key: position for position, key in enumerate(keys.tolist())}
        rows, seen = templates(keys, embeddings, floor=scale.threshold(MEDOID_FAR))
        pinned = np.array([said.pins.get(track.key, -1) for track in tracks], np.int64)
        good = np.array([track.quality >= quality_floor for track in tracks], np.bool_)
        bans = sorted((place[key], identity) for key, identity in said.bans if key in place)
        return cls(
            tuple(tracks),
            keys,
            np.array([known.get(track.key, -1) for track in tracks], np.int64),
            pinned,
            np.array(bans, np.int64).reshape(-1, 2),
            np.array([track.frame_count for track in tracks], np.int64),
            rows,
            weights(keys, embeddings),
            seen,
            (seen & good) | (pinned >= 0),
            scale.threshold(SAME_SHOT_FAR),
        )

    def take(self, which: Int64) -> _Evidence:
        """Return the tracks at rising positions."""
        place = np.full(len(self.keys), -1)
        place[which] = np.arange(len(which))
        bans = np.stack([place[self.bans[:, 0]], self.bans[:, 1]], axis=1)
        return replace(
            self,
            tracks=tuple(self.tracks[i] for i in which.tolist()),
            bans=bans[bans[:, 0] >= 0],
            **{name: getattr(self, name)[which] for name in _PER_TRACK},
        )

    def constraints(self) -> Constraints:
        """Return who is someone else: by the picture, by the shot, by what was said."""
        shared = co_occurring(
            *([getattr(t, name) for t in self.tracks] for name in ("video_id", "first_frame", "end_frame"))
        )
        compared = np.flatnonzero(self.seen)
        shots = [(self.tracks[i].video_id, self.tracks[i].shot) for i in compared.tolist()]
        unlike = compared[unlike_in_shot(shots, self.rows[compared], self.shot_limit)]
        return Constraints(len(self.keys), np.concatenate([shared, unlike, spoken(self.known, self.pinned, self.bans)]))

    def to_place(self, fresh: Collection[int] | None) -> Int64:
        """Return the positions of the tracks to place: the fresh ones, and those whose identity contradicts a word."""
        placed = self.known < 0 if fresh is None else np.isin(self.keys, np.fromiter(fresh, np.int64, len(fresh)))
        placed = placed | ((self.pinned >= 0) & (self.pinned != self.known))
        placed[self.bans[self.known[self.bans[:, 0]] == self.bans[:, 1], 0]] = True
        return np.flatnonzero(placed)

    def closure(self, which: Int64) -> Int64:
        """Return the positions with all tracks of their identities, and of those they are pinned to."""
        inside = np.zeros(len(self.keys), np.bool_)
        inside[which] = True
        count = -1
        while count != (count := int(inside.sum())):
            people = np.union1d(self.known[inside], self.pinned[inside])
            people = people[people >= 0]
            inside |= np.isin(self.known, people) | np.isin(self.pinned, people)
        return np.flatnonzero(inside)


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
    counts = np.searchsorted(embeddings.track_keys[order], keys, side="right") - starts
    for size in np.unique(counts[counts > 0]).tolist():
        alike = np.flatnonzero(counts == size)
        for tracks in np.array_split(alike, -(-len(alike) // _CHUNK)):
            members = order[starts[tracks][:, None] + np.arange(size)]
            rows[tracks] = _templates(embeddings.vectors[members], embeddings.qualities[members], floor)
    return rows, counts > 0


def weights(keys: Int64, embeddings: TrackEmbeddings) -> Float64:
    """Return ``(T,)`` how much each track counts in the mean of its cluster: the sum of squared qualities, at most 1.

    So a blurred or distant face does not count as much as a clear one, and an hour not more than a minute. (LFW: BCubed
    F 0.9753 with it and 0.9739 without, on halves of the people held out.) A track without an embedding counts next to
    nothing, and yet its frames are taken.

    Args:
        keys: ``(T,)`` keys of the tracks, rising.
        embeddings: Their embeddings, in any order.
    """
    ours = np.isin(embeddings.track_keys, keys)
    places = np.searchsorted(keys, embeddings.track_keys[ours])
    clear = np.maximum(embeddings.qualities[ours].astype(np.float64), 1e-3) ** 2
    return np.clip(np.bincount(places, clear, minlength=len(keys)), UNSEEN, 1.0)


def _templates(vectors: Float32, qualities: Float32, floor: float | None) -> Float32:
    """Return `indexing.cluster.template` of each of ``(T, K, D)`` vectors with ``(T, K)`` qualities."""
    weights = np.maximum(qualities.astype(np.float64), 1e-3) ** 2
    if floor is not None and vectors.shape[1] > 2:
        alike = vectors @ vectors.transpose(0, 2, 1)
        medoids = np.argmax((alike @ weights[:, :, None])[:, :, 0], axis=1)
        weights = weights * (alike[np.arange(len(alike)), medoids] >= floor)
    shares = weights / weights.sum(axis=1, keepdims=True)
    return np.asarray((shares[:, None, :] @ vectors)[:, 0], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Items:
    """What is clustered: a decent track, or all that are pinned to one identity; ``places``: the item of each."""

    which: Int64
    places: Int64
    means: Float32
    weights: Float64
    anchors: Int64

    @classmethod
    def of(cls, evidence: _Evidence) -> _Items:
        which = np.flatnonzero(evidence.decent)
        pinned = evidence.pinned[which]
        places = cluster.first_seen(np.where(pinned >= 0, pinned, -1 - np.arange(len(which))))
        means, weights = cluster.cluster_means(evidence.rows[which], evidence.weights[which], places)
        return cls(which, places, means, weights, np.unique(places[pinned >= 0]))

    def rules(self, constraints: Constraints) -> Constraints:
        rules = constraints.reorder(self.which).without(self.places).collapse(self.places)
        return Constraints(rules.count, rules.pairs, self.anchors)

    def threshold(self, scale: Calibration) -> float:
        anchored = np.zeros(len(self.means), np.bool_)
        anchored[self.anchors] = True
        seen = self.weights > UNSEEN
        return scale.cluster_threshold(self.means[seen], anchored=anchored[seen])


def _solved(evidence: _Evidence, cut: _Cut) -> Int64:
    """Return the cluster of each track, -1 for those that wait on."""
    items, constraints = _Items.of(evidence), evidence.constraints()
    labels = np.full(len(evidence.keys), -1)
    rules = items.rules(constraints)
    labels[items.which] = cut.clusterer.fit_predict(items.means, constraints=rules, weights=items.weights)[items.places]
    waiting = np.flatnonzero(evidence.seen & (labels == -1))
    return attach(
        labels,
        waiting,
        evidence.rows,
        frames=evidence.frames,
        apart=constraints.neighbours(),
        far=cut.scale.far,
        limit=cut.limit,
        rival=cut.rival,
        margin=MARGIN,
    )


def _within_reach(evidence: _Evidence, which: Int64, cut: _Cut) -> Int64:
    """Return the positions of others that are similar enough to one of ``which`` to come to be of one cluster with it.

    A waiting track has to know its rivals too; those that wait, of no identity, are reached and reach on once.
    """
    near = _near(evidence, which, cut)
    idle = near[(evidence.known[near] < 0) & ~evidence.decent[near]]
    return np.union1d(near, _near(evidence, np.setdiff1d(idle, which), cut))


def _near(evidence: _Evidence, which: Int64, cut: _Cut) -> Int64:
    """Return the positions of the others that are similar enough to one of ``which``."""
    others = np.setdiff1d(np.flatnonzero(evidence.seen), which)
    which = which[evidence.seen[which]]
    near, rows, waits = np.zeros(len(others), np.bool_), evidence.rows[others], ~evidence.decent[others]
    reach = np.where(evidence.decent[which], cut.threshold, cut.rival).astype(np.float32)
    wait_reach = np.minimum(reach, np.float32(cut.rival))
    for start in range(0, len(which) if len(others) else 0, _CHUNK):
        part = slice(start, start + _CHUNK)
        similarities = evidence.rows[which[part]] @ rows.T
        near |= (similarities >= reach[part, None]).any(axis=0) & ~waits
        near |= (similarities >= wait_reach[part, None]).any(axis=0) & waits
    return others[near]


def _grown(evidence: _Evidence, which: Int64, cut: _Cut) -> Assignment:
    """Cluster the tracks at ``which``, and more as long as others are near to what changed."""
    while True:
        local = evidence.take(which)
        labels = _solved(local, cut)
        more = _touched(evidence, which, labels, cut)
        if not len(more):
            return _assignment(evidence, which, labels, cut.scale)
        which = evidence.closure(np.union1d(which, more))


def _touched(evidence: _Evidence, which: Int64, labels: Int64, cut: _Cut) -> Int64:
    """Return the positions of tracks of other identities that a cluster which is not as it was could be joined to."""
    clustered = evidence.decent[which] & (labels >= 0)
    outside = evidence.decent & (evidence.known >= 0)
    outside[which] = False
    if not (outside.any() and clustered.any()):
        return np.empty(0, np.int64)
    changed = _changed(labels[clustered], evidence.known[which][clustered])
    means = _means(evidence, which[clustered], labels[clustered])[changed]
    people, place = np.unique(evidence.known[outside], return_inverse=True)
    near = (_means(evidence, np.flatnonzero(outside), place) @ means.T >= cut.threshold).any(axis=1)
    return np.flatnonzero(outside & np.isin(evidence.known, people[near]))


def _means(evidence: _Evidence, which: Int64, labels: Int64) -> Float32:
    """Return the mean row of each label of the tracks at ``which``, by rising label."""
    _, codes = np.unique(labels, return_inverse=True)
    return cluster.cluster_means(evidence.rows[which], evidence.weights[which], codes)[0]


def _changed(labels: Int64, known: Int64) -> NDArray[np.bool_]:
    """Return, for each label in rising order, whether its tracks are not all those of one identity."""
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    pairs = np.unique(np.stack([codes, known]), axis=1)
    whole = {identity: int(count) for identity, count in zip(*np.unique(known, return_counts=True), strict=True)}
    mixed = np.bincount(pairs[0], minlength=len(sizes)) > 1
    only = np.full(len(sizes), -1)
    only[pairs[0]] = pairs[1]
    return np.asarray(mixed | (only < 0) | (sizes != [whole[identity] for identity in only.tolist()]), np.bool_)


def _assignment(evidence: _Evidence, which: Int64, labels: Int64, scale: Calibration) -> Assignment:
    """Return whose all tracks are, those at ``which`` by their clusters and the others as before."""
    local = evidence.take(which)
    owners = evidence.known.copy()
    owners[which] = _owners(local, labels)
    confidences = _confidences(evidence, which, owners, scale)
    groups: dict[int, list[int]] = {}
    for key, owner in zip(evidence.keys.tolist(), owners.tolist(), strict=True):
        groups.setdefault(owner, []).append(key)
    unknown = groups.pop(-1, [])
    people = [(owner, tuple(keys)) for owner, keys in sorted(groups.items()) if owner >= 0]
    new = [(None, tuple(keys)) for owner, keys in groups.items() if owner < -1]
    return Assignment((*people, *new), confidences, tuple(unknown), tuple(local.keys.tolist()))


def _owners(local: _Evidence, labels: Int64) -> Int64:
    """Return the identity of each track: -1 unknown, below that one number for each new person."""
    carried = carry_over(labels, local.known, frames=local.frames, pinned=local.pinned, bans=local.bans)
    table = np.array([carried.get(label, -2 - label) for label in range(int(labels.max(initial=-1)) + 1)], np.int64)
    owners = np.where(labels >= 0, table[labels] if len(table) else -1, -1)
    return _with_unseen(local, owners)


def _with_unseen(local: _Evidence, owners: Int64) -> Int64:
    """Return ``owners`` with the tracks without a vector where they were, if those they would meet allow it."""
    unseen = np.flatnonzero(~local.seen & (owners == -1) & (local.known >= 0))
    if not len(unseen):
        return owners
    apart, banned = local.constraints().neighbours(), set(map(tuple, local.bans.tolist()))
    for track in unseen.tolist():
        person = local.known[track]
        there = np.flatnonzero(owners == person).tolist()
        if apart[track].isdisjoint(there) and (track, int(person)) not in banned:
            owners[track] = person
    return owners


def _confidences(evidence: _Evidence, which: Int64, owners: Int64, scale: Calibration) -> dict[int, float]:
    """Return, by key, the probability that a track is one person with the others of its group.

    A track alone in its group has no others: for it, the probability that it is nobody of the other groups. Tracks
    that were not looked at keep what they have.
    """
    kept = {t.key: t.confidence for t in evidence.tracks if t.confidence is not None}
    for key in evidence.keys[which].tolist():
        kept.pop(key, None)
    grouped = np.flatnonzero(evidence.seen & (owners != -1))
    if not len(grouped):
        return kept
    codes = cluster.first_seen(owners[grouped])
    means, sizes = cluster.cluster_means(evidence.rows[grouped], np.ones(len(grouped)), codes)
    asked = np.isin(grouped, which)
    rows, own = evidence.rows[grouped[asked]], codes[asked]
    others = sizes[own] - 1
    to_others = ((rows * means[own]).sum(axis=1) * sizes[own] - (rows * rows).sum(axis=1)) / np.maximum(others, 1)
    chances = scale.probability(to_others)
    alone = np.flatnonzero(others == 0)
    chances[alone] = 1 - scale.probability(_next_nearest(rows[alone], means, own[alone]))
    chances[evidence.pinned[grouped[asked]] >= 0] = 1
    return kept | dict(zip(evidence.keys[grouped[asked]].tolist(), chances.tolist(), strict=True))


def _next_nearest(rows: Float32, means: Float32, own: Int64) -> Float64:
    """Return the similarity of each row to the nearest of the means that is not its own; -1 without any."""
    found = np.full(len(rows), -1.0)
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        similarities = rows[part] @ means.T
        similarities[np.arange(len(similarities)), own[part]] = -1
        found[part] = similarities.max(axis=1)
    return found
