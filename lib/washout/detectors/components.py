"""Principal components of features, exactly: the last ones too."""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-14  # of the largest variance: below it a direction is rounding alone


def components(
    features: Tensor, *, batch_size: int = 2000, device: torch.device | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, components and variances, in float64; what varies most comes first.

    Args:
        features: (B, ...), D values each, at least two of them.
        batch_size: features that are multiplied at once.
        device: where to compute; None is where the features are.

    Returns:
        The mean (D,); the components, (D, K) with K = min(D, B - 1), one in a column, of length 1
        (0 where the features have fewer) and with their largest entry positive; the features'
        variances (K,) along them.
    """
    where = features.device if device is None else device
    parts = [part.flatten(1) for part in features.split(batch_size)]
    count, dimension = len(features), parts[0].shape[1]
    total = torch.zeros(dimension, dtype=torch.float64, device=where)
    for part in parts:
        total += part.to(where, torch.float64).sum(0)
    mean = total / count
    if count > dimension:
        covariance = torch.zeros(dimension, dimension, dtype=torch.float64, device=where)
        for part in parts:
            centered = part.to(where, torch.float64) - mean
            covariance.addmm_(centered.T, centered, alpha=1 / count)
        variances, basis = torch.linalg.eigh(covariance)
        variances = variances.clamp_min(0)
    else:  # as many directions as images, less one: found among the images
        centered = torch.cat(parts).to(where, torch.float64) - mean
        variances, turns = torch.linalg.eigh(centered @ centered.T / count)
        variances, turns = variances[1:].clamp_min(0), turns[:, 1:]
        known = variances > TINY * variances[-1:]
        scale = torch.where(known, variances, torch.ones_like(variances)) * count
        basis = torch.where(known, centered.T @ turns / scale.sqrt(), 0.0)
    # The sign of a component is arbitrary: fix it.
    signs = basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
    return mean, (basis * signs).flip(1), variances.flip(0)
