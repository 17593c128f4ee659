"""FGSM, the fast gradient sign method: one step of size eps along the sign of the gradient."""

from __future__ import annotations

from torch import Tensor, nn

from washout.attacks.result import Attacked, ascent, judge, per_image


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
