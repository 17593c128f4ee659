"""From a row's specification to attacked images, what a defense makes of them, who is right."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from washout import attacks
from washout.chapters.bits import packed, packed_floats
from washout.chapters.chapter2 import networks
from washout.chapters.chapter2.defending import defense, full_name, vq_names
from washout.chapters.chapter2.settings import (
    ABLATION,
    AUTO,
    CAP,
    CAPPED,
    CONTROLS,
    FIXED,
    MAIN,
    OTHER_VQ,
    PROFILES,
    QUALITIES,
    SEARCHES,
    SHORT,
    SWEEP,
    VARIANTS,
    columns,
    kind,
    vq_recipe,
)
from washout.data import Split
from washout.inference import at_once, evaluating, predict
from washout.metrics import margin_past, norms, relative_l2
from washout.store import Spec
from washout.study import Study, Table

# Raised when what is measured changes; every row depends on them.
VERSIONS = {
    "measure": 1, "jpeg": 1, "soft_jpeg": 1, "blur": 1, "kmeans": 1, "held": 1, "tvm": 1,
    "vqvae": 1,
}  # fmt: skip
BATCH = 500  # images at a time through a defense, on a CPU
SLOW = ("cw",)  # attacks that see fewer images
CLEAN = "none"


# ---- images ------------------------------------------------------------------------------------
def count(spec: Spec, study: Study) -> int:
    """How many images the row is about."""
    profile = PROFILES[study.profile]
    slow = attack_of(spec["attack"])[0] in SLOW
    return (profile.n_slow if slow else profile.n)[spec["dataset"]]


def attack_of(label: str) -> tuple[str, dict[str, Any]]:
    """The registered attack behind a label, and the settings that differ from its defaults."""
    if label == CLEAN:
        return CLEAN, {}
    name, fixed = VARIANTS.get(label, (label, {}))
    return attacks.get(name).name, fixed


class Probabilities(nn.Module):
    """Softmax behind a classifier, which attacks that expect logits are not made for."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to probabilities (B, K)."""
        return self.model(images).softmax(1)


def adversarial(spec: Spec, study: Study) -> tuple[Tensor, Tensor, Split]:
    """Attacked images (n, C, H, W), whether each fools the classifier, and the clean ones."""
    pool = networks.pool(spec, study, count(spec, study))
    label = spec["attack"]
    if label == CLEAN:
        return pool.images, torch.zeros(len(pool), dtype=torch.bool), pool
    model, hash_ = networks.classifier(spec, study)
    if label in CAPPED:
        found, _, _ = adversarial({**spec, "attack": CAPPED[label]}, study)
        images = (pool.images + (found - pool.images).clamp(-CAP, CAP)).clamp(0, 1)
        wrong = predict(model, images, device=study.device) != pool.labels
        return images, wrong, pool
    name, fixed = attack_of(label)
    key = {
        **{k: v for k, v in spec.items() if k in ("dataset", "seed", "whole")},
        "n": len(pool), "weights": hash_, "attack": label, "settings": fixed,
        "version": attacks.get(name).version,
    }  # fmt: skip

    def make() -> dict[str, Tensor]:
        target = Probabilities(model) if label.endswith("-softmax") else model
        batch = label.removeprefix("deepfool-batch")
        done = attacks.run(
            name, target, pool.images, pool.labels, dataset=spec["dataset"], device=study.device,
            batch_size=int(batch) if batch.isdigit() else None,
            generator=torch.Generator().manual_seed(1000 * spec["seed"] + 1), **fixed,
        )  # fmt: skip
        return {"images": done.images, "success": done.success}

    kept = study.artifact("chapter2", key, make)
    return kept["images"], kept["success"], pool


# ---- rows --------------------------------------------------------------------------------------
def baseline(spec: Spec, study: Study) -> dict[str, Any]:
    """Clean accuracy on all test images."""
    model, hash_ = networks.classifier(spec, study)
    test = networks.whole(spec, study).test
    said = predict(model, test.images, device=study.device)
    return {
        "n": len(test),
        "correct": int((said == test.labels).sum()),
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights": hash_,
    }


def attack(spec: Spec, study: Study) -> dict[str, Any]:
    """How an attack did against the undefended classifier, image by image."""
    model, hash_ = networks.classifier(spec, study)
    images, success, pool = adversarial(spec, study)
    right = predict(model, pool.images, device=study.device) == pool.labels
    with evaluating(model):
        margins = margin_past(model, images, pool.labels, device=study.device)
    sizes = norms(pool.images, images)
    hit = success & right
    return {
        "n": len(pool),
        "right": packed(right),
        "success": packed(success),
        "wrong": packed(predict(model, images, device=study.device) != pool.labels),
        "margins": packed_floats(margins),
        "sizes": {"l2": packed_floats(sizes.l2), "linf": packed_floats(sizes.linf)},
        "labels": packed_floats(pool.labels.float()),
        "l2": _median(sizes.l2[hit]),
        "linf": _median(sizes.linf[hit]),
        "attacked": int(right.sum()),
        "fooled": int(hit.sum()),
        "weights": hash_,
    }


def _median(values: Tensor) -> float | None:
    return values.double().median().item() if len(values) else None


def cell(spec: Spec, study: Study) -> dict[str, Any]:
    """One attack, one defense: which images are read rightly, and as what."""
    model, hash_ = networks.classifier(spec, study)
    hashes: dict[str, str] = {}
    wash = defense(spec["defense"], spec, study, hashes)
    images, _, pool = adversarial(spec, study)
    size = at_once(BATCH, study.device)
    said, extreme, moved, back = [], [], 0.0, 0.0
    with torch.inference_mode(), evaluating(model):
        for x, clean in zip(images.split(size), pool.images.split(size), strict=True):
            x, clean = x.to(study.device), clean.to(study.device)
            out = wash(x)
            said.append(model(out).argmax(1).cpu())
            levels = (out * 255).round()
            extreme.append(((levels == 0) | (levels == 255)).float().mean((1, 2, 3)).cpu())
            moved += relative_l2(x, out).sum().item()
            back += relative_l2(clean, out).sum().item()
    classes = torch.cat(said)
    right = classes == pool.labels
    table = torch.zeros(10, 10, dtype=torch.int64)
    table.index_put_((pool.labels, classes), torch.ones_like(classes), accumulate=True)
    return {
        "n": len(pool),
        "correct": int(right.sum()),
        "right": packed(right),
        "confusion": table.tolist(),
        "extreme": packed_floats(torch.cat(extreme)),  # share of values at 0 or 255
        "moved": moved / len(pool),  # relative L2 from what came in
        "distance": back / len(pool),  # and from the clean image
        "weights": {"classifier": hash_, **hashes},
    }


def vq(spec: Spec, study: Study) -> dict[str, Any]:
    """What a VQ-VAE makes of clean test images: error, code use, and what is left of accuracy."""
    net, hash_ = networks.vqvae(
        spec, study, spec["noise"], spec.get("hidden", 0), spec.get("codes", 512)
    )
    model, _ = networks.classifier(spec, study)
    test = networks.whole(spec, study).test[:2000]
    error, size = 0.0, at_once(BATCH, study.device)
    right: list[Tensor] = []
    with torch.inference_mode(), evaluating(model):
        for x, y in zip(test.images.split(size), test.labels.split(size), strict=True):
            x, y = x.to(study.device), y.to(study.device)
            out = net.reconstruct(x)
            error += (out - x).square().mean((1, 2, 3)).sum().item()
            right.append((model(out).argmax(1) == y).cpu())
        perplexity = float(net.perplexity(test.images.to(study.device)))
    return {
        "n": len(test),
        "mse": error / len(test),
        "correct": int(torch.cat(right).sum()),
        "right": packed(torch.cat(right)),
        "perplexity": perplexity,
        "parameters": sum(p.numel() for p in net.parameters()),
        "weights": hash_,
    }


# ---- what rows depend on -----------------------------------------------------------------------
def depends_on_classifier(spec: Spec, study: Study) -> dict[str, Any]:
    recipe = networks.recipe_of(spec, study.profile)
    found: dict[str, Any] = {
        "n": count(spec, study) if "attack" in spec else None,
        "versions": {"measure": VERSIONS["measure"]},
        "recipe": recipe.key(),
        "weights": study.stored_hash(recipe),
    }
    _, _, through = spec["net"].partition(networks.RETRAINED)
    if through:
        found |= _vqs(spec, study, [through.removeprefix("vqvae")])
    label = spec.get("attack", CLEAN)
    if label != CLEAN:
        name, fixed = attack_of(label)
        found["attack"] = [name, attacks.get(name).version, fixed, CAP if label in CAPPED else None]
    return found


def depends(spec: Spec, study: Study) -> dict[str, Any]:
    """What a row with a defense depends on."""
    name = full_name(spec["defense"], spec["dataset"])
    words = name.replace("gauss", "blur")
    versions = {k: v for k, v in VERSIONS.items() if k in words}
    return {
        **depends_on_classifier(spec, study),
        "defense": [name, versions],
        **_vqs(spec, study, vq_names(name)),
    }


def depends_on_vq(spec: Spec, study: Study) -> dict[str, Any]:
    recipe = vq_recipe(
        spec["dataset"], spec["noise"], study.profile, spec["seed"],
        spec.get("hidden", 0), spec.get("codes", 512),
    )  # fmt: skip
    return {
        **depends_on_classifier(spec, study),
        "vqvae": [VERSIONS["vqvae"], recipe.key(), study.stored_hash(recipe)],
    }


def _vqs(spec: Spec, study: Study, noises: list[str]) -> dict[str, Any]:
    recipes = [vq_recipe(spec["dataset"], n, study.profile, spec["seed"]) for n in noises]
    found = [[recipe.key(), study.stored_hash(recipe)] for recipe in recipes]
    return {"vqvaes": found} if found else {}


def flags(spec: Spec) -> list[str]:
    """What the command line needs besides the table, for a row that the plain plan lacks."""
    name = spec["dataset"]
    words = ["--dataset", name] if name not in AUTO else []
    label, sort = spec.get("attack", CLEAN), kind(name)
    known = list(columns(name))
    if label in (CLEAN, *SEARCHES):
        known += CONTROLS[sort]
    if label in (CLEAN, *MAIN):
        known += OTHER_VQ
    if label in (CLEAN, *MAIN[:2], "pgd-0.3" if sort == "gray" else "pgd-8/255"):
        known += [*QUALITIES, *ABLATION[sort]]
    if label not in (CLEAN, *SEARCHES, *FIXED[sort], *SWEEP, SHORT[sort]):
        words += ["--attack", label]
    if "attack" in spec and spec.get("defense", "none") not in known:
        if label != CLEAN and "--attack" not in words:
            words += ["--attack", label]
        words += ["--defense", spec["defense"]]
    return words if spec["seed"] == 0 else [*words, "--seed", str(spec["seed"])]


BASELINE = Table("baseline", baseline, depends_on_classifier, flags=flags)
ATTACK = Table("attack", attack, depends_on_classifier, flags=flags)
CELL = Table("cell", cell, depends, flags=flags)
VQ = Table("vqvae", vq, depends_on_vq, flags=flags)
