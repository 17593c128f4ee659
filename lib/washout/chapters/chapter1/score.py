"""What the front page counts of chapter 1."""

from __future__ import annotations

from dataclasses import replace

from washout import papers
from washout.chapters import chapter1 as ch
from washout.chapters.chapter1 import verdicts
from washout.chapters.counted import counted
from washout.report import Judgment, Verdict, verdict
from washout.store import Row
from washout.study import Missing, Study

LEFT_OUT = {
    "the training of the classifier is stopped there": (
        "luo2018/baseline/mnist", "luo2018/baseline/cifar",
    ),
    "the VAE's β is chosen by what it implies": (
        "luo2018/table4/L2=0.011/ours", "luo2018/table5/L2=0.010/ours",
        *(f"luo2018/table6/L2=0.010/{column}" for column in ch.GRIDS["nips2017"]),
    ),
}  # fmt: skip


def score(study: Study) -> tuple[list[Verdict | Judgment], list[Row | Missing]]:
    """Verdicts on the paper's numbers and claims, and the rows that they come from."""
    p = replace(ch.check_parameters(ch, profile=study.profile), study=study)
    tables = [ch.rows(p, t) for t in (ch.BASELINE, ch.CURVE, ch.CONTROL, ch.KNOWING, ch.BETA)]
    found = verdicts.all_verdicts(*tables)
    spoken_of = {v.number.id for v in found if isinstance(v, Verdict)}
    # Rows that the profile leaves out are numbers that are not computed.
    rest = [n for id_, n in papers.load(ch.PAPER).numbers.items() if id_ not in spoken_of]
    found = [*found, *(verdict(number, None, None) for number in rest)]
    return counted(found, LEFT_OUT), [row for table in tables[:-1] for row in table]
