"""The hypotheses that were written down before running, each with the numbers that decide."""

from __future__ import annotations

from collections.abc import Sequence

from washout.chapters.chapter4.compared import Area, against_clean, area, areas, difference
from washout.chapters.chapter4.pools import Found, Rows, firsts, untrained
from washout.chapters.chapter4.settings import EPS, MAIN, OTHER_EPS, PCA, SEPARATE
from washout.chapters.chapter4.views import attack_name, present, rate
from washout.chapters.shown import SETS, stored
from washout.metrics import wilson
from washout.report.verdicts import CLOSE

# What sees no trained flow: the views that the hypothesis names, and others that came later.
NAMED = {
    "residuals": "24 statistics",
    "random": "untrained Glow, whitened",
    "pixels": "raw pixels",
}
LATER = {
    "whitened": "whitened pixels",
    PCA: "late principal components",
    SEPARATE: "a network",
}
SMALLEST = f"fgsm-{OTHER_EPS[0]:g}"
# Attacks that no detector learned from, and which of those that it did they are most like.
RELATIVES = {"bim": "pgd", "deepfool-l2": "deepfool"}
Line = tuple[str, str, str]  # the hypothesis, what was found, the verdict


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
    """H-X1: one of the views that it names comes within 0.05 of the flow for each attack, where the
    flow finds at least one.
    """
    said = f"Glow's latents: {areas(group, 'latents')}; " + "; ".join(
        f"{words}: {areas(group, kind)}" for kind, words in NAMED.items()
    )
    said += ". Not named then: " + "; ".join(
        f"{words}: {areas(group, kind)}" for kind, words in LATER.items()
    )
    own = [area(group, m, "latents") for m in MAIN]
    found = {kind: _level(group, kind) for kind in NAMED}
    level = [NAMED[kind] for kind, word in found.items() if word == "level"]
    words = set(found.values()) - {"not trained"}
    if "not computed" in words or not words:
        verdict = "not computed"
    elif not any(one.low > 0.5 for one in own if one is not None):
        verdict = "undecided: the flow's detector finds nothing"
    elif level:
        verdict = f"holds: {' and '.join(level)}"
    elif "not trained" in found.values():
        verdict = "undecided: a view that it names was not trained"
    else:
        verdict = "contradicted" if words == {"behind"} else "undecided"
    return (
        "H-X1: not the flow finds the attacks, but fine detail: statistics of it, random weights "
        "or pixels do as well",
        said,
        verdict,
    )


def _level(group: Found, kind: str) -> str:
    """Whether a view is within 0.05 of the flow for each attack (``level``), or ``behind``."""
    row = group.detector(MAIN[0], kind)
    if row is not None and untrained(row):
        return "not trained"
    gaps = [difference(area(group, m, kind), area(group, m, "latents")) for m in MAIN]
    known = [gap for gap in gaps if gap is not None]
    if len(known) < len(MAIN):
        return "not computed"
    if all(low > -CLOSE for low, _ in known):
        return "level"
    return "behind" if any(high < -CLOSE for _, high in known) else "undecided"


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
    """H-X3: an area falls by more than 0.05 for an attack that was not trained on, at the same size
    (left out, or another of its kind), or for one at a quarter of the size; and an
    attacker with the detector's score in his loss gets more than half of the images through, and
    more than one without it by at least five points.
    """
    own = {m: area(group, m, "latents") for m in MAIN}
    left = {m: area(group, m, "latents", trained=f"without-{m}") for m in MAIN}
    small = area(group, SMALLEST, "latents")
    said = "trained without the attack: " + " / ".join(
        "–" if one is None else f"{one.value:.3f}" for one in left.values()
    )
    relatives = {label: area(group, label, "latents") for label in RELATIVES}
    for label, one in relatives.items():
        if one is not None:
            said += f"; {attack_name(label)}, not trained on: {one.value:.3f}"
    if small is not None:
        said += f"; {attack_name(SMALLEST)}, a quarter of the one trained on: {small.value:.3f}"
    words = {
        "unseen attacks": falls(
            [difference(own[m], left[m]) for m in MAIN]
            + [difference(own[RELATIVES[label]], one) for label, one in relatives.items()]
        ),
        "a smaller ε": falls([difference(own["fgsm"], small)]),
    }
    through = accepted(knowing, group, knows=True)
    without = accepted(knowing, group, knows=False)
    words["a detector term"] = "not computed"
    if through is not None and without is not None:
        words["a detector term"] = _collapses(through, without)
        said += (
            "; the strongest PGD with the detector's score in its loss, misread and accepted: "
            f"{rate(*through)}, without it {rate(*without)}"
        )
    verdict = next(iter(words.values()))
    if len(set(words.values())) > 1:
        verdict = "; ".join(f"{what}: {word}" for what, word in words.items())
    return (
        "H-X3: the detector does not carry over to attacks and ε that it has not seen, and "
        "collapses under an attack with a detector term",
        said,
        verdict,
    )


def _collapses(through: tuple[float, int], without: tuple[float, int]) -> str:
    """Of images misread and accepted: more than half, and more than without the term."""
    low, high = wilson(*through)
    gap = difference(
        Area(through[0] / through[1], low, high),
        Area(without[0] / without[1], *wilson(*without)),
    )
    assert gap is not None
    if low > 0.5 and gap[0] > CLOSE:
        return "holds"
    return "contradicted" if high < 0.5 or gap[1] < CLOSE else "undecided"


def accepted(
    knowing: Rows, group: Found, *, knows: bool, guard: str = "latents", eps: float = EPS
) -> tuple[float, int] | None:
    """How many images get past a guard, of how many; by the strongest attacker that is stored."""
    rows = stored(
        knowing, dataset=group.dataset, seed=group.seed, guard=guard, knows=knows, eps=eps
    )
    if not rows:
        return None
    best = max(rows, key=lambda row: row.values["accepted"] / max(row.values["n"], 1)).values
    if not best["n"]:
        return None
    return best["accepted"], best["n"]


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
