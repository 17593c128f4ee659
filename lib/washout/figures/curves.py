"""ROC curves, sweeps and forests of rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

from washout.figures.style import (
    COLORS,
    DASHES,
    INK,
    MARKERS,
    RULE,
    SOFT,
    check_series,
    drawing,
)


def roc_curves(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    points: Mapping[str, tuple[float, float]] | None = None,
    aucs: Mapping[str, float] | None = None,
    xlabel: str = "clean images turned away",
    ylabel: str = "attacks detected",
) -> Figure:
    """ROC curves, and the points at which detectors work.

    Args:
        curves: name -> (false positive rates, true positive rates).
        points: name -> (false, true positive rate); drawn in the color of the curve so named.
        aucs: name -> area, printed in the legend.

    Alt text: order the curves from best to worst and give each area, or the share detected when
    5 % of the clean images are turned away.
    """
    check_series(curves)
    names = list(curves)
    with drawing(height=4.7, width=4.9) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1.2)
        for index, (name, (false, true)) in enumerate(curves.items()):
            label = name if not aucs or name not in aucs else f"{name}, area {aucs[name]:.3f}"
            axes.plot(false, true, color=COLORS[index], linestyle=DASHES[index], label=label)
        for name, (false, true) in (points or {}).items():
            index = names.index(name) if name in names else -1
            axes.plot(
                false,
                true,
                MARKERS[index],
                color=COLORS[index],
                markersize=9,
                markeredgecolor="white",
                label=None if name in names else name,
            )
        _percent(axes.xaxis)
        _percent(axes.yaxis)
        axes.set(xlim=(-0.01, 1), ylim=(0, 1.015), xlabel=xlabel, ylabel=ylabel, aspect="equal")
        axes.legend(loc="lower right", handlelength=2.6)
    return figure


def _percent(axis) -> None:
    axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{round(100 * rate, 3):g} %"))


def sweep(
    x: ArrayLike,
    lines: Mapping[str, Sequence[tuple[float, float, float]]],
    *,
    xlabel: str,
    ylabel: str,
    paper: Mapping[str, tuple[float, float]] | None = None,
    mark: tuple[float, str] | None = None,
    ylim: tuple[float, float] | None = None,
    percent: bool = True,
) -> Figure:
    """Rates along a setting, with the band of their intervals and the paper's points.

    Args:
        x: (points,) the setting.
        lines: name -> (rate, low, high) for each point.
        paper: label -> (x, rate), drawn as stars; in a line's color if so named.
        mark: a setting to point out, and its name.
        ylim: of the rates; what the data need by default.
        percent: rates in [0, 1] shown as percents.

    Alt text: say where each line is highest, how it ends, and how far the paper's points are off.

    Raises:
        ValueError: a line whose length is not that of ``x``.
    """
    check_series(lines)
    x = np.asarray(x, dtype=float)
    names = list(lines)
    with drawing(height=3.7) as figure:
        axes = figure.subplots()
        for index, (name, values) in enumerate(lines.items()):
            rows = np.asarray(values, dtype=float)
            if rows.shape != (len(x), 3):
                raise ValueError(
                    f"lines of {name}: got shape {rows.shape}; allowed is (rate, low, high) for "
                    f"each of the {len(x)} points"
                )
            axes.fill_between(
                x, rows[:, 1], rows[:, 2], color=COLORS[index], alpha=0.18, linewidth=0
            )
            axes.plot(
                x,
                rows[:, 0],
                color=COLORS[index],
                linestyle=DASHES[index],
                marker=MARKERS[index],
                label=name,
            )
        if paper:
            axes.plot([], [], "*", markersize=14, color="white", markeredgecolor=INK, label="paper")
        for label, (place, rate) in (paper or {}).items():
            color = COLORS[names.index(label)] if label in names else INK
            axes.plot(
                place,
                rate,
                "*",
                markersize=15,
                color=color,
                markeredgecolor=INK,
                markeredgewidth=0.9,
                linestyle="none",
                zorder=5,
            )
        if mark:
            axes.axvline(mark[0], color=SOFT, linewidth=1.2, linestyle=":")
            late = mark[0] > (x.min() + x.max()) / 2
            axes.annotate(
                mark[1],
                (mark[0], 0),
                xycoords=("data", "axes fraction"),
                xytext=(-4 if late else 4, 4),
                textcoords="offset points",
                ha="right" if late else "left",
                color=SOFT,
                fontsize=10.5,
            )
        if percent:
            _percent(axes.yaxis)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        if ylim:
            axes.set_ylim(ylim)
        figure.legend(
            loc="outside upper left",
            ncols=2 if len(lines) < 5 else 3,
            handlelength=2.4,
            columnspacing=1.2,
        )
    return figure


def forest(
    items: Sequence[tuple[str, tuple[float, float, float] | None, float | None]],
    *,
    xlabel: str,
    original: Mapping[str, float] | None = None,
    names: tuple[str, str, str] = ("reproduced, 95 % interval", "paper", "original authors"),
) -> Figure:
    """A line for each item: what came out with its interval, beside what the paper prints.

    Args:
        items: (label, (rate, low, high) or None if not computed, printed rate or None), from the
            top; rates in [0, 1].
        original: label -> the rate that the work prints that the paper itself reproduces.
        names: of the three series.

    Alt text: give each item's rate beside the paper's, and say which intervals leave it out.

    Raises:
        ValueError: no items.
    """
    if not items:
        raise ValueError("items: got none; give at least one (label, rate and interval, paper)")
    original = original or {}
    with drawing(height=0.52 * len(items) + 1.25) as figure:
        axes = figure.subplots()
        for place, (label, found, printed) in enumerate(items):
            if found is not None:
                rate, low, high = found
                axes.plot([low, high], [place, place], color=COLORS[0], linewidth=3)
                axes.plot(rate, place, "o", color=COLORS[0], markersize=8)
            if printed is not None:
                axes.plot(
                    printed,
                    place,
                    "D",
                    color="none",
                    markeredgecolor=COLORS[1],
                    markeredgewidth=2,
                    markersize=11,
                    zorder=4,
                )
            if label in original:
                axes.plot(
                    original[label],
                    place,
                    "|",
                    color=INK,
                    markersize=15,
                    markeredgewidth=2,
                )
            if found is None:
                axes.annotate(
                    "not computed",
                    (0.02, place),
                    xycoords=("axes fraction", "data"),
                    va="center",
                    color=SOFT,
                    style="italic",
                )
        axes.set_yticks(range(len(items)), [label for label, _, _ in items], color=INK)
        axes.set_ylim(len(items) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        _percent(axes.xaxis)
        axes.set_xlabel(xlabel)
        axes.plot([], [], "o-", color=COLORS[0], linewidth=3, markersize=8, label=names[0])
        axes.plot(
            [],
            [],
            "D",
            color="none",
            markeredgecolor=COLORS[1],
            markeredgewidth=2,
            markersize=10,
            label=names[1],
        )
        if original:
            axes.plot(
                [],
                [],
                "|",
                color=INK,
                markersize=15,
                markeredgewidth=2,
                linestyle="none",
                label=names[2],
            )
        figure.legend(loc="outside upper left", ncols=2, handlelength=1.8, columnspacing=1.2)
    return figure
