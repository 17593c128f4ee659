"""Inception V3 with torchvision's published weights, over the classes of the NIPS 2017 images."""

from __future__ import annotations

import hashlib
import pickle
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor, nn

from washout.data import downloaded
from washout.models.layers import Normalize
from washout.paths import data_folder

FILE = "imagenet/inception_v3_google-0cc3c7bd.pth"  # ends in the first digits of its SHA-256 sum
URL = "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth"
BELOW = 10.0  # what the background's logit is below the lowest


class InceptionV3(nn.Module):
    """Torchvision's Inception V3, its 1,000 classes moved up by one for the background.

    The published weights know no background. Its logit is the lowest of the others minus 10: never
    the largest, finite, and of no more than e^-10 of the least likely class's probability, so that
    losses and attacks of 1,001 classes work as they are.

    Torchvision's ``transform_input`` turns ImageNet's normalization into the scale that Google's
    weights take; here it is off, and pixels are scaled to [-1, 1] at once, which is the same.

    Source: Szegedy et al. (2016), table 1.
    """

    def __init__(self) -> None:
        super().__init__()
        from torchvision import models  # takes seconds to import

        self.normalize = Normalize((0.5,) * 3, (0.5,) * 3)
        self.network = models.inception_v3(
            weights=None, transform_input=False, aux_logits=True, init_weights=False
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, 299, 299) in [0, 1] -> logits (B, 1001); class 0 is the background."""
        logits = self.network(self.normalize(images))
        return torch.cat([logits.amin(1, keepdim=True) - BELOW, logits], dim=1)


def inception_v3(folder: str | Path | None = None) -> nn.Module:
    """Inception V3 with the published weights, in evaluation mode.

    They are read from the data folder, or downloaded to it where the network is there. The model
    is there to be attacked, not to be trained: its parameters take no gradient, its input does.

    Args:
        folder: the data folder; else ``$WASHOUT_DATA``, else ``data/`` in the project.

    Raises:
        ValueError: the weights are missing and cannot be downloaded, or are truncated or altered.
    """
    path = download(folder)
    model = InceptionV3()
    try:
        if not _sum(path).startswith(_prefix()):
            raise RuntimeError(f"its SHA-256 sum does not begin with {_prefix()}")
        model.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"Inception V3: {path} is truncated or altered ({str(error)[:200]}); delete it and run "
            "`python -m washout fetch inception_v3`, or put the original there"
        ) from error
    # The second head serves training alone.
    model.network.aux_logits = False
    model.network.AuxLogits = None
    return model.eval().requires_grad_(False)


def weights_file(folder: str | Path | None = None) -> Path:
    """Where the weights lie in the data folder."""
    return data_folder(folder) / FILE


def download(folder: str | Path | None = None) -> Path:
    """Have torchvision's weights, about 104 MB, in the data folder.

    Args:
        folder: the data folder; else ``$WASHOUT_DATA``, else ``data/`` in the project.

    Returns:
        The file, which was there or is now.

    Raises:
        ValueError: it is not there and cannot be downloaded.
    """
    path = weights_file(folder)
    if path.is_file():
        return path
    problem = downloaded._unreachable(URL)
    if not problem:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _timeout(downloaded.TIMEOUT * 4):
                torch.hub.download_url_to_file(URL, str(path), _prefix(), progress=False)
        except (OSError, RuntimeError, HTTPException) as error:
            problem = str(error)
    if problem:
        raise ValueError(
            f"Inception V3: {path} is missing, and the download failed ({problem}). Three ways to "
            "get it: (1) connect to the network and run `python -m washout fetch inception_v3`; "
            f"(2) put {path.name} into {path.parent}; (3) name a folder that has it in imagenet/ "
            "with folder=... or WASHOUT_DATA"
        )
    return path


def _prefix() -> str:
    """The digits that torchvision puts into the file's name."""
    match = re.search(r"-([0-9a-f]{8})\.pth$", FILE)
    assert match is not None
    return match[1]


def _sum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """A time-out for sockets that are opened without one."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
