"""The convolutional autoencoder of chapter 4, for small images.

The paper says "four convolutional layers"; its picture of them is lost. Here two halve the image
and two transposed ones double it again; ``width`` decides how little may pass in between.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from washout.checks import check_count
from washout.data import Split, floats


class Autoencoder(nn.Module):
    """Four convolutional layers that are to return the image through a narrow middle.

    Args:
        in_channels: channels of the images.
        size: height and width of the images in pixels, a multiple of 4.
        classes: not used; networks are built alike.
        width: channels of the outer layers; the middle has twice as many, on a sixteenth of the
            pixels: an image of 32 x 32 x 3 is 3072 values, its code 128 ``width``.
        mean: not used, as the network works in [0, 1] whatever the dataset.
        std: not used either.

    Raises:
        ValueError: a size that is not a multiple of 4, or no width.

    Source: Xiong, section 4.3; sizes, activations and loss are ours.
    """

    def __init__(
        self,
        in_channels: int = 3,
        size: int = 32,
        classes: int = 10,
        *,
        width: int = 32,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        check_count(width, 1, "width")
        if size < 4 or size % 4:
            raise ValueError(
                f"size: got {size} pixels; Autoencoder halves images twice and takes multiples of "
                "4; pad or crop the images"
            )
        self.encoder = nn.Sequential(
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, in_channels, 4, stride=2, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> the same images as far as they pass, in [0, 1]."""
        # In full precision behind the last layer: bfloat16 would round pixels to 8 bits.
        return self.decoder(self.encoder(floats(images))).float().sigmoid()

    def loss(self, images: Tensor) -> Tensor:
        """Mean squared error of the pixels; no noise is added."""
        images = floats(images)
        return F.mse_loss(self(images), images)

    @torch.no_grad()
    def score(self, split: Split, batch_size: int = 500) -> float:
        """Minus the mean squared error of a split."""
        device = next(self.parameters()).device
        total = torch.zeros((), device=device)
        for part in split.images.split(batch_size):
            total += self.loss(part.to(device)) * len(part)
        return -total.item() / len(split)
