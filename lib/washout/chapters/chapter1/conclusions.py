"""What the rows say in the end: hypotheses with verdicts, and the chapter's last words."""

from __future__ import annotations

from washout.chapters.chapter1 import verdicts
from washout.chapters.chapter1.adaptive import defense_name
from washout.chapters.chapter1.more_views import few
from washout.chapters.chapter1.settings import CHECKS, GRIDS, LARGEST, PATCHWISE
from washout.chapters.chapter1.views import SETS, Rows, attack_name, name, of_size, present, stored
from washout.metrics import paired_interval, wilson
from washout.report.verdicts import CLOSE
from washout.store import Row

LEFT = 0.05  # accuracy up to which an attack is said to leave nothing


def _points(low: float, high: float, won: int, lost: int, n: int) -> str:
    words = f"{100 * (won - lost) / n:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    return words.replace("-", "−")


def show_hypotheses(curves: Rows, controls: Rows, knowing: Rows) -> None:
    """H-L1 to H-L3, each case with the numbers that decide and a verdict.

    The same is within 5 points both ways, matching is at most 5 points worse, by the 95 % interval
    of the paired difference; nothing is left where the interval of the accuracy is below 5 %.
    Where the bare classifier keeps more than that, the attack is too small to tell.
    """
    lines = []

    def beside(id_: str, rows: Rows, where: str, control: str, defense: str) -> None:
        for row in few(stored(rows, dataset=where)):
            v = row.values
            if control not in v["correct"] or defense not in v["correct"]:
                continue
            won, lost = verdicts.pairs(row, control, row, defense)
            low, high = paired_interval(won, lost, v["n"])
            outside = high < -CLOSE or (id_ == "H-L1" and low > CLOSE)
            inside = low > -CLOSE and (id_ == "H-L2" or high < CLOSE)
            lines.append(
                {
                    "hypothesis": id_,
                    "case": f"{SETS[where]}, {attack_name(row.spec['attack'])} "
                    f"{of_size(row).replace('clean', '')}".strip(),
                    "outcome": f"{name(control)} {v['correct'][control] / v['n']:.3f}, "
                    f"{name(defense)} {v['correct'][defense] / v['n']:.3f}: "
                    f"{_points(low, high, won, lost, v['n'])}",
                    "images": v["n"],
                    "verdict": "contradicted" if outside else "holds" if inside else "undecided",
                }
            )

    for where in dict.fromkeys(r.spec["dataset"] for r in stored(curves)):
        if where not in PATCHWISE:
            beside("H-L1", curves, where, "mean", "ours")
            beside("H-L2", curves, where, "plain", "ours")
            beside("H-L2", curves, where, "gauss", "ours")
            continue
        beside("H-L1", controls, where, "vae32s32-mean", "vae32s32")
        beside("H-L2", controls, where, "plain", "vae32s32")
        for column in GRIDS[where]:
            beside("H-L2", curves, where, "gauss", column)
    for row in stored(knowing, defense="vae", knows="defense"):
        if CHECKS & set(row.spec) or row.spec["eps"] >= LARGEST:
            continue
        v = row.values
        low, high = wilson(v["mean_correct"], v["n"])
        bare = _mean(knowing, row, "nodef")
        lines.append(
            {
                "hypothesis": "H-L3",
                "case": f"{SETS[row.spec['dataset']]}, ε {row.spec['eps']:g}",
                "outcome": f"behind the VAE {v['mean_correct'] / v['n']:.3f} "
                f"[{low:.3f}, {high:.3f}]"
                + (f", without it {bare:.3f}" if bare is not None else ""),
                "images": v["n"],
                "verdict": "holds"
                if high < LEFT
                else "undecided: ε too small"
                if bare is not None and bare > LEFT
                else "contradicted"
                if low > LEFT
                else "undecided",
            }
        )
    caption = "Hypotheses: 95 % intervals of paired differences, of accuracies for H-L3."
    present([*curves, *controls, *knowing], lines, caption, "hypotheses")


def _mean(knowing: Rows, like: Row, defense: str) -> float | None:
    """Accuracy behind a defense under the strongest stored attack on it, at the same epsilon."""
    same = {key: like.spec[key] for key in ("dataset", "net", "seed", "eps")}
    found = [r.values["mean_correct"] / r.values["n"] for r in stored(knowing, **same)
             if r.spec["defense"] == defense]  # fmt: skip
    return min(found) if found else None


def conclusion(curves: Rows, knowing: Rows, betas: Rows) -> str:
    """The chapter's last words, made from the rows."""
    said = []
    for where in dict.fromkeys(r.spec["dataset"] for r in stored(curves)):
        own = few(stored(curves, dataset=where))
        hit, clean = [r for r in own if r.spec["attack"] != "none"], stored(own, attack="none")
        if hit and clean:
            row = max(hit, key=lambda r: (r.spec["attack"] == "fgsm", r.values["l2"]))
            said.append(_ignorant(row, clean[0], verdicts.shortfall(betas, where)))
    for where in dict.fromkeys(r.spec["dataset"] for r in stored(knowing)):
        own = [r for r in stored(knowing, dataset=where) if r.spec["eps"] < LARGEST]
        parts = []
        for eps in sorted({row.spec["eps"] for row in own}):
            found = stored(own, eps=eps)
            tried = dict.fromkeys(row.spec["defense"] for row in found)
            worst = {key: _worst(stored(found, defense=key)) for key in tried}
            words = ", ".join(f"{defense_name(k, where)} {v:.2f}" for k, v in worst.items())
            parts.append(f"ε {eps:g}: {words}")
        if parts:
            said.append(
                f"- **{SETS[where]}**, the worst of this page's PGD and random signs for each of "
                f"{own[0].values['n']} images. Accuracy behind each defense, at "
                f"{'; at '.join(parts)}."
            )
    return "\n".join(said) or "*No rows are stored.*"


def _worst(rows: Rows) -> float:
    """Share of images that are read rightly after every one of these attacks."""
    found = [row.values["right"] for row in stored(rows)]
    return sum(map(all, zip(*found, strict=True))) / len(found[0])


def _ignorant(row: Row, clean: Row, weaker: str) -> str:
    """One dataset under the paper's attacker: what is left, of how much, and who is ahead."""
    v, where = row.values, row.spec["dataset"]
    vaes = list(GRIDS[where]) if where in PATCHWISE else ["ours"]
    ours = max(vaes, key=lambda column: v["correct"][column])
    control = "gauss" if where in PATCHWISE else "plain"
    best = verdicts.best_quality(row)
    parts = [
        f"{name(column)} {v['correct'][column] / v['n']:.2f} "
        f"(clean {clean.values['correct'][column] / clean.values['n']:.2f})"
        for column in ("nodef", ours, control)
        if column in v["correct"]
    ]
    own = verdicts.bits(row, ours)
    won, lost = int((own & ~best.bits).sum()), int((best.bits & ~own).sum())
    low, high = paired_interval(won, lost, best.n)
    whose = "The best VAE on these very images" if where in PATCHWISE else "The VAE"
    order = "ahead of" if low > 0 else "behind" if high < 0 else "not told apart from"
    return (
        f"- **{SETS[where]}**, {attack_name(row.spec['attack'])} at relative L2 {of_size(row)}, "
        f"{v['n']:,} images: {', '.join(parts)}, JPEG at its best quality "
        f"{best.correct / best.n:.2f}. {whose} is {order} that JPEG: "
        f"{_points(low, high, won, lost, best.n)}."
        + (f" Not the paper's VAE: {weaker}." if weaker else "")
    )
