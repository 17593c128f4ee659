"""Chapter 4, Xiong: a convolutional autoencoder, and a detector on a flow's latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from washout.chapters.chapter4 import planning
from washout.chapters.chapter4.adaptive import KNOWING
from washout.chapters.chapter4.beyond import DISTANCE, EXAMPLES, SECOND, TWO_SAMPLE
from washout.chapters.chapter4.detecting import DETECTION
from washout.chapters.chapter4.measure import ATTACK, BASELINE, FLOW
from washout.chapters.chapter4.planning import about
from washout.chapters.chapter4.repainting import CLEANED, WIDTH
from washout.chapters.chapter4.settings import (
    AE,
    AUTO,
    BUNDLED,
    CLEAN,
    DATASETS,
    MAIN,
    PROFILES,
    VARIANTS,
)
from washout.chapters.parameters import Parameters, check_parameters
from washout.chapters.plans import Entries, merged
from washout.store import Row, Spec
from washout.study import Missing, Study, Table

PAPER = "xiong"


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
                entries += planning.one_attack(base, found.attacks[0])
                continue
            entries += planning.tables(base)
            if index == 0 and seed not in profile.seeds[1:]:
                entries += planning.beyond(base, study)
    return merged(entries, last=[TWO_SAMPLE, KNOWING])


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
        own = _of_paper(study)
        others = _specs(own, table, parameters.datasets, "all", seeds)
        others = [s for s in others if s.get("net", nets()[0]) != nets()[0] and s not in specs]
        found += [row for row in own.table(table, others) if isinstance(row, Row)]
    return found


def nets() -> tuple[str, ...]:
    """The classifiers of profile ``paper``, the paper's own first."""
    return PROFILES["paper"].nets


def spread(parameters: Parameters, table: Table) -> list[Row | Missing]:
    """What is stored of a table for all seeds, at profile ``paper`` or, of bundled data, ``smoke``.

    Nothing is computed.
    """
    profile = "smoke" if set(parameters.datasets) <= set(BUNDLED) else "paper"
    study = replace(parameters.study, profile=profile, compute=False, rows_since=0.0)
    specs = _specs(study, table, parameters.datasets, "all", PROFILES[profile].seeds)
    found = study.table(table, [spec for spec in specs if spec["net"] == nets()[0]])
    return [row for row in found if not isinstance(row, Row) or row.profile == profile]


def waiting(parameters: Parameters) -> dict[str, list[Row | Missing]]:
    """The rows of profile ``paper`` by table, stored or missing; nothing is computed."""
    own = replace(_of_paper(parameters.study), exact=True)
    return {table.name: own.table(table, specs) for table, specs in plan(own)}


def _of_paper(study: Study) -> Study:
    return replace(study, profile="paper", compute=False, rows_since=0.0)


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
    "nets",
    "plan",
    "rows",
    "spread",
    "waiting",
]
