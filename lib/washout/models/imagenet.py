"""The classifiers of 299 x 299 photographs, by name, with published weights."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from torch import nn

from washout.checks import check_choice
from washout.models import inception, mobilenet

HASH_LENGTH = 12  # hexadecimal digits
_BUILDERS = {"inception_v3": inception.inception_v3, "mobilenet_v2": mobilenet.mobilenet_v2}
_FILES = {"inception_v3": inception.weights_file, "mobilenet_v2": mobilenet.weights_file}
NAMES = tuple(_BUILDERS)


def imagenet_classifier(name: str, folder: str | Path | None = None) -> nn.Module:
    """A classifier over the background and ImageNet's 1,000 classes, in evaluation mode.

    It takes (B, 3, 299, 299) in [0, 1] and returns logits (B, 1001).

    Args:
        name: ``inception_v3`` or ``mobilenet_v2``.
        folder: the data folder; else ``$WASHOUT_DATA``, else ``data/`` in the project.

    Raises:
        ValueError: an unknown name, or weights that cannot be had or are altered.
    """
    return _BUILDERS[check_choice(name, NAMES, "classifier")](folder)


def available(name: str, folder: str | Path | None = None) -> bool:
    """Whether the classifier's weights are in the data folder; the network is not asked.

    Raises:
        ValueError: an unknown name.
    """
    return _FILES[check_choice(name, NAMES, "classifier")](folder).is_file()


def weights_hash(name: str, folder: str | Path | None = None) -> str:
    """What a row records of the weights: the first 12 digits of their file's SHA-256 sum.

    Raises:
        ValueError: an unknown name, or the file is missing.
    """
    path = _FILES[check_choice(name, NAMES, "classifier")](folder)
    if not path.is_file():
        raise ValueError(
            f"classifier {name!r}: {path} is missing; imagenet_classifier({name!r}) says where to "
            "get it"
        )
    stat = path.stat()
    return _hash(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _hash(path: Path, size: int, changed: int) -> str:
    """Size and time of change are there to tell a new file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:HASH_LENGTH]
