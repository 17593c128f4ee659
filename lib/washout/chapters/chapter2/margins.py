"""What defenses restore by how far past the boundary an image was sent (hypothesis H2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from washout import figures
from washout.chapters.bits import unpacked, unpacked_floats
from washout.chapters.chapter2.grid import WORDS, Grid, Rows
from washout.chapters.chapter2.settings import SEARCHES, VQ, kind
from washout.chapters.chapter2.views import SETS, attack_name, present
from washout.chapters.shown import nothing, stored
from washout.figures.boundary import within_attacks
from washout.metrics import wilson
from washout.metrics.intervals import quantile

# Names for one picture would be too many; these stand in the tables.
UNDRAWN = ("deepfool-softmax", "cw-short", "cw-short-color", "cw-0.3", "deepfool-0.3")
# Logits of ten have a last digit of a millionth: margins below this are rounding noise, and are
# put here, where a logarithmic axis can show them.
LEAST = 1e-4
NEAR, FAR = 0.1, 3.0  # logits
GROUPS, ENOUGH = 4, 18  # of an attack's images; the fewest in one
DRAWN = WORDS[1:6]
SHORT = dict(
    zip(WORDS, ("none", "JPEG", "Gauss", "K-means", "TVM", *(f"VQ {w[5:]}" for w in VQ)),
        strict=True)
)  # fmt: skip
NEARLY = 0.05  # restored: where fewer than this share differ from the rest, no order can show

Turned = tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]]


def turned(cells: Rows, attacks: Rows, dataset: str) -> Iterator[Turned]:
    """For each attack and the images that it turns: margin and L2; who is right, by defense."""
    found = Grid(cells)
    for row in stored(attacks, dataset=dataset):
        v, label = row.values, row.spec["attack"]
        if "-" in row.spec["net"] or row.spec.get("whole") or label in UNDRAWN:
            continue
        over = unpacked(v["right"], v["n"]) & unpacked(v["wrong"], v["n"])
        if over.sum() < 5:
            continue
        bits = {word: found.bits(dataset, label, word) for word in DRAWN}
        # Of another profile they may be of other images.
        known = {w: b[over] for w, b in bits.items() if b is not None and len(b) == len(over)}
        sizes = {
            "margin": np.maximum(unpacked_floats(v["margins"])[over], LEAST),
            "l2": unpacked_floats(v["sizes"]["l2"])[over],
        }
        yield label, sizes, known


def ceilings(cells: Rows, dataset: str) -> dict[str, float]:
    """Of clean images that the bare classifier reads rightly, the share kept by each defense."""
    found = Grid(cells)
    right = found.clean(dataset)
    if right is None or not right.any():
        return {}
    clean = {word: found.clean(dataset, word) for word in DRAWN}
    return {SHORT[w]: float(bits[right].mean()) for w, bits in clean.items() if bits is not None}


# ---- pictures ----------------------------------------------------------------------------------
def boundary(cells: Rows, attacks: Rows, dataset: str) -> Figure | None:
    """Accuracy after each defense against the median margin of each attack."""
    own = [r for r in attacks if r.spec["dataset"] == dataset]
    if nothing(own, f"margins of {SETS.get(dataset, dataset)}"):
        return None
    points: dict[str, list] = {}
    for label, sizes, bits in turned(cells, own, dataset):
        margin = float(np.median(sizes["margin"]))
        for word, right in bits.items():
            points.setdefault(SHORT[word], []).append((margin, _rate(right), attack_name(label)))
    if not points:
        return None
    return figures.past_boundary(
        {k: sorted(line, key=lambda point: point[0]) for k, line in points.items()},
        xlabel="median logit margin past the boundary",
        ylabel="accuracy on images that were turned",
        ceilings=ceilings(cells, dataset),
    )


def within(cells: Rows, attacks: Rows, dataset: str) -> Figure | None:
    """The same image by image: each attack's images in groups by their own margin."""
    own = [r for r in attacks if r.spec["dataset"] == dataset]
    if nothing(own, f"margins of {SETS.get(dataset, dataset)}"):
        return None
    budget = "pgd-0.3" if kind(dataset) == "gray" else "pgd-8/255"
    panels: dict[str, dict[str, list]] = {SHORT[word]: {} for word in DRAWN}
    there = {label: found for label, *found in turned(cells, own, dataset)}
    for label in (*SEARCHES, "deepfool-x2", budget):
        if label not in there:
            continue
        sizes, bits = there[label]
        for index in grouped(sizes["margin"]):
            middle = float(np.median(sizes["margin"][index]))
            for word, right in bits.items():
                lines = panels[SHORT[word]].setdefault(attack_name(label), [])
                lines.append((middle, _rate(right[index])))
    panels = {name: lines for name, lines in panels.items() if lines}
    if not panels:
        display(Markdown("*Not part of a run for this attack or defense.*"))
        return None
    return within_attacks(
        panels,
        xlabel="logit margin past the boundary, of single images",
        ylabel="accuracy on images that were turned",
        ceilings=ceilings(cells, dataset),
    )


def grouped(margins: np.ndarray) -> list[np.ndarray]:
    """Indices in groups by margin: those at the floor, and the rest in groups of equal size."""
    floor = np.flatnonzero(margins <= LEAST)
    rest = np.flatnonzero(margins > LEAST)
    if min(len(floor), len(rest)) < ENOUGH:
        floor, rest = floor[:0], np.arange(len(margins))
    order = rest[np.argsort(margins[rest], kind="stable")]
    parts = np.array_split(order, np.clip(len(order) // ENOUGH, 1, GROUPS))
    return [part for part in (floor, *parts) if len(part)]


def _rate(right: np.ndarray) -> tuple[float, float, float]:
    k, n = int(right.sum()), len(right)
    return (k / n, *wilson(k, n))


# ---- rank correlations -------------------------------------------------------------------------
def correlation(sizes: np.ndarray, right: np.ndarray) -> float | None:
    """Rank correlation of a size and of being restored; None where nearly all or none are."""
    if not NEARLY <= right.mean() <= 1 - NEARLY or len(np.unique(sizes)) < 2:
        return None
    _, place, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # ties share their mean rank
    return float(np.corrcoef(ranks, right)[0, 1])


def telling(found: float, n: int) -> bool:
    """Whether a rank correlation differs from 0 (95 %, by its large-sample error)."""
    return abs(found) * np.sqrt(n - 1) > quantile(0.95)


def orders(cells: Rows, attacks: Rows, dataset: str, word: str) -> dict[str, tuple[float, int]]:
    """attack -> rank correlation of margin and being restored by a defense, number of images."""
    found = {}
    for label, sizes, bits in turned(cells, attacks, dataset):
        if word in bits:
            value = correlation(sizes["margin"], bits[word])
            if value is not None:
                found[label] = (value, len(bits[word]))
    return found


def restored(
    cells: Rows, attacks: Rows, dataset: str, word: str, labels: Sequence[str]
) -> tuple[float | None, float | None]:
    """Over these attacks, the share restored of images near the boundary, and far past it."""
    found = [
        (sizes["margin"], bits[word])
        for label, sizes, bits in turned(cells, attacks, dataset)
        if label in labels and word in bits
    ]
    if not found:
        return None, None
    margins, right = (np.concatenate(parts) for parts in zip(*found, strict=True))
    near, far = right[margins <= NEAR], right[margins > FAR]
    return (
        float(near.mean()) if len(near) else None,
        float(far.mean()) if len(far) else None,
    )


def show_orders(cells: Rows, attacks: Rows, dataset: str) -> None:
    """For each attack: does a larger margin, or a larger L2, go with not being restored?"""
    own = [r for r in attacks if r.spec["dataset"] == dataset]
    lines = []
    for label, sizes, bits in turned(cells, own, dataset):
        if not bits:
            continue
        low, middle, high = np.quantile(sizes["margin"], (0.1, 0.5, 0.9))
        line: dict[str, Any] = {
            "attack": attack_name(label),
            "images": len(sizes["margin"]),
            "margin: median [10 to 90 %]": f"{_short(middle)} [{_short(low)}, {_short(high)}]",
        }
        for word in DRAWN:
            line[SHORT[word]] = _told(sizes["margin"], bits.get(word))
        line["JPEG and L2"] = _told(sizes["l2"], bits.get("jpeg"))
        if any(line[SHORT[word]] != "–" for word in DRAWN):
            lines.append(line)
    caption = (
        f"Rank correlation of an image's margin and of being restored, {SETS.get(dataset, dataset)}"
        ": below 0 if it is the smaller margins that are restored; a star where it differs from 0 "
        "(95 %), a dash where nearly all or none are."
    )
    present(own, lines, caption, f"margins-{dataset}")


def _told(sizes: np.ndarray, right: np.ndarray | None) -> str:
    value = None if right is None else correlation(sizes, right)
    if value is None or right is None:
        return "–"
    star = "*" if telling(value, len(right)) else ""
    return f"{signed(value)}{star}"


def signed(value: float) -> str:
    """``−0.58``."""
    return f"{value:+.2f}".replace("-", "−")


def _short(margin: float) -> str:
    if margin <= LEAST:
        return f"≤ {LEAST:g}"
    return f"{margin:.0f}" if margin >= 10 else f"{margin:.2g}"
