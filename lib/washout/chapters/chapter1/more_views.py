"""What the paper's tables leave out, from stored rows to what the page shows."""

from __future__ import annotations

from washout.chapters.chapter1 import verdicts
from washout.chapters.chapter1.settings import GRIDS, PATCHWISE
from washout.chapters.chapter1.views import (
    ATTACKS,
    SETS,
    Rows,
    attack_name,
    name,
    of_size,
    present,
    rate,
    stored,
)
from washout.metrics import mcnemar
from washout.store import Row

# Each control beside the column that it tests.
CONTROLS = {
    "mean": "ours", "plain": "ours", "gauss": "ours", "box": "ours",
    "noise": "ours", "clip1": "ours", "eight-bit": "nodef",
}  # fmt: skip
WIDE = {
    "gauss": "vae64s64", "vae64s64-raw": "vae64s64", "vae64s64-box": "vae64s64",
    "vae16s16-raw": "vae16s16", "vae16s16-box": "vae16s16",
    "vae16s8-mean": "vae16s8", "vae16s8-clip1": "vae16s8",
    "vae32s32-mean": "vae32s32", "vae32s32-clip1": "vae32s32",
    "vae16s8": "vae16s16", "vae32s16": "vae32s32", "vae64s16": "vae64s64",
    "noise": "vae32s32", "plain": "vae32s32", "unseen": "seen", "eight-bit": "nodef",
}  # fmt: skip


def show_clean(rows: Rows) -> None:
    """What each defense costs where nothing was attacked, and how far it moves the image."""
    lines = []
    for row in stored(rows, attack="none"):
        v, where = row.values, row.spec["dataset"]
        shown = ["nodef", "jpeg10", "jpeg23", *GRIDS.get(where, {}), "ens"]
        shown += ["ours", "mean", "plain", "box", "gauss"]
        for column in shown:
            if column in v["correct"]:
                lines.append(
                    {
                        "dataset": SETS[where],
                        "defense": name(column),
                        "clean accuracy": rate(v["correct"][column], v["n"]),
                        "relative L2 to the image": f"{v['distance'][column]:.3f}",
                    }
                )
    kept = [row for row in rows if row.spec["attack"] == "none"]
    present(kept, lines, "Clean images through each defense.", "clean")


def show_controls(rows: Rows, dataset: str) -> None:
    """Each control against the defense that it stands in for, image by image."""
    pairs = WIDE if dataset in PATCHWISE else CONTROLS
    own = [r for r in rows if r.spec["dataset"] == dataset]
    sizes = few(stored(own))
    lines = []
    for control, defense in pairs.items():
        for row in stored(sizes):
            v = row.values
            if control not in v["correct"] or defense not in v["correct"]:
                continue
            only_control, only_defense = verdicts.pairs(row, control, row, defense)
            lines.append(
                {
                    "control": name(control),
                    "attack": attack_name(row.spec["attack"]),
                    "relative L2": of_size(row),
                    "control's accuracy": rate(v["correct"][control], v["n"]),
                    "defense": name(defense),
                    "defense's accuracy": rate(v["correct"][defense], v["n"]),
                    "only control right": only_control,
                    "only defense right": only_defense,
                    "p": _p(mcnemar(only_control, only_defense)),
                }
            )
    caption = f"Controls on {SETS[dataset]}: the same images, the same attack."
    present(own, lines, caption, f"controls-{dataset}")


def few(rows: list[Row]) -> list[Row]:
    """The clean row, and each attack's smallest and largest."""
    found = [r for r in rows if r.spec["attack"] == "none"]
    for attack in dict.fromkeys(r.spec["attack"] for r in rows if r.spec["attack"] != "none"):
        own = sorted(stored(rows, attack=attack), key=lambda r: r.values["l2"])
        found += [own[0], own[-1]] if len(own) > 1 else own
    return found


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def show_best(rows: Rows) -> None:
    """The VAE against JPEG at the quality that is best for each row."""
    lines = []
    for row in stored(rows):
        v, where = row.values, row.spec["dataset"]
        correct, n, qualities, right = verdicts.best_quality(row)
        rivals = list(GRIDS[where]) if where in PATCHWISE else ["ours"]
        best = max(rivals, key=lambda column: v["correct"][column])
        lines.append(
            {
                "dataset": SETS[where],
                "attack": attack_name(row.spec["attack"]),
                "relative L2": of_size(row),
                "no defense": rate(v["correct"]["nodef"], v["n"]),
                "JPEG, best quality": rate(correct, n),
                "quality": " and ".join(str(q) for q in dict.fromkeys(qualities)),
                "best VAE": rate(v["correct"][best], v["n"]),
                "which": name(best),
                "only JPEG right": int((right & ~verdicts.bits(row, best)).sum()),
                "only VAE right": int((verdicts.bits(row, best) & ~right).sum()),
                "p": _p(
                    mcnemar(
                        int((right & ~verdicts.bits(row, best)).sum()),
                        int((verdicts.bits(row, best) & ~right).sum()),
                    )
                ),
            }
        )
    present(
        rows, lines,
        "JPEG at its best quality, chosen on one half of the images and scored on the other; "
        "the VAE column is chosen on the images it is scored on, in its favor.",
        "best-jpeg",
    )  # fmt: skip


def show_seeds(rows: Rows) -> None:
    """Mean and range over seeds, where more than one is stored."""
    lines = []
    known = stored(rows)
    keys = dict.fromkeys(
        (r.spec["dataset"], r.spec["attack"], r.spec.get("eps"), r.spec.get("l2")) for r in known
    )
    for where, attack, eps, l2 in keys:
        found = [
            r for r in known
            if (r.spec["dataset"], r.spec["attack"], r.spec.get("eps"), r.spec.get("l2"))
            == (where, attack, eps, l2)
        ]  # fmt: skip
        column = "ours" if where not in PATCHWISE else "vae64s64"
        rates = [r.values["correct"][column] / r.values["n"] for r in found]
        if len(rates) > 1:
            lines.append(
                {
                    "dataset": SETS[where],
                    "attack": ATTACKS.get(attack, attack),
                    "relative L2": of_size(found[0]),
                    "defense": name(column),
                    "seeds": len(rates),
                    "mean": f"{sum(rates) / len(rates):.3f}",
                    "from": f"{min(rates):.3f}",
                    "to": f"{max(rates):.3f}",
                }
            )
    present(rows, lines, "Seeds: classifiers, VAEs and draws.", "seeds")


def show_draws(rows: Rows) -> None:
    """The same VAE on the same images, with another draw of its noise."""
    lines = []
    for row in stored(rows):
        v = row.values
        found = [v["correct"][c] for c in v["correct"] if c == "ours" or c.startswith("ours-")]
        if len(found) > 1:
            rates = [k / v["n"] for k in found]
            mean = sum(rates) / len(rates)
            spread = (sum((r - mean) ** 2 for r in rates) / (len(rates) - 1)) ** 0.5
            lines.append(
                {
                    "dataset": SETS[row.spec["dataset"]],
                    "attack": attack_name(row.spec["attack"]),
                    "relative L2": of_size(row),
                    "accuracy, mean of draws": f"{mean:.3f}",
                    "standard deviation": f"{spread:.4f}",
                    "mean latent": f"{v['correct']['mean'] / v['n']:.3f}",
                    "draws": len(rates),
                }
            )
    present(rows, lines, "Draws: the noise of one VAE.", "draws")
