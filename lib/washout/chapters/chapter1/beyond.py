"""What the paper does not run: the attacker who knows the defense; and images to look at."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from washout import attacks
from washout.chapters.chapter1 import networks
from washout.chapters.chapter1.attacking import (
    attacked,
    batches,
    flags,
    has_epsilon,
    pool_of,
    relative,
)
from washout.chapters.chapter1.betas import betas
from washout.chapters.chapter1.columns import Columns
from washout.chapters.chapter1.measure import depends
from washout.chapters.chapter1.settings import (
    EXAMPLE_EPS,
    FAVORITE,
    FILTER,
    GRIDS,
    PATCHWISE,
    PROFILES,
    SHAPES,
    settings,
)
from washout.defenses import (
    Defended,
    Expectation,
    Proxy,
    jpeg,
    patchwise,
    smooth,
    soft_jpeg,
)
from washout.inference import evaluating
from washout.randomness import seeded
from washout.store import Spec
from washout.study import Study, Table

# What the attacker computes gradients through. For the codec, which has none, there are two
# stand-ins.
KNOWS = {
    "nodef": ("classifier",),
    "jpeg23": ("classifier", "identity", "soft codec"),
    "gauss": ("classifier", "defense"),
    "vae": ("classifier", "defense"),
    "vae-mean": ("classifier", "defense"),
}
STAND_INS = KNOWS["jpeg23"][1:]
# Images at a time, as gradients keep what each patch passed through: on a CPU, and on a GPU, where
# an image counts as often as it is drawn or started from.
SOME = {"nips2017": 5}
ON_GPU = {"nips2017": 256}
FRESH = 20  # draws of the noise that the attacker has not seen; five where patches make it dear


def knowing(spec: Spec, study: Study) -> dict[str, Any]:
    """PGD against a defense by somebody who knows it: all but the noise that it will draw."""
    profile, name = PROFILES[study.profile], spec["dataset"]
    images, labels = pool_of(spec, study, "test")
    n = profile.n_small[name]
    images, labels = images[:n], labels[:n]
    model, hash_ = networks.classifier(spec, study)
    hashes: dict[str, str] = {}
    defend = _defense(spec, study, hashes)
    if "tries" in spec:
        return _guessing(spec, study, model, defend, images, labels) | {
            "weights": {"classifier": hash_, **hashes}
        }
    target: nn.Module = model
    if spec["knows"] != "classifier":
        target = Defended(model, _seen(spec, defend))
        if spec["defense"] == "vae":
            target = Expectation(target, profile.samples[name] * spec.get("draws", 1))
    steps = profile.steps[name] * spec.get("longer", 1)
    with seeded(1000 * spec["seed"] + 7, study.device):  # the noise that the attacker guesses
        hit = attacks.run(
            "pgd", target, images, labels, device=study.device, batch_size=_together(spec, study),
            eps=spec["eps"], step=min(2.5 * spec["eps"] / steps, 1.0), steps=steps,
            restarts=spec.get("restarts", 1),
            # A stand-in for the gradient leads past what it looks for.
            keep="best" if spec["knows"] in STAND_INS else "last",
            generator=torch.Generator().manual_seed(1000 * spec["seed"] + 2),
        ).images  # fmt: skip
    fresh = 1 if spec["defense"] != "vae" else 5 if name in PATCHWISE else FRESH
    rights = []
    with (
        seeded(1000 * spec["seed"] + 8, study.device),
        torch.inference_mode(),
        evaluating(model),
    ):
        for _ in range(fresh):
            parts = [model(defend(x)).argmax(1) == y for x, y in batches(spec, study, hit, labels)]
            rights.append(torch.cat(parts).cpu())
    right = torch.stack(rights)
    return {
        "n": n,
        "correct": int(right[0].sum()),
        "correct_in_all": int(right.all(0).sum()),
        "mean_correct": right.double().mean().item() * n,
        "draws": fresh,
        "samples": profile.samples[name] * spec.get("draws", 1) if spec["defense"] == "vae" else 1,
        "steps": steps,
        "l2": relative(images, hit),
        "right": right[0].int().tolist(),
        "share": right.double().mean(0).tolist(),
        "weights": {"classifier": hash_, **hashes},
    }


def _together(spec: Spec, study: Study) -> int:
    """Images at a time."""
    name = spec["dataset"]
    if torch.device(study.device).type == "cpu":
        return SOME.get(name, 25)
    draws = PROFILES[study.profile].samples[name] * spec.get("draws", 1)
    copies = (draws if spec["defense"] == "vae" else 1) * spec.get("restarts", 1)
    return max(1, ON_GPU.get(name, 8192) // copies)


def _guessing(
    spec: Spec,
    study: Study,
    model: nn.Module,
    defend: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
) -> dict[str, Any]:
    """Random signs of epsilon, many for each image: an attack without any gradient.

    An image counts as right if it is read rightly after all of them.
    """
    generator = torch.Generator().manual_seed(1000 * spec["seed"] + 3)
    right = []
    with (
        seeded(1000 * spec["seed"] + 8, study.device),
        torch.inference_mode(),
        evaluating(model),
    ):
        for image, label in zip(images, labels, strict=True):
            said = []
            for some in torch.full((spec["tries"],), int(label)).split(250):
                signs = torch.randint(0, 2, (len(some), *image.shape), generator=generator)
                tried = (image + spec["eps"] * (2 * signs - 1)).clamp(0, 1).to(study.device)
                said.append((model(defend(tried)).argmax(1).cpu() == some).all())
            right.append(bool(torch.stack(said).all()))
    return {
        "n": len(right),
        "correct": sum(right),
        "correct_in_all": sum(right),
        "mean_correct": float(sum(right)),
        "draws": spec["tries"],
        "samples": 1,
        "steps": 0,
        "right": [int(is_right) for is_right in right],
    }


def _defense(spec: Spec, study: Study, hashes: dict[str, str]) -> Callable[[Tensor], Tensor]:
    """The defense itself, with noise from PyTorch's own state."""
    kind = spec["defense"]
    if kind == "nodef":
        return lambda x: x
    if kind == "jpeg23":
        return jpeg
    if kind == "gauss":
        return partial(smooth, kind="gaussian")
    size, stride = _favorite(spec["dataset"])
    net, hashes["vae"] = networks.vae(spec, study, size, betas(spec, study)[size])
    net.requires_grad_(False)
    function = partial(net.reconstruct, sample=kind == "vae")
    if spec["dataset"] not in PATCHWISE:
        return function
    return lambda x: smooth(patchwise(function, x, size=size, stride=stride), kind=FILTER)


def _seen(spec: Spec, defend: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The defense as the attacker's gradient takes it."""
    if spec["defense"] != "jpeg23":
        return defend
    return Proxy(defend, soft_jpeg if spec["knows"] == "soft codec" else None)


def _favorite(dataset: str) -> tuple[int, int]:
    if dataset in PATCHWISE:
        return GRIDS[dataset][FAVORITE[dataset]]
    (size,) = SHAPES[dataset]
    return size, size


def depends_small(spec: Spec, study: Study) -> dict[str, Any]:
    """As every row, and the settings of the small tables."""
    own = {k: v for k, v in spec.items() if k != "attack"}
    return {
        **depends({**own, "attack": "pgd"}, study),
        "favorite": FAVORITE.get(spec["dataset"]),
        "fresh": [FRESH, SOME],
        "small": settings(study.profile, spec["dataset"], small=True),
    }


# ---- pictures ----------------------------------------------------------------------------------
SHOWN = {
    "whole": ("jpeg10", "jpeg23", "ours", "mean", "gauss"),
    "patchwise": ("jpeg10", "jpeg23", "gauss"),
}


def shown(dataset: str) -> tuple[str, ...]:
    """The columns whose images are kept."""
    if dataset in PATCHWISE:
        return (*SHOWN["patchwise"], *GRIDS[dataset], "ens")
    return SHOWN["whole"]


def examples(spec: Spec, study: Study) -> dict[str, Any]:
    """Images through the attack and each defense, as uint8, with what the classifier says.

    ``first``: the first of the drawn images that is read rightly when clean and wrongly after the
    attack. ``panda``: the only panda among the images of NIPS 2017, whatever happens to it.
    """
    images, labels = pool_of(spec, study, "test")
    credit = ""
    model, hash_ = networks.classifier(spec, study)
    eps = EXAMPLE_EPS[spec["dataset"]] if has_epsilon(spec["attack"]) else None
    if spec["which"] == "panda":
        images, labels, credit, index = networks.panda(study)
        hit = attacked(spec, study, images, labels, eps, "panda")
    else:
        images, labels = images[:40], labels[:40]
        hit = attacked(spec, study, images, labels, eps, "first")
        with torch.inference_mode(), evaluating(model):
            said = [
                torch.cat(
                    [model(x).argmax(1).cpu() for x, _ in batches(spec, study, batch, labels)]
                )
                for batch in (images, hit)
            ]
        turned = ((said[0] == labels) & (said[1] != labels)).nonzero().flatten()
        index = int(turned[0]) if len(turned) else 0
        credit = networks.credit(spec, study, index)
        images, labels, hit = (part[index : index + 1] for part in (images, labels, hit))
    columns = Columns(spec, study, betas(spec, study))
    seen: dict[str, Tensor] = {}
    with torch.inference_mode(), evaluating(model):
        x = hit.to(study.device)
        for name, defend in columns.defenses.items():
            seen[name] = defend(x, seen)
        kept = [images, hit, *(seen[name].cpu() for name in shown(spec["dataset"]))]
        words = [int(model(part.to(study.device)).argmax(1)) for part in kept]
    names = networks.class_names(spec, study)
    stack = torch.cat(kept)
    stack = stack[:, 0] if stack.shape[1] == 1 else stack.permute(0, 2, 3, 1)
    return {
        "label": names[int(labels)],
        "said": [names[word] for word in words],
        "columns": ["original", "attacked", *shown(spec["dataset"])],
        "images": (stack * 255).round().byte().numpy(),
        "index": index,
        "eps": eps,
        "l2": relative(images, hit),
        "change": (hit - images).abs().max().item(),
        "credit": credit,
        "weights": {"classifier": hash_, **columns.hashes},
    }


KNOWING = Table("knowing", knowing, depends_small, version=2, flags=flags)


def depends_shown(spec: Spec, study: Study) -> dict[str, Any]:
    name = spec["dataset"]
    return {**depends(spec, study), "shown": [EXAMPLE_EPS[name], shown(name), networks.PANDA]}


EXAMPLES = Table("examples", examples, depends_shown, flags=flags)
