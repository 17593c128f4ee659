"""The performance page's figures: how the time of each step grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from washout.figures.style import COLORS, DASHES, MARKERS, SOFT, drawing
from washout.performance.benchmarks import machine


def growing(
    growth: pd.DataFrame | None, axis: str, slope: int, guide: str, xlabel: str, ylabel: str
) -> Figure | None:
    """Time against ``images`` or ``size``, a panel for each device; None without points.

    Args:
        slope: of the gray line that ``guide`` names, in logarithms.
    """
    if growth is None:
        return None
    points = growth[growth["axis"] == axis]
    points = points.assign(y=points["seconds"] / (points["images"] if axis == "size" else 1))
    devices = list(points.groupby("device", sort=False))
    with drawing(height=4.4 * len(devices)) as figure:
        panels = figure.subplots(len(devices), 1, squeeze=False)[:, 0]
        for axes, (_, own) in zip(panels, devices, strict=True):
            _draw(axes, own, axis, slope, guide)
            axes.set(title=machine(own), xlabel=xlabel, ylabel=ylabel)
    return figure


def _spread(values: Sequence[float], gap: float) -> np.ndarray:
    """The values, moved apart to ``gap`` at least, in their order."""
    order = np.argsort(values)
    placed = np.asarray(values, dtype=float)[order]
    for index in range(1, len(placed)):
        placed[index] = max(placed[index], placed[index - 1] + gap)
    placed -= (placed - np.asarray(values)[order]).mean()
    found = np.empty_like(placed)
    found[order] = placed
    return found


def _short(seconds: float, _: object = None) -> str:
    return f"{1000 * seconds:g} ms" if seconds < 1 else f"{seconds:g} s"


def _draw(axes: Axes, points: pd.DataFrame, x: str, slope: int, guide: str) -> None:
    """A line for each step, named at its end, and a gray one that grows with the slope."""
    axes.set(xscale="log", yscale="log")
    ends = {}
    for index, (step, line) in enumerate(points.groupby("step", sort=False)):
        look: dict[str, Any] = {"color": COLORS[index], "linestyle": DASHES[index]}
        axes.plot(line[x], line["y"], marker=MARKERS[index], **look)
        ends[str(step)] = line[x].iloc[-1], line["y"].iloc[-1], COLORS[index]
    ticks = sorted(points[x].unique())
    low = points.groupby(x)["y"].min()
    start = 0.4 * min(low / (low.index / ticks[0]) ** slope)
    far = start * (ticks[-1] / ticks[0]) ** slope
    axes.plot([ticks[0], ticks[-1]], [start, far], color=SOFT, linewidth=1.2, linestyle=":")
    ends[guide] = ticks[-1], far, SOFT
    room = np.log10(max(end[1] for end in ends.values()) / start)
    for place in {end[0] for end in ends.values()}:  # lines that end in one place share its room
        here = {name: end for name, end in ends.items() if end[0] == place}
        heights = 10 ** _spread([np.log10(end[1]) for end in here.values()], 0.065 * room)
        last = place == ticks[-1]
        for (name, end), height in zip(here.items(), heights, strict=True):
            axes.annotate(
                name, (place, height), xytext=(7, 0) if last else (6, 11), color=end[2],
                textcoords="offset points", va="center", ha="left" if last else "right",
                weight="normal" if name == guide else "bold", fontsize=10.5,
                annotation_clip=False,
            )  # fmt: skip
    axes.set_ylim(top=2 * points["y"].max())
    apart = [at for at, after in zip(ticks, [*ticks[1:], np.inf], strict=True) if after > 1.3 * at]
    axes.xaxis.set_major_locator(FixedLocator(apart))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_short))
