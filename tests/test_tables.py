"""Blobs give back what was put in, bit by bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from indexing.tables import pack, unpack

DTYPES = (np.float32, np.float64, np.int32, np.uint8)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_any_array_comes_back(dtype: type[np.generic], data: st.DataObject) -> None:
    rows = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=20)))
    back = unpack(pack(rows), dtype, rows.shape[1])
    assert back.dtype == dtype
    assert back.shape == rows.shape
    assert back.tobytes() == rows.tobytes()


def test_an_empty_array_comes_back() -> None:
    assert unpack(pack(np.empty((0, 4), np.float32)), np.float32, 4).shape == (0, 4)


def test_a_blob_that_does_not_shrink_is_the_plain_bytes() -> None:
    values = np.random.default_rng(0).integers(0, 256, 100, np.uint8)
    assert pack(values) == b"r" + values.tobytes()


def test_bytes_are_little_endian_whatever_the_array_is() -> None:
    assert pack(np.array([1], ">i4")) == pack(np.array([1], "<i4")) == b"r\x01\x00\x00\x00"


def test_times_take_less_than_half_their_size() -> None:
    assert len(pack(np.arange(10_000) / 25)) < 40_000
