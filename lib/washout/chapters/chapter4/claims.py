"""The paper's claims, judged by the stored rows of the first seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from washout import papers
from washout.chapters.bits import unpacked_floats
from washout.chapters.chapter4.compared import against_clean
from washout.chapters.chapter4.pools import Found, Rows, groups, untrained
from washout.chapters.chapter4.settings import (
    AUTO,
    DEQUANTIZED,
    EPS,
    MAIN,
    NAMES,
    NOISE,
    PCA,
    SEPARATE,
)
from washout.chapters.shown import percent
from washout.metrics import paired_interval, wilson
from washout.papers import Claim
from washout.report import Judgment, judge, judge_all
from washout.report.verdicts import CLOSE


def claims(
    attacked: Rows, widths: Rows, cleaned: Rows, flows: Rows, detections: Rows, distances: Rows
) -> list[Judgment]:
    """A judgment of each claim, in the paper's order."""
    found = next(iter(groups(attacked, widths, cleaned, flows, detections, distances)), None)
    judges: dict[str, Callable[[Claim, Found], Judgment]] = {
        "latent-distance": _distance,
        "deepfool-hardest-to-detect": _hardest,
        "order-ae": _order,
        "ae-removes-noise": _removes,
        "comparable-to-others": _comparable,
    }
    judged = []
    for id_, claim in papers.load("xiong").claims.items():
        if claim.kind == "argument":
            continue
        part = Judgment("not computed", claim)
        if found is not None:
            name = id_.split("/")[-1]
            part = _doubted(judges[name](claim, found), found, name)
        judged.append(part)
    return judged


RIVALS = {PCA: "late principal components", SEPARATE: "the separate network"}
FLOW = ("latent-distance", "deepfool-hardest-to-detect", "comparable-to-others")


def _doubted(part: Judgment, found: Found, name: str) -> Judgment:
    """Other images decide nothing about the paper's, nor does a poorer flow about its own."""
    if part.word == "not computed":
        return part
    if found.dataset not in AUTO:
        said = f"{part.evidence}; other images than the paper's"
    elif name in FLOW and not found.comparable:
        said = f"{part.evidence}; our flow is poorer than the paper's"
    else:
        return part
    return replace(part, word="undecided", evidence=said)


def _worded(part: Judgment, what: str) -> Judgment:
    doubt = "" if part.word == "holds" else f" ({part.word})"
    return replace(part, evidence=f"{what}: {part.evidence}{doubt}")


def _distance(claim: Claim, found: Found) -> Judgment:
    """Farther in latents than in pixels, in units of two clean images' distance in each space.

    And farther than another draw of the noise within a pixel's bin moves the latents: image by
    image, of those that an attack changes. How many of them random signs of the same size move
    farther than the attack is said and decides nothing.
    """
    parts = []
    noise, signs = (found.row("distance", change=change) for change in (DEQUANTIZED, NOISE))
    for label in MAIN:
        row = found.row("distance", change=label)
        if row is None or noise is None:
            return Judgment("not computed", claim)
        pixels, latents = (unpacked_floats(row.values[k]) for k in ("pixels", "last"))
        still, changed = unpacked_floats(noise.values["last"]), pixels > 0
        for other, words in ((pixels, "than in pixels"), (still, "than by 8-bit noise")):
            further = int((latents > other)[changed].sum())
            part = judge(claim, further, int((latents < other)[changed].sum()))
            parts.append(_worded(part, f"{NAMES[label]}, farther {words}"))
        if signs is not None:
            harmless = unpacked_floats(signs.values["last"])
            beyond = int((harmless > latents)[changed].sum())
            said = f"{parts[-1].evidence}; random signs of ε {EPS:g} move {beyond:,} of "
            said += f"{int(changed.sum()):,} images farther than {NAMES[label]} does"
            parts[-1] = replace(parts[-1], evidence=said)
    return judge_all(claim, parts)


def _hardest(claim: Claim, found: Found) -> Judgment:
    """On images read rightly that both attacks turn, flagged after one and not after DeepFool:
    far less often is by more than five points.
    """
    parts = []
    for label in ("fgsm", "pgd"):
        other, hard = found.flagged(label), found.flagged("deepfool")
        pools = found.pool(label, "B"), found.pool("deepfool", "B")
        if other is None or hard is None or pools[0] is None or pools[1] is None:
            return Judgment("not computed", claim)
        both = pools[0] & pools[1]
        if not both.any():
            return Judgment("not computed", claim)
        won, lost = (int((x[both]).sum()) for x in (other[0] & ~hard[0], ~other[0] & hard[0]))
        low, high = paired_interval(won, lost, int(both.sum()))
        word = "holds" if low > CLOSE else "contradicted" if high < CLOSE else "undecided"
        points = 100 * (won - lost) / int(both.sum())
        said = f"{points:+.0f} points [{100 * low:+.0f}, {100 * high:+.0f}]"
        part = Judgment(word, claim, said.replace("-", "−"))
        parts.append(_worded(part, f"{NAMES[label]} found more often than DeepFool"))
    return judge_all(claim, parts)


def _order(claim: Claim, found: Found) -> Judgment:
    """On images read rightly that both attacks turn, restored after one and not after another."""
    parts = []
    for better, worse in (("deepfool", "pgd"), ("pgd", "fgsm")):
        bits = [found.read(label, f"ae{found.width}") for label in (better, worse)]
        pools = [found.pool(label, "B") for label in (better, worse)]
        if bits[0] is None or bits[1] is None or pools[0] is None or pools[1] is None:
            return Judgment("not computed", claim)
        both = pools[0] & pools[1]
        won, lost = int((bits[0] & ~bits[1])[both].sum()), int((~bits[0] & bits[1])[both].sum())
        parts.append(_worded(judge(claim, won, lost), f"{NAMES[better]} over {NAMES[worse]}"))
    return judge_all(claim, parts)


def _removes(claim: Claim, found: Found) -> Judgment:
    """More is restored than by noise as large as what the network adds; and attacked images are
    read as often as the same images clean, both through the autoencoder, up to five points. How
    much of the change passes stands beside it, and how much of random signs of the same size.
    """
    name = f"ae{found.width}"
    against, parts = against_clean(found), []
    for label in MAIN:
        row = found.row("cleaned", attack=label, defense=name)
        noise, pool = found.read(label, f"noise:{name}"), found.pool(label, "B")
        bits = found.read(label, name)
        if row is None or noise is None or pool is None or bits is None:
            return Judgment("not computed", claim)
        said = f"{NAMES[label]}, {percent(row.values['survived'])} of the change left"
        signs = found.row("cleaned", attack=NOISE, defense=name)
        if signs is not None:
            said += f", of random signs {percent(signs.values['survived'])}"
        won, lost = int((bits & ~noise)[pool].sum()), int((~bits & noise)[pool].sum())
        parts.append(_worded(judge(claim, won, lost), f"{said}; against noise"))
        one = against.get(label)
        if one is None:
            return Judgment("not computed", claim)
        low, high = one.low / 100, one.high / 100
        word = "holds" if low > -CLOSE else "contradicted" if high < -CLOSE else "undecided"
        said = f"{one.points:+.0f} points".replace("-", "−")
        parts.append(_worded(Judgment(word, claim, said), f"{NAMES[label]}, against clean"))
    return judge_all(claim, parts)


def _comparable(claim: Claim, found: Found) -> Judgment:
    """On FGSM and PGD within five points, image by image; on DeepFool at most five points less
    than the paper's accuracy.

    Of the three others the one that answers for sets of images has no accuracy to compare.
    """
    parts = []
    for label in ("fgsm", "pgd"):
        own = found.declared(label)
        for other in RIVALS:
            row, rival = found.detector(label, other), found.declared(label, other)
            if own is not None and row is not None and untrained(row):
                said = f"{NAMES[label]}: {RIVALS[other]} was not trained"
                parts.append(Judgment("undecided", claim, said))
                continue
            if own is None or rival is None:
                return Judgment("not computed", claim)
            won, lost = int((own & ~rival).sum()), int((~own & rival).sum())
            low, high = paired_interval(won, lost, len(own))
            word = "undecided"
            if max(-low, high) <= CLOSE:
                word = "holds"
            elif low > CLOSE or high < -CLOSE:
                word = "contradicted"
            points = 100 * (won - lost) / len(own)
            said = f"{points:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]".replace("-", "−")
            what = f"{NAMES[label]}, less {RIVALS[other]}"
            parts.append(_worded(Judgment(word, claim, said), what))
    hard = found.detected("deepfool")
    if hard is None:
        return Judgment("not computed", claim)
    bar = papers.load("xiong").numbers["xiong/table4/deepfool"].rate - CLOSE
    low, high = wilson(*hard)
    word = "holds" if low > bar else "contradicted" if high < bar else "undecided"
    said = f"accuracy {100 * (hard[0] / hard[1]):.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    parts.append(_worded(Judgment(word, claim, said), "DeepFool"))
    return judge_all(claim, parts)
