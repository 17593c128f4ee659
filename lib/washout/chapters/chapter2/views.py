"""The chapter's tables, from stored rows to what the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from washout.chapters import shown
from washout.chapters.bits import unpacked, unpacked_floats
from washout.chapters.chapter2 import verdicts
from washout.chapters.chapter2.grid import NAMES, PRINTED, Rows
from washout.chapters.chapter2.measure import CLEAN
from washout.chapters.chapter2.settings import EPS, PROFILES, SEARCHES, SMALL, columns
from washout.chapters.shown import SETS, stored
from washout.metrics import wilson
from washout.report import compare, tidy
from washout.store import Row

LITTLE = 0.5  # of clean images left: below, a defense has little to show
ATTACKS = {
    CLEAN: "clean",
    "fgsm-min": "FGSM, smallest",
    "pgd-min": "PGD, smallest L2",
    "cw-fb2": "Carlini-Wagner",
    "cw-short": "Carlini-Wagner, short",
    "cw-short-color": "Carlini-Wagner, short",
    "deepfool-fb2": "DeepFool",
    "pgd-min-eps": "PGD, smallest ε",
    "deepfool-linf": "DeepFool, L∞",
    "deepfool-softmax": "DeepFool on probabilities",
    "cw-0.3": "Carlini-Wagner within 0.3",
    "deepfool-0.3": "DeepFool within 0.3",
}
DEFENSES = {
    "none": "no defense",
    "gauss": "Gaussian",
    "gauss-3": "Gaussian, 3 wide",
    "gauss-5": "Gaussian, 5 wide",
    "tvm": "TVM",
    "tvm-four": "TVM, border as in Guo's code",
    "8bit": "8-bit rounding",
    "vqvae0-range": "VQ-VAE 0, input not rescaled",
    "vqvae0-wrap": "VQ-VAE 0, output wrapped around",
}
NETS = {
    "lenet": "the paper's, two convolutions",
    "densenet": "a DenseNet, growth 12 (the paper does not say which)",
    "densenet-long": "the same, well trained",
    "resnet": "a small ResNet in its place",
    "resnet-long": "the same, well trained",
}


def attack_name(label: str) -> str:
    if label in ATTACKS:
        return ATTACKS[label]
    if label.startswith("deepfool-batch"):
        return f"DeepFool, batches of {label.removeprefix('deepfool-batch')}"
    if label.startswith("deepfool-x"):
        return f"DeepFool, step × {label.removeprefix('deepfool-x')}"
    word, _, eps = label.partition("-")
    return f"{word.upper()}, ε {eps}" if eps and word in ("fgsm", "pgd") else label


def name(defense: str) -> str:
    """A defense's name for readers."""
    if defense in DEFENSES:
        return DEFENSES[defense]
    if defense.startswith("average:"):
        return "mean of " + " and ".join(map(name, defense.removeprefix("average:").split(",")))
    if defense.startswith("noise:"):
        return f"noise as large as {name(defense.removeprefix('noise:'))}"
    if "+" in defense:
        return ", then ".join(map(name, defense.split("+")))
    for start, words in (("jpeg", "JPEG "), ("kmeans", "K-means "), ("vqvae", "VQ-VAE ")):
        if defense.startswith(start):
            rest = defense.removeprefix(start).replace("-rows", " of rows").replace("-", ", ")
            return words + rest
    return defense


def size(eps: float) -> str:
    """An epsilon, in 255ths where it was chosen so."""
    return f"{255 * eps:.0f}/255" if abs(eps - SMALL) < 1e-9 else f"{eps:g}"


def brief(datasets: Sequence[str]) -> str:
    """What even profile ``paper`` does not train for as long as the paper says."""
    paper, laptop = PROFILES["paper"], PROFILES["laptop"]
    said = [
        "Even profile *paper* trains for less long than that. VQ-VAEs: "
        + ", ".join(f"{SETS[d]} {paper.vq_epochs[d]} epochs" for d in datasets)
        + " (at *laptop* "
        + ", ".join(f"{laptop.vq_epochs[d]} of hidden size {laptop.hidden[d]}" for d in datasets)
        + ")."
    ]
    if "cifar10" in datasets:
        said.append(
            f"The DenseNet of CIFAR-10: at most {paper.epochs['cifar10']} epochs, for training "
            "ends as soon as it is as good as the paper's; which DenseNet the paper took it does "
            "not say, ours is of growth 12."
        )
    return " ".join(said)


def counts(cells: Rows) -> str:
    """How many images the attacks see, from the rows."""
    said = []
    for dataset in dict.fromkeys(r.spec["dataset"] for r in stored(cells)):
        n = {
            slow: max((r.values["n"] for r in stored(cells, dataset=dataset, attack=label)
                       if not r.spec.get("whole") and "-" not in r.spec["net"]), default=0)
            for slow, label in ((False, "pgd-min"), (True, "cw-fb2"))
        }  # fmt: skip
        if n[False] and n[True] and n[True] < n[False]:
            said.append(f"{n[False]} of {SETS[dataset]}, of which Carlini and Wagner's attack sees "
                        f"only the first {n[True]}")  # fmt: skip
    return f"Test images: {'; '.join(said)}." if said else ""


def ceilings(cells: Rows) -> str:
    """Which columns can show little, for they leave little of clean images; from the rows."""
    said = []
    for dataset in dict.fromkeys(r.spec["dataset"] for r in stored(cells)):
        low = []
        for defense in columns(dataset)[1:]:
            for row in stored(cells, dataset=dataset, attack=CLEAN, defense=defense):
                share = row.values["correct"] / row.values["n"]
                if share < LITTLE and not row.spec.get("whole") and "-" not in row.spec["net"]:
                    low.append(f"{name(defense)} {100 * share:.0f} %")
        if low:
            said.append(f"{', '.join(low)} ({SETS[dataset]})")
    if not said:
        return ""
    return (
        f"Columns that leave less than {100 * LITTLE:.0f} % of clean images right have little to "
        f"show after any attack: {'; '.join(said)}."
    )


def rate(k: float, n: int) -> str:
    """``92.9 % [92.4, 93.4]``."""
    low, high = wilson(k, n)
    return f"{100 * k / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def present(
    rows: Rows,
    lines: Sequence[Mapping[Any, Any]],
    caption: str,
    csv: str,
    data: pd.DataFrame | None = None,
) -> None:
    """``shown.present`` with the chapter's name before the file's."""
    shown.present(rows, lines, caption, f"chapter2-{csv}", data)


def show_baseline(rows: Rows) -> None:
    judged = {v.number.id.split("/")[-1]: v for v in verdicts.baseline(rows)}
    words = {name_: word for word, name_ in verdicts.PRINTED_SETS.items()}
    lines = []
    for row in stored(rows):
        v, net = row.values, row.spec["net"]
        printed = judged.get(words.get(row.spec["dataset"], ""))
        own = printed if "-" not in net else None
        first, _, through = net.partition("-on-")
        lines.append(
            {
                "dataset": SETS[row.spec["dataset"]],
                "classifier": NETS.get(net, f"trained on images through {name(through)}")
                if not through
                else f"{NETS.get(first, first)}, trained on images through {name(through)}",
                "paper": own.number.printed if own else "",
                "clean accuracy": rate(v["correct"], v["n"]),
                "verdict": own.word if own else "",
                "test images": v["n"],
                "parameters": v["parameters"],
                "weights": v["weights"],
            }
        )
    present(rows, lines, "Clean accuracy of the classifiers, without a defense.", "baseline")


def show_attacks(rows: Rows, dataset: str) -> None:
    """Success counted over images that were read rightly before."""
    own = [
        r
        for r in rows
        if r.spec["dataset"] == dataset and "-" not in r.spec["net"] and not r.spec.get("whole")
    ]
    # The two readings of PGD together.
    places = {label: place for place, label in enumerate(SEARCHES)}
    own.sort(key=lambda r: places.get(r.spec["attack"], len(places)))
    lines = []
    for row in stored(own):
        v = row.values
        wrong = unpacked(v["wrong"], v["n"])
        right = unpacked(v["right"], v["n"])
        margins = unpacked_floats(v["margins"])[wrong & right]
        lines.append(
            {
                "attack": attack_name(row.spec["attack"]),
                "images": v["n"],
                "wrong before": v["n"] - v["attacked"],
                "failed": v["attacked"] - v["fooled"],
                "fooled, of those right before": rate(v["fooled"], max(v["attacked"], 1)),
                "median L2, pixels in [0, 1]": _three(v["l2"]),
                "median L∞, pixels in [0, 1]": _three(v["linf"]),
                "median margin, logits": _three(
                    float(np.median(margins)) if len(margins) else None
                ),
            }
        )
    caption = f"Attacks on the undefended classifier, {SETS[dataset]}."
    present(own, lines, caption, f"attacks-{dataset}")


def _three(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def show_figure6(cells: Rows) -> None:
    """The numbers of the lost table that the paper's prose repeats."""
    found = [v for v in verdicts.figure6(cells)]
    labels = []
    for v in found:
        _, _, word, attack, defense = v.number.id.split("/")
        reading = attack_name(PRINTED[attack]) if attack == "pgd" else NAMES[attack]
        labels.append(f"{SETS[verdicts.PRINTED_SETS[word]]}, {reading}, {NAMES[defense]}")
    other = [v for v in verdicts.other_pgd(cells) if v.word != "not computed"]
    for v in other:  # shown and not counted: the number is already there
        _, _, word, _, defense = v.number.id.split("/")
        labels.append(f"{SETS[verdicts.PRINTED_SETS[word]]}, {attack_name(EPS)}, {NAMES[defense]}")
    known = any(v.word != "not computed" for v in found)
    main = [r for r in cells if not r.spec.get("whole")]
    present(
        main, compare([*found, *other], labels).to_dict("records") if known else [],
        "Figure 6: what its prose still says, each attack in search of the smallest change. "
        "PGD, which has two readings, at the end once more by the other.",
        "figure6", tidy(found),
    )  # fmt: skip


def show_cells(
    cells: Rows, dataset: str, attacks: Sequence[str], defenses: Sequence[str], caption: str,
    csv: str,
) -> None:  # fmt: skip
    """A line for each attack, a column for each defense."""
    own = [
        r
        for r in cells
        if r.spec["dataset"] == dataset
        and r.spec["attack"] in attacks
        and r.spec["defense"] in defenses
        and "-" not in r.spec["net"]
        and not r.spec.get("whole")
    ]
    lines = []
    for attack in attacks:
        found = {r.spec["defense"]: r for r in stored(own, attack=attack)}
        if not found:
            continue
        line: dict[str, Any] = {"attack": attack_name(attack)}
        for defense in defenses:
            row = found.get(defense)
            line[name(defense)] = f"{_percent(row)}" if row else "–"
        line["images"] = next(iter(found.values())).values["n"]
        lines.append(line)
    present(own, lines, f"{caption}, {SETS[dataset]}: accuracy in %.", f"{csv}-{dataset}")


def _percent(row: Row) -> str:
    low, high = wilson(row.values["correct"], row.values["n"])
    return (
        f"{100 * row.values['correct'] / row.values['n']:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
    )


def show_composed(cells: Rows) -> None:
    """A run for one attack or defense: what it leaves."""
    lines = [
        {
            "dataset": SETS[row.spec["dataset"]],
            "attack": attack_name(row.spec["attack"]),
            "defense": name(row.spec["defense"]),
            "accuracy": rate(row.values["correct"], row.values["n"]),
            "relative L2 to what came in": f"{row.values['moved']:.3f}",
            "relative L2 to the clean image": f"{row.values['distance']:.3f}",
        }
        for row in stored(cells)
    ]
    present(cells, lines, "The chosen attacks and defenses.", "chosen")
    display(
        Markdown(
            "*This run is about the attack or defense that was asked for. What is about all of "
            "them is shown as far as it is stored, and not computed.*"
        )
    )
