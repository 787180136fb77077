"""The vector index against brute force, and its file as a cache."""

import logging
import multiprocessing
import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import faiss
import numpy as np
import pytest
from fakes import make_result
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from indexing import index as index_module
from indexing.index import FLAT, KINDS, LISTS, FaissIndex, build, kind_for, load_or_rebuild
from indexing.inverted import InvertedLists
from indexing.store import Store
from indexing.types import TrackEmbeddings
from tracker.errors import FacetrackError
from tracker.types import Float32


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Keep FAISS from waiting for its threads at every step of these small problems on a busy machine."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(threads)


# Sums of small whole numbers are exact in float32 in any order: equality and ties are those of mathematics.
whole = st.integers(-3, 3).map(float)
every_kind = pytest.mark.parametrize("kind", [kind for kind, _ in KINDS])


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


def filled(vectors: Float32, ids: list[int], kind: str = FLAT) -> FaissIndex:
    index = FaissIndex(vectors.shape[1])
    index.add(ids, vectors)
    if kind == LISTS:
        index.make_lists()
    return index


@every_kind
@settings(deadline=None, max_examples=40)
@given(problem=problems(), threshold=st.integers(-20, 20))
def test_range_search_is_all_at_or_above_the_threshold(
    kind: str, problem: tuple[Float32, list[int], Float32], threshold: int
) -> None:
    vectors, ids, queries = problem
    found = filled(vectors, ids, kind).range_search(queries, threshold)
    for query, hits in zip(queries, found, strict=True):
        wanted = [pair for pair in brute_force(vectors, ids, query) if pair[1] >= threshold]
        assert list(zip(hits.ids.tolist(), hits.similarities.tolist(), strict=True)) == wanted


@every_kind
@settings(deadline=None, max_examples=40)
@given(problem=problems(), k=st.integers(1, 40))
def test_search_is_the_most_similar(kind: str, problem: tuple[Float32, list[int], Float32], k: int) -> None:
    vectors, ids, queries = problem
    for query, hits in zip(queries, filled(vectors, ids, kind).search(queries, k), strict=True):
        wanted = brute_force(vectors, ids, query)
        assert hits.similarities.tolist() == [similarity for _, similarity in wanted[:k]]
        assert set(zip(hits.ids.tolist(), hits.similarities.tolist(), strict=True)) <= set(wanted)


@st.composite
def changes(draw: st.DrawFn) -> tuple[int, list[tuple[str, list[int]]]]:
    """A dimension, and what is done to an index: ids that are added (those in it are passed over) or removed."""
    ids = st.lists(st.integers(0, 40), max_size=25, unique=True)
    steps = st.lists(st.tuples(st.sampled_from(["add", "remove", "reopen", "lists"]), ids), max_size=8)
    return draw(st.integers(1, 9)), draw(steps)


def row_of(number: int, dimension: int) -> list[float]:
    return np.random.default_rng(number).integers(-3, 4, dimension).tolist()  # type: ignore[no-any-return]


@every_kind
@settings(deadline=None, max_examples=40)
@given(change=changes(), threshold=st.integers(-20, 20))
def test_after_any_changes_it_answers_as_brute_force(
    kind: str, change: tuple[int, list[tuple[str, list[int]]]], threshold: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dimension, steps = change
    path = tmp_path_factory.getbasetemp() / f"changed-{kind}"
    there = dict.fromkeys(range(100, 110), 0)
    index = filled(np.array([row_of(n, dimension) for n in there], np.float32), list(there), kind)
    for action, ids in steps:
        if action == "add":
            new = [n for n in ids if n not in there]
            index.add(new, np.array([row_of(n, dimension) for n in new], np.float32).reshape(-1, dimension))
            there |= dict.fromkeys(new, 0)
        elif action == "remove":
            assert index.remove(ids) == len(there.keys() & set(ids))
            there = {n: 0 for n in there if n not in ids}
        elif action == "reopen":
            index.save(path)
            index = FaissIndex.load(path)
        elif kind == LISTS:
            index.make_lists()
    rows = np.array([row_of(n, dimension) for n in there], np.float32).reshape(-1, dimension)
    query = np.array(row_of(1000, dimension), np.float32)
    expected = brute_force(rows, list(there), query)
    (hits,) = index.range_search(query[None], threshold)
    (nearest,) = index.search(query[None], 5)
    assert len(index) == len(there)
    assert sorted(index.ids.tolist()) == sorted(there)
    assert list(zip(hits.ids.tolist(), hits.similarities.tolist(), strict=True)) == [
        pair for pair in expected if pair[1] >= threshold
    ]
    assert nearest.similarities.tolist() == [similarity for _, similarity in expected[:5]]


def unit(count: int, dimension: int = 128, seed: int = 0) -> Float32:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def people(count: int, *, dimension: int = 32, faces: int = 20, noise: float = 0.5, seed: int = 0) -> Float32:
    """Unit vectors, so many of each person, ``noise`` being the share of the variance that is not the person's."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.standard_normal((count // faces, dimension)), faces, axis=0) * np.sqrt(1 - noise)
    rows += np.sqrt(noise) * rng.standard_normal(rows.shape)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.0])
def test_lists_find_nearly_all_at_any_threshold_and_it_is_exact(noise: float) -> None:
    rows = people(5000, noise=noise)
    index = filled(rows, list(range(5000)), LISTS)
    index.remove(np.arange(0, 4000, 5))
    queries = np.random.default_rng(1).permutation(rows)[:100]
    exact = queries.astype(np.float64) @ rows.astype(np.float64).T
    exact[:, 0:4000:5] = -np.inf
    for threshold in (0.2, 0.4, 0.6, 0.8):
        found = index.range_search(queries, threshold)
        wanted = int((exact >= threshold).sum())
        assert 0.99 * wanted <= sum(map(len, found)) <= wanted + 1
        for row, hits in zip(exact, found, strict=True):
            assert np.abs(row[hits.ids] - hits.similarities).max(initial=0) < 1e-6
            assert (hits.similarities >= threshold - 1e-7).all()


def test_lists_read_only_what_is_near() -> None:
    lists = InvertedLists.build(np.arange(5000), people(5000, noise=0.2))
    state = lists.state()
    assert 1 <= state["probes"][0] < 20
    assert state["probes"] == sorted(state["probes"])
    assert len(lists.candidates(people(5000, noise=0.2)[:1], 0.9)[0]) < 100


def test_numbers_a_little_beyond_those_of_the_training_do_not_make_all_codes_doubtful() -> None:
    rows = people(5000, noise=0.5)
    lists = InvertedLists.build(np.arange(5000), rows)
    before = lists.state()["error"]
    lists.add(np.arange(5000, 5200), rows[:200] * np.float32(1.2))
    assert lists.state()["error"] < 1.5 * before


def test_vectors_unlike_those_of_the_training_are_found() -> None:
    index = filled(people(4000, noise=0.1), list(range(4000)), LISTS)
    others = unit(100, 32, seed=5) ** 3
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    index.add(np.arange(4000, 4100), others)
    for number, (hits,) in enumerate(index.range_search(row[None], 0.999) for row in others):
        assert hits.ids.tolist() == [4000 + number]


@every_kind
def test_similarities_do_not_depend_on_the_batch(kind: str) -> None:
    index, queries = filled(unit(500), list(range(500)), kind), unit(64, seed=1)
    together = index.range_search(queries, 0.1)
    for query, hits in zip(queries, together, strict=True):
        (alone,) = index.range_search(query[None], 0.1)
        assert alone.ids.tobytes() == hits.ids.tobytes()
        assert alone.similarities.tobytes() == hits.similarities.tobytes()


@every_kind
def test_real_vectors_are_found_as_by_brute_force(kind: str) -> None:
    vectors, queries = unit(500), unit(64, seed=1)
    exact = (queries.astype(np.float64) @ vectors.T.astype(np.float64)).astype(np.float32)
    for row, hits in zip(exact, filled(vectors, list(range(500)), kind).range_search(queries, 0.1), strict=True):
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


@every_kind
@pytest.mark.parametrize("count", [0, 20])
def test_a_saved_index_is_the_same_index(tmp_path: Path, count: int, kind: str) -> None:
    index = FaissIndex()
    index.add(np.arange(count) * 10, unit(count))
    if kind == LISTS:
        index.make_lists()
    index.save(tmp_path / "i.faiss", stamp="s")
    again = FaissIndex.load(tmp_path / "i.faiss", stamp="s")
    assert again.kind == index.kind
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
                "other kind": sound.replace(FLAT.encode(), b"another", 1),
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


@every_kind
def test_a_write_that_fails_half_way_leaves_what_was_there(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "i.faiss"
    filled(unit(20), list(range(20)), kind).save(path, stamp="old")
    sound = path.read_bytes()

    def full(index: FaissIndex, file: BinaryIO) -> None:
        file.write(b"half of it")
        raise OSError("no space left on device")

    monkeypatch.setattr(FaissIndex, "_write", full)
    with pytest.raises(OSError, match="no space"):
        filled(unit(30), list(range(30)), kind).save(path, stamp="new")
    assert path.read_bytes() == sound
    assert [found.name for found in tmp_path.iterdir()] == ["i.faiss"]


@every_kind
def test_any_byte_that_is_changed_is_found_out(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "i"
    filled(unit(5, 3), list(range(5)), kind).save(path, stamp="s")
    sound = path.read_bytes()
    for where in range(0, len(sound), 7):
        path.write_bytes(sound[:where] + bytes([sound[where] ^ 4]) + sound[where + 1 :])
        with pytest.raises(FacetrackError, match=r"cannot be read|damaged|other embeddings"):
            FaissIndex.load(path, stamp="s")


def test_the_kind_is_chosen_by_size() -> None:
    assert KINDS[0] == (FLAT, 0)
    for (smaller, _), (larger, begins) in pairwise(KINDS):
        assert (kind_for(begins - 1), kind_for(begins)) == (smaller, larger)


class Source:
    """What an index is made from, without a database."""

    def __init__(self, path: Path, vectors: Float32) -> None:
        self.index_path = path
        self.embeddings_revision = "0"
        self.rows = dict(enumerate(vectors, 1))

    def change(self, *, add: Float32 | None = None, remove: int = 0) -> None:
        """Put rows under new ids behind the others, and take away the first so many."""
        self.embeddings_revision = str(int(self.embeddings_revision) + 1)
        after = max(self.rows) + 1
        self.rows |= dict(enumerate([] if add is None else add, after))
        self.rows = dict(list(self.rows.items())[remove:])

    def embeddings(self) -> TrackEmbeddings:
        ids = np.array(list(self.rows), np.int64)
        zeros = np.zeros(len(ids), np.int64)
        return TrackEmbeddings(ids, zeros, zeros, zeros, np.array(list(self.rows.values()), np.float32), "m")  # type: ignore[arg-type]


def answers(index: FaissIndex, source: Source) -> bool:
    rows = source.embeddings()
    found = index.search(rows.vectors, 1)
    nearest = [int(hits.ids[0]) for hits in found]
    return bool(nearest == rows.row_ids.tolist() == sorted(index.ids.tolist()))


@pytest.fixture
def small_kinds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lists begin at 100 vectors; the list that is returned gets an entry whenever any are made."""
    made: list[int] = []
    build_lists = InvertedLists.build

    def counted(ids: np.ndarray[tuple[int], np.dtype[np.int64]], vectors: Float32) -> InvertedLists:
        made.append(len(ids))
        return build_lists(ids, vectors)

    monkeypatch.setattr(index_module, "KINDS", ((FLAT, 0), (LISTS, 100)))
    monkeypatch.setattr(InvertedLists, "build", counted)
    return made


def test_lists_are_brought_up_to_date_and_made_anew_when_outgrown(tmp_path: Path, small_kinds: list[int]) -> None:
    source = Source(tmp_path / "i", unit(90))
    assert load_or_rebuild(source).kind == FLAT
    source.change(add=unit(30, seed=2))
    assert load_or_rebuild(source).kind == LISTS
    assert small_kinds == [120]
    source.change(add=unit(50, seed=3), remove=20)
    index = load_or_rebuild(source)
    assert answers(index, source)
    assert small_kinds == [120]
    assert answers(FaissIndex.load(source.index_path, stamp="2"), source)
    source.change(add=unit(120, seed=4))
    assert answers(load_or_rebuild(source), source)
    assert small_kinds == [120, 270]
    source.change(remove=200)
    assert answers(index := load_or_rebuild(source), source)
    assert index.kind == FLAT


def test_lists_of_another_database_are_not_brought_up_to_date(tmp_path: Path, small_kinds: list[int]) -> None:
    source, other = Source(tmp_path / "i", unit(150)), Source(tmp_path / "i", unit(150, seed=9))
    load_or_rebuild(source)
    other.embeddings_revision = "another"
    assert answers(load_or_rebuild(other), other)
    assert small_kinds == [150, 150]


def test_vectors_that_changed_under_their_ids_are_replaced(tmp_path: Path, small_kinds: list[int]) -> None:
    source = Source(tmp_path / "i", unit(150))
    load_or_rebuild(source)
    source.rows |= dict(enumerate(unit(10, seed=9), 1))
    source.change(add=unit(1, seed=8))
    assert answers(load_or_rebuild(source), source)
    assert small_kinds == [150]


def test_what_is_erased_while_the_index_is_written_does_not_stay_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(tmp_path / "i", unit(20))
    save = FaissIndex.save

    def save_and_change(index: FaissIndex, path: Path, *, stamp: str = "") -> None:
        save(index, path, stamp=stamp)
        source.change(remove=5)

    monkeypatch.setattr(FaissIndex, "save", save_and_change)
    load_or_rebuild(source)
    assert not source.index_path.exists()


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    left, fresh, foreign = (tmp_path / name for name in ("i.faiss.abc.part", "i.faiss.def.part", "other.part"))
    for path in (left, fresh, foreign):
        path.write_bytes(b"faces")
    for path in (left, foreign):
        os.utime(path, (time.time() - 86_400,) * 2)
    filled(unit(2), [1, 2]).save(tmp_path / "i.faiss")
    assert {path.name for path in tmp_path.iterdir()} == {"i.faiss", "i.faiss.def.part", "other.part"}


def _write_often(path: Path, seed: int, kind: str) -> None:
    index = filled(unit(300, 16, seed), list(range(300)), kind)
    for _ in range(20):
        index.save(path, stamp=str(seed))


@every_kind
def test_processes_that_write_at_once_leave_a_whole_index(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "i.faiss"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write_often, args=(path, seed, kind)) for seed in (1, 2)]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            index = FaissIndex.load(path)
            seen.add(index.search(unit(1, 16, 1), 1)[0].similarities[0] > 0.999)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert len(FaissIndex.load(path)) == 300
    assert seen
    assert [found.name for found in tmp_path.iterdir()] == ["i.faiss"]


def test_build_takes_a_kind() -> None:
    rows = Source(Path(), unit(30)).embeddings()
    assert [build(rows, kind=kind).kind for kind in (None, FLAT, LISTS)] == [FLAT, FLAT, LISTS]
