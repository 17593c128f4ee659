"""The arithmetic of split Bregman, on a chessboard of pixels.

Arrays are (rows, columns, planes), a plane being a channel of an image: neighbors lie a whole row
of memory apart, so that every operation runs over long stretches of it. The two colors of the
chessboard lie in arrays of their own, half as wide, with a frame of zeros around them: row r and
column j hold the pixel of column 2 j + r % 2 (red) and of the other column of the pair (black).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


class Chessboard:
    """Images on their way to the minimum, with the state of split Bregman.

    Values are in units of weight / 2, where no constant is left: lengths are shrunk by
    s / (1 + s), and in the mean that a sweep takes, a kept pixel's own value counts half as much
    as each of its neighbors. (The penalty on gradients is twice the weight of the data, a choice
    of scikit-image's that Guo et al. keep; it is what makes the shrinking soft by weight / 2.)

    Args:
        images: (B, C, H, W).
        mask: (B, C, H, W) bool, True for kept.
        four: whether a dropped pixel at the border divides by 4.
    """

    shares: list[Tensor]  # what a sweep multiplies the sum of the neighbors by, in two colors
    sides: list[Tensor]  # what it adds, in two colors
    colors: list[Tensor]  # the images, in two colors, framed
    spare: Tensor
    work: Tensor
    factor: Tensor
    side: Tensor
    total: Tensor

    def __init__(self, images: Tensor, mask: Tensor, four: bool):
        self.shape = images.shape
        height, width = images.shape[2:]
        kept, pixels = _planes_last(mask.to(images)), _planes_last(images)
        pixels *= kept
        neighbors = images.new_full((height, pixels.shape[1], 1), 4.0)
        neighbors[0] -= 1
        neighbors[-1] -= 1
        neighbors[:, 0] -= 1
        neighbors[:, width - 1] -= 1
        # A single pixel has no neighbors.
        dropped = torch.full_like(neighbors, 4) if four else neighbors.clamp(min=1)
        share = torch.addcmul(dropped, kept, neighbors + 0.5 - dropped).reciprocal_()
        share[:, width:] = 0  # so that an odd width's last column stays 0
        self.now, self.data, self.share = pixels, pixels * 0.5, share
        self.across, self.down = torch.zeros_like(pixels), torch.zeros_like(pixels)
        self._allocate()

    def sweep(self) -> None:
        """One Gauss-Seidel sweep: all red pixels, then all black ones."""
        total = self.total
        for color in (0, 1):
            own, other = self.colors[color], self.colors[1 - color]
            torch.add(other[:-2, 1:-1], other[2:, 1:-1], out=total)
            total.add_(other[1:-1, 1:-1])
            # Of the neighbors beside, one has the same column here; the other is one column to
            # the left or to the right, in every second row.
            total[color::2].add_(other[1 + color : -1 : 2, :-2])
            total[1 - color :: 2].add_(other[2 - color : -1 : 2, 2:])
            torch.addcmul(self.sides[color], self.shares[color], total, out=_inner(own))

    def update(self) -> Tensor:
        """Shrink the gradients, and take them over into what the sweeps start from.

        Returns:
            (B,): by how much the images have changed since the last update, root mean square.
        """
        before, now = self.now, self.spare
        for part, half in _parts(now, [_inner(color) for color in self.colors]):
            part.copy_(half)
        changes = torch.sub(now, before, out=self.work).square_().sum((0, 1))
        self.now, self.spare = now, before
        # The gradient plus b has a length s, which is shrunk by s / (1 + s); b is what it loses,
        # 1 / (1 + s) of all. Both go into the sweeps as the shrunk gradient less b.
        width, kept, work = self.shape[3], self.work, self.spare
        self.across[:, : width - 1].add_(now[:, 1:width]).sub_(now[:, : width - 1])
        self.down[:-1].add_(now[1:]).sub_(now[:-1])
        torch.mul(self.across, self.across, out=kept).addcmul_(self.down, self.down)
        kept.sqrt_().add_(1).reciprocal_()
        torch.mul(kept, -2, out=self.factor).add_(1)
        side = self.side.copy_(self.data)
        for field, axis in ((self.across, 1), (self.down, 0)):
            torch.mul(field, self.factor, out=work)
            field.mul_(kept)
            side.sub_(work)
            length = work.shape[axis] - 1
            side.narrow(axis, 1, length).add_(work.narrow(axis, 0, length))
        for part, half in _parts(side.mul_(self.share), self.sides):
            half.copy_(part)
        return (changes.view(self.shape[:2]).sum(1) / self.shape[1:].numel()).sqrt()

    def pixels(self, rows: Tensor) -> Tensor:
        """(B,) bool to the images of these rows, (n, C, H, W)."""
        whole = self.now.flatten(0, 1).t().contiguous().view(*self.shape[:3], -1)
        return whole[rows, ..., : self.shape[3]]

    def keep(self, rows: Tensor) -> None:
        """Go on with the images of some rows only, (B,) bool."""
        planes = rows.repeat_interleave(self.shape[1]).nonzero()[:, 0]
        for name in ("now", "data", "share", "across", "down"):
            setattr(self, name, getattr(self, name)[..., planes])
        sides = [side[..., planes] for side in self.sides]
        self.shape = torch.Size((len(planes) // self.shape[1], *self.shape[1:]))
        self._allocate()
        self.sides = sides

    def _allocate(self) -> None:
        """Make the work arrays, and those in two colors from the whole ones."""
        self.spare, self.work, self.factor, self.side = (
            torch.empty_like(self.now) for _ in range(4)
        )
        height, width, planes = self.now.shape
        self.colors = [self.now.new_zeros(height + 2, width // 2 + 2, planes) for _ in range(2)]
        self.shares = _halves(self.share)
        self.sides = _halves(self.data * self.share)
        self.total = torch.empty_like(self.sides[0])
        for part, half in _parts(self.now, [_inner(color) for color in self.colors]):
            half.copy_(part)


def _planes_last(images: Tensor) -> Tensor:
    """(B, C, H, W) to (H, W, B C), with a column of zeros more if W is odd."""
    height, width = images.shape[2:]
    # A matrix is transposed in blocks, and so ten times as fast as other permutations.
    whole = images.reshape(-1, height * width).t().contiguous().view(height, width, -1)
    return F.pad(whole, (0, 0, 0, 1)) if width % 2 else whole


def _inner(framed: Tensor) -> Tensor:
    return framed[1:-1, 1:-1]


def _halves(whole: Tensor) -> list[Tensor]:
    """(H, W, planes) to the red and the black pixels, (H, W / 2, planes) each."""
    halves = [whole.new_empty(len(whole), whole.shape[1] // 2, whole.shape[2]) for _ in range(2)]
    for part, half in _parts(whole, halves):
        half.copy_(part)
    return halves


def _parts(whole: Tensor, halves: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Views of the same pixels in the whole and in the halves, every second row by itself."""
    columns = whole.unflatten(1, (-1, 2))
    for color in (0, 1):
        for odd in (0, 1):
            yield columns[odd::2, :, color ^ odd], halves[color][odd::2]
