"""Stored rows beside the numbers that the paper's prose still holds of its lost table."""

from __future__ import annotations

from washout import papers
from washout.chapters.chapter2.claims import claims
from washout.chapters.chapter2.grid import NETS, PRINTED, WORDS, Grid, Rows
from washout.report import Judgment, Verdict, verdict
from washout.store import Row

PRINTED_SETS = {"mnist": "mnist", "cifar": "cifar10"}


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
    return [_cell(grid, id_) for grid in [Grid(cells)] for id_ in _figure6()]


def other_pgd(cells: Rows) -> list[Verdict]:
    """PGD's numbers once more, by the iterate at the smallest epsilon; these are not counted."""
    grid = Grid(cells)
    return [_cell(grid, id_, "pgd-min-eps") for id_ in _figure6() if id_.split("/")[3] == "pgd"]


def _figure6() -> list[str]:
    return [id_ for id_ in papers.load("tan2019").numbers if id_.split("/")[1] == "fig6"]


def _cell(grid: Grid, id_: str, label: str = "") -> Verdict:
    """One number beside its cell.

    Args:
        label: of the attack, if not the one that the number names.
    """
    _, _, word, attack, defense = id_.split("/")
    row = grid.row(PRINTED_SETS[word], label or attack, defense)
    right = (None, None) if row is None else (row.values["correct"], row.values["n"])
    own = grid.comparable(PRINTED_SETS[word], defense)
    comparable = row is None or (row.spec["net"] in NETS and own)
    return verdict(papers.load("tan2019").numbers[id_], *right, comparable=comparable)


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
