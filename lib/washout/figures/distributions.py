"""Histograms of a score, attack by attack."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from washout.figures.style import COLORS, HATCHES, INK, check_series, drawing


def histograms(
    edges: ArrayLike,
    counts: Mapping[str, ArrayLike],
    *,
    xlabel: str = "uncertainty",
    title: str = "",
    log: bool = False,
    thresholds: Mapping[str, float] | None = None,
) -> Figure:
    """One panel for each attack below the other, the first group (clean) drawn in all of them.

    Args:
        edges: (bins + 1,) ascending.
        counts: group -> (bins,); the first is the one that the others are compared with.
        log: logarithmic counts, where a few images in the tail matter.
        thresholds: name -> value, drawn as vertical lines.

    Alt text: say which group lies where (the bin with most images, the share beyond a threshold)
    and how far the two overlap.

    Raises:
        ValueError: counts that do not fit the edges, or too many groups.
    """
    check_series(counts)
    edges = np.asarray(edges, dtype=float)
    heights = {name: np.asarray(values, dtype=float) for name, values in counts.items()}
    for name, values in heights.items():
        if edges.ndim != 1 or values.shape != (len(edges) - 1,):
            raise ValueError(
                f"counts of {name}: got shape {values.shape} for {edges.shape} edges; "
                "allowed is one count for each bin, and one edge more"
            )
    first, *others = heights
    panels = others or [first]
    with drawing(height=1.75 * len(panels) + 0.6) as figure:
        grid = figure.subplots(len(panels), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        top = max(values.max() for values in heights.values())
        for index, (axes, name) in enumerate(zip(grid, panels, strict=True)):
            for group in dict.fromkeys([first, name]):
                which = 0 if group == first else index + 1
                axes.stairs(
                    heights[group],
                    edges,
                    fill=True,
                    facecolor=COLORS[which] + "59",
                    edgecolor=COLORS[which],
                    linewidth=1.3,
                    hatch=HATCHES[min(which, 1)],
                    label=group,
                    baseline=0.8 if log else 0,
                )
            for label, value in (thresholds or {}).items():
                axes.axvline(value, color=INK, linewidth=1.2)
                if axes is grid[0]:
                    axes.annotate(
                        label,
                        (value, 1),
                        xycoords=("data", "axes fraction"),
                        xytext=(3, -2),
                        textcoords="offset points",
                        va="top",
                        fontsize=10.5,
                    )
            if log:
                axes.set_yscale("log")
                axes.set_ylim(0.8, top * 2)
            axes.legend(loc="upper right", handlelength=1.4)
        grid[-1].set_xlabel(xlabel)
        figure.supylabel("images in each bin", fontsize=11)
        if title:
            grid[0].set_title(title)
    return figure
