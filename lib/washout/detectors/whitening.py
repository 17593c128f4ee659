"""Whitening: principal components, all brought to a variance of 1.

What is left of a flow when it is linear: of all linear maps, those that whiten turn Gaussian data
into the standard normal latents that a flow is trained towards.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from washout.checks import check_count
from washout.detectors.components import components


class Whitening(nn.Module):
    """Features minus their mean, rotated to principal components, each divided by its deviation.

    Args:
        mean: (D,), float64, of the features that it was fit to.
        matrix: (D, K), float64, from centered features to coefficients.

    Raises:
        ValueError: at a call, features of another dimension.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, mean: Tensor, matrix: Tensor):
        super().__init__()
        self.register_buffer("mean", mean.detach().double())
        self.register_buffer("matrix", matrix.detach().double())

    @classmethod
    @torch.no_grad()
    def fit(
        cls,
        features: Tensor,
        *,
        batch_size: int = 2000,
        device: str | torch.device | None = None,
    ) -> Whitening:
        """Find mean and components of features.

        Components along which they vary by less than rounding are left out.

        Args:
            features: (B, ...), D values each, more than one of them.
            batch_size: features that are multiplied at once.
            device: where to compute and stay; None is where the features are.

        Raises:
            ValueError: fewer than two features, or features that do not vary.
        """
        check_count(batch_size, 1, "batch_size")
        where = features.device if device is None else torch.device(device)
        if len(features) < 2:
            raise ValueError(f"features: got {len(features)}; give at least two")
        return cls.of(*components(features, batch_size=batch_size, device=where))

    @classmethod
    def of(cls, mean: Tensor, basis: Tensor, variances: Tensor) -> Whitening:
        """From what ``components`` found."""
        kept = variances > 1e-10 * variances[:1]
        if not bool(kept.any()):
            raise ValueError("features: got features that are all the same; give others")
        return cls(mean, basis[:, kept] / variances[kept].sqrt())

    def forward(self, features: Tensor) -> Tensor:
        """(B, ...) of D values each -> (B, K), float32, each of variance 1 where it was fit."""
        flat = features.flatten(1).double()
        if flat.shape[1] != len(self.mean):
            raise ValueError(
                f"features: got {flat.shape[1]} values each; this whitening was fit to "
                f"{len(self.mean)}: fit another"
            )
        return ((flat - self.mean) @ self.matrix).float()
