"""The attacker who knows the defense or the detector."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from washout import attacks
from washout.chapters.chapter4 import detecting, networks
from washout.chapters.chapter4.fitting import detector
from washout.chapters.chapter4.measure import flags
from washout.chapters.chapter4.repainting import depends_on_ae, repainting
from washout.chapters.chapter4.settings import CLEAN, GUARD_RATE, PROFILES
from washout.data import Split
from washout.defenses import Defended
from washout.detectors import Detector, threshold_at_fpr
from washout.inference import evaluating, logits, predict
from washout.models import Glow
from washout.store import Spec
from washout.study import Study, Table

VERSION = 4
DRAWS = 4  # of the dequantization noise in each step
FRESH = 20  # and of those that judge
COMPARED = 44  # seed of the draws by which the attacker compares what he found
# Images, each draw of their noise counted, that pass a flow together with a gradient: wide flows
# keep megabytes of each.
TOGETHER, ON_GPU = 512, 2048


class Guarded(nn.Module):
    """A classifier and a detector as one classifier with one more class: attacked.

    That class is ahead of all others by the detector's score. Who reaches another class past both
    has fooled both.

    Source: Carlini & Wagner, "Adversarial Examples Are Not Easily Detected" (2017), section 3.2,
    where the score is multiplied by the largest logit.
    """

    def __init__(self, model: nn.Module, score: nn.Module):
        super().__init__()
        self.model, self.score = model, score

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K + 1)."""
        found = self.model(images)
        top = found.amax(1) + self.score(images).to(found.dtype)
        return torch.cat([found, top[:, None]], 1)


class Score(nn.Module):
    """A detector's score of images with a gradient: above 0 where flagged.

    Args:
        flow: whose last latents the detector sees; without one it sees the images.
        draws: of the flow's dequantization noise, whose scores are averaged.
        seed: of these draws, other ones at every call.
    """

    def __init__(self, net: nn.Module, threshold: float, flow: Glow | None, draws: int, seed: int):
        super().__init__()
        self.net, self.threshold, self.flow = net, threshold, flow
        self.draws = draws if flow is not None else 1
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Draw from this seed on."""
        self.seed = seed
        self.generator: torch.Generator | None = None

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,)."""
        seen = images
        if self.flow is not None:
            if self.generator is None:  # where the images are
                self.generator = torch.Generator(images.device).manual_seed(self.seed)
            noisy = self.flow.dequantize(images.repeat(self.draws, 1, 1, 1), self.generator)
            seen = self.flow.latent(noisy, "last")
        elif isinstance(self.net, Detector):
            seen = images.flatten(1)
        found = self.net(seen).reshape(self.draws, len(images))
        return found.mean(0) - self.threshold


def small_pool(spec: Spec, study: Study, model: nn.Module) -> Split:
    """The first of the test images, those that are read rightly."""
    pool = networks.pool(spec, study, n=_count(spec, study))
    return pool[predict(model, pool.images, device=study.device) == pool.labels]


def _count(spec: Spec, study: Study) -> int:
    profile = PROFILES[study.profile]
    return profile.n_flow if spec["guard"] == "latents" else profile.n_small


def knowing(spec: Spec, study: Study) -> dict[str, Any]:
    """PGD by an attacker who knows the classifier, and the guard too or not.

    Against an autoencoder: any wrong class behind it. Against a detector: towards the classes that
    the classifier thinks second and so on, past the detector, the best of them by what the
    attacker can compute; judged with fresh dequantization noise.
    """
    model, hash_ = networks.classifier(spec, study)
    pool = small_pool(spec, study, model)
    steps = PROFILES[study.profile].steps * spec.get("longer", 1)
    settings: dict[str, Any] = {
        "eps": spec["eps"], "steps": steps, "step": min(2.5 * spec["eps"] / steps, 1.0),
        "restarts": spec.get("restarts", 1),
        "generator": torch.Generator().manual_seed(1000 * spec["seed"] + 42),
        "device": study.device,
    }  # fmt: skip
    values: dict[str, Any] = {"n": len(pool), "steps": steps}
    if spec["guard"].startswith("ae"):
        hashes: dict[str, str] = {}
        guarded = Defended(model, repainting(spec["guard"], spec, study, hashes))
        target: nn.Module = guarded if spec["knows"] else model
        hit = attacks.run("pgd", target, pool.images, pool.labels, **settings).images
        after = predict(guarded, hit, device=study.device) == pool.labels
        return {
            **values,
            "correct": int(after.sum()),
            "misread": int((~after).sum()),
            "weights": {"classifier": hash_, **hashes},
        }
    view = {**spec, "features": spec["guard"], "trained": "mixture"}
    net, usual, _ = detector(view, study)
    # Guards are compared at one rate of false alarms, on validation images.
    others = detecting.scores(view, study, CLEAN, part="validation")
    threshold = usual + threshold_at_fpr(others, GUARD_RATE)
    flow = networks.flow(spec, study)[0] if spec["guard"] == "latents" else None
    draws = DRAWS * spec.get("draws", 1)
    if flow is not None and spec["knows"]:
        together = TOGETHER if study.device == "cpu" else ON_GPU
        settings["batch_size"] = max(together // (draws * settings["restarts"]), 1)
    score = Score(net, threshold, flow, draws, 1000 * spec["seed"] + 43).to(study.device)
    target = Guarded(model, score) if spec["knows"] else model
    order = logits(model, pool.images, device=study.device).topk(spec.get("targets", 1) + 1, 1)
    best, worst = pool.images, torch.full((len(pool),), torch.inf)
    for wanted in order.indices[:, 1:].unbind(1):
        hit = attacks.run("pgd", target, pool.images, wanted, targeted=True, **settings).images
        loss = _loss(model, score if spec["knows"] else None, hit, pool.labels, study)
        best = torch.where((loss < worst)[:, None, None, None], hit, best)
        worst = torch.minimum(loss, worst)
    misread = predict(model, best, device=study.device) != pool.labels
    flagged = [
        _flagged(net, threshold, flow, best, 1000 * spec["seed"] + 60 + draw, study)
        for draw in range(FRESH if flow is not None else 1)
    ]
    each = torch.stack(flagged).double()
    alarms = _flagged(net, threshold, flow, pool.images, 1000 * spec["seed"] + 59, study)
    return {
        **values,
        "flagged_clean": int(alarms.sum()),
        "misread": int(misread.sum()),
        "flagged": each.mean(0).sum().item(),
        "accepted": (misread * (1 - each)).mean(0).sum().item(),
        "draws": len(flagged),
        "weights": {"classifier": hash_},
    }


def _loss(
    model: nn.Module, score: Score | None, images: Tensor, labels: Tensor, study: Study
) -> Tensor:
    """What the attacker chooses by, (B,): what is misread first, then the lowest score."""
    misread = predict(model, images, device=study.device) != labels
    if score is None:
        return torch.where(misread, 0.0, 1.0)
    score.restart(COMPARED)  # what is compared meets the same noise
    with torch.inference_mode(), evaluating(score):
        scores = torch.cat([score(x.to(study.device)).cpu() for x in images.split(100)])
    return scores.clone().float() + torch.where(misread, 0.0, 1e6)


def _flagged(
    net: nn.Module, threshold: float, flow: Glow | None, images: Tensor, seed: int, study: Study
) -> Tensor:
    if flow is not None:
        images = networks.latents(flow, images, seed, study)[0]
    elif isinstance(net, Detector):
        images = images.flatten(1)
    with torch.inference_mode(), evaluating(net):
        parts = [net(x.to(study.device)).reshape(len(x)).cpu() for x in images.split(500)]
    return torch.cat(parts) > threshold


def depends(spec: Spec, study: Study) -> dict[str, Any]:
    """What a row depends on."""
    small = [_count(spec, study), PROFILES[study.profile].steps]
    found = {"small": small, "pgd": attacks.get("pgd").version, "version": VERSION}
    found |= {"draws": [DRAWS, FRESH], "rate": GUARD_RATE}
    if spec["guard"].startswith("ae"):
        return {**depends_on_ae({**spec, "defense": spec["guard"]}, study), **found}
    view = {**spec, "features": spec["guard"], "trained": "mixture", "attack": CLEAN}
    return {**detecting.depends(view, study), **found}


KNOWING = Table("knowing", knowing, depends, flags=flags)
