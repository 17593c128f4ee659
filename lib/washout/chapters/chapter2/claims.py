"""The paper's claims, judged by the stored cells; each attack as foolbox 2 searched it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from washout import papers
from washout.chapters.bits import unpacked, unpacked_floats
from washout.chapters.chapter2.grid import (
    DEFENSES,
    PRINTED,
    Grid,
    Rows,
    above,
    level,
    no_gain,
    oftener,
)
from washout.chapters.chapter2.measure import CLEAN
from washout.chapters.chapter2.settings import kind
from washout.chapters.shown import SETS
from washout.papers import Claim
from washout.report import Judgment, judge_all, judge_equal
from washout.store import Row

ATTACKS = tuple(PRINTED)
THREE = ("fgsm", "pgd", "cw")  # DeepFool is left out of some of the claims
GRAY, COLOR = "gray", "color"


def claims(cells: Rows, attacks: Rows, vqs: Rows) -> list[Judgment]:
    """A judgment of each claim, in the paper's order; those about pictures by what is measured."""
    paper = papers.load("tan2019")
    grid = Grid(cells)
    judges: dict[str, Callable[[Claim], Judgment]] = {
        "jpeg-best-mnist": lambda c: _best(c, grid, GRAY, "jpeg", ATTACKS),
        "tvm-best-cifar": lambda c: _best(c, grid, COLOR, "tvm", THREE),
        "tvm-gap": lambda c: _gap(c, grid),
        "deepfool-hardest": lambda c: _hardest(c, grid),
        "vq-deepfool-cifar": lambda c: _vq_deepfool(c, grid),
        "pgd-easiest": lambda c: _easiest(c, grid),
        "all-improve": lambda c: _improve(c, grid),
        "rank": lambda c: _rank(c, grid),
        "mnist>cifar": lambda c: _mnist_over_cifar(c, grid),
        "vq-noise-mnist": lambda c: _noise(c, grid),
        "vq-noise-recon": lambda c: _blurrier(c, vqs),
        "vq-grid": lambda c: _sizes(c, vqs),
        "jpeg-insensitive": lambda c: _flat(c, grid),
        "kmeans-sensitive": lambda c: _between(c, grid),
        "visual": lambda c: _visible(c, attacks),
        "confusion": lambda c: _confusion(c, grid),
        "clip-artefacts": lambda c: Judgment("undecided", c, "seen by eye; not measured"),
        "vq-blur-shift": lambda c: _retrained(c, cells, grid),
        "subset": lambda c: _subset(c, cells, grid),
    }
    brief = any(isinstance(row, Row) and row.profile != "paper" for row in vqs)
    found = []
    for id_, claim in paper.claims.items():
        name = id_.split("/")[-1]
        part = judges[name](claim)
        found.append(_doubted(part) if brief and name.startswith("vq-") else part)
    return found


def _doubted(part: Judgment) -> Judgment:
    """VQ-VAEs that are narrower than the paper's cannot contradict a claim about the paper's."""
    if part.word != "contradicted":
        return part
    said = f"{part.evidence}; our VQ-VAEs are narrower and trained more briefly"
    return replace(part, word="undecided", evidence=said)


def _of(grid: Grid, sort: str) -> list[str]:
    return [name for name in grid.datasets if kind(name) == sort]


def _need(claim: Claim, parts: Sequence[Judgment]) -> Judgment:
    return judge_all(claim, list(parts)) if parts else Judgment("not computed", claim)


# ---- which defense, which attack ---------------------------------------------------------------
def _best(claim: Claim, grid: Grid, sort: str, defense: str, attacks: Sequence[str]) -> Judgment:
    """Under most of the attacks, better than the best of the other defenses."""
    parts = []
    for name in _of(grid, sort):
        for attack in attacks:
            others = {d: grid.bits(name, attack, d) for d in DEFENSES if d != defense}
            known = {d: bits for d, bits in others.items() if bits is not None}
            if len(known) < len(others):
                parts.append(Judgment("not computed", claim))
                continue
            rival = max(known, key=lambda d: known[d].mean())
            what = f"{attack}, {defense} less {rival}"
            parts.append(oftener(claim, what, grid.bits(name, attack, defense), known[rival]))
    words = [part.word for part in parts]
    if not parts or "not computed" in words:
        return Judgment("not computed", claim)
    most = len(parts) // 2 + 1
    word = "undecided"
    if words.count("contradicted") > len(parts) - most:
        word = "contradicted"
    elif words.count("holds") >= most:
        word = "holds"
    return Judgment(word, claim, "; ".join(part.evidence for part in parts))


def _gap(claim: Claim, grid: Grid) -> Judgment:
    parts = []
    for name in grid.datasets:
        clean = grid.clean(name)
        for attack in THREE:
            after = grid.bits(name, attack, "tvm")
            if clean is None or after is None:
                parts.append(Judgment("not computed", claim))
                continue
            n = min(len(clean), len(after))
            lost = clean[:n].astype(float) - after[:n]
            parts.append(above(claim, f"{SETS[name]}, {attack}, under 30 lost by", -lost, -0.30))
    return _need(claim, parts)


def _hardest(claim: Claim, grid: Grid) -> Judgment:
    """Every other attack leaves more than DeepFool, and DeepFool never more than 10 %."""
    parts = []
    for name in grid.datasets:
        hard = grid.mean(name, ["deepfool"], DEFENSES)
        for attack in THREE:
            other = grid.mean(name, [attack], DEFENSES)
            parts.append(oftener(claim, f"{SETS[name]}, {attack} less DeepFool", other, hard))
        for defense in DEFENSES:
            bits = grid.bits(name, "deepfool", defense)
            what = f"{SETS[name]}, {defense}, under 10 % by"
            parts.append(above(claim, what, None if bits is None else -bits.astype(float), -0.10))
    return _need(claim, parts)


def _vq_deepfool(claim: Claim, grid: Grid) -> Judgment:
    parts = []
    for name in _of(grid, COLOR):
        known = {d: grid.bits(name, "deepfool", d) for d in DEFENSES}
        if any(bits is None for bits in known.values()):
            return Judgment("not computed", claim)
        rates = {d: float(bits.mean()) for d, bits in known.items() if bits is not None}
        best = max((d for d in DEFENSES if d.startswith("vq")), key=rates.__getitem__)
        # "Among the best": not below the middle of the others.
        others = sorted((d for d in DEFENSES if not d.startswith("vq")), key=rates.__getitem__)
        rival = others[len(others) // 2]
        parts.append(oftener(claim, f"{best} less {rival}", known[best], known[rival]))
        own = known[best]
        parts.append(
            above(claim, "under 10 % by", None if own is None else -own.astype(float), -0.10)
        )
    return _need(claim, parts)


def _easiest(claim: Claim, grid: Grid) -> Judgment:
    parts = []
    for name in grid.datasets:
        easy = grid.mean(name, ["pgd"], DEFENSES)
        for attack in ("fgsm", "cw", "deepfool"):
            other = grid.mean(name, [attack], DEFENSES)
            parts.append(oftener(claim, f"{SETS[name]}, PGD less {attack}", easy, other))
    return _need(claim, parts)


def _improve(claim: Claim, grid: Grid) -> Judgment:
    parts = [
        oftener(
            claim, f"{SETS[name]}, {attack}, {defense}",
            grid.bits(name, attack, defense), grid.bits(name, attack, "none"),
        )
        for name in grid.datasets
        for attack in ATTACKS
        for defense in DEFENSES
    ]  # fmt: skip
    found = _need(claim, parts)
    words = [part.word for part in parts]
    if not parts or "not computed" in words:
        return Judgment("not computed", claim)
    failed = [part.evidence for part in parts if part.word != "holds"]
    said = f"{words.count('holds')} of {len(parts)} cells rise"
    return replace(found, evidence="; ".join([said, *failed[:4]]))


def _rank(claim: Claim, grid: Grid) -> Judgment:
    order = (("tvm", "kmeans"), ("jpeg", "kmeans"), ("kmeans", "gauss"), ("gauss", "vqvae0"))
    return _need(
        claim,
        [
            oftener(
                claim, f"{SETS[name]}, {one} less {other}",
                grid.mean(name, ATTACKS, [one]), grid.mean(name, ATTACKS, [other]),
            )
            for name in grid.datasets
            for one, other in order
        ],
    )  # fmt: skip


def _mnist_over_cifar(claim: Claim, grid: Grid) -> Judgment:
    return _need(
        claim,
        [
            above(
                claim, f"{defense}",
                grid.mean(gray, ATTACKS, [defense]), grid.mean(color, ATTACKS, [defense]),
            )
            for gray in _of(grid, GRAY)
            for color in _of(grid, COLOR)
            for defense in DEFENSES
        ],
    )  # fmt: skip


# ---- settings of the defenses ------------------------------------------------------------------
def _noise(claim: Claim, grid: Grid) -> Judgment:
    """On digits each step up to 0.75 gains and the one past 1.0 does not; in color none does."""
    parts = []
    for name in grid.datasets:
        steps = [("vqvae0", "vqvae0.25"), ("vqvae0.25", "vqvae0.75")]
        for low, high in steps:
            less, more = (grid.mean(name, ATTACKS, [d]) for d in (low, high))
            what = f"{SETS[name]}, {high} less {low}"
            rule = oftener if kind(name) == GRAY else no_gain
            parts.append(rule(claim, what, more, less))
        last, past = (grid.mean(name, ATTACKS, [d]) for d in ("vqvae0.75", "vqvae1.5"))
        parts.append(no_gain(claim, f"{SETS[name]}, vqvae1.5 less vqvae0.75", past, last))
    return _need(claim, parts)


def _blurrier(claim: Claim, vqs: Rows) -> Judgment:
    parts = []
    errors: dict[str, dict[str, float]] = {}
    for row in vqs:
        if not isinstance(row, Row):
            return Judgment("not computed", claim)
        if "hidden" not in row.spec and row.spec["noise"] in ("0", "0.25", "0.75"):
            errors.setdefault(row.spec["dataset"], {})[row.spec["noise"]] = row.values["mse"]
    for name, found in errors.items():
        series = [found[noise] for noise in ("0", "0.25", "0.75") if noise in found]
        rising = len(series) == 3 and all(np.diff(series) > 0)
        said = f"{SETS[name]}, mean squared error " + ", ".join(f"{e:.4f}" for e in series)
        parts.append(Judgment("holds" if rising else "contradicted", claim, said))
    return _need(claim, parts)


def _sizes(claim: Claim, vqs: Rows) -> Judgment:
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


def _flat(claim: Claim, grid: Grid) -> Judgment:
    """FGSM and PGD: qualities 25 and 95 against the paper's 90, within five points."""
    parts = []
    for name in grid.datasets:
        for attack in ("fgsm", "pgd"):
            own = grid.bits(name, attack, "jpeg")
            for quality in (25, 95):
                what = f"{SETS[name]}, {attack}, quality {quality} less 90"
                other = grid.bits(name, attack, f"jpeg{quality}")
                parts.append(level(claim, what, other, own))
    return _need(claim, parts)


def _between(claim: Claim, grid: Grid) -> Judgment:
    """The paper's number of clusters against few and many, under FGSM and PGD."""
    parts = []
    for name in grid.datasets:
        few, many = (
            ("kmeans4-rows", "kmeans27-rows") if kind(name) == GRAY else ("kmeans4", "kmeans100")
        )
        for attack in ("fgsm", "pgd"):
            own = grid.bits(name, attack, "kmeans")
            for other in (few, many):
                what = f"{SETS[name]}, {attack}, over {other}"
                parts.append(oftener(claim, what, own, grid.bits(name, attack, other)))
    return _need(claim, parts)


# ---- what it looks like ------------------------------------------------------------------------
def _visible(claim: Claim, attacks: Rows) -> Judgment:
    """By distance, which stands in for the eye: DeepFool's the largest, PGD's the smallest.

    Medians over the images that all four attacks turn.
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
        for norm in ("l2", "linf"):
            sizes = {
                word: float(np.median(unpacked_floats(v["sizes"][norm])[:n][turned]))
                for word, v in known.items()
            }
            order = sorted(sizes, key=sizes.__getitem__)
            right = order[-1] == "deepfool" and order[0] == "pgd"
            said = ", ".join(f"{word} {sizes[word]:.3g}" for word in order)
            word = "holds" if right else "contradicted"
            parts.append(Judgment(word, claim, f"{SETS[name]}, {norm}: {said}"))
    return _need(claim, parts)


def _confusion(claim: Claim, grid: Grid) -> Judgment:
    """Entropy of where an error goes, given the true class: less for JPEG than for the VQ-VAE.

    Both are resampled (a bootstrap) to as many errors as the smaller has, for entropy grows with
    their number.
    """
    parts = []
    for name in _of(grid, COLOR):
        rows = [grid.row(name, "fgsm", defense) for defense in ("jpeg", "vqvae0")]
        errors = [np.array(r.values["confusion"]) for r in rows if r is not None]
        if len(errors) < 2:
            return Judgment("not computed", claim)
        for table in errors:
            np.fill_diagonal(table, 0)
        size = min(int(table.sum()) for table in errors)
        if not size:
            return Judgment("undecided", claim, "no errors")
        source = np.random.default_rng(0)
        found = np.array([[entropy(draw) for draw in _draws(t, size, source)] for t in errors])
        change = found[1] - found[0]
        low, high = np.quantile(change, (0.025, 0.975))
        word = "holds" if low > 0 else "contradicted" if high < 0 else "undecided"
        said = f"VQ-VAE {found[1].mean():.2f} bits, JPEG {found[0].mean():.2f}, of {size} errors"
        parts.append(Judgment(word, claim, f"{SETS[name]}: {said}"))
    return _need(claim, parts)


def _draws(table: np.ndarray, size: int, source: np.random.Generator) -> np.ndarray:
    flat = table.reshape(-1) / table.sum()
    return source.multinomial(size, flat, size=1000).reshape(-1, *table.shape)


def entropy(table: np.ndarray) -> float:
    """Mean entropy of the rows in bits, each row weighed by its sum."""
    sums = table.sum(1, keepdims=True)
    share = table / np.maximum(sums, 1)
    bits = -(share * np.log2(np.where(share > 0, share, 1))).sum(1)
    return float((bits * sums[:, 0]).sum() / max(table.sum(), 1))


# ---- beyond the grid ---------------------------------------------------------------------------
def _retrained(claim: Claim, cells: Rows, grid: Grid) -> Judgment:
    """Clean images through the VQ-VAE: a classifier trained on such images over the usual one."""
    parts = []
    for row in cells:
        again = isinstance(row, Row) and "-on-" in row.spec["net"]
        if again and row.spec["defense"] == "vqvae0" and row.spec["attack"] == CLEAN:
            name = row.spec["dataset"]
            own = Grid([replace(row, spec={**row.spec, "net": "again"})]).clean(name, "vqvae0")
            what = f"{SETS[name]}, clean, trained on them less not"
            parts.append(oftener(claim, what, own, grid.clean(name, "vqvae0")))
    return _need(claim, parts)


def _subset(claim: Claim, cells: Rows, grid: Grid) -> Judgment:
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
