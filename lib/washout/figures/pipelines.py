"""A method as a chain of steps, each with a word on what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from washout.figures.diagrams import _arrow, _box
from washout.figures.style import INK, SOFT, drawing

Step = tuple[str, str]
MOST = 8


def pipelines(chains: Mapping[str, Sequence[Step]]) -> Figure:
    """Chains of steps beside each other, read from top to bottom.

    Args:
        chains: title -> (step, what comes out of it; may be empty) for each step; at most two
            chains of at most eight steps.

    Alt text: name the steps of each chain in their order and what comes out at its end.

    Raises:
        ValueError: no or too many chains or steps.
    """
    longest = max(map(len, chains.values()), default=0)
    if not 1 <= len(chains) <= 2 or not 1 <= longest <= MOST or not all(chains.values()):
        raise ValueError(
            f"chains: got {len(chains)} with {[len(c) for c in chains.values()]} steps; allowed "
            f"are one or two of 1 to {MOST} steps, else split the figure"
        )
    with drawing(height=1.0 + 0.85 * longest) as figure:
        axes = figure.subplots()
        axes.set(xlim=(0, 100), ylim=(-20 * longest + 6, 16))
        axes.axis("off")
        wide = 92 / len(chains) - 4
        for column, (title, steps) in enumerate(chains.items()):
            x = 100 * (2 * column + 1) / (2 * len(chains))
            axes.text(x, 13, title, ha="center", va="center", weight="bold", color=INK)
            for index, (step, result) in enumerate(steps):
                y = -20 * index
                _box(axes, x, y, wide, 13, step, SOFT if index < len(steps) - 1 else INK)
                if index < len(steps) - 1:
                    _arrow(axes, [(x, y - 6.5), (x, y - 13.5)])
                    axes.text(x + 2.5, y - 10, result, ha="left", va="center", fontsize=10.5)
    return figure
