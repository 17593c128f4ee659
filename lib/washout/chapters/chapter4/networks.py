"""Images, classifiers, autoencoders and flows behind a row's specification."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from washout.chapters.chapter4.settings import (
    PROFILES,
    ae_recipe,
    classifier_recipe,
    flow_recipe,
)
from washout.data import Dataset, Split, floats, load
from washout.detectors import Whitening
from washout.detectors.components import components
from washout.inference import evaluating, exact
from washout.models import Autoencoder, Glow
from washout.models.glow_layers import ScaledConv
from washout.randomness import seeded
from washout.store import Spec
from washout.study import Study
from washout.training import Recipe

PARTS = ("train", "validation", "test")
WHITENING = 1  # raised when what is fit changes; rows depend on it
FIRST_BATCH = 256  # images that set an untrained flow's scales
SPREAD = 0.03  # of the last weights of couplings 64 wide, four in a level


@lru_cache(maxsize=2)
def dataset(name: str, folder: str) -> Dataset:
    return load(name, folder)


def whole(spec: Spec, study: Study) -> Dataset:
    """The row's dataset."""
    return dataset(spec["dataset"], str(study.data))


def pool(spec: Spec, study: Study, part: str = "test", n: int | None = None) -> Split:
    """The first images of the seed's draw from a part: the same for every attack and detector.

    Args:
        n: the profile's number for that part by default.
    """
    images = getattr(whole(spec, study), part)
    generator = torch.Generator().manual_seed(1000 * spec["seed"] + PARTS.index(part))
    order = torch.randperm(len(images), generator=generator)
    return images[order[: size(spec, study, part, n)]]


def size(spec: Spec, study: Study, part: str = "test", n: int | None = None) -> int:
    """How many images ``pool`` holds."""
    profile = PROFILES[study.profile]
    usual = {"train": profile.n_train, "validation": profile.n_validation, "test": profile.n}[part]
    return min(usual if n is None else n, len(getattr(whole(spec, study), part)))


# ---- networks ----------------------------------------------------------------------------------
def recipe_of(spec: Spec, profile: str) -> Recipe:
    """How the row's classifier is trained."""
    return classifier_recipe(spec["dataset"], spec["net"], profile, spec["seed"])


def classifier(spec: Spec, study: Study) -> tuple[nn.Module, str]:
    """The row's classifier in eval mode, and the hash of its weights."""
    made = study.trained(recipe_of(spec, study.profile), lambda: whole(spec, study))
    return made.model.to(memory_format=torch.channels_last), made.hash


def autoencoder(spec: Spec, study: Study, width: int) -> tuple[Autoencoder, str]:
    """The autoencoder of one width, and the hash of its weights."""
    recipe = ae_recipe(spec["dataset"], width, study.profile, spec["seed"])
    made = study.trained(recipe, lambda: whole(spec, study))
    assert isinstance(made.model, Autoencoder)
    return made.model.requires_grad_(False).to(memory_format=torch.channels_last), made.hash


def flow(spec: Spec, study: Study, kind: str = "trained") -> tuple[Glow, str]:
    """The row's Glow, ``trained`` or ``random``, and the hash of its weights."""
    recipe = flow_recipe(spec["dataset"], study.profile, spec["seed"])
    if kind == "random":
        return random_flow(recipe, str(study.data), study.device), "untrained"
    made = study.trained(recipe, lambda: whole(spec, study))
    assert isinstance(made.model, Glow)
    return made.model.requires_grad_(False), made.hash


@lru_cache(maxsize=2)
def random_flow(recipe: Recipe, folder: str, device: str) -> Glow:
    """A Glow with random rotations of the channels, random couplings, and a first batch's scales.

    (Training begins with couplings that pass everything as it is; such a flow is linear.)
    """
    data = dataset(recipe.data, folder)
    with seeded(recipe.seed, "cpu"):  # the same weights on every device
        net = Glow(data.channels, data.size, **dict(recipe.model_args))
        for layer in net.modules():
            if isinstance(layer, ScaledConv) and layer.zero:
                nn.init.normal_(layer.weight, std=spread(recipe))
    net = net.to(device).requires_grad_(False).eval()
    net.initialize(data.train.images[:FIRST_BATCH].to(device))
    return net


def spread(recipe: Recipe) -> float:
    """Deviation of an untrained flow's last weights: each step then moves an image about as far.

    With the same one at every size a wide and deep flow bursts, and float32 knows no inverse.
    """
    args = dict(recipe.model_args)
    return SPREAD * (64 / args["hidden"]) ** 0.5 * (4 / args["depth"]) ** 0.5


def principal(spec: Spec, study: Study) -> dict[str, Tensor]:
    """``mean``, ``basis`` and ``variances`` of all training images' principal components."""
    key = {"dataset": spec["dataset"], "version": WHITENING}

    def make() -> dict[str, Tensor]:
        images = floats(whole(spec, study).train.images)
        found = components(images, device=torch.device(study.device))
        return dict(zip(("mean", "basis", "variances"), found, strict=True))

    return study.artifact("chapter4-components", key, make)


def whitening(spec: Spec, study: Study) -> Whitening:
    """What whitens pixels: fit to all training images."""
    return Whitening.of(**principal(spec, study))


def latents(
    net: Glow, images: Tensor, seed: int | None, study: Study, batch_size: int = 500
) -> tuple[Tensor, Tensor]:
    """Latents of the last level (B, D) and of the levels before (B, D'), on the CPU.

    Args:
        seed: of the noise that spreads each pixel over its 8-bit bin, as the code that the paper
            took its flow from adds it at each pass; None adds none.
    """
    generator = None if seed is None else torch.Generator(study.device).manual_seed(seed)
    last, before = [], []
    with torch.inference_mode(), evaluating(net), exact():
        for part in images.split(batch_size):
            x = part.to(study.device)
            x = x if generator is None else net.dequantize(x, generator)
            parts = net.encode(x)[0]
            last.append(parts[-1].flatten(1).cpu())
            before.append(torch.cat([p.flatten(1) for p in parts[:-1]], 1).cpu())
    return torch.cat(last).clone(), torch.cat(before).clone()


def flow_depends(spec: Spec, study: Study, kind: str = "trained") -> dict[str, Any]:
    """What a row with a flow depends on besides its classifier."""
    recipe = flow_recipe(spec["dataset"], study.profile, spec["seed"])
    if kind == "random":
        return {"flow": [recipe.seed, dict(recipe.model_args), FIRST_BATCH, spread(recipe)]}
    return {"flow": [recipe.key(), study.stored_hash(recipe)]}
