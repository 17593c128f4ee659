"""Chapter 3's tables, from stored rows to what the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from IPython.display import Markdown, display

from washout import papers
from washout.chapters.chapter3 import verdicts
from washout.chapters.chapter3.settings import CROPS, MAIN
from washout.metrics import wilson
from washout.report import compare, not_computed, show, tidy
from washout.store import Row
from washout.study import Missing

Rows = Sequence[Row | Missing]
NAMES = {"fgsm": "FGSM", "bim": "BIM", "jsma": "JSMA", "bim-b": "BIM-B", "noise": "random signs",
         "pgd": "PGD", "deepfool": "DeepFool", "cw": "Carlini-Wagner"}  # fmt: skip
RULE_NAMES = {
    "hybrid": "hybrid (the paper's)",
    "shared": "shared thresholds",
    "chosen-on-test": "chosen on test",
    "strict": "strict count (> C)",
    "uncertainty": "uncertainty alone",
    "crops": "crops alone",
    **{f"count-{k}": f"hybrid, C = {k}" for k in range(1, 5)},
}


def name(attack: str) -> str:
    return NAMES.get(attack, attack)


def rate(k: float, n: int) -> str:
    """``92.9 % [92.4, 93.4]``."""
    low, high = wilson(k, n)
    return f"{100 * k / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def stored(rows: Rows, net: str = "lenet", **spec: Any) -> list[Row]:
    """The rows that are there, of one network, whose specification has these values."""
    wanted = {"net": net, **spec}
    return [
        row
        for row in rows
        if isinstance(row, Row) and all(row.spec.get(k) == v for k, v in wanted.items())
    ]


def present(
    rows: Rows,
    lines: list[dict[str, Any]],
    caption: str,
    csv: str,
    data: pd.DataFrame | None = None,
) -> None:
    """The table, or what is missing of it and the command that computes it."""
    if lines:
        show(pd.DataFrame(lines), caption=caption, name=f"chapter3-{csv}", rows=rows, data=data)
    for command in dict.fromkeys(row.command for row in rows if isinstance(row, Missing)):
        not_computed(caption.split(":")[0].rstrip("."), command)
    if not rows:
        display(Markdown("*Not part of a run for this attack.*"))


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


def show_usual(rows: Rows) -> None:
    rows = [r for r in rows if r.spec["rule"] in ("hybrid", "shared")]
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


def show_rules(rows: Rows) -> None:
    lines = []
    for rule, label in RULE_NAMES.items():
        for row in stored(rows, rule=rule):
            v = row.values
            if row.spec["attack"] not in MAIN and rule != "hybrid":
                continue
            lines.append(
                {
                    "rule": label,
                    "attack": name(row.spec["attack"]),
                    "detection accuracy": rate(v["caught"] + v["accepted"], v["n"]),
                    "attacked flagged": rate(v["caught"], v["caught"] + v["missed"]),
                    "clean flagged": rate(v["rejected"], v["rejected"] + v["accepted"]),
                    "only hybrid right": v.get("hybrid_only", ""),
                    "only this right": v.get("this_only", ""),
                }
            )
    lines = [line for line in lines if line["attack"] in map(name, MAIN)] or lines
    kept = [r for r in rows if r.spec["attack"] in MAIN] or rows
    present(kept, lines, "Rules: variants of the detector on the same images.", "rules")


def show_crops(rows: Rows) -> None:
    lines = [
        {
            "crop": row.spec["crop"],
            "attack": name(row.spec["attack"]),
            "all five agree, clean": rate(v["clean_agree"], v["rejected"] + v["accepted"]),
            "all five agree, attacked": rate(v["adversarial_agree"], v["caught"] + v["missed"]),
            "detection accuracy": rate(v["caught"] + v["accepted"], v["n"]),
        }
        for size in CROPS
        for row in stored(rows, crop=size)
        for v in [row.values]
    ]
    present(rows, lines, "Crops: of 28 pixels, scaled back up.", "crops")


def show_roc(rows: Rows) -> None:
    lines = [
        {
            "attack": name(row.spec["attack"]),
            "score": row.spec["score"],
            "area": f"{v['auc']:.3f} [{v['auc_low']:.3f}, {v['auc_high']:.3f}]",
            "found at 1 % false": f"{100 * v['tpr_at_1']:.1f} %",
            "found at 5 % false": f"{100 * v['tpr_at_5']:.1f} %",
        }
        for row in stored(rows)
        for v in [row.values]
    ]
    present(rows, lines, "Scores: area under the ROC curve, and attacks found.", "scores")


def show_seeds(rows: Rows, undefended: Rows) -> None:
    """Mean and range over seeds of what the paper's tables report."""
    lines = []
    for attack in dict.fromkeys(row.spec["attack"] for row in rows):
        found = stored(rows, attack=attack)
        rates = [(r.values["caught"] + r.values["accepted"]) / r.values["n"] for r in found]
        left = [
            r.values["adversarial_correct"] / r.values["n"]
            for r in stored(undefended, attack=attack)
        ]
        if rates:
            lines.append(
                {
                    "attack": name(attack),
                    "seeds": len(rates),
                    "detection accuracy, mean": f"{100 * sum(rates) / len(rates):.1f} %",
                    "from": f"{100 * min(rates):.1f} %",
                    "to": f"{100 * max(rates):.1f} %",
                    "accuracy left, from": f"{100 * min(left):.1f} %" if left else "",
                    "to ": f"{100 * max(left):.1f} %" if left else "",
                }
            )
    present([*rows, *undefended], lines, "Seeds: networks, draws and attacks.", "seeds")


def show_adaptive(rows: Rows) -> None:
    lines = [
        {
            "knows": row.spec["knows"],
            "ε": row.spec["eps"],
            "misread": rate(v["wrong"], v["n"]),
            "flagged": rate(v["flagged"], v["n"]),
            "misread and accepted": rate(v["wrong_and_accepted"], v["n"]),
        }
        for row in stored(rows)
        for v in [row.values]
    ]
    present(rows, lines, "Adaptive: targeted PGD, judged with fresh dropout draws.", "adaptive")


def show_second_library(rows: Rows) -> None:
    lines = [
        {
            "attack": row.spec["attack"],
            "success, ours": rate(v["ours_success"], v["n"]),
            "success, foolbox": rate(v["foolbox_success"], v["n"]),
            "norm": v["norm"],
            "median, ours": f"{v['ours_median']:.4g}",
            "median, foolbox": f"{v['foolbox_median']:.4g}",
            "images": v["n"],
        }
        for row in stored(rows)
        for v in [row.values]
    ]
    present(rows, lines, "Second library: same network, images and settings.", "second-library")


def show_hypotheses(detections: Rows, curves: Rows, knowing: Rows) -> None:
    """H-W1 to H-W4, each with the numbers that decide."""
    lines = []
    for attack in MAIN:
        hybrid = stored(detections, attack=attack, rule="hybrid")
        for id_, rule in (("H-W1", "strict"), ("H-W2", "shared")):
            other = stored(detections, attack=attack, rule=rule)
            if hybrid and other:
                a, b = (_accuracy(found[0]) for found in (hybrid, other))
                thresholds = f"L {hybrid[0].values['low']:.4f} → {other[0].values['low']:.4f}"
                lines.append(
                    {
                        "hypothesis": id_,
                        "case": f"{name(attack)}, {RULE_NAMES[rule]}",
                        "outcome": f"detection {100 * (b - a):+.1f} points; {thresholds}",
                    }
                )
        border = stored(curves, attack=attack, score="background")
        dropout = stored(curves, attack=attack, score="uncertainty")
        if border and dropout:
            lines.append(
                {
                    "hypothesis": "H-W3",
                    "case": f"{name(attack)}, border intensity",
                    "outcome": f"area {border[0].values['auc']:.3f}, "
                    f"uncertainty {dropout[0].values['auc']:.3f}",
                }
            )
    for knows in ("nothing", "dropout", "dropout and crops"):
        found = sorted(stored(knowing, knows=knows), key=lambda row: row.spec["eps"])
        if found:
            v = found[-1].values
            lines.append(
                {
                    "hypothesis": "H-W4",
                    "case": f"PGD that knows {knows}, ε {found[-1].spec['eps']}",
                    "outcome": f"misread and accepted {rate(v['wrong_and_accepted'], v['n'])}",
                }
            )
    lines.sort(key=lambda line: line["hypothesis"])
    rows = [*detections, *curves, *knowing]
    present(
        [r for r in rows if isinstance(r, Row)], lines, "Hypotheses: what decided.", "hypotheses"
    )


def _accuracy(row: Row) -> float:
    return (row.values["caught"] + row.values["accepted"]) / row.values["n"]


def conclusion(detections: Rows, knowing: Rows) -> str:
    """The chapter in a paragraph, every number from the rows."""
    numbers = papers.load("wang").numbers
    parts = []
    for attack in MAIN:
        for row in stored(detections, attack=attack, rule="hybrid"):
            printed = numbers[f"wang/table2/{attack}/DetAcc"]
            v = row.values
            word = verdicts.compare([row], verdicts.table2)[-1].word
            accuracy = rate(v["caught"] + v["accepted"], v["n"])
            parts.append(f"{name(attack)} {accuracy} beside {printed.printed} ({word})")
    if not parts:
        return "Not computed yet."
    text = f"Detection accuracy: {'; '.join(parts)}."
    fair = [
        f"{name(attack)} {rate(v['rejected'], v['rejected'] + v['accepted'])}"
        for attack in MAIN
        for row in stored(detections, attack=attack, rule="hybrid")
        for v in [row.values]
    ]
    text += f" What clean images pay, flagged although clean: {', '.join(fair)}."
    evading = stored(knowing, knows="dropout and crops")
    if evading:
        last = max(evading, key=lambda row: row.spec["eps"])
        v = last.values
        text += (
            f" An attacker who knows the detector gets {rate(v['wrong_and_accepted'], v['n'])} of "
            f"the images misread *and* accepted at ε = {last.spec['eps']}."
        )
    return text
