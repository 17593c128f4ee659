"""Thresholds for detectors, chosen on validation images.

Source: Wang and Zhang, "Reproducing 'Toward Robust Image Classification'", section 5: L and H
"are chosen to maximise the information gain firstly and then tuned by hyperparameter search".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from washout.checks import check_count, check_range
from washout.detectors.hybrid import Hybrid


@dataclass(frozen=True)
class Choice:
    """Thresholds of the hybrid rule, and the way to them.

    Attributes:
        low: L.
        high: H.
        gain: information gain of (gain_low, gain_high), in bits.
        gain_low: L of the largest information gain, where the search started.
        gain_high: H of the largest information gain.
        validation_accuracy: share of validation images that the rule with L and H gets right.
    """

    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    validation_accuracy: float


def information_gain(
    uncertainty: Tensor, is_adversarial: Tensor, low: Tensor | float, high: Tensor | float
) -> Tensor:
    """Bits about the label in the split into {u < L}, {L <= u <= H}, {u > H}.

    Args:
        uncertainty: (B,).
        is_adversarial: (B,), bool, the label.
        low: L, a number or a tensor.
        high: H, not below L; broadcasts with ``low``.

    Returns:
        The entropy of the label minus its mean entropy within the three parts, in [0, 1] bits,
        of the thresholds' common shape.

    Raises:
        ValueError: scores and labels that do not fit, or NaN.
    """
    score, label = _checked(uncertainty, is_adversarial)
    low, high = (torch.as_tensor(v, dtype=torch.float64, device=score.device) for v in (low, high))
    sides = (score[label].sort().values, score[~label].sort().values)
    below = [torch.searchsorted(side, low) for side in sides]
    above = [len(side) - torch.searchsorted(side, high, right=True) for side in sides]
    between = [len(s) - b - a for s, b, a in zip(sides, below, above, strict=True)]
    within = _bits(*below) + _bits(*between) + _bits(*above)
    whole = _bits(*(torch.tensor(len(side)) for side in sides)).to(within)
    return ((whole - within) / len(score)).clamp_min(0)


def choose_thresholds(
    uncertainty: Tensor,
    agreement: Tensor,
    is_adversarial: Tensor,
    *,
    count: int = 5,
    inclusive: bool = True,
    grid: int = 100,
    radius: float = 0.1,
) -> Choice:
    """Choose L and H: the largest information gain on a grid, then a local search.

    The grid holds quantiles of the scores. The local search finds the highest detection accuracy
    of the hybrid rule among all pairs L <= H, each within ``radius`` of its start (as a share of
    the images by rank). It is exact: accuracy is a sum of one term in L and one in H, so the best
    L for each H is a running maximum.

    Args:
        uncertainty: (B,), of validation images.
        agreement: (B,), how many of their crops agree.
        is_adversarial: (B,), bool.
        count: C of the rule.
        inclusive: as in ``Hybrid``.
        grid: quantiles on each axis of the first search, at least 2.
        radius: of the local search, in [0, 1]; 1 searches everywhere.

    Returns:
        The choice; among equally accurate pairs, that with the lowest H and, for it, the highest
        L: the fewest images whose crops are asked.

    Raises:
        ValueError: tensors that do not fit, NaN, or one of the two kinds of images missing.
    """
    score, label = _checked(uncertainty, is_adversarial)
    if agreement.shape != score.shape:
        raise ValueError(
            f"agreement: got shape {tuple(agreement.shape)}; allowed is that of uncertainty, "
            f"{tuple(score.shape)}: count the crops of the same images"
        )
    check_count(grid, 2, "grid")
    check_range(radius, 0, 1, "radius")
    quantiles = torch.quantile(score, torch.linspace(0, 1, grid).to(score)).unique()
    gains = information_gain(score, label, quantiles[:, None], quantiles[None, :])
    gains = gains.masked_fill(quantiles[:, None] > quantiles[None, :], -1)
    row, column = divmod(int(gains.argmax()), len(quantiles))
    starts = quantiles[row], quantiles[column]

    lows, highs = (_near(score, start, radius) for start in starts)
    passes = Hybrid(0, 0, count, inclusive).agrees(agreement)
    clean, clean_passing = score[~label], score[~label & passes]
    caught, attacked = score[label & ~passes], score[label]
    # Right are: clean u < L, and clean L <= u <= H whose crops agree; attacked u > H, and
    # attacked L <= u <= H whose crops do not.
    by_low = _below(clean, lows) - _below(clean_passing, lows) - _below(caught, lows)
    by_high = _upto(clean_passing, highs) + _upto(caught, highs)
    by_high = by_high + len(attacked) - _upto(attacked, highs)
    best, best_low = by_low.cummax(0)
    lowest = torch.searchsorted(lows, highs, right=True) - 1  # the last L that is not above H
    right = (by_high + best[lowest.clamp_min(0)]).masked_fill(lowest < 0, -1)
    chosen = int(right.argmax())
    return Choice(
        low=lows[best_low[lowest[chosen]]].item(),
        high=highs[chosen].item(),
        gain=gains[row, column].item(),
        gain_low=starts[0].item(),
        gain_high=starts[1].item(),
        validation_accuracy=right[chosen].item() / len(score),
    )


def choose_threshold(
    scores: Tensor, is_adversarial: Tensor, *, balance: bool = False
) -> tuple[float, float]:
    """One threshold on one score, for the baselines: flagged is what lies above it.

    Args:
        scores: (B,), of validation images.
        is_adversarial: (B,), bool.
        balance: give each kind half of the weight, whatever their numbers.

    Returns:
        The threshold of the highest validation accuracy (the lowest such), and that accuracy.

    Raises:
        ValueError: tensors that do not fit, NaN, or one of the two kinds of images missing.
    """
    score, label = _checked(scores, is_adversarial)
    clean, attacked = score[~label], score[label]
    # One candidate below all scores lets everything be flagged.
    lowest = torch.nextafter(score.min(), score.new_tensor(-torch.inf))
    candidates = torch.cat([lowest[None], _near(score, score.min(), 1.0)])
    passed = _upto(clean, candidates).double()
    found = len(attacked) - _upto(attacked, candidates).double()
    accuracy = (passed + found) / len(score)
    if balance:
        accuracy = (passed / len(clean) + found / len(attacked)) / 2
    best = int(accuracy.argmax())
    return candidates[best].item(), accuracy[best].item()


def threshold_at_fpr(clean: Tensor, rate: float) -> float:
    """The lowest threshold that flags at most a given share of clean images.

    It needs no attacked images, so it is the same for every attack.

    Args:
        clean: (B,), scores of clean validation images.
        rate: largest share of them above the threshold, in [0, 1).

    Returns:
        A threshold; flagged is what lies above it.

    Raises:
        ValueError: no scores, NaN, or a rate outside [0, 1).
    """
    if clean.ndim != 1 or not len(clean) or bool(clean.isnan().any()):
        raise ValueError(
            f"clean: got shape {tuple(clean.shape)}; allowed are (B,) scores, at least one, no NaN"
        )
    if not 0 <= rate < 1:
        raise ValueError(f"rate: got {rate}; allowed is [0, 1)")
    # The small term undoes rounding where rate * B is meant to be a whole number.
    allowed = int(rate * len(clean) + 1e-9)
    return clean.double().sort().values[len(clean) - 1 - allowed].item()


def _checked(scores: Tensor, is_adversarial: Tensor) -> tuple[Tensor, Tensor]:
    if scores.ndim != 1 or is_adversarial.shape != scores.shape:
        raise ValueError(
            f"is_adversarial: got shape {tuple(is_adversarial.shape)} for scores of "
            f"{tuple(scores.shape)}; allowed is one label for each of (B,) scores"
        )
    if is_adversarial.dtype != torch.bool:
        raise ValueError(f"is_adversarial: got {is_adversarial.dtype}; allowed is torch.bool")
    if bool(scores.isnan().any()):
        raise ValueError("scores: got NaN; allowed are numbers: look at what computed them")
    if bool(is_adversarial.all()) or not bool(is_adversarial.any()):
        raise ValueError("is_adversarial: got one kind only; give clean and adversarial images")
    return scores.double(), is_adversarial


def _bits(first: Tensor, second: Tensor) -> Tensor:
    """Entropy of a label with these counts, times their sum."""
    first, second = first.double(), second.double()
    both = first + second
    nats = torch.xlogy(both, both) - torch.xlogy(first, first) - torch.xlogy(second, second)
    return nats / torch.log(torch.tensor(2.0, dtype=torch.float64))


def _near(scores: Tensor, start: Tensor, radius: float) -> Tensor:
    """``start``, and what separates the scores ranked within ``radius`` of it, in order."""
    ordered = scores.sort().values
    rank, reach = int(torch.searchsorted(ordered, start)), round(radius * len(ordered))
    distinct = ordered[max(rank - reach, 0) : rank + reach + 1].unique()
    between = (distinct[1:] + distinct[:-1]) / 2
    return torch.cat([distinct[:1], between, distinct[-1:], start[None]]).unique()


def _below(scores: Tensor, thresholds: Tensor) -> Tensor:
    return torch.searchsorted(scores.sort().values, thresholds)


def _upto(scores: Tensor, thresholds: Tensor) -> Tensor:
    return torch.searchsorted(scores.sort().values, thresholds, right=True)
