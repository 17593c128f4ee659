"""Total-variation minimization with dropped pixels, for a batch at once.

Source: Guo et al., "Countering Adversarial Images Using Input Transformations" (ICLR 2018), section
4.3, and their code, a split Bregman solver made from scikit-image's ``denoise_tv_bregman``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from washout.checks import check_choice, check_count, check_images, check_range
from washout.defenses.threads import in_threads
from washout.defenses.tvm_steps import Chessboard

BORDERS = ("neighbors", "four")
CACHED = 1 << 17  # pixel values in hand at once: arrays of half a megabyte
ON_GPU = 1 << 26  # there, of a quarter of a gigabyte


def tvm(
    images: Tensor,
    *,
    drop: float = 0.5,
    weight: float = 0.03,
    steps: int = 100,
    sweeps: int = 10,
    tolerance: float = 0.01,
    border: str = "neighbors",
    mask: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Drop values, and put an image of little total variation through those that are left.

    Each channel is a gray image f of its own; u is sought that minimizes::

        sum of phi(|grad u|) over all pixels + 1 / (2 weight) sum of (u - f)^2 over kept pixels

    where grad u = (right - here, below - here), its first part 0 in the last column and its second
    in the last row: nothing is assumed beyond the border, where scikit-image has rows and columns
    of the noisy image that never change. phi is the length of the gradient, rounded off at 0: its
    slope is p / (p + 1) at p^2 h / (p + 1), with h = weight / 2. It comes from shrinking a length s
    to s^2 / (s + h), as the code of Guo et al. and scikit-image's do, in place of max(s - h, 0).

    A step of split Bregman is ``sweeps`` Gauss-Seidel sweeps over u, and one update of the
    gradients. A sweep sets all pixels of one color of a chessboard, then all of the other, where
    theirs goes row by row and converges to the same. Without the shrunk gradients, a kept pixel
    would become (f / 2 + sum of its n neighbors) / (n + 1/2), a dropped one the mean of its
    neighbors; both add the divergence that the gradients ask for. u starts as f, with 0 where
    dropped. An image is done when u has changed, in a step, by at most ``tolerance``
    (root mean square over all its channels). Then it leaves.

    Carries no gradient; an attacker takes ``Proxy(tvm)``.

    Args:
        images: (B, C, H, W) in [0, 1].
        drop: probability with which ``drop_mask`` drops a value.
        weight: of the total variation, positive. Their code and scikit-image take its inverse.
        steps: at most.
        sweeps: per step.
        tolerance: from 0 up.
        border: what a dropped pixel at the border divides the sum of its 2 or 3 neighbors by:
            ``neighbors`` by their number; ``four`` always by 4, as their code does, which pulls it
            towards black (twice as hard as a kept value pulls).
        mask: (B, C, H, W) bool, True for values to keep; in place of ``drop_mask``'s.
        generator: where ``drop_mask`` draws from, on any device.

    Returns:
        (B, C, H, W), clamped to [0, 1], of the images' type and on their device.

    Raises:
        ValueError: bad images or mask, or a number out of range.
    """
    check_images(images)
    check_range(weight, 1e-6, 1e6, "weight")
    check_range(tolerance, 0, float("inf"), "tolerance")
    check_choice(border, BORDERS, "border")
    check_count(steps, 1, "steps")
    check_count(sweeps, 1, "sweeps")
    if mask is None:
        mask = drop_mask(images, drop, generator)
    elif not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != images.shape:
        got = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask)
        raise ValueError(
            f"mask: got {got}; allowed is a bool tensor {tuple(images.shape)}, True for values to "
            "keep"
        )
    images, mask = images.detach(), mask.to(images.device)
    if not images.numel():
        return images.clone()
    room = CACHED if images.device.type == "cpu" else ON_GPU
    found = torch.empty_like(images, memory_format=torch.contiguous_format)

    def work(part: slice) -> None:
        found[part] = _minimized(
            images[part], mask[part], weight, steps, sweeps, tolerance, border == "four"
        )

    in_threads(work, len(images), max(1, room // images[0].numel()), images.device)
    return found.clamp_(0, 1)


def drop_mask(
    images: Tensor, drop: float = 0.5, generator: torch.Generator | None = None
) -> Tensor:
    """Which values to keep: each is dropped with a probability, but those that are 0 are kept.

    Channels are drawn independently. Dropping means setting to 0, and what dropping does not
    change counts as kept: so in Guo et al.'s code. A black background is never dropped.

    Args:
        images: (B, C, H, W) in [0, 1].
        drop: probability in [0, 1].
        generator: where the draw comes from, on any device.

    Returns:
        (B, C, H, W) bool on the images' device, True for values to keep.

    Raises:
        ValueError: bad images or probability.
    """
    check_images(images)
    check_range(drop, 0, 1, "drop")
    device = generator.device if generator is not None else images.device
    drawn = torch.rand(images.shape, generator=generator, device=device).to(images.device)
    return (drawn >= drop) | (images == 0)


def _minimized(
    images: Tensor,
    mask: Tensor,
    weight: float,
    steps: int,
    sweeps: int,
    tolerance: float,
    four: bool,
) -> Tensor:
    """(B, C, H, W) to the minimizers, not clamped."""
    # In units of weight / 2, the solver's arithmetic has no constants left.
    board = Chessboard(images * (2 / weight), mask, four)
    limit = tolerance * 2 / weight
    found = torch.empty_like(images, memory_format=torch.contiguous_format)
    live = torch.arange(len(images), device=images.device)
    open_ = torch.ones_like(live, dtype=torch.bool)
    for step in range(steps):
        for _ in range(sweeps):
            board.sweep()
        done = board.update() <= limit
        if step == steps - 1:
            done = torch.ones_like(done)
        leave = done & open_
        open_ &= ~done
        left = int(open_.sum())
        # Those that are done leave the chunk when they are half of it, or as each is done.
        if bool(leave.any()):
            found[live[leave]] = board.pixels(leave)
        if not left:
            break
        if left <= len(open_) // 2:
            board.keep(open_)
            live, open_ = live[open_], open_[open_]
    return found * (weight / 2)
