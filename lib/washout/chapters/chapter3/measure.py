"""From a row's specification to what its pool of images measures: the steps every table shares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from washout import attacks
from washout.chapters.chapter3.settings import (
    AGREEMENT,
    CALIBRATION,
    COUNT,
    CROP,
    CROPS,
    DATASETS,
    MAIN,
    OTHERS,
    PROFILES,
    VARIANTS,
    recipe,
    settings,
)
from washout.data import Dataset, Split, load
from washout.detectors import crop_agreement, mc_dropout
from washout.detectors.simple import background, max_softmax
from washout.inference import predict
from washout.store import Spec, fingerprint
from washout.study import Study, Table
from washout.training import Trained

# Raised when what is measured changes; every row depends on them.
VERSIONS = {"measure": 1, "uncertainty": 1, "crops": 1, "thresholds": 1}


@lru_cache(maxsize=2)
def dataset(name: str, folder: str) -> Dataset:
    return load(name, folder)


def data(spec: Spec, study: Study) -> Dataset:
    return dataset(spec["dataset"], str(study.data))


def network(spec: Spec, study: Study) -> Trained:
    """The row's network: stored weights, or trained now."""
    found = recipe(spec["net"], spec["dataset"], study.profile, spec["seed"])
    # Of the second network, which no notebook needs, the record alone ships.
    home = study.weights_write / "large" if spec["net"] != "lenet" else None
    return study.trained(found, lambda: data(spec, study), home)


def generator(spec: Spec, use: str) -> torch.Generator:
    """Randomness of one use, so that no draw depends on how many came before it."""
    uses = ("draw", "attack", "uncertainty", "noise", "adaptive")
    return torch.Generator().manual_seed(1000 * spec["seed"] + uses.index(use))


def draw(spec: Spec, study: Study, part: str) -> Split:
    """``validation``: its first images. ``test``: a seeded draw without replacement."""
    profile, found = PROFILES[study.profile], data(spec, study)
    if part == "validation":
        split, n = found.validation, profile.n_validation
        index = torch.arange(n)
    else:
        split, n = found.test, profile.n
        index = torch.randperm(len(split.labels), generator=generator(spec, "draw"))[:n]
    if n > len(split.labels):
        raise ValueError(
            f"profile {study.profile!r} draws {n} {part} images, {spec['dataset']} has "
            f"{len(split.labels)}; use profile='smoke'"
        )
    return Split(split.images[index], split.labels[index])


def strength(spec: Spec, study: Study) -> dict[str, Any]:
    """The attack's settings that differ from its defaults: fixed ones, and the calibrated one."""
    _, fixed = VARIANTS.get(spec["attack"], ("", {}))
    if "eps" in spec:  # a sweep sets its own
        return {**fixed, "eps": spec["eps"]}
    source = calibrated_as(spec["attack"])
    if source is None:
        return dict(fixed)
    row = study.row(CALIBRATED, {**calibration_spec(spec), "attack": source})
    return {**fixed, CALIBRATION[source][0]: row.values["value"]}


def calibrated_as(attack: str) -> str | None:
    """The attack whose calibrated parameter this one takes, if any."""
    name, fixed = VARIANTS.get(attack, (attack, {}))
    source = "fgsm" if name == "noise" else name
    known = source in CALIBRATION and CALIBRATION[source][0] not in fixed
    return source if known else None


def calibration_spec(spec: Spec) -> Spec:
    return {name: spec[name] for name in ("dataset", "net", "seed")}


def attacked(spec: Spec, study: Study, pool: Split, overrides: dict[str, Any]) -> Tensor:
    """The pool's images after the attack."""
    name = VARIANTS.get(spec["attack"], (spec["attack"], {}))[0]
    if name == "noise":
        signs = torch.empty_like(pool.images).bernoulli_(0.5, generator=generator(spec, "noise"))
        return (pool.images + overrides["eps"] * (2 * signs - 1)).clamp(0, 1)
    return attacks.run(
        name,
        network(spec, study).model,
        pool.images,
        pool.labels,
        dataset=spec["dataset"],
        device=study.device,
        generator=generator(spec, "attack"),
        **overrides,
    ).images


def measured(spec: Spec, study: Study, part: str, attack: str | None) -> dict[str, Tensor]:
    """All that the detectors look at, for one pool of n images, clean or attacked.

    Returns:
        ``label``, ``plain`` (the deterministic class), ``provisional`` (of the mean softmax),
        ``uncertainty``, ``agreement`` (n, crop sizes), ``background``, ``confidence``
        (1 less the largest softmax), the perturbation's norms ``l2``, ``linf``, ``l0``, and
        ``rounded`` (the deterministic class after rounding to 8 bits).
    """
    found = network(spec, study)
    spec = {**calibration_spec(spec), "attack": attack}  # without a sweep's own epsilon
    overrides = strength(spec, study) if attack else {}
    profile = PROFILES[study.profile]
    key = {
        **calibration_spec(spec),
        "part": part,
        "n": profile.n if part == "test" else profile.n_validation,
        "passes": profile.passes,
        "crops": CROPS,
        "weights": found.hash,
        "attack": attack,
        "overrides": overrides,
        "versions": {**VERSIONS, **attack_version(attack)},
    }

    def make() -> dict[str, Tensor]:
        pool = draw(spec, study, part)
        images = attacked(spec, study, pool, overrides) if attack else pool.images
        return measure(found.model, images, pool, spec, study)

    return study.artifact("measured", key, make)


def measure(
    model: torch.nn.Module, images: Tensor, pool: Split, spec: Spec, study: Study
) -> dict[str, Tensor]:
    """What ``measured`` returns, for images that came from ``pool``."""
    device = torch.device(study.device)
    dropout = mc_dropout(
        model,
        images,
        passes=PROFILES[study.profile].passes,
        generator=generator(spec, "uncertainty"),
        device=device,
    )
    provisional = dropout.provisional
    change = (images - pool.images).flatten(1)
    return {
        "label": pool.labels,
        "plain": predict(model, images, device=device),
        "rounded": predict(model, (images * 255).round() / 255, device=device),
        "provisional": provisional,
        "uncertainty": dropout.uncertainty,
        "agreement": torch.stack(
            [crop_agreement(model, images, provisional, size, device=device) for size in CROPS], 1
        ),
        "background": background(images),
        "confidence": max_softmax(model, images, device=device),
        "l2": change.norm(dim=1),
        "linf": change.abs().amax(1),
        "l0": (change.abs() > 1e-6).sum(1),
    }


def attack_version(label: str | None) -> dict[str, int]:
    """The version of the attack behind a label; nothing for no attack, and for random signs."""
    if label in (None, "none", "noise"):
        return {}
    name = VARIANTS[label][0] if label in VARIANTS else AGREEMENT.get(label, (label,))[0]
    return {f"attack {name}": attacks.get(name).version}


def depends(spec: Spec, study: Study, small: bool = False) -> dict[str, Any]:
    """What every row of the chapter depends on besides its specification."""
    own = [spec["attack"]] if "attack" in spec and spec["attack"] != "none" else []
    judged = MAIN if spec.get("rule") == "shared" or small else ()
    involved = dict.fromkeys([*own, *judged])
    sources = dict.fromkeys(filter(None, map(calibrated_as, involved)))
    found = recipe(spec["net"], spec["dataset"], study.profile, spec["seed"])
    return {
        "recipe": found.key(),
        "weights": study.stored_hash(found),
        "settings": settings(study.profile, small),
        "rule": {"crop": CROP, "crops": list(CROPS), "count": COUNT},
        "fixed": {name: VARIANTS[name][1] for name in involved if name in VARIANTS},
        "calibration": {name: fingerprint(CALIBRATION[name]) for name in sources},
        "versions": dict(VERSIONS) | {k: v for a in involved for k, v in attack_version(a).items()},
    }


def depends_on_shared(spec: Spec, study: Study) -> dict[str, Any]:
    """For small tables, and whatever the thresholds judge that all three attacks chose."""
    return depends(spec, study, small=True)


def flags(spec: Spec) -> list[str]:
    """What the command line needs besides the table, for a row that the plain plan lacks."""
    words = [] if spec["dataset"] == DATASETS[0] else ["--dataset", spec["dataset"]]
    if spec.get("attack", MAIN[0]) not in (*MAIN, *OTHERS, *AGREEMENT):
        words += ["--attack", spec["attack"]]
    return (
        words if spec["seed"] in PROFILES["paper"].seeds else [*words, "--seed", str(spec["seed"])]
    )


def calibrate(spec: Spec, study: Study) -> dict[str, Any]:
    """The parameter whose undefended accuracy on validation images is nearest to the paper's."""
    parameter, target, grid = CALIBRATION[spec["attack"]]
    _, fixed = VARIANTS.get(spec["attack"], ("", {}))
    pool = draw(spec, study, "validation")
    n = PROFILES[study.profile].n_calibration
    pool = Split(pool.images[:n], pool.labels[:n])
    model = network(spec, study).model
    accuracy: dict[float, float] = {}

    def measure_at(value: float) -> float:
        if value not in accuracy:
            images = attacked(spec, study, pool, {**fixed, parameter: value})
            right = predict(model, images, device=torch.device(study.device)) == pool.labels
            accuracy[value] = right.double().mean().item()
        return accuracy[value]

    # Accuracy falls as the parameter grows, so bisection finds the first value at or below the
    # target; its neighbor above may be nearer.
    low, high = 0, len(grid) - 1
    while low < high:
        middle = (low + high) // 2
        if measure_at(grid[middle]) <= target:
            high = middle
        else:
            low = middle + 1
    for index in (low, max(low - 1, 0)):
        measure_at(grid[index])
    value = min(sorted(accuracy), key=lambda v: abs(accuracy[v] - target))
    tried = sorted(accuracy.items())
    return {
        "parameter": parameter,
        "value": value,
        "target": target,
        "accuracy": accuracy[value],
        "n": len(pool.labels),
        "tried": [v for v, _ in tried],
        "tried_accuracy": [a for _, a in tried],
        "weights": network(spec, study).hash,
    }


CALIBRATED = Table("calibration", calibrate, depends, flags=flags)


@dataclass(frozen=True)
class Bundled:
    """A network for bundled digits, and test images that it gets right."""

    model: torch.nn.Module
    images: Tensor
    labels: Tensor


def bundled_model() -> Bundled:
    """For live cells: the smoke profile's LeNet and the digits it classifies correctly."""
    study = Study("chapter3", profile="smoke", progress=False)
    spec = {"dataset": "digits", "net": "lenet", "seed": 0}
    model, test = network(spec, study).model.cpu(), data(spec, study).test
    right = predict(model, test.images) == test.labels
    return Bundled(model, test.images[right], test.labels[right])
