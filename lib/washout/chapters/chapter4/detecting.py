"""Method 2, detectors: whom they find, and whom they flag for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from washout.chapters.bits import packed
from washout.chapters.chapter4 import fitting, networks
from washout.chapters.chapter4.features import features, images_of
from washout.chapters.chapter4.fitting import detector
from washout.chapters.chapter4.measure import depends_on_classifier, flags, fooled
from washout.chapters.chapter4.settings import CLEAN, MAIN, PROFILES, RATES
from washout.detectors import PCADetector, threshold_at_fpr
from washout.inference import predict
from washout.metrics import auc, roc
from washout.store import Spec
from washout.study import Study, Table

DETECTING = 3  # raised when what a row holds changes
POINTS = 60  # of a stored ROC curve


def scores(
    spec: Spec, study: Study, label: str, *, rounded: bool = False, part: str = "test"
) -> Tensor:
    """Scores (n,) of a part's images after an attack, above 0 where flagged."""
    net, threshold, _ = detector(spec, study)
    if isinstance(net, PCADetector):
        found = net.scores(images_of(spec, study, label, part, rounded))
    else:
        seen = features(spec, study, label, part, rounded=rounded)
        with torch.inference_mode():
            parts = [net(x.to(study.device)).reshape(len(x)).cpu() for x in seen.split(1000)]
        found = torch.cat(parts).clone()
    return found - threshold


def detection(spec: Spec, study: Study) -> dict[str, Any]:
    """A detector on clean test images and on attacked ones.

    Areas and rates are over pool A, all attacked images that are misread, beside all clean ones;
    over pool B, both sides without images that are misread when clean; and over those of B that are
    misread whether they are rounded to 8 bits or not. Clean images are all of the profile's, also
    where the attack sees fewer. Thresholds of the rates are such that a given share of clean
    validation images lies above.
    """
    model, hash_ = networks.classifier(spec, study)
    rounded = spec.get("rounded", False)
    pool = networks.pool(spec, study)
    unharmed = predict(model, pool.images, device=study.device) == pool.labels
    wrong = fooled(spec, study, rounded=rounded)
    right = unharmed[: len(wrong)]
    clean = scores(spec, study, CLEAN)
    hit = scores(spec, study, spec["attack"], rounded=rounded)
    others = scores(spec, study, CLEAN, part="validation")
    bars = {name: threshold_at_fpr(others, rate) for name, rate in RATES.items()}
    found: dict[str, Any] = {
        "n": len(wrong),
        "n_clean": len(clean),
        "flagged": packed(hit > 0),
        "flagged_clean": packed(clean > 0),
        "right": packed(right),
        "wrong": packed(wrong),
        "weights": hash_,
    }
    found["A"] = _ranked(hit[wrong], clean, bars)
    found["B"] = _ranked(hit[wrong & right], clean[unharmed], bars)
    if spec["attack"] in MAIN and spec["trained"].startswith("mixture"):
        either = fooled(spec, study, rounded=not rounded)
        found["both"] = _ranked(hit[wrong & either & right], clean[unharmed], bars)
    losses = detector(spec, study).losses
    if losses is not None:
        best = int(losses[:, 1].argmin())
        found["training"] = {
            "epochs": len(losses), "best": best + 1,
            "loss": losses[best, 0].item(), "validation_loss": losses[best, 1].item(),
        }  # fmt: skip
    if spec["trained"] == "mixture" and bool(wrong.any()):
        curve = roc(hit[wrong].double(), clean.double(), points=POINTS)
        found["curve"] = {"fpr": curve.fpr, "tpr": curve.tpr}
    return found


def _ranked(hit: Tensor, clean: Tensor, bars: Mapping[str, float]) -> dict[str, Any]:
    if not len(hit) or not len(clean):
        return {"n": len(hit)}
    hit, clean = hit.double(), clean.double()
    area, low, high = auc(hit, clean)
    found: dict[str, Any] = {"n": len(hit), "clean": len(clean), "auc": area}
    found |= {"auc_low": low, "auc_high": high}
    for name, bar in bars.items():
        found[name] = {"found": int((hit > bar).sum()), "false": int((clean > bar).sum())}
    return found


# ---- what rows depend on -----------------------------------------------------------------------
def depends(spec: Spec, study: Study) -> dict[str, Any]:
    """What a row with a detector depends on."""
    return {
        **fitting.depends(spec, study),
        **depends_on_classifier(spec, study),
        "rates": RATES,
        "detecting": DETECTING,
        "clean": PROFILES[study.profile].n,
    }


DETECTION = Table("detection", detection, depends, flags=flags)
