"""MNIST and CIFAR-10: read from the data folder, downloaded where the network is there."""

from __future__ import annotations

import gzip
import hashlib
import os
import socket
import tarfile
import tempfile
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from washout.data.types import Dataset, Split
from washout.files import write_whole
from washout.paths import data_folder

VALIDATION = 5000  # the last images of the training set
TIMEOUT = 5.0  # seconds that a server has to answer


@dataclass(frozen=True)
class Files:
    """What a dataset's files are called and what their MD5 sums are.

    Attributes:
        folder: where they lie in the data folder.
        files: file name -> sum.
        archives: archive name -> sum; put there instead, it is unpacked.
        archive_folder: where archives lie in the data folder.
        unpack: (archive, file name) -> that file's content.
        download: torchvision's download to a root folder.
        probe: an address that answers if the network is there.
    """

    folder: str
    files: dict[str, str]
    archives: dict[str, str]
    archive_folder: str
    unpack: Callable[[Path, str], bytes]
    download: Callable[[Path], object]
    probe: str


def _gunzip(archive: Path, name: str) -> bytes:
    return gzip.decompress(archive.read_bytes())


def _untar(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as tar:
        member = tar.extractfile(f"{CIFAR10.folder}/{name}")
        assert member is not None  # the archive's sum was right
        return member.read()


def _torchvision(name: str) -> Any:
    """Torchvision's class of a dataset; torchvision takes seconds to import."""
    from torchvision import datasets

    return getattr(datasets, name)


# Files, sums and addresses as torchvision has them.
MNIST = Files(
    folder="MNIST/raw",
    files={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    archives={
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    archive_folder="MNIST/raw",
    unpack=_gunzip,
    download=lambda root: _torchvision("MNIST")(root, download=True),
    probe="https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
)
CIFAR10 = Files(
    folder="cifar-10-batches-py",
    files={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    archives={"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"},
    archive_folder=".",
    unpack=_untar,
    download=lambda root: _torchvision("CIFAR10")(root, download=True),
    probe="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)


def mnist(folder: str | Path | None = None) -> Dataset:
    """MNIST, 28 x 28, one channel: 55,000 digits to train, 5,000 to validate, 10,000 to test.

    Args:
        folder: the data folder; else ``$WASHOUT_DATA``, else ``data/`` in the project.

    Raises:
        ValueError: files are missing and cannot be downloaded, or are truncated or altered.
    """
    root = data_folder(folder)
    _provide("MNIST", MNIST, root)
    read = {train: _torchvision("MNIST")(root, train=train) for train in (True, False)}
    splits = {train: (part.data[:, None], part.targets) for train, part in read.items()}
    return _dataset(
        "mnist",
        *splits.values(),
        classes=tuple(str(digit) for digit in range(10)),
        licence="CC BY-SA 3.0",
        source="LeCun, Cortes and Burges, The MNIST database of handwritten digits",
    )


def cifar10(folder: str | Path | None = None) -> Dataset:
    """CIFAR-10, 32 x 32, three channels: 45,000 to train, 5,000 to validate, 10,000 to test.

    Args:
        folder: the data folder; else ``$WASHOUT_DATA``, else ``data/`` in the project.

    Raises:
        ValueError: files are missing and cannot be downloaded, or are truncated or altered.
    """
    root = data_folder(folder)
    _provide("CIFAR-10", CIFAR10, root)
    read = {train: _torchvision("CIFAR10")(root, train=train) for train in (True, False)}
    splits = {
        train: (torch.from_numpy(np.moveaxis(part.data, 3, 1)), torch.tensor(part.targets))
        for train, part in read.items()
    }
    return _dataset(
        "cifar10",
        *splits.values(),
        classes=tuple(read[True].classes),
        licence="no license stated; the authors ask to cite the source",
        source="Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images",
    )


def _dataset(
    name: str,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    classes: tuple[str, ...],
    licence: str,
    source: str,
) -> Dataset:
    """Scale uint8 images to [0, 1] and split the validation part off."""
    whole, held_out = (
        Split(images.contiguous().float().div_(255), labels.long())
        for images, labels in (train, test)
    )
    return Dataset(
        name, whole[:-VALIDATION], whole[-VALIDATION:], held_out, classes, licence, source
    )


def _provide(title: str, known: Files, root: Path) -> None:
    """Make sure that every file is there and is the right one, before a decoder sees it."""
    missing = _missing(title, known, root)
    if not missing:
        return
    for archive in known.archives:
        path = root / known.archive_folder / archive
        inside = [name for name in missing if len(known.archives) == 1 or archive == f"{name}.gz"]
        if inside and path.is_file():
            _check_sum(title, path, known.archives[archive])
            for name in inside:
                write_whole(root / known.folder / name, known.unpack(path, name))
    missing = _missing(title, known, root)
    if missing:
        _download(title, known, root, missing)


def _missing(title: str, known: Files, root: Path) -> list[str]:
    """The names of the files that are not there; those that are have the right sum."""
    folder = root / known.folder
    for name, md5 in known.files.items():
        if (folder / name).is_file():
            _check_sum(title, folder / name, md5)
    return [name for name in known.files if not (folder / name).is_file()]


def _check_sum(title: str, path: Path, expected: str) -> None:
    stat = path.stat()
    got = _md5(path, stat.st_size, stat.st_mtime_ns)
    if got != expected:
        raise ValueError(
            f"{title}: {path} is truncated or altered: it has {stat.st_size:,} bytes and the MD5 "
            f"sum {got}, the original has {expected}; delete it, and it is downloaded again, or "
            "put the original in its place"
        )


@lru_cache(maxsize=64)
def _md5(path: Path, size: int, changed: int) -> str:
    """The MD5 sum of a file; size and time of change are there to tell a new file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _download(title: str, known: Files, root: Path, missing: list[str]) -> None:
    """Let torchvision fetch the set beside its place, then move whole files in."""
    problem = _unreachable(known.probe)
    if not problem:
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(TIMEOUT * 4)
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root, prefix=".download.") as temporary:
                known.download(Path(temporary))
                (root / known.folder).mkdir(parents=True, exist_ok=True)
                for name in missing:
                    source = Path(temporary) / known.folder / name
                    os.replace(source, root / known.folder / name)
        except (OSError, RuntimeError, HTTPException) as error:
            problem = str(error)
        finally:
            socket.setdefaulttimeout(before)
    if problem:
        raise ValueError(
            f"{title}: missing {', '.join(missing)} in {root / known.folder}, and the download "
            f"failed ({problem}). Three ways to get them: (1) connect to the network and run this "
            f"again, it downloads them; (2) put these files, or {', '.join(known.archives)} in "
            f"{root / known.archive_folder}; (3) name a folder that has them with folder=... or "
            "WASHOUT_DATA"
        )
    _missing(title, known, root)


def _unreachable(address: str) -> str:
    """Why the address does not answer, within ``TIMEOUT``; empty if it does.

    A look-up of the name ignores timeouts, so the question is asked in a thread that may be left.
    """
    answer = [f"no answer within {TIMEOUT:g} s"]

    def ask() -> None:
        try:
            request = urllib.request.Request(
                address, method="HEAD", headers={"User-Agent": "washout"}
            )
            with urllib.request.urlopen(request, timeout=TIMEOUT):
                answer[0] = ""
        except (OSError, HTTPException) as error:
            answer[0] = f"no network: {getattr(error, 'reason', error)}"

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    return answer[0]
