"""The paper's tables, from stored rows to what the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import Markdown, display

from washout import papers
from washout.chapters import shown
from washout.chapters.chapter3 import verdicts
from washout.chapters.chapter3.settings import MAIN
from washout.chapters.shown import Rows
from washout.metrics import wilson
from washout.report import compare, tidy
from washout.store import Row
from washout.study import Missing

NAMES = {
    "fgsm": "FGSM",
    "bim": "BIM",
    "bim-b": "BIM-B",
    "jsma": "JSMA",
    "jsma-logits": "JSMA on logits",
    "noise": "random signs",
    "pgd": "PGD",
    "deepfool": "DeepFool",
    "cw": "Carlini-Wagner",
}


def name(attack: str) -> str:
    return NAMES.get(attack, attack)


def rate(k: float, n: int) -> str:
    """``92.9 % [92.4, 93.4]``."""
    low, high = wilson(k, n)
    return f"{100 * k / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def stored(rows: Rows, net: str = "lenet", **spec: Any) -> list[Row]:
    """The rows that are there, of one network, whose specification has these values."""
    return shown.stored(rows, net=net, **spec)


def present(
    rows: Rows,
    lines: Sequence[Mapping[Any, Any]],
    caption: str,
    csv: str,
    data: pd.DataFrame | None = None,
) -> None:
    """``shown.present`` with the chapter's name before the file's."""
    shown.present(rows, lines, caption, f"chapter3-{csv}", data)


def show_baseline(rows: Rows) -> None:
    printed = papers.load("wang").numbers["wang/baseline/clean"].printed
    lines = [
        {
            "network": {"lenet": "LeNet", "feinman": "Feinman's"}[row.spec["net"]],
            "seed": row.spec["seed"],
            "clean accuracy": rate(row.values["correct"], row.values["n"]),
            "test images": row.values["n"],
            "parameters": row.values["parameters"],
            "epochs": row.values["epochs"],
            "weights": row.values["weights"],
        }
        for row in rows
        if isinstance(row, Row)
    ]
    present(rows, lines, f"Clean accuracy: the paper's text says {printed}.", "baseline")


def show_calibration(rows: Rows) -> None:
    lines = [
        {
            "attack": name(row.spec["attack"]),
            "network": row.spec["net"],
            "seed": row.spec["seed"],
            "parameter": row.values["parameter"],
            "chosen": row.values["value"],
            "paper's accuracy": f"{100 * row.values['target']:.1f} %",
            "ours on validation": rate(
                round(row.values["accuracy"] * row.values["n"]), row.values["n"]
            ),
        }
        for row in rows
        if isinstance(row, Row)
    ]
    present(rows, lines, "Calibration: accuracy left on attacked validation images.", "calibration")


def _beside(rows: Rows, items, labels, caption: str, csv: str) -> None:
    """Paper, original authors and ours."""
    rows = [r for r in rows if r.spec["attack"] in MAIN and r.spec["net"] == "lenet"]
    found = verdicts.compare(rows, items)
    if not found:  # an attack that the paper does not run
        return present(rows, [], caption, csv)
    frame = compare(found, [labels(v.number.id.split("/")) for v in found])
    numbers = papers.load("wang").numbers
    original = [v.number.id.replace("wang/", "alshemali2019/", 1) for v in found]
    frame.insert(2, "original authors", [numbers[i].printed for i in original])
    lines = frame.to_dict("records") if any(isinstance(r, Row) for r in rows) else []
    present(rows, lines, caption, csv, tidy(found))


def show_table1(rows: Rows) -> None:
    _beside(
        rows, verdicts.table1, lambda id_: name(id_[2]),
        "Table 1: accuracy of the undefended network, half clean, half attacked.", "table1",
    )  # fmt: skip


MEANING = {
    "FN": "clean flagged (FN)",
    "FP": "attacked accepted (FP)",
    "TN": "attacked flagged (TN)",
    "TP": "clean accepted (TP)",
    "DetAcc": "detection accuracy",
    "clean-correct": "clean, right",
    "clean-incorrect": "clean, wrong",
    "adv-correct": "attacked, right",
    "adv-incorrect": "attacked, wrong",
    "cls-acc": "classification accuracy",
}


def _label(id_: list[str]) -> str:
    return f"{name(id_[2])}: {MEANING[id_[3]]}"


def show_table2(rows: Rows) -> None:
    _beside(
        [r for r in rows if r.spec["rule"] == "hybrid"], verdicts.table2, _label,
        "Table 2: detection. Counts are judged as shares of their kind of image.", "table2",
    )  # fmt: skip


def show_table3(rows: Rows) -> None:
    _beside(
        [r for r in rows if r.spec["rule"] == "hybrid"], verdicts.table3, _label,
        "Table 3: of the images declared clean.", "table3",
    )  # fmt: skip


def show_abstract(rows: Rows) -> None:
    hybrid = [r for r in rows if r.spec["rule"] == "hybrid" and r.spec["net"] == "lenet"]
    found = verdicts.abstract(hybrid)
    labels = ["mean detection accuracy", "mean classification accuracy"]
    known = found[0].word != "not computed"
    present(
        hybrid, compare(found, labels).to_dict("records") if known else [],
        "Abstract: the two averages over three attacks.", "abstract", tidy(found),
    )  # fmt: skip
    if not known and not any(isinstance(row, Missing) for row in hybrid):
        display(Markdown('*The averages need all three attacks: run with `attack="all"`.*'))


def show_attacks(rows: Rows) -> None:
    lines = [
        {
            "attack": name(row.spec["attack"]),
            "network": row.spec["net"],
            "accuracy left": rate(v["adversarial_correct"], v["n"]),
            "fooled, of those right before": rate(v["success"], v["clean_correct"]),
            "median L2": _three(v["median_l2"]),
            "median L∞": _three(v["median_linf"]),
            "median pixels": v["median_l0"],
            "accuracy after 8-bit rounding": rate(v["rounded_correct"], v["n"]),
            "settings": ", ".join(f"{k} {x}" for k, x in v["settings"].items()) or "defaults",
        }
        for row in rows
        if isinstance(row, Row)
        for v in [row.values]
    ]
    present(rows, lines, "Attacks: medians are over images that they fool.", "attacks")


def _three(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def show_separation(rows: Rows) -> None:
    lines = [
        {
            "attack": name(row.spec["attack"]),
            "area under ROC": f"{v['auc']:.3f} [{v['auc_low']:.3f}, {v['auc_high']:.3f}]",
            "attacked more uncertain": rate(v["attacked_higher"], v["n"]),
            "all crops agree, clean": rate(v["clean_agree_all"], v["n"]),
            "all crops agree, attacked": rate(v["attacked_agree_all"], v["n"]),
            "pairs": v["n"],
        }
        for row in stored(rows)
        for v in [row.values]
    ]
    present(
        rows, lines,
        "Separation: each image against itself attacked.", "separation",
    )  # fmt: skip


def show_usual(rows: Rows, net: str = "lenet") -> None:
    rows = [r for r in rows if r.spec["rule"] in ("hybrid", "shared") and r.spec["net"] == net]
    lines = [
        {
            "attack": name(row.spec["attack"]),
            "network": row.spec["net"],
            "thresholds": {"hybrid": "per attack", "shared": "shared"}[row.spec["rule"]],
            "detection accuracy": rate(v["caught"] + v["accepted"], v["n"]),
            "attacked flagged": rate(v["caught"], v["caught"] + v["missed"]),
            "clean flagged": rate(v["rejected"], v["rejected"] + v["accepted"]),
            "L": f"{v['low']:.4f}",
            "H": f"{v['high']:.4f}",
        }
        for row in rows
        if isinstance(row, Row)
        for v in [row.values]
    ]
    present(rows, lines, "Detection: a positive is an attacked image.", "usual")


def show_cost(rows: Rows) -> None:
    rows = [r for r in rows if r.spec["rule"] in ("hybrid", "shared")]
    lines = [
        {
            "thresholds for": name(row.spec["attack"]) if row.spec["rule"] == "hybrid" else "all",
            "turned away": rate(v["all_clean"] - v["all_clean_accepted"], v["all_clean"]),
            "answered": v["all_clean_accepted"],
            "right, of those answered": rate(v["all_clean_right"], v["all_clean_accepted"]),
            "right, of all": rate(v["all_clean_right"], v["all_clean"]),
        }
        for row in [*stored(rows, rule="hybrid"), *stored(rows, rule="shared")[:1]]
        if row.spec["attack"] in MAIN or row.spec["rule"] == "hybrid"
        for v in [row.values]
        if v["all_clean_accepted"]
    ]
    present(rows, lines, "Cost: all clean images drawn, none removed.", "cost")
