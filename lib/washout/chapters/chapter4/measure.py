"""From a row's specification to attacked images, and what repainting makes of them."""

from __future__ import annotations

from collections.abc import Callable
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
    EPS,
    NOISE,
    PROFILES,
    SLOW,
    VARIANTS,
    ae_recipe,
)
from washout.data import Split
from washout.defenses import Compose, eight_bit, noise_like
from washout.inference import evaluating, exact, predict
from washout.metrics import norms
from washout.store import Spec
from washout.study import Study, Table

# Raised when what is measured changes; every row depends on them.
VERSIONS = {"measure": 2, "clean": 1, "flow": 1}
BATCH = 500


# ---- images ------------------------------------------------------------------------------------
def attack_of(label: str) -> tuple[str, dict[str, Any]]:
    """The registered attack behind a label, and the settings that differ from its defaults."""
    if label in (CLEAN, NOISE):
        return label, {}
    name, fixed = VARIANTS.get(label, (label, {}))
    return attacks.get(name).name, fixed


def described(label: str) -> list[Any]:
    """All that attacked images depend on besides the classifier and the clean ones."""
    name, fixed = attack_of(label)
    version = 1 if name in (CLEAN, NOISE) else attacks.get(name).version
    return [label, name, version, fixed, EPS if label in (*CAPPED, NOISE) else None]


def count(spec: Spec, study: Study, part: str = "test") -> int | None:
    """How many images an attack sees; None is all of the profile's."""
    slow = part == "test" and attack_of(spec["attack"])[0] in SLOW
    return PROFILES[study.profile].n_slow if slow else None


def adversarial(spec: Spec, study: Study, part: str = "test") -> tuple[Tensor, Tensor, Split]:
    """Attacked images (n, C, H, W), whether each fools the classifier, and the clean ones.

    As in the paper's library an image that is misread when clean counts as one that fools, and
    DeepFool leaves it as it is.
    """
    pool = networks.pool(spec, study, part, count(spec, study, part))
    model, hash_ = networks.classifier(spec, study)
    label = spec["attack"]
    if label == CLEAN:
        return pool.images, torch.zeros(len(pool), dtype=torch.bool), pool
    if label == NOISE:
        images = signs(pool.images, spec)
        return images, predict(model, images, device=study.device) != pool.labels, pool
    name, fixed = attack_of(label)
    # Each part its own random starts: a detector must not know those of the test images.
    draw = 1000 * spec["seed"] + 100 * networks.PARTS.index(part) + 10
    key = {
        "draw": draw, "dataset": spec["dataset"], "seed": spec["seed"], "part": part,
        "n": len(pool),
        "weights": hash_, "attack": described(label),
    }  # fmt: skip

    def make() -> dict[str, Tensor]:
        found = attacks.run(
            name, model, pool.images, pool.labels, dataset=spec["dataset"], device=study.device,
            generator=torch.Generator().manual_seed(draw), **fixed,
        ).images  # fmt: skip
        if label in CAPPED:
            found = (pool.images + (found - pool.images).clamp(-EPS, EPS)).clamp(0, 1)
        wrong = predict(model, found, device=study.device) != pool.labels
        return {"images": found, "success": wrong}

    kept = study.artifact("chapter4", key, make)
    return kept["images"], kept["success"], pool


def signs(images: Tensor, spec: Spec) -> Tensor:
    """Each pixel up or down by ``EPS`` at random: as large as an attack, and none."""
    generator = torch.Generator().manual_seed(1000 * spec["seed"] + 41)
    up = torch.randint(2, images.shape, generator=generator) * 2.0 - 1
    return (images + EPS * up).clamp(0, 1)


# ---- rows --------------------------------------------------------------------------------------
def baseline(spec: Spec, study: Study) -> dict[str, Any]:
    """Clean accuracy on all test images."""
    model, hash_ = networks.classifier(spec, study)
    test = networks.whole(spec, study).test
    said = predict(model, test.images, device=study.device)
    return {
        "n": len(test),
        "correct": int((said == test.labels).sum()),
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
        "l2": _median(sizes.l2[hit]),
        "linf": _median(sizes.linf[hit]),
        "weights": hash_,
    }


def _median(values: Tensor) -> float | None:
    return values.double().median().item() if len(values) else None


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
        "survived": _median(shares),
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


def depends_on_flow(spec: Spec, study: Study) -> dict[str, Any]:
    """What a row about a flow alone depends on."""
    found = networks.flow_depends(spec, study, spec["flow"])
    return {**found, "n": PROFILES[study.profile].n, "version": VERSIONS["flow"]}


def flags(spec: Spec) -> list[str]:
    """What the command line needs besides the table, for a row that the plain plan lacks."""
    name = spec["dataset"]
    words = ["--dataset", name] if name not in AUTO else []
    if spec.get("attack", CLEAN) not in (CLEAN, NOISE, *VARIANTS):
        words += ["--attack", spec["attack"]]
    return words if spec["seed"] == 0 else [*words, "--seed", str(spec["seed"])]


BASELINE = Table("baseline", baseline, depends_on_classifier, flags=flags)
ATTACK = Table("attack", attack, depends_on_classifier, flags=flags)
WIDTH = Table("width", width, depends_on_ae, flags=flags)
CLEANED = Table("cleaned", cleaned, depends_on_ae, flags=flags)
FLOW = Table("flow", flow, depends_on_flow, flags=flags)
