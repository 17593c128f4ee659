"""What is stored, stale and missing, and how long the rest may take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from washout import chapters
from washout.checks import check_choice
from washout.store import Row, Spec, words
from washout.study import PROFILES, Study, Table
from washout.training import Recipe


@dataclass
class Glance(Study):
    """A study that looks up each network once: what it says is about one moment."""

    seen: dict[str, str | None] = field(default_factory=dict)

    def stored_hash(self, recipe: Recipe) -> str | None:
        key = recipe.key()
        if key not in self.seen:
            self.seen[key] = super().stored_hash(recipe)
        return self.seen[key]


def estimate(done: Sequence[Row], todo: Sequence[Spec]) -> tuple[float, int]:
    """Seconds that rows may take, by the mean of stored ones about the same dataset.

    Args:
        done: stored rows of one table and profile.
        todo: specifications of rows to compute.

    Returns:
        Seconds for those of ``todo`` that can be told, and how many cannot.
    """
    known: defaultdict[str, list[float]] = defaultdict(list)
    for row in done:
        known[row.spec.get("dataset", "")].append(row.run["seconds"])
    means = {name: fmean(values) for name, values in known.items()}
    names = [spec.get("dataset", "") for spec in todo]
    return sum(means.get(name, 0.0) for name in names), sum(name not in means for name in names)


def outlook(study: Study, plan: Sequence[tuple[Table, list[Spec]]]) -> str:
    """In a line: how many rows of a plan are stored, and how long the others may take."""
    stored = total = unknown = 0
    seconds = 0.0
    for table, specs in plan:
        every = [store.rows(table.name) for store in study.stores]
        best = [study.best(table, spec, every) for spec in specs]
        found = [row for row in best if row is not None]
        todo = [spec for spec, row in zip(specs, best, strict=True) if row is None]
        took, untold = estimate([row for row in found if row.profile == study.profile], todo)
        stored, total = stored + len(found), total + len(specs)
        seconds, unknown = seconds + took, unknown + untold
    line = f"{study.chapter} at profile {study.profile}: {stored} of {total} rows stored"
    if stored == total:
        return line
    if unknown < total - stored:
        line += f"; about {seconds / 60:.0f} minutes for {total - stored - unknown} of the others"
    return line + (f"; nothing timed yet for {unknown}" if unknown else "")


def _plans(
    profile: str, seen: dict[str, str | None], **folders: Any
) -> Iterator[tuple[Study, Table, list[Spec], list[Row | None]]]:
    """Each table of each chapter's plan at a profile: the project's own rows that are current.

    Args:
        folders: ``results`` and ``weights``, where they are others than a study's.
    """
    for name in chapters.NAMES:
        study = Glance(
            name, profile=profile, local=False, exact=True, compute=False, progress=False,
            seen=seen, **folders,
        )  # fmt: skip
        stored = {}
        for table, specs in chapters.get(name).plan(study):
            if table.name not in stored:
                stored[table.name] = [store.rows(table.name) for store in study.stores]
            yield study, table, specs, [study.best(table, s, stored[table.name]) for s in specs]


def current_rows(results: Path, weights: Path) -> Iterator[tuple[str, Row]]:
    """The project's own rows that plans ask for and that are current; the best profile's first.

    Yields:
        A row's chapter, and the row.
    """
    seen: dict[str, str | None] = {}
    for profile in PROFILES:
        for study, _, _, rows in _plans(profile, seen, results=results, weights=weights):
            yield from ((study.chapter, row) for row in rows if row)


def status_frame() -> pd.DataFrame:
    """Rows stored, stale and missing for each chapter, profile and table of the plans."""
    lines: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    seen: dict[str, str | None] = {}
    for profile in PROFILES:
        for study, table, specs, rows in _plans(profile, seen):
            done = [row for row in rows if row is not None]
            todo = [spec for spec, row in zip(specs, rows, strict=True) if row is None]
            stale = sum(study.is_stale(table, spec) for spec in todo)
            seconds, unknown = estimate(done, todo)
            lines[study.chapter].append(
                {
                    "chapter": study.chapter,
                    "profile": profile,
                    "table": table.name,
                    "stored": len(done),
                    "stale": stale,
                    "missing": len(todo) - stale,
                    "seconds": round(sum(row.run["seconds"] for row in done)),
                    "left": f"{seconds:.0f} s" if todo and not unknown else "?" * bool(todo),
                    "device": ", ".join(sorted({row.run["device"] for row in done})),
                    "commit": ", ".join(sorted({row.run["commit"] for row in done})),
                }
            )
    return pd.DataFrame([line for name in chapters.NAMES for line in lines[name]])


def waiting(profile: str) -> list[str]:
    """Every row of the plans at a profile that is missing or stale, each in a line.

    Raises:
        ValueError: an unknown profile.
    """
    check_choice(profile, PROFILES, "profile")
    return [
        f"{study.chapter} {table.name} ({words(spec)})"
        + (", stale" if study.is_stale(table, spec) else "")
        for study, table, specs, rows in _plans(profile, {})
        for spec, row in zip(specs, rows, strict=True)
        if row is None
    ]
