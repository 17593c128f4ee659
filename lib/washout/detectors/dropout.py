"""Uncertainty by Monte Carlo dropout: an image is suspicious if stochastic passes disagree on it.

Source: Wang and Zhang, "Reproducing 'Toward Robust Image Classification'", section 4.2, after
Feinman, Curtin, Shintre and Gardner, "Detecting Adversarial Samples from Artifacts" (2017).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from washout.checks import check_count, check_images
from washout.detectors.modes import dropping, parts, place
from washout.inference import evaluating


class DropoutPrediction(NamedTuple):
    """Moments of the softmax outputs over the stochastic passes.

    Attributes:
        mean: (B, K), in [0, 1], rows sum to 1.
        std: (B, K), in [0, 0.5], the standard deviation of the passes (divided by their number).
    """

    mean: Tensor
    std: Tensor

    @property
    def uncertainty(self) -> Tensor:
        """(B,), in [0, 0.5]: the mean over classes of the standard deviation over passes."""
        return self.std.mean(1)

    @property
    def provisional(self) -> Tensor:
        """(B,), int64: the class whose mean probability is highest."""
        return self.mean.argmax(1)


def mc_dropout(
    model: nn.Module,
    images: Tensor,
    *,
    passes: int = 50,
    generator: torch.Generator | None = None,
    batch_size: int = 250,
    device: str | torch.device | None = None,
) -> DropoutPrediction:
    """Pass each image through the network several times with its dropout layers switched on.

    A model that offers ``features(images)`` (all that comes before the first dropout) and
    ``head(features)`` (the rest) computes its features once and repeats the head alone; any other
    model repeats the whole of it. Masks are independent between passes and between images. Only
    the dropout layers leave evaluation mode, and every layer's mode is put back at the end.

    Args:
        model: images to logits (B, K), with a dropout layer.
        images: (B, C, H, W), in [0, 1].
        passes: N of section 4.2, at least 2. The paper gives no number; Feinman et al. use 50.
        generator: source of the masks. The same seed, images and batch size give the same result.
        batch_size: images that go through the network at once.
        device: where to compute, and the model moves there; None stays where the model is.

    Returns:
        The moments over the passes, on the CPU.

    Raises:
        ValueError: a model without dropout, or bad images, passes or batch size.
    """
    check_images(images)
    check_count(passes, 2, "passes")
    check_count(batch_size, 1, "batch_size")
    where = place(model, device)
    moments = []
    with torch.no_grad(), evaluating(model):
        once, repeated = parts(model, images[:1].to(where))
        with dropping(model, generator, where):
            for batch in images.split(batch_size):
                fixed = once(batch.to(where))
                scores = torch.stack([repeated(fixed).softmax(1) for _ in range(passes)])
                std, mean = torch.std_mean(scores, dim=0, correction=0)
                moments.append((mean.cpu(), std.cpu()))
    means, stds = zip(*moments, strict=True)
    return DropoutPrediction(torch.cat(means), torch.cat(stds))
