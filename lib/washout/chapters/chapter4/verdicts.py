"""Stored rows beside the paper's numbers; its pools drawn as it drew them."""

from __future__ import annotations

from washout import papers
from washout.chapters.chapter4.claims import claims
from washout.chapters.chapter4.pools import Found, Rows, groups
from washout.chapters.chapter4.settings import AUTO, MAIN
from washout.report import Judgment, Verdict, verdict

Count = tuple[int, int] | None


def _verdict(id_: str, found: Count, comparable: bool = True) -> Verdict:
    k, n = found or (None, None)
    return verdict(papers.load("xiong").numbers[id_], k, n, comparable=comparable)


def first(*tables: Rows) -> Found | None:
    """What is stored of the first dataset and seed."""
    found = groups(*tables)
    return found[0] if found else None


def _ours(found: Found | None) -> bool:
    return found is None or found.dataset in AUTO


def baseline(rows: Rows) -> list[Verdict]:
    """Clean accuracy, and ResNet-20's error, which the paper quotes."""
    found = first(rows)
    counts: dict[str, Count] = {"resnet8": None, "resnet20": None}
    for row in found.rows if found else ():
        counts[row.spec["net"]] = (row.values["correct"], row.values["n"])
    if found:  # of the other network too, which ``Found`` leaves out
        for row in Found(found.dataset, found.seed, rows, net="resnet20").rows:
            counts["resnet20"] = (row.values["n"] - row.values["correct"], row.values["n"])
    ours = _ours(found)
    return [
        _verdict("xiong/baseline/resnet", counts["resnet8"], ours),
        _verdict("xiong/intro/he2016", counts["resnet20"], ours),
    ]


def attacks(rows: Rows) -> list[Verdict]:
    """The share of images that fool the classifier, those misread when clean among them."""
    found = first(rows)
    judged = []
    for label in MAIN:
        wrong = found.who(label, "wrong") if found else None
        count = None if wrong is None else (int(wrong.sum()), len(wrong))
        judged.append(_verdict(f"xiong/attack/{label}/success", count, _ours(found)))
    return judged


def table3(*tables: Rows) -> list[Verdict]:
    """Accuracy on images that fool the classifier, before and after the autoencoder."""
    found = first(*tables)
    width = found.width if found else None
    after = f"ae{width}"
    judged = []
    for word, defense in (("before", "none"), ("after", after)):
        for label in MAIN:
            count = found.restored(label, defense) if found else None
            judged.append(_verdict(f"xiong/table3/{word}/{label}", count, _ours(found)))
        total = found.restored_overall(defense) if found else None
        judged.append(_verdict(f"xiong/table3/{word}/overall", total, _ours(found)))
    total = found.restored_overall(after) if found else None
    judged += [_verdict(f"xiong/{w}/ae", total, _ours(found)) for w in ("abstract", "intro")]
    return judged


def table4(*tables: Rows) -> list[Verdict]:
    """Accuracy of the detector on half clean, half attacked images, and on the overall draw.

    A flow that knows much less about images than the paper's is another: not comparable.
    """
    found = first(*tables)
    same = _ours(found) and (found is None or found.comparable)
    judged = []
    for label in MAIN:
        count = found.detected(label) if found else None
        judged.append(_verdict(f"xiong/table4/{label}", count, same))
    total = found.detected_overall() if found else None
    judged.append(_verdict("xiong/table4/overall", total, same))
    judged.append(_verdict("xiong/abstract/detector", total, same))
    return judged


def all_verdicts(
    baselines: Rows,
    attacked: Rows,
    widths: Rows,
    cleaned: Rows,
    flows: Rows,
    detections: Rows,
    distances: Rows,
) -> list[Verdict | Judgment]:
    """Everything that the front page counts."""
    return [
        *baseline(baselines),
        *attacks(attacked),
        *table3(attacked, widths, cleaned),
        *table4(attacked, flows, detections),
        *claims(attacked, widths, cleaned, flows, detections, distances),
    ]


__all__ = ["all_verdicts", "attacks", "baseline", "claims", "table3", "table4"]
