"""What became of the hypotheses, and the chapter in a paragraph; every number from the rows."""

from __future__ import annotations

from washout.chapters.chapter3 import verdicts
from washout.chapters.chapter3.more_views import KNOWS, RULE_NAMES, by_any
from washout.chapters.chapter3.settings import MAIN
from washout.chapters.chapter3.views import Rows, name, present, rate, stored
from washout.metrics import paired_interval, wilson
from washout.papers import Claim
from washout.report import Judgment, judge_all
from washout.report.verdicts import CLOSE
from washout.store import Row

HYPOTHESES = {
    "H-W1": "with the strict count nothing changes but L",
    "H-W2": "shared thresholds cost one to three points",
    "H-W3": "a trivial statistic finds FGSM better than the uncertainty does",
    "H-W4": "an attacker who knows has most images misread and accepted",
}
COST = (0.01, 0.03)  # of H-W2


# ---- hypotheses --------------------------------------------------------------------------------
def show_hypotheses(detections: Rows, curves: Rows, knowing: Rows) -> None:
    """H-W1 to H-W4, each with a verdict and the numbers that decide."""
    lines = []
    for (id_, text), parts in zip(
        HYPOTHESES.items(),
        (_rules(detections, "strict"), _rules(detections, "shared"), _trivial(curves),
         _evaded(knowing)),
        strict=True,
    ):  # fmt: skip
        found = judge_all(_claim(id_), parts)
        lines.append(
            {"hypothesis": f"{id_}: {text}", "verdict": found.word, "what decides": found.evidence}
        )
    rows = [row for row in (*detections, *curves, *knowing) if isinstance(row, Row)]
    present(rows, lines if rows else [], "Hypotheses and what decides.", "hypotheses")


def _claim(id_: str) -> Claim:
    return Claim(id_, "direction", HYPOTHESES[id_], "")


def _rules(detections: Rows, rule: str) -> list[Judgment]:
    """What another rule costs against the paper's, on the same images."""
    parts = []
    claim = _claim("H-W1" if rule == "strict" else "H-W2")
    for attack in MAIN:
        hybrid = stored(detections, attack=attack, rule="hybrid")
        other = stored(detections, attack=attack, rule=rule)
        if not hybrid or not other:
            return [Judgment("not computed", claim)]
        v = other[0].values
        low, high = paired_interval(v["hybrid_only"], v["this_only"], v["n"])
        cost = (v["hybrid_only"] - v["this_only"]) / v["n"]
        if rule == "strict":  # the same, by the rule for claims that two rates are
            word = "contradicted" if not low <= 0 <= high else "undecided"
            word = "holds" if low <= 0 <= high and max(-low, high) <= CLOSE else word
        else:
            word = "contradicted" if high < COST[0] or low > COST[1] else "undecided"
            word = "holds" if COST[0] <= low and high <= COST[1] else word
        said = f"{name(attack)}: {RULE_NAMES[rule]} cost {_points(cost, low, high)} points"
        said += f", L {hybrid[0].values['low']:.4f} → {v['low']:.4f}"
        parts.append(Judgment(word, claim, said))
    return parts


def _points(*rates: float) -> str:
    """``0.3 [−0.1, 0.7]``."""
    middle, low, high = (f"{100 * r + 0.0:.1f}".replace("-0.0", "0.0") for r in rates)
    return f"{middle} [{low}, {high}]".replace("-", "−")


def _trivial(curves: Rows) -> list[Judgment]:
    """The area under the curve of the intensity near the border, beside the uncertainty's."""
    claim = _claim("H-W3")
    border, dropout = (
        stored(curves, attack="fgsm", score=s) for s in ("background", "uncertainty")
    )
    if not border or not dropout:
        return [Judgment("not computed", claim)]
    ours, theirs = border[0].values, dropout[0].values
    word = "holds" if ours["auc_low"] > theirs["auc_high"] else "undecided"
    word = "contradicted" if ours["auc_high"] < theirs["auc_low"] else word
    said = f"FGSM: area by border intensity {ours['auc']:.3f}, by uncertainty {theirs['auc']:.3f}"
    return [Judgment(word, claim, said)]


def _evaded(knowing: Rows) -> list[Judgment]:
    """At the largest epsilon, by the most successful of those who know; all epsilons beside it."""
    claim = _claim("H-W4")
    own = [row for row in stored(knowing) if row.spec["knows"] != "nothing"]
    if not own:
        return [Judgment("not computed", claim)]
    most = max(row.spec["eps"] for row in own)
    best = max(
        (row for row in own if row.spec["eps"] == most),
        key=lambda row: row.values["wrong_and_accepted"],
    )
    low, high = wilson(best.values["wrong_and_accepted"], best.values["n"])
    word = "holds" if low > 0.5 else "contradicted" if high < 0.5 else "undecided"
    said = [
        f"knowing {knows}: "
        + ", ".join(
            f"{_through(row)} at ε {row.spec['eps']:g}"
            for row in sorted(stored(knowing, knows=knows), key=lambda row: row.spec["eps"])
        )
        for knows in KNOWS
        if stored(knowing, knows=knows)
    ]
    return [Judgment(word, claim, f"{'; '.join(said)} (n {best.values['n']})")]


def _through(row: Row) -> str:
    return f"{100 * row.values['wrong_and_accepted'] / row.values['n']:.0f} %"


# ---- the chapter in a paragraph ----------------------------------------------------------------
def conclusion(detections: Rows, curves: Rows, knowing: Rows) -> str:
    """What came out, what it costs, what does the work, and who gets past it."""
    found = [
        text
        for text in (
            _came_out(detections), _works(detections, curves), _passes(detections, knowing)
        )
        if text
    ]  # fmt: skip
    return "\n\n".join(found) if found else "Not computed yet."


def _came_out(detections: Rows) -> str:
    parts, paid = [], []
    for row in stored(detections, rule="hybrid"):
        attack, v = row.spec["attack"], row.values
        found = [x for x in verdicts.compare([row], verdicts.table2) if "DetAcc" in x.number.id]
        beside = f", printed {found[0].number.printed}: {found[0].word}" if found else ""
        parts.append(f"{name(attack)} {rate(v['caught'] + v['accepted'], v['n'])}{beside}")
        paid.append(f"{name(attack)} {rate(v['rejected'], v['rejected'] + v['accepted'])}")
    if not parts:
        return ""
    text = f"**Detection accuracy:** {'; '.join(parts)}. "
    return text + f"**Its price**, clean images that are flagged: {'; '.join(paid)}."


def _works(detections: Rows, curves: Rows) -> str:
    """What the crops add to the uncertainty, and what needs neither."""
    text = ""
    alone = [r for r in stored(detections, rule="uncertainty") if r.spec["attack"] in MAIN]
    if alone:
        said = (
            f"{name(r.spec['attack'])} {r.values['hybrid_only']} to {r.values['this_only']} of "
            f"{r.values['n']:,}"
            for r in alone
        )
        text = "**What the crops add:** images that only the hybrid gets right, to those that only "
        text += f"the uncertainty does: {', '.join(said)}. "
    border, dropout = (
        stored(curves, attack="fgsm", score=s) for s in ("background", "uncertainty")
    )
    if border and dropout:
        text += (
            f"**What needs no network:** the intensity near the border tells FGSM's images with "
            f"an area of {border[0].values['auc']:.3f} (the uncertainty: "
            f"{dropout[0].values['auc']:.3f})."
        )
    return text.strip()


def _passes(detections: Rows, knowing: Rows) -> str:
    """Attacks that the detector was not made for, and attackers who know more and more of it."""
    text = ""
    others = [r for r in stored(detections, rule="shared") if r.spec["attack"] in ("bim-b", "pgd")]
    if others:
        known = [(name(r.spec["attack"]), r.values) for r in others]
        said = (f"{who} {rate(v['caught'], v['caught'] + v['missed'])}" for who, v in known)
        text = f"**Who passes it:** of attacks that go on, it finds {', '.join(said)}. "
    sizes = dict.fromkeys(
        r.spec["eps"] for r in sorted(stored(knowing), key=lambda r: r.spec["eps"])
    )
    rows = {eps: [r for k in KNOWS for r in stored(knowing, eps=eps, knows=k)] for eps in sizes}
    full = {eps: found for eps, found in rows.items() if len(found) == len(KNOWS)}
    if full:

        def spread(eps: float) -> int:
            counts = [row.values["wrong_and_accepted"] for row in full[eps]]
            return max(counts) - min(counts)

        for eps in sorted({max(full, key=spread), max(full)}):
            said = (
                f"{rate(r.values['wrong_and_accepted'], r.values['n'])} knowing {r.spec['knows']}"
                for r in full[eps]
            )
            text += f"At ε {eps:g} targeted PGD gets misread and accepted: {'; '.join(said)}"
            together = by_any(full[eps], eps, KNOWS[-1])
            if together is not None:
                text += f"; {rate(int(together.sum()), len(together))} by any of these"
            text += ". "
    return text.strip()
