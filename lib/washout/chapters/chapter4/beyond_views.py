"""Tables of what goes beyond the paper: sets, distances, the attacker who knows, what waits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from washout.chapters.bits import unpacked_floats
from washout.chapters.chapter4.more_views import SEEN
from washout.chapters.chapter4.pools import Found, Rows, firsts
from washout.chapters.chapter4.settings import AE, CLEAN, DEQUANTIZED, EPS, GUARD_RATE, MAIN, NOISE
from washout.chapters.chapter4.views import attack_name, name, present, rate, three
from washout.chapters.shown import SETS, stored
from washout.report import show
from washout.study import Missing

SPACES = {"pixels": "pixels", "latents": "Glow's last latents"}
TESTS = {"mmd": "maximum mean discrepancy", "energy": "energy distance"}
LONGER = {2: "twice the steps", 4: "four times the steps"}
CHECKS = {
    "targets": "two targets, two starts each",
    "draws": "twice the draws",
}


def show_sets(rows: Rows, test: str = "mmd") -> None:
    """How often a two-sample test calls a set attacked, by its size."""
    lines = []
    for group in firsts(rows):
        for space, words in SPACES.items():
            for label in (CLEAN, *MAIN):
                own = [
                    r
                    for r in group.rows
                    if r.spec["test"] == test
                    and r.spec["space"] == space
                    and r.spec["attack"] == label
                ]
                if not own:
                    continue
                line = {
                    "dataset": SETS[group.dataset],
                    "in": words,
                    "against clean images": "other clean images" if label == CLEAN
                    else attack_name(label),
                }  # fmt: skip
                for r in sorted(own, key=lambda r: r.spec["size"]):
                    line[f"sets of {r.spec['size']}"] = rate(r.values["found"], r.values["trials"])
                line["pairs of sets"] = own[0].values["trials"]
                lines.append(line)
    caption = f"Sets told apart by the {TESTS[test]} (p ≤ 0.05); not a detector of images."
    present(rows, lines, caption, f"sets-{test}")


def show_distances(rows: Rows) -> None:
    """How far each change goes, in units of the median distance of two clean images."""
    words = {NOISE: f"random signs, ε {EPS:g}", DEQUANTIZED: "another draw of the 8-bit noise"}
    lines = []
    for row in stored(rows):
        v, change = row.values, row.spec["change"]
        pixels, last = (unpacked_floats(v[k]) for k in ("pixels", "last"))
        line = {
            "dataset": SETS[row.spec["dataset"]],
            "change": words.get(change, attack_name(change)),
            "pixels": three(v["pixels_median"]) if change != DEQUANTIZED else "–",
            "last latents": three(v["last_median"]),
            "all latents": three(v["all_median"]),
            "whitened pixels": three(v["whitened_median"]) if change != DEQUANTIZED else "–",
            "untrained Glow": three(v["random_median"]),
        }
        if change != DEQUANTIZED and (pixels > 0).any():
            ratio = last[pixels > 0] / pixels[pixels > 0]
            line["latents over pixels, median"] = f"{np.median(ratio):.2f}"
        line["images"] = v["n"]
        lines.append(line)
    caption = "How far a change moves an image; 1 is the median distance of two clean images."
    present(rows, lines, caption, "distances")


def show_knowing(rows: Rows, attacked: Rows = (), cleaned: Rows = ()) -> None:
    """The attacker who knows, beside what an autoencoder alone misreads, without any attack."""
    lines = []
    alone = {
        (group.dataset, guard): unattacked(group, guard)
        for group in firsts(attacked, cleaned)
        for guard in AE
    }
    for row in stored(rows):
        v, spec = row.values, row.spec
        check = ", ".join(words for key, words in CHECKS.items() if key in spec)
        check = LONGER.get(spec.get("longer", 1), check)
        guard = spec["guard"]
        line = {
            "dataset": SETS[spec["dataset"]],
            "guard": name(guard) if guard in AE else SEEN[guard],
            "attacker knows the guard": "yes" if spec["knows"] else "no",
            "ε": f"{spec['eps']:g}",
            "check": check,
            "misread": rate(v["misread"], v["n"]),
            "misread without attack": alone.get((spec["dataset"], guard)) or "",
            "flagged": rate(v["flagged"], v["n"]) if "flagged" in v else "",
            "clean flagged": rate(v["flagged_clean"], v["n"]) if "flagged_clean" in v else "",
            "misread and accepted": rate(v.get("accepted", v["misread"]), v["n"]),
            "steps": v["steps"],
        }
        lines.append(line)
    caption = (
        "PGD by an attacker who knows; of images that were read rightly. Each detector's threshold "
        f"is set to flag {100 * GUARD_RATE:.0f} % of clean validation images."
    )
    present(rows, lines, caption, "knowing")


def unattacked(group: Found, guard: str) -> str | None:
    """Of the clean images that are read rightly, how many the autoencoder has misread."""
    clean, right = group.read(CLEAN, guard), group.right
    if clean is None or right is None or not right.any():
        return None
    return rate(int((~clean[: len(right)])[right].sum()), int(right.sum()))


def show_second(rows: Rows) -> None:
    lines = [
        {
            "dataset": SETS[row.spec["dataset"]],
            "attack": attack_name(row.spec["attack"]),
            "fooled, ours": rate(row.values["success"][0], row.values["n"]),
            "fooled, foolbox": rate(row.values["success"][1], row.values["n"]),
            "the same on": f"{row.values['agree']} of {row.values['n']}",
            "median L∞, ours": three(row.values["linf"][0]),
            "foolbox": three(row.values["linf"][1]),
            "twice the steps, five starts": rate(row.values["stronger"], row.values["n"])
            if "stronger" in row.values
            else "",
        }
        for row in stored(rows)
    ]
    present(rows, lines, "The attacks beside foolbox's, with the same steps.", "second-library")


def show_waiting(tables: Mapping[str, Rows]) -> None:
    """Rows of profile ``paper`` that are not stored, by table, and what computes them."""
    lines = []
    for table, rows in tables.items():
        missing = [row for row in rows if isinstance(row, Missing)]
        if missing:
            lines.append(
                {
                    "table": table,
                    "rows": len(rows),
                    "stored": len(rows) - len(missing),
                    "command": missing[0].command,
                }
            )
    if not lines:
        display(Markdown("*None: all are stored.*"))
        return
    show(
        pd.DataFrame(lines),
        caption="Rows of the profile “paper” that wait, and what computes those of a table.",
        name="chapter4-waiting",
    )
