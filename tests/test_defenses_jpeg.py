"""JPEG byte for byte against Pillow, and its differentiable counterpart against that."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from washout.data import digits, photos
from washout.data.bundled import PHOTOGRAPHS, _photograph
from washout.defenses import jpeg, jpeg_soft, soft_jpeg

QUALITIES = range(1, 101)


pytestmark = pytest.mark.usefixtures("one_thread")


def pillow(image, quality):
    """One (C, H, W) image of whole levels through Pillow, as one would write it down."""
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    mode = Image.fromarray(pixels[..., 0] if len(image) == 1 else pixels)
    assert mode.mode == ("L" if len(image) == 1 else "RGB")
    buffer = io.BytesIO()
    mode.save(buffer, format="JPEG", quality=quality)
    decoded = np.array(Image.open(buffer))
    return decoded.reshape(*decoded.shape[:2], -1).transpose(2, 0, 1)


def psnr(found, expected):
    """Decibels for each image, 120 where they are the same."""
    error = (found - expected).double().pow(2).flatten(1).mean(1)
    return -10 * torch.log10(error.clamp(min=1e-12))


def astronaut():
    whole = _photograph("astronaut.png", PHOTOGRAPHS["astronaut"][1])
    return whole[None, :, 60:359, 80:379]


def natural(name):
    """Photographs in the sizes that matter: patches, a large one, odd ones, narrow ones."""
    patches = photos().test.images
    return {
        "patches": lambda: patches,
        "large": astronaut,
        "odd": lambda: patches[:40, :, :27, :21],
        "narrow": lambda: patches[:40, :, :17, :4],
        "pixel": lambda: patches[:9, :, :1, :1],
        "gray": lambda: digits().test.images[:60],
        "gray odd": lambda: patches[:40, 1:2, :13, :30],
    }[name]()


NATURAL = ("patches", "large", "odd", "narrow", "pixel", "gray", "gray odd")


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows_byte_for_byte_at_every_quality(channels):
    random = torch.Generator().manual_seed(channels)
    sets = [photos().test.images[:2, :channels]]
    sets += [
        torch.rand(2, channels, *size, generator=random) for size in [(9, 13), (17, 2), (1, 1)]
    ]
    for quality in QUALITIES:
        for images in sets:
            found = (jpeg(images, quality) * 255).round().byte().numpy()
            for image, own in zip(images, found, strict=True):
                np.testing.assert_array_equal(own, pillow(image, quality))


def test_jpeg_keeps_shape_type_order_and_input():
    images = photos().test.images[:37].contiguous(memory_format=torch.channels_last)
    before = images.clone()
    found = jpeg(images, 50)
    assert found.shape == images.shape
    assert found.dtype == torch.float32
    assert torch.equal(images, before)
    assert torch.equal(found[20:21], jpeg(images[20:21].contiguous(), 50))
    assert torch.equal(jpeg(images), jpeg(images, 23))
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(found * 255, (found * 255).round())
    assert jpeg(images.double()).dtype == torch.float64
    assert jpeg(images[:0]).shape == (0, 3, 32, 32)
    assert soft_jpeg(images[:0]).shape == (0, 3, 32, 32)
    assert not jpeg(images.requires_grad_()).requires_grad


@pytest.mark.parametrize("rounding", ["straight-through", "cubic"])
@pytest.mark.parametrize("name", NATURAL)
@pytest.mark.parametrize("quality", [23, 30, 50, 75, 90, 95, 100])
def test_soft_jpeg_is_within_35_decibels(name, quality, rounding):
    images = natural(name)
    assert psnr(soft_jpeg(images, quality, rounding=rounding), jpeg(images, quality)).min() >= 35


@pytest.mark.parametrize("name", NATURAL)
def test_soft_jpeg_rounds_to_jpegs_own_levels(name):
    images = natural(name)[:20]
    changed = [
        ((soft_jpeg(images, quality) - jpeg(images, quality)).abs() > 0.5 / 255).float().mean()
        for quality in range(1, 101, 9)
    ]
    assert torch.stack(changed).mean() < 2e-4


@pytest.mark.parametrize("rounding", ["straight-through", "cubic"])
@pytest.mark.parametrize("name", ["patches", "large", "odd", "narrow", "gray"])
def test_soft_jpegs_gradient(name, rounding):
    images = natural(name)[:8].clone().requires_grad_()
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(
        (soft_jpeg(images, rounding=rounding) * weights).sum(), images
    )
    assert gradient.shape == images.shape
    assert bool(gradient.isfinite().all())
    assert bool((gradient.flatten(1).norm(dim=1) > 0).all())


def test_straight_through_gradient_is_that_of_codec_without_rounding():
    """Gray at full quality is two DCTs that undo each other: the gradient is the identity's."""
    images = photos().test.images[:4, :1].clamp(0.2, 0.8).requires_grad_()
    weights = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad((soft_jpeg(images, 100) * weights).sum(), images)
    torch.testing.assert_close(gradient, weights, atol=2e-3, rtol=0)


def test_cubic_gradient_against_finite_differences():
    """In float64, away from roundings to pixels: perturb one coefficient's block as a whole."""
    step = jpeg_soft._steps(jpeg_soft.LUMA, 23)[0].item()
    level = torch.tensor(140.3, dtype=torch.float64)
    planes = level.expand(1, 1, 8, 8).clone().requires_grad_()
    steps = jpeg_soft._steps(jpeg_soft.LUMA, 23)
    (gradient,) = torch.autograd.grad(jpeg_soft._compress(planes, steps, True).sum(), planes)
    x = 8 * (level - 128) / step
    assert gradient.sum().item() / 64 == pytest.approx(3 * (x - x.round()).item() ** 2, abs=0.1)


def test_tables_are_the_files_own():
    for quality in QUALITIES:
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8)).save(buffer, "JPEG", quality=quality)
        written = Image.open(buffer).quantization
        assert jpeg_soft._steps(jpeg_soft.LUMA, quality).tolist() == list(written[0])
        assert jpeg_soft._steps(jpeg_soft.CHROMA, quality).tolist() == list(written[1])


def test_fixed_dct_is_the_dct():
    at = torch.arange(8, dtype=torch.float64)
    cosines = torch.cos((2 * at + 1) * at[:, None] * math.pi / 16) * math.sqrt(2)
    cosines[0] = 1
    assert (jpeg_soft.DCT - cosines).abs().max() < 1.6 / 8192


@pytest.mark.parametrize("codec", [jpeg, soft_jpeg])
def test_bad_input(codec):
    images = torch.rand(2, 3, 8, 8)
    for quality in (0, 101, -1, 23.0, True, "best"):
        with pytest.raises(ValueError, match="quality"):
            codec(images, quality)
    with pytest.raises(ValueError, match="2 channels; allowed are 1"):
        codec(images[:, :2])
    with pytest.raises(ValueError, match="channels"):
        codec(torch.rand(1, 4, 8, 8))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        codec(images * 255)
    with pytest.raises(ValueError, match="rounding"):
        soft_jpeg(images, rounding="none")
