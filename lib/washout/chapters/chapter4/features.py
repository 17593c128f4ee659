"""What detectors look at: images, latents of a flow, whitened pixels, statistics of fine detail."""

from __future__ import annotations

import torch
from torch import Tensor

from washout.chapters.chapter4 import networks
from washout.chapters.chapter4.measure import adversarial, count, described
from washout.chapters.chapter4.settings import SEPARATE
from washout.data import floats
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
    """What whitens an untrained flow's latents, on whose scale no training has worked.

    Fit to all clean training images, as pixels are: fit to the few that a detector learns from, it
    would let other clean images vary more than those.
    """
    images = networks.whole(spec, study).train.images
    key = {
        "dataset": spec["dataset"], "seed": spec["seed"], "n": len(images),
        "version": [VERSION, networks.WHITENING], **networks.flow_depends(spec, study, "random"),
    }  # fmt: skip

    def make() -> dict[str, Tensor]:
        net, _ = networks.flow(spec, study, "random")
        last, before = networks.latents(net, floats(images), _noise(spec, "train"), study)
        return Whitening.fit(torch.cat([before, last], 1), device=study.device).state_dict()

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

    def make() -> dict[str, Tensor]:
        images = images_of(spec, study, label, part, rounded)
        last, before = networks.latents(net, images, _noise(spec, part), study)
        return {"last": last, "before": before}

    only = ("last",) if spec["features"] == "latents" else ()
    return study.artifact("chapter4-latents", key, make, only)


def _noise(spec: Spec, part: str) -> int:
    """The seed of a part's noise: a detector must not know the test images' draws."""
    return 1000 * spec["seed"] + 20 + networks.PARTS.index(part)
