"""What the paper's table leaves out, from stored rows to what the page shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from washout.chapters.bits import unpacked, unpacked_floats
from washout.chapters.chapter2.grid import USED, Bits, Grid, Rows
from washout.chapters.chapter2.measure import CLEAN
from washout.chapters.chapter2.settings import MAIN, PROFILES, SEARCHES, SHORT, columns, kind
from washout.chapters.chapter2.views import SETS, attack_name, name, present, rate
from washout.chapters.shown import stored
from washout.metrics import mcnemar, wilson
from washout.store import Row

ALL, MORE = 0.999, 1.05  # success, and L2 beside a second library's, of a search at full strength


def short(row: Row) -> str:
    """``81 % [78, 84]``."""
    low, high = wilson(row.values["correct"], row.values["n"])
    share = 100 * row.values["correct"] / row.values["n"]
    return f"{share:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def show_noise(cells: Rows, dataset: str) -> None:
    """Each defense beside noise as large as the change that it makes, on the same images."""
    grid = Grid(cells)
    own = [
        r for r in cells
        if r.spec["dataset"] == dataset and r.spec["defense"].startswith(("noise:", "8bit"))
    ]  # fmt: skip
    lines = []
    for attack in (CLEAN, *SEARCHES):
        rounded = grid.bits(dataset, attack, "8bit")
        line: dict[str, Any] = {"attack": attack_name(attack)}
        for defense in columns(dataset)[1:6]:
            better, noise = (grid.bits(dataset, attack, w + defense) for w in ("", "noise:"))
            line[f"{name(defense)}, noise"] = _beside(better, noise)
        line["8-bit rounding"] = "–" if rounded is None else f"{100 * rounded.mean():.0f}"
        line["images"] = 0 if rounded is None else len(rounded)
        if rounded is not None:
            lines.append(line)
    caption = (
        f"Each defense, and noise as large as its own change, {SETS[dataset]}: accuracy in %; a "
        "star where the two differ (McNemar, p < 0.05)."
    )
    present(own, lines, caption, f"noise-{dataset}")


def _beside(better: Bits | None, noise: Bits | None) -> str:
    if better is None or noise is None:
        return "–"
    won, lost = int((better & ~noise).sum()), int((noise & ~better).sum())
    star = "*" if mcnemar(won, lost) < 0.05 else ""
    return f"{100 * better.mean():.0f}, {100 * noise.mean():.0f}{star}"


def counting(cells: Rows, attacks: Rows) -> str:
    """How much the ways to count failures can move a cell, from the rows."""
    grid = Grid(cells)
    most, whole = 0.0, 0
    for row in stored(attacks):
        label, dataset = row.spec["attack"], row.spec["dataset"]
        if label not in MAIN or "-" in row.spec["net"] or row.spec.get("whole"):
            continue
        v = row.values
        done, zero = unpacked(v["success"], v["n"]), unpacked_floats(v["labels"]) == 0
        for defense in columns(dataset):
            bits = grid.bits(dataset, label, defense)
            if bits is not None and len(bits) == v["n"]:
                ways = [bits.mean(), (bits & done).mean(), np.where(done, bits, zero).mean()]
                most, whole = max(most, float(np.ptp(ways))), whole + 1
    if not whole:
        return ""
    return (
        f"Over the same images, how failures are counted moves none of {whole} cells by more than "
        f"{100 * most:.1f} points. That some images were misread before the attack changes the "
        "denominator, not what was recovered."
    )


def show_modes(cells: Rows, attacks: Rows, dataset: str) -> None:
    """Accuracy in four ways of counting.

    The paper's library returned images of NaN where it failed, and an already misread image as it
    was. NaN makes every logit NaN, of which the first is taken: class 0. (A codec or K-means would
    not take NaN at all; there the same is assumed.)
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
                "codes in use (perplexity)": f"{v['perplexity']:.0f}",
                "clean accuracy through it": rate(v["correct"], v["n"]),
                "parameters": v["parameters"],
                "images": v["n"],
            }
        )
    present(rows, lines, "VQ-VAEs on clean test images.", "vqvae")


def codebooks(rows: Rows) -> str:
    """How far the codebooks are used; from the rows."""
    said = []
    for row in stored(rows, noise="0"):
        v, dataset = row.values, row.spec["dataset"]
        if "hidden" in row.spec:
            continue
        codes = row.spec.get("codes", 512)
        word = "most of the codebook is idle: " if v["perplexity"] < USED else ""
        said.append(f"{SETS[dataset]}: {word}{v['perplexity']:.0f} of {codes} codes are in use")
    return f"{'; '.join(said)}." if said else ""


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


def strong_enough(rows: Rows) -> str:
    """Whether each search turns every image and needs no more than the other library; from rows."""
    found = [row for row in stored(rows) if row.values["both"]]
    short = []
    for row in found:
        v = row.values
        share, ratio = v["success"][0] / v["n"], v["l2"][0] / v["l2"][1]
        if share < ALL or ratio > MORE:
            short.append(
                f"{attack_name(row.spec['attack'])} on {SETS[row.spec['dataset']]} "
                f"({v['success'][0]} of {v['n']}, {ratio:.3f} times the other's L2)"
            )
    if not found:
        return ""
    bound = f"turns at least {100 * ALL:.1f} % and needs at most {MORE:g} times the other's L2"
    if not short:
        return f"Each {bound}."
    return (
        f"A search is taken to be at full strength if it {bound}. Short of that: "
        f"{'; '.join(short)}. The DeepFool of the paper's library stops within single steps of the "
        "boundary, some images a hair short of it; with the overshoot at the end, as in the newer "
        "library, it is *DeepFool, overshoot at the end* in the table."
    )


def show_short(attacks: Rows) -> None:
    """The short Carlini-Wagner beside the full one, on the same images."""
    own = [
        r for r in attacks
        if r.spec["attack"] in ("cw-fb2", *SHORT.values()) and "-" not in r.spec["net"]
        and not r.spec.get("whole")
    ]  # fmt: skip
    lines = []
    for dataset in dict.fromkeys(r.spec["dataset"] for r in own):
        both = {r.spec["attack"]: r.values for r in stored(own, dataset=dataset)}
        full, short = both.get("cw-fb2"), both.get(SHORT[kind(dataset)])
        if full is None or short is None or full["n"] != short["n"]:
            continue
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
            line |= {name(d): short(row) for d, row in found.items()}
            lines.append(line)
    present(own, lines, "A well-trained DenseNet: accuracy through each defense.", "long")


def show_resamples(cells: Rows, size: int = 1000) -> None:
    """Five draws out of all test images: how far a subset's accuracy wanders.

    Args:
        size: of a draw; each is the same images for every attack and defense.
    """
    lines = []
    for row in stored(cells):
        n = row.values["n"]
        if not row.spec.get("whole") or n < 2 * size:
            continue
        bits = unpacked(row.values["right"], n)
        draws = [bits[np.random.default_rng(seed).permutation(n)[:size]] for seed in range(5)]
        lines.append(
            {
                "dataset": SETS[row.spec["dataset"]],
                "attack": attack_name(row.spec["attack"]),
                "defense": name(row.spec["defense"]),
                f"all {n:,}": rate(row.values["correct"], n),
                f"five draws of {size:,}, in %": ", ".join(f"{100 * d.mean():.1f}" for d in draws),
                "interval of the first": rate(int(draws[0].sum()), size),
            }
        )
    whole = [row for row in cells if row.spec.get("whole")]
    present(whole, lines, "All test images beside a subset.", "resamples")
