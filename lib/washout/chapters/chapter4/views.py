"""The chapter's tables, from stored rows to what the page shows: the paper's own tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from washout.chapters import shown
from washout.chapters.chapter4 import verdicts
from washout.chapters.chapter4.pools import Found, Rows, groups, target
from washout.chapters.chapter4.settings import AE, CLEAN, MAIN, NOISE, OTHER_EPS
from washout.chapters.shown import SETS, stored
from washout.metrics import wilson
from washout.report import Verdict, compare, tidy
from washout.study import Study

ATTACKS = {
    CLEAN: "clean",
    **verdicts.NAMES,
    NOISE: "random signs",
    "bim": "BIM, not stopping",
    "deepfool-l2": "DeepFool, L2, uncut",
    "cw": "Carlini-Wagner",
    **{f"fgsm-{eps:g}": f"FGSM, ε {eps:g}" for eps in OTHER_EPS},
    **{f"pgd-{eps:g}": f"PGD, ε {eps:g}" for eps in OTHER_EPS},
}
NETS = {"resnet8": "the paper's, three blocks", "resnet20": "ResNet-20, which the paper names"}


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
    return f"{100 * k / n:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def counted(found: tuple[int, int] | None) -> str:
    return "–" if found is None else rate(*found)


def three(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def present(
    rows: Rows,
    lines: Sequence[Mapping[Any, Any]],
    caption: str,
    csv: str,
    data: pd.DataFrame | None = None,
) -> None:
    """``shown.present`` with the chapter's name before the file's."""
    shown.present(rows, lines, caption, f"chapter4-{csv}", data)


def firsts(*tables: Rows) -> list[Found]:
    """What is stored of each dataset, of its first seed."""
    found: dict[str, Found] = {}
    for group in groups(*tables):
        found.setdefault(group.dataset, group)
    return list(found.values())


def _verdicts(rows: Rows, found: Sequence[Verdict], labels: Sequence[str], caption: str,
              csv: str) -> None:  # fmt: skip
    known = any(v.word != "not computed" for v in found)
    lines = compare(found, labels).to_dict("records") if known else []
    present(rows, lines, caption, csv, tidy(found))


# ---- classifier and attacks --------------------------------------------------------------------
def show_baseline(rows: Rows) -> None:
    judged = {v.number.id: v for v in verdicts.baseline(rows)}
    lines = []
    for row in stored(rows):
        v, net = row.values, row.spec["net"]
        own = judged["xiong/baseline/resnet" if net == "resnet8" else "xiong/intro/he2016"]
        printed = own.number.printed
        lines.append(
            {
                "dataset": SETS[row.spec["dataset"]],
                "classifier": NETS[net],
                "paper": printed if net == "resnet8" else f"error {printed}, quoted",
                "clean accuracy": rate(v["correct"], v["n"]),
                "verdict": own.word,
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
    _verdicts(rows, found, labels, "Share of images that fool the classifier.", "success")


def show_attacks(rows: Rows) -> None:
    """Every attack, counted in the paper's way and without what was misread before."""
    lines = []
    for row in stored(rows):
        if row.spec["seed"] != min(r.spec["seed"] for r in stored(rows)):
            continue
        group = Found(row.spec["dataset"], row.spec["seed"], rows, net=row.spec["net"])
        label, v = row.spec["attack"], row.values
        right, wrong, rounded = (group.who(label, w) for w in ("right", "wrong", "wrong_rounded"))
        if right is None or wrong is None or rounded is None:
            continue
        lines.append(
            {
                "dataset": SETS[row.spec["dataset"]],
                "classifier": row.spec["net"],
                "attack": attack_name(label),
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
        right = group.who("fgsm", "right")
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


# ---- the autoencoder ---------------------------------------------------------------------------
def show_widths(rows: Rows) -> None:
    """Validation images through each autoencoder, where the width is chosen."""
    lines = []
    for group in firsts(rows):
        for row in sorted(
            (r for r in group.rows if r.table == "width"), key=lambda r: r.spec["width"]
        ):
            v, width = row.values, row.spec["width"]
            lines.append(
                {
                    "dataset": SETS[group.dataset],
                    "width": width,
                    "values in the code": 128 * width,
                    "mean squared error": f"{v['mse']:.5f}",
                    "clean, of those right before": rate(v["correct"], v["n"]),
                    "DeepFool's images restored": rate(v["restored"], v["pool"]),
                    "": "chosen" if width == group.width else "",
                    "parameters": v["parameters"],
                }
            )
    caption = (
        "Autoencoders on validation images; chosen is the one that restores nearest to "
        f"{100 * target():.1f} % after DeepFool."
    )
    present(rows, lines, caption, "widths")


def show_table3(attacked: Rows, widths: Rows, cleaned: Rows) -> None:
    found = verdicts.table3(attacked, widths, cleaned)
    columns = [*(attack_name(label) for label in MAIN), "overall"]
    labels = [f"{word}, {c}" for word in ("before", "after") for c in columns]
    labels += ["after, overall: abstract", "after, overall: introduction"]
    caption = "Table 3: accuracy on images that fool the classifier, drawn as the paper drew them."
    _verdicts(cleaned, found, labels, caption, "table3")


def show_cleaned(attacked: Rows, widths: Rows, cleaned: Rows) -> None:
    """Every width in every pool, beside what it leaves of clean images."""
    lines = []
    for group in firsts(attacked, widths, cleaned):
        for defense in AE:
            clean = group.read(CLEAN, defense)
            right = group.who("fgsm", "right")
            if clean is None or right is None:
                continue
            chosen = " (chosen)" if defense == f"ae{group.width}" else ""
            line = {
                "dataset": SETS[group.dataset],
                "": name(defense) + chosen,
                "clean, all": rate(int(clean.sum()), len(clean)),
                "clean, right before": rate(int(clean[right].sum()), int(right.sum())),
            }
            for label in MAIN:
                bits = group.read(label, defense)
                pools = group.pool(label, "A"), group.pool(label, "B")
                if bits is None or pools[0] is None or pools[1] is None:
                    continue
                for word, index in zip(("A", "B"), pools, strict=True):
                    line[f"{attack_name(label)}, {word}"] = _percent(bits[index])
                line[f"{attack_name(label)}, all"] = _percent(bits)
            lines.append(line)
    caption = "Accuracy through each autoencoder, in %: clean images, pools A and B, all images."
    present(cleaned, lines, caption, "cleaned")


def _percent(bits: Any) -> str:
    if not len(bits):
        return "–"
    low, high = wilson(int(bits.sum()), len(bits))
    return f"{100 * bits.mean():.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def show_removed(attacked: Rows, widths: Rows, cleaned: Rows) -> None:
    """What is left of the perturbation, and the control: noise as large as the repainting."""
    lines = []
    for group in firsts(attacked, widths, cleaned):
        for defense in AE:
            for label in MAIN:
                row = group.row("cleaned", attack=label, defense=defense)
                noise = group.read(label, f"noise:{defense}")
                pool = group.pool(label, "B")
                bits = group.read(label, defense)
                if row is None or bits is None or noise is None or pool is None:
                    continue
                v = row.values
                lines.append(
                    {
                        "dataset": SETS[group.dataset],
                        "": name(defense),
                        "attack": attack_name(label),
                        "of the change is left": f"{100 * v['survived']:.0f} %",
                        "mean L2 to what came in": three(v["moved"]),
                        "mean L2 to the clean image": three(v["back"]),
                        "restored": rate(int(bits[pool].sum()), int(pool.sum())),
                        "restored by noise as large": rate(int(noise[pool].sum()), int(pool.sum())),
                    }
                )
    caption = "Is anything removed? Pool B, and noise as large as the autoencoder's change."
    present(cleaned, lines, caption, "removed")


def show_saved(attacked: Rows, widths: Rows, cleaned: Rows) -> None:
    """What rounding to a file's 8 bits does, alone and before the chosen autoencoder."""
    lines = []
    for group in firsts(attacked, widths, cleaned):
        for defense in ("none", "8bit", f"ae{group.width}", f"8bit+ae{group.width}"):
            line = {"dataset": SETS[group.dataset], "": name(defense)}
            for label in MAIN:
                bits, pool = group.read(label, defense), group.pool(label, "B")
                if bits is not None and pool is not None:
                    line[attack_name(label)] = rate(int(bits[pool].sum()), int(pool.sum()))
            if len(line) > 2:
                lines.append(line)
    present(cleaned, lines, "Attacked images saved to a file and then read, pool B.", "saved")


def show_other(attacked: Rows, cleaned: Rows) -> None:
    """ResNet-20 in the place of the described network, as far as it is stored."""
    lines = []
    for group in (Found(d, s, attacked, cleaned, net="resnet20") for d, s in keys(attacked)):
        for defense in AE:
            line = {"dataset": SETS[group.dataset], "": name(defense)}
            for label in (CLEAN, *MAIN):
                bits = group.read(label, defense)
                if bits is not None:
                    pool = group.pool(label, "B") if label != CLEAN else bits | True
                    if pool is not None:
                        line[attack_name(label)] = rate(int(bits[pool].sum()), int(pool.sum()))
            if len(line) > 2:
                lines.append(line)
    present(cleaned, lines, "ResNet-20: clean images, and pool B.", "resnet20")


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
    _verdicts(detections, found, labels, caption, "table4")


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
    rows = [row for table in tables for row in table]
    if not stored(rows):
        lines, rows = [], rows[:1]  # one command says enough
    present(rows, lines, "Tables 3 and 4 by the seed of networks and draws.", "seeds")
