"""BlazeFace and Face Mesh on two portraits."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from skimage.data import astronaut

from indexing.processes import environment
from tracker.models.mediapipe import BlazeFace, FaceMesh
from tracker.types import Image

COLLINS = np.float32([177, 57, 274, 180])
HOPPER = np.float32([176, 122, 358, 338])

RIGHT_IRIS, LEFT_IRIS = 468, 473


@pytest.fixture(scope="module")
def collins() -> Image:
    return np.ascontiguousarray(astronaut()[:, :, ::-1])


@pytest.fixture(scope="module")
def hopper() -> Image:
    with get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR), np.uint8)


@pytest.fixture(scope="module")
def blazeface() -> BlazeFace:
    return BlazeFace()


@pytest.fixture(scope="module")
def mesh() -> FaceMesh:
    return FaceMesh()


def test_blazeface_finds_the_portraits(blazeface: BlazeFace, collins: Image, hopper: Image) -> None:
    for image, truth in ((collins, COLLINS), (hopper, HOPPER)):
        found = blazeface.detect(image)
        assert len(found) == 1
        assert np.abs(found.boxes[0] - truth).max() < 0.25 * (truth[3] - truth[1])
        right_eye, left_eye, nose, right_mouth, left_mouth = found.landmarks[0]
        assert right_eye[0] < nose[0] < left_eye[0]
        assert right_eye[1] < nose[1] < min(right_mouth[1], left_mouth[1])
        assert right_mouth[0] < left_mouth[0]
    assert len(blazeface.detect(np.zeros((99, 77, 3), np.uint8))) == 0


def test_tiles_find_small_faces_and_each_once(blazeface: BlazeFace, collins: Image) -> None:
    canvas = np.full((720, 1280, 3), 90, np.uint8)
    small = cv2.resize(collins[:300, 100:350], None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    for x, y in ((100, 60), (600, 300), (1100, 560)):
        canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    assert len(blazeface.detect_small(canvas)) == 3 > len(blazeface.detect(canvas))


def test_mesh_lies_on_the_face(mesh: FaceMesh, collins: Image, hopper: Image) -> None:
    for image, truth in ((collins, COLLINS), (hopper, HOPPER)):
        points = mesh.landmarks(image, truth)
        assert points is not None
        assert points.shape == (478, 3)
        assert points.dtype == np.float32
        margin = 0.15 * (truth[2:] - truth[:2])
        assert (points[:, :2] > truth[:2] - margin).all()
        assert (points[:, :2] < truth[2:] + margin).all()
        assert points[RIGHT_IRIS, 0] < points[1, 0] < points[LEFT_IRIS, 0]
    assert np.linalg.norm(mesh.landmarks(collins, COLLINS)[RIGHT_IRIS, :2] - [202, 101]) < 4  # type: ignore[index]


def test_mesh_depends_on_no_earlier_picture(mesh: FaceMesh, collins: Image, hopper: Image) -> None:
    first = mesh.landmarks(collins, COLLINS)
    mesh.landmarks(hopper, HOPPER)
    again, fresh = mesh.landmarks(collins, COLLINS), FaceMesh().landmarks(collins, COLLINS)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, fresh)


def test_mesh_follows_the_scale_of_the_picture(mesh: FaceMesh, collins: Image) -> None:
    small = cv2.resize(collins, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    here, there = mesh.landmarks(collins, COLLINS), mesh.landmarks(small, COLLINS / 2)
    assert here is not None
    assert there is not None
    assert np.abs(here[:, :2] - there[:, :2] * 2).mean() < 2


@pytest.mark.parametrize(
    "box", [[0, 300, 60, 380], [-500, -500, -400, -400], [100, 100, 100, 100], [300, 300, 200, 200]]
)
def test_no_mesh_where_no_face_is(mesh: FaceMesh, collins: Image, box: list[float]) -> None:
    assert mesh.landmarks(collins, np.float32(box)) is None


def test_neighbours_mesh_is_not_taken(mesh: FaceMesh, collins: Image) -> None:
    beside = np.float32([275, 57, 372, 180])
    assert mesh.landmarks(collins, beside) is None


def test_models_keep_the_terminal_quiet(capfd: pytest.CaptureFixture[str], collins: Image) -> None:
    BlazeFace().detect(collins)
    FaceMesh().landmarks(collins, COLLINS)
    assert capfd.readouterr() == ("", "")


def test_pyplot_is_left_to_those_who_draw() -> None:
    code = """if True:
        import sys
        from tracker.models import mediapipe
        drawing = mediapipe._solutions().drawing_utils
        assert "matplotlib.pyplot" not in sys.modules
        import matplotlib.pyplot as plt
        assert drawing.plt.figure is plt.figure
    """
    subprocess.run([sys.executable, "-c", code], check=True, env=environment())
