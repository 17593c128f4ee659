"""LeNet with dropout, the classifier of chapter 3.

The paper names neither widths nor the place of its dropout. These are the common 20/50 variant of
LeNet-5 (LeCun et al. 1998, section II.B) with ReLU, and dropout before and after the first fully
connected layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from washout.models.layers import Dropout, Normalize


class LeNet(nn.Module):
    """Two 5 x 5 convolutions with pooling, then two fully connected layers.

    Args:
        in_channels: channels of the images.
        size: height and width of the images, at least 16 pixels.
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
        side = ((size - 4) // 2 - 4) // 2
        if side < 1:
            raise ValueError(f"size: got {size} pixels; LeNet takes images of at least 16")
        self.normalize = Normalize(mean or (0.5,) * in_channels, std or (0.5,) * in_channels)
        self.conv1 = nn.Conv2d(in_channels, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.drop1 = Dropout(dropout)
        self.fc1 = nn.Linear(50 * side * side, 500)
        self.drop2 = Dropout(dropout)
        self.fc2 = nn.Linear(500, classes)

    def features(self, images: Tensor) -> Tensor:
        """What comes before the first dropout, the same in every pass: (B, C, H, W) -> (B, D)."""
        x = F.relu(F.max_pool2d(self.conv1(self.normalize(images)), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        return x.flatten(1)

    def head(self, features: Tensor) -> Tensor:
        """The rest, random in train mode: (B, D) -> logits (B, K)."""
        x = F.relu(self.fc1(self.drop1(features)))
        return self.fc2(self.drop2(x))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, K)."""
        return self.head(self.features(images))
