"""The hypotheses that were written down before running, each with its verdict."""

from __future__ import annotations

from collections.abc import Callable

from washout.chapters.chapter2 import adaptive
from washout.chapters.chapter2.grid import (
    DEFENSES,
    PRINTED,
    Bits,
    Grid,
    Rows,
    above,
    at_most,
    level,
    oftener,
)
from washout.chapters.chapter2.margins import FAR, NEAR, orders, restored, signed, telling
from washout.chapters.chapter2.measure import CLEAN
from washout.chapters.chapter2.settings import SEARCHES, columns, kind
from washout.chapters.chapter2.views import SETS, attack_name, name, present
from washout.chapters.shown import stored
from washout.metrics import wilson
from washout.papers import Claim
from washout.report import Judgment, judge_all

ATTACKS = tuple(PRINTED)
TINY = 0.01  # relative L2 of a change that is next to nothing
CHANCE, ABOVE = 0.10, 0.15  # below their sum a classifier knows too little to compare slips
NOTHING = 0.10  # accuracy up to which an attack is said to leave nothing
Found = tuple[str, str]  # verdict and evidence
HYPOTHESES = {
    "H1": "what JPEG recovers is a matter of stopping at the boundary",
    "H2": "what is recovered falls with the margin past the boundary",
    "H3": "DeepFool leaves under 10 % only where its steps are too long",
    "H4": "the literal Gaussian changes next to nothing, and recovers at the boundary alone",
    "H5": "JPEG's quality does not matter at the boundary, and does once a budget is spent",
    "H6": "TVM is held back by what it costs clean images",
    "H7a": "an input that is not rescaled makes the VQ-VAE the worst defense",
    "H7b": "an output that wraps around makes the VQ-VAE the worst defense",
    "H8": "an attacker who knows leaves nothing behind any defense",
}


class Judged:
    """One dataset's rows, and the verdict on each hypothesis."""

    def __init__(self, cells: Rows, attacks: Rows, knowing: Rows, dataset: str):
        self.cells, self.attacks, self.knowing = cells, attacks, knowing
        self.grid, self.dataset = Grid(cells), dataset
        self.budget = "pgd-0.3" if kind(dataset) == "gray" else "pgd-8/255"

    def bits(self, attack: str, defense: str) -> Bits | None:
        """Which images are read rightly, (n,) bool."""
        return self.grid.bits(self.dataset, attack, defense)

    def share(self, attack: str, defense: str) -> str:
        """``81 %``, or a dash."""
        bits = self.bits(attack, defense)
        return "–" if bits is None else f"{100 * bits.mean():.0f} %"

    def several(self, defense: str, attacks: tuple[str, ...]) -> str:
        """What is left behind a defense after each attack whose row is there."""
        there = [a for a in attacks if self.bits(a, defense) is not None]
        return ", ".join(f"{attack_name(a)} {self.share(a, defense)}" for a in there)

    def n(self) -> str:
        bits = self.bits(CLEAN, "none")
        return "" if bits is None else f" (n {len(bits)})"

    def h1(self, claim: Claim) -> Found:
        small = [a for a in ("pgd-min", "pgd-min-eps") if self.bits(a, "jpeg90") is not None]
        spent = self.bits(self.budget, "jpeg90")
        parts = [oftener(claim, "", self.bits(a, "jpeg90"), spent) for a in small]
        parts.append(level(claim, "", spent, self.bits(self.budget, "none")))
        said = [
            f"JPEG 90: {self.several('jpeg90', (*small, self.budget))}{self.n()}",
            f"noise as large as its change: {self.several('noise:jpeg90', tuple(small))}",
            f"rounding: {self.several('8bit', tuple(small))}",
        ]
        return _all(claim, parts), "; ".join(said)

    def h2(self, claim: Claim) -> Found:
        """Within an attack, for JPEG: rank correlations of margin and recovery below 0.

        That none tells contradicts nothing: within one search all margins are small.
        """
        found = orders(self.cells, self.attacks, self.dataset, "jpeg")
        own = {a: found[a] for a in SEARCHES if a in found}
        falling = [a for a, (r, n) in own.items() if telling(r, n) and r < 0]
        rising = [a for a, (r, n) in own.items() if telling(r, n) and r > 0]
        word = "undecided" if own else "not computed"
        if own and len(falling) == len(own):
            word = "holds"
        elif rising and not falling:
            word = "contradicted"
        far = {a: v for a, v in found.items() if a.startswith("deepfool") and a not in SEARCHES}
        fall = sum(telling(r, n) and r < 0 for r, n in far.values())
        said = ", ".join(f"{attack_name(a)} {signed(r)}" for a, (r, _) in own.items())
        evidence = f"rank correlation behind JPEG 90: {said}"
        if far:
            evidence += f"; it falls in {fall} of {len(far)} other DeepFools"
        return word, evidence if own else ""

    def h3(self, claim: Claim) -> Found:
        labels = ("deepfool-fb2", "deepfool-x2", "deepfool-batch64")
        own, far = self.bits(labels[0], "jpeg90"), self.bits(labels[2], "jpeg90")
        parts = [above(claim, "", own, 0.10), at_most(claim, "", far, 0.10)]
        hit = stored(self.attacks, dataset=self.dataset, attack=labels[2])
        said = f"JPEG 90: {self.several('jpeg90', labels)}"
        if hit:
            said += f", where the median L∞ is {hit[0].values['linf']:.2g}"
        return _all(claim, parts), said + self.n()

    def h4(self, claim: Claim) -> Found:
        """At a step of 1.5, where JPEG still recovers some: within five points of no defense."""
        row = self.grid.row(self.dataset, CLEAN, "gauss")
        if row is None:
            return "not computed", ""
        past = "deepfool-x1.5"
        moved = row.values["moved"]
        tiny = Judgment("holds" if moved < TINY else "contradicted", claim)
        parts = [tiny, level(claim, "", self.bits(past, "gauss"), self.bits(past, "none"))]
        searches = ("pgd-min-eps", "cw-fb2")
        said = (
            f"moves clean images by {moved:.3f} of their L2; recovers "
            f"{self.several('gauss', searches)} (noise of that size "
            f"{self.several('noise:gauss', searches) or 'not computed'}); {attack_name(past)} "
            f"{self.share(past, 'gauss')}, JPEG {self.share(past, 'jpeg90')} there"
        )
        return _all(claim, parts), said + self.n()

    def h5(self, claim: Claim) -> Found:
        parts = [
            level(claim, "", self.bits(a, "jpeg25"), self.bits(a, "jpeg90"))
            for a in ("fgsm-min", "pgd-min")
        ]
        spent = [self.bits(self.budget, f"jpeg{quality}") for quality in (25, 90)]
        parts.append(oftener(claim, "", *spent))
        labels = ("fgsm-min", "pgd-min", self.budget)
        said = [f"quality {q}: {self.several(f'jpeg{q}', labels)}" for q in (25, 90)]
        return _all(claim, parts), "; ".join(said) + self.n()

    def h6(self, claim: Claim) -> Found:
        labels = ("fgsm-min", "pgd-min", "cw-fb2")
        clean = self.grid.clean(self.dataset, "tvm")
        parts = [level(claim, "", self.bits(a, "tvm"), clean) for a in labels]
        said = (
            f"clean {self.share(CLEAN, 'tvm')}, {self.several('tvm', labels)}; with the border as "
            f"in Guo's code clean {self.share(CLEAN, 'tvm-four')}"
        )
        return _all(claim, parts), said + self.n()

    def _slip(self, claim: Claim, slip: str) -> Found:
        own = self.grid.mean(self.dataset, ATTACKS, [slip])
        others = {d: self.grid.mean(self.dataset, ATTACKS, [d]) for d in DEFENSES[:4]}
        known = {d: bits for d, bits in others.items() if bits is not None}
        clean = self.grid.clean(self.dataset, "vqvae0")
        if own is None or clean is None or len(known) < len(others):
            return "not computed", ""
        worst = min(known, key=lambda d: known[d].mean())
        word = oftener(claim, "", known[worst], own).word
        full = dict(zip(DEFENSES, columns(self.dataset)[1:], strict=True))
        said = (
            f"clean {self.share(CLEAN, slip)}, without the slip {self.share(CLEAN, 'vqvae0')}; "
            f"mean of the four attacks {100 * own.mean():.0f} %, of the worst other defense "
            f"({name(full[worst])}) {100 * known[worst].mean():.0f} % (n {len(own)})"
        )
        if clean.mean() < CHANCE + ABOVE:
            return "undecided", f"{said}: near chance without any slip"
        return word, said

    def h7a(self, claim: Claim) -> Found:
        return self._slip(claim, "vqvae0-range")

    def h7b(self, claim: Claim) -> Found:
        return self._slip(claim, "vqvae0-wrap")

    def h8(self, claim: Claim) -> Found:
        """The interval of what the strongest attacker leaves, behind every defense."""
        parts, said = [], []
        for defense, row in adaptive.strongest(self.knowing, self.dataset).items():
            if defense == "none":
                continue
            low, high = wilson(row.values["mean_correct"], row.values["n"])
            word = "holds" if high < NOTHING else "contradicted" if low > NOTHING else "undecided"
            parts.append(Judgment(word, claim))
            share = 100 * adaptive.left(row)
            said.append(f"{name(defense)} {share:.0f} % [{100 * low:.0f}, {100 * high:.0f}]")
            n = row.values["n"]
        if not parts:
            return "not computed", ""
        return _all(claim, parts), f"{', '.join(said)} (n {n}); bound 10 %"


def _all(claim: Claim, parts: list[Judgment]) -> str:
    return judge_all(claim, parts).word


def show(cells: Rows, attacks: Rows, knowing: Rows) -> None:
    """H1 to H8, each with a verdict and the numbers that decide."""
    lines = []
    for dataset in Grid(cells).datasets:
        judged = Judged(cells, attacks, knowing, dataset)
        for id_, text in HYPOTHESES.items():
            if id_ == "H6" and kind(dataset) == "gray":
                continue  # it is about images in color
            judge: Callable[[Claim], Found] = getattr(judged, id_.lower())
            word, said = judge(Claim(id_, "direction", text, ""))
            lines.append(
                {
                    "dataset": SETS[dataset],
                    "hypothesis": f"{id_}: {text}",
                    "verdict": word,
                    "accuracy, and what else decides": said,
                }
            )
    rows = [r for r in cells if not r.spec.get("whole")]
    present(rows, lines if stored(rows) else [], "Hypotheses and what decides.", "hypotheses")


def sentence(cells: Rows, attacks: Rows, dataset: str) -> str:
    """H2's outcome in a sentence, from the rows."""
    if not dataset:
        return ""
    judged = Judged(cells, attacks, [], dataset)
    word, said = judged.h2(Claim("H2", "direction", HYPOTHESES["H2"], ""))
    if not said:
        return ""
    labels = (*SEARCHES, judged.budget)
    near, far = restored(cells, attacks, dataset, "jpeg", labels)
    over = ""
    if near is not None and far is not None:
        over = (
            f" Over the searches and {attack_name(judged.budget)} together JPEG 90 restores "
            f"{100 * near:.0f} % of the images within {NEAR:g} logits of the boundary, and "
            f"{100 * far:.0f} % of those more than {FAR:g} past it."
        )
    return f"**{SETS[dataset]}, H2: {word}** ({said}).{over}"
