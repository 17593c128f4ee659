"""The VQ-VAE: its codes by brute force, its loss by hand, its noise and its range; training."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from washout import models
from washout.data import Dataset, Split
from washout.models import VQVAE
from washout.models.vqvae import Residual, nearest, perplexity, straight_through
from washout.training import Recipe, fit, trained
from washout.training.loop import objective


def small(**settings) -> VQVAE:
    torch.manual_seed(0)
    return VQVAE(1, 8, **{"hidden": 6, "codes": 5, **settings}).eval()


def spread(vqvae: VQVAE) -> VQVAE:
    """With codes far apart, so that several are in use."""
    torch.manual_seed(1)
    torch.nn.init.normal_(vqvae.codebook)
    return vqvae


def images(count: int = 5, channels: int = 1, size: int = 8) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1))


# ---- layers --------------------------------------------------------------------------------------
@pytest.mark.parametrize(("channels", "size", "side"), [(1, 28, 7), (3, 32, 8), (2, 4, 1)])
def test_shapes(channels, size, side):
    vqvae = models.build("vqvae", in_channels=channels, size=size, classes=10, hidden=8).eval()
    x = images(3, channels, size)
    assert vqvae.encode(x).shape == (3, 8, side, side)
    codes = vqvae.codes_of(x)
    assert codes.shape == (3, side, side)
    assert codes.dtype == torch.int64
    out = vqvae(x)
    assert out.shape == x.shape
    assert out.dtype == torch.float32
    torch.testing.assert_close(vqvae.reconstruct(x[1:2]), out[1:2])


def test_weights_are_as_many_as_in_the_source_and_start_as_there():
    """Layer by layer, hidden 256 and 512 codes."""
    vqvae, d = VQVAE(3, 32), 256
    residual = (9 * d * d + d) + (d * d + d) + 2 * 2 * d
    half = (16 * 3 * d + d) + 2 * d + (16 * d * d + d) + 2 * residual
    mirrored = 2 * residual + (16 * d * d + d) + 2 * d + (16 * 3 * d + 3)
    assert sum(p.numel() for p in vqvae.parameters()) == half + 512 * d + mirrored
    assert vqvae.codebook.shape == (512, d)
    assert vqvae.codebook.abs().max() <= 1 / 512
    assert vqvae.codebook.std().item() == pytest.approx(2 / 512 / math.sqrt(12), rel=0.02)
    second = vqvae.encoder[3]
    assert second.weight.abs().max() <= math.sqrt(6 / (2 * 16 * d))  # Xavier, both fans 16 d
    assert second.weight.std().item() == pytest.approx(math.sqrt(1 / (16 * d)), rel=0.02)
    assert second.bias.abs().max() == 0


def test_encoder_and_decoder_are_the_formula():
    vqvae, x = small().train(), images()

    def normed(x, layer):
        return F.batch_norm(x, None, None, layer.weight, layer.bias, training=True)

    def residual(x, layer):
        _, wide, first, _, narrow, second = layer.block
        y = normed(F.conv2d(F.relu(x), wide.weight, wide.bias, padding=1), first)
        return x + normed(F.conv2d(F.relu(y), narrow.weight, narrow.bias), second)

    one, norm, _, two, *blocks = vqvae.encoder
    y = F.relu(normed(F.conv2d(2 * x - 1, one.weight, one.bias, stride=2, padding=1), norm))
    y = F.conv2d(y, two.weight, two.bias, stride=2, padding=1)
    for block in blocks:
        y = residual(y, block)
    torch.testing.assert_close(vqvae.encode(x), y)

    three, four, _, one, norm, _, two, _ = vqvae.decoder
    y = F.relu(residual(residual(y.detach(), three), four))
    z = F.relu(normed(F.conv_transpose2d(y, one.weight, one.bias, stride=2, padding=1), norm))
    z = F.conv_transpose2d(z, two.weight, two.bias, stride=2, padding=1)
    torch.testing.assert_close(vqvae.decode(vqvae.encode(x)), (torch.tanh(z) + 1) / 2)


def test_a_residual_block_leaves_its_input_alone():
    x = torch.randn(2, 3, 4, 4)
    before = x.clone()
    Residual(3)(x)
    assert torch.equal(x, before)


# ---- codes ---------------------------------------------------------------------------------------
def test_the_nearest_code_is_that_of_a_search(monkeypatch):
    monkeypatch.setattr("washout.models.vqvae.ROWS", 100)  # several parts, the last one smaller
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(333, 7, generator=generator)
    codebook = torch.randn(50, 7, generator=generator)
    distances = (vectors[:, None].double() - codebook[None].double()).square().sum(2)
    assert torch.equal(nearest(vectors, codebook), distances.argmin(1))


def test_the_choice_of_codes_is_not_made_in_half_precision():
    vectors, codebook = torch.randn(500, 16), torch.randn(300, 16)
    expected = nearest(vectors, codebook)
    with torch.autocast("cpu", torch.bfloat16):
        assert (vectors @ codebook.T).dtype == torch.bfloat16
        assert torch.equal(nearest(vectors, codebook), expected)
        vqvae = spread(small())
        assert vqvae.encode(images()).dtype == torch.float32


def test_each_place_is_replaced_by_its_code():
    vqvae, x = spread(small()), images()
    latent = vqvae.encode(x)
    codes, vectors = vqvae.quantize(latent)
    assert torch.equal(codes, vqvae.codes_of(x))
    assert len(codes.unique()) > 1
    for i in range(len(x)):
        for row in range(2):
            for column in range(2):
                distances = (vqvae.codebook - latent[i, :, row, column]).norm(dim=1)
                assert codes[i, row, column] == distances.argmin()
                assert torch.equal(vectors[i, :, row, column], vqvae.codebook[distances.argmin()])
    # Nothing but the codes reaches the decoder.
    assert torch.equal(vqvae.reconstruct(x), vqvae.decode(vectors))


def test_perplexity():
    assert perplexity(torch.full((4, 7, 7), 3)) == pytest.approx(1)
    assert perplexity(torch.arange(12).repeat(5).view(3, 4, 5)) == pytest.approx(12)
    # 1/2, 1/4, 1/4: an entropy of 3/2 bits.
    assert perplexity(torch.tensor([0, 0, 5, 2])) == pytest.approx(2**1.5)
    vqvae, x = spread(small()), images(20)
    assert vqvae.perplexity(x, batch_size=7) == pytest.approx(perplexity(vqvae.codes_of(x)))
    assert 1 < vqvae.perplexity(x) <= 5
    assert small(codes=1).perplexity(x) == pytest.approx(1)


# ---- gradients and loss --------------------------------------------------------------------------
def test_straight_through_has_one_value_and_the_gradient_of_the_other():
    latent, vectors = (torch.randn(3, 4, requires_grad=True) for _ in range(2))
    out = straight_through(latent, vectors)
    assert torch.equal(out, vectors)
    weights = torch.randn(3, 4)
    ours, theirs = torch.autograd.grad((out * weights).sum(), (latent, vectors), allow_unused=True)
    assert torch.equal(ours, weights)
    assert theirs is None


def test_the_image_gets_the_gradient_as_if_nothing_were_quantized():
    vqvae, x = spread(small()), images().requires_grad_()
    (found,) = torch.autograd.grad(vqvae.reconstruct(x).square().sum(), x)
    latent = vqvae.encode(x)
    vectors = vqvae.quantize(latent)[1].detach().requires_grad_()
    (inner,) = torch.autograd.grad(vqvae.decode(vectors).square().sum(), vectors)
    (expected,) = torch.autograd.grad(latent, x, inner)
    torch.testing.assert_close(found, expected)
    assert found.abs().sum() > 0


def test_loss_is_the_sum_of_three_averages():
    vqvae, x = spread(small(commitment=0.3)), images(2)
    latent = vqvae.encode(x)
    codes = vqvae.codes_of(x)
    squares = [
        (latent[i, :, row, column] - vqvae.codebook[codes[i, row, column]]).square()
        for i in range(2)
        for row in range(2)
        for column in range(2)
    ]
    apart = torch.stack(squares).mean()
    # Pixels differ twice as much in [-1, 1] as in [0, 1].
    distortion = 4 * (vqvae.reconstruct(x) - x).square().mean()
    torch.testing.assert_close(vqvae.loss(x), distortion + 1.3 * apart)


def test_which_term_moves_what():
    """The codebook follows the encoder; the encoder is drawn to the codes by the commitment."""
    x = images()
    with_it, without = (spread(small(commitment=c)) for c in (2.0, 0.0))
    for vqvae in (with_it, without):
        vqvae.loss(x).backward()
    latent = with_it.encode(x)
    codes, vectors = with_it.quantize(latent)
    rows = (vectors - latent).permute(0, 2, 3, 1).flatten(0, 2).detach()
    expected = torch.zeros_like(with_it.codebook).index_add_(
        0, codes.flatten(), 2 * rows / latent.numel()
    )
    for vqvae in (with_it, without):
        torch.testing.assert_close(vqvae.codebook.grad, expected)
    first = [vqvae.encoder[0].weight for vqvae in (with_it, without)]
    (drawn,) = torch.autograd.grad(2 * F.mse_loss(latent, vectors.detach()), first[0])
    assert drawn.abs().sum() > 0
    torch.testing.assert_close(first[0].grad - first[1].grad, drawn)
    # Without it, nothing but the image's error reaches the encoder.
    distortion = 4 * (without.reconstruct(x) - x).square().mean()
    torch.testing.assert_close(torch.autograd.grad(distortion, first[1])[0], first[1].grad)


# ---- noise ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["gaussian", "uniform", "salt-and-pepper"])
def test_noise_has_its_statistics(kind):
    vqvae = VQVAE(3, 32, hidden=2, codes=2, noise=0.25, noise_kind=kind)
    pixels = torch.full((40, 3, 32, 32), 0.9)
    torch.manual_seed(0)
    noisy = vqvae.corrupt(pixels)
    added = (noisy - pixels).double()
    n = added.numel()
    if kind == "gaussian":
        assert abs(added.mean()) < 5 * 0.25 / n**0.5
        assert added.std().item() == pytest.approx(0.25, rel=5 / (2 * n) ** 0.5)
        assert noisy.max() > 1  # not clipped
    elif kind == "uniform":
        assert abs(added.mean()) < 5 * 0.25 / (3 * n) ** 0.5
        assert added.std().item() == pytest.approx(0.25 / 3**0.5, rel=0.01)
        assert added.abs().max() <= 0.25 + 1e-6
        assert noisy.max() > 1
    else:
        pixel = noisy[:, 0]
        assert torch.equal(noisy, pixel[:, None].expand_as(noisy))  # all channels alike
        assert set(noisy.unique().tolist()) == {-1.0, pixels[0, 0, 0, 0].item(), 1.0}
        for value, share in ((-1, 0.125), (1, 0.125), (0.9, 0.75)):
            found = (pixel - value).abs().lt(1e-6).double().mean().item()
            assert abs(found - share) < 5 * (share * (1 - share) / pixel.numel()) ** 0.5
    torch.manual_seed(0)
    assert torch.equal(vqvae.corrupt(pixels), noisy)  # PyTorch's own state decides
    assert torch.equal(pixels, torch.full_like(pixels, 0.9))
    vqvae.noise = 0.0
    assert torch.equal(vqvae.corrupt(pixels), pixels)


def test_noise_is_in_the_input_of_the_training_only():
    clean, noisy = small(), small(noise=0.5)
    x = images()
    split = Split(x, torch.zeros(len(x), dtype=torch.int64))
    assert torch.equal(clean.reconstruct(x), noisy.reconstruct(x))
    assert clean.score(split) == noisy.score(split)
    torch.manual_seed(3)
    found = noisy.loss(x)
    torch.manual_seed(3)
    pixels = 2 * x - 1 + 0.5 * torch.randn_like(x)
    latent = noisy.encode((pixels + 1) / 2)
    vectors = noisy.quantize(latent)[1]
    target = F.mse_loss(2 * noisy.decode(vectors) - 1, 2 * x - 1)
    torch.testing.assert_close(found, target + 2 * F.mse_loss(latent, vectors), rtol=1e-4, atol=0)


# ---- range ---------------------------------------------------------------------------------------
def test_the_layers_see_the_whole_of_minus_one_to_one_and_the_caller_zero_to_one():
    vqvae = small()
    seen = []
    vqvae.encoder[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 1, 8, 8)
    vqvae.loss(x)
    vqvae.reconstruct((255 * x).to(torch.uint8))
    assert [row[0, 0, 0].item() for row in seen[0]] == [-1, 0, 1]
    assert seen[1].aminmax() == (-1, 1)
    white = torch.full((2, 1, 8, 8), 255, dtype=torch.uint8)
    assert vqvae.loss(white) == vqvae.loss(torch.ones(2, 1, 8, 8))
    for sign in (-1, 1):  # a decoder that has gone to an end
        torch.nn.init.constant_(vqvae.decoder[-2].bias, sign * 100.0)
        assert torch.equal(vqvae.reconstruct(x), torch.full((3, 1, 8, 8), (sign + 1) / 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_white_stays_white_and_black_black(dtype):
    """A slip of range anywhere would turn one into gray, or into the other."""
    levels = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0]).repeat(8).view(-1, 1, 1, 1)
    x = levels.expand(-1, 1, 8, 8)
    x = (x * 255).round().to(torch.uint8) if dtype == torch.uint8 else x.contiguous()
    split = Split(x, torch.zeros(len(x), dtype=torch.int64))
    vqvae = small(hidden=16, codes=16)
    loss, score = objective(vqvae)
    fit(
        vqvae, split, split, loss=loss, score=score, epochs=60, batch_size=16, lr=1e-2,
        precision="fp32", progress=False,
    )  # fmt: skip
    out = vqvae.reconstruct(x)
    assert out.dtype == torch.float32
    assert out.min() >= 0
    assert out.max() <= 1
    assert (out - levels).abs().max() < 0.1
    assert vqvae.score(split) == pytest.approx(-(out - levels).square().mean().item(), abs=1e-5)


# ---- settings ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, "hidden"),
        ({"codes": 0}, "codes"),
        ({"commitment": -1.0}, "commitment"),
        ({"noise": -0.1}, "noise: got -0.1"),
        ({"noise": 1.5, "noise_kind": "salt-and-pepper"}, r"noise: got 1.5; allowed is \[0, 1\]"),
        ({"noise_kind": "speckle"}, "noise_kind: got 'speckle'; allowed are gaussian"),
        ({"size": 30}, "size: got 30 pixels; .*multiples of 4"),
    ],
)
def test_bad_settings(settings, message):
    usual = {"in_channels": 1, "size": 28, "classes": 10, "hidden": 4}
    with pytest.raises(ValueError, match=message):
        models.build("vqvae", **(usual | settings))


def test_the_datasets_moments_change_nothing():
    x = images()
    assert torch.equal(small()(x), small(mean=[0.1307], std=[0.3081])(x))


# ---- training ------------------------------------------------------------------------------------
def patches(count: int = 96) -> Dataset:
    """Smooth patches: a few numbers say all of each."""
    x = F.interpolate(images(count, 1, 2), size=8, mode="bilinear")
    x = (x * 255).round().to(torch.uint8)
    split = Split(x, torch.zeros(count, dtype=torch.int64))
    return Dataset("patches", split[:64], split[64:], split[:0], ("a", "b"), "", "")


def test_training_by_recipe_makes_it_reconstruct(tmp_path):
    recipe = Recipe(
        model="vqvae",
        data="patches",
        epochs=30,
        batch_size=16,
        lr=1e-2,
        model_args=(("codes", 32), ("hidden", 16), ("noise", 0.05)),
    )
    made = trained(recipe, data=patches, write=tmp_path, progress=False)
    vqvae, split = made.model, patches().validation
    assert isinstance(vqvae, VQVAE)
    x = split.images / 255
    error = (vqvae.reconstruct(x) - x).square().mean()
    assert error < 0.4 * x.var()
    assert vqvae.score(split) == pytest.approx(-error.item(), rel=1e-4)
    assert made.record["validation_score"] == pytest.approx(vqvae.score(split))
    assert made.history[-1]["loss"] < made.history[0]["loss"]
    assert vqvae.perplexity(split.images) > 3
    again = trained(recipe, data=lambda: pytest.fail("trained twice"), search=[tmp_path])
    assert torch.equal(again.model.reconstruct(x), vqvae.reconstruct(x))


def test_a_score_leaves_model_and_random_state_as_they_were():
    vqvae, x = small(noise=0.5).train(), images(7)
    split = Split(x, torch.zeros(7, dtype=torch.int64))
    before = {name: value.clone() for name, value in vqvae.state_dict().items()}
    state = torch.get_rng_state()
    found = vqvae.score(split, batch_size=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert vqvae.training
    assert all(torch.equal(value, before[name]) for name, value in vqvae.state_dict().items())
    expected = -(vqvae.eval().reconstruct(x) - x).square().mean().item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_bfloat16_changes_a_reconstruction_little():
    vqvae, x = spread(small()), images(200)
    expected, codes = vqvae.reconstruct(x), vqvae.codes_of(x)
    vqvae.bf16 = True
    found = vqvae.reconstruct(x)
    assert found.dtype == torch.float32
    assert (vqvae.codes_of(x) == codes).double().mean() > 0.97
    assert 0 < (found - expected).abs().mean() < 0.01
    assert len(found.unique()) > 256  # not rounded to a byte behind the tanh
