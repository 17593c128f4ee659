"""JSMA: change few pixels, two at a time, those that say most about the wanted class.

Papernot, McDaniel, Jha, Fredrikson, Celik and Swami, "The limitations of deep learning in
adversarial settings", EuroS&P 2016 (arXiv:1511.07528), algorithms 2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from washout.attacks.result import Attacked
from washout.attacks.saliency import best_pair, candidates
from washout.checks import check_choice, check_count, check_labels, check_range


def jsma(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    theta: float = 1.0,
    gamma: float = 0.1,
    target: str | Tensor = "random",
    on: str = "logits",
    stuck: str = "stop",
    batch: int = 128,
    generator: torch.Generator | None = None,
) -> Attacked:
    """Jacobian-based saliency map attack.

    With F the classifier's outputs and t the target class, each step takes the pair of features
    (pixels of one channel) p, q with the largest saliency -alpha * beta, where
    alpha = dF_t/dx_p + dF_t/dx_q must be positive and beta, the same sum over all other classes,
    negative (equations 8 and 10); it adds ``theta`` to both. A negative ``theta`` mirrors the
    signs (equation 9). A feature that reaches the end of [0, 1] leaves the search. An image is
    finished when the classifier names the target, after floor(gamma * D / 2) steps, or when no
    pair has a positive saliency.

    Untargeted, the true class takes the target's place with both signs turned: it must fall while
    the sum of the others rises, until any other class wins (NT-JSMA: Wiyatno and Xu,
    arXiv:1808.07945).

    On probabilities the others' gradient is exactly minus the target's, as they sum to one; the
    two features with the largest target gradient win. Equations are the same; the pairs differ.

    Args:
        model: images to logits (B, K). Inside `torch.autocast` its passes run in bfloat16.
        x: (N, C, H, W), in [0, 1].
        y: (N,), int64, the true classes.
        theta: change of a feature per step, in [-1, 1] and not 0.
        gamma: the largest share of the D = C H W features that may change, in [0, 1].
        target: ``random`` (for each image one of the other classes), ``untargeted``, or the
            target classes as an int64 tensor (N,).
        on: ``logits`` (the paper's choice) or ``probabilities``.
        stuck: what to do when no pair has a positive saliency. ``stop``: leave the image as it
            is, as algorithm 3 finds nothing to return. ``first``: change the first feature and go
            on, as cleverhans and torchattacks do, whose argmax over an all-zero map is 0.
        batch: images per forward pass. Waiting images move up as others finish.
        generator: draws the random targets.

    Returns:
        The changed images, also where the classifier withstood them, and where it did not.

    Raises:
        ValueError: a parameter out of its range, or a target that is the true class.
    """
    check_range(theta, -1.0, 1.0, "theta")
    if theta == 0:
        raise ValueError("theta: got 0, which changes nothing; allowed is [-1, 1] without 0")
    check_range(gamma, 0.0, 1.0, "gamma")
    check_choice(on, ("logits", "probabilities"), "on")
    check_choice(stuck, ("stop", "first"), "stuck")
    check_count(batch, 1, "batch")
    if not len(x):
        return Attacked(x.detach().clone(), torch.zeros_like(y, dtype=torch.bool))
    classes, arrange = _probe(model, x)
    chosen, targeted = _chosen_classes(target, y, classes, generator)

    pixels = x.detach().flatten(1).clone()
    success = torch.zeros_like(y, dtype=torch.bool)
    limit = int(gamma * pixels.shape[1] / 2 + 1e-9)
    left = torch.full_like(y, limit)
    end = 1.0 if theta > 0 else 0.0
    sign = 1.0 if (theta > 0) == targeted else -1.0
    rows = torch.arange(min(batch, len(x)), device=x.device)
    waiting = len(rows)
    while len(rows):
        images = arrange(pixels[rows].unflatten(1, x.shape[1:])).requires_grad_()
        predicted, wanted, others = _gradients(model, images, chosen[rows], on)
        inside = pixels[rows] != end
        a = _scaled(sign * wanted, inside)
        b = _scaled(-sign * others, inside)
        kept = candidates(a, b)
        reached = (predicted == chosen[rows]) == targeted
        success[rows] = reached
        going = ~reached & (left[rows] > 0)
        # The one synchronization per step. Both numbers are shapes: finished images leave the
        # batch and the pairs are searched among as few candidates as the images in it need.
        going_count, width = torch.stack((going.sum(), kept.sum(1).max())).tolist()
        stay = going.int().argsort(descending=True, stable=True)[:going_count]
        rows = rows[stay]
        pairs, saliency = best_pair(a[stay], b[stay], kept[stay], width)
        found = (saliency > 0)[:, None]
        if stuck == "first":
            pairs, found = pairs * found, torch.ones_like(found)
        before = pixels[rows]
        after = before.scatter_add(1, pairs, theta * found.to(before).expand(-1, 2)).clamp_(0, 1)
        pixels[rows] = after
        # What a step leaves as it was, all further steps would.
        left[rows] = torch.where((after != before).any(1), left[rows] - 1, 0)
        following = min(len(x), waiting + batch - len(rows))
        rows = torch.cat((rows, torch.arange(waiting, following, device=x.device)))
        waiting = following
    return Attacked(pixels.view_as(x), success)


def _channels_last(images: Tensor) -> Tensor:
    """Lay images out in memory channel by channel within each pixel, which convolutions like.

    ``contiguous(memory_format=...)`` leaves images of one channel alone, as both layouts then
    describe the same bytes; their strides still choose the slower convolution.
    """
    batch, channels, height, width = images.shape
    return images.new_empty(batch, height, width, channels).permute(0, 3, 1, 2).copy_(images)


@torch.no_grad()
def _probe(model: nn.Module, x: Tensor) -> tuple[int, Callable[[Tensor], Tensor]]:
    """Return how many classes the model has, and the memory layout for its images."""
    try:
        return model(_channels_last(x[:1])).shape[1], _channels_last
    except RuntimeError:
        # A model that flattens with view() takes contiguous images only.
        return model(x[:1].contiguous()).shape[1], Tensor.contiguous


def _chosen_classes(
    target: str | Tensor, y: Tensor, classes: int, generator: torch.Generator | None
) -> tuple[Tensor, bool]:
    """Return the class each image's saliency is about, and whether it is to be reached or left."""
    if isinstance(target, str):
        check_choice(target, ("random", "untargeted"), "target")
        if target == "untargeted":
            return y, False
        device = generator.device if generator else "cpu"
        shift = torch.randint(1, classes, y.shape, generator=generator, device=device)
        return (y + shift.to(y.device)) % classes, True
    check_labels(target, y, "target")
    if bool((target >= classes).any()):
        raise ValueError(
            f"target: got class {int(target.max())}; "
            f"the classifier's classes are 0 to {classes - 1}"
        )
    if bool((target == y).any()):
        raise ValueError(
            f"target: {int((target == y).sum())} targets are the image's true class; "
            "choose another class for each, or target='random'"
        )
    return target, True


def _gradients(
    model: nn.Module, images: Tensor, chosen: Tensor, on: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Return predictions (B,), the chosen class's gradient and the others' sum, both (B, D)."""
    with torch.enable_grad():
        outputs = model(images)
        if on == "probabilities":
            # d log p = dp / p: the same order of features, and no underflow where p is tiny.
            own = outputs.log_softmax(1).gather(1, chosen[:, None]).sum()
            (wanted,) = torch.autograd.grad(own, images)
            others = -wanted
        else:
            # Two backward passes stand for the whole Jacobian of K of them.
            own = outputs.gather(1, chosen[:, None]).sum()
            (wanted,) = torch.autograd.grad(own, images, retain_graph=True)
            (others,) = torch.autograd.grad(outputs.sum() - own, images)
    return outputs.detach().argmax(1), wanted.flatten(1), others.flatten(1)


def _scaled(gain: Tensor, inside: Tensor) -> Tensor:
    """Scale each row to a largest size of 1, so that products cannot underflow; -inf outside."""
    size = gain.abs().amax(1, keepdim=True)
    return torch.where(inside, gain / size.clamp_min(torch.finfo(gain.dtype).tiny), float("-inf"))
