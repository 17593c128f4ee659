"""The L2 attack of Carlini and Wagner: the smallest perturbation, by Adam in tanh space."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn

from washout.attacks.result import Attacked, judge
from washout.checks import check_count, check_range

# Pixels of exactly 0 or 1 have infinite coordinates in tanh space and would never move. Shrinking
# the range first gives them finite ones, far enough from the flat ends to be of use to Adam.
SHRINK = 0.999
BETA1, BETA2, TINY = 0.9, 0.999, 1e-8  # of Adam


def cw(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    confidence: float = 0.0,
    steps: int = 10_000,
    binary_search_steps: int = 9,
    lr: float = 0.01,
    initial_const: float = 1e-3,
    progress: float | None = 0.01,
    targeted: bool = False,
) -> Attacked:
    """Minimize squared L2 distance + const * margin, with a search for each image's const.

    Args:
        model: images to logits (B, K).
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the classes to reach if ``targeted``.
        confidence: by how much, in logits, the wrong class has to lead; at least 0.
        steps: Adam steps for each const, at least 1.
        binary_search_steps: how many consts to try for each image, at least 1.
        lr: Adam's step size in tanh space, above 0.
        initial_const: first weight of the margin, above 0; times 10 until the attack succeeds,
            then bisected.
        progress: an image leaves when its loss fell by less than this share in a tenth of
            ``steps``, in [0, 1]; None keeps it to the end. (foolbox: 0.0001, of the batch's loss.)
        targeted: go towards ``y`` instead of away from it.

    Returns:
        The nearest image found that fools the model with this confidence; the input where none
        was found, and where it does so itself.

    Raises:
        ValueError: a parameter out of range.

    Source:
        Carlini, Wagner, Towards evaluating the robustness of neural networks, IEEE S&P 2017,
        sections V and VI.A (f6, tanh space); steps and consts as in foolbox.
    """
    check_count(steps, 1, "steps")
    check_count(binary_search_steps, 1, "binary_search_steps")
    check_range(confidence, 0.0, torch.inf, "confidence")
    check_range(lr, 1e-12, torch.inf, "lr")
    check_range(initial_const, 1e-12, torch.inf, "initial_const")
    if progress is not None:
        check_range(progress, 0.0, 1.0, "progress")

    with torch.no_grad():
        already = margin(model(x), y, targeted) < -confidence
    best = x.clone()
    best_distance = torch.full_like(x[:, 0, 0, 0], torch.inf).masked_fill(already, 0.0)
    const = torch.full_like(best_distance, initial_const)
    lower, upper = torch.zeros_like(const), torch.full_like(const, torch.inf)
    for _ in range(binary_search_steps):
        nearest, distance = descend(model, x, y, const, confidence, steps, lr, progress, targeted)
        closer = distance < best_distance
        best = torch.where(closer[:, None, None, None], nearest, best)
        best_distance = torch.where(closer, distance, best_distance)
        found = distance < torch.inf
        upper, lower = torch.where(found, const, upper), torch.where(found, lower, const)
        const = torch.where(upper < torch.inf, (lower + upper) / 2, const * 10)

    success = judge(model, best, y, targeted).success & (best_distance < torch.inf)
    return Attacked(torch.where(success[:, None, None, None], best, x), success)


def margin(logits: Tensor, y: Tensor, targeted: bool) -> Tensor:
    """Return (B,): by how much the attack still fails; negative where it succeeds."""
    own = logits.gather(1, y[:, None])[:, 0]
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    return other - own if targeted else own - other


def descend(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    const: Tensor,
    confidence: float,
    steps: int,
    lr: float,
    progress: float | None,
    targeted: bool,
) -> tuple[Tensor, Tensor]:
    """Return the nearest adversarial images met on the way, and their squared distances (B,).

    Where there was none the distance is infinite and the image is the input.
    """
    images, distances = x.clone(), torch.full_like(const, torch.inf)
    left = torch.arange(len(x), device=x.device)
    w = torch.atanh((2 * x - 1) * SHRINK)
    m, v = torch.zeros_like(x), torch.zeros_like(x)
    previous = torch.full_like(const, torch.inf)
    best, best_distance = images.clone(), distances.clone()
    check = ceil(steps / 10)
    for step in range(1, steps + 1):
        with torch.enable_grad():
            w = w.detach().requires_grad_()
            adversarial = (w.tanh() + 1) / 2
            distance = (adversarial - x).square().flatten(1).sum(1)
            gap = margin(model(adversarial), y, targeted)
            loss = distance + const * (gap + confidence).clamp(min=0)
            (gradient,) = torch.autograd.grad(loss.sum(), w)
        with torch.no_grad():
            better = (gap < -confidence) & (distance < best_distance)
            best = torch.where(better[:, None, None, None], adversarial, best)
            best_distance = torch.where(better, distance, best_distance)
            m.lerp_(gradient, 1 - BETA1)
            v.lerp_(gradient.square(), 1 - BETA2)
            scale = (v / (1 - BETA2**step)).sqrt_().add_(TINY)
            w = w - lr / (1 - BETA1**step) * m / scale
            if progress is not None and step % check == 0:
                # Once in a tenth of the run (one synchronization): images at rest leave the batch.
                images[left], distances[left] = best, best_distance
                keep = loss < (1 - progress) * previous
                state = (left, x, y, const, w, m, v, loss, best, best_distance)
                left, x, y, const, w, m, v, previous, best, best_distance = (t[keep] for t in state)
                if not len(left):
                    return images, distances
    images[left], distances[left] = best, best_distance
    return images, distances
