"""Chapter 2, Tan, Te & Lai: five transformations against four attacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from washout.chapters.chapter2.beyond import AGREEMENT, EXAMPLES, KNOWING, SECOND
from washout.chapters.chapter2.defending import full_name
from washout.chapters.chapter2.measure import ATTACK, BASELINE, CELL, CLEAN, VQ
from washout.chapters.chapter2.networks import RETRAINED
from washout.chapters.chapter2.settings import (
    ABLATION,
    AUTO,
    BUNDLED,
    CAPPED,
    CONTROLS,
    DATASETS,
    EPS,
    FIXED,
    KNOWING_EPS,
    KNOWS,
    LARGEST,
    MAIN,
    NOISES,
    OTHER_VQ,
    PROFILES,
    QUALITIES,
    SEARCHES,
    SHORT,
    SWEEP,
    VARIANTS,
    columns,
    kind,
)
from washout.chapters.chapter2.settings import VQ as VQ_NAMES
from washout.chapters.parameters import Parameters, check_parameters
from washout.chapters.plans import merged
from washout.store import Row, Spec
from washout.study import Missing, Study, Table

PAPER = "tan2019"


def about(dataset: str, seed: int, study: Study, **more: Any) -> Spec:
    """A row's specification."""
    return {"dataset": dataset, "net": PROFILES[study.profile].net[dataset], "seed": seed, **more}


def plan(
    study: Study,
    dataset: str = "auto",
    attack: str = "all",
    seeds: Sequence[int] | None = None,
    defense: str = "all",
) -> list[tuple[Table, list[Spec]]]:
    """Every row of the chapter at the study's profile, in the order in which to compute them.

    Args:
        attack: ``all``, or one label or registered name: the rows for it alone.
        seeds: of network and draw; the first counts.
        defense: ``all``, or one by name, alone or composed: the cells with it alone.
    """
    from washout.chapters import chapter2

    found = check_parameters(chapter2, attack=attack, dataset=dataset, profile=study.profile)
    seed = next(iter(seeds or (0,)))
    entries: list[tuple[Table, list[Spec]]] = []
    for name in found.datasets:
        base = about(name, seed, study)
        if defense != "all":
            cells = [
                {**base, "attack": label, "defense": column}
                for label in (CLEAN, *found.attacks)
                for column in dict.fromkeys(("none", full_name(defense, name)))
            ]
            attacked = [{**base, "attack": label} for label in found.attacks]
            entries += [(BASELINE, [base]), (ATTACK, attacked), (CELL, cells)]
            continue
        if attack != "all":
            entries += _one_attack(base, found.attacks)
            continue
        entries += _whole(base, study)
    return merged(entries, last=[KNOWING])


def _one_attack(base: Spec, labels: Sequence[str]) -> list[tuple[Table, list[Spec]]]:
    attacked = [{**base, "attack": label} for label in labels]
    return [
        (BASELINE, [base]),
        (ATTACK, attacked),
        (CELL, cells(base, (CLEAN, *labels), columns(base["dataset"]))),
        (EXAMPLES, attacked),
    ]


def fixed(dataset: str) -> tuple[str, ...]:
    """The attacks that spend a fixed budget."""
    return tuple(label for label in FIXED.get(kind(dataset), ()) if label not in CAPPED)


def capped(dataset: str) -> tuple[str, ...]:
    """Searches for the smallest change, cut to the budget."""
    return tuple(label for label in FIXED.get(kind(dataset), ()) if label in CAPPED)


def controls(dataset: str) -> tuple[str, ...]:
    """Other readings of the printed settings, and what a defense has to beat."""
    return CONTROLS[kind(dataset)]


def vq_columns(dataset: str, rows: Iterable[Row | Missing]) -> tuple[str, ...]:
    """The VQ-VAEs that the rows are about, by the noise of their training."""
    planned = {row.spec["defense"] for row in rows if row.spec["dataset"] == dataset}
    return tuple(name for name in (*VQ_NAMES, *OTHER_VQ) if name in planned)


def cells(base: Spec, labels: Iterable[str], defenses: Iterable[str]) -> list[Spec]:
    """Every attack with every defense."""
    defenses = list(defenses)
    return [{**base, "attack": a, "defense": d} for a in labels for d in defenses]


def _whole(base: Spec, study: Study) -> list[tuple[Table, list[Spec]]]:
    """All rows of one dataset."""
    name, profile = base["dataset"], PROFILES[study.profile]
    sort = kind(name)
    smoke = study.profile == "smoke"
    sweep = SWEEP[-3:-1] if smoke else SWEEP
    attacked = (*MAIN, *FIXED[sort], *sweep)
    if sort == "gray" or not smoke:  # it takes minutes in color
        attacked = (*attacked, EPS)
    if not smoke:
        attacked = (*attacked, SHORT[sort])
    own = columns(name)
    more = [
        *cells(
            base, (CLEAN, *(a for a in attacked if a not in SHORT.values() or profile.whole)), own
        ),
        *cells(base, (CLEAN, *(a for a in attacked if a in SEARCHES)), CONTROLS[sort]),
    ]
    swept = (*QUALITIES, *ABLATION[sort])
    few = (MAIN[0], MAIN[1], "pgd-0.3" if sort == "gray" else "pgd-8/255")
    more += cells(base, (CLEAN, *few), swept[::4] if smoke else swept)
    noises = [f"{noise:g}" for noise in NOISES]
    if not smoke:
        extra = OTHER_VQ if profile.whole or sort == "gray" else OTHER_VQ[:1]
        more += cells(base, (CLEAN, *MAIN), extra)
        noises += [word.removeprefix("vqvae") for word in extra]
    vqs = [{**base, "noise": noise} for noise in noises]
    entries: list[tuple[Table, list[Spec]]] = [
        (BASELINE, [base]),
        (VQ, vqs),
        (ATTACK, [{**base, "attack": label} for label in attacked]),
        (CELL, list({str(spec): spec for spec in more}.values())),
        (EXAMPLES, [{**base, "attack": label} for label in (CLEAN, *MAIN)]),
        (KNOWING, knowing(base)),
    ]
    if find_spec("foolbox"):  # a machine without it computes all the rest
        entries.append((SECOND, [{**base, "attack": label} for label in AGREEMENT]))
    return entries + _everything(base, study)


def _everything(base: Spec, study: Study) -> list[tuple[Table, list[Spec]]]:
    """What most profiles lack: a network trained anew, VQ-VAEs of other sizes, all test images.

    And in color a well-trained network. On all images Carlini and Wagner's attack is the short one.
    """
    profile, name = PROFILES[study.profile], base["dataset"]
    found: list[tuple[Table, list[Spec]]] = []
    if name in profile.retrained:
        again = {**base, "net": f"{base['net']}{RETRAINED}vqvae0"}
        found += [(BASELINE, [again]), (CELL, cells(again, (CLEAN,), ("none", "vqvae0")))]
    if profile.sizes:
        sizes = [{**base, "noise": "0", "hidden": h, "codes": k} for h, k in profile.sizes]
        found.append((VQ, sizes))
    if profile.whole:
        all_ = {**base, "whole": True}
        labels = tuple(SHORT[kind(name)] if label == "cw-fb2" else label for label in MAIN)
        found += [
            (ATTACK, [{**all_, "attack": label} for label in labels]),
            (CELL, cells(all_, (CLEAN, *labels), columns(name))),
        ]
    if profile.long and kind(name) == "color":
        long = {**base, "net": f"{base['net']}-long"}
        found += [
            (BASELINE, [long]),
            (ATTACK, [{**long, "attack": label} for label in MAIN]),
            (CELL, cells(long, (CLEAN, *MAIN), columns(name))),
        ]
    return found


def knowing(base: Spec) -> list[Spec]:
    """The rows of the attacker who knows, and those that check that attack."""
    eps = KNOWING_EPS[base["dataset"]]
    rows = [
        {**base, "defense": full_name(defense, base["dataset"]), "knows": knows, "eps": eps}
        for defense, ways in KNOWS.items()
        for knows in ways
    ]
    best = [row for row in rows if row["knows"] == "proxy"]
    rows += [{**row, "longer": 2} for row in best]
    rows += [{**row, "eps": LARGEST} for row in best]
    rows += [{**row, "draws": 4} for row in best if row["defense"] == "tvm"]
    return rows


def rows(parameters: Parameters, table: Table, defense: str = "all") -> list[Row | Missing]:
    """A table's rows for a notebook's parameters: stored ones, and missing ones computed.

    A run for one attack or defense shows what is stored of the tables that are about all of them,
    and computes none of those. Where profile ``paper`` has another network than ``laptop``, its
    rows take the place of ``laptop``'s as soon as its cells are all stored.
    """
    study = parameters.study
    attack = "all" if parameters.attacks == MAIN else parameters.attacks[0]
    found: list[Row | Missing] = []
    for name in parameters.datasets:
        specs = _specs(study, table, name, attack, (parameters.seed,), defense)
        own = study
        if not specs:
            own = replace(study, compute=False, rows_since=0.0)
            specs = _specs(study, table, name, "all", (parameters.seed,), "all")
        if attack == defense == "all" and _complete(own, name, parameters.seed):
            own = _of_paper(own)
            specs = _specs(own, table, name, "all", (parameters.seed,), "all")
        found += own.table(table, specs)
    return found


def only_paper(parameters: Parameters, table: Table) -> list[Row | Missing]:
    """A table's rows that profile ``paper`` alone has: all images, the well-trained network.

    None of them is computed, and there are none if the run is about other data or one attack.
    """
    if parameters.attacks != MAIN or parameters.study.profile != "laptop":
        return []
    study = _of_paper(parameters.study)
    specs: list[Spec] = []
    for name in parameters.datasets:
        if _complete(parameters.study, name, parameters.seed):
            continue  # they are among the rows
        shown = _specs(parameters.study, table, name, "all", (parameters.seed,), "all")
        more = _everything(about(name, parameters.seed, study), study)
        specs += [s for found, some in more if found == table for s in some if s not in shown]
    return study.table(table, specs)


def _specs(study: Study, table: Table, *words: Any) -> list[Spec]:
    return [spec for found, some in plan(study, *words) if found == table for spec in some]


def _of_paper(study: Study) -> Study:
    return replace(study, profile="paper", compute=False, rows_since=0.0)


def _complete(study: Study, name: str, seed: int) -> bool:
    """Whether every cell of a dataset is stored at profile ``paper``, which is not asked for."""
    if study.profile != "laptop" or study.rows_since or name not in AUTO:
        return False
    own = _of_paper(study)
    specs = _specs(own, CELL, name, "all", (seed,))
    if own.find(CELL, specs[0]) is None:  # as a rule; looking for all takes a while
        return False
    return all(isinstance(row, Row) for row in own.table(CELL, specs))


__all__ = [
    "ATTACK",
    "AUTO",
    "BASELINE",
    "BUNDLED",
    "CELL",
    "CLEAN",
    "DATASETS",
    "EXAMPLES",
    "KNOWING",
    "MAIN",
    "PAPER",
    "PROFILES",
    "SECOND",
    "VARIANTS",
    "VQ",
    "about",
    "capped",
    "cells",
    "check_parameters",
    "columns",
    "controls",
    "fixed",
    "full_name",
    "kind",
    "only_paper",
    "plan",
    "rows",
    "vq_columns",
]
