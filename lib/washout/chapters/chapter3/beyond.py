"""What the paper leaves out: sweeps, ROC curves, trivial statistics, the attacker who knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from washout import attacks
from washout.chapters.bits import packed
from washout.chapters.chapter3.measure import (
    attack_version,
    attacked,
    calibration_spec,
    depends,
    depends_on_shared,
    draw,
    flags,
    generator,
    network,
    strength,
)
from washout.chapters.chapter3.settings import AGREEMENT, COUNT, CROP, CROPS, PROFILES
from washout.chapters.chapter3.tables import mixture, outcome, rule
from washout.data import Split
from washout.detectors import (
    choose_threshold,
    crop_agreement,
    dropout_ensemble,
    five_crops,
    mc_dropout,
)
from washout.inference import logits, predict
from washout.metrics import auc, roc, tpr_at_fpr
from washout.store import Spec
from washout.study import Study, Table

SCORES = ("uncertainty", "confidence", "background", "disagreement")


def score(pool: dict[str, np.ndarray], name: str) -> np.ndarray:
    """A number per image that is larger the more it looks attacked."""
    if name == "disagreement":
        return 5.0 - pool["agreement"][:, CROPS.index(CROP)]
    return pool[name]  # confidence is what is missing from the largest softmax to 1


def curve(spec: Spec, study: Study) -> dict[str, Any]:
    """ROC of one score against one attack, and true positives where 1 % and 5 % are false."""
    pool = mixture(spec, study, "test", spec["attack"])
    values = score(pool, spec["score"])
    attacked_, clean = values[pool["adversarial"]], values[~pool["adversarial"]]
    area, low, high = auc(attacked_, clean)
    false, true = roc(attacked_, clean, points=100)
    return {
        "auc": area,
        "auc_low": low,
        "auc_high": high,
        "n": len(clean),
        "false_positive_rate": false,
        "true_positive_rate": true,
        "tpr_at_1": tpr_at_fpr(attacked_, clean, 0.01),
        "tpr_at_5": tpr_at_fpr(attacked_, clean, 0.05),
        "weights": network(spec, study).hash,
    }


def crop_size(spec: Spec, study: Study) -> dict[str, Any]:
    """The rule with another crop size: thresholds chosen again, and how often all crops agree."""
    size = spec["crop"]
    pool = mixture(spec, study, "test", spec["attack"])
    found = rule({**spec, "rule": "hybrid"}, study, size)
    agree = pool["agreement"][:, CROPS.index(size)] == COUNT
    return {
        **outcome(found, pool, size),
        "weights": network(spec, study).hash,
        "clean_agree": int((agree & ~pool["adversarial"]).sum()),
        "adversarial_agree": int((agree & pool["adversarial"]).sum()),
    }


def passes(spec: Spec, study: Study) -> dict[str, Any]:
    """One threshold on the uncertainty of N passes, chosen on validation images for that N."""
    found, sets = network(spec, study), {}
    for part in ("validation", "test"):
        pool = right_ones(spec, study, PROFILES[study.profile].n_small, part)
        images = torch.cat([pool.images, _kept(spec, study, part, pool)])
        uncertainty = mc_dropout(
            found.model,
            images,
            passes=spec["passes"],
            generator=generator(spec, "uncertainty"),
            device=study.device,
        ).uncertainty
        sets[part] = uncertainty, torch.arange(len(images)) >= len(pool.labels)
    u, adversarial = sets["validation"]
    threshold, _ = choose_threshold(u, adversarial)
    u, adversarial = sets["test"]
    right = (u > threshold) == adversarial
    area, low, high = auc(u[adversarial].double(), u[~adversarial].double())
    return {
        "correct": int(right.sum()),
        "n": len(right),
        "auc": area,
        "auc_low": low,
        "auc_high": high,
        "weights": found.hash,
    }


def _kept(spec: Spec, study: Study, part: str, pool: Split) -> Tensor:
    """The pool's attacked images, made once for all numbers of passes."""
    key = {
        **calibration_spec(spec),
        "attack": spec["attack"],
        "part": part,
        "n": len(pool.labels),
        "overrides": strength(spec, study),
        "weights": network(spec, study).hash,
        "versions": attack_version(spec["attack"]),
    }
    found = study.artifact("attacked", key, lambda: {"images": _run(spec, study, pool)})
    return found["images"]


def _run(spec: Spec, study: Study, pool: Split) -> Tensor:
    return attacked(spec, study, pool, strength(spec, study))


def epsilon(spec: Spec, study: Study) -> dict[str, Any]:
    """The shared thresholds along a sweep of epsilon: fooled, flagged, both."""
    pool = right_ones(spec, study, PROFILES[study.profile].n_small)
    return _evaded(_run(spec, study, pool), pool, spec, study)


def _evaded(images: torch.Tensor, pool: Split, spec: Spec, study: Study) -> dict[str, Any]:
    """How the whole system, with the shared thresholds, fares on attacked images."""
    found = network(spec, study)
    shared = rule({**spec, "rule": "shared"}, study)
    dropout = mc_dropout(
        found.model,
        images,
        passes=PROFILES[study.profile].passes,
        generator=generator(spec, "uncertainty"),
        device=study.device,
    )
    agree = crop_agreement(found.model, images, dropout.provisional, CROP, device=study.device)
    caught = shared.flag(dropout.uncertainty, agree)
    wrong = dropout.provisional != pool.labels
    change = (images - pool.images).flatten(1)
    return {
        "n": len(pool.labels),
        "fooled": int((predict(found.model, images, device=study.device) != pool.labels).sum()),
        "wrong": int(wrong.sum()),
        "flagged": int(caught.sum()),
        "wrong_and_accepted": int((wrong & ~caught).sum()),
        "through": packed(wrong & ~caught),
        "median_l2": change.norm(dim=1).double().median().item(),
        "low": shared.low,
        "high": shared.high,
        "weights": found.hash,
    }


class Views(nn.Module):
    """What the attacker wants to move at once: the dropout passes' mean, and each crop.

    Logits are (B, K + 1): the views' mean of the log-softmax, and the logarithm of what its
    exponentials lack to 1. With that column a softmax changes nothing, so that the cross-entropy
    of a class is the mean of the views' losses: every view has to agree on it. Without it, it
    would be the loss of the mean logits, where one view's large margin makes up for the others.
    """

    def __init__(self, model: nn.Module, generator: torch.Generator, crops: bool):
        super().__init__()
        self.model, self.crops = model, crops
        self.ensemble = dropout_ensemble(model, 10, generator)

    def forward(self, images: Tensor) -> Tensor:
        views = [self.ensemble(images).log_softmax(1)]
        if self.crops:
            crops = five_crops(images, CROP)
            said = self.model(crops.flatten(0, 1)).log_softmax(1)
            views += said.unflatten(0, crops.shape[:2]).unbind(1)
        mean = torch.stack(views).mean(0)
        rest = (1 - mean.exp().sum(1, keepdim=True)).clamp_min(1e-7).log()
        return torch.cat([mean, rest], 1)


def adaptive(spec: Spec, study: Study) -> dict[str, Any]:
    """Targeted PGD through what the attacker knows: nothing, the dropout passes, or the crops too.

    The target is the class that the classifier thinks second: an answer that every pass (and
    every crop) shares with confidence is what the detector takes for clean. Judged with fresh
    dropout draws.
    """
    found = network(spec, study)
    pool = right_ones(spec, study, PROFILES[study.profile].n_small)
    target = found.model
    if spec["knows"] != "nothing":
        crops = spec["knows"] == "dropout and crops"
        target = Views(found.model, generator(spec, "adaptive"), crops)
    profile = PROFILES[study.profile]
    second = logits(found.model, pool.images, device=study.device).topk(2, 1).indices[:, 1]

    def run() -> dict[str, Tensor]:
        result = attacks.run(
            "pgd",
            target,
            pool.images,
            second,
            targeted=True,
            device=study.device,
            generator=generator(spec, "attack"),
            eps=spec["eps"],
            step=spec["eps"] / 10,
            steps=profile.steps,
        )
        return {"images": result.images}

    key = {
        **spec,
        "n": profile.n_small,
        "steps": profile.steps,
        "weights": found.hash,
        "versions": attack_version("pgd"),
    }
    images = study.artifact("adaptive", key, run)["images"]
    return _evaded(images, pool, spec, study)


def right_ones(spec: Spec, study: Study, n: int, part: str = "test") -> Split:
    """Of the first n images drawn, those that the undefended classifier has right."""
    pool = draw(spec, study, part)
    pool = Split(pool.images[:n], pool.labels[:n])
    kept = predict(network(spec, study).model, pool.images, device=study.device) == pool.labels
    return Split(pool.images[kept], pool.labels[kept])


def second_library(spec: Spec, study: Study) -> dict[str, Any]:
    """Our attack and foolbox's on the same images with the same settings."""
    ours, theirs, settings = AGREEMENT[spec["attack"]]
    found = network(spec, study)
    pool = draw(spec, study, "test")
    n = min(PROFILES[study.profile].n_small, 200)
    pool = Split(pool.images[:n], pool.labels[:n])
    values: dict[str, Any] = {"n": n, "settings": settings[0], "weights": found.hash}
    for side, name, overrides in (("ours", ours, settings[0]), ("foolbox", theirs, settings[1])):
        result = attacks.run(
            name,
            found.model,
            pool.images,
            pool.labels,
            dataset=spec["dataset"],
            device=study.device,
            generator=generator(spec, "attack"),
            **overrides,
        )
        norm = 2 if spec["attack"] in ("deepfool", "cw") else float("inf")
        size = torch.linalg.vector_norm((result.images - pool.images).flatten(1), norm, dim=1)
        values[f"{side}_success"] = int(result.success.sum())
        values[f"{side}_median"] = size[result.success].double().median().item()
        values["norm"] = "L2" if norm == 2 else "Linf"
    return values


CURVE = Table("curve", curve, depends, version=2, flags=flags)
CROP_SIZE = Table("crop_size", crop_size, depends, flags=flags)
PASS_COUNT = Table("passes", passes, depends_on_shared, flags=flags)
EPSILON = Table("epsilon", epsilon, depends_on_shared, flags=flags)
ADAPTIVE = Table("adaptive", adaptive, depends_on_shared, version=2, flags=flags)
SECOND_LIBRARY = Table("second_library", second_library, depends_on_shared, flags=flags)
