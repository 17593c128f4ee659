"""What is stored, stale and missing, and how long the rest may take."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

import pandas as pd

from washout import chapters
from washout.store import Row, Spec
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


def status_frame() -> pd.DataFrame:
    """Rows stored, stale and missing for each chapter, profile and table of the plans."""
    lines = []
    seen: dict[str, str | None] = {}
    for name in chapters.NAMES:
        for profile in PROFILES:
            study = Glance(
                name, profile=profile, exact=True, compute=False, progress=False, seen=seen
            )
            stored = {}
            for table, specs in chapters.get(name).plan(study):
                if table.name not in stored:
                    stored[table.name] = [store.rows(table.name) for store in study.stores]
                counts: Counter[str] = Counter()
                devices, commits = set(), set()
                done, todo = [], []
                for spec in specs:
                    row = study.best(table, spec, stored[table.name])
                    if row is None:
                        todo.append(spec)
                    else:
                        done.append(row)
                        devices.add(row.run["device"])
                        commits.add(row.run["commit"])
                    state = (
                        "stored" if row else "stale" if study.is_stale(table, spec) else "missing"
                    )
                    counts[state] += 1
                seconds, unknown = estimate(done, todo)
                lines.append(
                    {
                        "chapter": name,
                        "profile": profile,
                        "table": table.name,
                        "stored": counts["stored"],
                        "stale": counts["stale"],
                        "missing": counts["missing"],
                        "seconds": round(sum(row.run["seconds"] for row in done)),
                        "left": f"{seconds:.0f} s" if todo and not unknown else "?" * bool(todo),
                        "device": ", ".join(sorted(devices)),
                        "commit": ", ".join(sorted(commits)),
                    }
                )
    return pd.DataFrame(lines)
