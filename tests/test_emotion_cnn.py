"""The shipped emotion network: what the file promises, and that training and export agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker import models, weights
from tracker.models.emotion_cnn import SIZE, EmotionCnn

CARD = Path(__file__).parents[1] / "tracker" / "models" / "emotion_cnn" / "MODEL_CARD.md"


@pytest.fixture(scope="module")
def network() -> EmotionCnn:
    return EmotionCnn(weights.find("emotion_cnn"))


def test_it_is_small_and_loads_by_name() -> None:
    assert weights.find("emotion_cnn").stat().st_size <= 5e6
    assert models.load("emotion", "emotion_cnn").model_id == "emotion_cnn_v1"


def test_it_comes_with_its_card() -> None:
    text = CARD.read_text(encoding="utf-8")
    for word in (
        "Intended use",
        "Unsuitable use",
        "Regulation (EU) 2024/1689",
        "Known failures",
        "Licence",
        "confusion",
    ):
        assert word in text


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_answers_are_probabilities_whatever_comes(network: EmotionCnn, seed: int, count: int) -> None:
    crops = list(np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8))
    answer = network.classify(crops)
    assert answer.emotions.shape == (count, 7)
    assert answer.affect is None
    assert (answer.emotions >= 0).all()
    np.testing.assert_allclose(answer.emotions.sum(1), 1, atol=1e-5)


def test_an_even_picture_gives_an_answer(network: EmotionCnn) -> None:
    assert np.isfinite(network.classify([np.zeros((SIZE, SIZE, 3), np.uint8)]).emotions).all()


def test_the_export_says_what_the_trained_network_says(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the [train] extra is not installed")
    from tracker.models.emotion_cnn.export import write_onnx
    from tracker.models.emotion_cnn.network import EmotionNet

    torch.manual_seed(0)
    trained = EmotionNet().eval()
    for name, buffer in trained.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + (0.5 if name.endswith("var") else -0.5))
    state = {name: value.numpy() for name, value in trained.state_dict().items()}
    write_onnx(state, tmp_path / "net.onnx", temperature=1.5)
    grey = np.random.default_rng(1).integers(0, 256, (4, SIZE, SIZE), np.uint8)
    faces = torch.from_numpy(grey[:, None].astype(np.float32))
    with torch.no_grad():
        logits = (trained(faces) + trained(faces.flip(3))) / 2
    wanted = torch.softmax(logits / 1.5, 1).numpy()
    found = EmotionCnn(tmp_path / "net.onnx").classify([np.repeat(g[..., None], 3, 2) for g in grey]).emotions
    np.testing.assert_allclose(found, wanted, atol=2e-3)
