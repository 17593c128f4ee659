"""From a row's specification to attacked images; classifiers, attacks and flows on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from washout import attacks
from washout.chapters.bits import packed
from washout.chapters.chapter4 import networks
from washout.chapters.chapter4.settings import (
    AUTO,
    CAPPED,
    CLEAN,
    DETECTORS_OF_ALL,
    EPS,
    MAIN,
    NOISE,
    PROFILES,
    SLOW,
    VARIANTS,
)
from washout.data import Split
from washout.defenses import eight_bit
from washout.inference import evaluating, exact, predict
from washout.metrics import norms
from washout.store import Spec
from washout.study import Study, Table

# Raised when what is measured changes; every row depends on them.
VERSIONS = {"measure": 3, "clean": 1, "flow": 1}
BATCH = 500


# ---- images ------------------------------------------------------------------------------------
def attack_of(label: str) -> tuple[str, dict[str, Any]]:
    """The registered attack behind a label, and the settings that differ from its defaults.

    One that has no label of its own, but an epsilon, takes the paper's.
    """
    if label in (CLEAN, NOISE):
        return label, {}
    if label in VARIANTS:
        name, fixed = VARIANTS[label]
        return attacks.get(name).name, fixed
    found = attacks.get(label)
    bounded = "eps" in found.settings()
    return found.name, {"eps": EPS} if bounded else {}


def described(label: str) -> list[Any]:
    """All that attacked images depend on besides the classifier and the clean ones."""
    name, fixed = attack_of(label)
    version = 1 if name in (CLEAN, NOISE) else attacks.get(name).version
    return [label, name, version, fixed, EPS if label in (*CAPPED, NOISE) else None]


def epsilon(label: str, dataset: str) -> float | None:
    """The largest change of a pixel, or whatever the attack's norm bounds; None without a bound."""
    if label in (*CAPPED, NOISE):
        return EPS
    name, fixed = attack_of(label)
    return None if name == CLEAN else attacks.get(name).settings(dataset, **fixed).get("eps")


def count(spec: Spec, study: Study, part: str = "test") -> int | None:
    """How many images an attack sees; None is all of the profile's."""
    profile = PROFILES[study.profile]
    if part == "test" and attack_of(spec.get("attack", CLEAN))[0] in SLOW:
        return profile.n_slow
    return profile.n_other if part == "test" and spec["net"] != profile.nets[0] else None


def adversarial(spec: Spec, study: Study, part: str = "test") -> tuple[Tensor, Tensor, Split]:
    """Attacked images (n, C, H, W), whether each fools the classifier, and the clean ones.

    As in the paper's library an image that is misread when clean counts as one that fools, and
    DeepFool leaves it as it is.
    """
    pool = networks.pool(spec, study, part, count(spec, study, part))
    label = spec["attack"]
    if label == CLEAN:
        return pool.images, torch.zeros(len(pool), dtype=torch.bool), pool
    if label == NOISE:
        images = signs(pool.images, spec)
        model, _ = networks.classifier(spec, study)
        return images, predict(model, images, device=study.device) != pool.labels, pool
    kept = _attacked(spec, study, part)
    return kept["images"], kept["success"], pool


def fooled(spec: Spec, study: Study, part: str = "test", *, rounded: bool = False) -> Tensor:
    """Which attacked images the classifier misreads, (n,) bool.

    Args:
        rounded: to 8 bits, as a file holds them.
    """
    if spec["attack"] in (CLEAN, NOISE) or rounded:
        images, wrong, pool = adversarial(spec, study, part)
        if rounded:
            model, _ = networks.classifier(spec, study)
            wrong = predict(model, eight_bit(images), device=study.device) != pool.labels
        return wrong
    return _attacked(spec, study, part, ("success",))["success"]


def _attacked(spec: Spec, study: Study, part: str, only: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """What is kept of an attack on a part: ``images`` and ``success``."""
    model, hash_ = networks.classifier(spec, study)
    label, n = spec["attack"], count(spec, study, part)
    name, fixed = attack_of(label)
    # Each part its own random starts: a detector must not know those of the test images.
    draw = 1000 * spec["seed"] + 100 * networks.PARTS.index(part) + 10
    key = {
        "draw": draw, "dataset": spec["dataset"], "seed": spec["seed"], "part": part,
        "n": networks.size(spec, study, part, n),
        "weights": hash_, "attack": described(label),
    }  # fmt: skip

    def make() -> dict[str, Tensor]:
        pool = networks.pool(spec, study, part, n)
        found = attacks.run(
            name, model, pool.images, pool.labels, dataset=spec["dataset"], device=study.device,
            generator=torch.Generator().manual_seed(draw), **fixed,
        ).images  # fmt: skip
        if label in CAPPED:
            found = (pool.images + (found - pool.images).clamp(-EPS, EPS)).clamp(0, 1)
        wrong = predict(model, found, device=study.device) != pool.labels
        return {"images": found, "success": wrong}

    return study.artifact("chapter4", key, make, only)


def signs(images: Tensor, spec: Spec) -> Tensor:
    """Each pixel up or down by ``EPS`` at random: as large as an attack, and none."""
    generator = torch.Generator().manual_seed(1000 * spec["seed"] + 41)
    up = torch.randint(2, images.shape, generator=generator) * 2.0 - 1
    return (images + EPS * up).clamp(0, 1)


# ---- rows --------------------------------------------------------------------------------------
def baseline(spec: Spec, study: Study) -> dict[str, Any]:
    """Clean accuracy on all test images, and on all validation images."""
    model, hash_ = networks.classifier(spec, study)
    data = networks.whole(spec, study)
    right = [
        int((predict(model, part.images, device=study.device) == part.labels).sum())
        for part in (data.test, data.validation)
    ]
    return {
        "n": len(data.test),
        "correct": right[0],
        "validation": [right[1], len(data.validation)],
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights": hash_,
    }


def attack(spec: Spec, study: Study) -> dict[str, Any]:
    """How an attack did against the undefended classifier, image by image."""
    model, hash_ = networks.classifier(spec, study)
    images, wrong, pool = adversarial(spec, study)
    right = predict(model, pool.images, device=study.device) == pool.labels
    rounded = predict(model, eight_bit(images), device=study.device) != pool.labels
    sizes = norms(pool.images, images)
    hit = wrong & right
    return {
        "n": len(pool),
        "right": packed(right),
        "wrong": packed(wrong),
        "wrong_rounded": packed(rounded),
        "unchanged": int((sizes.linf == 0).sum()),
        "l2": median(sizes.l2[hit]),
        "linf": median(sizes.linf[hit]),
        "weights": hash_,
    }


def median(values: Tensor) -> float | None:
    """The median, or None of nothing."""
    return values.double().median().item() if len(values) else None


def flow(spec: Spec, study: Study) -> dict[str, Any]:
    """What the flow is worth: bits per dimension on test images, error of its inverse, samples."""
    net, hash_ = networks.flow(spec, study, spec["flow"])
    pool = networks.pool(spec, study)
    generator = torch.Generator(study.device).manual_seed(1000 * spec["seed"] + 12)
    bits = []
    with torch.inference_mode(), evaluating(net), exact():
        for x in pool.images.split(BATCH):
            bits.append(net.bits(net.dequantize(x.to(study.device), generator)).cpu())
        few = pool.images[:64].to(study.device)
        back = net.decode(net.encode(few)[0], clamp=False)
        error = (back - few).abs().max().item()
        samples = net.sample(16, 0.7, torch.Generator(study.device).manual_seed(13)).cpu()
    every = torch.cat(bits).double()
    stack = torch.cat([few[:8].cpu(), back[:8].clamp(0, 1).cpu(), samples])
    return {
        "n": len(pool),
        "bits": every.mean().item(),
        "bits_error": (every.std() / len(every) ** 0.5).item(),
        "inverse_error": error,
        "images": (stack.permute(0, 2, 3, 1) * 255).round().byte().numpy(),
        "parameters": sum(p.numel() for p in net.parameters()),
        "weights": hash_,
    }


# ---- what rows depend on -----------------------------------------------------------------------
def depends_on_classifier(spec: Spec, study: Study) -> dict[str, Any]:
    recipe = networks.recipe_of(spec, study.profile)
    profile = PROFILES[study.profile]
    found: dict[str, Any] = {
        "versions": {"measure": VERSIONS["measure"]},
        "recipe": recipe.key(),
        "weights": study.stored_hash(recipe),
    }
    label = spec.get("attack", CLEAN)
    if label != CLEAN:
        found["attack"] = described(label)
    if "attack" in spec:
        found["n"] = count(spec, study) or profile.n
    return found


def depends_on_flow(spec: Spec, study: Study) -> dict[str, Any]:
    """What a row about a flow alone depends on."""
    found = networks.flow_depends(spec, study, spec["flow"])
    return {**found, "n": PROFILES[study.profile].n, "version": VERSIONS["flow"]}


def flags(spec: Spec) -> list[str]:
    """What the command line needs besides the table, for a row that the plain plan lacks."""
    name = spec["dataset"]
    words = ["--dataset", name] if name not in AUTO else []
    # The plain plan repaints, and shows to every detector, after the paper's attacks alone.
    thorough = "defense" in spec or spec.get("features", "latents") not in DETECTORS_OF_ALL
    usual = MAIN if thorough else VARIANTS
    if spec.get("attack", CLEAN) not in (CLEAN, NOISE, *usual):
        words += ["--attack", spec["attack"]]
    return words if spec["seed"] == 0 else [*words, "--seed", str(spec["seed"])]


BASELINE = Table("baseline", baseline, depends_on_classifier, flags=flags)
ATTACK = Table("attack", attack, depends_on_classifier, flags=flags)
FLOW = Table("flow", flow, depends_on_flow, flags=flags)
