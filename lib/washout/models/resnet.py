"""Residual networks for small color images.

Chapter 4's classifier (Xiong, section 4.1 and Table 1), and chapter 2's where a DenseNet takes too
long.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from washout.checks import check_choice, check_count
from washout.models.layers import Normalize

SHORTCUTS = ("pad", "conv")


class ResNet(nn.Module):
    """A 3 x 3 convolution, stages of residual blocks, an average, one dense layer.

    ``widths=(16, 32, 64)`` with 3 blocks is ResNet-20, with 1 block ResNet-8. Xiong's network is
    the latter with ``shortcut="conv"`` and ``pooled=2``: 256 values enter its dense layer.

    Args:
        in_channels: channels of the images.
        size: height and width of the images in pixels, at least 2 ** (stages - 1).
        classes: number of classes.
        widths: channels of each stage, none smaller than the one before; from the second on, a
            stage halves the sides.
        blocks: residual blocks, of two convolutions each, in a stage.
        shortcut: past a block that changes the shape: ``pad``, without weights (He et al.'s option
            A), or ``conv``, a 1 x 1 convolution (option B; as in Xiong's Table 1 nothing follows).
        pooled: height and width to which the last maps are averaged; 1 is the global average.
        mean: what normalization subtracts, for each channel.
        std: what normalization divides by, for each channel.

    Raises:
        ValueError: a setting out of its range.

    Source: He et al. (2016), section 4.2; Xiong, section 4.1.
    """

    def __init__(
        self,
        in_channels: int = 3,
        size: int = 32,
        classes: int = 10,
        *,
        widths: Sequence[int] = (16, 32, 64),
        blocks: int = 3,
        shortcut: str = "pad",
        pooled: int = 1,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        from torchvision.models.resnet import BasicBlock  # takes seconds to import

        super().__init__()
        check_count(blocks, 1, "blocks")
        check_count(pooled, 1, "pooled")
        check_choice(shortcut, SHORTCUTS, "shortcut")
        check_count(len(widths), 1, "number of widths")
        for width in widths:
            check_count(width, 1, "widths")
        if list(widths) != sorted(widths):
            raise ValueError(
                f"widths: got {tuple(widths)}; allowed are widths of which none is smaller than "
                "the one before"
            )
        least = 2 ** (len(widths) - 1)
        if size < least:
            raise ValueError(
                f"size: got {size} pixels; ResNet of {len(widths)} stages takes images of at least "
                f"{least}; give it fewer widths"
            )
        before = widths[0]
        layers: list[nn.Module] = [
            Normalize(mean or (0.5,) * in_channels, std or (0.5,) * in_channels),
            nn.Conv2d(in_channels, before, 3, padding=1, bias=False),
            nn.BatchNorm2d(before),
            nn.ReLU(),
        ]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                past: nn.Module | None = None
                if stride > 1 or width != before:
                    past = Shortcut(width - before, stride)
                    if shortcut == "conv":
                        past = nn.Conv2d(before, width, 1, stride, bias=False)
                layers.append(BasicBlock(before, width, stride, past))
                before = width
        self.features = nn.Sequential(*layers)
        self.pooled = pooled
        self.classify = nn.Linear(before * pooled**2, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, K)."""
        maps = self.features(images)
        if self.pooled == 1:
            return self.classify(maps.mean((2, 3)))
        return self.classify(F.adaptive_avg_pool2d(maps, self.pooled).flatten(1))


class Shortcut(nn.Module):
    """Every ``stride``-th row and column, and ``added`` channels of zeros behind the others.

    Source: He et al. (2016), section 3.3, option A.
    """

    def __init__(self, added: int, stride: int):
        super().__init__()
        self.added, self.stride = added, stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W) -> (B, D + added, H / stride, W / stride), rounded up."""
        return F.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
