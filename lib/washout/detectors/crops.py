"""Five-crop agreement: an image is suspicious if its crops change class.

Source: Wang and Zhang, "Reproducing 'Toward Robust Image Classification'", section 4.3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from washout.checks import check_count, check_images, check_labels
from washout.detectors.modes import place
from washout.inference import evaluating

CROPS = 5


def five_crops(images: Tensor, size: int) -> Tensor:
    """Cut the four corners and the center out of each image and resize them to the whole.

    Args:
        images: (B, C, H, W).
        size: side of the square crops in pixels, from 1 to the shorter side. The paper does not
            give it.

    Returns:
        (B, 5, C, H, W): top left, top right, bottom left, bottom right, center; resized by
        bilinear interpolation between pixel centers (``align_corners=False``), which stays within
        the range of the input.

    Raises:
        ValueError: crops larger than the image or smaller than a pixel.
    """
    height, width = images.shape[-2:]
    if check_count(size, 1, "size") > min(height, width):
        raise ValueError(
            f"size: got {size}; crops of {height} x {width} images are at most "
            f"{min(height, width)} pixels wide"
        )
    bottom, right = height - size, width - size
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = torch.stack([images[..., t : t + size, s : s + size] for t, s in corners], 1)
    resized = F.interpolate(
        crops.flatten(0, 1), size=(height, width), mode="bilinear", align_corners=False
    )
    return resized.unflatten(0, (len(images), CROPS))


def crop_agreement(
    model: nn.Module,
    images: Tensor,
    reference: Tensor,
    size: int,
    *,
    batch_size: int = 200,
    device: str | torch.device | None = None,
) -> Tensor:
    """Count the crops that the network gives the image's own class.

    Crops are classified in one deterministic pass (dropout off): section 4.3 has them
    "reclassified by the network" and speaks of stochastic passes for the whole image only.

    Args:
        model: images to logits (B, K).
        images: (B, C, H, W), in [0, 1].
        reference: (B,), int64: the provisional class of each image.
        size: side of the crops in pixels.
        batch_size: images whose five crops go through the network at once.
        device: where to compute, and the model moves there; None stays where the model is.

    Returns:
        (B,), int64, from 0 to 5, on the CPU.

    Raises:
        ValueError: bad images, classes or crop size.
    """
    check_images(images)
    check_labels(reference, images, "reference")
    check_count(batch_size, 1, "batch_size")
    where = place(model, device)
    counts = []
    with torch.no_grad(), evaluating(model):
        batches = zip(images.split(batch_size), reference.split(batch_size), strict=True)
        for batch, own in batches:
            crops = five_crops(batch.to(where), size)
            classes = model(crops.flatten(0, 1)).argmax(1).view(-1, CROPS)
            counts.append((classes == own.to(where)[:, None]).sum(1).cpu())
    return torch.cat(counts)
