"""What the front page counts of chapter 3."""

from __future__ import annotations

from collections.abc import Sequence

from washout.chapters import chapter3 as ch
from washout.chapters.chapter3 import verdicts
from washout.chapters.counted import counted
from washout.report import Judgment, Verdict
from washout.store import Row
from washout.study import Missing, Study, Table

LEFT_OUT = {
    "the attacks' strength is set by it": (
        "wang/table1/*", "wang/claim/most-fgsm-misclassified",
    ),
    "a claim about two papers' printed numbers, and nothing of ours": (
        "wang/claim/fgsm-weaker", "wang/claim/bim-better", "wang/claim/jsma-equal",
    ),
    "1 less another number: FN of TP, FP of TN, wrong of right classes": (
        "wang/table2/*/FN", "wang/table2/*/FP", "wang/table3/*/adv-incorrect",
    ),
    "0 by construction: a clean image that is misread is not in the pool": (
        "wang/table3/*/clean-incorrect",
    ),
    "the mean of other numbers": ("wang/abstract/*",),
    "the paper's own counts contradict it (see its errata)": ("wang/baseline/clean",),
}  # fmt: skip


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
    found: list[Verdict | Judgment] = [
        *verdicts.compare(detections, verdicts.table2),
        *verdicts.compare(detections, verdicts.table3),
        *verdicts.claims(undefended, [*detections, *variants], histograms),
    ]
    return counted(found, LEFT_OUT), [*undefended, *detections, *variants, *histograms]
