"""Total-variation minimization against a plain loop, scikit-image, and what it has to do."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.restoration import denoise_tv_bregman

from washout import data
from washout.defenses.tvm import drop_mask, tvm

pytestmark = pytest.mark.usefixtures("one_thread")

WEIGHT = 0.03


def seed(value=0):
    return torch.Generator().manual_seed(value)


def random_images(*shape, dtype=torch.float32):
    return torch.rand(*shape, generator=seed(), dtype=dtype)


@pytest.fixture(scope="module")
def photos():
    return data.photos().test.images[:6].double()


def lengths(u):
    """(B,): the sum of |grad u| and that of phi(|grad u|), forward differences."""
    across, down = torch.zeros_like(u), torch.zeros_like(u)
    across[..., :-1] = u[..., 1:] - u[..., :-1]
    down[..., :-1, :] = u[..., 1:, :] - u[..., :-1, :]
    size = (across**2 + down**2).sqrt()
    # phi as the docstring has it, its slope integrated over p.
    h = WEIGHT / 2
    t = 1 + (size + (size**2 + 4 * h * size).sqrt()) / (2 * h)
    rounded = h * (t - t.log() + 1 / t - 1 / (2 * t**2) - 1.5)
    return size.flatten(1).sum(1), rounded.flatten(1).sum(1)


def fidelity(u, images, mask):
    return (mask * (u - images) ** 2).flatten(1).sum(1) / (2 * WEIGHT)


def plain(image, mask, steps, sweeps=10, tolerance=0.0, four=False):
    """Guo et al.'s solver, row by row, in plain Python: one channel, lists of lists."""
    height, width = len(image), len(image[0])
    rows, columns = range(height), range(width)
    weight = 1 / WEIGHT
    penalty = 2 * weight
    u = [[image[r][c] if mask[r][c] else 0.0 for c in columns] for r in rows]
    dx, dy, bx, by = ([[0.0] * width for _ in rows] for _ in range(4))
    for _step in range(steps):
        before = [row[:] for row in u]
        for _sweep in range(sweeps):
            for r in rows:
                for c in columns:
                    near = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
                    near = [u[a][b] for a, b in near if 0 <= a < height and 0 <= b < width]
                    inner = sum(near) - dx[r][c] - dy[r][c] + bx[r][c] + by[r][c]
                    if r:
                        inner += dy[r - 1][c] - by[r - 1][c]
                    if c:
                        inner += dx[r][c - 1] - bx[r][c - 1]
                    if mask[r][c]:
                        own = penalty * inner + weight * image[r][c]
                        u[r][c] = own / (weight + len(near) * penalty)
                    else:
                        u[r][c] = inner / (4 if four else len(near))
        for r in rows:
            for c in columns:
                tx = bx[r][c] + (u[r][c + 1] - u[r][c] if c < width - 1 else 0)
                ty = by[r][c] + (u[r + 1][c] - u[r][c] if r < height - 1 else 0)
                size = (tx**2 + ty**2) ** 0.5
                share = size * penalty / (size * penalty + 1)
                dx[r][c], dy[r][c] = share * tx, share * ty
                bx[r][c], by[r][c] = tx - dx[r][c], ty - dy[r][c]
        change = np.sqrt(np.mean((np.array(u) - np.array(before)) ** 2))
        if change <= tolerance:
            break
    return torch.tensor(u, dtype=torch.float64)


@pytest.mark.parametrize("border", ["neighbors", "four"])
@pytest.mark.parametrize("shape", [(1, 1, 6, 8), (2, 1, 5, 7), (1, 1, 1, 9), (1, 1, 4, 1)])
def test_converges_to_what_the_plain_solver_converges_to(shape, border):
    images = random_images(*shape, dtype=torch.float64)
    mask = drop_mask(images, 0.4, seed(3))
    mask[..., 0, 0] = True
    found = tvm(images, mask=mask, steps=1000, tolerance=0, border=border)
    expected = torch.stack(
        [
            plain(image[0].tolist(), keep[0].tolist(), 1000, 3, 1e-8, border == "four")[None]
            for image, keep in zip(images, mask, strict=True)
        ]
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-4)
    if border == "neighbors":
        objectives = [lengths(u)[1] + fidelity(u, images, mask) for u in (found, expected)]
        torch.testing.assert_close(*objectives, rtol=1e-6, atol=1e-9)


def test_every_step_comes_close_to_the_plain_solvers():
    # The order of the sweeps leaves a difference, but a small one to that of a step.
    images = random_images(1, 1, 8, 8, dtype=torch.float64)
    mask = drop_mask(images, 0.5, seed(1))
    given = images[0, 0].tolist(), mask[0, 0].tolist()
    expected = [plain(*given, steps)[None, None] for steps in range(1, 6)]
    for steps in range(1, 6):
        found = tvm(images, mask=mask, steps=steps, tolerance=0)
        off = [(found - other).pow(2).mean().sqrt().item() for other in expected]
        own = off.pop(steps - 1)
        assert own < 0.02
        assert own < 0.5 * min(off)


def test_the_result_is_the_minimum(photos):
    images = photos[:2, :, :12, :12]
    mask = drop_mask(images, 0.5, seed())
    found = tvm(images, mask=mask, steps=1000, tolerance=0)
    least = lengths(found)[1] + fidelity(found, images, mask)
    for number in range(20):
        for size in (1e-3, 1e-2, 0.1):
            noise = size * torch.randn(images.shape, generator=seed(number), dtype=torch.float64)
            other = found + noise
            assert (lengths(other)[1] + fidelity(other, images, mask) > least).all()
    assert (lengths(found)[0] < lengths(images)[0]).all()


def skimages(images):
    """scikit-image's solution, each channel by itself, at convergence."""
    solved = [
        denoise_tv_bregman(
            image.permute(1, 2, 0).numpy(),
            weight=1 / WEIGHT,
            eps=1e-9,
            max_num_iter=2000,
            channel_axis=-1,
        )
        for image in images
    ]
    return torch.from_numpy(np.stack(solved)).permute(0, 3, 1, 2)


def objective(u, images):
    return lengths(u)[0] + fidelity(u, images, torch.ones_like(images))


def test_without_dropping_it_is_scikit_images(photos):
    # In a wide gray frame, as scikit-image's border is another one.
    images = F.pad(photos[..., 8:24, 8:24], (24,) * 4, value=0.5)
    found = tvm(images, drop=0, tolerance=0)
    expected = skimages(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)
    torch.testing.assert_close(
        objective(found, images), objective(expected, images), rtol=1e-3, atol=0
    )


def test_without_a_frame_it_does_no_worse_than_scikit_image(photos):
    found = tvm(photos, drop=0, tolerance=0)
    ratio = objective(found, photos) / objective(skimages(photos), photos)
    assert ratio.max() <= 1.001
    inside = (..., slice(10, -10), slice(10, -10))
    assert (found - skimages(photos))[inside].abs().max() < 0.02


def test_constant_images_stay_and_holes_are_filled():
    for value in (0.0, 0.3, 1.0):
        images = torch.full((3, 2, 9, 12), value)
        for given in ({"drop": 0}, {"steps": 300, "tolerance": 0}):
            found = tvm(images, generator=seed(), **given)
            torch.testing.assert_close(found, images, rtol=0, atol=1e-4)
    images = torch.full((1, 1, 9, 9), 0.6)
    mask = torch.ones(1, 1, 9, 9, dtype=torch.bool)
    mask[..., 3:6, 3:6] = False
    images[~mask] = 0.1  # what a dropped value was does not matter
    found = tvm(images, mask=mask, steps=300, tolerance=0)
    torch.testing.assert_close(found, torch.full_like(found, 0.6), rtol=0, atol=1e-4)


def test_dividing_by_four_darkens_the_border_only():
    images = torch.full((1, 1, 20, 20), 0.8)
    kept = tvm(images, generator=seed(), steps=200, tolerance=0)
    dark = tvm(images, generator=seed(), steps=200, tolerance=0, border="four")
    assert (kept - 0.8).abs().max() < 1e-3
    assert dark[..., 0, :].min() < 0.7
    assert (dark[..., 6:-6, 6:-6] - 0.8).abs().max() < 0.02


def test_mask_keeps_zeros_and_drops_at_the_rate():
    images = random_images(4, 3, 50, 50)
    images[:, :, :20] = 0
    mask = drop_mask(images, 0.3, seed())
    assert mask.dtype == torch.bool
    assert mask[:, :, :20].all()
    below = mask[:, :, 20:].float()
    assert below.mean().item() == pytest.approx(0.7, abs=0.01)
    # Channels by themselves: two of them keep the same pixel as often as chance has it.
    assert (below[:, 0] * below[:, 1]).mean().item() == pytest.approx(0.49, abs=0.02)
    assert drop_mask(images, 0, seed()).all()
    assert torch.equal(drop_mask(images, 1, seed()), images == 0)
    black = torch.zeros(1, 1, 8, 8)
    assert torch.equal(tvm(black, generator=seed()), black)


def test_values_dropped_do_not_matter_and_values_kept_do():
    images = random_images(1, 1, 10, 10).clamp(min=0.01)
    mask = drop_mask(images, 0.5, seed())
    found = tvm(images, mask=mask)
    other = torch.where(mask, images, 1 - images)
    assert torch.equal(tvm(other, mask=mask), found)
    other = torch.where(mask, 1 - images, images)
    assert not torch.allclose(tvm(other, mask=mask), found, atol=0.01)


def test_each_row_is_by_itself(photos):
    # Some flat, which are done early, and some not: images leave at several steps.
    images = torch.cat([photos.float(), 0.5 + 0.1 * photos.float(), photos.float() * 0])
    mask = drop_mask(images, 0.5, seed())
    for tolerance in (0.01, 0.001):
        found = tvm(images, mask=mask, tolerance=tolerance)
        for row in range(0, len(images), 5):
            part = slice(row, row + 1)
            torch.testing.assert_close(
                tvm(images[part], mask=mask[part], tolerance=tolerance),
                found[part],
                rtol=0,
                atol=1e-6,
            )


def test_threads_change_nothing(photos):
    images, mask = photos.float(), drop_mask(photos.float(), 0.5, seed())
    found = tvm(images, mask=mask)
    torch.set_num_threads(2)
    try:
        threaded = tvm(images, mask=mask)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(threaded, found, rtol=0, atol=1e-6)


def test_stops_by_tolerance_and_by_steps(photos):
    images = photos[:, :1]
    exact = tvm(images, steps=400, tolerance=0, generator=seed())
    off = [
        (tvm(images, generator=seed(), **given) - exact).abs().mean().item()
        for given in (
            {"steps": 1},
            {"steps": 2, "tolerance": 0},
            {"tolerance": 0.01},
            {"tolerance": 0.0001},
        )
    ]
    assert off[0] > off[1] > off[2] > off[3]
    assert off[3] < 2e-3
    once = tvm(images, tolerance=1e9, generator=seed())
    assert torch.equal(once, tvm(images, steps=1, generator=seed()))


def test_more_weight_smooths_more(photos):
    variation = [
        lengths(tvm(photos, drop=0, weight=weight))[0].sum() for weight in (0.003, 0.03, 0.3)
    ]
    assert variation[0] > variation[1] > variation[2]


def test_shape_type_range_seed_and_the_input_stays(photos):
    for images in (
        photos.float().contiguous(memory_format=torch.channels_last),
        random_images(2, 1, 28, 28).round().requires_grad_(),
        photos[:1, :, :7, :5],
        random_images(0, 3, 8, 8),
    ):
        before = images.detach().clone()
        found = tvm(images, generator=seed())
        assert found.shape == images.shape
        assert found.dtype == images.dtype
        assert not found.requires_grad
        assert torch.equal(images.detach(), before)
        assert ((found >= 0) & (found <= 1)).all()
        assert torch.equal(tvm(images, generator=seed()), found)
    images = photos.float()
    assert not torch.equal(tvm(images, generator=seed()), tvm(images, generator=seed(1)))


def test_refuses_bad_input():
    images = random_images(1, 1, 6, 6)
    for name, values in {
        "drop": (-0.1, 1.1, "half"),
        "weight": (0, -1, float("nan")),
        "steps": (0, 1.5),
        "sweeps": (0, True),
        "tolerance": (-1, float("nan")),
        "border": ("reflect",),
        "mask": (images, images[0] > 0, [[1]]),
    }.items():
        for value in values:
            with pytest.raises(ValueError, match=name):
                tvm(images, **{name: value})
    with pytest.raises(ValueError, match="uint8"):
        tvm((images * 255).to(torch.uint8))
    with pytest.raises(ValueError, match="drop"):
        drop_mask(images, 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same(photos):
    images = photos.float()
    mask = drop_mask(images, 0.5, seed())
    found = tvm(images.cuda(), mask=mask)
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), tvm(images, mask=mask), rtol=0, atol=1e-5)


def test_threads_take_over_the_mode_of_inference():
    """Images made in inference mode cannot be changed outside of it."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.inference_mode():
            images = torch.rand(200, 3, 32, 32) * 1.0
            found = tvm(images, steps=2, generator=torch.Generator().manual_seed(0))
        assert found.shape == images.shape
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
