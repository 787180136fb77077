"""Plots: the picture shows what the store holds where it belongs; the page carries it, alone and unharmed by names."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from fakes import make_result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab

from indexing import gallery
from indexing.colors import NOT_KNOWN, emotion_color, hexadecimal
from indexing.lanes import Lane
from indexing.panels import DPI, HEAD, LEFT, RIGHT, WIDTH, ticks
from indexing.plot import chart as charts
from indexing.plot import page, picture, plot
from indexing.store import Store
from indexing.types import Appearance, EmotionCurve, Episode, Identity
from tracker.errors import FacetrackError
from tracker.types import EMOTIONS, Segment

HOSTILE = "</script><b>x"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Ada is in both videos, Person 2 in the first; the third face of the first is unknown, the last video a still."""
    store = Store(tmp_path / "facetrack.db")
    store.add_video(
        make_result(
            tmp_path / "a.mp4", [(0, 0, 60), (1, 10, 90), (2, 70, 95)], frames=100, shots=(0, 65), emotion_every=5
        )
    )
    store.add_video(make_result(tmp_path / "b.mp4", [(0, 10, 50)], emotion_every=5))
    store.add_video(make_result(tmp_path / "c.jpg", [(0, 0, 1)], frames=1, is_image=True))
    keys = [record.key for record in store.track_records()]
    store.assign([(None, [keys[0], keys[3], keys[4]]), (None, [keys[1]])])
    store.rename(1, "Ada")
    return store


def pixels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def bytes_of(code: str) -> list[int]:
    return [int(code[k : k + 2], 16) for k in (1, 3, 5)]


def texts(path: Path) -> str:
    return "\n".join("".join(node.itertext()) for node in ElementTree.parse(path).iter() if node.tag.endswith("}text"))


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text of each script and style."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, str] = {}
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}", {}))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        name = "data" if attributes.get("id") == "data" else tag
        self.inside[name] = self.inside.get(name, "") + data

    @property
    def data(self) -> page.Json:
        return json.loads(self.inside["data"])


# ---- colours


def seen_by(eyes: str, rgb: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> np.ndarray:
    """Return colours as Lab for normal eyes and those that lack one kind of cone (Machado et al. 2009)."""
    matrices = {
        "normal": np.eye(3),
        "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
        "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    }
    light = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    light = np.clip(light @ np.transpose(matrices[eyes]), 0, 1)
    return rgb2lab(np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("eyes", ["normal", "no red", "no green", "no blue"])
def test_emotions_are_told_apart_by_all_eyes(eyes: str) -> None:
    lab = seen_by(eyes, np.array([emotion_color(name) for name in EMOTIONS]))
    assert min(deltaE_ciede2000(one, other) for one, other in combinations(lab, 2)) > 14


@pytest.mark.parametrize("ground", ["#FFFFFF", "#14171B"])
def test_emotions_stand_out_from_white_and_from_dark(ground: str) -> None:
    def light(code: str) -> float:
        rgb = np.array(bytes_of(code)) / 255
        return float(np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])

    for name in EMOTIONS:
        low, high = sorted([light(ground), light(hexadecimal(emotion_color(name)))])
        assert (high + 0.05) / (low + 0.05) >= 2


# ---- the chart


times = st.floats(0, 20).map(lambda second: round(second, 2))
spans = st.lists(st.tuples(times, times).map(sorted).filter(lambda span: span[0] < span[1]), max_size=6)


@given(spans, spans, st.lists(times, max_size=40, unique=True), st.integers(0, 2**32 - 1))
def test_bars_fill_appearances_without_gap_or_overlap(
    seen: list[list[float]], shown: list[list[float]], sampled: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    emotions = rng.dirichlet(np.ones(7), len(sampled)).reshape(-1, 7)
    emotions[rng.random(len(sampled)) < 0.3] = np.nan
    curve = EmotionCurve(1, 1, np.sort(sampled), emotions, emotions[:, 0], emotions[:, 0])
    whole = [span for k, span in enumerate(sorted(seen)) if all(end <= span[0] for _, end in sorted(seen)[:k])]
    appearances = tuple(Appearance(1, 1, Segment(*span), (1,)) for span in whole)
    episodes = tuple(Episode(1, 1, "happy", a, a, b, 1, 1) for a, b in shown)
    row = charts.row_of(Lane(Identity(1), appearances, ()), b"", curve, episodes)
    for appearance in appearances:
        inside = [
            bar.segment for bar in row.bars if appearance.segment.start <= bar.segment.start < appearance.segment.end
        ]
        assert (inside[0].start, inside[-1].end) == (appearance.segment.start, appearance.segment.end)
        assert all(before.end == after.start for before, after in pairwise(inside))
    known = [time for piece in row.pieces for time in piece.curve.times]
    wanted = [t for t, e in zip(curve.times, curve.emotions, strict=True) if not np.isnan(e[0]) and _inside(whole, t)]
    assert known == wanted


def _inside(spans: list[list[float]], time: float) -> bool:
    return any(start <= time < end for start, end in spans)


def test_a_chart_of_a_video_a_person_and_both(store: Store) -> None:
    def rows(chart: charts.Chart) -> list[list[str]]:
        return [[row.lane.label for row in panel.rows] for panel in chart.panels]

    video, ada, other = store.video("a.mp4"), store.resolve_person("Ada"), store.resolve_person("2")
    assert rows(charts.read_chart(store, video=video)) == [["Person 2", "Ada", "Unknown"]]
    assert rows(charts.read_chart(store, identity=ada)) == [["Ada"], ["Ada"]]
    assert rows(charts.read_chart(store, identity=other)) == [["Person 2"]]
    assert rows(charts.read_chart(store, video=video, identity=ada)) == [["Ada"]]
    assert rows(charts.read_chart(store)) == [["Person 2", "Ada", "Unknown"], ["Ada"]]


def test_who_is_ignored_is_drawn_when_asked_for(store: Store) -> None:
    def lanes(**options: object) -> list[list[str]]:
        return [[row.lane.label for row in panel.rows] for panel in charts.read_chart(store, **options).panels]

    gallery.ignore(store, 2)
    assert lanes() == [["Ada", "Unknown"], ["Ada"]]
    assert lanes(ignored=True) == [["Person 2", "Ada", "Unknown"], ["Ada"]]
    [panel] = charts.read_chart(store, identity=store.resolve_person("2")).panels
    [row] = panel.rows
    assert row.lane.label == "Person 2"
    assert row.pieces


def test_nothing_to_draw_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FacetrackError, match="still pictures"):
        plot(store, tmp_path / "c.png", video=store.video("c.jpg"))
    with pytest.raises(FacetrackError, match="Person 2 is in no video"):
        plot(store, tmp_path / "c.png", video=store.video("b.mp4"), identity=store.resolve_person("2"))


def test_marks_on_the_axis_are_even_and_few() -> None:
    for end in (0.04, 0.4, 7, 61, 599, 5400, 11000, 400000):
        marks = ticks(end)
        assert 2 <= len(marks) <= 13
        assert marks[0] == 0
        assert marks[-1] <= end * (1 + 1e-6) + 1e-6


# ---- the picture


def place(time: float, end: float, row: int, height: float) -> tuple[int, int]:
    """Return the pixel (y, x) of a time in the first panel at a height within a row, from its middle down."""
    x = LEFT + time / end * (WIDTH - LEFT - RIGHT)
    y = picture._LEGEND + HEAD + picture._LANE * (row + 0.5 + height)
    return round(y * DPI), round(x * DPI)


def test_bars_have_the_colour_of_the_emotion_at_its_time(store: Store, tmp_path: Path) -> None:
    video = store.video("a.mp4")
    plot(store, tmp_path / "a.png", video=video)
    shown = pixels(tmp_path / "a.png")
    assert shown.shape[1] == WIDTH * DPI
    ada = store.episodes(1, video.video_id)
    assert [episode.label for episode in ada] == ["happy", "sad"]
    for episode in ada:
        at = place(episode.onset + 0.1, video.end, 1, picture._BAR[0] + 0.02)
        assert shown[at].tolist() == bytes_of(hexadecimal(emotion_color(episode.label)))
    assert shown[place(3.3, video.end, 1, picture._BAR[0] + 0.02)].tolist() == [255, 255, 255]


def test_the_area_is_as_high_as_what_is_not_neutral(store: Store, tmp_path: Path) -> None:
    video = store.video("b.mp4")
    plot(store, tmp_path / "b.png", video=video)
    (curve,) = store.emotion_curves(1, video.video_id)
    sample = 2
    top = place(float(curve.times[sample]), video.end, 0, picture._FULL)
    bottom = place(float(curve.times[sample]), video.end, 0, picture._BASE)
    column = pixels(tmp_path / "b.png")[top[0] : bottom[0], top[1]].astype(int)
    colourful = np.ptp(column, axis=1) > 60
    expected = 1 - curve.emotions[sample, EMOTIONS.index("neutral")]
    assert colourful.mean() == pytest.approx(expected, abs=0.06)


def test_not_known_is_hatched_and_is_not_neutral(store: Store, tmp_path: Path) -> None:
    video = store.video("a.mp4")
    plot(store, tmp_path / "a.png", video=video)
    y, x = place(3.3, video.end, 2, 0)
    around = pixels(tmp_path / "a.png")[y - 8 : y + 8, x - 20 : x + 20].reshape(-1, 3)
    assert 0.3 < (np.abs(around.astype(int) - bytes_of(NOT_KNOWN)).max(axis=1) < 6).mean() < 0.95
    assert not (np.abs(around.astype(int) - bytes_of(hexadecimal(emotion_color("neutral")))).max(axis=1) < 3).any()


def test_an_svg_has_its_words_as_text(store: Store, tmp_path: Path) -> None:
    plot(store, tmp_path / "a.svg", video=store.video("a.mp4"))
    words = texts(tmp_path / "a.svg")
    for expected in (*EMOTIONS, "not known", "Ada", "Person 2", "Unknown", "a.mp4", "2 shots", "shot boundary", "4 s"):
        assert expected in words
    assert "2.4 s  ·  1 appearance" in words


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".html"])
def test_the_same_plot_is_the_same_file(store: Store, tmp_path: Path, suffix: str) -> None:
    for name in ("one", "two"):
        plot(store, (tmp_path / name).with_suffix(suffix), identity=store.resolve_person("Ada"))
    one, two = (tmp_path / "one").with_suffix(suffix).read_bytes(), (tmp_path / "two").with_suffix(suffix).read_bytes()
    assert one == two


def test_names_in_any_script_are_drawn(store: Store, tmp_path: Path) -> None:
    store.rename(1, "$x^2$ 北京 😀 " + HOSTILE)
    for name in ("a.svg", "a.png"):
        plot(store, tmp_path / name, identity=store.resolve_person("1"))
    assert "北京" in texts(tmp_path / "a.svg")


def test_what_cannot_be_written_leaves_nothing(store: Store, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(FacetrackError, match="png"):
        plot(store, tmp_path / "a.xyz")
    for name in ("a.png", "a.html"):
        with pytest.raises(FacetrackError, match="mkdir"):
            plot(store, tmp_path / "nowhere" / name)
    assert set(tmp_path.iterdir()) == before


def test_many_people_and_videos_are_cut_and_it_is_said(tmp_path: Path) -> None:
    with Store(tmp_path / "facetrack.db") as store:
        crowd = [(who, 0, 5) for who in range(charts.MOST_ROWS + 5)]
        store.add_video(make_result("crowd.mp4", crowd, frames=6, thumbnails=False))
        store.add_video(make_result("more.mp4", [(0, 0, 5)], frames=6, thumbnails=False))
        store.assign([(None, [record.key]) for record in store.track_records()])
        plot(store, tmp_path / "all.svg")
        plot(store, tmp_path / "all.html")
    assert "5 more people not shown" in texts(tmp_path / "all.svg")
    assert "the first 1 of 2 videos" in texts(tmp_path / "all.svg")
    data = Page(tmp_path / "all.html").data
    assert (data["left_out"], data["panels"][0]["left_out"]) == (1, 5)
    assert len(data["panels"][0]["rows"]) == charts.MOST_ROWS


def test_videos_without_emotions_or_faces_are_drawn(tmp_path: Path) -> None:
    with Store(tmp_path / "facetrack.db") as store:
        store.add_video(make_result("plain.mp4", [(0, 0, 20), (1, 3, 4)], thumbnails=False))
        store.add_video(make_result("empty.mp4", [], frames=3))
        store.assign([(None, [record.key]) for record in store.track_records()])
        for suffix in (".png", ".svg", ".html"):
            plot(store, tmp_path / f"all{suffix}")
    assert "no face" in texts(tmp_path / "all.svg")
    rows = Page(tmp_path / "all.html").data["panels"][0]["rows"]
    assert [(row["bars"], row["pieces"], row["face"]) for row in rows] == [
        ([[0, 0.8, -1, 0]], [], ""),
        ([[0.12, 0.16, -1, 0]], [], ""),
    ]


# ---- the page


def test_the_page_holds_what_the_store_holds(store: Store, tmp_path: Path) -> None:
    plot(store, tmp_path / "ada.html", identity=store.resolve_person("Ada"))
    data = Page(tmp_path / "ada.html").data
    assert (data["title"], [panel["video"] for panel in data["panels"]]) == ("Ada", ["a.mp4", "b.mp4"])
    for panel, video in zip(data["panels"], store.videos(), strict=False):
        (row,), (curve,) = panel["rows"], store.emotion_curves(1, video.video_id)
        pieces = row["pieces"]
        known = ~np.isnan(curve.valence)
        for name in ("emotions", "valence", "arousal"):
            values = np.concatenate([piece[name] for piece in pieces]) / 1000
            np.testing.assert_allclose(values, getattr(curve, name)[known], atol=0.0006)
        np.testing.assert_allclose(
            np.concatenate([piece["times"] for piece in pieces]), curve.times[known], atol=0.0006
        )
        told = [(start, end, EMOTIONS[label]) for start, end, label, episode in row["bars"] if episode]
        episodes = store.episodes(1, video.video_id)
        assert told == [(pytest.approx(e.onset), pytest.approx(e.offset), e.label) for e in episodes]
        shots = store.timestamps(video.video_id)[store.shots(video.video_id)]
        assert panel["shots"] == pytest.approx(shots.tolist())
        assert panel["end"] == pytest.approx(video.end)
        assert row["face"].startswith("data:image/jpeg;base64,")


def test_the_page_needs_no_network_and_allows_only_itself(store: Store, tmp_path: Path) -> None:
    plot(store, tmp_path / "a.html")
    shown = Page(tmp_path / "a.html")
    assert not re.search(r"https?:|url\((?!#)|@import|//[a-z0-9.-]+\.[a-z]", shown.source)
    assert not [
        tag for tag, attributes in shown.elements if "src" in attributes or "style" in attributes or tag == "link"
    ]
    assert not [name for _, attributes in shown.elements for name in attributes if name.startswith("on")]
    policy = next(a["content"] for tag, a in shown.elements if tag == "meta" and "content-security" in str(a).lower())
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(shown.inside[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40))
def test_no_name_breaks_out_of_the_page(store: Store, tmp_path: Path, name: str) -> None:
    for text in (name, HOSTILE, "<!--<script>", "{{DATA}}", "'\"&amp;\u2028"):
        chart = charts.read_chart(store, video=store.video("a.mp4"), identity=store.resolve_person("Ada"))
        lane = replace(chart.panels[0].rows[0].lane, identity=Identity(1, text))
        row = replace(chart.panels[0].rows[0], lane=lane)
        named = replace(chart, identity=Identity(1, text), panels=(replace(chart.panels[0], rows=(row,)),))
        page.write_page(named, tmp_path / "named.html")
        page.write_page(chart, tmp_path / "ada.html")
        shown, plain = Page(tmp_path / "named.html"), Page(tmp_path / "ada.html")
        assert shown.elements == plain.elements
        assert shown.inside["script"] == plain.inside["script"]
        assert shown.inside["title"].strip() == text.strip()
        assert shown.data["panels"][0]["rows"][0]["name"] == text


@pytest.mark.parametrize("name", ["a b#?%41.mp4", "x:y.mp4", "ü'\"<b>.mp4"])
def test_the_video_is_found_from_where_the_page_is(tmp_path: Path, name: str) -> None:
    (tmp_path / "pages").mkdir()
    with Store(tmp_path / "facetrack.db") as store:
        store.add_video(make_result(tmp_path / "videos" / name, [(0, 0, 9)]))
        plot(store, tmp_path / "pages" / "a.html")
    address = Page(tmp_path / "pages" / "a.html").data["panels"][0]["src"]
    assert re.fullmatch(r"[\w./%~-]+", address)
    assert (tmp_path / "pages" / unquote(address)).resolve() == (tmp_path / "videos" / name).resolve()


def test_the_page_runs_in_a_browser(store: Store, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if browser is None:
        pytest.skip("no Chromium to show the page in")
    store.rename(1, HOSTILE)
    plot(store, tmp_path / "a.html", video=store.video("a.mp4"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    ran = subprocess.run(
        [browser, *options, "--virtual-time-budget=3000", (tmp_path / "a.html").as_uri()],
        capture_output=True,
        timeout=60,
        check=False,
    )
    if ran.returncode:
        pytest.skip(f"{browser} does not start here")
    (tmp_path / "dom.html").write_bytes(ran.stdout)
    lanes = [attributes for _, attributes in Page(tmp_path / "dom.html").elements if attributes.get("role") == "slider"]
    assert [lane["aria-label"] for lane in lanes] == [f"{who} in a.mp4" for who in ("Person 2", HOSTILE, "Unknown")]
    assert [lane["aria-valuetext"] for lane in lanes] == [
        "0:00.0, not on screen",
        "0:00.0, happy 88 %",
        "0:00.0, not on screen",
    ]
