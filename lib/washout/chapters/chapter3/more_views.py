"""The tables beyond the paper's, from stored rows to what the page shows."""

from __future__ import annotations

from washout.chapters.chapter3 import verdicts
from washout.chapters.chapter3.settings import CROPS, MAIN
from washout.chapters.chapter3.views import Rows, name, present, rate, stored
from washout.store import Row

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
    parts, paid = [], []
    for row in stored(detections, rule="hybrid"):
        attack, v = row.spec["attack"], row.values
        found = [x for x in verdicts.compare([row], verdicts.table2) if "DetAcc" in x.number.id]
        beside = f", printed {found[0].number.printed}: {found[0].word}" if found else ""
        parts.append(f"{name(attack)} {rate(v['caught'] + v['accepted'], v['n'])}{beside}")
        paid.append(f"{name(attack)} {rate(v['rejected'], v['rejected'] + v['accepted'])}")
    if not parts:
        return "Not computed yet."
    text = f"Detection accuracy: {'; '.join(parts)}. "
    text += f"Clean images that pay for it, flagged although clean: {'; '.join(paid)}. "
    for row in stored(detections, rule="shared"):
        if row.spec["attack"] in ("bim-b", "pgd"):
            v = row.values
            share = rate(v["caught"], v["caught"] + v["missed"])
            text += f"Of {name(row.spec['attack'])}'s images the shared thresholds find {share}. "
    last = {row.spec["knows"]: row for row in sorted(stored(knowing), key=lambda r: r.spec["eps"])}
    evading = [
        f"{rate(row.values['wrong_and_accepted'], row.values['n'])} if it knows {knows}"
        for knows, row in last.items()
    ]
    if evading:
        eps = max(row.spec["eps"] for row in last.values())
        text += f"Images that targeted PGD gets misread *and* accepted at ε = {eps}: "
        text += f"{'; '.join(evading)}."
    return text
