"""What is stored, stale and missing."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from washout import chapters
from washout.study import PROFILES, Study


def status_frame() -> pd.DataFrame:
    """Rows stored, stale and missing for each chapter, profile and table of the plans."""
    lines = []
    for name in chapters.NAMES:
        for profile in PROFILES:
            study = Study(name, profile=profile, exact=True, compute=False, progress=False)
            stored = {}
            for table, specs in chapters.get(name).plan(study):
                if table.name not in stored:
                    stored[table.name] = [store.rows(table.name) for store in study.stores]
                counts: Counter[str] = Counter()
                devices, commits = set(), set()
                for spec in specs:
                    row = study._best(table, spec, stored[table.name])
                    if row:
                        devices.add(row.run["device"])
                        commits.add(row.run["commit"])
                    state = (
                        "stored" if row else "stale" if study._is_stale(table, spec) else "missing"
                    )
                    counts[state] += 1
                lines.append(
                    {
                        "chapter": name,
                        "profile": profile,
                        "table": table.name,
                        "stored": counts["stored"],
                        "stale": counts["stale"],
                        "missing": counts["missing"],
                        "device": ", ".join(sorted(devices)),
                        "commit": ", ".join(sorted(commits)),
                    }
                )
    return pd.DataFrame(lines)
