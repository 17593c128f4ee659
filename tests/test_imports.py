"""The command line and its workers start soon: what is heavy is imported where it is used."""

from __future__ import annotations

import subprocess
import sys

from torchvision import datasets, models

from washout.data import downloaded
from washout.models import inception

HEAVY = ("torchvision", "sklearn", "skimage", "scipy.stats", "matplotlib", "foolbox", "distributed")


def test_the_command_line_imports_nothing_heavy():
    code = "import sys, washout.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(HEAVY).isdisjoint(done.stdout.split())


def test_files_and_sums_are_torchvisions():
    mnist, cifar10 = datasets.MNIST, datasets.CIFAR10
    assert downloaded.MNIST.archives == dict(mnist.resources)
    assert downloaded.MNIST.probe == mnist.mirrors[0] + mnist.resources[1][0]
    assert downloaded.CIFAR10.folder == cifar10.base_folder
    assert downloaded.CIFAR10.files == {
        **dict(cifar10.train_list + cifar10.test_list),
        cifar10.meta["filename"]: cifar10.meta["md5"],
    }
    assert downloaded.CIFAR10.archives == {cifar10.filename: cifar10.tgz_md5}
    assert downloaded.CIFAR10.probe == cifar10.url
    assert models.Inception_V3_Weights.IMAGENET1K_V1.url == inception.URL
