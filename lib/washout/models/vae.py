"""The variational auto-encoder of chapter 1, for whole small images and for patches of large ones.

Encoder: padded 3 x 3 convolutions with ReLU, the first ones pooled, then one dense layer each for
mean and standard deviation of the latent. Decoder: its mirror image, with nearest-neighbor
upsampling and transposed convolutions, and a sigmoid at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from washout.checks import check_choice, check_count, check_range
from washout.data import Split, floats
from washout.models.layers import Double, Halve, Normalize

LIKELIHOODS = ("gaussian", "bernoulli")


class VAE(nn.Module):
    """An auto-encoder whose latent is drawn from a Gaussian that the encoder describes.

    Args:
        in_channels: channels of the images.
        size: height and width of the images in pixels, a multiple of 2 ** ``pooled``.
        classes: not used; networks are built alike.
        widths: of the encoder's convolutions.
        pooled: how many of them, from the first, are followed by pooling.
        latent: dimensions of the latent.
        beta: weight of the Kullback-Leibler term, at least 0.
        likelihood: ``gaussian`` (half the squared error) or ``bernoulli`` (cross-entropy).
        plain: an ordinary auto-encoder: the mean is the latent, and nothing is drawn.
        clip: the noise is kept within [-clip, clip], at least 0; inf leaves it as it is.
        mean: what normalization before the encoder subtracts, for each channel.
        std: what it divides by, for each channel.

    Attributes:
        bf16: ``reconstruct`` in bfloat16, the precision of the training, but for the latent and
            the sigmoid at the end; off at first.

    Raises:
        ValueError: a setting out of its range.

    Source: Luo & Pfister, section 3 and Tables 2 and 3; Kingma & Welling (2014).
    """

    def __init__(
        self,
        in_channels: int = 1,
        size: int = 28,
        classes: int = 10,
        *,
        widths: Sequence[int] = (16, 8),
        pooled: int = 2,
        latent: int = 256,
        beta: float = 1.0,
        likelihood: str = "gaussian",
        plain: bool = False,
        clip: float = 5.0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        check_count(latent, 1, "latent")
        check_range(beta, 0, math.inf, "beta")
        check_range(clip, 0, math.inf, "clip")
        check_choice(likelihood, LIKELIHOODS, "likelihood")
        if not 0 <= pooled <= len(widths) or size % 2**pooled:
            raise ValueError(
                f"pooled: got {pooled} for {len(widths)} convolutions and {size} pixels; allowed "
                "are 0 up to the number of convolutions, and a size that is a multiple of "
                "2 ** pooled"
            )
        self.beta, self.likelihood, self.plain, self.clip = beta, likelihood, plain, clip
        self.bf16 = False
        side = size // 2**pooled
        inner = (widths[-1], side, side)
        self.normalize = Normalize(mean or (0.5,) * in_channels, std or (0.5,) * in_channels)
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        for index, (a, b) in enumerate(zip((in_channels, *widths), widths, strict=False)):
            down += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU()]
            mirrored: list[nn.Module] = [nn.ConvTranspose2d(b, a, 3, padding=1)]
            mirrored += [nn.Sigmoid() if index == 0 else nn.ReLU()]
            if index < pooled:
                down.append(Halve())
                mirrored.insert(0, Double())
            up = mirrored + up
        self.encoder = nn.Sequential(*down, nn.Flatten())
        self.mean = nn.Linear(math.prod(inner), latent)
        self.log_std = None if plain else nn.Linear(math.prod(inner), latent)
        if self.log_std is not None:
            # Noise as large as the means at the start would drown what the decoder could learn.
            nn.init.zeros_(self.log_std.weight)
            nn.init.constant_(self.log_std.bias, -2.0)
        self.decoder = nn.Sequential(
            nn.Linear(latent, math.prod(inner)), nn.ReLU(), nn.Unflatten(1, inner), *up
        )

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> mean and log standard deviation of the latent, (B, D) each."""
        hidden = self.encoder(self.normalize(images))
        mean = self.mean(hidden)
        if self.log_std is None:
            return mean, torch.full_like(mean, -math.inf)
        # A bound on both sides keeps the first steps of a training from overflowing.
        return mean, self.log_std(hidden).clamp(-8, 4)

    def decode(self, latent: Tensor) -> Tensor:
        """(B, D) -> images (B, C, H, W) in [0, 1]."""
        return self.decoder(latent)

    def draw(
        self,
        mean: Tensor,
        log_std: Tensor,
        clip: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The latent by the reparameterization trick: mean + std * clipped noise."""
        if self.plain:
            return mean
        limit = self.clip if clip is None else clip
        noise = torch.empty_like(mean).normal_(generator=generator).clamp(-limit, limit)
        return mean + log_std.exp() * noise

    def reconstruct(
        self,
        images: Tensor,
        *,
        sample: bool = True,
        clip: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Images through encoder and decoder, (B, C, H, W) in [0, 1]; differentiable.

        Args:
            sample: draw the latent, or take its mean.
            clip: bound on the noise; the model's own by default.
            generator: where the noise comes from, on the images' device.
        """
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            mean, log_std = (part.float() for part in self.encode(images))
            latent = self.draw(mean, log_std, clip, generator) if sample else mean
            output = self.decoder[:-1](latent)
        # Bfloat16 has 8 bits: behind the sigmoid it would round pixels as an image file does.
        return self.decoder[-1](output.to(images.dtype))

    def forward(self, images: Tensor) -> Tensor:
        """A reconstruction from a draw of the latent."""
        return self.reconstruct(images)

    def loss(self, images: Tensor) -> Tensor:
        """Distortion plus ``beta`` times the KL divergence, in nats an image, batch average."""
        mean, log_std = (part.float() for part in self.encode(images))
        output = self.decode(self.draw(mean, log_std)).float()
        if self.likelihood == "gaussian":
            distortion = (images - output).square().sum() / 2
        else:
            # Rounding of half-precision arithmetic may reach 0 and 1, where the logarithm ends.
            with torch.autocast(images.device.type, enabled=False):  # not allowed in half precision
                distortion = F.binary_cross_entropy(
                    output.clamp(1e-6, 1 - 1e-6), images.float(), reduction="sum"
                )
        if self.plain:
            return distortion / len(images)
        return (distortion + self.beta * divergence(mean, log_std).sum()) / len(images)

    @torch.no_grad()
    def score(self, split: Split, batch_size: int = 500) -> float:
        """Minus the loss over a split, with noise that is the same at each call."""
        device = self.mean.weight.device
        total = torch.zeros((), device=device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            for part in split.images.split(batch_size):
                total += self.loss(floats(part.to(device))) * len(part)
        return -total.item() / len(split)


def divergence(mean: Tensor, log_std: Tensor) -> Tensor:
    """KL divergence of N(mean, std) from the standard normal, in nats, (B,).

    Source: Kingma & Welling (2014), appendix B.
    """
    return ((mean.square() + (2 * log_std).exp()) / 2 - log_std - 0.5).sum(1)
