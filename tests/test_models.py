"""Networks and their layers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from washout import models
from washout.models import Dropout, Normalize


@pytest.mark.parametrize("name", ["lenet", "feinman"])
@pytest.mark.parametrize(("in_channels", "size", "classes"), [(1, 28, 10), (3, 32, 7), (1, 17, 2)])
def test_shapes_and_the_cut_at_the_first_dropout(name, in_channels, size, classes):
    torch.manual_seed(0)
    model = models.build(name, in_channels=in_channels, size=size, classes=classes)
    images = torch.rand(5, in_channels, size, size)
    model.eval()
    logits = model(images)
    assert logits.shape == (5, classes)
    torch.testing.assert_close(model(images[2:3]), logits[2:3])
    model.train()
    assert torch.equal(model.features(images), model.features(images))
    assert not torch.equal(model.head(model.features(images)), model.head(model.features(images)))
    torch.manual_seed(1)
    whole = model(images)
    torch.manual_seed(1)
    assert torch.equal(model.head(model.features(images)), whole)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # 5*5*20+20, 5*5*20*50+50, 800*500+500, 500*10+10
        ("lenet", 520 + 25_050 + 400_500 + 5_010),
        # 3*3*64+64, 3*3*64*64+64, 64*12*12*128+128, 128*10+10
        ("feinman", 640 + 36_928 + 1_179_776 + 1_290),
        # 5*5*32+32, 5*5*32*64+64, 64*7*7*1024+1024, 1024*10+10
        ("cnn2", 832 + 51_264 + 3_212_288 + 10_250),
        # 3x3 from 3, 32, 32, 64, 64, 128 to 32, 32, 64, 64, 128, 128; batch norms; 128*4*4*10+10
        (
            "cnn6",
            896 + 9_248 + 18_496 + 36_928 + 73_856 + 147_584 + 4 * (32 + 64 + 128) + 20_490,
        ),
    ],
)
def test_parameters_are_the_papers(name, count):
    color = name == "cnn6"
    model = models.build(name, in_channels=3 if color else 1, size=32 if color else 28, classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_lenet_is_the_formula():
    torch.manual_seed(0)
    model = models.LeNet(1, 28, 10, mean=[0.1], std=[0.3]).eval()
    images = torch.rand(3, 1, 28, 28)
    x = (images - 0.1) / 0.3
    for layer in (model.conv1, model.conv2):
        x = F.max_pool2d(F.relu(F.conv2d(x, layer.weight, layer.bias)), 2)
    x = F.relu(x.flatten(1) @ model.fc1.weight.T + model.fc1.bias)
    expected = x @ model.fc2.weight.T + model.fc2.bias
    torch.testing.assert_close(model(images), expected)


def test_normalize():
    layer = Normalize([0.5, 0.2, 0.1], [0.25, 0.5, 1.0])
    images = torch.rand(2, 3, 4, 4)
    expected = torch.stack(
        [(images[:, 0] - 0.5) / 0.25, (images[:, 1] - 0.2) / 0.5, images[:, 2] - 0.1], 1
    )
    torch.testing.assert_close(layer(images), expected)


@pytest.mark.parametrize("p", [0.0, 0.25, 0.3, 0.5, 0.99609375, 1.0])
def test_dropout_has_its_distribution(p):
    layer = Dropout(p, torch.Generator().manual_seed(3))
    x = torch.ones(1001, 999)
    y = layer(x)
    share = (y == 0).double().mean().item()
    n = x.numel()
    assert abs(share - p) <= 5 * (p * (1 - p) / n) ** 0.5
    kept = y[y != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p) if p < 1 else 1.0))
    # Units are independent: the share that is dropped together with a neighbor is p squared.
    for step in (1, 2, 8):
        both = ((y[:, step:] == 0) & (y[:, :-step] == 0)).double().mean().item()
        assert abs(both - p * p) < 5 * (p * p * (1 - p * p) / n) ** 0.5 * 2 + 1e-12


def test_dropout_all_bytes_are_equally_frequent():
    # A draw of 64 bits that left one bit out would empty half of the bytes in one of 8 places.
    layer = Dropout(1 / 256, torch.Generator().manual_seed(0))
    dropped = ~layer.mask(torch.empty(400_000, 8))
    share = dropped.double().mean(0) * 256
    assert (share - 1).abs().max() < 0.15


def test_dropout_randomness_comes_from_the_generator():
    x = torch.rand(7, 13)  # 91 units, no multiple of 8
    layer = Dropout(0.5, torch.Generator().manual_seed(5))
    state = torch.get_rng_state()
    first, second = layer(x), layer(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first, second)
    layer.generator = torch.Generator().manual_seed(5)
    assert torch.equal(layer(x), first)
    layer.generator = None
    torch.manual_seed(8)
    mine = layer(x)
    torch.manual_seed(8)
    assert torch.equal(layer(x), mine)


def test_dropout_gradient_and_eval():
    layer = Dropout(0.5, torch.Generator().manual_seed(0))
    x = torch.rand(4, 3, 5, 5, requires_grad=True)
    y = layer(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, torch.where(y == 0, 0.0, 2.0))
    assert layer.eval()(x) is x


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "alexnet"}, r"model: got 'alexnet'; allowed are lenet, feinman"),
        ({"in_channels": 0}, r"in_channels: got 0; allowed are whole numbers from 1 up"),
        ({"classes": 1}, r"classes: got 1"),
        ({"size": 12}, r"size: got 12 pixels; LeNet takes images of at least 16"),
        ({"width": 3}, r"model 'lenet': .*width"),
        ({"mean": [0.5], "std": [0.0]}, r"one positive std"),
        ({"dropout": 1.5}, r"dropout"),
    ],
)
def test_bad_settings(arguments, message):
    usual = {"name": "lenet", "in_channels": 1, "size": 28, "classes": 10}
    with pytest.raises(ValueError, match=message):
        models.build(**(usual | arguments))


def test_halving_and_doubling_are_pytorchs():
    x = torch.randn(2, 3, 6, 8, requires_grad=True)
    for layer, expected in (
        (models.layers.Halve(), torch.nn.MaxPool2d(2)),
        (models.layers.Double(), torch.nn.Upsample(scale_factor=2)),
    ):
        for mode in (True, False):
            layer.train(mode)
            assert torch.equal(layer(x), expected(x))
            one, two = (torch.autograd.grad(f(x).square().sum(), x)[0] for f in (layer, expected))
            torch.testing.assert_close(one, two)
