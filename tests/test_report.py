"""Tables, thumbnails and pictures: they tell what the database holds."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import make_result, person_vector
from PIL import Image

from indexing import console, gallery, pictures, report
from indexing.annotate import shown
from indexing.colors import color
from indexing.lanes import lanes_of
from indexing.metrics import verification
from indexing.search import Probe, answer, search_combined
from indexing.store import Store
from tracker.errors import FacetrackError
from tracker.types import Statistics


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "facetrack.db")
    store.add_video(make_result("a.mp4", [(0, 0, 25), (1, 5, 20), (2, 30, 40)], shots=(0, 28)))
    store.add_video(make_result("b.mp4", [(0, 10, 50)]))
    keys = [record.key for record in store.track_records()]
    store.assign([(None, [keys[0], keys[3]]), (None, [keys[1]])])
    return store


def test_people_are_told_with_a_thumbnail_that_is_there(store: Store) -> None:
    rows = report.people_rows(store)
    assert [(row["identity"], row["name"], row["videos"], row["appearances"]) for row in rows] == [
        (1, "Person 1", 2, 2),
        (2, "Person 2", 1, 1),
    ]
    assert rows[0]["screen_time"] == pytest.approx(25 / 25 + 40 / 25)
    assert rows[0]["first_seen"] == {"video": "a.mp4", "time": 0.0}
    assert rows[0]["last_seen"] == {"video": "b.mp4", "time": 2.0}
    best = max(store.track_records(identity_id=1), key=lambda record: record.quality)
    assert Path(rows[0]["thumbnail"]).read_bytes() == store.thumbnail(best.key)
    assert Path(rows[0]["thumbnail"]) == store.path.with_suffix(".thumbnails") / "1.jpg"


def test_thumbnails_are_a_cache(store: Store) -> None:
    report.people_rows(store)
    path = report.thumbnails_folder(store) / "1.jpg"
    path.write_bytes(b"stale")
    mine = path.with_name("mine.jpg")
    mine.write_bytes(b"mine")
    report.people_rows(store)
    assert path.read_bytes() != b"stale"
    report.remove_thumbnails(store)
    assert list(path.parent.iterdir()) == [mine]


def test_a_person_without_a_picture_has_no_thumbnail(tmp_path: Path) -> None:
    with Store(tmp_path / "facetrack.db") as store:
        store.add_video(make_result("a.mp4", [(0, 0, 9)], thumbnails=False))
        store.assign([(None, [1])])
        assert report.people_rows(store)[0]["thumbnail"] is None


def test_a_folder_that_cannot_be_made_is_no_end_of_the_table(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    report.thumbnails_folder(store).write_bytes(b"a file is in the way")
    assert [row["thumbnail"] for row in report.people_rows(store)] == [None, None]
    assert "cannot be written" in caplog.text


def test_appearances_of_a_person_and_of_a_video(store: Store) -> None:
    of_person = report.appearance_rows(store, report.appearances_of(store, "Person 1"))
    assert [(row["video"], row["start"], row["end"]) for row in of_person] == [("a.mp4", 0.0, 1.0), ("b.mp4", 0.4, 2.0)]
    of_video = report.appearance_rows(store, report.appearances_of(store, "a.mp4"))
    assert [(row["name"], row["start"]) for row in of_video] == [("Person 1", 0.0), ("Person 2", 0.2), (None, 1.2)]
    with pytest.raises(FacetrackError, match=r"no person .*no video"):
        report.appearances_of(store, "nobody")


def test_who_is_ignored_is_in_tables_and_pictures_when_asked_for(store: Store) -> None:
    gallery.ignore(store, 2)
    video = store.video("a.mp4")
    for options, people in (({}, ["Person 1", None]), ({"ignored": True}, ["Person 1", "Person 2", None])):
        rows = report.appearance_rows(store, report.appearances_of(store, "a.mp4", **options))
        assert [row["name"] for row in rows] == people
        labels = {str(name) for name in people if name} | {"Unknown"}
        assert {lane.label for lane in lanes_of(store, video, **options)} == labels
        assert {name for _, name, _ in shown(store, video, **options)} == labels


def test_every_match_is_told_with_its_rate_and_pictures_with_those_left_out(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    face = np.full((40, 30, 3), 90, np.uint8)
    faces = [
        [Probe(Path(f"{number}.jpg"), np.float32([0, 0, 9, 9]), person_vector(who), face)]
        for number, who in enumerate((0, 0, 9))
    ]
    found = [search_combined(store, faces, far=1e-2)]
    (row,) = json.loads(json.dumps(report.answer_rows(store, found)))
    assert (row["far"], row["probe"], row["combined"]) == (1e-2, "0.jpg and 1 more", ["0.jpg", "1.jpg"])
    (outlier,) = row["outliers"]
    assert outlier["image"] == "2.jpg"
    assert outlier["similarity"] < outlier["needed"]
    (match,) = row["matches"]
    assert 0 < match["far"] <= 1e-2
    assert match["track_keys"] == list(found[0].found[0].track_keys)
    console.answers(found, [row])
    told = capsys.readouterr().out
    for text in ("one person in 2 pictures", "FAR 0.01", "2.jpg was left out", f"{match['far']:.0e}", "Person 1"):
        assert text in told


def test_stages_of_several_runs_add_up() -> None:
    runs = [Statistics({"detect": 2.0, "embed": 1.0}), Statistics({"embed": 4.0})]
    assert report.seconds_of_stages(runs) == [("embed", 5.0), ("detect", 2.0)]


def test_control_characters_never_reach_a_terminal() -> None:
    assert report.printable("a\x1b]0;x\x07\r\n\udcffü") == "a\\x1b]0;x\\x07\\r\\n\\udcffü"


def pixels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def share_of(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], identity_id: int | None) -> float:
    tint = np.array(color(identity_id)) * 255
    return float((np.abs(picture[:, picture.shape[1] // 4 :] - tint).max(axis=2) < 3).mean())


def test_bars_in_the_picture_are_as_long_as_people_are_seen(store: Store, tmp_path: Path) -> None:
    pictures.draw_timeline(store, tmp_path / "timeline.png")
    picture = pixels(tmp_path / "timeline.png")
    seen = {identity: share_of(picture, identity) for identity in (1, 2, None)}
    assert seen[1] / seen[2] == pytest.approx(65 / 15, rel=0.1)
    assert seen[None] / seen[2] == pytest.approx(10 / 15, rel=0.1)


def test_a_picture_of_one_video_has_its_people_only(store: Store, tmp_path: Path) -> None:
    pictures.draw_timeline(store, tmp_path / "b.png", videos=[store.video("b.mp4")])
    picture = pixels(tmp_path / "b.png")
    assert share_of(picture, 1) > 0
    assert share_of(picture, 2) == 0


def test_a_picture_takes_any_name_and_a_video_without_faces(store: Store, tmp_path: Path) -> None:
    store.rename(1, "$x^2$ \\frac{1} " + "n" * 80)
    store.add_video(make_result("$\\alpha_.mp4", [], frames=3))
    pictures.draw_timeline(store, tmp_path / "timeline.svg")
    assert (tmp_path / "timeline.svg").read_text().rstrip().endswith("</svg>")


def test_many_people_and_videos_are_cut_and_it_is_said(tmp_path: Path) -> None:
    with Store(tmp_path / "facetrack.db") as store:
        for number in range(pictures.MOST_PANELS + 2):
            store.add_video(make_result(f"{number}.mp4", [(0, 0, 5)], frames=6, thumbnails=False))
        crowd = [(who, 0, 5) for who in range(pictures.MOST_LANES + 5)]
        crowded = store.add_video(make_result("crowd.mp4", crowd, frames=6, thumbnails=False))
        store.assign([(None, [record.key]) for record in store.track_records()])
        pictures.draw_timeline(store, tmp_path / "all.svg")
        pictures.draw_timeline(store, tmp_path / "crowd.svg", videos=[store.video(crowded)])
        assert (tmp_path / "all.svg").stat().st_size > 0
        assert (tmp_path / "crowd.svg").stat().st_size > 0
        lanes = pictures.lanes_of(store, store.video(crowded))
        assert len(lanes) == pictures.MOST_LANES + 5


def test_still_pictures_alone_cannot_be_drawn(tmp_path: Path) -> None:
    with Store(tmp_path / "facetrack.db") as store:
        store.add_video(make_result("a.jpg", [(0, 0, 1)], frames=1, is_image=True))
        with pytest.raises(FacetrackError, match="still pictures"):
            pictures.draw_timeline(store, tmp_path / "timeline.png")


def test_an_unknown_kind_of_picture_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FacetrackError, match="png"):
        pictures.draw_timeline(store, tmp_path / "timeline.xyz")


def test_a_sheet_has_a_row_for_each_face_and_a_cell_for_each_person(store: Store, tmp_path: Path) -> None:
    face = np.full((40, 30, 3), 90, np.uint8)
    probes = [Probe(Path("p.jpg"), np.float32([0, 0, 9, 9]), person_vector(who), face) for who in (0, 1, 9)]
    pictures.draw_sheet(store, answer(store, probes), tmp_path / "sheet.png")
    pictures.draw_sheet(store, answer(store, probes[:1]), tmp_path / "one.png")
    assert pixels(tmp_path / "sheet.png").shape[0] == 3 * pixels(tmp_path / "one.png").shape[0]
    pictures.draw_sheet(store, [replace(answer(store, probes[:1])[0], found=())], tmp_path / "nobody.png")
    assert pixels(tmp_path / "nobody.png").shape[1] < pixels(tmp_path / "one.png").shape[1]


def test_the_roc_curve_is_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(20), 5)
    vectors = np.stack([person_vector(int(who)) for who in labels]) + 0.15 * rng.standard_normal((100, 16))
    rows = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    pictures.draw_roc(verification(rows, labels), tmp_path / "roc.png", title="fake")
    assert (np.abs(pixels(tmp_path / "roc.png") - np.array(color(1)) * 255).max(axis=2) < 3).any()
