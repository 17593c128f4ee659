"""Images, classifiers and VQ-VAEs behind a row's specification."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from torch import nn

from washout.chapters.chapter2.settings import PROFILES, classifier_recipe, vq_recipe
from washout.data import Dataset, Split, floats, load
from washout.inference import evaluating
from washout.models import VQVAE
from washout.store import Spec
from washout.study import Study
from washout.training import Recipe

RETRAINED = "-on-"  # lenet-on-vqvae0: trained on what that VQ-VAE makes of the training images


@lru_cache(maxsize=2)
def dataset(name: str, folder: str) -> Dataset:
    return load(name, folder)


def whole(spec: Spec, study: Study) -> Dataset:
    """The row's dataset."""
    return dataset(spec["dataset"], str(study.data))


def pool(spec: Spec, study: Study, n: int | None = None) -> Split:
    """The first ``n`` test images of the seed's draw: the same for every attack and defense.

    Args:
        n: the profile's by default; all of them where the row is about ``whole`` test set.
    """
    test = whole(spec, study).test
    if spec.get("whole"):
        return test
    generator = torch.Generator().manual_seed(1000 * spec["seed"])
    n = PROFILES[study.profile].n[spec["dataset"]] if n is None else n
    return test[torch.randperm(len(test), generator=generator)[:n]]


def recipe_of(spec: Spec, profile: str) -> Recipe:
    """How the row's classifier is trained."""
    net, _, through = spec["net"].partition(RETRAINED)
    found = classifier_recipe(spec["dataset"], net, profile, spec["seed"])
    if through:
        found = replace(found, data=washed_name(spec["dataset"], through, profile, spec["seed"]))
    return found


def washed_name(dataset: str, defense: str, profile: str, seed: int) -> str:
    """What a dataset through a VQ-VAE is called: another VQ-VAE, another name."""
    recipe = vq_recipe(dataset, defense.removeprefix("vqvae"), profile, seed)
    return f"{dataset}-{defense}-{recipe.key().rsplit('-', 1)[-1]}"


def classifier(spec: Spec, study: Study) -> tuple[nn.Module, str]:
    """The row's classifier in eval mode, and the hash of its weights."""
    _, _, through = spec["net"].partition(RETRAINED)

    def data() -> Dataset:
        return washed(spec, study, through) if through else whole(spec, study)

    made = study.trained(recipe_of(spec, study.profile), data)
    return made.model.to(memory_format=torch.channels_last), made.hash


def vqvae(
    spec: Spec, study: Study, noise: str, hidden: int = 0, codes: int = 512
) -> tuple[VQVAE, str]:
    """The VQ-VAE of one training noise in eval mode, and the hash of its weights."""
    recipe = vq_recipe(spec["dataset"], noise, study.profile, spec["seed"], hidden, codes)
    made = study.trained(recipe, lambda: whole(spec, study))
    assert isinstance(made.model, VQVAE)
    made.model.requires_grad_(False)
    return made.model.to(memory_format=torch.channels_last), made.hash


def washed(spec: Spec, study: Study, defense: str) -> Dataset:
    """The dataset as a VQ-VAE returns it, to train a classifier on."""
    net, _ = vqvae(spec, study, defense.removeprefix("vqvae"))
    found = whole(spec, study)

    def through(split: Split) -> Split:
        with torch.inference_mode(), evaluating(net):
            parts = [
                net.reconstruct(floats(x).to(study.device)).cpu() for x in split.images.split(500)
            ]
        return Split(torch.cat(parts).clone(), split.labels)

    return replace(
        found,
        name=washed_name(found.name, defense, study.profile, spec["seed"]),
        train=through(found.train),
        validation=through(found.validation),
    )
