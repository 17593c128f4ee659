"""Whether another size of the attacks explains the paper's rates of success."""

from __future__ import annotations

import numpy as np

from washout import papers
from washout.chapters.chapter4.pools import Found, Rows
from washout.chapters.chapter4.settings import EPS, OTHER_EPS
from washout.chapters.chapter4.views import firsts

WORDS = ("fgsm", "pgd")


def swept(group: Found, attack: str) -> dict[float, float]:
    """Success along epsilon in the paper's convention: images misread when clean are counted."""
    found = {}
    for eps in sorted((EPS, *OTHER_EPS)):
        wrong = group.who(attack if eps == EPS else f"{attack}-{eps:g}", "wrong")
        if wrong is not None:
            found[eps] = float(wrong.mean())
    return found


def explained(rows: Rows) -> str:
    """At which epsilon FGSM does what it does in the paper, and what PGD does there; a sentence."""
    said = []
    printed = papers.load("xiong").numbers
    target = {word: printed[f"xiong/attack/{word}/success"].rate for word in WORDS}
    for group in firsts(rows):
        curves = {word: swept(group, word) for word in WORDS}
        if any(len(curve) < 2 for curve in curves.values()):
            continue
        logs = {word: np.log(list(curve)) for word, curve in curves.items()}
        rates = {word: np.array(list(curve.values())) for word, curve in curves.items()}
        rising = np.maximum.accumulate(rates["fgsm"])
        if not rising[0] < target["fgsm"] < rising[-1]:
            said.append(
                f"FGSM fools {100 * rising[0]:.0f} to {100 * rising[-1]:.0f} % at every ε from "
                f"{min(curves['fgsm']):g} to {max(curves['fgsm']):g}, the paper's "
                f"{100 * target['fgsm']:.1f} % at none of them."
            )
            continue
        eps = float(np.exp(np.interp(target["fgsm"], rising, logs["fgsm"])))
        other = float(np.interp(np.log(eps), logs["pgd"], rates["pgd"]))
        said.append(
            f"FGSM fools the paper's {100 * target['fgsm']:.1f} % of images at ε {eps:.3f}, read "
            f"off our sweep; there PGD fools {100 * other:.0f} %, not the paper's "
            f"{100 * target['pgd']:.2f} %. So another unit of ε (images scaled to [−1, 1], say) "
            "does not explain both. What does is a classifier along whose gradient a single long "
            "step is worth less; that depends on its training, of which the paper tells little."
        )
    return " ".join(said)
