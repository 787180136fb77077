"""The pages in a real browser: what somebody does who looks after a library, by mouse, by keys and without a script.

Screenshots are kept where the environment names a folder for them as FACETRACK_ARTEFACTS.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from depth import representative
from fakes import make_result
from fastapi import FastAPI
from PIL import Image
from service_fixtures import Demo, live

from indexing.jobs import JobQueue
from indexing.pipeline import identify
from indexing.server import create_app
from indexing.store import Store
from indexing.worker import Workers

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
if CHROMIUM is None:
    pytest.skip("no Chromium is installed: the pages are not looked at in a browser", allow_module_level=True)

from playwright.sync_api import Browser, Page, expect  # noqa: E402 - only where it is there

SILENT = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""What keeps Chromium from asking anybody for anything."""

PATIENCE = 30_000
"""Milliseconds that anything may take, on a machine that is busy with something else."""

LONG = 10 * PATIENCE
"""The same of a video that is worked through."""


LOOK = 5_000
"""Milliseconds between two looks of a page whether somebody else has changed something."""


SCREENS = representative([("light", 1280), ("dark", 390)], [("dark", 1280), ("light", 390)])
"""Colours and widths: each of them occurs, and both together where all is to be tried."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=SILENT)
        yield opened
        opened.close()


@dataclass
class Visit:
    """A page of a service, and all that went wrong in it."""

    page: Page
    address: str
    wrong: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        """Open an address and wait until its script has begun."""
        self.page.goto(self.address + path)
        self.page.wait_for_selector("main[data-ready]")
        return self.page

    def keep(self, name: str) -> None:
        """Keep a screenshot, where somebody wants one."""
        if wanted := os.environ.get("FACETRACK_ARTEFACTS"):
            folder = Path(wanted)
            folder.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=folder / f"{name}.png", full_page=True)

    def toast(self) -> str:
        """Return the newest message."""
        text: str = self.page.locator(".toast").last.inner_text()
        return text


Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Run a service and look at it; fails where a page complains, or asks anybody else for anything."""
    opened: list[Visit] = []
    with ExitStack() as stack:

        def enter(app: FastAPI, *, scheme: str = "light", width: int = 1280, script: bool = True) -> Visit:
            address = stack.enter_context(live(app))
            context = browser.new_context(
                color_scheme=scheme,  # type: ignore[arg-type]
                viewport={"width": width, "height": 850},
                has_touch=width < 500,
                java_script_enabled=script,
                reduced_motion="reduce",
            )
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE)
            there = Visit(context.new_page(), address)
            there.page.on("console", lambda told: told.type in ("error", "warning") and there.wrong.append(told.text))
            there.page.on("pageerror", lambda error: there.wrong.append(str(error)))
            there.page.on("request", lambda sent: _check_inside(there, sent.url))
            opened.append(there)
            return there

        yield enter
    for there in opened:
        unexpected = [text for text in there.wrong if not any(known in text for known in there.expected)]
        assert not unexpected, unexpected


def _check_inside(there: Visit, url: str) -> None:
    if not url.startswith((there.address, "blob:", "data:")):
        there.wrong.append(f"asks {url}")


@pytest.fixture
def seen(demo: Demo, tmp_path: Path) -> FastAPI:
    """A service of a database of the demo clip."""
    return create_app(demo.copy(tmp_path), uploads=tmp_path / "uploads")


@pytest.fixture
def crowd(tmp_path: Path) -> FastAPI:
    """A service of four people in three films that are not there any more; the first two are never seen together."""
    path = tmp_path / "crowd.db"
    with Store(path) as store:
        store.add_video(make_result("films/a.mp4", [(0, 0, 20), (2, 5, 30), (3, 35, 50)], emotion_every=5))
        store.add_video(make_result("films/b.mp4", [(1, 0, 10), (2, 20, 50), (3, 40, 50)], emotion_every=5))
        store.add_video(make_result("films/c.mp4", [(0, 0, 15), (3, 20, 40)], emotion_every=5))
        identify(store)
        assert len(store.people()) == 4
    return create_app(path)


def names(page: Page) -> list[str]:
    return [card.get_attribute("data-label") or "" for card in page.locator("[data-person]").all()]


def until(page: Page, condition: str) -> None:
    """Wait for a condition; Playwright's own way evaluates a string in the page, which its policy forbids."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def now(page: Page) -> float:
    time: float = page.evaluate("document.querySelector('video').currentTime")
    return time


# ---- a first video


def test_a_clip_is_uploaded_watched_and_found(visit: Open, short_clip: Path, tmp_path: Path) -> None:
    database = tmp_path / "new.db"
    there = visit(create_app(database, uploads=tmp_path / "uploads"))
    page = there.go("/")
    expect(page.get_by_text("Whom will you find?")).to_be_visible()
    there.keep("library-empty")
    with Workers(database, poll=0.1) as workers, Store(database) as store:
        page.set_input_files("[data-upload] input", short_clip)
        expect(page.locator(".upload")).to_contain_text(short_clip.name)
        # It is held in the middle, for the page to show it however fast it is.
        queue, (worker,) = JobQueue(store), workers.pids
        while not any(job.frames_total for job in queue.jobs()):
            page.wait_for_timeout(50)
        os.kill(worker, signal.SIGSTOP)
        expect(page.locator(".upload")).to_contain_text(re.compile(r"\d+ of \d+ frames"))
        there.keep("upload")
        os.kill(worker, signal.SIGCONT)
        page.get_by_role("button", name="Open").click(timeout=LONG)
    page.wait_for_url("**/videos/1")
    expect(page.locator("[data-lane]")).to_have_count(2)
    page = there.go("/jobs")
    expect(page.locator(".job .state")).to_have_text("done")
    there.keep("activity")
    # The same file again is known.
    page = there.go("/")
    page.set_input_files("[data-upload] input", short_clip)
    expect(page.locator(".toast")).to_contain_text("already")


def test_how_closely_to_look_is_chosen_by_keys_and_kept(visit: Open, seen: FastAPI, tmp_path: Path) -> None:
    there = visit(seen)
    page = there.go("/jobs")
    menu = page.locator("details", has=page.locator("[data-settings]"))
    menu.locator("summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Balanced")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label("Fast")).to_be_checked()
    page.keyboard.press("Tab")
    page.keyboard.press(" ")
    expect(page.get_by_label("Emotions", exact=False).first).not_to_be_checked()
    page.get_by_text("More", exact=True).click()
    page.get_by_label("once in so many frames").fill("7")
    expect(page.get_by_label("times a second")).to_be_disabled()
    there.keep("settings")
    page.get_by_role("button", name="Done").click()
    expect(page.locator("[data-settings]")).to_be_hidden()
    expect(menu.locator("summary").first).to_be_focused()
    expect(menu.locator("summary").first).to_contain_text("Fast, no emotions")
    # They hold on every page, and in what is sent.
    Image.new("RGB", (64, 48)).save(tmp_path / "grey.png")
    page = there.go("/")
    expect(page.locator("[data-settings-told]")).to_have_text("Fast, no emotions")
    page.set_input_files("[data-upload] input", tmp_path / "grey.png")
    expect(page.locator(".upload")).to_contain_text("queued")
    page = there.go("/jobs")
    expect(page.locator(".job")).to_contain_text("fast, detector every 7 frames, no emotions")
    [job] = page.request.get(f"{there.address}/api/v1/jobs").json()["items"]
    assert {name: job["settings"][name] for name in ("preset", "emotion", "detect_every")} == {
        "preset": "fast",
        "emotion": None,
        "detect_every": 7,
    }


@pytest.mark.parametrize(("scheme", "width"), SCREENS)
def test_the_settings_are_no_barrier(visit: Open, seen: FastAPI, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    there = visit(seen, scheme=scheme, width=width)
    page = there.go("/")
    page.locator("summary", has=page.locator("[data-settings-told]")).click()
    page.get_by_text("More", exact=True).click()
    expect(page.get_by_label("times a second")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page).response["violations"]
    assert not [one["id"] for one in found if one["impact"] in ("serious", "critical")]
    there.keep(f"settings-{scheme}-{width}")


def test_what_is_no_video_is_refused_with_a_reason(visit: Open, seen: FastAPI, tmp_path: Path) -> None:
    there = visit(seen)
    there.expected.append("422")
    page = there.go("/")
    (tmp_path / "notes.mp4").write_text("no video at all")
    page.set_input_files("[data-upload] input", tmp_path / "notes.mp4")
    expect(page.locator(".upload.failed")).to_contain_text("notes.mp4")
    expect(page.locator(".upload .bad")).not_to_be_empty()


# ---- a video


def test_a_click_on_a_lane_seeks_and_boxes_follow(visit: Open, seen: FastAPI) -> None:
    there = visit(seen)
    page = there.go("/videos/1")
    track = page.locator("[data-track]").first
    box = track.bounding_box()
    assert box is not None
    track.click(position={"x": box["width"] * 0.2, "y": box["height"] / 2})
    expect(page.locator("[data-boxes] .box")).to_have_count(2)
    assert now(page) == pytest.approx(0.2 * 12, abs=0.1)
    assert sorted(page.locator(".box span").all_inner_texts()) == ["Person 1", "Person 2"]
    expect(page.locator("[data-now] li")).to_have_count(2)
    expect(page.locator("[data-clock]")).to_have_text(re.compile(r"0:02\.\d"))
    # A box lies on the face: where the service tells it of one of the frames around this moment.
    moment = {"start": now(page) - 0.08, "end": now(page) + 0.08}
    told = page.request.get(f"{there.address}/api/v1/videos/1/boxes", params=moment).json()
    scale = page.evaluate("document.querySelector('video').getBoundingClientRect().width / 960")
    picture = page.locator("video").bounding_box()
    assert picture is not None
    for one in told["tracks"]:
        drawn = page.locator(".box", has_text=one["label"]).bounding_box()
        assert drawn is not None
        off = [
            abs(x * scale - drawn["x"] + picture["x"]) + abs(w * scale - drawn["width"]) for x, _, w, _ in one["boxes"]
        ]
        assert min(off) < 1, off
    there.keep("video")


def test_a_video_plays_and_is_steered_by_keys(visit: Open, seen: FastAPI) -> None:
    page = visit(seen).go("/videos/1?t=1")
    until(page, "document.querySelector('video').readyState >= 2")
    assert now(page) == pytest.approx(1, abs=0.05)
    page.keyboard.press(" ")
    until(page, "document.querySelector('video').currentTime > 1.3")
    page.keyboard.press(" ")
    until(page, "document.querySelector('video').paused")
    page.keyboard.press("l")
    until(page, "document.querySelector('video').currentTime > 6")
    page.keyboard.press("j")
    until(page, "document.querySelector('video').currentTime < 3")
    before = now(page)
    page.keyboard.press(".")
    assert now(page) == pytest.approx(before + 1 / 25, abs=1e-3)
    lane = page.locator("[data-track]").first
    lane.focus()
    page.keyboard.press("ArrowRight")
    second = float((page.locator("[data-lane]").first.get_attribute("data-moments") or "").split()[1].split("-")[0])
    assert now(page) == pytest.approx(second, abs=0.02)
    page.keyboard.press("ArrowDown")
    expect(page.locator("[data-track]").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".lane-row.chosen")).to_have_attribute(
        "data-lane", page.locator("[data-lane]").nth(1).get_attribute("data-lane") or ""
    )
    page.keyboard.press("b")
    expect(page.locator("[data-boxes]")).to_be_hidden()


def test_lanes_are_zoomed_around_the_moment(visit: Open, seen: FastAPI) -> None:
    page = visit(seen).go("/videos/1?t=6")
    page.keyboard.press("+")
    start, _, span, _ = map(float, (page.locator("[data-scaled]").first.get_attribute("viewBox") or "").split())
    assert span == pytest.approx(6, abs=0.05)
    assert start < 6 < start + span
    expect(page.locator("[data-pan]")).to_be_visible()
    page.keyboard.press("0")
    assert page.locator("[data-scaled]").first.get_attribute("viewBox") == "0 0 12 100"


def test_a_face_in_the_video_is_named_where_it_is(visit: Open, seen: FastAPI) -> None:
    there = visit(seen)
    page = there.go("/videos/1?t=2.5")
    page.locator(".box", has_text="Person 1").click()
    page.get_by_label("Name", exact=True).fill("Eileen Collins")
    there.keep("box")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".toast")).to_contain_text("is called Eileen Collins")
    expect(page.locator(".box", has_text="Eileen Collins")).to_be_visible()
    expect(page.locator("[data-now]")).to_contain_text("Eileen Collins")


def test_a_video_that_is_gone_still_tells_who_was_in_it(visit: Open, crowd: FastAPI) -> None:
    there = visit(crowd)
    there.expected.append("404")
    page = there.go("/videos/1")
    expect(page.locator("[data-say]")).to_contain_text("no longer where it was")
    expect(page.locator("[data-lane]")).to_have_count(3)
    there.go("/")


def test_a_video_is_removed_after_a_question(visit: Open, crowd: FastAPI) -> None:
    there = visit(crowd)
    there.expected.append("404")
    page = there.go("/videos/3")
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    page.wait_for_url(f"{there.address}/")
    expect(page.locator(".video-card")).to_have_count(2)


# ---- people


def test_a_person_is_named_in_place_and_it_is_taken_back(visit: Open, seen: FastAPI) -> None:
    there = visit(seen)
    page = there.go("/people")
    there.keep("people")
    field = page.get_by_label("Name of Person 1")
    field.fill("Eileen Collins")
    field.press("Enter")
    expect(page.locator(".toast")).to_contain_text("Person 1 is called Eileen Collins")
    expect(page.get_by_label("Name of Eileen Collins")).to_have_value("Eileen Collins")
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(page.locator(".toast")).to_contain_text("Taken back")
    expect(page.get_by_label("Name of Person 1")).to_have_value("")
    # Escape leaves it as it was; a name that reads like a number is refused.
    page.get_by_label("Name of Person 1").fill("nobody")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Name of Person 1")).to_have_value("")
    there.expected.append("422")
    page.get_by_label("Name of Person 2").fill("Person 1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("cannot name a person")
    page.get_by_role("button", name="Leave it").click()
    expect(page.get_by_label("Name of Person 2")).to_have_value("")


def test_two_are_merged_by_selecting_and_it_is_taken_back(visit: Open, crowd: FastAPI) -> None:
    there = visit(crowd)
    page = there.go("/people")
    before = sorted(names(page))
    for person in ("Person 1", "Person 4"):
        page.locator(f"[data-label='{person}']").hover()
        page.get_by_label(f"Select {person}").check()
    expect(page.locator("#selected")).to_contain_text("2 selected")
    there.keep("people-selected")
    page.locator("#selected").get_by_role("button", name="Merge").click()
    expect(page.locator(".toast")).to_contain_text("Person 1 and Person 4 are one person")
    expect(page.locator("[data-person]")).to_have_count(3)
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(page.locator("[data-person]")).to_have_count(4)
    assert sorted(names(page)) == before


def test_two_are_merged_by_dragging(visit: Open, crowd: FastAPI) -> None:
    page = visit(crowd).go("/people")
    page.drag_and_drop("[data-person='4']", "[data-person='1']")
    expect(page.locator(".toast")).to_contain_text("Person 1 and Person 4 are one person")
    expect(page.locator("[data-person]")).to_have_count(3)
    page.keyboard.press("u")
    expect(page.locator("[data-person]")).to_have_count(4)


def test_a_contradiction_is_told_and_can_be_forced(visit: Open, seen: FastAPI) -> None:
    there = visit(seen)
    there.expected.append("409")
    page = there.go("/people")
    page.drag_and_drop("[data-person='2']", "[data-person='1']")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("two faces, two people")
    there.keep("refused")
    dialog.get_by_role("button", name="Leave it").click()
    expect(page.locator("[data-person]")).to_have_count(2)
    page.drag_and_drop("[data-person='2']", "[data-person='1']")
    page.get_by_role("dialog").get_by_role("button", name="Force").click()
    expect(page.locator("[data-person]")).to_have_count(1)


def test_the_grid_is_gone_through_by_keys(visit: Open, crowd: FastAPI) -> None:
    page = visit(crowd).go("/people")
    page.keyboard.press("ArrowRight")
    cells = page.locator("[data-cell]")
    expect(cells.nth(0)).to_be_focused()
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(cells.nth(2)).to_be_focused()
    page.keyboard.press("x")
    expect(page.locator("#selected")).to_contain_text("2 selected")
    page.keyboard.press("Escape")
    expect(page.locator("#selected")).to_be_hidden()
    page.keyboard.press("n")
    expect(page.locator("[data-person]").nth(2).locator(".name-field")).to_be_focused()
    page.keyboard.type("Eva")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name of Eva")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("eva")
    page.keyboard.press("Enter")
    page.wait_for_url("**/people?q=eva")
    assert names(page) == ["Eva"]
    page.locator("h1").click()
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.wait_for_url("**/search")


# ---- a person


def test_tracks_are_split_off_refused_and_assigned(visit: Open, crowd: FastAPI) -> None:
    there = visit(crowd)
    page = there.go("/people/3")
    expect(page.locator(".tracks .card")).to_have_count(3)
    there.keep("person")

    def choose(number: int) -> None:
        card = page.locator(".tracks .card").nth(number)
        card.hover()
        card.locator(".pick input").check()

    choose(0)
    page.get_by_role("button", name="Split off").click()
    expect(page.locator(".toast")).to_contain_text("not Person 3 but Person 5")
    expect(page.locator(".tracks .card")).to_have_count(2)
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(page.locator(".tracks .card")).to_have_count(3)
    choose(1)
    page.get_by_role("button", name="Not them").click()
    expect(page.locator(".toast").last).to_contain_text("is not Person 3")
    expect(page.locator(".tracks .card")).to_have_count(2)
    choose(1)
    page.get_by_label("Who they are").click()
    page.get_by_label("Who they are").press_sequentially("1")
    page.get_by_role("option", name="Person 1").click()
    page.get_by_role("button", name="Assign").click()
    expect(page.locator(".toast").last).to_contain_text("is Person 1")
    expect(page.locator(".tracks .card")).to_have_count(1)
    expect(page.locator(".history li")).not_to_have_count(0)


def test_a_person_is_merged_ignored_and_brought_back(visit: Open, crowd: FastAPI) -> None:
    page = visit(crowd).go("/people/4")
    page.get_by_role("button", name="Ignore").click()
    expect(page.get_by_role("button", name="Bring back")).to_be_visible()
    page.get_by_role("button", name="Bring back").click()
    expect(page.get_by_role("button", name="Ignore")).to_be_visible()
    page.locator("summary", has_text="Merge").click()
    page.get_by_label("is the same person as").fill("Person 1")
    page.keyboard.press("Escape")
    page.locator("form", has=page.get_by_label("is the same person as")).get_by_role("button", name="Merge").click()
    page.wait_for_url("**/people/1")
    expect(page.locator(".tracks .card")).to_have_count(3)


def test_a_timeline_leads_to_the_moment(visit: Open, seen: FastAPI) -> None:
    there = visit(seen)
    page = there.go("/people/1")
    there.keep("person-demo")
    expect(page.get_by_text("Seen together with")).to_be_visible()
    page.locator("[data-scene-track] svg").click()
    page.wait_for_url(re.compile(r"/videos/1\?t=6\.0"))
    until(page, "Math.abs(document.querySelector('video').currentTime - 6) < 0.1")


# ---- review, search, export


def test_pairs_are_answered_by_keys(visit: Open, tmp_path: Path) -> None:
    path = tmp_path / "doubt.db"
    with Store(path) as store:
        for name, person in (("a", 0), ("b", 1), ("c", 2)):
            store.add_video(make_result(f"{name}.mp4", [(person, 0, 20)], noise=0.01))
        store.assign([(None, [record.key]) for record in store.track_records()])
        _alike(store)
    there = visit(create_app(path))
    page = there.go("/review")
    expect(page.locator("[data-progress]")).to_have_text("1 of 3")
    there.keep("review")
    page.keyboard.press("s")
    expect(page.locator("[data-progress]")).to_have_text("2 of 3")
    page.keyboard.press("n")
    expect(page.locator(".toast")).to_contain_text("not Person")
    expect(page.locator("[data-progress]")).to_have_text("3 of 3")
    page.locator(".toast").get_by_role("button", name="Undo").click()
    expect(page.locator("[data-progress]")).to_have_text("2 of 3")
    page.keyboard.press("n")
    page.keyboard.press("y")
    expect(page.get_by_text("That was all for now")).to_be_visible()
    expect(page.locator("[data-summary]")).to_have_text("1 the same, 1 two people, 1 skipped")
    with Store(path) as store:
        assert len(store.people()) == 2


def _alike(store: Store) -> None:
    """Make all vectors so alike that nobody could say whether they are one person."""
    import numpy as np

    from indexing.calibrate import for_store
    from tracker.types import Keyframes

    scale = for_store(store)
    grid = np.linspace(0, 1, 2001)
    half = float(grid[np.abs(scale.probability(grid) - 0.5).argmin()])
    base, rest = np.eye(16, dtype=np.float32)[0], np.eye(16, dtype=np.float32)[1:]
    made = []
    for place, record in enumerate(store.track_records()):
        vector = np.sqrt(half) * base + np.sqrt(1 - half) * rest[place]
        made.append((record.key, Keyframes([record.first_frame], [0.9], vector[None].astype(np.float32))))
    store.replace_embeddings("fake-embedder", made)


def test_a_picture_is_searched_for(visit: Open, seen: FastAPI, tmp_path: Path) -> None:
    from skimage import data

    Image.fromarray(data.astronaut()).save(tmp_path / "portrait.jpg", quality=92)
    there = visit(seen)
    page = there.go("/search")
    page.set_input_files("[data-files]", tmp_path / "portrait.jpg")
    expect(page.locator(".match").first).to_contain_text("Person 1")
    expect(page.locator(".match").first).to_contain_text("demo.mp4")
    there.keep("search")
    page.locator(".match .moments a").first.click()
    page.wait_for_url(re.compile(r"/videos/1\?t="))


def test_who_looks_alike_is_searched_from_a_person(visit: Open, seen: FastAPI) -> None:
    page = visit(seen).go("/people/2")
    page.get_by_role("link", name="Who looks alike").click()
    expect(page.locator(".match").first).to_contain_text("Person 2")


def test_what_is_seen_is_exported(visit: Open, seen: FastAPI) -> None:
    page = visit(seen).go("/videos/1")
    page.get_by_text("Export", exact=True).click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name=re.compile("^frames")).click()
    assert waiting.value.suggested_filename == "demo.csv"
    assert waiting.value.path().read_text().startswith("video,frame,timestamp,face_id")


# ---- two browsers


def look_again(page: Page) -> None:
    """Let so much time pass for a page that it looks three times: with the third, what the second tells is in it."""
    for _ in range(3):
        with page.expect_response("**/api/v1/revision"):
            page.clock.fast_forward(LOOK)


def test_what_somebody_else_says_is_told_and_what_is_said_here_is_not(visit: Open, crowd: FastAPI) -> None:
    there = visit(crowd)
    there.page.clock.install()
    page = there.go("/people")
    page.get_by_label("Name of Person 2").fill("Bob")
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text("is called Bob")
    look_again(page)
    expect(page.locator("#changed")).to_be_empty()
    page.request.post(f"{there.address}/api/v1/people/1/name", data={"name": "Ada"})
    look_again(page)
    expect(page.locator("#changed")).to_contain_text("Changed elsewhere")
    expect(page.get_by_label("Name of Person 1")).to_be_visible()
    there.keep("changed")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_label("Name of Ada")).to_be_visible()
    expect(page.locator("#changed")).to_be_empty()
    # The list of what people said is as new as it can be.
    page = there.go("/jobs")
    expect(page.locator(".history li")).to_have_count(2)
    page.request.post(f"{there.address}/api/v1/undo")
    expect(page.locator(".history")).to_contain_text("taken back")


# ---- for everybody


def test_five_hundred_people_come_in_pages(visit: Open, tmp_path: Path) -> None:
    path = tmp_path / "many.db"
    with Store(path) as store:
        spans = [(person, 0, 2 + person % 40) for person in range(520)]
        store.add_video(make_result("many.mp4", spans, keyframes=1))
        store.assign([(None, [record.key]) for record in store.track_records()])
        store.rename(500, "Ada")
    there = visit(create_app(path))
    there.expected.append("404")
    page = there.go("/people")
    assert len(names(page)) == 48
    expect(page.locator("h1 + .facts")).to_contain_text("520 people")
    page.get_by_role("link", name="Next").click()
    page.wait_for_selector("main[data-ready]")
    expect(page.locator(".pages .here")).to_have_text("2")
    there.keep("people-many")
    page = there.go("/people?q=ada")
    assert names(page) == ["Ada"]
    page = there.go("/videos/1")
    expect(page.locator("[data-lane]")).to_have_count(24)
    page.get_by_role("link", name="Show 496 more").click()
    expect(page.locator("[data-lane]")).to_have_count(520)


PAGES = ("/", "/people", "/people/1", "/videos/1?t=2.5", "/review", "/search?person=1", "/jobs")


@pytest.mark.parametrize(("scheme", "width"), SCREENS)
def test_there_is_no_barrier(visit: Open, seen: FastAPI, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    there = visit(seen, scheme=scheme, width=width)
    for path in PAGES:
        page = there.go(path)
        page.wait_for_load_state("networkidle") if "jobs" not in path else None
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} is wider than the screen"
        found = axe.Axe().run(page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        told = [(one["id"], [node["html"][:160] for node in one["nodes"][:4]]) for one in serious]
        assert not serious, (path, told)
        there.keep(f"{re.sub('[^a-z0-9]+', '-', path).strip('-') or 'library'}-{scheme}-{width}")


def test_dark_and_light_are_chosen_by_hand_and_kept(visit: Open, seen: FastAPI) -> None:
    page = visit(seen, scheme="light").go("/people")

    def ground() -> str:
        color: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return color

    light = ground()
    page.get_by_role("button", name="Dark or light").click()
    assert ground() != light
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert ground() != light


def test_a_hostile_name_is_only_a_name(visit: Open, crowd: FastAPI) -> None:
    there = visit(crowd)
    hostile = "<img src=x onerror=alert(1)>\"'"
    page = there.go("/people")
    page.get_by_label("Name of Person 2").fill(hostile)
    page.keyboard.press("Enter")
    expect(page.locator(".toast")).to_contain_text(hostile)
    page = there.go("/people/2")
    expect(page.locator(".name-field")).to_have_value(hostile)
    assert page.title().startswith(hostile)


def test_without_a_script_forms_do_the_same(visit: Open, crowd: FastAPI) -> None:
    there = visit(crowd, script=False)
    there.expected.append("409")
    page = there.page
    page.goto(f"{there.address}/people")
    page.get_by_label("Name of Person 2").fill("Bob")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name of Bob")).to_have_value("Bob")
    for person in ("Person 1", "Person 4"):
        page.locator(f"[data-label='{person}']").hover()
        page.get_by_label(f"Select {person}").check()
    page.get_by_role("button", name="Merge").click()
    expect(page.locator("[data-person]")).to_have_count(3)
    page.goto(f"{there.address}/people/3")
    page.locator("summary", has_text="Merge").click()
    page.get_by_label("is the same person as").fill("Bob")
    page.locator("form", has=page.get_by_label("is the same person as")).get_by_role("button", name="Merge").click()
    expect(page.locator("h1")).to_have_text("This contradicts what was said or seen")
    page.get_by_role("button", name="Force").click()
    page.goto(f"{there.address}/people")
    expect(page.locator("[data-person]")).to_have_count(2)
    page.goto(f"{there.address}/jobs")
    page.get_by_role("button", name="Undo the last").click()
    page.goto(f"{there.address}/people")
    expect(page.locator("[data-person]")).to_have_count(3)


def test_a_token_is_asked_for_once(visit: Open, demo: Demo, tmp_path: Path) -> None:
    there = visit(create_app(demo.copy(tmp_path), token="open sesame and more"))
    page = there.page
    page.goto(f"{there.address}/people?sort=name")
    page.get_by_label("Token").fill("something else")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    there.keep("login")
    page.get_by_label("Token").fill("open sesame and more")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{there.address}/people?sort=name")
    expect(page.locator("[data-person]")).to_have_count(2)
