"""The detector as a flow chart, and the game that the book is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from numpy.typing import ArrayLike

from washout.figures.style import (
    ATTACKED,
    CLEAN,
    INK,
    SOFT,
    drawing,
    picture,
    show_change,
    show_image,
)

BRANCHES = ("above_high", "below_low", "agree", "disagree")


def flow_diagram(
    counts: Mapping[str, Mapping[str, int]] | None = None, *, agree: int = 5
) -> Figure:
    """The detection algorithm (Wang & Zhang, Figure 2), with how many images go each way.

    Args:
        counts: group (``clean``, ``attacked``) -> images by branch: ``above_high``, ``below_low``,
            ``agree``, ``disagree``. Without them the rule alone is drawn.
        agree: how many of the five crops have to agree (C).

    Alt text: name the two questions in their order, where each answer leads, and the largest number
    on each way.

    Raises:
        ValueError: a branch is missing, or has another name.
    """
    counts = counts or {}
    for group, ways in counts.items():
        if set(ways) != set(BRANCHES):
            raise ValueError(
                f"counts of {group}: got {', '.join(sorted(ways))}; "
                f"needed are {', '.join(BRANCHES)}"
            )
    with drawing(height=6.3) as figure:
        axes = figure.subplots()
        axes.set(xlim=(0, 100), ylim=(-6, 116))
        axes.axis("off")
        _box(axes, 50, 109, 66, 12, "N dropout passes give\na class and its uncertainty u")
        _box(axes, 50, 82, 36, 14, "How uncertain\nis the class?")
        _box(axes, 50, 47, 36, 14, "Classify five\nresized crops")
        _box(axes, 19, 5, 37, 19, "declared clean", CLEAN, _totals(counts, ("below_low", "agree")))
        _box(axes, 81, 5, 37, 19, "declared adversarial", ATTACKED, _totals(counts, BRANCHES[::3]))
        _arrow(axes, [(50, 103), (50, 89)])
        _arrow(axes, [(32, 82), (7, 82), (7, 15)])
        _arrow(axes, [(68, 82), (93, 82), (93, 15)])
        _arrow(axes, [(50, 75), (50, 54)])
        _arrow(axes, [(43, 40), (43, 5), (38, 5)])
        _arrow(axes, [(57, 40), (57, 5), (62, 5)])
        _way(axes, 1, 96, "sure: u < L", counts, ("below_low",), "left")
        _way(axes, 99, 96, "unsure: u > H", counts, ("above_high",), "right")
        _way(axes, 52, 69, "in between", counts, ("agree", "disagree"), "left")
        kept = "all five agree" if agree == 5 else f"{agree} or more agree"
        _way(axes, 41, 33, kept, counts, ("agree",), "right")
        _way(axes, 59, 33, "fewer agree", counts, ("disagree",), "left")
    return figure


def _totals(counts: Mapping[str, Mapping[str, int]], ways: tuple[str, ...]) -> str:
    return "".join(
        f"\n{sum(branch[way] for way in ways):,} {group}" for group, branch in counts.items()
    )


def _box(
    axes: Axes,
    x: float,
    y: float,
    w: float,
    h: float,
    text: str,
    color: str = SOFT,
    below: str = "",
) -> None:
    """A box with bold words and, in an outcome's, how many images end there."""
    axes.add_patch(
        FancyBboxPatch(
            (x - w / 2, y - h / 2),
            w,
            h,
            boxstyle="round,pad=0,rounding_size=2.2",
            facecolor=color + "1c",
            edgecolor=color,
            linewidth=1.6,
        )
    )
    place: dict[str, Any] = {"ha": "center", "va": "center", "linespacing": 1.25}
    axes.text(x, y, text + "\n" * below.count("\n"), weight="bold", **place)
    if below:
        axes.text(x, y, below, **place)


def _arrow(axes: Axes, corners: list[tuple[float, float]]) -> None:
    xs, ys = zip(*corners, strict=True)
    axes.plot(xs[:-1], ys[:-1], color=SOFT, linewidth=1.6, solid_capstyle="butt")
    axes.annotate(
        "",
        corners[-1],
        corners[-2],
        arrowprops={
            "arrowstyle": "-|>",
            "color": SOFT,
            "linewidth": 1.6,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )


def _way(
    axes: Axes,
    x: float,
    y: float,
    answer: str,
    counts: Mapping[str, Mapping[str, int]],
    ways: tuple[str, ...],
    side: str,
) -> None:
    """An answer and, below it, how many images of each group give it."""
    axes.text(x, y, answer, ha=side, va="center", weight="bold")
    for line, (group, branch) in enumerate(counts.items()):
        number = sum(branch[way] for way in ways)
        color = CLEAN if line == 0 else ATTACKED
        axes.text(x, y - 4.6 * (line + 1), f"{number:,} {group}", ha=side, va="center", color=color)


def game(
    clean: ArrayLike,
    adversarial: ArrayLike,
    *,
    label: str,
    prediction: str,
    verdict: str,
    detector: str = "the detector says",
    attack: str = "attack",
    caught: bool = True,
) -> Figure:
    """The game in one picture: an image, a small change, a wrong answer, and who notices.

    Args:
        clean: a real image, uint8 or in [0, 1].
        adversarial: the same after the attack.
        label: what the classifier says of the image.
        prediction: what it says after the attack.
        verdict: what the defense says of the attacked image: ``adversarial``, or a class.
        detector: who answers, with the verb.
        attack: the attack's name.
        caught: whether that is the right answer.

    Alt text: tell the four steps as a sentence: what the image shows, what the attack changed, what
    the classifier then says, what the defense says.
    """
    before, after = picture(clean), picture(adversarial)
    if before.shape != after.shape:
        raise ValueError(
            f"adversarial: got shape {after.shape} beside {before.shape}; give the attacked image "
            "of the same one"
        )
    limit = float(np.abs(after - before).max())
    with drawing(height=3.9, layout="none") as figure:
        panels = (
            ("1  an image", "the classifier says", f"✓ “{label}”", CLEAN),
            ("2  the change", attack, f"each pixel by up to {limit:.2f}", SOFT),
            ("3  attacked", "the classifier says", f"✗ “{prediction}”", ATTACKED),
        )
        for index, (title, who, what, color) in enumerate(panels):
            left, middle = 0.015 + 0.35 * index, 0.15 + 0.35 * index
            axes = figure.add_axes((left, 0.53, 0.27, 0.27 * 5.4 / 3.9))
            axes.set_title(title, loc="center")
            if index == 1:
                show_change(axes, before, after, limit or 1.0)
            else:
                show_image(axes, after if index else before)
            _words(figure, middle, 0.475, who, SOFT)
            _words(figure, middle, 0.385, what, color, 11 if index == 1 else 16)
        for x, sign in ((0.325, "+"), (0.675, "=")):
            _words(figure, x, 0.72, sign, INK, 20)
        color = CLEAN if caught else ATTACKED
        banner = figure.add_axes((0, 0.04, 1, 0.24))
        banner.axis("off")
        banner.set(xlim=(0, 100), ylim=(0, 100 * 0.24 * 3.9 / 5.4))
        _box(banner, 50, 8.5, 97, 16, "", color)
        _words(figure, 0.5, 0.16, f"4  {detector}: {'✓' if caught else '✗'} “{verdict}”", color, 14)
    return figure


def _words(figure: Figure, x: float, y: float, text: str, color: str, size: float = 11) -> None:
    weight = "bold" if size > 12 else "normal"
    figure.text(x, y, text, color=color, fontsize=size, weight=weight, ha="center", va="center")
