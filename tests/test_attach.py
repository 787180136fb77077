"""Poor tracks join the clearly nearest person, in whatever way it is computed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.attach import FOUNDING_FRAMES, attach
from indexing.calibrate import fallback
from indexing.cluster import cluster_means, unit
from indexing.identities import MARGIN, SLACK

SCALE = fallback("arcface")
CUT = 1e-3
LIMIT, RIVAL = SCALE.threshold(CUT * SLACK), SCALE.threshold(CUT * SLACK * MARGIN)

Rows = np.ndarray[tuple[int, int], np.dtype[np.float32]]
Labels = np.ndarray[tuple[int], np.dtype[np.int64]]


def joined(labels: Labels, rows: Rows, apart: list[set[int]], frames: int = 1) -> list[int]:
    found = attach(
        labels,
        np.flatnonzero(labels == -1),
        rows,
        frames=np.full(len(labels), frames),
        apart=apart,
        far=SCALE.far,
        limit=LIMIT,
        rival=RIVAL,
        margin=MARGIN,
    )
    return found.tolist()


def plainly(labels: Labels, rows: Rows, apart: list[set[int]]) -> list[int]:
    """Join the clearest, and look at everything anew, until none is clear."""
    found = labels.copy()
    while True:
        best = (-np.inf, -1, -1)
        if (found >= 0).any():
            means, _ = cluster_means(rows[found >= 0], np.ones((found >= 0).sum()), found[found >= 0])
            for track in np.flatnonzero(found == -1).tolist():
                similarities = means @ rows[track]
                similarities[[found[other] for other in apart[track] if found[other] >= 0]] = -1
                nearest, second = (*np.argsort(-similarities, kind="stable")[:2].tolist(), -1)[:2]
                rival = -1.0 if second < 0 else float(similarities[second])
                similarity = float(similarities[nearest])
                if similarity >= LIMIT and SCALE.far(similarity) * MARGIN <= SCALE.far(rival):
                    best = max(best, (similarity, -track, nearest))
        if best[0] == -np.inf:
            return found.tolist()
        found[-best[1]] = best[2]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 25), waiting=st.integers(0, 15))
def test_it_is_what_looking_at_all_again_and_again_comes_to(seed: int, count: int, waiting: int) -> None:
    rng = np.random.default_rng(seed)
    people = unit(rng.normal(size=(6, 8)).astype(np.float32))
    rows = unit(people[rng.integers(6, size=count + waiting)] + 0.25 * rng.normal(size=(count + waiting, 8)))
    labels = np.concatenate([np.unique(rng.integers(5, size=count), return_inverse=True)[1], np.full(waiting, -1)])
    apart: list[set[int]] = [set() for _ in labels]
    for a, b in rng.integers(len(labels), size=(10, 2)).tolist():
        if a != b and (labels[a] != labels[b] or labels[a] == -1):
            apart[a].add(b)
            apart[b].add(a)
    found = joined(labels, rows, apart)
    assert found == plainly(labels, rows, apart)
    assert not [(a, b) for a, others in enumerate(apart) for b in others if found[a] == found[b] >= 0]


@pytest.mark.parametrize(("frames", "expected"), [(FOUNDING_FRAMES, [0, 1]), (FOUNDING_FRAMES - 1, [0, -1])])
def test_a_long_one_that_is_like_nobody_founds_a_person(frames: int, expected: list[int]) -> None:
    assert joined(np.array([0, -1]), np.eye(2, dtype=np.float32), [set(), set()], frames) == expected


def test_two_that_are_as_near_are_no_answer() -> None:
    rows = unit(np.array([[1, 0.3], [1, -0.3], [1, 0]], np.float32))
    assert joined(np.array([0, 1, -1]), rows, [set(), set(), set()]) == [0, 1, -1]
    assert joined(np.array([0, 1, -1]), rows, [set(), {2}, {1}]) == [0, 1, 0]
