"""FGSM, the fast gradient sign method: one step of size eps along the sign of the gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from washout.attacks.result import Attacked, ascent, judge, per_image
from washout.inference import evaluating


def fgsm(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor = 0.3,
    targeted: bool = False,
) -> Attacked:
    """Move every pixel by ``eps`` in the direction that raises the loss.

    Args:
        model: images to logits (B, K).
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the classes to reach if ``targeted``.
        eps: largest change of a pixel, in [0, 1]; one number or one for each image.
        targeted: go towards ``y`` instead of away from it.

    Returns:
        The perturbed images, also where they do not fool the model.

    Raises:
        ValueError: ``eps`` out of range or of another shape.

    Source:
        Goodfellow, Shlens, Szegedy, Explaining and harnessing adversarial examples, ICLR 2015,
        section 4.
    """
    eps = per_image(eps, x, "eps")
    direction, _ = ascent(model, x, y, targeted)
    return judge(model, (x + eps * direction.sign()).clamp(0, 1), y, targeted)


def signs(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int = 100,
    device: str | torch.device = "cpu",
) -> Tensor:
    """The signs that FGSM moves along, for a whole curve of epsilons from one gradient.

    ``(images + eps * signs(...)).clamp(0, 1)`` is what ``fgsm`` returns for ``eps``.

    Args:
        model: images to logits (B, K); in eval mode meanwhile.
        images: (N, C, H, W), float32 in [0, 1].
        labels: true classes (N,).
        batch_size: images at a time.
        device: where to compute.

    Returns:
        -1, 0 or 1, (N, C, H, W), int8, on the CPU.
    """
    with evaluating(model.to(device)):
        return torch.cat(
            [
                ascent(model, x.to(device), y.to(device), False)[0].sign().to(torch.int8).cpu()
                for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True)
            ]
        )
