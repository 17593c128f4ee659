"""Chapter 3's profiles, labels and recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from washout.training import Recipe

AUTO = ("mnist",)  # the paper's
BUNDLED = ("digits",)
DATASETS = (*AUTO, *BUNDLED)

# What the paper attacks with, and the undefended accuracy on attacked images that its Table 1
# implies (methods page): each attack's free parameter is calibrated to it on validation images.
MAIN = ("fgsm", "bim", "jsma")
CALIBRATION: dict[str, tuple[str, float, tuple[float, ...]]] = {
    "fgsm": ("eps", 0.178, tuple(round(0.1 + 0.005 * i, 3) for i in range(81))),
    "bim": ("eps", 0.0, (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)),
    "jsma": ("gamma", 0.03, (0.05, 0.075, 0.1, 0.125, 0.15, 0.175, 0.2, 0.25, 0.3, 0.4, 0.5)),
}

# Labels that stand for an attack with other settings than its defaults.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    # On logits, JSMA stops where no pair of pixels helps, and cannot leave as little as the paper
    # implies. The paper does not say which it took; Feinman's code hands its attack library a
    # network that ends in a softmax.
    "jsma": ("jsma", {"on": "probabilities"}),
    "jsma-logits": ("jsma", {"gamma": 0.3}),
    "bim-b": ("bim", {"stop": "last"}),
    "noise": ("noise", {}),  # signs drawn at random, as large as FGSM's: a control, no attack
    "cw": ("cw", {"steps": 100, "binary_search_steps": 3}),  # for 7,000 images on two cores
}
OTHERS = ("bim-b", "noise", "jsma-logits", "pgd", "deepfool", "cw")

CROP = 26
CROPS = (22, 23, 24, 25, 26, 27)
COUNT = 5
PASSES = (5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Profile:
    """How much is computed.

    Attributes:
        n: test images drawn, each clean and attacked.
        n_validation: validation images, for thresholds.
        n_calibration: the first of them, for the attacks' strength.
        epochs: of training.
        passes: stochastic passes for the uncertainty.
        seeds: of network, draw and attack, for the spread.
        n_small: test images for what costs most (sweeps, the adaptive attacker, a second library).
        steps: of the adaptive attacker.
    """

    n: int
    n_validation: int
    n_calibration: int
    epochs: int
    n_small: int
    seeds: tuple[int, ...] = (0,)
    passes: int = 50
    steps: int = 100


PROFILES = {
    "smoke": Profile(
        n=100, n_validation=100, n_calibration=50, epochs=8, n_small=20, passes=10, steps=10
    ),
    "laptop": Profile(
        n=5000, n_validation=2000, n_calibration=1000, epochs=12, n_small=500, seeds=(0, 1, 2)
    ),
    "paper": Profile(
        n=5000, n_validation=5000, n_calibration=2000, epochs=12, n_small=1000, seeds=(0, 1, 2)
    ),
}


def settings(profile: str, small: bool = False) -> dict[str, Any]:
    """The profile's numbers that rows depend on; those of small tables only if ``small``.

    Seeds are each row's own.
    """
    left_out = {"seeds"} | (set() if small else {"n_small", "steps"})
    return {k: v for k, v in vars(PROFILES[profile]).items() if k not in left_out}


def recipe(net: str, dataset: str, profile: str, seed: int) -> Recipe:
    """How the chapter's networks are trained; the paper states dropout 0.5 only."""
    return Recipe(model=net, data=dataset, epochs=PROFILES[profile].epochs, seed=seed)


# Chapter's name -> our attack, foolbox's, and the settings of each that mean the same.
AGREEMENT: dict[str, tuple[str, str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "fgsm": ("fgsm", "foolbox:LinfFastGradientAttack", ({"eps": 0.2}, {"eps": 0.2})),
    "bim": (
        "bim",
        "foolbox:LinfBasicIterativeAttack",
        (
            {"eps": 0.1, "step": 0.01, "steps": 40, "stop": "last"},
            {"eps": 0.1, "abs_stepsize": 0.01, "steps": 40},
        ),
    ),
    "pgd": (
        "pgd",
        "foolbox:LinfPGD",
        (
            {"eps": 0.1, "step": 0.01, "steps": 40},
            {"eps": 0.1, "abs_stepsize": 0.01, "steps": 40},
        ),
    ),
    "deepfool": ("deepfool", "foolbox:L2DeepFoolAttack", ({"norm": "l2"}, {})),
    "deepfool-linf": ("deepfool", "foolbox:LinfDeepFoolAttack", ({"norm": "linf"}, {})),
    "cw": (
        "cw",
        "foolbox:L2CarliniWagnerAttack",
        (
            {"binary_search_steps": 6, "steps": 200, "lr": 0.05, "initial_const": 1.0},
            {"binary_search_steps": 6, "steps": 200, "stepsize": 0.05, "initial_const": 1.0},
        ),
    ),
}
