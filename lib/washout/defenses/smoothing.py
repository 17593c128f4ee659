"""Smoothing, by itself or after patches have been put together.

Source: Luo and Pfister, "Adversarial Defense of Image Classification Using a Variational
Auto-Encoder" (2018), section 6: "a 5 x 5 smoothing filter", whose weights it does not give.
"""

from __future__ import annotations

import math

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
    if kind == "box":
        return F.avg_pool2d(F.pad(images, (half,) * 4, "reflect"), size, stride=1)
    return _weighted(images, half, sigma, sigma)


def blur(
    images: Tensor, *, sigma_x: float = 0.0, sigma_y: float = 0.3, size: int | None = None
) -> Tensor:
    """Gaussian smoothing with a width of its own along each axis.

    Beyond the border, the image is reflected about its outermost pixels.

    Args:
        images: (B, C, H, W) in [0, 1].
        sigma_x: along a row, in pixels, at least 0; 0 leaves the rows as they are.
        sigma_y: along a column.
        size: side of the window in pixels, odd, its half within the image; None takes four of the
            larger sigma on each side, at least one pixel.

    Returns:
        (B, C, H, W) in [0, 1]; differentiable.

    Raises:
        ValueError: bad images, sigmas or size.

    Source:
        Tan, Te and Lai (2019), Methods, defense 2, "sigma_x 0, sigma_y 0.3": SciPy takes that as
        no smoothing along x, the default here. OpenCV takes a sigma_x of 0 as 0.3 ((size - 1) / 2
        - 1) + 0.8: 0.8 for a window of 3, 1.1 for one of 5.
    """
    check_images(images)
    for name, sigma in (("sigma_x", sigma_x), ("sigma_y", sigma_y)):
        check_range(sigma, 0.0, float("inf"), name, unit="pixels")
    shortest = min(images.shape[-2:])
    if size is None:
        half = min(max(1, math.ceil(4 * max(sigma_x, sigma_y))), shortest - 1)
        size = 2 * half + 1
    half = check_count(size, 1, "size") // 2
    if size % 2 == 0 or half >= shortest:
        raise ValueError(
            f"size: got {size}; allowed are odd numbers up to {2 * shortest - 1} in images of "
            f"{images.shape[-2]} x {images.shape[-1]}"
        )
    return _weighted(images, half, sigma_x, sigma_y)


def _weighted(images: Tensor, half: int, sigma_x: float, sigma_y: float) -> Tensor:
    """Normalized Gaussian weights along both axes, reflected at the border."""

    def weights(sigma: float) -> list[float]:
        places = range(-half, half + 1)
        found = [math.exp(-((at / sigma) ** 2) / 2) if sigma else float(at == 0) for at in places]
        return [value / sum(found) for value in found]

    planes = F.pad(images, (half,) * 4, "reflect")
    # Sums of shifted images: a convolution from one channel to one takes five times as long.
    for axis, sigma in ((2, sigma_y), (3, sigma_x)):
        length = images.shape[axis]
        first, *others = weights(sigma)
        total = first * planes.narrow(axis, 0, length)
        for at, weight in enumerate(others, 1):
            if weight:
                total = total.add(planes.narrow(axis, at, length), alpha=weight)
        planes = total
    # The weights sum to 1 up to rounding; clamping would also stop the gradient in white areas.
    return planes - (planes.detach() - 1).clamp(min=0)
