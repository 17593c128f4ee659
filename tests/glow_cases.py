"""Small Glows, and what the tests feed them."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from washout.data import Dataset, Split
from washout.models import Glow


def small(levels: int = 2, channels: int = 2, size: int = 4, **settings) -> Glow:
    torch.manual_seed(0)
    return Glow(channels, size, levels=levels, **{"hidden": 8, "depth": 2, **settings}).eval()


def shaken(module, by: float = 0.1):
    """No weight at its start, where much is zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(by * torch.randn_like(weight))
    return module


def images(count: int = 3, channels: int = 2, size: int = 4) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))


def as_split(x: torch.Tensor) -> Split:
    return Split(x, torch.zeros(len(x), dtype=torch.int64))


def take_steps(glow: Glow, x: torch.Tensor, steps: int, bf16: bool = False) -> list[float]:
    torch.manual_seed(0)
    optimizer = torch.optim.Adamax(glow.parameters(), 3e-3)
    losses = []
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = glow.loss(x[torch.randperm(len(x))[:32]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def gradients(count: int = 96) -> Dataset:
    """Smooth patches: a few numbers say all of each."""
    x = F.interpolate(images(count, 1, 2), size=8, mode="bilinear")
    split = as_split((x * 255).round().to(torch.uint8))
    return Dataset("patches", split[:64], split[64:], split[:0], ("a", "b"), "", "")
