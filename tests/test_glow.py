"""Glow: its inverse, and its densities against autograd and closed forms."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.functional import jacobian
from torch.distributions import Normal

from glow_cases import as_split, images, shaken, small, take_steps
from washout import data, models
from washout.data import Dataset
from washout.models import Glow
from washout.models.glow_layers import ActNorm, ScaledConv


@pytest.fixture(scope="module")
def photos() -> Dataset:
    return data.photos()


@pytest.fixture(scope="module", params=["affine", "additive"])
def warm(request, photos) -> Glow:
    """A few steps into its training on photographs."""
    glow = small(3, 3, 32, hidden=16, depth=4, coupling=request.param).train()
    take_steps(glow, photos.train.images, 12)
    return glow.eval()


# ---- shapes --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("channels", "size", "levels", "expected"),
    [
        (3, 32, 3, [(6, 16, 16), (12, 8, 8), (48, 4, 4)]),  # the paper's; it keeps the last
        (1, 28, 2, [(2, 14, 14), (8, 7, 7)]),
        (3, 8, 1, [(12, 4, 4)]),
    ],
)
def test_latents_are_as_many_as_pixels(channels, size, levels, expected):
    glow = models.build(
        "glow", in_channels=channels, size=size, classes=10, hidden=4, depth=1, levels=levels
    )
    x = images(2, channels, size)
    latents, likelihood = glow(x)
    assert [part.shape[1:] for part in latents] == expected
    assert likelihood.shape == (2,)
    last, every = glow.latent(x), glow.latent(x, "all")
    assert last.shape == (2, math.prod(expected[-1]))
    assert every.shape == (2, channels * size**2)
    assert torch.equal(last, latents[-1].flatten(1))
    assert torch.equal(every[:, -last.shape[1] :], last)
    assert torch.equal(every[:, : latents[0][0].numel()], latents[0].flatten(1))
    assert glow.decode(latents).shape == x.shape
    assert glow.sample(4).shape == (4, *x.shape[1:])


def test_weights_are_as_many_as_the_layers_say():
    glow, hidden, count = Glow(3, 32, hidden=7, depth=2), 7, 0
    for c in (12, 24, 48):
        norm, mix = 2 * c, 2 * c * c + c
        wide = 9 * c // 2 * hidden + 2 * hidden
        count += 2 * (norm + mix + wide + hidden**2 + 2 * hidden + 9 * hidden * c + 2 * c)
    count += sum(9 * c * 2 * c + 2 * 2 * c for c in (6, 12)) + 2 * 48
    assert sum(p.numel() for p in glow.parameters()) == count


# ---- volumes -------------------------------------------------------------------------------------
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("coupling", ["affine", "additive"])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_likelihood_is_the_prior_times_autograds_jacobian(levels, coupling, dtype, atol):
    glow, x = shaken(small(levels, coupling=coupling)).to(dtype), images().to(dtype)
    latents, found = glow.encode(x)
    rest = glow.decode([*latents], clamp=False)
    torch.testing.assert_close(rest, x, rtol=0, atol=atol)
    for i in range(len(x)):
        matrix = jacobian(lambda v: glow.latent(v[None], "all")[0], x[i]).view(32, 32)
        expected = torch.linalg.slogdet(matrix)[1]
        assert expected.abs() > 0.1
        for index, part in enumerate(latents):
            mean, log_std = glow.prior(index, beside(glow, x, index))
            normal = Normal(mean.expand_as(part)[i], log_std.exp().expand_as(part)[i])
            expected = expected + normal.log_prob(part[i]).sum()
        assert abs(found[i] - expected) < atol


def beside(glow: Glow, x: torch.Tensor, index: int) -> torch.Tensor:
    """What goes on behind a level: an image's first steps, by themselves."""
    y = (x - 0.5) * 255 / 256
    for level in range(index + 1):
        y = F.pixel_unshuffle(y, 2)
        for step in glow.levels[level]:
            y = step(y)[0]
        if level < len(glow.levels) - 1:
            y = y[:, : y.shape[1] // 2]
    return y


def test_at_the_start_it_is_a_rotation_and_its_likelihood_a_gaussians():
    """Zero last layers scale by sigmoid(2) in the affine case, by nothing in the additive one."""
    x = images()
    pixels = (x - 0.5) * 255 / 256
    expected = Normal(0.0, 1.0).log_prob(pixels).sum((1, 2, 3)) + 32 * math.log(255 / 256)
    additive = small(2, coupling="additive")
    torch.testing.assert_close(additive.encode(x)[1], expected)
    torch.testing.assert_close(
        additive.latent(x, "all").square().sum(1), pixels.square().sum((1, 2, 3))
    )
    # One step, and pixels that are all 0: nothing but the volume is left.
    one = small(1, depth=1)
    gray = torch.full((1, 2, 4, 4), 0.5)
    volume = 16 * math.log(torch.sigmoid(torch.tensor(2.0))) + 32 * math.log(255 / 256)
    expected = Normal(0.0, 1.0).log_prob(torch.zeros(32)).sum() + volume
    torch.testing.assert_close(one.encode(gray)[1][0], expected)


# ---- the first batch -----------------------------------------------------------------------------
def test_the_first_batch_gives_every_layer_mean_0_and_deviation_1(photos):
    glow, x = small(3, 3, 32), photos.train.images[:64]
    glow.initialize(x)
    assert glow.started
    seen = []

    def keep(module, _, output):
        # A copy, as ReLU works in place.
        seen.append((output[0] if isinstance(module, ActNorm) else output).clone())

    for module in glow.modules():
        if isinstance(module, ActNorm) or (isinstance(module, ScaledConv) and not module.zero):
            module.register_forward_hook(keep)
    glow.encode(x)
    assert len(seen) == 3 * 2 * 3
    for output in seen:
        deviation, mean = torch.std_mean(output, dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(mean, torch.zeros_like(mean), rtol=0, atol=1e-4)
        torch.testing.assert_close(deviation, torch.ones_like(mean), rtol=0, atol=1e-3)


def test_only_the_first_batch_of_a_training_counts(tmp_path):
    glow, x = small(), images(20)
    before = copy.deepcopy(glow.state_dict())
    glow.loss(x)  # in eval mode
    glow.encode(x)
    assert not glow.started
    assert all(torch.equal(value, before[name]) for name, value in glow.state_dict().items())
    glow.train().loss(x)
    assert glow.started
    after = copy.deepcopy(glow.state_dict())
    assert not torch.equal(after["levels.0.0.norm.bias"], before["levels.0.0.norm.bias"])
    glow.loss(0.3 * x)
    assert all(torch.equal(value, after[name]) for name, value in glow.state_dict().items())
    # A loaded network goes on from where it was, also from a file.
    torch.save(after, tmp_path / "state")
    other = small().train()
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert other.started
    other.loss(0.3 * x)
    assert all(torch.equal(value, after[name]) for name, value in other.state_dict().items())
    other.load_state_dict(before)
    assert not other.started
    assert copy.deepcopy(glow).started


# ---- inverse -------------------------------------------------------------------------------------
def test_inverse_of_photographs(warm, photos):
    x = photos.test.images[:64]
    with torch.no_grad():
        latents, _ = warm.encode(x)
        found = warm.decode(latents, clamp=False)
        assert (found - x).abs().max() < 1e-4
        clamped = warm.decode([1.5 * part for part in latents])
    assert torch.equal(warm.decode(latents), found.clamp(0, 1))
    assert clamped.min() == 0
    assert clamped.max() == 1
    assert warm.latent(x).abs().mean() > 0.1


def test_latents_of_one_image_do_not_depend_on_the_others(warm, photos):
    x = photos.test.images[:5]
    torch.testing.assert_close(warm.latent(x[2:3], "all"), warm.latent(x, "all")[2:3])
    bytes_ = (255 * x).round().to(torch.uint8)
    torch.testing.assert_close(warm.bits(bytes_), warm.bits(bytes_ / 255))


def test_gradients_reach_the_image(warm, photos):
    """An attacker who knows the detector goes through the latents."""
    x = photos.test.images[:2].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(warm.latent(x).square().sum(), x)
    assert gradient.abs().sum() > 0


# ---- bits and noise ------------------------------------------------------------------------------
def test_bits_are_those_of_the_closed_form():
    """In the network's scale bins are 1/256 wide; the start is a standard normal there."""
    glow, x = small(coupling="additive"), images()
    pixels = ((x - 0.5) * 255 / 256).double()
    mass = Normal(0.0, 1.0).cdf(pixels + 1 / 512) - Normal(0.0, 1.0).cdf(pixels - 1 / 512)
    expected = -mass.log2().mean((1, 2, 3))
    torch.testing.assert_close(glow.bits(x).double(), expected, rtol=1e-5, atol=0)
    nats = glow.encode(x)[1] + 32 * math.log(256 / 255)  # the density in the network's scale
    torch.testing.assert_close(glow.bits(x), 8 - nats / (32 * math.log(2)))


def test_a_density_that_fills_the_range_evenly_takes_eight_bits():
    """Bits of a network that scales [-1/2, 1/2] to a Gaussian of the same variance: 8.25."""
    glow = small(1, 1, 2, depth=1, coupling="additive")
    torch.nn.init.constant_(glow.levels[0][0].norm.log_scale, math.log(math.sqrt(12)))
    levels = torch.arange(256).repeat(4, 1).T.reshape(256, 1, 2, 2) / 255
    # Cross-entropy of a uniform density with a Gaussian of its variance: log2(2 pi e / 12) / 2.
    expected = 8 + math.log2(2 * math.pi * math.e / 12) / 2
    assert glow.bits(levels).mean().item() == pytest.approx(expected, abs=1e-3)


def test_noise_fills_a_bin_and_comes_from_pytorchs_state():
    glow, x = small(), (images(200) * 255).round() / 255
    before = x.clone()
    torch.manual_seed(3)
    noisy = glow.dequantize(x)
    added = ((noisy - x) * 255).double()  # in gray levels
    assert torch.equal(x, before)
    assert added.abs().max() <= 0.5 + 1e-4
    assert abs(added.mean()) < 5 / math.sqrt(12 * added.numel())
    assert added.std().item() == pytest.approx(1 / math.sqrt(12), rel=0.02)
    torch.manual_seed(3)
    assert glow.loss(x) == glow.bits(noisy).mean()
    assert glow.loss(x) != glow.loss(x)
    assert torch.equal(x, before)
    assert torch.equal(glow.bits(x), glow.bits(x))
    draws = [glow.dequantize(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_score_has_fixed_noise_and_leaves_all_as_it_was(warm, photos):
    x = (255 * photos.test.images[:7]).round().to(torch.uint8)
    state, bytes_ = torch.get_rng_state(), x.clone()
    found = warm.score(as_split(x), batch_size=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, bytes_)
    assert warm.score(as_split(x), batch_size=3) == found
    assert warm.score(as_split(x / 255), batch_size=3) == pytest.approx(found, rel=1e-6)
    assert found == pytest.approx(-warm.bits(x).mean().item(), abs=0.1)


def test_autocast_leaves_densities_in_single_precision(warm, photos):
    x = photos.test.images[:16]
    latents, exact = warm.encode(x)
    with torch.autocast("cpu", torch.bfloat16):
        found, likelihood = warm.encode(x)
    assert likelihood.dtype == exact.dtype == torch.float32
    assert all(part.dtype == torch.float32 for part in found)
    assert not torch.equal(likelihood, exact)
    assert (likelihood - exact).abs().max() / (3072 * math.log(2)) < 0.01  # bits per dimension
    assert (found[-1] - latents[-1]).abs().mean() < 0.02
    warm.bf16 = True
    assert torch.equal(warm.encode(x)[1], likelihood)
    warm.bf16 = False


# ---- samples -------------------------------------------------------------------------------------
def test_samples(warm):
    still = warm.sample(2, 0.0)
    assert torch.equal(still, warm.sample(2, 0.0))
    assert torch.equal(still[0], still[1])
    one, two, three = (warm.sample(2, 0.7, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)
    assert not torch.equal(one[0], one[1])
    assert one.min() >= 0
    assert one.max() <= 1


def test_samples_have_the_density_that_the_network_says():
    """The average of minus log density over its own samples is the entropy of a linear flow."""
    glow = small(coupling="additive")
    torch.nn.init.constant_(glow.levels[0][0].norm.log_scale, math.log(20.0))  # well within [0, 1]
    x = glow.sample(4000, 1.0, torch.Generator().manual_seed(0))
    # Gaussians of deviation 1/20 around 1/2.
    assert x.std().item() == pytest.approx(256 / 255 / 20, rel=0.01)
    entropy = 32 * (0.5 * math.log(2 * math.pi * math.e) + math.log(256 / 255 / 20))
    assert -glow.encode(x)[1].mean().item() == pytest.approx(entropy, abs=0.3)


# ---- errors --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, "hidden"),
        ({"depth": 0}, "depth"),
        ({"levels": 0}, "levels"),
        ({"coupling": "spline"}, "coupling: got 'spline'; allowed are affine, additive"),
        ({"size": 28, "levels": 3}, "size: got 28 pixels; .* multiples of 8; pad or crop"),
        ({"size": 4, "levels": 3}, "size: got 4 pixels"),
    ],
)
def test_bad_settings(settings, message):
    usual = {"in_channels": 1, "size": 8, "classes": 10, "hidden": 4, "depth": 1, "levels": 2}
    with pytest.raises(ValueError, match=message):
        models.build("glow", **(usual | settings))


def test_bad_calls():
    glow, x = small(), images()
    with pytest.raises(ValueError, match=r"images: got shape \(3, 2, 8, 8\); .*\(B, 2, 4, 4\)"):
        glow.encode(images(size=8))
    with pytest.raises(ValueError, match="which: got 'first'; allowed are last, all"):
        glow.latent(x, "first")
    with pytest.raises(ValueError, match=r"latents: got 1; .* each of the 2 levels"):
        glow.decode(glow.encode(x)[0][-1:])
    with pytest.raises(ValueError, match="count"):
        glow.sample(0)
    with pytest.raises(ValueError, match="temperature: got -1"):
        glow.sample(1, -1.0)


def test_the_datasets_moments_change_nothing():
    x = images()
    assert torch.equal(small().bits(x), small(mean=[0.1, 0.2], std=[0.3, 0.3]).bits(x))
