"""What the chapters' pages share: picking stored rows, and a table or what is missing of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import Markdown, display

from washout.report import not_computed, show
from washout.store import Row
from washout.study import Missing

Rows = Sequence[Row | Missing]
SETS = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "nips2017": "NIPS 2017",
    "digits": "digits",
    "photos": "photos",
}


def percent(share: float | None) -> str:
    """``93 %``, or a dash where there is nothing to count."""
    return "–" if share is None else f"{100 * share:.0f} %"


def stored(rows: Rows, **spec: Any) -> list[Row]:
    """The rows that are there and whose specification has these values."""
    return [
        row
        for row in rows
        if isinstance(row, Row) and all(row.spec.get(k) == v for k, v in spec.items())
    ]


def present(
    rows: Rows,
    lines: Sequence[Mapping[Any, Any]],
    caption: str,
    name: str,
    data: pd.DataFrame | None = None,
) -> None:
    """The table, or what is missing of it and the command that computes it.

    Args:
        name: of the CSV file.
        data: what that file holds, if not the table itself.
    """
    if lines:
        show(pd.DataFrame(lines), caption=caption, name=name, rows=rows, data=data)
    for command in dict.fromkeys(row.command for row in rows if isinstance(row, Missing)):
        not_computed(caption.split(":")[0].rstrip("."), command)
    if not rows:
        display(Markdown("*Not part of a run for this attack, dataset or seed.*"))


def nothing(rows: Rows, what: str) -> bool:
    """Whether there is nothing to draw; says what is missing and the command that computes it."""
    if any(isinstance(row, Row) for row in rows):
        return False
    absent = [row.command for row in rows if isinstance(row, Missing)]
    for command in dict.fromkeys(absent):
        not_computed(what, command)
    if not absent:
        display(Markdown("*Not part of a run for this attack, dataset or seed.*"))
    return True
