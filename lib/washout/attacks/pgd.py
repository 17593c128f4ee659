"""PGD, projected gradient descent: BIM from a random point of the eps-ball, with restarts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from washout.attacks.bim import climb
from washout.attacks.result import Attacked, fooled, per_image
from washout.checks import check_choice, check_count


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float | Tensor = 0.3,
    step: float | Tensor | None = None,
    steps: int = 40,
    random_start: bool = True,
    restarts: int = 1,
    keep: str = "last",
    targeted: bool = False,
    generator: torch.Generator | None = None,
) -> Attacked:
    """Take signed gradient steps from random starts, all restarts in one batch.

    Args:
        model: images to logits (B, K).
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the classes to reach if ``targeted``.
        eps: largest change of a pixel, in [0, 1]; one number or one for each image.
        step: size of a step, in [0, 1]; None takes ``eps`` / 30 (0.01 for an eps of 0.3).
        steps: number of steps, at least 1.
        random_start: begin at a uniform point of the eps-ball; else at the image.
        restarts: number of starts, at least 1; the batch grows by this factor.
        keep: which iterate of a run counts: the ``last``, as in the paper, or the ``best``, which
            fools the model if any does and has the highest loss (the lowest towards a target) of
            those. Where a gradient is a stand-in, a run may pass what it looks for and leave it
            again. For a random model the best is partly luck.
        targeted: go towards ``y`` instead of away from it.
        generator: source of the starts; its device may differ from the images'.

    Returns:
        For each image the restart that fools the model, or the one with the highest loss (the
        lowest towards a target) if none or several do.

    Raises:
        ValueError: a parameter out of range; restarts that would all be the same.

    Source:
        Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018,
        section 2.1 and appendix; defaults as in foolbox.
    """
    check_count(steps, 1, "steps")
    check_count(restarts, 1, "restarts")
    check_choice(keep, ("last", "best"), "keep")
    if restarts > 1 and not random_start:
        raise ValueError(
            f"restarts: got {restarts} with random_start=False, which would repeat one run; "
            "use restarts=1 or random_start=True"
        )
    eps = per_image(eps, x, "eps")
    step = eps / 30 if step is None else per_image(step, x, "step")

    # Restart r of image b is row r * B + b.
    start, truth = x.repeat(restarts, 1, 1, 1), y.repeat(restarts)
    eps, step = (t.expand(len(x), 1, 1, 1).repeat(restarts, 1, 1, 1) for t in (eps, step))
    low, high = (start - eps).clamp(min=0), (start + eps).clamp(max=1)
    if random_start:
        device = generator.device if generator is not None else x.device
        noise = torch.rand(start.shape, generator=generator, dtype=x.dtype, device=device)
        start = torch.clamp(start + eps * (2 * noise.to(x.device) - 1), low, high)
    tried = climb(model, start, truth, low, high, step, steps, targeted, keep=keep)

    with torch.no_grad():
        logits = model(tried)
        success = fooled(logits, truth, targeted).view(restarts, -1)
        loss = F.cross_entropy(logits, truth, reduction="none").view(restarts, -1)
    gain = -loss if targeted else loss
    gain = torch.where(success | ~success.any(0), gain, -torch.inf)
    best, rows = gain.argmax(0), torch.arange(len(x), device=x.device)
    return Attacked(tried.view(restarts, *x.shape)[best, rows], success[best, rows])
