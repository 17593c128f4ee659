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
    sizes = _few(stored(own))
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
                    "instead of": name(defense),
                    "its accuracy": rate(v["correct"][defense], v["n"]),
                    "only control right": only_control,
                    "only it right": only_defense,
                    "p": _p(mcnemar(only_control, only_defense)),
                }
            )
    caption = f"Controls on {SETS[dataset]}: the same images, the same attack."
    present(own, lines, caption, f"controls-{dataset}")


def _few(rows: list[Row]) -> list[Row]:
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
        correct, n, qualities, _ = verdicts.best_quality(row)
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
}
DEFENSES = {
    "nodef": "none",
    "jpeg23": "JPEG 23",
    "gauss": "5 × 5 Gaussian filter",
    "vae": "VAE",
    "vae-mean": "VAE, mean latent",
}


def show_knowing(rows: Rows, dataset: str) -> None:
    lines = []
    for row in stored(rows, dataset=dataset):
        v = row.values
        lines.append(
            {
                "defense": DEFENSES[row.spec["defense"]],
                "attacker knows": KNOWN[row.spec["knows"]],
                "ε": row.spec["eps"],
                "PGD steps": v["steps"],
                "draws in a step": v["samples"],
                "accuracy": rate(v["correct"], v["n"]),
                "right in all draws": rate(v["correct_in_all"], v["n"]),
                "draws": v["draws"],
            }
        )
    kept = [r for r in rows if r.spec["dataset"] == dataset]
    present(
        kept, lines, f"The attacker who knows, {SETS[dataset]}: PGD within ε, judged with fresh "
        "draws of the noise.", f"knowing-{dataset}",
    )  # fmt: skip


def show_checks(rows: Rows) -> None:
    """Does the attack work at all? Against no defense, more steps, more draws, no image left."""
    lines = []
    for row in stored(rows):
        spec = row.spec
        if spec["knows"] == "classifier" or {"longer", "draws"} & set(spec):
            continue
        same = {k: spec[k] for k in ("dataset", "net", "seed", "eps")}

        def accuracy(found: list[Row]) -> str:
            return f"{found[0].values['mean_correct'] / found[0].values['n']:.2f}" if found else ""

        own = {**same, "defense": spec["defense"], "knows": spec["knows"]}
        bare = stored(rows, **same, defense="nodef")
        plain = [r for r in stored(rows, **own) if not {"longer", "draws"} & set(r.spec)]
        above = bare and row.values["mean_correct"] > bare[0].values["mean_correct"]
        lines.append(
            {
                "dataset": SETS[spec["dataset"]],
                "defense": DEFENSES[spec["defense"]],
                "gradient": spec["knows"],
                "ε": spec["eps"],
                "no defense": accuracy(bare),
                "knows the classifier": accuracy(
                    stored(rows, **same, defense=spec["defense"], knows="classifier")
                ),
                "knows the defense": accuracy(plain),
                "twice the steps": accuracy(stored(rows, **own, longer=2)),
                "four times the draws": accuracy(stored(rows, **own, draws=4)),
                "above no defense": "yes" if above else "no",
                "images": row.values["n"],
            }
        )
    present(
        rows, lines, "Checks of the attack that knows: accuracy, the mean over draws of the noise.",
        "checks",
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


def show_hypotheses(curves: Rows, controls: Rows, knowing: Rows) -> None:
    """H-L1 to H-L3, each with the numbers that decide."""
    lines = []

    def beside(id_: str, rows: Rows, where: str, control: str, defense: str) -> None:
        for row in _few(stored(rows, dataset=where)):
            v = row.values
            if control in v["correct"] and defense in v["correct"]:
                a, b = verdicts.pairs(row, control, row, defense)
                lines.append(
                    {
                        "hypothesis": id_,
                        "case": f"{SETS[where]}, {attack_name(row.spec['attack'])} "
                        f"{of_size(row).replace('clean', '')}".strip(),
                        "outcome": f"{name(control)} {v['correct'][control] / v['n']:.3f}, "
                        f"{name(defense)} {v['correct'][defense] / v['n']:.3f}; "
                        f"{a} against {b} images, p {_p(mcnemar(a, b))}",
                    }
                )

    for where in dict.fromkeys(r.spec["dataset"] for r in stored(curves)):
        if where not in PATCHWISE:
            beside("H-L1", curves, where, "mean", "ours")
            beside("H-L2", curves, where, "plain", "ours")
            beside("H-L2", curves, where, "gauss", "ours")
        else:
            beside("H-L1", controls, where, "vae32s32-mean", "vae32s32")
            beside("H-L2", curves, where, "gauss", "vae64s64")
            beside("H-L2", controls, where, "plain", "vae32s32")
    for row in stored(knowing, defense="vae", knows="defense"):
        v, bare = row.values, stored(
            knowing, defense="nodef", dataset=row.spec["dataset"], eps=row.spec["eps"]
        )  # fmt: skip
        if bare and not {"longer", "draws"} & set(row.spec):
            lines.append(
                {
                    "hypothesis": "H-L3",
                    "case": f"{SETS[row.spec['dataset']]}, ε {row.spec['eps']:g}",
                    "outcome": f"accuracy {v['correct'] / v['n']:.3f} behind the VAE, "
                    f"{bare[0].values['correct'] / v['n']:.3f} without, of {v['n']} images",
                }
            )
    present([*curves, *controls, *knowing], lines, "Hypotheses.", "hypotheses")


def conclusion(curves: Rows, knowing: Rows) -> str:
    """The chapter's last word, made from the rows."""
    sentences = []
    for where in dict.fromkeys(r.spec["dataset"] for r in stored(curves)):
        hit = [r for r in _few(stored(curves, dataset=where)) if r.spec["attack"] != "none"]
        if not hit:
            continue
        row = max(hit, key=lambda r: (r.spec["attack"] == "fgsm", r.values["l2"]))
        v = row.values
        ours = "ours" if where not in PATCHWISE else list(GRIDS[where])[-1]
        control = "plain" if where not in PATCHWISE else "gauss"
        best, n, _, _ = verdicts.best_quality(row)
        sentences.append(
            f"- **{SETS[where]}**, {attack_name(row.spec['attack'])} at relative L2 "
            f"{of_size(row)}: no defense {v['correct']['nodef'] / v['n']:.3f}, JPEG at its best "
            f"quality {best / n:.3f}, {name(ours)} {v['correct'][ours] / v['n']:.3f}, "
            f"{name(control)} {v['correct'][control] / v['n']:.3f}."
        )
    for where in dict.fromkeys(r.spec["dataset"] for r in stored(knowing)):
        rows = [
            r
            for r in stored(knowing, dataset=where, defense="vae", knows="defense")
            if not {"longer", "draws"} & set(r.spec)
        ]
        if rows:
            row = min(rows, key=lambda r: r.spec["eps"])
            sentences.append(
                f"- **{SETS[where]}**, an attacker who knows, ε {row.spec['eps']:g}: the VAE "
                f"keeps {row.values['correct'] / row.values['n']:.3f}."
            )
    return "\n".join(sentences) or "*No rows are stored.*"
