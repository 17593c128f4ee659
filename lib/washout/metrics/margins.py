"""How far beyond the boundary of its class an image lies, in logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from washout.checks import check_images, check_labels
from washout.inference import logits


def margin_past(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int = 500,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The logit of the best wrong class minus that of the true class.

    Args:
        model: images to logits (B, K); in evaluation mode meanwhile.
        images: (B, C, H, W) in [0, 1].
        labels: true classes (B,).
        batch_size: images at a time.
        device: where to compute.

    Returns:
        (B,), on the CPU: positive where the model is wrong, 0 on the boundary.

    Raises:
        ValueError: images or labels of another kind; a label beyond the model's classes.
    """
    check_labels(labels, check_images(images))
    if not len(images):
        return images.new_zeros(0)
    found = logits(model, images, batch_size=batch_size, device=device)
    own = labels[:, None].cpu()
    if int(own.max()) >= found.shape[1]:
        raise ValueError(
            f"labels: got class {int(own.max())}; the model's {found.shape[1]} classes are 0 to "
            f"{found.shape[1] - 1}"
        )
    wrong = found.scatter(1, own, -torch.inf).amax(1)
    return wrong - found.gather(1, own)[:, 0]
