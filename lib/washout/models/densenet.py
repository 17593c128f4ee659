"""The CIFAR-10 classifier of chapter 2: a DenseNet for small images.

The paper names kuangliu/pytorch-cifar; of its DenseNets, ``densenet_cifar`` is the one that a
student's machine trains: growth 12, a million weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from washout.checks import check_count
from washout.models.layers import Normalize


class DenseNet(nn.Module):
    """Torchvision's DenseNet-BC, begun by one 3 x 3 convolution that keeps the images' size.

    Args:
        in_channels: channels of the images.
        size: height and width of the images in pixels, at least 2 ** (blocks - 1).
        classes: number of classes.
        growth: channels that each layer adds; 32 is DenseNet-121.
        blocks: layers of each dense block; between blocks, channels and sides are halved.
        mean: what normalization subtracts, for each channel.
        std: what normalization divides by, for each channel.

    Raises:
        ValueError: a setting out of its range.

    Source: Huang et al. (2017), section 3; Tan et al., "Models". Weights start as torchvision's
    do, normal (He et al., 2015); those of pytorch-cifar start as PyTorch's defaults.
    """

    def __init__(
        self,
        in_channels: int = 3,
        size: int = 32,
        classes: int = 10,
        *,
        growth: int = 12,
        blocks: Sequence[int] = (6, 12, 24, 16),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        check_count(growth, 1, "growth")
        check_count(len(blocks), 1, "number of blocks")
        for layers in blocks:
            check_count(layers, 1, "blocks")
        least = 2 ** (len(blocks) - 1)
        if size < least:
            raise ValueError(
                f"size: got {size} pixels; DenseNet of {len(blocks)} blocks takes images of at "
                f"least {least}; give it fewer blocks"
            )
        self.normalize = Normalize(mean or (0.5,) * in_channels, std or (0.5,) * in_channels)
        from torchvision import models  # takes seconds to import

        self.network = models.DenseNet(
            growth,
            tuple(blocks),
            num_init_features=2 * growth,
            num_classes=classes,
        )
        features = self.network.features
        # Torchvision's stem would shrink an image to an eighth before the first block.
        features.conv0 = nn.Conv2d(in_channels, 2 * growth, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(features.conv0.weight)
        del features.norm0, features.relu0, features.pool0

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, K)."""
        return self.network(self.normalize(images))
