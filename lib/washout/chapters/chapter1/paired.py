"""Stored bits image by image: two columns of the same images, JPEG at its best quality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from washout.chapters.bits import unpacked
from washout.chapters.chapter1.betas import chosen_beta
from washout.chapters.chapter1.networks import PUBLISHED
from washout.chapters.chapter1.settings import KEPT
from washout.checks import check_choice
from washout.store import Row
from washout.study import Missing

Rows = Sequence[Row | Missing]
NETS = ("cnn", *PUBLISHED)  # the paper's network, or what stands for it
IMAGES = ("dataset", "net", "seed")  # with n, these say which images a row is about


def of_paper(rows: Rows, dataset: str) -> list[Row | Missing]:
    """One dataset's rows of the paper's network and the first seed that is there."""
    own = [row for row in rows if row.spec["dataset"] == dataset and row.spec["net"] in NETS]
    return [row for row in own if all(row.spec[k] == own[0].spec[k] for k in ("net", "seed"))]


def ladder(rows: Rows, dataset: str, attack: str) -> list[Row | Missing]:
    """One attack's rows as ``of_paper`` chooses them, the smallest perturbation first."""
    own = [row for row in of_paper(rows, dataset) if row.spec["attack"] == attack]
    return sorted(
        own, key=lambda row: row.spec["l2"] if "l2" in row.spec else row.spec.get("eps", 0)
    )


def bits(row: Row, column: str) -> np.ndarray:
    """Which images a column of a row gets right, (n,) bool."""
    check_choice(column, row.values["right"], "column")
    return unpacked(row.values["right"][column], row.values["n"])


def same_images(*rows: Row) -> bool:
    """Whether the rows are of the same images, read by the same network."""
    return len({(row.values["n"], *(row.spec[k] for k in IMAGES)) for row in rows}) == 1


def pairs(row_a: Row, column_a: str, row_b: Row, column_b: str) -> tuple[int, int]:
    """How many images only the first column gets right, and how many only the second.

    Raises:
        ValueError: the rows are not of the same images, or lack the column.
    """
    if not same_images(row_a, row_b):
        about = " and ".join(
            f"n={row.values['n']}, " + ", ".join(f"{k}={row.spec[k]}" for k in IMAGES)
            for row in (row_a, row_b)
        )
        raise ValueError(
            f"rows: got {about}; pairs need two rows of the same n, {', '.join(IMAGES)}"
        )
    a, b = bits(row_a, column_a), bits(row_b, column_b)
    return int((a & ~b).sum()), int((b & ~a).sum())


MARGIN = 0.02  # of the classifier's accuracy: a VAE that keeps so little less is as good


def shortfall(betas: Rows, dataset: str) -> str:
    """How much less of the clean accuracy our VAE keeps than the paper's; empty if as much.

    The paper's is the share that beta is chosen by; ours is what the chosen beta keeps on the
    selection images. Of several sizes of patches one that keeps too little is enough, as they are
    averaged and compared. Accuracy under attack plays no part.
    """
    found = []
    for size, asked in KEPT[dataset].items():
        own = [r for r in of_paper(betas, dataset) if isinstance(r, Row) and r.spec["size"] == size]
        if not own:
            continue
        beta = chosen_beta(own, dataset, size)
        (row,) = [row for row in own if row.spec["beta"] == beta]
        kept = row.values["correct"] / max(row.values["clean_correct"], 1)
        if kept < asked - MARGIN:
            which = f"for {size} pixels " if len(KEPT[dataset]) > 1 else ""
            found.append(f"{which}{100 * kept:.0f} %, the paper's about {100 * asked:.0f} %")
    return f"of the accuracy on clean images our VAE keeps {', '.join(found)}" if found else ""


class Best(NamedTuple):
    """JPEG at its best quality.

    Attributes:
        correct, n: its accuracy.
        qualities: the one that the even images are scored at, and the odd images'.
        bits: which images it gets right, (n,) bool.
    """

    correct: int
    n: int
    qualities: tuple[int, int]
    bits: np.ndarray


def best_quality(row: Row) -> Best:
    """JPEG at its best quality for one row, chosen on other images than it is scored on.

    The quality that is best on the odd images (counted from 0 in the row's order) is scored on the
    even ones, and the other way around. Of equally good ones the higher counts.

    Raises:
        ValueError: no column of the row is JPEG, or there are fewer than two images.
    """
    found = sorted(
        int(column.removeprefix("jpeg"))
        for column in row.values["right"]
        if column.startswith("jpeg") and column.removeprefix("jpeg").isdigit()
    )
    n = row.values["n"]
    if not found or n < 2:
        raise ValueError(
            f"row: got {n} images and JPEG qualities {found}; give a row with two images or more "
            "and columns such as jpeg23"
        )
    right = {quality: bits(row, f"jpeg{quality}") for quality in found}
    chosen, scored = [], np.zeros(n, dtype=bool)
    for half in (0, 1):
        best = max(found, key=lambda quality: (int(right[quality][1 - half :: 2].sum()), quality))
        scored[half::2] = right[best][half::2]
        chosen.append(best)
    return Best(int(scored.sum()), n, (chosen[0], chosen[1]), scored)
