"""Chapter 1's figures, from stored rows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from IPython.display import Markdown, display
from matplotlib.figure import Figure

from washout import figures
from washout.chapters.chapter1.settings import FAVORITE, GRIDS, PATCHWISE, PROFILES, QUALITIES
from washout.chapters.chapter1.views import (
    SETS,
    Rows,
    attack_name,
    name,
    of_size,
    printed,
    stored,
)
from washout.chapters.shown import nothing
from washout.metrics import wilson
from washout.store import Row
from washout.study import Missing, Study

Rate = tuple[float, float, float]
CURVES = {False: ("nodef", "jpeg10", "jpeg23", "ours"), True: ("nodef", "jpeg10", "jpeg23", "ens")}
STARRED = ("nodef", "jpeg23", "ours", "vae64s64")  # more of the paper's points would hide the lines
SHORT = {
    "nodef": "no defense",
    "ours": "VAE",
    "ens": "ensemble",
    "vae64s64": "VAE 64",
    "vae16s16": "VAE 16",
}


def short(column: str) -> str:
    return SHORT.get(column, name(column))


def _rate(k: float, n: int) -> Rate:
    return (k / n, *wilson(k, n))


def _curve(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.values["l2"])


def curves(rows: Rows, dataset: str) -> Figure | None:
    """Figures 2 and 3, and the same for NIPS 2017: a panel for each attack."""
    own = [row for row in rows if row.spec["dataset"] == dataset]
    if nothing(own, f"curves of {SETS[dataset]}"):
        return None
    columns = list(CURVES[dataset in PATCHWISE])
    if dataset in PATCHWISE:
        columns.append(list(GRIDS[dataset])[-1])
    clean = stored(own, attack="none")
    panels = {}
    for attack in dict.fromkeys(row.spec["attack"] for row in own if row.spec["attack"] != "none"):
        points = _curve([*clean, *stored(own, attack=attack)])
        if not stored(own, attack=attack):
            continue
        lines = {
            short(c): [_rate(row.values["correct"][c], row.values["n"]) for row in points]
            for c in columns
        }
        paper = {
            short(c): stars
            for c in columns
            if c in STARRED and (stars := printed(dataset, attack, c))
        }
        panels[f"{SETS[dataset]}, {attack_name(attack)}"] = (
            [row.values["l2"] for row in points],
            lines,
            paper,
        )
    return figures.attacks_against_l2(panels)


def qualities(rows: Rows, dataset: str) -> Figure | None:
    """Accuracy against JPEG's quality, a line for each of a few attack sizes."""
    own = [row for row in rows if row.spec["dataset"] == dataset and row.spec["attack"] != "none"]
    if nothing(own, f"JPEG qualities on {SETS[dataset]}"):
        return None
    attack = own[0].spec["attack"]
    points = _curve(stored(own, attack=attack))
    if not points:
        return None
    points = [points[0], points[len(points) // 2], points[-1]] if len(points) > 2 else points
    rival = "ours" if dataset not in PATCHWISE else next(iter(GRIDS[dataset]))
    tried = [q for q in QUALITIES if f"jpeg{q}" in points[0].values["correct"]]
    lines = {
        f"L2 {of_size(row)}": [
            _rate(row.values["correct"][f"jpeg{q}"], row.values["n"]) for q in tried
        ]
        for row in points
    }
    others = {
        short(rival): [row.values["correct"][rival] / row.values["n"] for row in points],
        short("nodef"): [row.values["correct"]["nodef"] / row.values["n"] for row in points],
    }
    return figures.best_quality(tried, lines, others)


def _bare(row: Row) -> float:
    return row.values["correct"]["nodef"] / row.values["n"]


def tradeoff(rows: Rows, dataset: str) -> Figure | None:
    """Clean accuracy through a defense against accuracy under attack, along beta and quality."""
    own = [row for row in rows if row.spec["dataset"] == dataset]
    clean = stored(own, attack="none")
    attack = next((r.spec["attack"] for r in own if r.spec["attack"] != "none"), "")
    hit = _curve(stored(own, attack=attack))
    if not clean or not hit:
        nothing([r for r in own if isinstance(r, Missing)], f"trade-off on {SETS[dataset]}")
        return None
    before = clean[0].values
    # Where the attack leaves the bare classifier about half, defenses differ most.
    row = min(hit, key=lambda row: abs(_bare(row) - before["correct"]["nodef"] / before["n"] / 2))
    after = row.values

    def point(column: str, label: str) -> tuple[str, float, float]:
        return (
            label,
            before["correct"][column] / before["n"],
            after["correct"][column] / after["n"],
        )

    betas = [b for b in PROFILES[row.profile].betas[dataset] if f"beta{b:g}" in after["correct"]]

    def of_beta(beta: float) -> str:
        """The VAE's column, which is the tables' own for the chosen beta."""
        sizes = sorted(after["betas"], key=int)
        chosen = beta == after["betas"][sizes[len(sizes) // 2]]
        own = FAVORITE[dataset] if dataset in PATCHWISE else "ours"
        return own if chosen else f"beta{beta:g}"

    shown = [q for q in (5, 10, 15, 23, 40, 60, 90) if f"jpeg{q}" in after["correct"]]
    series = {
        "JPEG, by quality": [point(f"jpeg{q}", str(q)) for q in shown],
        "VAE, by β": [point(of_beta(b), f"{b:g}") for b in betas],
        "no defense": [point("nodef", "")],
    }
    return figures.fidelity(
        {key: values for key, values in series.items() if values},
        xlabel="accuracy on clean images",
        ylabel=f"accuracy under {attack_name(attack)}, L2 {of_size(row)}, {after['n']:,} images",
    )


def example(rows: Rows, study: Study, which: str = "first", **spec: str) -> Figure | None:
    """One image, attacked, and washed by each defense; what the classifier says below each."""
    own = [row for row in rows if row.spec["which"] == which]
    own = [row for row in own if all(row.spec[k] == v for k, v in spec.items())]
    if nothing(own, "example images"):
        return None
    row = stored(own)[0]
    v = row.values
    original, attacked, *rest = study.images(v["images"])
    large = original.shape[0] > 100
    titles = [name(column) for column in v["columns"][2:]]
    return figures.washed(
        original,
        attacked,
        dict(zip(titles, rest, strict=True)),
        v["label"],
        v["said"],
        zoom=(110, 120, 60) if large else None,
    )


def credits(rows: Rows, attack: str) -> None:
    """How strong the attack on each example is, and whose image it is."""
    lines = []
    for row in stored(rows, attack=attack):
        v = row.values
        strength = "" if v["eps"] is None else f"ε {v['eps']:g}, "
        panda = ", panda" if row.spec["which"] == "panda" else ""
        lines.append(
            f"- {SETS[row.spec['dataset']]}{panda}: {attack_name(attack)}, {strength}relative L2 "
            f"{v['l2']:.3f}. Image: {_linked(v['credit'])}."
        )
    if lines:
        display(Markdown("\n".join(lines)))


def _linked(credit: str) -> str:
    """An address as a link with a short name: a long one would not fit a phone."""
    return re.sub(r"(https?://\S+)", r"[its page](\1)", credit)
