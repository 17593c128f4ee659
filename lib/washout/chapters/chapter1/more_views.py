"""What the paper's tables leave out, from stored rows to what the page shows."""

from __future__ import annotations

import numpy as np

from washout.chapters.chapter1 import verdicts
from washout.chapters.chapter1.settings import CHECKS, FAVORITE, GRIDS, LARGEST, PATCHWISE, TRIES
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


KNOWN = {
    "classifier": "the classifier",
    "defense": "the defense too",
    "identity": "the defense; gradient of the identity",
    "soft codec": "the defense; gradient of a soft codec",
    "nothing": "nothing: random signs, the worst of many",
}
DEFENSES = {
    "nodef": "none",
    "jpeg23": "JPEG 23",
    "gauss": "5 × 5 Gaussian filter",
    "vae": "VAE",
    "vae-mean": "VAE, mean latent",
}


def defense_name(key: str, dataset: str) -> str:
    """A defense's name for readers; of several VAEs, which."""
    if dataset not in PATCHWISE:
        return DEFENSES[key]
    return DEFENSES[key].replace("VAE", name(FAVORITE[dataset]))


def _method(row: Row) -> str:
    """How the row's attacker searches."""
    spec, v = row.spec, row.values
    if "tries" in spec:
        return f"{spec['tries']:,} random signs"
    starts = f", {spec['restarts']} starts" if "restarts" in spec else ""
    return f"PGD, {v['steps']} steps{starts}"


def show_knowing(rows: Rows, dataset: str) -> None:
    lines = []
    for row in stored(rows, dataset=dataset):
        v = row.values
        lines.append(
            {
                "defense": defense_name(row.spec["defense"], dataset),
                "attacker knows": KNOWN[row.spec["knows"]],
                "ε": row.spec["eps"],
                "search": _method(row),
                # Who does not know the defense draws none of its noise.
                "draws in a step": v["samples"] if row.spec["knows"] == "defense" else 1,
                "accuracy, mean of draws": f"{v['mean_correct'] / v['n']:.3f}",
                "one draw": rate(v["correct"], v["n"]),
                "right in all draws": rate(v["correct_in_all"], v["n"]),
                "draws": v["draws"],
            }
        )
    kept = [r for r in rows if r.spec["dataset"] == dataset]
    present(
        kept, lines, f"The attacker who knows, {SETS[dataset]}: within ε, judged with fresh "
        "draws of the noise.", f"knowing-{dataset}",
    )  # fmt: skip


def show_checks(rows: Rows) -> None:
    """Does the attack work? Beside no defense, more steps, draws, starts; no gradient; no image."""
    lines = []
    for row in stored(rows):
        spec = row.spec
        if spec["knows"] in ("classifier", "nothing") or CHECKS & set(spec):
            continue
        same = {k: spec[k] for k in ("dataset", "net", "seed", "eps")}

        def accuracy(found: list[Row]) -> str:
            return f"{found[0].values['mean_correct'] / found[0].values['n']:.2f}" if found else ""

        own = {**same, "defense": spec["defense"], "knows": spec["knows"]}
        bare = stored(rows, **same, defense="nodef")
        plain = [r for r in stored(rows, **own) if not CHECKS & set(r.spec)]
        above = bare and row.values["mean_correct"] > bare[0].values["mean_correct"]
        lines.append(
            {
                "dataset": SETS[spec["dataset"]],
                "defense": defense_name(spec["defense"], spec["dataset"]),
                "gradient": spec["knows"],
                "ε": spec["eps"],
                "no defense": accuracy(bare),
                "knows the classifier": accuracy(
                    stored(rows, **same, defense=spec["defense"], knows="classifier")
                ),
                "knows the defense": accuracy(plain),
                "twice the steps": accuracy(stored(rows, **own, longer=2)),
                "four times the draws": accuracy(stored(rows, **own, draws=4)),
                "five starts": accuracy(stored(rows, **own, restarts=5)),
                "random signs, worst of many": accuracy(
                    [
                        r
                        for r in stored(rows, **same, defense=spec["defense"], knows="nothing")
                        if r.spec.get("tries") == TRIES
                    ]
                ),
                "above no defense": "yes" if above else "no",
                "images": row.values["n"],
            }
        )
    present(
        rows, lines, "Checks of the attack that knows: accuracy, the mean over draws of the noise "
        "(after random signs: right after all of them).",
        "checks",
    )  # fmt: skip


def show_worst(rows: Rows) -> None:
    """Image by image the worst of all attacks on a defense, whatever the attacker knows."""
    lines = []
    tried = [row for row in stored(rows) if row.spec["eps"] < LARGEST]
    for where, defense, eps in dict.fromkeys(
        (r.spec["dataset"], r.spec["defense"], r.spec["eps"]) for r in tried
    ):
        own = stored(tried, dataset=where, defense=defense, eps=eps)
        n = own[0].values["n"]
        right = np.array([row.values["right"] for row in own], dtype=bool)
        without = ("classifier", "nothing")
        ignorant = [r.values["mean_correct"] for r in own if r.spec["knows"] in without]
        knowing = [r.values["mean_correct"] for r in own if r.spec["knows"] not in without]
        lines.append(
            {
                "dataset": SETS[where],
                "defense": defense_name(defense, where),
                "ε": eps,
                "images": n,
                "attacks": len(own),
                "weakest attack": f"{max([*ignorant, *knowing]) / n:.2f}",
                "strongest attack": f"{min([*ignorant, *knowing]) / n:.2f}",
                "worst of all, image by image": rate(int(right.all(0).sum()), n),
                "who knows does worse": "yes"
                if knowing and ignorant and min(knowing) > min(ignorant)
                else "",
            }
        )
    present(
        rows, lines, "Accuracy under the worst attack for each image; *who knows does worse* marks "
        "attacks that use the defense and are weaker than one that ignores it.", "worst",
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
