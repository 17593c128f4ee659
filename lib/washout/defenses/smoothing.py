"""Smoothing, by itself or after patches have been put together.

Source: Luo and Pfister, "Adversarial Defense of Image Classification Using a Variational
Auto-Encoder" (2018), section 6: "a 5 x 5 smoothing filter", whose weights it does not give.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from washout.checks import check_choice, check_count, check_images, check_range

KINDS = ("box", "gaussian")


def smooth(images: Tensor, kind: str = "box", size: int = 5, sigma: float = 1.1) -> Tensor:
    """Replace each pixel by a weighted mean of those around it, channel by channel.

    Beyond the border, the image is reflected about its outermost pixels.

    Args:
        images: (B, C, H, W) in [0, 1].
        kind: ``box`` weighs all alike; ``gaussian`` by exp(-(distance / sigma)^2 / 2).
        size: side of the square window in pixels, odd; its half has to fit into the image.
        sigma: in pixels, positive; OpenCV's choice for a window of 5 is 1.1. ``box`` ignores it.

    Returns:
        (B, C, H, W) in [0, 1]; differentiable.

    Raises:
        ValueError: bad images, kind, size or sigma.
    """
    check_images(images)
    check_choice(kind, KINDS, "kind")
    half, shortest = check_count(size, 1, "size") // 2, min(images.shape[-2:])
    if size % 2 == 0 or half >= shortest:
        raise ValueError(
            f"size: got {size}; allowed are odd numbers up to {2 * shortest - 1} in images of "
            f"{images.shape[-2]} x {images.shape[-1]}"
        )
    check_range(sigma, 1e-3, float("inf"), "sigma", unit="pixels")
    padded = F.pad(images, (half,) * 4, "reflect")
    if kind == "box":
        return F.avg_pool2d(padded, size, stride=1)
    distance = torch.arange(-half, half + 1, dtype=images.dtype, device=images.device)
    weights = (-((distance / sigma) ** 2) / 2).exp()
    weights = weights / weights.sum()
    planes = padded.reshape(-1, 1, *padded.shape[-2:])
    planes = F.conv2d(F.conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    # The weights sum to 1 up to rounding; clamping would also stop the gradient in white areas.
    planes = planes - (planes.detach() - 1).clamp(min=0)
    return planes.reshape(images.shape)
