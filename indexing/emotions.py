"""What faces show over time: from samples to every frame of a track, and to the story of an identity in a video.

An identity's samples in a video are joined over its tracks and smoothed (see `smooth`), cut into episodes (see
`episodes`) and added up (see `summary`). Times are true timestamps throughout: nothing depends on the sampling rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.types import EmotionCurve, EmotionSummary, Episode, FrameExpressions, Int64
from tracker.types import EMOTIONS, Float64, Reason, Track, frozen

GAP = 1.0
"""Seconds between two answers up to which the time between them is taken for known; expressions last 0.5 to 4 s
(Ekman, "Darwin, Deception, and Facial Expression", 2003)."""

MEDIAN = 1.0
"""Width of the running median in seconds: a wrong answer or two in a row at 5 samples a second leave no trace."""

SIGMA = 0.2
"""Standard deviation of the Gaussian in seconds."""

ENTER = 0.5
"""Probability from which a class begins an episode: no other one can be as likely."""

LEAVE = 0.35
"""Probability below which its episode ends."""

SHORTEST = 0.4
"""Seconds an episode lasts at least; pauses shorter than it do not divide one."""

_SLACK = 1e-6
"""Seconds by which differences of decimal times are off at most."""

_CELLS = 1 << 21
"""Numbers of a window matrix held at a time."""

_CLASSES = len(EMOTIONS)

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """What an identity shows at its samples in a video.

    Attributes:
        times: ``(S,)`` float64 seconds.
        ends: ``(S,)`` float64 seconds at which the track of each sample ends.
        weights: ``(S,)`` float64 above 0: how much each one says beside others, the size of its face.
        values: ``(S, 9)`` float64: probabilities of `tracker.types.EMOTIONS`, valence, arousal; a row of NaN: unknown.
    """

    times: Float64
    ends: Float64
    weights: Float64
    values: Float64

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        count = len(self.times)
        object.__setattr__(self, "times", frozen(self.times, np.float64, (None,), "times"))
        object.__setattr__(self, "ends", frozen(self.ends, np.float64, (count,), "ends"))
        object.__setattr__(self, "weights", frozen(self.weights, np.float64, (count,), "weights"))
        object.__setattr__(self, "values", frozen(self.values, np.float64, (count, _CLASSES + 2), "values"))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.times)

    @property
    def known(self) -> Bools:
        """``(S,)`` whether each one was answered."""
        return np.asarray(np.isfinite(self.values).all(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class EmotionTimeline:
    """All that is told of an identity in a video.

    Attributes:
        curve: Its smoothed samples.
        seconds: ``(S,)`` float64 how long each point of the curve stands for what is seen from its time on.
        episodes: The stretches of one emotion, in order of time; they do not overlap.
        summary: What they add up to.
    """

    curve: EmotionCurve
    seconds: Float64
    episodes: tuple[Episode, ...]
    summary: EmotionSummary


def emotion_timeline(
    samples: Samples, *, identity_id: int, video_id: int, affect_derived: bool = True
) -> EmotionTimeline:
    """Return what an identity shows in a video, from the samples of all its tracks there, in any order."""
    joined = join(samples)
    values = smooth(joined)
    curve = EmotionCurve(
        identity_id=identity_id,
        video_id=video_id,
        times=joined.times,
        emotions=values[:, :_CLASSES].astype(np.float32),
        valence=values[:, _CLASSES].astype(np.float32),
        arousal=values[:, _CLASSES + 1].astype(np.float32),
        affect_derived=affect_derived,
    )
    seconds = held(joined)
    found = episodes(curve, seconds)
    return EmotionTimeline(curve, seconds, found, summary(curve, seconds, found))


def strongest(emotions: NDArray[Any]) -> list[str | None]:
    """Return the most probable class of each row of ``(N, 7)``; None for a row that is not known.

    Example:
        >>> strongest(np.array([[0, 0, 0.1, 0.8, 0, 0.1, 0], [np.nan] * 7]))
        ['happy', None]
    """
    return [None if place < 0 else EMOTIONS[place] for place in _best(emotions).tolist()]


def _best(emotions: NDArray[Any]) -> Int64:
    known = np.isfinite(emotions).all(axis=1)
    return np.where(known, np.nan_to_num(emotions).argmax(axis=1), -1)


# ---- every frame of a track


def per_frame(track: Track, timestamps: Float64) -> FrameExpressions:
    """Return what a face shows in each frame of its track.

    A frame between two answered samples at most `GAP` apart is interpolated linearly in time, unless the sample
    nearest to it was not answered: then, and where the answers are further apart, it has no emotion but the reason of
    the unanswered sample beside it. Pose, gaze and openness are interpolated likewise, each where it is known itself.

    Args:
        track: The track with its samples.
        timestamps: ``(F,)`` float64 seconds of all frames of the video.
    """
    shown, frames, times = track.expressions, track.frames, np.asarray(timestamps, np.float64)
    known = np.isfinite(shown.emotions).all(axis=1)
    sources = _sources(frames, shown.frames, shown.reasons, known, times)
    told = (sources == "sampled") | (sources == "interpolated")

    def between(values: NDArray[Any], *, where: Bools | None = None) -> NDArray[Any]:
        rows = _interpolated(frames, shown.frames, values if values.ndim == 2 else values[:, None], times)
        rows[~(np.ones(len(frames), bool) if where is None else where)] = np.nan
        return rows.astype(np.float32)

    return FrameExpressions(
        emotions=between(shown.emotions, where=told),
        valence=between(shown.valence, where=told)[:, 0],
        arousal=between(shown.arousal, where=told)[:, 0],
        pose=between(shown.pose),
        gaze=between(shown.gaze),
        openness=between(shown.openness),
        sources=sources,
    )


def _bracket(known: NDArray[Any], wanted: NDArray[Any]) -> tuple[Int64, Int64, Bools]:
    """Return the places in ``known`` before (or at) and after (or at) each of ``wanted``, and whether both are there.

    Both arrays rise; places that are not there are the nearest that is.
    """
    left = np.searchsorted(known, wanted, side="right") - 1
    right = np.searchsorted(known, wanted, side="left")
    inside = (left >= 0) & (right < len(known))
    return left.clip(0), right.clip(max=max(len(known) - 1, 0)), inside


def _interpolated(frames: NDArray[Any], sampled: NDArray[Any], values: NDArray[Any], times: Float64) -> Float64:
    """Return ``(T, n)`` values at ``frames``, linear in time between finite rows of ``values`` at most `GAP` apart."""
    known = np.isfinite(values).all(axis=1)
    sampled, rows = sampled[known], values[known].astype(np.float64)
    result = np.full((len(frames), values.shape[1]), np.nan)
    if not len(sampled):
        return result
    left, right, inside = _bracket(sampled, frames)
    start, span = times[sampled[left]], times[sampled[right]] - times[sampled[left]]
    share = np.divide(times[frames] - start, span, out=np.zeros(len(frames)), where=span > 0)[:, None]
    mixed = np.where(left[:, None] == right[:, None], rows[left], (1 - share) * rows[left] + share * rows[right])
    near = inside & (span <= GAP + _SLACK)
    result[near] = mixed[near]
    return result


def _sources(
    frames: NDArray[Any], sampled: NDArray[Any], reasons: NDArray[np.uint8], known: Bools, times: Float64
) -> NDArray[np.str_]:
    sources = np.full(len(frames), "", "<U12")
    if not len(sampled):
        return sources
    names = np.array([Reason(reason).name.lower() for reason in reasons])
    left, right, inside = _bracket(sampled, frames)
    # To the microsecond: halfway, the earlier sample is the nearest, whatever the rounding of decimal times.
    before, after = (np.abs(times[frames] - times[sampled[place]]).round(6) for place in (left, right))
    nearest, other = np.where(after < before, (right, left), (left, right))
    for place, distance in ((other, np.maximum(before, after)), (nearest, np.minimum(before, after))):
        silent = ~known[place] & (distance <= GAP + _SLACK)
        sources[silent] = names[place[silent]]
    answered = np.isfinite(_interpolated(frames, sampled, np.where(known, 1.0, np.nan)[:, None], times)[:, 0])
    sources[answered & known[nearest] & inside] = "interpolated"
    sources[np.isin(frames, sampled[known])] = "sampled"
    return sources


# ---- the curve of an identity


def join(samples: Samples) -> Samples:
    """Return ``samples`` in order of time, those of the same time as one: the weighted mean of what is known."""
    times, places = np.unique(samples.times, return_inverse=True)
    weights = np.where(samples.known, samples.weights, 0.0)
    total = np.bincount(places, weights, len(times))
    sums = [np.bincount(places, weights * np.nan_to_num(column), len(times)) for column in samples.values.T]
    ends = np.full(len(times), -np.inf)
    np.maximum.at(ends, places, samples.ends)
    values = np.full((len(times), _CLASSES + 2), np.nan)
    np.divide(np.transpose(sums), total[:, None], out=values, where=total[:, None] > 0)
    return Samples(times, ends, np.maximum(total, 1.0), values)


def held(samples: Samples) -> Float64:
    """Return ``(S,)`` seconds for which each joined sample stands: to the next one, its track's end, or for `GAP`."""
    following = np.append(samples.times[1:], np.inf)
    until = np.minimum.reduce([following, samples.ends, samples.times + GAP])
    return np.asarray(np.maximum(until - samples.times, 0.0))


def smooth(samples: Samples) -> Float64:
    """Return ``(S, 9)`` smoothed values of joined ``samples``; NaN where nothing is known.

    First a running median over `MEDIAN` seconds, class by class and scaled back to a sum of 1: single wrong answers
    leave no trace. Then the mean of these under a Gaussian of `SIGMA` seconds cut at three of them, weighted by the
    size of the face. Both windows are of time, not of samples. Neither reaches over more than `GAP` without an answer;
    a sample without an answer gets a value where answers no further apart than that lie on both of its sides.

    The median is Tukey's (*Exploratory Data Analysis*, 1977), the weighted mean that of Nadaraya and Watson (1964).
    """
    result = np.full(samples.values.shape, np.nan)
    known = samples.known
    if not known.any():
        return result
    times, weights = samples.times[known], samples.weights[known]
    left, right, inside = _bracket(times, samples.times)
    covered = inside & (times[right] - times[left] <= GAP + _SLACK)
    calm = _medians(times, samples.values[known])
    result[covered] = _means(samples.times[covered], times, weights, calm)
    result[:, :_CLASSES] /= result[:, :_CLASSES].sum(axis=1, keepdims=True)
    return result


def _windows(wanted: Float64, times: Float64, reach: float, width: int) -> Iterator[tuple[slice, Int64, Bools]]:
    """Yield parts of ``wanted`` with the ``(n, K)`` places of ``times`` within ``reach`` of each, and which are."""
    first = np.searchsorted(times, wanted - reach - _SLACK, side="left")
    end = np.searchsorted(times, wanted + reach + _SLACK, side="right")
    longest = int((end - first).max(initial=1))
    step = max(_CELLS // (longest * width), 1)
    for start in range(0, len(wanted), step):
        rows = slice(start, start + step)
        places = first[rows, None] + np.arange(longest)
        yield rows, places.clip(max=len(times) - 1), places < end[rows, None]


def _medians(times: Float64, values: Float64) -> Float64:
    result = np.empty_like(values)
    for rows, places, inside in _windows(times, times, MEDIAN / 2, values.shape[1]):
        ordered = np.sort(np.where(inside[..., None], values[places], np.inf), axis=1)
        count = inside.sum(axis=1)[:, None, None]
        low, high = (np.take_along_axis(ordered, middle, axis=1) for middle in ((count - 1) // 2, count // 2))
        result[rows] = (low + high)[:, 0] / 2
    total = result[:, :_CLASSES].sum(axis=1, keepdims=True)
    # Classes that take turns may all have a median of nothing: there the samples speak for themselves.
    result[:, :_CLASSES] = np.where(total > _SLACK, result[:, :_CLASSES] / total.clip(_SLACK), values[:, :_CLASSES])
    return result


def _means(wanted: Float64, times: Float64, weights: Float64, values: Float64) -> Float64:
    result = np.empty((len(wanted), values.shape[1]))
    for rows, places, inside in _windows(wanted, times, 3 * SIGMA, values.shape[1]):
        distance = (times[places] - wanted[rows, None]) / SIGMA
        kernel = np.where(inside, weights[places] * np.exp(-0.5 * distance**2), 0.0)
        result[rows] = np.einsum("nk,nkc->nc", kernel / kernel.sum(axis=1, keepdims=True), values[places])
    return result


# ---- episodes and summary


def episodes(curve: EmotionCurve, seconds: Float64) -> tuple[Episode, ...]:
    """Return the stretches in which one emotion is shown, neutral among them, in order of time.

    A class begins an episode where it reaches `ENTER` and keeps it until it falls below `LEAVE`, another one reaches
    `ENTER`, or nothing is known for more than `GAP`. Pauses shorter than `SHORTEST` are closed; what is then shorter,
    or has a single sample (as a still picture has), is none.

    Args:
        curve: The curve.
        seconds: ``(S,)`` how long each of its points stands, see `held`.
    """
    until = curve.times + seconds
    stretches = _closed(_stretches(curve), curve.times, until)
    lasting = [s for s in stretches if s.last > s.first and until[s.last] - curve.times[s.first] >= SHORTEST - _SLACK]
    return tuple(_episode(curve, until, stretch) for stretch in _closed(lasting, curve.times, until))


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Rows ``first`` to ``last``, both included, of a class; ``run`` counts the breaks before them."""

    label: int
    run: int
    first: int
    last: int


def _stretches(curve: EmotionCurve) -> list[_Stretch]:
    known = np.flatnonzero(np.isfinite(curve.emotions).all(axis=1))
    runs = np.cumsum(np.diff(curve.times[known], prepend=-np.inf) > GAP + _SLACK).tolist()
    tops, bests = curve.emotions[known].max(axis=1, initial=0).tolist(), _best(curve.emotions[known]).tolist()
    found: list[_Stretch] = []
    for row, run, top, best in zip(known.tolist(), runs, tops, bests, strict=True):
        current = found[-1] if found and found[-1].run == run and found[-1].last == row - 1 else None
        if top >= ENTER and (current is None or current.label != best):
            found.append(_Stretch(best, run, row, row))
        elif current is not None and curve.emotions[row, current.label] >= LEAVE:
            found[-1] = _Stretch(current.label, run, current.first, row)
    return found


def _closed(stretches: Sequence[_Stretch], times: Float64, until: Float64) -> list[_Stretch]:
    """Return ``stretches`` with the short pauses between neighbours of one class closed."""
    joined: list[_Stretch] = []
    for stretch in stretches:
        before = joined[-1] if joined else None
        same = before is not None and (before.label, before.run) == (stretch.label, stretch.run)
        if before is not None and same and times[stretch.first] - until[before.last] < SHORTEST - _SLACK:
            joined[-1] = _Stretch(before.label, before.run, before.first, stretch.last)
        else:
            joined.append(stretch)
    return joined


def _episode(curve: EmotionCurve, until: Float64, stretch: _Stretch) -> Episode:
    shown = curve.emotions[stretch.first : stretch.last + 1, stretch.label].astype(np.float64)
    apex = int(shown.argmax())
    return Episode(
        identity_id=curve.identity_id,
        video_id=curve.video_id,
        label=EMOTIONS[stretch.label],
        onset=float(curve.times[stretch.first]),
        apex=float(curve.times[stretch.first + apex]),
        offset=float(until[stretch.last]),
        mean=float(shown.mean()),
        peak=float(shown[apex]),
    )


def summary(curve: EmotionCurve, seconds: Float64, found: Sequence[Episode]) -> EmotionSummary:
    """Return what a curve adds up to.

    Points count by their seconds; alike where these are all 0, as in a still picture. The shares are 0 where nothing
    is known. A transition is counted where the next episode begins at most `GAP` after the end of the one before.

    Args:
        curve: The curve.
        seconds: ``(S,)`` how long each of its points stands, see `held`.
        found: Its episodes, in order of time.
    """
    best = _best(curve.emotions)
    known = best >= 0
    weights = seconds[known] if seconds[known].any() else np.ones(int(known.sum()))
    transitions = np.zeros((_CLASSES, _CLASSES), np.int64)
    for before, after in pairwise(found):
        if after.onset - before.offset <= GAP + _SLACK:
            transitions[EMOTIONS.index(before.label), EMOTIONS.index(after.label)] += 1
    return EmotionSummary(
        identity_id=curve.identity_id,
        video_id=curve.video_id,
        seconds=float(seconds[known].sum()),
        shares=np.bincount(best[known], weights, _CLASSES) / max(weights.sum(), _SLACK),
        transitions=transitions,
        mean_valence=_mean(curve.valence[known], weights),
        mean_arousal=_mean(curve.arousal[known], weights),
    )


def _mean(values: NDArray[np.float32], weights: Float64) -> float:
    return float(np.average(values, weights=weights)) if len(values) else float("nan")
