"""Two-sample tests: whether one SET of images comes from another distribution than another set.

They answer for a set and never for one image, and more surely the larger the set.

Source: Grosse, Manoharan, Papernot, Backes and McDaniel, "On the (Statistical) Detection of
Adversarial Examples" (2017); the maximum mean discrepancy and its permutation test are by Gretton,
Borgwardt, Rasch, Schölkopf and Smola, "A Kernel Two-Sample Test" (2012), the energy distance by
Székely and Rizzo, "Energy Statistics" (2013).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from washout.checks import check_count

CHUNK = 2**22  # numbers drawn at once

Statistic = Callable[[Tensor, Tensor, Tensor, int, int], Tensor]


class TwoSample(NamedTuple):
    """Result of a permutation test.

    Attributes:
        statistic: of the two sets as given; larger is further apart.
        p_value: share of the relabelings, the given one among them, with at least this statistic;
            in [1 / (permutations + 1), 1], and exactly valid if the sets do not differ.
    """

    statistic: float
    p_value: float


def mmd(first: Tensor, second: Tensor, bandwidth: float | None = None) -> float:
    """Squared maximum mean discrepancy, unbiased (so it may be below 0), of a Gaussian kernel.

    The kernel is exp(-d^2 / (2 s^2)) of the Euclidean distance d.

    Args:
        first: (M, D), or any (M, ...); at least 2.
        second: (N, D), of the same trailing shape; at least 2.
        bandwidth: s; None is the median distance between two different points of both sets.

    Raises:
        ValueError: sets that do not fit or are too small, NaN, or a bandwidth that is not above 0.
    """
    matrix, m, n = _kernel(first, second, bandwidth)
    return _values(matrix, _given(matrix, m), m, n, _unbiased_mmd).item()


def mmd_test(
    first: Tensor,
    second: Tensor,
    *,
    permutations: int = 1000,
    bandwidth: float | None = None,
    generator: torch.Generator | None = None,
) -> TwoSample:
    """Test with ``mmd``, whether the sets differ in distribution.

    Args:
        first: as in ``mmd``.
        second: as in ``mmd``.
        permutations: random relabelings, at least 1.
        bandwidth: as in ``mmd``; relabeling does not change its default.
        generator: where they come from. The same seed relabels alike on all devices.

    Raises:
        ValueError: as ``mmd``, or no permutations.
    """
    return _test(*_kernel(first, second, bandwidth), _unbiased_mmd, permutations, generator)


def energy_distance(first: Tensor, second: Tensor) -> float:
    """Energy distance ``2 E|X - Y| - E|X - X'| - E|Y - Y'|``, at least 0, of the two sets.

    The means go over all pairs, a point with itself among them. In one dimension this is the
    square of ``scipy.stats.energy_distance``.

    Args:
        first: (M, D), or any (M, ...); at least 2.
        second: (N, D), of the same trailing shape; at least 2.

    Raises:
        ValueError: sets that do not fit or are too small, or NaN.
    """
    matrix, m, n = _distances(first, second)
    return _values(matrix, _given(matrix, m), m, n, _energy).item()


def energy_test(
    first: Tensor,
    second: Tensor,
    *,
    permutations: int = 1000,
    generator: torch.Generator | None = None,
) -> TwoSample:
    """Test with ``energy_distance``, whether the sets differ in distribution.

    Args:
        first: as in ``energy_distance``.
        second: as in ``energy_distance``.
        permutations: as in ``mmd_test``.
        generator: as in ``mmd_test``.

    Raises:
        ValueError: as ``energy_distance``, or no permutations.
    """
    return _test(*_distances(first, second), _energy, permutations, generator)


def _unbiased_mmd(xx: Tensor, yy: Tensor, xy: Tensor, m: int, n: int) -> Tensor:
    return xx / (m * (m - 1)) + yy / (n * (n - 1)) - 2 * xy / (m * n)


def _energy(xx: Tensor, yy: Tensor, xy: Tensor, m: int, n: int) -> Tensor:
    return 2 * xy / (m * n) - xx / m**2 - yy / n**2


def _distances(first: Tensor, second: Tensor) -> tuple[Tensor, int, int]:
    """Distances (M + N, M + N) between all points, with a diagonal of exactly 0; and M, N."""
    m, n = len(first), len(second)
    if first.ndim < 2 or first.shape[1:] != second.shape[1:] or min(m, n) < 2:
        raise ValueError(
            f"second: got shape {tuple(second.shape)} for a first of {tuple(first.shape)}; allowed "
            "are two sets (M, D) and (N, D) of at least two points each"
        )
    points = torch.cat([first, second]).flatten(1).double()
    if not bool(points.isfinite().all()):
        raise ValueError("first and second: got NaN or infinity; look at what computed them")
    # Distances do not change, but the sums behind them lose less about a common center.
    matrix = torch.cdist(points - points.mean(0), points - points.mean(0))
    return matrix.fill_diagonal_(0), m, n


def _kernel(first: Tensor, second: Tensor, bandwidth: float | None) -> tuple[Tensor, int, int]:
    """The kernel between all points, with 0 on the diagonal, which no mean takes in; and M, N."""
    matrix, m, n = _distances(first, second)
    if bandwidth is None:
        # Of all entries in order, M + N zeros on the diagonal come first, then each pair twice.
        pairs = (m + n) * (m + n - 1) // 2
        bandwidth = matrix.flatten().kthvalue(m + n + pairs).values.item()
    if not bandwidth > 0:
        raise ValueError(
            f"bandwidth: got {bandwidth}; allowed are numbers above 0 (the median distance is 0 "
            "where most points are the same: give a number)"
        )
    return torch.exp(-(matrix**2) / (2 * bandwidth**2)).fill_diagonal_(0), m, n


def _given(matrix: Tensor, m: int) -> Tensor:
    """(1, M + N): 1 for the points of the first set, 0 for those of the second."""
    return (torch.arange(len(matrix), device=matrix.device) < m).to(matrix)[None]


def _values(matrix: Tensor, members: Tensor, m: int, n: int, statistic: Statistic) -> Tensor:
    """(P,): the statistic of each labeling, a row of 1 (first set) and 0 (second set)."""
    rows = matrix.sum(1)
    xx = ((members @ matrix) * members).sum(1)
    of_first = members @ rows  # from the first set to all points
    return statistic(xx, rows.sum() - 2 * of_first + xx, of_first - xx, m, n)


def _test(
    matrix: Tensor,
    m: int,
    n: int,
    statistic: Statistic,
    permutations: int,
    generator: torch.Generator | None,
) -> TwoSample:
    check_count(permutations, 1, "permutations")
    source = torch.default_generator if generator is None else generator
    observed = _values(matrix, _given(matrix, m), m, n, statistic)
    # Relabelings that are equal must not differ by the order in which sums are rounded.
    bar = observed - 1e-10 * matrix.mean()
    reached = torch.zeros((), dtype=torch.int64, device=matrix.device)
    step = max(CHUNK // (m + n), 1)
    for start in range(0, permutations, step):
        count = min(step, permutations - start)
        drawn = torch.rand(
            count, m + n, dtype=torch.float64, generator=source, device=source.device
        )
        chosen = drawn.argsort(1)[:, :m].to(matrix.device)
        members = matrix.new_zeros(count, m + n).scatter_(1, chosen, 1.0)
        reached += (_values(matrix, members, m, n, statistic) >= bar).sum()
    return TwoSample(observed.item(), (1 + reached.item()) / (1 + permutations))
