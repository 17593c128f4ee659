"""What the front page counts of chapter 3."""

from __future__ import annotations

from collections.abc import Sequence

from washout import papers
from washout.chapters import chapter3 as ch
from washout.chapters.chapter3 import verdicts
from washout.report import Judgment, Verdict, verdict
from washout.store import Row
from washout.study import Missing, Study, Table


def score(study: Study) -> tuple[list[Verdict | Judgment], list[Row | Missing]]:
    """Verdicts on the paper's numbers and claims, and the rows that they come from."""
    mnist = ch.AUTO[0]

    def rows(table: Table, rules: Sequence[str] = ("",)) -> list[Row | Missing]:
        more = [{"rule": rule} if rule else {} for rule in rules]
        return study.table(
            table, [ch.about(mnist, 0, attack=name, **own) for own in more for name in ch.MAIN]
        )

    undefended, histograms = rows(ch.UNDEFENDED), rows(ch.HISTOGRAM)
    detections = rows(ch.DETECTION, ["hybrid"])
    variants = rows(
        ch.DETECTION, ["uncertainty", "crops", *(f"count-{count}" for count in range(1, ch.COUNT))]
    )
    (baseline,) = study.table(ch.BASELINE, [ch.about(mnist, 0)])
    right = (None, None)
    if isinstance(baseline, Row):
        right = (baseline.values["correct"], baseline.values["n"])
    found: list[Verdict | Judgment] = [
        verdict(papers.load(ch.PAPER).numbers["wang/baseline/clean"], *right),
        *verdicts.compare(detections, verdicts.table2),
        *verdicts.compare(detections, verdicts.table3),
        *verdicts.abstract(detections),
        *verdicts.claims(undefended, [*detections, *variants], histograms),
    ]
    return found, [baseline, *undefended, *detections, *variants, *histograms]
