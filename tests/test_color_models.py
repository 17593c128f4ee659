"""The classifiers of small color images: DenseNet and ResNet against formula and literature."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torchvision.models import resnet as torchvision_resnet

from washout import models
from washout.models import DenseNet, ResNet
from washout.models.resnet import Shortcut
from washout.training import accuracy, fit


@pytest.mark.parametrize("name", ["densenet", "resnet"])
@pytest.mark.parametrize(("in_channels", "size", "classes"), [(3, 32, 10), (1, 28, 7), (1, 17, 2)])
def test_shapes(name, in_channels, size, classes):
    torch.manual_seed(0)
    settings = {"growth": 4, "blocks": (1, 2, 1, 1)} if name == "densenet" else {"blocks": 1}
    model = models.build(name, in_channels=in_channels, size=size, classes=classes, **settings)
    x = torch.rand(4, in_channels, size, size)
    assert model(x).shape == (4, classes)
    model.eval()
    logits = model(x)
    torch.testing.assert_close(model(x[2:3]), logits[2:3])
    flat = x.clone().requires_grad_()
    model(flat).sum().backward()
    assert flat.grad.abs().sum() > 0


def densenet_parameters(growth: int, blocks: tuple[int, ...], channels: int, classes: int) -> int:
    width = 2 * growth
    count = 9 * channels * width
    for i, layers in enumerate(blocks):
        for _ in range(layers):
            count += 2 * width + width * 4 * growth  # batch norm, 1 x 1
            count += 2 * 4 * growth + 9 * 4 * growth * growth  # batch norm, 3 x 3
            width += growth
        if i < len(blocks) - 1:
            count += 2 * width + width * (width // 2)
            width //= 2
    return count + 2 * width + width * classes + classes


@pytest.mark.parametrize(
    ("growth", "blocks", "count"),
    [
        (12, (6, 12, 24, 16), 1_000_618),  # pytorch-cifar's densenet_cifar
        (32, (6, 12, 24, 16), 6_956_298),  # pytorch-cifar's DenseNet121
        (5, (2, 3), None),
    ],
)
def test_densenet_has_as_many_weights_as_the_papers(growth, blocks, count):
    model = DenseNet(3, 32, 10, growth=growth, blocks=blocks)
    found = sum(p.numel() for p in model.parameters())
    assert found == densenet_parameters(growth, blocks, 3, 10)
    assert count in (found, None)


@pytest.mark.parametrize(
    ("blocks", "count"),
    # He et al., Table 6: 0.27, 0.46 and 0.85 M for 20, 32 and 56 layers
    [(1, 75_290), (3, 269_722), (5, 464_154), (9, 853_018)],
)
def test_resnet_has_as_many_weights_as_in_the_paper(blocks, count):
    model = ResNet(3, 32, 10, blocks=blocks)
    assert sum(p.numel() for p in model.parameters()) == count
    layers = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    assert len(layers) == 6 * blocks + 2


def norm(x, layer):
    return F.batch_norm(
        x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=1e-5
    )


def trained_norms(model):
    """Batch norms that do something in eval mode."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for values in (layer.weight, layer.running_var):
                torch.nn.init.uniform_(values, 0.5, 2)
            for values in (layer.bias, layer.running_mean):
                torch.nn.init.normal_(values, std=0.3)
    return model.eval()


def test_densenet_is_the_formula():
    torch.manual_seed(0)
    model = DenseNet(2, 8, 4, growth=3, blocks=(2, 2), mean=[0.1, 0.2], std=[0.3, 0.4])
    parts = trained_norms(model).network.features
    images = torch.rand(3, 2, 8, 8)
    mean, std = (torch.tensor(v).view(1, 2, 1, 1) for v in ([0.1, 0.2], [0.3, 0.4]))
    x = F.conv2d((images - mean) / std, parts.conv0.weight, padding=1)
    assert x.shape == (3, 6, 8, 8)
    for block, transition in ((parts.denseblock1, parts.transition1), (parts.denseblock2, None)):
        for layer in block.values():
            y = F.conv2d(F.relu(norm(x, layer.norm1)), layer.conv1.weight)
            y = F.conv2d(F.relu(norm(y, layer.norm2)), layer.conv2.weight, padding=1)
            x = torch.cat([x, y], 1)
        if transition is not None:
            y = F.conv2d(F.relu(norm(x, transition.norm)), transition.conv.weight)
            x = F.avg_pool2d(y, 2)
    x = F.relu(norm(x, parts.norm5)).mean((2, 3))
    expected = x @ model.network.classifier.weight.T + model.network.classifier.bias
    torch.testing.assert_close(model(images), expected)


def test_resnet_is_the_formula():
    torch.manual_seed(0)
    model = ResNet(3, 8, 4, widths=(4, 8), blocks=2, mean=[0.1] * 3, std=[0.3] * 3)
    _, conv, first, _, *blocks = trained_norms(model).features
    images = torch.rand(3, 3, 8, 8)
    x = F.relu(norm(F.conv2d((images - 0.1) / 0.3, conv.weight, padding=1), first))
    for i, block in enumerate(blocks):
        y = F.conv2d(x, block.conv1.weight, padding=1, stride=2 if i == 2 else 1)
        y = F.conv2d(F.relu(norm(y, block.bn1)), block.conv2.weight, padding=1)
        if i == 2:
            x = torch.cat([x[:, :, ::2, ::2], torch.zeros(3, 4, 4, 4)], 1)
        x = F.relu(norm(y, block.bn2) + x)
    expected = x.mean((2, 3)) @ model.classify.weight.T + model.classify.bias
    torch.testing.assert_close(model(images), expected)


def test_the_shortcut_has_no_weights_and_fits_its_block():
    shortcut = Shortcut(3, 2)
    assert not list(shortcut.parameters())
    for size in (6, 7):
        x = torch.randn(2, 5, size, size)
        block = torchvision_resnet.BasicBlock(5, 8, 2, shortcut)
        assert block(x).shape == shortcut(x).shape == (2, 8, (size + 1) // 2, (size + 1) // 2)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("densenet", {"growth": 0}, "growth: got 0"),
        ("densenet", {"blocks": (2, 0)}, "blocks: got 0"),
        ("densenet", {"blocks": ()}, "number of blocks"),
        ("densenet", {"size": 7}, "size: got 7 pixels; DenseNet of 4 blocks .* at least 8"),
        ("resnet", {"blocks": 0}, "blocks: got 0"),
        ("resnet", {"widths": ()}, "number of widths"),
        ("resnet", {"widths": (0, 4)}, "widths: got 0"),
        ("resnet", {"widths": (8, 4)}, r"widths: got \(8, 4\)"),
        ("resnet", {"size": 3}, "size: got 3 pixels; ResNet of 3 stages .* at least 4"),
    ],
)
def test_bad_settings(name, settings, message):
    usual = {"in_channels": 3, "size": 32, "classes": 10}
    with pytest.raises(ValueError, match=message):
        models.build(name, **(usual | settings))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("densenet", {"growth": 4, "blocks": (2, 2, 2)}),
        ("resnet", {"widths": (8, 16, 32), "blocks": 1}),
    ],
)
def test_they_learn_the_digits(name, settings, digits_data):
    torch.manual_seed(0)
    model = models.build(name, in_channels=1, size=28, classes=10, **settings)
    fit(
        model, digits_data.train, digits_data.validation, epochs=3, batch_size=32, lr=1e-2,
        schedule="onecycle", progress=False,
    )  # fmt: skip
    assert accuracy(model, digits_data.validation) > 0.5
