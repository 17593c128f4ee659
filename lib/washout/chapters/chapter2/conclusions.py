"""The chapter's last words, made from the rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from washout import papers
from washout.chapters.chapter2 import adaptive
from washout.chapters.chapter2.grid import NAMES, Grid, Rows
from washout.chapters.chapter2.settings import SEARCHES, columns, kind
from washout.chapters.chapter2.views import attack_name, name

PLAIN = ("jpeg", "gauss", "kmeans", "tvm")  # defenses that are the paper's at every profile
THREE = ("fgsm-min", "pgd-min", "cw-fb2")


def conclusion(cells: Rows, knowing: Rows) -> str:
    """A paragraph a dataset: with a budget, after the searches, beside noise, who knows."""
    grid = Grid(cells)
    said = []
    for dataset in grid.datasets:
        parts = [
            _explained(grid, dataset),
            _jpeg(grid, dataset),
            _tvm(grid, dataset),
            _deepfool(grid, dataset),
            adaptive.summary(knowing, dataset),
        ]
        known = " ".join(part for part in parts if part)
        if known:
            said.append(f"- **{grid.called(dataset)}.** {known}")
    return "\n".join(said) if said else "*Not computed yet.*"


def _explained(grid: Grid, dataset: str) -> str:
    """What each plain defense leaves at the smallest change, with the budget, and of clean."""
    eps = "0.3" if kind(dataset) == "gray" else "8/255"
    searched, spent = ("fgsm-min", "pgd-min"), (f"fgsm-{eps}", f"pgd-{eps}")
    said: list[str] = []
    kept: list[str] = []
    lost: list[str] = []
    for defense in PLAIN:
        found = [grid.mean(dataset, labels, [defense]) for labels in (searched, spent)]
        clean = grid.clean(dataset, defense)
        if clean is None or any(bits is None for bits in found):
            return ""
        small, large = (float(bits.mean()) for bits in found if bits is not None)
        said.append(
            f"{NAMES[defense]} {100 * small:.0f}, {100 * large:.0f}, {100 * clean.mean():.0f}"
        )
        (kept if large >= clean.mean() / 2 else lost).append(NAMES[defense])
    words = (
        f"After FGSM and PGD at their smallest change, with ε {eps}, and of clean images, "
        f"defenses leave in %: {'; '.join(said)}."
    )
    if lost:
        words += (
            " With attacks that spend the budget, less than half of what is left of clean images "
            f"is left behind {_and(lost)}."
        )
    if kept:
        words += (
            " At least half of what is left of clean images is left, whatever the attack spends, "
            f"behind {_and(kept)}."
        )
    return words


def _and(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _listed(grid: Grid, dataset: str, defense: str, attacks: Sequence[str]) -> str:
    """``81, 81 and 97 %``; nothing if a cell is missing."""
    found = [grid.bits(dataset, a, defense) for a in attacks]
    if not found or any(bits is None for bits in found):
        return ""
    *first, last = [f"{100 * bits.mean():.0f}" for bits in found if bits is not None]
    return f"{', '.join(first)} and {last} %" if first else f"{last} %"


def _jpeg(grid: Grid, dataset: str) -> str:
    """JPEG and noise as large as its own change, after each search; JPEG with the budget."""
    budget = "pgd-0.3" if kind(dataset) == "gray" else "pgd-8/255"
    there = [a for a in SEARCHES if grid.bits(dataset, a, "jpeg") is not None]
    small, spent = (_listed(grid, dataset, "jpeg", a) for a in (there, [budget]))
    if not small or not spent:
        return ""
    noise = _listed(grid, dataset, "noise:jpeg90", there)
    said = f"JPEG 90 leaves {small} ({'; '.join(map(attack_name, there))})"
    if dataset == "mnist":
        printed = papers.load("tan2019").numbers["tan2019/fig6/mnist/fgsm/jpeg"].printed
        said += f", where the paper has {printed} for all but DeepFool"
    said += f"; random noise as large as JPEG's own change {noise}" if noise else ""
    return f"{said}. Once PGD spends {attack_name(budget).split(', ')[1]}, JPEG leaves {spent}."


def _tvm(grid: Grid, dataset: str) -> str:
    after, clean = _listed(grid, dataset, "tvm", THREE), _listed(grid, dataset, "tvm", ["none"])
    if not after or not clean:
        return ""
    noise = _listed(grid, dataset, "noise:tvm", THREE)
    printed = papers.load("tan2019").numbers["tan2019/fig6/mnist/fgsm/tvm"].printed
    where = "; ".join(map(attack_name, THREE))
    said = f"TVM leaves {after} ({where}; the paper has {printed}) and {clean} of clean images"
    return said + (f"; noise of its size {noise}." if noise else ".")


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
