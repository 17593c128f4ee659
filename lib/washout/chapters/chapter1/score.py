"""What the front page counts of chapter 1."""

from __future__ import annotations

from washout.chapters import chapter1 as ch
from washout.chapters.chapter1 import verdicts
from washout.report import Judgment, Verdict
from washout.store import Row
from washout.study import Missing, Study

STOPPED = ("luo2018/baseline/mnist", "luo2018/baseline/cifar")


def score(study: Study) -> tuple[list[Verdict | Judgment], list[Row | Missing]]:
    """Verdicts on the paper's numbers and claims, and the rows that they come from."""
    p = ch.check_parameters(ch, profile=study.profile)
    tables = [ch.rows(p, t) for t in (ch.BASELINE, ch.CURVE, ch.CONTROL, ch.KNOWING, ch.BETA)]
    found = [
        v
        for v in verdicts.all_verdicts(*tables)
        if not (isinstance(v, Verdict) and v.number.id in STOPPED)
    ]
    return found, [row for table in tables[:-1] for row in table]
