"""Centers for K-means to start from, for many sets of points at once."""

from __future__ import annotations

import torch
from torch import Tensor

from washout.defenses.kmeans_steps import squared
from washout.defenses.threads import in_threads

SLICE = 64  # sets of points in hand at once on a CPU


def random_start(points: Tensor, clusters: int, generator: torch.Generator | None) -> Tensor:
    """(B, P, D) to (B, K, D): K of the points, no point twice, all choices equally likely."""
    rank = _uniform(points.shape[:2], points, generator)
    chosen = rank.topk(clusters, dim=1).indices
    return points.gather(1, chosen[..., None].expand(-1, -1, points.shape[2]))


def plus_plus(points: Tensor, clusters: int, generator: torch.Generator | None) -> Tensor:
    """Starting centers spread over the points: greedy k-means++, as scikit-learn draws them.

    Each next center is the best of 2 + ln K candidates, which are drawn in proportion to the
    squared distance to the nearest center so far; the best leaves the least inertia.

    Args:
        points: (B, P, D), floating point.
        clusters: K, from 1 to P.
        generator: where the candidates come from, on any device.

    Returns:
        (B, K, D).

    Source:
        Arthur and Vassilvitskii, "k-means++: The Advantages of Careful Seeding" (SODA 2007).
    """
    batch, _, size = points.shape
    trials = 2 + int(torch.tensor(float(clusters)).log())
    draws = _uniform((clusters, batch, trials), points, generator)
    most = SLICE if points.device.type == "cpu" else batch
    parts = in_threads(
        lambda part: _spread(points[part], draws[:, part]), batch, max(1, most), points.device
    )
    return torch.cat(parts) if parts else points.new_zeros(0, clusters, size)


def _spread(points: Tensor, draws: Tensor) -> Tensor:
    """(B, P, D) and uniform numbers (K, B, candidates) to (B, K, D)."""
    batch, number, size = points.shape
    flat, row = points.mT.contiguous(), torch.arange(batch, device=points.device)
    first = (draws[0, :, 0] * number).long().clamp(max=number - 1)
    centers = [points[row, first]]
    nearest = squared(points - centers[0][:, None])
    for draw in draws[1:]:
        # Counting up from 0 to the inertia, a draw falls into a point's share of it.
        ladder = nearest.cumsum(1)
        index = torch.searchsorted(ladder, draw * ladder[:, -1:]).clamp(max=number - 1)
        candidates = points.gather(1, index[..., None].expand(-1, -1, size))
        apart = torch.zeros_like(nearest)[:, None]
        for axis in range(size):
            apart = apart + (flat[:, None, axis] - candidates[..., axis : axis + 1]) ** 2
        apart = torch.minimum(apart, nearest[:, None])
        best = apart.sum(2).argmin(1)
        nearest = apart[row, best]
        centers.append(candidates[row, best])
    return torch.stack(centers, 1)


def _uniform(shape: tuple[int, ...], points: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers in [0, 1) from the generator, on the points' device."""
    device = generator.device if generator is not None else points.device
    return torch.rand(shape, generator=generator, device=device).to(points)
