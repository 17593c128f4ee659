"""Stored rows beside what the paper prints: its numbers, and its claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from washout import papers
from washout.chapters.chapter3.settings import MAIN
from washout.report import Judgment, Verdict, judge, judge_all, judge_equal, verdict
from washout.store import Row
from washout.study import Missing

PAPER = "wang"
Item = tuple[str, float | None, int | None]


def table1(row: Row | Missing) -> list[Item]:
    """Undefended accuracy on the mixture."""
    id_ = f"table1/{row.spec['attack']}"
    if isinstance(row, Missing):
        return [(id_, None, None)]
    return [(id_, row.values["mix_correct"], 2 * row.values["n"])]


def table2(row: Row | Missing) -> list[Item]:
    """Counts of the detector's decisions, in the paper's convention (positive is clean)."""
    names = ("FN", "FP", "TN", "TP", "DetAcc")
    ids = [f"table2/{row.spec['attack']}/{name}" for name in names]
    if isinstance(row, Missing):
        return [(id_, None, None) for id_ in ids]
    v = row.values
    clean, attacked = v["rejected"] + v["accepted"], v["caught"] + v["missed"]
    counts = [
        (v["rejected"], clean),
        (v["missed"], attacked),
        (v["caught"], attacked),
        (v["accepted"], clean),
        (v["caught"] + v["accepted"], v["n"]),
    ]
    return [(id_, k, n) for id_, (k, n) in zip(ids, counts, strict=True)]


def table3(row: Row | Missing) -> list[Item]:
    """Classes of the images that were declared clean."""
    names = ("clean-correct", "clean-incorrect", "adv-correct", "adv-incorrect", "cls-acc")
    ids = [f"table3/{row.spec['attack']}/{name}" for name in names]
    if isinstance(row, Missing) or row.values["accepted"] + row.values["missed"] == 0:
        return [(id_, None, None) for id_ in ids]
    v = row.values
    counts = [
        v["accepted_right"],
        v["accepted"] - v["accepted_right"],
        v["missed_right"],
        v["missed"] - v["missed_right"],
        v["accepted_right"] + v["missed_right"],
    ]
    return [(id_, k, v["accepted"] + v["missed"]) for id_, k in zip(ids, counts, strict=True)]


def compare(
    rows: Sequence[Row | Missing], items: Callable[[Row | Missing], list[Item]]
) -> list[Verdict]:
    """A verdict on each of the paper's numbers that the rows speak of."""
    paper = papers.load(PAPER)
    return [
        verdict(paper.numbers[f"wang/{id_}"], k, n, comparable=row.spec["dataset"] == "mnist")
        for row in rows
        if row.spec["attack"] in MAIN
        for id_, k, n in items(row)
    ]


def abstract(detections: Sequence[Row | Missing]) -> list[Verdict]:
    """The abstract's two averages over the three attacks."""
    paper = papers.load(PAPER)
    rows = [row for row in detections if row.spec["attack"] in MAIN]
    whole = len(rows) == len(MAIN) and not any(isinstance(row, Missing) for row in rows)
    found = []
    for id_, items in (("avg-detection", table2), ("avg-class", table3)):
        number, k, n = paper.numbers[f"wang/abstract/{id_}"], None, None
        if whole:
            last = [items(row)[-1] for row in rows]  # (id, k, n) of the accuracy
            n = sum(item[2] or 0 for item in last)
            k = n * sum((item[1] or 0) / (item[2] or 1) for item in last) / len(last)
        comparable = all(row.spec["dataset"] == "mnist" for row in rows)
        found.append(verdict(number, k, n, comparable=comparable))
    return found


def claims(
    undefended: Sequence[Row | Missing],
    detections: Sequence[Row | Missing],
    histograms: Sequence[Row | Missing],
) -> list[Judgment]:
    """The paper's claims, each by a paired test on the same images."""
    paper = papers.load(PAPER)

    def claim(name: str):
        return paper.claims[f"wang/claim/{name}"]

    def values(rows: Sequence[Row | Missing], **spec: Any) -> list[dict[str, Any] | None]:
        """One entry for each of the paper's attacks; None where the row is missing."""
        found = []
        for attack in MAIN:
            match = [
                row.values
                for row in rows
                if isinstance(row, Row)
                and all(row.spec.get(k) == v for k, v in {**spec, "attack": attack}.items())
            ]
            found.append(match[0] if match else None)
        return found

    def each(name: str, found: list, supporting: str, against: str, rival: str = "") -> Judgment:
        parts = []
        for attack, v in zip(MAIN, found, strict=True):
            part = judge(claim(name), *((v[supporting], v[against]) if v else (None, None)))
            said = f"{attack.upper()}{rival}: {part.evidence}" if part.evidence else ""
            parts.append(replace(part, evidence=said))
        return judge_all(claim(name), parts)

    def hybrid_over(name: str, rules: Mapping[str, str]) -> Judgment:
        return judge_all(
            claim(name),
            [
                each(
                    name, values(detections, rule=rule), "hybrid_only", "this_only", f", over {who}"
                )
                for rule, who in rules.items()
            ],
        )

    def printed(name: str, attack: str, sign: int) -> Judgment:
        """A claim about two printed pairs of numbers: judged by their own sample sizes."""
        parts = []
        for what in ("table2/{}/DetAcc", "table3/{}/cls-acc"):
            ours, theirs = (
                paper.numbers[f"{who}/{what.format(attack)}"] for who in ("wang", "alshemali2019")
            )
            equal = judge_equal(
                claim(name), ours.rate * ours.n, ours.n, theirs.rate * theirs.n, theirs.n
            )
            word = equal.word
            if sign:
                word = "undecided"
                if equal.word == "contradicted":  # that they are equal
                    word = "holds" if (ours.rate - theirs.rate) * sign > 0 else "contradicted"
            about = "detection" if "table2" in what else "classification"
            parts.append(Judgment(word, claim(name), f"printed {about} {equal.evidence}"))
        return judge_all(claim(name), parts)

    fgsm = values(undefended)[0]
    return [
        each("uncertainty-higher", values(histograms), "attacked_higher", "clean_higher"),
        each(
            "crops-disagree",
            values(histograms),
            "attacked_disagrees_more",
            "clean_disagrees_more",
        ),
        hybrid_over("hybrid>parts", {"uncertainty": "uncertainty alone", "crops": "crops alone"}),
        hybrid_over("C5-best", {f"count-{count}": f"C = {count}" for count in range(1, 5)}),
        printed("fgsm-weaker", "fgsm", -1),
        printed("bim-better", "bim", 1),
        printed("jsma-equal", "jsma", 0),
        judge(
            claim("most-fgsm-misclassified"),
            *(
                (fgsm["n"] - fgsm["adversarial_correct"], fgsm["adversarial_correct"])
                if fgsm
                else (None, None)
            ),
        ),
    ]
