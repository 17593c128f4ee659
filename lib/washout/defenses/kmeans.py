"""K-means quantization: every image is painted with a few colors of its own.

Source: Tan, Te and Lai, "Defending Against Adversarial Examples" (CS229 report, 2019), defense 3:
random starting clusters, 16 of them on MNIST and 50 on CIFAR-10.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from washout.checks import check_choice, check_count, check_images, check_range
from washout.defenses.kmeans_starts import SLICE, plus_plus, random_start
from washout.defenses.kmeans_steps import Line, Nearest, moved, squared
from washout.defenses.threads import in_threads

POINTS = ("pixel", "row")
STARTS = ("random", "k-means++")


class Clusters(NamedTuple):
    """What K-means made of a batch of point sets.

    Attributes:
        centers: (B, K, D).
        labels: (B, P) int64, the center that each point belongs to.
        inertia: (B,), the sum of the squared distances of the points to their centers.
    """

    centers: Tensor
    labels: Tensor
    inertia: Tensor


def kmeans(
    images: Tensor,
    *,
    clusters: int,
    by: str = "pixel",
    start: str = "random",
    steps: int = 300,
    tolerance: float = 1e-4,
    centers: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Replace each point of an image by the center of its cluster, by K-means for each image.

    A point is a pixel's C channel values, or a row's W x C values: the paper's "n out of 28" on
    MNIST counts rows, its 50 clusters on images of 32 rows can only be of pixels. Carries no
    gradient; an attacker takes ``Proxy(kmeans)``.

    Args:
        images: (B, C, H, W) in [0, 1].
        clusters: K, from 1 to the number of points: H x W by pixel, H by row.
        by: ``pixel`` or ``row``.
        start: ``random`` takes K of the image's points, no point twice (two of them may be equal);
            ``k-means++`` spreads them, as ``plus_plus``.
        steps: iterations at most.
        tolerance: stop an image, see ``lloyd``.
        centers: (B, K, D) to start from, in place of ``start``; D is C by pixel, C x W by row,
            a row's values channel after channel.
        generator: where ``start`` draws from, on any device; it draws for the batch as a whole.

    Returns:
        (B, C, H, W), clamped to [0, 1] against rounding, of the images' type and on their device.

    Raises:
        ValueError: bad images, clusters, by, start, steps, tolerance or centers.
    """
    check_images(images)
    check_choice(by, POINTS, "by")
    check_choice(start, STARTS, "start")
    batch, channels, height, width = images.shape
    most = height * width if by == "pixel" else height
    if check_count(clusters, 1, "clusters") > most:
        raise ValueError(
            f"clusters: got {clusters}; allowed are 1 to {most}, the points of an image of "
            f"{height} x {width} by {by}"
        )
    images = images.detach()
    if by == "pixel":
        points = images.flatten(2).transpose(1, 2)
    else:
        points = images.transpose(1, 2).flatten(2)
    if centers is None:
        centers = (plus_plus if start == "k-means++" else random_start)(points, clusters, generator)
    elif not isinstance(centers, Tensor) or centers.shape != (batch, clusters, points.shape[2]):
        got = tuple(centers.shape) if isinstance(centers, Tensor) else type(centers).__name__
        raise ValueError(
            f"centers: got {got}; allowed is a tensor {(batch, clusters, points.shape[2])}, "
            "(images, clusters, values of a point)"
        )
    found = lloyd(points, centers.to(points), steps=steps, tolerance=tolerance)
    index = found.labels[..., None].expand(-1, -1, points.shape[2])
    painted = found.centers.gather(1, index).clamp(0, 1)
    if by == "pixel":
        return painted.transpose(1, 2).reshape(images.shape)
    return painted.unflatten(2, (channels, width)).transpose(1, 2).contiguous()


def lloyd(
    points: Tensor, centers: Tensor, *, steps: int = 300, tolerance: float = 1e-4
) -> Clusters:
    """Lloyd's algorithm on each set of points, from given centers.

    A step gives every point to the nearest center (the first among equals) and moves each center
    to the mean of its points. As in scikit-learn, a center without points goes to the point that
    is farthest from its own, and a set is done when no label has changed, or when the centers'
    squared shifts sum to at most ``tolerance`` times the variance of the points, averaged over D;
    done sets leave. It takes scikit-learn's steps (``KMeans``, ``n_init=1``, "lloyd"), in the
    points' precision: in float32, a point halfway between two centers may fall to either. Points
    of one value (D = 1) are sorted once, and then a step costs K log P rather than K P.

    Args:
        points: (B, P, D), floating point.
        centers: (B, K, D), K up to P.
        steps: at most, from 1 up.
        tolerance: from 0 up, relative to the points' variance.

    Returns:
        The centers, the labels and the inertia; the labels belong to these centers.

    Raises:
        ValueError: bad steps or tolerance, or shapes that do not fit.
    """
    check_count(steps, 1, "steps")
    check_range(tolerance, 0, float("inf"), "tolerance")
    if points.ndim != 3 or centers.ndim != 3 or points.shape[::2] != centers.shape[::2]:
        raise ValueError(
            f"centers: got points {tuple(points.shape)} and centers {tuple(centers.shape)}; "
            "allowed are (B, P, D) and (B, K, D)"
        )
    # In one order of memory, sums round alike, and a tie falls alike whatever the images' layout.
    points, centers = points.contiguous(), centers.contiguous()
    if not points.numel():
        labels = torch.zeros(points.shape[:2], dtype=torch.int64, device=points.device)
        return Clusters(centers, labels, points.new_zeros(len(points)))
    parts = in_threads(
        lambda part: _lloyd(points[part], centers[part], steps, tolerance),
        len(points),
        SLICE if points.device.type == "cpu" else len(points),
        points.device,
    )
    return Clusters(*(torch.cat(field) for field in zip(*parts, strict=True)))


def _lloyd(points: Tensor, centers: Tensor, steps: int, tolerance: float) -> Clusters:
    # About the mean, the distances lose fewer digits.
    middle = points.mean(1, keepdim=True)
    points, centers = points - middle, centers - middle
    limit = tolerance * points.var(1, correction=0).mean(1)

    work = (Line if points.shape[2] == 1 else Nearest)(points, centers.shape[1])
    live = torch.arange(len(points), device=points.device)
    open_ = torch.ones_like(live, dtype=torch.bool)
    current, final, basis = centers, centers.clone(), centers.clone()
    for step in range(steps):
        same, sums, counts = work.step(current)
        new = moved(work, current, sums, counts)
        done = same | (squared(new - current).sum(1) <= limit[live])
        if step == steps - 1:
            done = torch.ones_like(done)
        leave = done & open_
        # Where no label changed, the labels are those of the centers before the last step.
        final[live[leave]] = new[leave]
        basis[live[leave]] = torch.where(same[:, None, None], current, new)[leave]
        open_ &= ~done
        left = int(open_.sum())
        if not left:
            break
        # Sets that are done are carried along until they are an eighth.
        if left <= 0.875 * len(open_):
            work.keep(open_)
            new, live, open_ = new[open_], live[open_], open_[open_]
        current = new

    labels = (Line if points.shape[2] == 1 else Nearest)(points, centers.shape[1]).labels(basis)
    index = labels[..., None].expand(-1, -1, points.shape[2])
    inertia = squared(points - final.gather(1, index)).sum(1)
    return Clusters(final + middle, labels, inertia)
