"""What an attack returns, and the few tensor steps that the attacks share."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from washout.checks import check_range


class Attacked(NamedTuple):
    """Attacked images and whether each of them fools the classifier.

    Attributes:
        images: (B, C, H, W), within [0, 1]. An attack with a fixed budget keeps the perturbed
            image where it failed; an attack that searches the smallest perturbation returns the
            input there.
        success: bool (B,). True where these very images get another class than the true one,
            or, in a targeted attack, the target class.
    """

    images: Tensor
    success: Tensor


def per_image(value: float | Tensor, x: Tensor, name: str, high: float = 1.0) -> Tensor:
    """Return ``value``, one number or one for each image, in a shape that broadcasts over ``x``.

    Args:
        value: a number or a tensor of shape (B,), within [0, ``high``].
        x: images (B, C, H, W).
        name: what to call the value in a message.
        high: the largest value that makes sense.

    Raises:
        ValueError: another shape, or a number out of range.
    """
    check_range(value, 0.0, high, name)
    tensor = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    if tensor.ndim and tensor.shape != x.shape[:1]:
        raise ValueError(
            f"{name}: got shape {tuple(tensor.shape)}; allowed are one number "
            f"or a tensor of shape ({len(x)},), one number for each image"
        )
    return tensor.reshape(-1, *[1] * (x.ndim - 1))


def fooled(logits: Tensor, y: Tensor, targeted: bool = False) -> Tensor:
    """Return bool (B,): the class is not ``y``, or is ``y`` if the attack is targeted at it."""
    hit = logits.argmax(1) == y
    return hit if targeted else ~hit


def judge(model: nn.Module, images: Tensor, y: Tensor, targeted: bool = False) -> Attacked:
    """Return the images together with what the model says about exactly these images."""
    with torch.no_grad():
        return Attacked(images, fooled(model(images), y, targeted))


def ascent(model: nn.Module, x: Tensor, y: Tensor, targeted: bool) -> tuple[Tensor, Tensor]:
    """Return the direction in pixel space that helps the attacker, and the logits at ``x``.

    It is the gradient of the cross-entropy, negated if ``y`` is a target. The loss is summed
    over the batch, so that an image's gradient does not shrink (in half precision: vanish) as
    the batch grows, and only the gradient for ``x`` is computed: the parameters' stay untouched.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        logits = model(x)
        loss = F.cross_entropy(logits, y, reduction="sum")
        (gradient,) = torch.autograd.grad(-loss if targeted else loss, x)
    return gradient, logits.detach()


class ChannelsLast(nn.Module):
    """The model on images laid out pixel by pixel, which makes convolutions on a CPU faster.

    ``Tensor.contiguous(memory_format=...)`` would not do: for one channel both layouts describe
    the same bytes, so it keeps strides that choose the slower convolution.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K)."""
        batch, channels, height, width = x.shape
        laid = x.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)
        return self.model(laid.copy_(x))
