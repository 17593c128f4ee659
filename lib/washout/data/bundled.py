"""Datasets that come with scikit-learn and scikit-image and need no download."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from washout.checks import check_choice
from washout.data.types import Dataset, Split

# Photographs in scikit-image's wheel that are in the public domain or under CC0, and their SHA-256
# sums; the library's other pictures are fetched from the network or have other terms.
PHOTOGRAPHS = {
    "astronaut": ("png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
    "chelsea": ("png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    "coffee": ("png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    "hubble_deep_field": (
        "jpg",
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
    ),
    "ihc": ("png", "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef"),
    "retina": ("jpg", "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6"),
    "rocket": ("jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
}
PATCH = 32  # pixels
PATCHES = (80, 20, 20)  # of each photograph, to train, validate and test


def digits() -> Dataset:
    """Scikit-learn's 1,797 handwritten digits in MNIST's form: 28 x 28, one channel.

    The 8 x 8 originals are enlarged to 20 x 20 and framed by four black pixels on each side, as
    MNIST's are, so that crops and shifts act alike. Values are multiples of 1/255: an 8-bit
    file keeps them exactly.

    Returns:
        1,197 images to train, 300 to validate, 300 to test, in a fixed shuffled order.
    """
    from sklearn.datasets import load_digits  # takes a second to import

    found = load_digits()
    small = torch.from_numpy(found.images / 16.0).float()[:, None]
    images = F.interpolate(small, size=20, mode="bilinear", align_corners=False)
    images = F.pad((images * 255).round() / 255, (4, 4, 4, 4))
    labels = torch.from_numpy(found.target).long()
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(labels)))
    train, validation, test = (Split(images[i], labels[i]) for i in order.split([1197, 300, 300]))
    return Dataset(
        name="digits",
        train=train,
        validation=validation,
        test=test,
        classes=tuple(str(digit) for digit in range(10)),
        licence="CC BY 4.0",
        source="Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI; "
        "via scikit-learn",
    )


def photos() -> Dataset:
    """Patches of seven photographs in scikit-image's wheel: 32 x 32, three channels.

    The label says which photograph a patch was cut from. Patches do not overlap, so the three
    parts have no pixel in common; of each photograph the 120 with the most contrast are taken,
    which leaves out empty sky and black borders.

    Returns:
        560 patches to train, 140 to validate, 140 to test, in a fixed shuffled order.

    Raises:
        ValueError: a photograph is not in the wheel, or is another one.
    """
    random = np.random.RandomState(0)
    parts: list[list[Tensor]] = [[], [], []]
    for name in PHOTOGRAPHS:
        patches = _patches(photograph(name))
        order = torch.from_numpy(random.permutation(len(patches)))
        for part, index in zip(parts, order.split(list(PATCHES)), strict=True):
            part.append(patches[index])
    splits = []
    for part in parts:
        labels = torch.arange(len(part)).repeat_interleave(len(part[0]))
        order = torch.from_numpy(random.permutation(len(labels)))
        splits.append(Split(torch.cat(part)[order], labels[order]))
    return Dataset(
        name="photos",
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        classes=tuple(PHOTOGRAPHS),
        licence="public domain or CC0, as scikit-image states for each",
        source="photographs in scikit-image: NASA, S. van der Walt, R. Michetti, CMMI, "
        "M. Häggström, SpaceX",
    )


def photograph(name: str) -> Tensor:
    """One of the photographs that ``photos()`` is cut from, whole.

    Args:
        name: one of ``PHOTOGRAPHS``.

    Returns:
        (3, H, W), float32 in [0, 1].

    Raises:
        ValueError: another name, or it is not in scikit-image's wheel.
    """
    suffix, digest = PHOTOGRAPHS[check_choice(name, PHOTOGRAPHS, "photograph")]
    return _photograph(f"{name}.{suffix}", digest)


def _photograph(file_name: str, digest: str) -> Tensor:
    """(3, H, W) float32 in [0, 1]; read past ``skimage.data``, which may go to the network."""
    import skimage

    path = Path(skimage.__file__).parent / "data" / file_name
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != digest:
        state = "altered" if content else "missing"
        raise ValueError(
            f"{path} is {state}, and photos() needs it; reinstall scikit-image from its wheel, "
            "or use digits(), mnist() or cifar10()"
        )
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def _patches(photograph: Tensor) -> Tensor:
    """(3, H, W) -> the (120, 3, 32, 32) tiles of most contrast, in reading order."""
    tiles = photograph.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH)
    tiles = tiles.permute(1, 2, 0, 3, 4).reshape(-1, 3, PATCH, PATCH)
    contrast = tiles.flatten(1).double().std(1)
    chosen = contrast.topk(sum(PATCHES)).indices.sort().values
    return tiles[chosen].contiguous()
