"""Images before and after a defense washed them, and how patches are stitched together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from washout.checks import check_count
from washout.figures.style import (
    ATTACKED,
    CLEAN,
    COLORS,
    DASHES,
    INK,
    SOFT,
    WIDTH,
    bare,
    drawing,
    picture,
    show_change,
    show_image,
)

STITCHED = 9  # pixels a side: beyond it a count no longer fits its pixel on a phone
ROOM = {2: (22, 10), 3: (16, 10), 4: (11, 9)}  # letters below a panel and their smaller size
LEGEND = "✓ the class of the image    ✗ another class\nchange: orange is brighter, blue is darker"


def washed(
    original: ArrayLike,
    attacked: ArrayLike,
    defended: Mapping[str, ArrayLike],
    label: str,
    said: Sequence[str],
    *,
    columns: int = 3,
    zoom: tuple[int, int, int] | None = None,
) -> Figure:
    """One image, what an attack changed in it, and what each defense makes of it.

    Args:
        original: (H, W), (H, W, C) or (C, H, W); uint8 or in [0, 1].
        attacked: the same after the attack.
        defended: defense -> the attacked image as the defense gives it to the classifier.
        label: the class of the image; of a list of names, the first is shown.
        said: the classifier's words for the original, the attacked image and each defended one.
        columns: panels in a row, 2 to 4.
        zoom: (top, left, side) in pixels of a square that each panel also shows enlarged.

    The change is colored up to its largest, which stands below it.

    Alt text: name the dataset, the class and the attack with its size, give the classifier's word
    before and after it and for each defense, and say what each defense does to the picture (blur,
    blocks, seams between patches).

    Raises:
        ValueError: no defense, images of different shapes, a word too few or too many, or a zoom
            outside the image.
    """
    if columns not in ROOM:
        raise ValueError(f"columns: got {columns}; allowed are {', '.join(map(str, ROOM))}")
    if not defended or len(said) != 2 + len(defended):
        raise ValueError(
            f"said: got {len(said)} words for {len(defended)} defended images; give at least one "
            "defense, and a word for the original, the attacked and each defended image"
        )
    before = picture(original)
    others = {"attacked": picture(attacked)} | {n: picture(i) for n, i in defended.items()}
    for name, image in others.items():
        if image.shape != before.shape:
            raise ValueError(
                f"{name}: got shape {image.shape} beside {before.shape}; "
                "give images of the original's shape"
            )
    if zoom and not (
        min(zoom[:2]) >= 0 < zoom[2] and max(zoom[:2]) + zoom[2] <= min(before.shape[:2])
    ):
        raise ValueError(
            f"zoom: got {zoom}; allowed is (top, left, side) of a square within "
            f"{before.shape[0]} x {before.shape[1]} pixels"
        )
    limit = float(np.abs(others["attacked"] - before).max())
    panels = [("original", before), ("attacked", others.pop("attacked")), *others.items()]
    rows = -(-(len(panels) + 1) // columns)
    lines = max(_title(name, columns).count("\n") for name in others) + 1
    with drawing(height=rows * (0.94 * WIDTH / columns + 0.3 + 0.18 * lines) + 0.45) as figure:
        figure.set_layout_engine("constrained", h_pad=0.08)
        grid = list(figure.subplots(rows, columns, squeeze=False).flat)
        change = grid.pop(2)
        change.set_title("change", loc="center")
        change.set_xlabel(f"at most {limit:.2g}", color=SOFT)
        for axes in _with_zoom(change, zoom, before.shape):
            show_change(axes, before, panels[1][1], limit or 1.0)
        for axes, (name, image), word in zip(grid, panels, said, strict=False):
            axes.set_title(_title(name, columns), loc="center")
            _says(axes, word, label, columns)
            for part in _with_zoom(axes, zoom, before.shape):
                show_image(part, image)
        for axes in grid[len(panels) :]:
            axes.axis("off")
        figure.supxlabel(LEGEND, fontsize=10.5, color=SOFT)
    return figure


def _title(name: str, columns: int) -> str:
    return fill(name, 45 // columns)


def _says(axes: Axes, word: str, label: str, columns: int) -> None:
    """The classifier's word below its panel, with a sign and a color for right or wrong."""
    short, (room, small) = word.split(",")[0], ROOM[columns]
    short = short if len(short) <= room else short[: room - 1].rstrip() + "…"
    right = word == label
    axes.set_xlabel(
        f"{'✓' if right else '✗'} “{short}”",
        color=CLEAN if right else ATTACKED,
        fontsize=11 if len(short) < 0.8 * room else small,
        weight="normal" if right else "bold",
    )


def _with_zoom(axes: Axes, zoom: tuple[int, int, int] | None, shape: tuple[int, ...]):
    """The axes and, if there is a zoom, a second one in the corner that is farthest from it."""
    yield axes
    if not zoom:
        return
    top, left, side = zoom
    share = 0.46
    corner = (
        0 if left + side / 2 > shape[1] / 2 else 1 - share,
        1 - share if top + side / 2 > shape[0] / 2 else 0,
    )
    inset = axes.inset_axes((*corner, share, share))
    yield inset
    inset.set(xlim=(left - 0.5, left + side - 0.5), ylim=(top + side - 0.5, top - 0.5))
    for color, width in ((INK, 3), ("white", 1.2)):  # seen on dark and on light ground
        frame: dict[str, Any] = {"fill": False, "edgecolor": color, "linewidth": width, "zorder": 6}
        axes.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, **frame))
        axes.add_patch(Rectangle(corner, share, share, transform=axes.transAxes, **frame))


def stitching(size: int = 3, stride: int = 1, side: int = 5) -> Figure:
    """Patches over an image, and how many of them each pixel averages (Luo & Pfister, Figure 4).

    Args:
        size: of a patch, in pixels.
        stride: from a patch to the next, in pixels.
        side: of the image, in pixels. Where the patches do not end with the image, they reach over
            pixels that are mirrored at its right and lower edge and cut off again.

    Alt text: give the patches' size, stride and number, and the least and the largest number of
    patches that cover a pixel, with where those pixels lie.

    Raises:
        ValueError: a stride that leaves gaps, patches larger than the image, or an image of more
            than 9 pixels a side.
    """
    check_count(size, 1, "size"), check_count(stride, 1, "stride"), check_count(side, 1, "side")
    if not stride <= size <= side <= STITCHED:
        raise ValueError(
            f"size, stride, side: got {size}, {stride}, {side}; "
            f"allowed is stride <= size <= side <= {STITCHED}"
        )
    across = -(-(side - size) // stride) + 1  # patches from left to right
    starts = [stride * index for index in range(across)]
    whole = starts[-1] + size
    counts = np.zeros((whole, whole), dtype=int)
    for top in starts:
        for left in starts:
            counts[top : top + size, left : left + size] += 1
    corners = [(top, left) for top in starts for left in starts]
    with drawing(height=3.75) as figure:
        first, second = figure.subplots(1, 2)
        for axes in (first, second):
            _pixels(axes, side, whole)
        for index, (top, left) in enumerate(dict.fromkeys([*corners[:2], corners[-1]])):
            _patch(first, index, top, left, size, f"{corners.index((top, left)) + 1}")
        second.imshow(
            counts[:side, :side],
            cmap="Blues",
            vmin=0,
            vmax=1.6 * counts.max(),
            extent=(0, side, side, 0),
        )
        for row, column in np.ndindex(side, side):
            second.text(
                column + 0.5,
                row + 0.5,
                str(counts[row, column]),
                ha="center",
                va="center",
                fontsize=14 if side < 7 else 11,
            )
        many = f"{len(corners)} patches" if len(corners) > 1 else "1 patch"
        first.set_title(f"{many} of {size} × {size},\nstride {stride}", loc="center")
        second.set_title("how many patches\ncover each pixel", loc="center")
        mirrored = "\ndotted: mirrored pixels" if whole > side else ""
        first.set_xlabel(f"each is reconstructed\non its own{mirrored}")
        second.set_xlabel("the sum of the patches\nis divided by it")
    return figure


def _pixels(axes: Axes, side: int, whole: int) -> None:
    """The image's pixels and, dotted, the mirrored ones that only the patches see."""
    bare(axes)
    for place in range(whole + 1):
        style: dict[str, Any] = {"color": SOFT, "linewidth": 0.7, "linestyle": ":"}
        axes.plot([place, place], [0, whole], **style)
        axes.plot([0, whole], [place, place], **style)
    for place in range(side + 1):
        axes.plot([place, place], [0, side], color=SOFT, linewidth=0.9)
        axes.plot([0, side], [place, place], color=SOFT, linewidth=0.9)
    axes.set(xlim=(-0.1, whole + 0.1), ylim=(whole + 0.1, -0.1), aspect="equal")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.add_patch(Rectangle((0, 0), side, side, fill=False, edgecolor=INK, linewidth=2))


def _patch(axes: Axes, index: int, top: int, left: int, size: int, number: str) -> None:
    """A patch's outline, drawn a little smaller where another one would hide it."""
    inside, color = 0.06 + 0.05 * index, COLORS[index]
    axes.add_patch(
        Rectangle(
            (left + inside, top + inside),
            size - 2 * inside,
            size - 2 * inside,
            facecolor=color + "26",
            edgecolor=color,
            linewidth=2.4,
            linestyle=DASHES[index],
            zorder=3 + index,
        )
    )
    axes.text(
        left + 0.5,
        top + 0.5,
        number,
        color=color,
        weight="bold",
        ha="center",
        va="center",
        zorder=9,
    )
