"""What the front page counts of chapter 4."""

from __future__ import annotations

from dataclasses import replace

from washout.chapters import chapter4 as ch
from washout.chapters.chapter4 import verdicts
from washout.chapters.chapter4.pools import TARGET
from washout.report import Judgment, Verdict
from washout.store import Row
from washout.study import Missing, Study

# Where training was stopped, and what the autoencoder's width is chosen by.
CALIBRATED = ("xiong/baseline/resnet", TARGET)
# What other places of the paper say once more.
REPEATED = ("xiong/abstract/ae", "xiong/intro/ae", "xiong/abstract/detector")


def score(study: Study) -> tuple[list[Verdict | Judgment], list[Row | Missing]]:
    """Verdicts on the paper's numbers and claims, and the rows that they come from."""
    p = replace(ch.check_parameters(ch, profile=study.profile), study=study)
    kinds = (
        ch.BASELINE, ch.ATTACK, ch.WIDTH, ch.CLEANED, ch.FLOW, ch.DETECTION, ch.DISTANCE,
    )  # fmt: skip
    tables = [ch.rows(p, table) for table in kinds]
    found = [v for v in verdicts.all_verdicts(*tables) if not left_out(v)]
    return found, [row for table in tables for row in table]


def left_out(found: Verdict | Judgment) -> bool:
    """Also what is 0 because only images that fool the classifier are in the pool."""
    if not isinstance(found, Verdict):
        return False
    id_ = found.number.id
    return id_ in (*CALIBRATED, *REPEATED) or id_.startswith("xiong/table3/before/")
