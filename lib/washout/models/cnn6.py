"""The CIFAR-10 classifier of chapter 1: three pairs of convolutions.

Table 1 gives widths, batch norm, pooling and dropout; kernel size, activation and their order are
those of a widely copied Keras network that has the same shape.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from washout.models.layers import Dropout, Normalize


class CNN6(nn.Module):
    """Pairs of padded 3 x 3 convolutions (32, 64, 128), each pair pooled, with growing dropout.

    Args:
        in_channels: channels of the images.
        size: height and width of the images, at least 8 pixels.
        classes: number of classes.
        dropout: rates after each pair.
        mean: what normalization subtracts, for each channel.
        std: what normalization divides by, for each channel.

    Source: Luo & Pfister, Table 1 (CIFAR-10).
    """

    def __init__(
        self,
        in_channels: int = 3,
        size: int = 32,
        classes: int = 10,
        *,
        dropout: Sequence[float] = (0.2, 0.3, 0.4),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        if size < 8:
            raise ValueError(f"size: got {size} pixels; CNN6 takes images of at least 8")
        layers: list[nn.Module] = [
            Normalize(mean or (0.5,) * in_channels, std or (0.5,) * in_channels)
        ]
        before = in_channels
        for width, rate in zip((32, 64, 128), dropout, strict=True):
            for _ in range(2):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ELU(), nn.BatchNorm2d(width)]
                before = width
            layers += [nn.MaxPool2d(2), Dropout(rate)]
        self.features = nn.Sequential(*layers)
        self.classify = nn.Linear(before * (size // 8) ** 2, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, K)."""
        return self.classify(self.features(images).flatten(1))
