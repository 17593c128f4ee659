"""What became of a row's images behind each defense: who is right about which of them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from washout.chapters.bits import packed
from washout.chapters.chapter1 import networks
from washout.chapters.chapter1.attacking import (
    GRID,
    attacked,
    batches,
    depends_on_classifier,
    epsilon,
    flags,
    pool_of,
    relative,
)
from washout.chapters.chapter1.betas import betas
from washout.chapters.chapter1.columns import DRAWS, Columns
from washout.chapters.chapter1.settings import (
    FAVORITE,
    FEWER,
    FILTER,
    GRIDS,
    KEPT,
    PATCHWISE,
    PROFILES,
    QUALITIES,
    SHAPES,
    STRIDES,
    vae_recipe,
)
from washout.inference import evaluating, predict
from washout.metrics import relative_l2
from washout.store import Spec, fingerprint
from washout.study import Study, Table


def washed(spec: Spec, study: Study, wide: bool) -> dict[str, Any]:
    """One attack of one size, all columns of the row's kind: who is right about which image."""
    images, labels = pool_of(spec, study, "test")
    if wide:
        n = PROFILES[study.profile].n_wide
        images, labels = images[:n], labels[:n]
    model, hash_ = networks.classifier(spec, study)
    columns = Columns(spec, study, betas(spec, study), wide)  # first, for it may have to train
    eps = epsilon(spec, study)
    hit = attacked(spec, study, images, labels, eps)
    shown = [name for name in columns.defenses if name not in columns.hidden]
    right: dict[str, list[Tensor]] = {name: [] for name in shown}
    moved = dict.fromkeys(shown, 0.0)
    with torch.inference_mode(), evaluating(model):
        for (x, y), (clean, _) in zip(
            batches(spec, study, hit, labels), batches(spec, study, images, labels), strict=True
        ):
            seen: dict[str, Tensor] = {}
            for name, defend in columns.defenses.items():
                seen[name] = defend(x, seen)
                if name in columns.hidden:
                    continue
                right[name].append((model(seen[name]).argmax(1) == y).cpu())
                moved[name] += relative_l2(clean, seen[name]).sum().item()
    decided = {name: torch.cat(parts) for name, parts in right.items()}
    if "trained-even" in decided:
        even = networks.rows_of(spec, study)[: len(labels)] % 2 == 0
        one, other = decided["trained-even"], decided["trained-odd"]
        decided["seen"] = torch.where(even, one, other)
        decided["unseen"] = torch.where(even, other, one)
    return {
        "n": len(labels),
        "eps": eps,
        "l2": relative(images, hit),
        "linf": (hit - images).abs().max().item(),
        "unmoved": (hit == images).double().mean().item(),
        "correct": {name: int(bits.sum()) for name, bits in decided.items()},
        "distance": {name: total / len(labels) for name, total in moved.items()},
        "right": {name: packed(bits) for name, bits in decided.items()},
        "betas": columns.betas,
        "weights": {"classifier": hash_, **columns.hashes},
    }


def curve(spec: Spec, study: Study) -> dict[str, Any]:
    """Tables 4 to 7, Figures 2 and 3: the paper's columns and the controls that every row has."""
    return washed(spec, study, wide=False)


def control(spec: Spec, study: Study) -> dict[str, Any]:
    """The columns that some rows have: strides, filters, other VAEs."""
    return washed(spec, study, wide=True)


def baseline(spec: Spec, study: Study) -> dict[str, Any]:
    """Table 1: clean accuracy on all test images."""
    model, hash_ = networks.classifier(spec, study)
    found, right, size = networks.whole(spec, study), 0, 500
    for begin in range(0, len(found), size):
        part = found[begin : begin + size]
        said = predict(model, part.images, device=study.device, batch_size=100)
        right += int((said == part.labels).sum())
    return {
        "n": len(found),
        "correct": right,
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights": hash_,
    }


# ---- what rows depend on -----------------------------------------------------------------------
def depends(spec: Spec, study: Study, wide: bool = False) -> dict[str, Any]:
    """What every row with defenses depends on: on no network that the row does not use."""
    name = spec["dataset"]
    make = partial(vae_recipe, name, profile=study.profile)
    recipes = [
        make(size, beta, seed=seed)
        for size in SHAPES[name]
        for beta in PROFILES[study.profile].betas[name]
        for seed in sorted({0, spec["seed"]})
    ]
    middle = sorted(SHAPES[name])[len(SHAPES[name]) // 2]
    if wide or name not in PATCHWISE:
        recipes.append(make(middle, 0.0, seed=spec["seed"], plain=True))
    if wide and name == "nips2017":
        recipes += [
            make(middle, beta, seed=spec["seed"], fold=fold)
            for beta in PROFILES[study.profile].betas[name]
            for fold in ("even", "odd")
        ]
    return {
        **depends_on_classifier(spec, study),
        "vaes": fingerprint(sorted(recipe.key() for recipe in recipes)),
        "vae weights": fingerprint([study.stored_hash(recipe) for recipe in recipes]),
        "columns": fingerprint(
            GRIDS.get(name), STRIDES.get(name), QUALITIES, FEWER, FILTER, KEPT[name], DRAWS
        ),
        "strength": GRID if "l2" in spec else None,
    }


def depends_wide(spec: Spec, study: Study) -> dict[str, Any]:
    """As every row, the VAEs of the controls, and the one that stands for its kind."""
    return {**depends(spec, study, wide=True), "favorite": FAVORITE.get(spec["dataset"])}


BASELINE = Table("baseline", baseline, depends_on_classifier, flags=flags)
CURVE = Table("curve", curve, depends, flags=flags)
FURTHER = Table("further", curve, depends, flags=flags)
CONTROL = Table("control", control, depends_wide, flags=flags)
