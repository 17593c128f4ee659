"""Intervals of rates and of their differences, and exact tests on pairs."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from washout.checks import check_count


def wilson(k: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a rate k / n, within [0, 1].

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".

    Args:
        k: successes, 0 to n; not whole where it is a printed rate times n.
        n: trials, at least 1.
        level: confidence, between 0 and 1.

    Raises:
        ValueError: counts or level out of range.
    """
    check_count(n, 1, "n")
    if not 0 <= k <= n:
        raise ValueError(f"k: got {k}; allowed is 0 to n={n}")
    z, p = quantile(level), k / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # Exact at the ends, where rounding would leave a low of 1e-18 or a high below 1.
    return (0.0 if k == 0 else center - reach), (1.0 if k == n else center + reach)


def paired_interval(only_a: int, only_b: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of the difference of two rates on the same ``n`` images, within [-1, 1].

    Source: Agresti & Min (2005), "Simple improved confidence intervals for comparing matched
    proportions": half an image more in each of the four cells, then the large-sample interval.
    """
    a, b, size = only_a + 0.5, only_b + 0.5, n + 2
    center = (a - b) / size
    reach = quantile(level) * math.sqrt(a + b - (a - b) ** 2 / size) / size
    return max(center - reach, -1.0), min(center + reach, 1.0)


def difference_interval(
    k1: float, n1: int, k2: float, n2: int, rounding: float = 0.0, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the difference k1 / n1 - k2 / n2 of two independent rates, within [-1, 1].

    Source: Newcombe (1998), "Interval estimation for the difference between independent
    proportions", method 10 (a hybrid of two Wilson intervals).

    Args:
        k1: successes of the first sample, 0 to n1.
        n1: size of the first sample.
        k2: successes of the second sample, 0 to n2.
        n2: size of the second sample.
        rounding: half a unit of the last printed digit (0.0005 for 92.9 %); both ends move out
            by it, as the true rate may be that far from the printed one.
        level: confidence, between 0 and 1.

    Raises:
        ValueError: counts, rounding or level out of range.
    """
    if not rounding >= 0:
        raise ValueError(f"rounding: got {rounding}; allowed are numbers from 0 up")
    (low1, high1), (low2, high2) = wilson(k1, n1, level), wilson(k2, n2, level)
    p1, p2 = k1 / n1, k2 / n2
    below = math.hypot(p1 - low1, high2 - p2) + rounding
    above = math.hypot(high1 - p1, p2 - low2) + rounding
    return max(p1 - p2 - below, -1.0), min(p1 - p2 + above, 1.0)


def mcnemar(b: int, c: int) -> float:
    """Two-sided exact p-value that two methods are equally often right on the same images.

    Source: McNemar (1947); the exact form is a binomial test with probability 1/2.

    Args:
        b: images that only the first gets right.
        c: images that only the second gets right.

    Raises:
        ValueError: a count below 0.
    """
    check_count(b, 0, "b")
    check_count(c, 0, "c")
    from scipy.stats import binomtest  # takes half a second to import

    return float(binomtest(b, b + c).pvalue) if b + c else 1.0


def sign_test(differences: ArrayLike | Tensor) -> float:
    """Two-sided exact p-value that paired differences are as often above 0 as below.

    Args:
        differences: (B,); zeros tell nothing and are left out.
    """
    values = numbers(differences, "differences")
    return mcnemar(int((values > 0).sum()), int((values < 0).sum()))


def numbers(values: ArrayLike | Tensor, name: str) -> np.ndarray:
    """The values as float64 on one axis, at least one and none of them NaN."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().numpy()
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size or np.isnan(array).any():
        raise ValueError(
            f"{name}: got shape {array.shape}{' with NaN' if np.isnan(array).any() else ''}; "
            "allowed is one axis, at least one number, no NaN"
        )
    return array


def quantile(level: float) -> float:
    """How many standard deviations a two-sided interval reaches; 1.96 for 0.95."""
    if not 0 < level < 1:
        raise ValueError(f"level: got {level}; allowed are numbers between 0 and 1, e.g. 0.95")
    return NormalDist().inv_cdf((1 + level) / 2)
