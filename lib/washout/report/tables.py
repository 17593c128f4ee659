"""Data frames that pages show: paper beside reproduction, claims, errata, the scorecard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from washout.papers import Paper
from washout.report.verdicts import CLAIM_WORDS, NUMBER_WORDS, Judgment, Verdict


def compare(verdicts: Sequence[Verdict], labels: Sequence[str] | None = None) -> pd.DataFrame:
    """Paper beside reproduction, to read; ``tidy`` gives the same as numbers.

    Args:
        labels: one for each verdict; the number's id otherwise.
    """
    labels = _labels(verdicts, labels)
    rows = [
        {
            "": label,
            "paper": v.number.printed,
            "reproduced [95 % interval]": _reproduced(v),
            "difference, points": "–" if v.difference is None else _points(v.difference),
            "verdict": v.word,
        }
        for label, v in zip(labels, verdicts, strict=True)
    ]
    return pd.DataFrame(rows)


def _labels(verdicts: Sequence[Verdict], labels: Sequence[str] | None) -> Sequence[str]:
    if labels is None:
        return [v.number.id for v in verdicts]
    if len(labels) != len(verdicts):
        raise ValueError(f"labels: got {len(labels)} for {len(verdicts)} verdicts; give one each")
    return labels


def _points(difference: float) -> str:
    points = round(100 * difference, 1)
    return f"{points:+.1f}".replace("-", "−") if points else "0.0"


def _reproduced(v: Verdict) -> str:
    """In the paper's own unit."""
    if v.rate is None or v.interval is None:
        return "–"
    low, high = v.interval
    if v.number.unit == "fraction":
        return f"{v.rate:.3f} [{low:.3f}, {high:.3f}]"
    rate, interval = f"{100 * v.rate:.1f} %", f"[{100 * low:.1f}, {100 * high:.1f}]"
    if v.number.unit == "count":
        rate = f"{v.successes:,.0f} ({rate})"
    return f"{rate} {interval}"


def tidy(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row of plain numbers for each verdict, rates in [0, 1], for a CSV file."""
    none = (None, None)
    rows = [
        {
            "id": v.number.id,
            "paper": v.number.rate,
            "paper_n": v.number.n,
            "successes": v.successes,
            "n": v.n,
            "rate": v.rate,
            "low": (v.interval or none)[0],
            "high": (v.interval or none)[1],
            "difference": v.difference,
            "difference_low": (v.difference_interval or none)[0],
            "difference_high": (v.difference_interval or none)[1],
            "verdict": v.word,
        }
        for v in verdicts
    ]
    return pd.DataFrame(rows)


def claims(judgments: Sequence[Judgment]) -> pd.DataFrame:
    """Each claim, its verdict and what decides it."""
    return pd.DataFrame(
        [{"claim": j.claim.text, "verdict": j.word, "evidence": j.evidence} for j in judgments]
    )


def errata(paper: Paper) -> str:
    """A paper's errata as a Markdown list, each with the arithmetic on printed numbers."""
    lines = []
    for erratum in paper.errata.values():
        lines.append(f"- **{erratum.where}.** {erratum.text}")
        for check in erratum.checks:
            line = f"  - {check.says}: {check.expression} = {_rounded(check.value)}"
            if check.printed is not None:
                word = "agrees" if check.agrees else "does not agree"
                line += f"; printed is {check.printed.printed}, which {word}"
            lines.append(line)
    return "\n".join(lines)


def _rounded(value: float) -> str:
    if value.is_integer() and abs(value) > 100:
        return f"{value:.0f}"
    return f"{value:.1f}".replace("-", "−")


def scorecard(chapters: Mapping[str, Sequence[Verdict | Judgment]]) -> pd.DataFrame:
    """How often each verdict fell, a row for each chapter.

    Args:
        chapters: title -> its verdicts on numbers and judgments of claims, in any order.

    Returns:
        A column for each verdict on numbers, then for each on claims; "not computed" counts both.
    """
    words = [w for w in (*NUMBER_WORDS, *CLAIM_WORDS) if w != "not computed"]
    rows = []
    for title, verdicts in chapters.items():
        counts = Counter(verdict.word for verdict in verdicts)
        rows.append({"chapter": title, **{w: counts[w] for w in (*words, "not computed")}})
    return pd.DataFrame(rows, columns=["chapter", *words, "not computed"])
