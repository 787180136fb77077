"""The page on the tables tells of all of them, and its queries give what the store itself says."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import make_result

import indexing
from indexing.jobs import JobQueue
from indexing.store import Store
from tracker.types import EMOTIONS

PAGE = (Path(indexing.__file__).parent / "SCHEMA.md").read_text(encoding="utf-8")

QUERIES = dict(re.findall(r"```sql\n-- (.+)\n((?:.+\n)+)```", PAGE))
"""Title -> query."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("schema") / "facetrack.db") as opened:
        spans = [(0, 0, 300), (1, 40, 300), (0, 310, 550), (2, 560, 590)]
        opened.add_video(make_result("a.mp4", spans, frames=600, emotion_every=5))
        opened.add_video(make_result("b.mp4", [(0, 0, 200)], frames=600, emotion_every=5))
        opened.add_video(make_result("c.jpg", [(1, 0, 1)], frames=1, emotion_every=1, is_image=True))
        live = {"source": "door", "started_at": "2026-11-25T07:08:09.500000+00:00", "session": "0", "piece": 0}
        opened.add_video(make_result("door/2026-11-25T07-08-09-500Z", [(0, 0, 50)], settings={"live": live}))
        a, b, c, d, e, f, g = (record.key for record in opened.track_records())
        opened.assign([(None, [a, c, e, g]), (None, [b, f])])
        opened.rename(1, "Ada")
        assert d
        JobQueue(opened).submit(Path(__file__))
        yield opened


@pytest.fixture
def connection(store: Store) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"{store.path.resolve().as_uri()}?mode=ro", uri=True)) as opened:
        opened.row_factory = sqlite3.Row
        yield opened


def ask(connection: sqlite3.Connection, title: str) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(QUERIES[title])]


def _columns_told(name: str) -> set[str]:
    section = re.search(rf"### `{name}`\n(.*?)(?=\n##|\Z)", PAGE, re.DOTALL)
    if section:
        cells = re.findall(r"^\| (`.+?) \|", section[1], re.MULTILINE)
        return {column for cell in cells for column in re.findall(r"`(\w+)`", cell)}
    line = re.search(rf"`{name}`\s+\(([`\w,\s]+)\)", PAGE)
    return set(re.findall(r"`(\w+)`", line[1])) if line else set()


def test_every_table_is_told_with_all_its_columns(connection: sqlite3.Connection) -> None:
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")]
    for table in set(tables) - {"sqlite_sequence"}:
        there = {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}
        assert _columns_told(table) == there, table


def test_no_query_is_left_out() -> None:
    assert len(QUERIES) == PAGE.count("```sql") >= 11


@pytest.mark.parametrize("title", QUERIES)
def test_every_query_answers(connection: sqlite3.Connection, title: str) -> None:
    rows = ask(connection, title)
    assert rows
    assert not any(value is None for row in rows for value in row.values())


def test_live_streams_are_told_by_the_clock(connection: sqlite3.Connection) -> None:
    [row] = ask(connection, "Who was seen in live streams, by the clock (UTC)")
    assert row == {
        "source": "door",
        "person": "Ada",
        "enters": "2026-11-25 07:08:09.500",
        "leaves": "2026-11-25 07:08:11.500",
    }


def test_screen_time_is_that_of_the_people(connection: sqlite3.Connection, store: Store) -> None:
    people = [(p.identity.label, p.videos, round(p.screen_time, 2)) for p in store.people()]
    assert [tuple(row.values()) for row in ask(connection, "Screen time of each person, longest first")] == people


def test_who_shares_the_picture(connection: sqlite3.Connection) -> None:
    (row,) = ask(connection, "Who shares the picture with whom, for how long")
    # The second track of Ada begins 0.4 s after her first: the gap is closed, and Person 2 has left by then.
    assert row == {"person": "Ada", "other": "Person 2", "seconds": pytest.approx((300 - 40) / 25)}


def test_the_happiest_moments_are_happy(connection: sqlite3.Connection) -> None:
    rows = ask(connection, "The happiest moments, as they were sampled")
    assert {row["person"] for row in rows} <= {"Ada", "Person 2"}
    assert [row["happy"] for row in rows] == [0.88] * 10


def test_outcomes_add_up(connection: sqlite3.Connection, store: Store) -> None:
    rows = ask(connection, "How often a face got an answer, and why not")
    samples = sum(len(track.expressions) for video in store.videos() for _, track in store.tracks(video.video_id))
    assert {row["outcome"] for row in rows} == {"answered", "blurred"}
    assert sum(row["samples"] for row in rows) == samples
    assert sum(row["percent"] for row in rows) == pytest.approx(100, abs=0.2)


def test_valence_falls_as_happiness_ends(connection: sqlite3.Connection) -> None:
    rows = ask(connection, "Mean valence of each person in each ten seconds of a video")
    ada = {row["second"]: row["valence"] for row in rows if row["identity_id"] == 1}
    assert sorted(ada) == [0, 10, 20]
    assert ada[0] > 0 > ada[20]


def test_common_happiness_is_no_longer_than_that_of_one(connection: sqlite3.Connection, store: Store) -> None:
    (row,) = ask(connection, "Who is happy in the same moment")
    assert (row["identity_id"], row["other"]) == (1, 2)
    happy = EMOTIONS.index("happy")
    alone = [s.seconds * s.shares[happy] for s in store.emotion_summaries(video_id=1)]
    assert 3 < row["seconds"] <= min(alone) + 0.01


def test_the_longest_episodes_are_those_of_the_store(connection: sqlite3.Connection, store: Store) -> None:
    rows = ask(connection, "The longest episodes that are not neutral")
    wanted = sorted((e.onset, e.offset, e.label) for e in store.episodes())
    assert sorted((row["onset"], row["offset"], row["emotion"]) for row in rows) == wanted
    assert [row["seconds"] for row in rows] == sorted((row["seconds"] for row in rows), reverse=True)


def test_who_follows_whom(connection: sqlite3.Connection) -> None:
    (row,) = ask(connection, "Who begins to be happy within 2 s of somebody else")
    assert row == {"video_id": 1, "leader": 1, "follower": 2, "seconds_later": 1.6}


def test_happy_time_over_all_videos(connection: sqlite3.Connection, store: Store) -> None:
    rows = ask(connection, "Share of happy time of each person over all videos")
    summaries = store.emotion_summaries(identity_id=1)
    seconds = sum(s.seconds for s in summaries)
    happy = sum(s.seconds * s.shares[EMOTIONS.index("happy")] for s in summaries)
    (ada,) = (row for row in rows if row["person"] == "Ada")
    assert ada["seconds"] == pytest.approx(seconds, abs=0.01)
    assert ada["happy"] == pytest.approx(happy / seconds, abs=0.001)


def test_what_follows_on_happiness(connection: sqlite3.Connection) -> None:
    # Ada turns sad in both of her tracks and in the other video, Person 2 once.
    assert ask(connection, "What follows on happiness") == [{"after": "sad", "times": 4}]


def test_the_numbers_that_the_page_states_are_those_of_the_code() -> None:
    from indexing import emotions

    text = re.sub(r"\s+", " ", PAGE)
    for number, sentence in (
        (emotions.MEDIAN, "running median over {:g} s"),
        (emotions.SIGMA, "Gaussian of {:g} s"),
        (3 * emotions.SIGMA, "cut at {:g} s"),
        (emotions.GAP, "more than {:g} s without an answer"),
        (emotions.ENTER, "reaches {:g} and keeps it"),
        (emotions.LEAVE, "falls below {:g},"),
        (emotions.SHORTEST, "lasts at least {:g} s"),
    ):
        assert sentence.format(number) in text


def test_a_model_of_its_own_affect_says_so(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        store.add_video(replace(make_result(emotion_every=5), affect_derived=False))
        store.assign([(None, [1])])
        with closing(sqlite3.connect(store.path)) as connection:
            for table in ("expressions", "emotion_curves", "emotion_summaries"):
                told = connection.execute(
                    f"SELECT DISTINCT affect_source FROM {table} WHERE affect_source IS NOT NULL"
                ).fetchall()
                assert told == [("model",)]
