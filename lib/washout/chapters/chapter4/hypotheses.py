"""The hypotheses that were written down before running, each with the numbers that decide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from washout.chapters.chapter4.pools import Found, Rows, firsts, untrained
from washout.chapters.chapter4.settings import CLEAN, EPS, MAIN, OTHER_EPS, PCA, SEPARATE
from washout.chapters.chapter4.views import attack_name, present, rate
from washout.chapters.shown import SETS, stored
from washout.metrics import paired_interval, wilson
from washout.report.verdicts import CLOSE

# What sees fine detail without a trained flow, and what it is called here.
PLAIN = {
    "residuals": "24 statistics",
    "whitened": "whitened pixels",
    "random": "untrained Glow, whitened",
    PCA: "late principal components",
    SEPARATE: "a network",
}
SMALLEST = f"fgsm-{OTHER_EPS[0]:g}"
Line = tuple[str, str, str]  # the hypothesis, what was found, the verdict


class Area(NamedTuple):
    """An area under a ROC curve with its 95 % interval."""

    value: float
    low: float
    high: float


def area(group: Found, label: str, kind: str, pool: str = "B", **more: Any) -> Area | None:
    """A detector's area, if it is stored, has images in the pool, and was trained."""
    row = group.detector(label, kind, **more)
    part = {} if row is None or untrained(row) else row.values.get(pool, {})
    return Area(part["auc"], part["auc_low"], part["auc_high"]) if "auc" in part else None


def areas(group: Found, kind: str, pool: str = "B", **more: Any) -> str:
    """The areas for all three attacks in words."""
    row = group.detector(MAIN[0], kind, **more)
    if row is not None and untrained(row):
        return "not trained"
    found = [area(group, label, kind, pool, **more) for label in MAIN]
    return " / ".join("–" if one is None else f"{one.value:.3f}" for one in found)


def difference(one: Area | None, other: Area | None) -> tuple[float, float] | None:
    """The 95 % interval of one area less another, taken as if they were independent.

    Both are over the same images, which makes the true one narrower.

    Source: G. Y. Zou & A. Donner (2008), "Construction of confidence limits about effect
    measures": each limit from the distances of the two intervals' ends.
    """
    if one is None or other is None:
        return None
    gap = one.value - other.value
    low = gap - math.hypot(one.value - one.low, other.high - other.value)
    return low, gap + math.hypot(one.high - one.value, other.value - other.low)


def falls(drops: Sequence[tuple[float, float] | None]) -> str:
    """Whether at least one of several areas falls by more than 0.05, by the intervals."""
    known = [drop for drop in drops if drop is not None]
    if len(known) < len(drops):
        return "not computed"
    if any(low > CLOSE for low, _ in known):
        return "holds"
    return "contradicted" if all(high < CLOSE for _, high in known) else "undecided"


# ---- the hypotheses ----------------------------------------------------------------------------
def detail(group: Found) -> Line:
    """H-X1: each of the plain views that were trained comes within 0.05 of the flow, or none."""
    said = f"Glow's latents: {areas(group, 'latents')}; " + "; ".join(
        f"{words}: {areas(group, kind)}" for kind, words in PLAIN.items()
    )
    found = {}
    for kind in PLAIN:
        row = group.detector(MAIN[0], kind)
        if row is not None and untrained(row):
            continue
        gaps = [difference(area(group, m, kind), area(group, m, "latents")) for m in MAIN]
        known = [gap for gap in gaps if gap is not None]
        if len(known) < len(MAIN):
            found[kind] = "not computed"
        elif all(low > -CLOSE for low, _ in known):
            found[kind] = "level"
        else:
            found[kind] = "behind" if any(high < -CLOSE for _, high in known) else "undecided"
    words = set(found.values())
    level = [PLAIN[kind] for kind, word in found.items() if word == "level"]
    if not found or "not computed" in words:
        verdict = "not computed"
    elif words == {"level"}:
        verdict = "holds"
    elif level:
        verdict = f"in part: {', '.join(level)}"
    else:
        verdict = "contradicted" if words == {"behind"} else "undecided"
    return "H-X1: not the flow, but any view of fine detail finds the attacks", said, verdict


def levels(group: Found) -> Line:
    """H-X2: rounding takes more than 0.05 off an area of the flow's detector."""
    both = {"pool": "both"}
    said = (
        f"latents, as attacked {areas(group, 'latents', **both)}, rounded to 8 bits "
        f"{areas(group, 'latents', rounded=True, **both)}; with the distance to 8-bit levels "
        f"{areas(group, 'grid', **both)}, rounded {areas(group, 'grid', rounded=True, **both)}"
    )
    drops = [
        difference(
            area(group, m, "latents", "both"), area(group, m, "latents", "both", rounded=True)
        )
        for m in MAIN
    ]
    return "H-X2: steps that no 8-bit file holds give attacks away to the flow", said, falls(drops)


def transfer(group: Found, knowing: Rows) -> Line:
    """H-X3: an area falls by more than 0.05 without the attack or at a quarter of the size; and an
    attacker with the detector's score in his loss gets more than half of the images through.
    """
    own = {m: area(group, m, "latents") for m in MAIN}
    left = {m: area(group, m, "latents", trained=f"without-{m}") for m in MAIN}
    small = area(group, SMALLEST, "latents")
    said = "trained without the attack: " + " / ".join(
        "–" if one is None else f"{one.value:.3f}" for one in left.values()
    )
    if small is not None:
        said += f"; {attack_name(SMALLEST)}, a quarter of the one trained on: {small.value:.3f}"
    words = {
        "unseen attacks": falls([difference(own[m], left[m]) for m in MAIN]),
        "a smaller ε": falls([difference(own["fgsm"], small)]),
    }
    through = accepted(knowing, group, knows=True)
    words["a detector term"] = "not computed"
    if through is not None:
        low, high = wilson(*through)
        words["a detector term"] = (
            "holds" if low > 0.5 else "contradicted" if high < 0.5 else "undecided"
        )
        said += "; PGD with the detector's score in its loss, misread and accepted: "
        said += rate(*through)
        without = accepted(knowing, group, knows=False)
        if without is not None:
            said += f", without it {rate(*without)}"
    verdict = next(iter(words.values()))
    if len(set(words.values())) > 1:
        verdict = "; ".join(f"{what}: {word}" for what, word in words.items())
    return (
        "H-X3: the detector does not carry over to attacks and ε that it has not seen, and "
        "collapses under an attack with a detector term",
        said,
        verdict,
    )


def accepted(
    knowing: Rows, group: Found, *, knows: bool, guard: str = "latents", eps: float = EPS
) -> tuple[float, int] | None:
    """How many images get past a guard, of how many; by the strongest attacker that is stored."""
    rows = stored(
        knowing, dataset=group.dataset, seed=group.seed, guard=guard, knows=knows, eps=eps
    )
    if not rows:
        return None
    best = max(rows, key=lambda row: row.values["accepted"]).values
    return best["accepted"], best["n"]


class Against(NamedTuple):
    """Attacked images through the autoencoder, less the same images clean, in points of 100."""

    points: float
    low: float
    high: float
    word: str


def against_clean(group: Found) -> dict[str, Against]:
    """By attack, over pool B: the same up to five points (``holds``), or not."""
    ae, found = f"ae{group.width}", {}
    clean = group.read(CLEAN, ae)
    for label in MAIN:
        bits, pool = group.read(label, ae), group.pool(label, "B")
        if bits is None or clean is None or pool is None or not pool.any():
            continue
        won, lost = int((bits & ~clean)[pool].sum()), int((~bits & clean)[pool].sum())
        low, high = paired_interval(won, lost, int(pool.sum()))
        word = "undecided"
        if low > -CLOSE and high < CLOSE:
            word = "holds"
        elif high < -CLOSE or low > CLOSE:
            word = "contradicted"
        found[label] = Against(100 * (won - lost) / pool.sum(), 100 * low, 100 * high, word)
    return found


def constant(group: Found) -> Line:
    """H-X4: through the autoencoder attacked images are read like clean ones, up to 5 points."""
    found = against_clean(group)
    parts = [
        f"{attack_name(label)} {one.points:+.0f} [{one.low:+.0f}, {one.high:+.0f}]"
        for label, one in found.items()
    ]
    said = f"points, attacked less the same images clean: {', '.join(parts) or '–'}"
    said = said.replace("-", "−")
    words = [one.word for one in found.values()] + ["not computed"] * (len(MAIN) - len(found))
    order = ("not computed", "contradicted", "undecided", "holds")
    verdict = next(word for word in order if word in words)
    return "H-X4: the autoencoder leaves as much of any image, attacked or not", said, verdict


def show(attacked: Rows, widths: Rows, cleaned: Rows, detections: Rows, knowing: Rows) -> None:
    """H-X1 to H-X4, each with the numbers that decide and a verdict.

    Areas differ where the 95 % interval of their difference lies beyond 0.05; accuracies by the
    interval of the paired difference.
    """
    lines = []
    for group in firsts(attacked, widths, cleaned, detections):
        if not any(area(group, label, "latents") for label in MAIN):
            continue
        for words, said, verdict in (
            detail(group), levels(group), transfer(group, knowing), constant(group)
        ):  # fmt: skip
            lines.append(
                {
                    "dataset": SETS[group.dataset],
                    "hypothesis": words,
                    "found (areas for FGSM / PGD / DeepFool; accuracies)": said,
                    "verdict": verdict,
                }
            )
    rows = [*cleaned, *detections, *knowing]
    present(rows, lines, "Hypotheses and what decides.", "hypotheses")
