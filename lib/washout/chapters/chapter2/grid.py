"""The stored cells as a grid: who is right about which image, by dataset, attack and defense.

Attacks that see fewer images see the first ones, so two cells compare on the images of the smaller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from washout.chapters.bits import unpacked
from washout.chapters.chapter2.measure import CLEAN
from washout.chapters.chapter2.settings import AUTO, MAIN, columns
from washout.chapters.shown import SETS
from washout.metrics import mcnemar
from washout.metrics.intervals import quantile
from washout.papers import Claim
from washout.report import Judgment
from washout.report.verdicts import CLOSE
from washout.store import Row
from washout.study import Missing

Rows = Sequence[Row | Missing]
Bits = np.ndarray
# The paper's names of the attacks, and what it calls the columns.
PRINTED = dict(zip(("fgsm", "pgd", "cw", "deepfool"), MAIN, strict=True))
WORDS = ("none", "jpeg", "gauss", "kmeans", "tvm", "vqvae0", "vqvae0.25", "vqvae0.75")
DEFENSES = WORDS[1:]
# For evidence: the same words as in the chapter's tables.
NAMES = {
    **dict(zip(PRINTED, ("FGSM", "PGD", "Carlini-Wagner", "DeepFool"), strict=True)),
    **dict(zip(WORDS[:5], ("no defense", "JPEG", "Gaussian", "K-means", "TVM"), strict=True)),
    **{word: f"VQ-VAE {word.removeprefix('vqvae')}" for word in WORDS[5:]},
}
USED = 100  # codes in use (perplexity): with fewer most of a codebook of 512 is idle
NETS = ("lenet", "densenet")  # the paper's; others stand in for them


class Grid:
    """The cells of each dataset's own network, without those on the whole test set."""

    def __init__(self, rows: Rows, vqs: Rows = ()):
        self.planned = [row.spec["dataset"] for row in rows]
        self.rows = [row for row in rows if isinstance(row, Row) and not row.spec.get("whole")]
        self.rows = [row for row in self.rows if "-" not in row.spec["net"]]
        self.cells = {
            (row.spec["dataset"], row.spec["attack"], row.spec["defense"]): row for row in self.rows
        }

        self.collapsed = {
            (row.spec["dataset"], f"vqvae{row.spec['noise']}")
            for row in vqs
            if isinstance(row, Row) and "hidden" not in row.spec and row.values["perplexity"] < USED
        }

    @property
    def datasets(self) -> list[str]:
        """The paper's datasets that the rows are about, there or missing, or else the bundled."""
        found = dict.fromkeys(self.planned)
        return [name for name in AUTO if name in found] or list(found)

    def row(self, dataset: str, attack: str, defense: str) -> Row | None:
        """A cell, by the paper's words or the chapter's names."""
        defense = dict(zip(WORDS, columns(dataset), strict=True)).get(defense, defense)
        # "deepfool" is the paper's word, and a registered attack that a reader may have run.
        own = self.cells.get((dataset, attack, defense))
        return own or self.cells.get((dataset, PRINTED.get(attack, attack), defense))

    def bits(self, dataset: str, attack: str, defense: str) -> Bits | None:
        """Which images are read rightly, (n,) bool."""
        row = self.row(dataset, attack, defense)
        return None if row is None else unpacked(row.values["right"], row.values["n"])

    def comparable(self, dataset: str, defense: str) -> bool:
        """Whether a column is the paper's: VQ-VAEs narrower and trained more briefly are not.

        Nor is one that uses few of its codes, where the grid knows of it.
        """
        if not defense.startswith("vq"):
            return True
        if (dataset, defense) in self.collapsed:
            return False
        found = [self.row(dataset, attack, defense) for attack in (CLEAN, *MAIN)]
        return all(row is None or row.profile == "paper" for row in found)

    def called(self, dataset: str) -> str:
        """A dataset's name, marked where another classifier stands in for the paper's."""
        return SETS[dataset] + (" (stand-in)" if self.standing_in(dataset) else "")

    def standing_in(self, dataset: str) -> bool:
        """Whether another classifier was attacked than the paper's."""
        row = self.row(dataset, CLEAN, "none")
        return row is not None and row.spec["net"] not in NETS and dataset in AUTO

    def through(self, dataset: str, defense: str) -> str:
        """What of clean images is left behind a defense: the ceiling of what it can restore."""
        bits = self.clean(dataset, defense)
        return "" if bits is None else f"{100 * bits.mean():.0f} % of clean images"

    def clean(self, dataset: str, defense: str = "none") -> Bits | None:
        return self.bits(dataset, CLEAN, defense)

    def mean(self, dataset: str, attacks: Sequence[str], defenses: Sequence[str]) -> Bits | None:
        """For each image, the share of these cells in which it is read rightly."""
        found = [self.bits(dataset, a, d) for a in attacks for d in defenses]
        if not found or any(bits is None for bits in found):
            return None
        n = min(len(bits) for bits in found if bits is not None)
        return np.mean([bits[:n] for bits in found if bits is not None], axis=0)


def _paired(better: Bits | None, worse: Bits | None) -> Bits | None:
    """Each image's gain, on the images of the smaller; None if a cell is missing."""
    if better is None or worse is None:
        return None
    n = min(len(better), len(worse))
    return better[:n].astype(float) - worse[:n].astype(float)


def points(difference: float) -> str:
    """A difference of rates in points, with its sign; ``+0`` and ``−0`` are 0."""
    found = round(100 * difference)
    return f"{found:+d}".replace("-", "−") if found else "0"


def oftener(claim: Claim, what: str, better: Bits | None, worse: Bits | None) -> Judgment:
    """Whether images fare better in one than in another.

    Right or wrong: an exact McNemar test on images. Shares of several cells: the 95 % interval of
    the mean gain.

    Args:
        better, worse: for each image right or wrong, or a share of cells.
    """
    change = _paired(better, worse)
    if change is None:
        return Judgment("not computed", claim)
    if not np.isin(change, (-1, 0, 1)).all():
        return above(claim, what, change, 0.0)
    won, lost = int((change > 0).sum()), int((change < 0).sum())
    p = mcnemar(won, lost)
    word = "undecided" if p >= 0.05 else "holds" if won > lost else "contradicted"
    said = f"{points(change.mean())} points (n {len(change)}: {won} to {lost})"
    return Judgment(word, claim, f"{what}: {said}", p)


def _interval(change: Bits) -> tuple[float, float, str]:
    reach = quantile(0.95) * float(change.std() / np.sqrt(len(change)))
    middle = float(change.mean())
    return middle - reach, middle + reach, _said(middle, reach, len(change))


def _said(middle: float, reach: float, n: int) -> str:
    return f"{points(middle)} points [{points(middle - reach)}, {points(middle + reach)}] (n {n})"


def no_gain(claim: Claim, what: str, other: Bits | None, own: Bits | None) -> Judgment:
    """That another setting gains nothing: less than five points, by the 95 % interval."""
    change = _paired(other, own)
    if change is None:
        return Judgment("not computed", claim)
    low, high, said = _interval(change)
    word = "contradicted" if low > CLOSE else "holds" if high <= CLOSE else "undecided"
    return Judgment(word, claim, f"{what}: {said}")


def level(claim: Claim, what: str, other: Bits | None, own: Bits | None) -> Judgment:
    """That two settings do the same: the 95 % interval within five points of 0."""
    change = _paired(other, own)
    if change is None:
        return Judgment("not computed", claim)
    low, high, said = _interval(change)
    inside, outside = max(-low, high) <= CLOSE, low > CLOSE or high < -CLOSE
    word = "holds" if inside else "contradicted" if outside else "undecided"
    return Judgment(word, claim, f"{what}: {said}")


def above(claim: Claim, what: str, scores: Bits | None, others: Bits | float | None) -> Judgment:
    """Whether a mean over images lies above a bound, or above that of other images (95 %)."""
    if scores is None or others is None:
        return Judgment("not computed", claim)
    other = np.asarray(others, dtype=float).reshape(-1)
    difference = float(scores.mean() - other.mean())
    variance = scores.astype(float).var() / len(scores)
    variance += other.var() / len(other) if len(other) > 1 else 0.0
    reach = quantile(0.95) * float(np.sqrt(variance))
    word = "undecided"
    if abs(difference) > reach:
        word = "holds" if difference > 0 else "contradicted"
    said = _said(difference, reach, len(scores))
    if len(other) > 1:
        said = said.replace(")", f" and {len(other)})")
    return Judgment(word, claim, f"{what}: {said}")


def at_most(
    claim: Claim, what: str, scores: Bits | None, bound: float, unit: str = "points"
) -> Judgment:
    """Whether a mean over images lies below a bound (95 %), told as the mean and the bound."""
    if scores is None:
        return Judgment("not computed", claim)
    middle = float(scores.mean())
    reach = quantile(0.95) * float(scores.astype(float).std() / np.sqrt(len(scores)))
    word = "holds" if middle + reach < bound else "undecided"
    word = "contradicted" if middle - reach > bound else word
    low, high = 100 * (middle - reach), 100 * (middle + reach)
    said = f"{100 * middle:.0f} {unit} [{low:.0f}, {high:.0f}]".replace("-", "−")
    return Judgment(word, claim, f"{what} {said} (n {len(scores)})")


def without(part: Judgment, comparable: bool, why: str = "not comparable") -> Judgment:
    """A part that a column decides which is not the paper's: it can neither hold nor contradict."""
    if comparable or part.word not in ("holds", "contradicted"):
        return part
    return replace(part, word="undecided", evidence=f"{part.evidence}, {why}", p=None)
