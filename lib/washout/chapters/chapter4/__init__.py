"""Chapter 4, Xiong: a convolutional autoencoder, and a detector on a flow's latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from washout.chapters.chapter4.beyond import DISTANCE, EXAMPLES, KNOWING, SECOND, TWO_SAMPLE
from washout.chapters.chapter4.detecting import DETECTION
from washout.chapters.chapter4.measure import ATTACK, BASELINE, CLEANED, FLOW, WIDTH
from washout.chapters.chapter4.settings import (
    AE,
    AUTO,
    BUNDLED,
    CLEAN,
    DATASETS,
    DEQUANTIZED,
    EPS,
    FEATURES,
    GUARDS,
    LARGEST,
    MAIN,
    NOISE,
    PCA,
    PROFILES,
    ROUNDED,
    SEPARATE,
    SPACES,
    SWEPT,
    TESTS,
    UNSATURATED,
    UNSEEN,
    VARIANTS,
    WIDTHS,
)
from washout.chapters.parameters import Parameters, check_parameters
from washout.chapters.plans import merged
from washout.store import Row, Spec
from washout.study import Missing, Study, Table

PAPER = "xiong"
ROUNDABLE = ("latents", "residuals", "grid", "whitened", SEPARATE, PCA)
SHOWN = 3  # images of Figure 1
HARDEST = "deepfool"
CHECKED = ("ae12",)  # the autoencoder whose attacker is checked
Entries = list[tuple[Table, list[Spec]]]


def about(dataset: str, seed: int, study: Study, **more: Any) -> Spec:
    """A row's specification, of the paper's network."""
    return {"dataset": dataset, "net": PROFILES[study.profile].nets[0], "seed": seed, **more}


def plan(
    study: Study,
    dataset: str = "auto",
    attack: str = "all",
    seeds: Sequence[int] | None = None,
) -> Entries:
    """Every row of the chapter at the study's profile, in the order in which to compute them.

    Args:
        attack: ``all``, or one label or registered name: the rows for it alone.
        seeds: of networks and draws; by default the profile's. All but the first do Tables 3 to 5
            only, without the sweeps and the attacker who knows.
    """
    from washout.chapters import chapter4

    found = check_parameters(chapter4, attack=attack, dataset=dataset, profile=study.profile)
    profile = PROFILES[study.profile]
    entries: Entries = []
    for name in found.datasets:
        for index, seed in enumerate(profile.seeds if seeds is None else seeds):
            base = about(name, seed, study)
            if attack != "all":
                entries += _one_attack(base, found.attacks[0])
                continue
            entries += _tables(base)
            if index == 0 and seed not in profile.seeds[1:]:
                entries += _beyond(base, study)
    return merged(entries, last=[TWO_SAMPLE, KNOWING])


def _flow(base: Spec, kind: str) -> Spec:
    return {"dataset": base["dataset"], "seed": base["seed"], "flow": kind}


def _detections(base: Spec, features: str, trained: str, attacks: Sequence[str]) -> list[Spec]:
    rows = [{**base, "features": features, "trained": trained} for _ in attacks]
    return [{**row, "attack": label} for row, label in zip(rows, attacks, strict=True)]


def _one_attack(base: Spec, label: str) -> Entries:
    """Everything about one attack: it meets the defenses, and detectors that may not know it."""
    detections = [
        spec
        for kind in (*FEATURES, SEPARATE, PCA)
        for spec in _detections(base, kind, "mixture", [label])
    ]
    if label in MAIN:
        detections += _detections(base, "latents", label, [label])
        detections += _detections(base, "latents", f"without-{label}", [label])
    return [
        (BASELINE, [base]),
        (ATTACK, [{**base, "attack": label}]),
        (WIDTH, [{**base, "width": width} for width in WIDTHS]),
        (CLEANED, [{**base, "attack": a, "defense": d} for a in (CLEAN, label) for d in AE]),
        (FLOW, [_flow(base, "trained")]),
        (DETECTION, detections),
    ]


def _tables(base: Spec) -> Entries:
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
    for label in MAIN:
        detections += _detections(base, "latents", label, [label])
        detections += _detections(base, "latents", f"without-{label}", [label])
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


def _beyond(base: Spec, study: Study) -> Entries:
    """Controls, sweeps, sets, distances and the attacker who knows."""
    profile, smoke = PROFILES[study.profile], study.profile == "smoke"
    others = (SWEPT[0], UNSEEN[0]) if smoke else (*SWEPT, *UNSEEN)
    detections = [
        *_detections(base, "latents", "mixture", others),
        *_detections(base, "residuals", "mixture", others),
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
        same = MAIN if smoke else (*MAIN, UNSATURATED)
        entries.append((SECOND, [{**base, "attack": label} for label in same]))
    nets = profile.nets[1:]
    for net in nets:  # a better classifier, attacked and repainted
        other = {**base, "net": net}
        entries += [
            (BASELINE, [other]),
            (ATTACK, [{**other, "attack": label} for label in MAIN]),
            (
                CLEANED,
                [{**other, "attack": a, "defense": d} for a in (CLEAN, *MAIN) for d in AE],
            ),
        ]
    return entries


def knowing(base: Spec) -> list[Spec]:
    """The rows of the attacker who knows, and those that check that attack."""
    rows = [
        {**base, "guard": guard, "knows": knows, "eps": EPS}
        for guard in (*AE, *GUARDS)
        for knows in (False, True)
    ]
    best = [row for row in rows if row["knows"]]
    checked = [row for row in best if row["guard"] in (*GUARDS, *CHECKED)]
    rows += [{**row, "longer": 2} for row in checked]
    rows += [{**row, "eps": LARGEST} for row in checked if row["guard"] in CHECKED]
    rows += [{**row, "targets": 3, "restarts": 2} for row in best if row["guard"] in GUARDS]
    return rows + [{**row, "draws": 4} for row in best if row["guard"] == "latents"]


def rows(parameters: Parameters, table: Table) -> list[Row | Missing]:
    """A table's rows for a notebook's parameters: stored ones, and missing ones computed.

    A run for one attack shows what is stored of the tables that are about all of them, and
    computes none of those. The other classifier, which profile ``paper`` alone has, is shown as
    far as it is stored.
    """
    study, seeds = parameters.study, (parameters.seed,)
    attack = "all" if parameters.attacks == MAIN else parameters.attacks[0]
    specs = _specs(study, table, parameters.datasets, attack, seeds)
    if not specs:
        study = replace(study, compute=False, rows_since=0.0)
        specs = _specs(study, table, parameters.datasets, "all", seeds)
    found = study.table(table, specs)
    if attack == "all" and study.profile == "laptop":
        own = replace(study, profile="paper", compute=False, rows_since=0.0)
        others = _specs(own, table, parameters.datasets, "all", seeds)
        others = [s for s in others if s.get("net", nets()[0]) != nets()[0]]
        found += [row for row in own.table(table, others) if isinstance(row, Row)]
    return found


def nets() -> tuple[str, ...]:
    """The classifiers of profile ``paper``, the paper's own first."""
    return PROFILES["paper"].nets


def spread(parameters: Parameters, table: Table) -> list[Row | Missing]:
    """What is stored of a table at profile ``paper``, for all its seeds; nothing is computed."""
    if set(parameters.datasets) & set(BUNDLED):
        return []
    study = replace(parameters.study, profile="paper", compute=False, rows_since=0.0)
    specs = _specs(study, table, parameters.datasets, "all", PROFILES["paper"].seeds)
    found = study.table(table, [spec for spec in specs if spec["net"] == nets()[0]])
    return [row for row in found if not isinstance(row, Row) or row.profile == "paper"]


def _specs(
    study: Study, table: Table, datasets: Sequence[str], attack: str, seeds: Sequence[int]
) -> list[Spec]:
    return [
        spec
        for name in datasets
        for found, some in plan(study, name, attack, seeds)
        if found == table
        for spec in some
    ]


__all__ = [
    "AE",
    "ATTACK",
    "AUTO",
    "BASELINE",
    "BUNDLED",
    "CLEAN",
    "CLEANED",
    "DATASETS",
    "DETECTION",
    "DISTANCE",
    "EXAMPLES",
    "FLOW",
    "KNOWING",
    "MAIN",
    "PAPER",
    "PROFILES",
    "SECOND",
    "TWO_SAMPLE",
    "VARIANTS",
    "WIDTH",
    "about",
    "check_parameters",
    "knowing",
    "plan",
    "rows",
    "spread",
]
