"""The MNIST classifier of chapter 1: two convolutions, two fully connected layers.

Table 1 gives widths, pooling and dropout; kernel size and activation are those of the TensorFlow
tutorial network that has the same shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from washout.models.layers import Dropout, Normalize


class CNN2(nn.Module):
    """Two padded 5 x 5 convolutions (32, 64) with pooling, then 1,024 hidden units with dropout.

    Args:
        in_channels: channels of the images.
        size: height and width of the images, at least 4 pixels.
        classes: number of classes.
        dropout: rate before the last layer.
        mean: what normalization subtracts, for each channel.
        std: what normalization divides by, for each channel.

    Source: Luo & Pfister, Table 1 (MNIST).
    """

    def __init__(
        self,
        in_channels: int = 1,
        size: int = 28,
        classes: int = 10,
        *,
        dropout: float = 0.4,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        if size < 4:
            raise ValueError(f"size: got {size} pixels; CNN2 takes images of at least 4")
        self.normalize = Normalize(mean or (0.5,) * in_channels, std or (0.5,) * in_channels)
        self.conv1 = nn.Conv2d(in_channels, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2)
        self.fc1 = nn.Linear(64 * (size // 4) ** 2, 1024)
        self.drop = Dropout(dropout)
        self.fc2 = nn.Linear(1024, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, K)."""
        x = F.max_pool2d(F.relu(self.conv1(self.normalize(images))), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(self.drop(F.relu(self.fc1(x.flatten(1)))))
