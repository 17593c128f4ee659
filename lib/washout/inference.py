"""Running a classifier over more images than fit in one batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

ON_GPU = 8  # times as many images at a time: what fills a core or two leaves a GPU idle


def at_once(count: int, device: torch.device | str) -> int:
    """Images at a time on a device, where a CPU takes ``count``."""
    return count if torch.device(device).type == "cpu" else ON_GPU * count


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode; every module's own mode is put back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def exact() -> Iterator[None]:
    """Convolutions in float32 on a GPU too, where they would round to 10 bits.

    A flow's inverse needs that, and attacks that stop on the boundary: rounded, their images fall
    to either side, by the size of the batch that they are in.
    """
    convolutions: Any = getattr(torch.backends.cudnn, "conv")  # noqa: B009 (not in the stubs)
    before, convolutions.fp32_precision = convolutions.fp32_precision, "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before


@torch.inference_mode()
def logits(
    model: nn.Module,
    images: Tensor,
    *,
    batch_size: int = 500,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Logits (B, K) of images (B, C, H, W), on the CPU, with the model in evaluation mode."""
    with evaluating(model.to(device)):
        return torch.cat(
            [model(batch.to(device)).float().cpu() for batch in images.split(batch_size)]
        )


def predict(
    model: nn.Module,
    images: Tensor,
    *,
    batch_size: int = 500,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Classes (B,) of images (B, C, H, W)."""
    return logits(model, images, batch_size=batch_size, device=device).argmax(1)
