"""The NIPS 2017 images: what is read, what is cut from them, what is said of bad files."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from washout.data import nips2017, patches, present
from washout.paths import data_folder

COLUMNS = (
    *("ImageId", "URL", "x1", "y1", "x2", "y2", "TrueLabel", "TargetClass"),
    *("OriginalLandingURL", "License", "Author", "AuthorProfileURL"),
)
BY = "https://creativecommons.org/licenses/by/2.0/"
COUNT = 6


def pixels(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (299, 299, 3)).astype(np.uint8)


def picture(root: Path, i: int) -> Path:
    return root / f"nips2017/images/{i:016x}.png"


def write(root: Path, authors: dict[int, str] | None = None, **changes: object) -> None:
    """A small set of random images in the real one's form."""
    (root / "nips2017/images").mkdir(parents=True, exist_ok=True)
    (root / "imagenet").mkdir(exist_ok=True)
    names = ["background", *(f"class {i}" for i in range(1, 1001))]
    (root / "imagenet/labels_1001.txt").write_text("\n".join(names))
    with open(root / "nips2017/dev_dataset.csv", "w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        for i in range(COUNT):
            line = dict.fromkeys(COLUMNS, "")
            line |= {"ImageId": f"{i:016x}", "URL": f"https://example.org/{i}.jpg", "License": BY}
            line |= {"x1": "0.0", "y1": "0.25", "x2": "0.5", "y2": "1"}
            line |= {"TrueLabel": str(100 * i), "TargetClass": str(1000 - i)}
            line |= {"OriginalLandingURL": f"https://example.org/page/{i}"}
            line |= {"Author": (authors or {}).get(i, f"author {i}")}
            table.writerow(line | {name: str(value) for name, value in changes.items()})
            Image.fromarray(pixels(i)).save(picture(root, i), compress_level=1)


@pytest.fixture
def folder(tmp_path) -> Path:
    write(tmp_path, authors={1: r"Verb\303\244nde", 2: "Taschen, Schuhe"})
    return tmp_path


@pytest.fixture(scope="module")
def real() -> Path:
    """The data folder, if the images are in it."""
    root = data_folder()
    if not (root / "nips2017" / "dev_dataset.csv").is_file():
        pytest.skip(f"nips2017 is not in {root}; set WASHOUT_DATA to the folder that has it")
    return root


def test_what_is_read(folder):
    found = nips2017(folder)
    assert len(found) == COUNT
    assert found.images.shape == (COUNT, 3, 299, 299)
    assert found.images.dtype == torch.uint8
    for i in range(COUNT):
        assert np.array_equal(found.images[i].permute(1, 2, 0).numpy(), pixels(i))
    assert found.labels.tolist() == [100 * i for i in range(COUNT)]
    assert found.targets.tolist() == [1000 - i for i in range(COUNT)]
    assert found.labels.dtype == found.targets.dtype == found.rows.dtype == torch.int64
    assert found.rows.tolist() == list(range(COUNT))
    assert len(found.classes) == 1001
    assert found.classes[found.labels[3]] == "class 300"
    assert (found.name, found.channels, found.size) == ("nips2017", 3, 299)


def test_batches_are_float32_in_0_1(folder):
    found = nips2017(folder)
    batch = found[2:4]
    assert batch.images.dtype == torch.float32
    assert torch.equal((batch.images * 255).round().byte(), found.images[2:4])
    assert batch.images.max() == 1
    assert batch.labels.tolist() == [200, 300]
    assert found[found.labels > 300].labels.tolist() == [400, 500]
    assert found.images.dtype == torch.uint8  # untouched


def test_credits_name_author_licence_and_page(folder):
    found = nips2017(folder)
    assert found.credit(0) == (
        "author 0 (CC BY 2.0, cropped and scaled), https://example.org/page/0"
    )
    assert found.authors[1] == "Verbände"  # the CSV has octal codes of UTF-8
    assert found.authors[2] == "Taschen, Schuhe"
    assert set(found.licences) == {BY}
    assert "\n" not in found.credit(1)


def test_index_picks_rows_and_reads_no_others(folder):
    whole = nips2017(folder)
    for i in (0, 1, 3):
        picture(folder, i).unlink()
    found = nips2017(folder, index=[4, 2])
    assert found.rows.tolist() == [4, 2]
    assert torch.equal(found.images, whole.images[[4, 2]])
    assert found.urls == (whole.urls[4], whole.urls[2])
    assert found.labels.tolist() == [400, 200]
    assert present(folder) == [2, 4, 5]
    assert len(nips2017(folder, index=present(folder))) == 3
    assert nips2017(folder, index=torch.tensor([5])).ids == (f"{5:016x}",)


@pytest.mark.parametrize("index", [[], [6], [-1], [1.5], ["a"]])
def test_rows_that_are_not_there(folder, index):
    message = rf"index: got {re.escape(repr(index))}; allowed are one or more whole numbers from 0"
    with pytest.raises(ValueError, match=message):
        nips2017(folder, index=index)


def test_missing_files(folder):
    for i in range(5):
        picture(folder, i).unlink()
    with pytest.raises(ValueError, match=r"5 of 6 images are missing in .* and 2 more\. Three way"):
        nips2017(folder)
    (folder / "imagenet/labels_1001.txt").unlink()
    with pytest.raises(ValueError, match=r"labels_1001\.txt is missing.*fetch nips2017.*WASHOUT_"):
        nips2017(folder, index=[5])
    (folder / "nips2017/dev_dataset.csv").unlink()
    with pytest.raises(ValueError, match=r"dev_dataset\.csv is missing.*fetch nips2017.*WASHOUT_"):
        nips2017(folder)


def test_images_that_are_truncated_or_of_another_size(folder):
    path = picture(folder, 3)
    content = path.read_bytes()
    for broken in (content[: len(content) // 2], content[:-200], b"", b"<html>"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=rf"{path.name} is truncated or no image.*delete it"):
            nips2017(folder)
    Image.fromarray(pixels(3)[:200]).save(path)
    with pytest.raises(ValueError, match=rf"{path.name} is 299 x 200 pixels; allowed are 299 x"):
        nips2017(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"TrueLabel": "1001"},
        {"TargetClass": "cat"},
        {"x1": "0.6"},
        {"y2": "nan"},
        {"ImageId": "../../secret"},
    ],
)
def test_tables_that_hold_something_else(tmp_path, changes):
    write(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"line 2 of .*dev_dataset\.csv is not one of"):
        nips2017(tmp_path)


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\xff\xfe\x00", b'"' + b"x" * 200_000])
def test_tables_of_another_form(folder, content):
    (folder / "nips2017/dev_dataset.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"dev_dataset\.csv (is not one of|holds no images)"):
        nips2017(folder)


def test_class_names_of_another_number(folder):
    (folder / "imagenet/labels_1001.txt").write_text("tench\ngoldfish\n")
    with pytest.raises(ValueError, match=r"got 2 names; allowed are 1,001"):
        nips2017(folder)


# ---- patches -----------------------------------------------------------------------------------
def test_patches_are_cut_from_their_image(folder):
    found = nips2017(folder)
    cut = patches(found, 16, 3)
    assert cut.shape == (COUNT * 3, 3, 16, 16)
    assert cut.dtype == torch.uint8
    places = []
    for k, patch in enumerate(cut):
        windows = found.images[k // 3].unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4)
        corner = (windows[:, :, :, 0, 0] == patch[:, 0, 0]).all(2)  # random pixels: few places
        y, x = next((y, x) for y, x in corner.nonzero().tolist() if windows[y, x].equal(patch))
        places.append((y, x))
    assert len(set(places)) == len(places)


def test_patches_reach_every_edge(folder):
    found = nips2017(folder, index=[0])
    cut = patches(found, 298, 60)
    image = found.images[0]
    corners = [image[:, y : y + 298, x : x + 298] for y in (0, 1) for x in (0, 1)]
    assert all(any(patch.equal(corner) for patch in cut) for corner in corners)
    assert torch.equal(patches(found, 299, 2), found.images.expand(2, -1, -1, -1))


def test_patches_depend_on_seed_and_row_only(folder):
    whole = nips2017(folder)
    cut = patches(whole, 32, 2, seed=5).unflatten(0, (COUNT, 2))
    assert torch.equal(cut.flatten(0, 1), patches(whole, 32, 2, seed=5))
    assert not torch.equal(cut.flatten(0, 1), patches(whole, 32, 2, seed=6))
    some = nips2017(folder, index=[4, 1])
    assert torch.equal(patches(some, 32, 2, seed=5), cut[[4, 1]].flatten(0, 1))
    assert torch.equal(patches(whole, 32, 2, 5, "even"), cut[0::2].flatten(0, 1))
    assert torch.equal(patches(whole, 32, 2, 5, "odd"), cut[1::2].flatten(0, 1))
    assert torch.equal(patches(some, 32, 2, 5, "odd"), cut[1])  # by row in the CSV
    assert len(patches(nips2017(folder, index=[2]), 32, 2, 5, "odd")) == 0


def test_patches_bad_settings(folder):
    found = nips2017(folder, index=[0])
    with pytest.raises(ValueError, match="size: got 300 pixels; allowed are 1 to 299"):
        patches(found, 300, 1)
    with pytest.raises(ValueError, match="count: got 0"):
        patches(found, 16, 0)
    with pytest.raises(ValueError, match="fold: got 'both'; allowed are all, even, odd"):
        patches(found, 16, 1, fold="both")


# ---- the real images ---------------------------------------------------------------------------
@pytest.mark.data
def test_real_images(real):
    assert len(present(real)) == 1000
    found = nips2017(real, index=range(0, 1000, 40))
    assert len(found) == 25
    assert found.ids[0] == "0c7ac4a8c9dfa802"
    assert found.labels[0] == 306
    assert found.classes[306] == "dung beetle"
    assert found.credit(0).startswith("gailhampshire (CC BY 2.0, cropped and scaled), https://www.")
    contrast = found[:].images.flatten(1).std(1)
    assert contrast.min() > 0.03
