"""Defenses put together, in front of a classifier, and as an attacker sees them who knows them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from washout.checks import check_count
from washout.defenses.simple import average

Defense = Callable[[Tensor], Tensor]


class _Several(nn.Module):
    """Holds defenses; those that are modules move to devices and change modes with it."""

    def __init__(self, *defenses: Defense):
        super().__init__()
        if not defenses or not all(callable(defense) for defense in defenses):
            got = ", ".join(type(defense).__name__ for defense in defenses) or "nothing"
            raise ValueError(
                f"defenses: got {got}; allowed are one or more callables, images to images"
            )
        self.defenses = defenses
        self.learned = nn.ModuleList(d for d in defenses if isinstance(d, nn.Module))


class Compose(_Several):
    """One defense after another.

    Args:
        defenses: at least one; the first comes first.

    Raises:
        ValueError: none, or something that is not callable.
    """

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to the same."""
        for defense in self.defenses:
            images = defense(images)
        return images


class Ensemble(_Several):
    """Pixel mean of what each defense makes of the images, as ``average``.

    Args:
        defenses: at least one; one that is named twice weighs double.

    Raises:
        ValueError: none, or something that is not callable.
    """

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to the same."""
        return average(*(defense(images) for defense in self.defenses))


class Defended(nn.Module):
    """A classifier behind a defense: ``model(defense(images))``, for any attack or measurement.

    Args:
        model: images to logits (B, K).
        defense: images to images.

    Raises:
        ValueError: a defense that is not callable; in use, one without a gradient where a
            gradient is needed.
    """

    def __init__(self, model: nn.Module, defense: Defense):
        super().__init__()
        self.model, self.defense = model, Compose(defense)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to logits (B, K)."""
        defended = self.defense(images)
        if torch.is_grad_enabled() and images.requires_grad and not defended.requires_grad:
            raise ValueError(
                "defense: got one that no gradient passes; put Proxy(defense) in its place, whose "
                "gradient is the identity's, or attack the undefended model"
            )
        return self.model(defended)


class Expectation(nn.Module):
    """Mean LOGITS of several passes of a random model: the attacker's expectation over it.

    All passes are one batch, ``samples`` times as long. Other code averages probabilities, or
    gradients of the loss; the gradient of a loss of the mean logits is neither.

    Args:
        model: images to logits (B, K), anew for each row at each pass, as noise is drawn.
        samples: passes, at least 1.

    Raises:
        ValueError: a bad number of samples.

    Source:
        Athalye et al., "Synthesizing Robust Adversarial Examples" (ICML 2018), section 2.1; the
        mean of logits as in foolbox.
    """

    def __init__(self, model: nn.Module, samples: int):
        super().__init__()
        self.model, self.samples = model, check_count(samples, 1, "samples")

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to logits (B, K)."""
        logits = self.model(images.repeat(self.samples, 1, 1, 1))
        return logits.unflatten(0, (self.samples, len(images))).mean(0)


class Proxy(nn.Module):
    """The value of one defense with the gradient of another (BPDA).

    Args:
        forward: images to images; its gradient is not used.
        backward: a differentiable stand-in, e.g. ``soft_jpeg`` for ``jpeg``; None is the
            identity, right for a defense that changes little.

    Raises:
        ValueError: something that is not callable; in use, two shapes.

    Source:
        Athalye et al., "Obfuscated Gradients Give a False Sense of Security" (ICML 2018),
        section 4.1.
    """

    def __init__(self, forward: Defense, backward: Defense | None = None):
        super().__init__()
        self.value = Compose(forward)
        self.stand_in = None if backward is None else Compose(backward)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] to the same."""
        with torch.no_grad():
            value = self.value(images.detach())
        if not (torch.is_grad_enabled() and images.requires_grad):
            return value
        smooth = images if self.stand_in is None else self.stand_in(images)
        if smooth.shape != value.shape:
            raise ValueError(
                f"backward: got shape {tuple(smooth.shape)}; allowed is that of forward, "
                f"{tuple(value.shape)}"
            )
        return value + (smooth - smooth.detach())  # the value to the last bit: x - x is 0
