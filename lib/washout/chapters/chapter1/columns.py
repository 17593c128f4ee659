"""The defenses of a table's columns, by name, for one batch of images at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from washout.chapters.chapter1.networks import vae
from washout.chapters.chapter1.settings import (
    FAVORITE,
    FEWER,
    FILTER,
    GRIDS,
    PATCHWISE,
    PROFILES,
    QUALITIES,
    SHAPES,
    STRIDES,
)
from washout.defenses import average, eight_bit, jpeg, noise_like, patchwise, smooth
from washout.models import VAE
from washout.store import Spec
from washout.study import Study

# (images, what the columns before made of them) -> images. A column of pixel averages takes what
# is there instead of computing it again.
Column = Callable[[Tensor, dict[str, Tensor]], Tensor]
DRAWS = 5


class Columns:
    """The columns of one row, with the VAEs behind them.

    Attributes:
        defenses: name -> column, in the order in which they are computed.
        hidden: what other columns are made of, and no column itself.
        hashes: VAE -> the hash of its weights.
    """

    def __init__(self, spec: Spec, study: Study, betas: dict[int, float], wide: bool = False):
        self.spec, self.study, self.betas, self.wide = spec, study, betas, wide
        self.hashes: dict[str, str] = {}
        self.hidden: set[str] = set()
        self.defenses: dict[str, Column] = {"nodef": lambda x, seen: x}
        patchwise_ = spec["dataset"] in PATCHWISE
        for quality in FEWER if patchwise_ and not wide else QUALITIES:
            self.add(f"jpeg{quality}", partial(jpeg, quality=quality))
        self.add("gauss", partial(smooth, kind="gaussian"))
        if wide or not patchwise_:
            self.add("box", smooth)
            self.add("eight-bit", eight_bit)
        if not patchwise_:
            self._whole()
            return
        self._patchwise()
        if wide:
            self._patchwise_controls()

    def add(self, name: str, function: Callable[[Tensor], Tensor]) -> None:
        self.defenses[name] = lambda x, seen: function(x)

    def generator(self, name: str) -> torch.Generator:
        """A column's own randomness: none depends on which other columns there are."""
        seed = 1000 * self.spec["seed"] + sum(map(ord, name))
        return torch.Generator(self.study.device).manual_seed(seed)

    def vae(self, size: int, name: str, beta: float | None = None, **kind: Any) -> VAE:
        """A VAE whose hash is noted under ``name``."""
        chosen = self.betas[size] if beta is None else beta
        model, self.hashes[name] = vae(self.spec, self.study, size, chosen, **kind)
        return model.requires_grad_(False)

    def _whole(self) -> None:
        """Columns for images that a VAE takes whole."""
        (size,) = SHAPES[self.spec["dataset"]]
        model = self.vae(size, "ours")

        def draw(name: str, net: VAE = model, **settings: Any) -> Callable[[Tensor], Tensor]:
            return partial(net.reconstruct, generator=self.generator(name), **settings)

        self.add("ours", draw("ours"))
        for number in range(2, DRAWS + 1):
            self.add(f"ours-{number}", draw(f"ours-{number}"))
        self.add("mean", partial(model.reconstruct, sample=False))
        for clip in (1, 2):
            self.add(f"clip{clip}", draw(f"clip{clip}", clip=clip))
        self.add("plain", self.vae(size, "plain", plain=True).reconstruct)
        # Other seeds are there for the spread; what beta does, the first one shows.
        first = self.spec["seed"] == PROFILES[self.study.profile].seeds[0]
        for beta in PROFILES[self.study.profile].betas[self.spec["dataset"]] if first else ():
            name = f"beta{beta:g}"
            self.add(name, draw(name, self.vae(size, name, beta)))
        generator = self.generator("noise")
        self.defenses["noise"] = lambda x, seen: noise_like(x, seen["ours"], generator)

    def _patchwise(self) -> None:
        """Tables 6 and 7's columns."""
        grid = GRIDS[self.spec["dataset"]]
        for name, (size, stride) in grid.items():
            self._stitched(name, self.vae(size, f"vae{size}"), size, stride)
        self.defenses["ens"] = lambda x, seen: average(*(seen[name] for name in grid))

    def _patchwise_controls(self) -> None:
        """What only some rows show: strides, no filter or another, other VAEs of one patch size."""
        dataset = self.spec["dataset"]
        for name, (size, stride) in STRIDES[dataset].items():
            self._stitched(name, self.vae(size, f"vae{size}"), size, stride)
        for name in GRIDS[dataset]:
            self.hidden.discard(f"{name}-raw")
            self.defenses[f"{name}-box"] = partial(_again, name=f"{name}-raw")
        favorite = FAVORITE[dataset]
        size, stride = GRIDS[dataset][favorite]
        model = self.vae(size, f"vae{size}")
        self._stitched(f"{favorite}-mean", model, size, stride, sample=False)
        self._stitched(f"{favorite}-clip1", model, size, stride, clip=1)
        generator = self.generator("noise")
        self.defenses["noise"] = lambda x, seen: noise_like(x, seen[favorite], generator)
        size, stride = _middle(dataset)
        self._stitched("plain", self.vae(size, "plain", plain=True), size, stride)
        for beta in PROFILES[self.study.profile].betas[dataset]:
            self._stitched(f"beta{beta:g}", self.vae(size, f"beta{beta:g}", beta), size, stride)
        if dataset == "nips2017":  # half of the images each, to tell seen from unseen ones
            for fold in ("even", "odd"):
                name = f"trained-{fold}"
                self._stitched(name, self.vae(size, name, fold=fold), size, stride)

    def _stitched(self, name: str, model: VAE, size: int, stride: int, **settings: Any) -> None:
        """A column of stitched and filtered patches."""
        function = partial(
            model.reconstruct,
            generator=self.generator(name) if settings.get("sample", True) else None,
            **settings,
        )
        self.add(f"{name}-raw", partial(patchwise, function, size=size, stride=stride))
        self.hidden.add(f"{name}-raw")
        self.defenses[name] = lambda x, seen: smooth(seen[f"{name}-raw"], kind=FILTER)


def _again(x: Tensor, seen: dict[str, Tensor], name: str) -> Tensor:
    return smooth(seen[name])


def _middle(dataset: str) -> tuple[int, int]:
    """The patch size, and the stride without overlap, that other VAEs are compared at."""
    size = sorted(SHAPES[dataset])[len(SHAPES[dataset]) // 2]
    return size, size
