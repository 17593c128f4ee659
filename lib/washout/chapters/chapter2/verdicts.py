"""Stored rows beside the numbers that the paper's prose still holds of its lost table."""

from __future__ import annotations

from washout import papers
from washout.chapters.chapter2.claims import claims
from washout.chapters.chapter2.grid import PRINTED, WORDS, Grid, Rows
from washout.report import Judgment, Verdict, verdict
from washout.store import Row

PRINTED_SETS = {"mnist": "mnist", "cifar": "cifar10"}
NETS = ("lenet", "densenet")  # the paper's; others stand in for them


def baseline(rows: Rows) -> list[Verdict]:
    """Clean accuracy beside the paper's."""
    numbers = papers.load("tan2019").numbers
    found = []
    for word, dataset in PRINTED_SETS.items():
        own = [r for r in rows if r.spec["dataset"] == dataset and "-" not in r.spec["net"]]
        row = own[0] if own else None
        right = (row.values["correct"], row.values["n"]) if isinstance(row, Row) else (None, None)
        comparable = row is None or row.spec["net"] in NETS
        found.append(verdict(numbers[f"tan2019/baseline/{word}"], *right, comparable=comparable))
    return found


def figure6(cells: Rows) -> list[Verdict]:
    """The main table's numbers, each attack as foolbox 2 searched it."""
    grid = Grid(cells)
    found = []
    for id_, number in papers.load("tan2019").numbers.items():
        _, part, *place = id_.split("/")
        if part != "fig6":
            continue
        word, attack, defense = place
        row = grid.row(PRINTED_SETS[word], attack, defense)
        right = (None, None) if row is None else (row.values["correct"], row.values["n"])
        narrow = row is not None and defense.startswith("vqvae") and row.profile != "paper"
        comparable = row is None or (row.spec["net"] in NETS and not narrow)
        found.append(verdict(number, *right, comparable=comparable))
    return found


def printed(dataset: str) -> dict[str, dict[str, str]]:
    """The paper's words for a dataset's cells: attack -> column -> text."""
    words = {name: word for word, name in PRINTED_SETS.items()}
    found: dict[str, dict[str, str]] = {}
    for id_, number in papers.load("tan2019").numbers.items():
        _, part, *place = id_.split("/")
        if part == "fig6" and place[0] == words.get(dataset):
            text = number.printed.removesuffix(" %").removesuffix(".00")
            found.setdefault(PRINTED[place[1]], {})[place[2]] = text
    return found


def all_verdicts(
    baselines: Rows, cells: Rows, attacks: Rows, vqs: Rows
) -> list[Verdict | Judgment]:
    """Everything that the front page counts."""
    return [*baseline(baselines), *figure6(cells), *claims(cells, attacks, vqs)]


__all__ = ["WORDS", "all_verdicts", "baseline", "claims", "figure6", "printed"]
