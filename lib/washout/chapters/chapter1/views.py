"""The paper's tables, from stored rows to what the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from washout.chapters import shown
from washout.chapters.chapter1 import verdicts
from washout.chapters.chapter1.betas import chosen_beta
from washout.chapters.chapter1.settings import EPS, GRIDS, KEPT, L2
from washout.chapters.shown import SETS, Rows, stored
from washout.metrics import wilson
from washout.report import Verdict, compare, tidy
from washout.store import Row

NAMES = {
    "nodef": "no defense",
    "jpeg10": "JPEG 10",
    "jpeg23": "JPEG 23",
    "ours": "VAE",
    "mean": "VAE, mean latent",
    "plain": "plain auto-encoder",
    "box": "5 × 5 box filter alone",
    "gauss": "5 × 5 Gaussian filter alone",
    "noise": "noise as large as the VAE's change",
    "eight-bit": "rounding to 8 bits",
    "ens": "ensemble",
    "vae16s16": "VAE 16, stride 16",
    "vae32s32": "VAE 32, stride 32",
    "vae64s32": "VAE 64, stride 32",
    "vae64s64": "VAE 64, stride 64",
    "vae16s8": "VAE 16, stride 8",
    "vae32s16": "VAE 32, stride 16",
    "vae64s16": "VAE 64, stride 16",
    "vae8s8": "VAE 8, stride 8",
    "vae8s4": "VAE 8, stride 4",
    "seen": "VAE 32, image among those trained on",
    "unseen": "VAE 32, image not among those trained on",
}
ATTACKS = {"none": "clean", "fgsm": "FGSM", "ifgsm": "I-FGSM"}
NETS = {"cnn": "the paper's", "cnn-long": "the paper's, trained to the end"}


def name(column: str) -> str:
    """A column's name for readers."""
    if column in NAMES:
        return NAMES[column]
    for ending, words in (
        ("-raw", ", not smoothed"),
        ("-mean", ", mean latent"),
        ("-box", ", box filter"),
        ("-clip1", ", noise within 1"),
        ("-clip2", ", noise within 2"),
    ):
        if column.endswith(ending):
            return name(column.removesuffix(ending)) + words
    for start, words in (("jpeg", "JPEG "), ("beta", "VAE, β = "), ("clip", "VAE, noise within ")):
        if column.startswith(start):
            return words + column.removeprefix(start)
    return column


def attack_name(label: str) -> str:
    return ATTACKS.get(label, label)


def rate(k: float, n: int) -> str:
    """``0.929 [0.924, 0.934]``, the paper's unit."""
    low, high = wilson(k, n)
    return f"{k / n:.3f} [{low:.3f}, {high:.3f}]"


def of_size(row: Row) -> str:
    """How large the row's attack is."""
    if row.spec["attack"] == "none":
        return "clean"
    return f"{row.values['l2']:.3f}"


def present(
    rows: Rows,
    lines: Sequence[Mapping[Any, Any]],
    caption: str,
    csv: str,
    data: pd.DataFrame | None = None,
) -> None:
    """``shown.present`` with the chapter's name before the file's."""
    shown.present(rows, lines, caption, f"chapter1-{csv}", data)


# ---- the paper's -------------------------------------------------------------------------------
def show_baseline(rows: Rows) -> None:
    found = {v.number.id: v for v in verdicts.baseline(rows)}
    printed = {"mnist": "mnist", "cifar10": "cifar", "nips2017": "nips"}
    lines = []
    for row in stored(rows):
        v, where = row.values, row.spec["dataset"]
        judged = found.get(f"luo2018/baseline/{printed.get(where)}")
        lines.append(
            {
                "dataset": SETS[where],
                "classifier": NETS.get(row.spec["net"], row.spec["net"]),
                "paper": judged.number.printed if judged else "",
                "accuracy": rate(v["correct"], v["n"]),
                "verdict": judged.word if judged and row.spec["net"] != "cnn-long" else "",
                "test images": v["n"],
                "parameters": v["parameters"],
                "weights": v["weights"],
            }
        )
    present(rows, lines, "Clean accuracy of the classifiers, without a defense.", "baseline")


def show_betas(rows: Rows) -> None:
    """The choice of beta on clean images."""
    lines = []
    for where, size in dict.fromkeys((r.spec["dataset"], r.spec["size"]) for r in rows):
        own = stored(rows, dataset=where, size=size)
        whole = len(own) == sum(r.spec["dataset"] == where and r.spec["size"] == size for r in rows)
        chosen = chosen_beta(own, where, size) if own and whole else None
        for row in own:
            v = row.values
            lines.append(
                {
                    "VAE": f"{SETS[where]}, {size} pixels",
                    "β": row.spec["beta"],
                    "clean accuracy through it": rate(v["correct"], v["n"]),
                    "of the classifier's, kept": f"{100 * v['correct'] / v['clean_correct']:.1f} %",
                    "asked for": f"{100 * KEPT[where][size]:.1f} %",
                    "mean squared error": f"{v['mse']:.5f}",
                    "chosen": _choice(row, own, chosen),
                }
            )
    present(rows, lines, "Choice of β on clean selection images.", "betas")


def _choice(row: Row, tried: Sequence[Row], chosen: float | None) -> str:
    """Whether a beta is chosen, and what that means."""
    if row.spec["beta"] != chosen:
        return ""
    kept = row.values["correct"] / max(row.values["clean_correct"], 1)
    words = ["the only one tried"] if len(tried) == 1 else ["yes"]
    missed = kept < KEPT[row.spec["dataset"]][row.spec["size"]]
    return ", ".join([*words, *(["keeps less than asked for"] if missed else [])])


def short_of(betas: Rows) -> str:
    """Where no beta keeps what the paper's does, in a sentence for each dataset."""
    found = {
        name: said for name in SETS if (said := verdicts.shortfall(betas, name) if betas else "")
    }
    if not found:
        return ""
    lines = [f"- {SETS[name]}: {said}." for name, said in found.items()]
    return "\n".join(
        [
            "**Read on with care.** On these datasets no β that was tried keeps as much as the "
            "paper's VAE does; ours were not trained for long enough, or are too small. Numbers of "
            "such a VAE count as *not comparable*, and it decides no claim about the paper's, "
            "neither for nor against: a VAE that keeps less of the image lets less of the attack "
            "through.",
            "",
            *lines,
        ]
    )


def show_matched(rows: Rows, dataset: str, attack: str, columns: Sequence[str]) -> None:
    """Our curves at the paper's relative L2, on straight lines between our rows."""
    own = sorted(
        [
            *stored(rows, dataset=dataset, attack="none"),
            *stored(rows, dataset=dataset, attack=attack),
        ],
        key=lambda row: row.values["l2"],
    )
    lines = []
    if len(own) > 1:
        x = [row.values["l2"] for row in own]
        for size, _ in printed(dataset, attack, columns[0]):
            line: dict[str, Any] = {"relative L2": f"{size:g}"}
            for column in columns:
                y = [row.values["correct"][column] / row.values["n"] for row in own]
                paper = dict(printed(dataset, attack, column)).get(size)
                line[f"{name(column)}, paper"] = f"{paper:.3f}"
                line[f"{name(column)}, ours"] = (
                    f"{np.interp(size, x, y):.3f}" if size <= x[-1] else "beyond our rows"
                )
            lines.append(line)
    kept = [
        r for r in rows if r.spec["dataset"] == dataset and r.spec["attack"] in ("none", attack)
    ]
    title = (
        f"{SETS[dataset]} under {attack_name(attack)}: our curve read at the paper's relative L2."
    )
    present(kept, lines, title, f"matched-{dataset}-{attack}")


def show_fragile(rows: Rows, further: Rows, dataset: str, columns: Sequence[str]) -> None:
    """Our FGSM curve at the sizes that leave our bare classifier what the paper leaves its own."""
    kept = [r for r in (*rows, *further) if r.spec["dataset"] == dataset]
    kept = [r for r in kept if r.spec["attack"] in ("none", "fgsm")]
    own = sorted(stored(kept), key=lambda row: row.values["l2"])
    bare = np.minimum.accumulate([_share(row, "nodef") for row in own] or [0.0])[::-1]

    def read(values: list[float], at: float) -> str:
        if not bare[0] <= at <= bare[-1]:
            return "beyond our rows"
        return f"{np.interp(at, bare, values[::-1]):.3f}"

    lines = []
    for size, left in printed(dataset, "fgsm", "nodef") if stored(further) else []:
        line: dict[str, Any] = {
            "no defense, paper": f"{left:.3f}",
            "relative L2, paper": f"{size:g}",
            "relative L2, ours": read([row.values["l2"] for row in own], left),
        }
        for column in columns:
            paper = dict(printed(dataset, "fgsm", column)).get(size)
            if paper is not None:
                line[f"{name(column)}, paper"] = f"{paper:.3f}"
            line[f"{name(column)}, ours"] = read([_share(row, column) for row in own], left)
        lines.append(line)
    title = (
        f"{SETS[dataset]} under FGSM: what defenses leave where the bare classifier is as fragile "
        "as the paper's, on straight lines between our rows."
    )
    present(kept, lines, title, f"fragile-{dataset}")


def _share(row: Row, column: str) -> float:
    return row.values["correct"][column] / row.values["n"]


def _grid(
    rows: Rows, found: Sequence[Verdict], columns: Sequence[str], caption: str, csv: str,
    sizes: Mapping[str, str],
) -> None:  # fmt: skip
    """A line for each number: the paper's beside ours; and our own table in the paper's form.

    Args:
        sizes: our relative L2 by the paper's, where an attack is matched by another number.
    """
    present(rows, matrix(rows, columns), caption + ": ours.", f"{csv}-ours")
    if not any(isinstance(row, Row) for row in rows):
        return
    labels = [_label(v.number.id, sizes) for v in found]
    frame = compare(found, labels)
    present(
        [r for r in rows if isinstance(r, Row)], frame.to_dict("records"),
        caption + ": beside the paper's.", csv, tidy(found),
    )  # fmt: skip


def _label(id_: str, sizes: Mapping[str, str]) -> str:
    _, _, size, column = id_.split("/")
    size = size.removeprefix("L2=")
    own = f" (ours {sizes[size]})" if size in sizes else ""
    return f"L2 {size}{own}, {name(column).replace('VAE, ', 'VAE ')}"


def matrix(rows: Rows, columns: Sequence[str]) -> list[dict[str, str]]:
    """A line for each attack size, a column for each defense."""
    return [
        {
            "attack": attack_name(row.spec["attack"]),
            "relative L2": of_size(row),
            **{
                name(column): rate(row.values["correct"][column], row.values["n"])
                for column in columns
                if column in row.values["correct"]
            },
        }
        for row in rows
        if isinstance(row, Row)
    ]


def show_table(rows: Rows, betas: Rows, dataset: str, attack: str, number: int) -> None:
    """Tables 4 to 7."""
    own = [r for r in rows if r.spec["dataset"] == dataset and r.spec["attack"] == attack]
    found = getattr(verdicts, f"table{number}")(own, betas)
    columns = ["nodef", "jpeg10", "jpeg23", *GRIDS.get(dataset, {}), "ens", "ours"]
    title = f"Table {number}: accuracy on {SETS[dataset]} under {attack_name(attack)}"
    # An epsilon that stands for the paper's L2 does not lead to just that L2.
    known = EPS.get(dataset, {})
    sizes = {
        known[row.spec["eps"]]: of_size(row)
        for row in own
        if isinstance(row, Row) and row.spec.get("eps") in known
    }
    _grid(own, found, columns, title, f"table{number}", sizes)


def show_any(rows: Rows, dataset: str) -> None:
    """The same columns for attacks and datasets that the paper has no table of."""
    own = [r for r in rows if r.spec["dataset"] == dataset]
    columns = ["nodef", "jpeg10", "jpeg23", *GRIDS.get(dataset, {}), "ens", "ours"]
    caption = f"Accuracy on {SETS[dataset]}, all attacks"
    present(own, matrix(own, columns), caption, f"all-{dataset}")


def printed(dataset: str, attack: str, column: str) -> list[tuple[float, float]]:
    """The paper's points (relative L2, accuracy) for one curve."""
    from washout import papers

    table = {("mnist", "fgsm"): 4, ("cifar10", "fgsm"): 5, ("nips2017", "fgsm"): 6}
    number = table.get((dataset, attack), 7 if (dataset, attack) == ("nips2017", "ifgsm") else 0)
    labels = L2[dataset] if number == 7 else EPS[dataset]
    known = papers.load("luo2018").numbers
    found = []
    for label in labels.values():
        id_ = f"luo2018/table{number}/L2={label}/{column}"
        if id_ in known:
            found.append((float(label), known[id_].rate))
    return found
