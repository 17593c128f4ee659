"""Tables 1 and 2: the classifier, from the network as it is built, and a step of the flow."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn

from washout.chapters.chapter4.settings import AUTO, classifier_recipe
from washout.models import ResNet
from washout.report import show

SIDE, CLASSES = 32, 10  # CIFAR-10's
# Kingma & Dhariwal (2018), Table 1, with the coupling of the code that the paper took its flow
# from: shift, then scale by a sigmoid, which never lets an image go.
STEPS = (
    ("actnorm", "y = (x + b) · s, for each channel", "x = y / s − b", "h · w · Σ log |s|"),
    (
        "invertible 1 × 1 convolution",
        "y = W x, at each pixel; W = P L (U + diag d)",
        "x = W⁻¹ y",
        "h · w · Σ log |d|",
    ),
    (
        "affine coupling",
        "x = (a, c); (t, r) = N(a); y = (a, (c + t) · sigmoid(r + 2))",
        "c = y′ / sigmoid(r + 2) − t",
        "Σ log sigmoid(r + 2)",
    ),
)


def layers(net: ResNet) -> pd.DataFrame:
    """Each convolution of a ``ResNet``, the way past each block, and the dense layer."""
    from torchvision.models.resnet import BasicBlock  # takes seconds to import

    lines: list[dict[str, str]] = []

    def add(word: str, layer: nn.Module | None, output: Tensor) -> None:
        shape = " × ".join(map(str, output.shape[1:]))
        lines.append({"layer": word, "details": _said(layer), "output": shape})

    x, blocks = torch.zeros(1, 3, SIDE, SIDE), 0
    with torch.inference_mode():
        for part in net.eval().features:
            if isinstance(part, nn.Conv2d):
                add("conv", part, part(x))
            if isinstance(part, BasicBlock):
                blocks += 1
                middle = part.conv1(x)
                add(f"block {blocks}, conv1", part.conv1, middle)
                add(f"block {blocks}, conv2", part.conv2, part.conv2(middle))
                past = x if part.downsample is None else part.downsample(x)
                add(f"block {blocks}, shortcut", part.downsample, past)
            x = part(x)
        add("linear", net.classify, net.classify(torch.zeros(1, net.classify.in_features)))
    return pd.DataFrame(lines)


def _said(layer: nn.Module | None) -> str:
    if isinstance(layer, nn.Conv2d):
        return (
            f"{layer.in_channels}, {layer.out_channels}, kernel size = {layer.kernel_size[0]}, "
            f"stride = {layer.stride[0]}, padding = {layer.padding[0]}, "
            f"bias = {layer.bias is not None}"
        )
    if isinstance(layer, nn.Linear):
        return f"{layer.in_features}, {layer.out_features}, bias = {layer.bias is not None}"
    return "identity"


def show_steps() -> None:
    """The paper's Table 2."""
    columns = ["layer", "forward", "back", "log-determinant, image of h × w"]
    caption = "Table 2: one step of the flow; N is a small convolutional network."
    show(pd.DataFrame(STEPS, columns=columns), caption=caption, name="chapter4-steps")


def show_layers(profile: str) -> None:
    """The paper's Table 1, for all three blocks, as it is built for CIFAR-10."""
    recipe = classifier_recipe(AUTO[0], "resnet8", profile, 0)
    settings = dict(recipe.model_args)
    net = ResNet(3, SIDE, CLASSES, **settings)
    caption = "Table 1: the network as it is built, input and output channels first."
    show(layers(net), caption=caption, name="chapter4-layers")
