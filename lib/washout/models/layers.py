"""Layers that the networks share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 256  # values of the random byte that decides on one unit


class Normalize(nn.Module):
    """The first layer of every classifier: ``(images - mean) / std`` for each channel.

    Args:
        mean: one value for each channel.
        std: one positive value for each channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise ValueError(
                f"mean and std: got {tuple(mean)} and {tuple(std)}; allowed is one mean and one "
                "positive std for each channel"
            )
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, C, H, W), about zero mean and unit variance."""
        return (images - self.mean) / self.std


class Halve(nn.Module):
    """Maximum of each 2 x 2 square: ``MaxPool2d(2)``, in evaluation faster on a CPU (8 times)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 2 H, 2 W) -> (B, C, H, W)."""
        if self.training:  # there PyTorch's, whose gradient is the faster one
            return F.max_pool2d(x, 2)
        top = torch.maximum(x[..., ::2, ::2], x[..., ::2, 1::2])
        bottom = torch.maximum(x[..., 1::2, ::2], x[..., 1::2, 1::2])
        return torch.maximum(top, bottom)


class Double(nn.Module):
    """Each pixel four times: nearest upsampling, in evaluation three times as fast on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2 H, 2 W)."""
        if self.training:
            return F.interpolate(x, scale_factor=2)
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


class Dropout(nn.Dropout):
    """Dropout whose masks can come from a generator of their own.

    One random byte decides on one unit, and eight of them come from one 64-bit draw; on a CPU
    that is several times as fast as ``torch.nn.Dropout``, which draws for each unit, and Monte
    Carlo dropout spends most of its time on masks. A rate ``p`` that is no multiple of 1/256
    (0.5 is one) falls back on a Bernoulli draw.

    Args:
        p: share of units that are set to 0; the others are divided by ``1 - p``.
        generator: where the masks come from; None is PyTorch's own state, which
            ``training.fit`` seeds. It has to be on the input's device.

    Source: Srivastava et al. (2014), section 4.
    """

    def __init__(self, p: float = 0.5, generator: torch.Generator | None = None):
        super().__init__(p)
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape; in eval mode the input itself."""
        if not self.training or self.p == 0:
            return x
        if self.p == 1:
            return torch.zeros_like(x)
        return x * self.mask(x) * (1 / (1 - self.p))

    def mask(self, x: Tensor) -> Tensor:
        """A draw of the units that stay: True or False in the shape of ``x``."""
        dropped = self.p * LEVELS
        if dropped != int(dropped):
            return torch.empty_like(x, dtype=torch.bool).bernoulli_(
                1 - self.p, generator=self.generator
            )
        # From the lowest int64 on, all 64 bits are random; by default the sign bit is not.
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        words.random_(torch.iinfo(torch.int64).min, None, generator=self.generator)
        return words.view(torch.uint8)[: x.numel()].view(x.shape) >= int(dropped)
