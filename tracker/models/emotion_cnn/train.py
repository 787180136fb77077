"""Train the emotion network: ``python -m tracker.models.emotion_cnn.train fer2013.npz -o emotion_cnn.pt``.

A residual network, cross entropy over soft labels, SGD with a cosine schedule, the mean of the weights along the way.
Rare classes weigh more. About a tenth of FER-2013's labels is doubtful: as training goes on, each label is mixed with
what the network has come to think of the face (temporal ensembling).

A copy of FER-2013 may be blurred in its Training part: ``--blur`` names the Gaussian's sigma in pixels; it is undone as
far as noise allows. ``--photographs`` adds sharp faces without labels, which a teacher labels, half of them made as
blurred as the labelled ones, so that the network learns to see the same in both.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tracker import models
from tracker.models.emotion_cnn.faces import (
    Faces,
    Views,
    concatenated,
    deblurred,
    middles,
    read_fer2013,
    read_photographs,
)
from tracker.models.emotion_cnn.network import EmotionNet

logger = logging.getLogger(__name__)

BATCH, PHOTOGRAPHS = 96, 40
"""Labelled faces and photographs of a step."""

RATE, DECAY = 0.1, 5e-4
MEMORY = 0.998
"""Share of the averaged weights that each step keeps, Polyak and Juditsky, 1992."""

SMOOTHING = 0.1
"""Label smoothing, Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016."""

RARITY = 0.3
"""A class of n faces weighs n to the power of minus this."""

TRUST = 0.4
"""Share of a target that the network's own opinion takes in the end, Laine and Aila, "Temporal Ensembling", 2017."""


class Trainer:
    """One training run."""

    def __init__(self, labelled: Faces, photographs: Faces | None, *, blur: float, epochs: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network = EmotionNet().to(self.device, memory_format=torch.channels_last)
        self.mean = copy.deepcopy(self.network).eval()
        self._images, self._labels = _pictures(labelled, blur), torch.from_numpy(labelled.targets)
        self._opinions = self._labels.clone()
        self._photographs, self._blur, self._epochs = photographs, blur, epochs
        self._weights = _class_weights(self._labels).to(self.device)
        self._views = Views(seed)
        steps = epochs * math.ceil(len(labelled) / BATCH)
        self._optimizer = torch.optim.SGD(_decayed(self.network), lr=RATE, momentum=0.9, nesterov=True)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, max_lr=RATE, total_steps=steps, pct_start=0.08, cycle_momentum=False
        )

    def epoch(self, number: int) -> float:
        """Train on each labelled face once; return the mean loss."""
        self.network.train()
        losses = []
        for rows in torch.randperm(len(self._labels)).split(BATCH):
            views, targets = [self._views(self._images[rows])], [self._targets(rows, number)]
            if self._photographs is not None:
                more, taught = self._some_photographs(self._photographs)
                views, targets = [*views, more], [*targets, taught]
            opinions, loss = self._step(concatenated(views).to(self.device), torch.cat(targets).to(self.device))
            self._opinions[rows] = 0.7 * self._opinions[rows] + 0.3 * opinions[: len(rows)]
            losses.append(loss)
        return float(np.mean(losses))

    def _targets(self, rows: Tensor, number: int) -> Tensor:
        labels = self._labels[rows] * (1 - SMOOTHING) + SMOOTHING / self._labels.shape[1]
        share = TRUST * min(1.0, max(0.0, 3 * number / self._epochs - 1))
        return (1 - share) * labels + share * self._opinions[rows]

    def _some_photographs(self, photographs: Faces) -> tuple[Tensor, Tensor]:
        rows = torch.randint(0, len(photographs), (PHOTOGRAPHS,)).numpy()
        pictures = torch.from_numpy(photographs.images[rows][:, None].astype(np.float32))
        degraded = self._views.as_blurred(pictures, self._blur, share=0.4)
        return self._views(degraded), torch.from_numpy(photographs.targets[rows])

    def _step(self, views: Tensor, targets: Tensor) -> tuple[Tensor, float]:
        with torch.autocast(self.device, torch.bfloat16):
            logits = self.network(views).float()
        weights = (targets * self._weights).sum(1)
        loss = (nn.functional.cross_entropy(logits, targets, reduction="none") * weights).sum() / weights.sum()
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self._optimizer.step()
        self._schedule.step()
        self._average()
        return torch.softmax(logits.detach(), 1).cpu(), float(loss.detach())

    @torch.no_grad()
    def _average(self) -> None:
        steps = self._schedule.last_epoch
        memory = min(MEMORY, steps / (steps + 10))
        for kept, new in zip(self.mean.state_dict().values(), self.network.state_dict().values(), strict=True):
            if kept.is_floating_point():
                kept.lerp_(new, 1 - memory)
            else:
                kept.copy_(new)


def _pictures(faces: Faces, blur: float) -> Tensor:
    pictures = torch.from_numpy(faces.images[:, None].astype(np.float32))
    return torch.cat([deblurred(part, blur) for part in pictures.split(2000)]) if blur else pictures


def _class_weights(labels: Tensor) -> Tensor:
    weights = labels.sum(0) ** -RARITY
    return weights / (weights * labels.mean(0)).sum()


def _decayed(network: nn.Module) -> list[dict[str, object]]:
    """Return the parameters in two groups: scales and shifts do not decay."""
    parameters = list(network.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


@torch.no_grad()
def logits_of(network: nn.Module, crops: Tensor, *, device: str = "cpu") -> Tensor:
    """Return ``(N, 7)`` logits: the mean over each crop and its mirror image."""
    network.eval()
    parts = [network(part.to(device)) + network(part.flip(3).to(device)) for part in crops.split(256)]
    return torch.cat(parts).cpu() / 2


def scores(network: nn.Module, test: Faces, *, device: str) -> tuple[float, float]:
    """Return accuracy and macro-F1."""
    truth, guess = test.targets.argmax(1), logits_of(network, middles(test), device=device).argmax(1).numpy()
    doubled = [2 * float(((guess == c) & (truth == c)).sum()) for c in range(7)]
    sizes = [float((guess == c).sum() + (truth == c).sum()) for c in range(7)]
    f1 = float(np.mean([d / max(s, 1.0) for d, s in zip(doubled, sizes, strict=True)]))
    return float((guess == truth).mean()), f1


def train(
    labelled: Faces, test: Faces, output: Path, *, photographs: Faces | None, blur: float, epochs: int, seed: int
) -> None:
    """Train a network and write its averaged weights."""
    trainer = Trainer(labelled, photographs, blur=blur, epochs=epochs, seed=seed)
    for number in range(epochs):
        begun = time.perf_counter()
        loss = trainer.epoch(number)
        logger.info("epoch %d of %d: loss %.4f, %.0f s", number + 1, epochs, loss, time.perf_counter() - begun)
        if number % 5 == 4 or number + 1 == epochs:
            found = scores(trainer.mean, test, device=trainer.device)
            logger.info("PublicTest: accuracy %.4f, macro-F1 %.4f", *found)
            torch.save(trainer.mean.state_dict(), output)


def _photographs(folder: Path | None, teacher: str, models_dir: Path | None, cache: Path) -> Faces | None:
    """Return the photographs, labelled by the teacher; kept beside the output, as finding the faces takes minutes."""
    if folder is None:
        return None
    if not cache.exists():
        faces = read_photographs(folder, models.load("emotion", teacher, models_dir=models_dir))
        np.savez(cache, images=faces.images, targets=faces.targets)
    with np.load(cache) as kept:
        return Faces(kept["images"], kept["targets"])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="fer2013.npz: images, labels, split")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the weights, .pt")
    parser.add_argument("--blur", type=float, default=0.0, help="sigma of the Gaussian on the Training part, pixels")
    parser.add_argument("--photographs", type=Path, help="a folder of sharp photographs of faces")
    parser.add_argument("--teacher", default="mini_xception", help="the emotion model that labels the photographs")
    parser.add_argument("--models-dir", type=Path, help="where the teacher's weights lie")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: its own choice")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.threads:
        torch.set_num_threads(options.threads)
    labelled, test = read_fer2013(options.data)
    cache = options.output.with_suffix(".photographs.npz")
    photographs = _photographs(options.photographs, options.teacher, options.models_dir, cache)
    train(
        labelled,
        test,
        options.output,
        photographs=photographs,
        blur=options.blur,
        epochs=options.epochs,
        seed=options.seed,
    )


if __name__ == "__main__":
    main()
