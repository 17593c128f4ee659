"""A row's attacked images: by an epsilon, by a relative distance, or as the attack has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from washout import attacks
from washout.attacks.fgsm import signs
from washout.chapters.chapter1 import networks
from washout.chapters.chapter1.settings import AUTO, MAIN, PROFILES, VARIANTS, settings
from washout.inference import at_once
from washout.metrics import relative_l2
from washout.store import Spec
from washout.study import Study, Table

# Raised when what is measured changes; every row depends on them.
VERSIONS = {"measure": 1, "vae": 2, "jpeg": 1, "patchwise": 1, "smooth": 1}
# Images at a time on a CPU, in twenty columns each; the small ones by the hundred.
BATCH = {"nips2017": 10}
GRID = (0.003, 0.01, 0.02, 0.04, 0.08, 0.16)  # epsilons whose relative L2 is measured


def pool_of(spec: Spec, study: Study, part: str) -> tuple[Tensor, Tensor]:
    found = networks.pool(spec, study, part)
    return found.images, found.labels


def together(spec: Spec, study: Study) -> int:
    """Images at a time."""
    return at_once(BATCH.get(spec["dataset"], 500), study.device)


def batches(spec: Spec, study: Study, images: Tensor, labels: Tensor):
    """Images and labels on the device, a batch at a time."""
    size = together(spec, study)
    for x, y in zip(images.split(size), labels.split(size), strict=True):
        yield x.to(study.device), y.to(study.device)


def relative(images: Tensor, changed: Tensor) -> float:
    """Mean relative L2 (section 4, Evaluation)."""
    return relative_l2(images, changed).double().mean().item()


def attacked(
    spec: Spec, study: Study, images: Tensor, labels: Tensor, eps: float | None, part: str = "test"
) -> Tensor:
    """The images after the row's attack, on the CPU."""
    if spec["attack"] == "none":
        return images
    model, weights = networks.classifier(spec, study)
    name, fixed = VARIANTS.get(spec["attack"], (attacks.get(spec["attack"]).name, {}))
    if name == "fgsm" and eps is not None:
        # One gradient serves every epsilon.
        key = {"dataset": spec["dataset"], "seed": spec["seed"], "part": part, "n": len(labels)}
        found = study.artifact(
            "signs",
            {**key, "weights": weights, "version": attacks.get("fgsm").version},
            lambda: {
                "signs": signs(
                    model,
                    images,
                    labels,
                    device=study.device,
                    batch_size=together(spec, study),
                )
            },
        )["signs"]
        return (images + eps * found).clamp_(0, 1)
    overrides = dict(fixed)
    if eps is not None:
        overrides["eps"] = eps
        if name == "bim" and spec["attack"] in VARIANTS:
            overrides["step"] = eps / fixed["steps"]
    return attacks.run(
        name, model, images, labels, dataset=spec["dataset"], device=study.device,
        batch_size=together(spec, study) if spec["dataset"] in BATCH else None, **overrides,
        generator=torch.Generator().manual_seed(1000 * spec["seed"] + 1),
    ).images  # fmt: skip


def has_epsilon(attack: str) -> bool:
    """Whether an attack takes a budget; others search the smallest change."""
    found = attacks.get(VARIANTS.get(attack, (attack,))[0])
    return "eps" in found.settings()


def strength_row(spec: Spec, study: Study) -> dict[str, Any]:
    """Mean relative L2 of an attack along a grid of epsilons, on a few selection images."""
    images, labels = pool_of(spec, study, "selection")
    images, labels = images[:32], labels[:32]
    sizes = [
        relative(images, attacked(spec, study, images, labels, eps, "selection")) for eps in GRID
    ]
    return {"eps": GRID, "l2": sizes, "n": len(labels)}


def epsilon(spec: Spec, study: Study) -> float | None:
    """The row's epsilon: its own, or the one whose relative L2 is the row's by interpolation."""
    if "l2" not in spec:
        return spec.get("eps")
    row = study.row(STRENGTH, strength_spec(spec))
    few, _ = pool_of(spec, study, "selection")
    images, _ = pool_of(spec, study, "test")
    # The change is nearly as long for one image as for another, so images that are darker on
    # average have larger relative distances; their lengths are known without any attack.
    darker = _inverse_length(images) / _inverse_length(few[: row.values["n"]])
    sizes, grid = np.log(np.array(row.values["l2"]) * darker), np.log(row.values["eps"])
    return float(np.exp(np.interp(np.log(spec["l2"]), sizes, grid)))


def _inverse_length(images: Tensor) -> float:
    """Mean of one over each image's Euclidean norm."""
    return (1 / images.flatten(1).norm(dim=1)).double().mean().item()


def strength_spec(spec: Spec) -> Spec:
    return {**{name: spec[name] for name in ("dataset", "net", "attack")}, "seed": 0}


# ---- what rows depend on -----------------------------------------------------------------------
def depends_on_classifier(spec: Spec, study: Study) -> dict[str, Any]:
    found: dict[str, Any] = {
        "settings": settings(study.profile, spec["dataset"]),
        "versions": dict(VERSIONS),
    }
    if spec["net"] not in networks.PUBLISHED:
        recipe = networks.classifier_of(spec, study.profile)
        found["recipe"] = recipe.key()
        found["weights"] = study.stored_hash(recipe)
    if spec.get("attack", "none") != "none":
        name, fixed = VARIANTS.get(spec["attack"], (spec["attack"], {}))
        found["attack"] = [name, attacks.get(name).version, fixed]
    return found


def depends_on_grid(spec: Spec, study: Study) -> dict[str, Any]:
    return {**depends_on_classifier(spec, study), "grid": GRID}


def flags(spec: Spec) -> list[str]:
    """What the command line needs besides the table, for a row that the plain plan lacks."""
    words = ["--dataset", spec["dataset"]] if spec["dataset"] not in AUTO else []
    if spec.get("attack", "none") not in ("none", *MAIN):
        words += ["--attack", spec["attack"]]
    if spec["seed"] not in PROFILES["paper"].seeds:
        words += ["--seed", str(spec["seed"])]
    return words


STRENGTH = Table("strength", strength_row, depends_on_grid, flags=flags)
