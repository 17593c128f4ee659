"""The layers of a Glow, each a map that can be undone and that knows how it changes volumes.

Called with x, a layer returns y and log |det dy/dx|, a scalar or (B,), in nats; ``inverse`` takes y
back to x. ``initialize`` looks at a first batch and returns what the layer makes of it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST = 1e-6  # is added to a standard deviation, so that a constant channel has a finite scale


class ActNorm(nn.Module):
    """``(x + bias) * exp(log_scale)`` for each channel.

    Args:
        channels: of the input.

    Source: Kingma & Dhariwal (2018), section 3.1.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> Tensor:
        """Mean 0 and standard deviation 1 in each channel over a batch (B, C, H, W)."""
        bias, log_scale = standardizing(x)
        self.bias.copy_(bias)
        self.log_scale.copy_(log_scale)
        return self(x)[0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to the same shape, and a scalar."""
        bias, scale = self.bias.view(-1, 1, 1), self.log_scale.exp().view(-1, 1, 1)
        return (x + bias) * scale, pixels(x) * self.log_scale.sum()

    def inverse(self, y: Tensor) -> Tensor:
        """The other way round."""
        return y * (-self.log_scale).exp().view(-1, 1, 1) - self.bias.view(-1, 1, 1)


class InvertibleConv(nn.Module):
    """A 1 x 1 convolution whose matrix is P L (U + diag(s)): at first a random rotation.

    P is a permutation and the signs of s are fixed; L has ones on its diagonal, U has zeros. That
    makes the log-determinant the sum of log |s|.

    Args:
        channels: of input and output.

    Source: Kingma & Dhariwal (2018), section 3.2.
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int):
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64))[0]
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.lower = nn.Parameter(lower.tril(-1).float())
        self.upper = nn.Parameter(upper.triu(1).float())
        self.log_s = nn.Parameter(diagonal.abs().log().float())
        self.register_buffer("sign", diagonal.sign().float())
        self.register_buffer("permutation", permutation.float())

    def matrix(self) -> Tensor:
        """The matrix, (C, C)."""
        diagonal = torch.diag(self.sign * self.log_s.exp())
        ones = torch.diag(torch.ones_like(self.sign))
        lower, upper = self.lower.tril(-1) + ones, self.upper.triu(1) + diagonal
        return self.permutation @ lower @ upper

    def initialize(self, x: Tensor) -> Tensor:
        """What it makes of a batch; nothing here depends on it."""
        return self(x)[0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to the same shape, and a scalar."""
        return _mix(x, self.matrix()), pixels(x) * self.log_s.sum()

    def inverse(self, y: Tensor) -> Tensor:
        """The other way round."""
        # Twice the precision costs nothing at this size, and inverts the matrix that was used.
        return _mix(y, torch.linalg.inv(self.matrix().double()).to(y.dtype))


def _mix(x: Tensor, matrix: Tensor) -> Tensor:
    # Not conv2d: on a GPU, by default, it rounds float32 to 10 bits, which cannot be undone.
    return F.linear(x.permute(0, 2, 3, 1), matrix).permute(0, 3, 1, 2)


class ScaledConv(nn.Module):
    """A convolution whose output each channel scales by ``exp(boost * log_scale)``.

    Args:
        channels: of the input.
        width: channels of the output.
        kernel: odd; the padding keeps height and width.
        zero: start with zeros, which keeps the layers behind as they are.

    Source: ``Conv2d`` with actnorm and ``Conv2dZeros`` of the code of Kingma & Dhariwal (2018).
    """

    def __init__(self, channels: int, width: int, kernel: int, *, zero: bool = False):
        super().__init__()
        self.zero = zero
        self.boost = 3.0 if zero else 1.0
        self.weight = nn.Parameter(torch.zeros(width, channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(width))
        self.log_scale = nn.Parameter(torch.zeros(width))
        if not zero:
            nn.init.normal_(self.weight, std=0.05)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> Tensor:
        """Mean 0 and standard deviation 1 in each channel of the output; one of zeros stays."""
        if not self.zero:
            bias, log_scale = standardizing(
                F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)
            )
            self.bias.copy_(bias)
            self.log_scale.copy_(log_scale)
        return self(x)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, H, W)."""
        # The weights are scaled instead of the output, of which there is much more.
        scale = (self.boost * self.log_scale).exp()
        weight = self.weight * scale.view(-1, 1, 1, 1)
        return F.conv2d(x, weight, self.bias * scale, padding=self.weight.shape[-1] // 2)


class Coupling(nn.Module):
    """The second half of the channels, shifted and scaled by what a network says of the first.

    Args:
        channels: of the input, even.
        hidden: width of the network.
        affine: shift and scale by a sigmoid; only shift otherwise.

    Source: Kingma & Dhariwal (2018), section 3.3 and appendix B.
    """

    def __init__(self, channels: int, hidden: int, affine: bool = True):
        super().__init__()
        self.affine = affine
        half = channels // 2
        self.wide = ScaledConv(half, hidden, 3)
        self.deep = ScaledConv(hidden, hidden, 1)
        self.last = ScaledConv(hidden, 2 * half if affine else half, 3, zero=True)

    def initialize(self, x: Tensor) -> Tensor:
        """Start the network's layers by a batch, and what comes of the batch."""
        hidden = self.wide.initialize(x.chunk(2, 1)[0]).relu()
        self.deep.initialize(hidden)
        return self(x)[0]

    def forward(self, x: Tensor, bf16: bool = False) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to the same shape, and (B,), or one 0 if it only shifts."""
        first, second = x.chunk(2, 1)
        shift, log_scale = self._network(first, bf16)
        if log_scale is None:
            return torch.cat([first, second + shift], 1), x.new_zeros(())
        second = (second + shift) * log_scale.exp()
        return torch.cat([first, second], 1), log_scale.sum((1, 2, 3))

    def inverse(self, y: Tensor, bf16: bool = False) -> Tensor:
        """The other way round."""
        first, second = y.chunk(2, 1)
        shift, log_scale = self._network(first, bf16)
        if log_scale is not None:
            second = second * (-log_scale).exp()
        return torch.cat([first, second - shift], 1)

    def _network(self, x: Tensor, bf16: bool) -> tuple[Tensor, Tensor | None]:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            hidden = F.relu(self.wide(x), inplace=True)
            hidden = F.relu(self.deep(hidden), inplace=True)
            shift = self.last(hidden)
        # From here on nothing is rounded: errors in the scale would add up over the pixels.
        shift = shift.to(x.dtype)
        if not self.affine:
            return shift, None
        shift, log_scale = shift.chunk(2, 1)
        return shift, F.logsigmoid(log_scale + 2)


class Step(nn.Module):
    """One step of the flow: actnorm, 1 x 1 convolution, coupling.

    Args:
        channels: of the input, even.
        hidden: width of the coupling's network.
        affine: shift and scale, or only shift.

    Source: Kingma & Dhariwal (2018), figure 2a.
    """

    def __init__(self, channels: int, hidden: int, affine: bool = True):
        super().__init__()
        self.norm = ActNorm(channels)
        self.mix = InvertibleConv(channels)
        self.coupling = Coupling(channels, hidden, affine)

    def initialize(self, x: Tensor) -> Tensor:
        """Start each layer by what the one before makes of a batch."""
        return self.coupling.initialize(self.mix.initialize(self.norm.initialize(x)))

    def forward(self, x: Tensor, bf16: bool = False) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) to the same shape, and (B,) or a scalar."""
        x, one = self.norm(x)
        x, two = self.mix(x)
        x, three = self.coupling(x, bf16)
        return x, one + two + three

    def inverse(self, y: Tensor, bf16: bool = False) -> Tensor:
        """The other way round."""
        return self.norm.inverse(self.mix.inverse(self.coupling.inverse(y, bf16)))


def pixels(x: Tensor) -> int:
    """Height times width."""
    return x.shape[2] * x.shape[3]


def standardizing(x: Tensor) -> tuple[Tensor, Tensor]:
    """What brings (B, C, H, W) to mean 0 and deviation 1: bias and log of the scale, (C,) each."""
    deviation, mean = torch.std_mean(x, dim=(0, 2, 3), correction=0)
    return -mean, -(deviation + SMALLEST).log()


def log_normal(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log density of independent Gaussians, summed over all but the first axis, (B,), in nats."""
    terms = log_std + ((x - mean) * (-log_std).exp()).square() / 2 + math.log(2 * math.pi) / 2
    return -terms.expand_as(x).flatten(1).sum(1)
