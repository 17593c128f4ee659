"""The pair search of JSMA: exact, and without the D x D matrix of all pairs.

Each feature has two numbers: ``a``, how much it helps the class that is wanted, and ``b``, how
much it hurts the others. The saliency of a pair is (a_p + a_q) (b_p + b_q), defined where both
sums are positive, and the attack wants the pair with the largest one.

Say that feature r dominates p when a_r >= a_p and b_r >= b_p. If two others dominate p, one of
them is not p's partner; putting it in p's place lowers neither sum, so the saliency does not fall.
Hence a best pair lies among the features that fewer than two others dominate, and only their pairs
need a look: some tens of 784 features, not 306,936 pairs. Floating-point addition and
multiplication round monotonically, so the argument holds for computed numbers too.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

#: Pairs looked at in one go: bounds the memory where many features are candidates.
BLOCK = 1 << 23


def candidates(a: Tensor, b: Tensor) -> Tensor:
    """Mark the features among which a best pair is certain to lie.

    Features are visited by falling ``a``, so those visited before are at least as good in ``a``,
    and a feature is out once two of them are at least as good in ``b``: it stays if its ``b``
    exceeds the second largest ``b`` so far. Features that tie count as dominating the later one
    only, which removes copies beyond the second but never a whole tie.

    Args:
        a: (B, D), gain for the wanted class; -inf takes a feature out of the search.
        b: (B, D), gain against the other classes; -inf likewise.

    Returns:
        (B, D), bool. O(D log D) per row.
    """
    order = a.argsort(dim=1, descending=True)
    visited = b.gather(1, order)
    nothing = float("-inf")
    # Either the newcomer or the best so far is the smaller of the two; second place is the
    # largest of these smaller ones.
    largest = pad(visited.cummax(1).values[:, :-1], (1, 0), value=nothing)
    second = pad(torch.minimum(visited, largest).cummax(1).values[:, :-1], (1, 0), value=nothing)
    kept = torch.zeros_like(a, dtype=torch.bool).scatter(1, order, visited > second)
    # Even the best partner cannot make the sums of these positive.
    hopeless = (a + a.amax(1, keepdim=True) <= 0) | (b + b.amax(1, keepdim=True) <= 0)
    return kept & ~hopeless


def best_pair(a: Tensor, b: Tensor, kept: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Find the pair with the largest saliency among the marked features.

    Args:
        a: (B, D), gain for the wanted class.
        b: (B, D), gain against the other classes.
        kept: (B, D), bool, from `candidates`.
        width: the largest number of marks in a row; a number on the host, so that the shapes
            below need no synchronization.

    Returns:
        pairs: (B, 2), int64, two different features; meaningless where there is no pair.
        saliency: (B,), positive, and 0 where no pair has two positive sums.
    """
    rows, features = a.shape
    width = max(width, 2)
    # Move the marked features to the front; the unmarked all land in one surplus column.
    place = torch.where(kept, kept.cumsum(1) - 1, width)
    numbers = torch.arange(features, device=a.device).expand(rows, -1)
    index = torch.zeros(rows, width + 1, dtype=torch.int64, device=a.device)
    index = index.scatter_(1, place, numbers)[:, :width]
    filled = torch.arange(width, device=a.device) < kept.sum(1, keepdim=True)
    a = a.gather(1, index).where(filled, float("-inf"))
    b = b.gather(1, index).where(filled, float("-inf"))

    saliency = a.new_zeros(rows)
    flat = torch.ones(rows, dtype=torch.int64, device=a.device)
    block = max(1, BLOCK // max(1, rows * width))
    for start in range(0, width, block):
        part = slice(start, start + block)
        # A sum that is not positive becomes 0 and takes the product with it.
        product = (a[:, part, None] + a[:, None]).relu_()
        product *= (b[:, part, None] + b[:, None]).relu_()
        # Above the diagonal, each pair occurs once and no feature meets itself.
        value, where = product.triu_(start + 1).flatten(1).max(1)
        better = value > saliency
        saliency = torch.where(better, value, saliency)
        flat = torch.where(better, where + start * width, flat)
    pairs = torch.stack((flat // width, flat % width), dim=1)
    return index.gather(1, pairs), saliency


def search(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Find each row's best pair of features: `candidates`, then `best_pair`.

    Args:
        a: (B, D), gain for the wanted class; -inf takes a feature out of the search.
        b: (B, D), gain against the other classes; -inf likewise.

    Returns:
        pairs: (B, 2), int64.
        saliency: (B,), 0 where no pair has two positive sums.
    """
    kept = candidates(a, b)
    return best_pair(a, b, kept, int(kept.sum(1).max()))
