"""What a similarity means: the probability of one person, and the threshold at a stated false accept rate.

Every embedder has a scale of its own: the thresholds of one never serve another. `calibrate` adjusts that scale to a
database, without labels: the faces of one track are one person, those of one frame are two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from indexing import curves
from indexing.constraints import co_occurring
from indexing.curves import FOLDS, Curve, Pairs, Rate
from indexing.metrics import BINS, Labels, Verification, from_histogram, pair_counts
from indexing.types import TrackEmbeddings, TrackRecord
from tracker.errors import FacetrackError
from tracker.types import Float32, Float64, frozen

FARS = np.geomspace(0.1, 1e-6, 26)
"""False accept rates of the table of thresholds."""

KNOTS = 65
"""Points of the map from similarity to probability."""

ISOTONIC_FROM = 5000
"""Genuine and impostor pairs from which isotonic regression gives the probabilities; below, a logistic curve."""

PLATT_BELOW = 1000
"""Pairs below which a database is fitted by a logistic curve; from here to `ISOTONIC_FROM` cross-validation chooses."""

FEWEST = 50
"""People with several keyframes in a track, and couples of people in one frame, from which a database calibrates an
embedder of which no figure is known."""

STATED = (1e-2, 1e-3, 1e-4)
"""False accept rates that a report tells of."""

PRIOR_COUPLES = 10.0
"""False accepts that the prior's threshold is worth: with as many of its own, a database's threshold weighs as much."""

PRIOR_PEOPLE = 100.0
"""People and couples that the prior's probabilities are worth."""

MOST_OWN = 0.5
"""Most that the probabilities of a database weigh against measured ones, as its pairs of one person are too easy."""

GUESS_WORTH = 0.1
"""What a prior that nobody measured is worth of all that."""

MOST_COUPLES = 20_000
"""Couples of tracks that are compared; a sample of more."""

MOST_PAIRS = 64
"""Pairs of keyframes of one track, or of one couple of tracks, that are compared; a sample of more."""

KEPT_AS = "calibration"
"""Key under which a store keeps what `calibrate` found."""

FALSE_PER_MISSED = 2.0
"""A clustering is cut where it expects this many false pairs above the cut for each genuine pair below it.

Both are estimated from the calibration and the pairs that are seen above the cut. So an album of strangers, whose pairs
are impostors almost all, is cut high, and a video of two people low. Average linkage bears more false pairs than missed
ones, as one pair alone joins nothing. Chosen on LFW sub-sets of 1 to 1,249 people with three embedders, where 0.5 to
2 differ by less than 0.005.
"""

CLUSTER_FAR = 0.01
"""Highest false accept rate at which a clustering is cut."""

CUT_SAMPLE = 4096
"""Most items whose pairs are looked at for the cut."""

PUBLISHED = {
    "mobilefacenet": 0.35,
    "facenet512": 0.70,
    "facenet": 0.60,
    "arcface": 0.32,
    "sface": 0.407,
    "vgg": 0.32,
    "ghostface": 0.35,
    "dlib": 0.91,
}
"""Cosine of "same person" as makers and DeepFace publish it (best accuracy, about FAR 1e-2), by part of the name."""

UNKNOWN_EMBEDDER = 0.45
"""The same where nothing is published: above that of most families, so that people are split rather than merged."""


USUAL_TARS = 1 - 0.01 * (1e-2 / FARS) ** 0.4
"""True accept rates of a fair embedder at `FARS`, between those measured for dlib's network and EdgeFace on LFW."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The scale of one embedder.

    Attributes:
        model_id: The embedder.
        source: Where the figures come from, for people to read.
        thresholds: ``(26,)`` float64 similarity at each rate of `FARS`, rising.
        tars: ``(26,)`` float64 true accept rate at each of them, falling.
        scores: ``(K,)`` float64 rising similarities.
        probabilities: ``(K,)`` float64 probability of one person at each, genuine and impostor pairs being equally
            many.

    Example:
        >>> scale = fallback("some-model")
        >>> scale.threshold(1e-4) > scale.threshold(1e-2), scale.probability(0.9) > 0.95
        (True, True)
    """

    model_id: str
    source: str
    thresholds: Float64
    tars: Float64
    scores: Float64
    probabilities: Float64

    def __post_init__(self) -> None:
        """Check the arrays and make them read-only."""
        object.__setattr__(self, "thresholds", frozen(self.thresholds, np.float64, (len(FARS),), "thresholds"))
        object.__setattr__(self, "tars", frozen(self.tars, np.float64, (len(FARS),), "tars"))
        object.__setattr__(self, "scores", frozen(self.scores, np.float64, (None,), "scores"))
        count = len(self.scores)
        object.__setattr__(self, "probabilities", frozen(self.probabilities, np.float64, (count,), "probabilities"))
        for name in ("thresholds", "scores", "probabilities"):
            if (np.diff(getattr(self, name)) < 0).any():
                raise FacetrackError(f"calibration of {self.model_id}: {name} must not fall; fit it anew")

    def threshold(self, far: float) -> float:
        """Return the similarity that a share ``far`` of the pairs of two people reaches.

        Raises:
            FacetrackError: if ``far`` is not within the table, 1e-6 to 0.1.
        """
        if not FARS[-1] * 0.999 <= far <= FARS[0] * 1.001:
            raise FacetrackError(f"false accept rate {far}: {FARS[-1]:g} to {FARS[0]:g} are known; give one between")
        return float(np.interp(-np.log10(far), -np.log10(FARS), self.thresholds))

    def far(self, similarity: float) -> float:
        """Return the share of pairs of two people that reach ``similarity``, within the table's 1e-6 to 0.1."""
        return float(10 ** -np.interp(similarity, self.thresholds, -np.log10(FARS)))

    def cluster_threshold(self, rows: Float32, *, anchored: NDArray[np.bool_] | None = None) -> float:
        """Return the similarity at which a clustering of ``rows`` is cut, see `FALSE_PER_MISSED`.

        Args:
            rows: ``(N, D)`` float32 templates.
            anchored: ``(N,)`` whether the row is a known identity; pairs of two such say nothing. None: there is none.
        """
        known = np.zeros(len(rows), np.bool_) if anchored is None else anchored
        sample = np.sort(np.random.default_rng(0).permutation(len(rows))[:CUT_SAMPLE])
        counts = _all_pairs(rows[sample]) - _all_pairs(rows[sample][known[sample]])
        fars = np.geomspace(CLUSTER_FAR, FARS[-1], 80)
        thresholds, tars = (
            np.interp(-np.log10(fars), -np.log10(FARS), table) for table in (self.thresholds, self.tars)
        )
        above = np.cumsum(counts[::-1])[::-1][np.clip(((thresholds + 1) * (BINS / 2)).astype(int), 0, BINS - 1)]
        false = fars * counts.sum()
        missed = np.maximum(above - false, 0) * (1 - tars) / np.maximum(tars, 1e-6)
        fits = (false <= FALSE_PER_MISSED * missed) | (above == 0)
        return float(thresholds[np.argmax(fits) if fits.any() else -1])

    def probability(self, scores: ArrayLike) -> Float64:
        """Return the probability of one person for each similarity, both answers being equally likely before."""
        return np.asarray(np.interp(np.asarray(scores, np.float64), self.scores, self.probabilities))

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration as JSON values, rounded to five digits."""
        rounded = {n: np.round(getattr(self, n), 5).tolist() for n in ("thresholds", "tars", "scores", "probabilities")}
        return {"model_id": self.model_id, "source": self.source, **rounded}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Return the calibration that `to_dict` wrote."""
        return cls(**values)


def for_model(model_id: str) -> Calibration:
    """Return the shipped calibration of an embedder, or else the conservative `fallback`."""
    values = _shipped().get(model_id)
    return fallback(model_id) if values is None else Calibration.from_dict(values)


def for_database(tracks: Sequence[TrackRecord], rows: TrackEmbeddings) -> Calibration:
    """Return the shipped calibration of the embedder of ``rows``, or else one by `from_tracks`, or the `fallback`."""
    model_id = rows.model_id or ""
    shipped = model_id in _shipped()
    return (None if shipped else from_tracks(tracks, rows)) or for_model(model_id)


def fallback(model_id: str) -> Calibration:
    """Return a guess on the strict side for an embedder that was never measured.

    From the published threshold (FAR 1e-2) each decade takes up 12 % of what is left to 1, as InsightFace's models do.
    """
    names = [name for name in PUBLISHED if name in model_id.lower()]
    middle = PUBLISHED[names[0]] if names else UNKNOWN_EMBEDDER
    rest = 1 - middle
    scores = np.linspace(-1, 1, 2 * KNOTS)
    return Calibration(
        model_id,
        "published threshold" if names else "a guess: no figure is known of this embedder",
        middle + 0.12 * rest * np.log10(1e-2 / FARS),
        USUAL_TARS,
        scores,
        1 / (1 + np.exp(-(scores - middle) / (0.06 * rest))),
    )


def fit(vectors: Float32, labels: ArrayLike, *, model_id: str, source: str = "labelled faces") -> Calibration:
    """Return the calibration measured on labelled faces.

    Args:
        vectors: ``(N, D)`` float32 rows of unit length.
        labels: The person of each row.
        model_id: The embedder.
        source: Where the faces come from.

    Raises:
        FacetrackError: if there is no pair of one person, or no pair of two.
    """
    return from_counts(*pair_counts(vectors, labels), model_id=model_id, source=source)


class CalibrationSource(Protocol):
    """What a calibration is kept in and made from: `indexing.store.Store` has all of it."""

    @property
    def embedder_id(self) -> str | None:
        """Model id of the embedder of all vectors."""
        ...

    def track_records(self) -> Sequence[TrackRecord]:
        """Return all tracks."""
        ...

    def embeddings(self) -> TrackEmbeddings:
        """Return all embeddings."""
        ...

    def get_meta(self, key: str, default: Any = None) -> Any:
        """Return the JSON value that is kept under ``key``."""
        ...

    def set_meta(self, key: str, value: Any) -> None:
        """Keep a JSON value under ``key``."""
        ...


def for_store(store: CalibrationSource) -> Calibration:
    """Return what `calibrate` found in a store, if it was of the embedder that is in use; or else `for_database`."""
    kept, model_id = store.get_meta(KEPT_AS), store.embedder_id or ""
    if kept is not None and kept["model_id"] == model_id:
        return Calibration.from_dict(kept["calibration"])
    if model_id in _shipped():
        return for_model(model_id)
    return for_database(store.track_records(), store.embeddings())


def calibrate(store: CalibrationSource) -> Report:
    """Adjust the calibration to a store, without labels, and keep it there; see `measure`.

    Raises:
        FacetrackError: if there is too little to go by.
    """
    report = measure(store.track_records(), store.embeddings())
    store.set_meta(KEPT_AS, report.to_dict())
    return report


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The errors at one threshold, each counted on people that had no part in it.

    Attributes:
        far: The false accept rate that is stated.
        threshold: The similarity that stands for it.
        false_accepts: Couples in one frame that are taken for one person.
        false_rejects: Tracks that are taken for two people; too few, see `Report.notes`.
        usual_rejects: Share of pairs of one person that the prior expects to be rejected at this threshold.
    """

    far: float
    threshold: float
    false_accepts: Rate
    false_rejects: Rate
    usual_rejects: float


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What a database says of its embedder's scale.

    Attributes:
        calibration: The scale, from the prior and the database.
        prior: Where the prior's figures come from.
        method: ``platt`` or ``isotonic``, by which the database's own probabilities were fitted.
        weight: Share in [0, 1] that those have in the result; the rest is the prior's.
        people: People (a track of an unknown one counts by itself) with several keyframes in a track.
        couples: Couples of people that share a frame.
        genuine_pairs: Pairs of keyframes of one track.
        impostor_pairs: Pairs of keyframes of two people in one frame.
        set_aside: Couples of tracks that look like one person twice in a picture, and were not counted.
        losses: Mean surprise in bits of ``own``, ``prior`` and ``mixed`` probabilities on people held out.
        points: The errors at each rate of `STATED`.
        notes: What to think of it, a sentence each.
    """

    calibration: Calibration
    prior: str
    method: str
    weight: float
    people: int
    couples: int
    genuine_pairs: int
    impostor_pairs: int
    set_aside: int
    losses: Mapping[str, float]
    points: tuple[OperatingPoint, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values, the embedder's id beside them."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {
            "model_id": self.calibration.model_id,
            **values,
            "calibration": self.calibration.to_dict(),
            "losses": dict(self.losses),
            "points": [asdict(point) for point in self.points],
            "notes": list(self.notes),
        }

    def lines(self) -> list[tuple[str, str]]:
        """Return the figures as lines for people to read, the notes left out."""
        return [
            ("embedder", self.calibration.model_id),
            ("prior", self.prior),
            ("one person", f"{self.genuine_pairs} pairs in tracks of {self.people} people"),
            ("two people", f"{self.impostor_pairs} pairs of {self.couples} couples in one frame"),
            ("probabilities", f"{self.method}, weight {self.weight:.0%}, the rest is the prior's"),
            ("surprise", ", ".join(f"{name} {bits:.3f}" for name, bits in self.losses.items()) + " bits, held out"),
            *((f"at FAR {point.far:g}", _told(point)) for point in self.points),
        ]


def _told(point: OperatingPoint) -> str:
    far, frr = point.false_accepts, point.false_rejects
    return (
        f"similarity {point.threshold:.3f}; false accepts {far.share:.3%} [{far.low:.3%}, {far.high:.3%}]; "
        f"false rejects {frr.share:.2%} [{frr.low:.2%}, {frr.high:.2%}], usually {point.usual_rejects:.2%}"
    )


def measure(tracks: Sequence[TrackRecord], rows: TrackEmbeddings, *, prior: Calibration | None = None) -> Report:
    """Return the calibration of a database from what needs no label, and how well it does.

    The keyframes of one track are one person; the faces of two tracks that share a frame are two people. A threshold
    is the prior's, moved to where the database's own false accepts lie, as far as they are enough to tell. The
    logarithms of the odds of one person are the weighted mean of the prior's and of a curve through the pairs here, if
    that curve surprises less on people held out. All people and couples weigh the same, however long they are seen.

    Args:
        tracks: The tracks; those of one identity count as one person.
        rows: Their embeddings.
        prior: The calibration to begin with; None: that of the embedder, see `for_model`.

    Raises:
        FacetrackError: if there are too few people with several keyframes, or couples in one frame.
    """
    model_id = rows.model_id or ""
    worth = GUESS_WORTH if prior is None and model_id not in _shipped() else 1.0
    prior = for_model(model_id) if prior is None else prior
    evidence = _Evidence.of(tracks, rows)
    pairs, people, couples = evidence.pairs, evidence.pairs.cases(True), evidence.pairs.cases(False)
    if min(people, couples) < FOLDS:
        raise FacetrackError(
            f"{people} people with several keyframes in a track and {couples} couples in one frame are too few to "
            f"calibrate from, {FOLDS} of each are needed; add videos, ones that show several people at a time"
        )
    mixer, losses = _mixer(prior, pairs, worth)
    source = f"{people} people and {couples} couples in one frame of this database, and {prior.source}"
    calibration = mixer.mix(pairs, source)
    points = _held_out(mixer, pairs, calibration)
    return Report(
        calibration,
        prior.source,
        mixer.method,
        mixer.weight,
        people,
        couples,
        int(pairs.same.sum()),
        int((~pairs.same).sum()),
        evidence.set_aside,
        losses,
        points,
        tuple(_notes(evidence, points)),
    )


def from_tracks(tracks: Sequence[TrackRecord], rows: TrackEmbeddings) -> Calibration | None:
    """Return the calibration of a database by `measure`, or None where there is too little of it (`FEWEST`)."""
    pairs = _Evidence.of(tracks, rows).pairs
    enough = rows.model_id is not None and min(pairs.cases(True), pairs.cases(False)) >= FEWEST
    return measure(tracks, rows).calibration if enough else None


def _all_pairs(rows: Float32) -> Labels:
    genuine, impostors = pair_counts(rows, np.zeros(len(rows), np.int64))
    return genuine + impostors


@dataclass(frozen=True, slots=True, eq=False)
class _Evidence:
    """The pairs of a database; how many couples were set aside; seconds that a compared track lasts, in the median."""

    pairs: Pairs
    set_aside: int
    seconds: float

    @classmethod
    def of(cls, tracks: Sequence[TrackRecord], rows: TrackEmbeddings) -> _Evidence:
        views = _views(rows)
        seen = [track for track in tracks if track.key in views]
        several = [track for track in seen if len(views[track.key]) > 1]
        genuine = [(_owner(t), _owner(t), _within(views[t.key])) for t in several]
        compared = [(_owner(a), _owner(b), _between(views[a.key], views[b.key])) for a, b in _couples(seen)]
        usual = float(np.median([scores.mean() for *_, scores in genuine])) if genuine else np.inf
        impostors = [entry for entry in compared if entry[2].mean() < usual]
        seconds = float(np.median([track.end - track.start for track in several])) if several else 0.0
        return cls(_pairs([*genuine, *impostors]), len(compared) - len(impostors), seconds)


def _views(rows: TrackEmbeddings) -> dict[int, Float32]:
    """Return the vectors of each track by its key."""
    order = np.lexsort((rows.row_ids, rows.track_keys))
    keys, starts = np.unique(rows.track_keys[order], return_index=True)
    return dict(zip(keys.tolist(), np.split(rows.vectors[order], starts[1:]), strict=True)) if len(keys) else {}


def _owner(track: TrackRecord) -> int:
    return -1 - track.key if track.identity_id is None else track.identity_id


def _couples(tracks: Sequence[TrackRecord]) -> Iterator[tuple[TrackRecord, TrackRecord]]:
    """Yield the tracks that share a frame, two at a time, but for those that somebody says are one person."""
    shared = co_occurring(*([getattr(t, name) for t in tracks] for name in ("video_id", "first_frame", "end_frame")))
    for first, second in _sample(len(shared), MOST_COUPLES, shared).tolist():
        if _owner(tracks[first]) != _owner(tracks[second]):
            yield tracks[first], tracks[second]


def _within(rows: Float32) -> Float64:
    upper = np.triu_indices(len(rows), 1)
    return np.asarray(_sample(len(upper[0]), MOST_PAIRS, (rows @ rows.T)[upper]), np.float64)


def _between(first: Float32, second: Float32) -> Float64:
    scores = (first @ second.T).reshape(-1)
    return np.asarray(_sample(len(scores), MOST_PAIRS, scores), np.float64)


def _sample(count: int, most: int, values: NDArray[Any]) -> NDArray[Any]:
    return values if count <= most else values[np.sort(np.random.default_rng(0).permutation(count)[:most])]


def _pairs(entries: Sequence[tuple[int, int, Float64]]) -> Pairs:
    """Return pairs whose groups are the people, and the couples of people, that ``entries`` name with their scores."""
    if not entries:
        return Pairs(np.empty(0), np.empty(0, np.bool_), np.empty(0, np.int64))
    owners = np.array([sorted(entry[:2]) for entry in entries], np.int64)
    groups = np.unique(owners, axis=0, return_inverse=True)[1].reshape(-1)
    sizes = [len(scores) for *_, scores in entries]
    same = owners[:, 0] == owners[:, 1]
    return Pairs(np.concatenate([scores for *_, scores in entries]), np.repeat(same, sizes), np.repeat(groups, sizes))


@dataclass(frozen=True, slots=True, eq=False)
class _Mixer:
    """How the pairs of a database and the prior are put together."""

    prior: Calibration
    worth: float
    method: str
    weight: float

    def mix(self, pairs: Pairs, source: str) -> Calibration:
        lowest = min(float(self.prior.scores[0]), float(pairs.scores.min()))
        highest = max(float(self.prior.scores[-1]), float(pairs.scores.max()))
        scores, thresholds = np.linspace(lowest, highest, 2 * KNOTS - 1), self.thresholds(pairs)
        usual = np.interp(thresholds, self.prior.thresholds, self.prior.tars)
        tars = np.array([pairs.share_above(threshold, same=True) for threshold in thresholds])
        chances = np.maximum.accumulate(self.probabilities(_own(self.method, pairs)(scores), scores))
        return Calibration(self.prior.model_id, source, thresholds, np.minimum(tars, usual), scores, chances)

    def probabilities(self, own: Float64, scores: Float64) -> Float64:
        """Return the weighted mean, by the logarithms of the odds, of a curve's answers and the prior's."""
        odds = self.weight * _logit(own) + (1 - self.weight) * _logit(self.prior.probability(scores))
        return np.asarray(1 / (1 + np.exp(-odds)))

    def thresholds(self, pairs: Pairs) -> Float64:
        """Return the prior's thresholds, moved towards the database's own by what its false accepts are worth.

        All move by what the highest rate says, which has the most false accepts; each moves on by what its own rate
        says. Where they are too few to count, its own rise as the prior's do; beside a guess, along a normal tail.
        """
        impostors, accepts = pairs.histogram(same=False), FARS * pairs.cases(False)
        above = 1 - np.concatenate([[0], np.cumsum(impostors)]) / impostors.sum()
        own = np.array([np.argmax(above <= far + 1e-12) for far in FARS]) * (2 / BINS) - 1
        counted = max(int((accepts >= PRIOR_COUPLES).sum()), 1)
        usual = self.prior.thresholds
        rise = _normal_rise(impostors, counted) if self.worth < 1 else usual[counted:] - usual[counted - 1]
        own[counted:] = own[counted - 1] + rise
        shares = accepts / (accepts + PRIOR_COUPLES * self.worth)
        shares[counted:] = shares[counted - 1]
        shift = own[0] - usual[0]
        moved = usual + shares[0] * shift + shares * (own - usual - shift)
        return np.minimum(np.maximum.accumulate(moved), 1.0)


def _logit(chances: Float64) -> Float64:
    bounded = np.clip(chances, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(bounded / (1 - bounded)))


def _own(method: str, pairs: Pairs) -> Curve:
    curve = curves.platt if method == "platt" else curves.isotonic
    return curve(pairs.histogram(same=True), pairs.histogram(same=False))


def _answers(method: str, pairs: Pairs) -> Float64:
    """Return the probability of each pair by a curve through the pairs of other people."""
    chances = np.empty(len(pairs.scores))
    for held in pairs.folds():
        chances[held] = _own(method, pairs[~held])(pairs.scores[held])
    return chances


def _mixer(prior: Calibration, pairs: Pairs, worth: float) -> tuple[_Mixer, dict[str, float]]:
    """Choose the curve and its weight, and return the surprises on people held out."""
    fewest = min(int(pairs.same.sum()), int((~pairs.same).sum()))
    methods = ["platt"] * (fewest < ISOTONIC_FROM) + ["isotonic"] * (fewest >= PLATT_BELOW)
    answers = {method: _answers(method, pairs) for method in methods}
    own = {method: curves.log_loss(chances, pairs) for method, chances in answers.items()}
    method = min(methods, key=own.__getitem__)
    usual = curves.log_loss(prior.probability(pairs.scores), pairs)
    cases = min(pairs.cases(True), pairs.cases(False))
    weight = min(cases / (cases + PRIOR_PEOPLE * worth), MOST_OWN if worth == 1.0 else 1.0)
    mixer = _Mixer(prior, worth, method, weight if own[method] < usual else 0.0)
    mixed = curves.log_loss(mixer.probabilities(answers[method], pairs.scores), pairs)
    return mixer, {"own": own[method], "prior": usual, "mixed": mixed}


def _held_out(mixer: _Mixer, pairs: Pairs, calibration: Calibration) -> tuple[OperatingPoint, ...]:
    """Return the errors at `STATED`, each part of the people being judged by thresholds from the others."""
    people, couples = pairs.cases(True), pairs.cases(False)
    accepts, rejects = np.zeros(len(STATED)), np.zeros(len(STATED))
    for held in pairs.folds():
        thresholds, part = mixer.thresholds(pairs[~held]), pairs[held]
        for row, threshold in enumerate(np.interp(-np.log10(STATED), -np.log10(FARS), thresholds)):
            accepts[row] += part.share_above(threshold, same=False) * part.cases(False) / couples
            rejects[row] += (1 - part.share_above(threshold, same=True)) * part.cases(True) / people
    return tuple(
        OperatingPoint(
            far,
            calibration.threshold(far),
            Rate.of(float(accepts[row]), couples),
            Rate.of(float(rejects[row]), people),
            float(1 - np.interp(calibration.threshold(far), mixer.prior.thresholds, mixer.prior.tars)),
        )
        for row, far in enumerate(STATED)
    )


def _notes(evidence: _Evidence, points: Sequence[OperatingPoint]) -> Iterator[str]:
    """Yield in which way pairs without labels are not what a search meets."""
    middle, couples = points[len(points) // 2], evidence.pairs.cases(False)
    here, usual = middle.false_rejects.share, middle.usual_rejects
    yield (
        "The pairs of one person are too easy: they come from one track, so from one moment (tracks last "
        f"{evidence.seconds:.1f} s in the median), one light, one camera and mostly one pose, and the tracker joined "
        f"them because they are alike and near. At FAR {middle.far:g} {here:.1%} of them are rejected, where the prior "
        f"expects {usual:.1%} of pairs of other days. "
        + (
            "So false rejects are told too low, and the prior keeps its say in the probabilities."
            if here < usual
            else "That it is no less for all that tells of turned, small or blurred faces; between videos it is more."
        )
    )
    yield (
        "The pairs of two people share a frame, so light, camera and often family: they are more alike than strangers "
        "of two videos, and the thresholds err on the strict side."
    )
    if couples * STATED[-1] < PRIOR_COUPLES:
        lowest = PRIOR_COUPLES / couples
        what = f"false accept rates below {lowest:.1g}" if lowest < FARS[0] else "any rate asked for here"
        yield f"{couples} couples cannot tell {what}; there the prior tells how far the threshold rises."
    if evidence.set_aside:
        yield (
            f"{evidence.set_aside} couples of tracks in one frame are as alike as the views of one track, and were not "
            "counted: a mirror, a screen, a poster, or twins."
        )


def from_counts(genuine: Labels, impostors: Labels, *, model_id: str, source: str) -> Calibration:
    """Return the calibration for the counts of genuine and impostor pairs in equal bins of similarity over [-1, 1].

    Raises:
        FacetrackError: if one of the two is empty.
    """
    curve = from_histogram(genuine, impostors)
    few = min(curve.genuine, curve.impostors) < ISOTONIC_FROM
    probability = (curves.platt if few else curves.isotonic)(genuine, impostors)
    taken = np.flatnonzero(genuine + impostors)
    centres = curves.centres(len(genuine))
    scores = np.linspace(float(centres[taken[0]]), float(centres[taken[-1]]), KNOTS)
    thresholds = _thresholds(curve, impostors)
    tars = 1 - np.interp(thresholds, curve.thresholds, curve.frr)
    return Calibration(model_id, source, thresholds, tars, scores, probability(scores))


def _thresholds(curve: Verification, impostors: Labels) -> Float64:
    """Return the threshold at each of `FARS`: measured where ten impostors lie above, then along a normal tail."""
    measured = max(int((FARS * curve.impostors >= 10).sum()), 1)
    thresholds = np.array([curve.threshold(far) for far in FARS])
    thresholds[measured:] = thresholds[measured - 1] + _normal_rise(impostors, measured)
    return np.minimum(np.maximum.accumulate(thresholds), 1.0)


def _normal_rise(impostors: ArrayLike, measured: int) -> Float64:
    """Return how far the thresholds of the rates that are not ``measured`` lie above the last one that is."""
    from scipy.stats import norm

    counts = np.asarray(impostors, np.float64)
    centres, weights = curves.centres(len(counts)), counts / counts.sum()
    deviation = float(np.sqrt(weights @ (centres - weights @ centres) ** 2))
    quantiles = norm.isf(FARS)
    return np.asarray(deviation * (quantiles[measured:] - quantiles[measured - 1]))


@cache
def _shipped() -> Mapping[str, Any]:
    text = resources.files("indexing").joinpath("calibrations.json").read_text(encoding="utf-8")
    shipped: Mapping[str, Any] = json.loads(text)
    return shipped
