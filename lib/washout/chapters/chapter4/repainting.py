"""Method 1: what autoencoders, and the controls beside them, make of attacked images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from washout.chapters.bits import packed
from washout.chapters.chapter4 import networks
from washout.chapters.chapter4.measure import (
    BATCH,
    VERSIONS,
    adversarial,
    depends_on_classifier,
    described,
    flags,
    median,
)
from washout.chapters.chapter4.settings import PROFILES, ae_recipe
from washout.defenses import Compose, eight_bit, noise_like
from washout.inference import evaluating, predict
from washout.store import Spec
from washout.study import Study, Table


def repainting(
    name: str, spec: Spec, study: Study, hashes: dict[str, str]
) -> Callable[[Tensor], Tensor]:
    """A defense by name: ``none``, ``8bit``, ``aeN`` of width N, ``8bit+aeN``, or ``noise:aeN``."""
    if name == "none":
        return lambda x: x
    if name == "8bit":
        return eight_bit
    if name.startswith("8bit+"):
        return Compose(eight_bit, repainting(name.removeprefix("8bit+"), spec, study, hashes))
    if name.startswith("noise:"):
        like = repainting(name.removeprefix("noise:"), spec, study, hashes)
        source = torch.Generator(study.device).manual_seed(1000 * spec["seed"] + 11)
        return lambda x: noise_like(x, like(x), source)
    net, hashes[name] = networks.autoencoder(spec, study, int(name.removeprefix("ae")))
    return net


def cleaned(spec: Spec, study: Study) -> dict[str, Any]:
    """One attack, one repainting: which images are read rightly, and what is left of the change.

    ``survived`` is ||D(x*) - D(x)|| / ||x* - x||, for each image that was changed: how much of
    the perturbation passes; ``moved`` is ||D(x*) - x*||, ``back`` ||D(x*) - x||, means of L2.
    """
    model, hash_ = networks.classifier(spec, study)
    hashes: dict[str, str] = {}
    wash = repainting(spec["defense"], spec, study, hashes)
    images, _, pool = adversarial(spec, study)
    right, survived = [], []
    moved = back = 0.0
    with torch.inference_mode(), evaluating(model):
        for x, clean, y in zip(
            images.split(BATCH), pool.images.split(BATCH), pool.labels.split(BATCH), strict=True
        ):
            x, clean = x.to(study.device), clean.to(study.device)
            out = wash(x)
            right.append(model(out).argmax(1).cpu() == y)
            if not spec["defense"].startswith("noise:"):  # whose every draw is another
                change = (x - clean).flatten(1).norm(dim=1)
                left = (out - wash(clean)).flatten(1).norm(dim=1)
                survived.append((left / change)[change > 0].cpu())
            moved += (out - x).flatten(1).norm(dim=1).sum().item()
            back += (out - clean).flatten(1).norm(dim=1).sum().item()
    bits, shares = torch.cat(right), torch.cat(survived or [torch.zeros(0)])
    return {
        "n": len(pool),
        "correct": int(bits.sum()),
        "right": packed(bits),
        "survived": median(shares),
        "shrunk": int((shares < 1).sum()),
        "changed": len(shares),
        "moved": moved / len(pool),
        "back": back / len(pool),
        "weights": {"classifier": hash_, **hashes},
    }


def width(spec: Spec, study: Study) -> dict[str, Any]:
    """An autoencoder on validation images, where its width is chosen; and its error.

    ``restored`` of ``pool`` are read rightly after DeepFool and the autoencoder, of those that
    DeepFool leaves misread: what the paper's number is about.
    """
    # Trained first: another process may still be at the classifier.
    net, own = networks.autoencoder(spec, study, spec["width"])
    model, hash_ = networks.classifier(spec, study)
    hit, wrong, pool = adversarial({**spec, "attack": "deepfool"}, study, "validation")
    before = predict(model, pool.images, device=study.device) == pool.labels
    with torch.inference_mode():
        outs, hits = (
            torch.cat([net(x.to(study.device)).cpu() for x in images.split(BATCH)])
            for images in (pool.images, hit)
        )
    after, restored = (
        predict(model, images, device=study.device) == pool.labels for images in (outs, hits)
    )
    return {
        "n": int(before.sum()),
        "correct": int((before & after).sum()),
        "pool": int(wrong.sum()),
        "restored": int((restored & wrong).sum()),
        "mse": (outs - pool.images).square().mean().item(),
        "parameters": sum(p.numel() for p in net.parameters()),
        "weights": {"classifier": hash_, "autoencoder": own},
    }


# ---- what rows depend on -----------------------------------------------------------------------
def depends_on_ae(spec: Spec, study: Study) -> dict[str, Any]:
    """What a row with an autoencoder depends on."""
    name = spec["defense"] if "defense" in spec else f"ae{spec['width']}"
    found = {**depends_on_classifier(spec, study), "clean": VERSIONS["clean"]}
    if "width" in spec:
        found["n"] = PROFILES[study.profile].n_validation
        found["attack"] = described("deepfool")
    if "ae" in name:
        size = int(name.rpartition("ae")[2])
        recipe = ae_recipe(spec["dataset"], size, study.profile, spec["seed"])
        found["autoencoder"] = [recipe.key(), study.stored_hash(recipe)]
    return found


WIDTH = Table("width", width, depends_on_ae, flags=flags)
CLEANED = Table("cleaned", cleaned, depends_on_ae, flags=flags)
