"""What detectors look at: images, latents of a flow, whitened pixels, statistics of fine detail."""

from __future__ import annotations

import torch
from torch import Tensor

from washout.chapters.chapter4 import networks
from washout.chapters.chapter4.measure import adversarial, count, described
from washout.chapters.chapter4.settings import CLEAN, SEPARATE
from washout.defenses import eight_bit
from washout.detectors import Whitening, residual_statistics
from washout.store import Spec
from washout.study import Study

VERSION = 3  # raised when what a detector sees changes
FLOWS = {"latents": "trained", "all": "trained", "random": "random"}


def images_of(spec: Spec, study: Study, label: str, part: str, rounded: bool) -> Tensor:
    """Images of a part after an attack, ``none`` among them."""
    images, _, _ = adversarial({**spec, "attack": label}, study, part)
    return eight_bit(images) if rounded else images


def features(spec: Spec, study: Study, label: str, part: str, *, rounded: bool = False) -> Tensor:
    """What the row's detector sees of each image, (n, D), or (n, C, H, W) for ``separate``."""
    kind = spec["features"]
    if kind in FLOWS:
        kept = latents_of(spec, study, label, part, rounded)
        if kind == "latents":
            return kept["last"]
        every = torch.cat([kept["before"], kept["last"]], 1)
        return every if kind == "all" else _white(random_whitening(spec, study), every, study)
    images = images_of(spec, study, label, part, rounded)
    if kind == SEPARATE:
        return images
    if kind == "pixels":
        return images.flatten(1)
    if kind == "whitened":
        return _white(networks.whitening(spec, study), images, study)
    return residual_statistics(images, grid=kind == "grid")


def _white(whitening: Whitening, seen: Tensor, study: Study) -> Tensor:
    whitening = whitening.to(study.device)
    return torch.cat([whitening(part.to(study.device)).cpu() for part in seen.split(2000)])


def random_whitening(spec: Spec, study: Study) -> Whitening:
    """What whitens an untrained flow's latents, on whose scale no training has worked."""
    key = {
        "dataset": spec["dataset"], "seed": spec["seed"], "n": networks.size(spec, study, "train"),
        "version": [VERSION, networks.WHITENING], **networks.flow_depends(spec, study, "random"),
    }  # fmt: skip

    def make() -> dict[str, Tensor]:
        kept = latents_of({**spec, "features": "random"}, study, CLEAN, "train", False)
        every = torch.cat([kept["before"], kept["last"]], 1)
        return Whitening.fit(every, device=study.device).state_dict()

    return Whitening(**study.artifact("chapter4-whitening", key, make))


def latents_of(spec: Spec, study: Study, label: str, part: str, rounded: bool) -> dict[str, Tensor]:
    """Latents of the row's flow: ``last`` level's (n, D), and of the levels ``before`` (n, D')."""
    kind = FLOWS[spec["features"]]
    net, flow_hash = networks.flow(spec, study, kind)
    _, hash_ = networks.classifier(spec, study)
    n = count({**spec, "attack": label}, study, part)
    key = {
        "dataset": spec["dataset"], "seed": spec["seed"], "part": part,
        "n": networks.size(spec, study, part, n),
        "attack": described(label), "rounded": rounded, "classifier": hash_, "version": VERSION,
        **networks.flow_depends(spec, study, kind), "weights": flow_hash,
    }  # fmt: skip
    # Each part its own noise: a detector must not know the test images' draws.
    seed = 1000 * spec["seed"] + 20 + networks.PARTS.index(part)

    def make() -> dict[str, Tensor]:
        images = images_of(spec, study, label, part, rounded)
        last, before = networks.latents(net, images, seed, study)
        return {"last": last, "before": before}

    only = ("last",) if spec["features"] == "latents" else ()
    return study.artifact("chapter4-latents", key, make, only)
