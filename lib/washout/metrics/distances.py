"""How far an attack moved each image."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Norms(NamedTuple):
    """Size of each image's perturbation, (B,) each: pixels changed, Euclidean, largest."""

    l0: Tensor
    l2: Tensor
    linf: Tensor


def norms(images: Tensor, changed: Tensor, tolerance: float = 1e-6) -> Norms:
    """Norms of ``changed - images``.

    Args:
        images: (B, C, H, W).
        changed: (B, C, H, W).
        tolerance: a pixel counts as changed if one of its channels moved by more than this;
            rounding in an attack's arithmetic moves less.

    Raises:
        ValueError: shapes that differ.
    """
    change = _change(images, changed)
    flat = change.flatten(1)
    pixels = (change.abs() > tolerance).any(1).flatten(1)
    return Norms(pixels.sum(1), flat.norm(dim=1), flat.abs().amax(1))


def relative_l2(images: Tensor, changed: Tensor) -> Tensor:
    """Euclidean size of each image's change over that of the image, (B,).

    Source: Luo et al., "relative L2 distance". A black image has no size to compare with: the
    result is 0 where it did not change, infinite where it did.

    Raises:
        ValueError: shapes that differ.
    """
    change = _change(images, changed).flatten(1).norm(dim=1)
    return torch.where(change == 0, 0.0, change / images.flatten(1).norm(dim=1))


def _change(images: Tensor, changed: Tensor) -> Tensor:
    if images.shape != changed.shape or images.ndim != 4:
        raise ValueError(
            f"changed: got shape {tuple(changed.shape)} for images of {tuple(images.shape)}; "
            "allowed is the same (B, C, H, W) for both"
        )
    return changed - images
