"""Principal components and whitening against NumPy, with many and with few features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from washout.detectors import Whitening
from washout.detectors.components import components


def correlated(count: int, dimension: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dimension, dimension, generator=generator)
    return torch.randn(count, dimension, generator=generator) @ mix + 3


@pytest.mark.parametrize(("count", "dimension"), [(500, 12), (9, 40), (12, 12)])
def test_components_are_numpys(count, dimension):
    features = correlated(count, dimension)
    mean, basis, variances = components(features, batch_size=4)
    exact = features.double().numpy()
    _, values, directions = np.linalg.svd(exact - exact.mean(0), full_matrices=False)
    rank = min(dimension, count - 1)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variances[:rank], values[:rank] ** 2 / count, rtol=1e-6)
    cosines = np.abs((directions[:rank] * basis.T[:rank].numpy()).sum(1))
    np.testing.assert_allclose(cosines, 1, atol=1e-6)
    assert (basis.gather(0, basis.abs().argmax(0, keepdim=True)) > 0).all()


def test_whitened_features_have_the_identity_for_a_covariance():
    features = correlated(2000, 8).reshape(2000, 2, 4)
    white = Whitening.fit(features)(features)
    assert white.dtype == torch.float32
    torch.testing.assert_close(white.mean(0), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(white.T @ white / 2000, torch.eye(8), atol=1e-3, rtol=0)


def test_directions_that_do_not_vary_are_left_out():
    features = torch.cat([correlated(50, 3), torch.ones(50, 2)], 1)
    assert Whitening.fit(features)(features).shape == (50, 3)
    few = correlated(5, 40)
    assert Whitening.fit(few)(few).shape == (5, 4)


def test_bad_features():
    with pytest.raises(ValueError, match="at least two"):
        Whitening.fit(torch.rand(1, 4))
    with pytest.raises(ValueError, match="all the same"):
        Whitening.fit(torch.ones(6, 4))
    with pytest.raises(ValueError, match="7 values each; this whitening was fit to 4"):
        Whitening.fit(correlated(9, 4))(torch.rand(2, 7))
