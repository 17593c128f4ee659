"""What the front page counts of chapter 2."""

from __future__ import annotations

from dataclasses import replace

from washout.chapters import chapter2 as ch
from washout.chapters.chapter2 import verdicts
from washout.chapters.counted import counted
from washout.report import Judgment, Verdict
from washout.store import Row
from washout.study import Missing, Study

LEFT_OUT = {
    "the training of the classifier is stopped there": ("tan2019/baseline/cifar",),
    "0 without a defense: the search ends where the class changes": ("tan2019/fig6/*/none",),
}


def score(study: Study) -> tuple[list[Verdict | Judgment], list[Row | Missing]]:
    """Verdicts on the paper's numbers and claims, and the rows that they come from."""
    p = replace(ch.check_parameters(ch, profile=study.profile), study=study)
    tables = [ch.rows(p, table) for table in (ch.BASELINE, ch.CELL, ch.ATTACK, ch.VQ)]
    found = counted(verdicts.all_verdicts(*tables), LEFT_OUT)
    return found, [row for table in tables for row in table]
