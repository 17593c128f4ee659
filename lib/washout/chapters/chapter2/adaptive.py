"""The attacker who knows: what is left, and whether the attack is at its end."""

from __future__ import annotations

import numpy as np

from washout.chapters.bits import unpacked
from washout.chapters.chapter2.grid import Rows
from washout.chapters.chapter2.settings import LARGEST
from washout.chapters.chapter2.views import SETS, name, present, rate, size
from washout.chapters.shown import stored
from washout.store import Row

KNOWN = {
    "classifier": "the classifier",
    "identity": "the defense; gradient of the identity",
    "proxy": "the defense; gradient of a better stand-in",
}
OWN = "the defense; its own gradient"  # a Gaussian filter needs no stand-in
AN_IMAGE = 0.99  # one, but for rounding: less is the luck of the defense's draws
CHECKS = {"longer": "twice the steps", "draws": "four times the draws"}


def left(row: Row) -> float:
    """Accuracy, the mean of fresh draws."""
    return row.values["mean_correct"] / row.values["n"]


def show(rows: Rows, dataset: str) -> None:
    """Every attacker, one line each."""
    own = [r for r in rows if r.spec["dataset"] == dataset]
    lines = []
    for row in stored(own):
        v, spec = row.values, row.spec
        lines.append(
            {
                "defense": name(spec["defense"]),
                "attacker knows": OWN
                if spec["defense"].startswith("gauss") and spec["knows"] == "proxy"
                else KNOWN[spec["knows"]],
                "ε": size(spec["eps"]),
                "check": next((words for key, words in CHECKS.items() if key in spec), ""),
                "PGD steps": v["steps"],
                # Who does not know the defense draws nothing from it.
                "draws in a step": 1 if spec["knows"] == "classifier" else v["samples"],
                "fresh draws": v["draws"],
                "accuracy, mean of draws": rate(v["mean_correct"], v["n"]),
                "right in all draws": rate(v["correct_in_all"], v["n"]),
            }
        )
    caption = f"The attacker who knows, {SETS[dataset]}: PGD within ε, pixels in [0, 1]."
    present(own, lines, caption, f"knowing-{dataset}")


def strongest(rows: Rows, dataset: str) -> dict[str, Row]:
    """defense -> the attacker within the usual epsilon who leaves least, whatever he knows."""
    found: dict[str, Row] = {}
    for row in stored(rows, dataset=dataset):
        if row.spec["eps"] < LARGEST:
            best = found.get(row.spec["defense"])
            if best is None or left(row) < left(best):
                found[row.spec["defense"]] = row
    return found


def show_worst(rows: Rows) -> None:
    """Image by image the worst of all these attackers, whatever they know."""
    lines = []
    own = [row for row in stored(rows) if row.spec["eps"] < LARGEST and "right" in row.values]
    for dataset, defense in dict.fromkeys((r.spec["dataset"], r.spec["defense"]) for r in own):
        found = stored(own, dataset=dataset, defense=defense)
        n = found[0].values["n"]
        right = np.array([unpacked(row.values["right"], n) for row in found])
        lines.append(
            {
                "dataset": SETS[dataset],
                "defense": name(defense),
                "attackers": len(found),
                "weakest": f"{100 * max(map(left, found)):.0f} %",
                "strongest": f"{100 * min(map(left, found)):.0f} %",
                "worst of all, image by image": rate(int(right.all(0).sum()), n),
                "images": n,
            }
        )
    present(rows, lines, "Accuracy under the worst attacker for each image.", "worst")


def said(rows: Rows) -> str:
    """Where the better stand-in is the worse one, and where more steps still find more."""
    worse, more, done = [], [], 0
    for base in stored(rows, knows="proxy"):
        spec = base.spec
        if base.spec["eps"] >= LARGEST or set(CHECKS) & set(spec):
            continue
        where = f"{SETS[spec['dataset']]}, {name(spec['defense'])}"
        plain = _like(rows, {**spec, "knows": "identity"})
        if plain is not None and left(plain) < left(base):
            worse.append(f"{where} ({100 * left(plain):.1f} against {100 * left(base):.1f} %)")
        longer = _like(rows, {**spec, "longer": 2})
        if longer is not None and left(base) - left(longer) > AN_IMAGE / base.values["n"]:
            more.append(f"{where} ({100 * left(base):.1f} to {100 * left(longer):.1f} %)")
        elif longer is not None:
            done += 1
    parts = []
    if worse:
        parts.append(f"The identity leaves less than the better stand-in: {', '.join(worse)}.")
    if more:
        parts.append(
            f"Twice the steps leave at least an image less, so that the attack is not at its end: "
            f"{', '.join(more)}; in {done} other cases they do not."
        )
    return " ".join(parts)


def _like(rows: Rows, spec: dict) -> Row | None:
    return next((row for row in stored(rows) if row.spec == spec), None)


def summary(rows: Rows, dataset: str) -> str:
    """What the strongest stored attacker leaves behind each defense."""
    found = strongest(rows, dataset)
    if not found:
        return ""
    words = ", ".join(
        f"{name(defense)} {100 * left(row):.0f} %"
        for defense, row in found.items()
        if defense != "none"
    )
    n = next(iter(found.values())).values["n"]
    return f"The strongest of our attackers leaves, of {n} images: {words}."
