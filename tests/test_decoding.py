"""Files that nobody vouches for: what is said of them, their pixels, and what a decoder may take."""

from __future__ import annotations

import os
import struct
import time
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from PIL import Image

from indexing.decoding import DecodingLimits, decode_picture, probe, still
from indexing.processes import MIB, resident
from tracker.errors import MediaError
from tracker.video import content_hash, open_video

FRAMES = 25
PHOTO = Path(get_sample_data("grace_hopper.jpg", asfileobj=False))

counted = pytest.mark.skipif(not resident(), reason="this system does not tell of address space")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of grey."""
    path = tmp_path_factory.mktemp("clip") / "grey.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = 240, 240, "yuv420p", Fraction(1, 25)
        for k in range(FRAMES):
            picture = np.full((240, 240, 3), 4 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


# ---- a look


def test_a_video_and_a_picture_are_told(clip: Path) -> None:
    info = probe(clip)
    assert (info.path, info.width, info.height, info.fps, info.is_image) == (clip, 240, 240, 25, False)
    assert info.fps * info.duration == pytest.approx(FRAMES)
    assert info.content_hash == content_hash(clip)
    assert (probe(PHOTO).width, probe(PHOTO).height, probe(PHOTO).is_image) == (512, 600, True)


def test_what_is_no_media_is_told(tmp_path: Path) -> None:
    (tmp_path / "--help.mp4").write_text("no video")
    with pytest.raises(MediaError, match=r"--help.mp4: not a video or picture"):
        probe(tmp_path / "--help.mp4")
    with pytest.raises(MediaError, match="no such file"):
        probe(tmp_path / "none.mp4")


def declaring(path: Path, side: int) -> Path:
    """Write a PNG file that declares a large picture and holds nothing of it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    return path


def test_a_picture_larger_than_allowed_is_not_decoded(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(MediaError, match="more than 178 megapixels"):
        probe(declaring(tmp_path / "bomb.png", 20_000))
    with pytest.raises(MediaError, match=r"11000x11000 pixels, and 100 megapixels are allowed"):
        probe(declaring(tmp_path / "large.png", 11_000))
    with pytest.raises(MediaError, match=r"240x240 pixels, and 0.05 megapixels are allowed"):
        probe(clip, limits=DecodingLimits(pixels=50_000))


@counted
def test_a_look_has_a_limit_on_memory(tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.new("L", (5_000, 5_000)).save(large, compress_level=1)
    assert probe(large).width == 5_000
    with pytest.raises(MediaError, match=r"large\.png"):
        probe(large, limits=DecodingLimits(memory=64 * MIB))


def test_a_look_has_a_limit_on_time(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless.mp4")
    began = time.monotonic()
    with pytest.raises(MediaError, match=r"cannot be decoded in 2048 MiB and 2 s"):
        probe(tmp_path / "endless.mp4", limits=DecodingLimits(seconds=2))
    assert time.monotonic() - began < 30


# ---- the pixels of a picture


def pictures(folder: Path) -> list[Path]:
    """Write a picture in every form that is turned, converted or laid on white."""
    scene = Image.open(PHOTO).resize((128, 150))
    deep = (np.asarray(scene.convert("L")).astype(np.uint16) * 257)[:, :77]
    turned, clear = Image.Exif(), scene.convert("RGBA")
    turned[0x0112] = 6
    clear.putalpha(scene.convert("L"))
    saved = {
        "turned.jpg": (scene, {"exif": turned}),
        "grey.png": (scene.convert("L"), {}),
        "clear.png": (clear, {}),
        "palette.gif": (scene.convert("P"), {"save_all": True, "append_images": [scene.convert("P")]}),
        "ink.tif": (scene.convert("CMYK"), {}),
        "deep.png": (Image.fromarray(deep), {}),
        "lossy.webp": (scene, {"quality": 40}),
    }
    for name, (picture, options) in saved.items():
        picture.save(folder / name, **options)
    return [folder / name for name in saved]


def test_the_pixels_are_those_that_are_decoded_here(tmp_path: Path) -> None:
    for path in [*pictures(tmp_path), PHOTO]:
        decoded = decode_picture(path, tmp_path / f"{path.name}.bgr")
        with open_video(path) as here, decoded.open() as apart:
            assert apart.info == here.info
            # A picture may be looked at more than once.
            for (mine,), (other,) in [(list(here), list(apart)), (list(here), list(apart))]:
                assert (mine.index, mine.timestamp) == (other.index, other.timestamp)
                assert other.image.dtype == np.uint8
                assert np.array_equal(mine.image, other.image), path.name


@pytest.mark.parametrize("cut", [0, 100, 30_000, -2_000])
def test_a_damaged_picture_is_told(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "torn.jpg"
    path.write_bytes(PHOTO.read_bytes()[:cut])
    with pytest.raises(MediaError, match=r"torn\.jpg"):
        decode_picture(path, tmp_path / "pixels")


def test_a_video_is_no_picture(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="is a video; send pictures"):
        decode_picture(clip, tmp_path / "pixels")
    assert not (tmp_path / "pixels").exists()


@counted
def test_a_picture_has_limits(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    Image.new("1", (8_000, 8_000)).save(bomb)
    assert bomb.stat().st_size < 20_000
    for limits, told in (
        (DecodingLimits(memory=96 * MIB), r"bomb\.png"),
        (DecodingLimits(seconds=0.01), "cannot be decoded in 2048 MiB and 0 s"),
        (DecodingLimits(pixels=1_000_000), "8000x8000 pixels, and 1 megapixels are allowed"),
    ):
        with pytest.raises(MediaError, match=told):
            decode_picture(bomb, tmp_path / "pixels", limits=limits)


def test_pixels_that_are_not_all_there_are_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexing.decoding._apart", lambda *_, **__: b'{"width": 10, "height": 10}')
    (tmp_path / "pixels").write_bytes(bytes(299))
    with pytest.raises(MediaError, match="its decoder broke"):
        decode_picture(PHOTO, tmp_path / "pixels")


# ---- frames


def test_a_frame_is_a_jpeg_file(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "frame.jpg").write_bytes(still(clip, 20, 20 / 25, width=96))
    with Image.open(tmp_path / "frame.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (96, 96))
        assert np.asarray(picture).mean() == pytest.approx(80, abs=3)
    with pytest.raises(MediaError, match="frame 99 could not be decoded"):
        still(clip, 99, 99 / 25)
    with pytest.raises(MediaError, match="and 0 s"):
        still(clip, 20, 20 / 25, limits=replace(DecodingLimits(), seconds=0.01))
