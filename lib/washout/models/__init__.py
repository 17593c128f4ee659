"""The networks, one file each; all take images in [0, 1] and normalize them themselves."""

from __future__ import annotations

from typing import Any

from torch import nn

from washout.checks import check_choice, check_count
from washout.models.autoencoder import Autoencoder
from washout.models.cnn2 import CNN2
from washout.models.cnn6 import CNN6
from washout.models.densenet import DenseNet
from washout.models.feinman import Feinman
from washout.models.glow import Glow
from washout.models.layers import Dropout, Normalize
from washout.models.lenet import LeNet
from washout.models.resnet import ResNet
from washout.models.vae import VAE
from washout.models.vqvae import VQVAE

_NETWORKS: dict[str, type[nn.Module]] = {
    "lenet": LeNet,
    "feinman": Feinman,
    "cnn2": CNN2,
    "cnn6": CNN6,
    "vae": VAE,
    "densenet": DenseNet,
    "resnet": ResNet,
    "vqvae": VQVAE,
    "glow": Glow,
    "autoencoder": Autoencoder,
}

__all__ = [
    "CNN2",
    "CNN6",
    "VAE",
    "VQVAE",
    "Autoencoder",
    "DenseNet",
    "Dropout",
    "Feinman",
    "Glow",
    "LeNet",
    "Normalize",
    "ResNet",
    "build",
    "names",
]


def names() -> list[str]:
    """The names that ``build`` takes."""
    return list(_NETWORKS)


def build(name: str, *, in_channels: int, size: int, classes: int, **settings: Any) -> nn.Module:
    """A network with fresh weights, drawn from PyTorch's random state.

    Args:
        name: one of ``names()``.
        in_channels: channels of the images.
        size: height and width of the images in pixels.
        classes: number of classes.
        settings: what else the network's class takes, e.g. ``dropout=0.3``.

    Raises:
        ValueError: an unknown name, size or setting.
    """
    network = _NETWORKS[check_choice(name, _NETWORKS, "model")]
    check_count(in_channels, 1, "in_channels")
    check_count(size, 1, "size")
    check_count(classes, 2, "classes")
    try:
        return network(in_channels, size, classes, **settings)
    except TypeError as error:
        raise ValueError(f"model {name!r}: {error}; see its class for the settings") from error
