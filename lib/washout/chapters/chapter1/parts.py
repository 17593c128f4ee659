"""The parts that the judgment of a claim is made of, and how they are put in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from washout.chapters.chapter1.paired import Rows, of_paper, pairs
from washout.chapters.chapter1.settings import AUTO
from washout.metrics import paired_interval
from washout.metrics.intervals import quantile
from washout.papers import Claim
from washout.report import Judgment, judge, judge_all
from washout.report.verdicts import CLOSE
from washout.store import Row
from washout.study import Missing

SETS = {"mnist": "MNIST", "cifar10": "CIFAR-10", "nips2017": "NIPS 2017"}
ATTACKS = {"none": "clean", "fgsm": "FGSM", "ifgsm": "I-FGSM"}
Found = Row | Missing | None


def ends(rows: Rows) -> tuple[Found, Found]:
    """The smallest and the largest perturbation; None for both where there are not two."""
    return (rows[0], rows[-1]) if len(rows) > 1 else (None, None)


def spoken_of(rows: Rows) -> list[str]:
    """The paper's datasets that there are rows of, missing ones included."""
    return [name for name in AUTO if of_paper(rows, name)]


def over(
    claim: Claim, row: Found, columns: Sequence[tuple[str, str]], weaker: str = ""
) -> Judgment:
    """On one row, each (better, worse) pair of columns by the images that only one gets right.

    Args:
        weaker: why our VAE cannot speak for the paper's, where it cannot; see ``doubted``.
    """
    if not isinstance(row, Row):
        return Judgment("not computed", claim)
    parts = []
    for better, worse in columns:
        won, lost = pairs(row, better, row, worse)
        told = part = judge(claim, won, lost)
        if not {better, worse} <= WITHOUT:
            part = doubted(told, weaker)
        points = f"{100 * (won - lost) / row.values['n']:+.1f} points".replace("-", "−")
        said = f"{short(better)} over {short(worse)} {won:,} to {lost:,}, {points}"
        why = doubt(part) if part.word == told.word else " (VAE too weak to tell)"
        parts.append(replace(part, evidence=said + why))
    said = ", ".join(part.evidence for part in parts)
    return replace(judge_all(claim, parts), evidence=f"{place(row)}: {said}")


WITHOUT = {"nodef", "jpeg10", "jpeg23"}  # columns that no VAE has a part in


def doubted(judgment: Judgment, weaker: str) -> Judgment:
    """A weaker VAE than the one that a claim is about decides it neither way.

    One that keeps less of an image also lets less of an attack through: it can win where the
    paper's would not, and the other way around.

    Args:
        weaker: in what it is weaker; empty if it is not.
    """
    if judgment.word not in ("holds", "contradicted") or not weaker:
        return judgment
    return replace(judgment, word="undecided", evidence=f"{judgment.evidence}; {weaker}")


def gains(
    claim: Claim, row: Found, better: str, worse: str, printed: float, weaker: str = ""
) -> Judgment:
    """On one row, whether a column gains as much over another as the paper prints, or more.

    Holds if the 95 % interval of the paired difference lies above the printed gain less 5 points,
    is contradicted if it lies below, and is undecided if it does not tell.
    """
    if not isinstance(row, Row):
        return Judgment("not computed", claim)
    won, lost = pairs(row, better, row, worse)
    n = row.values["n"]
    low, high = paired_interval(won, lost, n)
    least = printed - CLOSE
    word = "holds" if low > least else "contradicted" if high < least else "undecided"
    points = f"{100 * (won - lost) / n:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    points = points.replace("-", "−")
    said = f"{place(row)}: {short(better)} gains {points} points over {short(worse)}"
    part = doubted(Judgment(word, claim, said), weaker)
    return replace(part, evidence=part.evidence + doubt(part))


def gained(claim: Claim, where: str, gain: np.ndarray) -> Judgment:
    """Whether the mean of each image's gain (n,), from -1 to 1, differs from 0 (95 %)."""
    middle = float(gain.mean())
    reach = quantile(0.95) * float(gain.std() / np.sqrt(len(gain)))
    word = "undecided" if abs(middle) <= reach else "holds" if middle > 0 else "contradicted"
    low, high = 100 * (middle - reach), 100 * (middle + reach)
    said = f"{100 * middle:+.1f} points [{low:+.1f}, {high:+.1f}] (n {len(gain)})"
    return Judgment(word, claim, f"{where}: {said}".replace("-", "−"))


def oftener(claim: Claim, where: str, pairs_: Sequence[tuple[np.ndarray, np.ndarray]]) -> Judgment:
    """Images that are right in more of several rows on one side than in the other's.

    Args:
        pairs_: bits (n,) of the two sides, one pair for each row.
    """
    gain = np.sum([a.astype(int) - b.astype(int) for a, b in pairs_], axis=0)
    part = judge(claim, int((gain > 0).sum()), int((gain < 0).sum()))
    return replace(part, evidence=f"{where}: {part.evidence} ({_counted(len(pairs_), 'row')})")


def short(column: str) -> str:
    """A column in few words."""
    known = {"nodef": "no defense", "ours": "VAE", "ens": "ensemble"}
    if column.endswith("-raw"):
        return "itself unsmoothed"
    for start, words in (("jpeg", "JPEG "), ("vae", "VAE "), ("beta", "β = ")):
        if column.startswith(start):
            return words + column.removeprefix(start)
    return known.get(column, column)


def place(row: Row) -> str:
    """What a row is about."""
    words = f"{SETS[row.spec['dataset']]}, {ATTACKS[row.spec['attack']]}"
    return words if row.spec["attack"] == "none" else f"{words}, L2 {row.values['l2']:.3f}"


def doubt(part: Judgment) -> str:
    """The word on a part that does not hold."""
    return "" if part.word == "holds" else f" ({part.word})"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
