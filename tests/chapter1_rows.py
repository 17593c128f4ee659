"""Hand-made rows of chapter 1, for the tests of its verdicts."""

from __future__ import annotations

import numpy as np
import torch

from washout.chapters.bits import packed
from washout.chapters.chapter1.settings import GRIDS
from washout.store import Row
from washout.study import Missing

N = 100
SMALL = {
    "nodef": 20, "jpeg10": 60, "jpeg23": 90, "vae16s16": 75, "vae32s32": 70,
    "vae64s32": 68, "vae64s64": 60, "ens": 82,
}  # fmt: skip
LARGE = {
    "nodef": 5, "jpeg10": 50, "jpeg23": 20, "vae16s16": 35, "vae32s32": 40,
    "vae64s32": 55, "vae64s64": 65, "ens": 45,
}  # fmt: skip
# Columns of the controls alone.
WIDE = {
    **{f"{name}-raw": 10 for name in GRIDS["nips2017"]},
    "vae32s32-mean": 66,
    "vae32s16": 67,
}


def spec(dataset: str, attack: str = "", seed: int = 0, net: str = "", **more) -> dict:
    net = net or ("inception_v3" if dataset == "nips2017" else "cnn")
    about = {"attack": attack} if attack else {}
    return {"dataset": dataset, "net": net, "seed": seed, **about, **more}


def row(about: dict, right: dict[str, list[int]], l2: float = 0.0) -> Row:
    """A row of ``washed``: column -> which images are right."""
    found = {name: np.array(some, dtype=bool) for name, some in right.items()}
    (n,) = {len(some) for some in found.values()}
    sizes = (16, 32, 64) if about["dataset"] == "nips2017" else (28,)
    values = {
        "n": n,
        "betas": {str(size): 0.01 for size in sizes},
        "l2": l2,
        "correct": {name: int(some.sum()) for name, some in found.items()},
        "right": {name: packed(torch.from_numpy(some)) for name, some in found.items()},
    }
    return Row("curve", "paper", about, {}, values, {})


def first(count: int, n: int = N) -> list[int]:
    """The first ``count`` of ``n`` images are right."""
    return [1] * count + [0] * (n - count)


def missing(found: Row) -> Missing:
    return Missing(found.table, found.spec, "make")


def curve(dataset: str, attack: str, sizes: list, *columns: dict[str, int], **more) -> list[Row]:
    """One row for each size, with so many of the first images right in each column, else 30."""
    kind = "l2" if attack == "ifgsm" and dataset == "nips2017" else "eps"
    every = {"nodef": 30, "jpeg10": 30, "jpeg23": 30, "ours": 30}
    if dataset == "nips2017":
        every = dict.fromkeys(SMALL, 30)
    return [
        row(
            spec(dataset, attack, **more, **({kind: size} if attack != "none" else {})),
            {name: first(count) for name, count in {**every, **right}.items()},
            l2=size,
        )
        for size, right in zip(sizes, columns, strict=True)
    ]
