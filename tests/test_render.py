"""Rendering: what is drawn where, and what of the source is kept."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

from indexing.colors import color
from indexing.render import _short, _tab, draw_box, render
from tracker.errors import FacetrackError, MediaError
from tracker.types import Image, Keyframes, Source, Track
from tracker.video import open_video, read_image

GREY = 90
BOX = (60.0, 70.0, 120.0, 140.0)


def write_clip(
    path: Path,
    *,
    pts: list[int] | None = None,
    size: tuple[int, int] = (240, 180),
    sound: str | None = None,
    rotation: float | None = None,
) -> Path:
    """Encode ten grey pictures at ``pts`` in milliseconds, with a second of a tone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1" if path.suffix == ".mkv" else "libx264", rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p" if path.suffix != ".mkv" else "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        tone = container.add_stream(sound, rate=44100, layout="mono") if sound else None
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), GREY, np.uint8), format="bgr24")
            frame.time_base, frame.pts = Fraction(1, 1000), index * 40 if pts is None else pts[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for start in range(0, 44100, 1024) if tone else ():
            samples = (np.sin(np.arange(start, start + 1024) / 20) * 9000).astype(np.int16)[None]
            heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            heard.sample_rate, heard.pts = 44100, start
            container.mux(tone.encode(heard))
        if tone:
            container.mux(tone.encode(None))
    return path


def make_track(sources: list[Source], *, box: tuple[float, ...] = BOX, first: int = 0, number: int = 0) -> Track:
    count = len(sources)
    return Track(
        track_id=number,
        shot=0,
        first_frame=first,
        boxes=np.tile(np.array(box, np.float32), (count, 1)),
        scores=np.ones(count),
        sources=np.array(sources),
        landmarks=np.full((count, 5, 2), np.nan),
        keyframes=Keyframes(np.empty(0), np.empty(0), np.empty((0, 4))),
    )


def decode(path: Path) -> tuple[list[Image], list[float], float]:
    with open_video(path) as video:
        frames = list(video)
        return [frame.image for frame in frames], [frame.timestamp for frame in frames], video.end


def tint(identity_id: int | None) -> Image:
    return np.array([round(part * 255) for part in color(identity_id)[::-1]])


def near(pixels: Image, bgr: Image, tolerance: int = 70) -> np.ndarray:
    return np.abs(pixels.astype(int) - bgr).sum(axis=-1) < tolerance


def sound_of(path: Path) -> tuple[str, list[bytes], float]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        start = float(min(packet.pts for packet in packets) * stream.time_base)
        return stream.codec_context.name, [bytes(packet) for packet in packets], start


def test_box_is_drawn_where_and_while_the_track_is(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4")
    render(source, [(make_track([Source.DETECTED] * 4, first=3), "Ada", 2)], tmp_path / "out.mp4")
    images, _, _ = decode(tmp_path / "out.mp4")
    x1, y1, x2, y2 = map(int, BOX)
    for index, image in enumerate(images):
        drawn = near(image, np.array([GREY] * 3), 40)
        assert drawn[y1 + 6 : y2 - 6, x1 + 6 : x2 - 6].all()
        assert drawn[y2 + 6 :].all()
        assert drawn.all() == (not 3 <= index < 7)
    corner = images[4][y2 - 2 : y2 + 3, x1 + 10 : x2 - 10]
    assert near(corner, tint(2), 160).any(axis=0).mean() > 0.9


def _runs(drawn: np.ndarray) -> list[int]:
    """Lengths of the strokes along a side."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], drawn.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


@pytest.mark.parametrize("thickness", [2, 3, 5])
def test_sources_differ_to_the_eye(thickness: int) -> None:
    yellow, strokes = np.array([0, 255, 255]), {}
    for source in Source:
        picture = np.full((400, 400, 3), GREY, np.uint8)
        draw_box(picture, np.array([20, 20, 380, 380], np.float32), source, (0, 255, 255), thickness=thickness)
        drawn = near(picture, yellow)
        sides = [drawn[15:25, 26:374].any(axis=0), drawn[375:385, 26:374].any(axis=0)]
        sides += [drawn[26:374, 15:25].any(axis=1), drawn[26:374, 375:385].any(axis=1)]
        strokes[source] = [length for side in sides for length in _runs(side)]
        assert all(drawn[y - 3 : y + 4, x - 3 : x + 4].any() for y in (20, 380) for x in (20, 380))
    assert strokes[Source.DETECTED] == [348] * 4
    assert len(strokes[Source.FLOW]) > 20
    assert len(strokes[Source.INTERPOLATED]) > 1.5 * len(strokes[Source.FLOW])
    assert np.median(strokes[Source.INTERPOLATED]) < 0.6 * np.median(strokes[Source.FLOW])


def test_boxes_outside_and_without_extent_do_no_harm() -> None:
    picture = np.full((40, 40, 3), GREY, np.uint8)
    for box in ([-1e6, -1e6, 1e6, 1e6], [-30, -30, -10, -10], [20, 20, 20, 20]):
        for source in Source:
            draw_box(picture, np.array(box, np.float32), source, (0, 255, 0))
    assert picture.shape == (40, 40, 3)


def test_timestamps_of_a_variable_rate_are_kept(tmp_path: Path) -> None:
    pts = [0, 40, 61, 200, 201, 377, 500, 533, 700, 1013]
    source = write_clip(tmp_path / "in.mp4", pts=pts)
    calls: list[int] = []
    render(source, [], tmp_path / "out.mp4", progress=calls.append)
    before, after = decode(source), decode(tmp_path / "out.mp4")
    assert after[1] == before[1] == pytest.approx([p / 1000 for p in pts])
    assert calls == [1] * 10


def test_pictures_that_begin_late_stay_late(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", pts=[500 + 40 * k for k in range(10)], sound="aac")
    render(source, [], tmp_path / "out.mp4")
    before, after = decode(source)[1], decode(tmp_path / "out.mp4")[1]
    assert before[0] > 0.4
    assert after == pytest.approx(before, abs=1e-4)


def test_sound_is_copied_unchanged(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", sound="aac")
    for name in ("out.mp4", "out.mkv", "out.mov"):
        render(source, [], tmp_path / name)
        before, after = sound_of(source), sound_of(tmp_path / name)
        assert after[:2] == before[:2]
        pictures = decode(source)[1], decode(tmp_path / name)[1]
        assert after[2] - pictures[1][0] == pytest.approx(before[2] - pictures[0][0], abs=0.03)


def test_sound_that_the_container_does_not_take_becomes_aac(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mkv", sound="pcm_f32le")
    render(source, [], tmp_path / "out.mp4")
    name, packets, start = sound_of(tmp_path / "out.mp4")
    assert name == "aac"
    assert start == pytest.approx(0, abs=0.03)
    with av.open(str(tmp_path / "out.mp4")) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(packets) > 40
    assert len(heard) == pytest.approx(44100, abs=3000)
    spectrum = np.abs(np.fft.rfft(heard[8192:16384]))
    assert spectrum.argmax() == pytest.approx(8192 / 20 / (2 * np.pi), abs=2)


def test_odd_sides_are_padded_and_colours_kept(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mkv", size=(97, 65))
    render(source, [], tmp_path / "out.mp4")
    images, _, _ = decode(tmp_path / "out.mp4")
    assert images[0].shape == (66, 98, 3)
    assert near(images[0], np.array([GREY] * 3), 15).all()


def test_turned_videos_come_out_upright(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", rotation=90)
    render(source, [], tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.codec_context.pix_fmt) == (180, 240, "yuv420p")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_becomes_a_picture(tmp_path: Path, suffix: str) -> None:
    PillowImage.fromarray(np.full((180, 240, 3), GREY, np.uint8)).save(tmp_path / "in.png")
    out = tmp_path / f"out{suffix}"
    render(tmp_path / "in.png", [(make_track([Source.DETECTED]), "Ada", 1)], out)
    image = read_image(out)
    assert image.shape == (180, 240, 3)
    assert near(image[138:143, 80:100], tint(1), 120).any(axis=0).all()


def test_labels_show_any_name_and_fit() -> None:
    plain, other = (_tab(name, "#1", (200, 120, 0), 20, 600) for name in ("Zoë Ångström", "Жанна д'Арк"))
    assert plain.shape[0] == other.shape[0]
    # A font without the letters would draw the same box for each of them.
    letters = [_tab(letter, "", (0, 0, 0), 20, 600) for letter in "ЖбÅω"]
    assert len({image.tobytes() for image in letters}) == 4
    assert _tab("A very long name indeed", "#12", (0, 0, 0), 20, 120).shape[1] <= 120
    assert _tab("Ada", "#1", (255, 255, 255), 20, 600).min() < 60
    assert _tab("Ada", "#1", (60, 0, 0), 20, 600).max() > 200
    assert _short("a\n\x1b[31mb") == "a [31mb"
    assert len(_short("x" * 99)) <= 28


@pytest.mark.parametrize("box", [(0, 0, 30, 30), (210, 150, 240, 180), (-20, -20, 300, 300), (100, 1, 140, 40)])
def test_labels_stay_in_the_picture_and_apart(tmp_path: Path, box: tuple[float, ...]) -> None:
    PillowImage.fromarray(np.full((180, 240, 3), GREY, np.uint8)).save(tmp_path / "in.png")
    tracks = [make_track([Source.DETECTED], box=box, number=k) for k in range(2)]
    render(tmp_path / "in.png", [(tracks[0], "Ada", 1), (tracks[1], "Bob", 6)], tmp_path / "out.png")
    image = read_image(tmp_path / "out.png")
    for identity_id in (1, 6):
        assert near(image, tint(identity_id), 10).sum() > 100


def test_tiny_pictures_take_labels_too(tmp_path: Path) -> None:
    PillowImage.fromarray(np.full((7, 5, 3), GREY, np.uint8)).save(tmp_path / "in.png")
    render(tmp_path / "in.png", [(make_track([Source.FLOW], box=(0, 0, 4, 4)), "Ada", 1)], tmp_path / "out.png")
    assert read_image(tmp_path / "out.png").shape == (7, 5, 3)


def test_bad_targets_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4")
    for out, message in (
        (tmp_path / "out.png", "is a video"),
        (tmp_path / "out.gif", "is a video"),
        (source, "the source itself"),
        (tmp_path / "none" / "out.mp4", "does not exist"),
    ):
        with pytest.raises(FacetrackError, match=message):
            render(source, [], out)
    with pytest.raises(MediaError, match="no such file"):
        render(tmp_path / "none.mp4", [], tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == [source]


def test_nothing_is_left_when_it_fails_midway(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", sound="aac")
    (tmp_path / "out.mp4").write_bytes(b"what was there before")

    calls: list[int] = []

    def stop(frames: int) -> None:
        calls.append(frames)
        if len(calls) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(source, [], tmp_path / "out.mp4", progress=stop)
    assert (tmp_path / "out.mp4").read_bytes() == b"what was there before"
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", "out.mp4"}
