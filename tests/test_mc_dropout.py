"""Monte Carlo dropout against the list of all masks, and the ensemble that an attacker sees."""

import itertools
import math
import time

import pytest
import torch
from torch import nn

from washout import detectors
from washout.detectors import mc_dropout
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


@pytest.fixture(autouse=True)
def _one_thread():
    """Tensors here are small: a second thread costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Whole(nn.Module):
    """A model without the split that it has inside."""

    def __init__(self, model):
        super().__init__()
        self.inside = model

    def forward(self, images):
        return self.inside(images)


@pytest.mark.parametrize("dropout", DROPOUTS)
@pytest.mark.parametrize("p", [0.5, 0.3])
def test_mc_dropout_has_the_moments_of_all_masks(dropout, p):
    model, images, passes = linear(dropout, p), torch.rand(5, 1, 2, 2, generator=seed()), 1000
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
    weights = torch.where(masks > 0, 1 - p, p).prod(1)[:, None, None]
    dropped = images.flatten(1) * masks[:, None] / (1 - p)
    scores = model[2](dropped).detach().softmax(2)
    mean = (weights * scores).sum(0)
    std = (weights * (scores - mean) ** 2).sum(0).sqrt()
    found = mc_dropout(model, images, passes=passes, generator=seed(1))
    assert ((found.mean - mean).abs() < 5 * std / math.sqrt(passes)).all()
    torch.testing.assert_close(found.std, std, rtol=0.2, atol=1e-3)
    torch.testing.assert_close(found.uncertainty, found.std.mean(1))
    assert found.provisional.tolist() == found.mean.argmax(1).tolist()


def test_the_split_has_the_distribution_of_whole_passes(lenet):
    images, passes = torch.rand(16, 1, 28, 28, generator=seed()), 200
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
    parts = mc_dropout(model, images, passes=500, batch_size=3, generator=seed())
    whole = mc_dropout(model, images, passes=500, generator=seed(1))
    torch.testing.assert_close(parts.mean, whole.mean, rtol=0, atol=0.04)
    assert parts.mean.std(0).max() > 0.05  # so that a wrong order would show


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
    images = torch.rand(40, 1, 28, 28)

    def seconds(model):
        times = []
        for _ in range(3):
            start = time.process_time()
            mc_dropout(model, images, passes=50)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(Whole(lenet)) > 5 * seconds(lenet)


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
