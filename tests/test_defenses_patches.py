"""Patch-wise application against a loop, its gradient, its memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from washout.defenses import patches, patchwise

pytestmark = pytest.mark.usefixtures("one_thread")


def seed(value=0):
    return torch.Generator().manual_seed(value)


def curved(tiles):
    """Nonlinear, and no pixel stays to itself."""
    mean = tiles.mean((1, 2, 3), keepdim=True)
    return (tiles * tiles.flip(3) + mean).sin()


def by_loop(function, images, size, stride):
    """Patch by patch, in float64, with PyTorch's reflection."""
    images = images.double()
    height, width = images.shape[-2:]
    fit = [max(0, -(-(side - size) // stride)) * stride + size for side in (height, width)]
    padded = F.pad(images, (0, fit[1] - width, 0, fit[0] - height), "reflect")
    total, count = torch.zeros_like(padded), torch.zeros_like(padded)
    for image in range(len(images)):
        for top in range(0, fit[0] - size + 1, stride):
            for left in range(0, fit[1] - size + 1, stride):
                at = slice(image, image + 1), slice(None), slice(top, top + size)
                at = (*at, slice(left, left + size))
                total[at] += function(padded[at])
                count[at] += 1
    return (total / count)[..., :height, :width]


@pytest.mark.parametrize(
    ("size", "stride"),
    [(16, s) for s in (3, 5, 8, 11, 16)]
    + [(32, s) for s in (8, 13, 16, 32)]
    + [(64, s) for s in (16, 27, 32, 48, 64)],
)
def test_the_identity_returns_the_image(size, stride):
    image = torch.rand(1, 3, 299, 299, generator=seed())
    found = patchwise(lambda tiles: tiles, image, size=size, stride=stride)
    assert found.shape == image.shape
    assert (found - image).abs().max() <= 1e-6


@pytest.mark.parametrize(("size", "stride"), [(5, 1), (16, 1), (24, 1), (64, 1), (64, 3), (7, 2)])
def test_the_identity_at_many_overlaps(size, stride):
    image = torch.rand(1, 1, 70, 67, generator=seed())
    image[..., :20, :20] = 1
    found = patchwise(lambda tiles: tiles, image, size=size, stride=stride)
    assert (found - image).abs().max() <= 1e-6
    assert found.max() <= 1


@pytest.mark.parametrize(
    ("height", "width", "size", "stride"),
    [
        (20, 17, 5, 5),
        (20, 17, 5, 3),
        (9, 14, 4, 1),
        (12, 12, 12, 12),
        (7, 30, 6, 4),
        (10, 10, 8, 7),
    ],
)
@pytest.mark.parametrize("batch", [None, 1, 7, 40])
def test_a_nonlinear_function_by_a_loop(height, width, size, stride, batch):
    images = torch.rand(5, 2, height, width, generator=seed())
    expected = by_loop(curved, images, size, stride)
    found = patchwise(curved, images, size=size, stride=stride, batch=batch)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)
    strided = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(patchwise(curved, strided, size=size, stride=stride, batch=batch), found)
    one = patchwise(curved, images[3:4], size=size, stride=stride, batch=batch)
    torch.testing.assert_close(one, found[3:4], atol=1e-6, rtol=0)


def test_images_smaller_than_a_patch_are_reflected_as_often_as_needed():
    image = torch.arange(3.0).view(1, 1, 1, 3) / 4
    seen = []
    found = patchwise(lambda tiles: seen.append(tiles) or tiles, image, size=8, stride=4)
    assert torch.equal(found, image)
    assert (seen[0][0, 0, 5] * 4).tolist() == [0, 1, 2, 1, 0, 1, 2, 1]


def test_patches_come_in_reading_order_and_in_chunks():
    images = torch.arange(2 * 8 * 12.0).view(2, 1, 8, 12)
    for batch, sizes in [(None, [12]), (12, [12]), (6, [6, 6]), (4, [3, 3, 3, 3]), (2, [2, 1] * 4)]:
        seen = []
        found = patchwise(
            lambda tiles, seen=seen: seen.append(tiles) or tiles,
            images,
            size=4,
            stride=4,
            batch=batch,
        )
        assert torch.equal(found, images)
        assert [len(tiles) for tiles in seen] == sizes
        first = torch.cat(seen)[:, 0, 0, 0]
        assert first.tolist() == [
            i * 96 + r * 48 + c * 4 for i in (0, 1) for r in (0, 1) for c in range(3)
        ]


@pytest.mark.parametrize(
    ("size", "stride", "batch"), [(4, 4, None), (4, 3, 5), (5, 2, None), (5, 1, 3), (8, 8, None)]
)
def test_gradient_by_finite_differences(size, stride, batch):
    images = torch.rand(2, 1, 6, 5, generator=seed(), dtype=torch.float64, requires_grad=True)

    def washed(images):
        return patchwise(curved, images, size=size, stride=stride, batch=batch)

    assert torch.autograd.gradcheck(washed, images)
    if stride == 3:
        assert torch.autograd.gradgradcheck(washed, images[:1])


def test_gradient_reaches_image_and_function_in_float32_at_many_overlaps():
    image = torch.rand(1, 1, 40, 40, generator=seed(), requires_grad=True)
    weight = torch.ones((), requires_grad=True)
    found = patchwise(lambda tiles: tiles * weight, image, size=20, stride=1)
    by_image, by_weight = torch.autograd.grad(found.sum(), (image, weight))
    assert by_image.dtype == torch.float32
    torch.testing.assert_close(by_image, torch.ones_like(image), atol=1e-5, rtol=0)
    assert by_weight.item() == pytest.approx(image.sum().item(), rel=1e-5)


def test_a_function_may_change_its_patches_in_place():
    images = torch.rand(2, 3, 8, 8, generator=seed())
    before = images.clone()
    assert torch.equal(patchwise(lambda tiles: tiles.zero_(), images, size=8, stride=8), images * 0)
    assert torch.equal(images, before)
    assert patchwise(curved, images[:0], size=4, stride=4).shape == (0, 3, 8, 8)


def test_200_large_images_stay_under_two_gigabytes():
    # Not getrusage: a process inherits the largest size that its parent ever had.
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs /proc to read a process's largest size")
    code = (
        "import torch; from washout.defenses import patchwise\n"
        "torch.set_num_threads(1); images = torch.rand(200, 3, 299, 299)\n"
        "found = patchwise(lambda t: t.sqrt(), images, size=16, stride=16)\n"
        "assert found.shape == images.shape\n"
        f"print(next(line for line in open('{status}') if line.startswith('VmHWM:')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[1]) * 1024 < 2 * 1024**3


def test_bad_input():
    images = torch.rand(2, 1, 8, 8)
    for stride in (0, 5, 1.5, True):
        with pytest.raises(ValueError, match="stride"):
            patchwise(curved, images, size=4, stride=stride)
    with pytest.raises(ValueError, match="size"):
        patchwise(curved, images, size=0, stride=1)
    with pytest.raises(ValueError, match="batch"):
        patchwise(curved, images, size=4, stride=4, batch=0)
    with pytest.raises(ValueError, match=r"images.*\(8, 8\)"):
        patchwise(curved, images[0, 0], size=4, stride=4)
    with pytest.raises(ValueError, match="function: got"):
        patchwise(lambda tiles: tiles[:, :, :3], images, size=4, stride=4)
    with pytest.raises(ValueError, match="function: got"):
        patchwise(lambda tiles: None, images, size=4, stride=4)
    assert patches.VALUES // (3 * 16**2) == 1365
    assert patches.VALUES // (3 * 64**2) == 85
