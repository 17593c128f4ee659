"""Images, what an attack changed in them, and what the classifier says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from washout.checks import check_count
from washout.figures.style import ATTACKED, CLEAN, SOFT, drawing, picture, show_change, show_image


def image_grid(
    clean: Sequence[ArrayLike],
    adversarial: Sequence[ArrayLike],
    labels: Sequence[str],
    predictions: Sequence[str],
    *,
    notes: Sequence[str] | None = None,
) -> Figure:
    """Original, change and attacked image, a row for each, with the classifier's words.

    Args:
        clean: images, uint8 or in [0, 1]; (H, W), (H, W, C) or (C, H, W).
        adversarial: the same after the attack.
        labels: what each image shows and the classifier said before.
        predictions: what it says after.
        notes: a word at the left of each row, such as the attack's name.

    A change is colored up to the row's largest, which stands below it.

    Alt text: name the attacks and datasets, say for one row what the image shows, where the change
    lies and how large it is, and what the classifier says before and after.

    Raises:
        ValueError: no images, or lists of different lengths.
    """
    count = len(clean)
    others = [adversarial, labels, predictions] + ([] if notes is None else [notes])
    if not count or any(len(other) != count for other in others):
        raise ValueError(
            f"clean: got {count} images beside {[len(o) for o in others]} attacked ones, labels, "
            "predictions and notes; give one of each for every image"
        )
    before, after = [picture(i) for i in clean], [picture(i) for i in adversarial]
    limits = [float(np.abs(a - b).max()) for a, b in zip(after, before, strict=True)]
    with drawing(height=1.75 * count + 0.6) as figure:
        grid = figure.subplots(count, 3, squeeze=False)
        for row, b, a, limit in zip(grid, before, after, limits, strict=True):
            show_image(row[0], b)
            show_change(row[1], b, a, limit or 1.0)
            show_image(row[2], a)
            row[1].set_xlabel(f"at most {limit:#.2g}", color=SOFT)
        for axes, title in zip(grid[0], ("original", "change", "attacked"), strict=True):
            axes.set_title(title, loc="center")
        for index, row in enumerate(grid):
            said, says = str(labels[index]), str(predictions[index])
            fooled = said != says
            row[0].set_xlabel(f"“{said}”", color=CLEAN)
            sign = "✗" if fooled else "✓"
            row[2].set_xlabel(f"{sign} “{says}”", color=ATTACKED if fooled else CLEAN)
            row[2].xaxis.label.set_fontweight("bold" if fooled else "normal")
            if notes is not None:
                row[0].set_ylabel(notes[index])
        figure.supxlabel("change: orange is brighter, blue is darker", fontsize=10.5, color=SOFT)
    return figure


def strip(images: Mapping[str, ArrayLike], *, columns: int = 2) -> Figure:
    """Images beside each other, each with its name above.

    Args:
        images: name -> (H, W), (H, W, C) or (C, H, W); uint8 or in [0, 1].
        columns: images in a row, at least 1.

    Alt text: say what the first image shows and what differs in each of the others.

    Raises:
        ValueError: no images.
    """
    if not images:
        raise ValueError("images: got none; give at least one, by its name")
    rows = -(-len(images) // check_count(columns, 1, "columns"))
    with drawing(height=2.85 * rows * 2 / columns) as figure:
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes in grid[len(images) :]:
            axes.set_visible(False)
        for axes, (name, image) in zip(grid, images.items(), strict=False):
            show_image(axes, picture(image))
            axes.set_title(name, loc="center")
    return figure
