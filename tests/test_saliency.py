"""JSMA's pair search against brute force."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from washout.attacks import saliency

INF = float("inf")


def best_by_brute_force(a: Tensor, b: Tensor) -> tuple[float, set[tuple[int, int]]]:
    """Equation 10 over all pairs of one row: the largest saliency and every pair that has it."""
    gain, against = a[:, None] + a, b[:, None] + b
    valid = ((gain > 0) & (against > 0)).triu(1)
    if not valid.any():
        return 0.0, set()
    scores = torch.where(valid, gain * against, 0)
    best = scores.max()
    return best.item(), {(p, q) for p, q in (valid & (scores == best)).nonzero().tolist()}


def assert_exact(a: Tensor, b: Tensor) -> None:
    pairs, found = saliency.search(a, b)
    for row in range(len(a)):
        best, winners = best_by_brute_force(a[row], b[row])
        assert found[row].item() == best
        if best > 0:
            assert tuple(sorted(pairs[row].tolist())) in winners


# Quarters make many ties; floats make the general case; -inf stands for a saturated feature.
VALUES = st.one_of(
    st.integers(-4, 4).map(lambda n: n / 4),
    st.floats(-8, 8, width=32).filter(lambda v: v == 0 or abs(v) > 1e-6),
)


@st.composite
def gains(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    rows, features = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    closed = torch.tensor(
        draw(st.lists(st.sampled_from([False] * 4 + [True]), min_size=rows * features,
                      max_size=rows * features))
    ).view(rows, features)  # fmt: skip

    def side() -> Tensor:
        values = draw(st.lists(VALUES, min_size=rows * features, max_size=rows * features))
        return torch.tensor(values).view(rows, features).masked_fill(closed, -INF)

    return side(), side()


@given(gains())
@settings(max_examples=500, deadline=None)
@example((torch.zeros(2, 5), torch.zeros(2, 5)))
@example((torch.full((1, 6), -1.0), torch.ones(1, 6)))
@example((torch.full((1, 4), -INF), torch.full((1, 4), -INF)))
@example((torch.tensor([[3.0, 1, 1, -2]]), torch.tensor([[-2.0, 1, 1, 3]])))
def test_pair_search_is_exact(case: tuple[Tensor, Tensor]) -> None:
    assert_exact(*case)


@pytest.mark.parametrize("correlation", [-1.0, -0.9, 0.0, 0.9, 1.0])
@pytest.mark.parametrize("levels", [None, 5])
def test_pair_search_is_exact_in_blocks(correlation, levels, monkeypatch):
    # Opposed gains are the worst case: at -1 every feature is a candidate.
    draw = torch.Generator().manual_seed(7)
    a, noise = torch.randn(2, 3, 60, generator=draw)
    b = correlation * a + (1 - correlation**2) ** 0.5 * noise + 0.2
    if levels:
        a, b = (a * levels).round() / levels, (b * levels).round() / levels
    monkeypatch.setattr(saliency, "BLOCK", 3 * 7 * 20)
    assert_exact(a, b)


def test_candidates_are_those_that_fewer_than_two_others_dominate():
    draw = torch.Generator().manual_seed(3)
    a, b = torch.rand(2, 4, 784, generator=draw)  # positive, so that no feature is hopeless
    above = (a[:, None] >= a[..., None]) & (b[:, None] >= b[..., None])
    dominators = above.sum(2) - 1  # itself
    assert torch.equal(saliency.candidates(a, b), dominators < 2)
    assert saliency.candidates(a, b).sum(1).max() < 60
