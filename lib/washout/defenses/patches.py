"""A function of small patches applied to images of any size.

Source: Luo and Pfister, "Adversarial Defense of Image Classification Using a Variational
Auto-Encoder" (2018), section 6 and Figure 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from washout.checks import check_count
from washout.inference import at_once

# Pixel values in a chunk by default, on a CPU; a network's activations are many times that.
VALUES = 1 << 20
EXACT = 16  # overlaps in one direction up to which a float32 sum of equal numbers is exact to 1e-6


def patchwise(
    function: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    size: int,
    stride: int,
    batch: int | None = None,
) -> Tensor:
    """Cut images into patches, apply a function to them, and average where patches overlap.

    Images whose sides do not fit are reflected at the right and at the bottom as far as needed,
    and cropped afterwards. Patches come in reading order, image after image; a function that draws
    noise draws it in that order. Gradients flow through, to the images and to the function.

    Args:
        function: (N, C, size, size) to the same shape, each patch on its own.
        images: (B, C, H, W), floating point; any H and W.
        size: side of a patch in pixels.
        stride: pixels from one patch to the next, from 1 to ``size``.
        batch: patches that go through the function at once; None takes as many as have a million
            values (1,365 of 16 x 16 x 3, 85 of 64 x 64 x 3), on a GPU eight times as many. Memory
            grows with it.

    Returns:
        (B, C, H, W) of the images' type; with the identity as function, the images to 1e-6.

    Raises:
        ValueError: a size, stride or batch out of range, images that are none, or a function that
            changes the shape of its patches.
    """
    if not isinstance(images, Tensor) or images.ndim != 4 or 0 in images.shape[1:]:
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"images: got {got}; allowed are tensors (B, C, H, W), e.g. images[None]")
    if check_count(stride, 1, "stride") > check_count(size, 1, "size"):
        raise ValueError(
            f"stride: got {stride}; allowed are 1 to {size}, the size of a patch: beyond it, "
            "pixels between the patches would be left out"
        )
    if not len(images):
        return images.clone()
    channels, height, width = images.shape[1:]
    if batch is None:
        batch = max(1, at_once(VALUES, images.device) // (channels * size**2))
    check_count(batch, 1, "batch")
    down, across = (max(0, -(-(side - size) // stride)) + 1 for side in (height, width))

    length, breadth = ((n - 1) * stride + size for n in (down, across))
    counts = _overlaps(length, size, stride)[:height, None] * _overlaps(breadth, size, stride)
    counts = counts[:, :width].to(images)
    wide = torch.float64 if size > EXACT * stride else images.dtype

    def washed(padded: Tensor) -> Tensor:
        patches = _Cut.apply(padded, size, stride)
        parts = [_applied(function, few) for few in patches.flatten(0, 2).split(batch)]
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        return _Paste.apply(whole.reshape(patches.shape).to(wide), stride)

    # A chunk is several whole images, or several rows of patches of one image.
    band = min(down, max(1, batch // across))
    done = []
    for some in images.split(max(1, batch // (down * across))):
        padded = _reflected(some, length, breadth)
        if band == down:
            total = washed(padded)
        else:
            total = torch.zeros(padded.shape, dtype=wide, device=images.device)
            for first in range(0, down, band):
                rows = slice(first * stride, (min(first + band, down) - 1) * stride + size)
                total[:, :, rows] += washed(padded[:, :, rows])
        done.append((total[..., :height, :width] / counts).to(images.dtype))
    return torch.cat(done)


def _applied(function: Callable[[Tensor], Tensor], patches: Tensor) -> Tensor:
    found = function(patches)
    if not isinstance(found, Tensor) or found.shape != patches.shape:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"function: got {got} for patches of shape {tuple(patches.shape)}; allowed is the "
            "same shape, one washed patch for each"
        )
    return found


def _reflected(images: Tensor, height: int, width: int) -> Tensor:
    """Continue images to the right and to the bottom, mirrored about their outermost pixels."""
    down, right = height - images.shape[2], width - images.shape[3]
    if down < images.shape[2] and right < images.shape[3]:
        return F.pad(images, (0, right, 0, down), "reflect")
    # Images smaller than half a patch are mirrored back and forth.
    for axis, length in ((2, height), (3, width)):
        period = max(2 * images.shape[axis] - 2, 1)
        place = torch.arange(length, device=images.device) % period
        images = images.index_select(axis, torch.minimum(place, period - place))
    return images


def _overlaps(length: int, size: int, stride: int) -> Tensor:
    """(length,): how many patches along one direction cover each pixel."""
    at = torch.arange(length)
    last = torch.clamp(at // stride, max=(length - size) // stride)
    first = torch.clamp((at - size) // stride + 1, min=0)
    return last - first + 1


def _overlap_add(tiles: Tensor, stride: int) -> Tensor:
    """(..., N, size, R) to (..., (N - 1) * stride + size, R): tile n starts at n * stride.

    Each pass adds all tiles' pieces of one stride, which do not overlap one another.
    """
    count, size, rest = tiles.shape[-3:]
    if size == stride:
        return tiles.flatten(-3, -2)
    pieces = -(-size // stride)
    total = tiles.new_zeros(*tiles.shape[:-3], count + pieces - 1, stride, rest)
    for first in range(pieces):
        piece = tiles[..., first * stride : (first + 1) * stride, :]
        total[..., first : first + count, : piece.shape[-2], :] += piece
    return total.flatten(-3, -2)[..., : (count - 1) * stride + size, :]


class _Cut(torch.autograd.Function):
    """(B, C, H, W) to patches (B, rows, columns, C, size, size), a copy.

    Cutting and pasting are each other's transpose, and so each other's gradient. Said so, they
    cost half of what the gradient of views and sums of slices does.
    """

    @staticmethod
    def forward(images: Tensor, size: int, stride: int) -> Tensor:
        patches = images.unfold(2, size, stride).unfold(3, size, stride)
        return patches.permute(0, 2, 3, 1, 4, 5).clone(memory_format=torch.contiguous_format)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        ctx.stride = inputs[2]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _Paste.apply(gradients[0], ctx.stride), None, None


class _Paste(torch.autograd.Function):
    """Patches (B, rows, columns, C, size, size) to their sum in place, (B, C, H, W)."""

    @staticmethod
    def forward(patches: Tensor, stride: int) -> Tensor:
        columns = _overlap_add(patches.permute(0, 3, 1, 4, 2, 5).unsqueeze(-1), stride)
        return _overlap_add(columns.squeeze(-1), stride)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        ctx.size, ctx.stride = inputs[0].shape[-1], inputs[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Cut.apply(gradients[0], ctx.size, ctx.stride), None
