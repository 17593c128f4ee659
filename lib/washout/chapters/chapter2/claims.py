"""The paper's claims, judged by the stored cells; each attack as foolbox 2 searched it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from washout import papers
from washout.chapters.chapter2 import more_claims
from washout.chapters.chapter2.grid import (
    DEFENSES,
    NAMES,
    PRINTED,
    WORDS,
    Bits,
    Grid,
    Rows,
    above,
    at_most,
    oftener,
    without,
)
from washout.chapters.chapter2.settings import columns, kind
from washout.papers import Claim
from washout.report import Judgment, judge_all
from washout.store import Row

ATTACKS = tuple(PRINTED)
THREE = ("fgsm", "pgd", "cw")  # DeepFool is left out of some of the claims
GRAY, COLOR = "gray", "color"


def claims(cells: Rows, attacks: Rows, vqs: Rows) -> list[Judgment]:
    """A judgment of each claim, in the paper's order; those about pictures by what is measured.

    What another classifier than the paper's says stands beside, and decides none.
    """
    brief = any(isinstance(row, Row) and row.profile != "paper" for row in vqs)
    grid = Grid(cells, vqs)
    proper = [name for name in grid.datasets if not grid.standing_in(name)]
    whole = _judged(cells, attacks, vqs)
    own = whole
    if len(proper) < len(grid.datasets):
        few, some = ([r for r in rows if r.spec["dataset"] in proper] for rows in (cells, attacks))
        own = _judged(few, some, vqs)
    found = []
    for name, part in whole.items():
        contradicted = own[name].word == part.word == "contradicted"
        part = without(part, contradicted or own[name] == part, "on a stand-in for their network")
        found.append(without(part, not (brief and name.startswith("vq-"))))
    return found


def _judged(cells: Rows, attacks: Rows, vqs: Rows) -> dict[str, Judgment]:
    """Each claim's judgment by all these rows."""
    grid = Grid(cells, vqs)
    judges: dict[str, Callable[[Claim], Judgment]] = {
        "jpeg-best-mnist": lambda c: _best(c, grid, GRAY, "jpeg", ATTACKS),
        "tvm-best-cifar": lambda c: _best(c, grid, COLOR, "tvm", THREE),
        "tvm-gap": lambda c: _gap(c, grid),
        "deepfool-hardest": lambda c: _hardest(c, grid),
        "vq-deepfool-cifar": lambda c: _vq_deepfool(c, grid),
        "pgd-easiest": lambda c: _easiest(c, grid),
        "all-improve": lambda c: _improve(c, grid),
        "rank": lambda c: _rank(c, grid),
        "mnist>cifar": lambda c: _mnist_over_cifar(c, grid),
        "vq-noise-mnist": lambda c: more_claims.noise(c, grid),
        "vq-noise-recon": lambda c: more_claims.blurrier(c, vqs),
        "vq-grid": lambda c: more_claims.sizes(c, vqs),
        "jpeg-insensitive": lambda c: more_claims.flat(c, grid),
        "kmeans-sensitive": lambda c: more_claims.between(c, grid),
        "visual": lambda c: more_claims.visible(c, attacks),
        "confusion": lambda c: more_claims.confusion(c, grid),
        "clip-artefacts": lambda c: more_claims.extremes(c, grid),
        "vq-blur-shift": lambda c: more_claims.retrained(c, cells, grid),
        "subset": lambda c: more_claims.subset(c, cells, grid),
    }
    named = {id_.split("/")[-1]: claim for id_, claim in papers.load("tan2019").claims.items()}
    return {name: judges[name](claim) for name, claim in named.items()}


def _of(grid: Grid, sort: str) -> list[str]:
    return [name for name in grid.datasets if kind(name) == sort]


def _need(claim: Claim, parts: Sequence[Judgment]) -> Judgment:
    return judge_all(claim, list(parts)) if parts else Judgment("not computed", claim)


def _comparable(grid: Grid, name: str) -> list[str]:
    """The defenses whose columns are the paper's."""
    return [d for d in DEFENSES if grid.comparable(name, d)]


# ---- which defense -----------------------------------------------------------------------------
def _best(claim: Claim, grid: Grid, sort: str, defense: str, attacks: Sequence[str]) -> Judgment:
    """Under most of the attacks, better than the best of the other defenses."""
    parts = []
    said = []
    for name in _of(grid, sort):
        for attack in attacks:
            others = {d: grid.bits(name, attack, d) for d in DEFENSES if d != defense}
            known = {d: bits for d, bits in others.items() if bits is not None}
            if len(known) < len(others):
                parts.append(Judgment("not computed", claim))
                continue
            part, sentence = _over_rivals(claim, grid, name, attack, defense, known)
            parts.append(part)
            said.append(sentence)
        said.append(f"{NAMES[defense]} keeps {grid.through(name, defense)}, {grid.called(name)}")
    words = [part.word for part in parts]
    if not parts or "not computed" in words:
        return Judgment("not computed", claim)
    most = len(parts) // 2 + 1
    word = "undecided"
    if words.count("contradicted") > len(parts) - most:
        word = "contradicted"
    elif words.count("holds") >= most:
        word = "holds"
    return Judgment(word, claim, "; ".join(said))


def _over_rivals(
    claim: Claim, grid: Grid, name: str, attack: str, defense: str, known: dict[str, Bits]
) -> tuple[Judgment, str]:
    """One attack: over the best rival, and beside it the best whose column is the paper's."""

    def over(rival: str) -> Judgment:
        what = f"over {NAMES[rival]}"
        part = oftener(claim, what, grid.bits(name, attack, defense), known[rival])
        return without(part, grid.comparable(name, rival))

    best = max(known, key=lambda d: known[d].mean())
    own = [d for d in known if grid.comparable(name, d)]
    second = max(own, key=lambda d: known[d].mean())
    part = over(best)
    said = f"{NAMES[attack]}, {NAMES[defense]} {over(second).evidence}"
    return part, said if second == best else f"{said}, {part.evidence}"


def _gap(claim: Claim, grid: Grid) -> Judgment:
    """Points lost to the undefended clean accuracy, beside what clean images lose already."""
    parts = []
    for name in grid.datasets:
        clean, behind = grid.clean(name), grid.clean(name, "tvm")
        for attack in THREE:
            after = grid.bits(name, attack, "tvm")
            if clean is None or after is None:
                parts.append(Judgment("not computed", claim))
                continue
            n = min(len(clean), len(after))
            lost = clean[:n].astype(float) - after[:n]
            what = f"{grid.called(name)}, {NAMES[attack]}: lost"
            part = at_most(claim, what, lost, 0.30)
            if behind is not None:
                own = round(100 * (clean[:n].mean() - behind[:n].mean()))
                part = replace(part, evidence=f"{part.evidence}, {own} of them when clean")
            parts.append(part)
    found = _need(claim, parts)
    return replace(found, evidence=f"{found.evidence}; bound 30") if found.evidence else found


def _improve(claim: Claim, grid: Grid) -> Judgment:
    """Each defense over none; and beside noise as large as its own change, which is harder.

    A search for the smallest change leaves nothing undefended, so that any cell above 0 rises.
    """
    parts, said = [], []
    beside = {"holds": 0, "contradicted": 0, "undecided": 0, "not computed": 0}
    for name in grid.datasets:
        full = dict(zip(WORDS, columns(name), strict=True))
        for attack in ATTACKS:
            for defense in DEFENSES:
                own = grid.bits(name, attack, defense)
                what = f"{grid.called(name)}, {NAMES[attack]}, {NAMES[defense]}"
                part = oftener(claim, what, own, grid.bits(name, attack, "none"))
                comparable = grid.comparable(name, defense)
                parts.append(without(part, comparable))
                if comparable:
                    said.append(part.word == "holds")
                    noise = grid.bits(name, attack, f"noise:{full[defense]}")
                    beside[oftener(claim, what, own, noise).word] += 1
    words = [part.word for part in parts]
    if not parts or "not computed" in words:
        return Judgment("not computed", claim)
    evidence = [f"{sum(said)} of {len(said)} comparable cells rise, from next to nothing"]
    failed = [p.evidence for p in parts if p.word != "holds" and "not comparable" not in p.evidence]
    if measured := len(said) - beside["not computed"]:
        evidence.append(
            f"beside noise as large as the defense's own change {beside['holds']} of {measured} "
            f"are better, {beside['contradicted']} worse"
        )
    if len(said) < len(parts):
        evidence.append("VQ-VAEs not comparable")
    return replace(_need(claim, parts), evidence="; ".join([*evidence, *failed[:4]]))


def _rank(claim: Claim, grid: Grid) -> Judgment:
    order = (("tvm", "kmeans"), ("jpeg", "kmeans"), ("kmeans", "gauss"), ("gauss", "vqvae0"))
    parts = []
    for name in grid.datasets:
        for one, other in order:
            what = f"{grid.called(name)}, {NAMES[one]} less {NAMES[other]}"
            better, worse = (grid.mean(name, ATTACKS, [d]) for d in (one, other))
            comparable = grid.comparable(name, other)
            parts.append(without(oftener(claim, what, better, worse), comparable))
    return _need(claim, parts)


def _mnist_over_cifar(claim: Claim, grid: Grid) -> Judgment:
    parts = []
    for gray in _of(grid, GRAY):
        for color in _of(grid, COLOR):
            for defense in DEFENSES:
                one, other = (grid.mean(name, ATTACKS, [defense]) for name in (gray, color))
                part = above(claim, NAMES[defense], one, other)
                both = all(grid.comparable(name, defense) for name in (gray, color))
                parts.append(without(part, both))
    found = _need(claim, parts)
    marked = [c for c in map(grid.called, _of(grid, COLOR)) if "stand-in" in c]
    said = [found.evidence, *marked] if found.evidence else []
    return replace(found, evidence="; ".join(said))


# ---- which attack ------------------------------------------------------------------------------
def _hardest(claim: Claim, grid: Grid) -> Judgment:
    """Every other attack leaves more than DeepFool, and DeepFool never more than 10 %."""
    parts = []
    for name in grid.datasets:
        own, called = _comparable(grid, name), grid.called(name)
        hard = grid.mean(name, ["deepfool"], own)
        for attack in THREE:
            other = grid.mean(name, [attack], own)
            parts.append(oftener(claim, f"{called}, {NAMES[attack]} less DeepFool", other, hard))
        for defense in DEFENSES:
            bits = grid.bits(name, "deepfool", defense)
            part = at_most(claim, f"{called}, DeepFool through {NAMES[defense]}", bits, 0.10, "%")
            parts.append(without(part, defense in own))
    found = _need(claim, parts)
    return replace(found, evidence=f"{found.evidence}; bound 10 %") if found.evidence else found


def _vq_deepfool(claim: Claim, grid: Grid) -> Judgment:
    parts = []
    for name in _of(grid, COLOR):
        known = {d: grid.bits(name, "deepfool", d) for d in DEFENSES}
        if any(bits is None for bits in known.values()):
            return Judgment("not computed", claim)
        rates = {d: float(bits.mean()) for d, bits in known.items() if bits is not None}
        best = max((d for d in DEFENSES if d.startswith("vq")), key=rates.__getitem__)
        # "Among the best": not below the middle of the others.
        others = sorted((d for d in DEFENSES if not d.startswith("vq")), key=rates.__getitem__)
        rival = others[len(others) // 2]
        what = f"{grid.called(name)}, {NAMES[best]} less {NAMES[rival]}"
        parts.append(oftener(claim, what, known[best], known[rival]))
        parts.append(at_most(claim, f"{NAMES[best]}:", known[best], 0.10, "%"))
        ceiling = f"it keeps {grid.through(name, best)}"
        parts[-1] = replace(parts[-1], evidence=f"{parts[-1].evidence}, bound 10; {ceiling}")
    return _need(claim, parts)


def _easiest(claim: Claim, grid: Grid) -> Judgment:
    """PGD leaves more than each other attack, over the columns that are the paper's."""
    parts = []
    for name in grid.datasets:
        own = _comparable(grid, name)
        easy = grid.mean(name, ["pgd"], own)
        for attack in ("fgsm", "cw", "deepfool"):
            other = grid.mean(name, [attack], own)
            what = f"{grid.called(name)}, PGD less {NAMES[attack]}"
            parts.append(oftener(claim, what, easy, other))
    return _need(claim, parts)
