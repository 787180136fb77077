"""The vector index against brute force, and its file as a cache."""

import logging
from pathlib import Path

import numpy as np
import pytest
from fakes import make_result
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from indexing.index import FaissIndex, load_or_rebuild
from indexing.store import Store
from tracker.errors import FacetrackError
from tracker.types import Float32

# Sums of small whole numbers are exact in float32 in any order: equality and ties are those of mathematics.
whole = st.integers(-3, 3).map(float)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Float32, list[int], Float32]:
    dimension = draw(st.integers(1, 9))
    count = draw(st.integers(0, 30))
    vectors = draw(hnp.arrays(np.float32, (count, dimension), elements=whole))
    ids = draw(st.lists(st.integers(0, 2**62), min_size=count, max_size=count, unique=True))
    queries = draw(hnp.arrays(np.float32, (draw(st.integers(0, 25)), dimension), elements=whole))
    return vectors, ids, queries


def brute_force(vectors: Float32, ids: list[int], query: Float32) -> list[tuple[int, float]]:
    similarities = vectors @ query
    pairs = zip(ids, similarities.tolist(), strict=True)
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


def filled(vectors: Float32, ids: list[int]) -> FaissIndex:
    index = FaissIndex(vectors.shape[1])
    index.add(ids, vectors)
    return index


@given(problems(), st.integers(-20, 20))
def test_range_search_is_all_at_or_above_the_threshold(
    problem: tuple[Float32, list[int], Float32], threshold: int
) -> None:
    vectors, ids, queries = problem
    found = filled(vectors, ids).range_search(queries, threshold)
    for query, hits in zip(queries, found, strict=True):
        wanted = [pair for pair in brute_force(vectors, ids, query) if pair[1] >= threshold]
        assert list(zip(hits.ids.tolist(), hits.similarities.tolist(), strict=True)) == wanted


@given(problems(), st.integers(1, 40))
def test_search_is_the_most_similar(problem: tuple[Float32, list[int], Float32], k: int) -> None:
    vectors, ids, queries = problem
    for query, hits in zip(queries, filled(vectors, ids).search(queries, k), strict=True):
        wanted = brute_force(vectors, ids, query)
        assert hits.similarities.tolist() == [similarity for _, similarity in wanted[:k]]
        assert set(zip(hits.ids.tolist(), hits.similarities.tolist(), strict=True)) <= set(wanted)


@given(problems(), st.data())
def test_what_is_removed_is_not_found(problem: tuple[Float32, list[int], Float32], data: st.DataObject) -> None:
    vectors, ids, queries = problem
    gone = set(data.draw(st.lists(st.sampled_from(ids))) if ids else [])
    index = filled(vectors, ids)
    assert index.remove([*gone, 2**62 + 1]) == len(gone)
    assert len(index) == len(ids) - len(gone)
    for hits in index.range_search(queries, -1000):
        assert set(hits.ids.tolist()) == set(ids) - gone


def unit(count: int, dimension: int = 128, seed: int = 0) -> Float32:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_similarities_do_not_depend_on_the_batch() -> None:
    index, queries = filled(unit(500), list(range(500))), unit(64, seed=1)
    together = index.range_search(queries, 0.1)
    for query, hits in zip(queries, together, strict=True):
        (alone,) = index.range_search(query[None], 0.1)
        assert alone.ids.tobytes() == hits.ids.tobytes()
        assert alone.similarities.tobytes() == hits.similarities.tobytes()


def test_real_vectors_are_found_as_by_brute_force() -> None:
    vectors, queries = unit(500), unit(64, seed=1)
    exact = (queries.astype(np.float64) @ vectors.T.astype(np.float64)).astype(np.float32)
    for row, hits in zip(exact, filled(vectors, list(range(500))).range_search(queries, 0.1), strict=True):
        assert set(hits.ids.tolist()) == set(np.flatnonzero(row >= 0.1).tolist())


def test_a_vector_finds_itself_at_its_own_similarity() -> None:
    vectors = unit(100)
    index = filled(vectors, list(range(100)))
    for number, (hits,) in enumerate(index.search(row[None], 1) for row in vectors):
        (again,) = index.range_search(vectors[number : number + 1], float(hits.similarities[0]))
        assert again.ids.tolist() == [number]


def test_an_empty_index_takes_queries_of_any_length() -> None:
    index = FaissIndex()
    assert [len(hits) for hits in index.range_search(unit(3, 7), 0.5)] == [0, 0, 0]
    assert [len(hits) for hits in index.search(unit(2, 9), 4)] == [0, 0]
    assert (len(index), index.dimension) == (0, 0)


@pytest.mark.parametrize("ids", [[1, 1], [5, 6], [-1, 2], [1]])
def test_ids_that_do_not_fit_are_refused(ids: list[int]) -> None:
    index = filled(unit(1), [5])
    with pytest.raises(ValueError, match=r"ids|vectors"):
        index.add(ids, unit(2))
    assert len(index) == 1


def test_vectors_of_another_length_are_refused() -> None:
    index = filled(unit(2), [1, 2])
    with pytest.raises(ValueError, match="vectors has shape"):
        index.add([3], unit(1, 64))
    with pytest.raises(ValueError, match="queries has shape"):
        index.range_search(unit(1, 64), 0.5)
    with pytest.raises(ValueError, match="finite"):
        index.range_search(unit(1), float("nan"))
    with pytest.raises(ValueError, match="k has to be"):
        index.search(unit(1), 0)


@pytest.mark.parametrize("count", [0, 20])
def test_a_saved_index_is_the_same_index(tmp_path: Path, count: int) -> None:
    index = FaissIndex()
    index.add(np.arange(count) * 10, unit(count))
    index.save(tmp_path / "i.faiss", stamp="s")
    again = FaissIndex.load(tmp_path / "i.faiss", stamp="s")
    again.add([7], unit(1, seed=3))
    assert again.ids.tolist() == [*range(0, count * 10, 10), 7]
    assert again.remove([0, 7]) == (2 if count else 1)
    assert [path.name for path in tmp_path.iterdir()] == ["i.faiss"]


def test_an_index_of_another_stamp_is_refused(tmp_path: Path) -> None:
    filled(unit(2), [1, 2]).save(tmp_path / "i", stamp="old")
    with pytest.raises(FacetrackError, match="other embeddings"):
        FaissIndex.load(tmp_path / "i", stamp="new")
    with pytest.raises(FacetrackError, match="cannot be read"):
        FaissIndex.load(tmp_path / "none")


def test_the_cache_is_used_while_the_embeddings_stay_the_same(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        store.add_video(make_result())
        first = load_or_rebuild(store)
        written = store.index_path.stat().st_mtime_ns
        store.assign([(None, [1, 2])])
        store.set_meta("calibration", [1])
        again = load_or_rebuild(store)
        assert store.index_path.stat().st_mtime_ns == written
    assert again.ids.tolist() == first.ids.tolist() == list(range(1, 7))


def _ids_match(store: Store) -> bool:
    rows = store.embeddings()
    index = load_or_rebuild(store)
    nearest: list[int] = [int(hits.ids[0]) for hits in index.search(rows.vectors, 1)] if len(rows) else []
    return bool(nearest == rows.row_ids.tolist() == sorted(index.ids.tolist()))


def test_a_stale_cache_is_made_anew(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        assert _ids_match(store)
        store.add_video(make_result("a.mp4"))
        assert _ids_match(store)
        second = store.add_video(make_result("b.mp4"))
        assert _ids_match(store)
        store.remove_video(second)
        store.add_video(make_result("c.mp4"))
        assert _ids_match(store)
        tracks = store.tracks(1)
        store.replace_embeddings("other", [(record.key, track.keyframes) for record, track in tracks])
        assert _ids_match(store)


def test_a_cache_of_another_database_is_not_taken(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as one, Store(tmp_path / "b.db") as other:
        one.add_video(make_result("a.mp4"))
        other.add_video(make_result("b.mp4"))
        load_or_rebuild(one)
        other.index_path.write_bytes(one.index_path.read_bytes())
        assert _ids_match(other)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "header", "other kind", "no stamp"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: str) -> None:
    with Store(tmp_path / "a.db") as store:
        store.add_video(make_result())
        load_or_rebuild(store)
        sound = store.index_path.read_bytes()
        store.index_path.write_bytes(
            {
                "cut": sound[:-20],
                "flipped": sound[:-1] + bytes([sound[-1] ^ 1]),
                "empty": b"",
                "text": b"\xffnot an index\n",
                "header": b"[1, 2]\n" + sound.partition(b"\n")[2],
                "other kind": sound.replace(FaissIndex.kind.encode(), b"another", 1),
                "no stamp": sound.replace(b'"stamp"', b'"stump"', 1),
            }[damage]
        )
        assert _ids_match(store)
        assert store.index_path.read_bytes() == sound


def test_a_cache_that_cannot_be_written_is_told_and_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Store(tmp_path / "a.db") as store, caplog.at_level(logging.WARNING):
        store.add_video(make_result())
        index = load_or_rebuild(store, tmp_path / "no folder" / "x.faiss")
    assert len(index) == 6
    assert "cannot be kept" in caplog.text
