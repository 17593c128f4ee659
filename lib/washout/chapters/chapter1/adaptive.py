"""The attacker who knows: what is left, whether the attack is at its end, and the worst of all."""

from __future__ import annotations

import numpy as np

from washout.chapters.chapter1.settings import CHECKS, FAVORITE, LARGEST, PATCHWISE, TRIES
from washout.chapters.chapter1.views import SETS, Rows, name, present, rate, stored
from washout.store import Row

KNOWN = {
    "classifier": "the classifier",
    "defense": "the defense too",
    "identity": "the defense; gradient of the identity",
    "soft codec": "the defense; gradient of a soft codec",
    "nothing": "the defense's answers to random signs",
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
                "draws": 1 if "tries" in row.spec else v["draws"],
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


def unbroken(rows: Rows) -> str:
    """Where every attack of the page leaves more than the bare classifier has; from the rows."""
    said = []
    own = [row for row in stored(rows) if row.spec["eps"] < LARGEST]
    for where, defense, eps in dict.fromkeys(
        (r.spec["dataset"], r.spec["defense"], r.spec["eps"]) for r in own
    ):
        found = stored(own, dataset=where, defense=defense, eps=eps)
        bare = stored(own, dataset=where, defense="nodef", eps=eps)
        if defense == "nodef" or not bare:
            continue
        n, left = bare[0].values["n"], [row.values["mean_correct"] for row in found]
        without = bare[0].values["mean_correct"]
        if min(left) - without < 1:  # an image; less is the luck of a defense's draws
            continue
        words = f"{SETS[where]}, {defense_name(defense, where)}, ε {eps:g}: {min(left) / n:.2f}"
        words += f" against {without / n:.2f}"
        best = min(found, key=lambda row: row.values["mean_correct"])
        if CHECKS & set(best.spec):
            words += f", by {_method(best)}, so that the attack may not be at its end"
        said.append(words)
    if not said:
        return "No defense keeps more than the bare classifier under the strongest of them."
    return (
        "Under the strongest of these attacks more is left than of the bare classifier: "
        f"{'; '.join(said)}."
    )


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
        ignorant = [r.values["correct"] for r in own if r.spec["knows"] in without]
        knowing = [r.values["correct"] for r in own if r.spec["knows"] not in without]
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
                "gradients do worse": "yes"
                if knowing and ignorant and min(knowing) > min(ignorant)
                else "",
            }
        )
    present(
        rows, lines, "Accuracy under the worst attack for each image, by one draw of the noise; "
        "*gradients do worse*: an attack without the defense's gradient, by transfer or by random "
        "signs, leaves less than all that use it.", "worst",
    )  # fmt: skip
