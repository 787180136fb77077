"""Models by name, of a user, of OpenCV and of deepface."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from tracker import align, models, weights
from tracker.errors import ModelError
from tracker.models.dlib_onnx import CHIP_TEMPLATE
from tracker.models.onnx import ARCFACE_TEMPLATE
from tracker.protocols import Template
from tracker.types import Detections, Float32, Image

SHARED = Path(__file__).parents[2] / "shared" / "models"
COLLINS = np.float32([177, 57, 274, 180])
LANDMARKS = np.float32([[202, 101], [248, 103], [224, 127], [203, 143], [245, 145]])


class CornerDetector:
    """A detector that a user might write."""

    model_id = "corner"

    def detect(self, image: Image) -> Detections:
        """Return one box in the corner."""
        return Detections([[0, 0, image.shape[1] / 2, image.shape[0] / 2]], [0.9])


class Broken:
    """A class that cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("no luck")


class Incomplete:
    """Lacks almost everything."""

    model_id = "incomplete"


@pytest.fixture(scope="module")
def collins() -> Image:
    return np.ascontiguousarray(astronaut()[:, :, ::-1])


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACETRACK_CACHE", str(tmp_path_factory.getbasetemp() / "models_cache"))
    monkeypatch.delenv("FACETRACK_MODELS", raising=False)


def _in_new_process(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_every_model_has_weights_and_a_kind() -> None:
    assert set(models.MODELS) == set(weights.REGISTRY)
    assert {model.kind for model in models.MODELS.values()} == {"detector", "landmarks", "embedder", "emotion"}


@pytest.mark.parametrize("name", [row.name for row in models.describe() if row.path])
def test_models_that_are_here_load_and_satisfy_their_protocol(name: str) -> None:
    loaded = models.load(models.MODELS[name].kind, name)  # type: ignore[call-overload]
    assert isinstance(loaded.model_id, str)
    assert loaded.model_id


def test_description_says_what_is_here() -> None:
    rows = {row.name: row for row in models.describe()}
    assert rows["dlib"].path is not None
    assert rows["yunet"].path is None
    assert rows["yunet"].url.startswith("https://")
    assert all(row.licence and row.origin for row in rows.values())
    assert all(len(row.sha256) == 64 and row.size > 0 for row in rows.values() if row.name in models.MODELS)
    assert "deepface:NAME" in rows


def test_models_of_a_user() -> None:
    ours = CornerDetector()
    assert models.load("detector", ours) is ours
    assert models.load("detector", f"{__name__}:CornerDetector").model_id == "corner"


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("detector", "nosuch", "'nosuch'.*centerface.*yunet.*deepface:NAME.*module:Class"),
        ("detector", "dlib", "dlib is a model for embedder"),
        ("embedder", "yunet", "yunet is a model for detector"),
        ("embedder", "sface", "facetrack models pull sface"),
        ("detector", "nosuchmodule:Class", "cannot be imported"),
        ("detector", f"{__name__}:Nothing", "cannot be imported"),
        ("detector", f"{__name__}:Broken", "no luck"),
        ("detector", f"{__name__}:Incomplete", "lacks detect"),
        ("embedder", Incomplete(), "lacks dimension, embed, same_face, template"),
        ("detector", "deepface:nosuch", "deepface has no detector 'nosuch'.*opencv"),
        ("embedder", "deepface:nosuch", "Dlib.*"),
        ("landmarks", "deepface:Dlib", "no landmark models"),
    ],
)
def test_what_cannot_be_loaded_says_why(kind: str, spec: object, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        models.load(kind, spec)  # type: ignore[call-overload]


def test_import_of_the_table_is_light() -> None:
    heavy = ["cv2", "mediapipe", "deepface", "onnx", "onnxruntime", "scipy", "sklearn"]
    code = f"import sys, tracker.models; print([name for name in {heavy} if name in sys.modules])"
    assert _in_new_process(code, PYTHONPATH=str(Path(__file__).parents[1])).strip() == "[]"


def test_deepfaces_dlib_equals_ours(collins: Image) -> None:
    theirs, ours = models.load("embedder", "deepface:Dlib"), models.load("embedder", "dlib")
    chip = align.align(collins, LANDMARKS, CHIP_TEMPLATE)
    chips = [chip, chip[:, ::-1], cv2.convertScaleAbs(chip, alpha=0.5)]
    assert theirs.template is CHIP_TEMPLATE
    described = np.stack([theirs.describe(one) for one in chips])  # type: ignore[attr-defined]
    np.testing.assert_allclose(described, ours.describe(chips), atol=1e-5)  # type: ignore[attr-defined]
    embedded = theirs.embed(chips)
    np.testing.assert_allclose(np.linalg.norm(embedded, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(embedded[1], theirs.embed(chips[1:2])[0], atol=1e-6)
    assert theirs.embed([]).shape == (0, 128)
    assert theirs.same_face == pytest.approx(ours.same_face, abs=0.02)


def test_deepface_detector(collins: Image) -> None:
    found = models.load("detector", "deepface:opencv").detect(collins)
    assert np.abs(found.boxes[0] - COLLINS).max() < 35
    assert 0 <= found.scores[0] <= 1
    assert len(models.load("detector", "deepface:opencv").detect(np.zeros((80, 80, 3), np.uint8))) == 0


def test_deepface_stays_in_our_cache(tmp_path: Path) -> None:
    code = "from tracker import models; models.load('embedder', 'deepface:Dlib')"
    said = _in_new_process(
        code,
        PYTHONPATH=str(Path(__file__).parents[1]),
        HOME=str(tmp_path / "home"),
        FACETRACK_CACHE=str(tmp_path / "cache"),
    )
    assert said == ""
    assert not (tmp_path / "home").exists()
    (placed,) = (tmp_path / "cache" / "deepface").rglob("*.dat")
    assert weights.sha256(placed) == weights.get("dlib").sha256


def test_yunet(collins: Image) -> None:
    if not SHARED.is_dir():
        pytest.skip("the folder of shared models is not here")
    yunet = models.load("detector", "yunet", models_dir=SHARED)
    pictures = [
        collins,
        cv2.resize(collins, (300, 300)),
        np.zeros((64, 48, 3), np.uint8),
        cv2.resize(collins, (2000, 2000)),
    ]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(yunet.detect, pictures * 2))
    for image, one in zip(pictures * 2, found, strict=True):
        alone = yunet.detect(image)
        np.testing.assert_allclose(one.boxes, alone.boxes, atol=1e-3)
        truth: Float32 = COLLINS * np.float32(image.shape[0] / 512)
        assert bool(len(one)) == (image.shape[0] > 64)
        if len(one):
            assert np.abs(one.boxes[0] - truth).max() < 0.2 * (truth[3] - truth[1])
            scale = image.shape[0] / 512
            assert np.abs(one.landmarks[0] / scale - LANDMARKS).max() < 12


@pytest.mark.parametrize("name", ["yunet", "sface"])
def test_opencv_refuses_a_file_that_is_no_model(name: str, tmp_path: Path) -> None:
    from tracker.models.opencv import SFace, YuNet

    (tmp_path / "m.onnx").write_bytes(b"this is no model")
    with pytest.raises(ModelError, match=r"m\.onnx"):
        {"yunet": YuNet, "sface": SFace}[name](tmp_path / "m.onnx")


def test_templates_hold_the_face() -> None:
    for template in (ARCFACE_TEMPLATE, CHIP_TEMPLATE, models.load("embedder", "dlib").template):
        assert isinstance(template, Template)
        assert (template.five_points > 0).all()
        assert (template.five_points < template.size).all()
