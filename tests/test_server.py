"""The API on a real database: what it answers, that it answers once, and that corrections go round."""

from __future__ import annotations

import io
import itertools
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from fakes import make_result
from fastapi import FastAPI
from PIL import Image
from service_fixtures import Demo, asking, live

from indexing import calibrate as calibration
from indexing.export import FORMATS
from indexing.export import export as export_to
from indexing.server import create_app
from indexing.store import Store
from tracker.video import open_video


def test_health_needs_nothing(demo_service: httpx.Client) -> None:
    assert demo_service.get("/health").json()["status"] == "ok"


def test_people_are_told_by_screen_time_with_a_picture(demo_service: httpx.Client) -> None:
    people = demo_service.get("/people").json()["items"]
    assert len(people) == 2
    assert people[0]["screen_time"] >= people[1]["screen_time"] > 0
    for person in people:
        assert demo_service.get(f"/people/{person['id']}").json() == person
        picture = demo_service.get(person["thumbnail"].removeprefix("/api/v1"))
        assert Image.open(io.BytesIO(picture.content)).format == "JPEG"


@pytest.mark.parametrize("sort", ["screen_time", "name", "id"])
def test_pages_follow_on_each_other(demo_service: httpx.Client, sort: str) -> None:
    whole = demo_service.get("/people", params={"sort": sort}).json()["items"]
    parts, cursor = [], None
    for _ in range(5):
        page = demo_service.get("/people", params={"sort": sort, "limit": 1, **({"cursor": cursor} if cursor else {})})
        parts += page.json()["items"]
        cursor = page.json()["next"]
        if cursor is None:
            break
    assert parts == whole


def test_a_cursor_of_another_list_is_refused(demo_service: httpx.Client) -> None:
    cursor = demo_service.get("/people", params={"sort": "name", "limit": 1}).json()["next"]
    for wrong in (cursor, "nonsense", "", "bnVsbA", "WyJhIl0"):
        answer = demo_service.get("/videos", params={"cursor": wrong})
        assert answer.status_code == 422, wrong


def test_an_answer_that_is_known_is_not_sent_again(demo_service: httpx.Client) -> None:
    for path in ("/people", "/videos", "/videos/1/lanes", "/people/1/thumbnail.jpg", "/videos/1/frames/10.jpg"):
        first = demo_service.get(path)
        again = demo_service.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (first.status_code, again.status_code, again.content) == (200, 304, b""), path
        assert again.headers["ETag"] == first.headers["ETag"]


def test_boxes_and_lanes_are_those_of_the_store(demo_service: httpx.Client, demo: Demo) -> None:
    with Store(demo.database) as store:
        tracks, times = store.tracks(1), store.timestamps(1)
    shown = demo_service.get("/videos/1/boxes").json()["tracks"]
    assert [one["track"] for one in shown] == [record.key for record, _ in tracks]
    for one, (record, track) in zip(shown, tracks, strict=True):
        x, y, w, h = one["boxes"][0]
        assert [x, y, x + w, y + h] == pytest.approx(track.boxes[0].tolist(), abs=0.02)
        assert one["times"] == pytest.approx(times[record.first_frame : record.end_frame].tolist())
    lanes = demo_service.get("/videos/1/lanes").json()
    assert [lane["identity"] for lane in lanes["lanes"]] == [
        p["id"] for p in demo_service.get("/people").json()["items"]
    ]
    assert lanes["shots"][0] == 0
    assert any(lane["emotions"] for lane in lanes["lanes"])


def test_a_part_of_the_boxes_holds_what_is_on_screen_then(demo_service: httpx.Client) -> None:
    whole = demo_service.get("/videos/1/boxes").json()["tracks"]
    part = demo_service.get("/videos/1/boxes", params={"start": 1.01, "end": 2.0}).json()["tracks"]
    assert part
    for one in part:
        full = next(other for other in whole if other["track"] == one["track"])
        shift = one["first_frame"] - full["first_frame"]
        assert one["boxes"] == full["boxes"][shift : shift + len(one["boxes"])]
        # The frame that began before is still on screen at the start.
        assert one["times"][0] >= 0.96
        assert one["times"][-1] < 2.0


def test_a_frame_is_the_one_that_was_decoded(demo_service: httpx.Client, demo: Demo) -> None:
    with open_video(demo.clip) as video:
        wanted = {frame.index: frame.image for frame in video if frame.index in (0, 101, 250)}
    for index, image in wanted.items():
        answer = demo_service.get(f"/videos/1/frames/{index}.jpg")
        shown = Image.open(io.BytesIO(answer.content)).convert("RGB")
        assert shown.size == (image.shape[1], image.shape[0])
        small = Image.fromarray(image[:, :, ::-1]).resize((48, 27))
        difference = [abs(a - b) for a, b in zip(shown.resize((48, 27)).tobytes(), small.tobytes(), strict=True)]
        assert sum(difference) / len(difference) < 3, index
    assert demo_service.get("/videos/1/frames/100000.jpg").status_code == 404
    scaled = Image.open(io.BytesIO(demo_service.get("/videos/1/frames/0.jpg", params={"width": 96}).content))
    assert scaled.size == (96, 54)


def test_a_player_may_ask_for_a_part_of_the_file(demo_service: httpx.Client, demo: Demo) -> None:
    data = demo.clip.read_bytes()
    part = demo_service.get("/videos/1/media", headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, data[100:200])
    assert part.headers["Content-Type"] == "video/mp4"
    assert demo_service.get("/videos/1/media").content == data


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_is_the_file_that_the_command_line_writes(
    demo_service: httpx.Client, demo: Demo, format: str, tmp_path: Path
) -> None:
    with Store(demo.database) as store:
        export_to(store, store.videos(), tmp_path / "whole", format=format)
        export_to(store, store.videos(), tmp_path / "one", format=format, identity_id=1)
    answer = demo_service.get(f"/exports/{format}", params={"video": 1})
    assert answer.content == (tmp_path / "whole").read_bytes()
    assert f'filename="demo{FORMATS[format].suffix}"' in answer.headers["Content-Disposition"]
    assert demo_service.get(f"/exports/{format}", params={"person": 1}).content == (tmp_path / "one").read_bytes()


def test_what_is_not_there_is_told(demo_service: httpx.Client) -> None:
    for path in ("/people/99", "/videos/99", "/videos/99/boxes", "/tracks/99", "/jobs/99", "/exports/nothing"):
        answer = demo_service.get(path)
        assert answer.status_code == 404, path
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"], path


# ---- corrections


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Two people: tracks 1 and 3 are one's, track 2 shares frames with track 1."""
    with Store(tmp_path / "a.db") as store:
        store.add_video(make_result(emotion_every=2))
        store.assign([(None, [1, 3]), (None, [2])])
    return tmp_path / "a.db"


@pytest.fixture
def app(database: Path) -> FastAPI:
    return create_app(database, page=False)


@pytest.fixture
def service(app: FastAPI) -> Iterator[httpx.Client]:
    with live(app) as address, asking(f"{address}/api/v1", timeout=60) as client:
        yield client


def labels(service: httpx.Client) -> dict[int, str]:
    return {track["key"]: track["label"] for track in service.get("/videos/1/tracks").json()["items"]}


def test_a_correction_is_seen_at_once_and_undone(service: httpx.Client) -> None:
    before = service.get("/people").json()
    told = service.post("/people/1/name", json={"name": "Ada", "reason": "her voice"}).json()
    assert told["entry"]["reason"] == "her voice"
    assert "Ada" in told["told"]
    assert labels(service) == {1: "Ada", 2: "Person 2", 3: "Ada"}
    assert [one["label"] for one in service.get("/people", params={"q": "ad"}).json()["items"]] == ["Ada"]
    assert service.get("/log").json()["items"][0] == told
    assert service.post("/undo", json={"count": 1}).status_code == 200
    assert service.get("/people").json() == before


def test_a_contradiction_is_told_and_can_be_forced(service: httpx.Client) -> None:
    refused = service.post("/people/2/merge", json={"into": 1})
    assert refused.status_code == 409
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert "share frame 5" in refused.json()["reasons"][0]
    assert service.post("/people/2/merge", json={"into": 1, "force": True}).status_code == 200
    gone = service.get("/people/2")
    assert (gone.status_code, "merged into person 1" in gone.json()["detail"]) == (404, True)
    service.post("/undo")
    assert labels(service) == {1: "Person 1", 2: "Person 2", 3: "Person 1"}


def test_every_verb_goes_round(service: httpx.Client) -> None:
    verbs = {
        "/people/1/split": {"tracks": [3]},
        "/people/1/not": {"tracks": [3]},
        "/people/1/confirm": {},
        "/people/1/ignore": {"reason": "an extra"},
        "/tracks/3/assign": {"person": None},
    }
    before = labels(service)
    for path, body in verbs.items():
        assert service.post(path, json=body).status_code == 200, path
        assert service.post("/undo").status_code == 200, path
        assert labels(service) == before, path


def test_who_is_ignored_comes_back(service: httpx.Client) -> None:
    service.post("/people/2/ignore")
    assert [one["id"] for one in service.get("/people").json()["items"]] == [1]
    assert len(service.get("/people", params={"ignored": True}).json()["items"]) == 2
    service.post("/people/2/unignore")
    assert len(service.get("/people").json()["items"]) == 2
    assert service.post("/people/2/unignore").status_code == 422


def test_a_person_is_forgotten(service: httpx.Client) -> None:
    assert service.delete("/people/1").status_code == 204
    assert service.get("/people/1").status_code == 404
    assert list(labels(service)) == [2]


def test_a_video_is_removed(service: httpx.Client) -> None:
    assert service.delete("/videos/1").status_code == 204
    assert service.get("/videos").json()["items"] == []
    assert service.delete("/videos/1").status_code == 404


def test_corrections_of_many_at_once_are_made_one_after_the_other(service: httpx.Client) -> None:
    before = labels(service)
    verbs = [
        ("/people/1/name", {"name": "Ada"}),
        ("/people/2/merge", {"into": 1, "force": True}),
        ("/tracks/3/assign", {"person": None, "force": True}),
        ("/people/1/split", {"tracks": [3], "force": True}),
    ]

    def say(number: int) -> int:
        path, body = verbs[number % len(verbs)]
        return service.post(path, json=body, timeout=60).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(say, range(16)))
    assert set(statuses) <= {200, 404, 409, 422}
    assert statuses.count(200) >= len(verbs) - 1
    assert service.post("/undo", json={"count": statuses.count(200)}).status_code == 200
    assert labels(service) == before


def test_people_who_are_seen_together(service: httpx.Client) -> None:
    [both] = service.get("/together", params={"person": [1, 2]}).json()["items"]
    assert (both["people"], both["start"], both["end"]) == ([1, 2], 0.2, 0.8)
    [companion] = service.get("/people/1/companions").json()["items"]
    assert (companion["identity"], companion["screen_time"]) == (2, 0.6)
    assert service.get("/together", params={"person": [1, 1]}).status_code == 422


# ---- who is who, said anew


def test_a_dry_run_tells_what_the_run_then_changes(service: httpx.Client, database: Path) -> None:
    service.post("/people/1/name", json={"name": "Ada"})
    with Store(database) as store:
        # As if track 3, which is Ada's by its vectors, had been taken for another.
        store.assign([(2, [2, 3])], among=[2, 3])
    wrong, before = labels(service), service.get("/people").json()
    told = service.post("/recluster", json={"dry_run": True}).json()
    assert told["transfers"] == [{"before": "Person 2", "after": "Ada", "tracks": [3]}]
    assert (told["dry_run"], told["moved"], told["split"], told["merged"]) == (True, 1, [], [])
    assert service.get("/people").json() == before
    assert labels(service) == wrong
    assert service.post("/recluster").json() == {**told, "dry_run": False}
    assert labels(service) == {1: "Ada", 2: "Person 2", 3: "Ada"}
    assert service.post("/recluster", json={"dry_run": True}).json()["moved"] == 0


def test_a_clustering_has_options_and_goes_alone(service: httpx.Client, app: FastAPI) -> None:
    for wrong in ({"clusterer": "os:system"}, {"far": 0.5}, {"far": 0}, {"dry": True}):
        assert service.post("/recluster", json=wrong).status_code == 422, wrong
    for right in ({"clusterer": "hdbscan", "dry_run": True}, {"far": 1e-4, "dry_run": True}):
        assert service.post("/recluster", json=right).status_code == 200, right
    with app.state.context.clustering:
        for path in ("/recluster", "/calibrate"):
            refused = service.post(path)
            assert (refused.status_code, "ask again" in refused.json()["detail"]) == (409, True)
        assert service.post("/people/1/name", json={"name": "Ada"}).status_code == 200, "all else goes on"
    assert service.post("/recluster").status_code == 200


def test_the_process_that_answers_clusters_nothing(service: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("indexing.pipeline.recluster", "indexing.calibrate.measure"):
        monkeypatch.delattr(name)
    assert service.post("/recluster").status_code == 200
    assert service.post("/calibrate").status_code == 422


def test_a_process_that_dies_or_finds_the_database_locked_is_told(
    service: httpx.Client, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexing.anew.command", lambda *_, **__: [sys.executable, "-c", "import os; os.abort()"])
    died = service.post("/recluster")
    assert (died.status_code, "ended with -6" in died.json()["detail"]) == (503, True)
    starved = "import indexing.database as d, indexing.anew as a, sys; d.BUSY_SECONDS = 0.1; "
    monkeypatch.setattr(
        "indexing.anew.command",
        lambda _, what, *, order: [sys.executable, "-c", f"{starved}sys.exit(a._main({what!r}, **{order!r}))"],
    )
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        busy = service.post("/recluster")
    assert (busy.status_code, "locked" in busy.json()["detail"]) == (503, True), busy.text


def test_a_database_is_calibrated_as_by_the_command_line(service: httpx.Client, database: Path) -> None:
    assert service.get("/calibration").status_code == 404
    few = service.post("/calibrate")
    assert (few.status_code, "too few to calibrate from" in few.json()["detail"]) == (422, True)
    spans = [(person, 0, 40) for person in range(12)]
    with Store(database) as store:
        for number in range(3):
            store.add_video(make_result(f"crowd-{number}.mp4", spans, keyframes=4, noise=0.2))
        wanted = calibration.measure(store.track_records(), store.embeddings())
    report = service.post("/calibrate")
    assert report.status_code == 200, report.text
    told = report.json()
    assert (told["embedder"], told["couples"]) == ("fake-embedder", wanted.couples)
    assert [point["threshold"] for point in told["points"]] == [point.threshold for point in wanted.points]
    assert told["notes"] == list(wanted.notes)
    assert service.get("/calibration").json() == told


# ---- search


def portrait(demo: Demo, folder: Path) -> Path:
    """A frame of the clip in which one person is seen alone."""
    with open_video(demo.clip) as video:
        image = next(frame.image for frame in video if frame.index == 120)
    path = folder / "portrait.png"
    Image.fromarray(image[:, :, ::-1]).save(path)
    return path


def test_a_picture_finds_the_person(demo_service: httpx.Client, demo: Demo, tmp_path: Path) -> None:
    picture = portrait(demo, tmp_path)
    answer = demo_service.post("/search", files={"file": ("portrait.png", picture.read_bytes(), "image/png")})
    assert answer.status_code == 200, answer.text
    [found] = answer.json()["items"]
    [match] = found["matches"]
    assert found["image"] == "portrait.png"
    assert match["probability"] > 0.9
    assert match["appearances"]
    known = demo_service.get("/search", params={"person": match["identity"]}).json()["items"][0]["matches"][0]
    assert known["identity"] == match["identity"]


def test_a_search_at_a_point_and_its_mistakes(demo_service: httpx.Client) -> None:
    track = demo_service.get("/videos/1/boxes", params={"start": 1.0, "end": 1.1}).json()["tracks"][0]
    x, y, w, h = track["boxes"][0]
    point = {"video": 1, "time": track["times"][0], "x": x + w / 2, "y": y + h / 2}
    [found] = demo_service.get("/search", params=point).json()["items"]
    assert found["matches"][0]["identity"] == track["identity"]
    assert demo_service.get("/search", params={**point, "x": 1, "y": 1}).status_code == 422
    assert demo_service.get("/search", params={"video": 1, "time": 1}).status_code == 422


def test_what_is_no_picture_is_told(demo_service: httpx.Client, demo: Demo) -> None:
    for name, data in (("a.jpg", b"no picture"), ("b.png", b""), ("clip.mp4", demo.clip.read_bytes())):
        answer = demo_service.post("/search", files={"file": (name, data)})
        assert (answer.status_code, name in answer.json()["detail"]) == (422, True), answer.text


def test_the_openapi_document_tells_of_every_route(demo_service: httpx.Client) -> None:
    document = demo_service.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert all(one.get("summary") and one.get("description") for one in operations)
    names = [one["operationId"] for one in operations]
    assert len(names) == len(set(names)) > 40
    assert not [a for a, b in itertools.pairwise(sorted(names)) if a == b]
