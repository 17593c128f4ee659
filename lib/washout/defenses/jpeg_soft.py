"""JPEG written in tensor operations, for an attacker who needs its gradient.

Everything that changes a pixel is here, in the order and with the roundings of libjpeg's integer
arithmetic; the entropy coder, which loses nothing, is left out.

Sources: ITU-T T.81 (1992), sections A.3.3-A.3.4 and Annex K; libjpeg for what that leaves open.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from washout.checks import check_choice
from washout.defenses.jpeg import check_codec

BLOCK = 8
# T.81, Tables K.1 and K.2, row by row.
LUMA = (
    "16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56 "
    "14 17 22 29 51 87 80 62  18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92 "
    "49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99"
)
CHROMA = (
    "17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99 "
    "47 66 99 99 99 99 99 99" + " 99" * 32
)


# The left half of the DCT's matrix (T.81, section A.3.3) times sqrt(8), as libjpeg's sums of 13-bit
# constants come out: within 1.5 / 8192 of the cosines. Other halves mirror it, odd rows negated.
FIXED_DCT = (
    "8192 8192 8192 8192  11363 9633 6437 2260  10703 4433 -4433 -10703  9633 -2259 -11362 -6436 "
    "8192 -8192 -8192 8192  6437 -11362 2261 9633  4433 -10704 10704 -4433  2260 -6436 9633 -11363"
)


def _dct() -> Tensor:
    """(8, 8), float64; rows are frequencies."""
    left = torch.tensor([int(entry) for entry in FIXED_DCT.split()], dtype=torch.float64)
    left = left.view(BLOCK, -1) / 8192
    sign = torch.tensor([1, -1]).repeat(BLOCK // 2)[:, None]
    return torch.cat((left, sign * left.flip(1)), 1)


DCT = _dct()


def soft_jpeg(images: Tensor, quality: int = 23, *, rounding: str = "straight-through") -> Tensor:
    """Do what ``jpeg`` does, with a gradient.

    Rounding has a gradient of 0 almost everywhere, so that of something else takes its place.
    Roundings to whole pixel values always let the gradient pass as it is; ``rounding`` says what
    happens where coefficients are quantized.

    Args:
        images: (B, C, H, W) in [0, 1]; C is 1 (gray) or 3 (RGB), H and W are any.
        quality: from 1 to 100.
        rounding: ``straight-through`` rounds and lets the gradient pass: the output is that of
            ``jpeg``, but for a block in thousands where float32 tips a half. ``cubic`` takes
            round(x) + (x - round(x))^3 and its own gradient, which is 0 at coefficients that are
            whole multiples of their step: a smooth function, but further from JPEG.

    Returns:
        (B, C, H, W) in [0, 1]. Where a decoded pixel is clipped to black or white, no gradient
        passes.

    Raises:
        ValueError: bad images, quality or rounding, other numbers of channels.

    Source:
        Shin and Song, "JPEG-resistant Adversarial Images" (2017), for the cubic rounding; Bengio
        et al., "Estimating or Propagating Gradients Through Stochastic Neurons" (2013), for the
        straight-through one.
    """
    check_codec(images, quality)
    cubic = check_choice(rounding, ("straight-through", "cubic"), "rounding") == "cubic"
    pixels = _pass(images * 255, torch.round)
    if images.shape[1] == 1:
        return _compress(pixels, _steps(LUMA, quality), cubic) / 255
    height, width = images.shape[-2:]
    luma, chroma = _to_ycc(pixels)
    luma = _compress(luma, _steps(LUMA, quality), cubic)
    chroma = _compress(_halve(chroma), _steps(CHROMA, quality), cubic)
    chroma = _double(chroma[..., : -(-height // 2), : -(-width // 2)])[..., :height, :width]
    return _to_rgb(luma, chroma) / 255


def _steps(table: str, quality: int) -> Tensor:
    """(64,) whole numbers in [1, 255]: libjpeg's ``jpeg_set_quality``, baseline."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return torch.tensor(
        [min(max((int(step) * scale + 50) // 100, 1), 255) for step in table.split()]
    )


def _pass(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """The value of ``function(x)`` to the last bit, with the gradient of ``x``."""
    value = function(x.detach())
    return value + (x - x.detach()) if x.requires_grad else value


def _nearest(x: Tensor) -> Tensor:
    """Round halves up, as integer arithmetic does with an offset and a shift."""
    return _pass(x, lambda v: (v + 0.5).floor())


def _compress(planes: Tensor, steps: Tensor, cubic: bool) -> Tensor:
    """Planes (B, P, H, W) of levels, each P with the same (64,) steps, to what is decoded."""
    height, width = planes.shape[-2:]
    padded = F.pad(planes, (0, -width % BLOCK, 0, -height % BLOCK), "replicate")
    tiles = padded.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(3, 4)
    dct, steps = DCT.to(planes), steps.view(BLOCK, BLOCK).T.to(planes)
    # Between rows and columns libjpeg keeps two bits after the point, and three after both.
    # Coefficients stand transposed here, on their way from the rows' pass to the columns'.
    halfway = _nearest((tiles - 128) @ (dct.T * 4))
    x = _nearest(halfway.mT @ (dct.T / 4)) / (8 * steps)
    whole = _pass(x, lambda v: (v.abs() + 0.5).floor() * v.sign())  # halves go away from zero
    if cubic:
        whole = whole.detach() + (x - whole.detach()) ** 3
    halfway = _nearest((whole * steps) @ (dct * 4))
    decoded = (_nearest(halfway.mT @ (dct / 32)) + 128).clamp(0, 255)
    planes = decoded.transpose(3, 4).flatten(4, 5).flatten(2, 3)
    return planes[..., :height, :width]


def _fixed(x: float) -> float:
    """A factor in libjpeg's 16 bits after the point; its products with levels are exact."""
    return int(x * 65536 + 0.5) / 65536


def _to_ycc(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """RGB levels to (B, 1, H, W) and (B, 2, H, W), JFIF's color space."""
    red, green, blue = pixels.split(1, 1)
    luma = _fixed(0.299) * red + _fixed(0.587) * green + _fixed(0.114) * blue
    from_blue = _fixed(0.5) * blue - _fixed(0.16874) * red - _fixed(0.33126) * green
    from_red = _fixed(0.5) * red - _fixed(0.41869) * green - _fixed(0.08131) * blue
    # Halves are rounded down in chroma: libjpeg adds one unit less than a half.
    down = 128 - 1 / 65536
    return _nearest(luma), _nearest(torch.cat((from_blue, from_red), 1) + down)


def _to_rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    """The way back, clipped to levels."""
    blue, red = (chroma - 128).split(1, 1)
    pixels = (
        luma + _nearest(_fixed(1.402) * red),
        luma + _nearest(-_fixed(0.34414) * blue - _fixed(0.71414) * red),
        luma + _nearest(_fixed(1.772) * blue),
    )
    return torch.cat(pixels, 1).clamp(0, 255)


def _halve(chroma: Tensor) -> Tensor:
    """Mean of 2 x 2 pixels, after repeating the last column and row to fill the blocks.

    To the right, libjpeg repeats pixels up to whole blocks before it halves; at the bottom up to
    an even number only, and the rest of the block repeats the last halved row.
    """
    height, width = chroma.shape[-2:]
    even = F.pad(chroma, (0, -width % (2 * BLOCK), 0, height % 2), "replicate")
    total = even[..., ::2, :] + even[..., 1::2, :]
    total = total[..., ::2] + total[..., 1::2]
    # The offset alternates from column to column, so that halves go up as often as down.
    offset = torch.tensor([1.0, 2.0]).repeat(total.shape[-1] // 2).to(chroma)
    return _pass(total / 4, lambda mean: (mean + offset / 4).floor())


def _double(chroma: Tensor) -> Tensor:
    """Twice the size by the triangle filter that libjpeg calls fancy upsampling."""
    if chroma.shape[-1] <= 2:  # libjpeg simply repeats pixels in images this narrow
        return chroma.repeat_interleave(2, -1).repeat_interleave(2, -2)
    padded = F.pad(chroma, (0, 0, 1, 1), "replicate")
    rows = torch.stack((padded[..., :-2, :], padded[..., 2:, :]), -2) + 3 * chroma.unsqueeze(-2)
    rows = rows.flatten(-3, -2)
    padded = F.pad(rows, (1, 1, 0, 0), "replicate")
    columns = torch.stack((padded[..., :-2], padded[..., 2:]), -1) + 3 * rows.unsqueeze(-1)
    offset = torch.tensor([8.0, 7.0]).to(chroma)
    return _pass(columns / 16, lambda mean: (mean + offset / 16).floor()).flatten(-2)
