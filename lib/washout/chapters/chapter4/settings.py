"""Chapter 4's profiles, labels and recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from washout.training import Recipe

AUTO = ("cifar10",)  # the paper's
BUNDLED = ("photos",)
DATASETS = (*AUTO, *BUNDLED)

EPS = 0.02  # the paper's, for all attacks
CLEAN = "none"
NAMES = {"fgsm": "FGSM", "pgd": "PGD", "deepfool": "DeepFool"}  # the paper's attacks
MAIN = tuple(NAMES)
OTHER_EPS = (0.005, 0.01, 0.04)
# Labels that stand for an attack with other settings than its defaults. DeepFool, which searches
# the smallest change, is cut to the same budget, as the paper's library cuts it. The paper's PGD,
# forty steps of eps / 30, goes no farther than 1.33 eps from where it starts, and from one side of
# the box to the other it is 2 eps: along epsilon it takes twenty steps of eps / 8.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "fgsm": ("fgsm", {"eps": EPS}),
    "pgd": ("pgd", {"eps": EPS, "steps": 40}),
    "deepfool": ("deepfool", {"norm": "linf"}),
    **{f"fgsm-{eps:g}": ("fgsm", {"eps": eps}) for eps in OTHER_EPS},
    **{
        f"pgd-{eps:g}": ("pgd", {"eps": eps, "steps": 20, "step": eps / 8})
        for eps in (*OTHER_EPS, EPS)
    },
    "bim": ("bim", {"eps": EPS, "step": EPS / 10, "steps": 10, "stop": "last"}),
    "deepfool-l2": ("deepfool", {"norm": "l2"}),
    "cw": ("cw", {"steps": 300, "binary_search_steps": 5, "lr": 0.01, "initial_const": 0.01}),
}
CAPPED = ("deepfool",)
SLOW = ("cw", "jsma")  # see fewer images
# One attack along epsilon, from the smallest to the largest; FGSM at EPS is the paper's own.
ALONG = tuple(sorted((*OTHER_EPS, EPS)))
SWEPT = {
    "fgsm": tuple("fgsm" if eps == EPS else f"fgsm-{eps:g}" for eps in ALONG),
    "pgd": tuple(f"pgd-{eps:g}" for eps in ALONG),
}
UNSEEN = ("bim", "deepfool-l2", "cw")  # attacks that no detector was trained on

# The paper's "overall" draw: 3,000, 3,000 and 4,000 of 10,000; the detectors' training set too.
MIXTURE = {"fgsm": 0.3, "pgd": 0.3, "deepfool": 0.4}
COLUMN = 0.5  # a column's draw: 5,000 of 10,000

# What a detector looks at. The first is the paper's.
FEATURES = ("latents", "all", "random", "pixels", "whitened", "residuals", "grid")
DETECTORS_OF_ALL = ("latents", "residuals")  # asked about every attack
# Baselines: a network on the images themselves, and late principal components.
SEPARATE, PCA = "separate", "pca"
# What it was trained on: the mixture, one attack alone, or the mixture without one.
TRAINED = ("mixture", *MAIN, *(f"without-{name}" for name in MAIN))
# Those that are also asked about images as a file holds them.
ROUNDABLE = ("latents", "residuals", "grid", "whitened", SEPARATE, PCA)
ROUNDED = "-8bit"  # behind the kind of training: on images rounded to 8 bits
# A validation loss above this is that of guessing, log 2 = 0.693: the training never got off the
# ground, and the detector is no evidence.
GUESSING = 0.69

# Pairs of sets for the two-sample tests: in pixels, as their authors have it, and in latents.
TESTS = ("mmd", "energy")
SPACES = ("pixels", "latents")
# Changes beside the attacks', to compare with: random signs of EPS, and 8-bit noise drawn again.
NOISE, DEQUANTIZED = "noise", "dequantized"

# The attacker who knows: of whom he knows. Guards are compared at one rate of false alarms.
GUARDS = ("latents", SEPARATE, PCA)
GUARD_RATE = 0.05
KNOWING_EPS = (0.005, 0.01, EPS)
# At this size no attacker has won on all images yet, so that a stronger one would show.
UNSATURATED_EPS = KNOWING_EPS[0]
UNSATURATED = f"pgd-{UNSATURATED_EPS:g}"
LARGEST = 0.5  # an epsilon that leaves nothing of an image
# Rates of false alarms, on validation images, at which detectors are compared.
RATES = {"at_1": 0.01, "at_5": 0.05}

# Defenses that repaint: autoencoders by width, and controls.
WIDTHS = (2, 3, 4, 5, 6, 12)
AE = tuple(f"ae{width}" for width in WIDTHS)


@dataclass(frozen=True)
class Profile:
    """How much is computed.

    Attributes:
        n: test images, the first of a seeded draw; all attacks and detectors see the same.
        n_slow: of them, for attacks that take long.
        n_other: of them, for classifiers beside the paper's.
        n_small: of them, for the attacker who knows.
        n_flow: of them, for the attacker who knows a flow.
        n_train: training images that detectors learn from, clean and attacked.
        n_validation: what thresholds and epochs are chosen on.
        steps: of the attacker who knows.
        nets: classifiers, the paper's first.
        epochs: of the classifiers.
        ae_epochs: of the autoencoders.
        flow: width and depth of Glow.
        flow_epochs: of Glow.
        detector_epochs: most epochs of a detector.
        separate_epochs: most epochs of the network on images, each of which costs more.
        sizes: images in a set for the two-sample tests.
        trials: pairs of sets.
        seeds: of networks and draws.
    """

    n: int
    n_slow: int
    n_other: int
    n_small: int
    n_flow: int
    n_train: int
    n_validation: int
    steps: int
    nets: tuple[str, ...]
    epochs: int
    ae_epochs: int
    flow: tuple[int, int]
    flow_epochs: int
    detector_epochs: int
    separate_epochs: int
    sizes: tuple[int, ...]
    trials: int
    seeds: tuple[int, ...] = (0,)


PROFILES = {
    "smoke": Profile(
        n=100, n_slow=20, n_other=50, n_small=10, n_flow=10, n_train=300, n_validation=100,
        steps=3, nets=("resnet8", "resnet20"), epochs=8, ae_epochs=6, flow=(16, 2), flow_epochs=6,
        detector_epochs=6, separate_epochs=2, sizes=(10, 40), trials=10, seeds=(0, 1),
    ),
    "laptop": Profile(
        n=2000, n_slow=100, n_other=500, n_small=100, n_flow=100, n_train=8000, n_validation=1000,
        steps=40, nets=("resnet8",), epochs=34, ae_epochs=8, flow=(64, 4), flow_epochs=8,
        detector_epochs=30, separate_epochs=12, sizes=(10, 50, 200), trials=200,
    ),
    "paper": Profile(
        n=10_000, n_slow=1000, n_other=10_000, n_small=1000, n_flow=300, n_train=45_000,
        n_validation=5000, steps=200, nets=("resnet8", "resnet20"), epochs=60, ae_epochs=50,
        flow=(256, 16), flow_epochs=40, detector_epochs=30, separate_epochs=30,
        sizes=(10, 50, 200, 500), trials=200, seeds=(0, 1, 2),
    ),
}  # fmt: skip
# The paper's network, trained with five times the weight decay: what attacks' rates owe to it.
DECAY = "resnet8-decay"
BLOCKS: Mapping[str, int] = {"resnet8": 1, DECAY: 1, "resnet20": 3}
# Where training of the paper's network ends, on validation images. The paper's accuracy is on
# test images, and validation, on which the epoch is chosen, runs above those.
STOP = 0.895


def classifier_recipe(dataset: str, net: str, profile: str, seed: int) -> Recipe:
    """Xiong's network, or one beside it: SGD at 0.1, shifts and flips.

    The paper gives 200 epochs and the augmentation; the rest is ours. Its network is trained to
    the paper's accuracy and no further, on validation images. In few epochs smaller batches and
    shifts get further (validation, 15,000 images, nine epochs: 0.774 against 0.741).
    """
    few = profile == "laptop"
    small = dataset != "cifar10"
    widths = (8, 16, 32) if small else (16, 32, 64)
    args = (("blocks", BLOCKS[net]), ("pooled", 2), ("shortcut", "conv"), ("widths", widths))
    if net == "resnet20":  # as He et al. have it
        args = (("blocks", 3), ("widths", widths))  # type: ignore[assignment]
    epochs, decay, shifts = PROFILES[profile].epochs, 1e-4 if few else 5e-4, 2 if few else 4
    if net == DECAY:
        epochs, decay, shifts = epochs if profile == "paper" else epochs // 2, 5 * decay, 4
    return Recipe(
        model="resnet", data=dataset, epochs=epochs, seed=seed,
        batch_size=16 if small else 64 if few else 128, lr=0.1, optimizer="sgd",
        weight_decay=decay, augment="flip" if small else f"shift{shifts}+flip",
        stop_at=STOP if net == "resnet8" and not small else None,
        model_args=args,
    )  # fmt: skip


def ae_recipe(dataset: str, width: int, profile: str, seed: int) -> Recipe:
    """The autoencoder of one width, on clean images.

    It takes many steps at a large rate (validation, width 6, four epochs: a mean squared error of
    0.0022, with batches of 128 at 2e-3 0.0062). A GPU is idle with small batches, and has more
    epochs.
    """
    batch, lr = {"laptop": (32, 8e-3), "paper": (512, 1.6e-2)}.get(profile, (16, 2e-3))
    return Recipe(
        model="autoencoder", data=dataset, epochs=PROFILES[profile].ae_epochs, seed=seed,
        batch_size=batch, lr=lr, augment="flip", model_args=(("width", width),),
    )  # fmt: skip


def flow_recipe(dataset: str, profile: str, seed: int) -> Recipe:
    """Glow. The paper takes a trained one (512 wide, 32 steps in a level) that cannot be had."""
    hidden, depth = PROFILES[profile].flow
    # At laptop the better of two rates after three epochs; larger batches bear a larger one.
    lr = {"laptop": 3e-3, "paper": 2e-3}.get(profile, 1e-3)
    return Recipe(
        model="glow", data=dataset, epochs=PROFILES[profile].flow_epochs, seed=seed,
        batch_size=512 if profile == "paper" else 64 if dataset in AUTO else 16, augment="flip",
        lr=lr, model_args=(("depth", depth), ("hidden", hidden)),
    )  # fmt: skip
