"""Detectors: what they look at, what they are trained on, and whom they find."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from washout.chapters.bits import packed
from washout.chapters.chapter4 import networks
from washout.chapters.chapter4.measure import (
    adversarial,
    depends_on_classifier,
    described,
    flags,
)
from washout.chapters.chapter4.settings import (
    CLEAN,
    MAIN,
    MIXTURE,
    PCA,
    PROFILES,
    RATES,
    ROUNDED,
    SEPARATE,
    TRAINED,
)
from washout.checks import check_choice
from washout.data import floats
from washout.defenses import eight_bit
from washout.detectors import (
    Detector,
    PCADetector,
    Whitening,
    choose_threshold,
    fit_detector,
    residual_statistics,
    threshold_at_fpr,
)
from washout.inference import predict
from washout.metrics import auc, roc
from washout.models import ResNet
from washout.randomness import seeded
from washout.store import Spec
from washout.study import Study, Table

VERSIONS = {"features": 2, "detectors": 2, "detection": 2}
FLOWS = {"latents": "trained", "all": "trained", "random": "random"}
POINTS = 60  # of a stored ROC curve
PATIENCE = 5  # epochs without a lower validation loss, after which five layers are done


# ---- what detectors look at --------------------------------------------------------------------
def turned(spec: Spec, study: Study, label: str, part: str, rounded: bool) -> tuple[Tensor, Tensor]:
    """Attacked images, rounded to 8 bits or not, and which of these are misread."""
    model, _ = networks.classifier(spec, study)
    images, wrong, pool = adversarial({**spec, "attack": label}, study, part)
    if rounded:
        images = eight_bit(images)
        wrong = predict(model, images, device=study.device) != pool.labels
    return images, wrong


def images_of(spec: Spec, study: Study, label: str, part: str, rounded: bool) -> Tensor:
    """Images of a part after an attack, ``none`` among them."""
    images, _, _ = adversarial({**spec, "attack": label}, study, part)
    return eight_bit(images) if rounded else images


def features(spec: Spec, study: Study, label: str, part: str, *, rounded: bool = False) -> Tensor:
    """What the row's detector sees of each image, (n, D), or (n, C, H, W) for ``separate``."""
    kind = spec["features"]
    images = images_of(spec, study, label, part, rounded)
    if kind == SEPARATE:
        return images
    if kind == "pixels":
        return images.flatten(1)
    if kind == "whitened":
        return networks.whitening(spec, study)(images)
    if kind in ("residuals", "grid"):
        return residual_statistics(images, grid=kind == "grid")
    kept = latents_of(spec, study, label, part, rounded)
    if kind == "random":  # no training has worked on their scale
        known = latents_of(spec, study, CLEAN, "train", False)
        return Whitening.fit(known["last"])(kept["last"])
    return torch.cat([kept["before"], kept["last"]], 1) if kind == "all" else kept["last"]


def latents_of(spec: Spec, study: Study, label: str, part: str, rounded: bool) -> dict[str, Tensor]:
    """Latents of the row's flow: ``last`` level's (n, D), and of levels ``before``, if trained."""
    images, kind = images_of(spec, study, label, part, rounded), FLOWS[spec["features"]]
    net, flow_hash = networks.flow(spec, study, kind)
    _, hash_ = networks.classifier(spec, study)
    key = {
        "dataset": spec["dataset"], "seed": spec["seed"], "part": part, "n": len(images),
        "attack": described(label), "rounded": rounded, "classifier": hash_,
        "version": VERSIONS["features"],
        **networks.flow_depends(spec, study, kind), "weights": flow_hash,
    }  # fmt: skip
    # Each part its own noise: a detector must not know the test images' draws.
    seed = 1000 * spec["seed"] + 20 + networks.PARTS.index(part)

    def make() -> dict[str, Tensor]:
        last, before = networks.latents(net, images, seed, study)
        return {"last": last} if kind == "random" else {"last": last, "before": before}

    return study.artifact("chapter4-latents", key, make)


# ---- what detectors are trained on -------------------------------------------------------------
def shares(trained: str) -> dict[str, float]:
    """Each attack's share of the attacked images, by the kind of training; they add up to 1."""
    kind = check_choice(trained.removesuffix(ROUNDED), TRAINED, "trained")
    if kind in MAIN:
        return {kind: 1.0}
    left = {name: share for name, share in MIXTURE.items() if kind != f"without-{name}"}
    return {name: share / sum(left.values()) for name, share in left.items()}


def mixed(spec: Spec, study: Study, part: str) -> tuple[Tensor, Tensor]:
    """Features and labels of clean images and of those attacked ones that fool the classifier.

    Every image is attacked by one of the attacks, drawn by their shares. One that was misread
    when clean counts as fooling, as in the paper's pools; after DeepFool it is a clean image.
    """
    rounded = spec["trained"].endswith(ROUNDED)
    clean = features(spec, study, CLEAN, part)
    generator = torch.Generator().manual_seed(1000 * spec["seed"] + 30 + networks.PARTS.index(part))
    order = torch.randperm(len(clean), generator=generator)
    parts, begin, total = [clean], 0, 0.0
    for label, share in shares(spec["trained"]).items():
        total += share
        end = round(total * len(clean))
        index = order[begin:end]
        begin = end
        _, wrong = turned(spec, study, label, part, rounded)
        index = index[wrong[index]]
        parts.append(features(spec, study, label, part, rounded=rounded)[index])
    is_adversarial = torch.arange(sum(map(len, parts))) >= len(clean)
    return torch.cat(parts), is_adversarial


class Fitted(NamedTuple):
    """A detector in eval mode, and what is known of it.

    Attributes:
        net: features to scores.
        threshold: what scores exceed where an image is flagged.
        losses: (epochs, 2), in training and on validation images; None where nothing is trained.
    """

    net: nn.Module
    threshold: float
    losses: Tensor | None


def detector(spec: Spec, study: Study) -> Fitted:
    """The row's detector, fit now if it is not kept."""
    _, hash_ = networks.classifier(spec, study)
    key = {**_detector_key(spec, study), "weights": hash_}
    if spec["features"] in FLOWS:  # trained now if it is not there: its hash is known afterwards
        _, own = networks.flow(spec, study, FLOWS[spec["features"]])
        key |= {**networks.flow_depends(spec, study, FLOWS[spec["features"]]), "flow weights": own}
    kept = study.artifact("chapter4-detector", key, lambda: _fitted(spec, study))
    threshold, losses = float(kept.pop("threshold")), kept.pop("losses", None)
    if spec["features"] == PCA:
        found: nn.Module = PCADetector(kept["mean"], kept["basis"], kept["variances"])
    else:
        found = _fresh(spec, study, kept)
        found.load_state_dict(kept)
    return Fitted(found.eval().requires_grad_(False).to(study.device), threshold, losses)


def _fresh(spec: Spec, study: Study, state: dict[str, Tensor] | None, size: int = 0) -> nn.Module:
    if spec["features"] == SEPARATE:
        data = networks.whole(spec, study)
        with seeded(spec["seed"], "cpu"):
            return ResNet(data.channels, data.size, 1, widths=(16, 32, 64), blocks=1)
    size = size if state is None else len(state["mean"])
    return Detector(size, generator=torch.Generator().manual_seed(1000 * spec["seed"] + 31))


def _fitted(spec: Spec, study: Study) -> dict[str, Tensor]:
    profile = PROFILES[study.profile]
    epochs = profile.separate_epochs if spec["features"] == SEPARATE else profile.detector_epochs
    if spec["features"] == PCA:
        found = PCADetector.fit(floats(networks.whole(spec, study).train.images),
                                device=study.device)  # fmt: skip
        seen, is_adversarial = mixed({**spec, "features": SEPARATE}, study, "validation")
        threshold, _ = choose_threshold(found.scores(seen), is_adversarial)
        return {**found.state_dict(), "threshold": torch.tensor(threshold, dtype=torch.float64)}
    seen, is_adversarial = mixed(spec, study, "train")
    net = _fresh(spec, study, None, seen[0].numel())
    patience = PATIENCE
    if spec["features"] == SEPARATE:
        if spec["trained"] != "mixture":  # DeepFool's changes alone are too faint to begin with
            net = detector({**spec, "trained": "mixture"}, study).net.requires_grad_(True)
        net, patience = net.to(memory_format=torch.channels_last), epochs
    history = fit_detector(
        net, seen, is_adversarial, mixed(spec, study, "validation"), epochs=epochs,
        patience=patience,
        generator=torch.Generator().manual_seed(1000 * spec["seed"] + 32), device=study.device,
    )  # fmt: skip
    losses = torch.tensor([[row["loss"], row["validation_loss"]] for row in history])
    return {**net.state_dict(), "threshold": torch.tensor(0.0), "losses": losses}


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


# ---- rows --------------------------------------------------------------------------------------
def detection(spec: Spec, study: Study) -> dict[str, Any]:
    """A detector on clean test images and on their attacked versions.

    Areas and rates are over pool A, all attacked images that are misread, beside all clean ones;
    over pool B, both sides without images that are misread when clean; and over those of B that are
    misread whether they are rounded to 8 bits or not. Thresholds of the rates are such that a given
    share of clean validation images lies above.
    """
    model, hash_ = networks.classifier(spec, study)
    rounded = spec.get("rounded", False)
    _, _, pool = adversarial(spec, study)
    _, wrong = turned(spec, study, spec["attack"], "test", rounded)
    right = predict(model, pool.images, device=study.device) == pool.labels
    clean = scores(spec, study, CLEAN)[: len(pool)]
    hit = scores(spec, study, spec["attack"], rounded=rounded)
    others = scores(spec, study, CLEAN, part="validation")
    bars = {name: threshold_at_fpr(others, rate) for name, rate in RATES.items()}
    found: dict[str, Any] = {
        "n": len(pool),
        "flagged": packed(hit > 0),
        "flagged_clean": packed(clean > 0),
        "right": packed(right),
        "wrong": packed(wrong),
        "weights": hash_,
    }
    pools = {"A": (wrong, torch.ones_like(right)), "B": (wrong & right, right)}
    if spec["attack"] in MAIN and spec["trained"].startswith("mixture"):
        _, either = turned(spec, study, spec["attack"], "test", not rounded)
        pools["both"] = (wrong & either & right, right)
    for name, (attacked, unharmed) in pools.items():
        found[name] = _ranked(hit[attacked].double(), clean[unharmed].double(), bars)
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
    area, low, high = auc(hit, clean)
    found: dict[str, Any] = {"n": len(hit), "clean": len(clean), "auc": area}
    found |= {"auc_low": low, "auc_high": high}
    for name, bar in bars.items():
        found[name] = {"found": int((hit > bar).sum()), "false": int((clean > bar).sum())}
    return found


# ---- what rows depend on -----------------------------------------------------------------------
def _detector_key(spec: Spec, study: Study) -> dict[str, Any]:
    profile = PROFILES[study.profile]
    kind = spec["features"]
    found: dict[str, Any] = {
        **depends_on_classifier({k: v for k, v in spec.items() if k != "attack"}, study),
        "dataset": spec["dataset"],
        "seed": spec["seed"],
        "features": kind,
        "trained": spec["trained"],
        "attacks": [described(name) for name in shares(spec["trained"])],
        "counts": [
            profile.n_train,
            profile.n_validation,
            profile.separate_epochs if kind == SEPARATE else profile.detector_epochs,
            PATIENCE,
        ],
        "rates": RATES,
        "detectors": dict(VERSIONS),
    }
    if kind in FLOWS:
        found |= networks.flow_depends(spec, study, FLOWS[kind])
    return found


def depends(spec: Spec, study: Study) -> dict[str, Any]:
    """What a row with a detector depends on."""
    return {**_detector_key(spec, study), **depends_on_classifier(spec, study)}


DETECTION = Table("detection", detection, depends, flags=flags)
