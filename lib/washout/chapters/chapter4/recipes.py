"""How everything of the chapter that learns is trained, and what is fixed: from the code itself."""

from __future__ import annotations

import inspect
from typing import Any

import pandas as pd

from washout.chapters.chapter4 import adaptive, beyond, fitting
from washout.chapters.chapter4.settings import (
    AUTO,
    DECAY,
    GUARD_RATE,
    PROFILES,
    ae_recipe,
    classifier_recipe,
    flow_recipe,
)
from washout.detectors import PCADetector, fit_detector
from washout.detectors.learned import WIDTHS
from washout.report import show
from washout.training import Recipe

COLUMNS = ["what", "epochs, at most", "batch", "optimizer", "learning rate", "weight decay",
           "images", "ends early"]  # fmt: skip


def trainings(profile: str) -> pd.DataFrame:
    """A line for everything that is trained at a profile."""
    dataset = AUTO[0]
    made = {
        "classifier": classifier_recipe(dataset, "resnet8", profile, 0),
        "the same, trained otherwise": classifier_recipe(dataset, DECAY, profile, 0),
        "ResNet-20": classifier_recipe(dataset, "resnet20", profile, 0),
        "autoencoder, each width": ae_recipe(dataset, 4, profile, 0),
        "Glow": flow_recipe(dataset, profile, 0),
    }
    if "resnet20" not in PROFILES[profile].nets:
        del made["ResNet-20"]
    lines = [_line(what, recipe) for what, recipe in made.items()]
    layers = ", ".join(map(str, (*WIDTHS, 1)))
    for what, settings, most in (
        (f"five layers ({layers}), dropout {fitting.MANY['dropout']:g}", fitting.MANY, False),
        ("the same on statistics of fine detail, no dropout", fitting.FEW, False),
        ("separate network: the classifier's, with one output", fitting.FEW, True),
    ):
        lines.append(_detector(what, settings["lr"], profile, most))
    return pd.DataFrame(lines, columns=COLUMNS)


def _line(what: str, recipe: Recipe) -> list[Any]:
    ends = "" if recipe.stop_at is None else f"at {recipe.stop_at:g} of validation images"
    return [
        what, recipe.epochs, recipe.batch_size, f"{recipe.optimizer}, {recipe.schedule}",
        f"{recipe.lr:g}", f"{recipe.weight_decay:g}", recipe.augment or "as they are", ends,
    ]  # fmt: skip


def _detector(what: str, lr: float, profile: str, images: bool) -> list[Any]:
    sizes = PROFILES[profile]
    batch = inspect.signature(fit_detector).parameters["batch_size"].default
    epochs = sizes.separate_epochs if images else sizes.detector_epochs
    ends = "" if images else f"after {fitting.PATIENCE} epochs with no lower validation loss"
    return [what, epochs, batch, "adam, constant", f"{lr:g}", "0", "as they are", ends]


def show_trainings(profile: str) -> None:
    """The trainings of a profile, as a table."""
    caption = "How everything is trained; of all epochs that with the best validation score counts."
    show(trainings(profile), caption=caption, name="chapter4-recipes")


def fixed() -> str:
    """What is fixed besides, as a list."""
    pca = {name: p.default for name, p in inspect.signature(PCADetector.of).parameters.items()}
    return "\n".join(
        f"- {what}: {value}"
        for what, value in {
            "late principal components": f"the {pca['statistic']} of the last coefficients, each "
            f"divided by its deviation on training images ({pca['smoother']:g} is added to the "
            "variances), from 2,500 of 3,072 on",
            "two-sample tests": f"{beyond.PERMUTATIONS} permutations; a Gaussian kernel as wide as "
            f"the median distance; a set counts as attacked up to p = {beyond.LEVEL:g}",
            "the attacker who knows": f"{adaptive.DRAWS} fresh draws of the flow's noise in each "
            f"step, {adaptive.FRESH} others to judge; thresholds that flag {100 * GUARD_RATE:g} % "
            "of clean validation images",
            "of the change is left": "‖D(x*) − D(x)‖ / ‖x* − x‖ in L2, the median over the images",
        }.items()
    )


__all__ = ["fixed", "show_trainings", "trainings"]
