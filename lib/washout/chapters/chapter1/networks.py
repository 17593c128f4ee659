"""Images, classifiers and VAEs behind a row's specification."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from washout.chapters.chapter1.settings import (
    PATCHWISE,
    PROFILES,
    classifier_recipe,
    source,
    vae_recipe,
)
from washout.data import Dataset, Nips2017, Split, load, nips2017, patches, photograph
from washout.models import VAE, imagenet
from washout.store import Spec
from washout.study import Study
from washout.training import Recipe, Trained

# Not trained here: names of networks with published weights, the better one first.
PUBLISHED = ("inception_v3", "mobilenet_v2")
PANDA = "000b7d55b6184b08"  # the image's id in NIPS 2017


@lru_cache(maxsize=2)
def _dataset(name: str, folder: str) -> Dataset:
    return load(name, folder)


@lru_cache(maxsize=3)
def _photographs(folder: str, index: tuple[int, ...] | None) -> Nips2017:
    return nips2017(folder, index)


def pool(spec: Spec, study: Study, part: str) -> Split:
    """The row's images in float32: ``test``, a seeded draw; ``selection``, to choose beta on.

    NIPS 2017 has no validation images, so the selection is drawn from what the test draw leaves,
    or, where that takes all of them, from the test draw.
    """
    profile, name = PROFILES[study.profile], spec["dataset"]
    n = profile.n[name] if part == "test" else profile.n_selection[name]
    generator = torch.Generator().manual_seed(1000 * spec["seed"])
    if name == "nips2017":
        chosen = rows_of(spec, study) if part == "test" else _order()[-n:]
        return _photographs(str(study.data), tuple(chosen.tolist()))[:]
    found = _dataset(name, str(study.data))
    if part == "selection":
        return found.validation[:n]
    return found.test[torch.randperm(len(found.test), generator=generator)[:n]]


def rows_of(spec: Spec, study: Study) -> Tensor:
    """Each test image's row in NIPS 2017's list, (n,)."""
    profile, order = PROFILES[study.profile], _order()
    n, held = profile.n["nips2017"], profile.n_selection["nips2017"]
    if n + held <= len(order):  # the selection is never drawn
        order = order[:-held]
    if spec["seed"]:
        generator = torch.Generator().manual_seed(1000 * spec["seed"])
        order = order[torch.randperm(len(order), generator=generator)]
    return order[:n]


def _order() -> Tensor:
    """The rows of NIPS 2017 in the order that draws begin with; the selection is its end."""
    return torch.randperm(1000, generator=torch.Generator().manual_seed(0))


def whole(spec: Spec, study: Study) -> Split | Nips2017:
    """All test images."""
    if spec["dataset"] == "nips2017":
        return _photographs(str(study.data), None)
    return _dataset(spec["dataset"], str(study.data)).test


def classifier(spec: Spec, study: Study) -> tuple[nn.Module, str]:
    """The row's classifier in eval mode, and the name of its weights."""
    if spec["net"] in PUBLISHED:
        found = imagenet.imagenet_classifier(spec["net"], study.data)
        return found.to(study.device), imagenet.weights_hash(spec["net"], study.data)
    made = _trained(classifier_of(spec, study.profile), spec, study)
    # Half as fast again on a CPU.
    return made.model.to(memory_format=torch.channels_last), made.hash


def classifier_of(spec: Spec, profile: str) -> Recipe:
    return classifier_recipe(spec["dataset"], spec["net"], profile, spec["seed"])


def vae(
    spec: Spec,
    study: Study,
    size: int,
    beta: float,
    *,
    plain: bool = False,
    fold: str = "all",
) -> tuple[VAE, str]:
    """A VAE for inputs of ``size`` pixels in eval mode, and the hash of its weights."""
    recipe = vae_recipe(
        spec["dataset"], size, beta, study.profile, spec["seed"], plain=plain, fold=fold
    )
    # Of the VAEs for patches of these photographs, many or large, the records alone ship.
    home = study.weights_write / "large" if spec["dataset"] == "nips2017" else None
    made = _trained(recipe, spec, study, size, fold, home)
    assert isinstance(made.model, VAE)
    made.model.bf16 = True  # twice as fast, and next to no decision differs (benchmarks/)
    return made.model.to(memory_format=torch.channels_last), made.hash


def _trained(
    recipe: Recipe,
    spec: Spec,
    study: Study,
    size: int = 0,
    fold: str = "all",
    home: Path | None = None,
) -> Trained:
    def data() -> Dataset:
        if size and spec["dataset"] in PATCHWISE:
            return patch_data(spec["dataset"], study, size, fold)
        return _dataset(spec["dataset"], str(study.data))

    return study.trained(recipe, data, home)


def patch_data(name: str, study: Study, size: int, fold: str) -> Dataset:
    """Random patches to train a VAE on: of all images, as the paper does, or of every other one.

    Nothing stands in the way of a patch being part of a tested image: the paper trains on the
    images that it reports on. ``fold`` is there to see what that is worth.
    """
    profile = PROFILES[study.profile]
    found = _photographs(str(study.data), None) if name == "nips2017" else bundled_photographs()
    cut = patches(found, size, profile.patches[size], seed=0, fold=fold)
    held = max(len(cut) // 40, 1)
    # Patches come image after image, so those held out are of other images but for one.
    labels = torch.zeros(len(cut), dtype=torch.int64)
    return Dataset(
        source(name, size, study.profile, fold),
        Split(cut[:-held], labels[:-held]),
        Split(cut[-held:], labels[-held:]),
        Split(cut[:0], labels[:0]),
        classes=("patch", "no patch"),
        licence=found.licence,
        source=found.source,
    )


def bundled_photographs() -> Nips2017:
    """The bundled photographs' training images in the form of NIPS 2017's."""
    found = _dataset("photos", "")
    images = (found.train.images * 255).round().to(torch.uint8)
    count = len(images)
    return Nips2017(
        images=images,
        labels=found.train.labels,
        targets=found.train.labels,
        rows=torch.arange(count),
        ids=("",) * count,
        authors=("",) * count,
        licences=("",) * count,
        urls=("",) * count,
        classes=found.classes,
        name="photos",
        licence=found.licence,
        source=found.source,
    )


def panda(study: Study) -> tuple[Tensor, Tensor, str, int]:
    """NIPS 2017's only panda: image (1, 3, 299, 299), label (1,), credit, row."""
    found = _photographs(str(study.data), None)
    row = found.ids.index(PANDA)
    part = found[row : row + 1]
    return part.images, part.labels, found.credit(row), row


def credit(spec: Spec, study: Study, index: int) -> str:
    """Whose image the ``index``-th test image is, and on what terms."""
    if spec["dataset"] == "nips2017":
        rows = rows_of(spec, study).tolist()
        return _photographs(str(study.data), tuple(rows)).credit(index)
    found = _dataset(spec["dataset"], str(study.data))
    return f"{found.source} ({found.licence})"


def class_names(spec: Spec, study: Study) -> tuple[str, ...]:
    if spec["dataset"] == "nips2017":
        return _photographs(str(study.data), tuple(rows_of(spec, study).tolist())).classes
    return _dataset(spec["dataset"], str(study.data)).classes


def bundled_vae() -> tuple[VAE, Tensor]:
    """For live cells: the smoke profile's VAE for 16-pixel patches, and a photograph (1, 3, H, W).

    The photograph is one of those that it was trained on, at half size.
    """
    study = Study("chapter1", profile="smoke", device="cpu", progress=False)
    spec = {"dataset": "photos", "net": "cnn", "seed": 0}
    model, _ = vae(spec, study, 16, PROFILES["smoke"].betas["photos"][-1])
    model.requires_grad_(False)
    image = photograph("astronaut")[None, :, 20:276, 120:376]
    return model, F.avg_pool2d(image, 2)
