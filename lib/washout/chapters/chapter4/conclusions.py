"""What the rows say in the end: the chapter's last words."""

from __future__ import annotations

from washout.chapters.chapter4.beyond_views import unattacked
from washout.chapters.chapter4.compared import against_clean, area, areas, difference
from washout.chapters.chapter4.hypotheses import accepted
from washout.chapters.chapter4.more_views import KINDS, SEEN
from washout.chapters.chapter4.pools import Found, Rows, firsts
from washout.chapters.chapter4.settings import CLEAN, GUARDS, KNOWING_EPS, MAIN, NOISE
from washout.chapters.chapter4.views import attack_name
from washout.chapters.shown import SETS, stored
from washout.metrics import wilson


def conclusion(attacked: Rows, widths: Rows, cleaned: Rows, detections: Rows, knowing: Rows) -> str:
    """Sentences from rows: what the autoencoder restores, if the flow is needed, who gets by."""
    said = []
    for group in firsts(attacked, widths, cleaned, detections):
        said += [*_cleaned(group), *_needed(group), *_known(group, knowing)]
    if not said and any(group.attacks for group in firsts(attacked)):
        return '*Conclusions are about all three attacks: see a run with* `attack = "all"`*.*'
    return "\n\n".join(said) if said else "*Not computed yet.*"


def _cleaned(group: Found) -> list[str]:
    """Whether attacked images fare through the autoencoder as they do clean, by attack."""
    ae = f"ae{group.width}"
    clean, right = group.read(CLEAN, ae), group.right
    found = against_clean(group)
    if clean is None or right is None or set(found) < set(MAIN):
        return []
    kept = [f"{_short(int(clean[: len(right)][right].sum()), int(right.sum()))} clean"]
    for label in MAIN:
        bits, pool = group.read(label, ae), group.pool(label, "B")
        if bits is None or pool is None:
            return []
        kept.append(f"{_short(int(bits[pool].sum()), int(pool.sum()))} after {attack_name(label)}")
    said = (
        f"**{SETS[group.dataset]}, is anything cleaned?** Of the images that the classifier reads "
        f"rightly when clean, the autoencoder keeps {_and(kept)}."
    )
    same = [attack_name(label) for label, one in found.items() if one.word == "holds"]
    if same:
        said += (
            f" After {_and(same)} as many images are read rightly as of the same images clean, up "
            "to five points: what is lost there is lost to blur, attack or not."
        )
    for label, one in found.items():
        if one.word == "contradicted":
            more = "fewer" if one.points < 0 else "more"
            said += (
                f" After {attack_name(label)} {abs(one.points):.0f} points {more} are read "
                "rightly than of the same images clean"
                + (": not all of the attack is washed out." if one.points < 0 else ".")
            )
    open_ = [attack_name(label) for label, one in found.items() if one.word == "undecided"]
    if open_:
        said += f" After {_and(open_)} these images are too few to say."
    return [said + _rounded(group)]


def _rounded(group: Found) -> str:
    """What rounding to 8 bits alone restores, by attack."""
    parts = []
    for label in MAIN:
        pool, still = group.pool(label, "B"), group.who(label, "wrong_rounded")
        if pool is None or still is None or not pool.any():
            return ""
        parts.append(f"{100 * (~still)[pool].mean():.0f} % after {attack_name(label)}")
    return f" Rounding to 8 bits, and nothing else, restores {_and(parts)}."


def _needed(group: Found) -> list[str]:
    """Whether a detector that knows no flow does better, by areas over pool B."""
    own = [area(group, label, "latents") for label in MAIN]
    others = [k for k in KINDS if k not in ("latents", "all", "random", "grid")]
    rivals = {k: [area(group, label, k) for label in MAIN] for k in others}
    known = {
        kind: [one.value for one in found if one is not None] for kind, found in rivals.items()
    }
    known = {kind: values for kind, values in known.items() if len(values) == len(MAIN)}
    mine = [one.value for one in own if one is not None]
    if len(mine) < len(MAIN) or not known:
        return []
    best = max(known, key=lambda kind: sum(known[kind]))
    gaps = [difference(one, two) for one, two in zip(rivals[best], own, strict=True)]
    ahead = [attack_name(m) for m, gap in zip(MAIN, gaps, strict=True) if gap and gap[0] > 0]
    behind = [attack_name(m) for m, gap in zip(MAIN, gaps, strict=True) if gap and gap[1] < 0]
    parts = [f"{w} for {_and(m)}" for w, m in (("ahead", ahead), ("behind", behind)) if m]
    said = ", ".join(parts) or "the two are no farther apart than by chance"
    return [
        "**Is the flow needed?** Areas for FGSM / PGD / DeepFool are "
        f"{areas(group, 'latents')} on Glow's latents; without a flow, and the distance to 8-bit "
        f"levels aside, the best view is {SEEN[best]}, with {areas(group, best)}: {said}."
        + _harmless(group)
    ]


def _harmless(group: Found) -> str:
    """Random signs as large as the attacks, which fool nobody, in the detector's eyes."""
    found = group.flagged(NOISE, "latents")
    if found is None:
        return ""
    rate = _short(int(found[0].sum()), len(found[0]))
    return f" On latents {rate} of images with random signs are flagged, which fool nobody."


def _known(group: Found, knowing: Rows) -> list[str]:
    """How many images an attacker who knows the defense gets misread, and past a detector."""
    said = []
    ae = f"ae{group.width}"
    found = {eps: _misread(group, knowing, ae, eps) for eps in KNOWING_EPS}
    parts = [f"{_short(*k)} at ε {eps:g}" for eps, k in found.items() if k is not None]
    alone = unattacked(group, ae)
    if parts and alone:
        said.append(
            f"**Who knows?** PGD that knows the autoencoder has {_and(parts)} of images misread; "
            f"without any attack the autoencoder has {alone} misread."
        )
    for guard in GUARDS:
        found = {
            eps: accepted(knowing, group, knows=True, guard=guard, eps=eps) for eps in KNOWING_EPS
        }
        parts = [f"{_short(*k)} at ε {eps:g}" for eps, k in found.items() if k is not None]
        n = [k[1] for k in found.values() if k is not None]
        if parts:
            said.append(
                f"The strongest PGD that knows the detector ({SEEN[guard]}) gets {_and(parts)} of "
                f"{n[0]} images misread and accepted."
            )
    return said


def _misread(group: Found, knowing: Rows, guard: str, eps: float) -> tuple[float, int] | None:
    """By the strongest attacker that is stored."""
    same = {"dataset": group.dataset, "seed": group.seed, "guard": guard, "knows": True}
    rows = [row.values for row in stored(knowing, **same, eps=eps) if row.values["n"]]
    best = max(rows, key=lambda v: v["misread"] / v["n"], default=None)
    return None if best is None else (best["misread"], best["n"])


def _and(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1])] * (len(words) > 1) + words[-1:])


def _short(k: float, n: int) -> str:
    low, high = wilson(k, n)
    return f"{100 * k / n:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
