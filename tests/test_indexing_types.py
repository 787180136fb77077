"""The values of the index: labels, slices, and shapes that do not fit."""

import dataclasses

import numpy as np
import pytest

from indexing.types import Identity, TrackEmbeddings, TrackRecord
from tracker.types import Segment


def embeddings(count: int = 3) -> TrackEmbeddings:
    numbers = np.arange(count)
    vectors = np.eye(count, 4, dtype=np.float32)
    return TrackEmbeddings(
        numbers + 1, numbers // 2, numbers.astype(np.int32), np.ones(count, np.float32), vectors, "m"
    )


def test_an_identity_is_called_by_its_name_and_else_by_its_id() -> None:
    assert [Identity(3).label, Identity(3, "Ada").label] == ["Person 3", "Ada"]


def test_embeddings_are_sliced_like_an_array() -> None:
    some = embeddings()[[2, 0]]
    assert some.row_ids.tolist() == [3, 1]
    assert some.track_keys.tolist() == [1, 0]
    assert some.model_id == "m"
    np.testing.assert_array_equal(some.vectors, np.eye(3, 4)[[2, 0]])


def test_embeddings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        embeddings().vectors[0] = 0


@pytest.mark.parametrize("name", ["track_keys", "frames", "qualities", "vectors"])
def test_embeddings_of_different_lengths_are_refused(name: str) -> None:
    whole = embeddings()
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(whole, **{name: getattr(whole, name)[:2]})


def test_a_track_record_tells_its_segment_and_length() -> None:
    record = TrackRecord(1, 1, 0, 0, first_frame=5, end_frame=30, start=0.2, end=1.2, quality=1, size=50)
    assert record.segment == Segment(0.2, 1.2)
    assert record.frame_count == 25
