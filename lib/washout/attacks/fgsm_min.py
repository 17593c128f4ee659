"""FGSM with a line search: the smallest step along the sign of one gradient that fools."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from washout.attacks.result import Attacked, ascent, fooled, judge
from washout.checks import check_count, check_range
from washout.inference import at_once

FINER = 20  # a step among the first FINER is searched again, in FINER steps from 0 to it
FORWARD = 512  # images in one forward pass on a CPU, where the batch alone is not larger


def fgsm_min(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epsilons: int = 1000,
    max_eps: float = 1.0,
) -> Attacked:
    """Move every pixel by eps against the true class, for the first eps of a grid that fools.

    The grid is ``max_eps`` * k / ``epsilons`` for k = 1, 2, ... If one of its first 20 fools, the
    20 equal steps from 0 to that eps are tried in the same way, and the first of them is taken.

    Args:
        model: images to logits (B, K).
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,).
        epsilons: number of steps of the grid, at least 1.
        max_eps: the last of them, in [0, 1].

    Returns:
        The image at the first eps that fools the model; the input where none did, and where it
        does so itself.

    Raises:
        ValueError: a parameter out of range.

    Source:
        Goodfellow, Shlens, Szegedy, Explaining and harnessing adversarial examples, ICLR 2015,
        section 4; the search: foolbox 2.3.0, ``GradientSignAttack``, with its defaults.
    """
    check_count(epsilons, 1, "epsilons")
    check_range(max_eps, 0.0, 1.0, "max_eps")
    direction, logits = ascent(model, x, y, False)
    direction = direction.sign()
    grid = grid_to(x.new_tensor([max_eps]), epsilons).expand(len(x), -1)

    # Where the gradient vanished, every eps gives the input again.
    todo = ~fooled(logits, y) & direction.flatten(1).any(1)
    left = todo.nonzero()[:, 0]
    k = first_hit(model, x[left], y[left], direction[left], grid[left])
    found = k < epsilons
    left, k = left[found], k[found]
    eps = torch.zeros_like(x[:, 0, 0, 0])
    eps[left] = grid[left, k]

    left = left[k < FINER]
    finer = grid_to(eps[left, None], FINER)
    # The last of the finer steps has fooled before, but rounding may have it another way now.
    k = first_hit(model, x[left], y[left], direction[left], finer).clamp(max=FINER - 1)
    eps[left] = finer.gather(1, k[:, None])[:, 0]

    result = judge(model, (x + eps[:, None, None, None] * direction).clamp(0, 1), y)
    return Attacked(torch.where(result.success[:, None, None, None], result.images, x), result[1])


def grid_to(end: Tensor, steps: int) -> Tensor:
    """Return ``steps`` equal steps from 0, which is left out, to ``end`` (..., 1)."""
    share = torch.arange(1, steps + 1, dtype=torch.float64, device=end.device) / steps
    return (end.double() * share).to(end.dtype)


def first_hit(model: nn.Module, x: Tensor, y: Tensor, direction: Tensor, levels: Tensor) -> Tensor:
    """Return for each image the index of its first level that fools the model; else their number.

    The direction is fixed, so several levels of an image share a forward pass, the more the fewer
    images are left.

    Args:
        model: images to logits (B, K).
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,).
        direction: what is added at level 1 (B, C, H, W).
        levels: (B, L), in the order of trying.
    """
    found = torch.full_like(y, levels.shape[1])
    left, begin = torch.arange(len(x), device=x.device), 0
    while len(left) and begin < levels.shape[1]:
        width = max(1, min(FINER, at_once(FORWARD, x.device) // len(left)))
        part = levels[left, begin : begin + width]
        moved = x[left, None] + part[:, :, None, None, None] * direction[left, None]
        with torch.no_grad():
            logits = model(moved.clamp(0, 1).flatten(0, 1))
        hits = fooled(logits, y[left].repeat_interleave(part.shape[1])).view(part.shape)
        found[left] = torch.where(hits.any(1), begin + hits.int().argmax(1), found[left])
        left, begin = left[~hits.any(1)], begin + width
    return found
