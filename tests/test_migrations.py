"""Databases of every age open, others are refused and left as they are."""

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from fakes import make_result
from sqlalchemy import create_engine

from indexing import gallery
from indexing.database import open_engine
from indexing.jobs import JobQueue
from indexing.migrations import APPLICATION_ID, HEAD, steps, upgrade
from indexing.store import Store
from indexing.tables import Base
from tracker.errors import FacetrackError

REVISIONS = [step.revision for step in steps().walk_revisions()]


def run_sql(path: Path, *commands: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for command in commands:
            connection.execute(command)


def read_sql(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def schema(path: Path) -> list[tuple[object, ...]]:
    return read_sql(path, "SELECT type, name, sql FROM sqlite_master ORDER BY type, name")


def test_the_newest_step_is_the_one_that_the_code_knows() -> None:
    assert steps().get_heads() == [HEAD]
    assert sorted(REVISIONS)[-1] == HEAD


def test_the_steps_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "a.db")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_a_new_database_carries_mark_revision_and_log(tmp_path: Path) -> None:
    Store(tmp_path / "a.db").close()
    assert read_sql(tmp_path / "a.db", "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert read_sql(tmp_path / "a.db", "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert read_sql(tmp_path / "a.db", "PRAGMA journal_mode") == [("wal",)]


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_database_of_any_step_comes_to_the_same_schema_and_works(tmp_path: Path, revision: str) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'old.db'}")
    with engine.begin() as connection:
        upgrade(connection, revision)
    engine.dispose()
    with Store(tmp_path / "old.db", must_exist=True) as old, Store(tmp_path / "new.db") as new:
        assert old.add_video(make_result()) == new.add_video(make_result()) == 1
    assert schema(tmp_path / "old.db") == schema(tmp_path / "new.db")


def restored(path: Path, golden: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((Path(__file__).parent / "goldens" / golden).read_text(encoding="utf-8"))
    return path


@pytest.fixture
def first_version(tmp_path: Path) -> Path:
    """Return a database with content that the code of the first schema wrote."""
    return restored(tmp_path / "old.db", "v0001.sql")


@pytest.fixture
def second_version(tmp_path: Path) -> Path:
    """Return the same of the second schema, with expressions in the first video."""
    return restored(tmp_path / "old.db", "v0002.sql")


@pytest.fixture
def third_version(tmp_path: Path) -> Path:
    """Return a database of the third schema, with a log of corrections and a photograph that was enrolled."""
    return restored(tmp_path / "old.db", "v0003.sql")


def test_the_content_of_the_first_version_is_kept(first_version: Path) -> None:
    written = [make_result("films/a.mp4", [(0, 0, 4), (1, 2, 6), (0, 5, 8)], frames=8, dimension=4),
               make_result("b.jpg", [(0, 0, 1), (2, 0, 1)], frames=1, dimension=4, keyframes=1)]  # fmt: skip
    with Store(first_version, must_exist=True) as store:
        assert [(v.video_id, str(v.path), v.emotion_id) for v in store.videos()] == [
            (2, "films/a.mp4", None), (3, "b.jpg", None)
        ]  # fmt: skip
        assert store.video(2).settings == {"detect_every": 2}
        for video_id, result in zip((2, 3), written, strict=True):
            for (_, back), track in zip(store.tracks(video_id), result.tracks, strict=True):
                assert back.boxes.tobytes() == track.boxes.tobytes()
                assert back.keyframes.embeddings.tobytes() == track.keyframes.embeddings.tobytes()
                assert len(back.expressions) == 0
        assert [(p.identity.label, p.appearances) for p in store.people()] == [("Ada", 2), ("Person 2", 1)]
        assert [(r.key, r.identity_id, r.confidence) for r in store.track_records()] == [
            (2, 1, 0.9), (3, 2, None), (4, 1, None), (5, 1, None), (6, None, None)
        ]  # fmt: skip
        assert store.thumbnail(2).startswith(b"\xff\xd8")
        assert store.get_meta("calibration") == {"a": 1.5}
        assert store.emotion_curves() == store.episodes() == store.emotion_summaries() == []
    assert read_sql(first_version, "PRAGMA foreign_key_check") == []
    assert read_sql(first_version, "PRAGMA integrity_check") == [("ok",)]


def test_the_first_version_comes_to_the_schema_of_today_and_goes_on(first_version: Path, tmp_path: Path) -> None:
    Store(tmp_path / "new.db").close()
    with Store(first_version, must_exist=True) as store:
        video_id = store.add_video(make_result("new.mp4", dimension=4, emotion_every=5))
        assert video_id == 4
        keys = [record.key for record in store.track_records(video_id)]
        assert keys == [7, 8, 9]
        store.assign([(1, [2, 4, 5, *keys]), (2, [3])])
        assert {(curve.identity_id, curve.video_id) for curve in store.emotion_curves()} == {(1, 4)}
    assert schema(first_version) == schema(tmp_path / "new.db")


def test_an_upgrade_that_fails_leaves_the_first_version(first_version: Path) -> None:
    run_sql(first_version, "CREATE TABLE emotion_transitions (in_the_way)")
    before = schema(first_version)
    with pytest.raises(FacetrackError, match="emotion_transitions"):
        Store(first_version)
    assert schema(first_version) == before
    assert read_sql(first_version, "SELECT version_num FROM alembic_version") == [("0001",)]


@pytest.mark.parametrize("golden", ["v0001.sql", "v0002.sql"])
def test_names_that_were_given_before_the_log_are_in_it(tmp_path: Path, golden: str) -> None:
    with Store(restored(tmp_path / "old.db", golden), must_exist=True) as store:
        (entry,) = store.log()
        (best,) = (person.best_track for person in store.people() if person.identity.name == "Ada")
        assert (entry.kind, entry.identities, entry.name, dict(entry.pins)) == ("name", (1,), "Ada", {best: 1})
        assert entry.at.endswith("+00:00")
        assert store.verdicts().names == {1: "Ada"}
        assert [identity.ignored for identity in store.identities()] == [False, False]
        assert [video.enrolled for video in store.videos()] == [False, False]
        gallery.undo(store)
        assert [identity.label for identity in store.identities()] == ["Person 1", "Person 2"]


def test_the_content_of_the_second_version_is_kept(second_version: Path, tmp_path: Path) -> None:
    result = make_result("films/a.mp4", [(0, 0, 4), (1, 2, 6), (0, 5, 8)], frames=8, dimension=4, emotion_every=1)
    before = {
        table: read_sql(second_version, f"SELECT * FROM {table}")
        for table in ("expressions", "emotion_curves", "emotion_episodes", "emotion_summaries", "tracks", "embeddings")
    }
    seen = "SELECT * FROM appearances ORDER BY start, person"
    told = read_sql(second_version, seen)
    with Store(second_version, must_exist=True) as store:
        for (_, back), track in zip(store.tracks(2), result.tracks, strict=True):
            assert back.expressions.frames.tolist() == track.expressions.frames.tolist()
        assert {(curve.identity_id, curve.video_id) for curve in store.emotion_curves()} == {(1, 2), (2, 2)}
        assert [(p.identity.label, p.appearances) for p in store.people()] == [("Ada", 2), ("Person 2", 1)]
    assert {table: read_sql(second_version, f"SELECT * FROM {table}") for table in before} == before
    assert read_sql(second_version, seen) == told != []
    assert read_sql(second_version, "PRAGMA foreign_key_check") == []
    Store(tmp_path / "new.db").close()
    assert schema(second_version) == schema(tmp_path / "new.db")


def test_an_upgrade_that_fails_leaves_the_second_version(second_version: Path) -> None:
    run_sql(second_version, "CREATE TABLE corrections (in_the_way)")
    before = schema(second_version)
    with pytest.raises(FacetrackError, match="corrections"):
        Store(second_version)
    assert schema(second_version) == before
    assert read_sql(second_version, "SELECT version_num FROM alembic_version") == [("0002",)]


def query_of_all(path: Path, table: str) -> str:
    """Return a query of all columns there are now, which later steps may add to."""
    columns = (f'"{column[1]}"' for column in read_sql(path, f"PRAGMA table_info({table})"))
    return f"SELECT {', '.join(columns)} FROM {table}"


def test_the_content_of_the_third_version_is_kept(third_version: Path, tmp_path: Path) -> None:
    tables = ("videos", "identities", "tracks", "embeddings", "expressions", "emotion_curves", "corrections")
    queries = [query_of_all(third_version, table) for table in tables]
    before = [read_sql(third_version, query) for query in queries]
    with Store(third_version, must_exist=True) as store:
        assert [(e.kind, e.undone_by) for e in store.log()] == [
            ("name", None), ("ignore", 3), ("undo", None), ("not", None)
        ]  # fmt: skip
        assert [(p.identity.label, p.appearances) for p in store.people()] == [
            ("Ada", 2), ("Person 3", 2), ("Person 2", 1)
        ]  # fmt: skip
        assert [video.enrolled for video in store.videos(enrolled=True)] == [False, False, True]
        assert JobQueue(store).jobs() == []
    assert [read_sql(third_version, query) for query in queries] == before
    assert read_sql(third_version, "PRAGMA foreign_key_check") == []
    Store(tmp_path / "new.db").close()
    assert schema(third_version) == schema(tmp_path / "new.db")


def test_an_upgrade_that_fails_leaves_the_third_version(third_version: Path) -> None:
    run_sql(third_version, "CREATE TABLE jobs (in_the_way)")
    before = schema(third_version), read_sql(third_version, "SELECT * FROM meta")
    with pytest.raises(FacetrackError, match="jobs"):
        Store(third_version)
    assert (schema(third_version), read_sql(third_version, "SELECT * FROM meta")) == before
    assert read_sql(third_version, "SELECT version_num FROM alembic_version") == [("0003",)]


def test_an_upgraded_database_has_a_revision_of_its_own(tmp_path: Path) -> None:
    revisions = set()
    for name in "ab":
        with Store(restored(tmp_path / name, "v0003.sql"), must_exist=True) as store:
            revisions.add(store.revision)
    assert len(revisions) == 2


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Store(path) as store:
        store.add_video(make_result())
    before = path.read_bytes()
    with Store(path) as store:
        assert len(store.videos()) == 1
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch()
    with Store(tmp_path / "a.db") as store:
        assert store.videos() == []


def test_any_characters_may_stand_in_the_path(tmp_path: Path) -> None:
    folder = tmp_path / "50% ?mode=ro & #1 Ä"
    folder.mkdir()
    with Store(folder / "file:a b.db") as store:
        store.add_video(make_result())
    assert (folder / "file:a b.db").is_file()


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Store(path).close()
    run_sql(path, "UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(FacetrackError, match=r"newer facetrack \(schema 9999.*upgrade facetrack"):
        Store(path)
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    run_sql(path, "CREATE TABLE videos (id)")
    before = path.read_bytes()
    with pytest.raises(FacetrackError, match="no facetrack database"):
        Store(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database, but long enough to be taken for one" * 40, b"\x00" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(FacetrackError, match=r"clip.mp4.*no facetrack database"):
        Store(path)
    assert path.read_bytes() == content


def test_a_cut_database_is_told_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Store(path) as store:
        store.add_video(make_result())
    path.write_bytes(path.read_bytes()[:8192])
    with pytest.raises(FacetrackError, match="damaged"), Store(path) as store:
        store.embeddings()


def test_a_missing_database_is_refused_where_one_is_needed(tmp_path: Path) -> None:
    with pytest.raises(FacetrackError, match="no such database"):
        Store.open(tmp_path / "a.db", must_exist=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.db").touch()
    with pytest.raises(FacetrackError, match="no facetrack database"):
        Store(tmp_path / "empty.db", must_exist=True)


def test_a_folder_or_a_place_without_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FacetrackError, match="this is a folder"):
        Store(tmp_path)
    with pytest.raises(FacetrackError, match=r"folder .* does not exist"):
        Store(tmp_path / "none" / "a.db")


@contextmanager
def _without_rights(folder: Path) -> Iterator[None]:
    # The superuser may write everything: for the time of the test, be somebody else.
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}
    user = os.geteuid()
    for path in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
        for path, mode in modes.items():
            path.chmod(mode)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    # Unlike tmp_path, all of it can be read by others.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights of this kind are POSIX")
def test_a_place_that_cannot_be_written_is_told(open_folder: Path) -> None:
    with _without_rights(open_folder), pytest.raises(FacetrackError, match="cannot be opened"):
        Store(open_folder / "new.db")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="rights of this kind are POSIX")
def test_a_database_that_cannot_be_written_is_told(open_folder: Path) -> None:
    path = open_folder / "a.db"
    Store(path).close()
    with (
        _without_rights(open_folder),
        pytest.raises(FacetrackError, match=r"cannot be (opened|written).*writable"),
        Store(path) as store,
    ):
        store.add_video(make_result())


def test_several_processes_may_make_the_same_database_at_once(tmp_path: Path) -> None:
    program = (
        "import sys; from indexing.store import Store; s = Store(sys.argv[1]); s.set_meta(sys.argv[2], 1); s.close()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    several = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "a.db"), f"key {n}"], env=environment)
        for n in range(4)
    ]
    assert [process.wait(120) for process in several] == [0] * 4
    with Store(tmp_path / "a.db", must_exist=True) as store:
        assert [store.get_meta(f"key {n}") for n in range(4)] == [1] * 4
