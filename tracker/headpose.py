"""Head pose, gaze, and how far mouth and eyes are open, from the dense landmarks of a face.

Axes are those of OpenFace 2 (Baltrusaitis et al., "OpenFace 2.0: Facial Behavior Analysis Toolkit", FG 2018): x to the
right of the image, y down, z away from the camera; a rotation is Rx Ry Rz. A face that looks into the camera has pose
0; pitch grows when it looks down, yaw when it turns to the left of the image, roll when it tilts clockwise.
"""

from __future__ import annotations

import math

import numpy as np

from tracker.types import Float32, Float64

FOCAL = (500 / 640, 500 / 480)
"""Focal length over width and over height of a picture of an unknown camera, of which OpenFace takes the mean."""

MOST_YAW = 0.9
"""Yaw in radians beyond which gaze is not told: one eye is hidden, the other seen from the side."""

EYEBALL = 10 / 27
"""Distance from an eyeball's centre of rotation to its iris over the width of the eye's opening: the first lies about
13.5 mm, the second 3.5 mm behind the cornea; the opening of the mesh is 27 mm wide where its pupils are 63 mm apart."""

EYE_CENTRE = (0.027, -0.03, 0.275)
"""Where that centre lies from the middle of the eye's corners, over the same width: to the temple, down, back; so that
the people behind `_FACE` look level in the median, with the iris 2.5 mm before the corners, as the mesh has it."""

_MIDLINE = {
    10: (-48.1, 8.3),
    151: (-32.5, 3.5),
    9: (-15.4, -0.5),
    8: (-7.1, 0.1),
    168: (0.0, 0.0),
    6: (7.0, -4.8),
    197: (13.8, -10.2),
    195: (20.0, -15.9),
    5: (26.7, -21.8),
    4: (35.1, -24.9),
    1: (41.7, -23.5),
    2: (48.7, -8.7),
}
_SIDES = {
    (98, 327): (17.6, 46.6, -0.2),
    (133, 362): (17.6, 5.9, 16.5),
    (33, 263): (43.9, 4.9, 21.7),
    (54, 284): (59.5, -28.1, 38.4),
    (127, 356): (70.7, 12.9, 69.9),
}
_RIGID = [*_MIDLINE, *(right for right, _ in _SIDES), *(left for _, left in _SIDES)]
"""Points of Face Mesh that expressions hardly move."""

_FACE = np.array(
    [(0, *at) for at in _MIDLINE.values()] + [(side * x, y, z) for side in (-1, 1) for x, y, z in _SIDES.values()]
)
"""`_RIGID` in millimetres from the root of the nose: mean of the meshes of 618 people of Labeled Faces in the Wild,
aligned (Gower, "Generalized Procrustes Analysis", 1975), made symmetric, the top of the forehead turned to lie straight
above the chin."""

_EYES = ((33, 133, 468, -1), (263, 362, 473, 1))
_LIDS = ((33, 133, 160, 144, 158, 153), (263, 362, 387, 373, 385, 380))
_MOUTH = (78, 308, 13, 14)

_ASIDE = 0.9  # sine of the farthest that an eye turns from the line of sight
_UNKNOWN = np.full(3, np.nan, np.float32)


def head_pose(mesh: Float32, *, width: int | None = None, height: int | None = None) -> Float32:
    """Return ``(3,)`` float32 pitch, yaw, roll in radians; NaN where the points make no face.

    It is the rotation that turns a mean face to the mesh with the least squares (Kabsch, "A solution for the best
    rotation to relate two sets of vectors", Acta Cryst. A32, 1976): the pose as seen along the line of sight. Where the
    size of the picture is told, the pose is given in the axes of the camera, as OpenFace does, of assumed `FOCAL`
    length: a face in the right half of the picture that looks into the camera has a positive yaw.

    Args:
        mesh: ``(478, 3)`` float32 Face Mesh points in pixels.
        width: Width in pixels of the picture.
        height: Height in pixels of the picture.

    Example:
        >>> head_pose(np.zeros((478, 3), np.float32))
        array([nan, nan, nan], dtype=float32)
    """
    axes = _axes(mesh)
    if axes is None:
        return _UNKNOWN.copy()
    if width and height:
        axes = _line_of_sight(np.mean(mesh[_RIGID, :2], axis=0, dtype=np.float64), width, height) @ axes
    return euler(axes)


def euler(rotation: Float64) -> Float32:
    """Return ``(3,)`` float32 angles in radians about x, y and z of a rotation that is Rx Ry Rz."""
    yaw = math.asin(float(np.clip(rotation[0, 2], -1, 1)))
    pitch = math.atan2(-rotation[1, 2], rotation[2, 2])
    roll = math.atan2(-rotation[0, 1], rotation[0, 0])
    return np.array([pitch, yaw, roll], np.float32)


def rotation(pose: Float32) -> Float64:
    """Return the ``(3, 3)`` rotation of a pose, see `head_pose`: the columns are the head's axes.

    Example:
        >>> euler(rotation(np.float32([0.1, -0.2, 0.3]))).round(4).tolist()
        [0.10000000149011612, -0.20000000298023224, 0.30000001192092896]
    """
    (a, b, c), (sa, sb, sc) = np.cos(np.asarray(pose, np.float64)), np.sin(np.asarray(pose, np.float64))
    about_x = np.array([[1, 0, 0], [0, a, -sa], [0, sa, a]])
    about_y = np.array([[b, 0, sb], [0, 1, 0], [-sb, 0, b]])
    about_z = np.array([[c, -sc, 0], [sc, c, 0], [0, 0, 1]])
    return np.asarray(about_x @ about_y @ about_z)


def gaze(mesh: Float32, pose: Float32) -> Float32:
    """Return ``(2,)`` float32 radians: gaze to the right of the image, and down; NaN beyond `MOST_YAW`.

    Where each iris lies before its eyeball's centre tells the eye's direction; the mean of both is given in the axes of
    ``pose`` (OpenFace's gaze_angle_x and gaze_angle_y).

    Args:
        mesh: ``(478, 3)`` float32 Face Mesh points with iris.
        pose: ``(3,)`` float32, see `head_pose`.
    """
    axes = _axes(mesh)
    irises = [iris for _, _, iris, _ in _EYES]
    if axes is None or not (np.isfinite(pose).all() and np.isfinite(mesh[irises]).all()):
        return _UNKNOWN[:2].copy()
    if abs(float(euler(axes)[1])) > MOST_YAW:
        return _UNKNOWN[:2].copy()
    seen = np.mean([_eye(mesh, axes, *eye) for eye in _EYES], axis=0)
    x, y, z = rotation(pose) @ axes.T @ seen
    return np.array([math.atan2(x, -z), math.atan2(y, -z)], np.float32)


def _eye(mesh: Float32, axes: Float64, outer: int, inner: int, iris: int, side: int) -> Float64:
    """Return ``(3,)``: the direction in which an eye looks; NaN where it has no width."""
    corners = np.asarray(mesh[[outer, inner]], np.float64)
    opening = _distance(corners, 0, 1)
    to_temple, down, back = EYE_CENTRE
    centre = corners.mean(axis=0) + opening * (axes @ np.array([side * to_temple, down, back]))
    # The mesh tells the iris' depth too coarsely; that it lies on the eyeball tells it better.
    x, y = (mesh[iris, :2] - centre[:2]) / (EYEBALL * opening)
    aside = math.hypot(x, y)
    x, y = (x, y) if aside <= _ASIDE else (x * _ASIDE / aside, y * _ASIDE / aside)
    return np.array([x, y, -math.sqrt(1 - x * x - y * y)])


def openness(mesh: Float32) -> Float32:
    """Return ``(2,)`` float32 height over width of the inner mouth, and of the eyes (mean of both).

    That of the eyes is the eye aspect ratio of Soukupova and Cech, "Real-Time Eye Blink Detection using Facial
    Landmarks", CVWW 2016: about 0.3 open, below 0.2 shut. NaN where the points make no mouth or eye.
    """
    points = np.where(np.isfinite(mesh), mesh, np.nan).astype(np.float64)
    eyes = [_aspect(points, *lids) for lids in _LIDS]
    return np.array([_aspect(points, *_MOUTH), float(np.mean(eyes))], np.float32)


def _aspect(points: Float64, right: int, left: int, *upper_and_lower: int) -> float:
    """Return the mean height between upper and lower points over the width between the corners."""
    pairs = zip(upper_and_lower[::2], upper_and_lower[1::2], strict=True)
    heights = [float(np.linalg.norm(points[up] - points[low])) for up, low in pairs]
    return float(np.mean(heights)) / _distance(points, right, left)


def _distance(points: Float64, a: int, b: int) -> float:
    """Return the distance of two points, NaN where it is none."""
    length = float(np.linalg.norm(points[a] - points[b]))
    return length if length > 0 else math.nan


def _axes(mesh: Float32) -> Float64 | None:
    """Return ``(3, 3)``: the head's axes as columns, in those of the image; None where the points make none."""
    points = np.asarray(mesh, np.float64)[_RIGID]
    if not np.isfinite(points).all():
        return None
    u, lengths, vt = np.linalg.svd((points - points.mean(axis=0)).T @ (_FACE - _FACE.mean(axis=0)))
    if not lengths[1] > 1e-6 * lengths[0]:
        return None
    return np.asarray(u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt)


def _line_of_sight(centre: Float64, width: int, height: int) -> Float64:
    """Return the rotation that turns the camera's axis to a point of the picture."""
    focal = (FOCAL[0] * width + FOCAL[1] * height) / 2
    x, y = (centre - np.array([width, height]) / 2) / focal
    return rotation(np.array([-math.atan(y), math.atan2(x, math.hypot(y, 1)), 0], np.float32))
