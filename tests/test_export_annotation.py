"""Subtitles, MOT and RTTM, read back by other readers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from html import unescape
from itertools import pairwise
from pathlib import Path

import pytest
import webvtt
from fakes import make_result

from indexing.export import FORMATS, write
from indexing.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Ada (frames 0 to 99, 175 to 249) and an unnamed person (25 to 149); one unknown face (200 to 249)."""
    spans = ((0, 0, 100), (1, 25, 150), (0, 175, 250), (2, 200, 250))
    with Store(tmp_path / "a.db") as store:
        store.add_video(make_result("my clip.mp4", spans, frames=250, emotion_every=5))
        keys = [record.key for record in store.track_records()]
        store.assign([(None, [keys[0], keys[2]]), (None, [keys[1]])])
        store.rename(1, "Ada Lovelace")
        yield store


def exported(store: Store, format: str, identity_id: int | None = None) -> str:
    stream = io.StringIO()
    write(store, store.videos(), stream, format=format, identity_id=identity_id)
    return stream.getvalue()


def seconds(text: str) -> float:
    hours, minutes, rest = text.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(rest)


def test_subtitles_say_who_is_on_screen_at_any_time(store: Store) -> None:
    captions = webvtt.from_string(exported(store, "vtt"))
    names = {identity.identity_id: identity.label for identity in store.identities()}
    seen = store.appearances()
    assert len(captions) > 4
    for time in (0.5, 2.5, 4.5, 6.5, 7.5, 8.5):
        here = [a.identity_id for a in seen if a.segment.start <= time < a.segment.end]
        wanted = {"Unknown" if key is None else names[key] for key in here}
        lines = [c.text for c in captions if seconds(c.start) <= time < seconds(c.end)]
        found = {line.split(" (")[0] for text in lines for line in text.splitlines()}
        assert found == wanted


def test_subtitles_carry_emotions_and_do_not_overlap(store: Store) -> None:
    captions = list(webvtt.from_string(exported(store, "vtt")))
    assert any("Ada Lovelace (happy)" in c.text for c in captions)
    for one, other in pairwise(captions):
        assert seconds(one.end) <= seconds(other.start)
        assert (one.text, one.end) != (other.text, other.start)


def test_srt_has_the_cues_of_vtt(store: Store) -> None:
    srt = webvtt.from_buffer(io.StringIO(exported(store, "srt")), format="srt")
    vtt = webvtt.from_string(exported(store, "vtt"))
    assert [(c.start, c.end, c.text) for c in srt] == [(c.start, c.end, c.text) for c in vtt]


def test_subtitles_hold_any_name(store: Store) -> None:
    store.rename(1, "<b>Ada</b> & Co --> {x} \\N")
    lines = {unescape(line) for c in webvtt.from_string(exported(store, "vtt")) for line in c.text.splitlines()}
    assert "<b>Ada</b> & Co --> (x) /N (happy)" in lines
    assert all(line.startswith(("<b>Ada</b>", "Person 2", "Unknown")) for line in lines)
    assert "<b>Ada</b> & Co" in exported(store, "srt")


def test_one_person_alone(store: Store) -> None:
    captions = webvtt.from_string(exported(store, "vtt", identity_id=2))
    assert {c.text.split(" (")[0] for c in captions} == {"Person 2"}


def test_mot_has_each_box_once(store: Store) -> None:
    rows = list(csv.reader(io.StringIO(exported(store, "mot"))))
    assert all(len(row) == 10 for row in rows)
    found = {(int(row[0]), int(row[1])): [float(cell) for cell in row[2:6]] for row in rows}
    assert len(found) == len(rows) == sum(record.frame_count for record in store.track_records())
    for record, track in store.tracks(1):
        for frame, (x1, y1, x2, y2) in zip(track.frames.tolist(), track.boxes.tolist(), strict=True):
            wanted = [x1 + 1, y1 + 1, x2 - x1, y2 - y1]
            assert found[frame + 1, record.track_id + 1] == pytest.approx(wanted, abs=0.011)


def test_rttm_has_a_line_for_each_appearance(store: Store) -> None:
    lines = [line.split(" ") for line in exported(store, "rttm").splitlines()]
    assert all(len(fields) == 10 and fields[:3] == ["SPEAKER", "my_clip", "1"] for fields in lines)
    spans = [(fields[7], float(fields[3]), float(fields[3]) + float(fields[4])) for fields in lines]
    seen = store.appearances()
    assert len(spans) == len(seen) == 4
    assert ("Ada_Lovelace", pytest.approx(0), pytest.approx(4)) in spans
    assert {name for name, *_ in spans} == {"Ada_Lovelace", "Person_2", "Unknown"}


def test_rttm_tells_videos_of_one_name_apart(store: Store) -> None:
    store.add_video(make_result("elsewhere/my clip.mp4", [(0, 0, 20)]))
    assert {line.split(" ")[1] for line in exported(store, "rttm").splitlines()} == {"my_clip.1", "my_clip.2"}


def test_every_format_names_itself() -> None:
    assert all(format.name == name and format.about and format.suffix[0] == "." for name, format in FORMATS.items())
