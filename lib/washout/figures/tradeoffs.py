"""What a defense's own setting gains and costs: JPEG's quality, a reconstruction's fidelity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from washout.figures.curves import _percent
from washout.figures.style import COLORS, DASHES, INK, MARKERS, SOFT, check_series, drawing
from washout.figures.washing_curves import Rates, draw_lines, legend

BAR: dict[str, Any] = {
    "color": INK,
    "markersize": 13,
    "markeredgewidth": 2.4,
    "linestyle": "none",
    "zorder": 4,
}
BARS = ("_", "x", "+")
RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 12,
    "markerfacecolor": "none",
    "markeredgecolor": INK,
    "markeredgewidth": 1.6,
    "linestyle": "none",
    "zorder": 5,
}
AROUND = ((9, 0), (-9, 0), (0, 9), (0, -9), (7, 7), (-7, 7), (7, -7), (-7, -7))  # points


def best_quality(
    qualities: ArrayLike,
    lines: Rates,
    others: Mapping[str, Sequence[float]],
    *,
    ylim: tuple[float, float] | None = None,
    ylabel: str = "accuracy",
) -> Figure:
    """JPEG along its quality, and its best quality beside another defense.

    Left, a line for each size of the attack with a ring around its best quality. Right, for each
    size, that best rate with its interval beside the rates of the other defenses, and above them
    the best quality and by how many points it is above (+) or below (−) the first of them. The
    title counts; a rate within JPEG's interval is level.

    Args:
        qualities: (points,) of JPEG.
        lines: size of the attack, such as ``L2 0.011`` -> (rate, low, high) at each quality.
        others: defense -> its rate at each size, in the order of ``lines``.
        ylim: of the rates; what the data need by default.

    The best quality is picked on the images that the rates are of, in JPEG's favor.

    Alt text: say for how many sizes JPEG's best is above the other defense and by how many points
    at the smallest and the largest, and where the best quality lies and how it moves.

    Raises:
        ValueError: lines or rates that are too few or too many.
    """
    if not 1 <= len(others) <= len(BARS) or any(len(r) != len(lines) for r in others.values()):
        raise ValueError(
            f"others: got {[len(rates) for rates in others.values()]} rates; give 1 to "
            f"{len(BARS)} defenses with a rate for each of the {len(lines)} lines"
        )
    rival, rates = next(iter(others.items()))
    verdict = {f"beats {rival}": 0, "is level": 0, "loses": 0}
    with drawing(height=4.9) as figure:
        left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 0.7 + 0.33 * len(lines)))
        found = draw_lines(left, qualities, lines, list(lines), {}, ylim)
        for index, (rows, other) in enumerate(zip(found, rates, strict=True)):
            place = int(rows[:, 0].argmax())
            best, low, high = rows[place]
            quality = np.asarray(qualities, dtype=float)[place]
            left.plot(quality, best, label=None if index else "best quality", **RING)
            right.plot([index, index], [best, other], color=COLORS[index], linewidth=1)
            right.plot([index, index], [low, high], color=COLORS[index], linewidth=4)
            right.plot(index, best, MARKERS[index], color=COLORS[index], markersize=8)
            won, lost = other < low, other > high
            verdict["loses" if lost else f"beats {rival}" if won else "is level"] += 1
            _head(right, index, 20, f"{quality:g}")
            points = f"{round(100 * (best - other)):+d}".replace("-", "−").replace("+0", "0")
            _head(right, index, 5, points, "bold" if won or lost else "normal")
        _head(right, -0.7, 20, "best quality", side="right")
        _head(right, -0.7, 5, f"points above {rival}", side="right")
        for index, (name, values) in enumerate(others.items()):
            right.plot(range(len(lines)), values, BARS[index], label=name, **BAR)
        left.set(xlabel="JPEG quality", ylabel=ylabel)
        right.set(xlim=(-0.6, len(lines) - 0.4), xticks=[], xlabel="JPEG at its best")
        right.grid(axis="x", visible=False)
        ways = ", ".join(f"{way} at {count}" for way, count in verdict.items())
        sentence = f"At its best quality JPEG {ways} of {len(lines)} attack sizes"
        legend(figure, title=fill(sentence, 50))
    return figure


def _head(
    axes: Axes, x: float, above: float, text: str, weight: str = "normal", side: str = "center"
) -> None:
    axes.annotate(
        text,
        (x, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, above),
        textcoords="offset points",
        ha=side,
        weight=weight,
        fontsize=10,
        annotation_clip=False,
        in_layout=side == "center",
    )


def fidelity(
    points: Mapping[str, Sequence[tuple[str, float, float]]],
    *,
    xlabel: str = "accuracy on clean images",
    ylabel: str = "accuracy on attacked images",
) -> Figure:
    """What a defense keeps of clean images against what it restores of attacked ones.

    Args:
        points: series, such as a defense -> (label, clean rate, attacked rate) for each of its
            settings, joined in this order.

    Where it is in sight, a dotted diagonal: an attack that costs nothing beyond what the defense
    itself costs.

    Alt text: say for each series which way it runs with its setting, where it turns, and which
    point is best for attacked images and what it costs on clean ones.

    Raises:
        ValueError: no series, or one without points.
    """
    check_series(points)
    for name, series in points.items():
        if not series or any(len(point) != 3 for point in series):
            raise ValueError(
                f"points of {name}: got {list(series)}; "
                "give at least one (label, clean rate, attacked rate)"
            )
    with drawing(height=4.6) as figure:
        axes = figure.subplots()
        for index, (name, series) in enumerate(points.items()):
            _, clean, attacked = zip(*series, strict=True)
            axes.plot(
                clean,
                attacked,
                color=COLORS[index],
                linestyle=DASHES[index],
                marker=MARKERS[index],
                markersize=8,
                label=name,
            )
        axes.margins(0.12)
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        if max(left, low) < min(right, high):
            axes.plot([0, 1], [0, 1], ":", color=SOFT, linewidth=1.4, label="attack costs nothing")
        axes.set(xlim=(left, right), ylim=(low, high))
        _percent(axes.xaxis)
        _percent(axes.yaxis)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        legend(figure)
        figure.draw_without_rendering()
        _place_labels(axes, points)
    return figure


def _place_labels(axes: Axes, points: Mapping[str, Sequence[tuple[str, float, float]]]) -> None:
    """Write each point's label beside it, where it covers the least of lines and labels."""
    corners = [axes.transData.transform(line.get_xydata()) for line in axes.lines]
    along = np.linspace(0, 1, 20)[:, None, None]
    drawn = np.concatenate([(c[:-1] + along * np.diff(c, axis=0)).reshape(-1, 2) for c in corners])
    markers = np.concatenate(corners)
    taken: list[Any] = []
    for index, series in enumerate(points.values()):
        for label, clean, attacked in series:
            look: dict[str, Any] = {"color": COLORS[index], "fontsize": 10.5, "in_layout": False}
            note = axes.annotate(
                label, (clean, attacked), (0, 0), textcoords="offset points", **look
            )

            def covered(place: tuple[int, int], note=note) -> float:
                x, y = place
                note.xyann = place
                note.set_ha("left" if x > 0 else "right" if x else "center")
                note.set_va("bottom" if y > 0 else "top" if y else "center")
                box = note.get_window_extent()
                outside = not (axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max))
                hidden = box.count_contains(drawn) + 9 * box.padded(4).count_contains(markers)
                return hidden + 50 * (box.count_overlaps(taken) + outside)

            covered(min(AROUND, key=covered))
            taken.append(note.get_window_extent())
