"""The 1,000 development images of the NIPS 2017 adversarial competition, from the data folder.

They are photographs under CC BY from Flickr, chosen to be like ImageNet's, cropped and scaled to
299 x 299 (Kurakin et al. 2018, Adversarial Attacks and Defences Competition, section 3.1).
``washout.fetch`` downloads them.
"""

from __future__ import annotations

import operator
import os
import re
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from washout.checks import check_choice, check_count
from washout.data.competition import class_names, entries
from washout.data.types import Split, floats
from washout.paths import data_folder

SIZE = 299  # pixels
TABLE = "nips2017/dev_dataset.csv"
IMAGES = "nips2017/images"
LABELS = "imagenet/labels_1001.txt"
FOLDS = ("all", "even", "odd")


@dataclass(frozen=True)
class Nips2017:
    """The images, or the rows that were picked, in the CSV's order.

    ``found[0:50]`` gives images in float32. All that follows an image's row is a tuple or a tensor
    with one entry for each.

    Attributes:
        images: (N, 3, 299, 299), uint8; a quarter of the memory that float32 takes.
        labels: (N,), int64, the true classes, 0 to 1,000; 0 is background.
        targets: (N,), int64, the classes that targeted attacks aim at.
        rows: (N,), int64, each image's row in the CSV, from 0.
        ids: what the files are called, without the suffix.
        authors: who took the photographs.
        licences: the addresses of the licences.
        urls: the photographs' pages.
        classes: the 1,001 names of the classes.
        name: the dataset's name.
        licence: the terms of the images.
        source: where they come from.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor
    rows: Tensor
    ids: tuple[str, ...]
    authors: tuple[str, ...]
    licences: tuple[str, ...]
    urls: tuple[str, ...]
    classes: tuple[str, ...]
    name: str = "nips2017"
    licence: str = "CC BY 2.0 for each photograph, by its author"
    source: str = (
        "Kurakin et al. (2018), Adversarial Attacks and Defences Competition: the development set"
    )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: slice | Tensor) -> Split:
        """Float32 images in [0, 1] and labels at a slice, a tensor of indices or a mask."""
        return Split(floats(self.images[index]), self.labels[index])

    @property
    def channels(self) -> int:
        return self.images.shape[1]

    @property
    def size(self) -> int:
        """Height of the images, which is their width, in pixels."""
        return self.images.shape[2]

    def credit(self, i: int) -> str:
        """One line for beneath a picture of image ``i``: author, licence, change and page."""
        short = re.search(r"/licenses/([a-z-]+)/(\d\.\d)", self.licences[i])
        terms = f"CC {short[1].upper()} {short[2]}" if short else self.licences[i]
        return f"{self.authors[i]} ({terms}, cropped and scaled), {self.urls[i]}"


def nips2017(folder: str | Path | None = None, index: Sequence[int] | None = None) -> Nips2017:
    """The NIPS 2017 development images: 1,000, 299 x 299, three channels, 1,001 classes.

    Args:
        folder: the data folder; else ``$WASHOUT_DATA``, else ``data/`` in the project.
        index: the rows of the CSV to read, from 0, in that order; every row otherwise.

    Raises:
        ValueError: files are missing, truncated or of another size, or there is no such row.
    """
    root = data_folder(folder)
    known = entries(_text(root, TABLE), root / TABLE)
    rows = list(range(len(known))) if index is None else _checked(index, len(known))
    chosen = [known[row] for row in rows]
    paths = [root / IMAGES / f"{entry.id}.png" for entry in chosen]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        raise ValueError(
            f"NIPS 2017: {len(missing):,} of {len(paths):,} images are missing in {root / IMAGES}: "
            f"{', '.join(missing[:3])}{more}. {_ways(root)}; or leave them out with "
            "index=present(), from washout.data"
        )
    return Nips2017(
        images=_decoded(paths),
        labels=torch.tensor([entry.label for entry in chosen], dtype=torch.int64),
        targets=torch.tensor([entry.target for entry in chosen], dtype=torch.int64),
        rows=torch.tensor(rows, dtype=torch.int64),
        ids=tuple(entry.id for entry in chosen),
        authors=tuple(entry.author for entry in chosen),
        licences=tuple(entry.licence for entry in chosen),
        urls=tuple(entry.page for entry in chosen),
        classes=class_names(_text(root, LABELS), root / LABELS),
    )


def present(folder: str | Path | None = None) -> list[int]:
    """The rows of the CSV whose images are there: what ``nips2017(index=...)`` can read.

    Raises:
        ValueError: the CSV is missing or is another one.
    """
    root = data_folder(folder)
    known = entries(_text(root, TABLE), root / TABLE)
    return [row for row, entry in enumerate(known) if (root / IMAGES / f"{entry.id}.png").is_file()]


def patches(found: Nips2017, size: int, count: int, seed: int = 0, fold: str = "all") -> Tensor:
    """Square patches cut at random places, ``count`` from each image.

    An image's places depend on its row, ``size``, ``count`` and ``seed`` only, not on which other
    rows were read.

    Args:
        found: the images to cut from.
        size: height and width of a patch in pixels.
        count: patches of each image.
        seed: what the places are drawn from.
        fold: ``all``; ``even`` or ``odd`` for the images whose row in the CSV is even or odd.

    Returns:
        (N * count, 3, size, size), uint8, image after image.

    Raises:
        ValueError: an unknown fold, or a size or count that is out of range.
    """
    check_choice(fold, FOLDS, "fold")
    check_count(count, 1, "count")
    if check_count(size, 1, "size") > found.size:
        raise ValueError(f"size: got {size} pixels; allowed are 1 to {found.size}, the image's own")
    places = torch.randint(
        found.size - size + 1,
        (int(found.rows.max()) + 1, count, 2),
        generator=torch.Generator().manual_seed(seed),
    )[found.rows]
    image = torch.arange(len(found))
    if fold != "all":
        image = image[found.rows % 2 == FOLDS.index(fold) - 1]
    y, x = places[image].unbind(2)
    # Every window of every image is a view; only the chosen ones are copied.
    windows = found.images.unfold(2, size, 1).unfold(3, size, 1)
    return windows[image[:, None], :, y, x].flatten(0, 1)


def _text(root: Path, name: str) -> str:
    """What is in a file; what is no text is found when it is parsed."""
    if not (root / name).is_file():
        raise ValueError(f"NIPS 2017: {root / name} is missing. {_ways(root)}")
    return (root / name).read_text(encoding="utf-8", errors="replace")


def _ways(root: Path) -> str:
    return (
        "Three ways to get them: (1) with a network, `python -m washout fetch nips2017` downloads "
        f"what is not there; (2) put {TABLE}, {IMAGES}/*.png and {LABELS} into {root}; (3) name a "
        "folder that has them with folder=... or WASHOUT_DATA. MNIST and CIFAR-10 do without them: "
        "--dataset mnist, --dataset cifar10"
    )


def _checked(index: Sequence[int], count: int) -> list[int]:
    """The rows as whole numbers within the CSV."""
    try:
        rows = [operator.index(row) for row in index]
    except TypeError:
        rows = []
    if not rows or min(rows) < 0 or max(rows) >= count:
        raise ValueError(
            f"index: got {index!r}; allowed are one or more whole numbers from 0 to {count - 1:,}"
        )
    return rows


def _decoded(paths: list[Path]) -> Tensor:
    """(N, 3, 299, 299), uint8; decoded in threads, since zlib works outside of Python's lock."""
    pixels = np.empty((len(paths), 3, SIZE, SIZE), dtype=np.uint8)

    def decode(i: int) -> None:
        pixels[i] = _pixels(paths[i])

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(decode, range(len(paths))))
    return torch.from_numpy(pixels)


def _pixels(path: Path) -> np.ndarray:
    """(3, 299, 299), uint8."""
    advice = "delete it and run `python -m washout fetch nips2017`, or put the original there"
    try:
        with Image.open(path) as image:
            size = image.size
            pixels = np.asarray(image.convert("RGB")) if size == (SIZE, SIZE) else None
    except (OSError, SyntaxError, ValueError, zlib.error) as error:
        raise ValueError(
            f"NIPS 2017: {path} is truncated or no image ({error}); {advice}"
        ) from error
    if pixels is None:
        raise ValueError(
            f"NIPS 2017: {path} is {size[0]} x {size[1]} pixels; allowed are {SIZE} x {SIZE}; "
            f"{advice}"
        )
    return np.moveaxis(pixels, 2, 0)
