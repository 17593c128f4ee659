"""MobileNet V2 over ImageNet's 1,000 classes and the background, with Google's weights.

The network of chapter 1 where the paper's Inception V3 cannot be had: it classifies 0.830 of the
1,000 NIPS 2017 images as labelled, the paper's 0.945.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from washout.paths import data_folder

FILE = "imagenet/mobilenet_v2_tf1001.safetensors"
CLASSES = 1001
SIDE = 224  # pixels that the network takes


class MobileNetV2(nn.Module):
    """Torchvision's MobileNet V2 as TensorFlow runs it, so that TensorFlow's weights fit.

    Three things differ from torchvision: the 1,001st class, the background, is class 0; pixels are
    scaled to [-1, 1]; and where a convolution of stride 2 needs one row and column of zeros, they
    are below and to the right (TensorFlow's "SAME" padding) rather than on all sides.

    Source: Sandler et al. (2018), table 2.
    """

    def __init__(self) -> None:
        super().__init__()
        from torchvision import models  # takes seconds to import

        self.network = models.mobilenet_v2(num_classes=CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] of any size -> logits (B, 1001).

        Images are resized to 224 x 224 bilinearly, without antialiasing.
        """
        if images.shape[-2:] != (SIDE, SIDE):
            images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)
        pixels = (images * 2 - 1).contiguous(memory_format=torch.channels_last)
        return self.network(pixels)


def mobilenet_v2(folder: str | Path | None = None) -> nn.Module:
    """MobileNet V2 with its weights from the data folder, in evaluation mode.

    It is there to be attacked, not to be trained: its parameters take no gradient, its input does.

    Args:
        folder: the data folder; else ``$WASHOUT_DATA``, else ``data/`` in the project.

    Raises:
        ValueError: the file of weights is missing, truncated or another network's.
    """
    path = weights_file(folder)
    advice = (
        f"put mobilenet_v2_tf1001.safetensors into {path.parent} (the weights of "
        "tf2_mobilenet_v2_1.0_224_ptq.tflite in google-coral/test_data, Apache-2.0, under "
        "torchvision's names), or name a folder that has it in imagenet/ with folder=... or "
        "WASHOUT_DATA"
    )
    if not path.is_file():
        raise ValueError(f"MobileNet V2: {path} is missing; {advice}")
    model = MobileNetV2()
    try:
        model.network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ValueError(
            f"MobileNet V2: {path} is truncated or another network's ({str(error)[:200]}); {advice}"
        ) from error
    _fold(model.network)
    _pad_like_tensorflow(model.network)
    # Channels last takes half the time on a CPU, where depthwise convolutions are most of it.
    model.to(memory_format=torch.channels_last)
    return model.eval().requires_grad_(False)


def weights_file(folder: str | Path | None = None) -> Path:
    """Where the weights lie in the data folder."""
    return data_folder(folder) / FILE


def _fold(network: nn.Module) -> None:
    """Put each batch normalization into the convolution before it.

    The file holds it as biases beside a normalization that changes nothing; with an epsilon of 0
    that is exact, and a pass is faster without it.
    """
    for block in list(network.modules()):
        if isinstance(block, nn.Sequential):
            for i, (first, second) in enumerate(pairwise(list(block))):
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    second.eps = 0.0
                    block[i] = fuse_conv_bn_eval(first.eval(), second.eval())
                    block[i + 1] = nn.Identity()


def _pad_like_tensorflow(network: nn.Module) -> None:
    """Move the zeros of every convolution of stride 2 to the bottom and the right.

    At 224 pixels each of them sees an even height and width, where "SAME" pads by just that.
    """
    for block in list(network.modules()):
        if isinstance(block, nn.Sequential):
            for i, layer in enumerate(list(block)):
                if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
                    layer.padding = (0, 0)
                    block[i] = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), layer)
