"""Chapter 2's figures, from stored rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from IPython.display import Markdown, display
from matplotlib.figure import Figure

from washout import figures
from washout.chapters.bits import unpacked, unpacked_floats
from washout.chapters.chapter2 import verdicts
from washout.chapters.chapter2.claims import entropy
from washout.chapters.chapter2.grid import WORDS, Grid, Rows
from washout.chapters.chapter2.measure import CLEAN
from washout.chapters.chapter2.settings import MAIN, VQ
from washout.chapters.chapter2.views import SETS, attack_name, name
from washout.chapters.shown import nothing, stored
from washout.metrics import wilson
from washout.store import Row
from washout.study import Study

Rate = tuple[float, float, float]
# Names for one picture would be too many; these stand in the tables.
UNDRAWN = ("deepfool-softmax", "cw-short", "cw-0.3", "deepfool-0.3", "pgd-min-eps")
LEAST = 1e-4  # logits: margins below it are drawn there
GROUPS = 10
SHORT = dict(
    zip(WORDS, ("none", "JPEG", "Gauss", "K-means", "TVM", *(f"VQ {w[5:]}" for w in VQ)),
        strict=True)
)  # fmt: skip


def _rate(row: Row) -> Rate:
    k, n = row.values["correct"], row.values["n"]
    return (k / n, *wilson(k, n))


def grid(cells: Rows, dataset: str, attacks: Sequence[str]) -> Figure | None:
    """Figure 6 for one dataset: attacks by defenses, with what the paper's prose says of them."""
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
            label = f"{attack_name(attack)}, n {n}"
            rates[label] = {k: _rate(row) if row else None for k, row in line.items()}
            words[label] = {SHORT[word]: text for word, text in printed.get(attack, {}).items()}
    if not rates:
        display(Markdown("*Not part of a run for this attack or defense.*"))
        return None
    return figures.cells(rates, printed=words)


def boundary(cells: Rows, attacks: Rows, dataset: str) -> Figure | None:
    """Accuracy after each defense against how far past the boundary the attack went."""
    own = [r for r in attacks if r.spec["dataset"] == dataset]
    if nothing(own, f"margins of {SETS.get(dataset, dataset)}"):
        return None
    points: dict[str, list] = {}
    for label, margins, bits in _turned(cells, own, dataset):
        margin = max(float(np.median(margins)), LEAST)
        for word, right in bits.items():
            k, n = int(right.sum()), len(right)
            points.setdefault(SHORT[word], []).append(
                (margin, (k / n, *wilson(k, n)), attack_name(label))
            )
    if not points:
        return None
    return figures.past_boundary(
        {k: sorted(line, key=lambda point: point[0]) for k, line in points.items()},
        xlabel="median logit margin past the boundary",
        ylabel="accuracy on images that were turned",
    )


def by_margin(cells: Rows, attacks: Rows, dataset: str) -> Figure | None:
    """The same image by image: all attacks together, in groups of equal size by their margin."""
    own = [r for r in attacks if r.spec["dataset"] == dataset]
    if nothing(own, f"margins of {SETS.get(dataset, dataset)}"):
        return None
    found = list(_turned(cells, own, dataset))
    words = [w for w in WORDS[1:6] if found and all(w in bits for _, _, bits in found)]
    if not words:
        return None
    margins = np.maximum(np.concatenate([part for _, part, _ in found]), LEAST)
    order = np.argsort(margins, kind="stable")
    points: dict[str, list] = {}
    for index in np.array_split(order, min(GROUPS, len(order))):
        low, high = margins[index[0]], margins[index[-1]]
        for word in words:
            right = np.concatenate([bits[word] for _, _, bits in found])[index]
            k, n = int(right.sum()), len(right)
            points.setdefault(SHORT[word], []).append(
                (float(np.median(margins[index])), (k / n, *wilson(k, n)),
                 f"{_short(low)} to {_short(high)}")
            )  # fmt: skip
    return figures.past_boundary(
        points, xlabel="logit margin past the boundary, of single images",
        ylabel="accuracy on images that were turned",
    )  # fmt: skip


def _short(margin: float) -> str:
    return f"{margin:.0f}" if margin >= 10 else f"{margin:.2g}"


def _turned(
    cells: Rows, attacks: Rows, dataset: str
) -> Iterator[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
    """For each attack: margins of the images that it turns, and by defense who is read rightly."""
    found = Grid(cells)
    for row in stored(attacks):
        v, label = row.values, row.spec["attack"]
        if "-" in row.spec["net"] or row.spec.get("whole") or label in UNDRAWN:
            continue
        turned = unpacked(v["right"], v["n"]) & unpacked(v["wrong"], v["n"])
        if turned.sum() < 5:
            continue
        bits = {word: found.bits(dataset, label, word) for word in WORDS[1:6]}
        # Of another profile they may be of other images.
        known = {w: b[turned] for w, b in bits.items() if b is not None and len(b) == len(turned)}
        yield label, unpacked_floats(v["margins"])[turned], known


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


def reconstructions(rows: Rows, study: Study, dataset: str) -> Figure | None:
    """Figure 2: a clean image through the VQ-VAEs."""
    own = [r for r in rows if r.spec["dataset"] == dataset and r.spec["attack"] == CLEAN]
    if nothing(own, f"reconstructions of {SETS.get(dataset, dataset)}"):
        return None
    v = stored(own)[0].values
    stack = study.images(v["images"])
    chosen = {"original": stack[0]}
    chosen |= {name(c): image for c, image in zip(v["columns"], stack, strict=True) if c in VQ}
    return figures.strip(chosen)


def confusions(cells: Rows, dataset: str, classes: Sequence[str]) -> Figure | None:
    """Figure 7: JPEG and the VQ-VAE, clean and after FGSM."""
    own = [r for r in cells if r.spec["dataset"] == dataset]
    if nothing(own, f"confusions of {SETS.get(dataset, dataset)}"):
        return None
    found = Grid(own)
    tables, bits = {}, {}
    for title, attack, defense in (
        ("VQ-VAE, clean", CLEAN, "vqvae0"),
        ("VQ-VAE, FGSM", "fgsm", "vqvae0"),
        ("JPEG, FGSM", "fgsm", "jpeg"),
        ("JPEG, clean", CLEAN, "jpeg"),
    ):
        row = found.row(dataset, attack, defense)
        if row is None:
            display(Markdown("*Not part of a run for this attack.*"))
            return None
        tables[title] = np.array(row.values["confusion"])
        errors = tables[title].copy()
        np.fill_diagonal(errors, 0)
        bits[title] = entropy(errors)
    return figures.confusions(tables, classes, entropies=bits)


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
    "boundary",
    "by_margin",
    "classes_of",
    "confusions",
    "example",
    "grid",
    "reconstructions",
    "sweep",
]
