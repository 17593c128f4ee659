"""Residual statistics: what an image shows without any deep network.

Source: ours (control). A detector on a flow's latents has to beat the same layers on these.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.linalg import vector_norm

from washout.checks import check_images

PART = 500  # images
NOISE = 1e-3  # levels of 255: float32 rounds within it, perturbations do not stay in it
RESIDUAL = ("mean", "std", "absolute", "fourth", "largest")
KINDS = (*(f"residual {kind}" for kind in RESIDUAL), "variation", "black", "white", "grid")


def residuals(images: Tensor) -> Tensor:
    """Each image minus its 3 x 3 mean; at the border the mean of those pixels that there are.

    Args:
        images: (B, C, H, W).

    Returns:
        (B, C, H, W), in [-8/9, 8/9] for images in [0, 1].
    """
    return images - F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)


def residual_statistics(images: Tensor, *, grid: bool = True) -> Tensor:
    """Nine numbers for each channel of an image, in the order of ``statistic_names``.

    Of the high-pass residual: mean, standard deviation, mean modulus, fourth root of the mean
    fourth power, largest modulus. Of the pixels: mean difference between neighbors (total
    variation), share of exactly 0, share of exactly 1, mean distance to the nearest multiple of
    1/255 in units of 1/255. All of them have a gradient but the shares.

    Args:
        images: (B, C, H, W), in [0, 1], at least 2 x 2 pixels.
        grid: keep the last; it betrays any attack that was not rounded to 8 bits.

    Returns:
        (B, 9 C), or (B, 8 C) without ``grid``, in the images' dtype; every one in [0, 1] but the
        residual's mean in [-1, 1], and the distance in [0, 0.5].

    Raises:
        ValueError: bad images, or fewer than 2 x 2 pixels.
    """
    check_images(images)
    height, width = images.shape[-2:]
    if min(height, width) < 2:
        raise ValueError(f"images: got {height} x {width} pixels; allowed are at least 2 x 2")
    # In parts: a whole test set at once would need several copies of itself in memory.
    return torch.cat([_statistics(part, grid) for part in images.split(PART)])


def statistic_names(channels: int, *, grid: bool = True) -> list[str]:
    """Names of the columns of ``residual_statistics``, e.g. ``residual std, channel 0``."""
    kinds = KINDS if grid else KINDS[:-1]
    return [f"{kind}, channel {channel}" for kind in kinds for channel in range(channels)]


def _statistics(images: Tensor, grid: bool) -> Tensor:
    pixels = images.flatten(2)
    residual = residuals(images).flatten(2)
    mean, modulus, count = residual.mean(2), residual.abs(), pixels.shape[2]
    down = images.diff(dim=2).abs().flatten(2)
    right = images.diff(dim=3).abs().flatten(2)
    found = [
        mean,
        # As norms: the gradient of a root is infinite at 0, that of a norm is 0.
        vector_norm(residual - mean[..., None], 2, 2) / count**0.5,
        modulus.mean(2),
        vector_norm(residual, 4, 2) / count**0.25,
        modulus.amax(2),
        torch.cat([down, right], 2).mean(2),
        (pixels == 0).to(images.dtype).mean(2),
        (pixels == 1).to(images.dtype).mean(2),
    ]
    if grid:
        levels = pixels * 255
        distance = (levels - levels.round()).abs()
        found.append(distance.where(distance > NOISE, 0 * distance).mean(2))
    return torch.cat(found, 1)
