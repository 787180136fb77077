"""The pages without a browser: what the server puts in them, what forms do, and what a lane looks like."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import numpy as np
import pytest
from fakes import make_result
from hypothesis import given
from hypothesis import strategies as st
from service_fixtures import asking, live

from indexing.colors import emotion_color, hexadecimal
from indexing.jobs import JobQueue
from indexing.pipeline import identify
from indexing.server import create_app
from indexing.server.page import STATIC, drawing, texts, views
from indexing.server.page.views import Paged
from indexing.store import Store
from tracker.types import EMOTIONS

HOSTILE = "<script>alert(1)</script>\"'"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Person 1 (tracks 1, 3, 4), 2 (2, 5) and 3 (6): 1 and 2 share frames of the first film, 2 and 3 of the second."""
    with Store(tmp_path / "facetrack.db") as opened:
        opened.add_video(make_result("films/a.mp4", [(0, 0, 20), (1, 5, 30), (0, 35, 50)], emotion_every=5))
        opened.add_video(make_result("films/b.mp4", [(0, 0, 10), (1, 20, 50), (2, 40, 50)], emotion_every=5))
        identify(opened)
        yield opened


@pytest.fixture
def client(store: Store) -> Iterator[httpx.Client]:
    with live(create_app(store.path)) as address, asking(address, timeout=30) as opened:
        yield opened


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


PAGES = ("/", "/people", "/people/1", "/videos/1", "/review", "/search", "/jobs", "/login", "/people/99", "/videos/x")


# ---- what every page keeps to


@pytest.mark.parametrize("path", PAGES)
def test_a_page_keeps_to_its_policy_and_asks_nobody_else(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    for tag, attributes in Elements(answer.text).found:
        assert "style" not in attributes, f"the policy forbids a style in {tag}"
        assert not [name for name in attributes if name.startswith("on")], tag
        assert tag != "style"
        assert tag != "script" or attributes.get("src"), "the policy forbids a script in the page"
        for name in ("src", "href", "action"):
            assert not (attributes.get(name) or "").startswith(("http", "//")), attributes


def test_what_a_page_names_is_there(client: httpx.Client) -> None:
    named = {
        attributes[name] or ""
        for path in PAGES
        for tag, attributes in Elements(client.get(path).text).found
        for name in ("src", "href")
        if name in attributes and tag in ("link", "script", "a", "img")
    }
    static = {address for address in named if address.startswith("/static/")}
    assert static
    pages = {address for address in named if re.fullmatch(r"/[a-z]*(/\d+)?", address)}
    for address in static | pages | {address for address in named if "thumbnail" in address}:
        assert client.get(address).status_code == 200, address


def test_modules_import_what_is_there() -> None:
    for module in (STATIC / "js").glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"|import\("\./([^"]+)"\)', module.read_text()):
            assert (STATIC / "js" / "".join(name)).is_file(), (module.name, name)


def test_what_is_not_there_is_told_by_a_page(client: httpx.Client) -> None:
    for path in ("/people/99", "/videos/99", "/people/x", "/videos/1?lanes=some"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "There is nothing here" in answer.text


def test_names_are_only_text(store: Store, client: httpx.Client) -> None:
    store.rename(1, HOSTILE)
    store.add_video(make_result(f"films/{HOSTILE}.mp4", [(0, 0, 9)]))
    store.add_video(make_result("films/\udcff.mp4", [(0, 0, 9)], content_hash="7" * 64))
    for path in ("/", "/people", "/people/1", "/people/2", "/videos/1", "/videos/3", "/videos/4", "/jobs"):
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.text
        assert not [a for tag, a in Elements(answer.text).found if tag == "script" and "src" not in a]
    assert html.escape(HOSTILE, quote=False) in html.unescape(client.get("/people/1").text).replace(
        "<", "&lt;"
    ).replace(">", "&gt;")


def test_the_theme_is_the_one_that_was_chosen(client: httpx.Client) -> None:
    assert "data-theme" not in client.get("/").text.split(">")[1]
    assert '<html lang="en" data-theme="dark">' in client.get("/", headers={"Cookie": "facetrack_theme=dark"}).text
    assert "evil" not in client.get("/", headers={"Cookie": "facetrack_theme=evil"}).text


# ---- lists


def test_people_are_filtered_and_sorted(store: Store, client: httpx.Client) -> None:
    store.rename(3, "Eva")

    def shown(query: str) -> list[str]:
        return re.findall(r'data-person="(\d+)"', client.get(f"/people?{query}").text)

    assert shown("sort=id") == ["1", "2", "3"]
    assert shown("sort=name") == ["3", "1", "2"]
    assert shown("q=EVA") == ["3"]
    assert shown("q=nobody") == []
    assert "name has “nobody” in it" in client.get("/people?q=nobody").text
    client.post("/people/3/ignore")
    assert "3" not in shown("")
    assert "3" in shown("ignored=true")


@given(st.integers(0, 400), st.integers(-3, 400), st.integers(1, 50))
def test_every_item_is_on_one_page(total: int, number: int, size: int) -> None:
    items = range(total)
    page = Paged.of(items, number, size)
    assert 1 <= page.number <= page.pages
    assert page.shown[0] == 1
    assert page.shown[-1] == page.pages
    assert page.number in page.shown
    assert [item for n in range(1, page.pages + 1) for item in Paged.of(items, n, size).items] == list(items)


def test_companions_are_shown_with_a_face_and_the_moments(store: Store, client: httpx.Client) -> None:
    [companion] = views.person_view(store, 1).companions
    assert (companion.beside.identity.identity_id, companion.face) == (2, 2)
    page = client.get("/people/1").text
    assert (
        re.findall(r'href="(/videos/\d+\?t=[\d.]+)">a.mp4', page.split("Seen together with")[1])[0] == "/videos/1?t=0.2"
    )


def test_the_least_certain_tracks_come_first(store: Store, client: httpx.Client) -> None:
    store.assign([(1, [1, 3, 4])], confidences={1: 0.9, 3: 0.6, 4: 0.99}, among=[1, 3, 4])
    shown = re.findall(r'name="tracks" value="(\d+)"', client.get("/people/1?tracks=uncertain").text)
    assert shown == ["3", "1", "4"]


# ---- lanes


def test_a_lane_is_coloured_by_emotion(store: Store) -> None:
    video_id = store.add_video(make_result("long.mp4", [(0, 0, 200)], frames=200, emotion_every=5))
    identify(store)
    [lane] = views.video_view(store, video_id).lanes
    colors = {shape.color for shape in lane.shapes if shape.kind == "full"}
    assert colors == {hexadecimal(emotion_color(label)) for label in ("happy", "sad")}


def test_bars_fill_just_the_appearances(store: Store) -> None:
    for lane in views.video_view(store, 1).lanes:
        parts = [
            (float(x), float(x) + float(width))
            for shape in lane.shapes
            if shape.kind != "mix"
            for x, width in re.findall(r"M([\d.]+) [\d.]+h([\d.]+)", shape.path)
        ]
        covered = sum(end - start for start, end in parts)
        assert covered == pytest.approx(sum(seen.segment.duration for seen in lane.lane.appearances), abs=0.01)
        for start, end in parts:
            assert any(
                seen.segment.start - 1e-3 <= start and end <= seen.segment.end + 1e-3 for seen in lane.lane.appearances
            )


def test_without_emotions_a_lane_has_the_colour_of_its_person(tmp_path: Path) -> None:
    with Store(tmp_path / "facetrack.db") as store:
        store.add_video(make_result("a.mp4", [(0, 0, 20)]))
        identify(store)
        [lane] = views.video_view(store, 1).lanes
        assert [(shape.color, shape.kind) for shape in lane.shapes] == [(texts.person_color(1), "full")]


def test_a_long_lane_has_few_points(tmp_path: Path) -> None:
    with Store(tmp_path / "facetrack.db") as store:
        store.add_video(make_result("long.mp4", [(0, 0, 40_000)], frames=40_000, emotion_every=2))
        identify(store)
        [lane] = views.video_view(store, 1).lanes
        mixes = [shape.path for shape in lane.shapes if shape.kind == "mix"]
        assert mixes
        assert all(path.count("L") <= 3 * drawing.MOST_POINTS for path in mixes)


def test_a_share_of_time_adds_up(store: Store) -> None:
    view = views.person_view(store, 1)
    assert sum(share for _, share in view.shares) == pytest.approx(1)
    assert sorted(label for label, _ in view.shares) == sorted(EMOTIONS)
    assert np.all(np.diff([share for _, share in view.shares]) <= 0)


# ---- forms


def test_a_form_leads_on_and_a_script_is_told(store: Store, client: httpx.Client) -> None:
    answer = client.post("/people/1/name", data={"name": " Ada ", "next": "/people?page=2"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/people?page=2")
    assert store.resolve_person("Ada").identity_id == 1
    told = client.post("/people/1/name", data={"name": ""}, headers={"Accept": "application/json"}).json()
    assert told == {"told": "Person 1 has no name", "undo": 1, "entry": 2, "next": None}


@pytest.mark.parametrize(
    "target", ["//elsewhere.example", "https://elsewhere.example", "/\\elsewhere.example", "javascript:x"]
)
def test_a_form_leads_nowhere_else(client: httpx.Client, target: str) -> None:
    assert client.post("/people/1/confirm", data={"next": target}).headers["location"] == "/"


def test_another_site_may_not_send_a_form(store: Store, client: httpx.Client) -> None:
    answer = client.post("/people/1/name", data={"name": "Eve"}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert store.identities()[0].name is None


def test_a_contradiction_can_be_forced_by_the_page_that_tells_it(store: Store, client: httpx.Client) -> None:
    refused = client.post("/people/merge", data={"people": ["1", "2"], "next": "/people"})
    assert refused.status_code == 409
    fields = [
        (attributes["name"], attributes["value"])
        for tag, attributes in Elements(refused.text).found
        if tag in ("input", "button") and "name" in attributes and "value" in attributes
    ]
    assert ("force", "true") in fields
    sent = {name: [value for other, value in fields if other == name] for name, _ in fields}
    assert client.post("/people/merge", data=sent).status_code == 303
    assert len(store.identities()) == 2


def test_a_script_learns_why_and_whether_it_can_be_forced(client: httpx.Client) -> None:
    scripted = {"Accept": "application/json"}
    refused = client.post("/people/merge", data={"people": ["1", "2"]}, headers=scripted)
    assert (refused.status_code, refused.json()["forcible"]) == (409, True)
    assert "two faces, two people" in refused.json()["detail"]
    wrong = client.post("/people/1/name", data={"name": "Person 7"}, headers=scripted)
    assert (wrong.status_code, wrong.json()["forcible"]) == (422, False)


def test_of_several_merges_all_are_done_or_none(store: Store, client: httpx.Client) -> None:
    before = store.owners()
    assert client.post("/people/merge", data={"people": ["1", "3", "2"]}).status_code == 409
    assert store.owners() == before
    assert client.post("/people/merge", data={"people": ["1"]}).status_code == 422


def test_undo_takes_back_what_was_meant_or_nothing(store: Store, client: httpx.Client) -> None:
    scripted = {"Accept": "application/json"}
    done = client.post("/people/1/name", data={"name": "Ada"}, headers=scripted).json()
    client.post("/people/2/name", data={"name": "Bob"})
    late = client.post("/undo", data={"count": 1, "entry": done["entry"]}, headers=scripted)
    assert (late.status_code, late.json()["forcible"]) == (422, False)
    assert "something else was said meanwhile" in late.json()["detail"]
    assert client.post("/undo", headers=scripted).json()["told"] == "Taken back: Person 2 is called Bob"
    assert [identity.name for identity in store.identities()] == ["Ada", None, None]


def test_tracks_are_split_denied_and_assigned(store: Store, client: httpx.Client) -> None:
    client.post("/people/1/not", data={"tracks": ["3"]})
    assert store.owners()[3] != 1
    assert client.post("/people/1/split", data={"tracks": ["4"]}).status_code == 303
    assert store.owners()[4] not in (1, 2, 3)
    client.post("/tracks/assign", data={"tracks": ["3", "4"], "person": "Person 2", "force": "true"})
    assert (store.owners()[3], store.owners()[4]) == (2, 2)
    client.post("/tracks/assign", data={"tracks": ["3"], "person": "", "force": "true"})
    assert store.owners()[3] not in (1, 2, 3)


def test_an_answer_to_a_question_is_kept(store: Store, client: httpx.Client) -> None:
    client.post("/review", data={"a": 1, "b": 3, "answer": "different"})
    assert (6, 1) in store.verdicts().bans
    client.post("/undo")
    client.post("/review", data={"a": 1, "b": 3, "answer": "same"})
    assert store.owners()[6] == 1
    assert client.post("/review", data={"a": 1, "b": 2, "answer": "maybe"}).status_code == 422


def test_a_person_who_was_merged_is_found_where_they_went(client: httpx.Client) -> None:
    client.post("/people/3/merge", data={"into": "Person 1"})
    answer = client.get("/people/3")
    assert (answer.status_code, answer.headers["location"]) == (303, "/people/1")


def test_a_video_is_removed(store: Store, client: httpx.Client) -> None:
    assert client.post("/videos/2/remove").headers["location"] == "/"
    assert [video.video_id for video in store.videos()] == [1]
    assert client.post("/videos/2/remove").status_code == 422


def test_it_is_told_whether_the_file_goes_with_a_video(store: Store, client: httpx.Client) -> None:
    place = store.path.with_suffix(".uploads").resolve() / ("a" * 32)
    place.mkdir(parents=True)
    (place / "sent.mp4").write_bytes(b"sent")
    sent = store.add_video(make_result(place / "sent.mp4", [(0, 0, 9)]))
    assert "The file itself stays." in client.get("/videos/1").text
    assert "The file was uploaded and is deleted, too." in client.get(f"/videos/{sent}").text
    client.post(f"/videos/{sent}/remove")
    assert not place.exists()


def test_a_page_is_new_after_each_correction(client: httpx.Client) -> None:
    assert 'value="Ada"' not in client.get("/people").text
    client.post("/people/1/name", data={"name": "Ada"})
    assert 'value="Ada"' in client.get("/people").text


def test_jobs_that_run_come_first_and_the_newest_of_the_ended(store: Store, tmp_path: Path) -> None:
    queue = JobQueue(store)
    for number in range(views.JOBS + 5):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(str(number).encode())
        queue.submit(path)
    for job_id in range(1, views.JOBS + 3):
        queue.cancel(job_id)
    running = queue.claim("somebody")
    assert running is not None
    shown = [(job.job_id, job.state) for job in views.jobs(queue)]
    assert shown[:3] == [(running.job_id, "running"), (views.JOBS + 4, "queued"), (views.JOBS + 5, "queued")]
    assert [job_id for job_id, _ in shown[3:]] == list(range(views.JOBS + 2, 2, -1))
