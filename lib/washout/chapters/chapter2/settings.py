"""Chapter 2's profiles, labels, columns and recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from washout.training import Recipe

AUTO = ("mnist", "cifar10")  # the paper's
BUNDLED = ("digits", "photos")
DATASETS = (*AUTO, *BUNDLED)
GRAY = ("mnist", "digits")

# The four attacks as foolbox 2 ran them: each searches the smallest change (methods page).
MAIN = ("fgsm-min", "pgd-min", "cw-fb2", "deepfool-fb2")
EPS = "pgd-min-eps"  # the other reading of PGD's search
SEARCHES = ("fgsm-min", "pgd-min", EPS, "cw-fb2", "deepfool-fb2")
FACTORS = (1.02, 1.2, 1.5, 2.0, 5.0, 10.0)  # of a DeepFool step; the library's own is 1.05
BATCHED = (8, 64)  # images in a call to DeepFool as the library ran it
CAP = 0.3  # the paper's "max epsilon"
SMALL = 8 / 255  # what is common on images in color

CW = {
    "binary_search_steps": 5, "steps": 1000, "lr": 5e-3, "initial_const": 1e-2, "progress": 1e-4,
}  # fmt: skip
# For the whole test set: the shortest of those tried on 40 validation images each that fools all of
# them and needs at most 1.02 times the full one's median L2 (benchmarks/results/cw_short.csv).
CW_SHORT = {**CW, "steps": 200, "lr": 2e-2}
CW_SHORT_COLOR = {**CW, "steps": 100}
SHORT = {"gray": "cw-short", "color": "cw-short-color"}
# Labels that stand for an attack with other settings than its defaults.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "fgsm-min": ("fgsm-min", {}),
    # The library kept the iterate nearest in L2 that it met on the way; the other is the one at
    # the smallest epsilon.
    "pgd-min": ("pgd-min", {"keep": "l2"}),
    "pgd-min-eps": ("pgd-min", {"keep": "eps"}),
    "cw-fb2": ("cw", CW),
    "cw-short": ("cw", CW_SHORT),
    "cw-short-color": ("cw", CW_SHORT_COLOR),
    "deepfool-fb2": ("deepfool-fb2", {}),
    **{f"deepfool-x{factor:g}": ("deepfool-fb2", {"overshoot": factor}) for factor in FACTORS},
    # In batches the library averaged the loss, so that steps were as many times too long as there
    # were images in the batch.
    **{f"deepfool-batch{n}": ("deepfool-fb2", {"reduction": "mean"}) for n in BATCHED},
    "deepfool-linf": ("deepfool-fb2", {"norm": "linf"}),
    # On probabilities instead of logits, a slip that users of the library report.
    "deepfool-softmax": ("deepfool-fb2", {}),
    "fgsm-0.3": ("fgsm", {"eps": CAP}),
    "pgd-0.3": ("pgd", {"eps": CAP, "step": 0.01, "steps": 40}),
    "fgsm-8/255": ("fgsm", {"eps": SMALL}),
    "pgd-8/255": ("pgd", {"eps": SMALL, "step": SMALL / 10, "steps": 40}),
    # What the minimal attacks found, kept within the cap.
    "cw-0.3": ("cw", CW),
    "deepfool-0.3": ("deepfool-fb2", {}),
}
CAPPED = {"cw-0.3": "cw-fb2", "deepfool-0.3": "deepfool-fb2"}
FIXED: dict[str, tuple[str, ...]] = {
    "gray": ("fgsm-0.3", "pgd-0.3", "cw-0.3", "deepfool-0.3"),
    "color": ("fgsm-0.3", "pgd-0.3", "cw-0.3", "deepfool-0.3", "fgsm-8/255", "pgd-8/255"),
}
SWEEP = (
    *(f"deepfool-x{f:g}" for f in FACTORS),
    *(f"deepfool-batch{n}" for n in BATCHED),
    "deepfool-linf",
    "deepfool-softmax",
)

# Columns of Figure 6, in its order. On digits K-means runs over rows, as "n out of 28" implies.
NOISES = (0.0, 0.25, 0.75)
CLUSTERS = {"gray": "kmeans16-rows", "color": "kmeans50"}
VQ = tuple(f"vqvae{noise:g}" for noise in NOISES)


def columns(dataset: str) -> tuple[str, ...]:
    """The paper's eight columns."""
    return ("none", "jpeg90", "gauss", CLUSTERS[kind(dataset)], "tvm", *VQ)


def kind(dataset: str) -> str:
    return "gray" if dataset in GRAY else "color"


# The other readings, and the controls; after the searches and on clean images alone.
JOINED = ("jpeg90+tvm", "average:jpeg90,tvm")
_READ = ("gauss-3", "gauss-5", "tvm-four", "8bit")
_SLIPS = ("vqvae0-range", "vqvae0-wrap")
# Noise as large as the change that each of the five defenses makes.
NOISE = {
    sort: tuple(f"noise:{d}" for d in ("jpeg90", "gauss", clusters, "tvm", "vqvae0"))
    for sort, clusters in CLUSTERS.items()
}
CONTROLS: dict[str, tuple[str, ...]] = {
    "gray": (*_READ, *NOISE["gray"], "kmeans16", *_SLIPS, *JOINED),
    "color": (*_READ, *NOISE["color"], *_SLIPS, *JOINED),
}
QUALITIES = tuple(f"jpeg{quality}" for quality in (10, 25, 50, 75, 90, 95, 100))
ABLATION: dict[str, tuple[str, ...]] = {
    "gray": tuple(f"kmeans{k}-rows" for k in (2, 4, 8, 16, 24, 27))
    + tuple(f"kmeans{k}" for k in (2, 4, 16, 64)),
    "color": tuple(f"kmeans{k}" for k in (4, 8, 16, 27, 50, 100)),
}
# Noise beyond the paper's list, and the kinds that its future work names.
OTHER_VQ = ("vqvae1.5", "vqvae0.25-salt", "vqvae0.25-uniform")
SIZES = ((64, 512), (128, 512), (256, 128), (256, 512), (256, 2048))  # hidden, codes

# The attacker who knows: what he computes gradients through.
KNOWS: dict[str, tuple[str, ...]] = {
    "none": ("classifier",),
    "jpeg90": ("classifier", "identity", "proxy"),
    "gauss": ("classifier", "proxy"),  # a convolution, which has a gradient of its own
    "kmeans": ("classifier", "identity", "proxy"),
    "tvm": ("classifier", "identity", "proxy"),
    "vqvae0": ("classifier", "identity", "proxy"),
}
KNOWING_EPS = {"mnist": CAP, "cifar10": SMALL, "digits": CAP, "photos": SMALL}
LARGEST = 0.5  # an epsilon at which nothing of the image is left to defend


@dataclass(frozen=True)
class Profile:
    """How much is computed; mappings are by dataset.

    Attributes:
        n: test images, the first of a seeded draw.
        n_slow: of them, for Carlini and Wagner's attack.
        n_small: of them, for what costs most (the attacker who knows).
        steps: of the attacker who knows.
        samples: draws of the dropout mask in each of those steps.
        net: the classifier.
        epochs: of the classifier.
        vq_epochs: of the VQ-VAEs.
        hidden: width of the VQ-VAEs.
        whole: also on all test images.
        long: also a well-trained classifier of images in color.
        sizes: VQ-VAEs of other sizes: hidden, codes.
        retrained: classifiers trained on what the VQ-VAE makes of the training images.
    """

    n: Mapping[str, int]
    n_slow: Mapping[str, int]
    n_small: Mapping[str, int]
    steps: int
    samples: int
    net: Mapping[str, str]
    epochs: Mapping[str, int]
    vq_epochs: Mapping[str, int]
    hidden: Mapping[str, int]
    whole: bool = False
    long: bool = False
    sizes: tuple[tuple[int, int], ...] = ()
    retrained: tuple[str, ...] = ()


def _all(value: Any) -> dict[str, Any]:
    return {name: value for name in DATASETS}


NETS = {"mnist": "lenet", "digits": "lenet"}
PROFILES = {
    "smoke": Profile(
        n=_all(30),
        n_slow=_all(15),
        n_small=_all(6),
        steps=3,
        samples=2,
        net={**NETS, "cifar10": "resnet", "photos": "resnet"},
        epochs={"digits": 8, "photos": 6},
        vq_epochs={"digits": 6, "photos": 4},
        hidden=_all(16),
    ),
    "laptop": Profile(
        n={"mnist": 500, "cifar10": 150},
        n_slow={"mnist": 100, "cifar10": 40},
        n_small={"mnist": 50, "cifar10": 30},
        steps=20,
        samples=2,
        net={**NETS, "cifar10": "resnet"},
        epochs={"mnist": 10, "cifar10": 12},
        vq_epochs={"mnist": 4, "cifar10": 4},
        hidden={"mnist": 32, "cifar10": 64},
        retrained=("mnist",),
    ),
    "paper": Profile(
        n=_all(1000),
        n_slow=_all(1000),
        n_small=_all(500),
        steps=100,
        samples=16,
        net={**NETS, "cifar10": "densenet"},
        epochs={"mnist": 10, "cifar10": 30},
        vq_epochs={"mnist": 30, "cifar10": 30},
        hidden=_all(256),
        whole=True,
        long=True,
        sizes=SIZES,
        retrained=("mnist", "cifar10"),
    ),
}


def small_settings(profile: str, dataset: str) -> dict[str, Any]:
    """What the rows about the attacker who knows depend on."""
    found = PROFILES[profile]
    return {"n": found.n_small[dataset], "steps": found.steps, "samples": found.samples}


def classifier_recipe(dataset: str, net: str, profile: str, seed: int) -> Recipe:
    """The paper's recipe for its networks; ``-long`` goes on past where the paper stopped.

    On digits SGD at 0.01 with momentum 0.5, batch 64. On CIFAR-10 a rate of 0.1 throughout with
    momentum 0.9, weight decay, shifts and flips; training ends at the paper's 85 %.
    """
    epochs = PROFILES[profile].epochs[dataset]
    model = net.removesuffix("-long")
    if kind(dataset) == "gray":
        batch = 64 if dataset == "mnist" else 16
        return Recipe(
            model=model, data=dataset, epochs=epochs, batch_size=batch, lr=0.01, seed=seed,
            optimizer="sgd", momentum=0.5, schedule="constant",
            model_args=(("dropout", 0.0),),
        )  # fmt: skip
    long, paper = net.endswith("-long"), model == "densenet"
    width = 24 if dataset == "cifar10" else 8
    small = (("blocks", 1), ("widths", (width, 2 * width, 4 * width)))
    return Recipe(
        model=model, data=dataset, epochs=2 * epochs if long else epochs, seed=seed,
        batch_size=128 if dataset == "cifar10" else 16, lr=0.1, optimizer="sgd",
        weight_decay=5e-4, augment="shift4+flip" if dataset == "cifar10" else "flip",
        # What stands in for the paper's network has few epochs: it gets there by a schedule.
        schedule="constant" if paper and not long else "onecycle",
        stop_at=0.85 if dataset == "cifar10" and not long else None,
        model_args=() if paper else small,
    )  # fmt: skip


def vq_recipe(
    dataset: str, noise: str, profile: str, seed: int, hidden: int = 0, codes: int = 512
) -> Recipe:
    """A VQ-VAE with the paper's settings; ``noise`` is ``0.25``, ``0.25-salt``, ...

    Args:
        hidden: the profile's width if 0.
    """
    found = PROFILES[profile]
    size, _, sort = noise.partition("-")
    args: dict[str, Any] = {
        "hidden": hidden or found.hidden[dataset],
        "codes": codes if found.hidden[dataset] > 16 else 64,
        "noise": float(size),
        "noise_kind": {"salt": "salt-and-pepper"}.get(sort, sort or "gaussian"),
    }
    return Recipe(
        model="vqvae", data=dataset, epochs=found.vq_epochs[dataset], seed=seed,
        # In few epochs a larger rate than the paper's 2e-4 gets further.
        lr=2e-4 if profile == "paper" else 2e-3,
        batch_size=128 if dataset in AUTO else 16,
        schedule="constant" if profile == "paper" else "onecycle",
        model_args=tuple(sorted(args.items())),
    )  # fmt: skip
