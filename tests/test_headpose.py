"""Head pose, gaze and openness: turned points, and real faces."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.cbook import get_sample_data
from scipy.spatial.transform import Rotation
from skimage.data import astronaut

from tracker import models
from tracker.headpose import EYE_CENTRE, EYEBALL, MOST_YAW, euler, gaze, head_pose, openness, rotation
from tracker.types import Float32, Float64, Image

Finder = Callable[[Image], Float32]

POINTS = 478
EYES = {468: (33, 133, -1), 473: (263, 362, 1)}
SWAPPED = [(98, 327), (133, 362), (33, 263), (54, 284), (127, 356), (468, 473), (78, 308)]
SWAPPED += [(160, 387), (144, 373), (158, 385), (153, 380)]

angles = st.tuples(*[st.floats(-limit, limit) for limit in (1.2, 1.3, 2.5)])
small_angles = st.tuples(st.floats(-0.5, 0.5), st.floats(-0.7, 0.7), st.floats(-0.6, 0.6))
looks = st.tuples(st.floats(-0.4, 0.4), st.floats(-0.3, 0.3))


@pytest.fixture(scope="module")
def find() -> Finder:
    detector, landmarks = models.load("detector", "centerface"), models.load("landmarks", "facemesh")

    def find(picture: Image) -> Float32:
        mesh = landmarks.landmarks(picture, detector.detect(picture).boxes[0])
        assert mesh is not None
        return mesh

    return find


@pytest.fixture(scope="module")
def collins() -> Image:
    """Eileen Collins: she laughs, her head a little to her left."""
    return np.ascontiguousarray(astronaut()[:, :, ::-1])


@pytest.fixture(scope="module")
def hopper() -> Image:
    """Grace Hopper: mouth shut, her head turned to the right of the picture, where she looks."""
    return np.asarray(cv2.imread(get_sample_data("grace_hopper.jpg", asfileobj=False)), np.uint8)


@pytest.fixture(scope="module")
def ahead(find: Finder, collins: Image) -> Float32:
    """A face around the origin whose pose is 0, of real shape, whose eyes look ahead."""
    mesh = find(collins)
    upright = (mesh - mesh.mean(axis=0)) @ rotation(head_pose(mesh))
    return _looking(upright.astype(np.float32), (0, 0))


def _looking(upright: Float32, look: tuple[float, float]) -> Float32:
    """Return a face of pose 0 whose eyes are turned to the right of the picture and down by two angles."""
    mesh = upright.copy()
    direction = np.array([np.tan(look[0]), np.tan(look[1]), -1])
    for iris, (outer, inner, side) in EYES.items():
        opening = np.linalg.norm(mesh[outer] - mesh[inner])
        centre = (mesh[outer] + mesh[inner]) / 2 + opening * np.array(EYE_CENTRE) * [side, 1, 1]
        mesh[iris] = centre + EYEBALL * opening * direction / np.linalg.norm(direction)
    return mesh


def _turned(mesh: Float32, pose: tuple[float, ...] | Float32) -> Float32:
    return (mesh @ rotation(np.array(pose, np.float32)).T).astype(np.float32)


def _mirrored(mesh: Float32) -> Float32:
    mirrored = mesh * np.float32([-1, 1, 1])
    for pair in SWAPPED:
        mirrored[list(pair)] = mirrored[list(pair[::-1])]
    return mirrored


def _apart(a: Float64, b: Float64) -> float:
    """Return the angle between two rotations."""
    return float(np.arccos(np.clip((np.trace(a @ b.T) - 1) / 2, -1, 1)))


@settings(deadline=None)
@given(angles)
def test_rotations_are_about_x_then_y_then_z(pose: tuple[float, ...]) -> None:
    wanted = Rotation.from_euler("XYZ", pose).as_matrix()
    np.testing.assert_allclose(rotation(np.array(pose, np.float32)), wanted, atol=1e-6)
    np.testing.assert_allclose(euler(wanted), pose, atol=1e-5)


@settings(deadline=None)
@given(pose=angles)
def test_a_turned_face_has_the_pose_it_was_turned_by(ahead: Float32, pose: tuple[float, ...]) -> None:
    np.testing.assert_allclose(head_pose(_turned(ahead, pose)), pose, atol=2e-3)


@settings(deadline=None)
@given(pose=small_angles)
def test_a_face_of_wrong_depth_still_turns_as_a_whole(ahead: Float32, pose: tuple[float, ...]) -> None:
    inside_out = _turned(ahead, (0.2, 0.1, 0.3)) * np.float32([1, 1, -1])
    before, after = (rotation(head_pose(mesh)) for mesh in (inside_out, _turned(inside_out, pose)))
    assert _apart(after, rotation(np.array(pose, np.float32)) @ before) < 0.01


@settings(deadline=None)
@given(pose=angles, seed=st.integers(0, 99))
def test_noise_of_the_points_hardly_turns_the_face(ahead: Float32, pose: tuple[float, ...], seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.02 * np.ptp(ahead[:, 0]), ahead.shape)
    found = head_pose((_turned(ahead, pose) + noise).astype(np.float32))
    assert _apart(rotation(found), rotation(np.array(pose, np.float32))) < np.radians(6)


@settings(deadline=None)
@given(pose=small_angles, look=looks, scale=st.floats(0.05, 20), x=st.floats(-3e3, 3e3), y=st.floats(-3e3, 3e3))
def test_size_and_place_change_nothing(
    ahead: Float32, pose: tuple[float, ...], look: tuple[float, float], scale: float, x: float, y: float
) -> None:
    mesh = _turned(_looking(ahead, look), pose)
    moved = (mesh * scale + [x, y, 0]).astype(np.float32)
    for seen, wanted in zip(_all(moved), _all(mesh), strict=True):
        np.testing.assert_allclose(seen, wanted, atol=0.02)


def _all(mesh: Float32) -> tuple[Float32, Float32, Float32]:
    pose = head_pose(mesh)
    return pose, gaze(mesh, pose), openness(mesh)


@settings(deadline=None)
@given(pose=small_angles, look=looks)
def test_a_mirror_turns_yaw_roll_and_gaze(ahead: Float32, pose: tuple[float, ...], look: tuple[float, float]) -> None:
    mesh = _turned(_looking(ahead, look), pose)
    (seen, looked, opened), (mirror_seen, mirror_looked, mirror_opened) = _all(mesh), _all(_mirrored(mesh))
    np.testing.assert_allclose(mirror_seen, seen * [1, -1, -1], atol=2e-3)
    np.testing.assert_allclose(mirror_looked, looked * [-1, 1], atol=2e-3)
    np.testing.assert_allclose(mirror_opened, opened, atol=1e-5)


def test_signs_are_those_of_openface(ahead: Float32) -> None:
    nose, right_eye, left_eye = 1, 33, 263
    down, to_the_left, clockwise = (_turned(ahead, pose) - ahead for pose in np.eye(3) * 0.3)
    assert down[nose, 1] > 0
    assert to_the_left[nose, 0] < 0
    assert clockwise[left_eye, 1] > 0 > clockwise[right_eye, 1]


@settings(deadline=None)
@given(look=looks)
def test_gaze_in_a_still_head_is_where_the_irises_lie(ahead: Float32, look: tuple[float, float]) -> None:
    mesh = _looking(ahead, look)
    np.testing.assert_allclose(gaze(mesh, head_pose(mesh)), look, atol=2e-3)


@settings(deadline=None)
@given(pose=small_angles)
def test_eyes_that_look_ahead_turn_with_the_head(ahead: Float32, pose: tuple[float, ...]) -> None:
    mesh = _turned(ahead, pose)
    x, y, z = rotation(np.array(pose, np.float32)) @ [0, 0, -1]
    np.testing.assert_allclose(gaze(mesh, head_pose(mesh)), [np.arctan2(x, -z), np.arctan2(y, -z)], atol=5e-3)


@settings(deadline=None)
@given(yaw=st.floats(-0.4, 0.4))
def test_eyes_can_stay_on_the_camera_while_the_head_turns(ahead: Float32, yaw: float) -> None:
    mesh = _turned(_looking(ahead, (yaw, 0)), (0, yaw, 0))
    assert np.abs(gaze(mesh, head_pose(mesh))).max() < 0.01


@settings(deadline=None)
@given(x=st.floats(-900, 900), y=st.floats(-500, 500))
def test_the_line_of_sight_is_added_where_the_size_is_known(ahead: Float32, x: float, y: float) -> None:
    width, height = 1920, 1080
    mesh = ahead.copy()
    mesh[:, :2] += [width / 2 + x, height / 2 + y]
    pose = head_pose(mesh, width=width, height=height)
    assert np.abs(head_pose(mesh)).max() < 2e-3
    focal = (500 / 640 * width + 500 / 480 * height) / 2
    ray = np.array([x, y, focal]) / np.linalg.norm([x, y, focal])
    np.testing.assert_allclose(rotation(pose) @ [0, 0, 1], ray, atol=0.03)  # the face is not a point
    # Eyes that look into the camera look back along the ray.
    np.testing.assert_allclose(gaze(mesh, pose), [np.arctan2(-x, focal), np.arctan2(-y, focal)], atol=0.04)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_points_that_make_no_face_have_no_pose(bad: float) -> None:
    mesh = np.full((POINTS, 3), bad, np.float32)
    assert np.isnan(head_pose(mesh)).all()
    assert np.isnan(head_pose(mesh, width=640, height=360)).all()
    assert np.isnan(gaze(mesh, np.zeros(3, np.float32))).all()
    assert np.isnan(openness(mesh)).all()


def test_points_on_a_line_have_no_pose(ahead: Float32) -> None:
    assert np.isnan(head_pose(ahead * np.float32([0, 1, 0]))).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_gaze_is_unknown_without_pose_iris_or_second_eye(ahead: Float32, bad: float) -> None:
    assert np.isnan(gaze(ahead, np.full(3, bad, np.float32))).all()
    profile = _turned(ahead, (0, MOST_YAW + 0.05, 0))
    assert np.isnan(gaze(profile, head_pose(profile))).all()
    blind = ahead.copy()
    blind[468] = bad
    assert np.isfinite(head_pose(blind)).all()
    assert np.isnan(gaze(blind, head_pose(blind))).all()


def test_what_is_shut_has_no_height(ahead: Float32) -> None:
    shut = ahead.copy()
    for up, low in ((13, 14), (160, 144), (158, 153), (387, 373), (385, 380)):
        shut[up] = shut[low]
    assert openness(shut).tolist() == [0, 0]


@settings(deadline=None)
@given(pose=angles)
def test_openness_does_not_depend_on_the_pose(ahead: Float32, pose: tuple[float, ...]) -> None:
    np.testing.assert_allclose(openness(_turned(ahead, pose)), openness(ahead), rtol=1e-3)


def test_an_open_eye_and_mouth_are_as_high_as_they_are(ahead: Float32) -> None:
    mesh = ahead.copy()
    mesh[[78, 308]], mesh[[13, 14]] = [[-10, 0, 0], [10, 0, 0]], [[0, -3, 0], [0, 3, 0]]
    for outer, inner, up, low in ((33, 133, [160, 158], [144, 153]), (263, 362, [387, 385], [373, 380])):
        mesh[[outer, inner]] = [[-10, 0, 0], [10, 0, 0]]
        mesh[up], mesh[low] = [[-4, -3, 0], [4, -3, 0]], [[-4, 3, 0], [4, 3, 0]]
    np.testing.assert_allclose(openness(mesh), [0.3, 0.3], rtol=1e-6)


def test_real_faces(find: Finder, collins: Image, hopper: Image) -> None:
    (first, first_gaze, laughing), (second, second_gaze, calm) = _all(find(collins)), _all(find(hopper))
    assert np.abs(np.degrees(first)).max() < 15
    assert np.abs(np.degrees(first_gaze)).max() < 15  # she looks into the camera
    assert -30 < np.degrees(second[1]) < 0
    assert np.degrees(second_gaze[0]) > 0
    assert laughing[0] > 0.15 > 0.1 > calm[0]
    assert min(laughing[1], calm[1]) > 0.15


@pytest.mark.parametrize("name", ["collins", "hopper"])
def test_a_mirrored_picture_turns_yaw_roll_and_gaze(name: str, find: Finder, request: pytest.FixtureRequest) -> None:
    picture = request.getfixturevalue(name)
    pose, looked, opened = _all(find(picture))
    mirror_pose, mirror_looked, mirror_opened = _all(find(np.ascontiguousarray(picture[:, ::-1])))
    np.testing.assert_allclose(mirror_pose, pose * [1, -1, -1], atol=np.radians(4))
    np.testing.assert_allclose(mirror_looked, looked * [-1, 1], atol=np.radians(8))
    np.testing.assert_allclose(mirror_opened, opened, atol=0.06)


@pytest.mark.parametrize("clockwise", [-25, 25])
def test_a_picture_turned_clockwise_adds_to_the_roll(clockwise: int, find: Finder, collins: Image) -> None:
    height, width = collins.shape[:2]
    turn = cv2.getRotationMatrix2D((224, 110), -clockwise, 1)
    turned = np.asarray(cv2.warpAffine(collins, turn, (width, height)), np.uint8)
    before, after = (rotation(head_pose(find(picture))) for picture in (collins, turned))
    assert _apart(after, rotation(np.float32([0, 0, np.radians(clockwise)])) @ before) < np.radians(5)
