"""Chapter 1, Luo & Pfister: reconstruct the image with a variational auto-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from washout.chapters.chapter1.attacking import STRENGTH, has_epsilon, strength_spec
from washout.chapters.chapter1.betas import BETA, beta_specs, chosen_beta
from washout.chapters.chapter1.beyond import EXAMPLES, KNOWING, KNOWS
from washout.chapters.chapter1.measure import BASELINE, CONTROL, CURVE, FURTHER
from washout.chapters.chapter1.networks import PUBLISHED, bundled_vae
from washout.chapters.chapter1.settings import (
    AUTO,
    BUNDLED,
    DATASETS,
    EPS,
    FRAGILE,
    GRIDS,
    KNOWING_EPS,
    L2,
    LARGEST,
    MAIN,
    PATCHWISE,
    PROFILES,
    SHAPES,
    TOLD,
    TRIES,
    VARIANTS,
)
from washout.chapters.parameters import Parameters, check_parameters
from washout.chapters.plans import merged
from washout.models import imagenet
from washout.store import Row, Spec
from washout.study import Missing, Study, Table

PAPER = "luo2018"


def net(dataset: str, study: Study) -> str:
    """The dataset's classifier: for NIPS 2017 the best that there are weights or rows of."""
    if dataset != "nips2017":
        return "cnn"
    for name in PUBLISHED:
        stored = any(
            row.spec["net"] == name and row.spec["dataset"] == dataset
            for store in study.stores
            for row in store.rows(BASELINE.name).values()
        )
        if stored or (study.compute and imagenet.available(name, study.data)):
            return name
    return PUBLISHED[-1]


def about(dataset: str, seed: int, study: Study, **more: Any) -> Spec:
    """A row's specification."""
    return {"dataset": dataset, "net": net(dataset, study), "seed": seed, **more}


def sizes(dataset: str, attack: str, rows: int) -> list[Spec]:
    """How large an attack is tried: by epsilon, by relative L2, or as it comes; smallest first.

    Args:
        rows: how many of the sizes on large images, where each costs minutes.
    """
    if attack == "ifgsm" and dataset in L2:
        chosen = some([{"l2": size} for size in L2[dataset]], rows)
        told = TOLD.get(dataset)
        if told and len(chosen) > 2 and {"l2": told} not in chosen:
            nearest = min(chosen[1:-1], key=lambda spec: abs(spec["l2"] - told))
            chosen[chosen.index(nearest)] = {"l2": told}
        return sorted(chosen, key=lambda spec: spec["l2"])
    if has_epsilon(attack):
        every = [{"eps": eps} for eps in EPS[dataset]]
        return some(every, rows) if dataset in PATCHWISE else every
    return [{}]


def some(rows: Sequence[Spec], count: int) -> list[Spec]:
    """The first, the last and what lies evenly between them, ``count`` in all."""
    count = min(count, len(rows))
    if count == 1:
        return [rows[0]]
    return [rows[round(i * (len(rows) - 1) / (count - 1))] for i in range(count)]


def plan(
    study: Study, dataset: str = "auto", attack: str = "all", seeds: Sequence[int] | None = None
) -> list[tuple[Table, list[Spec]]]:
    """Every row of the chapter at the study's profile, in the order in which to compute them.

    Args:
        attack: ``all``, or one label or registered name: the rows for it alone.
        seeds: the profile's by default.
    """
    from washout.chapters import chapter1

    found = check_parameters(chapter1, attack=attack, dataset=dataset, profile=study.profile)
    profile = PROFILES[study.profile]
    seeds = tuple(seeds or profile.seeds)
    first = seeds[0]
    entries: list[tuple[Table, list[Spec]]] = []
    # CIFAR-10's classifier trains longest: another process can do all the rest meanwhile.
    for name in sorted(found.datasets, key=lambda name: name == "cifar10"):
        base = about(name, first, study)
        clean = {**base, "attack": "none"}
        by_attack = [
            [{**base, "attack": label, **size} for size in sizes(name, label, profile.rows)]
            for label in found.attacks
        ]
        hit = [spec for rows in by_attack for spec in rows]
        entries += [
            (BASELINE, [{**base, "seed": seed} for seed in _seeds(name, seeds)]),
            (BETA, [s for size in SHAPES[name] for s in beta_specs(base, study, size)]),
            (STRENGTH, [strength_spec(s) for s in hit[-1:] if "l2" in s]),
            (CURVE, [{**spec, "seed": seed} for seed in seeds for spec in (clean, *hit)]),
            (EXAMPLES, [{**base, "attack": label, "which": "first"} for label in found.attacks]),
        ]
        if "fgsm" in found.attacks and name in FRAGILE:
            further = [{**base, "attack": "fgsm", "eps": eps} for eps in FRAGILE[name]]
            entries.append((FURTHER, further))
        if name in PATCHWISE:
            entries.append((CONTROL, [clean, *some(by_attack[0], profile.wide)]))
        if name == "nips2017":
            entries.append((EXAMPLES, [{**base, "attack": found.attacks[0], "which": "panda"}]))
        if attack == "all":
            entries.append((KNOWING, knowing(base)))
        if attack == "all" and name == "cifar10" and study.profile == "paper":
            entries += longer(study, first)
    return merged(entries, last=[KNOWING])


def _seeds(name: str, seeds: Sequence[int]) -> Sequence[int]:
    """A published classifier has no seed of ours."""
    return seeds[:1] if name == "nips2017" else seeds


def knowing(base: Spec) -> list[Spec]:
    """The rows of the attacker who knows, and those that check that attack."""
    every = KNOWING_EPS[base["dataset"]]
    pairs = [(defense, knows) for defense, ways in KNOWS.items() for knows in ways]
    rows = [
        {**base, "defense": defense, "knows": knows, "eps": eps}
        for eps in every
        for defense, knows in pairs
    ]
    checked = [("jpeg23", "identity"), ("vae", "defense")]
    rows += [
        {**base, "defense": d, "knows": k, "eps": LARGEST}
        for d, k in [("nodef", "classifier"), *checked]
    ]
    rows += [{**base, "defense": d, "knows": k, "eps": every[0], "longer": 2} for d, k in checked]
    codec = [("identity", eps) for eps in every[1:]] + [("soft codec", eps) for eps in every]
    if base["dataset"] in PATCHWISE:  # where each costs more
        codec = [pair for pair in codec if pair[1] == every[0]]
    rows += [{**base, "defense": "jpeg23", "knows": k, "eps": eps, "longer": 2} for k, eps in codec]
    # More draws of the noise in each step: does the accuracy still fall?
    rows.append({**base, "defense": "vae", "knows": "defense", "eps": every[0], "draws": 4})
    if base["dataset"] not in PATCHWISE:
        for eps in every:
            own = {**base, "eps": eps}
            # For the codec, whose gradient has to be made up.
            rows.append({**own, "defense": "jpeg23", "knows": "identity", "restarts": 5})
            rows.append({**own, "defense": "jpeg23", "knows": "nothing", "tries": TRIES})
    return rows


def longer(study: Study, seed: int, name: str = "cifar10") -> list[tuple[Table, list[Spec]]]:
    """CIFAR-10's network trained to the end, against FGSM."""
    base = {**about(name, seed, study), "net": "cnn-long"}
    hit = [{**base, "attack": "fgsm", **size} for size in sizes(name, "fgsm", 1)]
    return [
        (BASELINE, [base]),
        (BETA, [s for size in SHAPES[name] for s in beta_specs(base, study, size)]),
        (CURVE, [{**base, "attack": "none"}, *hit]),
    ]


def rows(parameters: Parameters, table: Table) -> list[Row | Missing]:
    """A table's rows for a notebook's parameters: stored ones, and missing ones computed.

    A run for one attack shows what is stored of the tables that are about all of them, and
    computes none of those.
    """
    study, one = parameters.study, parameters.attacks != MAIN
    attack = parameters.attacks[0] if one else "all"
    specs = _specs(parameters, table, attack, study)
    if not specs:
        study = replace(study, compute=False, rows_since=0.0)
        specs = _specs(parameters, table, "all", study)
    return study.table(table, specs)


def _specs(parameters: Parameters, table: Table, attack: str, study: Study) -> list[Spec]:
    return [
        spec
        for name in parameters.datasets
        for found, some_ in plan(study, name, attack, (parameters.seed,))
        if found == table
        for spec in some_
        if spec["net"] != "cnn-long"
    ]


def waiting(parameters: Parameters, table: Table, rest: str) -> list[Row | Missing]:
    """What profile ``paper`` alone computes: other ``seeds``, or the ``longer`` training."""
    study = replace(parameters.study, compute=False, rows_since=0.0, profile="paper")
    specs: list[Spec] = []
    if rest == "longer" and "cifar10" in parameters.datasets:
        seed = PROFILES["paper"].seeds[0]
        specs = [s for found, own in longer(study, seed) if found == table for s in own]
    if rest == "seeds":
        for name in parameters.datasets:
            if name in AUTO:
                for found, own in plan(study, name, "all"):
                    if found == table:
                        specs += [s for s in own if s["net"] != "cnn-long"]
    return study.table(table, specs)


__all__ = [
    "AUTO",
    "BASELINE",
    "BETA",
    "BUNDLED",
    "CONTROL",
    "CURVE",
    "DATASETS",
    "EXAMPLES",
    "FURTHER",
    "GRIDS",
    "KNOWING",
    "MAIN",
    "PAPER",
    "PATCHWISE",
    "PROFILES",
    "STRENGTH",
    "VARIANTS",
    "about",
    "beta_specs",
    "bundled_vae",
    "check_parameters",
    "chosen_beta",
    "net",
    "plan",
    "rows",
    "sizes",
    "waiting",
]
