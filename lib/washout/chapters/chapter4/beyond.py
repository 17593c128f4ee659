"""What the paper leaves out: sets, distances, a second library, the attacker who knows."""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import Tensor, nn

from washout import attacks
from washout.chapters.bits import packed_floats
from washout.chapters.chapter4 import detecting, networks
from washout.chapters.chapter4.measure import (
    adversarial,
    depends_on_ae,
    depends_on_classifier,
    described,
    flags,
    repainting,
    signs,
)
from washout.chapters.chapter4.settings import (
    AE,
    CLEAN,
    DEQUANTIZED,
    EPS,
    GUARD_RATE,
    MAIN,
    NOISE,
    PROFILES,
    UNSATURATED,
)
from washout.data import Split
from washout.defenses import Defended
from washout.detectors import Detector, energy_test, mmd_test, threshold_at_fpr
from washout.inference import evaluating, logits, predict
from washout.metrics import norms
from washout.models import Glow
from washout.store import Spec
from washout.study import Study, Table

VERSIONS = {"two_sample": 2, "distance": 2, "knowing": 2, "examples": 1, "second": 3}
PERMUTATIONS = 200
DRAWS = 4  # of the dequantization noise in each step of the attacker who knows
FRESH = 20  # and of those that judge
LEVEL = 0.05  # p-values up to which a set counts as attacked


# ---- sets --------------------------------------------------------------------------------------
def two_sample(spec: Spec, study: Study) -> dict[str, Any]:
    """How often a test tells a set of attacked images from a set of other, clean ones.

    After ``none`` both sets are clean: how often the test is wrong there.
    """
    images, wrong, pool = adversarial(spec, study)
    if spec["space"] == "latents":
        view = {**spec, "features": "latents"}
        clean = detecting.features(view, study, CLEAN, "test")
        hit = detecting.features(view, study, spec["attack"], "test")
    else:
        clean, hit = pool.images.flatten(1), images.flatten(1)
    usable = wrong if spec["attack"] != CLEAN else torch.ones_like(wrong)
    # Each row its own sets: what differs between rows is then not the luck of one draw.
    words = f"{spec['seed']} {spec['attack']} {spec['test']} {spec['space']} {spec['size']}"
    generator = torch.Generator().manual_seed(zlib.crc32(words.encode()))
    size, trials = spec["size"], PROFILES[study.profile].trials
    test = {"mmd": mmd_test, "energy": energy_test}[spec["test"]]
    clean, hit = clean.to(study.device), hit.to(study.device)
    if usable.sum() < 2:
        return {"trials": 0, "found": 0, "size": int(usable.sum())}
    found = 0
    for _ in range(trials):
        order = torch.randperm(len(pool), generator=generator)
        attacked = order[usable[order]][:size]
        free = torch.ones(len(pool), dtype=torch.bool)
        free[attacked] = False  # no image stands on both sides
        others = order[free[order]][:size]
        result = test(clean[others], hit[attacked], permutations=PERMUTATIONS, generator=generator)
        found += result.p_value <= LEVEL
    return {"trials": trials, "found": int(found), "size": min(size, int(usable.sum()))}


# ---- distances ---------------------------------------------------------------------------------
def distance(spec: Spec, study: Study) -> dict[str, Any]:
    """How far a change moves each image in pixels and in the flow's latents.

    Beside the latents stand other linear and random views of an image: whitened pixels, and the
    last latents of an untrained flow.

    Each in units of the median distance between two clean images there. Both images of a pair get
    the same dequantization noise, but for the change ``dequantized``, which is another draw of it.
    ``noise`` is of the sign kind and as large as the attacks may be.
    """
    net, hash_ = networks.flow(spec, study)
    change, pool = spec["change"], networks.pool(spec, study)
    generator = torch.Generator().manual_seed(1000 * spec["seed"] + 41)
    seeds = (50, 50)
    if change == DEQUANTIZED:
        images, seeds = pool.images, (50, 51)
    elif change == NOISE:
        images = signs(pool.images, spec)
    else:
        images, _, pool = adversarial({**spec, "attack": change}, study)
    before = networks.latents(net, pool.images, seeds[0], study)
    after = networks.latents(net, images, seeds[1], study)
    order = torch.randperm(len(pool), generator=generator)
    values: dict[str, Any] = {"n": len(pool), "weights": hash_}
    whiten = networks.whitening(spec, study)
    untrained = networks.flow(spec, study, "random")[0]
    levels = {
        "pixels": (pool.images.flatten(1), images.flatten(1)),
        "last": (before[0], after[0]),
        "all": (torch.cat(before, 1), torch.cat(after, 1)),
        "whitened": (whiten(pool.images), whiten(images)),
        "random": tuple(
            networks.latents(untrained, x, seed, study)[0]
            for x, seed in zip((pool.images, images), seeds, strict=True)
        ),
    }
    for name, (x, moved) in levels.items():
        scale = (x - x[order]).norm(dim=1)[order != torch.arange(len(x))].median()
        part = (moved - x).norm(dim=1) / scale
        values[name] = packed_floats(part)
        values[f"{name}_median"] = part.double().median().item()
    return values


# ---- the attacker who knows --------------------------------------------------------------------
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
        seed: of these draws, the same at every call.
    """

    def __init__(self, net: nn.Module, threshold: float, flow: Glow | None, draws: int, seed: int):
        super().__init__()
        self.net, self.threshold, self.flow = net, threshold, flow
        self.draws, self.seed = draws if flow is not None else 1, seed

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B,)."""
        seen = images
        if self.flow is not None:
            generator = torch.Generator(images.device).manual_seed(self.seed)
            noisy = self.flow.dequantize(images.repeat(self.draws, 1, 1, 1), generator)
            seen = self.flow.latent(noisy, "last")
        elif isinstance(self.net, Detector):
            seen = images.flatten(1)
        found = self.net(seen).reshape(self.draws, len(images))
        return found.mean(0) - self.threshold


def small_pool(spec: Spec, study: Study, model: nn.Module) -> Split:
    """The first of the test images, those that are read rightly."""
    pool = networks.pool(spec, study, n=PROFILES[study.profile].n_small)
    return pool[predict(model, pool.images, device=study.device) == pool.labels]


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
    net, usual, _ = detecting.detector(view, study)
    # Guards are compared at one rate of false alarms, on validation images.
    others = detecting.scores(view, study, CLEAN, part="validation")
    threshold = usual + threshold_at_fpr(others, GUARD_RATE)
    flow = networks.flow(spec, study)[0] if spec["guard"] == "latents" else None
    draws = DRAWS * spec.get("draws", 1)
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


# ---- a second opinion --------------------------------------------------------------------------
LIBRARY: dict[str, tuple[str, dict[str, Any]]] = {
    "fgsm": ("foolbox:LinfFastGradientAttack", {"eps": EPS}),
    "pgd": ("foolbox:LinfPGD", {"eps": EPS}),
    "deepfool": ("foolbox:LinfDeepFoolAttack", {}),
    UNSATURATED: ("foolbox:LinfPGD", {"eps": 0.005}),
}
# Where PGD does not fool everything: does a stronger one fool more?
STRONGER: dict[str, Any] = {"eps": 0.005, "steps": 80, "restarts": 5}


def second(spec: Spec, study: Study) -> dict[str, Any]:
    """Our attack and foolbox's, with its own defaults, within the same epsilon."""
    model, hash_ = networks.classifier(spec, study)
    n = PROFILES[study.profile].n_small
    images, _, pool = adversarial(spec, study)
    images, pool = images[:n], pool[:n]
    name, settings = LIBRARY[spec["attack"]]
    other = attacks.run(
        name, model, pool.images, pool.labels, dataset=spec["dataset"], device=study.device,
        generator=torch.Generator().manual_seed(0), **settings,
    ).images  # fmt: skip
    cut = (pool.images + (other - pool.images).clamp(-EPS, EPS)).clamp(0, 1)
    found = [predict(model, x, device=study.device) != pool.labels for x in (images, cut)]
    # What was misread before stays as it is in DeepFool, and would pull the median down.
    right = predict(model, pool.images, device=study.device) == pool.labels
    pairs = zip((images, cut), found, strict=True)
    sizes = [norms(pool.images, x).linf[wrong & right] for x, wrong in pairs]
    more: dict[str, Any] = {}
    if spec["attack"] == UNSATURATED:
        strong = attacks.run(
            "pgd", model, pool.images, pool.labels, device=study.device,
            generator=torch.Generator().manual_seed(1), **STRONGER,
        ).images  # fmt: skip
        wrong = predict(model, strong, device=study.device) != pool.labels
        more = {"stronger": int(wrong.sum()), "how": STRONGER}
    return {
        **more,
        "n": len(pool),
        "success": [int(wrong.sum()) for wrong in found],
        "agree": int((found[0] == found[1]).sum()),
        "linf": [s.double().median().item() if len(s) else None for s in sizes],
        "weights": hash_,
    }


# ---- pictures ----------------------------------------------------------------------------------
def examples(spec: Spec, study: Study) -> dict[str, Any]:
    """Images clean and after each attack; the first also through each autoencoder; what is read.

    The first of the draw that are read rightly when clean and wrongly after each attack.
    """
    model, hash_ = networks.classifier(spec, study)
    pool = networks.pool(spec, study)
    right = predict(model, pool.images, device=study.device) == pool.labels
    found = {label: adversarial({**spec, "attack": label}, study) for label in MAIN}
    turned = right & torch.stack([wrong for _, wrong, _ in found.values()]).all(0)
    index = (turned if turned.any() else right).nonzero().flatten()[: spec["count"]]
    columns = [pool.images[index], *(images[index] for images, _, _ in found.values())]
    rows = torch.stack(columns, 1)  # (count, 4, C, H, W)
    hashes: dict[str, str] = {}
    lines = [*rows]
    nets = [repainting(name, spec, study, hashes) for name in AE]
    with torch.inference_mode():
        lines += [net(rows[0].to(study.device)).cpu() for net in nets]
    classes = networks.whole(spec, study).classes
    said = [[classes[k] for k in predict(model, x, device=study.device)] for x in lines]
    stack = torch.cat(lines).permute(0, 2, 3, 1)
    return {
        "labels": [classes[k] for k in pool.labels[index]],
        "columns": [CLEAN, *MAIN],
        "lines": [*map(str, range(len(index))), *AE],
        "said": said,
        "images": (stack * 255).round().byte().numpy(),
        "weights": {"classifier": hash_, **hashes},
    }


# ---- what rows depend on -----------------------------------------------------------------------
def depends_two(spec: Spec, study: Study) -> dict[str, Any]:
    found = {**depends_on_classifier(spec, study), "version": VERSIONS["two_sample"]}
    found |= {"trials": [PROFILES[study.profile].trials, PERMUTATIONS, LEVEL]}
    if spec["space"] == "latents":
        found |= {**networks.flow_depends(spec, study), "features": detecting.VERSIONS["features"]}
    return found


def depends_distance(spec: Spec, study: Study) -> dict[str, Any]:
    found = {**networks.flow_depends(spec, study), "version": VERSIONS["distance"]}
    found |= {"untrained": networks.flow_depends(spec, study, "random")["flow"]}
    if spec["change"] in (NOISE, DEQUANTIZED):
        return {**found, "n": PROFILES[study.profile].n}
    return {**depends_on_classifier({**spec, "attack": spec["change"]}, study), **found}


def depends_knowing(spec: Spec, study: Study) -> dict[str, Any]:
    profile = PROFILES[study.profile]
    found = {"small": [profile.n_small, profile.steps], "pgd": attacks.get("pgd").version}
    found |= {"version": VERSIONS["knowing"], "draws": [DRAWS, FRESH], "rate": GUARD_RATE}
    if spec["guard"].startswith("ae"):
        return {**depends_on_ae({**spec, "defense": spec["guard"]}, study), **found}
    view = {**spec, "features": spec["guard"], "trained": "mixture", "attack": CLEAN}
    return {**detecting.depends(view, study), **found}


def depends_second(spec: Spec, study: Study) -> dict[str, Any]:
    found = {**depends_on_classifier(spec, study), "version": VERSIONS["second"]}
    return {**found, "n": PROFILES[study.profile].n_small, "other": list(LIBRARY[spec["attack"]])}


def depends_shown(spec: Spec, study: Study) -> dict[str, Any]:
    every = [described(label) for label in MAIN]
    nets = [depends_on_ae({**spec, "defense": name}, study)["autoencoder"] for name in AE]
    found = {**depends_on_classifier(spec, study), "all": every, "autoencoders": nets}
    return {**found, "n": PROFILES[study.profile].n, "version": VERSIONS["examples"]}


TWO_SAMPLE = Table("two_sample", two_sample, depends_two, flags=flags)
DISTANCE = Table("distance", distance, depends_distance, flags=flags)
KNOWING = Table("knowing", knowing, depends_knowing, flags=flags)
SECOND = Table("second_library", second, depends_second, flags=flags)
EXAMPLES = Table("examples", examples, depends_shown, flags=flags)
