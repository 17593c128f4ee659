"""Which rows the chapter needs: Tables 3 to 5, and what goes beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from washout.chapters.chapter4.adaptive import KNOWING
from washout.chapters.chapter4.beyond import DISTANCE, EXAMPLES, SECOND, TWO_SAMPLE
from washout.chapters.chapter4.detecting import DETECTION
from washout.chapters.chapter4.measure import ATTACK, BASELINE, FLOW
from washout.chapters.chapter4.repainting import CLEANED, WIDTH
from washout.chapters.chapter4.settings import (
    AE,
    CLEAN,
    DECAY,
    DEQUANTIZED,
    DETECTORS_OF_ALL,
    EPS,
    FEATURES,
    GUARDS,
    KNOWING_EPS,
    LARGEST,
    MAIN,
    NOISE,
    PCA,
    PROFILES,
    ROUNDABLE,
    ROUNDED,
    SEPARATE,
    SPACES,
    SWEPT,
    TESTS,
    UNSATURATED,
    UNSATURATED_EPS,
    UNSEEN,
    WIDTHS,
)
from washout.chapters.plans import Entries
from washout.store import Spec
from washout.study import Study

SHOWN = 1  # images of Figure 1
HARDEST = "deepfool"
CHECKED = ("ae4",)  # the autoencoder whose attacker is checked


def about(dataset: str, seed: int, study: Study, **more: Any) -> Spec:
    """A row's specification, of the paper's network."""
    return {"dataset": dataset, "net": PROFILES[study.profile].nets[0], "seed": seed, **more}


def _flow(base: Spec, kind: str) -> Spec:
    return {"dataset": base["dataset"], "seed": base["seed"], "flow": kind}


def _detections(base: Spec, features: str, trained: str, attacks: Sequence[str]) -> list[Spec]:
    row = {**base, "features": features, "trained": trained}
    return [{**row, "attack": label} for label in attacks]


def _by_training(base: Spec, label: str) -> list[Spec]:
    """The flow's detector that knows an attack alone, and the one that knows all others."""
    ways = (label, f"without-{label}")
    return [spec for way in ways for spec in _detections(base, "latents", way, [label])]


def one_attack(base: Spec, label: str) -> Entries:
    """Everything about one attack: it meets the defenses, and detectors that may not know it."""
    detections = [
        spec
        for kind in (*FEATURES, SEPARATE, PCA)
        for spec in _detections(base, kind, "mixture", [label])
    ]
    if label in MAIN:
        detections += _by_training(base, label)
    return [
        (BASELINE, [base]),
        (ATTACK, [{**base, "attack": label}]),
        (WIDTH, [{**base, "width": width} for width in WIDTHS]),
        (CLEANED, [{**base, "attack": a, "defense": d} for a in (CLEAN, label) for d in AE]),
        (FLOW, [_flow(base, "trained")]),
        (DETECTION, detections),
    ]


def tables(base: Spec) -> Entries:
    """Tables 3 to 5, with the controls that they need."""
    noises, rounded = [f"noise:{name}" for name in AE], [f"8bit+{name}" for name in AE]
    cleaned = [{**base, "attack": CLEAN, "defense": defense} for defense in ("none", *AE)]
    cleaned += [{**base, "attack": NOISE, "defense": defense} for defense in AE]
    cleaned += [
        {**base, "attack": label, "defense": defense}
        for label in MAIN
        for defense in ("none", *AE, *noises, *rounded)
    ]
    detections = [
        spec
        for kind in (*FEATURES, SEPARATE, PCA)
        for spec in _detections(base, kind, "mixture", (*MAIN, NOISE))
    ]
    detections += [spec for label in MAIN for spec in _by_training(base, label)]
    # A network for each attack, as its authors have it; FGSM and PGD it finds in any mixture.
    detections += _detections(base, SEPARATE, HARDEST, [HARDEST])
    return [
        (BASELINE, [base]),
        (FLOW, [_flow(base, "trained")]),
        (ATTACK, [{**base, "attack": label} for label in (*MAIN, NOISE)]),
        (WIDTH, [{**base, "width": width} for width in WIDTHS]),
        (CLEANED, cleaned),
        (DETECTION, detections),
    ]


def beyond(base: Spec, study: Study) -> Entries:
    """Controls, sweeps, sets, distances and the attacker who knows."""
    profile = PROFILES[study.profile]
    swept = [label for labels in SWEPT.values() for label in labels if label not in MAIN]
    others = (*swept, *UNSEEN)
    detections = [
        spec for kind in DETECTORS_OF_ALL for spec in _detections(base, kind, "mixture", others)
    ]
    for kind in ROUNDABLE:
        rounded = _detections(base, kind, "mixture", MAIN)
        detections += [{**spec, "rounded": True} for spec in rounded]
    for kind in ROUNDABLE[:3]:
        rounded = _detections(base, kind, f"mixture{ROUNDED}", MAIN)
        detections += [{**spec, "rounded": True} for spec in rounded]
    sets = [
        {**base, "attack": label, "test": test, "space": space, "size": size}
        for label in (CLEAN, *MAIN)
        for test in TESTS
        for space in SPACES
        for size in profile.sizes
    ]
    entries: Entries = [
        (FLOW, [_flow(base, "random")]),
        (ATTACK, [{**base, "attack": label} for label in others]),
        (CLEANED, [{**base, "attack": a, "defense": "8bit"} for a in MAIN]),
        (DETECTION, detections),
        (DISTANCE, [{**base, "change": change} for change in (*MAIN, NOISE, DEQUANTIZED)]),
        (EXAMPLES, [{**base, "count": SHOWN}]),
        (TWO_SAMPLE, sets),
        (KNOWING, knowing(base)),
    ]
    if find_spec("foolbox"):  # a machine without it computes all the rest
        entries.append((SECOND, [{**base, "attack": label} for label in (*MAIN, UNSATURATED)]))
    for net in (DECAY, *profile.nets[1:]):  # trained otherwise, and better ones
        other = {**base, "net": net}
        entries += [(BASELINE, [other]), (ATTACK, [{**other, "attack": a} for a in MAIN])]
    for net in profile.nets[1:]:
        other = {**base, "net": net}
        repainted = [{**other, "attack": a, "defense": d} for a in (CLEAN, *MAIN) for d in AE]
        entries.append((CLEANED, repainted))
    return entries


def knowing(base: Spec) -> list[Spec]:
    """The rows of the attacker who knows, and those that check that attack.

    It is checked at the smallest sizes: at the paper's there is nothing left to win.
    """
    rows = [
        {**base, "guard": guard, "knows": knows, "eps": eps}
        for eps in KNOWING_EPS
        for guard in (*AE, *GUARDS)
        for knows in (False, True)
        if knows or eps == EPS or guard in GUARDS
    ]
    best = [row for row in rows if row["knows"] and row["eps"] == UNSATURATED_EPS]
    guards = [row for row in best if row["guard"] in GUARDS]
    checked = [row for row in best if row["guard"] in CHECKED]
    rows += [{**row, "longer": 2} for row in (*guards, *checked)]
    rows += [{**row, "longer": 4} for row in guards]
    rows += [{**row, "longer": 2, "eps": KNOWING_EPS[1]} for row in guards]
    rows += [{**row, "targets": 2, "restarts": 2} for row in guards]
    rows += [{**row, "draws": 2} for row in guards if row["guard"] == "latents"]
    return rows + [{**row, "eps": LARGEST} for row in checked]
