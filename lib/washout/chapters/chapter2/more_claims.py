"""The paper's claims about settings of the defenses, about what is seen, and beyond its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from washout.chapters.bits import unpacked, unpacked_floats
from washout.chapters.chapter2.errors import by_chance, matched, only_errors
from washout.chapters.chapter2.grid import (
    DEFENSES,
    NAMES,
    PRINTED,
    Grid,
    Rows,
    above,
    level,
    no_gain,
    oftener,
    without,
)
from washout.chapters.chapter2.measure import CLEAN
from washout.chapters.chapter2.settings import kind
from washout.chapters.shown import SETS
from washout.papers import Claim
from washout.report import Judgment, judge_all, judge_equal
from washout.report.verdicts import LEVEL
from washout.store import Row

ATTACKS = tuple(PRINTED)
RETRAINED = "-on-"
NOISES = ("0", "0.25", "0.75")
STEP = 0.05  # of an error: less is what another training may change
NORMS = {"l2": "L2", "linf": "L∞"}


def _need(claim: Claim, parts: Sequence[Judgment]) -> Judgment:
    return judge_all(claim, list(parts)) if parts else Judgment("not computed", claim)


# ---- settings of the defenses ------------------------------------------------------------------
def noise(claim: Claim, grid: Grid) -> Judgment:
    """On digits each step up to 0.75 gains and the one past 1.0 does not; in color none does."""
    parts = []
    for name in grid.datasets:
        steps = [("vqvae0", "vqvae0.25"), ("vqvae0.25", "vqvae0.75")]
        for low, high in steps:
            less, more = (grid.mean(name, ATTACKS, [d]) for d in (low, high))
            what = f"{grid.called(name)}, {NAMES[high]} less {NAMES[low].split()[-1]}"
            rule = oftener if kind(name) == "gray" else no_gain
            parts.append(without(rule(claim, what, more, less), grid.comparable(name, high)))
        last, past = (grid.mean(name, ATTACKS, [d]) for d in ("vqvae0.75", "vqvae1.5"))
        part = no_gain(claim, f"{grid.called(name)}, VQ-VAE 1.5 less 0.75", past, last)
        parts.append(without(part, grid.comparable(name, "vqvae1.5")))
    return _need(claim, parts)


def extremes(claim: Claim, grid: Grid) -> Judgment:
    """In color, an image has more values at 0 or 255 where it is misread than where it is not.

    Each image's mean over the attacks and defenses after which it is misread, less that over the
    others; images with both. The mean of each attack and defense is taken off first, as those that
    more images are misread after need not be those that leave more such values. Digits are black
    and white before anything happens to them. The noise that the claim speaks of is not measured.
    """
    parts = []
    for name in (n for n in grid.datasets if kind(n) == "color"):
        columns = [d for d in DEFENSES if grid.comparable(name, d)]
        rows = [grid.row(name, a, d) for a in ATTACKS for d in columns]
        known = [row.values for row in rows if row is not None and "extreme" in row.values]
        if len(known) < len(rows):
            parts.append(Judgment("not computed", claim))
            continue
        n = min(v["n"] for v in known)
        share = np.stack([unpacked_floats(v["extreme"])[:n] for v in known])
        share -= share.mean(1, keepdims=True)
        right = np.stack([unpacked(v["right"], v["n"])[:n] for v in known])
        both = right.any(0) & ~right.all(0)
        if not both.any():
            parts.append(Judgment("undecided", claim, f"{SETS[name]}: none both misread and not"))
            continue
        misread, read = (
            np.average(share[:, both], axis=0, weights=which[:, both]) for which in (~right, right)
        )
        what = f"{grid.called(name)}, values at 0 or 255, misread less rightly read"
        part = above(claim, what, misread - read, 0.0)
        parts.append(replace(part, evidence=f"{part.evidence}; noise not measured"))
    return _need(claim, parts)


def blurrier(claim: Claim, vqs: Rows) -> Judgment:
    """The mean squared error on clean test images grows with the training noise.

    Steps of less than a twentieth decide nothing: each error is that of a single training.
    """
    parts = []
    errors: dict[str, dict[str, float]] = {}
    counts: dict[str, int] = {}
    for row in (r for r in vqs if "hidden" not in r.spec and r.spec["noise"] in NOISES):
        if not isinstance(row, Row):
            return Judgment("not computed", claim)
        errors.setdefault(row.spec["dataset"], {})[row.spec["noise"]] = row.values["mse"]
        counts[row.spec["dataset"]] = row.values["n"]
    for name, found in errors.items():
        series = [found[noise] for noise in NOISES if noise in found]
        steps = np.diff(series) / series[0]
        word = "contradicted" if (steps < -STEP).any() else "undecided"
        if len(series) == len(NOISES) and (steps > STEP).all():
            word = "holds"
        said = f"{SETS[name]}, mean squared error " + ", ".join(f"{e:.4f}" for e in series)
        said += f" (n {counts[name]})"
        parts.append(Judgment(word, claim, said))
    return _need(claim, parts)


def sizes(claim: Claim, vqs: Rows) -> Judgment:
    """Clean accuracy through the VQ-VAE: each other size over the paper's gains nothing."""
    parts = []
    sized = [r for r in vqs if isinstance(r, Row) and "hidden" in r.spec]
    for name in dict.fromkeys(row.spec["dataset"] for row in sized):
        bits = {
            (r.spec["hidden"], r.spec["codes"]): unpacked(r.values["right"], r.values["n"])
            for r in sized
            if r.spec["dataset"] == name
        }
        main = bits.pop((256, 512), None)
        for (hidden, codes), other in bits.items():
            what = f"{SETS[name]}, hidden {hidden}, {codes} codes"
            parts.append(no_gain(claim, what, other, main))
    return _need(claim, parts)


def flat(claim: Claim, grid: Grid) -> Judgment:
    """FGSM and PGD: qualities 25 and 95 against the paper's 90, within five points."""
    parts = []
    for name in grid.datasets:
        for attack in ("fgsm", "pgd"):
            own = grid.bits(name, attack, "jpeg")
            for quality in (25, 95):
                what = f"{grid.called(name)}, {NAMES[attack]}, quality {quality} less 90"
                other = grid.bits(name, attack, f"jpeg{quality}")
                parts.append(level(claim, what, other, own))
    return _need(claim, parts)


def between(claim: Claim, grid: Grid) -> Judgment:
    """The paper's number of clusters against few and many, under FGSM and PGD."""
    parts = []
    for name in grid.datasets:
        gray = kind(name) == "gray"
        for attack in ("fgsm", "pgd"):
            own = grid.bits(name, attack, "kmeans")
            for count in (4, 27 if gray else 100):
                other = f"kmeans{count}-rows" if gray else f"kmeans{count}"
                what = f"{grid.called(name)}, {NAMES[attack]}, over {count} clusters"
                parts.append(oftener(claim, what, own, grid.bits(name, attack, other)))
    return _need(claim, parts)


# ---- what it looks like ------------------------------------------------------------------------
def visible(claim: Claim, attacks: Rows) -> Judgment:
    """By distance, which stands in for the eye: DeepFool's the largest, PGD's the smallest.

    Medians over the images that all four attacks turn. L2 and L∞ are two stand-ins: where they
    disagree, neither decides.
    """
    parts = []
    rows = [r for r in attacks if not r.spec.get("whole") and "-" not in r.spec["net"]]
    for name in dict.fromkeys(r.spec["dataset"] for r in rows):
        own = {r.spec["attack"]: r for r in rows if r.spec["dataset"] == name}
        found = {word: own.get(label) for word, label in PRINTED.items()}
        known = {word: r.values for word, r in found.items() if isinstance(r, Row)}
        if len(known) < len(PRINTED):
            parts.append(Judgment("not computed", claim))
            continue
        n = min(v["n"] for v in known.values())
        turned = np.all(
            [
                unpacked(v[part], v["n"])[:n]
                for v in known.values()
                for part in ("right", "success")
            ],
            axis=0,
        )
        if not turned.any():
            parts.append(Judgment("undecided", claim, f"{SETS[name]}: none turned by all"))
            continue
        right, said = [], []
        for norm, title in NORMS.items():
            medians = {
                word: float(np.median(unpacked_floats(v["sizes"][norm])[:n][turned]))
                for word, v in known.items()
            }
            order = sorted(medians, key=medians.__getitem__)
            right.append(order[-1] == "deepfool" and order[0] == "pgd")
            said.append(f"{title} " + ", ".join(f"{NAMES[w]} {medians[w]:.3g}" for w in order))
        word = "holds" if all(right) else "undecided" if any(right) else "contradicted"
        evidence = f"{SETS[name]} (n {int(turned.sum())}): {'; '.join(said)}"
        parts.append(Judgment(word, claim, evidence))
    return _need(claim, parts)


def confusion(claim: Claim, grid: Grid) -> Judgment:
    """Entropy of where an error goes, given the true class: less for JPEG than for the VQ-VAE.

    Of the larger as many errors are drawn as the smaller has. By chance errors would belong to
    either defense: a permutation test.
    """
    parts = []
    for name in (n for n in grid.datasets if kind(n) == "color"):
        rows = [grid.row(name, "fgsm", defense) for defense in ("jpeg", "vqvae0")]
        errors = [only_errors(r.values["confusion"]) for r in rows if r is not None]
        if len(errors) < 2:
            return Judgment("not computed", claim)
        found, size = matched(errors)
        if not size:
            return Judgment("undecided", claim, "no errors")
        jpeg, vq = found.mean(1)
        p = by_chance(*errors)
        word = "undecided" if p >= LEVEL else "holds" if vq > jpeg else "contradicted"
        said = f"VQ-VAE {vq:.2f} bits, JPEG {jpeg:.2f}, of {size} errors each, p = {p:.2g}"
        part = Judgment(word, claim, f"{grid.called(name)}: {said}", p)
        parts.append(without(part, grid.comparable(name, "vqvae0")))
    return _need(claim, parts)


# ---- beyond the grid ---------------------------------------------------------------------------
def retrained(claim: Claim, cells: Rows, grid: Grid) -> Judgment:
    """Clean images through the VQ-VAE: a classifier trained on such images over the usual one."""
    parts, tested = [], []
    for row in cells:
        again = isinstance(row, Row) and RETRAINED in row.spec["net"]
        if again and row.spec["defense"] == "vqvae0" and row.spec["attack"] == CLEAN:
            name = row.spec["dataset"]
            tested.append(name)
            own = Grid([replace(row, spec={**row.spec, "net": "again"})]).clean(name, "vqvae0")
            what = f"{SETS[name]}, clean images, trained on them less not"
            parts.append(oftener(claim, what, own, grid.clean(name, "vqvae0")))
    found = _need(claim, parts)
    missing = [SETS[name] for name in grid.datasets if name not in tested]
    if not parts or not missing:
        return found
    said = f"{found.evidence}; {', '.join(missing)}, where the paper sees the failure, is untested"
    # What is easy on digits says nothing of the images that the claim is about.
    return replace(found, word="undecided", evidence=f"{said}, as is any attack", p=None)


def subset(claim: Claim, cells: Rows, grid: Grid) -> Judgment:
    """The mean over all cells on the 1,000 beside that on the other test images."""
    few, rest = [], []
    for row in cells:
        if isinstance(row, Row) and row.spec.get("whole"):
            own = grid.row(row.spec["dataset"], row.spec["attack"], row.spec["defense"])
            if own is not None and row.values["n"] > own.values["n"]:
                a, b = own.values, row.values
                few.append((a["correct"], a["n"]))
                rest.append((b["correct"] - a["correct"], b["n"] - a["n"]))
    if not few:
        return Judgment("not computed", claim)
    # Cells share their images: the interval is that of one cell of the mean accuracy.
    ones, others = (
        (float(np.mean([k / n for k, n in some])), min(n for _, n in some)) for some in (few, rest)
    )
    part = judge_equal(claim, ones[0] * ones[1], ones[1], others[0] * others[1], others[1])
    return replace(part, evidence=f"mean of {len(few)} cells: {part.evidence}")
