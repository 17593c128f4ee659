"""Attacks on linear classifiers, whose smallest perturbation has a closed form."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from attack_cases import CW, distance_to_hyperplanes, linear, sizes
from washout.attacks import Attacked, bim, cw, deepfool, fgsm, pgd


@pytest.mark.parametrize(("norm", "p", "dual"), [("l2", 2, 2), ("linf", torch.inf, 1)])
def test_deepfool_finds_the_nearest_hyperplane(norm: str, p: float, dual: float):
    model, x, y = linear()
    result = deepfool(model, x, y, norm=norm, overshoot=0.0)
    best = distance_to_hyperplanes(model, x, y, dual)
    assert result.success.all()
    # Up to the 1e-4 that it steps beyond the boundary, twice at most.
    assert (sizes(result, x, p) >= best - 1e-6).all()
    assert (sizes(result, x, p) <= best + 2.1e-4).all()


def test_deepfool_overshoots_by_its_share():
    model, x, y = linear()
    result = deepfool(model, x, y, overshoot=0.5)
    best = distance_to_hyperplanes(model, x, y, 2)
    torch.testing.assert_close(sizes(result, x, 2), 1.5 * (best + 1e-4), rtol=1e-3, atol=1e-5)


def test_cw_finds_the_hyperplane():
    # With more classes it may settle at the hyperplane of the likeliest, not of the nearest.
    model, x, y = linear(classes=2)
    result = cw(model, x, y, steps=400, binary_search_steps=8, initial_const=0.1, lr=0.01)
    best = distance_to_hyperplanes(model, x, y, 2)
    assert result.success.all()
    assert (sizes(result, x, 2) >= best - 1e-6).all()
    assert (sizes(result, x, 2) <= 1.03 * best + 2e-3).all()


def test_cw_keeps_the_confidence():
    model, x, y = linear()
    result = cw(model, x, y, **CW, confidence=0.2)
    logits = model(result.images)
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    assert result.success.all()
    assert (other - logits.gather(1, y[:, None])[:, 0] >= 0.2 - 1e-5).all()


@pytest.mark.parametrize(("attack", "own"), [(fgsm, {}), (bim, {}), (pgd, {"steps": 70})])
def test_signed_steps_succeed_exactly_beyond_the_distance(
    attack: Callable[..., Attacked], own: dict[str, int]
):
    # With two classes the sign of the gradient is the optimal direction everywhere.
    model, x, y = linear(classes=2)
    best = distance_to_hyperplanes(model, x, y, 1)
    assert attack(model, x, y, eps=best * 1.01, **own).success.all()
    assert not attack(model, x, y, eps=best * 0.99, **own).success.any()


def test_bim_first_stops_at_the_first_step_beyond_the_boundary():
    model, x, y = linear(classes=2)
    best = distance_to_hyperplanes(model, x, y, 1)
    step = 0.004
    result = bim(model, x, y, eps=0.3, step=step, steps=75, stop="first")
    assert result.success.all()
    torch.testing.assert_close(sizes(result, x, torch.inf), (best / step).ceil() * step)


def test_pixels_at_the_ends_of_the_range_move_too():
    # Black and white pixels have infinite coordinates in tanh space.
    x = torch.zeros(1, 1, 6, 6)
    x[..., 3:] = 1.0
    weight = torch.ones(6, 6)
    weight[:, 3:] = -1.0
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    model[1].weight.data = torch.stack([torch.zeros(36), weight.flatten()])
    model[1].bias.data = torch.tensor([0.0, 18.0 - 3.6])
    y = model(x).argmax(1)
    result = cw(model, x, y, steps=300, binary_search_steps=5, lr=0.05, initial_const=1.0)
    assert result.success.all()
    # The boundary is 3.6 / 6 away, each pixel moving by 0.1.
    assert sizes(result, x, 2).item() == pytest.approx(0.6, rel=0.02)
