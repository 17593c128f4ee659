"""The one rule by which a printed number counts as reproduced, and a claim as holding.

A number, with the interval of (reproduced - printed) from both sample sizes and the paper's
rounding:

    not computed     there is no row
    not comparable   another classifier or dataset
    reproduced       the 95 % interval contains 0, or the printed bound is kept
    close            the difference is at most 5 points
    not reproduced   otherwise

A claim of a direction, with the pairs in which it is seen and those in which its opposite is:

    holds            more for than against, exact McNemar (sign) test p < 0.05
    contradicted     more against than for, p < 0.05
    undecided        otherwise
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from washout.metrics import difference_interval, mcnemar, wilson
from washout.papers import Claim, Number, Paper

NUMBER_WORDS = ("reproduced", "close", "not reproduced", "not comparable", "not computed")
CLAIM_WORDS = ("holds", "contradicted", "undecided", "not computed")
CLOSE = 0.05  # five points
LEVEL = 0.05

Interval = tuple[float, float]


@dataclass(frozen=True)
class Verdict:
    """A printed number beside what came out.

    Attributes:
        word: one of ``NUMBER_WORDS``.
        number: the printed number.
        successes, n: what came out; None if it was not computed.
        interval: Wilson's 95 % interval of the rate.
        difference: reproduced less printed rate.
        difference_interval: its 95 % interval (Newcombe), widened by the paper's rounding.
    """

    word: str
    number: Number
    successes: float | None = None
    n: int | None = None
    interval: Interval | None = None
    difference: float | None = None
    difference_interval: Interval | None = None

    @property
    def rate(self) -> float | None:
        return None if self.successes is None or not self.n else self.successes / self.n


def verdict(
    number: Number, successes: float | None, n: int | None, *, comparable: bool = True
) -> Verdict:
    """Compare ``successes`` of ``n`` images with a printed number.

    Args:
        successes: how many of the ``n`` images; None where nothing was computed.
        comparable: False if the classifier or the dataset is another than the paper's.

    Raises:
        ValueError: ``successes`` is not within [0, n], or only one of the two is given.

    Source: R. G. Newcombe, Interval estimation for the difference between independent
    proportions, Statistics in Medicine 17, 1998, method 10.
    """
    if successes is None and n is None:
        return Verdict("not computed", number)
    if successes is None or n is None or n < 1 or not 0 <= successes <= n:
        raise ValueError(
            f"{number.id}: got {successes} successes of {n} images; give both, with "
            "0 <= successes <= n, or None for both if nothing was computed"
        )
    difference = successes / n - number.rate
    spread = difference_interval(
        successes, n, min(number.rate * number.n, number.n), number.n, number.half_unit
    )
    kept = {"=": False, ">=": difference >= 0, "<=": difference <= 0}[number.relation]
    if not comparable:
        word = "not comparable"
    elif kept or spread[0] <= 0 <= spread[1]:
        word = "reproduced"
    elif abs(difference) <= CLOSE + 1e-12:
        word = "close"
    else:
        word = "not reproduced"
    return Verdict(word, number, successes, n, wilson(successes, n), difference, spread)


def verdicts(
    paper: Paper,
    items: Iterable[tuple[str, float | None, int | None]],
    *,
    comparable: bool = True,
) -> list[Verdict]:
    """A verdict for each (number id, successes, n); None, None where nothing was computed."""
    return [verdict(paper.numbers[id_], k, n, comparable=comparable) for id_, k, n in items]


@dataclass(frozen=True)
class Judgment:
    """A claim and what came out.

    Attributes:
        word: one of ``CLAIM_WORDS``.
        evidence: the counts that decide, in words.
        p: of the test behind a word, where one is.
    """

    word: str
    claim: Claim
    evidence: str = ""
    p: float | None = None


def judge(claim: Claim, supporting: int | None, against: int | None) -> Judgment:
    """Judge a direction by its discordant pairs.

    Args:
        supporting: pairs (the same image, or two images paired) in which the claim is seen.
        against: pairs in which the opposite is. Ties count for neither.

    Raises:
        ValueError: only one count is given, or one is negative.
    """
    if supporting is None and against is None:
        return Judgment("not computed", claim)
    if supporting is None or against is None or min(supporting, against) < 0:
        raise ValueError(
            f"{claim.id}: got {supporting} pairs for and {against} against; give two counts "
            "from 0 up, or None for both"
        )
    p = mcnemar(supporting, against)
    word = "undecided"
    if p < LEVEL:
        word = "holds" if supporting > against else "contradicted"
    return Judgment(word, claim, f"{supporting:,} pairs for, {against:,} against, {_p(p)}", p)


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def judge_equal(claim: Claim, k1: float, n1: int, k2: float, n2: int) -> Judgment:
    """Judge that two independent rates are the same.

    Holds if the 95 % interval of their difference lies within 5 points and contains 0,
    contradicted if it does not contain 0, undecided if it is too wide to say.
    """
    low, high = difference_interval(k1, n1, k2, n2, 0.0)
    if not low <= 0 <= high:
        word = "contradicted"
    else:
        word = "holds" if max(-low, high) <= CLOSE else "undecided"
    points = f"{100 * (k1 / n1 - k2 / n2):+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    return Judgment(word, claim, points.replace("-", "−"))


def judge_all(claim: Claim, parts: Sequence[Judgment]) -> Judgment:
    """Judge a claim that says several things at once.

    It holds if every part does, is contradicted if one part is, and is undecided otherwise; it is
    not computed if a part is not and none is contradicted. Of many parts one is contradicted by
    chance sooner or later: its p counts times the number of tests (Bonferroni). That all parts hold
    by chance is no more likely the more there are.
    """
    tests = max(sum(part.p is not None for part in parts), 1)
    words = [
        "undecided"
        if part.word == "contradicted" and part.p is not None and part.p * tests >= LEVEL
        else part.word
        for part in parts
    ]
    for word in ("contradicted", "not computed", "undecided"):
        if word in words or not words:
            break
    else:
        word = "holds"
    if not words:
        word = "not computed"
    said = [part.evidence for part in parts if part.evidence]
    missing = sum(part.word == "not computed" for part in parts)
    if said and missing:
        said.append(f"{missing} of {len(parts)} parts not computed")
    evidence = "; ".join(said)
    # Of the parts that lead to the word: in a claim made of this one the p counts again.
    deciding = [part.p for part, own in zip(parts, words, strict=True) if own == word]
    least = min((p for p in deciding if p is not None), default=None)
    return Judgment(word, claim, evidence, None if least is None else min(least * tests, 1.0))
