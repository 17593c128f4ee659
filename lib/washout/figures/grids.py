"""The table of accuracies as a heat map, and rows of images that belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from washout.figures.style import COLORS, INK, SOFT, WIDTH, drawing, picture, show_image

Rate: TypeAlias = tuple[float, float, float]

ROWS, COLUMNS, IMAGES = 12, 9, 8  # the most
SMALL = 9.0  # points
UNDEFENDED = ("none", "no defense")
# Light to dark, one color: its order survives color blindness and gray print.
SHADES = LinearSegmentedColormap.from_list(
    "shades", ["#edf4f9", "#a3cde6", "#2b86bf", "#00507d", "#002338"]
)
FRAME: dict[str, Any] = {"fill": False, "edgecolor": COLORS[1], "linewidth": 2.4}


def contrasting(color: Any) -> str:
    """Black or white, whichever is easier to read on ``color``: a contrast of 4.5 or more.

    Args:
        color: any that Matplotlib knows.
    """
    rgb = np.asarray(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    # WCAG 2's contrast of two luminances is (light + 0.05) / (dark + 0.05).
    return "#000000" if (luminance + 0.05) ** 2 >= 0.05 * 1.05 else "#ffffff"


def cells(
    rates: Mapping[str, Mapping[str, Rate | None]],
    *,
    printed: Mapping[str, Mapping[str, str]] | None = None,
    ylabels: Sequence[str] | None = None,
) -> Figure:
    """A table of accuracies, a row for each attack, a column for each defense; darker is higher.

    Args:
        rates: attack -> defense -> (rate, low, high), or None where there is none, shown as a dash;
            at most 12 attacks and 9 defenses.
        printed: attack -> defense -> what the paper prints there, such as ``≥ 70``, in small type.
        ylabels: what the rows are called instead of the attacks' names.

    A cell gives the rate in whole percents. The best defense of a row is framed, with all that
    show the same number; none is where all show the same. The column ``none`` or ``no defense``
    takes no part in it. The farthest that an interval reaches from its rate stands below.

    Alt text: name for each attack the best defense with its rate beside the undefended one, say
    which attacks no defense undoes, and where the paper's number is far from the one found.

    Raises:
        ValueError: too few or too many rows or columns, a rate outside [0, 1], labels or printed
            words without a cell, or words too long for theirs.
    """
    attacks = list(rates)
    defenses = list(dict.fromkeys(name for row in rates.values() for name in row))
    check_size("rates", len(attacks), ROWS, "attacks")
    check_size("rates", len(defenses), COLUMNS, "defenses")
    labels = list(attacks if ylabels is None else ylabels)
    if len(labels) != len(attacks):
        raise ValueError(f"ylabels: got {len(labels)}; give one for each of {len(attacks)} attacks")
    for attack, words in (printed or {}).items():
        if unknown := {attack} - {*attacks} or {*words} - {*defenses}:
            raise ValueError(
                f"printed: got {', '.join(sorted(unknown))}; "
                f"allowed are {', '.join([*attacks, *defenses])}"
            )
    table, reach = _table(rates, defenses)
    labels = [fill(label, 15) for label in labels]
    turned = max(map(len, defenses)) > 38 // len(defenses)
    lines = max(label.count("\n") for label in labels) + 1
    high = max(0.46 if printed else 0.36, 0.06 + 0.18 * lines)
    head = 0.3 + (0.075 * max(map(len, defenses)) if turned else 0)
    with drawing(height=high * len(attacks) + head + 0.75) as figure:
        axes = figure.subplots()
        axes.pcolormesh(
            np.ma.masked_invalid(table), cmap=SHADES, vmin=0, vmax=1, edgecolors="white", lw=1.5
        )
        axes.grid(False)
        axes.set(xlim=(0, len(defenses)), ylim=(len(attacks), 0))
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelcolor=INK)
        axes.set_yticks(np.arange(len(attacks)) + 0.5, labels)
        axes.xaxis.tick_top()
        look: dict[str, Any] = {"rotation": 50, "ha": "left", "rotation_mode": "anchor"}
        axes.set_xticks(np.arange(len(defenses)) + 0.5, defenses, **(look if turned else {}))
        notes = []
        for row, attack in enumerate(attacks):
            for column, defense in enumerate(defenses):
                word = (printed or {}).get(attack, {}).get(defense)
                notes += _cell(axes, row, column, table[row, column], word)
            for column in _best(table[row], defenses):
                axes.add_patch(
                    Rectangle((column + 0.03, row + 0.03), 0.94, 0.94, **FRAME, zorder=4)
                )
        _cells_key(figure, bool(printed), reach)
        figure.draw_without_rendering()
        room = axes.bbox.width / len(defenses)
        long = [note.get_text() for note in notes if note.get_window_extent().width > room]
        if long:
            raise ValueError(
                f"printed: got {', '.join(dict.fromkeys(long))}; "
                "allowed is what fits into a cell, such as ≥ 70"
            )
    return figure


def check_size(name: str, got: int, most: int, what: str) -> None:
    if not 1 <= got <= most:
        raise ValueError(
            f"{name}: got {got} {what}; allowed are 1 to {most}, else split the figure"
        )


def _table(
    rates: Mapping[str, Mapping[str, Rate | None]], defenses: Sequence[str]
) -> tuple[np.ndarray, float]:
    """Rates by row and column, NaN where there is none, and the farthest reach of an interval."""
    table, reach = np.full((len(rates), len(defenses)), np.nan), 0.0
    for row, (attack, found) in enumerate(rates.items()):
        for defense, value in found.items():
            if value is None:
                continue
            if len(value) != 3 or not all(0 <= part <= 1 for part in value):
                raise ValueError(
                    f"rates of {attack}, {defense}: got {value}; "
                    "allowed is None or (rate, low, high) in [0, 1]"
                )
            table[row, defenses.index(defense)] = value[0]
            reach = max(reach, value[0] - value[1], value[2] - value[0])
    return table, reach


def _cell(axes: Axes, row: int, column: int, rate: float, word: str | None) -> list[Any]:
    """Write the rate into its cell and the paper's word below it; returns the latter's text."""
    missing = bool(np.isnan(rate))
    color = SOFT if missing else contrasting(SHADES(rate))
    look: dict[str, Any] = {"ha": "center", "va": "center", "color": color}
    text = "–" if missing else f"{round(100 * rate)}"
    axes.text(column + 0.5, row + (0.36 if word else 0.5), text, fontsize=12.5, **look)
    if not word:
        return []
    return [axes.text(column + 0.5, row + 0.74, word, fontsize=SMALL, **look)]


def _best(row: np.ndarray, defenses: Sequence[str]) -> list[int]:
    """Columns of the defenses that show the row's highest percent, unless all of several do."""
    shown = {
        column: round(100 * rate)
        for column, rate in enumerate(row)
        if not np.isnan(rate) and defenses[column].lower() not in UNDEFENDED
    }
    best = [column for column, value in shown.items() if value == max(shown.values())]
    return best if len(best) < max(2, len(shown)) else []


def _cells_key(figure: Figure, printed: bool, reach: float) -> None:
    frame = Rectangle((0, 0), 1, 1, **FRAME)
    handles: dict[str, Any] = {"best defense of the row": frame}
    if printed:
        small: dict[str, Any] = {
            "marker": r"$\mathdefault{99}$",
            "markersize": 9.5,
            "markeredgewidth": 0.2,
        }
        handles["small: the paper’s number"] = Line2D([], [], color=INK, linestyle="none", **small)
    points = (
        f"; intervals reach ± {np.ceil(100 * reach - 1e-9):.0f} points at most" if reach else ""
    )
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower left",
        ncols=2,
        handlelength=1.6,
        handleheight=1.1,
        columnspacing=1.4,
        title=f"% of the images read correctly{points}",
        title_fontsize=10.5,
        alignment="left",
    )


def pairs(rows: Mapping[str, Sequence[ArrayLike]]) -> Figure:
    """Rows of images, each below its title; what stands in a column belongs together.

    Args:
        rows: title -> images, such as originals, attacked and reconstructed ones; 1 to 8 in each
            row, as many in all; (H, W), (H, W, C) or (C, H, W), uint8 or in [0, 1].

    Alt text: say what the first row shows and what differs in each row below it: which details
    are lost, which shapes change.

    Raises:
        ValueError: no or too many images, or rows of different lengths.
    """
    counts = {title: len(images) for title, images in rows.items()}
    if not rows or len({*counts.values()}) > 1:
        raise ValueError(f"rows: got {counts or 'none'}; give at least one, all of the same count")
    across = next(iter(counts.values()))
    check_size("rows", across, IMAGES, "images in a row")
    shown = {title: [picture(image) for image in images] for title, images in rows.items()}
    tall = max(image.shape[0] / image.shape[1] for row in shown.values() for image in row)
    edge, gap, line = 0.05, 0.06, 0.19  # inches; the last is of a title
    side = min((WIDTH - 2 * edge + gap) / across - gap, 2.4)
    titles = [fill(title, 48) for title in shown]
    heights = [side * tall + 0.13 + line * (1 + title.count("\n")) for title in titles]
    high = sum(heights) + edge
    with drawing(height=high, layout="none") as figure:
        top = high
        for title, height, images in zip(titles, heights, shown.values(), strict=True):
            look: dict[str, Any] = {"weight": "bold", "fontsize": 11.5, "va": "bottom"}
            top -= height
            figure.text(edge / WIDTH, (top + side * tall + 0.03) / high, title, **look)
            for index, image in enumerate(images):
                left = edge + index * (side + gap)
                place = (left / WIDTH, top / high, side / WIDTH, side * tall / high)
                show_image(figure.add_axes(place), image)
    return figure
