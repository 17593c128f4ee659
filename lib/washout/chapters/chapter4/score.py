"""What the front page counts of chapter 4."""

from __future__ import annotations

from dataclasses import replace

from washout.chapters import chapter4 as ch
from washout.chapters.chapter4 import verdicts
from washout.chapters.chapter4.pools import TARGET
from washout.chapters.counted import counted
from washout.report import Judgment, Verdict
from washout.store import Row
from washout.study import Missing, Study

LEFT_OUT = {
    "the training of the classifier is stopped there": ("xiong/baseline/resnet",),
    "the autoencoder's width is chosen by it, or by a part of it": (
        TARGET, "xiong/table3/after/overall",
    ),
    "0 before cleaning: only images that are misread are cleaned": ("xiong/table3/before/*",),
    "the paper says it elsewhere too": (
        "xiong/abstract/ae", "xiong/intro/ae", "xiong/abstract/detector",
    ),
}  # fmt: skip


def score(study: Study) -> tuple[list[Verdict | Judgment], list[Row | Missing]]:
    """Verdicts on the paper's numbers and claims, and the rows that they come from."""
    p = replace(ch.check_parameters(ch, profile=study.profile), study=study)
    kinds = (
        ch.BASELINE, ch.ATTACK, ch.WIDTH, ch.CLEANED, ch.FLOW, ch.DETECTION, ch.DISTANCE,
    )  # fmt: skip
    tables = [ch.rows(p, table) for table in kinds]
    found = counted(verdicts.all_verdicts(*tables), LEFT_OUT)
    return found, [row for table in tables for row in table]
