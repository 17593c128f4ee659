"""Defenses by name, for one row: alone, one after another, or averaged.

``jpeg75``, ``gauss``, ``gauss-5``, ``kmeans50``, ``kmeans16-rows``, ``tvm``, ``vqvae0.25``,
``vqvae0.25-salt``, ``8bit``; ``noise:tvm`` is noise as large as the change that a defense makes;
``jpeg90+tvm`` is one after the other, ``average:jpeg90,tvm`` the mean of what several make.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from washout.chapters.chapter2 import networks
from washout.chapters.chapter2.settings import CLUSTERS, kind
from washout.defenses import (
    Compose,
    Defense,
    Ensemble,
    blur,
    eight_bit,
    jpeg,
    kmeans,
    noise_like,
    tvm,
)
from washout.models import VQVAE
from washout.store import Spec
from washout.study import Study

# OpenCV's reading of a sigma_x of 0 (``blur``); SciPy's is ``gauss``.
OPENCV = {"gauss-3": (3, 0.8), "gauss-5": (5, 1.1)}
PATTERNS = {
    r"jpeg(\d{1,3})": "JPEG at a quality from 1 to 100, e.g. jpeg90",
    r"gauss(-3|-5)?": "Gaussian smoothing: gauss, gauss-3, gauss-5",
    r"kmeans(\d+)(-rows)?": "K-means, at most as many clusters as points: kmeans50, kmeans16-rows",
    r"tvm(-four)?": "total-variation minimization: tvm; with the border of Guo's code: tvm-four",
    r"vqvae(\d+(?:\.\d+)?)(-salt|-uniform)?": "a VQ-VAE and its noise: vqvae0.25, -salt, -uniform",
    r"vqvae0-(range|wrap)": "the VQ-VAE after a slip: vqvae0-range, vqvae0-wrap",
    r"8bit": "rounding to 8 bits: 8bit",
    r"none": "none",
}


def defense(name: str, spec: Spec, study: Study, hashes: dict[str, str]) -> Defense:
    """The named defense with the row's randomness.

    Args:
        hashes: VQ-VAE -> the hash of its weights; filled in here.

    Raises:
        ValueError: an unknown name, with the known ones.
    """
    name = full_name(name, spec["dataset"])
    if name.startswith("average:"):
        return Ensemble(
            *(defense(n, spec, study, hashes) for n in name.removeprefix("average:").split(","))
        )
    if name.startswith("noise:"):
        like = defense(name.removeprefix("noise:"), spec, study, hashes)
        source = generator(name, spec, study)
        return lambda x: noise_like(x, like(x), source)
    if "+" in name:
        return Compose(*(defense(n, spec, study, hashes) for n in name.split("+")))
    return _single(name, spec, study, hashes)


def full_name(name: str, dataset: str) -> str:
    """``kmeans`` and ``jpeg`` stand for the paper's settings.

    Raises:
        ValueError: an unknown name, with the known ones.
    """
    short = {"jpeg": "jpeg90", "kmeans": CLUSTERS[kind(dataset)], "vqvae": "vqvae0"}
    front = next((f for f in ("average:", "noise:") if name.startswith(f)), "")
    rest = name.removeprefix(front)
    parts = [short.get(part, part) for part in re.split(r"[+,]", rest)]
    wrong = [p for p in parts if not any(re.fullmatch(pattern, p) for pattern in PATTERNS)]
    wrong += [p for p in parts if p not in wrong and not _possible(p, dataset)]
    mixed = ("+" in rest and front) or ("," in rest and front != "average:")
    if wrong or mixed:
        raise ValueError(
            f"defense: got {name!r}; allowed are {'; '.join(PATTERNS.values())}; A+B for one after "
            "the other, average:A,B for their mean, noise:A for noise as large as A's change"
        )
    return front + ("," if "," in rest else "+").join(parts)


def _possible(part: str, dataset: str) -> bool:
    """Whether a name's number is one that its defense takes."""
    found = re.fullmatch(r"(jpeg|kmeans|vqvae)([\d.]+)(?:-(\w+))?", part)
    if found is None:
        return True
    word, value, sort = found[1], float(found[2]), found[3]
    if word == "vqvae":
        return sort != "salt" or value <= 1  # there a share of the pixels
    side = 28 if kind(dataset) == "gray" else 32
    return 1 <= value <= (100 if word == "jpeg" else side if sort == "rows" else side**2)


def _single(name: str, spec: Spec, study: Study, hashes: dict[str, str]) -> Defense:
    if name == "none":
        return lambda x: x
    if name == "8bit":
        return eight_bit
    if name in ("tvm", "tvm-four"):
        border = "four" if name.endswith("four") else "neighbors"
        return partial(tvm, border=border, generator=generator(name, spec, study))
    if name == "gauss":
        return blur
    if name in OPENCV:
        size, sigma = OPENCV[name]
        return partial(blur, sigma_x=sigma, size=size)
    if name.startswith("jpeg"):
        return partial(jpeg, quality=int(name.removeprefix("jpeg")))
    if name.startswith("kmeans"):
        count, _, by = name.removeprefix("kmeans").partition("-")
        return partial(
            kmeans, clusters=int(count), by="row" if by else "pixel",
            generator=generator(name, spec, study),
        )  # fmt: skip
    noise = name.removeprefix("vqvae")
    slip = noise.removeprefix("0-") if noise in ("0-range", "0-wrap") else ""
    net, hashes[name] = networks.vqvae(spec, study, "0" if slip else noise)
    return partial(SLIPS[slip], net) if slip else net.reconstruct


def out_of_range(net: VQVAE, images: Tensor) -> Tensor:
    """The slip of feeding [0, 1] to a network that was trained on [-1, 1]."""
    # The network maps [0, 1] to [-1, 1] itself: these come to it as the plain images would.
    return net.reconstruct((images + 1) / 2)


def wrapped(net: VQVAE, images: Tensor) -> Tensor:
    """The slip of casting an output in [-1, 1] to bytes: what is negative wraps around."""
    output = net.reconstruct(images) * 2 - 1
    return (output * 255).to(torch.int64).remainder(256).to(images.dtype) / 255


SLIPS: dict[str, Callable[..., Tensor]] = {"range": out_of_range, "wrap": wrapped}


def generator(name: str, spec: Spec, study: Study) -> torch.Generator:
    """A defense's own randomness: none depends on which others there are."""
    seed = 1000 * spec["seed"] + 10 + sum(map(ord, name))
    return torch.Generator(study.device).manual_seed(seed)


def vq_names(name: str) -> list[str]:
    """The training noises of the VQ-VAEs that a defense needs."""
    return list(dict.fromkeys(re.findall(r"vqvae(\d+(?:\.\d+)?(?:-salt|-uniform)?)", name)))
