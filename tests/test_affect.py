"""Valence and arousal from the probabilities of emotions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tracker.affect import CIRCUMPLEX, expectation
from tracker.types import EMOTIONS, Float32

weights = arrays(np.float32, (5, len(EMOTIONS)), elements=st.floats(0.015625, 1, width=32))


def _of(*names: str) -> Float32:
    rows = np.eye(len(EMOTIONS), dtype=np.float32)[[EMOTIONS.index(name) for name in names]]
    return rows.mean(axis=0, keepdims=True)


def test_coordinates_are_the_published_ones() -> None:
    published = {
        "angry": (-0.51, 0.59),
        "disgust": (-0.60, 0.35),
        "fear": (-0.64, 0.60),
        "happy": (0.76, 0.48),
        "sad": (-0.63, -0.27),
        "surprise": (0.40, 0.67),
        "neutral": (0, 0),
    }
    for name, wanted in published.items():
        np.testing.assert_allclose(expectation(_of(name))[0], wanted, atol=1e-6)


def test_two_emotions_lie_midway() -> None:
    np.testing.assert_allclose(expectation(_of("happy", "sad")), [[0.065, 0.105]], atol=1e-6)


@settings(deadline=None)
@given(weights)
def test_the_expectation_lies_among_the_classes(weight: Float32) -> None:
    found = expectation(weight / weight.sum(axis=1, keepdims=True))
    assert found.shape == (5, 2)
    assert found.dtype == np.float32
    assert (found >= CIRCUMPLEX.min(axis=0) - 1e-6).all()
    assert (found <= CIRCUMPLEX.max(axis=0) + 1e-6).all()


@settings(deadline=None)
@given(weights, weights, st.floats(0, 1))
def test_mixing_answers_mixes_expectations(first: Float32, second: Float32, share: float) -> None:
    mixed = expectation((share * first + (1 - share) * second).astype(np.float32))
    np.testing.assert_allclose(mixed, share * expectation(first) + (1 - share) * expectation(second), atol=1e-5)


def test_unknown_stays_unknown() -> None:
    found = expectation(np.concatenate([_of("happy"), np.full((1, len(EMOTIONS)), np.nan, np.float32)]))
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


def test_no_rows_give_no_rows() -> None:
    assert expectation(np.empty((0, len(EMOTIONS)), np.float32)).shape == (0, 2)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        CIRCUMPLEX[0, 0] = 1
