"""Tables of method 1, the autoencoder."""

from __future__ import annotations

from typing import Any

from IPython.display import Markdown, display

from washout.chapters.chapter4 import verdicts
from washout.chapters.chapter4.pools import Found, Rows, firsts, target
from washout.chapters.chapter4.settings import AE, CLEAN, MAIN
from washout.chapters.chapter4.views import (
    attack_name,
    keys,
    name,
    present,
    rate,
    show_verdicts,
    three,
)
from washout.chapters.shown import SETS, percent
from washout.metrics import wilson


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
    for group in firsts(rows):
        if group.width is not None and not group.bracketed:
            said = "the widths tried all restore more than the paper, or all less"
            display(Markdown(f"*{SETS[group.dataset]}: {said}; the nearest may not be near.*"))


def show_table3(attacked: Rows, widths: Rows, cleaned: Rows) -> None:
    found = verdicts.table3(attacked, widths, cleaned)
    columns = [*(attack_name(label) for label in MAIN), "overall"]
    labels = [f"{word}, {c}" for word in ("before", "after") for c in columns]
    labels += ["after, overall: abstract", "after, overall: introduction"]
    caption = "Table 3: accuracy on images that fool the classifier, drawn as the paper drew them."
    show_verdicts(cleaned, found, labels, caption, "table3")


def show_cleaned(attacked: Rows, widths: Rows, cleaned: Rows) -> None:
    """Every width in every pool, beside what it leaves of clean images."""
    lines = []
    for group in firsts(attacked, widths, cleaned):
        for defense in AE:
            clean, right = group.read(CLEAN, defense), group.right
            if clean is None or right is None:
                continue
            clean = clean[: len(right)]
            chosen = " (chosen)" if defense == f"ae{group.width}" else ""
            line = {
                "dataset": SETS[group.dataset],
                "": name(defense) + chosen,
                "clean, all": rate(int(clean.sum()), len(clean)),
                "clean, right before": rate(int(clean[right].sum()), int(right.sum())),
            }
            for label in group.attacks:
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
            for label in group.attacks:
                row = group.row("cleaned", attack=label, defense=defense)
                noise = group.read(label, f"noise:{defense}")
                pool = group.pool(label, "B")
                bits = group.read(label, defense)
                if row is None or bits is None or pool is None:
                    continue
                v, n = row.values, int(pool.sum())
                lines.append(
                    {
                        "dataset": SETS[group.dataset],
                        "": name(defense),
                        "attack": attack_name(label),
                        "of the change is left": percent(v["survived"]),
                        "mean L2 to what came in": three(v["moved"]),
                        "mean L2 to the clean image": three(v["back"]),
                        "restored": rate(int(bits[pool].sum()), n),
                        "restored by noise as large": ""
                        if noise is None
                        else rate(int(noise[pool].sum()), n),
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
            for label in group.attacks:
                bits, pool = group.read(label, defense), group.pool(label, "B")
                if bits is not None and pool is not None:
                    line[attack_name(label)] = rate(int(bits[pool].sum()), int(pool.sum()))
            if len(line) > 2:
                lines.append(line)
    caption = "Accuracy on attacked images, as they are and as an 8-bit file holds them; pool B."
    present(cleaned, lines, caption, "saved", papers_attacks=True)


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
    present(
        cleaned,
        lines,
        "ResNet-20: clean images, and pool B.",
        "resnet20",
        optional=True,
        papers_attacks=True,
    )
