"""PGD with a search for eps: the smallest ball in which signed gradient steps fool the model."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from washout.attacks.bim import bim
from washout.attacks.result import Attacked, judge
from washout.checks import check_choice, check_count, check_range

GROWTH = 1.5  # of eps after a failure


def pgd_min(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float = 0.3,
    step: float = 0.01,
    steps: int = 40,
    tries: int = 20,
    bisections: int = 20,
    keep: str = "eps",
) -> Attacked:
    """Search for each image the smallest eps at which PGD from the image itself succeeds.

    Eps grows by half until PGD succeeds, then the interval from 0 to that eps is bisected. The
    step keeps its proportion to eps, and a run ends at the first iterate that fools. All images
    search at once, each with its own eps.

    Args:
        model: images to logits (B, K).
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,).
        eps: the first to try, above 0, at most 1.
        step: size of a step at this eps, above 0, at most 1.
        steps: number of steps in a run, at least 1.
        tries: how many growing eps to try, at least 1; with 1, ``eps`` is the largest.
        bisections: how often to halve the interval, at least 0.
        keep: of all the iterates that ended a run, return the one of the smallest ``eps``, or
            the nearest in ``l2``. (foolbox 2 keeps the latter, unless told another distance.)

    Returns:
        The iterate that was kept; the input where no try succeeded, and where it fools the model
        itself.

    Raises:
        ValueError: a parameter out of range.

    Source:
        Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018;
        the search: foolbox 2.3.0, ``ProjectedGradientDescentAttack``, with its defaults.
    """
    check_range(eps, 1e-12, 1.0, "eps")
    check_range(step, 1e-12, 1.0, "step")
    check_count(steps, 1, "steps")
    check_count(tries, 1, "tries")
    check_count(bisections, 0, "bisections")
    check_choice(keep, ("eps", "l2"), "keep")
    share = step / eps
    best, size = x.clone(), torch.full_like(x[:, 0, 0, 0], torch.inf)

    def succeeds(rows: Tensor, eps: Tensor) -> Tensor:
        """Try one eps for each of these rows, and keep what is better than before."""
        # Beyond 1 the box of pixels is the bound, for the ball as for a step.
        ball, stride = eps.clamp(max=1), (share * eps).clamp(max=1)
        own = x[rows], y[rows]
        tried = best.clone()
        tried[rows] = bim(model, *own, eps=ball, step=stride, steps=steps, stop="first").images
        # The images lie so near to the boundary that the model may see another class in a batch
        # of another size. So the whole batch decides, as it does in the end.
        success = judge(model, tried, y).success[rows]
        found = eps if keep == "eps" else (tried[rows] - own[0]).flatten(1).norm(dim=1)
        better = success & (found < size[rows])
        best[rows[better]] = tried[rows[better]]
        size[rows[better]] = found[better]
        return success

    good = torch.full_like(size, eps)
    begun = (~judge(model, x, y).success).nonzero()[:, 0]
    left = begun
    for _ in range(tries):
        if not len(left):
            break
        left = left[~succeeds(left, good[left])]
        good[left] *= GROWTH

    rows = begun[size[begun] < torch.inf]
    low, high = torch.zeros_like(good[rows]), good[rows]
    for _ in range(bisections if len(rows) else 0):
        middle = (low + high) / 2
        success = succeeds(rows, middle)
        low, high = torch.where(success, low, middle), torch.where(success, middle, high)
    return judge(model, best, y)
