"""Videos and pictures with boxes, names and track numbers drawn in; sound and timestamps are kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import av
import av.error
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from indexing.colors import color
from indexing.files import replacing
from tracker.errors import FacetrackError, MediaError
from tracker.types import Float32, Frame, Image, Source, Track
from tracker.video import Video, open_video

logger = logging.getLogger(__name__)

Shown = tuple[Track, str, int | None]
"""A track, the name to write at it and whose face it is; None: unknown."""

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Suffix of a video that can be written -> FFmpeg's name of its container."""

PICTURES = (".png", ".jpg", ".jpeg")
"""Suffixes of a picture that can be written."""

LONGEST_NAME = 28
"""Characters of a name that are shown."""

_FINEST = 1_000_000
"""Ticks a second beyond which a time base is no gain: times are known to the microsecond."""

_FALLBACK_BASE = Fraction(1, 90_000)
"""Time base where the source has none to be used: MPEG's."""

# MP4 takes more by its standard, such as PCM, than players play from it.
_PLAYED_FROM_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})

_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)

_INK: tuple[int, int, int] = (24, 22, 20)
_PAPER: tuple[int, int, int] = (255, 255, 255)


def render(source: Path, tracks: Sequence[Shown], out: Path, *, progress: Callable[[int], None] | None = None) -> None:
    """Write ``source`` with the boxes of ``tracks`` drawn in.

    A solid box was detected, a dashed one carried by flow, a thin dotted one interpolated. Each person has a colour
    (`indexing.colors.color`), unknown ones are grey. A video becomes H.264 with the source's presentation times,
    upright, odd sides padded by a pixel; its sound is copied where the container takes the codec, else encoded as AAC.
    A still picture becomes a picture. Nothing is left behind when it fails.

    Args:
        source: The video or picture that the tracks are of.
        tracks: What to draw.
        out: Where to; see `CONTAINERS` and `PICTURES` for the suffixes.
        progress: Called with 1 after each frame.

    Raises:
        FacetrackError: if the suffix is none of these, the folder does not exist or the target is the source.
        MediaError: if the source cannot be decoded or the target not be written.
    """
    with open_video(source) as video:
        _check(video, out)
        artist = _Artist(tracks, video.info.width, video.info.height)
        with replacing(out) as beside:
            if video.info.is_image:
                _write_picture(video, artist, beside, progress)
            else:
                _write_video(video, artist, beside, out, progress)


def _check(video: Video, out: Path) -> None:
    source = video.info.path
    known = PICTURES if video.info.is_image else tuple(CONTAINERS)
    if out.suffix.lower() not in known:
        kind = "a picture" if video.info.is_image else "a video"
        raise FacetrackError(f"{out}: {source} is {kind}; end the name in one of {' '.join(known)}")
    if out.exists() and out.samefile(source):
        raise FacetrackError(f"{out} is the source itself; write to another file")


# Drawing


class _Artist:
    """Draws the boxes and labels of each frame."""

    def __init__(self, tracks: Sequence[Shown], width: int, height: int) -> None:
        self._tracks = sorted(tracks, key=lambda shown: shown[0].track_id)
        self._first = np.array([track.first_frame for track, _, _ in self._tracks], np.int64)
        self._end = np.array([track.end_frame for track, _, _ in self._tracks], np.int64)
        side = min(width, height)
        self._thickness = max(1, round(side / 210))
        self._text = max(9, round(side / 32))
        self._size = width, height

    def draw(self, frame: Frame) -> Image:
        """Return a copy of a frame's picture with all that is seen in it."""
        picture = np.array(frame.image)
        here = np.flatnonzero((self._first <= frame.index) & (frame.index < self._end))
        boxes = [self._draw_box(picture, frame.index, self._tracks[k]) for k in here]
        taken: list[_Place] = []
        for k, box in zip(here, boxes, strict=True):
            taken.append(self._draw_label(picture, box, self._tracks[k], taken))
        return picture

    def _draw_box(self, picture: Image, index: int, shown: Shown) -> Float32:
        track, _, identity_id = shown
        row = index - track.first_frame
        box = np.asarray(track.boxes[row], np.float32)
        draw_box(picture, box, Source(int(track.sources[row])), _bgr(identity_id), thickness=self._thickness)
        return box

    def _draw_label(self, picture: Image, box: Float32, shown: Shown, taken: Sequence[_Place]) -> _Place:
        track, name, identity_id = shown
        tab = _tab(_short(name), f"#{track.track_id}", _bgr(identity_id), self._text, self._size[0])
        place = _place(box, (tab.shape[0], tab.shape[1]), self._size, taken, gap=self._thickness)
        x1, y1, x2, y2 = place
        picture[y1:y2, x1:x2] = tab[: y2 - y1, : x2 - x1]
        return place


_Place = tuple[int, int, int, int]


def draw_box(picture: Image, box: Float32, source: Source, bgr: tuple[int, int, int], *, thickness: int = 2) -> None:
    """Draw a box into a picture: solid, dashed or dotted by its source, on a dark line that sets it off.

    Args:
        picture: ``(H, W, 3)`` uint8 BGR, changed in place.
        box: ``(4,)`` float32 xyxy.
        source: Where the box comes from.
        bgr: The colour.
        thickness: Of the line of a detected box in pixels.
    """
    width = -(-thickness * 2 // 3) if source is Source.INTERPOLATED else thickness
    strokes = list(_strokes(box, source, thickness))
    for tint, broad in ((_INK, width + 2 * max(1, thickness // 3)), (bgr, width)):
        for start, end in strokes:
            cv2.line(picture, start, end, tint, broad, cv2.LINE_8)


def _strokes(box: Float32, source: Source, thickness: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    x1, y1, x2, y2 = (round(float(side)) for side in np.clip(box, -1e5, 1e5))
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        for low, high in _dashes(float(np.hypot(b[0] - a[0], b[1] - a[1])), source, thickness):
            yield _between(a, b, low), _between(a, b, high)


def _between(a: tuple[int, int], b: tuple[int, int], share: float) -> tuple[int, int]:
    return round(a[0] + (b[0] - a[0]) * share), round(a[1] + (b[1] - a[1]) * share)


def _dashes(length: float, source: Source, thickness: int) -> list[tuple[float, float]]:
    """Return the strokes of a side as shares of its length, the first and the last at its corners."""
    if source is Source.DETECTED or length < 1:
        return [(0.0, 1.0)]
    dash, gap = (5.0, 4.0) if source is Source.FLOW else (0.8, 3.7)
    count = max(2, round(length / ((dash + gap) * thickness)))
    share = dash / (dash + gap)
    step = 1 / (count - 1 + share)
    return [(k * step, min((k + share) * step, 1.0)) for k in range(count)]


def _place(
    box: Float32, extent: tuple[int, int], size: tuple[int, int], taken: Sequence[_Place], *, gap: int
) -> _Place:
    """Return where a tab of ``extent`` (height, width) goes: above the box, below or inside, clear of the others."""
    x1, y1, _, y2 = (float(side) for side in box)
    height, width = extent
    tops = (y1 - height - gap, y2 + gap, y1 + gap, y2 - height - gap)
    tries = [_inside(x1 - gap, top, height, width, size) for top in tops]
    fitting = [place for place, top in zip(tries, tops, strict=True) if abs(place[1] - top) <= 1] or tries
    return next((p for p in fitting if not any(_touch(p, other) for other in taken)), fitting[0])


def _inside(x: float, y: float, height: int, width: int, size: tuple[int, int]) -> _Place:
    left = int(np.clip(round(x), 0, max(size[0] - width, 0)))
    top = int(np.clip(round(y), 0, max(size[1] - height, 0)))
    return left, top, min(left + width, size[0]), min(top + height, size[1])


def _touch(a: _Place, b: _Place) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@lru_cache(maxsize=1024)
def _tab(name: str, number: str, bgr: tuple[int, int, int], size: int, widest: int) -> Image:
    """Return a label as ``(h, w, 3)`` uint8 BGR: name and number on a filled ground, at most ``widest`` wide."""
    bold, light = _font("DejaVuSans-Bold.ttf", size), _font("DejaVuSans.ttf", size)
    pad = max(2, size // 3)
    tail = round(light.getlength(number)) + 2 * pad
    name = _fitted(name, bold, widest - tail - pad)
    start = pad + (round(bold.getlength(name)) + pad if name else 0)
    height = size + 2 * max(1, round(size * 0.22))
    image = PillowImage.new("RGB", (start + tail - pad, height), bgr[::-1])
    pen = ImageDraw.Draw(image)
    ink = (_INK if _luminance(bgr) > 0.3 else _PAPER)[::-1]
    pen.text((pad, height / 2), name, font=bold, fill=ink, anchor="lm")
    pen.text((start, height / 2), number, font=light, fill=ink, anchor="lm")
    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])


def _fitted(name: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Return ``name``, cut so that it is no wider than ``width``; empty where nothing of it fits."""
    for length in range(len(name), 0, -1):
        shown = name if length == len(name) else name[:length].rstrip() + "…"
        if font.getlength(shown) <= width:
            return shown
    return ""


def _short(name: str) -> str:
    shown = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    return shown if len(shown) <= LONGEST_NAME else shown[: LONGEST_NAME - 1].rstrip() + "…"


@lru_cache(maxsize=16)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    # Matplotlib ships DejaVu: Latin, Greek, Cyrillic, Arabic and more, on a server without any font too.
    from matplotlib import get_data_path

    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / name), size)


def _bgr(identity_id: int | None) -> tuple[int, int, int]:
    red, green, blue = (round(part * 255) for part in color(identity_id))
    return blue, green, red


def _luminance(bgr: tuple[int, int, int]) -> float:
    """Return the relative luminance of sRGB (WCAG 2), which tells whether dark or white text reads better."""
    blue, green, red = ((part / 255) ** 2.2 for part in bgr)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


# Pictures


def _write_picture(video: Video, artist: _Artist, beside: Path, progress: Callable[[int], None] | None) -> None:
    (frame,) = video
    picture = PillowImage.fromarray(np.ascontiguousarray(artist.draw(frame)[:, :, ::-1]))
    # At full resolution of colour: a thin line would lose its own.
    options: dict[str, Any] = {} if beside.suffix.lower() == ".png" else {"quality": 93, "subsampling": 0}
    picture.save(beside, **options)
    if progress:
        progress(1)


# Videos


def _write_video(
    video: Video, artist: _Artist, beside: Path, out: Path, progress: Callable[[int], None] | None
) -> None:
    """Encode the frames and lay the sound between them as its times come."""
    kind = CONTAINERS[out.suffix.lower()]
    try:
        with _open_source(video) as source, av.open(f"file:{beside}", "w", format=kind) as target:
            base = _time_base(source)
            stream = _add_video(target, video, base)
            sound = _Sound(source, target)
            for picture in _pictures(video, artist, base, progress):
                sound.write_until(float(picture.pts * base) if picture.pts is not None else 0.0)
                target.mux(stream.encode(picture))
            target.mux(stream.encode(None))
            sound.write_until(float("inf"))
    except av.error.FFmpegError as error:
        raise MediaError(f"{out}: cannot be written ({' '.join(str(error).split())})") from error


def _open_source(video: Video) -> InputContainer:
    return av.open(f"file:{video.info.path}", options={"protocol_whitelist": "file"}, metadata_errors="replace")


def _time_base(source: InputContainer) -> Fraction:
    """Return the time base of the pictures: with it their times are kept to the tick."""
    streams = [s for s in source.streams.video if not s.disposition & Disposition.attached_pic]
    base = streams[0].time_base if streams else None
    return base if base and base > 0 and base.denominator / base.numerator <= _FINEST else _FALLBACK_BASE


def _add_video(target: OutputContainer, video: Video, base: Fraction) -> VideoStream:
    rate = Fraction(video.info.fps or 25).limit_denominator(1001)
    stream = target.add_stream("libx264", rate=rate, options={"crf": "20", "preset": "veryfast"})
    stream.width, stream.height = video.info.width + video.info.width % 2, video.info.height + video.info.height % 2
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = stream.time_base = base
    return stream


def _pictures(
    video: Video, artist: _Artist, base: Fraction, progress: Callable[[int], None] | None
) -> Iterator[av.VideoFrame]:
    last = -1
    for frame in video:
        picture = av.VideoFrame.from_ndarray(_even(artist.draw(frame)), format="bgr24")
        # Times that repeat are spread by a tick: an encoder takes rising ones only.
        last = max(round(frame.timestamp / base), last + 1)
        picture.pts, picture.time_base = last, base
        yield picture
        if progress:
            progress(1)


def _even(image: Image) -> Image:
    """Pad odd sides by a pixel: the colours of H.264 are stored for two by two pixels."""
    height, width = image.shape[:2]
    if not height % 2 and not width % 2:
        return image
    return np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)


class _Sound:
    """Carries all sound of a source over into a target, as far as the pictures are."""

    def __init__(self, source: InputContainer, target: OutputContainer) -> None:
        self._target = target
        self._origin = (source.start_time or 0) / av.time_base
        self._outputs = {s.index: _output(target, s) for s in source.streams.audio if s.codec_context is not None}
        streams = [source.streams[index] for index in self._outputs]
        packets = source.demux(*streams) if streams else iter(())
        self._packets = cast("Iterator[Packet[AudioStream]]", packets)
        self._next: Packet[AudioStream] | None = None
        self._seconds = -float("inf")

    def write_until(self, seconds: float) -> None:
        """Write the packets that begin before a time of the pictures."""
        while packet := self._next or self._advance():
            if self._seconds > seconds:
                return
            self._write(packet)
            self._next = None
        if seconds == float("inf"):
            self._flush()

    def _advance(self) -> Packet[AudioStream] | None:
        try:
            self._next = next((p for p in self._packets if p.size and p.pts is not None), None)
        except av.error.FFmpegError as error:
            logger.warning("the sound ends early (%s)", error)
            self._packets, self._next = iter(()), None
        if self._next is not None:
            self._seconds = float((self._next.pts or 0) * self._next.time_base) - self._origin
        return self._next

    def _write(self, packet: Packet[AudioStream]) -> None:
        output = self._outputs[packet.stream.index]
        shift = round(self._origin / packet.time_base)
        if output.copied:
            packet.pts = (packet.pts or 0) - shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            packet.stream = output.stream
            self._target.mux(packet)
        else:
            self._encode(packet, output.stream, shift)

    def _encode(self, packet: Packet[AudioStream], stream: AudioStream, shift: int) -> None:
        # A damaged packet costs its own sound, no more.
        with suppress(av.error.InvalidDataError):
            for frame in packet.decode():
                frame.pts = None if frame.pts is None else frame.pts - shift
                self._target.mux(stream.encode(frame))

    def _flush(self) -> None:
        for output in self._outputs.values():
            if not output.copied:
                self._target.mux(output.stream.encode(None))
        self._outputs = {}


@dataclass(frozen=True, slots=True)
class _Output:
    """Where the sound of a stream goes, and whether its packets are copied as they are."""

    stream: AudioStream
    copied: bool


def _output(target: OutputContainer, source: AudioStream) -> _Output:
    copied = _taken(target, source.codec_context.codec.canonical_name)
    if copied:
        stream = target.add_stream_from_template(source)
    else:
        wanted = source.codec_context.sample_rate
        rate = min(_AAC_RATES, key=lambda known: (abs(known - wanted), known))
        stream = target.add_stream("aac", rate=rate, layout=_layout(source))
    if "language" in source.metadata:
        stream.metadata["language"] = source.metadata["language"]
    return _Output(stream, copied)


def _taken(target: OutputContainer, codec: str) -> bool:
    return codec in target.supported_codecs and (target.format.name != "mp4" or codec in _PLAYED_FROM_MP4)


def _layout(source: AudioStream) -> str:
    # By the count: many files do not name their layout, and more than two channels are mixed down.
    return "mono" if source.codec_context.channels == 1 else "stereo"
