"""The VAE: its loss against closed forms, its noise, its shapes; and training it by recipe."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from washout import models
from washout.data import Dataset, Split
from washout.models import VAE
from washout.models.vae import divergence
from washout.training import Recipe, fit, trained
from washout.training.loop import objective


def small(**settings) -> VAE:
    torch.manual_seed(0)
    return VAE(1, 8, widths=(4, 2), pooled=1, **{"latent": 6, **settings}).eval()


def images(count: int = 5, channels: int = 1, size: int = 8) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("channels", "size", "settings"),
    [
        (1, 28, {}),  # Table 2, MNIST
        (3, 32, {"widths": (64, 32, 16), "pooled": 1, "latent": 1024}),  # Table 2, CIFAR-10
        (3, 16, {"widths": (64, 32, 16), "pooled": 1, "latent": 512}),  # Table 3
        (3, 64, {"widths": (8, 4), "pooled": 2, "latent": 32}),
    ],
)
def test_shapes_are_those_of_the_tables(channels, size, settings):
    vae = models.build("vae", in_channels=channels, size=size, classes=10, **settings).eval()
    x = images(2, channels, size)
    mean, log_std = vae.encode(x)
    assert mean.shape == log_std.shape == (2, settings.get("latent", 256))
    out = vae.reconstruct(x)
    assert out.shape == x.shape
    assert out.min() >= 0
    assert out.max() <= 1


def test_the_mirror_image_has_as_many_weights_on_both_sides():
    vae = VAE(3, 32, widths=(64, 32, 16), pooled=1, latent=1024)
    down = [m.weight.shape for m in vae.encoder if isinstance(m, torch.nn.Conv2d)]
    up = [m.weight.shape for m in vae.decoder if isinstance(m, torch.nn.ConvTranspose2d)]
    assert up == down[::-1]


def test_divergence_is_that_of_torch_distributions():
    mean, log_std = torch.randn(4, 6), torch.randn(4, 6)
    expected = kl_divergence(Normal(mean, log_std.exp()), Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(divergence(mean, log_std), expected, rtol=1e-4)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_loss_is_minus_log_likelihood_plus_beta_divergence(likelihood):
    vae, x = small(beta=0.3, likelihood=likelihood), images()
    torch.manual_seed(3)
    found = vae.loss(x)
    torch.manual_seed(3)
    mean, log_std = vae.encode(x)
    out = vae.decode(vae.draw(mean, log_std))
    if likelihood == "gaussian":
        # Without the constant n / 2 log(2 pi) of section 3.
        constant = 64 / 2 * math.log(2 * math.pi)
        distortion = -Normal(out, 1.0).log_prob(x).sum((1, 2, 3)) - constant
    else:
        distortion = -(x * out.log() + (1 - x) * (1 - out).log()).sum((1, 2, 3))
    expected = (distortion + 0.3 * divergence(mean, log_std)).mean()
    assert torch.allclose(found, expected, rtol=1e-4)


def test_noise_is_clipped_and_comes_from_the_generator():
    vae, x = small(), images()
    mean, log_std = vae.encode(x)
    for clip in (0.0, 0.5, 5.0):
        torch.manual_seed(0)
        noise = (vae.draw(mean, log_std, clip) - mean) / log_std.exp()
        assert noise.abs().max() <= clip + 1e-4
    still = vae.reconstruct(x, clip=0.0)
    assert torch.equal(still, vae.reconstruct(x, sample=False))
    one, two = (
        vae.reconstruct(x, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, vae.reconstruct(x, generator=torch.Generator().manual_seed(2)))


def test_the_default_clip_changes_next_to_nothing():
    """[-5, 5] leaves all but one draw of two million as it is (notes on section 5)."""
    assert torch.randn(100_000, generator=torch.Generator().manual_seed(0)).abs().max() < 5


def test_a_plain_auto_encoder_draws_nothing():
    vae, x = small(plain=True), images()
    assert torch.equal(vae.reconstruct(x), vae.reconstruct(x))
    assert vae.loss(x) == ((x - vae.reconstruct(x)) ** 2).sum() / 2 / len(x)


def test_gradients_reach_the_image():
    x = images().requires_grad_()
    (gradient,) = torch.autograd.grad(small().reconstruct(x).sum(), x)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latent": 0}, "latent"),
        ({"beta": -1.0}, "beta"),
        ({"clip": -0.1}, "clip"),
        ({"likelihood": "laplace"}, "likelihood"),
        ({"pooled": 3}, "pooled"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        VAE(1, 8, widths=(4, 2), **{"pooled": 1, **settings})


# ---- training ------------------------------------------------------------------------------------
def patches(count: int = 96, dtype: torch.dtype = torch.uint8) -> Dataset:
    """Smooth patches: a few numbers say all of each."""
    small = images(count, 1, 2)
    x = torch.nn.functional.interpolate(small, size=8, mode="bilinear")
    x = (x * 255).round().to(torch.uint8) if dtype == torch.uint8 else x
    labels = torch.zeros(count, dtype=torch.int64)
    split = Split(x, labels)
    return Dataset("patches", split[:64], split[64:], split[:0], ("a", "b"), "", "")


RECIPE = Recipe(
    model="vae",
    data="patches",
    epochs=30,
    batch_size=16,
    lr=1e-2,
    precision="fp32",
    model_args=(("beta", 0.001), ("latent", 8), ("pooled", 1), ("widths", (8, 4))),
)


def test_training_makes_it_reconstruct(tmp_path):
    made = trained(RECIPE, data=patches, write=tmp_path, progress=False)
    vae, x = made.model, patches(dtype=torch.float32).validation.images
    assert isinstance(vae, VAE)
    error = (vae.reconstruct(x, sample=False) - x).square().mean()
    assert error < 0.25 * x.var()
    again = trained(RECIPE, data=lambda: pytest.fail("trained twice"), search=[tmp_path])
    assert again.hash == made.hash
    assert made.record["validation_score"] == pytest.approx(made.model.score(patches().validation))


def test_a_larger_beta_lets_less_through(tmp_path):
    errors = []
    for beta in (0.001, 10.0):
        settings = dict(RECIPE.model_args) | {"beta": beta}
        recipe = Recipe(**{**RECIPE.__dict__, "model_args": tuple(sorted(settings.items()))})
        vae = trained(recipe, data=patches, write=tmp_path, progress=False).model
        x = patches(dtype=torch.float32).validation.images
        errors.append((vae.reconstruct(x, sample=False) - x).square().mean().item())
    assert errors[1] > 2 * errors[0]


def test_uint8_images_train_like_their_floats():
    scores = []
    for dtype in (torch.uint8, torch.float32):
        vae, found = small(), patches(dtype=dtype)
        x = found.train.images
        split = Split(x if dtype == torch.uint8 else (x * 255).round() / 255, found.train.labels)
        loss, score = objective(vae)
        history = fit(
            vae, split, split[:16], loss=loss, score=score, epochs=1, precision="fp32",
            progress=False,
        )  # fmt: skip
        scores.append(history[0]["score"])
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


def test_training_stops_at_a_score_and_stays_stopped(tmp_path, digits_data):
    net = models.build("cnn2", in_channels=1, size=28, classes=10)
    settings = dict(epochs=20, lr=2e-3, stop_at=0.9, checkpoint=tmp_path / "c", progress=False)
    history = fit(net, digits_data.train, digits_data.validation, **settings)
    assert len(history) < 20
    assert history[-1]["score"] >= 0.9
    assert all(row["score"] < 0.9 for row in history[:-1])
    again = models.build("cnn2", in_channels=1, size=28, classes=10)
    assert fit(again, digits_data.train, digits_data.validation, **settings) == history


def test_recipes_without_a_stop_keep_their_names():
    assert Recipe().key() == "lenet-mnist-0-6fb5b895cf4f"
    assert Recipe(stop_at=0.9).key() != Recipe().key()


def test_large_weights_ship_as_a_record(tmp_path, monkeypatch):
    from washout import weights

    monkeypatch.setattr(weights, "SMALL", 1000)
    made = trained(RECIPE, data=patches, write=tmp_path, progress=False)
    (file,) = (tmp_path / "large").glob("*.safetensors")
    assert weights.find([tmp_path], RECIPE.key())[1]["hash"] == made.hash
    file.unlink()
    assert weights.find([tmp_path], RECIPE.key())[1]["hash"] == made.hash
    assert weights.find([tmp_path], RECIPE.key(), whole=True) is None
    assert trained(RECIPE, data=patches, write=tmp_path, progress=False).hash == made.hash


def test_bfloat16_changes_a_reconstruction_by_less_than_the_noise_does():
    vae, x = small(), images(200)
    vae.bf16 = False
    expected = vae.reconstruct(x, generator=torch.Generator().manual_seed(0))
    other = vae.reconstruct(x, generator=torch.Generator().manual_seed(1))
    vae.bf16 = True
    found = vae.reconstruct(x, generator=torch.Generator().manual_seed(0))
    assert found.dtype == torch.float32
    assert 0 < (found - expected).abs().max() < 0.01
    assert (found - expected).abs().mean() < (other - expected).abs().mean() / 20
    assert len(found.unique()) > 256  # not rounded to a byte behind the sigmoid
