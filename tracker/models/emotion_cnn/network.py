"""The network in torch: a small residual network for grey faces."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (56, 112, 208)
"""Channels of the three stages; each halves the picture."""

DEPTHS = (1, 2, 2)
"""Residual blocks of the stages."""


class Block(nn.Module):
    """A residual block, He et al., "Deep Residual Learning for Image Recognition", CVPR 2016."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.first_norm, self.second_norm = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels_in != channels:
            projection = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's answer to ``(N, channels_in, H, W)``."""
        y = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.shortcut(x) + self.second_norm(self.second(y)))


class EmotionNet(nn.Module):
    """Grey faces to logits of the seven classes; each picture is brought to mean 0 and deviation 1 first."""

    def __init__(self, *, stem: int = 32, classes: int = 7, dropout: float = 0.3) -> None:
        """Make the layers with random weights.

        Args:
            stem: Channels of the first convolution.
            classes: Number of classes.
            dropout: Share of the features left out in training.
        """
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.ReLU()]
        channels = stem
        for width, depth in zip(WIDTHS, DEPTHS, strict=True):
            for k in range(depth):
                layers.append(Block(channels, width, 2 if k == 0 else 1))
                channels = width
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, classes)`` logits of ``(N, 1, H, W)`` grey pictures of any range."""
        mean = x.mean((1, 2, 3), keepdim=True)
        deviation = (x - mean).square().mean((1, 2, 3), keepdim=True).sqrt()
        features = self.features((x - mean) / (deviation + 1e-3))
        return self.classifier(self.dropout(features.mean((2, 3))))
