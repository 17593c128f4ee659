"""The hybrid rule read line by line, and thresholds against trying all of them."""

import itertools
import math
import time

import pytest
import torch

from washout import detectors, metrics
from washout.detectors import Hybrid, choose_threshold, choose_thresholds


def seed(value=0):
    return torch.Generator().manual_seed(value)


def algorithm_1(uncertainty, agreement, low, high, count, inclusive):
    """True if adversarial; Algorithm 1 as it is printed, with either comparison in line 16."""
    if uncertainty > high:
        return True
    if uncertainty < low:
        return False
    return not (agreement >= count if inclusive else agreement > count)


@pytest.mark.parametrize("inclusive", [True, False])
def test_hybrid_is_algorithm_1(inclusive):
    cases = list(itertools.product([0.0, 0.1, 0.2, 0.3, 0.4], range(6)))
    uncertainty = torch.tensor([u for u, _ in cases], dtype=torch.float64)
    agreement = torch.tensor([a for _, a in cases])
    for low, high, count in [(0.1, 0.3, 5), (0.1, 0.3, 3), (0.2, 0.2, 0), (0.0, 1.0, 4)]:
        found = Hybrid(low, high, count, inclusive).flag(uncertainty, agreement)
        expected = [algorithm_1(u, a, low, high, count, inclusive) for u, a in cases]
        assert found.tolist() == expected


def test_more_than_five_of_five_crops_leaves_one_threshold():
    """The printed comparison with C = 5 makes H and the crops void."""
    uncertainty = torch.rand(300, generator=seed())
    agreement = torch.randint(0, 6, (300,), generator=seed())
    flagged = Hybrid(0.3, 0.6, 5, inclusive=False).flag(uncertainty, agreement)
    assert torch.equal(flagged, uncertainty >= 0.3)
    assert not torch.equal(Hybrid(0.3, 0.6, 5).flag(uncertainty, agreement), flagged)


def mixture(n, value=0):
    """Scores, crop counts and labels that overlap, with ties."""
    generator = seed(value)
    label = torch.rand(n, generator=generator) < 0.5
    score = (torch.randn(n, generator=generator) + 1.2 * label).mul(5).round() / 5
    drawn = torch.randint(1, 6, (2, n), generator=generator)
    agreement = torch.where(label, drawn.amin(0), drawn.amax(0))
    return score, agreement, label


def entropy(labels):
    share = labels.double().mean().item() if len(labels) else 0.0
    return -sum(p * math.log2(p) for p in (share, 1 - share) if p > 0)


def test_information_gain_by_its_definition():
    score, _, label = mixture(200)
    lows, highs = torch.tensor([-9.0, -0.2, 0.4, 1.0]), torch.tensor([1.0, 1.2, 9.0])
    found = detectors.information_gain(score, label, lows[:, None], highs)
    assert found.shape == (4, 3)
    for i, j in itertools.product(range(4), range(3)):
        low, high = lows[i], highs[j]
        middle = (score >= low) & (score <= high)
        within = [label[part] for part in (score < low, middle, score > high)]
        expected = entropy(label) - sum(len(part) * entropy(part) for part in within) / 200
        assert found[i, j].item() == pytest.approx(expected, abs=1e-9)


def test_information_gain_of_a_perfect_and_of_no_split_is_one_and_no_bit():
    score, label = torch.arange(10.0), torch.arange(10) >= 5
    assert detectors.information_gain(score, label, 4.5, 4.5).item() == pytest.approx(1)
    assert detectors.information_gain(score, label, 4.5, 20.0).item() == pytest.approx(1)
    assert detectors.information_gain(score, label, -1.0, 20.0).item() == pytest.approx(0)


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("count", [5, 3])
def test_a_search_everywhere_finds_the_best_of_all_pairs(count, inclusive):
    for value in range(4):
        score, agreement, label = mixture(80, value)
        kwargs = {"count": count, "inclusive": inclusive}
        choice = choose_thresholds(score, agreement, label, radius=1.0, **kwargs)
        ordered = score.double().unique()
        candidates = torch.cat([ordered, (ordered[1:] + ordered[:-1]) / 2]).tolist()
        best = max(
            (Hybrid(low, high, **kwargs).flag(score, agreement) == label).double().mean().item()
            for low, high in itertools.product(candidates, candidates)
            if low <= high
        )
        # Every candidate lies on a score or between two, and so does every other threshold.
        assert choice.validation_accuracy <= best + 1e-12
        assert choice.validation_accuracy >= best - 1 / 80
        flagged = Hybrid(choice.low, choice.high, **kwargs).flag(score, agreement)
        reached = metrics.detection_counts(flagged, label).accuracy
        assert reached == pytest.approx(choice.validation_accuracy)


def test_local_search_starts_at_the_largest_gain_and_never_ends_below_it():
    for value in range(5):
        score, agreement, label = mixture(500, value)
        choice = choose_thresholds(score, agreement, label, radius=0.05)
        grid = torch.quantile(score.double(), torch.linspace(0, 1, 100).double()).unique()
        gains = [
            detectors.information_gain(score, label, low, high).item()
            for low, high in itertools.combinations_with_replacement(grid, 2)
        ]
        assert choice.gain == pytest.approx(max(gains))
        start = detectors.information_gain(score, label, choice.gain_low, choice.gain_high)
        assert start.item() == pytest.approx(choice.gain)
        flagged = Hybrid(choice.gain_low, choice.gain_high).flag(score, agreement)
        assert choice.validation_accuracy >= (flagged == label).double().mean().item()
        assert choice.low <= choice.high
        for end, origin in [(choice.low, choice.gain_low), (choice.high, choice.gain_high)]:
            between = (score > min(end, origin)) & (score < max(end, origin))
            assert between.double().mean() <= 0.051
        everywhere = choose_thresholds(score, agreement, label, radius=1.0)
        assert everywhere.validation_accuracy >= choice.validation_accuracy


def test_thresholds_of_ten_thousand_images_take_less_than_a_second():
    score, agreement, label = mixture(10_000)
    score = score + 1e-3 * torch.rand(10_000, generator=seed())
    start = time.process_time()
    choose_thresholds(score, agreement, label)
    assert time.process_time() - start < 1


def test_scores_that_differ_in_the_last_bit_stay_on_their_sides():
    """In float32 the threshold between two neighbors would be one of them."""
    below = torch.tensor(0.1)
    above = torch.nextafter(below, torch.tensor(1.0))
    score, label = torch.stack([below, above] * 3), torch.tensor([False, True] * 3)
    choice = choose_thresholds(score, torch.tensor([5, 5] * 3), label)
    assert choice.validation_accuracy == 1
    flagged = Hybrid(choice.low, choice.high).flag(score, torch.tensor([5, 5] * 3))
    assert torch.equal(flagged, label)


def test_single_threshold_is_the_best_of_all():
    for value in range(5):
        score, _, label = mixture(150, value)
        threshold, accuracy = choose_threshold(score, label)
        tried = [((score > t) == label).double().mean().item() for t in [-99, *score.tolist()]]
        assert accuracy == pytest.approx(max(tried))
        assert ((score.double() > threshold) == label).double().mean() == pytest.approx(accuracy)
    same = torch.ones(4)
    assert choose_threshold(same, torch.tensor([True, True, True, False]))[1] == 0.75


def test_balance_gives_each_kind_half_of_the_weight():
    score, _, label = mixture(150, 1)
    label = label & (torch.arange(150) % 4 > 0)  # few attacked ones
    threshold, accuracy = choose_threshold(score, label, balance=True)

    def balanced(bar: float) -> float:
        flagged = score.double() > bar
        return (flagged[label].double().mean() + (~flagged[~label]).double().mean()).item() / 2

    assert accuracy == pytest.approx(balanced(threshold))
    assert accuracy == pytest.approx(max(balanced(bar) for bar in [-99, *score.tolist()]))
    assert choose_threshold(score, label)[1] > accuracy


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.29, 0.5])
def test_threshold_at_a_false_positive_rate_is_the_lowest_such(rate):
    clean = torch.randn(200, generator=seed()).mul(20).round() / 20
    threshold = detectors.threshold_at_fpr(clean, rate)
    assert (clean.double() > threshold).double().mean() <= rate + 1e-12
    lower = clean[clean.double() < threshold].double().max()
    assert (clean.double() > lower).double().mean() > rate
