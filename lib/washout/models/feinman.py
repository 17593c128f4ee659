"""Feinman's MNIST network, the second classifier of chapter 3.

Source: Feinman et al. (2017), "Detecting Adversarial Samples from Artifacts", and their code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from washout.models.layers import Dropout, Normalize


class Feinman(nn.Module):
    """Two 3 x 3 convolutions of 64 channels, one pooling, then two fully connected layers.

    Args:
        in_channels: channels of the images.
        size: height and width of the images, at least 6 pixels.
        classes: number of classes.
        dropout: rate of both dropout layers.
        mean: what normalization subtracts, for each channel.
        std: what normalization divides by, for each channel.
    """

    def __init__(
        self,
        in_channels: int = 1,
        size: int = 28,
        classes: int = 10,
        *,
        dropout: float = 0.5,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        side = (size - 4) // 2
        if side < 1:
            raise ValueError(f"size: got {size} pixels; this network takes images of at least 6")
        self.normalize = Normalize(mean or (0.5,) * in_channels, std or (0.5,) * in_channels)
        self.conv1 = nn.Conv2d(in_channels, 64, 3)
        self.conv2 = nn.Conv2d(64, 64, 3)
        self.drop1 = Dropout(dropout)
        self.fc1 = nn.Linear(64 * side * side, 128)
        self.drop2 = Dropout(dropout)
        self.fc2 = nn.Linear(128, classes)

    def features(self, images: Tensor) -> Tensor:
        """What comes before the first dropout, the same in every pass: (B, C, H, W) -> (B, D)."""
        x = F.relu(self.conv1(self.normalize(images)))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        return x.flatten(1)

    def head(self, features: Tensor) -> Tensor:
        """The rest, random in train mode: (B, D) -> logits (B, K)."""
        x = F.relu(self.fc1(self.drop1(features)))
        return self.fc2(self.drop2(x))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, K)."""
        return self.head(self.features(images))
