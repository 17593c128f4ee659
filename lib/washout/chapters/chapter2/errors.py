"""Where errors go: how widely they scatter over the classes, and on which they pile up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

DRAWS = 1000


def entropy(table: np.ndarray) -> float:
    """Mean entropy of the rows in bits, each row weighed by its sum."""
    sums = table.sum(1, keepdims=True)
    share = table / np.maximum(sums, 1)
    bits = -(share * np.log2(np.where(share > 0, share, 1))).sum(1)
    return float((bits * sums[:, 0]).sum() / max(table.sum(), 1))


def only_errors(confusion: Sequence[Sequence[int]] | np.ndarray) -> np.ndarray:
    """A confusion table without what was read rightly."""
    table = np.array(confusion)
    np.fill_diagonal(table, 0)
    return table


def matched(tables: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """Entropies of tables of errors, of as many errors drawn from each as the smallest has.

    Entropy grows with the number of errors, so tables of different sizes do not compare. Nor do
    draws with replacement, which lower it again, most of all in the smallest table.

    Returns:
        (tables, draws) entropies in bits, and the number of errors in a draw; no draws if a table
        is empty.
    """
    size = min(int(table.sum()) for table in tables)
    if not size:
        return np.zeros((len(tables), 0)), 0
    source = np.random.default_rng(0)
    found = [[entropy(draw) for draw in _draws(table, size, source)] for table in tables]
    return np.array(found), size


def _draws(table: np.ndarray, size: int, source: np.random.Generator) -> np.ndarray:
    found = source.multivariate_hypergeometric(table.reshape(-1), size, size=DRAWS)
    return found.reshape(-1, *table.shape)


def by_chance(one: np.ndarray, other: np.ndarray) -> float:
    """How often errors dealt out at random differ as much in entropy as these two tables do.

    Args:
        one, other: counts of errors (K, K), neither empty.
    """
    source = np.random.default_rng(1)
    found, _ = matched([one, other])
    gap = abs(found[1].mean() - found[0].mean())
    size = min(int(one.sum()), int(other.sum()))
    gaps = []
    for dealt in source.multivariate_hypergeometric((one + other).ravel(), one.sum(), size=DRAWS):
        pair = (dealt, (one + other).ravel() - dealt)
        few = [source.multivariate_hypergeometric(table, size) for table in pair]
        first, second = (entropy(table.reshape(one.shape)) for table in few)
        gaps.append(abs(second - first))
    return (1 + sum(value >= gap for value in gaps)) / (1 + DRAWS)


def piles(tables: Mapping[str, np.ndarray], classes: Sequence[str], most: int = 3) -> str:
    """For each table of errors, the classes that draw most of them and their share."""
    said = []
    for title, table in tables.items():
        if not table.sum():
            continue
        first = np.argsort(-table.sum(0), kind="stable")[:most]
        share = 100 * table.sum(0)[first].sum() / table.sum()
        names = ", ".join(classes[index] for index in first)
        said.append(f"{title}: {share:.0f} % of {int(table.sum())} errors are read as {names}")
    return "; ".join(said)
