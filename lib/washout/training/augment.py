"""Augmentation of training batches on their own device, with no host synchronization."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

Augmentation = Callable[[Tensor, torch.Generator], Tensor]


def shift(images: Tensor, generator: torch.Generator, *, pixels: int = 2) -> Tensor:
    """Move each image by up to ``pixels`` in both directions and fill up with black.

    Args:
        images: (B, C, H, W).
        generator: where the offsets come from, on the images' device.
        pixels: the largest offset, at least 0.
    """
    count, _, height, width = images.shape
    offsets = torch.randint(
        2 * pixels + 1, (2, count, 1), generator=generator, device=images.device
    )
    rows = offsets[0] + torch.arange(height, device=images.device)  # (B, H)
    columns = offsets[1] + torch.arange(width, device=images.device)  # (B, W)
    padded = F.pad(images, (pixels,) * 4).permute(0, 2, 3, 1)
    each = torch.arange(count, device=images.device)[:, None, None]
    return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2; (B, C, H, W)."""
    coin = torch.randint(2, (len(images), 1, 1, 1), generator=generator, device=images.device)
    return torch.where(coin.bool(), images.flip(3), images)


def augmentation(name: str) -> Augmentation | None:
    """The augmentation of a recipe: ``""`` for none, ``shiftN``, ``flip``, or several with ``+``.

    Raises:
        ValueError: another name.
    """
    if not name:
        return None
    parts: list[Augmentation] = []
    for part in name.split("+"):
        found = re.fullmatch(r"shift(\d+)|flip", part)
        if not found:
            raise ValueError(
                f"augment: got {name!r}; allowed are '' (none), 'shiftN' (by up to N pixels, e.g. "
                "shift2), 'flip' and 'shiftN+flip'"
            )
        parts.append(partial(shift, pixels=int(found[1])) if found[1] else flip)

    def apply(images: Tensor, generator: torch.Generator) -> Tensor:
        for part in parts:
            images = part(images, generator)
        return images

    return apply
