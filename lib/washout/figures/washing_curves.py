"""What defenses restore as the attack grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from washout.figures.curves import _percent
from washout.figures.style import (
    COLORS,
    DASHES,
    INK,
    MARKERS,
    check_series,
    drawing,
)

Rates: TypeAlias = Mapping[str, Sequence[tuple[float, float, float]]]
Printed: TypeAlias = Mapping[str, Sequence[tuple[float, float]]]

STAR: dict[str, Any] = {
    "marker": "*",
    "markersize": 10.5,
    "markerfacecolor": "white",
    "markeredgewidth": 1.2,
    "linestyle": "none",
}


def against_l2(
    x: ArrayLike,
    lines: Rates,
    *,
    paper: Printed | None = None,
    ylim: tuple[float, float] = (0, 1),
    ylabel: str = "accuracy",
    xlabel: str = "mean relative L2 of the attack",
) -> Figure:
    """Accuracy behind each defense as the attack grows, and the paper's points at their own L2.

    Args:
        x: (points,) mean relative L2 distance of the attacked images to the original ones.
        lines: defense -> (rate, low, high) for each point.
        paper: defense -> (L2, rate) for each point that the paper prints, drawn as hollow stars
            in the color of the line so named, joined by a thin line of the same dash.
        ylim: of the rates.

    Lines are named at their right end where these lie apart, else in a legend.

    Alt text: order the defenses at the smallest and at the largest L2 with their rates, say where
    lines cross, and how far the paper's points lie from the lines.

    Raises:
        ValueError: a line whose length is not that of ``x``, or points of the paper without a line.
    """
    with drawing(height=3.9) as figure:
        axes = figure.subplots()
        draw_lines(axes, x, lines, list(lines), paper or {}, ylim)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        _name_ends(axes, lines, ylim)
        legend(figure, bool(paper))
    return figure


def attacks_against_l2(
    panels: Mapping[str, tuple[ArrayLike, Rates, Printed]],
    *,
    ylim: tuple[float, float] = (0, 1),
    ylabel: str = "accuracy",
    xlabel: str = "mean relative L2 of the attack",
) -> Figure:
    """``against_l2`` for several attacks, one panel below the other on the same axes.

    Args:
        panels: attack -> (x, lines, paper) as for ``against_l2``; ``paper`` may be empty. A defense
            has the same color, dash and marker in all panels.
        ylim: of the rates.

    Alt text: as for ``against_l2`` for the first panel, and what differs in the others.

    Raises:
        ValueError: no panels, or what ``against_l2`` refuses.
    """
    if not panels:
        raise ValueError("panels: got none; give at least one attack with (x, lines, paper)")
    names = list(dict.fromkeys(name for _, lines, _ in panels.values() for name in lines))
    with drawing(height=2.75 * len(panels) + 0.9) as figure:
        grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, (x, lines, paper)) in zip(grid, panels.items(), strict=True):
            draw_lines(axes, x, lines, names, paper, ylim)
            axes.set(title=title, ylabel=ylabel)
        grid[-1].set_xlabel(xlabel)
        legend(figure, any(paper for _, _, paper in panels.values()))
    return figure


def draw_lines(
    axes: Axes,
    x: ArrayLike,
    lines: Rates,
    names: Sequence[str],
    paper: Printed,
    ylim: tuple[float, float] | None,
) -> list[np.ndarray]:
    """Lines with the bands of their intervals, and the paper's stars; returns (points, 3) each.

    Args:
        names: of all lines of the figure; a line's place in it gives its color, dash and marker.
    """
    check_series(lines)
    check_series(dict.fromkeys(names))
    if unknown := [name for name in paper if name not in names]:
        raise ValueError(f"paper: got {', '.join(unknown)}; allowed are {', '.join(names)}")
    x, found = np.asarray(x, dtype=float), []
    band = 0.16 if len(names) < 5 else 0.1
    for name, values in lines.items():
        rows = np.asarray(values, dtype=float)
        if not len(x) or rows.shape != (len(x), 3):
            raise ValueError(
                f"lines of {name}: got shape {rows.shape}; allowed is (rate, low, high) for "
                f"each of the {len(x)} points, at least one"
            )
        index = names.index(name)
        look: dict[str, Any] = {"color": COLORS[index], "linestyle": DASHES[index]}
        axes.fill_between(x, rows[:, 1], rows[:, 2], color=look["color"], alpha=band, linewidth=0)
        axes.plot(x, rows[:, 0], marker=MARKERS[index], label=name, **look)
        if paper.get(name):
            place, rate = zip(*paper[name], strict=True)
            axes.plot(place, rate, linewidth=0.8, **look)
            axes.plot(place, rate, markeredgecolor=look["color"], zorder=5, **STAR)
        found.append(rows)
    _percent(axes.yaxis)
    if ylim:
        rest = 0.02 * (ylim[1] - ylim[0])  # half a marker
        axes.set_ylim(ylim[0] - rest, ylim[1] + rest)
    return found


def _name_ends(axes: Axes, lines: Rates, ylim: tuple[float, float]) -> None:
    """Name the lines at their right end, out of the legend, if the names are short and apart."""
    ends = sorted(values[-1][0] for values in lines.values())
    if max(map(len, lines)) > 14 or (np.diff(ends) < 0.075 * (ylim[1] - ylim[0])).any():
        return
    for index, (name, values) in enumerate(lines.items()):
        axes.annotate(
            name,
            (1, values[-1][0]),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            weight="bold",
            color=COLORS[index],
            annotation_clip=False,
        )
    for line in axes.lines:
        line.set_label("_")


def legend(figure: Figure, paper: bool = False, title: str | None = None) -> None:
    """Every labelled series above the figure, in as many columns as the longest leaves room for."""
    handles = {
        str(handle.get_label()): handle
        for axes in figure.axes
        for handle in axes.get_legend_handles_labels()[0]
    }
    if paper:
        handles["paper"] = Line2D([], [], markeredgecolor=INK, **STAR)
    if handles:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside upper left",
            ncols=max(1, min(3, 62 // (8 + max(map(len, handles))))),
            handlelength=2.6,
            columnspacing=1.2,
            title=title,
            title_fontproperties={"weight": "bold", "size": 11.5},
            alignment="left",
        )
