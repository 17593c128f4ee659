"""DeepFool: walk to the nearest linearized decision boundary until the class changes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from washout.attacks.result import Attacked, fooled, judge
from washout.checks import check_choice, check_count, check_range


def deepfool(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    norm: str = "l2",
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int = 10,
) -> Attacked:
    """Search a small perturbation that changes the class, by repeated linearization.

    Args:
        model: images to logits (B, K).
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,).
        norm: ``l2`` or ``linf``, the norm to keep small.
        steps: largest number of linearizations, at least 1.
        overshoot: share by which the perturbation goes beyond the boundary, at least 0.
        candidates: how many of the likeliest classes to look at, the own one included; at
            least 2. Each costs one gradient per step.

    Returns:
        The first iterate of each image that fools the model; the input where none did.

    Raises:
        ValueError: a parameter out of range.

    Source:
        Moosavi-Dezfooli, Fawzi, Frossard, DeepFool: a simple and accurate method to fool deep
        neural networks, CVPR 2016, algorithm 2 (L2) and equations 10 and 11 (other norms);
        the extra 1e-4 and the box as in foolbox.
    """
    check_choice(norm, ("l2", "linf"), "norm")
    check_count(steps, 1, "steps")
    check_count(candidates, 2, "candidates")
    check_range(overshoot, 0.0, torch.inf, "overshoot")

    images, total = x.clone(), torch.zeros_like(x)
    with torch.no_grad():
        logits = model(x)
    order = logits.topk(min(candidates, logits.shape[1]), dim=1).indices
    left = torch.arange(len(x), device=x.device)
    for _ in range(steps):
        # Finished images leave the batch. Finding them is one synchronization per step, and it
        # saves each of them a forward and nine backward passes in every later step.
        left = left[~fooled(logits, y[left])]
        if not len(left):
            break
        total[left] += nearest_boundary(model, images[left], order[left], norm)
        images[left] = (x[left] + (1 + overshoot) * total[left]).clamp(0, 1)
        with torch.no_grad():
            logits = model(images[left])

    found = judge(model, images, y)
    return Attacked(torch.where(found.success[:, None, None, None], found.images, x), found.success)


def nearest_boundary(model: nn.Module, x: Tensor, order: Tensor, norm: str) -> Tensor:
    """Return the smallest step from ``x`` onto a boundary of the linearized model.

    Args:
        model: images to logits (B, K).
        x: images (B, C, H, W).
        order: classes (B, k) to look at; column 0 is the class to leave.
        norm: ``l2`` or ``linf``.
    """
    gaps, flat = linearized(model, x, order)
    # The dual norm: L2 is its own, that of Linf is L1.
    sizes = flat.norm(dim=2) if norm == "l2" else flat.abs().sum(2)
    sizes = sizes + 1e-8
    distances = gaps.abs() / sizes
    best = distances.argmin(1, keepdim=True)
    # Slightly too far, so that a step never ends on the boundary itself.
    distance = distances.gather(1, best) + 1e-4
    direction = flat[torch.arange(len(x), device=x.device), best[:, 0]]
    unit = direction / sizes.gather(1, best) if norm == "l2" else direction.sign()
    return (distance * unit).view_as(x)


def linearized(model: nn.Module, x: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far each class is ahead of the own one (B, k - 1), and the gradients of that.

    Args:
        model: images to logits (B, K).
        x: images (B, C, H, W).
        order: classes (B, k) to look at; column 0 is the own one.

    Returns:
        gaps: (B, k - 1), in logits; negative for a class that is behind.
        gradients: (B, k - 1, C * H * W).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x).gather(1, order)
        gaps = logits[:, 1:] - logits[:, :1]
        # A loop over classes: on two CPU cores it beats one vectorized call (is_grads_batched)
        # and one large batch with an image for each class.
        gradients = torch.stack(
            [
                torch.autograd.grad(gaps[:, k].sum(), x, retain_graph=k + 1 < gaps.shape[1])[0]
                for k in range(gaps.shape[1])
            ],
            dim=1,
        )
    return gaps.detach(), gradients.flatten(2)
