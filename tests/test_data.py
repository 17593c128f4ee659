"""Datasets: what is in them, and what is said when their files are not right."""

from __future__ import annotations

import gzip
import hashlib
import io
import socket
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from washout import data
from washout.data import bundled, downloaded
from washout.data.downloaded import _unreachable as unreachable


def tiles(dataset: data.Dataset) -> list[set[bytes]]:
    parts = (dataset.train, dataset.validation, dataset.test)
    return [{image.numpy().tobytes() for image in part.images} for part in parts]


@pytest.mark.parametrize(
    ("name", "shape", "sizes"),
    [("digits", (1, 28, 28), (1197, 300, 300)), ("photos", (3, 32, 32), (560, 140, 140))],
)
def test_bundled(name, shape, sizes):
    dataset = data.load(name)
    assert dataset.name == name
    for part, size in zip((dataset.train, dataset.validation, dataset.test), sizes, strict=True):
        assert part.images.shape == (size, *shape)
        assert part.images.dtype == torch.float32
        assert part.images.min() >= 0
        assert part.images.max() <= 1
        assert part.labels.dtype == torch.int64
        assert part.labels.unique().tolist() == list(range(len(dataset.classes)))
        levels = part.images * 255
        assert torch.equal(levels.round() / 255, part.images)  # an 8-bit file keeps them
    train, validation, test = tiles(dataset)
    assert not train & test
    assert not train & validation
    assert not validation & test
    again = data.load(name)
    assert torch.equal(again.train.images, dataset.train.images)
    assert torch.equal(again.test.labels, dataset.test.labels)


def test_digits_are_framed_like_mnist():
    images = data.digits().test.images
    frame = images.clone()
    frame[:, :, 4:24, 4:24] = 0
    assert not frame.any()
    assert images.amax(dim=(1, 2, 3)).min() > 0.5


def test_photos_are_cut_from_their_photographs_and_never_fetched(monkeypatch):
    from skimage.data import _fetchers

    def fetch(*args, **kwargs):
        raise AssertionError("photos() asked scikit-image's fetcher")

    monkeypatch.setattr(_fetchers, "_fetch", fetch)
    dataset = data.photos()
    name = dataset.classes[int(dataset.test.labels[0])]
    suffix, digest = bundled.PHOTOGRAPHS[name]
    photograph = bundled._photograph(f"{name}.{suffix}", digest)
    windows = photograph.unfold(1, 32, 32).unfold(2, 32, 32).permute(1, 2, 0, 3, 4)
    same = (windows == dataset.test.images[0]).flatten(2).all(2)
    assert same.sum() == 1


def test_photo_of_another_content():
    with pytest.raises(ValueError, match=r"astronaut\.png is altered.*reinstall scikit-image"):
        bundled._photograph("astronaut.png", "0" * 64)
    with pytest.raises(ValueError, match=r"nobody\.png is missing"):
        bundled._photograph("nobody.png", "0" * 64)


def test_unknown_name():
    with pytest.raises(ValueError, match=r"dataset: got 'mnits'; allowed are mnist, cifar10"):
        data.load("mnits")


def idx(array: np.ndarray) -> bytes:
    """The format of MNIST's files."""
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def small_mnist(monkeypatch) -> dict[str, bytes]:
    """6,000 + 20 random images under MNIST's names, and their sums taken for the right ones."""
    random = np.random.default_rng(0)
    contents = {}
    for part, count in (("train", 6000), ("t10k", 20)):
        images = random.integers(0, 256, (count, 28, 28))
        contents[f"{part}-images-idx3-ubyte"] = idx(images)
        contents[f"{part}-labels-idx1-ubyte"] = idx(random.integers(0, 10, count))
    known = replace(
        downloaded.MNIST,
        files={name: md5(content) for name, content in contents.items()},
        archives={
            f"{name}.gz": md5(gzip.compress(content, mtime=0)) for name, content in contents.items()
        },
    )
    monkeypatch.setattr(downloaded, "MNIST", known)
    return contents


def put(root: Path, contents: dict[str, bytes], *, zipped: bool = False) -> Path:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_is_read(small_mnist, tmp_path, monkeypatch, zipped):
    put(tmp_path, small_mnist, zipped=zipped)
    monkeypatch.setenv("WASHOUT_DATA", str(tmp_path))
    dataset = data.load("mnist")
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (1000, 5000, 20)
    raw = np.frombuffer(small_mnist["train-images-idx3-ubyte"], np.uint8, offset=16)
    raw = torch.from_numpy(raw.reshape(6000, 1, 28, 28).copy()).float() / 255
    assert torch.equal(dataset.train.images, raw[:1000])
    assert torch.equal(dataset.validation.images, raw[1000:])
    labels = np.frombuffer(small_mnist["t10k-labels-idx1-ubyte"], np.uint8, offset=8)
    assert dataset.test.labels.tolist() == labels.tolist()


def test_the_argument_precedes_the_variable(small_mnist, tmp_path, monkeypatch):
    put(tmp_path / "right", small_mnist)
    monkeypatch.setenv("WASHOUT_DATA", str(tmp_path / "wrong"))
    assert len(data.mnist(tmp_path / "right").test) == 20


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("harm", ["truncate", "alter", "empty"])
def test_damaged_files_are_told_by_their_sum(small_mnist, tmp_path, harm, zipped):
    folder = put(tmp_path, small_mnist, zipped=zipped)
    path = folder / ("t10k-images-idx3-ubyte" + (".gz" if zipped else ""))
    content = bytearray(path.read_bytes())
    if harm == "alter":
        content[len(content) // 2] ^= 1
    path.write_bytes({"truncate": content[:100], "empty": b"", "alter": content}[harm])
    with pytest.raises(ValueError, match=r"MNIST: .*t10k-images.* is truncated or altered.*delete"):
        data.mnist(tmp_path)


def test_damage_after_the_first_reading_is_seen(small_mnist, tmp_path):
    folder = put(tmp_path, small_mnist)
    data.mnist(tmp_path)
    path = folder / "train-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="truncated or altered"):
        data.mnist(tmp_path)


def test_missing_files_get_one_message(small_mnist, tmp_path):
    folder = put(tmp_path, small_mnist)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match="MNIST: missing t10k-labels-idx1-ubyte in") as caught:
        data.mnist(tmp_path)
    message = str(caught.value)
    assert str(folder) in message
    for way in ("(1) connect to the network", "(2) put these files", "(3)", "WASHOUT_DATA"):
        assert way in message
    with pytest.raises(ValueError, match=r"CIFAR-10: missing data_batch_1, .*batches\.meta"):
        data.cifar10(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MNIST"]


def test_download_puts_whole_files_in_place(small_mnist, tmp_path, monkeypatch):
    known = replace(downloaded.MNIST, download=lambda root: put(root, small_mnist))
    monkeypatch.setattr(downloaded, "MNIST", known)
    monkeypatch.setattr(downloaded, "_unreachable", lambda address: "")
    assert len(data.mnist(tmp_path / "new").test) == 20
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["MNIST"]


def test_broken_download(small_mnist, tmp_path, monkeypatch):
    seen = []

    def download(root: Path) -> None:
        seen.append(socket.getdefaulttimeout())
        put(root, {"train-images-idx3-ubyte": b"half"})
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(downloaded, "MNIST", replace(downloaded.MNIST, download=download))
    monkeypatch.setattr(downloaded, "_unreachable", lambda address: "")
    before = socket.getdefaulttimeout()
    with pytest.raises(ValueError, match=r"download failed \(File not found or corrupted"):
        data.mnist(tmp_path)
    assert seen[0] is not None
    assert socket.getdefaulttimeout() == before
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_told_at_once(monkeypatch):
    monkeypatch.setattr(downloaded, "TIMEOUT", 0.5)
    assert "no network" in unreachable("http://127.0.0.1:9/")
    silent = socket.create_server(("127.0.0.1", 0))  # takes the call and never answers
    with silent:
        assert unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}/")


def test_cifar10_archive_is_unpacked_and_checked(tmp_path, monkeypatch):
    contents = {name: name.encode() for name in downloaded.CIFAR10.files}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(packed.getvalue())
    with pytest.raises(ValueError, match=r"tar\.gz is truncated or altered"):
        data.cifar10(tmp_path)
    known = replace(
        downloaded.CIFAR10,
        files={name: md5(content) for name, content in contents.items()},
        archives={archive.name: md5(packed.getvalue())},
    )
    downloaded._provide("CIFAR-10", known, tmp_path)
    for name, content in contents.items():
        assert (tmp_path / "cifar-10-batches-py" / name).read_bytes() == content


@pytest.mark.data
def test_real_mnist(mnist_folder):
    dataset = data.mnist(mnist_folder)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (55000, 5000, 10000)
    assert dataset.test.labels.bincount().tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert abs(float(dataset.train.images.mean()) - 0.1307) < 5e-4


@pytest.mark.data
def test_real_cifar10(mnist_folder):
    if not (mnist_folder / "cifar-10-batches-py").is_dir():
        pytest.skip(f"CIFAR-10 is not in {mnist_folder}")
    dataset = data.cifar10(mnist_folder)
    assert dataset.validation.images.shape == (5000, 3, 32, 32)
    assert dataset.test.labels.bincount().tolist() == [1000] * 10
    assert dataset.classes[:2] == ("airplane", "automobile")
    assert dataset.test.labels[:4].tolist() == [3, 8, 8, 0]  # cat, ship, ship, airplane
