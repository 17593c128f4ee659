"""What the paper does not run: the attacker who knows, a second library; and images to look at."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from washout import attacks
from washout.chapters.bits import packed
from washout.chapters.chapter2 import networks
from washout.chapters.chapter2.defending import defense, full_name
from washout.chapters.chapter2.measure import (
    BATCH,
    CLEAN,
    VERSIONS,
    adversarial,
    attack_of,
    count,
    depends,
    depends_on_classifier,
    flags,
)
from washout.chapters.chapter2.settings import MAIN, PROFILES, columns, small_settings
from washout.defenses import Defended, Defense, Expectation, Proxy, blur, soft_jpeg
from washout.inference import at_once, evaluating, predict
from washout.randomness import seeded
from washout.store import Spec
from washout.study import Study, Table

FRESH = 20  # draws of a defense's randomness that the attacker has not seen
RANDOM = ("tvm", "kmeans")
# Images, draws counted, whose gradients are held on a CPU: K-means pairs all their pixels.
AT_ONCE = 256


# ---- the attacker who knows --------------------------------------------------------------------
def knowing(spec: Spec, study: Study) -> dict[str, Any]:
    """PGD within epsilon by somebody who knows the defense, all but what it will draw.

    A defense has no useful gradient of its own. The stand-ins are the identity, and a better one:
    the differentiable codec, a blur for total variation, each cluster's mean with its members held
    fast, the straight-through gradient of the VQ-VAE; a Gaussian filter has its own.
    """
    profile, name = PROFILES[study.profile], spec["dataset"]
    pool = networks.pool(spec, study, profile.n_small[name])
    model, hash_ = networks.classifier(spec, study)
    hashes: dict[str, str] = {}
    wash = defense(spec["defense"], spec, study, hashes)
    random = any(word in spec["defense"] for word in RANDOM)
    target: nn.Module = model
    samples = profile.samples * spec.get("draws", 1) if random else 1
    batch = max(1, at_once(AT_ONCE, study.device) // samples)
    if spec["knows"] != "classifier":
        seen = known(spec, study, wash) if spec["knows"] == "proxy" else Proxy(wash)
        target = Defended(model, seen)
        if random:
            target = Expectation(target, samples)
    steps = profile.steps * spec.get("longer", 1)
    with seeded(1000 * spec["seed"] + 7, study.device):
        hit = attacks.run(
            "pgd", target, pool.images, pool.labels, device=study.device, batch_size=batch,
            eps=spec["eps"], step=min(2.5 * spec["eps"] / steps, 1.0), steps=steps,
            generator=torch.Generator().manual_seed(1000 * spec["seed"] + 2),
            # A stand-in for the gradient leads past what it looks for; what a random defense
            # answers at one step is luck.
            keep="last" if random or spec["knows"] == "classifier" else "best",
        ).images  # fmt: skip
    size = at_once(BATCH, study.device)
    rights = []
    with seeded(1000 * spec["seed"] + 8, study.device), torch.inference_mode(), evaluating(model):
        for _ in range(FRESH if random else 1):
            parts = [model(wash(x.to(study.device))).argmax(1).cpu() for x in hit.split(size)]
            rights.append(torch.cat(parts) == pool.labels)
    right = torch.stack(rights)
    return {
        "n": len(pool),
        "correct": int(right[0].sum()),
        "mean_correct": right.double().mean().item() * len(pool),
        "correct_in_all": int(right.all(0).sum()),
        "draws": len(rights),
        "samples": samples,
        "right": packed(right[0]),
        "steps": steps,
        "clean_correct": int(
            (predict(model, pool.images, device=study.device) == pool.labels).sum()
        ),
        "weights": {"classifier": hash_, **hashes},
    }


def known(spec: Spec, study: Study, wash: Defense) -> Defense:
    """The defense with the gradient of the better stand-in."""
    name = full_name(spec["defense"], spec["dataset"])
    if name.startswith("jpeg"):
        return Proxy(wash, partial(soft_jpeg, quality=int(name.removeprefix("jpeg"))))
    if name.startswith("kmeans"):
        return partial(held, wash=wash, by_row="rows" in name)
    if name.startswith("tvm"):
        return Proxy(wash, partial(blur, sigma_x=0.7, sigma_y=0.7))
    if name.startswith(("vqvae", "gauss")):
        return wash
    raise ValueError(
        f"defense: got {name!r}, which has no better stand-in than the identity; allowed are "
        "jpegN, gauss, kmeansN, tvm and vqvaeN"
    )


def held(images: Tensor, wash: Defense, by_row: bool) -> Tensor:
    """K-means with the gradient of each cluster's mean, its members held fast.

    One draw serves the value and the gradient, so that the clusters are those that are painted.
    """
    with torch.no_grad():
        out = wash(images.detach())
    points, centers = _points(images, by_row), _points(out, by_row)
    # Members of one cluster were given the very same center. To compare them is faster than to take
    # distances, for which a GPU would start a block of threads for each pair.
    alike = centers.new_ones(*centers.shape[:2], centers.shape[1], dtype=torch.bool)
    for values in centers.unbind(2):
        alike &= values[:, :, None] == values[:, None]
    same = alike.to(images.dtype)
    means = same @ points / same.sum(2, keepdim=True)
    if by_row:
        means = means.unflatten(2, (images.shape[1], -1)).permute(0, 2, 1, 3)
    else:
        means = means.transpose(1, 2).reshape(images.shape)
    return out + (means - means.detach())


def _points(images: Tensor, by_row: bool) -> Tensor:
    """What K-means clusters: (B, H, C * W) rows or (B, H * W, C) pixels."""
    return images.permute(0, 2, 1, 3).flatten(2) if by_row else images.flatten(2).transpose(1, 2)


# ---- a second opinion --------------------------------------------------------------------------
# Our attack and another library's of the same distance: ours should not need more.
AGREEMENT = {
    "cw-fb2": "foolbox:DDNAttack",
    "deepfool-fb2": "foolbox:L2DeepFoolAttack",
    "deepfool": "foolbox:L2DeepFoolAttack",
}


def second(spec: Spec, study: Study) -> dict[str, Any]:
    """Median L2 of an attack and of another library's, over the images that both fool."""
    n = count(spec, study)
    pool = networks.pool(spec, study, n)
    model, hash_ = networks.classifier(spec, study)
    right = predict(model, pool.images, device=study.device) == pool.labels
    images, success, _ = adversarial(spec, study)
    other = attacks.run(
        AGREEMENT[spec["attack"]], model, pool.images, pool.labels,
        dataset=spec["dataset"], device=study.device,
    )  # fmt: skip
    found = [(images[:n], success[:n]), (other.images, other.success)]
    both = right & found[0][1] & found[1][1]
    sizes = [(changed - pool.images).flatten(1).norm(dim=1)[both] for changed, _ in found]
    return {
        "n": int(right.sum()),
        "success": [int((done & right).sum()) for _, done in found],
        "both": int(both.sum()),
        "l2": [size.double().median().item() if len(size) else None for size in sizes],
        "weights": hash_,
    }


# ---- pictures ----------------------------------------------------------------------------------
def examples(spec: Spec, study: Study) -> dict[str, Any]:
    """One image, attacked, and through each of the paper's columns: as uint8, with what is read.

    The first of the draw that is read rightly when clean and, if there is one, wrongly after each
    of the four attacks.
    """
    model, hash_ = networks.classifier(spec, study)
    images, success, pool = adversarial(spec, study)
    right = predict(model, pool.images, device=study.device) == pool.labels
    turned = success & right
    if spec["attack"] in (CLEAN, *MAIN):  # the same image for all of them
        every = [adversarial({**spec, "attack": label}, study)[1] for label in MAIN]
        n = min(map(len, every))
        all_ = right[:n] & torch.stack([done[:n] for done in every]).all(0)
        turned = all_ if all_.any() else turned
    index = int(turned.nonzero()[0]) if turned.any() else 0
    clean, hit = pool.images[index : index + 1], images[index : index + 1]
    hashes: dict[str, str] = {}
    kept, names = [clean, hit], ["original", "attacked"]
    with torch.inference_mode(), evaluating(model):
        for name in columns(spec["dataset"])[1:]:
            kept.append(defense(name, spec, study, hashes)(hit.to(study.device)).cpu())
            names.append(name)
        words = [int(model(part.to(study.device)).argmax(1)) for part in kept]
    classes = networks.whole(spec, study).classes
    stack = torch.cat(kept)
    stack = stack[:, 0] if stack.shape[1] == 1 else stack.permute(0, 2, 3, 1)
    return {
        "label": classes[int(pool.labels[index])],
        "said": [classes[word] for word in words],
        "columns": names,
        "images": (stack * 255).round().byte().numpy(),
        "index": index,
        "l2": float((hit - clean).norm()),
        "linf": float((hit - clean).abs().max()),
        "weights": {"classifier": hash_, **hashes},
    }


# ---- what rows depend on -----------------------------------------------------------------------
def depends_small(spec: Spec, study: Study) -> dict[str, Any]:
    return {
        **depends({k: v for k, v in spec.items() if k != "attack"}, study),
        "small": small_settings(study.profile, spec["dataset"]),
        "pgd": attacks.get("pgd").version,
        "fresh": FRESH,
        "stand-ins": {k: VERSIONS[k] for k in ("soft_jpeg", "held", "blur")},
    }


def depends_on_both(spec: Spec, study: Study) -> dict[str, Any]:
    return {**depends_on_classifier(spec, study), "other": AGREEMENT[spec["attack"]]}


def depends_shown(spec: Spec, study: Study) -> dict[str, Any]:
    name = "+".join(columns(spec["dataset"]))
    every = [attack_of(label) for label in MAIN]
    return {**depends({**spec, "defense": name}, study), "all": every}


KNOWING = Table("knowing", knowing, depends_small, version=2, flags=flags)


def flags_second(spec: Spec) -> list[str]:
    """A second library is in the plain plan, whatever the attack."""
    return flags({k: v for k, v in spec.items() if k != "attack"})


SECOND = Table("second_library", second, depends_on_both, flags=flags_second)
EXAMPLES = Table("examples", examples, depends_shown, flags=flags)
