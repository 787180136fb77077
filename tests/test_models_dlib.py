"""The converted network against dlib itself, on real crops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import dlib
import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from skimage.data import astronaut

from tracker import align, weights
from tracker.errors import ModelError
from tracker.models import dlib_onnx
from tracker.models.dlib_onnx import CHIP_TEMPLATE, TEMPLATE, DlibEmbedder
from tracker.models.mediapipe import FaceMesh
from tracker.models.onnx import CenterFace
from tracker.types import Float32, Image


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("FACETRACK_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def embedder(cache: Path) -> DlibEmbedder:
    assert cache.is_dir()
    return DlibEmbedder(weights.find("dlib"))


@pytest.fixture(scope="module")
def portraits() -> list[Image]:
    with get_sample_data("grace_hopper.jpg") as file:
        hopper = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
    return [np.ascontiguousarray(astronaut()[:, :, ::-1]), np.asarray(hopper, np.uint8)]


def _crops(portraits: list[Image], template: align.Template) -> list[Image]:
    detector, mesh = CenterFace(weights.find("centerface")), FaceMesh()
    crops = []
    for image in portraits:
        found = detector.detect(image)
        points = mesh.landmarks(image, found.boxes[0])
        crop = align.align(image, found.landmarks[0], template, mesh=points)
        bright = cv2.convertScaleAbs(crop, alpha=1.3, beta=10)
        dark = cv2.convertScaleAbs(crop, alpha=0.4)
        crops += [crop, crop[:, ::-1], bright, dark, cv2.GaussianBlur(crop, (0, 0), 2)]
    return crops


def test_descriptors_equal_dlibs_own(embedder: DlibEmbedder, portraits: list[Image]) -> None:
    chips = _crops(portraits, CHIP_TEMPLATE)
    rng = np.random.default_rng(0)
    chips += [rng.integers(0, 256, (150, 150, 3), np.uint8), np.zeros((150, 150, 3), np.uint8)]
    reference = dlib.face_recognition_model_v1(str(weights.find("dlib")))
    wanted = [np.array(reference.compute_face_descriptor(np.ascontiguousarray(chip[:, :, ::-1]))) for chip in chips]
    np.testing.assert_allclose(embedder.describe(chips), wanted, rtol=0, atol=1e-5)


def test_template_is_the_place_where_dlib_cuts() -> None:
    """Dlib's own chip of landmarks in its template, drawn at 1:1, is that very picture."""
    canvas = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    canvas = cv2.GaussianBlur(canvas, (0, 0), 3)
    points = CHIP_TEMPLATE.mesh_points * 4
    large = cv2.resize(canvas, (600, 600), interpolation=cv2.INTER_CUBIC)
    face = dlib.full_object_detection(
        dlib.rectangle(0, 0, 599, 599), [dlib.point(round(float(x)), round(float(y))) for x, y in points]
    )
    chip = dlib.get_face_chip(np.ascontiguousarray(large), face, 150, 0.25)
    inner = (slice(10, -10), slice(10, -10))
    shifts = [(y, x) for y in (-2, -1, 0, 1, 2) for x in (-2, -1, 0, 1, 2)]
    differences = {shift: np.abs(np.roll(chip, shift, (0, 1)).astype(int) - canvas)[inner].mean() for shift in shifts}
    assert differences[0, 0] == min(differences.values()) < canvas.std() / 4


def test_people_are_told_apart(embedder: DlibEmbedder, portraits: list[Image]) -> None:
    vectors = embedder.embed(_crops(portraits, TEMPLATE))
    collins, hopper = vectors[:3], vectors[5:8]
    assert (collins @ collins.T).min() > embedder.same_face
    assert (hopper @ hopper.T).min() > embedder.same_face
    assert (collins @ hopper.T).max() < embedder.same_face
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=0.05)


def test_a_blurred_face_counts_less(embedder: DlibEmbedder, portraits: list[Image]) -> None:
    crops = _crops(portraits, TEMPLATE)
    clear = np.linalg.norm(embedder.embed(crops), axis=1)
    blurred = np.linalg.norm(embedder.embed([cv2.GaussianBlur(crop, (0, 0), 6) for crop in crops]), axis=1)
    assert (blurred < clear).all()


def test_neither_batch_nor_threads_change_a_vector(embedder: DlibEmbedder, portraits: list[Image]) -> None:
    crops = _crops(portraits, TEMPLATE)
    one_by_one = np.concatenate([embedder.embed([crop]) for crop in crops])
    single = DlibEmbedder(weights.find("dlib"), threads=1)
    np.testing.assert_allclose(embedder.embed(crops), one_by_one, atol=1e-6)
    np.testing.assert_allclose(single.embed(crops), one_by_one, atol=1e-6)
    assert embedder.embed([]).shape == (0, 128)


def _cosine(a: Float32, b: Float32) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_views_add_the_mirror_image(portraits: list[Image]) -> None:
    crop = _crops(portraits[:1], TEMPLATE)[0]
    models = [DlibEmbedder(weights.find("dlib"), views=views) for views in (1, 2, 4)]
    mirrored = [_cosine(*model.embed([crop, crop[:, ::-1]])) for model in models]
    assert mirrored[0] < 0.999
    assert mirrored[1:] == pytest.approx([1, 1], abs=1e-5)
    assert len({model.model_id for model in models}) == 3
    with pytest.raises(ValueError, match="1, 2 and 4"):
        DlibEmbedder(weights.find("dlib"), views=3)


def test_conversion_is_cached_under_the_hash_of_its_source(embedder: DlibEmbedder, cache: Path) -> None:
    assert embedder.dimension == 128
    (path,) = cache.glob("dlib_*.onnx")
    assert weights.get("dlib").sha256[:16] in path.name
    before = path.stat().st_mtime_ns
    assert dlib_onnx.converted(weights.find("dlib")) == path
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("cut", [0, 100, 20_000, 10_000_000, -1000])
def test_damaged_file_is_refused_and_nothing_is_kept(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACETRACK_CACHE", str(tmp_path / "cache"))
    damaged = tmp_path / "damaged.dat"
    damaged.write_bytes(weights.find("dlib").read_bytes()[:cut])
    with pytest.raises(ModelError, match="install the package again"):
        DlibEmbedder(damaged)
    assert not (tmp_path / "cache").exists()
