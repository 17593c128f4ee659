# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Status
#
# What was computed, where and when. Every table and figure in this book is drawn from rows stored under
# `results/`. A row is computed once, and keeps what made it: the profile, the device, the commit of the code,
# library versions, and how long it took. This page reads those rows; a build of the site computes none.

# %% tags=["remove-input"]
from collections import defaultdict
from datetime import UTC, datetime

import pandas as pd

from washout import __version__, provenance, report, study
from washout.paths import results_folder, weights_folder
from washout.status import current_rows, status_frame


def day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def span(values) -> str:
    low, *_, high = sorted([*values, *values])
    return low if low == high else f"{low} to {high}"


def stored() -> list[dict]:
    """One line for each chapter, profile and table that has current rows in the project's results."""
    found = defaultdict(dict)
    for chapter, row in current_rows(results_folder(), weights_folder()):
        found[chapter, row.table, study.PROFILES.index(row.profile)][row.key] = row
    return [
        {"chapter": chapter, "table": table, "rows": list(rows.values())}
        for (chapter, table, _), rows in sorted(found.items())
    ]


lines = stored()

# %% [markdown]
# ## What was computed
#
# One line a table, of the rows that are current. *paper* is for a GPU, *laptop* a smaller one for two cores, *smoke* a few seconds on
# bundled data. Seconds are those of the rows themselves; work that rows share (training, attacked images) counts
# for the row that needed it first.

# %% tags=["remove-input"]
if lines:
    computed = pd.DataFrame(
        {
            "table": line["table"],
            "chapter": line["chapter"].removeprefix("chapter"),
            "profile": line["rows"][0].profile,
            "rows": len(line["rows"]),
            "device": ", ".join(sorted({row.run["device"] for row in line["rows"]})),
            "finished": span([day(row.run["finished"]) for row in line["rows"]]),
            "seconds": round(sum(row.run["seconds"] for row in line["rows"])),
            "commit": ", ".join(sorted({row.run["commit"] for row in line["rows"]})),
        }
        for line in lines
    )
    report.show(computed, caption="Stored rows and what made them", name="status-computed")
else:
    report.not_computed("no row is stored yet", "python -m washout results")

# %% [markdown]
# A commit with a `+` had files that differed from it.
#
# ## What is missing
#
# The chapters' plans list every row at each profile. A row is *stale* if it is stored but the code or settings
# that it depends on have changed since; pages do not show stale rows. Rows at the profile *paper* are enough for
# every page: a page shows the best profile that is stored.

# %% tags=["remove-input"]
plans = status_frame()
counts = ["stored", "stale", "missing"]
totals = plans.groupby(["chapter", "profile"], sort=False)[counts].sum().reset_index()
totals["chapter"] = totals["chapter"].str.removeprefix("chapter")
totals["computes them"] = [
    f"python -m washout results --chapter {row.chapter} --profile {row.profile}"
    for row in totals.itertuples()
]
report.show(totals, caption="Rows of the chapters' plans, by profile", name="status-plans")

# %% [markdown]
# ## What waits for a GPU
#
# The rows at the profile *paper* that are not there yet, table by table. `python -m washout status --missing paper`
# names each of them.

# %% tags=["remove-input"]
waiting = plans[(plans["profile"] == "paper") & (plans["stale"] + plans["missing"] > 0)]
if len(waiting):
    waiting = waiting[["chapter", "table", *counts]]
    waiting = waiting.assign(chapter=waiting["chapter"].str.removeprefix("chapter"))
    caption = "Rows of the profile “paper” that wait for a GPU"
    report.show(waiting, caption=caption, name="status-waiting")
else:
    print("None: every row of the profile “paper” is stored.")

# %% [markdown]
# ## Networks
#
# What a recipe led to, where it was trained, and its score on validation images: accuracy of a classifier, minus
# the error of an auto-encoder, minus the bits per dimension of a flow. Weights are named by the hash of
# their content. Of some, most of them large, the records alone ship; `python -m washout results` trains them again.

# %% tags=["remove-input"]
from washout import weights

networks = [
    {
        "network": record["recipe"]["model"],
        "trained on": record["recipe"]["data"],
        "seed": record["recipe"]["seed"],
        "epochs": len(record["history"]),
        "validation score": f"{record['validation_score']:.4f}",
        "seconds": round(record["seconds"]),
        "device": record["device"],
        "weights": record["hash"],
        "ships": "no" if folder.name == "large" else "yes",
    }
    for folder, record in weights.records(weights_folder())
]
if networks:
    report.show(
        pd.DataFrame(networks), caption="Trained networks and their records", name="status-networks"
    )
else:
    report.not_computed("no network is stored yet", "python -m washout results")

# %% [markdown]
# ## Versions
#
# Versions are recorded with each row and do not make it stale.

# %% tags=["remove-input"]
made = [row.run["versions"] for line in lines for row in line["rows"]]
here = provenance.versions()
report.show(
    pd.DataFrame(
        {
            "library": name,
            "stored rows": ", ".join(sorted({v[name] for v in made if name in v})) or "–",
            "this build": version,
        }
        for name, version in [("washout", __version__), *here.items()]
    ),
    caption="Versions that made the stored rows, and that built this page",
    name="status-versions",
)
print(f"built {day(datetime.now(UTC).timestamp())} from commit {provenance.commit()}")
