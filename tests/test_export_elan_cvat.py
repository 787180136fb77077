"""ELAN and CVAT: what the files say, read as the two programs read them."""

import io
import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from fakes import make_result
from hypothesis import given, settings
from hypothesis import strategies as st
from pympi import Eaf

from indexing.emotions import per_frame, strongest
from indexing.export import cvat, elan, export, write
from indexing.store import Store
from tracker.errors import FacetrackError
from tracker.types import EMOTIONS

SPANS = ((0, 0, 100), (1, 25, 150), (0, 175, 250), (2, 200, 250), (3, 210, 240), (4, 242, 250))


@contextmanager
def opened(path: Path) -> Iterator[Store]:
    """Ada (frames 0 to 99, 175 to 249), an unnamed person (25 to 149), three unknown faces near the end."""
    with Store(path) as store:
        store.add_video(make_result("films/my clip.mp4", SPANS, frames=250, emotion_every=5))
        keys = [record.key for record in store.track_records()]
        store.assign([(None, [keys[0], keys[2]]), (None, [keys[1]])])
        store.rename(1, "Ada <& Co>")
        yield store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with opened(tmp_path_factory.mktemp("shared") / "a.db") as store:
        yield store


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Store]:
    """A store that the test may change."""
    with opened(tmp_path / "a.db") as store:
        yield store


def exported(store: Store, format: str, identity_id: int | None = None) -> str:
    stream = io.StringIO()
    write(store, store.videos(), stream, format=format, identity_id=identity_id)
    return stream.getvalue()


# ---- CVAT


Shape = tuple[list[float], str, bool]
"""Box, emotion, outside."""


def shown_by_cvat(track: ET.Element, frames: int) -> dict[int, tuple[list[float], str]]:
    """Return box and emotion of each frame as CVAT draws them: it reads keyframes only and draws lines between them."""
    keys: dict[int, Shape] = {}
    for box in track.iter("box"):
        if box.attrib["keyframe"] == "1":
            sides = [float(box.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")]
            keys[int(box.attrib["frame"])] = (sides, attributes(box)["emotion"], box.attrib["outside"] == "1")
    shown: dict[int, tuple[list[float], str]] = {}
    for (start, one), (end, other) in pairwise([*sorted(keys.items()), (frames, (None, None, None))]):
        for frame in range(start, end):
            share = 0.0 if other[0] is None or other[2] else (frame - start) / (end - start)
            if not one[2]:
                sides = [a + share * (b - a) for a, b in zip(one[0], other[0] or one[0], strict=True)]
                shown[frame] = sides, one[1]
    return shown


def attributes(box: ET.Element) -> dict[str, str]:
    return {found.attrib["name"]: found.text or "" for found in box.iter("attribute")}


def test_cvat_shows_each_track_where_it_is_and_nowhere_else(store: Store) -> None:
    tracks = ET.fromstring(exported(store, "cvat")).findall("track")
    assert len(tracks) == len(SPANS)
    for element, (_, track) in zip(tracks, store.tracks(1), strict=True):
        shown = shown_by_cvat(element, 250)
        assert list(shown) == track.frames.tolist()
        emotions = [label or "unknown" for label in strongest(per_frame(track, store.timestamps(1)).emotions)]
        assert [emotion for _, emotion in shown.values()] == emotions
        boxes = np.array([box for box, _ in shown.values()])
        assert np.abs(boxes - track.boxes).max() <= cvat.TOLERANCE + 0.006


def test_cvat_has_a_box_a_frame_that_is_exact(store: Store) -> None:
    for element, (_, track) in zip(ET.fromstring(exported(store, "cvat")).iter("track"), store.tracks(1), strict=True):
        inside = [box for box in element if box.get("outside") == "0"]
        assert [int(box.attrib["frame"]) for box in inside] == track.frames.tolist()
        boxes = [[float(box.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr")] for box in inside]
        assert np.abs(np.array(boxes) - track.boxes).max() <= 0.006
        ends = [int(box.attrib["frame"]) for box in element if box.get("outside") == "1"]
        assert ends == [track.end_frame] * (track.end_frame < 250)


def test_cvat_says_who_at_each_box(store: Store) -> None:
    content = store.videos()[0].info.content_hash
    for element, (record, _) in zip(ET.fromstring(exported(store, "cvat")).iter("track"), store.tracks(1), strict=True):
        who = {None: "Unknown", 1: "Ada <& Co>", 2: "Person 2"}[record.identity_id]
        fixed = {"name": who, "identity": str(record.identity_id or ""), "track": str(record.track_id)}
        for box in element:
            found = attributes(box)
            assert found.pop("emotion") in (*EMOTIONS, "unknown")
            assert content.startswith(found.pop("video"))
            assert found == fixed


def test_cvat_declares_the_label_that_the_boxes_use(store: Store) -> None:
    root = ET.fromstring(exported(store, "cvat"))
    assert [child.tag for child in root][:2] == ["version", "meta"]
    assert root.findtext("version") == "1.1"
    task = root.find("meta/task")
    assert task is not None
    said = {child.tag: child.text for child in task if not len(child)}
    assert (said["name"], said["source"], said["size"], said["stop_frame"]) == ("my clip", "my clip.mp4", "250", "249")
    assert said["mode"] == "interpolation"
    assert [task.findtext(f"original_size/{side}") for side in ("width", "height")] == ["640", "360"]
    (label,) = task.findall("labels/label")
    assert {track.get("label") for track in root.iter("track")} == {label.findtext("name")}
    specs = {spec.findtext("name", ""): spec for spec in label.iter("attribute")}
    assert all(set(attributes(box)) == set(specs) for box in root.iter("box"))
    assert {name for name, spec in specs.items() if spec.findtext("mutable") == "True"} == {"emotion"}
    choices = specs["emotion"].findtext("values", "").split("\n")
    assert {attributes(box)["emotion"] for box in root.iter("box")} <= set(choices)


walks = st.lists(st.lists(st.floats(-30, 30), min_size=4, max_size=4), min_size=1, max_size=60)


@settings(deadline=None, max_examples=40)
@given(walk=walks, breaks=st.sets(st.integers(0, 59)))
def test_keyframes_give_back_all_boxes(walk: list[list[float]], breaks: set[int]) -> None:
    boxes = np.cumsum(np.array(walk), axis=0)
    inside = [row for row in breaks if row < len(boxes)]
    kept = sorted(cvat.keyframes(boxes, breaks=inside))
    assert {0, len(boxes) - 1, *inside} <= set(kept)
    rows = np.arange(len(boxes))
    lines = np.stack([np.interp(rows, kept, boxes[kept, side]) for side in range(4)], axis=1)
    assert np.abs(lines - boxes).max() <= cvat.TOLERANCE + 1e-9


def test_a_box_that_moves_evenly_needs_two_keyframes() -> None:
    assert cvat.keyframes(np.linspace([0.0, 0.0, 10.0, 10.0], [90.0, 0.0, 110.0, 30.0], 500)) == {0, 499}


# ---- ELAN


def read_back(store: Store, tmp_path: Path, identity_id: int | None = None) -> Eaf:
    path = tmp_path / "clip.eaf"
    export(store, store.videos(), path, format="elan", identity_id=identity_id)
    return Eaf(str(path))


def test_elan_has_a_tier_a_person_with_their_appearances(store: Store, tmp_path: Path) -> None:
    document = read_back(store, tmp_path)
    expected = defaultdict[str, list[tuple[int, int, str]]](list)
    for seen in store.appearances():
        if seen.identity_id is not None:
            name = {1: "Ada <& Co>", 2: "Person 2"}[seen.identity_id]
            expected[name].append((round(1000 * seen.segment.start), round(1000 * seen.segment.end), name))
    assert set(document.get_tier_ids_for_linguistic_type("appearance")) == {*expected, "Unknown", "Unknown 2"}
    for name, annotations in expected.items():
        assert sorted(document.get_annotation_data_for_tier(name)) == annotations


def test_elan_puts_unknown_faces_on_few_tiers(store: Store, tmp_path: Path) -> None:
    document = read_back(store, tmp_path)
    found = {name: sorted(document.get_annotation_data_for_tier(name)) for name in ("Unknown", "Unknown 2")}
    assert found == {
        "Unknown": [(8000, 10000, "Unknown")],
        "Unknown 2": [(8400, 9600, "Unknown 2"), (9680, 10000, "Unknown 2")],
    }


def test_elan_has_a_tier_a_person_with_their_emotions(store: Store, tmp_path: Path) -> None:
    document = read_back(store, tmp_path)
    for identity_id, name in ((1, "Ada <& Co>"), (2, "Person 2")):
        found = sorted(document.get_annotation_data_for_tier(f"{name}: emotion"))
        episodes = store.episodes(identity_id)
        assert episodes
        assert found == [(round(1000 * e.onset), round(1000 * e.offset), e.label) for e in episodes]
        assert document.get_parameters_for_tier(f"{name}: emotion")["PARTICIPANT"] == name
    assert len(document.get_tier_ids_for_linguistic_type("emotion")) == 2


def test_nothing_overlaps_on_a_tier_of_elan(store: Store, tmp_path: Path) -> None:
    document = read_back(store, tmp_path)
    for name in document.get_tier_names():
        spans = sorted(document.get_annotation_data_for_tier(name))
        assert all(start < end for start, end, _ in spans)
        assert all(one[1] <= other[0] for one, other in pairwise(spans))


def test_elan_finds_the_video(store: Store, tmp_path: Path) -> None:
    document = read_back(store, tmp_path)
    (media,) = document.get_linked_files()
    assert media["MEDIA_URL"] == f"file://{Path('films/my clip.mp4').absolute().as_posix()}"
    assert (media["RELATIVE_MEDIA_URL"], media["MIME_TYPE"]) == ("./my clip.mp4", "video/mp4")
    assert dict(document.get_properties())["facetrack-video"] == store.videos()[0].info.content_hash


def test_elan_keeps_what_the_tiers_held(store: Store, tmp_path: Path) -> None:
    held = json.loads(dict(read_back(store, tmp_path).get_properties())["facetrack-tiers"])
    records = {record.track_id: record for record in store.track_records()}
    assert sorted(int(number) for tier in held.values() for number in tier["tracks"]) == sorted(records)
    for tier in held.values():
        for number, span in tier["tracks"].items():
            record = records[int(number)]
            assert (record.identity_id, record.first_frame, record.end_frame) == (tier["identity"], *span)
    assert held["Ada <& Co>"]["identity"] == 1
    assert held["Unknown 2"]["identity"] is None


def test_elan_follows_the_order_and_the_keys_of_the_schema(store: Store) -> None:
    root = ET.fromstring(exported(store, "elan"))
    assert (root.tag, root.get("FORMAT"), root.get("VERSION")) == ("ANNOTATION_DOCUMENT", "3.0", "3.0")
    assert datetime.fromisoformat(root.attrib["DATE"]).tzinfo is not None
    parts = [child.tag for child in root]
    order = ["HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "CONSTRAINT"]
    assert parts == sorted(parts, key=order.index)
    assert root[0][0].tag == "MEDIA_DESCRIPTOR"
    slots = [(slot.attrib["TIME_SLOT_ID"], int(slot.attrib["TIME_VALUE"])) for slot in root.iter("TIME_SLOT")]
    assert [time for _, time in slots] == sorted(time for _, time in slots)
    used = [a.attrib[f"TIME_SLOT_REF{n}"] for a in root.iter("ALIGNABLE_ANNOTATION") for n in (1, 2)]
    assert sorted(used) == sorted(name for name, _ in slots)
    ids = [a.attrib["ANNOTATION_ID"] for a in root.iter("ALIGNABLE_ANNOTATION")]
    assert len(set(ids) | set(used)) == len(ids) + len(used)
    types = {kind.attrib["LINGUISTIC_TYPE_ID"] for kind in root.iter("LINGUISTIC_TYPE")}
    assert {tier.attrib["LINGUISTIC_TYPE_REF"] for tier in root.iter("TIER")} <= types


def test_people_may_be_called_as_tiers_are(own: Store, tmp_path: Path) -> None:
    own.rename(1, "Unknown 2")
    own.rename(2, "Unknown 2: emotion")
    document = read_back(own, tmp_path)
    assert set(document.get_tier_names()) == {
        "Unknown 2",
        "Unknown 2: emotion",
        "Unknown 2: emotion1",
        "Unknown 2: emotion: emotion",
        "Unknown",
        "Unknown 3",
    }
    assert len(document.get_annotation_data_for_tier("Unknown 2")) == 2
    assert len(document.get_annotation_data_for_tier("Unknown 2: emotion")) == 1


# ---- both


@pytest.mark.parametrize("format", ["cvat", "elan"])
def test_one_person_alone(store: Store, tmp_path: Path, format: str) -> None:
    if format == "cvat":
        found = [track.get("id") for track in ET.fromstring(exported(store, format, 2)).iter("track")]
        assert found == ["1"]
    else:
        assert set(read_back(store, tmp_path, 2).get_tier_names()) == {"Person 2", "Person 2: emotion"}


@pytest.mark.parametrize("format", ["cvat", "elan"])
def test_the_same_database_gives_the_same_file(store: Store, format: str) -> None:
    assert exported(store, format) == exported(store, format)


def test_a_file_holds_one_video_and_a_folder_one_for_each(own: Store, tmp_path: Path) -> None:
    own.add_video(make_result("other.mp4"))
    for format in ("cvat", "elan", "mot", "vtt", "srt"):
        with pytest.raises(FacetrackError, match=f"the format {format} holds one video, and 2 are chosen; .* folder"):
            exported(own, format)
        (folder := tmp_path / format).mkdir()
        export(own, own.videos(), folder, format=format)
        assert {path.stem for path in folder.iterdir()} == {"my clip", "other"}


@pytest.mark.parametrize("format", ["cvat", "elan"])
def test_any_path_gives_xml(tmp_path: Path, format: str) -> None:
    with Store(tmp_path / "b.db") as store:
        store.add_video(
            make_result("a\x07<b>&\udcff 'é'.mp4", [(0, 0, 1)], frames=1, content_hash="ab" * 32, is_image=True)
        )
        data = exported(store, format).encode()
    root = ET.fromstring(data)
    name = "a?<b>&? 'é'.mp4"
    if format == "cvat":
        assert root.findtext("meta/task/source") == name
    else:
        assert [media.attrib["RELATIVE_MEDIA_URL"] for media in root.iter("MEDIA_DESCRIPTOR")] == [f"./{name}"]


@pytest.mark.parametrize("format", ["cvat", "elan"])
def test_a_video_without_faces_gives_an_empty_file(tmp_path: Path, format: str) -> None:
    with Store(tmp_path / "b.db") as store:
        store.add_video(make_result("empty.mp4", []))
        root = ET.fromstring(exported(store, format))
    assert not [*root.iter("track"), *root.iter("TIER")]


def test_times_of_elan_are_whole_and_never_empty(store: Store) -> None:
    for spans in elan.tiers(store, store.videos()[0]).values():
        assert all(isinstance(span.start, int) and span.start < span.end for span in spans)
