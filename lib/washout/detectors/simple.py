"""Statistics that need no dropout and no crops: what a detector has to beat.

Source: ours (controls). Higher scores are more suspicious, as everywhere in this package.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from washout.checks import check_count, check_images
from washout.detectors.modes import place
from washout.inference import logits


def background(images: Tensor, width: int = 3) -> Tensor:
    """Mean intensity of each image's frame, where clean MNIST digits leave the paper blank.

    No classifier looks at it: an attack that moves every pixel by a visible epsilon shows here.

    Args:
        images: (B, C, H, W), in [0, 1].
        width: of the frame in pixels, at most half of the shorter side. MNIST centers its digits
            with a margin of about 4 pixels.

    Returns:
        (B,), in [0, 1].

    Raises:
        ValueError: bad images or width.
    """
    check_images(images)
    height, breadth = images.shape[-2:]
    if 2 * check_count(width, 1, "width") > min(height, breadth):
        raise ValueError(
            f"width: got {width}; allowed are 1 to {min(height, breadth) // 2} pixels in images of "
            f"{height} x {breadth}"
        )
    frame = torch.ones(height, breadth, dtype=torch.bool, device=images.device)
    frame[width : height - width, width : breadth - width] = False
    return images[..., frame].flatten(1).mean(1)


def max_softmax(
    model: nn.Module,
    images: Tensor,
    *,
    batch_size: int = 250,
    device: str | torch.device | None = None,
) -> Tensor:
    """One minus the largest softmax output of one deterministic pass.

    Source of the baseline: Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and
    Out-of-Distribution Examples" (2017).

    Args:
        model: images to logits (B, K).
        images: (B, C, H, W), in [0, 1].
        batch_size: images that go through the network at once.
        device: where to compute, and the model moves there; None stays where the model is.

    Returns:
        (B,), in [0, 1 - 1/K], on the CPU.

    Raises:
        ValueError: bad images or batch size.
    """
    check_images(images)
    check_count(batch_size, 1, "batch_size")
    found = logits(model, images, batch_size=batch_size, device=place(model, device))
    # In float64, confident images still differ: float32 rounds many of them to exactly 1.
    return 1 - found.double().softmax(1).amax(1)
