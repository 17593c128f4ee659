"""What the rows say in the end: hypotheses with verdicts, and the chapter's last words."""

from __future__ import annotations

from typing import Any

from washout.chapters.chapter4.more_views import KINDS, SEEN, detection_row
from washout.chapters.chapter4.pools import Found, Rows
from washout.chapters.chapter4.settings import CLEAN, EPS, GUARDS, MAIN
from washout.chapters.chapter4.views import attack_name, firsts, present
from washout.chapters.shown import SETS, stored
from washout.metrics import paired_interval, wilson
from washout.report.verdicts import CLOSE

PLAIN = ("residuals", "whitened", "random")  # what sees fine detail without a trained flow


def _area(group: Found, label: str, kind: str, pool: str = "B", **more: Any) -> float | None:
    row = detection_row(group, label, kind, **more)
    return None if row is None else row.values.get(pool, {}).get("auc")


def _areas(group: Found, kind: str, pool: str = "B", **more: Any) -> str:
    values = [_area(group, label, kind, pool, **more) for label in MAIN]
    return " / ".join("–" if value is None else f"{value:.3f}" for value in values)


def show_hypotheses(attacked: Rows, widths: Rows, cleaned: Rows, detections: Rows) -> None:
    """H-X1 to H-X4, each with the numbers that decide and a verdict.

    Areas differ where they do by more than 0.05, which is more than their intervals leave open with
    a thousand images or more; accuracies by the interval of the paired difference.
    """
    lines = []
    for group in firsts(attacked, widths, cleaned, detections):
        if not any(_area(group, label, "latents") for label in MAIN):
            continue
        for words, said, verdict in (
            _detail(group), _levels(group), _transfer(group), _constant(group)
        ):  # fmt: skip
            lines.append(
                {
                    "dataset": SETS[group.dataset],
                    "hypothesis": words,
                    "found (areas for FGSM / PGD / DeepFool; accuracies)": said,
                    "verdict": verdict,
                }
            )
    present([*cleaned, *detections], lines, "Hypotheses and what decides.", "hypotheses")


def _detail(group: Found) -> tuple[str, str, str]:
    """H-X1: each of the plain views comes within 0.05 of the flow, or none does."""
    said = "; ".join(f"{SEEN[kind]}: {_areas(group, kind)}" for kind in ("latents", *PLAIN))
    level = []
    for kind in PLAIN:
        pairs = [(_area(group, m, kind), _area(group, m, "latents")) for m in MAIN]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        level.append(len(known) == len(MAIN) and all(a > b - CLOSE for a, b in known))
    word = "holds" if all(level) else "contradicted" if not any(level) else "in part"
    if word == "in part":
        found = [SEEN[kind] for kind, same in zip(PLAIN, level, strict=True) if same]
        word = f"in part: {', '.join(found)}"
    return "H-X1: not the flow, but any view of fine detail finds the attacks", said, word


def _levels(group: Found) -> tuple[str, str, str]:
    """H-X2: rounding takes more than 0.05 off an area of the flow's detector."""
    both = {"pool": "both"}
    said = (
        f"latents, as attacked {_areas(group, 'latents', **both)}, rounded to 8 bits "
        f"{_areas(group, 'latents', rounded=True, **both)}; with the distance to 8-bit levels "
        f"{_areas(group, 'grid', **both)}, rounded {_areas(group, 'grid', rounded=True, **both)}"
    )
    drops = [
        (_area(group, m, "latents", "both") or 0)
        - (_area(group, m, "latents", "both", rounded=True) or 0)
        for m in MAIN
    ]
    word = "holds" if max(drops) > CLOSE else "contradicted"
    return "H-X2: steps that no 8-bit file holds give attacks away to the flow", said, word


def _transfer(group: Found) -> tuple[str, str, str]:
    """H-X3: trained without an attack, an area falls by more than 0.05."""
    left = {m: _area(group, m, "latents", trained=f"without-{m}") for m in MAIN}
    said = "trained without the attack: " + " / ".join(
        "–" if left[m] is None else f"{left[m]:.3f}" for m in MAIN
    )
    small = _area(group, "fgsm-0.005", "latents")
    if small is not None:
        said += f"; FGSM at ε 0.005, a quarter of the one trained on: {small:.3f}"
    drops = [(_area(group, m, "latents") or 0) - (left[m] or 0) for m in MAIN]
    word = "holds" if max(drops) > CLOSE else "contradicted"
    if small is not None and (_area(group, "fgsm", "latents") or 0) - small > CLOSE:
        word = f"{word} for attacks, holds for ε" if word != "holds" else word
    return (
        "H-X3: the detector does not carry over to attacks and ε that it has not seen",
        said,
        word,
    )


def _constant(group: Found) -> tuple[str, str, str]:
    """H-X4: through the autoencoder attacked images are read like clean ones, up to 5 points."""
    ae, parts, words = f"ae{group.width}", [], []
    clean, right = group.read(CLEAN, ae), group.who("fgsm", "right")
    for label in MAIN:
        bits, pool = group.read(label, ae), group.pool(label, "B")
        if bits is None or clean is None or right is None or pool is None or not pool.any():
            continue
        won, lost = int((bits & ~clean)[pool].sum()), int((~bits & clean)[pool].sum())
        low, high = paired_interval(won, lost, int(pool.sum()))
        parts.append(
            f"{attack_name(label)} {100 * (won - lost) / pool.sum():+.0f} "
            f"[{100 * low:+.0f}, {100 * high:+.0f}]"
        )
        words.append(
            "holds" if low > -CLOSE and high < CLOSE
            else "contradicted" if high < -CLOSE or low > CLOSE else "undecided"
        )  # fmt: skip
    said = f"points less than the same images clean: {', '.join(parts) or '–'}".replace("-", "−")
    word = next((w for w in ("contradicted", "undecided", "holds") if w in words), "not computed")
    return "H-X4: the autoencoder leaves as much of any image, attacked or not", said, word


def conclusion(attacked: Rows, widths: Rows, cleaned: Rows, detections: Rows, knowing: Rows) -> str:
    """Sentences from rows: what the autoencoder restores, if the flow is needed, who gets by."""
    said = []
    for group in firsts(attacked, widths, cleaned, detections):
        ae = f"ae{group.width}"
        clean, right = group.read(CLEAN, ae), group.who("fgsm", "right")
        total = group.restored_overall(ae)
        if clean is not None and right is not None and total is not None:
            said.append(
                f"**{SETS[group.dataset]}, is anything cleaned?** The autoencoder restores "
                f"{_short(*total)} of the attacked images, and keeps "
                f"{_short(int(clean[right].sum()), int(right.sum()))} of the clean ones that "
                "the classifier reads rightly. What it restores of an attack is about what it "
                "leaves of "
                "a clean image; that is blur, and most of the paper's number."
            )
        said += _needed(group)
        for guard in GUARDS:
            known = [
                r
                for r in stored(knowing, dataset=group.dataset, guard=guard, knows=True)
                if r.spec["eps"] == EPS
            ]
            if known:
                row = max(known, key=lambda r: r.values["accepted"])
                v = row.values
                said.append(
                    f"PGD that knows the detector ({SEEN[guard]}) gets "
                    f"{_short(v['accepted'], v['n'])} of {v['n']} images misread and accepted."
                )
    return "\n\n".join(said) if said else "*Not computed yet.*"


def _needed(group: Found) -> list[str]:
    """Whether a detector without a flow does better, by areas over pool B."""
    own = [_area(group, label, "latents") for label in MAIN]
    others = [k for k in KINDS if k not in ("latents", "all", "grid")]
    rivals = {k: [_area(group, label, k) for label in MAIN] for k in others}
    known = {k: v for k, v in rivals.items() if all(a is not None for a in v)}
    if any(a is None for a in own) or not known:
        return []
    best = max(known, key=lambda k: sum(a for a in known[k] if a is not None))
    wins = sum((a or 0) > (b or 0) for a, b in zip(known[best], own, strict=True))
    sentence = (
        "**Is the flow needed?** Areas for FGSM / PGD / DeepFool are "
        f"{_areas(group, 'latents')} on Glow's latents; the best detector without a flow looks at "
        f"{SEEN[best]} and has "
        f"{_areas(group, best)}, better for {wins} of {len(MAIN)} attacks."
    )
    return [sentence]


def _short(k: float, n: int) -> str:
    low, high = wilson(k, n)
    return f"{100 * k / n:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
