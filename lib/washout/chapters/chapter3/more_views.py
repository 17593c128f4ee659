"""The tables beyond the paper's, from stored rows to what the page shows."""

from __future__ import annotations

import numpy as np

from washout.chapters.bits import unpacked
from washout.chapters.chapter3.settings import CROPS, MAIN
from washout.chapters.chapter3.views import Rows, name, present, rate, stored

KNOWS = ("nothing", "dropout", "dropout and crops")  # less and less is hidden
RULE_NAMES = {
    "hybrid": "hybrid (the paper's)",
    "shared": "shared thresholds",
    "chosen-on-test": "chosen on test",
    "strict": "strict count (> C)",
    "uncertainty": "uncertainty alone",
    "crops": "crops alone",
    **{f"count-{k}": f"hybrid, C = {k}" for k in range(1, 5)},
}


def show_rules(rows: Rows) -> None:
    lines = []
    for rule, label in RULE_NAMES.items():
        for row in stored(rows, rule=rule):
            v = row.values
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


def by_any(knowing: Rows, eps: float, knows: str) -> np.ndarray | None:
    """Which images somebody gets through who knows no more than this, (n,) bool."""
    own = [
        row
        for known in KNOWS[: KNOWS.index(knows) + 1]
        for row in stored(knowing, knows=known, eps=eps)
    ]
    if not own or len({row.values["n"] for row in own}) > 1:
        return None
    return np.any([unpacked(row.values["through"], row.values["n"]) for row in own], axis=0)


def show_adaptive(rows: Rows) -> None:
    lines = [
        {
            "knows": row.spec["knows"],
            "ε": row.spec["eps"],
            "misread": rate(v["wrong"], v["n"]),
            "flagged": rate(v["flagged"], v["n"]),
            "misread and accepted": rate(v["wrong_and_accepted"], v["n"]),
            "by any who knows no more": rate(int(any_.sum()), v["n"]) if any_ is not None else "",
        }
        for row in stored(rows)
        for v in [row.values]
        for any_ in [by_any(rows, row.spec["eps"], row.spec["knows"])]
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
