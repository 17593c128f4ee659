"""What defenses restore, by how far past the decision boundary the attack went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from washout.figures.curves import _percent
from washout.figures.style import COLORS, DASHES, MARKERS, RULE, SOFT, check_series, drawing
from washout.figures.washing_curves import legend

Point: TypeAlias = tuple[float, tuple[float, float, float], str]

ATTACKS = 18
APART = 0.21  # inches between the names of neighboring attacks
UP = 0.3  # inches from the axes to the names
PANELS = 6


def past_boundary(
    points: Mapping[str, Sequence[Point]],
    *,
    xlabel: str = "median logit margin of the attack",
    ylabel: str = "accuracy",
    ceilings: Mapping[str, float] | None = None,
) -> Figure:
    """Accuracy after each defense against how far past the decision boundary the attack went.

    Args:
        points: defense -> (margin, (rate, low, high), attack) for each attack, in any order; the
            margin is above 0, and the same for an attack behind every defense; at most 18 attacks.
        ceilings: defense -> accuracy on clean images through it, a stroke at the right edge.

    Margins are on a logarithmic axis. The attacks are named along the top; the gray ground reaches
    up to what the best of the defenses restores.

    Alt text: order the attacks by their margin, give the best defense's rate for the one that
    stops at the boundary and for the one that goes farthest, and name what breaks the trend.

    Raises:
        ValueError: no or too many defenses or attacks, a defense without points, a margin that is
            not above 0 or that is not the attack's elsewhere, or a rate outside [0, 1].
    """
    check_series(points)
    margins = _margins(points)
    longest = max(map(len, margins))
    with drawing(height=3.9 + 0.078 * longest + 0.19 * -(-len(points) // 2)) as figure:
        axes = figure.subplots()
        axes.set_xscale("log")
        best: dict[float, float] = {}
        for index, (name, series) in enumerate(points.items()):
            x, rates = zip(*sorted((x, rate) for x, rate, _ in series), strict=True)
            rate, low, high = np.asarray(rates, dtype=float).T
            look: dict[str, Any] = {"color": COLORS[index], "zorder": 3}
            axes.vlines(x, low, high, linewidth=1.1, alpha=0.55, **look)
            axes.plot(
                x, rate, linestyle=DASHES[index], marker=MARKERS[index], label=name, lw=1.6, **look
            )
            for place, value in zip(x, rate, strict=True):
                best[place] = max(value, best.get(place, 0))
            if ceilings and name in ceilings:
                _stroke(axes, ceilings[name], COLORS[index])
        places = sorted(best)
        axes.fill_between(
            places, [best[place] for place in places], color="#eceff3", linewidth=0, zorder=0
        )
        _percent(axes.yaxis)
        axes.set(ylim=(-0.02, 1.02), ylabel=ylabel)
        axes.set_xlabel(f"{xlabel}\n← barely past the boundary        far past it →")
        beside = max(1.1, (places[-1] / places[0]) ** 0.03)
        axes.set_xlim(places[0] / beside, places[-1] * beside)
        near = places[-1] < 30 * places[0]
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if near else (1,), numticks=9))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="x", visible=False)
        legend(figure)
        _name_attacks(figure, axes, margins)
    return figure


def within_attacks(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, tuple[float, float, float]]]]],
    *,
    xlabel: str = "logit margin past the boundary",
    ylabel: str = "accuracy",
    ceilings: Mapping[str, float] | None = None,
) -> Figure:
    """The images of each attack in groups by their own margin: a panel a defense, a line an attack.

    Args:
        panels: defense -> attack -> (margin, (rate, low, high)) for each group of its images; at
            most 6 defenses and 7 attacks, the margins above 0.
        ceilings: defense -> accuracy on clean images through it, a dotted line.

    If the margin decides and not the attack, the lines of a panel lie on one falling curve.

    Alt text: say in which panels lines fall and from what margin on, and in which an attack's line
    lies apart from the others at the same margin.

    Raises:
        ValueError: no or too many defenses or attacks, or a margin that is not above 0.
    """
    attacks = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    check_series({name: None for name in attacks})
    if not 1 <= len(panels) <= PANELS:
        raise ValueError(f"panels: got {len(panels)} defenses; allowed are 1 to {PANELS}")
    margins = [m for lines in panels.values() for series in lines.values() for m, _ in series]
    if not margins or not all(0 < margin < np.inf for margin in margins):
        raise ValueError("panels: got a margin that is not above 0, or no points; clip it first")
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    with drawing(height=1.95 * down + 0.75 + 0.2 * -(-len(attacks) // 2)) as figure:
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        for axes, (defense, lines) in zip(grid.flat, panels.items(), strict=False):
            for attack, series in lines.items():
                index = attacks.index(attack)
                x, rates = zip(*sorted(series), strict=True)
                rate, low, high = np.asarray(rates, dtype=float).T
                look: dict[str, Any] = {"color": COLORS[index], "zorder": 3}
                axes.vlines(x, low, high, linewidth=1, alpha=0.45, **look)
                axes.plot(
                    x, rate, linestyle=DASHES[index], marker=MARKERS[index], label=attack, lw=1.5,
                    markersize=4.5, **look,
                )  # fmt: skip
            if ceilings and defense in ceilings:
                axes.axhline(ceilings[defense], color=SOFT, linestyle=":", linewidth=1.3, zorder=1)
            axes.set_title(defense)
            axes.set_xscale("log")
            axes.set(ylim=(-0.03, 1.03), xlim=(min(margins) / 1.6, max(margins) * 1.6))
            _percent(axes.yaxis)
            axes.xaxis.set_major_locator(LogLocator(numticks=5))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.tick_params(axis="x", labelbottom=True)
        figure.supylabel(ylabel, fontsize=11)
        figure.supxlabel(f"{xlabel}\n← barely past the boundary        far past it →", fontsize=11)
        legend(figure)
    return figure


def _stroke(axes: Axes, height: float, color: str) -> None:
    """A short stroke at the right edge of the axes."""
    axes.plot(
        [1.0, 1.035], [height] * 2, color=color, linewidth=2.4, clip_on=False,
        transform=axes.get_yaxis_transform(), zorder=4,
    )  # fmt: skip


def _margins(points: Mapping[str, Sequence[Point]]) -> dict[str, float]:
    """Attack -> its margin, from the smallest."""
    margins: dict[str, float] = {}
    for name, series in points.items():
        if not series:
            raise ValueError(
                f"points of {name}: got none; give at least one (margin, rate, attack)"
            )
        for margin, rate, attack in series:
            if not 0 < margin < np.inf:
                raise ValueError(
                    f"points of {name}, {attack}: got a margin of {margin}; allowed is above 0"
                )
            if len(rate) != 3 or not all(0 <= part <= 1 for part in rate):
                raise ValueError(
                    f"points of {name}, {attack}: got {rate}; "
                    "allowed is (rate, low, high) in [0, 1]"
                )
            if margins.setdefault(attack, margin) != margin:
                raise ValueError(
                    f"points of {name}, {attack}: got margins {margin} and {margins[attack]}; "
                    "allowed is one for an attack"
                )
    if len(margins) > ATTACKS:
        raise ValueError(f"points: got {len(margins)} attacks; allowed are 1 to {ATTACKS}")
    return dict(sorted(margins.items(), key=lambda item: item[1]))


def spread(places: Sequence[float], apart: float, low: float, high: float) -> np.ndarray:
    """Ascending places moved as little as need be, so that neighbors are ``apart`` in [low, high].

    Where they do not fit, they are as far apart as fits.
    """
    apart = min(apart, (high - low) / max(1, len(places) - 1))
    steps = apart * np.arange(len(places))
    # Without the steps, "apart" means "not descending": the nearest such places are means of pools.
    pools: list[list[float]] = []
    for place in np.asarray(places, dtype=float) - steps:
        pools.append([place])
        while len(pools) > 1 and np.mean(pools[-2]) >= np.mean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    moved = np.concatenate([np.full(len(pool), np.mean(pool)) for pool in pools])
    return np.clip(moved, low, high - steps[-1]) + steps


def _name_attacks(figure: Figure, axes: Axes, margins: Mapping[str, float]) -> None:
    """Write the names upright above the axes, each joined with its margin by a thin line."""
    look: dict[str, Any] = {"xycoords": "axes fraction", "annotation_clip": False}
    names = [
        axes.annotate(
            attack,
            (0.5, 1),
            xytext=(0, 72 * UP),
            textcoords="offset points",
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=10.5,
            **look,
        )
        for attack in margins
    ]
    figure.draw_without_rendering()
    inches = axes.bbox.width / figure.dpi
    at = axes.transData.transform([(margin, 0) for margin in margins.values()])[:, 0]
    at = (at - axes.bbox.x0) / axes.bbox.width
    reach = 0.04 / inches
    for name, place, target in zip(
        names, spread(at.tolist(), APART / inches, -reach, 1 + reach), at, strict=True
    ):
        name.xy = (place, 1)
        axes.plot(
            [target, target, place],
            [0, 1, 1 + (UP - 0.04) / (axes.bbox.height / figure.dpi)],
            color=RULE,
            linewidth=0.8,
            transform=axes.transAxes,
            clip_on=False,
            zorder=1,
        )
