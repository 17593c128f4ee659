"""Chapter 3, Wang & Zhang: dropout uncertainty, then crop and resize, on MNIST."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from washout.chapters.chapter3.beyond import (
    ADAPTIVE,
    CROP_SIZE,
    CURVE,
    EPSILON,
    PASS_COUNT,
    SCORES,
    SECOND_LIBRARY,
)
from washout.chapters.chapter3.measure import CALIBRATED, bundled_model
from washout.chapters.chapter3.settings import (
    AGREEMENT,
    AUTO,
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
from washout.chapters.parameters import Parameters, check_parameters
from washout.store import Row, Spec
from washout.study import Missing, Study, Table

PAPER = "wang"
ADAPTIVE_EPS = (0.05, 0.1, 0.2, 0.3)
SWEEP_EPS = (0.05, 0.1, 0.2, 0.3, 0.4)
SWEEP = ("fgsm", "bim-b", "noise")
KNOWS = ("nothing", "dropout", "dropout and crops")


def about(dataset: str, seed: int, net: str = "lenet", **more: Any) -> Spec:
    """A row's specification."""
    return {"dataset": dataset, "net": net, "seed": seed, **more}


def plan(
    study: Study, dataset: str = "auto", attack: str = "all", seeds: Sequence[int] | None = None
) -> list[tuple[Table, list[Spec]]]:
    """Every row of the chapter at the study's profile, in the order in which to compute them.

    Args:
        attack: ``all``, or one label or registered name: the rows for it alone.
        seeds: the profile's by default.
    """
    from washout.chapters import chapter3

    found = check_parameters(chapter3, attack=attack, dataset=dataset, profile=study.profile)
    dataset, seeds = found.dataset, tuple(seeds or PROFILES[study.profile].seeds)
    more = OTHERS[:2] if study.profile == "smoke" else OTHERS  # minimal attacks take minutes
    labels = (*MAIN, *more) if attack == "all" else found.attacks
    main = [a for a in MAIN if a in labels] or list(labels)

    def rows(
        names: Iterable[str], over: Sequence[int] = seeds[:1], **lists: Iterable
    ) -> list[Spec]:
        specs = [about(dataset, seed, attack=name) for seed in over for name in names]
        for key, values in lists.items():
            specs = [{**spec, key: value} for spec in specs for value in values]
        return specs

    others = seeds[1:]  # for the spread: the paper's tables alone
    found_plan = [
        (BASELINE, [about(dataset, seed) for seed in seeds]),
        (CALIBRATED, rows([a for a in CALIBRATION if a in labels], over=seeds)),
        (UNDEFENDED, rows(labels) + rows(main, over=others)),
        (
            DETECTION,
            # Attacks that the paper does not run meet thresholds that were chosen without them.
            rows(main, rule=("hybrid", *VARIED))
            + rows(labels, rule=["shared"])
            + rows(main, over=others, rule=("hybrid", "shared")),
        ),
        (HISTOGRAM, rows([a for a in labels if a != "noise"])),
        (CURVE, rows(labels, score=SCORES)),
        (EXAMPLES, rows(labels)),
        (CROP_SIZE, rows(main, crop=CROPS)),
        (PASS_COUNT, rows(main, passes=PASSES)),
    ]
    if attack != "all":
        return found_plan
    knowing = [
        about(dataset, seeds[0], knows=knows, eps=eps) for knows in KNOWS for eps in ADAPTIVE_EPS
    ]
    found_plan += [
        (EPSILON, rows(SWEEP, eps=SWEEP_EPS)),
        (ADAPTIVE, knowing),
    ]
    if find_spec("foolbox"):  # a machine without it computes all the rest
        found_plan.append((SECOND_LIBRARY, rows(AGREEMENT)))
    if study.profile != "laptop":  # ten times as large
        found_plan += second_network(dataset, seeds[0])
    return found_plan


def second_network(dataset: str, seed: int) -> list[tuple[Table, list[Spec]]]:
    """The rows of Feinman's network."""
    attacked = [about(dataset, seed, "feinman", attack=name) for name in MAIN]
    both = [{**spec, "rule": rule} for spec in attacked for rule in ("hybrid", "shared")]
    return [
        (BASELINE, [about(dataset, seed, "feinman")]),
        (UNDEFENDED, attacked),
        (DETECTION, both),
    ]


def second(parameters: Parameters, table: Table) -> list[Row | Missing]:
    """What is stored of Feinman's network; profile ``paper`` computes it, not a notebook."""
    study = replace(parameters.study, compute=False, rows_since=0.0, profile="paper")
    asked = second_network(parameters.dataset, PROFILES["paper"].seeds[0])
    return study.table(table, [spec for found, some in asked if found == table for spec in some])


def rows(parameters: Parameters, table: Table) -> list[Row | Missing]:
    """A table's rows for a notebook's parameters: stored ones, and missing ones computed.

    A run for one attack shows what is stored of the tables that are about all of them, and
    computes none of those.
    """
    study, one = parameters.study, parameters.attacks != MAIN
    asked = plan(
        study, parameters.dataset, parameters.attacks[0] if one else "all", (parameters.seed,)
    )
    specs = [spec for found, some in asked if found == table for spec in some]
    if not specs:
        study = replace(study, compute=False, rows_since=0.0)
        whole = plan(study, parameters.dataset, "all", (parameters.seed,))
        specs = [spec for found, some in whole if found == table for spec in some]
    return study.table(table, specs)


def seeds(parameters: Parameters, table: Table, **spec: Any) -> list[Row | Missing]:
    """The rows of the best profile's seeds that are stored, for the spread between them."""
    study = replace(parameters.study, compute=False, rows_since=0.0)
    return study.table(
        table,
        [
            about(parameters.dataset, seed, attack=attack, **spec)
            for attack in parameters.attacks
            for seed in PROFILES["paper"].seeds
        ],
    )


# The variants of the rule beside the paper's and the shared thresholds.
VARIED = tuple(name for name in RULES if name not in ("hybrid", "shared"))

__all__ = [
    "ADAPTIVE",
    "AUTO",
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
    "bundled_model",
    "check_parameters",
    "plan",
    "recipe",
    "rows",
    "second",
    "seeds",
    "settings",
]
