"""The chapter's tables, from stored rows to what the page shows: classifiers, attacks, Table 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from washout import attacks
from washout.chapters import shown
from washout.chapters.chapter4 import verdicts
from washout.chapters.chapter4.measure import attack_of, epsilon
from washout.chapters.chapter4.pools import Found, Rows, firsts, groups
from washout.chapters.chapter4.settings import (
    ALONG,
    CLEAN,
    DECAY,
    MAIN,
    NAMES,
    NOISE,
    OTHER_EPS,
)
from washout.chapters.shown import SETS, stored
from washout.metrics import wilson
from washout.report import Verdict, compare, not_computed, tidy
from washout.store import Row
from washout.study import Study

ATTACKS = {
    CLEAN: "clean",
    **NAMES,
    NOISE: "random signs",
    "bim": "BIM, not stopping",
    "deepfool-l2": "DeepFool, L2, uncut",
    "cw": "Carlini-Wagner",
    **{f"fgsm-{eps:g}": f"FGSM, ε {eps:g}" for eps in OTHER_EPS},
    **{f"pgd-{eps:g}": f"PGD, 20 steps, ε {eps:g}" for eps in ALONG},
}
NOT_PART = "not part of a run for this attack, dataset or seed."
NETS = {
    "resnet8": "the paper's, three blocks",
    DECAY: "the same, trained otherwise",
    "resnet20": "ResNet-20, which the paper names",
}


def attack_name(label: str) -> str:
    return ATTACKS.get(label, label)


def name(defense: str) -> str:
    """A repainting's name for readers."""
    if defense.startswith("noise:"):
        return f"noise as large as {name(defense.removeprefix('noise:'))}"
    if defense.startswith("ae"):
        return f"autoencoder, width {defense.removeprefix('ae')}"
    if defense.startswith("8bit+"):
        return f"8-bit rounding, then {name(defense.removeprefix('8bit+'))}"
    return {"none": "no defense", "8bit": "8-bit rounding"}.get(defense, defense)


def rate(k: float, n: int) -> str:
    """``92.9 % [92.4, 93.4]``, or a dash where there are no images."""
    if not n:
        return "–"
    low, high = wilson(k, n)
    return f"{100 * (k / n):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def counted(found: tuple[int, int] | None) -> str:
    return "–" if found is None else rate(*found)


def settings_of(label: str, dataset: str) -> str:
    """All settings of an attack but its epsilon, in words."""
    kind, fixed = attack_of(label)
    if kind in (CLEAN, NOISE):
        return ""
    found = attacks.get(kind).settings(dataset, **fixed)
    words = {k: f"{x:.3g}" if isinstance(x, float) else x for k, x in found.items()}
    return ", ".join(f"{k} {x}" for k, x in words.items() if k != "eps" and x is not None)


def three(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def present(
    rows: Rows,
    lines: Sequence[Mapping[Any, Any]],
    caption: str,
    csv: str,
    data: pd.DataFrame | None = None,
    optional: bool = False,
    papers_attacks: bool = False,
) -> None:
    """``shown.present`` with the chapter's name before the file's.

    Args:
        optional: where nothing is said if there are rows and nothing of them to show.
        papers_attacks: for a table about the paper's attacks: in a run for another one its rows
            are no help, stored or missing.
    """
    if papers_attacks:
        rows = [row for row in rows if row.spec.get("attack", MAIN[0]) in MAIN]
        if not rows:
            display(Markdown(f"*{caption.split(':')[0].rstrip('.')}: {NOT_PART}*"))
            return
    shown.present(rows, lines, caption, f"chapter4-{csv}", data)
    missing = any(not isinstance(row, Row) for row in rows)
    if rows and not lines and not missing and not optional:
        display(Markdown(f"*{caption.split(':')[0].rstrip('.')}: {NOT_PART}*"))


def show_verdicts(rows: Rows, found: Sequence[Verdict], labels: Sequence[str], caption: str,
                  csv: str) -> None:  # fmt: skip
    """Numbers beside the paper's."""
    known = any(v.word != "not computed" for v in found)
    lines = compare(found, labels).to_dict("records") if known else []
    present(rows, lines, caption, csv, tidy(found), papers_attacks=True)


# ---- classifier and attacks --------------------------------------------------------------------
def show_baseline(rows: Rows) -> None:
    judged = {v.number.id: v for v in verdicts.baseline(rows)}
    ids = {"resnet8": "xiong/baseline/resnet", "resnet20": "xiong/intro/he2016"}
    lines = []
    for row in stored(rows):
        v, net = row.values, row.spec["net"]
        own = judged.get(ids.get(net, ""))
        printed = own.number.printed if own else ""
        lines.append(
            {
                "dataset": SETS[row.spec["dataset"]],
                "classifier": NETS[net],
                "paper": f"error {printed}, quoted" if net == "resnet20" else printed,
                "clean accuracy": rate(v["correct"], v["n"]),
                "verdict": own.word if own else "",
                "validation images": rate(*v["validation"]),
                "seed": row.spec["seed"],
                "test images": v["n"],
                "parameters": v["parameters"],
                "weights": v["weights"],
            }
        )
    present(rows, lines, "Clean accuracy of the classifiers, without a defense.", "baseline")


def show_success(rows: Rows) -> None:
    """The paper's three numbers."""
    found = verdicts.attacks(rows)
    labels = [attack_name(label) for label in MAIN]
    show_verdicts(rows, found, labels, "Share of images that fool the classifier.", "success")


def show_attacks(rows: Rows) -> None:
    """Every attack, counted in the paper's way and without what was misread before."""
    lines = []
    for row in stored(rows):
        first = row.spec["seed"] == min(r.spec["seed"] for r in stored(rows))
        if not first or row.spec["net"] == DECAY:  # which has a table of its own
            continue
        group = Found(row.spec["dataset"], row.spec["seed"], rows, net=row.spec["net"])
        label, v = row.spec["attack"], row.values
        right, wrong, rounded = (group.who(label, w) for w in ("right", "wrong", "wrong_rounded"))
        if right is None or wrong is None or rounded is None:
            continue
        size = epsilon(label, row.spec["dataset"])
        lines.append(
            {
                "dataset": SETS[row.spec["dataset"]],
                "classifier": row.spec["net"],
                "attack": attack_name(label),
                "ε": "unbounded" if size is None else f"{size:.3g}",
                "settings": settings_of(label, row.spec["dataset"]),
                "images": v["n"],
                "wrong when clean": int((~right).sum()),
                "fooled, those among them": rate(int(wrong.sum()), v["n"]),
                "fooled, of those right before": rate(int((wrong & right).sum()), int(right.sum())),
                "the same after 8-bit rounding": rate(
                    int((rounded & right).sum()), int(right.sum())
                ),
                "not changed at all": v["unchanged"],
                "median L∞": three(v["linf"]),
                "median L2": three(v["l2"]),
            }
        )
    for group in firsts(rows):
        hits = [group.pool(label, "B") for label in MAIN]
        right = group.right
        if right is None or any(hit is None for hit in hits):
            continue
        worst = np.any([hit for hit in hits if hit is not None], axis=0)
        lines.append(
            {
                "dataset": SETS[group.dataset],
                "classifier": group.net,
                "attack": "the worst of FGSM, PGD and DeepFool for each image",
                "images": len(right),
                "fooled, of those right before": rate(int(worst.sum()), int(right.sum())),
            }
        )
    lines = [{key: line.get(key, "") for key in lines[0]} for line in lines]
    present(rows, lines, "Attacks on the undefended classifier.", "attacks")


def keys(*tables: Rows) -> list[tuple[str, int]]:
    """Dataset and seed of what is there."""
    return sorted({(r.spec["dataset"], r.spec["seed"]) for table in tables for r in table})


# ---- the detector ------------------------------------------------------------------------------
def show_flow(rows: Rows) -> None:
    lines = []
    for row in stored(rows):
        v = row.values
        lines.append(
            {
                "dataset": SETS[row.spec["dataset"]],
                "flow": "trained" if row.spec["flow"] == "trained" else "random weights",
                "seed": row.spec["seed"],
                "bits per dimension": f"{v['bits']:.3f} ± {1.96 * v['bits_error']:.3f}",
                "largest error of the inverse": f"{v['inverse_error']:.1e}",
                "parameters": v["parameters"],
                "images": v["n"],
            }
        )
    caption = "Glow on test images; the paper's code reports 3.39 bits for its own weights."
    present(rows, lines, caption, "flow")


def show_table4(attacked: Rows, flows: Rows, detections: Rows) -> None:
    found = verdicts.table4(attacked, flows, detections)
    labels = [f"clean and {attack_name(label)}" for label in MAIN]
    labels += ["overall", "overall: abstract"]
    caption = "Table 4: clean and attacked images declared what they are, drawn as printed."
    show_verdicts(detections, found, labels, caption, "table4")


def show_spread(study: Study, *tables: Rows) -> None:
    """The chapter's main numbers, a line for each seed."""
    lines = []
    for group in groups(*tables):
        after = f"ae{group.width}"
        line: dict[str, Any] = {"dataset": SETS[group.dataset], "seed": group.seed}
        for label in MAIN:
            line[f"restored, {attack_name(label)}"] = counted(group.restored(label, after))
        line["restored, overall"] = counted(group.restored_overall(after))
        for label in MAIN:
            line[f"detected, {attack_name(label)}"] = counted(group.detected(label))
        line["detected, overall"] = counted(group.detected_overall())
        lines.append(line)
    caption = "Tables 3 and 4 by the seed of networks and draws"
    rows = [row for table in tables for row in table]
    if stored(rows):
        present(stored(rows), lines, f"{caption}.", "seeds")
    if len(stored(rows)) < len(rows):
        missing = next(row for row in rows if not isinstance(row, Row))
        not_computed(caption, missing.command.partition(" --table")[0])
