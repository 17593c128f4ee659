"""The learned detector, PCA, two-sample tests and residual statistics against their oracles."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from scipy.stats import energy_distance as scipy_energy_distance
from sklearn.decomposition import PCA
from torch import nn

from washout import detectors, metrics
from washout.attacks import run
from washout.detectors import Detector, PCADetector, fit_detector, two_sample
from washout.models import ResNet

pytestmark = pytest.mark.usefixtures("one_thread")


def seed(value=0):
    return torch.Generator().manual_seed(value)


def rings(count, dimension=6, value=0):
    """Points whose label is that they lie far out: no linear rule tells it."""
    points = torch.randn(count, dimension, generator=seed(value))
    far = points[:, :2].norm(dim=1) > 1.2
    return points * torch.tensor([100.0, 0.01, 1, 1, 1, 1])[:dimension] + 7, far


# Learned


def test_the_detector_has_five_layers_and_standardizes_by_the_training_data():
    detector = Detector(768, generator=seed())
    sizes = [tuple(p.shape) for p in detector.parameters() if p.ndim == 2]
    assert sizes == [(512, 768), (256, 512), (128, 256), (64, 128), (1, 64)]
    features = torch.randn(300, 768, generator=seed()) * 5 + 3
    features[:, 7] = 0.1  # never varies
    detector.standardize(features)
    assert detector.std[7] == 1
    assert detector(features).shape == (300,)
    standard = (features - detector.mean) / detector.std
    expected = (features - features.mean(0)) / features.std(0, correction=0)
    expected[:, 7] = 0
    torch.testing.assert_close(standard, expected, atol=1e-4, rtol=1e-4)
    copy = Detector(768)
    copy.load_state_dict(detector.state_dict())
    assert torch.equal(copy.scores(features), detector.scores(features, batch_size=300))


def test_the_detector_learns_what_no_linear_rule_tells_and_repeats_its_bits():
    train, validation, test = rings(1500, value=1), rings(400, value=2), rings(1000, value=3)
    found = []
    for _ in range(2):
        generator = seed(5)
        detector = Detector(6, (32, 32, 16, 16), generator)
        history = fit_detector(
            detector, *train, validation, epochs=12, batch_size=64, generator=generator
        )
        found.append(detector.scores(test[0]))
    assert torch.equal(*found)
    assert not detector.training
    assert metrics.auc(found[0][test[1]], found[0][~test[1]]).low > 0.95
    assert set(history[0]) == {"epoch", "loss", "validation_loss", "validation_accuracy"}
    assert history[-1]["loss"] < history[0]["loss"]
    other = Detector(6, (32, 32, 16, 16), seed(6))
    assert not torch.equal(other.layers[0].weight, Detector(6, (32,), seed(5)).layers[0].weight)


def test_training_stops_early_and_keeps_the_best_epoch():
    # Labels are coins: after a while the validation loss only rises.
    features = torch.randn(200, 20, generator=seed())
    label = torch.rand(200, generator=seed(1)) < 0.5
    validation = torch.randn(200, 20, generator=seed(2)), torch.rand(200, generator=seed(3)) < 0.5
    detector = Detector(20, generator=seed())
    history = fit_detector(
        detector, features, label, validation, epochs=50, patience=3, generator=seed()
    )
    losses = [row["validation_loss"] for row in history]
    best = losses.index(min(losses))
    assert len(history) == best + 1 + 3 < 50
    logit, kinds = detector.scores(validation[0]).double(), validation[1]
    each = nn.functional.softplus(torch.where(kinds, -logit, logit))
    assert (each[kinds].mean() + each[~kinds].mean()).item() / 2 == pytest.approx(min(losses))
    right = (logit > 0) == kinds
    expected = (right[kinds].double().mean() + right[~kinds].double().mean()).item() / 2
    assert history[best]["validation_accuracy"] == pytest.approx(expected)


def test_balance_puts_the_threshold_between_the_kinds():
    # Two normal densities of distance 2 cross halfway; one clean image in ten moves that.
    def points(count, value):
        label = torch.rand(count, generator=seed(value)) < 0.9
        return torch.randn(count, 1, generator=seed(value + 1)) + 2 * label[:, None].float(), label

    crossings = []
    for balance in (True, False):
        detector = Detector(1, (8,), seed())
        fit_detector(
            detector, *points(4000, 0), points(1000, 10), epochs=15, batch_size=100, lr=0.01,
            balance=balance, generator=seed(),
        )  # fmt: skip
        line = torch.linspace(-2, 4, 601)[:, None]
        crossings.append(line[detector.scores(line).gt(0).float().argmax()].item())
    assert crossings[0] == pytest.approx(1, abs=0.2)
    assert crossings[1] == pytest.approx(1 - math.log(9) / 2, abs=0.3)


def test_images_and_any_network_with_one_logit_can_be_trained():
    images = torch.rand(200, 3, 8, 8, generator=seed())
    label = torch.arange(200) % 2 == 0
    images[label, 1] *= 0.5
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)
    )
    for detector in (network, Detector(192, (32,), seed())):
        fit_detector(
            detector, images[:150], label[:150], (images[150:], label[150:]), epochs=20,
            batch_size=25, lr=0.01, generator=seed(),
        )  # fmt: skip
        found = detector(images[150:]).detach().reshape(-1)
        assert metrics.auc(found[label[150:]], found[~label[150:]]).value > 0.9


def test_dropout_keeps_a_detector_from_knowing_its_training_data_by_heart():
    def points(count, value):  # a weak signal in a few of many features
        features = torch.randn(count, 300, generator=seed(value))
        label = torch.rand(count, generator=seed(value + 1)) < 0.5
        features[label, :10] += 0.5
        return features, label

    found = []
    for dropout in (0.0, 0.3):
        detector = Detector(300, generator=seed(), dropout=dropout)
        history = fit_detector(
            detector, *points(400, 10), points(400, 20), epochs=15, patience=15, generator=seed()
        )
        found.append(history[-1])
        again = Detector(300, generator=seed(), dropout=dropout)
        fit_detector(
            again, *points(400, 10), points(400, 20), epochs=15, patience=15, generator=seed()
        )
        probe = points(50, 30)[0]
        assert torch.equal(detector.scores(probe), again.scores(probe))  # masks repeat too
        assert torch.equal(detector.scores(probe), detector.scores(probe))  # and rest afterwards
    assert found[0]["loss"] < found[1]["loss"]
    assert found[1]["validation_loss"] < 0.8 * found[0]["validation_loss"]


def test_half_precision_trains_a_network_on_images_as_well():
    images = torch.rand(300, 3, 1, 1, generator=seed()).repeat(1, 1, 16, 16)
    label = torch.arange(300) % 2 == 0
    images[label] += 0.05 * torch.randn(150, 3, 16, 16, generator=seed(1))
    losses = {}
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        network = ResNet(3, 16, 1, widths=(8, 16), blocks=1)
        history = fit_detector(
            network, images[:200], label[:200], (images[200:], label[200:]), epochs=6,
            batch_size=25, generator=seed(), precision=precision,
        )  # fmt: skip
        losses[precision] = min(row["validation_loss"] for row in history)
        assert all(p.dtype == torch.float32 for p in network.parameters())
    assert losses["bf16"] != losses["fp32"]
    assert max(losses.values()) < 0.5


# PCA


def correlated(count, value=0):
    """Images (count, 1, 4, 5) in [0, 1], whose pixels hang together."""
    mixing = torch.randn(20, 20, generator=seed(100), dtype=torch.float64)
    mixing = mixing * torch.logspace(0, -3, 20, dtype=torch.float64)
    points = torch.rand(count, 20, generator=seed(value), dtype=torch.float64) @ mixing.T
    return (0.5 + points / 40).clamp(0, 1).view(count, 1, 4, 5)


@pytest.mark.parametrize("statistic", ["variance", "absolute"])
def test_whitened_coefficients_are_sklearns(statistic):
    train, test = correlated(500), correlated(50, 1)
    detector = PCADetector.fit(train, 12, statistic=statistic, smoother=1e-30, batch_size=130)
    theirs = PCA(whiten=True, svd_solver="full").fit(train.flatten(1).numpy())
    expected = theirs.transform(test.flatten(1).numpy())[:, 12:] * math.sqrt(500 / 499)
    found = detector.coefficients(test).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    score = expected.var(1) if statistic == "variance" else np.abs(expected).mean(1)
    np.testing.assert_allclose(detector.scores(test, batch_size=7).numpy(), score, rtol=1e-6)
    ours = detector.coefficients(train)
    torch.testing.assert_close(ours.T @ ours / 500, torch.eye(8, dtype=torch.float64))


def test_one_late_component_gives_the_score_by_hand():
    train = correlated(500)
    detector = PCADetector.fit(train, 15)
    step = 3 * detector.basis[:, 2] * (detector.variances[2] + 1e-11).sqrt()
    images = (detector.mean + torch.stack([0 * step, step])).view(2, 1, 4, 5)
    # One 3 among five coefficients: mean 3/5, mean square 9/5.
    assert detector.scores(images).tolist() == pytest.approx([0, 9 / 5 - 9 / 25], abs=1e-9)
    early = PCADetector.fit(train, 0).basis[:, 0].view(1, 1, 4, 5)
    moved = detector.scores((train[:9] + 0.1 * early).clamp(0, 1))
    torch.testing.assert_close(moved, detector.scores(train[:9]), rtol=1e-5, atol=1e-5)


def test_where_components_are_cut():
    assert PCADetector.fit(correlated(500)).basis.shape == (20, 4)  # from 16 = 20 * 2500 / 3072
    assert PCADetector.fit(correlated(11)).basis.shape == (20, 2)  # 8 to 9: 11 images span 10
    restored = PCADetector(*[torch.zeros(s) for s in ((20,), (20, 4), (4,))])
    fitted = PCADetector.fit(correlated(500))
    restored.load_state_dict(fitted.state_dict())
    assert torch.equal(restored.scores(correlated(5)), fitted.scores(correlated(5)))


def test_pca_finds_noise_and_has_a_gradient(digits_data):
    fitted = PCADetector.fit(digits_data.train.images, 600)
    images = digits_data.test.images[:100]
    noisy = (images + 0.05 * torch.randn(images.shape, generator=seed())).clamp(0, 1)
    assert metrics.auc(fitted.scores(noisy), fitted.scores(images)).low > 0.95
    point = noisy[:2].double().requires_grad_()
    (gradient,) = torch.autograd.grad(fitted(point).sum(), point)
    assert gradient.abs().amax() > 0
    assert torch.equal(fitted.scores(noisy), PCADetector.fit(digits_data.train.images, 600).scores(noisy))  # fmt: skip  # noqa: E501


# Two-sample tests


def test_mmd_and_energy_distance_of_four_points():
    first, second = torch.tensor([[0.0], [1.0]]), torch.tensor([[2.0], [4.0]])

    def k(distance, bandwidth):
        return math.exp(-(distance**2) / (2 * bandwidth**2))

    # Distances 1, 2 within the sets, 2, 4, 1, 3 between them; their lower median is 2.
    for given, s in ((0.7, 0.7), (None, 2.0)):
        expected = k(1, s) + k(2, s) - 2 * (k(2, s) + k(4, s) + k(1, s) + k(3, s)) / 4
        assert detectors.mmd(first, second, given) == pytest.approx(expected)
    expected = 2 * 10 / 4 - 2 * 1 / 4 - 2 * 2 / 4
    assert detectors.energy_distance(first, second) == pytest.approx(expected)


def test_energy_distance_is_scipys_and_mmd_is_the_double_loop():
    first, second = torch.randn(17, 1, generator=seed()), torch.rand(23, 1, generator=seed(1))
    theirs = scipy_energy_distance(first[:, 0].numpy(), second[:, 0].numpy())
    assert detectors.energy_distance(first, second) == pytest.approx(theirs**2, rel=1e-6)
    first = torch.randn(5, 2, 3, generator=seed(), dtype=torch.float64)
    second = torch.randn(7, 2, 3, generator=seed(1), dtype=torch.float64)

    def mean(a, b, same):
        pairs = [
            math.exp(-float((x - y).square().sum()) / (2 * 1.5**2))
            for i, x in enumerate(a)
            for j, y in enumerate(b)
            if not (same and i == j)
        ]
        return sum(pairs) / len(pairs)

    expected = mean(first, first, True) + mean(second, second, True) - 2 * mean(first, second, False)  # fmt: skip  # noqa: E501
    assert detectors.mmd(first, second, 1.5) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["mmd", "energy"])
def test_p_values_come_near_those_of_all_relabelings(name):
    statistic = {"mmd": detectors.mmd, "energy": detectors.energy_distance}[name]
    test = {"mmd": detectors.mmd_test, "energy": detectors.energy_test}[name]
    points = torch.randn(9, 2, generator=seed(4), dtype=torch.float64)
    points[:4] += 0.7
    values = []
    for chosen in combinations(range(9), 4):
        rest = [i for i in range(9) if i not in chosen]
        values.append(statistic(points[list(chosen)], points[rest]))
    exact = np.mean([value >= values[0] - 1e-12 for value in values])
    assert 0.02 < exact < 0.9
    found = test(points[:4], points[4:], permutations=20_000, generator=seed())
    assert found.statistic == pytest.approx(values[0])
    assert found.p_value == pytest.approx(exact, abs=5 * math.sqrt(0.25 / 20_000))


@pytest.mark.parametrize("test", [detectors.mmd_test, detectors.energy_test])
def test_p_values_are_uniform_without_and_small_with_a_difference(test):
    generator = seed(1)
    values = []
    for _ in range(200):
        points = torch.rand(25, 3, generator=generator)
        values.append(test(points[:10], points[10:], permutations=99, generator=generator).p_value)
    for level in (0.1, 0.3, 0.5, 0.8):
        share = np.mean([value <= level + 1e-9 for value in values])
        assert abs(share - level) < 4 * math.sqrt(level * (1 - level) / 200)
    shifted = [
        test(
            torch.randn(30, 10, generator=generator),
            torch.randn(30, 10, generator=generator) + 0.5,
            permutations=99,
            generator=generator,
        ).p_value
        for _ in range(20)
    ]
    assert np.mean([value <= 0.05 for value in shifted]) > 0.9


def test_equal_sets_never_differ_and_chunks_and_seeds_do_not_matter(monkeypatch):
    points = torch.rand(12, 4, generator=seed())
    # All relabelings of two equal sets are at least as far apart as the sets themselves.
    assert detectors.energy_test(points, points, generator=seed()) == (pytest.approx(0), 1)
    other = torch.rand(15, 4, generator=seed(1))
    whole = detectors.mmd_test(points, other, generator=seed(2))
    monkeypatch.setattr(two_sample, "CHUNK", 27 * 64)
    assert detectors.mmd_test(points, other, generator=seed(2)) == whole
    same = torch.ones(5, 2)
    assert detectors.mmd_test(same, same, bandwidth=1.0) == (0, 1)


# Residual statistics


def test_residuals_are_scipys_filter():
    images = torch.rand(2, 3, 7, 9, generator=seed(), dtype=torch.float64)
    count = uniform_filter(np.ones((7, 9)), 3, mode="constant")
    for image, found in zip(images.flatten(0, 1), detectors.residuals(images).flatten(0, 1)):  # noqa: B905
        mean = uniform_filter(image.numpy(), 3, mode="constant") / count
        np.testing.assert_allclose(found.numpy(), image.numpy() - mean, atol=1e-12)


def test_statistics_by_their_definitions():
    images = torch.rand(4, 3, 6, 8, generator=seed(), dtype=torch.float64)
    images[:, :, 0, :3], images[:, 1, 1] = 0, 1
    table = dict(
        zip(detectors.statistic_names(3), detectors.residual_statistics(images).T, strict=True)
    )
    assert len(table) == 27
    residual = detectors.residuals(images).numpy()
    for channel in range(3):
        for name, expected in {
            "residual mean": residual.mean((2, 3)),
            "residual std": residual.std((2, 3)),
            "residual absolute": np.abs(residual).mean((2, 3)),
            "residual fourth": (residual**4).mean((2, 3)) ** 0.25,
            "residual largest": np.abs(residual).max((2, 3)),
            "black": np.full((4, 3), 3 / 48),
            "white": np.array([[0, 8 / 48, 0]] * 4),
            "grid": np.abs(images * 255 - (images * 255).round()).numpy().mean((2, 3)),
        }.items():
            found = table[f"{name}, channel {channel}"].numpy()
            np.testing.assert_allclose(found, expected[:, channel], atol=1e-12)
    short = detectors.residual_statistics(images, grid=False)
    assert torch.equal(short, detectors.residual_statistics(images)[:, :24])
    assert detectors.statistic_names(3, grid=False) == detectors.statistic_names(3)[:24]


def test_statistics_of_plain_images():
    board = (torch.arange(6)[:, None] + torch.arange(8)) % 2
    images = torch.stack([torch.full((6, 8), 0.4), board, torch.full((6, 8), 100.5 / 255)])[:, None]
    images.requires_grad_()
    found = detectors.residual_statistics(images)
    names = detectors.statistic_names(1)
    table = {name.split(",")[0]: found[:, i].tolist() for i, name in enumerate(names)}
    assert table["variation"] == pytest.approx([0, 1, 0])
    assert table["black"] == table["white"] == [0, 0.5, 0]
    assert table["grid"] == pytest.approx([0, 0, 0.5], abs=1e-4)
    assert table["residual std"] == pytest.approx([0, table["residual std"][1], 0], abs=1e-6)
    (gradient,) = torch.autograd.grad(found.sum(), images)
    assert bool(gradient.isfinite().all())


def test_bytes_lie_on_the_grid_until_an_attack_moves_them():
    levels = torch.arange(256).float().view(1, 1, 16, 16) / 255
    column = detectors.statistic_names(1).index("grid, channel 0")
    moved = (levels + 0.3 / 255).clamp(0, 1)
    assert detectors.residual_statistics(levels)[0, column] == 0
    expected = 0.3 * 255 / 256  # white stays
    found = detectors.residual_statistics(moved)[0, column].item()
    assert found == pytest.approx(expected, abs=1e-4)


def test_statistics_and_five_layers_find_fgsm(digits_model, digits_data):
    images, labels = digits_data.validation.images, digits_data.validation.labels
    attacked = run("fgsm", digits_model, images, labels, eps=0.02).images
    both = [detectors.residual_statistics(x, grid=False) for x in (images, attacked)]
    parts = [slice(0, 150), slice(150, 200), slice(200, 300)]
    train, validation, test = (
        (torch.cat([x[part] for x in both]), torch.arange(2 * n) >= n)
        for part in parts
        for n in [part.stop - part.start]
    )
    detector = Detector(8, generator=seed())
    fit_detector(detector, *train, validation, batch_size=32, generator=seed())
    found = detector.scores(test[0])
    assert metrics.auc(found[test[1]], found[~test[1]]).low > 0.9


POINTS, LABELS = torch.randn(6, 3), torch.tensor([True, False] * 3)
IMAGES = torch.rand(30, 1, 4, 4)
NAN = torch.full((6, 3), math.nan)


def train(features=POINTS, label=LABELS, validation=(POINTS, LABELS), **settings):
    return fit_detector(Detector(3, (4,)), features, label, validation, **settings)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Detector(0), r"dimension: got 0"),
        (lambda: Detector(3, (4, 0)), r"widths: got 0"),
        (lambda: Detector(3)(torch.zeros(2, 4)), r"features: got 4 values .* takes 3"),
        (lambda: train(label=LABELS.int()), r"^is_adversarial: .*torch\.bool"),
        (lambda: train(label=LABELS[:5]), r"is_adversarial: .*\(5,\) for features of \(6, 3\)"),
        (lambda: train(validation=(POINTS, LABELS | True)), r"validation .*one kind only"),
        (lambda: train(NAN), r"features: got NaN"),
        (lambda: train(epochs=0), r"epochs: got 0"),
        (lambda: train(patience=0), r"patience: got 0"),
        (lambda: train(lr=0), r"lr: got 0"),
        (lambda: train(precision="fp16"), r"precision: got .fp16.; allowed are bf16, fp32"),
        (lambda: Detector(3, dropout=1), r"dropout: got 1; allowed are numbers in \[0, 1\)"),
        (lambda: train(1e20 * POINTS, lr=1e30), r"diverged in epoch .*lower lr"),
        (lambda: PCADetector.fit(IMAGES * 255), r"images: .*\[0, 1\]"),
        (lambda: PCADetector.fit(IMAGES, 15), r"first: got 15; .* 16 values have 16 components"),
        (lambda: PCADetector.fit(IMAGES[:1]), r"have 0 components"),
        (lambda: PCADetector.fit(IMAGES[:0]), r"have 0 components"),
        (lambda: PCADetector.fit(IMAGES, statistic="max"), r"statistic: got 'max'"),
        (lambda: PCADetector.fit(IMAGES, smoother=0), r"smoother: got 0"),
        (lambda: PCADetector.fit(IMAGES)(IMAGES[:, :, 1:]), r"images: got 12 values .* fit to 16"),
        (lambda: detectors.mmd(POINTS, POINTS[:1]), r"second: got shape \(1, 3\)"),
        (lambda: detectors.mmd(POINTS, POINTS[:, :2]), r"second: got shape \(6, 2\)"),
        (lambda: detectors.mmd(POINTS, POINTS, 0), r"bandwidth: got 0"),
        (lambda: detectors.mmd(0 * POINTS, 0 * POINTS), r"bandwidth: got 0.*give a number"),
        (lambda: detectors.energy_distance(POINTS, NAN), r"got NaN"),
        (lambda: detectors.energy_test(POINTS, POINTS, permutations=0), r"permutations: got 0"),
        (lambda: detectors.residual_statistics(IMAGES[0]), r"images: expected shape"),
        (lambda: detectors.residual_statistics(IMAGES[..., :1]), r"images: got 4 x 1 pixels"),
    ],
)  # fmt: skip
def test_bad_input_says_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()
