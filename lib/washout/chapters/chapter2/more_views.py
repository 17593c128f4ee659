"""What the paper's table leaves out, from stored rows to what the page shows."""

from __future__ import annotations

import numpy as np

from washout.chapters.bits import unpacked, unpacked_floats
from washout.chapters.chapter2.grid import Grid, Rows
from washout.chapters.chapter2.measure import CLEAN
from washout.chapters.chapter2.settings import MAIN, PROFILES, columns, kind
from washout.chapters.chapter2.views import SETS, attack_name, name, present, rate
from washout.chapters.shown import stored
from washout.metrics import wilson
from washout.store import Row

# Mean squared error in [0, 1] of VQ-VAEs as large as the paper's, from published runs (methods).
PUBLISHED = {"mnist": "0.002 to 0.004", "cifar10": "0.004 to 0.006"}
KNOWN = {
    "classifier": "the classifier",
    "identity": "the defense; gradient of the identity",
    "proxy": "the defense; gradient of a better stand-in",
}


def show_modes(cells: Rows, attacks: Rows, dataset: str) -> None:
    """Accuracy in four ways of counting.

    The paper's library returned images of NaN where it failed, and an already misread image as it
    was. NaN makes every logit NaN, of which the first is taken: class 0.
    """
    grid = Grid(cells)
    own = [
        r
        for r in attacks
        if r.spec["dataset"] == dataset
        and r.spec["attack"] in MAIN
        and "-" not in r.spec["net"]
        and not r.spec.get("whole")
    ]
    lines = []
    for row in stored(own):
        v, label = row.values, row.spec["attack"]
        before, done = (unpacked(v[word], v["n"]) for word in ("right", "success"))
        zero = unpacked_floats(v["labels"]) == 0
        turned = before & done
        for defense in columns(dataset):
            bits = grid.bits(dataset, label, defense)
            if bits is None or len(bits) != v["n"] or not turned.any():
                continue
            lines.append(
                {
                    "attack": attack_name(label),
                    "defense": name(defense),
                    "failures as they were": rate(int(bits.sum()), len(bits)),
                    "failures wrong": rate(int((bits & done).sum()), len(bits)),
                    "failures read as class 0": rate(
                        int(np.where(done, bits, zero).sum()), len(bits)
                    ),
                    "only images that were turned": rate(
                        int(bits[turned].sum()), int(turned.sum())
                    ),
                }
            )
    caption = f"Four ways to count, {SETS[dataset]}: smallest changes."
    present(own, lines, caption, f"modes-{dataset}")


def show_clean(cells: Rows) -> None:
    """What each defense costs where nothing was attacked, and how far it moves the image."""
    own = [
        r for r in cells
        if r.spec["attack"] == CLEAN and "-" not in r.spec["net"] and not r.spec.get("whole")
    ]  # fmt: skip
    lines = [
        {
            "dataset": SETS[row.spec["dataset"]],
            "defense": name(row.spec["defense"]),
            "clean accuracy": rate(row.values["correct"], row.values["n"]),
            "relative L2 to the image": f"{row.values['moved']:.3f}",
        }
        for row in stored(own)
    ]
    present(own, lines, "Clean images through each defense.", "clean")


def show_vq(rows: Rows) -> None:
    lines = []
    for row in stored(rows):
        v, spec = row.values, row.spec
        lines.append(
            {
                "dataset": SETS[spec["dataset"]],
                "training noise": spec["noise"].replace("-", ", "),
                "hidden": spec.get("hidden", PROFILES[row.profile].hidden[spec["dataset"]]),
                "codes": spec.get("codes", 512),
                "mean squared error": f"{v['mse']:.5f}",
                "published": PUBLISHED.get(spec["dataset"], "") if spec["noise"] == "0" else "",
                "codes in use (perplexity)": f"{v['perplexity']:.0f}",
                "clean accuracy through it": rate(v["correct"], v["n"]),
                "parameters": v["parameters"],
                "images": v["n"],
            }
        )
    caption = "VQ-VAEs on clean test images; published errors are for the paper's size."
    present(rows, lines, caption, "vqvae")


def show_knowing(rows: Rows, dataset: str) -> None:
    own = [r for r in rows if r.spec["dataset"] == dataset]
    lines = []
    for row in stored(own):
        v, spec = row.values, row.spec
        extra = "twice the steps" if "longer" in spec else ""
        extra = "four times the draws" if "draws" in spec else extra
        lines.append(
            {
                "defense": name(spec["defense"]),
                "attacker knows": KNOWN[spec["knows"]],
                "ε": f"{spec['eps']:.3g}",
                "check": extra,
                "PGD steps": v["steps"],
                "draws in a step": v["samples"],
                "accuracy, mean of draws": rate(v["mean_correct"], v["n"]),
                "right in all draws": rate(v["correct_in_all"], v["n"]),
            }
        )
    caption = f"The attacker who knows, {SETS[dataset]}: PGD within ε."
    present(own, lines, caption, f"knowing-{dataset}")


def show_second(rows: Rows) -> None:
    other = {
        "cw-fb2": "foolbox's DDN",
        "deepfool-fb2": "foolbox's DeepFool",
        "deepfool": "foolbox's DeepFool",
    }
    ours = {"deepfool": "DeepFool, overshoot at the end"}
    lines = [
        {
            "dataset": SETS[row.spec["dataset"]],
            "ours": ours.get(row.spec["attack"], attack_name(row.spec["attack"])),
            "fooled": rate(row.values["success"][0], row.values["n"]),
            "median L2": f"{row.values['l2'][0]:.3f}",
            "second": other[row.spec["attack"]],
            "its fooled": rate(row.values["success"][1], row.values["n"]),
            "its median L2": f"{row.values['l2'][1]:.3f}",
            "ratio": f"{row.values['l2'][0] / row.values['l2'][1]:.3f}",
        }
        for row in stored(rows)
        if row.values["both"]
    ]
    present(rows, lines, "A second library on the same images.", "second")


def show_short(attacks: Rows) -> None:
    """The short Carlini-Wagner beside the full one, on the same images."""
    own = [
        r for r in attacks
        if r.spec["attack"] in ("cw-fb2", "cw-short") and "-" not in r.spec["net"]
        and not r.spec.get("whole")
    ]  # fmt: skip
    lines = []
    for dataset in dict.fromkeys(r.spec["dataset"] for r in own):
        both = {r.spec["attack"]: r.values for r in stored(own, dataset=dataset)}
        if len(both) < 2 or both["cw-fb2"]["n"] != both["cw-short"]["n"]:
            continue
        full, short = both["cw-fb2"], both["cw-short"]
        lines.append(
            {
                "dataset": SETS[dataset],
                "images": full["n"],
                "fooled, full": rate(full["fooled"], max(full["attacked"], 1)),
                "fooled, short": rate(short["fooled"], max(short["attacked"], 1)),
                "median L2, full": f"{full['l2']:.4f}",
                "median L2, short": f"{short['l2']:.4f}",
                "ratio": f"{short['l2'] / full['l2']:.3f}",
            }
        )
    present(own, lines, "Carlini-Wagner in fewer steps, as it meets all test images.", "short")


def show_long(cells: Rows) -> None:
    """The well-trained classifier of CIFAR-10, which profile ``paper`` alone has."""
    own = [r for r in cells if r.spec["net"].endswith("-long")]
    lines = []
    for attack in (CLEAN, *MAIN):
        found = {r.spec["defense"]: r for r in stored(own, attack=attack)}
        if found:
            line = {"attack": attack_name(attack)}
            line |= {name(d): _short(row) for d, row in found.items()}
            lines.append(line)
    present(own, lines, "A well-trained DenseNet: accuracy through each defense.", "long")


def show_resamples(cells: Rows) -> None:
    """Five draws of 1,000 out of all test images: how far a subset's accuracy wanders."""
    lines = []
    source = np.random.default_rng(0)
    for row in stored(cells):
        n = row.values["n"]
        if not row.spec.get("whole") or n < 2000:
            continue
        bits = unpacked(row.values["right"], n)
        draws = [bits[source.permutation(n)[:1000]].mean() for _ in range(5)]
        lines.append(
            {
                "dataset": SETS[row.spec["dataset"]],
                "attack": attack_name(row.spec["attack"]),
                "defense": name(row.spec["defense"]),
                f"all {n:,}": rate(row.values["correct"], n),
                "five draws of 1,000, from": f"{100 * min(draws):.1f} %",
                "to": f"{100 * max(draws):.1f} %",
            }
        )
    whole = [row for row in cells if row.spec.get("whole")]
    present(whole, lines, "All test images beside a subset.", "resamples")


def conclusion(cells: Rows, knowing: Rows) -> str:
    """Sentences from rows: the boundary effect, and what is left against who knows."""
    grid = Grid(cells)
    said = []
    for dataset in grid.datasets:
        small = grid.row(dataset, "pgd-min", "jpeg90")
        fixed = "pgd-0.3" if dataset in ("mnist", "digits") else "pgd-8/255"
        large = grid.row(dataset, fixed, "jpeg90")
        rounded = grid.row(dataset, "pgd-min", "8bit")
        if small and large:
            said.append(
                f"**{SETS[dataset]}.** Through JPEG 90 accuracy is {_short(small)} after PGD that "
                f"stops at the smallest change and {_short(large)} after PGD with a fixed budget "
                f"({attack_name(fixed)})"
                + (f"; after the former and rounding to 8 bits alone it is {_short(rounded)}."
                   if rounded else ".")
            )  # fmt: skip
        known = [
            r for r in knowing
            if isinstance(r, Row) and r.spec["dataset"] == dataset and r.spec["knows"] == "proxy"
            and not {"longer", "draws"} & set(r.spec) and r.spec["eps"] < 0.5
        ]  # fmt: skip
        if known:
            best = max(known, key=lambda r: r.values["mean_correct"] / r.values["n"])
            left = 100 * best.values["mean_correct"] / best.values["n"]
            said.append(
                f"Against PGD that knows the defense the best of them, "
                f"{name(best.spec['defense'])}, leaves {left:.0f} % of {best.values['n']} images."
            )
    return " ".join(said) if said else "*Not computed yet.*"


def _short(row: Row) -> str:
    low, high = wilson(row.values["correct"], row.values["n"])
    share = 100 * row.values["correct"] / row.values["n"]
    return f"{share:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def show_hypotheses(cells: Rows, attacks: Rows) -> None:
    """H1 to H7, each with the numbers that decide."""
    grid = Grid(cells)
    lines = []

    def share(dataset: str, attack: str, defense: str) -> str:
        row = grid.row(dataset, attack, defense)
        return "–" if row is None else _short(row)

    for dataset in grid.datasets:
        gray = kind(dataset) == "gray"
        budget = "pgd-0.3" if gray else "pgd-8/255"
        hit = [
            r for r in stored(attacks, dataset=dataset) if r.spec["attack"] == "deepfool-batch64"
        ]
        numbers = {
            "H1: what JPEG recovers is a matter of stopping at the boundary": (
                f"JPEG 90: PGD, smallest {share(dataset, 'pgd-min', 'jpeg90')}, "
                f"{attack_name(budget)} {share(dataset, budget, 'jpeg90')}; rounding alone: "
                f"{share(dataset, 'pgd-min', '8bit')}"
            ),
            "H3: DeepFool is hard only where its steps are too long": (
                f"TVM: DeepFool {share(dataset, 'deepfool-fb2', 'tvm')}, step × 2 "
                f"{share(dataset, 'deepfool-x2', 'tvm')}, batches of 64 "
                f"{share(dataset, 'deepfool-batch64', 'tvm')}"
                + (f", where its median L∞ is {hit[0].values['linf']:.2g}" if hit else "")
            ),
            "H4: the literal Gaussian changes next to nothing": (
                f"clean {share(dataset, CLEAN, 'gauss')}; {attack_name(budget)} "
                f"{share(dataset, budget, 'gauss')}, undefended {share(dataset, budget, 'none')}"
            ),
            "H5: JPEG's quality matters once a budget is spent": (
                f"quality 25 and 90: PGD, smallest {share(dataset, 'pgd-min', 'jpeg25')}, "
                f"{share(dataset, 'pgd-min', 'jpeg90')}; {attack_name(budget)} "
                f"{share(dataset, budget, 'jpeg25')}, {share(dataset, budget, 'jpeg90')}"
            ),
            "H6: TVM is held back by what it costs clean images": (
                f"clean {share(dataset, CLEAN, 'tvm')}, with the border of its first code "
                f"{share(dataset, CLEAN, 'tvm-four')}"
            ),
            "H7: a slip in the range makes the VQ-VAE the worst": (
                f"clean {share(dataset, CLEAN, 'vqvae0')}, input not rescaled "
                f"{share(dataset, CLEAN, 'vqvae0-range')}, output wrapped around "
                f"{share(dataset, CLEAN, 'vqvae0-wrap')}"
            ),
        }  # fmt: skip
        lines += [
            {"dataset": SETS[dataset], "hypothesis": words, "accuracy": found}
            for words, found in numbers.items()
        ]
    rows = [r for r in cells if not r.spec.get("whole")]
    present(rows, lines if stored(rows) else [], "Hypotheses and what decides.", "hypotheses")
