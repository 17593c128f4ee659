"""Detectors against exact distributions, brute force, and the rule read line by line."""

import itertools
import math
import time

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as vision
from torch import nn

from washout import detectors, metrics
from washout.detectors import Hybrid, choose_threshold, choose_thresholds, mc_dropout
from washout.models import Dropout, build

DROPOUTS = [nn.Dropout, Dropout]


def seed(value=0):
    return torch.Generator().manual_seed(value)


def linear(dropout, p=0.5):
    """Four pixels, dropout, three classes; its 16 masks can be listed."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), dropout(p), nn.Linear(4, 3))


@pytest.fixture(scope="module")
def lenet():
    torch.manual_seed(0)
    model = build("lenet", in_channels=1, size=28, classes=10)
    for parameter in model.parameters():  # larger weights, so that passes disagree visibly
        parameter.data *= 1.5
    return model.eval()


class Whole(nn.Module):
    """A model without the split that it has inside."""

    def __init__(self, model):
        super().__init__()
        self.inside = model

    def forward(self, images):
        return self.inside(images)


# Monte Carlo dropout


@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("p", [0.5, 0.3])
def test_mc_dropout_has_the_moments_of_all_masks(dropout, p):
    model, images, passes = linear(dropout, p), torch.rand(5, 1, 2, 2, generator=seed()), 4000
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
    weights = torch.where(masks > 0, 1 - p, p).prod(1)[:, None, None]
    dropped = images.flatten(1) * masks[:, None] / (1 - p)
    scores = model[2](dropped).detach().softmax(2)
    mean = (weights * scores).sum(0)
    std = (weights * (scores - mean) ** 2).sum(0).sqrt()
    found = mc_dropout(model, images, passes=passes, generator=seed(1))
    assert ((found.mean - mean).abs() < 5 * std / math.sqrt(passes)).all()
    torch.testing.assert_close(found.std, std, rtol=0.1, atol=1e-3)
    torch.testing.assert_close(found.uncertainty, found.std.mean(1))
    assert found.provisional.tolist() == found.mean.argmax(1).tolist()


def test_the_split_has_the_distribution_of_whole_passes(lenet):
    images, passes = torch.rand(16, 1, 28, 28, generator=seed()), 300
    split = mc_dropout(lenet, images, passes=passes, generator=seed(1))
    whole = mc_dropout(Whole(lenet), images, passes=passes, generator=seed(2))
    # Means differ by at most 5 standard errors, standard deviations by theirs.
    error = ((split.std**2 + whole.std**2) / passes).sqrt()
    apart = (split.mean - whole.mean) / error
    assert apart.abs().max() < 5
    assert 0.6 < apart.std() < 1.4  # differing as much as two draws do, not less
    torch.testing.assert_close(split.uncertainty, whole.uncertainty, rtol=0.25, atol=0)
    ratio = split.uncertainty.sum() / whole.uncertainty.sum()
    assert ratio.item() == pytest.approx(1, abs=0.06)


def test_moments_are_those_of_the_passes_in_float64():
    model, passes = linear(nn.Dropout), []
    model.register_forward_hook(lambda *call: passes.append(call[2]))
    images = torch.rand(6, 1, 2, 2, generator=seed())
    found = mc_dropout(model, images, passes=30, generator=seed(1))
    scores = torch.stack(passes[-30:]).double().softmax(2)
    torch.testing.assert_close(found.mean.double(), scores.mean(0), rtol=1e-5, atol=1e-7)
    expected = scores.std(0, correction=0)
    torch.testing.assert_close(found.std.double(), expected, rtol=1e-4, atol=1e-7)


def test_nearly_constant_passes_keep_their_tiny_spread():
    """A mean of squares minus a squared mean would return noise of 1e-4 here."""
    model = linear(nn.Dropout)
    model[2].weight.data *= 1e-5
    images = torch.rand(4, 1, 2, 2, generator=seed())
    uncertainty = mc_dropout(model, images, passes=100, generator=seed()).uncertainty
    assert (uncertainty < 1e-5).all()
    assert (uncertainty > 1e-7).all()


@pytest.mark.parametrize("dropout", DROPOUTS)
def test_masks_are_independent_between_images_and_passes(dropout):
    model, masks = nn.Sequential(nn.Flatten(), dropout(0.5)), []
    model.register_forward_hook(lambda *call: masks.append(call[2] > 0))
    mc_dropout(model, torch.ones(3, 1, 8, 8), passes=200, generator=seed())
    drawn = torch.stack(masks[-200:]).double() - 0.5  # passes, images, units
    pairs = [(drawn[:, 0], drawn[:, 1]), (drawn[:, 1], drawn[:, 2]), (drawn[1:], drawn[:-1])]
    for first, second in [*pairs, (drawn[..., 1:], drawn[..., :-1])]:
        product = 4 * first * second
        assert abs(product.mean().item()) < 5 / math.sqrt(product.numel())


@pytest.mark.parametrize("dropout", DROPOUTS)
def test_same_seed_same_bits_and_the_global_state_stays(dropout):
    model, images = linear(dropout), torch.rand(5, 1, 2, 2)
    before = torch.random.get_rng_state()
    first = mc_dropout(model, images, generator=seed(3))
    second = mc_dropout(model, images, generator=seed(3))
    other = mc_dropout(model, images, generator=seed(4))
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.std, second.std)
    assert not torch.equal(first.mean, other.mean)
    assert torch.equal(torch.random.get_rng_state(), before)
    if dropout is Dropout:
        assert model[1].generator is None


def test_only_dropout_leaves_evaluation_and_every_mode_comes_back():
    norm = nn.BatchNorm2d(1)
    model = nn.Sequential(norm, nn.Flatten(), nn.Dropout(0.5), nn.Linear(4, 3))
    model.train()
    model[3].eval()
    modes = [layer.training for layer in model.modules()]
    mc_dropout(model, torch.rand(5, 1, 2, 2), passes=3)
    assert [layer.training for layer in model.modules()] == modes
    assert norm.num_batches_tracked == 0
    with pytest.raises(RuntimeError):  # 9 pixels do not fit the linear layer
        mc_dropout(model, torch.rand(5, 1, 3, 3), passes=3)
    assert [layer.training for layer in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())


def test_batches_cover_all_images_in_order():
    model, images = linear(nn.Dropout), torch.rand(7, 1, 2, 2, generator=seed())
    parts = mc_dropout(model, images, passes=2000, batch_size=3, generator=seed())
    whole = mc_dropout(model, images, passes=2000, generator=seed(1))
    torch.testing.assert_close(parts.mean, whole.mean, rtol=0, atol=0.02)


class Counting(nn.Module):
    """Split into features and head; how often each of them ran."""

    def __init__(self, inner=nn.Identity, head_scale=1.0):
        super().__init__()
        self.inner, self.drop, self.last = inner(), nn.Dropout(0.5), nn.Linear(4, 3)
        self.head_scale, self.calls = head_scale, []

    def features(self, images):
        self.calls.append("features")
        return self.inner(images.flatten(1))

    def head(self, features):
        self.calls.append("head")
        return self.head_scale * self.last(self.drop(features))

    def forward(self, images):
        return self.last(self.drop(self.inner(images.flatten(1))))


def test_features_run_once_for_each_batch():
    model = Counting()
    mc_dropout(model, torch.rand(6, 1, 2, 2), passes=20, batch_size=3)
    assert model.calls.count("features") == 1 + 2  # once to try the split
    assert model.calls.count("head") == 1 + 40


@pytest.mark.parametrize("settings", [{"inner": nn.Dropout}, {"head_scale": 2.0}])
def test_a_split_that_is_not_the_model_is_left_alone(settings):
    model = Counting(**settings)
    images = torch.rand(6, 1, 2, 2)
    found = mc_dropout(model, images, passes=20, generator=seed())
    assert model.calls == ["features", "head"]  # the trial alone
    whole = mc_dropout(Whole(model), images, passes=20, generator=seed())
    assert torch.equal(found.mean, whole.mean)


def test_fifty_passes_are_five_times_as_fast_as_fifty_whole_ones(lenet):
    """In processor time on one thread, which other programs disturb little."""
    images, threads = torch.rand(40, 1, 28, 28), torch.get_num_threads()
    torch.set_num_threads(1)

    def seconds(model):
        times = []
        for _ in range(3):
            start = time.process_time()
            mc_dropout(model, images, passes=50)
            times.append(time.process_time() - start)
        return min(times)

    try:
        assert seconds(Whole(lenet)) > 5 * seconds(lenet)
    finally:
        torch.set_num_threads(threads)


# The ensemble that an attacker sees


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_ensemble_gradient_is_that_of_the_average_over_masks(average):
    model, images = linear(nn.Dropout), torch.rand(3, 1, 2, 2, generator=seed(), requires_grad=True)
    ensemble = detectors.dropout_ensemble(model, 3000, seed(1), average=average, fixed=True)
    logits = ensemble(images)
    masks = torch.tensor(list(itertools.product([0.0, 2.0], repeat=4)))
    each = model[2](images.flatten(1) * masks[:, None])
    exact = each.mean(0) if average == "logits" else each.softmax(2).mean(0).log()
    torch.testing.assert_close(logits, exact, rtol=0, atol=0.05)
    (found,) = torch.autograd.grad(logits[:, 0].sum(), images)
    (expected,) = torch.autograd.grad(exact[:, 0].sum(), images)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)
    assert torch.equal(ensemble(images), logits)  # fixed masks
    assert all(parameter.grad is None for parameter in model.parameters())


def test_ensemble_is_what_mc_dropout_averages(lenet):
    images = torch.rand(4, 1, 28, 28, generator=seed())
    ensemble = detectors.dropout_ensemble(lenet, 400, seed(1)).eval()
    found = ensemble(images).softmax(1)
    expected = mc_dropout(lenet, images, passes=400, generator=seed(2))
    error = expected.std * math.sqrt(2 / 400)
    assert ((found - expected.mean).abs() < 5 * error + 1e-6).all()
    assert not torch.equal(ensemble(images).softmax(1), found)  # fresh masks
    assert not any(layer.training for layer in lenet.modules())


def test_descending_the_ensemble_lowers_the_passes_confidence(lenet):
    images = torch.rand(4, 1, 28, 28, generator=seed())
    before = mc_dropout(lenet, images, generator=seed(1))
    ensemble = detectors.dropout_ensemble(lenet, 10, seed(2))
    attacked = images
    for _ in range(5):
        attacked = attacked.detach().requires_grad_()
        own = ensemble(attacked).gather(1, before.provisional[:, None])
        (gradient,) = torch.autograd.grad(own.sum(), attacked)
        attacked = (attacked - 0.02 * gradient.sign()).clamp(0, 1)
    after = mc_dropout(lenet, attacked.detach(), generator=seed(1))
    own = before.provisional[:, None]
    assert (after.mean.gather(1, own) < before.mean.gather(1, own)).all()


# Crops


@pytest.mark.parametrize(("height", "width", "size"), [(28, 28, 24), (28, 28, 26), (10, 14, 7)])
def test_five_crops_are_torchvisions(height, width, size):
    images = torch.rand(3, 2, height, width, generator=seed())
    found = detectors.five_crops(images, size)
    assert found.shape == (3, 5, 2, height, width)
    for index, crop in enumerate(vision.five_crop(images, [size, size])):
        resized = vision.resize(crop, [height, width], antialias=False)
        if index < 4 or (height - size) % 2 == 0 == (width - size) % 2:
            torch.testing.assert_close(found[:, index], resized)


def test_crops_of_the_whole_size_are_the_image_and_mirror_with_it():
    images = torch.rand(2, 1, 12, 12, generator=seed())
    assert torch.equal(detectors.five_crops(images, 12), images[:, None].expand(-1, 5, -1, -1, -1))
    mirrored = detectors.five_crops(images.flip(3), 8).flip(4)
    torch.testing.assert_close(mirrored[:, [1, 0, 3, 2, 4]], detectors.five_crops(images, 8))


def test_crop_agreement_by_one_image_at_a_time(lenet):
    images = torch.rand(9, 1, 28, 28, generator=seed())
    images[:, :, :, :14] *= torch.linspace(0, 1, 9).view(-1, 1, 1, 1)
    with torch.no_grad():
        reference = lenet(images).argmax(1)
        expected = [
            sum(
                int(lenet(crop[None]).argmax() == own)
                for crop in detectors.five_crops(image[None], 20)[0]
            )
            for image, own in zip(images, reference, strict=True)
        ]
    lenet.train()
    found = detectors.crop_agreement(lenet, images, reference, 20, batch_size=4)
    assert lenet.training
    lenet.eval()
    assert found.tolist() == expected
    assert found.dtype == torch.int64
    whole = detectors.crop_agreement(lenet, images, reference, 28)
    assert (whole == 5).all()
    assert (detectors.crop_agreement(lenet, images, (reference + 1) % 10, 28) == 0).all()


# The rule and its thresholds


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
    fair = torch.randint(2, 6, (n,), generator=generator)
    agreement = torch.where(label, fair - 1, fair.clamp_min(4))
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


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.29, 0.5])
def test_threshold_at_a_false_positive_rate_is_the_lowest_such(rate):
    clean = torch.randn(200, generator=seed()).mul(20).round() / 20
    threshold = detectors.threshold_at_fpr(clean, rate)
    assert (clean.double() > threshold).double().mean() <= rate + 1e-12
    lower = clean[clean.double() < threshold].double().max()
    assert (clean.double() > lower).double().mean() > rate


# Baselines


def test_background_is_the_mean_of_the_frame():
    images = torch.zeros(2, 1, 10, 10)
    images[:, :, 3:7, 3:7] = 1
    images[1, :, :3] = 0.5  # 30 of the frame's 84 pixels
    expected = [0.0, 15 / 84]
    assert detectors.background(images).tolist() == pytest.approx(expected)


def test_max_softmax_of_a_linear_classifier():
    model, images = linear(nn.Dropout), torch.rand(5, 1, 2, 2, generator=seed())
    found = detectors.max_softmax(model.train(), images, batch_size=2)
    expected = 1 - F.softmax(model[2](images.flatten(1)), 1).max(1).values
    torch.testing.assert_close(found.float(), expected.detach(), rtol=1e-5, atol=1e-6)
    assert model.training


# Real classifiers


def test_noise_raises_the_uncertainty_of_a_trained_network(digits_model, digits_data):
    images = digits_data.test.images[:150]
    clean = mc_dropout(digits_model, images, generator=seed())
    noise = torch.rand(images.shape, generator=seed()) - 0.5
    noisy = mc_dropout(digits_model, (images + noise).clamp(0, 1), generator=seed())
    assert metrics.auc(noisy.uncertainty, clean.uncertainty).low > 0.5
    assert metrics.accuracy(clean.provisional, digits_data.test.labels[:150]) > 0.9


IMAGES = torch.rand(4, 1, 28, 28)
SCORES, LABELS = torch.rand(4), torch.tensor([True, False, True, False])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: mc_dropout(m, IMAGES, passes=1), r"passes: got 1"),
        (lambda m: mc_dropout(m, IMAGES, batch_size=0), r"batch_size: got 0"),
        (lambda m: mc_dropout(m, IMAGES * 255), r"images: .*\[0, 1\]"),
        (lambda m: mc_dropout(nn.Flatten(), IMAGES), r"Flatten, which has no dropout layer"),
        (lambda m: detectors.dropout_ensemble(m, 0), r"passes: got 0"),
        (lambda m: detectors.dropout_ensemble(m, average="votes"), r"average: got 'votes'"),
        (lambda m: detectors.five_crops(IMAGES, 29), r"size: got 29.*28"),
        (lambda m: detectors.crop_agreement(m, IMAGES, torch.zeros(3, dtype=torch.int64), 26),
         r"reference: expected shape \(4,\)"),
        (lambda m: Hybrid(0.5, 0.1), r"low: got 0.5"),
        (lambda m: Hybrid(0.1, float("nan")), r"low: got 0.1"),
        (lambda m: Hybrid(0.1, 0.5, 6), r"count: got 6"),
        (lambda m: Hybrid(0.1, 0.5).flag(SCORES, torch.zeros(3)), r"agreement: got shape \(3,\)"),
        (lambda m: choose_thresholds(SCORES, torch.zeros(4), LABELS.int()), r"torch\.bool"),
        (lambda m: choose_thresholds(SCORES, torch.zeros(3), LABELS), r"agreement: got shape"),
        (lambda m: choose_thresholds(SCORES, torch.zeros(4), LABELS, radius=2), r"radius: got 2"),
        (lambda m: choose_threshold(SCORES, torch.ones(4, dtype=torch.bool)), r"one kind only"),
        (lambda m: choose_threshold(SCORES * math.nan, LABELS), r"scores: got NaN"),
        (lambda m: detectors.threshold_at_fpr(SCORES, 1.5), r"rate: got 1.5"),
        (lambda m: detectors.background(IMAGES, 15), r"width: got 15; allowed are 1 to 14"),
    ],
)  # fmt: skip
def test_bad_input_says_what_is_allowed(lenet, call, message):
    with pytest.raises(ValueError, match=message):
        call(lenet)
