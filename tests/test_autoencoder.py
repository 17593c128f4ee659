"""The autoencoder of chapter 4, and the shortcuts and averages of its classifier."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from washout import models
from washout.data import Split
from washout.models import Autoencoder, ResNet
from washout.training import fit
from washout.training.loop import objective


@pytest.mark.parametrize(("channels", "size", "width"), [(3, 32, 8), (1, 28, 2), (2, 4, 1)])
def test_shapes_and_range(channels, size, width):
    torch.manual_seed(0)
    net = models.build("autoencoder", in_channels=channels, size=size, classes=10, width=width)
    x = torch.rand(3, channels, size, size)
    out = net(x)
    assert out.shape == x.shape
    assert out.min() >= 0
    assert out.max() <= 1
    assert net.encoder(x).shape == (3, 2 * width, size // 4, size // 4)
    assert torch.allclose(net(x[1:2]), out[1:2], atol=1e-6)
    assert net(x).dtype == torch.float32


def test_four_convolutions_and_their_weights():
    net = Autoencoder(3, 32, width=8)
    layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert len(layers) == 4
    expected = 16 * (3 * 8 + 8 * 16 + 16 * 8 + 8 * 3) + 8 + 16 + 8 + 3
    assert sum(p.numel() for p in net.parameters()) == expected


@pytest.mark.parametrize(("settings", "message"), [({"size": 30}, "multiples of 4"),
                                                   ({"width": 0}, "width: got 0")])  # fmt: skip
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Autoencoder(**settings)


def test_training_lowers_the_error_it_is_scored_by():
    torch.manual_seed(0)
    x = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    x = torch.nn.functional.avg_pool2d(x, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    split = Split(x, torch.zeros(64, dtype=torch.int64))
    net = Autoencoder(3, 8, width=8)
    loss, score = objective(net)
    assert score(net, split) == pytest.approx(-(net(x) - x).square().mean().item(), rel=1e-4)
    history = fit(net, split, split, loss=loss, score=score, epochs=20, batch_size=16, lr=1e-2,
                  progress=False)  # fmt: skip
    assert history[-1]["score"] > 0.5 * history[0]["score"]
    assert score(net, split) > -0.01


def test_the_papers_classifier_is_the_described_one():
    net = ResNet(3, 32, 10, widths=(16, 32, 64), blocks=1, shortcut="conv", pooled=2)
    assert net.classify.in_features == 256
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert all(m.bias is None for m in convolutions)
    assert [m.kernel_size[0] for m in convolutions].count(3) == 7  # one and three blocks of two
    assert [(m.in_channels, m.out_channels) for m in convolutions if m.kernel_size == (1, 1)] == [
        (16, 32), (32, 64),
    ]  # fmt: skip
    convolved = 9 * (3 * 16 + 2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
    convolved += 16 * 32 + 32 * 64
    norms = 2 * (3 * 16 + 2 * 32 + 2 * 64)
    assert sum(p.numel() for p in net.parameters()) == convolved + norms + 256 * 10 + 10


def test_average_to_one_is_the_global_one():
    torch.manual_seed(0)
    net = ResNet(3, 16, 4, widths=(4, 8), blocks=1).eval()
    x = torch.rand(2, 3, 16, 16)
    one = net(x)
    maps = net.features(x)
    assert torch.allclose(one, net.classify(maps.mean((2, 3))), atol=1e-6)
    two = ResNet(3, 16, 4, widths=(4, 8), blocks=1, pooled=2).eval()
    quarters = two.features(x).unflatten(2, (2, -1)).unflatten(4, (2, -1)).mean((3, 5))
    assert torch.allclose(two(x), two.classify(quarters.flatten(1)), atol=1e-6)


@pytest.mark.parametrize("settings", [{"shortcut": "none"}, {"pooled": 0}])
def test_unknown_shortcuts_and_averages(settings):
    with pytest.raises(ValueError, match=r"(shortcut|pooled): got"):
        ResNet(**settings)
