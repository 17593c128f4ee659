"""Which class is read as which: confusions as heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from washout.figures.grids import check_size
from washout.figures.style import COLORS, INK, bare, drawing

CLASSES, TABLES = 10, 8  # the most
ERRORS = LinearSegmentedColormap.from_list("errors", ["#ffffff", "#f0a35e", COLORS[1], "#5c1f00"])
GRAYS = LinearSegmentedColormap.from_list("grays", ["#ededed", "#c4c4c4"])


def confusions(
    tables: Mapping[str, ArrayLike],
    classes: Sequence[str],
    *,
    entropies: Mapping[str, float] | None = None,
    matched: int | None = None,
) -> Figure:
    """What each class is read as, a small heat map for each table, two beside each other.

    Args:
        tables: title -> (classes, classes) counts, the true class down, the predicted one across.
        classes: their names, 2 to 10; the first five letters are shown.
        entropies: title -> mean entropy of a class's errors in bits, written above its table.
        matched: how many errors of each table the entropies are of, where they were matched.

    Each row is divided by its sum. Correct images are gray, errors orange, on one scale for all
    tables, which ends with the largest error. The row of a class without images stays white.

    Alt text: give each table's share of correct images and its entropy, name the largest errors
    (which class is read as which, how often), and classes that draw errors from many others.

    Raises:
        ValueError: no or too many classes, no tables, one of another shape, negative counts, or
            entropies of other tables.
    """
    size = len(classes)
    if not 2 <= size <= CLASSES:
        raise ValueError(f"classes: got {size}; allowed are 2 to {CLASSES}")
    check_size("tables", len(tables), TABLES, "tables")
    if unknown := [title for title in entropies or {} if title not in tables]:
        raise ValueError(f"entropies: got {', '.join(unknown)}; allowed are {', '.join(tables)}")
    counts = {title: np.asarray(table, dtype=float) for title, table in tables.items()}
    for title, count in counts.items():
        if count.shape != (size, size) or not (count >= 0).all():
            raise ValueError(
                f"table of {title}: got shape {count.shape}, smallest {count.min(initial=0):g}; "
                f"allowed is ({size}, {size}), counts from 0 up"
            )
    sums = [count.sum(axis=1, keepdims=True) for count in counts.values()]
    shares = [
        count / np.where(total > 0, total, np.nan)
        for count, total in zip(counts.values(), sums, strict=True)
    ]
    right = np.eye(size, dtype=bool)
    limit = max(0.01, *(float(np.nan_to_num(share[~right]).max()) for share in shares))
    across = min(2, len(tables))
    down = -(-len(tables) // across)
    side = 2.5 if across > 1 else 3.6
    titles = [_title(title, count, entropies) for title, count in counts.items()]
    high = side + 0.2 + 0.18 * (1 + max(title.count("\n") for title in titles))
    with drawing(height=down * high + 1.35) as figure:
        grid = figure.subplots(down, across, squeeze=False)
        for axes in grid.flat[len(tables) :]:
            axes.set_box_aspect(1)
            axes.axis("off")
        names = [str(name)[:5] for name in classes]
        for index, share in enumerate(shares):
            axes = grid.flat[index]
            axes.imshow(np.ma.masked_array(share, ~right), cmap=GRAYS, vmin=0, vmax=1)
            errors = axes.imshow(np.ma.masked_array(share, right), cmap=ERRORS, vmin=0, vmax=limit)
            bare(axes)
            axes.set_title(titles[index], loc="center")
            axes.tick_params(length=0, labelsize=9, labelcolor=INK)
            if index % across == 0:
                axes.set_yticks(range(size), names)
            if index + across >= len(tables):
                axes.set_xticks(range(size), names, rotation=90 if max(map(len, names)) > 2 else 0)
        bar = figure.colorbar(errors, ax=grid, location="bottom", shrink=0.8, aspect=34, pad=0.01)
        bar.ax.xaxis.set_major_formatter(lambda share, _: f"{round(100 * share, 1):g} %")
        bar.outline.set_visible(False)
        drawn = f", of {matched} errors each" if matched else ""
        evenly = f"\nbits{drawn}: 0 if errors go to one class, "
        evenly += f"{np.log2(size - 1):.1f} if to all evenly"
        label = "share of a class (down) read as another (across)"
        bar.set_label(label + evenly * bool(entropies))
    return figure


def _title(title: str, count: np.ndarray, bits: Mapping[str, float] | None) -> str:
    correct = f"{round(100 * np.trace(count) / max(count.sum(), 1))} % correct"
    spread = f", {bits[title]:.2f} bits" if bits and title in bits else ""
    return f"{fill(title, 26)}\n{correct}{spread}"
