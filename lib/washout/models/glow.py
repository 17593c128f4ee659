"""Glow, the flow of chapter 4: an exact density of small images, and latents to detect attacks by.

Each level gathers 2 x 2 pixels into channels and takes a number of steps (actnorm, invertible 1 x 1
convolution, coupling). Behind each level but the last, half of the channels leave as latents; the
other half goes on, and predicts their mean and standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from washout.checks import check_choice, check_count, check_range
from washout.data import Split, floats
from washout.models.glow_layers import ScaledConv, Step, log_normal

COUPLINGS = ("affine", "additive")
WHICH = ("last", "all")
BINS = 256  # values of a pixel


class Glow(nn.Module):
    """An invertible network that turns images into Gaussian latents.

    Images in [0, 1] are scaled to [-1/2, 1/2]. As pixels take 256 values, training spreads each
    over its bin by uniform noise; nothing else draws any noise, and an image stands for the middle
    of its bins. ``dequantize`` adds the noise where it is wanted elsewhere.

    The first batch that ``loss`` sees in training mode sets the layers' scales (``initialize``).
    Training has to start with small steps (schedule ``onecycle``): wide and deep networks burst
    otherwise, and end where float32 has no inverse.

    On a GPU, PyTorch's convolutions round float32 to 10 bits. For an exact inverse set
    ``torch.backends.cudnn.conv.fp32_precision = "ieee"``, or take network and images to float64.

    Args:
        in_channels: channels of the images.
        size: height and width of the images in pixels, a multiple of 2 ** ``levels``.
        classes: not used; networks are built alike.
        hidden: width of the couplings' networks.
        depth: steps in a level.
        levels: how often the image is halved.
        coupling: ``affine`` (shift and scale) or ``additive`` (shift only).
        mean: not used, as pixels are scaled alike whatever the dataset.
        std: not used either.

    Attributes:
        bf16: the couplings' networks in bfloat16, as under autocast; off at first, and best left
            off for an inverse, which it makes coarse. All else is in float32 either way.
        started: whether a first batch has set the scales; a part of the ``state_dict``.

    Raises:
        ValueError: a setting out of its range.

    Source: Kingma & Dhariwal (2018); settings and order of the layers as in y0ast/Glow-PyTorch,
    the code that Xiong names.
    """

    def __init__(
        self,
        in_channels: int = 3,
        size: int = 32,
        classes: int = 10,
        *,
        hidden: int = 512,
        depth: int = 32,
        levels: int = 3,
        coupling: str = "affine",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__()
        for name, count in (("hidden", hidden), ("depth", depth), ("levels", levels)):
            check_count(count, 1, name)
        affine = check_choice(coupling, COUPLINGS, "coupling") == "affine"
        if size < 2**levels or size % 2**levels:
            raise ValueError(
                f"size: got {size} pixels; Glow with {levels} levels halves images as often and "
                f"takes multiples of {2**levels}; pad or crop the images, or lower levels"
            )
        self.shape = (in_channels, size, size)
        self.bf16 = False
        self.started = False
        self.levels, self.priors = nn.ModuleList(), nn.ModuleList()
        channels = in_channels
        for index in range(levels):
            channels *= 4
            self.levels.append(nn.ModuleList(Step(channels, hidden, affine) for _ in range(depth)))
            if index < levels - 1:
                channels //= 2
                self.priors.append(ScaledConv(channels, 2 * channels, 3, zero=True))
        # Mean and log standard deviation of the last level's channels.
        self.top = nn.Parameter(torch.zeros(2 * channels))

    # A buffer would do, but asking it at each step would make the host wait for the GPU.
    def get_extra_state(self) -> Tensor:
        """``started``, for the ``state_dict``."""
        return torch.tensor(self.started)

    def set_extra_state(self, state: Tensor) -> None:
        """``started`` from a ``state_dict``."""
        self.started = bool(state)

    def encode(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """(B, C, H, W) in [0, 1], or uint8 -> latents, and the log-likelihood in nats, (B,).

        Differentiable. The likelihood is the density of the images as they are, in [0, 1].

        Returns:
            What leaves behind each level, (B, 2^i C, H / 2^i, W / 2^i) for the i-th from 1 up, and
            twice as many channels for the last, of which nothing goes on; and the likelihood.

        Raises:
            ValueError: images of another shape than the network is built for.
        """
        if images.ndim != 4 or images.shape[1:] != self.shape:
            raise ValueError(
                f"images: got shape {tuple(images.shape)}; this Glow takes (B, "
                f"{', '.join(map(str, self.shape))}); resize them or build another"
            )
        x = floats(images)
        bf16 = self.bf16 or torch.is_autocast_enabled(x.device.type)
        # What is summed over thousands of pixels has no digits to spare.
        with torch.autocast(x.device.type, enabled=False):
            scale = (BINS - 1) / BINS
            x = (x - 0.5) * scale
            total = x.new_full((len(x),), math.prod(self.shape) * math.log(scale))
            latents = []
            for index in range(len(self.levels)):
                x = F.pixel_unshuffle(x, 2)
                for step in self._steps(index):
                    x, log_det = step(x, bf16)
                    total = total + log_det
                part = x
                if index < len(self.priors):
                    x, part = x.chunk(2, 1)
                total = total + log_normal(part, *self.prior(index, x))
                latents.append(part)
        return latents, total

    def prior(self, index: int, rest: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of a level's latents, given what goes on from there."""
        if index < len(self.priors):
            mean, log_std = self.priors[index](rest).chunk(2, 1)
        else:
            mean, log_std = self.top.view(1, -1, 1, 1).chunk(2, 1)
        return mean, log_std

    def decode(self, latents: Sequence[Tensor], *, clamp: bool = True) -> Tensor:
        """Latents, as ``encode`` returns them -> images (B, C, H, W) in [0, 1].

        Args:
            latents: one tensor for each level.
            clamp: to [0, 1], at the very end; without it this is the exact inverse.

        Raises:
            ValueError: not as many latents as levels.
        """
        if len(latents) != len(self.levels):
            raise ValueError(
                f"latents: got {len(latents)}; allowed is one tensor for each of the "
                f"{len(self.levels)} levels, as encode returns them"
            )
        images = self._descend(latents[-1], lambda index, rest: latents[index])
        return images.clamp(0, 1) if clamp else images

    @torch.no_grad()
    def sample(
        self, count: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Images that the network makes up, (count, C, H, W) in [0, 1].

        Args:
            count: at least 1.
            temperature: factor of the latents' standard deviation, at least 0; 0 draws nothing.
            generator: where the noise comes from, on the network's device.

        Raises:
            ValueError: a count or temperature out of its range.
        """
        check_count(count, 1, "count")
        check_range(temperature, 0, math.inf, "temperature")

        def draw(index: int, rest: Tensor) -> Tensor:
            mean, log_std = self.prior(index, rest)
            noise = torch.empty_like(rest).normal_(generator=generator)
            return mean + temperature * log_std.exp() * noise

        side = self.shape[1] // 2 ** len(self.levels)
        empty = self.top.new_empty(count, len(self.top) // 2, side, side)
        return self._descend(draw(len(self.priors), empty), draw).clamp(0, 1)

    def _steps(self, index: int) -> list[Step]:
        return cast("list[Step]", self.levels[index])

    def _descend(self, x: Tensor, take: Callable[[int, Tensor], Tensor]) -> Tensor:
        """From the last level's latents to images; ``take`` gives those of the other levels."""
        bf16 = self.bf16 or torch.is_autocast_enabled(x.device.type)
        with torch.autocast(x.device.type, enabled=False):
            for index in reversed(range(len(self.levels))):
                if index < len(self.priors):
                    x = torch.cat([x, take(index, x)], 1)
                for step in reversed(self._steps(index)):
                    x = step.inverse(x, bf16)
                x = F.pixel_shuffle(x, 2)
        return x * (BINS / (BINS - 1)) + 0.5

    def latent(self, images: Tensor, which: str = "last") -> Tensor:
        """The latents in one row for each image: (B, C H W) for ``all``, by level.

        ``last`` takes the last level's only, as Xiong did, a share of 2 ** (1 - ``levels``): 768
        of 3072 for images of 32 x 32 in color.
        """
        check_choice(which, WHICH, "which")
        latents = self.encode(images)[0]
        return torch.cat([part.flatten(1) for part in latents[-1 if which == "last" else 0 :]], 1)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """``encode``."""
        return self.encode(images)

    def bits(self, images: Tensor) -> Tensor:
        """Bits per dimension, (B,): minus log2 of density times bin width, for each value.

        What papers print is the average over ``dequantize(images)``, an upper bound of the code
        length. At the images themselves, the middle of the bins, it is a little lower.
        """
        nats = -self.encode(images)[1] / math.prod(self.shape)
        return nats / math.log(2) + math.log2(BINS - 1)  # in [0, 1] the bins are 1/255 wide

    def dequantize(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images, or uint8, each value drawn from its bin: half a gray level up or down at most.

        In the network's scale, where 256 bins fill [-1/2, 1/2], that is a spread of 1/256.
        """
        x = floats(images)
        noise = torch.empty_like(x).uniform_(-0.5, 0.5, generator=generator)
        return x + noise / (BINS - 1)

    @torch.no_grad()
    def initialize(self, images: Tensor) -> None:
        """Set the layers' scales so that each gives mean 0 and deviation 1 on these images."""
        with torch.autocast(images.device.type, enabled=False):
            x = (floats(images) - 0.5) * ((BINS - 1) / BINS)
            for index in range(len(self.levels)):
                x = F.pixel_unshuffle(x, 2)
                for step in self._steps(index):
                    x = step.initialize(x)
                if index < len(self.priors):
                    x = x.chunk(2, 1)[0]
        self.started = True

    def loss(self, images: Tensor) -> Tensor:
        """Bits per dimension with noise from PyTorch's own random state, batch average."""
        noisy = self.dequantize(images)
        if self.training and not self.started:
            self.initialize(noisy)
        return self.bits(noisy).mean()

    @torch.no_grad()
    def score(self, split: Split, batch_size: int = 500) -> float:
        """Minus the bits per dimension of a split, with noise that is the same at each call."""
        device = self.top.device
        generator = torch.Generator(device).manual_seed(0)
        total = torch.zeros((), device=device)
        for part in split.images.split(batch_size):
            total += self.bits(self.dequantize(part.to(device), generator)).sum()
        return -total.item() / len(split)
