"""How well a score ranks one kind of image above another: area, curve, operating point."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from washout.checks import check_count
from washout.metrics.intervals import numbers, quantile


class Estimate(NamedTuple):
    """A value and the two ends of its confidence interval."""

    value: float
    low: float
    high: float


class Curve(NamedTuple):
    """A ROC curve from (0, 0) to (1, 1); arrays of one length, both rates non-decreasing."""

    fpr: np.ndarray
    tpr: np.ndarray


def auc(
    positive: ArrayLike | Tensor, negative: ArrayLike | Tensor, level: float = 0.95
) -> Estimate:
    """Probability that a positive scores above a negative (ties count half), with interval.

    Source: DeLong, DeLong and Clarke-Pearson (1988), the variance, on the logit scale so that the
    ends stay within [0, 1]. At an area of exactly 0 or 1 that variance is 0; the score interval
    with the variance of Hanley and McNeil (1982) takes over (Newcombe 2006, method 5).

    Args:
        positive: (M,), scores of the images to be found.
        negative: (N,), scores of the others.
        level: confidence, between 0 and 1.

    Raises:
        ValueError: no scores, or NaN.
    """
    pos, neg = numbers(positive, "positive"), numbers(negative, "negative")
    m, n, z = len(pos), len(neg), quantile(level)
    from scipy.stats import rankdata  # takes half a second to import

    ranks = rankdata(np.concatenate([pos, neg]))
    wins = (ranks[:m] - rankdata(pos)) / n  # for each positive, the share of negatives below it
    losses = (ranks[m:] - rankdata(neg)) / m
    area = min(max(float(wins.mean()), 0.0), 1.0)
    if area in (0.0, 1.0):
        reach = _perfect_reach(m, n, z)
        return Estimate(area, max(area - reach, 0.0), min(area + reach, 1.0))
    variance = _variance(wins) / m + _variance(losses) / n
    logit = math.log(area / (1 - area))
    step = z * math.sqrt(variance) / (area * (1 - area))
    return Estimate(area, _logistic(logit - step), _logistic(logit + step))


def roc(positive: ArrayLike | Tensor, negative: ArrayLike | Tensor, points: int = 200) -> Curve:
    """ROC curve of flagging what scores above a threshold, thinned to draw.

    Args:
        positive: (M,), scores of the images to be found.
        negative: (N,), scores of the others.
        points: largest number of points, at least 2, spread evenly along the curve.

    Raises:
        ValueError: no scores, NaN, or fewer than two points.
    """
    check_count(points, 2, "points")
    fpr, tpr = _roc(numbers(positive, "positive"), numbers(negative, "negative"))
    along = fpr + tpr
    chosen = np.unique(np.searchsorted(along, np.linspace(0, 2, points) - 1e-12))
    return Curve(fpr[chosen], tpr[chosen])


def tpr_at_fpr(positive: ArrayLike | Tensor, negative: ArrayLike | Tensor, rate: float) -> float:
    """Largest share of positives above a threshold that at most ``rate`` of negatives exceed.

    Args:
        positive: (M,), scores of the images to be found.
        negative: (N,), scores of the others.
        rate: false positive rate, in [0, 1].

    Raises:
        ValueError: no scores, NaN, or a rate outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate: got {rate}; allowed is [0, 1]")
    fpr, tpr = _roc(numbers(positive, "positive"), numbers(negative, "negative"))
    return float(tpr[fpr <= rate + 1e-12].max())


def _roc(pos: np.ndarray, neg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rate above each distinct score, from above all to below all."""
    thresholds = np.unique(np.concatenate([pos, neg]))[::-1]
    rates = [
        1 - np.searchsorted(np.sort(side), thresholds, side="left") / len(side)
        for side in (neg, pos)
    ]
    fpr, tpr = (np.concatenate([[0.0], rate]) for rate in rates)
    return fpr, tpr


def _perfect_reach(m: int, n: int, z: float) -> float:
    """How far from 1 the area may truly be if all m positives scored above all n negatives."""
    extra = (m + n) / 2 - 1

    def excess(gap: float) -> float:
        # (1 - A)^2 = z^2 var(A), divided by 1 - A, at A = 1 - gap.
        area = 1 - gap
        spread = area * (1 + extra * gap / (2 - area) + extra * area / (1 + area)) / (m * n)
        return gap - z * z * spread

    from scipy.optimize import brentq

    return float(brentq(excess, 0.0, 1.0))


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
