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
    """Entropies of tables of errors, resampled to as many errors as the smallest has.

    Entropy grows with the number of errors, so tables of different sizes do not compare.

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
    flat = table.reshape(-1) / table.sum()
    return source.multinomial(size, flat, size=DRAWS).reshape(-1, *table.shape)


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
