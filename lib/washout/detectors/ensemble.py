"""The dropout passes as one differentiable classifier: what an attacker who knows them attacks.

Source: Carlini and Wagner, "Adversarial Examples Are Not Easily Detected" (2017), who evade
Feinman's uncertainty this way; averaging a random defense before taking the gradient is the
expectation over transformations of Athalye, Carlini and Wagner (2018).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from washout.checks import check_choice, check_count
from washout.detectors.modes import draw_seed, dropping, parts
from washout.inference import evaluating

AVERAGES = ("probabilities", "logits")


class DropoutEnsemble(nn.Module):
    """Logits of the average over stochastic passes, for any attack that takes a gradient.

    Logits are the logarithm of the mean softmax over passes (``average="probabilities"``; their
    softmax is what ``mc_dropout`` estimates), or the mean of the passes' logits
    (``average="logits"``, where no pass's gradient vanishes). The passes run side by side in the
    batch dimension, the layers before the first dropout once. Dropout is on inside ``forward``
    whatever the mode, and every other layer evaluates.

    Args:
        model: images to logits (B, K), with a dropout layer.
        passes: stochastic passes to average over, at least 1.
        generator: source of the masks.
        average: ``probabilities`` or ``logits``.
        fixed: draw the same masks at every call with as many images, so that an attack descends
            one surface (masks fit to one draw transfer less to another); else fresh ones.

    Raises:
        ValueError: passes below 1 or an unknown average; at the first call, no dropout layer.
    """

    def __init__(
        self,
        model: nn.Module,
        passes: int = 20,
        generator: torch.Generator | None = None,
        *,
        average: str = "probabilities",
        fixed: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.passes = check_count(passes, 1, "passes")
        self.average = check_choice(average, AVERAGES, "average")
        self.generator = generator
        self.seed = draw_seed(generator or torch.default_generator) if fixed else None

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of the average."""
        generator = self.generator
        if self.seed is not None:
            generator = torch.Generator(images.device).manual_seed(self.seed)
        with evaluating(self.model):
            once, repeated = parts(self.model, images[:1].detach())
            with dropping(self.model, generator, images.device):
                rows = once(images)
                stacked = repeated(rows.repeat(self.passes, *[1] * (rows.ndim - 1)))
        logits = stacked.unflatten(0, (self.passes, len(images)))
        if self.average == "logits":
            return logits.mean(0)
        return logits.log_softmax(2).logsumexp(0) - math.log(self.passes)


def dropout_ensemble(
    model: nn.Module,
    passes: int = 20,
    generator: torch.Generator | None = None,
    *,
    average: str = "probabilities",
    fixed: bool = False,
) -> DropoutEnsemble:
    """A classifier to attack in place of ``model``; see ``DropoutEnsemble``.

    Example:
        ``attacks.run("pgd", dropout_ensemble(model, 20, generator), images, labels)``
    """
    return DropoutEnsemble(model, passes, generator, average=average, fixed=fixed)
