"""A clip with exact truth, made on the spot: two public-domain portraits move, cross, leave and come back."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.files import replacing
from indexing.metrics import IdCounts, id_counts
from indexing.types import TrackRecord
from tracker import boxes as geometry
from tracker.associate import match
from tracker.types import Float32, Float64, Image, Int32, Track, UInt8, frozen

WIDTH, HEIGHT, FPS = 960, 540, 25

COLLINS, HOPPER = "Eileen Collins", "Grace Hopper"

COLUMNS = ("frame", "person", "x1", "y1", "x2", "y2", "ignore")
"""Columns of a truth that is written as CSV."""

CLEAR = 0.5
"""Visible share of a face from which on it has to be found."""

SAME_PLACE = 0.4
"""Intersection over union from which on a box counts for a true face."""

_GROUND = 14.0
"""Pixels below the picture at which a portrait ends: its lower edge stays out of sight when it tilts."""

_MARGIN = 60
"""Pixels by which a backdrop is wider and higher than the picture, room for the camera to move."""

_LIGHTS = 26
"""Lights of a backdrop."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Whose face is where in each frame: exact, as the clip was made from it.

    Attributes:
        frame_count: Frames of the clip.
        shots: ``(S,)`` int32 first frame of each shot.
        frames: ``(N,)`` int32 frame of each face; a face that is wholly hidden is not told.
        people: Name of each face's person.
        boxes: ``(N, 4)`` float32 xyxy, hairline to chin and ear to ear, cut at the border of the picture.
        ignore: ``(N,)`` bool: less than half of the face is visible, it may be missed.
    """

    frame_count: int
    shots: Int32
    frames: Int32
    people: tuple[str, ...]
    boxes: Float32
    ignore: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check shapes and make the arrays read-only."""
        count = len(self.people)
        object.__setattr__(self, "shots", frozen(self.shots, np.int32, (None,), "shots"))
        object.__setattr__(self, "frames", frozen(self.frames, np.int32, (count,), "frames"))
        object.__setattr__(self, "boxes", frozen(self.boxes, np.float32, (count, 4), "boxes"))
        object.__setattr__(self, "ignore", frozen(self.ignore, np.bool_, (count,), "ignore"))

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.people)


@dataclass(frozen=True, slots=True)
class DemoScore:
    """How well tracks and identities agree with the truth.

    Attributes:
        faces: Faces to find, one a frame and person.
        recall: Share of them that was found.
        precision: Share of the boxes found that lie on a face; faces that may be missed count neither way.
        idf1: F1 of identity (Ristani et al. 2016).
        id_switches: Changes of track along a person inside a shot.
        identity_switches: Changes of identity along a person, over cuts too.
        identities: Name of each person that was found -> the identity that most of their faces were given.
    """

    faces: int
    recall: float
    precision: float
    idf1: float
    id_switches: int
    identity_switches: int
    identities: Mapping[str, int | None] = field(default_factory=dict)


# The portraits and what they do


@dataclass(frozen=True, slots=True)
class _Portrait:
    """A picture of a person.

    Attributes:
        outline: Corners of head and shoulders in pixels of the portrait.
        face: Box hairline to chin, ear to ear.
    """

    outline: tuple[tuple[int, int], ...]
    face: tuple[int, int, int, int]


# Outlines traced on the portraits, corner by corner.
# fmt: off
_PORTRAITS = {
    COLLINS: _Portrait((
        (200, 24), (186, 37), (162, 52), (153, 68), (156, 101), (182, 135), (182, 145), (151, 152), (132, 166),
        (121, 184), (121, 204), (110, 207), (65, 246), (41, 291), (26, 343), (19, 390), (24, 432), (28, 488),
        (25, 511), (511, 511), (511, 486), (491, 473), (501, 458), (495, 450), (494, 426), (490, 411), (477, 383),
        (450, 358), (421, 346), (393, 344), (365, 348), (360, 341), (353, 291), (341, 264), (331, 253), (304, 233),
        (289, 203), (256, 173), (256, 164), (265, 141), (292, 114), (300, 92), (296, 59), (288, 43), (277, 32),
        (250, 19), (228, 16),
    ), (180, 61, 271, 180)),
    HOPPER: _Portrait((
        (220, 31), (216, 40), (191, 54), (179, 67), (175, 78), (166, 86), (155, 97), (154, 146), (161, 160),
        (156, 192), (159, 224), (169, 259), (177, 271), (172, 285), (193, 298), (196, 312), (200, 321), (162, 345),
        (120, 360), (78, 369), (48, 386), (37, 414), (26, 428), (27, 459), (17, 526), (11, 599), (511, 599),
        (507, 520), (500, 450), (493, 395), (461, 376), (420, 365), (363, 341), (337, 321), (329, 311), (333, 293),
        (343, 285), (348, 273), (360, 262), (367, 236), (368, 201), (365, 192), (369, 185), (371, 134), (369, 103),
        (365, 90), (352, 83), (346, 68), (332, 54), (315, 45), (302, 43), (290, 32), (281, 31), (274, 25), (249, 23),
    ), (166, 124, 368, 338)),
}
# fmt: on


@dataclass(frozen=True, slots=True)
class _Pose:
    """Where a person is in a frame of a shot: the middle of the face, the size of the portrait, its tilt in degrees."""

    frame: int
    x: float
    scale: float
    tilt: float = 0.0


@dataclass(frozen=True, slots=True)
class _Backdrop:
    """A wall with blurred lights, in BGR.

    Attributes:
        top: Colour above.
        bottom: Colour below.
        lights: Colours of the lights.
        stripes: Strength of the wall's panels.
        seed: Where the lights are.
    """

    top: tuple[int, int, int]
    bottom: tuple[int, int, int]
    lights: tuple[tuple[int, int, int], ...]
    stripes: float
    seed: int


@dataclass(frozen=True, slots=True)
class _Shot:
    """One shot.

    Attributes:
        frames: Its length.
        backdrop: What is behind.
        cast: Who is in it and what they do, the one behind first.
        light: Brightness of the first and of the last frame.
        drift: Pixels that the camera moves to the right.
    """

    frames: int
    backdrop: _Backdrop
    cast: tuple[tuple[str, tuple[_Pose, ...]], ...]
    light: tuple[float, float] = (1.0, 1.0)
    drift: float = 0.0


_SCRIPT = (
    # They come in from both sides and cross, Hopper in front.
    _Shot(
        100,
        _Backdrop((92, 62, 48), (140, 128, 120), ((150, 200, 255), (190, 170, 150)), 0.05, 1),
        (
            (COLLINS, (_Pose(0, -90, 0.78, -2), _Pose(35, 330, 0.85, 2), _Pose(99, 745, 1.05, -1))),
            (HOPPER, (_Pose(0, 1160, 0.58, 2), _Pose(35, 640, 0.66, -1), _Pose(99, 240, 0.78, 1))),
        ),
        (0.92, 1.08),
        40,
    ),
    # Hopper alone and near, then nobody.
    _Shot(
        70,
        _Backdrop((38, 22, 14), (64, 36, 30), ((60, 150, 255), (255, 190, 90), (120, 90, 230)), 0.0, 2),
        ((HOPPER, (_Pose(0, 400, 0.80, -2), _Pose(24, 520, 1.0, 1), _Pose(52, 1290, 1.04, 2))),),
        (0.85, 0.95),
        -30,
    ),
    # Collins again; Hopper comes back and passes behind her.
    _Shot(
        130,
        _Backdrop((196, 176, 128), (176, 196, 178), ((235, 245, 240), (150, 205, 190)), 0.03, 3),
        (
            (HOPPER, (_Pose(0, -330, 0.80), _Pose(25, -130, 0.82, -2), _Pose(85, 480, 0.88, 1), _Pose(129, 770, 0.72))),
            (COLLINS, (_Pose(0, 560, 1.2, 1), _Pose(40, 640, 1.05, -2), _Pose(90, 300, 0.95, 2), _Pose(129, 210, 1.1))),
        ),
        (1.0, 0.78),
        50,
    ),
)


def make_demo_clip(path: Path, *, progress: Callable[[int], None] | None = None) -> Truth:
    """Write the clip as H.264 in MP4, 12 s of 960x540 pixels in three shots, and return its truth.

    The portraits are NASA's of Eileen Collins (scikit-image) and the US Navy's of Grace Hopper (matplotlib), both in
    the public domain.

    Args:
        path: Where to.
        progress: Called with 1 after each frame.

    Raises:
        FacetrackError: if the folder of ``path`` does not exist.
    """
    import av

    faces: list[list[_Face]] = []
    with replacing(path) as beside, av.open(f"file:{beside}", "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "20", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        for image, seen in _frames():
            faces.append(seen)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            if progress:
                progress(1)
        container.mux(stream.encode(None))
    return _truth(faces)


def write_truth(truth: Truth, path: Path) -> None:
    """Write a truth as CSV with the columns `COLUMNS`; a frame without a face is a row without a person.

    Raises:
        FacetrackError: if the folder of ``path`` does not exist.
    """
    told: dict[int, list[list[object]]] = defaultdict(list)
    for frame, person, box, ignore in zip(truth.frames, truth.people, truth.boxes, truth.ignore, strict=True):
        told[int(frame)].append([int(frame), person, *(f"{side:.2f}" for side in box), int(ignore)])
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for frame in range(truth.frame_count):
            writer.writerows(told.get(frame) or [[frame, "", "", "", "", "", 0]])


@dataclass(frozen=True, slots=True)
class _Face:
    """A face in a frame that is not wholly hidden."""

    person: str
    box: Float32
    visible: float


def _truth(faces: Sequence[Sequence[_Face]]) -> Truth:
    rows = [(frame, face) for frame, seen in enumerate(faces) for face in seen]
    return Truth(
        frame_count=len(faces),
        shots=np.cumsum([0, *(shot.frames for shot in _SCRIPT[:-1])]),
        frames=np.array([frame for frame, _ in rows]),
        people=tuple(face.person for _, face in rows),
        boxes=np.array([face.box for _, face in rows]),
        ignore=np.array([face.visible < CLEAR for _, face in rows]),
    )


# Drawing


@dataclass(frozen=True, slots=True, eq=False)
class _CutOut:
    """A portrait without its background.

    Attributes:
        layer: ``(h, w, 4)`` uint8 BGR, multiplied by the opacity, and the opacity.
        center: Middle of the face.
        radii: Half width and half height of the face.
    """

    layer: Image
    center: Float64
    radii: Float64


def _frames() -> Iterator[tuple[Image, list[_Face]]]:
    """Draw the clip, frame by frame, with the faces in each."""
    people = {name: _cut_out(name, portrait) for name, portrait in _PORTRAITS.items()}
    for shot in _SCRIPT:
        wall = _wall(shot.backdrop)
        cast = [(name, people[name], _path(people[name], poses, shot.frames)) for name, poses in shot.cast]
        for frame in range(shot.frames):
            yield _draw(shot, frame, wall, [(name, cut_out, path[frame]) for name, cut_out, path in cast])


def _cut_out(name: str, portrait: _Portrait) -> _CutOut:
    import cv2

    image = _picture(name)
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.array(portrait.outline, np.int32)], (255,), cv2.LINE_AA)
    # A blurred edge that keeps inside the outline, where the portrait's own background would shine through.
    opacity = cv2.GaussianBlur(cv2.erode(mask, np.ones((3, 3), np.uint8)), (0, 0), 1.6)
    x1, y1, x2, y2 = portrait.face
    return _CutOut(
        layer=np.dstack([_scaled(image, opacity), opacity]),
        center=np.array([(x1 + x2) / 2, (y1 + y2) / 2]),
        radii=np.array([(x2 - x1) / 2, (y2 - y1) / 2]),
    )


def _picture(name: str) -> Image:
    if name == COLLINS:
        import skimage.data

        portrait: Image = skimage.data.astronaut()  # type: ignore[no-untyped-call,unused-ignore]
        return np.ascontiguousarray(portrait[:, :, ::-1])
    from matplotlib.cbook import get_sample_data

    from tracker.video import read_image

    return read_image(get_sample_data("grace_hopper.jpg", asfileobj=False))


def _scaled(image: Image, opacity: Any) -> Image:
    import cv2

    return np.asarray(cv2.multiply(image, cv2.merge([opacity] * 3), scale=1 / 255), np.uint8)


def _wall(backdrop: _Backdrop) -> Image:
    """Return a backdrop with `_MARGIN` around the picture."""
    import cv2

    rng = np.random.default_rng(backdrop.seed)
    height, width = HEIGHT + 2 * _MARGIN, WIDTH + 2 * _MARGIN
    down = np.linspace(0, 1, height)[:, None, None]
    wall = np.array(backdrop.top) * (1 - down) + np.array(backdrop.bottom) * down
    panels = 1 + backdrop.stripes * np.sign(np.sin(np.arange(width) * 2 * np.pi / 180))
    wall = np.asarray(cv2.GaussianBlur(wall * panels[None, :, None], (0, 0), 4), np.float64)
    for number in range(_LIGHTS):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height * 0.75), rng.uniform(14, 52)
        left, upper = int(max(x - 60, 0)), int(max(y - 60, 0))
        spot = wall[upper : upper + 120, left : left + 120]
        rows, columns = np.indices(spot.shape[:2])
        glow = np.clip((radius - np.hypot(columns + left - x, rows + upper - y)) / 8 + 0.5, 0, 1)
        color = np.array(backdrop.lights[number % len(backdrop.lights)])
        spot += (glow * rng.uniform(0.08, 0.32))[..., None] * color
    return np.asarray(np.clip(wall, 0, 255), np.uint8)


def _draw(
    shot: _Shot, frame: int, wall: Image, cast: Sequence[tuple[str, _CutOut, Float64]]
) -> tuple[Image, list[_Face]]:
    import cv2

    done = frame / (shot.frames - 1)
    picture = _window(wall, _MARGIN + shot.drift * (done - 0.5))
    opacities = [_lay(picture, cut_out, matrix) for _, cut_out, matrix in cast]
    light = shot.light[0] * (1 - done) + shot.light[1] * done
    lit = np.asarray(cv2.convertScaleAbs(picture, alpha=light * (1 + 0.03 * float(np.sin(frame / 6)))), np.uint8)
    seen = [_face(*member, opacities[number + 1 :]) for number, member in enumerate(cast)]
    return lit, [face for face in seen if face.visible > 0]


def _window(wall: Image, left: float) -> Image:
    """Return the part of a backdrop that is seen from an edge between two of its pixels on."""
    import cv2

    whole = int(left)
    here, next_ = (wall[_MARGIN : _MARGIN + HEIGHT, edge : edge + WIDTH] for edge in (whole, whole + 1))
    return np.asarray(cv2.addWeighted(here, 1 - (left - whole), next_, left - whole, 0), np.uint8)


def _lay(picture: Image, cut_out: _CutOut, matrix: Float64) -> UInt8:
    """Lay a portrait over a picture, where it covers it, and return its opacity in all of the picture."""
    import cv2

    opacity = np.zeros(picture.shape[:2], np.uint8)
    (left, upper), (right, lower) = _covered(cut_out, matrix)
    if left < right and upper < lower:
        part = slice(upper, lower), slice(left, right)
        here = matrix - np.array([[0, 0, left], [0, 0, upper]])
        layer = np.asarray(cv2.warpAffine(cut_out.layer, here, (right - left, lower - upper)), np.uint8)
        opacity[part] = layer[..., 3]
        below = _scaled(picture[part], 255 - opacity[part])
        picture[part] = cv2.add(below, cv2.cvtColor(layer, cv2.COLOR_BGRA2BGR))
    return opacity


def _covered(cut_out: _CutOut, matrix: Float64) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the part of the picture that a portrait reaches: its first and its last corner, this one outside."""
    height, width = cut_out.layer.shape[:2]
    corners = np.array([[0, width, 0, width], [0, 0, height, height]])
    reached = matrix[:, :2] @ corners + matrix[:, 2:]
    low, high = np.floor(reached.min(axis=1)) - 1, np.ceil(reached.max(axis=1)) + 1
    (left, upper), (right, lower) = (np.clip(side, 0, (WIDTH, HEIGHT)).astype(int).tolist() for side in (low, high))
    return (left, upper), (right, lower)


def _path(cut_out: _CutOut, poses: Sequence[_Pose], frames: int) -> list[Float64]:
    """Return where a portrait is in each frame of a shot: through the poses, smooth, without overshoot."""
    from scipy.interpolate import pchip_interpolate

    known = [pose.frame for pose in poses]
    values = np.array([(pose.x, pose.scale, pose.tilt) for pose in poses])
    steps = pchip_interpolate(known, values, np.arange(frames))
    return [_placed(cut_out, _Pose(frame, *map(float, step))) for frame, step in enumerate(steps)]


def _placed(cut_out: _CutOut, pose: _Pose) -> Float64:
    """Return the ``(2, 3)`` similarity from the portrait to the picture; the portrait stands on the lower edge."""
    angle = np.deg2rad(pose.tilt + 1.2 * np.sin(pose.frame / 9))
    turn = pose.scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    step = 4.0 * (1 - abs(np.sin(pose.frame / 5)))
    below = cut_out.layer.shape[0] - cut_out.center[1]
    at = np.array([pose.x, HEIGHT + _GROUND + step - pose.scale * below])
    return np.column_stack([turn, at - turn @ cut_out.center])


def _face(person: str, cut_out: _CutOut, matrix: Float64, in_front: Sequence[UInt8]) -> _Face:
    """Return the box around the face, an ellipse that turns with the portrait, and its visible share."""
    turn = matrix[:, :2]
    center = turn @ cut_out.center + matrix[:, 2]
    reach = np.linalg.norm(turn * cut_out.radii, axis=1)
    box = np.concatenate([center - reach, center + reach]).astype(np.float32)
    points = np.asarray((_disc() * cut_out.radii) @ turn.T + center, np.float64)
    return _Face(person, geometry.clip(box, WIDTH, HEIGHT), _visible(points, in_front))


def _disc(steps: int = 33) -> Float64:
    """Return ``(N, 2)`` points spread evenly over the unit disc."""
    axis = np.linspace(-1, 1, steps)
    grid = np.stack(np.meshgrid(axis, axis), axis=2).reshape(-1, 2)
    return np.asarray(grid[np.hypot(grid[:, 0], grid[:, 1]) <= 1], np.float64)


def _visible(points: Float64, in_front: Sequence[UInt8]) -> float:
    """Return the share of ``(N, 2)`` points that are inside the picture and not behind a layer."""
    places = np.floor(points).astype(int)
    inside = ((places >= 0) & (places < [WIDTH, HEIGHT])).all(axis=1)
    columns, rows = places[inside].T
    clear = np.ones(len(columns), bool)
    for layer in in_front:
        clear &= layer[rows, columns] < 128
    return float(clear.sum() / len(points))


# Scoring


@dataclass(slots=True)
class _Tally:
    """What a score is made of, gathered frame by frame."""

    people: list[str] = field(default_factory=list)
    identities: list[int] = field(default_factory=list)
    switches: int = 0
    identity_switches: int = 0
    extra: int = 0
    last: dict[str, tuple[int, int, int]] = field(default_factory=dict)


def score(truth: Truth, tracks: Iterable[tuple[TrackRecord, Track]]) -> DemoScore:
    """Compare the tracks of the demo clip, as `indexing.Store.tracks` returns them, with its truth.

    In each frame boxes and faces are matched one to one for the largest sum of overlaps (Hungarian), from an
    intersection over union of `SAME_PLACE` on. A box without a face is forgiven where it lies on one that may be
    missed.
    """
    pairs = list(tracks)
    tally = _Tally()
    for frame in range(truth.frame_count):
        shown = [pair for pair in pairs if pair[1].first_frame <= frame < pair[1].end_frame]
        _judge(tally, truth, frame, shown)
    return _sum_up(tally, int((~truth.ignore).sum()))


def _judge(tally: _Tally, truth: Truth, frame: int, shown: Sequence[tuple[TrackRecord, Track]]) -> None:
    here = np.flatnonzero(truth.frames == frame)
    boxes = np.array([track.boxes[frame - track.first_frame] for _, track in shown], np.float32).reshape(-1, 4)
    matches = dict(match(truth.boxes[here], boxes, gate=SAME_PLACE))
    shot = int(np.searchsorted(truth.shots, frame, side="right"))
    for face, box in matches.items():
        if not truth.ignore[here[face]]:
            record = shown[box][0]
            _count(tally, truth.people[here[face]], shot, record.track_id, record.identity_id)
    faint = [row for face, row in enumerate(here) if truth.ignore[row] and face not in matches]
    rest = np.delete(boxes, list(matches.values()), axis=0)
    on_faint = geometry.containment(rest, truth.boxes[faint]).max(axis=1, initial=0) >= SAME_PLACE
    tally.extra += int((~on_faint).sum())


def _count(tally: _Tally, person: str, shot: int, track_id: int, identity_id: int | None) -> None:
    identity = -1 if identity_id is None else identity_id
    before = tally.last.get(person)
    if before is not None:
        tally.switches += before[0] == shot and before[1] != track_id
        tally.identity_switches += before[2] != identity
    tally.last[person] = (shot, track_id, identity)
    tally.people.append(person)
    tally.identities.append(identity)


def _sum_up(tally: _Tally, faces: int) -> DemoScore:
    found = len(tally.people)
    counts: IdCounts = id_counts(tally.people, tally.identities, missed=faces - found, extra=tally.extra)
    return DemoScore(
        faces=faces,
        recall=found / max(faces, 1),
        precision=found / max(found + tally.extra, 1),
        idf1=counts.idf1,
        id_switches=tally.switches,
        identity_switches=tally.identity_switches,
        identities={person: _commonest(tally, person) for person in sorted(set(tally.people))},
    )


def _commonest(tally: _Tally, person: str) -> int | None:
    given = [i for p, i in zip(tally.people, tally.identities, strict=True) if p == person]
    identity = max(sorted(set(given)), key=given.count)
    return None if identity == -1 else identity
