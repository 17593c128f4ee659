"""DeepFool as foolbox 2 ran it: each step too long by a factor, and clipped at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from washout.attacks.deepfool import linearized
from washout.attacks.result import Attacked, fooled, judge
from washout.checks import check_choice, check_count, check_range


def deepfool_fb2(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "l2",
    steps: int = 100,
    overshoot: float = 1.05,
    candidates: int = 10,
    reduction: str = "sum",
) -> Attacked:
    """Repeat image <- clip(image + overshoot * step to the nearest linearized boundary).

    Two things differ from ``deepfool``, which starts each time from the input: an overshoot
    lengthens every step, not the sum of them, and what the clip takes from a step is lost. Where
    much is clipped, an image creeps towards the boundary until rounding puts it on one side or
    right on it, from where it leaves for another class; such a result is not stable.

    Args:
        model: images to logits (B, K).
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,).
        norm: ``l2`` or ``linf``, the norm to keep small.
        steps: largest number of steps, at least 1.
        overshoot: factor of every step, at least 1. (``deepfool`` takes the share beyond 1.)
        candidates: how many of the input's likeliest classes to look at, the own one included;
            at least 2. Each costs one gradient per step.
        reduction: ``sum`` takes each image's own gradient. ``mean`` divides it by the number of
            images that are left, n, which makes a step n times as long: foolbox 2.3.0 did so, as
            its PyTorch model averages the loss over the images that are attacked together. An
            image's result then depends on the others.

    Returns:
        The first iterate of each image that fools the model; the input where none did.

    Raises:
        ValueError: a parameter out of range.

    Source:
        Moosavi-Dezfooli, Fawzi, Frossard, DeepFool: a simple and accurate method to fool deep
        neural networks, CVPR 2016; the variant: foolbox 2.3.0, ``DeepFoolAttack``, with its
        defaults.
    """
    check_choice(norm, ("l2", "linf"), "norm")
    check_count(steps, 1, "steps")
    check_count(candidates, 2, "candidates")
    check_range(overshoot, 1.0, torch.inf, "overshoot")
    check_choice(reduction, ("sum", "mean"), "reduction")

    images = x.clone()
    with torch.no_grad():
        logits = model(x)
    order = logits.topk(min(candidates, logits.shape[1]), dim=1).indices
    left = torch.arange(len(x), device=x.device)
    for _ in range(steps):
        keep = ~fooled(logits, y[left])
        left, logits = left[keep], logits[keep]
        if not len(left):
            break
        factor = overshoot * len(left) if reduction == "mean" else overshoot
        step = onto_boundary(model, images[left], order[left], logits, norm)
        images[left] = (images[left] + factor * step).clamp(0, 1)
        with torch.no_grad():
            logits = model(images[left])

    found = judge(model, images, y)
    return Attacked(torch.where(found.success[:, None, None, None], found.images, x), found.success)


def onto_boundary(model: nn.Module, x: Tensor, order: Tensor, logits: Tensor, norm: str) -> Tensor:
    """Return the smallest step from ``x`` that ends exactly on a linearized boundary.

    Args:
        model: images to logits (B, K).
        x: images (B, C, H, W).
        order: classes (B, k) to look at; column 0 is the class to leave.
        logits: (B, K), at ``x``.
        norm: ``l2`` or ``linf``.
    """
    _, flat = linearized(model, x, order)
    # Right on the boundary these logits, by which the image was not yet adversarial, and those of
    # another pass may have different signs, in a batch of another size.
    gaps = logits.gather(1, order[:, 1:]) - logits.gather(1, order[:, :1])
    sizes = (flat.norm(dim=2) if norm == "l2" else flat.abs().sum(2)) + 1e-8
    # A class level with the own one is no candidate. If all are, the step is 0. (foolbox raises.)
    distances = torch.where(gaps < 0, -gaps / sizes, torch.inf)
    best = distances.argmin(1, keepdim=True)
    distance = distances.gather(1, best).nan_to_num(posinf=0.0)
    direction = flat[torch.arange(len(x), device=x.device), best[:, 0]]
    unit = direction / sizes.gather(1, best) if norm == "l2" else direction.sign()
    return (distance * unit).view_as(x)
