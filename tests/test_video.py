"""Decoding: every kind of file that a camera, a phone or a damaged disk hands over."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from tracker.errors import MediaError
from tracker.types import Image
from tracker.video import _Clock, declared_size, find_media, open_video, read_frame, read_image

CLIPS = Path(__file__).parents[2] / "shared" / "data" / "clips"


def picture(index: int, width: int = 96, height: int = 64) -> Image:
    """A picture whose grey level tells its index, with a red top left and a green top right quarter."""
    image = np.full((height, width, 3), 20 + index * 5 % 200, np.uint8)
    image[: height // 4, : width // 4] = (0, 0, 255)
    image[: height // 4, -(width // 4) :] = (0, 255, 0)
    return image


def write_clip(
    path: Path,
    images: list[Image],
    pts: list[int] | None = None,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int = 25,
    options: dict[str, str] | None = None,
    rotation: tuple[float, bool, bool] | None = None,
) -> Path:
    """Encode ``images`` at ``pts`` in milliseconds (default: at the rate)."""
    height, width = images[0].shape[:2]
    tick = Fraction(1, rate if pts is None else 1000)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = tick
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1], vflip=rotation[2])
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.time_base = tick
            frame.pts = index if pts is None else pts[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_tone(path: Path) -> Path:
    """Encode a second of sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for start in range(0, 44100, 1024):
            samples = np.sin(np.arange(start, start + 1024) / 20, dtype=np.float32)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def levels(path: Path) -> list[int]:
    """Return the grey level in the middle of each decoded frame."""
    with open_video(path) as video:
        return [int(f.image[f.image.shape[0] // 2, f.image.shape[1] // 2, 1]) for f in video]


def test_constant_rate(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [picture(i) for i in range(30)])
    with open_video(path) as video:
        frames = list(video)
    assert [f.index for f in frames] == list(range(30))
    assert np.allclose([f.timestamp for f in frames], np.arange(30) / 25)
    assert video.end == pytest.approx(30 / 25)
    assert (video.info.width, video.info.height, video.info.is_image) == (96, 64, False)
    assert video.info.fps == pytest.approx(25)
    assert video.info.duration == pytest.approx(1.2, abs=0.05)
    assert video.info.content_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    assert frames[0].image.dtype == np.uint8
    assert frames[0].image.flags.c_contiguous


def test_second_pass_is_the_same(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [picture(i) for i in range(12)])
    with open_video(path) as video:
        next(iter(video))
        first, second = list(video), list(video)
    assert [f.timestamp for f in first] == [f.timestamp for f in second]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_rate(tmp_path: Path, suffix: str) -> None:
    pts = [0, 40, 80, 400, 410, 1000, 1033, 2500]
    path = write_clip(tmp_path / f"a.{suffix}", [picture(i) for i in range(8)], pts)
    with open_video(path) as video:
        times = [f.timestamp for f in video]
    assert np.allclose(times, np.array(pts) / 1000, atol=1e-3)
    assert times[-1] < video.end < times[-1] + 1.5


def test_frames_with_b_frames_come_in_order_of_presentation(tmp_path: Path) -> None:
    images = [picture(i) for i in range(30)]
    path = write_clip(tmp_path / "a.mp4", images, options={"bf": "3", "b_strategy": "0", "preset": "medium"})
    with av.open(str(path)) as container:
        pts = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert pts != sorted(pts)
    assert np.allclose(levels(path), [image[32, 48, 1] for image in images], atol=3)


def test_late_start_counts_from_the_first_stream(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", [picture(i) for i in range(5)], [5000 + 40 * i for i in range(5)])
    with open_video(path) as video:
        assert np.allclose([f.timestamp for f in video], np.arange(5) / 25, atol=2e-3)


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("mp4", {"codec": "libx264", "options": {"g": "8", "bf": "3", "b_strategy": "0", "preset": "medium"}}),
        ("mkv", {"pts": [5000 + 33 * i + i % 3 for i in range(40)], "options": {"g": "8"}}),
        ("mp4", {"rotation": (90.0, False, False), "options": {"g": "8"}}),
        ("avi", {"codec": "mpeg4"}),
        ("mpg", {"codec": "mpeg2video"}),
    ],
)
def test_one_frame_is_that_of_a_whole_pass(tmp_path: Path, suffix: str, options: dict[str, Any]) -> None:
    path = write_clip(tmp_path / f"a.{suffix}", [picture(i) for i in range(40)], **options)
    with open_video(path) as video:
        frames = list(video)
    assert len(frames) == 40
    for index in (0, 1, 7, 8, 9, 23, 39):
        assert np.array_equal(read_frame(path, index, frames[index].timestamp), frames[index].image), index


def test_a_frame_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [picture(i) for i in range(5)])
    with pytest.raises(MediaError, match="frame 9"):
        read_frame(path, 9, 0.36)


def corners(image: Image) -> dict[str, str]:
    """Name the corner in which each marker lies."""
    names = {"top left": (3, 3), "top right": (3, -4), "bottom left": (-4, 3), "bottom right": (-4, -4)}
    found = {}
    for name, (y, x) in names.items():
        blue, green, red = image[y, x].astype(int)
        if red > green + 80:
            found["red"] = name
        elif green > red + 80 and green > blue + 80:
            found["green"] = name
    return found


@pytest.mark.parametrize(
    ("rotation", "red", "green"),
    [
        ((0, False, False), "top left", "top right"),
        ((90, False, False), "bottom left", "top left"),
        ((180, False, False), "bottom right", "bottom left"),
        ((270, False, False), "top right", "bottom right"),
        ((0, True, False), "top right", "top left"),
        ((0, False, True), "bottom left", "bottom right"),
    ],
)
def test_rotation(tmp_path: Path, rotation: tuple[float, bool, bool], red: str, green: str) -> None:
    path = write_clip(tmp_path / "a.mp4", [picture(0)] * 3, rotation=rotation)
    with open_video(path) as video:
        image = list(video)[-1].image
    assert corners(image) == {"red": red, "green": green}
    assert image.shape[:2] == (video.info.height, video.info.width)
    assert image.flags.c_contiguous
    assert (video.info.width > video.info.height) == (rotation[0] in (0, 180))


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix", "size"),
    [
        ("ffv1", "yuv420p10le", "mkv", (96, 64)),
        ("ffv1", "yuva420p", "mkv", (96, 64)),
        ("ffv1", "gray", "mkv", (95, 63)),
        ("ffv1", "yuv420p", "mkv", (97, 33)),
        ("png", "rgb48be", "mov", (51, 33)),
        ("png", "rgba", "mov", (1, 1)),
        ("mjpeg", "yuvj422p", "avi", (96, 64)),
        ("mpeg2video", "yuv420p", "mpg", (96, 64)),
        ("mpeg2video", "yuv420p", "ts", (96, 64)),
    ],
)
def test_pixel_formats_and_sizes(tmp_path: Path, codec: str, pix_fmt: str, suffix: str, size: tuple[int, int]) -> None:
    images = [np.full((size[1], size[0], 3), 60 + 20 * i, np.uint8) for i in range(5)]
    path = write_clip(tmp_path / f"a.{suffix}", images, codec=codec, pix_fmt=pix_fmt)
    with open_video(path) as video:
        frames = list(video)
    assert [f.image.shape for f in frames] == [(size[1], size[0], 3)] * 5
    assert np.allclose([f.image.mean() for f in frames], [60, 80, 100, 120, 140], atol=6)
    assert np.allclose(np.diff([f.timestamp for f in frames]), 0.04, atol=2e-3)


def test_interlaced(tmp_path: Path) -> None:
    options = {"flags": "+ilme+ildct", "x264-params": "tff=1"}
    path = write_clip(tmp_path / "a.mkv", [picture(i) for i in range(6)], options=options)
    assert np.allclose(levels(path), [20 + 5 * i for i in range(6)], atol=3)


def noise(count: int) -> list[Image]:
    """Pictures that compress badly, so that every packet carries weight."""
    random = np.random.default_rng(3)
    return [random.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(count)]


def test_truncated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write_clip(tmp_path / "a.mkv", noise(40), options={"g": "5"})
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert 10 <= len(levels(cut)) < 40


def test_truncated_before_its_index_is_one_clear_line(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "a.mp4", noise(20))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"cut\.mp4: .*damaged") as caught:
        open_video(cut)
    assert "\n" not in str(caught.value)


def test_damaged_in_the_middle_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_clip(tmp_path / "a.mp4", noise(40), options={"g": "5", "bf": "0"})
    with av.open(str(path)) as container:
        packets = [(p.pos or 0, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for position, size in packets[18:21]:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    with open_video(path) as video:
        frames = list(video)
    assert len(frames) >= 36
    assert frames[-1].timestamp == pytest.approx(39 / 25)
    assert video.damaged >= 3
    assert "going on" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "empty"),
        ("text.mp4", b"this is no video\n" * 100, "not a video or picture"),
        ("text.txt", b"this is no video\n" * 100, "not a video or picture"),
        (
            "list.m3u8",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
            "not",
        ),
        ("bytes", bytes(range(256)) * 40, "not a video or picture"),
        ("cut.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF", "not|damaged"),
    ],
)
def test_no_media(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=message) as caught:
        open_video(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_missing_folder_and_sound_only(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        open_video(tmp_path / "none.mp4")
    with pytest.raises(MediaError, match="is a folder"):
        open_video(tmp_path)
    with pytest.raises(MediaError, match="sound only"):
        open_video(write_tone(tmp_path / "tone.m4a"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [picture(0)])
    path.chmod(0)
    with pytest.raises(MediaError, match="cannot be read"):
        open_video(path)


def test_no_frames(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mkv", noise(3), codec="ffv1", pix_fmt="yuv420p")
    with av.open(str(path)) as container:
        first = min(p.pos or 0 for p in container.demux(video=0) if p.size)
    path.write_bytes(path.read_bytes()[: first + 4])
    with pytest.raises(MediaError, match="no frame"):
        open_video(path)


def test_a_colon_in_the_name(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [picture(0)] * 2).rename(tmp_path / "http:12.mp4")
    assert len(levels(path)) == 2


@given(
    st.lists(st.one_of(st.none(), st.integers(-5000, 500_000)), min_size=1, max_size=40),
    st.floats(-3, 3),
    st.integers(0, 90),
)
@settings(max_examples=60)
def test_times_never_decrease(pts: list[int | None], origin: float, duration: int) -> None:
    clock = _Clock(origin, 0.04)
    for stamp in pts:
        frame = av.VideoFrame(2, 2, "gray")
        frame.time_base, frame.pts, frame.duration = Fraction(1, 1000), stamp, duration
        clock.stamp(frame)
    assert all(a <= b for a, b in zip(clock.times, clock.times[1:], strict=False))
    assert clock.end > clock.times[-1]


def test_missing_timestamps_are_filled() -> None:
    clock = _Clock(1.0, 0.04)
    for pts in (1000, None, None, 1200, 1190):
        frame = av.VideoFrame(2, 2, "gray")
        frame.time_base, frame.pts = Fraction(1, 1000), pts
        clock.stamp(frame)
    assert np.allclose(clock.times, [0, 0.04, 0.08, 0.2, 0.2])


def save(path: Path, image: PillowImage.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_still_pictures(tmp_path: Path) -> None:
    rgb = PillowImage.new("RGB", (40, 30), (200, 100, 50))
    cases = {
        "rgb.png": (rgb, (50, 100, 200)),
        "rgb.webp": (rgb, (50, 100, 200)),
        "cmyk.jpg": (rgb.convert("CMYK"), (50, 100, 200)),
        "cmyk.tif": (rgb.convert("CMYK"), (50, 100, 200)),
        "palette.gif": (rgb.convert("P", palette=PillowImage.Palette.ADAPTIVE), (50, 100, 200)),
        "grey.png": (PillowImage.new("L", (40, 30), 77), (77, 77, 77)),
        "bits.png": (PillowImage.new("1", (40, 30), 1), (255, 255, 255)),
        "deep.png": (PillowImage.fromarray(np.full((30, 40), 77 * 257, np.uint16)), (77, 77, 77)),
        "dark_deep.png": (PillowImage.fromarray(np.full((30, 40), 200, np.uint16)), (1, 1, 1)),
        "float.tif": (PillowImage.fromarray(np.full((30, 40), 0.5, np.float32)), (128, 128, 128)),
        "clear.png": (PillowImage.new("RGBA", (40, 30), (9, 9, 9, 0)), (255, 255, 255)),
        "grey_alpha.png": (PillowImage.new("LA", (40, 30), (100, 255)), (100, 100, 100)),
    }
    for name, (image, colour) in cases.items():
        got = read_image(save(tmp_path / name, image))
        assert got.shape == (30, 40, 3), name
        assert np.allclose(got.reshape(-1, 3).mean(0), colour, atol=4), name


def test_still_picture_is_a_video_of_one_frame(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", PillowImage.new("RGB", (1, 1), (1, 2, 3)))
    with open_video(path) as video:
        frames = list(video)
        assert len(list(video)) == 1
    assert [(f.index, f.timestamp, f.image.tolist()) for f in frames] == [(0, 0.0, [[[3, 2, 1]]])]
    assert video.info.is_image
    assert (video.info.width, video.info.height, video.info.fps, video.end) == (1, 1, 0.0, 0.0)


@pytest.mark.parametrize(("tag", "red"), [(1, "top left"), (3, "bottom right"), (6, "top right"), (8, "bottom left")])
def test_exif_rotation(tmp_path: Path, tag: int, red: str) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = tag
    path = save(tmp_path / "a.jpg", PillowImage.fromarray(picture(0)[:, :, ::-1].copy()), exif=exif, quality=95)
    assert corners(read_image(path))["red"] == red


def test_8k_picture_passes_and_a_bomb_does_not(tmp_path: Path) -> None:
    assert read_image(save(tmp_path / "8k.png", PillowImage.new("L", (7680, 4320)))).shape == (4320, 7680, 3)
    bomb = save(tmp_path / "bomb.png", PillowImage.new("1", (20, 20)))
    data = bytearray(bomb.read_bytes())
    data[16:24] = struct.pack(">II", 20000, 20000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    bomb.write_bytes(data)
    with pytest.raises(MediaError, match="megapixels"):
        open_video(bomb)


def test_the_declared_size_needs_no_decoding(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", [picture(0)])
    assert declared_size(clip) == (96, 64)
    assert declared_size(save(tmp_path / "a.png", PillowImage.new("1", (20, 30)))) == (20, 30)


def test_a_video_of_too_many_pixels_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write_clip(tmp_path / "a.mp4", [picture(0)])
    monkeypatch.setattr("tracker.video._MAX_PIXELS", 96 * 64 - 1)
    with pytest.raises(MediaError, match="no frame could be decoded"):
        open_video(clip)


def test_truncated_picture(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", PillowImage.fromarray(noise(1)[0]), quality=95)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(MediaError, match="damaged or truncated"):
        open_video(path)


def test_a_picture_with_a_wrong_suffix_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", PillowImage.new("RGB", (9, 8))).rename(tmp_path / "a.dat")
    with open_video(path) as video:
        assert video.info.is_image


def test_folders(tmp_path: Path) -> None:
    for name in ("b/clip10.MP4", "b/clip2.mp4", "a.jpg", "notes.txt", ".hidden.jpg", ".cache/x.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [path.relative_to(tmp_path).as_posix() for path in find_media(tmp_path)]
    assert found == ["a.jpg", "b/clip2.mp4", "b/clip10.MP4"]
    assert find_media(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]
    (tmp_path / "bare").mkdir()
    with pytest.raises(MediaError, match=r"bare: no media in this folder; looked for .*\.mp4"):
        find_media(tmp_path / "bare")
    with pytest.raises(MediaError, match="no such file"):
        find_media(tmp_path / "none")


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the shared clips are not here")
@pytest.mark.parametrize(("name", "count"), [("vfr.mp4", 160), ("talk.mp4", 300), ("hamilton.mp4", 275)])
def test_real_clips_have_the_times_of_their_packets(name: str, count: int) -> None:
    with open_video(CLIPS / name) as video:
        times = [frame.timestamp for frame in video]
    with av.open(str(CLIPS / name)) as container:
        stream = container.streams.video[0]
        packets = [p.pts for p in container.demux(stream) if p.pts is not None and not p.is_discard]
        expected = np.array(sorted(packets)) * float(stream.time_base or 0) - container.start_time / av.time_base
    assert len(times) == count
    assert np.allclose(times, expected, atol=1e-9)
