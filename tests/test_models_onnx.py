"""CenterFace, SCRFD and the 112 px embedders on two portraits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from skimage.data import astronaut

from tracker import align, weights
from tracker.errors import ModelError
from tracker.models.onnx import ArcFaceEmbedder, CenterFace, Scrfd, _with_free_size, resized
from tracker.models.sessions import open_session
from tracker.models.tiles import TiledDetector, square_tiles
from tracker.types import Detections, Float32, Image

SHARED = Path(__file__).parents[2] / "shared" / "models"

COLLINS = np.float32([177, 57, 274, 180])
HOPPER = np.float32([176, 122, 358, 338])
"""Boxes of the two portraits, hairline to chin, drawn by hand."""


@pytest.fixture(scope="module")
def collins() -> Image:
    return np.ascontiguousarray(astronaut()[:, :, ::-1])


@pytest.fixture(scope="module")
def hopper() -> Image:
    with get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR), np.uint8)


@pytest.fixture(scope="module")
def centerface() -> CenterFace:
    return CenterFace(weights.find("centerface"))


def shared(name: str) -> Path:
    path = weights.locate(name, models_dir=SHARED) if SHARED.is_dir() else None
    if path is None:
        pytest.skip(f"weights of {name} are not here")
    return path


def overlap(found: Detections, truth: Float32) -> float:
    corner = np.maximum(found.boxes[0, :2], truth[:2])
    inner = np.prod(np.maximum(np.minimum(found.boxes[0, 2:], truth[2:]) - corner, 0))
    areas = [np.prod(box[2:] - box[:2]) for box in (found.boxes[0], truth)]
    return float(inner / (sum(areas) - inner))


def assert_face(found: Detections, truth: Float32) -> None:
    assert len(found) >= 1
    assert overlap(found, truth) > 0.6
    assert found.scores[0] > 0.6
    assert (found.scores >= 0.3).all()
    right_eye, left_eye, nose, right_mouth, left_mouth = (found.landmarks[0] - truth[:2]) / (truth[2:] - truth[:2])
    assert 0 < right_eye[0] < nose[0] < left_eye[0] < 1
    assert 0 < right_eye[1] < nose[1] < right_mouth[1] < 1
    assert 0 < left_eye[1] < nose[1] < left_mouth[1] < 1
    assert right_mouth[0] < left_mouth[0]


@pytest.mark.parametrize("name", ["centerface", "scrfd", "scrfd_500m"])
def test_detectors_find_the_portraits(name: str, collins: Image, hopper: Image) -> None:
    detector = CenterFace(weights.find(name)) if name == "centerface" else Scrfd(shared(name))
    assert_face(detector.detect(collins), COLLINS)
    assert_face(detector.detect(hopper), HOPPER)
    assert len(detector.detect(np.zeros((240, 320, 3), np.uint8))) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (33, 31), (97, 1000)])
def test_odd_pictures_give_no_face_and_no_error(centerface: CenterFace, shape: tuple[int, int]) -> None:
    assert len(centerface.detect_small(np.full((*shape, 3), 99, np.uint8))) == 0


@pytest.mark.parametrize("scale", [0.25, 0.6, 3.0])
def test_boxes_follow_the_scale_of_the_picture(centerface: CenterFace, collins: Image, scale: float) -> None:
    larger = cv2.resize(
        collins, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    assert_face(centerface.detect(larger), COLLINS * np.float32(scale))


def test_detection_follows_a_shift(centerface: CenterFace, collins: Image) -> None:
    here = centerface.detect(collins)
    moved = centerface.detect(np.roll(collins, (64, 32), axis=(0, 1)))
    np.testing.assert_allclose(moved.boxes[0] - here.boxes[0], [32, 64, 32, 64], atol=4)


def test_faces_are_found_once_each(centerface: CenterFace, collins: Image) -> None:
    pair = np.concatenate([collins[:300], collins[:300, ::-1]], axis=1)
    for found in (centerface.detect(pair), centerface.detect_small(pair)):
        assert (found.scores > 0.6).sum() == 2


def test_closer_look_finds_what_the_first_misses(centerface: CenterFace, collins: Image) -> None:
    canvas = np.full((1440, 2560, 3), 90, np.uint8)
    small = cv2.resize(collins[:300, 100:350], None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    for x, y in ((300, 200), (1500, 900), (2300, 1250)):
        canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
    assert len(centerface.detect_small(canvas)) == 3 > len(centerface.detect(canvas))


def test_threads_and_neighbours_change_no_detection(collins: Image, hopper: Image) -> None:
    one, two = (CenterFace(weights.find("centerface"), threads=threads) for threads in (1, 2))
    with ThreadPoolExecutor(3) as pool:
        parallel = list(pool.map(two.detect, [collins, hopper] * 3))
    for found, image in zip(parallel, [collins, hopper] * 3, strict=True):
        alone = one.detect(image)
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=1e-3)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-6)


def test_tiles_find_what_the_full_frame_misses(centerface: CenterFace, collins: Image) -> None:
    coarse = CenterFace(weights.find("centerface"), long_side=160)
    canvas = np.full((600, 900, 3), 90, np.uint8)
    canvas[380:580, 40:240] = cv2.resize(collins[20:270, 100:350], (200, 200), interpolation=cv2.INTER_AREA)[:200, :200]
    small = cv2.resize(collins[20:270, 100:350], (90, 90), interpolation=cv2.INTER_AREA)
    canvas[270:360, 500:590] = small
    tiled = TiledDetector(coarse, tile_share=0.4)
    assert tiled.model_id == coarse.model_id
    assert len(tiled.detect_small(canvas)) == 2 > len(tiled.detect(canvas))


@pytest.mark.parametrize(("height", "width", "side"), [(720, 1280, 432), (99, 1000, 60), (5, 5, 9), (1, 1, 1)])
def test_tiles_cover_the_picture(height: int, width: int, side: int) -> None:
    seen = np.zeros((height, width), bool)
    tiles = square_tiles(np.zeros((height, width, 3), np.uint8), side)
    for x1, y1, x2, y2 in tiles:
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert x2 - x1 == y2 - y1
        seen[y1:y2, x1:x2] = True
    assert seen.all()


def test_resize_keeps_the_aspect_and_limits_enlargement() -> None:
    assert resized(np.zeros((360, 640, 3), np.uint8), 640)[1] == 1
    small, scale = resized(np.zeros((100, 50, 3), np.uint8), 640)
    assert (small.shape[:2], scale) == ((200, 100), 2)
    assert resized(np.zeros((1, 4000, 3), np.uint8), 640)[0].shape[:2] == (1, 640)


@pytest.mark.parametrize("shape", [(720, 1280), (721, 1283), (360, 640), (2160, 3840)])
def test_a_reduced_picture_shows_the_mean_of_its_pixels(shape: tuple[int, int]) -> None:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    ramp = np.stack([rows / shape[0], columns / shape[1], (rows + columns) % 2], axis=2)
    small, scale = resized(np.uint8(255 * ramp), 352)
    assert max(small.shape) == round(scale * max(shape)) == 352
    there = (np.mgrid[: small.shape[0], : small.shape[1]] + 0.5) / np.array(small.shape[:2])[:, None, None]
    np.testing.assert_allclose(small[2:-2, 2:-2, :2], 255 * there.transpose(1, 2, 0)[2:-2, 2:-2], atol=2)
    assert abs(float(small[..., 2].mean()) - 127.5) < 5


def test_weights_of_the_detector_are_constants_that_the_graph_can_be_made_fast_with() -> None:
    session = open_session(_with_free_size(weights.find("centerface")))
    assert not session.get_overridable_initializers()


@pytest.mark.parametrize(("name", "scale"), [("mobilefacenet", 128.0), ("w600k_mbf", 127.5), ("edgeface_xs", 127.5)])
def test_embedders_tell_people_apart(
    name: str, scale: float, centerface: CenterFace, collins: Image, hopper: Image
) -> None:
    embedder = ArcFaceEmbedder(shared(name), same_face=0.3, scale=scale)

    def crop(image: Image) -> Image:
        return align.align(image, centerface.detect(image).landmarks[0], embedder.template)

    crops = [crop(collins), crop(cv2.convertScaleAbs(collins, alpha=0.7)), crop(hopper)]
    vectors = embedder.embed(crops)
    assert vectors.shape == (3, embedder.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert vectors[0] @ vectors[1] > 0.8 > 0.3 > vectors[0] @ vectors[2]
    np.testing.assert_allclose(vectors, np.concatenate([embedder.embed([c]) for c in crops]), atol=1e-6)
    flipped = ArcFaceEmbedder(shared(name), same_face=0.3, scale=scale, flip=True)
    assert flipped.model_id != embedder.model_id
    np.testing.assert_allclose(flipped.embed([crops[0]]), flipped.embed([crops[0][:, ::-1]]), atol=1e-5)
    assert embedder.embed([]).shape == (0, embedder.dimension)


@pytest.mark.parametrize("load", [CenterFace, Scrfd, lambda path: ArcFaceEmbedder(path, same_face=0.3)])
def test_file_that_is_no_model_is_one_clear_error(load: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"this is no model")
    with pytest.raises(ModelError, match=r"model\.onnx"):
        load(path)


def test_network_of_another_kind_is_refused() -> None:
    with pytest.raises(ModelError, match="outputs"):
        Scrfd(weights.find("centerface"))
    with pytest.raises(ModelError, match="112"):
        ArcFaceEmbedder(weights.find("centerface"), same_face=0.3)


def test_bytes_that_are_no_model_are_an_error() -> None:
    with pytest.raises(ModelError, match="converted"):
        open_session(b"nothing")
