"""What a dataset is: labelled images in memory, in three parts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def floats(images: Tensor) -> Tensor:
    """uint8 images as float32 in [0, 1]; others as they are."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


@dataclass(frozen=True)
class Split:
    """One part of a dataset.

    Attributes:
        images: (N, C, H, W), float32 in [0, 1]; many patches to train on may be uint8.
        labels: (N,), int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> Split:
        """The images and labels at a slice, a tensor of indices or a mask."""
        return Split(self.images[index], self.labels[index])


@dataclass(frozen=True)
class Dataset:
    """Images to train on, to choose settings on, and to report on.

    Attributes:
        name: the name that ``data.load`` takes.
        train: what weights are fitted to.
        validation: what epochs, thresholds and strengths are chosen on.
        test: what is reported; nothing is chosen on it.
        classes: the names of the labels.
        licence: the terms of the images.
        source: where they come from.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    licence: str
    source: str

    @property
    def channels(self) -> int:
        return self.train.images.shape[1]

    @property
    def size(self) -> int:
        """Height of the images, which is their width, in pixels."""
        return self.train.images.shape[2]
