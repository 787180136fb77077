"""The commands that correct who is who, as a user gives them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes import make_result
from typer.testing import CliRunner

from indexing.cli import app
from indexing.store import Store


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two people: tracks 1 and 3 are one's, track 2 shares frames with track 1."""
    path = tmp_path / "a.db"
    with Store(path) as store:
        store.add_video(make_result())
        store.assign([(None, [1, 3]), (None, [2])])
    return path


def run(database: Path, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--db", str(database)])
    assert result.exit_code == 0, result.output
    return result.output


def owners(database: Path) -> list[int | None]:
    with Store(database) as store:
        return [record.identity_id for record in store.track_records()]


def test_a_name_is_logged_and_taken_back(database: Path) -> None:
    assert "Ada" in run(database, "name", "1", "Ada")
    assert "Ada" in run(database, "people")
    assert "Ada" in run(database, "log")
    assert "taken back" in run(database, "undo")
    assert "Ada" not in run(database, "people")


def test_a_split_and_its_undo(database: Path) -> None:
    run(database, "split", "1", "3")
    assert owners(database) == [1, 2, 3]
    run(database, "undo")
    assert owners(database) == [1, 2, 1]


def test_a_track_is_given_and_refused(database: Path) -> None:
    run(database, "assign", "3", "2")
    assert owners(database) == [1, 2, 2]
    run(database, "not", "2", "3", "--force", "--reason", "the other twin")
    assert owners(database)[2] != 2
    assert "the other twin" in run(database, "log", "--json")


def test_two_faces_of_one_picture_are_not_merged_unless_forced(database: Path) -> None:
    refused = CliRunner().invoke(app, ["merge", "1", "2", "--db", str(database)])
    assert refused.exit_code == 1
    run(database, "merge", "1", "2", "--force")
    assert owners(database) == [1, 1, 1]


def test_who_is_ignored_is_left_out_until_asked_for(database: Path) -> None:
    run(database, "ignore", "2")
    assert "Person 2" not in run(database, "people")
    assert "Person 2" in run(database, "people", "--ignored")
    run(database, "unignore", "2")
    assert "Person 2" in run(database, "people")


def test_confirm_recluster_identify_and_together(database: Path) -> None:
    run(database, "confirm", "1")
    before = owners(database)
    run(database, "recluster", "--dry-run")
    assert owners(database) == before
    run(database, "recluster")
    run(database, "identify")
    assert owners(database)[0] == owners(database)[2] == 1
    assert "clip.mp4" in run(database, "together", "1", "2")


def test_appearances_name_the_tracks_that_corrections_take(database: Path) -> None:
    rows = json.loads(run(database, "appearances", "1", "--json"))
    assert [row["track_keys"] for row in rows] == [[1], [3]]
    assert "tracks" in run(database, "appearances", "1")
    run(database, "ignore", "2")
    assert "Person 2" not in run(database, "appearances", "clip.mp4")
    assert "Person 2" in run(database, "appearances", "clip.mp4", "--ignored")


def test_who_is_seen_how_often_how_long_and_with_whom(database: Path) -> None:
    counted = json.loads(run(database, "count", "--json"))
    assert [(row["name"], row["appearances"], row["screen_time"]) for row in counted["people"]] == [
        ("Person 1", 2, 1.4),
        ("Person 2", 1, 1.0),
    ]
    assert counted["most_at_once"] == {"people": 2, "video": "clip.mp4", "start": 0.2, "end": 0.8}
    assert "2 people, at most 2 at once: clip.mp4 0:00.2-0:00.8" in run(database, "count")
    part = json.loads(run(database, "count", "1", "--from", "0.5", "--to", "1", "--json"))
    assert [row["screen_time"] for row in part["people"]] == [pytest.approx(0.3)]
    (other,) = json.loads(run(database, "count", "--with", "1", "--json"))["people"]
    assert (other["name"], other["screen_time"]) == ("Person 2", pytest.approx(0.6))
    (both,) = json.loads(run(database, "together", "1", "2", "--to", "0.5", "--json"))
    assert both == {"video": "clip.mp4", "start": 0.2, "end": 0.5, "track_keys": [1, 2]}
    run(database, "ignore", "2")
    assert [row["name"] for row in json.loads(run(database, "count", "--json"))["people"]] == ["Person 1"]
    counted = json.loads(run(database, "count", "--video", "clip.mp4", "--ignored", "--json"))
    assert counted["most_at_once"]["people"] == 2
