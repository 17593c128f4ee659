"""Attacks: what must hold for each of them on a small network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attack_cases import (
    ALL,
    BUDGET,
    CW,
    MINIMAL,
    TARGETED,
    Returns,
    digits,
    network,
    right_ones,
    seeded,
    sizes,
)
from washout.attacks import bim, cw, fgsm, pgd


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return network()


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    return right_ones()


@pytest.mark.parametrize("name", ALL)
def test_within_the_bounds_and_judged_as_returned(name: str, net: nn.Module, batch):
    x, y = batch
    result = ALL[name](net, x, y)
    assert result.images.shape == x.shape
    assert result.images.dtype == x.dtype
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    with torch.no_grad():
        assert torch.equal(net(result.images).argmax(1) != y, result.success)
    assert result.success.float().mean() > 0.2


@pytest.mark.parametrize("name", BUDGET)
def test_within_eps(name: str, net: nn.Module, batch):
    x, y = batch
    eps = torch.linspace(0.0, 0.3, len(x))
    assert (sizes(ALL[name](net, x, y, eps=eps), x, torch.inf) <= eps + 1e-6).all()


@pytest.mark.parametrize("name", ALL)
def test_leaves_everything_else_alone(name: str, net: nn.Module, batch):
    x, y = batch
    before = x.clone()
    parameters = list(net.parameters())
    parameters[0].requires_grad_(False)
    parameters[1].grad = torch.full_like(parameters[1], 7.0)
    net[6].train()
    try:
        result = ALL[name](net, x[:8], y[:8])
        assert net[6].training
        assert not net.training
        assert [p.requires_grad for p in parameters] == [False] + [True] * (len(parameters) - 1)
        assert parameters[1].grad is not None
        assert (parameters[1].grad == 7).all()
        assert all(p.grad is None for p in parameters[2:])
    finally:
        parameters[0].requires_grad_(True)
        parameters[1].grad = None
        net.eval()
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert not result.images.requires_grad
    assert result.images.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("name", ALL)
def test_works_without_gradients_around_it(name: str, net: nn.Module, batch):
    x, y = batch[0][:6], batch[1][:6]
    expected = ALL[name](net, x, y)
    with torch.no_grad():
        assert torch.equal(ALL[name](net, x, y).images, expected.images)


@pytest.mark.parametrize("name", [name for name in ALL if name != "pgd"])  # its starts are random
def test_an_image_alone_fares_as_in_a_batch(name: str, net: nn.Module, batch):
    x, y = batch
    together = ALL[name](net, x, y)
    for row in range(0, len(x), 12):
        alone = ALL[name](net, x[row : row + 1], y[row : row + 1])
        assert alone.success[0] == together.success[row]
        # Adam amplifies rounding; what counts is the size of what it finds.
        norms = [sizes(r, b, 2) for r, b in ((alone, x[row]), (together, x))]
        assert norms[0][0].item() == pytest.approx(norms[1][row].item(), rel=0.03, abs=1e-4)
        if name != "cw":
            torch.testing.assert_close(alone.images[0], together.images[row], rtol=0, atol=2e-4)


def test_pgd_repeats_with_the_seed_and_differs_without(net: nn.Module, batch):
    x, y = batch
    first, second, other = (
        pgd(net, x, y, eps=0.1, steps=5, generator=seeded(s)).images for s in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", ["fgsm", "bim", "bim-first"])
def test_a_sweep_in_one_batch_is_separate_runs(name: str, net: nn.Module, batch):
    x, y = batch[0][:10], batch[1][:10]
    levels = (0.0, 0.05, 0.2)
    eps = torch.tensor(levels).repeat_interleave(len(x))
    sweep = ALL[name](net, x.repeat(3, 1, 1, 1), y.repeat(3), eps=eps)
    for level, images in zip(levels, sweep.images.split(len(x)), strict=True):
        torch.testing.assert_close(
            images, ALL[name](net, x, y, eps=level).images, rtol=0, atol=1e-6
        )
    assert torch.equal(sweep.images[:10], x)


def test_more_effort_never_fools_less(net: nn.Module):
    x, y = (tensor[1500:] for tensor in digits())
    for eps in (0.05, 0.1, 0.2):
        once = fgsm(net, x, y, eps=eps).success
        often = bim(net, x, y, eps=eps, steps=30, step=eps / 10)
        first = bim(net, x, y, eps=eps, steps=30, step=eps / 10, stop="first")
        assert often.success.sum() >= once.sum()
        assert not (often.success & ~first.success).any()
    one, four = (
        pgd(net, x, y, eps=0.08, steps=5, restarts=r, generator=seeded()).success for r in (1, 4)
    )
    assert not (one & ~four).any()  # the first of the four starts is the one
    assert four.sum() >= one.sum()
    wide = bim(net, x, y, eps=1.0, steps=40).success
    assert wide.float().mean() > 0.99


class Band(nn.Module):
    """Misreads where the mean is in a narrow band, with a gradient that leads through it."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.flatten(1).mean(1)
        inside = ((mean - 0.52).abs() < 0.011).to(x.dtype)
        steered = 4 * inside - 2 + mean - mean.detach()
        return torch.stack([torch.zeros_like(mean), steered], 1)


def test_the_best_iterate_is_kept_where_a_run_passes_it():
    x, y = torch.full((2, 1, 4, 4), 0.4), torch.zeros(2, dtype=torch.long)
    settings = {"eps": 0.3, "step": 0.02, "steps": 12, "random_start": False}
    assert not pgd(Band(), x, y, **settings).success.any()
    best = pgd(Band(), x, y, **settings, keep="best")
    assert best.success.all()
    assert torch.allclose(best.images, torch.tensor(0.52), atol=0.011)
    targeted = pgd(Band(), x, y + 1, targeted=True, **settings, keep="best")
    assert targeted.success.all()
    with pytest.raises(ValueError, match="keep: got 'worst'"):
        pgd(Band(), x, y, keep="worst")


def test_the_best_iterate_has_the_highest_loss(net: nn.Module, batch):
    x, y = batch
    for restarts in (1, 3):
        last, best = (
            pgd(net, x, y, eps=0.02, steps=7, restarts=restarts, generator=seeded(), keep=keep)
            for keep in ("last", "best")
        )
        assert not (last.success & ~best.success).any()
        with torch.no_grad():
            losses = [F.cross_entropy(net(r.images), y, reduction="none") for r in (last, best)]
        same = last.success == best.success
        assert (losses[1] >= losses[0] - 1e-5)[same].all()


@pytest.mark.parametrize("name", TARGETED)
def test_targets_are_reached(name: str, net: nn.Module, batch):
    x = batch[0]
    with torch.no_grad():
        target = net(x).topk(2, 1).indices[:, 1]
    extra = {} if name == "cw" else {"eps": 0.3}
    if name not in ("cw", "fgsm"):
        extra |= {"step": 0.02, "steps": 40}
    result = ALL[name](net, x, target, targeted=True, **extra)
    with torch.no_grad():
        assert torch.equal(net(result.images).argmax(1) == target, result.success)
    assert result.success.float().mean() > (0.5 if name == "fgsm" else 0.95)


@pytest.mark.parametrize("name", [*MINIMAL, "bim-first"])
def test_images_that_fool_already_stay(name: str, net: nn.Module, batch):
    x, y = batch
    wrong = (y + 1) % 10
    result = ALL[name](net, x, wrong)
    assert result.success.all()
    assert torch.equal(result.images, x)


@pytest.mark.parametrize("name", MINIMAL)
def test_failures_are_the_input(name: str, batch):
    x, y = batch
    never = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    never[1].weight.data.mul_(1e-3)
    y = torch.zeros_like(y)
    never[1].bias.data = 50.0 * F.one_hot(torch.tensor(0), 10).float()
    extra = {"steps": 2} if name != "cw" else {}
    result = ALL[name](never, x, y, **extra)
    assert not result.success.any()
    assert torch.equal(result.images, x)


def test_doubling_the_batch_does_not_change_the_gradient(net: nn.Module, batch):
    # A loss averaged over the batch would; in half precision it would vanish.
    x, y = batch
    scaled = x * (1 - 1e-3)
    single = fgsm(net, scaled[:4], y[:4], eps=0.01).images
    many = fgsm(net, scaled[:4].repeat(50, 1, 1, 1), y[:4].repeat(50), eps=0.01).images
    torch.testing.assert_close(many[:4], single, rtol=0, atol=1e-6)


def test_cw_lets_images_at_rest_leave_at_no_cost(net: nn.Module, batch):
    x, y = batch
    passed = {None: 0, 0.01: 0}
    medians = []
    for progress in passed:

        def count(x: Tensor, progress: float | None = progress) -> Tensor:
            passed[progress] += len(x)
            return net(x)

        found = cw(Returns(count), x, y, **CW | {"steps": 200}, progress=progress)
        assert found.success.all()
        medians.append(sizes(found, x, 2).median().item())
    assert passed[0.01] < 0.9 * passed[None]
    assert medians[1] <= 1.03 * medians[0]
