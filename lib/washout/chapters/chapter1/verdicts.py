"""Stored rows beside what the paper prints: its numbers, and its claims."""

from __future__ import annotations

from washout import papers
from washout.chapters.chapter1.claims import claims
from washout.chapters.chapter1.paired import (
    Rows,
    best_quality,
    bits,
    ladder,
    of_paper,
    pairs,
    shortfall,
)
from washout.chapters.chapter1.settings import AUTO, EPS, GRIDS, L2
from washout.report import Judgment, Verdict, verdict
from washout.store import Row

PAPER = "luo2018"
NAMES = {"mnist": "mnist", "cifar10": "cifar", "nips2017": "nips"}
INCEPTION = "inception_v3"  # the paper's classifier of NIPS 2017
VAES = ("ours", "ens", *GRIDS["nips2017"])


def baseline(rows: Rows) -> list[Verdict]:
    """Clean accuracy of each of the paper's classifiers that the rows speak of."""
    known, found = papers.load(PAPER).numbers, []
    for dataset in AUTO:
        for row in of_paper(rows, dataset):
            counts = (row.values["correct"], row.values["n"]) if isinstance(row, Row) else _NONE
            number = known[f"{PAPER}/baseline/{NAMES[dataset]}"]
            found.append(verdict(number, *counts, comparable=_comparable(row.spec)))
    return found


def table4(rows: Rows, betas: Rows) -> list[Verdict]:
    """MNIST under FGSM."""
    return _table(rows, betas, 4, "mnist", "fgsm")


def table5(rows: Rows, betas: Rows) -> list[Verdict]:
    """CIFAR-10 under FGSM."""
    return _table(rows, betas, 5, "cifar10", "fgsm")


def table6(rows: Rows, betas: Rows) -> list[Verdict]:
    """NIPS 2017 under FGSM."""
    return _table(rows, betas, 6, "nips2017", "fgsm")


def table7(rows: Rows, betas: Rows) -> list[Verdict]:
    """NIPS 2017 under I-FGSM."""
    return _table(rows, betas, 7, "nips2017", "ifgsm")


def _table(rows: Rows, betas: Rows, table: int, dataset: str, attack: str) -> list[Verdict]:
    """A verdict on each printed cell of the lines that the rows speak of.

    A VAE that keeps less of clean images than the paper's is not the paper's: not comparable.
    """
    known, found = papers.load(PAPER).numbers, []
    weaker = bool(shortfall(betas, dataset))
    for row in ladder(rows, dataset, attack):
        labels, size = (L2, row.spec["l2"]) if "l2" in row.spec else (EPS, row.spec["eps"])
        line = f"{PAPER}/table{table}/L2={labels[dataset].get(size)}/"
        for id_, number in known.items():
            if id_.startswith(line):
                counts, column = _NONE, id_.removeprefix(line)
                if isinstance(row, Row):
                    counts = row.values["correct"][column], row.values["n"]
                same = _comparable(row.spec) and not (weaker and column in VAES)
                found.append(verdict(number, *counts, comparable=same))
    return found


_NONE = (None, None)


def _comparable(spec: dict) -> bool:
    return spec["dataset"] != "nips2017" or spec["net"] == INCEPTION


def all_verdicts(
    baselines: Rows, curves: Rows, controls: Rows, knowing: Rows, betas: Rows
) -> list[Verdict | Judgment]:
    """Everything that the paper prints and the rows decide, for the scorecard."""
    return [
        *baseline(baselines),
        *(found for table in (table4, table5, table6, table7) for found in table(curves, betas)),
        *claims(curves, controls, knowing, betas),
    ]


__all__ = [
    "PAPER",
    "all_verdicts",
    "baseline",
    "best_quality",
    "bits",
    "claims",
    "pairs",
    "shortfall",
    "table4",
    "table5",
    "table6",
    "table7",
]
