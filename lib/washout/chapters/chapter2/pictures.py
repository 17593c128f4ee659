"""Chapter 2's figures, from stored rows."""

from __future__ import annotations

from collections.abc import Sequence

from IPython.display import Markdown, display
from matplotlib.figure import Figure

from washout import figures
from washout.chapters.chapter2 import verdicts
from washout.chapters.chapter2.errors import matched, only_errors, piles
from washout.chapters.chapter2.grid import WORDS, Grid, Rows
from washout.chapters.chapter2.margins import SHORT
from washout.chapters.chapter2.measure import CLEAN
from washout.chapters.chapter2.settings import EPS, MAIN, SEARCHES, VQ, kind
from washout.chapters.chapter2.views import SETS, attack_name, name
from washout.chapters.shown import nothing, stored
from washout.metrics import wilson
from washout.store import Row
from washout.study import Study

Rate = tuple[float, float, float]
FIGURE7 = (
    ("VQ-VAE, clean", CLEAN, "vqvae0"),
    ("VQ-VAE, FGSM", "fgsm", "vqvae0"),
    ("JPEG, FGSM", "fgsm", "jpeg"),
    ("JPEG, clean", CLEAN, "jpeg"),
)


def _rate(row: Row) -> Rate:
    k, n = row.values["correct"], row.values["n"]
    return (k / n, *wilson(k, n))


def grid(cells: Rows, dataset: str, attacks: Sequence[str]) -> Figure | None:
    """Figure 6 for one dataset: attacks by defenses, with what the paper's prose says of them.

    Beside the paper's four attacks stands the other reading of its PGD.
    """
    if tuple(attacks) == MAIN:
        attacks = SEARCHES
    own = [r for r in cells if r.spec["dataset"] == dataset and r.spec["attack"] in attacks]
    if nothing(own, f"grid of {SETS.get(dataset, dataset)}"):
        return None
    found = Grid(own)
    rates, words = {}, {}
    printed = verdicts.printed(dataset)
    for attack in attacks:
        line = {SHORT[word]: found.row(dataset, attack, word) for word in WORDS}
        if any(line.values()):
            n = next(row.values["n"] for row in line.values() if row)
            label = f"{attack_name(attack)}, n\u00a0{n}"  # in one line
            rates[label] = {k: _rate(row) if row else None for k, row in line.items()}
            said = printed.get("pgd-min" if attack == EPS else attack, {})
            words[label] = {SHORT[word]: text for word, text in said.items()}
    if not rates:
        display(Markdown("*Not part of a run for this attack or defense.*"))
        return None
    return figures.cells(rates, printed=words if any(words.values()) else None)


def pipeline() -> Figure:
    """Figure 3: how an image is attacked, and how it is defended."""
    return figures.pipelines(
        {
            "Attack": [
                ("clean image", ""),
                ("classifier's gradient", "steps"),
                ("attacked image", ""),
            ],
            "Defense": [
                ("attacked image", ""),
                ("one transformation", "repainted"),
                ("classifier: a class", ""),
            ],
        }
    )


def example(rows: Rows, study: Study, dataset: str, attack: str) -> Figure | None:
    """Figure 5: one image, attacked, and through each transformation."""
    own = [r for r in rows if r.spec["dataset"] == dataset and r.spec["attack"] == attack]
    if nothing(own, f"{SETS.get(dataset, dataset)} example"):
        return None
    v = stored(own)[0].values
    stack = study.images(v["images"])
    shown = {name(c): image for c, image in zip(v["columns"][2:], stack[2:], strict=True)}
    return figures.washed(stack[0], stack[1], shown, v["label"], v["said"])


def attacks_side_by_side(rows: Rows, study: Study, dataset: str) -> Figure | None:
    """Figure 4: what each of the four attacks makes of an image."""
    own = [r for r in rows if r.spec["dataset"] == dataset and r.spec["attack"] in MAIN]
    if nothing(own, f"attacks on {SETS.get(dataset, dataset)}"):
        return None
    found = stored(own)
    before, after, labels, words, notes = [], [], [], [], []
    for row in found:
        v = row.values
        stack = study.images(v["images"])
        before.append(stack[0])
        after.append(stack[1])
        labels.append(v["label"])
        words.append(v["said"][1])
        notes.append(attack_name(row.spec["attack"]))
    return figures.image_grid(before, after, labels, words, notes=notes)


def reconstructions(
    rows: Rows, study: Study, dataset: str, defenses: Sequence[str] = VQ
) -> Figure | None:
    """Figure 2: a clean image through the VQ-VAEs, or through other defenses."""
    own = [r for r in rows if r.spec["dataset"] == dataset and r.spec["attack"] == CLEAN]
    if nothing(own, f"reconstructions of {SETS.get(dataset, dataset)}"):
        return None
    v = stored(own)[0].values
    stack = study.images(v["images"])
    chosen = {"original": stack[0]}
    chosen |= {
        name(c): image for c, image in zip(v["columns"], stack, strict=True) if c in defenses
    }
    return figures.strip(chosen)


def confusions(cells: Rows, dataset: str, classes: Sequence[str]) -> Figure | None:
    """Figure 7: JPEG and the VQ-VAE, clean and after FGSM; entropies of as many errors each."""
    own = [r for r in cells if r.spec["dataset"] == dataset]
    if nothing(own, f"confusions of {SETS.get(dataset, dataset)}"):
        return None
    rows = _figure7(own, dataset)
    if len(rows) < len(FIGURE7):
        display(Markdown("*Not part of a run for this attack.*"))
        return None
    tables = {title: row.values["confusion"] for title, row in rows.items()}
    bits, size = matched([only_errors(table) for table in tables.values()])
    found = dict(zip(tables, bits.mean(1), strict=True)) if size else None
    return figures.confusions(tables, classes, entropies=found, matched=size or None)


def _figure7(cells: Rows, dataset: str) -> dict[str, Row]:
    found = Grid(cells)
    rows = {title: found.row(dataset, attack, defense) for title, attack, defense in FIGURE7}
    return {title: row for title, row in rows.items() if row is not None}


def piled(cells: Rows, dataset: str, classes: Sequence[str]) -> str:
    """A sentence for each table of Figure 7: the classes on which its errors pile up."""
    if not dataset or kind(dataset) != "color":
        return ""
    rows = _figure7([r for r in cells if r.spec["dataset"] == dataset], dataset)
    said = piles({t: only_errors(row.values["confusion"]) for t, row in rows.items()}, classes)
    return f"Where most errors go. {said}." if said else ""


def sweep(cells: Rows, dataset: str, prefix: str, suffix: str, xlabel: str) -> Figure | None:
    """Accuracy along one setting of a defense, a line for each attack."""

    def value(defense: str) -> float | None:
        middle = defense.removeprefix(prefix).removesuffix(suffix)
        whole = defense.startswith(prefix) and defense.endswith(suffix) and middle.isdigit()
        return float(middle) if whole else None

    own = [
        r for r in cells
        if r.spec["dataset"] == dataset and value(r.spec["defense"]) is not None
        and "-" not in r.spec["net"] and not r.spec.get("whole")
    ]  # fmt: skip
    if nothing(own, f"{xlabel} on {SETS.get(dataset, dataset)}"):
        return None
    found = stored(own)
    every: dict[str, dict[float, Row]] = {}
    for row in found:
        at = value(row.spec["defense"])
        assert at is not None
        every.setdefault(row.spec["attack"], {})[at] = row
    x = sorted(set.union(*(set(line) for line in every.values())))
    lines = {
        attack_name(attack): [_rate(line[at]) for at in x]
        for attack, line in every.items()
        if set(line) == set(x)
    }
    if not lines:
        display(Markdown("*Not part of a run for this attack.*"))
        return None
    return figures.sweep(x, lines, xlabel=xlabel, ylabel="accuracy")


def classes_of(dataset: str) -> tuple[str, ...]:
    """Class names that need no download."""
    if dataset != "cifar10":
        return tuple(map(str, range(10)))
    return ("plane", "auto", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


__all__ = [
    "attacks_side_by_side",
    "classes_of",
    "confusions",
    "example",
    "grid",
    "piled",
    "pipeline",
    "reconstructions",
    "sweep",
]
