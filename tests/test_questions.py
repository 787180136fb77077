"""Who may be one: the least certain first, nobody twice, and never those who cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import make_result, person_vector

from indexing import calibrate, gallery
from indexing.questions import BAND, answer, questions
from indexing.store import Store
from tracker.types import Float32, Keyframes, TrackingResult


def unsure() -> float:
    """A similarity of which nobody knows whether it is of one person."""
    scale = calibrate.for_model("fake-embedder")
    grid = np.linspace(0, 1, 2001)
    return float(grid[np.argmin(np.abs(scale.probability(grid) - 0.5))])


def looking(result: TrackingResult, vectors: list[Float32]) -> TrackingResult:
    """Give the tracks of a result other faces."""
    tracks = [
        replace(track, keyframes=Keyframes(track.keyframes.frames[:1], [0.9], [vector]))
        for track, vector in zip(result.tracks, vectors, strict=True)
    ]
    return replace(result, tracks=tuple(tracks))


def near(vector: Float32, similarity: float, seed: int) -> Float32:
    """Return a unit vector of this similarity to ``vector``."""
    other = person_vector(seed)
    other = other - (other @ vector) * vector
    return np.asarray(similarity * vector + np.sqrt(1 - similarity**2) * other / np.linalg.norm(other), np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Four people in three videos: 2 may well be 1, 3 a little less, and 4 is seen together with 1."""
    first = person_vector(0)
    with Store(tmp_path / "a.db") as opened:
        pair = [first, near(first, unsure(), 5)]
        opened.add_video(looking(make_result("a.mp4", [(0, 0, 20), (1, 5, 30)]), pair))
        opened.add_video(looking(make_result("b.mp4", [(0, 0, 20)]), [near(first, unsure(), 6)]))
        opened.add_video(looking(make_result("c.mp4", [(0, 0, 20)]), [near(first, unsure() + 0.03, 7)]))
        opened.assign([(None, [1]), (None, [3]), (None, [4]), (None, [2])])
        yield opened


def pairs(store: Store) -> list[tuple[int, int]]:
    return [(one.a, one.b) for one in questions(store)]


def test_the_least_certain_pair_comes_first(store: Store) -> None:
    found = questions(store)
    assert (found[0].a, found[0].b, found[0].track_a, found[0].track_b) == (1, 2, 1, 3)
    assert found[0].probability == pytest.approx(0.5, abs=0.02)
    distances = [abs(one.probability - 0.5) for one in found]
    assert distances == sorted(distances)
    assert all(BAND[0] < one.probability < BAND[1] for one in found)
    assert (1, 3) in pairs(store)
    assert len(questions(store, limit=1)) == 1


def test_two_in_one_picture_are_not_asked_about(store: Store) -> None:
    assert (1, 4) not in pairs(store)


def test_what_was_answered_is_not_asked_again(store: Store) -> None:
    entry = answer(store, 1, 2, same=False, reason="the nose")
    assert (entry.kind, entry.reason) == ("not", "the nose")
    assert (1, 2) not in pairs(store)
    gallery.undo(store)
    assert (1, 2) in pairs(store)


def test_one_person_is_merged(store: Store) -> None:
    entry = answer(store, 2, 1, same=True)
    assert (entry.kind, entry.identities) == ("merge", (1, 2))
    assert not [pair for pair in pairs(store) if 2 in pair]


def test_who_is_ignored_or_has_another_name_is_not_asked_about(store: Store) -> None:
    gallery.ignore(store, 3)
    assert not [pair for pair in pairs(store) if 3 in pair]
    gallery.name(store, 1, "Ada")
    assert (1, 2) in pairs(store)
    gallery.name(store, 2, "Grace")
    assert (1, 2) not in pairs(store)


def test_nobody_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "b.db") as store:
        assert questions(store) == []
