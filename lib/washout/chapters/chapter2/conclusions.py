"""The chapter's last words, made from the rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from washout.chapters.chapter2 import adaptive
from washout.chapters.chapter2.grid import NAMES, WORDS, Grid, Rows
from washout.chapters.chapter2.settings import columns, kind
from washout.chapters.chapter2.views import attack_name, name, present

PLAIN = ("jpeg", "gauss", "kmeans", "tvm")  # defenses that are the paper's at every profile


def show(cells: Rows) -> None:
    """What each plain defense leaves at the smallest change, of a budget, and of clean images."""
    grid = Grid(cells)
    lines = []
    for dataset in grid.datasets:
        full = dict(zip(WORDS, columns(dataset), strict=True))
        searched, spent = _attacks(dataset)
        for defense in PLAIN:
            found = {
                "FGSM and PGD, smallest change": grid.mean(dataset, searched, [defense]),
                "the same, noise as large": grid.mean(
                    dataset, searched, [f"noise:{full[defense]}"]
                ),
                f"FGSM and PGD, {BUDGET}": grid.mean(dataset, spent, [defense]),
                "clean": grid.clean(dataset, defense),
            }
            known = {what: bits for what, bits in found.items() if bits is not None}
            if "clean" in known:
                line = {"dataset": grid.called(dataset), "defense": NAMES[defense]}
                left = {w: f"{100 * known[w].mean():.0f} %" if w in known else "" for w in found}
                lines.append({**line, **left})
    rows = [row for row in cells if not row.spec.get("whole")]
    caption = f"Accuracy behind each defense; {BUDGET} is ε 0.3 on digits, 8/255 in color."
    present(rows, lines, caption, "conclusion")


BUDGET = "whole budget"


def _attacks(dataset: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """The searches, and the same attacks with their budget."""
    eps = "0.3" if kind(dataset) == "gray" else "8/255"
    return ("fgsm-min", "pgd-min"), (f"fgsm-{eps}", f"pgd-{eps}")


def conclusion(cells: Rows, knowing: Rows) -> str:
    """A paragraph a dataset: what a budget leaves, JPEG beside noise, DeepFool, who knows."""
    grid = Grid(cells)
    said = []
    for dataset in grid.datasets:
        parts = [
            _explained(grid, dataset),
            _jpeg(grid, dataset),
            _deepfool(grid, dataset),
            adaptive.summary(knowing, dataset),
        ]
        known = " ".join(part for part in parts if part)
        if known:
            said.append(f"- **{grid.called(dataset)}.** {known}")
    return "\n".join(said) if said else "*Not computed yet.*"


def _explained(grid: Grid, dataset: str) -> str:
    """Behind which defenses the budget takes most of what the smallest change leaves."""
    searched, spent = _attacks(dataset)
    lost, kept = [], []
    for defense in PLAIN:
        small, large = (grid.mean(dataset, labels, [defense]) for labels in (searched, spent))
        clean = grid.clean(dataset, defense)
        if small is None or large is None or clean is None:
            return ""
        if large.mean() < small.mean() / 2:
            lost.append(NAMES[defense])
        else:
            share = f"{100 * large.mean():.0f} of {100 * clean.mean():.0f} % when clean"
            kept.append(f"{NAMES[defense]} ({share})")
    eps = spent[0].removeprefix("fgsm-")
    said = ""
    if lost:
        said = (
            f"Less than half of what is left at the smallest change is left once FGSM and PGD "
            f"spend ε {eps}, behind {_and(lost)}."
        )
    return f"{said} Most of it stays behind {_and(kept)}.".strip() if kept else said


def _and(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _jpeg(grid: Grid, dataset: str) -> str:
    """JPEG beside noise as large as its own change, after the searches."""
    found = [grid.mean(dataset, _attacks(dataset)[0], [d]) for d in ("jpeg", "noise:jpeg90")]
    if any(bits is None for bits in found):
        return ""
    jpeg, noise = (f"{100 * bits.mean():.0f} %" for bits in found if bits is not None)
    return (
        f"At the smallest change JPEG 90 leaves {jpeg}, random noise as large as its own {noise}."
    )


def _deepfool(grid: Grid, dataset: str) -> str:
    """The paper's "under 10 %": as the library ran it on one image, and on a batch."""
    said = []
    own = [d for d in columns(dataset)[1:] if grid.comparable(dataset, d)]
    for label in ("deepfool-fb2", "deepfool-batch64"):
        rates = [bits.mean() for d in own if (bits := grid.bits(dataset, label, d)) is not None]
        if rates:
            low, high = 100 * np.min(rates), 100 * np.max(rates)
            said.append(f"{low:.0f} to {high:.0f} % ({attack_name(label)})")
    if not said:
        return ""
    names = ", ".join(name(d) for d in own)
    return f"After DeepFool {names} leave {' and '.join(said)}; the paper has under 10 %."
