"""The weight of the VAEs' Kullback-Leibler term, chosen on clean selection images."""

from __future__ import annotations

from typing import Any

import torch

from washout.chapters.chapter1 import networks
from washout.chapters.chapter1.attacking import batches, depends_on_classifier, flags, pool_of
from washout.chapters.chapter1.settings import (
    FILTER,
    GRIDS,
    KEPT,
    PATCHWISE,
    PROFILES,
    SHAPES,
    vae_recipe,
)
from washout.defenses import patchwise, smooth
from washout.inference import evaluating
from washout.store import Row, Spec
from washout.study import Study, Table


def beta_row(spec: Spec, study: Study) -> dict[str, Any]:
    """Clean selection images through the VAE of one beta: accuracy kept, and error."""
    images, labels = pool_of(spec, study, "selection")
    size = spec["size"]
    net, found = networks.vae(spec, study, size, spec["beta"])
    model, _ = networks.classifier(spec, study)
    generator = torch.Generator(study.device).manual_seed(spec["seed"])
    right, error, said = 0, 0.0, 0
    with torch.inference_mode(), evaluating(model):
        for x, y in batches(spec, study, images, labels):
            if spec["dataset"] in PATCHWISE:
                stride = min(s for p, s in GRIDS[spec["dataset"]].values() if p == size)
                # The noise of each patch is drawn as it comes.
                out = patchwise(
                    lambda part: net.reconstruct(part, generator=generator),
                    x, size=size, stride=stride,
                )  # fmt: skip
                out = smooth(out, kind=FILTER)
            else:
                out = net.reconstruct(x, generator=generator)
            right += int((model(out).argmax(1) == y).sum())
            said += int((model(x).argmax(1) == y).sum())
            error += (out - x).square().mean((1, 2, 3)).sum().item()
    return {
        "n": len(labels),
        "correct": right,
        "clean_correct": said,
        "mse": error / len(labels),
        "weights": found,
    }


def beta_specs(spec: Spec, study: Study, size: int) -> list[Spec]:
    """The rows that the choice of beta for one input size looks at, always with the first seed."""
    grid = PROFILES[study.profile].betas[spec["dataset"]]
    own = {"dataset": spec["dataset"], "net": spec["net"], "seed": 0, "size": size}
    return [{**own, "beta": beta} for beta in grid]


def chosen_beta(rows: list[Row], dataset: str, size: int) -> float:
    """The largest beta that keeps the asked-for share of accuracy; else the one that keeps most."""
    share = {r.spec["beta"]: r.values["correct"] / max(r.values["clean_correct"], 1) for r in rows}
    enough = [beta for beta, kept in share.items() if kept >= KEPT[dataset][size]]
    return max(enough) if enough else max(share, key=lambda beta: share[beta])


def betas(spec: Spec, study: Study) -> dict[int, float]:
    """The chosen beta for each input size of the row's dataset."""
    name = spec["dataset"]
    return {
        size: chosen_beta(
            [study.row(BETA, own) for own in beta_specs(spec, study, size)], name, size
        )
        for size in SHAPES[name]
    }


def depends_on_vae(spec: Spec, study: Study) -> dict[str, Any]:
    recipe = vae_recipe(spec["dataset"], spec["size"], spec["beta"], study.profile, spec["seed"])
    return {
        **depends_on_classifier(spec, study),
        "vae": recipe.key(),
        "vae weights": study.stored_hash(recipe),
        "grids": GRIDS.get(spec["dataset"]),
        "filter": FILTER,
    }


BETA = Table("beta", beta_row, depends_on_vae, flags=flags)
