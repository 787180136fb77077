"""Emotion models of others: labels, preprocessing, batches and errors, on networks made here and on a real one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from skimage.data import astronaut

from tracker import align, models, weights
from tracker.errors import ModelError
from tracker.models import emotions
from tracker.models.emotions import AFFECTNET_LABELS, FER_LABELS, HSEmotion, MiniXception, fer_template, to_emotions
from tracker.protocols import EmotionModel, Feelings, Template
from tracker.types import EMOTIONS, Float32, Image

SHARED = Path(__file__).parents[2] / "shared" / "models"
DEEPFACE_FILE = "facial_expression_model_weights.onnx"
LANDMARKS = np.array([[202, 101], [248, 103], [224, 127], [203, 143], [245, 145]], np.float32)


def write_network(path: Path, matrix: Float32, *, shape: Sequence[str | int], softmax: bool = False) -> Path:
    """Write a network whose outputs are the mean of each channel times ``matrix`` ``(channels, outputs)``."""
    axes = [1, 2] if shape[-1] in (1, 3) else [2, 3]
    nodes = [
        helper.make_node("ReduceMean", ["pixels"], ["means"], axes=axes, keepdims=0),
        helper.make_node("MatMul", ["means", "matrix"], ["logits"]),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["rows"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", matrix.shape[1]])],
        [numpy_helper.from_array(matrix.astype(np.float32), "matrix")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def plain(size: int, *bgr: int) -> Image:
    return np.full((size, size, 3), bgr, np.uint8)


def noise(size: int, count: int) -> list[Image]:
    return list(np.random.default_rng(3).integers(0, 256, (count, size, size, 3), np.uint8))


@pytest.fixture
def xception(tmp_path: Path) -> MiniXception:
    """A network whose logits are the mean of its input times 1 to 7."""
    matrix = np.arange(1, 8, dtype=np.float32)[None]
    return MiniXception(write_network(tmp_path / "small.onnx", matrix, shape=["n", 1, 16, 16], softmax=True))


HSE_MATRIX = np.eye(3, 10, dtype=np.float32) + np.eye(3, 10, k=8, dtype=np.float32)
"""Anger sees red, contempt green, disgust blue; valence sees red and arousal green."""


@pytest.fixture
def multi_task(tmp_path: Path) -> HSEmotion:
    return HSEmotion(write_network(tmp_path / "enet_b0_8_va_mtl.onnx", HSE_MATRIX, shape=["n", 3, 32, 32]))


def softmax(logits: Float32) -> Float32:
    grown = np.exp(logits)
    return np.asarray(grown / grown.sum(-1, keepdims=True), np.float32)


def assert_probabilities(feelings: Feelings, count: int) -> None:
    assert feelings.emotions.shape == (count, 7)
    assert (feelings.emotions >= 0).all()
    np.testing.assert_allclose(feelings.emotions.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("grey", [0, 127, 255])
def test_mini_xception_sees_grey_from_minus_one_to_one(xception: MiniXception, grey: int) -> None:
    seen = xception.classify([plain(16, grey, grey, grey)]).emotions[0]
    np.testing.assert_allclose(seen, softmax((grey / 127.5 - 1) * np.arange(1, 8)), atol=1e-5)


def test_mini_xception_weighs_colours_as_bgr(xception: MiniXception) -> None:
    seen = [xception.classify([plain(16, *bgr)]).emotions[0, 6] for bgr in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
    assert seen == sorted(seen)
    assert len(set(seen)) == 3


def test_labels_of_fer_keep_their_places(tmp_path: Path) -> None:
    for place, emotion in enumerate(EMOTIONS):
        path = write_network(
            tmp_path / "m.onnx", np.eye(1, 7, place, np.float32) * 9, shape=["n", 1, 8, 8], softmax=True
        )
        assert EMOTIONS[MiniXception(path).classify([plain(8, 255, 255, 255)]).emotions[0].argmax()] == emotion
    assert list(FER_LABELS.values()) == list(EMOTIONS)


def test_hsemotion_sees_normalised_rgb_and_drops_contempt(multi_task: HSEmotion) -> None:
    seen = multi_task.classify([plain(32, 20, 90, 200)])
    rgb = (np.array([200, 90, 20]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    anger, contempt, disgust = rgb
    eight = softmax(np.array([anger, contempt, disgust, 0, 0, 0, 0, 0], np.float32))
    left = eight[[0, 2, 3, 4, 6, 7, 5]]  # our order: angry disgust fear happy sad surprise neutral
    np.testing.assert_allclose(seen.emotions[0], left / left.sum(), atol=1e-5)
    assert seen.affect is not None
    np.testing.assert_allclose(seen.affect[0], np.clip(rgb[:2], -1, 1), atol=1e-5)


def test_hsemotion_of_eight_outputs_tells_no_valence(tmp_path: Path) -> None:
    for place, label in enumerate(AFFECTNET_LABELS):
        matrix = np.zeros((3, 8), np.float32)
        matrix[:, place] = 9
        path = write_network(tmp_path / "m.onnx", matrix, shape=["n", 3, 8, 8])
        seen = HSEmotion(path).classify([plain(8, 255, 255, 255)])
        assert seen.affect is None
        wanted = {"Anger": "angry", "Happiness": "happy", "Sadness": "sad"}.get(label, label.lower())
        if label == "Contempt":
            np.testing.assert_allclose(seen.emotions, 1 / 7, atol=1e-4)
        else:
            assert EMOTIONS[seen.emotions[0].argmax()] == wanted


@pytest.mark.parametrize("count", [0, 1, 2, 65, 130])
def test_batches_change_nothing(xception: MiniXception, multi_task: HSEmotion, count: int) -> None:
    for model in (xception, multi_task):
        crops = noise(model.template.size, count)
        together = model.classify(crops)
        assert_probabilities(together, count)
        alone = [model.classify([crop]) for crop in crops]
        for row, one in enumerate(alone):
            np.testing.assert_allclose(together.emotions[row], one.emotions[0], atol=1e-6)
            if one.affect is not None and together.affect is not None:
                np.testing.assert_allclose(together.affect[row], one.affect[0], atol=1e-6)
        assert (together.affect is None) == isinstance(model, MiniXception)


def test_threads_change_nothing(tmp_path: Path) -> None:
    path = write_network(tmp_path / "m.onnx", HSE_MATRIX, shape=["n", 3, 32, 32])
    crops = noise(32, 5)
    one, two = (HSEmotion(path, threads=threads).classify(crops).emotions for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("model", "columns", "shape"),
    [
        (MiniXception, 8, ["n", 1, 16, 16]),
        (MiniXception, 7, ["n", 3, 16, 16]),
        (MiniXception, 7, ["n", 16, 16, 1]),
        (HSEmotion, 7, ["n", 3, 16, 16]),
        (HSEmotion, 8, ["n", 3, 16, 24]),
        (HSEmotion, 8, ["n", 3, "h", "w"]),
    ],
)
def test_another_kind_of_network_is_refused(
    model: Callable[[Path], EmotionModel], columns: int, shape: list[str | int], tmp_path: Path
) -> None:
    path = write_network(tmp_path / "other.onnx", np.ones((shape.count(3) * 2 + 1, columns), np.float32), shape=shape)
    with pytest.raises(ModelError, match=r"other\.onnx takes .* of this family"):
        model(path)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"this is no model")
    with pytest.raises(ModelError, match=r"m\.onnx"):
        MiniXception(tmp_path / "m.onnx")


@pytest.mark.parametrize("crop", [np.zeros((15, 16, 3), np.uint8), np.zeros((16, 16), np.uint8)])
def test_crops_of_another_shape_are_refused(xception: MiniXception, crop: Image) -> None:
    with pytest.raises(ModelError, match=r"a crop has shape \(1.*\(16, 16, 3\)"):
        xception.classify([plain(16, 0, 0, 0), crop])


@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=8, max_size=8), max_size=5))
def test_mapping_keeps_the_ratios(rows: list[list[float]]) -> None:
    given_rows = np.array(rows, np.float32).reshape(-1, 8)
    ours = to_emotions(given_rows, AFFECTNET_LABELS)
    assert ours.shape == (len(rows), 7)
    np.testing.assert_allclose(ours.sum(axis=1), 1, atol=1e-4)
    for row, mapped in zip(given_rows, ours, strict=True):
        kept = row[[0, 2, 3, 4, 6, 7, 5]]
        if kept.sum() > 1e-30:
            np.testing.assert_allclose(mapped, kept / kept.sum(), atol=1e-4)
        else:
            assert (mapped >= 0).all()


def test_labels_of_one_class_add_up() -> None:
    labels = dict(zip("abcdefgh", [*EMOTIONS, "happy"], strict=True))
    ours = to_emotions(np.array([[0.2, 0, 0, 0.3, 0, 0, 0.1, 0.4]], np.float32), labels)
    assert ours[0, EMOTIONS.index("happy")] == pytest.approx(0.7)


def test_mapping_refuses_what_does_not_fit() -> None:
    with pytest.raises(ModelError, match=r"shape \(2, 8\).*\(N, 7\) is needed: angry"):
        to_emotions(np.zeros((2, 8), np.float32), FER_LABELS)
    with pytest.raises(ModelError, match="no label of the model stands for neutral"):
        to_emotions(np.zeros((2, 6), np.float32), {emotion: emotion for emotion in EMOTIONS[:-1]})


@pytest.mark.parametrize("size", [48, 64, 224])
def test_template_holds_a_symmetric_face(size: int) -> None:
    template = fer_template(size)
    for points in (template.five_points, template.mesh_points):
        assert (points > 0).all()
        assert (points < size).all()
    right_eye, left_eye, nose, right_mouth, left_mouth = template.five_points
    for right, left in ((right_eye, left_eye), (right_mouth, left_mouth)):
        assert right[0] + left[0] == pytest.approx(size - 1, abs=0.1)
    assert right_eye[1] < nose[1] < right_mouth[1]


def test_known_models_are_listed() -> None:
    rows = {row.name: row for row in models.describe() if row.kind == "emotion"}
    assert list(rows) == ["emotion_cnn", "mini_xception", "hsemotion", "deepface:Emotion"]
    assert rows["hsemotion"].url.startswith("https://")
    assert "AffectNet" in rows["hsemotion"].licence
    assert all(row.licence and row.origin for row in rows.values())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nosuch", "no emotion is called 'nosuch'; there are emotion_cnn, mini_xception, hsemotion, deepface:Emotion"),
        ("dlib", "dlib is a model for embedder, not for emotion"),
        ("hsemotion", "facetrack models pull hsemotion"),
        ("mini_xception", "put fer2013_mini_xception.onnx into a folder"),
        ("deepface:Age", "deepface has no emotion 'Age'; it has Emotion"),
        (f"{__name__}:Speechless", "lacks classify, template"),
    ],
)
def test_what_cannot_be_loaded_says_why(
    spec: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACETRACK_CACHE", str(tmp_path))
    monkeypatch.delenv("FACETRACK_MODELS", raising=False)
    with pytest.raises(ModelError, match=message):
        models.load("emotion", spec)


class Speechless:
    """Lacks almost everything."""

    model_id = "speechless"


class Always:
    """A model that a user might write."""

    model_id = "always-happy"
    template: Template = fer_template(32)

    def classify(self, crops: Sequence[Image]) -> Feelings:
        """Return happiness."""
        return Feelings(np.tile(np.eye(7, dtype=np.float32)[3], (len(crops), 1)))


def test_models_of_a_user() -> None:
    loaded = models.load("emotion", f"{__name__}:Always")
    assert loaded.model_id == "always-happy"
    assert_probabilities(loaded.classify([plain(32, 0, 0, 0)]), 1)
    assert models.load("emotion", loaded) is loaded


def test_our_own_weights_are_missed_by_our_own_name() -> None:
    assert "--force-reinstall facetrack`" in weights.missing("emotion_cnn")


@pytest.fixture
def deepface_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of deepface without a network; the model that deepface keeps in memory is forgotten afterwards."""
    from tracker.models.deepface import names

    names()
    from deepface.modules import modeling

    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DEEPFACE_HOME", str(tmp_path))
    monkeypatch.setitem(modeling.__dict__, "cached_models", {task: {} for task in modeling.AVAILABLE_MODELS})
    folder = tmp_path / ".deepface" / "weights"
    folder.mkdir(parents=True)
    return folder


def test_deepface_without_a_network_says_what_to_do(deepface_home: Path) -> None:
    with pytest.raises(ModelError, match=r"deepface:Emotion cannot be loaded.*which takes a network or the file put"):
        models.load("emotion", "deepface:Emotion")


def test_deepface_sees_grey_from_zero_to_one(deepface_home: Path) -> None:
    matrix = np.arange(1, 8, dtype=np.float32)[None]
    write_network(deepface_home / DEEPFACE_FILE, matrix, shape=["n", 48, 48, 1], softmax=True)
    loaded = models.load("emotion", "deepface:Emotion")
    assert (loaded.model_id, loaded.template.size) == ("deepface:Emotion", 48)
    for grey in (0, 100, 255):
        seen = loaded.classify([plain(48, grey, grey, grey)])
        np.testing.assert_allclose(seen.emotions[0], softmax(grey / 255 * np.arange(1, 8)), atol=1e-5)
    crops = noise(48, 3)
    together = loaded.classify(crops)
    assert_probabilities(together, 3)
    np.testing.assert_allclose(together.emotions[2], loaded.classify(crops[2:]).emotions[0], atol=1e-6)
    assert loaded.classify([]).emotions.shape == (0, 7)


@pytest.fixture(scope="module")
def real() -> EmotionModel:
    if not SHARED.is_dir():
        pytest.skip("the folder of shared models is not here")
    return models.load("emotion", "mini_xception", models_dir=SHARED)


def test_the_real_network_sees_a_smile(real: EmotionModel) -> None:
    collins = np.ascontiguousarray(astronaut()[:, :, ::-1])
    mesh = models.load("landmarks", "facemesh").landmarks(collins, np.array([177, 57, 274, 180], np.float32))
    assert mesh is not None
    crops = [align.align(collins, LANDMARKS, real.template, mesh=found) for found in (None, mesh)]
    seen = real.classify([*crops, crops[0][:, ::-1]])
    assert_probabilities(seen, 3)
    assert (seen.emotions[:, EMOTIONS.index("happy")] > 0.7).all()
    assert seen.affect is None


def test_the_real_network_does_not_care_for_the_batch(real: EmotionModel) -> None:
    crops = noise(real.template.size, 70)
    np.testing.assert_allclose(real.classify(crops).emotions[69], real.classify(crops[69:]).emotions[0], atol=1e-5)
    assert emotions.stacked(crops, 64).shape == (70, 64, 64, 3)
