"""The vector-quantized auto-encoder of chapter 2, for small images.

Encoder: two convolutions that halve the image, then two residual blocks. Each place of its output
is replaced by the nearest vector of a codebook. Decoder: the encoder's mirror image, with
transposed convolutions, and a tanh at the end.

The paper names no architecture; its settings are the defaults of a public implementation (Ritesh
Kumar's pytorch-vqvae), whose layers these are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from washout.checks import check_choice, check_count, check_range
from washout.data import Split, floats
from washout.models.layers import Normalize

NOISES = ("gaussian", "salt-and-pepper", "uniform")
ROWS = 2**15  # vectors whose distances to all codes are held at once


class VQVAE(nn.Module):
    """An auto-encoder that says an image in few words of a codebook that it learns.

    Images are in [0, 1] on both sides. That the layers work in [-1, 1] shows nowhere but in the
    scale of the noise and of the loss.

    Args:
        in_channels: channels of the images.
        size: height and width of the images in pixels, a multiple of 4.
        classes: not used; networks are built alike.
        hidden: width of the layers, and dimensions of a code.
        codes: how many vectors the codebook holds.
        commitment: weight of the term that draws the encoder to its codes, at least 0.
        noise: how strong the noise is that training adds to its input, in the scale of [-1, 1],
            at least 0: standard deviation, largest change, or share of pixels (at most 1). The
            result is not clipped.
        noise_kind: ``gaussian``; ``uniform``, of [-noise, noise]; or ``salt-and-pepper``, which
            sets pixels, all channels alike, to -1 or 1.
        mean: not used, as pixels are scaled to [-1, 1] whatever the dataset.
        std: not used either.

    Attributes:
        bf16: ``reconstruct`` in bfloat16, but for the choice of codes and the tanh at the end; off
            at first.

    Raises:
        ValueError: a setting out of its range.

    Source: van den Oord et al. (2017), section 3; Tan et al., the table of parameters. The blocks'
    shortcut carries their input as it is; the implementation's in-place ReLU rectifies it.
    """

    def __init__(
        self,
        in_channels: int = 1,
        size: int = 28,
        classes: int = 10,
        *,
        hidden: int = 256,
        codes: int = 512,
        commitment: float = 1.0,
        noise: float = 0.0,
        noise_kind: str = "gaussian",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        check_count(hidden, 1, "hidden")
        check_count(codes, 1, "codes")
        check_range(commitment, 0, math.inf, "commitment")
        check_choice(noise_kind, NOISES, "noise_kind")
        check_range(noise, 0, 1 if noise_kind == "salt-and-pepper" else math.inf, "noise")
        if size < 4 or size % 4:
            raise ValueError(
                f"size: got {size} pixels; VQVAE halves images twice and takes multiples of 4; "
                "pad or crop the images"
            )
        self.commitment, self.noise, self.noise_kind = commitment, noise, noise_kind
        self.bf16 = False
        self.normalize = Normalize((0.5,) * in_channels, (0.5,) * in_channels)
        self.encoder = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 4, stride=2, padding=1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 4, stride=2, padding=1),
            Residual(hidden),
            Residual(hidden),
        )
        self.codebook = nn.Parameter(torch.empty(codes, hidden).uniform_(-1 / codes, 1 / codes))
        self.decoder = nn.Sequential(
            Residual(hidden),
            Residual(hidden),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden, hidden, 4, stride=2, padding=1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden, in_channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                assert layer.bias is not None
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def encode(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1], or uint8 -> vectors (B, D, H/4, W/4), not quantized."""
        return self._latent(self.normalize(floats(images)))

    def quantize(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D, h, w) -> the nearest codes (B, h, w), int64, and their vectors (B, D, h, w)."""
        places = latent.permute(0, 2, 3, 1)
        codes = nearest(places.flatten(0, 2), self.codebook).view(places.shape[:3])
        return codes, F.embedding(codes, self.codebook).permute(0, 3, 1, 2)

    def decode(self, vectors: Tensor) -> Tensor:
        """(B, D, h, w) -> images (B, C, 4 h, 4 w) in [0, 1]."""
        return (self._pixels(vectors) + 1) / 2

    def reconstruct(self, images: Tensor) -> Tensor:
        """Images through encoder, codebook and decoder, (B, C, H, W) in [0, 1].

        Differentiable: for the gradient, quantization is the identity (straight-through).
        """
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            latent = self.encode(images)
            return self.decode(straight_through(latent, self.quantize(latent)[1]))

    def forward(self, images: Tensor) -> Tensor:
        """The reconstruction."""
        return self.reconstruct(images)

    @torch.no_grad()
    def codes_of(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1], or uint8 -> indices into the codebook (B, H/4, W/4), int64."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            return self.quantize(self.encode(images))[0]

    def corrupt(self, pixels: Tensor) -> Tensor:
        """Pixels in [-1, 1], with the noise of the training; not clipped."""
        if self.noise == 0:
            return pixels
        if self.noise_kind == "gaussian":
            return pixels + self.noise * torch.randn_like(pixels)
        if self.noise_kind == "uniform":
            return pixels + self.noise * (2 * torch.rand_like(pixels) - 1)
        draw = torch.rand_like(pixels[:, :1])
        pixels = torch.where(draw < self.noise, 1.0, pixels)
        return torch.where(draw < self.noise / 2, -1.0, pixels)

    def loss(self, images: Tensor) -> Tensor:
        """Squared errors of pixels in [-1, 1], of codes, and ``commitment`` times the encoder's.

        Each is an average over all elements. The input is noisy, the target is not.
        """
        pixels = self.normalize(floats(images))
        latent = self._latent(self.corrupt(pixels))
        vectors = self.quantize(latent)[1]
        output = self._pixels(straight_through(latent, vectors))
        return (
            F.mse_loss(output, pixels)
            + F.mse_loss(vectors, latent.detach())  # moves the codebook
            + self.commitment * F.mse_loss(latent, vectors.detach())  # moves the encoder
        )

    @torch.no_grad()
    def score(self, split: Split, batch_size: int = 500) -> float:
        """Minus the mean squared error of a split's pixels in [0, 1], in eval mode, no noise."""
        was_training = self.training
        self.eval()
        total = torch.zeros((), device=self.codebook.device)
        for part in split.images.split(batch_size):
            images = floats(part.to(self.codebook.device))
            total += F.mse_loss(self.reconstruct(images), images) * len(part)
        self.train(was_training)
        return -total.item() / len(split)

    def perplexity(self, images: Tensor, batch_size: int = 500) -> float:
        """How many codes these images use: the exponential of the entropy, in [1, codes]."""
        device = self.codebook.device
        return perplexity(
            torch.cat([self.codes_of(part.to(device)) for part in images.split(batch_size)])
        )

    def _latent(self, pixels: Tensor) -> Tensor:
        # Not in half precision: it decides on the code.
        return self.encoder(pixels).to(self.codebook.dtype)

    def _pixels(self, vectors: Tensor) -> Tensor:
        """What the decoder says, (B, C, H, W) in [-1, 1]."""
        # Bfloat16 has 8 bits: behind the tanh it would round pixels as an image file does.
        return self.decoder[-1](self.decoder[:-1](vectors).to(vectors.dtype))


class Residual(nn.Module):
    """The input, plus what a 3 x 3 and a 1 x 1 convolution make of it.

    Args:
        width: channels.
    """

    def __init__(self, width: int):
        super().__init__()
        self.block = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) to the same shape."""
        return x + self.block(x)


@torch.no_grad()
def nearest(vectors: Tensor, codebook: Tensor) -> Tensor:
    """For each of (N, D) the index of the closest of (K, D) in Euclidean distance, (N,) int64."""
    with torch.autocast(vectors.device.type, enabled=False):  # 8 bits would mix up close codes
        # |v - c|^2 without |v|^2, which is the same for all codes: one product of matrices.
        squares = codebook.square().sum(1)
        parts = [
            torch.addmm(squares, part, codebook.T, alpha=-2).argmin(1)
            for part in vectors.split(ROWS)
        ]
    return torch.cat(parts)


def straight_through(latent: Tensor, vectors: Tensor) -> Tensor:
    """The values of ``vectors``, the gradient of ``latent``.

    Source: Bengio et al. (2013), section 4; van den Oord et al. (2017), section 3.2.
    """
    return vectors.detach() + (latent - latent.detach())


def perplexity(codes: Tensor) -> float:
    """The exponential of the entropy of code indices of any shape: 1 if all are the same."""
    counts = torch.bincount(codes.flatten()).double()
    return torch.special.entr(counts / counts.sum()).sum().exp().item()
