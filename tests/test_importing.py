"""Names corrected in exports to CVAT and ELAN come back, and nothing else does."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from fakes import make_result
from pympi.Elan import Eaf, to_string
from sqlalchemy import event

from indexing import gallery, readback
from indexing.export import cvat, elan, write
from indexing.importing import Imported, import_names
from indexing.store import Store
from tracker.errors import FacetrackError

ADA, SECOND = 1, 2
SPANS = ((0, 0, 100), (1, 25, 150), (0, 175, 250), (2, 200, 250), (3, 210, 250))
"""Tracks 0 and 2 are Ada's, 1 is Person 2's, 3 and 4 are unknown."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Ada (two tracks), Person 2, two unknown faces; Bob and Person 4 in another video, where Ada is seen too."""
    with Store(tmp_path / "a.db") as store:
        store.add_video(make_result("my clip.mp4", SPANS, frames=250, emotion_every=5))
        store.add_video(make_result("other.mp4", ((0, 0, 20), (5, 30, 50), (6, 30, 50)), emotion_every=5))
        keys = [record.key for record in store.track_records()]
        groups = [(None, [keys[0], keys[2], keys[5]]), (None, [keys[1]]), (None, [keys[6]]), (None, [keys[7]])]
        store.assign(groups, confidences=dict.fromkeys(keys[:3], 0.8))
        store.rename(ADA, "Ada Lovelace")
        store.rename(3, "Bob")
        yield store


def people(store: Store, video_id: int = 1) -> list[str]:
    """Return the label of each track of a video, by number."""
    labels = {identity.identity_id: identity.label for identity in store.identities()}
    return [labels.get(record.identity_id or 0, "-") for record in store.track_records(video_id)]


def state(store: Store) -> object:
    return store.track_records(), store.identities(include_empty=True)


def exported(store: Store, path: Path, identity_id: int | None = None) -> Path:
    with path.open("w", encoding="utf-8") as stream:
        format = "elan" if path.suffix == ".eaf" else "cvat"
        write(store, [store.video(1)], stream, format=format, identity_id=identity_id)
    return path


# ---- both


@pytest.mark.parametrize("name", ["a.eaf", "a.xml"])
@pytest.mark.parametrize("identity_id", [None, ADA])
def test_what_is_not_changed_changes_nothing(store: Store, tmp_path: Path, name: str, identity_id: int | None) -> None:
    before = state(store)
    done = import_names(store, exported(store, tmp_path / name, identity_id))
    assert done == Imported(store.video(1), (), (), (), ())
    assert not done.changed
    assert state(store) == before


@pytest.mark.parametrize("name", ["a.eaf", "a.xml"])
def test_who_is_ignored_and_in_no_export_stays_who_they_are(store: Store, tmp_path: Path, name: str) -> None:
    gallery.ignore(store, SECOND)
    before = state(store)
    path = exported(store, tmp_path / name)
    assert "Person 2" not in path.read_text(encoding="utf-8")
    assert import_names(store, path) == Imported(store.video(1), (), (), (), ())
    assert state(store) == before


def test_an_import_that_breaks_off_has_changed_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    move(file, 0, "Ada Lovelace", "Unknown")
    move(file, 8400, "Unknown 2", "Person 2")
    saved(file, path)
    before, log, entries = state(store), store.log(), 0

    def fail(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        nonlocal entries
        entries += statement.startswith("INSERT INTO corrections ")
        if entries == 2:
            raise RuntimeError("in the middle")

    event.listen(store._engine, "after_cursor_execute", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        import_names(store, path)
    event.remove(store._engine, "after_cursor_execute", fail)
    assert (state(store), store.log()) == (before, log)


@pytest.mark.parametrize("name", ["a.eaf", "a.xml"])
def test_a_name_given_since_the_export_stays(store: Store, tmp_path: Path, name: str) -> None:
    path = exported(store, tmp_path / name)
    store.rename(SECOND, "Carol")
    assert not import_names(store, path).changed
    assert people(store) == ["Ada Lovelace", "Carol", "Ada Lovelace", "-", "-"]


def test_the_words_of_the_files_are_those_of_the_exports() -> None:
    assert (readback.APPEARANCE_TYPE, readback.EMOTION_TYPE) == (elan.APPEARANCE, elan.EMOTION)
    assert (readback.HASH_PROPERTY, readback.TIERS_PROPERTY) == (elan.VIDEO_PROPERTY, elan.TIERS_PROPERTY)
    assert (readback.NAME, readback.TRACK, readback.VIDEO) == (cvat.NAME, cvat.TRACK, cvat.VIDEO)
    assert readback.HASH_DIGITS <= cvat.HASH_DIGITS


@pytest.mark.parametrize("name", ["a.eaf", "a.xml"])
def test_files_of_another_video_are_refused(store: Store, tmp_path: Path, name: str) -> None:
    path = exported(store, tmp_path / name)
    with Store(tmp_path / "b.db") as other:
        other.add_video(make_result("other.mp4", SPANS, frames=250))
        with pytest.raises(FacetrackError, match="is of another video, with content hash"):
            import_names(other, path)


BOMB = '<!DOCTYPE annotations [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><annotations>&b;</annotations>'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no whole XML"),
        (b"<annotations><track></annotations>", "no whole XML"),
        (b"\xff\xfe\x00", "no whole XML"),
        (b'<?xml version="1.0" encoding="none"?><annotations/>', "no whole XML"),
        (BOMB.encode(), "document type"),
        (BOMB.encode("utf-16"), "document type"),
        (b"<html/>", "neither of ELAN"),
        (b"<annotations><version>1.1</version></annotations>", "no tracks"),
        (b'<annotations><image id="0"/></annotations>', "CVAT for video 1.1"),
        (b'<annotations><track><box frame="0"/></track></annotations>', "does not say of which video"),
        (b"<ANNOTATION_DOCUMENT/>", "does not say of which video"),
        (b"PK\x05\x06" + bytes(18), "without an annotations.xml"),
    ],
)
def test_other_files_are_refused_in_one_line(store: Store, tmp_path: Path, data: bytes, message: str) -> None:
    path, before = tmp_path / "a.xml", state(store)
    path.write_bytes(data)
    with pytest.raises(FacetrackError, match=message) as caught:
        import_names(store, path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert state(store) == before


def test_no_file_and_a_folder_are_refused(store: Store, tmp_path: Path) -> None:
    for path in (tmp_path / "none.eaf", tmp_path):
        with pytest.raises(FacetrackError, match="cannot be read"):
            import_names(store, path)


# ---- CVAT


def called(path: Path, names: dict[int, str], **others: str) -> Path:
    """Give tracks of a file of CVAT other names, as its editor does: in every box."""
    tree = ElementTree.parse(path)
    for track in tree.iter("track"):
        for attribute in track.iter("attribute"):
            if attribute.get("name") == "name" and int(track.get("id", "")) in names:
                attribute.text = names[int(track.get("id", ""))]
            if attribute.get("name") in others:
                attribute.text = others[attribute.get("name", "")]
    tree.write(path, encoding="utf-8")
    return path


def renumbered(path: Path) -> Path:
    """Number the tracks of a file anew, as CVAT does."""
    tree = ElementTree.parse(path)
    for number, track in enumerate(tree.iter("track"), 70):
        track.set("id", str(number))
    tree.write(path, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ({2: "Bob"}, ["Ada Lovelace", "Person 2", "Bob", "-", "-"]),
        ({2: "bob"}, ["Ada Lovelace", "Person 2", "Bob", "-", "-"]),
        ({2: "Person 2"}, ["Ada Lovelace", "Person 2", "Person 2", "-", "-"]),
        ({2: "Carol"}, ["Ada Lovelace", "Person 2", "Carol", "-", "-"]),
        ({3: "Carol", 2: "Person 4"}, ["Ada Lovelace", "Person 2", "Person 4", "Carol", "-"]),
        ({0: "Unknown", 4: "Person 2"}, ["-", "Person 2", "Ada Lovelace", "-", "Person 2"]),
        ({2: "Zoë O'Neil & <Söhne>"}, ["Ada Lovelace", "Person 2", "Zoë O'Neil & <Söhne>", "-", "-"]),
    ],
)
def test_names_of_cvat_arrive(store: Store, tmp_path: Path, names: dict[int, str], wanted: list[str]) -> None:
    elsewhere = people(store, 2)
    done = import_names(store, renumbered(called(exported(store, tmp_path / "a.xml"), names)))
    assert people(store) == wanted
    assert people(store, 2) == elsewhere
    assert [moved.record.track_id for moved in done.moved] == sorted(names)
    assert done.new_people == tuple(name for name in names.values() if name.startswith(("Carol", "Zo")))
    assert not done.unmatched


def test_all_other_assignments_keep_their_confidence(store: Store, tmp_path: Path) -> None:
    import_names(store, called(exported(store, tmp_path / "a.xml"), {2: "Bob"}))
    pinned = store.verdicts().pins
    kept = [record.confidence for record in store.track_records() if record.key not in pinned]
    assert kept == [0.8, 0.8, *[None] * (len(kept) - 2)]
    assert all(record.confidence == 1.0 for record in store.track_records() if record.key in pinned)


def test_a_new_name_for_all_tracks_of_an_unnamed_person_is_theirs(store: Store, tmp_path: Path) -> None:
    done = import_names(store, called(exported(store, tmp_path / "a.xml"), {1: "Carol", 3: "Carol"}))
    assert done.renamed == (("Person 2", "Carol"),)
    assert store.resolve_person("Carol").identity_id == SECOND
    assert [(moved.before, moved.after) for moved in done.moved] == [("Unknown", "Carol")]
    assert not done.new_people


def test_a_named_person_who_is_seen_elsewhere_keeps_the_name(store: Store, tmp_path: Path) -> None:
    done = import_names(store, called(exported(store, tmp_path / "a.xml"), {0: "Carol", 2: "Carol"}))
    assert (done.renamed, done.new_people) == ((), ("Carol",))
    assert people(store) == ["Carol", "Person 2", "Carol", "-", "-"]
    assert "Ada Lovelace" in people(store, 2)


def test_names_passed_on_from_one_to_the_next(store: Store, tmp_path: Path) -> None:
    store.rename(SECOND, "Bea")
    path = called(exported(store, tmp_path / "a.xml"), {0: "Bea", 1: "Carol"})
    assert import_names(store, path).new_people == ("Carol",)
    assert people(store) == ["Bea", "Carol", "Ada Lovelace", "-", "-"]


def test_two_faces_of_a_frame_are_not_one_person(store: Store, tmp_path: Path) -> None:
    before, path = state(store), called(exported(store, tmp_path / "a.xml"), {1: "ada lovelace"})
    with pytest.raises(FacetrackError, match=r"frame 25 of video 1 would show 'Ada Lovelace' twice \(tracks 0 and 1\)"):
        import_names(store, path)
    with pytest.raises(FacetrackError, match=r"frame 210 .* 'Carol' twice"):
        import_names(store, called(exported(store, path), {3: "Carol", 4: "Carol"}))
    assert state(store) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Person 99", "no person 99"),
        ("7", "no person 7"),
        ("٩", "no person 9"),
        ("8" * 5000, "no person 8"),
        ("a\u200bb", "cannot"),
    ],
)
def test_what_names_nobody_is_refused(store: Store, tmp_path: Path, name: str, message: str) -> None:
    before, path = state(store), called(exported(store, tmp_path / "a.xml"), {2: name, 3: "Carol"})
    with pytest.raises(FacetrackError, match=message):
        import_names(store, path)
    assert state(store) == before


def test_a_track_with_two_names_is_refused(store: Store, tmp_path: Path) -> None:
    path = exported(store, tmp_path / "a.xml")
    text = path.read_text("utf-8")
    path.write_text(text.replace(">Person 2<", ">Bob<", 1), "utf-8")
    with pytest.raises(FacetrackError, match="called 'Bob' in frame 25 and 'Person 2' in frame 26"):
        import_names(store, path)


def test_boxes_tell_a_track_without_its_number(store: Store, tmp_path: Path) -> None:
    path = called(exported(store, tmp_path / "a.xml"), {2: "Bob"}, track="", identity="")
    import_names(store, path)
    assert people(store) == ["Ada Lovelace", "Person 2", "Bob", "-", "-"]


def test_boxes_outweigh_a_number_that_is_another_tracks(store: Store, tmp_path: Path) -> None:
    path = called(exported(store, tmp_path / "a.xml"), {2: "Bob"}, track="1")
    import_names(store, path)
    assert people(store) == ["Ada Lovelace", "Person 2", "Bob", "-", "-"]


def test_boxes_between_keyframes_are_interpolated(store: Store, tmp_path: Path) -> None:
    path = called(exported(store, tmp_path / "a.xml"), {2: "Bob"}, track="", identity="")
    tree = ElementTree.parse(path)
    for track in tree.iter("track"):
        boxes = track.findall("box")
        for box in [box for number, box in enumerate(boxes[:-2]) if number % 5]:
            track.remove(box)
    tree.write(path)
    assert not import_names(store, path).unmatched
    assert people(store) == ["Ada Lovelace", "Person 2", "Bob", "-", "-"]


def test_boxes_of_no_face_and_without_a_name_are_told(store: Store, tmp_path: Path) -> None:
    path = called(exported(store, tmp_path / "a.xml"), {0: "", 3: "Carol"})
    tree = ElementTree.parse(path)
    for box in tree.findall(".//track[@id='3']/box"):
        box.attrib.update(xtl="600", ytl="300", xbr="640", ybr="360")
    tree.write(path)
    done = import_names(store, path)
    assert not done.changed
    assert [line.split(";")[0] for line in done.unmatched] == [
        "track '0' of CVAT, '', frames 0 to 99: it has no name",
        "track '3' of CVAT, 'Carol', frames 200 to 249: no face is seen there",
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [('frame="30"', 'frame="x"'), ('frame="30"', 'frame="-1"'), ("xtl=", "left="), ('xtl="', 'xtl="nan" x="')],
)
def test_damaged_boxes_are_refused(store: Store, tmp_path: Path, old: str, new: str) -> None:
    path = exported(store, tmp_path / "a.xml")
    path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
    with pytest.raises(FacetrackError, match="is damaged"):
        import_names(store, path)


def test_boxes_after_the_end_are_left_out(store: Store, tmp_path: Path) -> None:
    path = called(exported(store, tmp_path / "a.xml"), {2: "Bob"})
    path.write_text(path.read_text("utf-8").replace('frame="249"', f'frame="{10**30}"'), "utf-8")
    import_names(store, path)
    assert people(store) == ["Ada Lovelace", "Person 2", "Bob", "-", "-"]


def test_an_archive_of_cvat_is_read(store: Store, tmp_path: Path) -> None:
    path = called(exported(store, tmp_path / "a.xml"), {2: "Bob"})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "annotations.xml")
    import_names(store, tmp_path / "a.zip")
    assert people(store)[2] == "Bob"


# ---- ELAN


def document(store: Store, path: Path) -> Eaf:
    return Eaf(str(exported(store, path)))


def saved(document: Eaf, path: Path) -> Path:
    path.write_text(to_string(document), "utf-8")
    return path


def move(document: Eaf, start: int, source: str, target: str) -> None:
    """Move the annotation that begins in a millisecond, with its text, as ELAN does."""
    for first, last, text in document.get_annotation_data_for_tier(source):
        if first == start:
            document.remove_annotation(source, start)
            document.add_annotation(target, first, last, text)


def test_a_moved_annotation_is_of_the_person_of_its_new_tier(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    move(file, 7000, "Ada Lovelace", "Person 2")
    done = import_names(store, saved(file, path))
    assert people(store) == ["Ada Lovelace", "Person 2", "Person 2", "-", "-"]
    assert [(m.record.track_id, m.before, m.after) for m in done.moved] == [(2, "Ada Lovelace", "Person 2")]
    assert not done.unmatched


def test_a_new_tier_is_a_new_person(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    file.add_tier("Carol", ling="appearance")
    move(file, 7000, "Ada Lovelace", "Carol")
    assert import_names(store, saved(file, path)).new_people == ("Carol",)
    assert people(store) == ["Ada Lovelace", "Person 2", "Carol", "-", "-"]


def test_annotations_drawn_anew_take_what_is_in_no_tier(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    file.remove_annotation("Ada Lovelace", 7000)
    file.add_annotation("Person 2", 7300, 9700, "")
    import_names(store, saved(file, path))
    assert people(store) == ["Ada Lovelace", "Person 2", "Person 2", "-", "-"]


def test_exchanged_annotations(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    move(file, 1000, "Person 2", "Ada Lovelace")
    file.remove_annotation("Ada Lovelace", 0)
    file.add_annotation("Person 2", 0, 4000, "Ada Lovelace")
    import_names(store, saved(file, path))
    assert people(store) == ["Person 2", "Ada Lovelace", "Ada Lovelace", "-", "-"]


def test_moved_to_unknown_and_out_of_it(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    move(file, 0, "Ada Lovelace", "Unknown")
    move(file, 8400, "Unknown 2", "Person 2")
    import_names(store, saved(file, path))
    assert people(store) == ["-", "Person 2", "Ada Lovelace", "-", "Person 2"]


def test_a_renamed_tier_renames_its_person_everywhere(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    file.rename_tier("Ada Lovelace", "Augusta King")
    done = import_names(store, saved(file, path))
    assert (done.renamed, done.moved, done.new_people) == ((("Ada Lovelace", "Augusta King"),), (), ())
    assert people(store) == ["Augusta King", "Person 2", "Augusta King", "-", "-"]
    assert people(store, 2)[0] == "Augusta King"


def test_a_tier_renamed_to_another_person_makes_both_one(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    file.rename_tier("Person 2", "Bob")
    done = import_names(store, saved(file, path))
    assert people(store) == ["Ada Lovelace", "Bob", "Ada Lovelace", "-", "-"]
    assert [(m.before, m.after) for m in done.moved] == [("Person 2", "Bob")]


def test_a_merge_that_shows_somebody_twice_elsewhere_is_refused(store: Store, tmp_path: Path) -> None:
    records = store.track_records()
    keys = [record.key for record in records]
    # Person 4 takes the place of Person 2 here, and shares a frame with Bob there.
    store.assign([(ADA, [keys[0], keys[2], keys[5]]), (3, [keys[6]]), (4, [keys[1], keys[7]])])
    path, before = tmp_path / "a.eaf", state(store)
    file = document(store, path)
    file.rename_tier("Person 4", "Bob")
    with pytest.raises(FacetrackError, match="frame 30 of video 2 would show 'Bob' twice"):
        import_names(store, saved(file, path))
    assert state(store) == before


def test_two_tracks_that_were_one_person_in_a_frame_may_stay_so(store: Store, tmp_path: Path) -> None:
    keys = [record.key for record in store.track_records()]
    store.assign([(ADA, [keys[0], keys[2], keys[5]]), (3, [keys[6]]), (SECOND, [keys[3], keys[4]])])
    path = tmp_path / "a.eaf"
    file = document(store, path)
    file.rename_tier("Person 2", "Bob")
    import_names(store, saved(file, path))
    assert people(store) == ["Ada Lovelace", "-", "Ada Lovelace", "Bob", "Bob"]


def test_a_renamed_tier_of_unknown_faces_names_them(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    file.rename_tier("Unknown 2", "Carol")
    assert import_names(store, saved(file, path)).new_people == ("Carol",)
    assert people(store) == ["Ada Lovelace", "Person 2", "Ada Lovelace", "-", "Carol"]


def test_a_tier_renamed_to_unknown_takes_the_name_away_here(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    file.rename_tier("Ada Lovelace", "Unknown 7")
    import_names(store, saved(file, path))
    assert people(store) == ["-", "Person 2", "-", "-", "-"]
    assert people(store, 2)[0] == "Ada Lovelace"


def test_the_spelling_of_a_name_can_be_changed(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    file.rename_tier("Ada Lovelace", "ADA LOVELACE")
    assert import_names(store, saved(file, path)).renamed == (("Ada Lovelace", "ADA LOVELACE"),)


def test_what_is_left_over_is_told_and_stays(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file, before = document(store, path), state(store)
    file.remove_annotation("Ada Lovelace", 0)
    file.add_annotation("Ada Lovelace", 4000, 6900, "")
    file.remove_annotation("Person 2", 1000)
    file.add_annotation("Person 2", 1000, 6000, "Carol")
    done = import_names(store, saved(file, path))
    assert state(store) == before
    assert [line[:40] for line in done.unmatched] == [
        "'Person 2', 1.000 s to 6.000 s: its text",
        "'Ada Lovelace', 4.000 s to 6.900 s: no f",
        "track 0 is in no tier any more and stays",
    ]


def test_tiers_of_other_kinds_are_not_people(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    file.add_linguistic_type("speech")
    file.add_tier("Words", ling="speech")
    file.add_annotation("Words", 0, 4000, "It weaves algebraical patterns.")
    file.remove_annotation("Ada Lovelace", 0)
    done = import_names(store, saved(file, path))
    assert not done.changed
    assert len(done.unmatched) == 1


def test_a_copied_annotation_is_refused(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    file.add_tier("Carol", ling="appearance")
    file.add_annotation("Carol", 7000, 10000, "Ada Lovelace")
    with pytest.raises(FacetrackError, match="track 2 is in two tiers"):
        import_names(store, saved(file, path))


def test_a_video_that_was_tracked_anew_wants_a_new_export(store: Store, tmp_path: Path) -> None:
    path = exported(store, tmp_path / "a.eaf")
    store.add_video(make_result("my clip.mp4", SPANS[1:], frames=250), replace=True)
    with pytest.raises(FacetrackError, match="tracked anew"):
        import_names(store, path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('{"Ada', '{"Ada":'),
        ('"tracks"', '"paths"'),
        ('"identity": 1', '"identity": "x"'),
        ("facetrack-tiers", "tiers"),
        ("TIME_VALUE", "TIME"),
    ],
)
def test_damaged_documents_are_refused(store: Store, tmp_path: Path, old: str, new: str) -> None:
    path, before = exported(store, tmp_path / "a.eaf"), state(store)
    text = path.read_text("utf-8")
    assert old in text.replace("&quot;", '"')
    path.write_text(text.replace(old, new).replace(old.replace('"', "&quot;"), new), "utf-8")
    with pytest.raises(FacetrackError):
        import_names(store, path)
    assert state(store) == before


def test_a_person_who_is_gone_takes_no_tracks(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "a.eaf"
    file = document(store, path)
    move(file, 7000, "Ada Lovelace", "Person 2")
    saved(file, path)
    path.write_text(path.read_text("utf-8").replace('"identity": 2', '"identity": 77'), "utf-8")
    with pytest.raises(FacetrackError, match="no person 77"):
        import_names(store, path)


def test_short_tracks_with_gaps_stay_where_they_are(tmp_path: Path) -> None:
    with Store(tmp_path / "a.db") as store:
        store.add_video(make_result("a.mp4", [(0, start, start + 1) for start in range(0, 50, 12)]))
        store.assign([(None, [record.key for record in store.track_records()])])
        stream = io.StringIO()
        assert write(store, store.videos(), stream, format="elan") == 1
        path = tmp_path / "a.eaf"
        path.write_text(stream.getvalue(), "utf-8")
        assert import_names(store, path) == Imported(store.video(1), (), (), (), ())
