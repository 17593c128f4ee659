"""Smoothing against SciPy, the controls, and defenses put together and attacked."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from washout import attacks, defenses
from washout.defenses import (
    Compose,
    Defended,
    Ensemble,
    Expectation,
    Proxy,
    average,
    eight_bit,
    jpeg,
    noise_like,
    patchwise,
    smooth,
    soft_jpeg,
)
from washout.inference import predict

pytestmark = pytest.mark.usefixtures("one_thread")


def seed(value=0):
    return torch.Generator().manual_seed(value)


def random_images(*shape):
    return torch.rand(*shape, generator=seed())


class Noisy(nn.Module):
    """Logits of four pixels with uniform noise for each row, drawn in order."""

    def __init__(self, generator):
        super().__init__()
        self.generator = generator

    def forward(self, images):
        noise = torch.rand(len(images), 4, generator=self.generator)
        return (images.flatten(1) + noise).exp()


class Dim(nn.Module):
    """A defense that learns, and acts in evaluation mode only."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))

    def forward(self, images):
        return images if self.training else images * self.factor


@pytest.mark.parametrize("size", [1, 3, 5, 7])
def test_box_is_scipys(size):
    images = random_images(3, 2, 11, 14)
    expected = ndimage.uniform_filter(images.double().numpy(), (1, 1, size, size), mode="mirror")
    for given in (images, images.contiguous(memory_format=torch.channels_last)):
        np.testing.assert_allclose(smooth(given, "box", size), expected, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.5, 1.1, 3])
def test_gaussian_is_the_normalized_window(sigma):
    images = random_images(3, 2, 11, 14)
    at = np.arange(-2, 3)
    kernel = np.exp(-(at[:, None] ** 2 + at**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    expected = ndimage.correlate(images.double().numpy(), kernel[None, None], mode="mirror")
    for given in (images, images.contiguous(memory_format=torch.channels_last)):
        np.testing.assert_allclose(smooth(given, "gaussian", 5, sigma), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["box", "gaussian"])
def test_smooth_stays_in_range_and_has_a_gradient_in_white(kind):
    white = torch.ones(2, 3, 9, 9, requires_grad=True)
    for size in (3, 5, 7):
        found = smooth(white, kind, size)
        assert found.max() <= 1
        torch.testing.assert_close(found, white)
        (gradient,) = torch.autograd.grad(found.sum(), white)
        assert gradient.sum().item() == pytest.approx(white.numel(), rel=1e-4)
        assert gradient.min() > 0


def test_smooth_refuses_bad_input():
    images = random_images(1, 1, 3, 9)
    for size in (0, 2, 4, 7, 2.5):
        with pytest.raises(ValueError, match="size"):
            smooth(images, size=size)
    assert smooth(images, size=5).shape == images.shape
    with pytest.raises(ValueError, match="box, gaussian"):
        smooth(images, "median")
    for sigma in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="sigma"):
            smooth(images, "gaussian", 3, sigma)


def test_eight_bit_rounds_and_carries_no_gradient():
    images = random_images(2, 3, 5, 5)
    found = eight_bit(images.requires_grad_())
    assert not found.requires_grad
    assert (found - images).abs().max() <= 0.5 / 255 + 1e-7
    assert torch.equal((found * 255).round() / 255, found)
    assert torch.equal(eight_bit(found), found)


def test_noise_is_as_large_as_the_defense(digits_data):
    for images, within in (
        (random_images(6, 3, 16, 16), 1e-3),
        (digits_data.test.images[:20], 2e-2),
    ):
        defended = smooth(images)
        noisy = noise_like(images, defended, seed())
        sizes = [(made - images).flatten(1).norm(dim=1) for made in (noisy, defended)]
        torch.testing.assert_close(*sizes, rtol=within, atol=0)
        assert noisy.min() >= 0
        assert noisy.max() <= 1
        assert torch.equal(noisy, noise_like(images, defended, seed()))
        assert not torch.equal(noisy, noise_like(images, defended, seed(1)))
        assert torch.equal(noise_like(images, images, seed()), images)


def test_noise_has_the_shape_of_a_gaussian():
    images = torch.full((1, 1, 200, 200), 0.5)
    noise = noise_like(images, images + 0.05, seed()) - images
    assert noise.std().item() == pytest.approx(0.05, rel=1e-3)
    assert (noise / 0.05).pow(4).mean().item() == pytest.approx(3, abs=0.1)


def test_noise_that_cannot_reach_the_distance_is_finite():
    black = torch.zeros(1, 1, 4, 4)
    noisy = noise_like(black, torch.ones_like(black), seed())
    assert bool(noisy.isfinite().all())


def test_average_is_the_pixel_mean():
    parts = [torch.rand(2, 1, 4, 4, generator=seed(i)) for i in range(3)]
    torch.testing.assert_close(average(*parts), torch.stack(parts).mean(0))
    assert torch.equal(average(parts[0]), parts[0])
    with pytest.raises(ValueError, match="no images"):
        average()
    with pytest.raises(ValueError, match=r"defended\[1\]: got shape"):
        average(parts[0], parts[1][:1])
    with pytest.raises(ValueError, match="defended: got shape"):
        noise_like(parts[0], parts[1][:1])


def test_compose_and_ensemble():
    images = random_images(3, 1, 12, 12)
    box, gaussian = smooth, partial(smooth, kind="gaussian")
    assert torch.equal(Compose(box, gaussian, eight_bit)(images), eight_bit(gaussian(box(images))))
    torch.testing.assert_close(
        Ensemble(box, box, jpeg)(images), (2 * box(images) + jpeg(images)) / 3
    )
    for kind in (Compose, Ensemble):
        with pytest.raises(ValueError, match="nothing"):
            kind()
        with pytest.raises(ValueError, match="Tensor"):
            kind(images)


def test_modules_inside_follow_the_classifier():
    learned = Dim()
    model = Defended(nn.Flatten(), Ensemble(Compose(learned, smooth), Proxy(learned)))
    assert list(model.parameters()) == [learned.factor]
    model.eval()
    assert not learned.training
    model.double()
    assert learned.factor.dtype == torch.float64


@pytest.mark.parametrize("backward", [None, soft_jpeg, smooth])
def test_proxy_has_the_value_of_one_and_the_gradient_of_the_other(backward):
    images = random_images(4, 3, 16, 16).requires_grad_()
    weights = torch.rand(images.shape, generator=seed(1))
    found = Proxy(jpeg, backward)(images)
    assert torch.equal(found, jpeg(images))
    (gradient,) = torch.autograd.grad((found * weights).sum(), images)
    expected = weights
    if backward is not None:
        (expected,) = torch.autograd.grad((backward(images) * weights).sum(), images)
    assert torch.equal(gradient, expected)
    with torch.no_grad():
        assert torch.equal(Proxy(jpeg, backward)(images), jpeg(images))


def test_proxy_refuses_two_shapes():
    images = random_images(2, 3, 8, 8).requires_grad_()
    with pytest.raises(ValueError, match="backward: got shape"):
        Proxy(jpeg, lambda x: x[:, :1])(images)


def test_expectation_is_the_mean_logits_of_single_passes():
    images = random_images(5, 1, 2, 2)
    single = Noisy(seed())
    expected = torch.stack([single(images) for _ in range(7)]).mean(0)
    torch.testing.assert_close(Expectation(Noisy(seed()), 7)(images), expected)
    assert torch.equal(Expectation(Noisy(seed()), 1)(images), Noisy(seed())(images))
    for samples in (0, 1.5):
        with pytest.raises(ValueError, match="samples"):
            Expectation(single, samples)


def test_every_defense_keeps_shape_and_range(digits_data):
    images = digits_data.test.images[:4].contiguous(memory_format=torch.channels_last)
    for defense in DEFENSES.values():
        found = defense(images)
        assert found.shape == images.shape
        assert found.dtype == torch.float32
        assert found.min() >= 0
        assert found.max() <= 1


def halves(tiles):
    return (tiles * 2).round().sub(tiles * 2).detach().add(tiles * 2) / 2


DEFENSES = {
    "soft jpeg": soft_jpeg,
    "jpeg by soft jpeg": Proxy(jpeg, soft_jpeg),
    "jpeg by the identity": Proxy(partial(jpeg, quality=50)),
    "patches": partial(patchwise, halves, size=8, stride=5),
    "smoothed patches": Compose(partial(patchwise, torch.sqrt, size=8, stride=8), smooth),
    "gaussian": partial(smooth, kind="gaussian"),
    "ensemble": Ensemble(Proxy(eight_bit), soft_jpeg, smooth),
}


@pytest.mark.parametrize("name", [name for name in DEFENSES if name != "smoothed patches"])
def test_an_attacker_who_knows_the_defense(name, digits_data, digits_model):
    images, labels = digits_data.test.images[:40], digits_data.test.labels[:40]
    model = Defended(digits_model, DEFENSES[name])
    found = attacks.run(
        "pgd", model, images, labels, eps=0.3, step=0.05, steps=10, generator=seed()
    )
    assert (found.images - images).abs().max() <= 0.3 + 1e-6
    clean = (predict(model, images) == labels).float().mean().item()
    left = (predict(model, found.images) == labels).float().mean().item()
    assert clean > 0.7
    assert left < 0.5 * clean


def test_expectation_under_attack(digits_data, digits_model):
    images, labels = digits_data.test.images[:10], digits_data.test.labels[:10]
    random = seed(3)

    def noise(images):
        return (images + 0.1 * torch.randn(images.shape, generator=random)).clamp(0, 1)

    model = Expectation(Defended(digits_model, noise), 4)
    found = attacks.run(
        "pgd", model, images, labels, eps=0.3, step=0.05, steps=10, generator=seed()
    )
    assert found.success.float().mean() > 0.5


def test_an_attack_on_a_defense_without_gradient_says_what_to_do(digits_data, digits_model):
    images, labels = digits_data.test.images[:4], digits_data.test.labels[:4]
    for defense in (jpeg, eight_bit):
        model = Defended(digits_model, defense)
        assert predict(model, images).shape == (4,)
        with pytest.raises(ValueError, match="Proxy"):
            attacks.run("pgd", model, images, labels, steps=1)


def test_all_names_are_there():
    assert all(hasattr(defenses, name) for name in defenses.__all__)
