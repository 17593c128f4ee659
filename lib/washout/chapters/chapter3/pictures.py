"""Chapter 3's figures, from stored rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import numpy as np
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from washout import figures, papers
from washout.chapters.chapter3.settings import CROP, MAIN
from washout.chapters.chapter3.views import Rows, name, stored
from washout.metrics import wilson
from washout.report import not_computed
from washout.store import Row
from washout.study import Missing, Study


def drawn(function: Callable[..., Figure]) -> Callable[..., Figure | None]:
    """Where a row of the first argument is missing, say so and how to compute it."""

    @wraps(function)
    def draw(rows: Rows, *arguments, **settings) -> Figure | None:
        if rows and all(isinstance(row, Row) for row in rows):
            return function(rows, *arguments, **settings)
        if not rows:
            display(Markdown("*Not part of a run for this attack.*"))
        for command in dict.fromkeys(row.command for row in rows if isinstance(row, Missing)):
            not_computed(function.__name__.replace("_", " "), command)
        return None

    return draw


def _rate(k: float, n: int) -> tuple[float, float, float]:
    return (k / n, *wilson(k, n))


@drawn
def algorithm(detections: Rows) -> Figure:
    """Algorithm 1 with the counts of the first attack that is stored."""
    row = stored(detections, rule="hybrid")[0]
    ways = {
        "above_high": "sure_adversarial",
        "below_low": "sure_clean",
        "agree": "crops_agree",
        "disagree": "crops_disagree",
    }
    return figures.flow_diagram(
        {
            group: {way: row.values[f"{kind}_{key}"] for way, key in ways.items()}
            for group, kind in (("clean", "clean"), (name(row.spec["attack"]), "adversarial"))
        }
    )


@drawn
def examples(rows: Rows, study: Study) -> Figure:
    """One digit for each attack: another class each time."""
    clean, after, labels, words, notes = [], [], [], [], []
    for place, row in enumerate(
        r for r in rows if isinstance(r, Row) and r.spec["attack"] != "none"
    ):
        v, index = row.values, (3 * place + 2) % len(row.values["label"])
        clean.append(study.images(v["clean"])[index])
        after.append(study.images(v["images"])[index])
        labels.append(str(v["label"][index]))
        words.append(str(v["predicted"][index]))
        notes.append(name(row.spec["attack"]))
    return figures.image_grid(clean, after, labels, words, notes=notes)


@drawn
def histograms(rows: Rows) -> Figure:
    """Figure 1: clean images against each attack's."""
    found = stored(rows)
    main = [row for row in found if row.spec["attack"] in (*MAIN, "bim-b")] or found
    counts = {"clean": main[0].values["clean"]}
    counts |= {name(row.spec["attack"]): row.values["adversarial"] for row in main}
    low, high = main[0].values["edges"]
    edges = np.linspace(low, high, 101)
    return figures.histograms(edges, counts, log=True)


@drawn
def forest(detections: Rows) -> Figure:
    """Detection accuracy: ours, the paper's, the original authors'."""
    numbers = papers.load("wang").numbers
    items, original = [], {}
    for row in stored(detections, rule="hybrid"):
        attack, v = row.spec["attack"], row.values
        printed = numbers.get(f"wang/table2/{attack}/DetAcc")
        found = _rate(v["caught"] + v["accepted"], v["n"])
        items.append((name(attack), found, printed.rate if printed else None))
        if printed:
            original[name(attack)] = numbers[f"alshemali2019/table2/{attack}/DetAcc"].rate
    return figures.forest(items, xlabel="detection accuracy", original=original)


@drawn
def crop_sweep(rows: Rows) -> Figure:
    """Detection accuracy of the hybrid against crop size."""
    return _sweep(rows, "crop", "crop size, pixels of 28", mark=(CROP, "used here"))


@drawn
def pass_sweep(rows: Rows) -> Figure:
    """Detection accuracy of uncertainty alone against the number of passes."""
    return _sweep(rows, "passes", "dropout passes N")


def _sweep(rows: Rows, setting: str, xlabel: str, mark=None) -> Figure:
    found = stored(rows)
    x = sorted({row.spec[setting] for row in found})
    lines = {}
    for attack in dict.fromkeys(row.spec["attack"] for row in found):
        own = {row.spec[setting]: row.values for row in found if row.spec["attack"] == attack}
        if set(own) == set(x):
            lines[name(attack)] = [
                _rate(v.get("correct", v.get("caught", 0) + v.get("accepted", 0)), v["n"])
                for v in (own[value] for value in x)
            ]
    return figures.sweep(x, lines, xlabel=xlabel, ylabel="detection accuracy", mark=mark)


@drawn
def roc(rows: Rows, attack: str) -> Figure:
    """ROC curves of the four scores against one attack."""
    found = stored(rows, attack=attack) or stored(rows)
    curves = {
        row.spec["score"]: (row.values["false_positive_rate"], row.values["true_positive_rate"])
        for row in found
    }
    areas = {row.spec["score"]: row.values["auc"] for row in found}
    return figures.roc_curves(curves, aucs=areas)


@drawn
def epsilon(rows: Rows) -> Figure:
    """Misread and accepted along epsilon."""
    return _accepted(rows, "attack", name)


@drawn
def adaptive(rows: Rows) -> Figure:
    """Misread and accepted, by what the attacker knows."""
    return _accepted(rows, "knows", lambda knows: f"knows {knows}")


def _accepted(rows: Rows, by: str, label: Callable[[str], str]) -> Figure:
    found = stored(rows)
    x = sorted({row.spec["eps"] for row in found})
    lines = {}
    for group in dict.fromkeys(row.spec[by] for row in found):
        own = {row.spec["eps"]: row.values for row in found if row.spec[by] == group}
        if set(own) == set(x):
            lines[label(group)] = [
                _rate(own[eps]["wrong_and_accepted"], own[eps]["n"]) for eps in x
            ]
    return figures.sweep(
        x, lines, xlabel="ε, of a pixel's range", ylabel="misread and accepted", ylim=(0, 1)
    )
