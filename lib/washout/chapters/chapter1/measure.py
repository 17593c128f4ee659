"""From a row's specification to what its images become: the steps every table shares."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from washout import attacks
from washout.attacks.fgsm import signs
from washout.chapters.bits import packed
from washout.chapters.chapter1 import networks
from washout.chapters.chapter1.columns import DRAWS, Columns
from washout.chapters.chapter1.settings import (
    AUTO,
    FAVORITE,
    FEWER,
    FILTER,
    GRIDS,
    KEPT,
    MAIN,
    PATCHWISE,
    PROFILES,
    QUALITIES,
    SHAPES,
    STRIDES,
    VARIANTS,
    settings,
    vae_recipe,
)
from washout.defenses import patchwise, smooth
from washout.inference import evaluating, predict
from washout.metrics import relative_l2
from washout.store import Row, Spec, fingerprint
from washout.study import Study, Table

# Raised when what is measured changes; every row depends on them.
VERSIONS = {"measure": 1, "vae": 2, "jpeg": 1, "patchwise": 1, "smooth": 1}
BATCH = {"nips2017": 10}  # images at a time, in twenty columns each; the small ones by the hundred
GRID = (0.003, 0.01, 0.02, 0.04, 0.08, 0.16)  # epsilons whose relative L2 is measured


# ---- beta --------------------------------------------------------------------------------------
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


# ---- images ------------------------------------------------------------------------------------
def pool_of(spec: Spec, study: Study, part: str) -> tuple[Tensor, Tensor]:
    found = networks.pool(spec, study, part)
    return found.images, found.labels


def batches(spec: Spec, study: Study, images: Tensor, labels: Tensor):
    """Images and labels on the device, a batch at a time."""
    size = BATCH.get(spec["dataset"], 500)
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
                    batch_size=BATCH.get(spec["dataset"], 500),
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
        batch_size=BATCH.get(spec["dataset"]), **overrides,
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


# ---- what became of them -----------------------------------------------------------------------
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


def flags(spec: Spec) -> list[str]:
    """What the command line needs besides the table, for a row that the plain plan lacks."""
    words = ["--dataset", spec["dataset"]] if spec["dataset"] not in AUTO else []
    if spec.get("attack", "none") not in ("none", *MAIN):
        words += ["--attack", spec["attack"]]
    if spec["seed"] not in PROFILES["paper"].seeds:
        words += ["--seed", str(spec["seed"])]
    return words


BASELINE = Table("baseline", baseline, depends_on_classifier, flags=flags)
BETA = Table("beta", beta_row, depends_on_vae, flags=flags)
STRENGTH = Table("strength", strength_row, depends_on_grid, flags=flags)
CURVE = Table("curve", curve, depends, flags=flags)
FURTHER = Table("further", curve, depends, flags=flags)
CONTROL = Table("control", control, depends_wide, flags=flags)
