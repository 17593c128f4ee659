"""What the chapters' plans share."""

from __future__ import annotations

from collections.abc import Sequence

from washout.store import Spec
from washout.study import Table

Entries = list[tuple[Table, list[Spec]]]


def merged(entries: Entries, last: Sequence[Table] = ()) -> Entries:
    """One entry for each table that has rows, in the order of its first.

    Args:
        last: tables of small rows, which come at the end: other processes then have something to
            do while one trains.
    """
    tables: dict[str, tuple[Table, list[Spec]]] = {}
    for table, specs in entries:
        tables.setdefault(table.name, (table, []))[1].extend(specs)
    found = [entry for entry in tables.values() if entry[1]]
    return sorted(found, key=lambda entry: entry[0] in last)
