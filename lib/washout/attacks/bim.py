"""BIM, the basic iterative method (also I-FGSM): FGSM in small steps, kept within eps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from washout.attacks.result import Attacked, ascent, fooled, judge, per_image
from washout.checks import check_choice, check_count

# Images that are done leave the batch after this many steps: the look at them is one
# synchronization with the host, too dear for each step and cheap for ten.
CHECK = 10


def bim(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor = 0.3,
    step: float | Tensor | None = None,
    steps: int = 10,
    stop: str = "last",
    targeted: bool = False,
) -> Attacked:
    """Repeat small FGSM steps, clipped to the eps-ball around the input and to [0, 1].

    Args:
        model: images to logits (B, K).
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the classes to reach if ``targeted``.
        eps: largest change of a pixel, in [0, 1]; one number or one for each image.
        step: size of a step, in [0, 1]; None takes 0.2 ``eps``.
        steps: number of steps, at least 1.
        stop: ``first`` keeps an image's first iterate that fools the model (BIM-A of Feinman et
            al.), ``last`` takes all the steps (BIM-B).
        targeted: go towards ``y`` instead of away from it.

    Returns:
        The perturbed images, also where they do not fool the model. With ``stop="first"`` an
        image that fools the model already is returned as it is.

    Raises:
        ValueError: a parameter out of range.

    Source:
        Kurakin, Goodfellow, Bengio, Adversarial examples in the physical world, 2017, section
        2.2; the two ways to stop: Feinman et al., Detecting adversarial samples from artifacts,
        2017, section 2.
    """
    check_count(steps, 1, "steps")
    check_choice(stop, ("first", "last"), "stop")
    eps = per_image(eps, x, "eps")
    step = 0.2 * eps if step is None else per_image(step, x, "step")
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    if stop == "last":
        return judge(model, climb(model, x, y, low, high, step, steps, targeted), y, targeted)

    step = step.expand(len(x), 1, 1, 1)
    adversarial, left = x.clone(), torch.arange(len(x), device=x.device)
    for begin in range(0, steps, CHECK):
        now = climb(
            model, adversarial[left], y[left], low[left], high[left], step[left],
            min(CHECK, steps - begin), targeted, keep="first",
        )  # fmt: skip
        adversarial[left] = now
        left = left[~judge(model, now, y[left], targeted).success]
        if not len(left):
            break
    return judge(model, adversarial, y, targeted)


def climb(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    low: Tensor,
    high: Tensor,
    step: Tensor,
    steps: int,
    targeted: bool,
    *,
    keep: str = "last",
) -> Tensor:
    """Take ``steps`` signed gradient steps from ``x`` within the box from ``low`` to ``high``.

    Args:
        keep: which iterate of each image to return: the ``last``; the ``first`` that fools the
            model, else the last; or the ``best``: of those that fool it, else of all, ``x``
            among them, the one with the highest loss (the lowest towards a target).
    """
    best, most = x, torch.full(y.shape, -torch.inf, device=x.device)
    for _ in range(steps):
        direction, logits = ascent(model, x, y, targeted)
        if keep == "best":
            best, most = _better(best, most, x, logits, y, targeted)
        moved = torch.clamp(x + step * direction.sign(), low, high)
        done = fooled(logits, y, targeted)[:, None, None, None]
        x = torch.where(done, x, moved) if keep == "first" else moved
    if keep == "best":
        with torch.no_grad():
            x, _ = _better(best, most, x, model(x), y, targeted)
    return x


FOOLS = 1e6  # above any loss: an iterate that fools the model is better than any that does not


def _better(
    best: Tensor, most: Tensor, x: Tensor, logits: Tensor, y: Tensor, targeted: bool
) -> tuple[Tensor, Tensor]:
    """For each image the better of two iterates, and how good it is."""
    loss = F.cross_entropy(logits.float(), y, reduction="none")
    gain = (-loss if targeted else loss) + FOOLS * fooled(logits, y, targeted)
    more = gain > most
    return torch.where(more[:, None, None, None], x, best), torch.where(more, gain, most)
