"""Datasets in memory: float32 images in [0, 1], split in training, validation and test.

``digits()`` and ``photos()`` come with the libraries; ``mnist()`` and ``cifar10()`` are read from
the data folder, or downloaded to it. ``nips2017()`` holds test images only.
"""

from __future__ import annotations

from pathlib import Path

from washout.checks import check_choice
from washout.data.bundled import digits, photograph, photos
from washout.data.downloaded import cifar10, mnist
from washout.data.nips2017 import Nips2017, nips2017, patches, present
from washout.data.types import Dataset, Split, floats

NAMES = ("mnist", "cifar10", "digits", "photos")

__all__ = [
    "NAMES",
    "Dataset",
    "Nips2017",
    "Split",
    "cifar10",
    "digits",
    "floats",
    "load",
    "mnist",
    "nips2017",
    "patches",
    "photograph",
    "photos",
    "present",
]


def load(name: str, folder: str | Path | None = None) -> Dataset:
    """The dataset of that name.

    Args:
        name: one of ``NAMES``.
        folder: where downloaded files lie; else ``$WASHOUT_DATA``, else ``data/`` in the project.

    Raises:
        ValueError: an unknown name, or files that are missing or altered.
    """
    check_choice(name, NAMES, "dataset")
    if name == "mnist":
        return mnist(folder)
    if name == "cifar10":
        return cifar10(folder)
    return digits() if name == "digits" else photos()
