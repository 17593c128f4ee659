"""Chapter 3, Wang & Zhang: dropout uncertainty, then crop and resize, on MNIST."""

from __future__ import annotations

from typing import Any

from washout.chapters.chapter3.beyond import (
    ADAPTIVE,
    AGREEMENT,
    CROP_SIZE,
    CURVE,
    EPSILON,
    PASS_COUNT,
    SCORES,
    SECOND_LIBRARY,
)
from washout.chapters.chapter3.measure import CALIBRATED
from washout.chapters.chapter3.settings import (
    BUNDLED,
    CALIBRATION,
    COUNT,
    CROP,
    CROPS,
    DATASETS,
    MAIN,
    OTHERS,
    PASSES,
    PROFILES,
    VARIANTS,
    recipe,
    settings,
)
from washout.chapters.chapter3.tables import (
    BASELINE,
    DETECTION,
    EXAMPLES,
    HISTOGRAM,
    RULES,
    UNDEFENDED,
)
from washout.chapters.parameters import check_parameters
from washout.store import Spec
from washout.study import Study, Table

PAPER = "wang"
ADAPTIVE_EPS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
SWEEP_EPS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
KNOWS = ("nothing", "dropout", "dropout and crops")
STEPS = 100


def about(dataset: str, seed: int, net: str = "lenet", **more: Any) -> Spec:
    """A row's specification."""
    return {"dataset": dataset, "net": net, "seed": seed, **more}


def plan(
    study: Study, dataset: str = "auto", attack: str = "all"
) -> list[tuple[Table, list[Spec]]]:
    """Every row of the chapter at the study's profile, in the order in which to compute them.

    Args:
        attack: ``all``, or one label or registered name: the rows for it alone.
    """
    from washout.chapters import chapter3

    found = check_parameters(chapter3, attack=attack, dataset=dataset, profile=study.profile)
    dataset, seeds = found.dataset, PROFILES[study.profile].seeds
    labels = (*MAIN, *OTHERS) if attack == "all" else found.attacks
    main = [a for a in MAIN if a in labels]

    def rows(names, over=seeds, **lists) -> list[Spec]:
        specs = [about(dataset, seed, attack=name) for seed in over for name in names]
        for key, values in lists.items():
            specs = [{**spec, key: value} for spec in specs for value in values]
        return specs

    first = seeds[:1]
    one = attack != "all"
    found_plan = [
        (CALIBRATED, rows(a for a in CALIBRATION if a in labels)),
        (UNDEFENDED, rows(labels)),
        (DETECTION, rows(labels, rule=("hybrid", "shared")) + rows(main, rule=rest())),
        (HISTOGRAM, rows([a for a in labels if a != "noise"])),
        (CURVE, rows(labels, over=first, score=SCORES)),
        (EXAMPLES, rows(labels, over=first)),
        (CROP_SIZE, rows(main or labels, over=first, crop=CROPS)),
        (PASS_COUNT, rows(main or labels, over=first, passes=PASSES)),
    ]
    if one:
        return found_plan
    nets = ("lenet", "feinman")
    second = [about(dataset, first[0], "feinman", attack=name) for name in MAIN]
    return [
        (
            BASELINE,
            [about(dataset, seed, "lenet") for seed in seeds] + [about(dataset, 0, nets[1])],
        ),
        *found_plan,
        (EXAMPLES, rows(["none"], over=first)),
        (UNDEFENDED, second),
        (DETECTION, [{**spec, "rule": name} for spec in second for name in ("hybrid", "shared")]),
        (EPSILON, rows(("fgsm", "bim-b", "noise"), over=first, eps=SWEEP_EPS)),
        (
            ADAPTIVE,
            [
                about(dataset, first[0], knows=knows, eps=eps, steps=STEPS)
                for knows in KNOWS
                for eps in ADAPTIVE_EPS
            ],
        ),
        (SECOND_LIBRARY, rows(AGREEMENT, over=first)),
    ]


def rest() -> list[str]:
    """The variants of the rule beside the paper's and the shared thresholds."""
    return [name for name in RULES if name not in ("hybrid", "shared")]


__all__ = [
    "ADAPTIVE",
    "BASELINE",
    "BUNDLED",
    "CALIBRATED",
    "COUNT",
    "CROP",
    "CROPS",
    "CROP_SIZE",
    "CURVE",
    "DATASETS",
    "DETECTION",
    "EPSILON",
    "EXAMPLES",
    "HISTOGRAM",
    "MAIN",
    "OTHERS",
    "PAPER",
    "PASSES",
    "PASS_COUNT",
    "PROFILES",
    "RULES",
    "SECOND_LIBRARY",
    "UNDEFENDED",
    "VARIANTS",
    "about",
    "check_parameters",
    "plan",
    "recipe",
    "settings",
]
