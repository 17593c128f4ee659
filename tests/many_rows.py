"""A store of many rows as they really are, for tests and benchmarks of how fast it answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from washout import chapters
from washout.paths import results_folder
from washout.store import Row, Store
from washout.study import PROFILES, Study


def fill(results: Path, count: int, planned: bool = True) -> None:
    """Fill a folder with as many rows: what the plans ask for, and the same of other seeds.

    What a row holds besides its specification is taken from the project's own stored rows.
    """
    lines: defaultdict[Path, list[str]] = defaultdict(list)
    for name, row in _planned(results) if planned else ():
        lines[Store(results / name).path(row.table)].append(row.line())
    every = [
        (name, row)
        for name in chapters.NAMES
        for table in Store(results_folder() / name).tables()
        for row in Store(results_folder() / name).rows(table).values()
    ]
    left = count - sum(map(len, lines.values()))
    for number, (name, row) in enumerate(islice(cycle(every), max(left, 0))):
        seed = row.spec.get("seed", 0) + 100 * (1 + number // len(every))
        other = replace(row, spec={**row.spec, "seed": seed})
        lines[Store(results / name).path(row.table)].append(other.line())
    for path, own in lines.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in own))


def _planned(results: Path) -> Iterator[tuple[str, Row]]:
    """Current rows of every plan, by chapter, as far as there are rows of their tables."""
    for name in chapters.NAMES:
        store = Store(results_folder() / name)
        for profile in PROFILES:
            study = Study(
                name, profile=profile, device="cpu", exact=True, compute=False, results=results
            )
            for table, specs in chapters.get(name).plan(study):
                models = cycle(store.rows(table.name).values())
                for spec, model in zip(specs, models, strict=False):
                    depends = study.depends(table, spec, profile)
                    yield name, Row(table.name, profile, spec, depends, model.values, model.run)
