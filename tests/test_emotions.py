"""What faces show over time: curves are probabilities, episodes do not overlap, and nothing is made up over gaps."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from fakes import make_result
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.emotions import (
    ENTER,
    GAP,
    LEAVE,
    SHORTEST,
    EmotionTimeline,
    Samples,
    emotion_timeline,
    episodes,
    held,
    join,
    per_frame,
    smooth,
)
from indexing.types import EmotionCurve
from tracker.types import EMOTIONS, Expressions, Float64, Reason, Track

HAPPY, SAD, NEUTRAL = (EMOTIONS.index(label) for label in ("happy", "sad", "neutral"))


UNSURE = 7
"""In place of a class: all are as likely."""


def values(*classes: int, sure: float = 0.88) -> Float64:
    """Return rows of mostly one class each; -1: unknown."""
    rows = np.full((len(classes), 9), (1 - sure) / 6)
    rows[np.arange(len(classes)), classes] = sure
    rows[:, 7:] = np.array([[0.5, 0.25]])
    rows[np.array(classes) < 0] = np.nan
    return rows


def samples(*classes: int, fps: float = 5.0, start: float = 0.0, sure: float = 0.88) -> Samples:
    times = start + np.arange(len(classes)) / fps
    return Samples(
        times, np.full(len(times), times[-1] + 1 / fps), np.full(len(times), 50.0), values(*classes, sure=sure)
    )


def concatenated(*parts: Samples) -> Samples:
    return Samples(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Samples.__slots__})


def told(given_samples: Samples) -> EmotionTimeline:
    return emotion_timeline(given_samples, identity_id=1, video_id=2)


@st.composite
def any_samples(draw: st.DrawFn) -> Samples:
    """Return the samples of a few tracks that may overlap, at irregular times, some of them unknown."""
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        count, start = draw(st.integers(1, 25)), draw(st.integers(0, 400)) / 20
        steps = draw(
            st.lists(st.sampled_from([0.0, 0.04, 0.2, 0.2, 0.2, 0.9, 1.0, 1.1]), min_size=count, max_size=count)
        )
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        times = start + np.cumsum(steps)
        rows = np.hstack([rng.dirichlet(np.full(7, 0.2), count), rng.uniform(-1, 1, (count, 2))])
        rows[rng.random(count) < draw(st.sampled_from([0.0, 0.2, 0.7]))] = np.nan
        parts.append(Samples(times, np.full(count, times[-1] + 0.1), rng.uniform(20, 200, count), rows))
    return concatenated(*parts)


# ---- curves


@given(any_samples())
def test_a_curve_is_of_probabilities_at_the_times_of_the_samples(drawn: Samples) -> None:
    curve = told(drawn).curve
    assert curve.times.tolist() == sorted(set(drawn.times.tolist()))
    known = np.isfinite(curve.emotions).all(axis=1)
    assert np.isnan(curve.emotions[~known]).all()
    assert np.isnan(curve.valence[~known]).all()
    assert (curve.emotions[known] >= 0).all()
    np.testing.assert_allclose(curve.emotions[known].sum(axis=1), 1, atol=1e-5)
    low, high = np.nanmin(drawn.values[:, 7:], axis=0, initial=1), np.nanmax(drawn.values[:, 7:], axis=0, initial=-1)
    for place, column in enumerate((curve.valence[known], curve.arousal[known])):
        assert ((low[place] - 1e-6 <= column) & (column <= high[place] + 1e-6)).all()


@given(any_samples())
def test_a_point_is_known_where_answers_lie_close_on_both_sides_and_nowhere_else(drawn: Samples) -> None:
    curve, answered = told(drawn).curve, np.unique(drawn.times[drawn.known])
    for time, row in zip(curve.times, curve.emotions, strict=True):
        before, after = answered[answered <= time], answered[answered >= time]
        near = len(before) > 0 and len(after) > 0 and after[0] - before[-1] <= GAP + 1e-6
        assert np.isfinite(row).all() == near
        assert np.isfinite(row).any() == near


@given(any_samples(), st.randoms(use_true_random=False))
def test_the_order_in_which_tracks_come_does_not_matter(drawn: Samples, random: Any) -> None:
    order = list(range(len(drawn)))
    random.shuffle(order)
    shuffled = Samples(**{name: getattr(drawn, name)[order] for name in Samples.__slots__})
    np.testing.assert_allclose(told(shuffled).curve.emotions, told(drawn).curve.emotions, atol=1e-6)


@given(any_samples(), any_samples())
def test_samples_far_away_change_nothing(drawn: Samples, other: Samples) -> None:
    later = Samples(other.times + 200, other.ends + 200, other.weights, other.values)
    alone, both = told(drawn), told(concatenated(drawn, later))
    np.testing.assert_array_equal(both.curve.emotions[: len(alone.curve)], alone.curve.emotions)
    assert both.episodes[: len(alone.episodes)] == alone.episodes


def test_a_constant_stays_what_it_is() -> None:
    curve = told(samples(*[HAPPY] * 20)).curve
    np.testing.assert_allclose(curve.emotions, values(*[HAPPY] * 20)[:, :7], atol=1e-6)
    np.testing.assert_allclose(curve.valence, 0.5)


@pytest.mark.parametrize("wrong", [1, 2])
def test_wrong_answers_leave_no_trace(wrong: int) -> None:
    classes = [HAPPY] * 10 + [SAD] * wrong + [HAPPY] * 10
    np.testing.assert_allclose(told(samples(*classes)).curve.emotions[:, HAPPY], 0.88, atol=1e-6)


def test_a_change_stays_where_it_is() -> None:
    curve = told(samples(*[HAPPY] * 20, *[SAD] * 20)).curve
    happier = curve.emotions[:, HAPPY] > curve.emotions[:, SAD]
    assert happier.tolist() == [True] * 20 + [False] * 20


@pytest.mark.parametrize("fps", [4.0, 5.0, 10.0, 25.0, 60.0])
def test_the_rate_of_sampling_hardly_matters(fps: float) -> None:
    classes = np.repeat([HAPPY, SAD, NEUTRAL], 3 * int(fps))
    found = told(samples(*classes.tolist(), fps=fps)).episodes
    assert [episode.label for episode in found] == ["happy", "sad", "neutral"]
    assert [episode.onset for episode in found] == pytest.approx([0, 3, 6], abs=0.25)
    assert found[-1].offset == pytest.approx(9)


def test_classes_that_take_turns_are_no_division_by_nothing() -> None:
    curve = told(samples(*[n % 7 for n in range(28)], sure=1.0)).curve
    np.testing.assert_allclose(curve.emotions.sum(axis=1), 1, atol=1e-5)


def test_at_the_same_time_the_larger_face_says_more() -> None:
    small, large = samples(HAPPY, HAPPY), samples(SAD, SAD)
    large = Samples(large.times, large.ends, large.weights * 3, large.values)
    joined = join(concatenated(small, large))
    assert joined.times.tolist() == [0, 0.2]
    np.testing.assert_allclose(joined.values, 0.25 * small.values + 0.75 * large.values)


def test_a_larger_face_weighs_more_in_the_mean_too() -> None:
    small, large = samples(*[HAPPY] * 10), samples(*[SAD] * 10, start=2)
    even, uneven = (
        told(concatenated(small, Samples(large.times, large.ends, large.weights * factor, large.values))).curve
        for factor in (1, 10)
    )
    assert (uneven.emotions[8:12, SAD] > even.emotions[8:12, SAD] + 0.001).all()
    np.testing.assert_array_equal(uneven.emotions[:5], even.emotions[:5])


def test_an_unknown_face_says_nothing_beside_a_known_one() -> None:
    joined = join(concatenated(samples(HAPPY, -1), samples(-1, -1)))
    np.testing.assert_allclose(joined.values, values(HAPPY, -1))


def test_short_abstentions_are_bridged_and_long_ones_are_not() -> None:
    short = told(samples(*[HAPPY] * 5, *[-1] * 4, *[HAPPY] * 5))
    assert np.isfinite(short.curve.emotions).all()
    assert len(short.episodes) == 1
    long = told(samples(*[HAPPY] * 5, *[-1] * 5, *[HAPPY] * 5))
    assert np.isnan(long.curve.emotions[5:10]).all()
    assert [(e.onset, round(e.offset, 6)) for e in long.episodes] == [(0, 1), (2, 3)]


def test_a_point_stands_until_the_next_one_or_the_end_of_its_track() -> None:
    first, second = samples(HAPPY, HAPPY), samples(HAPPY, HAPPY, start=0.9)
    np.testing.assert_allclose(held(join(concatenated(first, second))), 0.2)
    lonely = Samples([0.0], [9.0], [50.0], values(HAPPY))  # type: ignore[arg-type]
    assert held(lonely).tolist() == [GAP]


# ---- episodes


@given(any_samples())
def test_episodes_do_not_overlap_and_lie_in_answered_time(drawn: Samples) -> None:
    found = told(drawn)
    answered = np.unique(drawn.times[drawn.known])
    until = dict(zip(found.curve.times.tolist(), (found.curve.times + found.seconds).tolist(), strict=True))
    for before, after in pairwise(found.episodes):
        assert before.offset <= after.onset
    for episode in found.episodes:
        assert episode.onset <= episode.apex < episode.offset
        assert episode.offset - episode.onset >= SHORTEST - 1e-5
        inside = answered[(answered >= episode.onset - GAP) & (answered <= episode.offset + GAP)]
        assert (np.diff(inside[(inside >= episode.onset) & (inside < episode.offset)]) <= GAP + 1e-6).all()
        assert answered[0] <= episode.onset
        assert episode.offset <= until[answered[-1]] + 1e-9
        assert 0 <= episode.mean <= episode.peak <= 1
        assert episode.peak >= ENTER
        row = found.curve.emotions[found.curve.times == episode.apex][0]
        assert row[EMOTIONS.index(episode.label)] == np.float32(episode.peak)


@given(any_samples())
def test_neighbours_of_one_emotion_have_a_pause_between_them(drawn: Samples) -> None:
    found = told(drawn)
    known = found.curve.times[np.isfinite(found.curve.emotions).all(axis=1)]
    for before, after in pairwise(found.episodes):
        unknown = after.onset - known[known < after.onset][-1]
        if before.label == after.label:
            assert after.onset - before.offset >= SHORTEST - 1e-5 or unknown > GAP - 1e-5


@given(any_samples())
def test_what_is_surely_shown_for_long_is_in_an_episode(drawn: Samples) -> None:
    found = told(drawn)
    sure = found.curve.emotions.max(axis=1) >= ENTER
    best = np.nan_to_num(found.curve.emotions).argmax(axis=1)
    until = found.curve.times + found.seconds
    for row in range(len(sure) - 1):
        pair = sure[row : row + 2].all() and best[row] == best[row + 1]
        if pair and found.curve.times[row + 1] == until[row] and until[row + 1] - found.curve.times[row] >= SHORTEST:
            time = found.curve.times[row]
            assert any(e.onset <= time < e.offset and e.label == EMOTIONS[best[row]] for e in found.episodes)


def test_an_episode_is_kept_through_a_weaker_time_that_would_not_have_begun_it() -> None:
    weak = (ENTER + LEAVE) / 2
    strong = samples(*[HAPPY] * 10)
    weaker = samples(*[HAPPY] * 10, start=2, sure=weak)
    again = samples(*[HAPPY] * 10, start=4)
    (episode,) = told(concatenated(strong, weaker, again)).episodes
    assert (episode.onset, episode.peak) == (0, pytest.approx(0.88))
    assert episode.offset == pytest.approx(6)
    assert weak < episode.mean < 0.88
    assert told(weaker).episodes == ()


def test_a_class_that_takes_over_begins_where_it_does() -> None:
    first, second = told(samples(*[NEUTRAL] * 15, *[HAPPY] * 15)).episodes
    assert (first.label, second.label) == ("neutral", "happy")
    assert first.offset == second.onset == pytest.approx(3)


def drawn_curve(*classes: int) -> EmotionCurve:
    """Return a curve as it is drawn, past the filter."""
    rows = values(*classes)
    rows[np.array(classes) == UNSURE, :7] = 1 / 7
    return EmotionCurve(1, 2, np.arange(len(classes)) / 10, rows[:, :7], rows[:, 7], rows[:, 8])


def spans(*classes: int) -> list[tuple[str, float, float]]:
    found = episodes(drawn_curve(*classes), np.full(len(classes), 0.1))
    return [(episode.label, round(episode.onset, 6), round(episode.offset, 6)) for episode in found]


def test_short_pauses_divide_no_episode_whatever_is_in_them() -> None:
    long, blip = [HAPPY] * 10, [SAD] * 3
    assert spans(*long, *blip, *long) == [("happy", 0, 2.3)]
    assert spans(*long, *[SAD] * 4, *long) == [("happy", 0, 1), ("sad", 1, 1.4), ("happy", 1.4, 2.4)]
    assert spans(HAPPY, HAPPY, UNSURE, HAPPY, HAPPY) == [("happy", 0, 0.5)]
    assert spans(HAPPY, HAPPY, HAPPY) == []


def test_one_sample_is_no_episode_however_long_it_stands() -> None:
    lonely = concatenated(samples(HAPPY, fps=1), samples(HAPPY, fps=1, start=5))
    assert held(join(lonely)).tolist() == [1, 1]
    assert told(lonely).episodes == ()


def test_a_still_picture_has_a_curve_of_one_point_and_no_episode() -> None:
    found = told(Samples([0.0], [0.0], [80.0], values(HAPPY)))  # type: ignore[arg-type]
    assert found.curve.emotions[0, HAPPY] == pytest.approx(0.88)
    assert found.episodes == ()
    assert found.summary.seconds == 0
    assert found.summary.shares[HAPPY] == 1
    assert found.summary.mean_valence == 0.5


# ---- summary


@given(any_samples())
def test_shares_add_up_to_one_and_the_time_is_that_of_the_curve(drawn: Samples) -> None:
    found = told(drawn)
    known = np.isfinite(found.curve.emotions).all(axis=1)
    assert found.summary.seconds == pytest.approx(found.seconds[known].sum())
    if not known.any():
        assert found.summary.shares.tolist() == [0] * 7
        assert np.isnan(found.summary.mean_valence)
        return
    assert found.summary.shares.sum() == pytest.approx(1)
    assert (found.summary.shares >= 0).all()
    assert found.curve.valence[known].min() - 1e-6 <= found.summary.mean_valence
    assert found.summary.mean_valence <= found.curve.valence[known].max() + 1e-6
    assert found.summary.transitions.sum() <= max(len(found.episodes) - 1, 0)


def test_a_summary_counts_time_and_transitions() -> None:
    classes = [HAPPY] * 10 + [SAD] * 10 + [HAPPY] * 10 + [-1] * 10 + [SAD] * 10
    found = told(samples(*classes)).summary
    assert found.seconds == pytest.approx(8)
    assert found.shares[[HAPPY, SAD]] == pytest.approx([0.5, 0.5])
    assert found.transitions[HAPPY, SAD] == found.transitions[SAD, HAPPY] == 1
    assert found.transitions.sum() == 2


def test_time_counts_and_not_samples() -> None:
    dense = samples(*[SAD] * 100, fps=50, start=0)
    sparse = samples(*[HAPPY] * 10, fps=5, start=10)
    found = told(concatenated(dense, sparse)).summary
    assert found.shares[[HAPPY, SAD]] == pytest.approx([0.5, 0.5])


# ---- every frame


@st.composite
def any_track(draw: st.DrawFn) -> tuple[Track, Float64]:
    """Return a track and the times of its video's frames, which may be irregular or repeat."""
    first, count = draw(st.integers(0, 5)), draw(st.integers(1, 40))
    steps = draw(st.lists(st.sampled_from([0.0, 0.04, 0.1, 0.3, 0.6]), min_size=50, max_size=50))
    frames = np.array(sorted(draw(st.sets(st.integers(first, first + count - 1)))), np.int32)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    emotions = rng.dirichlet(np.ones(7), len(frames))
    reasons = np.where(rng.random(len(frames)) < 0.3, rng.integers(1, 5, len(frames)), 0)
    affect, pose = rng.uniform(-1, 1, (len(frames), 4)), rng.uniform(-1, 1, (len(frames), 3))
    emotions[reasons > 0], affect[reasons > 0, :2] = np.nan, np.nan
    pose[rng.random(len(frames)) < 0.2] = np.nan
    shown = Expressions(frames, emotions, affect[:, 0], affect[:, 1], reasons, pose, affect[:, 2:], affect[:, 2:])
    base = make_result(spans=[(0, first, first + count)], frames=50).tracks[0]
    fields = {name: getattr(base, name) for name in Track.__slots__} | {"expressions": shown}
    return Track(**fields), np.cumsum(steps)


@given(any_track())
@settings(max_examples=200)
def test_every_frame_has_an_emotion_or_says_why_not(drawn: tuple[Track, Float64]) -> None:
    track, times = drawn
    shown, rows = track.expressions, per_frame(track, times)
    assert len(rows) == len(track)
    answered = np.isfinite(shown.emotions).all(axis=1)
    reasons = {reason.name.lower() for reason in Reason} - {"none"}
    for frame, source, emotion in zip(track.frames.tolist(), rows.sources.tolist(), rows.emotions, strict=True):
        before, after = (shown.frames[answered & side] for side in (shown.frames <= frame, shown.frames >= frame))
        between = len(before) > 0 and len(after) > 0 and times[after[0]] - times[before[-1]] <= GAP + 1e-6
        assert np.isfinite(emotion).all() == (source in ("sampled", "interpolated"))
        assert np.isfinite(emotion).any() == (source in ("sampled", "interpolated"))
        assert (source == "sampled") == (frame in shown.frames[answered])
        if source == "interpolated":
            assert between
            low, high = np.sort([shown.emotions[shown.frames == f][0] for f in (before[-1], after[0])], axis=0)
            assert ((low - 1e-6 <= emotion) & (emotion <= high + 1e-6)).all()
            assert emotion.sum() == pytest.approx(1, abs=1e-5)
        elif source == "":
            silent = shown.frames[~answered]
            assert frame not in silent
        elif source != "sampled":
            assert source in reasons
            assert (np.abs(times[shown.frames[~answered]] - times[frame]) <= GAP + 1e-6).any()


@given(any_track())
def test_samples_stand_as_they_are_and_pose_is_known_without_an_answer(drawn: tuple[Track, Float64]) -> None:
    track, times = drawn
    shown, rows = track.expressions, per_frame(track, times)
    places = shown.frames - track.first_frame
    np.testing.assert_array_equal(rows.emotions[places], shown.emotions)
    np.testing.assert_array_equal(rows.valence[places], shown.valence)
    np.testing.assert_array_equal(rows.gaze[places], shown.gaze)
    posed = np.isfinite(shown.pose).all(axis=1)
    np.testing.assert_array_equal(rows.pose[places[posed]], shown.pose[posed])
    for place, reason in zip(places, shown.reasons, strict=True):
        assert rows.sources[place] == ("sampled" if reason == Reason.NONE else Reason(reason).name.lower())


def _track(frames: list[int], classes: list[int], length: int) -> Track:
    rows = values(*classes)
    reasons = [Reason.BLURRED if label < 0 else Reason.NONE for label in classes]
    count = len(frames)
    shown = Expressions(
        np.array(frames), rows[:, :7], rows[:, 7], rows[:, 8], np.array(reasons), np.zeros((count, 3)),
        np.zeros((count, 2)), np.zeros((count, 2)),
    )  # fmt: skip
    base = make_result(spans=[(0, 0, length)], frames=length).tracks[0]
    return Track(**{name: getattr(base, name) for name in Track.__slots__} | {"expressions": shown})


def test_frames_between_samples_say_so() -> None:
    rows = per_frame(_track([0, 4, 8, 12], [HAPPY, SAD, -1, SAD], 16), np.arange(16) / 20)
    assert rows.sources.tolist() == [
        "sampled", *["interpolated"] * 3, "sampled", *["interpolated"] * 2, *["blurred"] * 4, "interpolated",
        "sampled", "", "", "",
    ]  # fmt: skip
    np.testing.assert_allclose(rows.emotions[1, [HAPPY, SAD]], [0.665, 0.235], atol=1e-6)
    assert np.isnan(rows.emotions[8]).all()


def test_time_and_not_frames_decides_how_far_a_sample_reaches() -> None:
    times = np.array([0, 0.1, 0.2, 0.3, 0.9, 1.0, 5.0, 5.1, 5.2])
    rows = per_frame(_track([0, 5, 8], [HAPPY, SAD, SAD], 9), times)
    assert rows.sources.tolist() == ["sampled", *["interpolated"] * 4, "sampled", "", "", "sampled"]
    np.testing.assert_allclose(rows.emotions[1:5, SAD], 0.02 + 0.86 * times[1:5], atol=1e-6)
    assert np.isnan(rows.pose[6:8]).all()


def test_a_track_without_samples_is_unknown_throughout() -> None:
    rows = per_frame(make_result().tracks[0], np.arange(50) / 25)
    assert set(rows.sources.tolist()) == {""}
    assert np.isnan(rows.emotions).all()
    assert np.isnan(rows.pose).all()


def test_smoothing_nothing_gives_nothing() -> None:
    assert np.isnan(smooth(samples(-1, -1))).all()
