"""What all figures share: size, type, colors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

WIDTH = 5.4  # inches; a phone shows 65 pixels an inch, so 11 points are 10 pixels

# M. Okabe and K. Ito, Color Universal Design; yellow is left out, it is too pale for a line.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
CLEAN, ATTACKED = COLORS[0], COLORS[1]
INK, SOFT, RULE = "#1a1a1a", "#5a5f66", "#c9ced6"
DASHES = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    "-.",
    (0, (6, 1.5, 1, 1.5, 1, 1.5)),
    (0, (8, 3)),
    ":",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "////", "\\\\\\\\", "....", "xxxx", "||||", "----")

# Both ends of the same darkness: blue darkens the image, orange brightens it, white is no change.
CHANGE = LinearSegmentedColormap.from_list("change", [COLORS[0], "#ffffff", COLORS[1]])

_STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.fontsize": 10.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2,
    "lines.markersize": 5.5,
    "hatch.linewidth": 0.7,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
}


def check_series(series: Mapping[str, object]) -> None:
    """More series than colors, or none, is a ``ValueError``."""
    if not 1 <= len(series) <= len(COLORS):
        raise ValueError(
            f"series: got {len(series)}; allowed are 1 to {len(COLORS)}, else split the figure"
        )


@contextmanager
def drawing(
    height: float, width: float = WIDTH, layout: Literal["constrained", "none"] = "constrained"
) -> Iterator[Figure]:
    """A figure in the book's style, laid out when the block ends.

    It is closed to pyplot, so that a notebook shows it once, where its cell returns it.
    """
    with mpl.rc_context(_STYLE):
        figure = plt.figure(figsize=(width, height), layout=layout)
        try:
            yield figure
            figure.draw_without_rendering()
        finally:
            plt.close(figure)


def setup() -> None:
    """Let the running notebook show figures as PNG at twice the screen's resolution."""
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    set_matplotlib_formats("retina")


def picture(image: ArrayLike) -> np.ndarray:
    """An image for ``imshow``: (H, W) or (H, W, 3), floats in [0, 1].

    Args:
        image: (H, W), (H, W, 1 or 3) or (1 or 3, H, W); uint8, or floats in [0, 1].

    Raises:
        ValueError: another shape.
    """
    array = np.asarray(image)
    array = array / 255 if array.dtype == np.uint8 else array.astype(float)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] != 3):
        raise ValueError(
            f"image: got shape {np.shape(image)}; allowed are (H, W), (H, W, C) and (C, H, W) "
            "with C = 1 or 3"
        )
    return np.clip(array, 0, 1)


def bare(axes) -> None:
    """Take away ticks and grid, keep a thin frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color=RULE, linewidth=0.8)


def show_image(axes, image: np.ndarray) -> None:
    """Draw an image with sharp pixels."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    bare(axes)


def show_change(axes, before: np.ndarray, after: np.ndarray, limit: float) -> None:
    """Draw what an attack changed: orange is brighter, blue is darker, white is as it was.

    Args:
        limit: the change with the full color, in [0, 1].
    """
    change = after - before
    if change.ndim == 3:  # the color channels' mean: where and which way, not which color
        change = change.mean(axis=2)
    axes.imshow(change, cmap=CHANGE, vmin=-limit, vmax=limit, interpolation="nearest")
    bare(axes)
