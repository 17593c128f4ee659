"""Metrics against closed forms, printed values, brute force and simulation."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom

from washout import metrics


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        # Newcombe (1998), "Two-sided confidence intervals for the single proportion", Table I.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_printed_values(k, n, low, high):
    assert metrics.wilson(k, n) == pytest.approx((low, high), abs=6e-5)


def test_wilson_ends_solve_the_score_equation_and_mirror():
    for k, n, level in [(3, 10, 0.95), (920, 1000, 0.9), (1, 7, 0.99), (7, 7, 0.95)]:
        low, high = metrics.wilson(k, n, level)
        z = {0.9: 1.644854, 0.95: 1.959964, 0.99: 2.575829}[level]
        for end in (low, high):
            assert (k / n - end) ** 2 == pytest.approx(z * z * end * (1 - end) / n, abs=1e-6)
        assert metrics.wilson(n - k, n, level) == pytest.approx((1 - high, 1 - low))
    assert metrics.wilson(0, 5)[0] == 0
    assert metrics.wilson(5, 5)[1] == 1


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Newcombe (1998), "Interval estimation for the difference", Table II, method 10.
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((10, 10, 0, 10), 0.6075, 1.0),
        ((0, 10, 0, 10), -0.2775, 0.2775),
    ],
)
def test_difference_interval_printed_values(counts, low, high):
    assert metrics.difference_interval(*counts) == pytest.approx((low, high), abs=6e-5)
    swapped = metrics.difference_interval(*counts[2:], *counts[:2])
    assert swapped == pytest.approx((-high, -low), abs=6e-5)


def test_difference_interval_moves_out_by_the_rounding():
    narrow = metrics.difference_interval(929, 1000, 920, 1000)
    wide = metrics.difference_interval(929, 1000, 920, 1000, rounding=0.0005)
    assert (narrow[0] - wide[0], wide[1] - narrow[1]) == pytest.approx((0.0005, 0.0005))


def test_difference_interval_covers():
    generator = np.random.default_rng(0)
    first, second = generator.binomial(60, 0.9, 2000), generator.binomial(80, 0.7, 2000)
    inside = 0
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        low, high = metrics.difference_interval(a, 60, b, 80)
        inside += low <= 0.2 <= high
    assert 0.93 < inside / 2000 < 0.98


@pytest.mark.parametrize(("b", "c"), [(0, 0), (5, 5), (1, 9), (12, 3), (40, 61), (0, 8)])
def test_mcnemar_is_the_binomial_tail(b, c):
    tail = sum(math.comb(b + c, i) for i in range(min(b, c) + 1)) / 2 ** (b + c)
    assert metrics.mcnemar(b, c) == pytest.approx(min(1.0, 2 * tail))


def test_sign_test_leaves_zeros_out():
    differences = torch.tensor([1.0, 2.0, 0.0, 3.0, -1.0, 0.0, 4.0])
    assert metrics.sign_test(differences) == pytest.approx(2 * binom.cdf(1, 5, 0.5))


def brute_auc(positive, negative):
    gap = np.subtract.outer(positive, negative)
    return ((gap > 0) + 0.5 * (gap == 0)).mean()


def test_auc_is_the_share_of_pairs_won_and_its_variance_is_delongs():
    generator = np.random.default_rng(1)
    positive = generator.integers(0, 12, 40).astype(float)  # whole numbers: many ties
    negative = generator.integers(-4, 9, 55).astype(float)
    found = metrics.auc(torch.as_tensor(positive), negative)
    area = brute_auc(positive, negative)
    assert found.value == pytest.approx(area)
    gap = np.subtract.outer(positive, negative)
    won = (gap > 0) + 0.5 * (gap == 0)
    variance = won.mean(1).var(ddof=1) / 40 + won.mean(0).var(ddof=1) / 55
    step = 1.959964 * math.sqrt(variance) / (area * (1 - area))
    logit = math.log(area / (1 - area))
    ends = [1 / (1 + math.exp(-(logit + s))) for s in (-step, step)]
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-6)
    mirrored = metrics.auc(negative, positive)
    assert mirrored == pytest.approx((1 - found.value, 1 - found.high, 1 - found.low))


@pytest.mark.parametrize(("share", "true"), [(1.0, None), (0.6, 0.6)])
def test_auc_interval_covers(share, true):
    """Normal scores, and scores of two kinds, where one kind wins all and the other loses all."""
    generator = np.random.default_rng(2)
    true = true or 0.5 * (1 + math.erf(1.5 / 2))  # P(N(1.5, 1) > N(0, 1))
    inside = 0
    for _ in range(600):
        shift = 1.5 if share == 1 else np.where(generator.random(60) < share, 9, -9)
        found = metrics.auc(generator.normal(shift, 1, 60), generator.normal(0, 1, 60))
        inside += found.low <= true <= found.high
    assert 0.915 < inside / 600 < 0.985


def test_auc_of_perfect_separation_has_an_honest_interval():
    few = metrics.auc(np.arange(10.0) + 100, np.arange(10.0))
    many = metrics.auc(np.arange(500.0) + 1000, np.arange(500.0))
    assert few.value == many.value == few.high == 1
    assert 0.5 < few.low < many.low < 1
    # Where one of the kinds has a single image, the area is a rate; the interval is no narrower
    # than about Wilson's.
    assert metrics.auc(np.ones(1), np.zeros(20)).low < metrics.wilson(20, 20)[0] + 0.02
    low = metrics.auc(np.arange(10.0), np.arange(10.0) + 100)
    assert low == pytest.approx((0, 0, 1 - few.low))


def area_under(curve):
    return float((np.diff(curve.fpr) * (curve.tpr[1:] + curve.tpr[:-1]) / 2).sum())


def test_roc_has_auc_as_its_area_and_ends_in_the_corners():
    generator = np.random.default_rng(3)
    positive, negative = (
        generator.normal(1, 1, 3000).round(1),
        generator.normal(0, 1, 2000).round(1),
    )
    full, thin = metrics.roc(positive, negative, 10_000), metrics.roc(positive, negative, 50)
    assert area_under(full) == pytest.approx(brute_auc(positive, negative))
    assert area_under(thin) == pytest.approx(brute_auc(positive, negative), abs=0.005)
    assert len(thin.fpr) <= 50
    for curve in (full, thin):
        assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)
        assert (np.diff(curve.fpr) >= 0).all()
        assert (np.diff(curve.tpr) >= 0).all()
    assert set(zip(*thin, strict=True)) <= set(zip(*full, strict=True))


def test_tpr_at_fpr_by_trying_every_threshold():
    generator = np.random.default_rng(4)
    positive = generator.integers(0, 20, 50).astype(float)
    negative = generator.integers(-8, 12, 40).astype(float)
    for rate in (0.0, 0.05, 0.1, 0.5, 1.0):
        tried = [(positive > t).mean() for t in np.arange(-9, 21) if (negative > t).mean() <= rate]
        assert metrics.tpr_at_fpr(positive, negative, rate) == pytest.approx(max(tried))


def test_detection_counts_in_both_conventions():
    flagged = torch.tensor([True, True, True, False, False, False, False, True, False, False])
    is_adversarial = torch.tensor([True] * 4 + [False] * 6)
    counts = metrics.detection_counts(flagged, is_adversarial)
    assert (counts.caught, counts.missed, counts.rejected, counts.accepted) == (3, 1, 1, 5)
    assert counts.usual == metrics.Confusion(tp=3, fp=1, tn=5, fn=1)
    assert counts.paper == metrics.Confusion(tp=5, fp=1, tn=3, fn=1)
    assert counts.accuracy == (flagged == is_adversarial).double().mean().item()
    assert counts.detection_rate == 3 / 4
    assert counts.rejection_rate == 1 / 6
    assert counts.usual.precision == 3 / 4
    assert math.isnan(metrics.DetectionCounts(0, 0, 1, 1).detection_rate)


# Tables 2 and 3 of Wang and Zhang: their own numbers, then those that they quote of the original
# authors. TP FP TN FN, detection accuracy; then share of images let through that are clean and
# classified right, clean and wrong, adversarial and right, adversarial and wrong.
TABLES = {
    "fgsm": ((4445, 194, 4766, 515), 92.9, (95.8, 0.0, 0.2, 3.9)),
    "bim": ((4633, 28, 4928, 323), 96.5, (99.3, 0.0, 0.0, 0.6)),
    "jsma": ((4843, 66, 4893, 116), 98.2, (98.6, 0.0, 1.1, 0.2)),
    "authors' fgsm": ((4725, 134, 4796, 252), 96.1, (97.3, 0.0, 1.7, 1.0)),
    "authors' bim": ((4728, 104, 4826, 249), 96.4, (97.8, 0.0, 1.2, 1.0)),  # printed 0.1: a slip
    "authors' jsma": ((4892, 74, 4856, 85), 98.3, (98.5, 0.0, 1.4, 0.1)),
}


@pytest.mark.parametrize("attack", TABLES)
def test_table_3_follows_from_table_2_only_if_positive_is_clean(attack):
    (tp, fp, tn, fn), printed_accuracy, row = TABLES[attack]
    counts = metrics.DetectionCounts(caught=tn, missed=fp, rejected=fn, accepted=tp)
    assert counts.paper == (tp, fp, tn, fn)
    # Some of the printed shares are cut off, not rounded: 98.395 became 98.3.
    assert 100 * counts.accuracy == pytest.approx(printed_accuracy, abs=0.1)
    clean_share = 100 * counts.paper.precision
    assert clean_share == pytest.approx(row[0] + row[1], abs=0.11)
    assert 100 - clean_share == pytest.approx(row[2] + row[3], abs=0.16)
    # Read the usual way, the accepted images are TN + FN, and the clean ones among them TN.
    usual_share = 100 * tn / (tn + fn)
    apart = abs(usual_share - row[0] - row[1])
    assert apart > abs(clean_share - row[0] - row[1])
    if attack == "fgsm":
        assert usual_share == pytest.approx(90.2, abs=0.05)
        assert 100 * counts.rejection_rate == pytest.approx(10.4, abs=0.05)
        assert 100 * (1 - counts.detection_rate) == pytest.approx(3.9, abs=0.05)


def test_accepted_counts_ignore_the_flagged():
    flagged = torch.tensor([True, False, False, False, True, False, False])
    is_adversarial = torch.tensor([True, True, True, False, False, False, False])
    correct = torch.tensor([False, True, False, True, True, False, True])
    counts = metrics.accepted_counts(flagged, is_adversarial, correct)
    assert counts == metrics.AcceptedCounts(2, 1, 1, 1)
    assert (counts.n, counts.right, counts.accuracy) == (5, 3, 3 / 5)


def test_norms_and_relative_l2():
    images = torch.zeros(3, 2, 2, 2)
    images[0, 0, 0, 0], images[1] = 0.5, 0.25
    changed = images.clone()
    changed[0, :, 1, 1] = torch.tensor([0.3, 0.4])  # one pixel, both channels
    changed[1, 0, 0] += 0.1
    found = metrics.norms(images, changed)
    assert found.l0.tolist() == [1, 2, 0]
    assert found.l2.tolist() == pytest.approx([0.5, 0.1 * 2**0.5, 0])
    assert found.linf.tolist() == pytest.approx([0.4, 0.1, 0])
    assert metrics.relative_l2(images, changed).tolist() == pytest.approx([1.0, 0.2, 0.0])
    assert metrics.relative_l2(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item() == math.inf


def test_accuracy():
    assert metrics.accuracy(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 0, 4])) == 0.75


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.wilson(5, 4), r"k: got 5; allowed is 0 to n=4"),
        (lambda: metrics.wilson(0, 0), r"n: got 0"),
        (lambda: metrics.wilson(1, 2, level=95), r"level: got 95"),
        (lambda: metrics.difference_interval(1, 2, 1, 2, rounding=-1), r"rounding: got -1"),
        (lambda: metrics.mcnemar(-1, 2), r"b: got -1"),
        (lambda: metrics.auc([], [1.0]), r"positive: got shape \(0,\)"),
        (lambda: metrics.auc([1.0], [float("nan")]), r"negative: .*NaN"),
        (lambda: metrics.roc([1.0], [0.0], points=1), r"points: got 1"),
        (lambda: metrics.tpr_at_fpr([1.0], [0.0], 5), r"rate: got 5"),
        (lambda: metrics.detection_counts(torch.ones(2), torch.ones(2)), r"torch\.bool"),
        (lambda: metrics.accuracy(torch.rand(4, 3), torch.arange(4)), r"argmax"),
        (lambda: metrics.norms(torch.rand(1, 1, 2, 2), torch.rand(1, 2, 2)), r"changed: got"),
    ],
)
def test_bad_input_says_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()
