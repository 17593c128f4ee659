"""The two halves of a K-means step, for many sets of points at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 256  # points whose distances are one product of matrices
CACHED = 1 << 18  # distances in hand at once on a CPU: a megabyte, which stays in the cache
ON_GPU = 1 << 26  # there, a quarter of a gigabyte


class Nearest:
    """Nearest centers by all distances, which are products of matrices.

    Args:
        points: (B, P, D), best about their mean.
        clusters: K.
    """

    def __init__(self, points: Tensor, clusters: int):
        batch, number, _ = points.shape
        # Blocks of some hundred points: the products are three times as fast as those of all.
        block = max(length for length in range(1, BLOCK + 1) if number % length == 0)
        block = number if block < BLOCK // 8 else block
        self.points, self.clusters = points, clusters
        # (B, blocks, D + 1, points). A last value of 1 adds what the centers have of their own to
        # the distances, and counts the points in sums.
        ones = points.new_ones(batch, number, 1)
        self.blocks = torch.cat([points, ones], 2).unflatten(1, (-1, block)).mT.contiguous()
        self.last = points.new_full((batch, number), -1, dtype=torch.int64)
        room = CACHED if points.device.type == "cpu" else ON_GPU
        self.chunk = min(batch, max(1, room // (clusters * number)))
        shape = (self.chunk * number // block, clusters, block)
        self.distances = points.new_empty(shape)
        self.codes = torch.arange(clusters, 2 * clusters, device=points.device).to(points)

    def labels(self, centers: Tensor) -> Tensor:
        """(B, K, D) to the nearest center of each point, (B, P) int64; the first among equals."""
        found = torch.empty_like(self.last)
        # Less |point|^2, which is the same for all centers.
        sides = torch.cat([-2 * centers, squared(centers)[..., None]], 2)[:, None]
        sides = sides.expand(-1, self.blocks.shape[1], -1, -1)
        for at in range(0, len(centers), self.chunk):
            part = slice(at, at + self.chunk)
            labels = self._nearest(sides[part].flatten(0, 1), self.blocks[part].flatten(0, 1))
            found[part] = labels.view_as(found[part])
        return found

    def labels_of(self, rows: Tensor, centers: Tensor) -> Tensor:
        """The labels that the step before gave to some rows, whose centers are (rows, K, D)."""
        return self.last[rows]

    def step(self, centers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give points to centers.

        Returns:
            Whether all labels are as before (B,), sums of the points (B, K, D), counts (B, K).
        """
        labels = self.labels(centers)
        same = (labels == self.last).all(1)
        self.last = labels
        batch, blocks, values, length = self.blocks.shape
        index = labels.view(batch, blocks, 1, length).expand_as(self.blocks)
        sums = self.points.new_zeros(batch, blocks, values, self.clusters)
        sums = sums.scatter_add_(3, index, self.blocks).sum(1).mT
        return same, sums[..., :-1].contiguous(), sums[..., -1].contiguous()

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the sets of points: (B,) bool."""
        self.points, self.blocks = self.points[rows], self.blocks[rows]
        self.last = self.last[rows]

    def _nearest(self, sides: Tensor, blocks: Tensor) -> Tensor:
        """(N, K, D + 1) and (N, D + 1, block) to labels (N, block)."""
        distances = torch.bmm(sides, blocks, out=self.distances[: len(sides)])
        if distances.device.type != "cpu":
            return distances.argmin(1)
        # argmin takes ten times as long as amin: so find the least distance, then who has it.
        hits = distances.eq_(distances.amin(1, keepdim=True))
        labels = (self.codes @ hits).long()  # a hit of center k counts K + k
        if int(labels.max()) < 2 * self.clusters:
            return labels.sub_(self.clusters)
        # Two hits are 2 K and more: equal distances, which whole pixel values often have.
        row, point = (labels >= 2 * self.clusters).nonzero(as_tuple=True)
        labels[row, point] = hits[row, :, point].argmax(1) + self.clusters
        return labels.sub_(self.clusters)


class Line:
    """Nearest centers of points of one value: on a line, every cluster is an interval.

    Args:
        points: (B, P, 1).
        clusters: K.
    """

    def __init__(self, points: Tensor, clusters: int):
        self.points = points
        # Sums over intervals are differences of running sums, which need the digits.
        self.sorted = points[..., 0].double().sort(1).values
        self.running = F.pad(self.sorted.cumsum(1), (1, 0))
        self.last = points.new_full((2, len(points), clusters), -1, dtype=torch.int64)

    def labels(self, centers: Tensor) -> Tensor:
        """As ``Nearest.labels``."""
        return self._labels(self.points, centers)

    def labels_of(self, rows: Tensor, centers: Tensor) -> Tensor:
        """As ``Nearest.labels_of``."""
        return self._labels(self.points[rows], centers)

    def step(self, centers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As ``Nearest.step``."""
        edges, order = _edges(centers)
        cuts = torch.searchsorted(self.sorted, edges, right=True)
        # In the centers' own order: where each one's interval begins, and where it ends.
        ends = torch.stack((F.pad(cuts, (1, 0)), F.pad(cuts, (0, 1), value=self.points.shape[1])))
        ends = torch.empty_like(ends).scatter_(2, order.expand(2, -1, -1), ends)
        counts = ends[1] - ends[0]
        ends = ends * (counts > 0)
        same = (ends == self.last).all(2).all(0)
        self.last = ends
        sums = self.running.gather(1, ends[1]) - self.running.gather(1, ends[0])
        return same, sums[..., None].to(self.points), counts.to(self.points)

    def keep(self, rows: Tensor) -> None:
        """As ``Nearest.keep``."""
        self.points, self.sorted = self.points[rows], self.sorted[rows]
        self.running, self.last = self.running[rows], self.last[:, rows]

    @staticmethod
    def _labels(points: Tensor, centers: Tensor) -> Tensor:
        edges, order = _edges(centers)
        return order.gather(1, torch.searchsorted(edges, points[..., 0].double().contiguous()))


def _edges(centers: Tensor) -> tuple[Tensor, Tensor]:
    """(B, K, 1) to the K - 1 edges between the sorted centers, and their order (B, K)."""
    sorted_, order = centers[..., 0].double().sort(dim=1, stable=True)
    edges = (sorted_[:, 1:] + sorted_[:, :-1]) / 2
    # Among equal centers the first takes all: up to the edge after the last of them.
    edges = edges.masked_fill(sorted_[:, 1:] == sorted_[:, :-1], torch.inf)
    return edges.flip(1).cummin(1).values.flip(1).contiguous(), order


def moved(work: Nearest | Line, centers: Tensor, sums: Tensor, counts: Tensor) -> Tensor:
    """(B, K, D): centers as means; those without points go to the farthest points.

    Sums and counts are changed in place.
    """
    rows = (counts == 0).any(1).nonzero()[:, 0]
    if len(rows):
        some, few = sums[rows], counts[rows]
        _relocate(work.points[rows], work.labels_of(rows, centers[rows]), centers[rows], some, few)
        sums[rows], counts[rows] = some, few
    means = sums / counts.clamp(min=1)[..., None]
    if not len(rows):
        return means
    # Where points are fewer than centers, a center left over goes to the largest cluster: to its
    # mean if that comes earlier, else to its sum. That is what scikit-learn does.
    largest = counts.argmax(1)[:, None]
    at = largest[..., None].expand(-1, 1, sums.shape[2])
    number = torch.arange(counts.shape[1], device=counts.device)
    spare = torch.where((number < largest)[..., None], sums.gather(1, at), means.gather(1, at))
    return torch.where((counts == 0)[..., None], spare, means)


def _relocate(
    points: Tensor, labels: Tensor, centers: Tensor, sums: Tensor, counts: Tensor
) -> None:
    """Take the points that are farthest from their centers out of their clusters, in place.

    The centers without points get one each.
    """
    size = points.shape[2]
    apart = squared(points - centers.gather(1, labels[..., None].expand(-1, -1, size)))
    empty = counts == 0
    number = empty.sum(1)
    most = int(number.max())
    far = apart.topk(most, dim=1).indices
    taken = torch.arange(most, device=counts.device) < number[:, None]
    # All points on their centers: there are fewer distinct points than centers.
    taken = (taken & (apart.amax(1) > 0)[:, None]).to(points)
    target = empty.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    picked = points.gather(1, far[..., None].expand(-1, -1, size)) * taken[..., None]
    source = labels.gather(1, far)
    for index, sign in ((source, -1), (target, 1)):
        sums.scatter_add_(1, index[..., None].expand(-1, -1, size), sign * picked)
        counts.scatter_add_(1, index, sign * taken)


def squared(vectors: Tensor) -> Tensor:
    """(..., D) to (...): squared norms."""
    return (vectors * vectors).sum(-1)
