"""What detectors are trained on, and their training."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from washout.chapters.chapter4 import networks
from washout.chapters.chapter4.features import FLOWS, VERSION, features
from washout.chapters.chapter4.measure import depends_on_classifier, described, fooled
from washout.chapters.chapter4.settings import (
    CLEAN,
    MAIN,
    MIXTURE,
    PCA,
    PROFILES,
    ROUNDED,
    SEPARATE,
    TRAINED,
)
from washout.checks import check_choice
from washout.detectors import Detector, PCADetector, choose_threshold, fit_detector
from washout.models import ResNet
from washout.randomness import seeded
from washout.store import Spec
from washout.study import Study

FITTING = 3  # raised when a detector's training changes
PATIENCE = 5  # epochs without a lower validation loss, after which five layers are done
# Five layers on hundreds of features know the training images by heart after an epoch or two;
# on two dozen statistics they do not.
FEW_FEATURES = ("residuals", "grid")
MANY = {"dropout": 0.3, "lr": 3e-4}
FEW = {"dropout": 0.0, "lr": 1e-3}


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

    As many attacked images as there are, in the attacks' shares: of the attack with the largest
    all images, of the others a part, each drawn for itself. One that was misread when clean counts
    as fooling, as in the paper's pools; after DeepFool it is a clean image.
    """
    rounded = spec["trained"].endswith(ROUNDED)
    generator = torch.Generator().manual_seed(1000 * spec["seed"] + 30 + networks.PARTS.index(part))
    parts = [features(spec, study, CLEAN, part)]
    clean, found = len(parts[0]), shares(spec["trained"])
    for label, share in found.items():
        order = torch.randperm(clean, generator=generator)
        index = order[: round(share / max(found.values()) * clean)]
        wrong = fooled({**spec, "attack": label}, study, part, rounded=rounded)
        index = index[wrong[index]]
        parts.append(features(spec, study, label, part, rounded=rounded)[index])
    is_adversarial = torch.arange(sum(map(len, parts))) >= clean
    return torch.cat(parts), is_adversarial


# ---- their training ----------------------------------------------------------------------------
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
    key = {**depends(spec, study), "weights": hash_}
    if spec["features"] in FLOWS:  # trained now if it is not there: its hash is known afterwards
        _, own = networks.flow(spec, study, FLOWS[spec["features"]])
        key |= {**networks.flow_depends(spec, study, FLOWS[spec["features"]]), "flow weights": own}
    kept = study.artifact("chapter4-detector", key, lambda: _fitted(spec, study))
    threshold, losses = float(kept.pop("threshold")), kept.pop("losses", None)
    if spec["features"] == PCA:
        found: nn.Module = PCADetector(kept["mean"], kept["basis"], kept["variances"])
    else:
        size = len(kept["mean"]) if "mean" in kept else 0
        found = _fresh(spec, study, size)
        found.load_state_dict(kept)
    return Fitted(found.eval().requires_grad_(False).to(study.device), threshold, losses)


def _fresh(spec: Spec, study: Study, size: int) -> nn.Module:
    """An untrained detector of ``size`` features, or of images."""
    if spec["features"] == SEPARATE:
        data = networks.whole(spec, study)
        with seeded(spec["seed"], "cpu"):
            return ResNet(data.channels, data.size, 1, widths=(16, 32, 64), blocks=1)
    generator = torch.Generator().manual_seed(1000 * spec["seed"] + 31)
    return Detector(size, generator=generator, dropout=_usual(spec)["dropout"])


def _usual(spec: Spec) -> dict[str, float]:
    return FEW if spec["features"] in (*FEW_FEATURES, SEPARATE) else MANY


def _epochs(spec: Spec, study: Study) -> int:
    profile = PROFILES[study.profile]
    if spec["features"] != SEPARATE:
        return profile.detector_epochs
    # One for a single attack has the mixture's training behind it.
    most = profile.separate_epochs
    return most if spec["trained"] == "mixture" else max(most // 2, 1)


def _fitted(spec: Spec, study: Study) -> dict[str, Tensor]:
    images = spec["features"] == SEPARATE
    if spec["features"] == PCA:
        kept = networks.principal(spec, study)
        pca = PCADetector.of(kept["mean"], kept["basis"], kept["variances"]).to(study.device)
        seen, is_adversarial = mixed({**spec, "features": SEPARATE}, study, "validation")
        threshold, _ = choose_threshold(pca.scores(seen), is_adversarial, balance=True)
        return {**pca.state_dict(), "threshold": torch.tensor(threshold, dtype=torch.float64)}
    seen, is_adversarial = mixed(spec, study, "train")
    net = _fresh(spec, study, seen[0].numel())
    if images and spec["trained"] != "mixture":
        # DeepFool's changes alone are too faint to begin with.
        net = detector({**spec, "trained": "mixture"}, study).net.requires_grad_(True)
    epochs = _epochs(spec, study)
    history = fit_detector(
        net, seen, is_adversarial, mixed(spec, study, "validation"), epochs=epochs,
        patience=epochs if images else PATIENCE, lr=_usual(spec)["lr"],
        precision="bf16" if images else "fp32",
        generator=torch.Generator().manual_seed(1000 * spec["seed"] + 32), device=study.device,
    )  # fmt: skip
    losses = torch.tensor([[row["loss"], row["validation_loss"]] for row in history])
    return {**net.state_dict(), "threshold": torch.tensor(0.0), "losses": losses}


# ---- what a detector depends on ----------------------------------------------------------------
def depends(spec: Spec, study: Study) -> dict[str, Any]:
    """All that a detector's weights depend on."""
    profile, kind = PROFILES[study.profile], spec["features"]
    found: dict[str, Any] = {
        **depends_on_classifier({k: v for k, v in spec.items() if k != "attack"}, study),
        "dataset": spec["dataset"],
        "seed": spec["seed"],
        "features": kind,
        "trained": spec["trained"],
        "attacks": [[described(name), share] for name, share in shares(spec["trained"]).items()],
        "counts": [profile.n_train, profile.n_validation, _epochs(spec, study), PATIENCE],
        "settings": _usual(spec),
        "detectors": [VERSION, FITTING],
    }
    if kind in ("random", "whitened", PCA):
        found["whitening"] = networks.WHITENING
    if kind in FLOWS:
        found |= networks.flow_depends(spec, study, FLOWS[kind])
    if kind == SEPARATE and spec["trained"] != "mixture":
        found["from"] = depends({**spec, "trained": "mixture"}, study)
    return found
