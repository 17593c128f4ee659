"""What the paper leaves out: sets of images, distances, a second library."""

from __future__ import annotations

import zlib
from typing import Any

import torch

from washout import attacks
from washout.chapters.bits import packed_floats
from washout.chapters.chapter4 import features, networks
from washout.chapters.chapter4.measure import (
    adversarial,
    depends_on_classifier,
    described,
    flags,
    signs,
)
from washout.chapters.chapter4.repainting import depends_on_ae, repainting
from washout.chapters.chapter4.settings import (
    AE,
    CLEAN,
    DEQUANTIZED,
    EPS,
    MAIN,
    NOISE,
    PROFILES,
    UNSATURATED,
    UNSATURATED_EPS,
)
from washout.detectors import energy_test, mmd_test
from washout.inference import predict
from washout.metrics import norms
from washout.store import Spec
from washout.study import Study, Table

VERSIONS = {"two_sample": 3, "distance": 3, "examples": 2, "second": 4}
PERMUTATIONS = 200
LEVEL = 0.05  # p-values up to which a set counts as attacked


# ---- sets --------------------------------------------------------------------------------------
def two_sample(spec: Spec, study: Study) -> dict[str, Any]:
    """How often a test tells a set of attacked images from a set of other, clean ones.

    After ``none`` both sets are clean: how often the test is wrong there.
    """
    images, wrong, pool = adversarial(spec, study)
    if spec["space"] == "latents":
        view = {**spec, "features": "latents"}
        clean = features.features(view, study, CLEAN, "test")
        hit = features.features(view, study, spec["attack"], "test")
    else:
        clean, hit = pool.images.flatten(1), images.flatten(1)
    usable = torch.ones_like(wrong)
    if spec["attack"] != CLEAN:  # an image that was misread as it is may have come back unchanged
        usable = wrong & (images != pool.images).flatten(1).any(1)
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


# ---- a second opinion --------------------------------------------------------------------------
LIBRARY: dict[str, tuple[str, dict[str, Any]]] = {
    "fgsm": ("foolbox:LinfFastGradientAttack", {"eps": EPS}),
    "pgd": ("foolbox:LinfPGD", {"eps": EPS}),
    "deepfool": ("foolbox:LinfDeepFoolAttack", {}),
    UNSATURATED: (
        "foolbox:LinfPGD",
        {"eps": UNSATURATED_EPS, "steps": 20, "rel_stepsize": 1 / 8},
    ),
}
# Where PGD does not fool everything: does one of twice the steps, with five starts, fool more?
STRONGER: dict[str, Any] = {
    "eps": UNSATURATED_EPS, "steps": 40, "step": UNSATURATED_EPS / 8, "restarts": 5,
}  # fmt: skip


def second(spec: Spec, study: Study) -> dict[str, Any]:
    """Our attack and foolbox's, with the same steps, within the same epsilon."""
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

    ``changes`` are 128 where nothing is changed, and 127 above or below by the ``largest``.

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
    # A change below half a level would vanish in 8 bits: each is kept in units of its largest.
    changes = rows[:, 1:] - rows[:, :1]
    largest = changes.abs().amax((2, 3, 4), keepdim=True)
    levels = (127 * changes / largest.clamp(min=1e-9)).round().flatten(0, 1) + 128
    return {
        "labels": [classes[k] for k in pool.labels[index]],
        "columns": [CLEAN, *MAIN],
        "lines": [*map(str, range(len(index))), *AE],
        "said": said,
        "images": (stack * 255).round().byte().numpy(),
        "changes": levels.permute(0, 2, 3, 1).byte().numpy(),
        "largest": largest.flatten().tolist(),
        "weights": {"classifier": hash_, **hashes},
    }


# ---- what rows depend on -----------------------------------------------------------------------
def depends_two(spec: Spec, study: Study) -> dict[str, Any]:
    found = {**depends_on_classifier(spec, study), "version": VERSIONS["two_sample"]}
    found |= {"trials": [PROFILES[study.profile].trials, PERMUTATIONS, LEVEL]}
    if spec["space"] == "latents":
        found |= {**networks.flow_depends(spec, study), "features": features.VERSION}
    return found


def depends_distance(spec: Spec, study: Study) -> dict[str, Any]:
    found = {**networks.flow_depends(spec, study), "version": VERSIONS["distance"]}
    found |= {"untrained": networks.flow_depends(spec, study, "random")["flow"]}
    found |= {"whitening": networks.WHITENING}
    if spec["change"] in (NOISE, DEQUANTIZED):
        return {**found, "n": PROFILES[study.profile].n}
    return {**depends_on_classifier({**spec, "attack": spec["change"]}, study), **found}


def depends_second(spec: Spec, study: Study) -> dict[str, Any]:
    found = {**depends_on_classifier(spec, study), "version": VERSIONS["second"]}
    if spec["attack"] == UNSATURATED:
        found["stronger"] = STRONGER
    return {**found, "n": PROFILES[study.profile].n_small, "other": list(LIBRARY[spec["attack"]])}


def depends_shown(spec: Spec, study: Study) -> dict[str, Any]:
    every = [described(label) for label in MAIN]
    nets = [depends_on_ae({**spec, "defense": name}, study)["autoencoder"] for name in AE]
    found = {**depends_on_classifier(spec, study), "all": every, "autoencoders": nets}
    return {**found, "n": PROFILES[study.profile].n, "version": VERSIONS["examples"]}


TWO_SAMPLE = Table("two_sample", two_sample, depends_two, flags=flags)
DISTANCE = Table("distance", distance, depends_distance, flags=flags)
SECOND = Table("second_library", second, depends_second, flags=flags)
EXAMPLES = Table("examples", examples, depends_shown, flags=flags)
