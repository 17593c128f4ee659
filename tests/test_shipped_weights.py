"""The networks that ship are small, load anywhere and score what their records and cards say."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from functools import cache

import pytest
import torch

from washout import cards, data, models, weights
from washout.chapters.chapter1 import networks as chapter1
from washout.data import Dataset, Split
from washout.metrics import wilson
from washout.paths import data_folder, project_root
from washout.study import Study
from washout.training.loop import accuracy, objective

ROOT = project_root()
FOLDER = ROOT / "weights"
SHIPPED = [record for folder, record in weights.records(FOLDER) if folder == FOLDER]
NEEDS = {"mnist": "MNIST", "cifar10": "cifar-10-batches-py"}
FEW = 1000  # validation images for flows and auto-encoders, which cost long
SOME = 2000  # validation images in color for classifiers
TOGETHER = 25_000_000  # bytes of all weights that ship
TRACKED = 40_000_000  # bytes of all files that git tracks
ACCURACY = re.compile(
    r"Accuracy: ([\d.]+) on [\d,]+ validation images(?:, ([\d.]+) on [\d,]+ test images)?\n"
    r".*?`(\w+)\.safetensors`"
)


def name(record) -> str:
    return f"{record['recipe']['model']}-{record['recipe']['data']}-{record['hash'][:6]}"


# ---- files -------------------------------------------------------------------------------------
def test_they_are_small_and_all_there():
    assert len(SHIPPED) > 10
    sizes = {path.stem: path.stat().st_size for path in FOLDER.glob("*.safetensors")}
    assert sizes.keys() == {record["hash"] for record in SHIPPED}  # and none unnamed
    assert max(sizes.values()) <= weights.SMALL
    assert sum(sizes.values()) <= TOGETHER


def test_what_git_tracks_is_small():
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout by git")
    command = ["git", "ls-files", "-z"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    paths = [ROOT / path for path in said.split("\0") if (ROOT / path).is_file()]
    assert FOLDER / cards.NAME in paths
    assert sum(path.stat().st_size for path in paths) <= TRACKED


# ---- scores ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def loaded() -> Callable[[str], Dataset]:
    """Datasets, each read once for all networks."""
    return cache(data.load)


@pytest.fixture(scope="module")
def printed() -> dict[str, tuple[str, str]]:
    """On the cards, by the hash of weights: accuracy on validation and, or empty, test images."""
    page = (FOLDER / cards.NAME).read_text()
    return {hash_: (held_out, tested) for held_out, tested, hash_ in ACCURACY.findall(page)}


@pytest.mark.parametrize("record", SHIPPED, ids=name)
def test_weights_load_on_a_cpu_and_score_as_recorded(record, loaded, printed):
    recipe = record["recipe"]
    model = models.build(recipe["model"], **record["shape"], **dict(recipe["model_args"]))
    model.load_state_dict(weights.read(FOLDER, record["hash"]))
    assert all(tensor.device.type == "cpu" for tensor in model.state_dict().values())
    # What a network has washed is for training and validation; test images are as they are.
    dataset, _, washed = recipe["data"].partition("-vqvae")
    if dataset not in data.NAMES:
        pytest.skip(f"{dataset} is cut from other images")
    if dataset in NEEDS and not (data_folder() / NEEDS[dataset]).is_dir():
        pytest.skip(f"{dataset} is not in {data_folder()}")
    found = loaded(dataset)
    _, score = objective(model.eval())
    if hasattr(model, "loss"):
        assert record["hash"] not in printed
        few = found.validation[:FEW]
        exact = len(few) == len(found.validation)
        tolerance = {"abs": 0.001} if exact else {"rel": 0.05}
        assert score(model, few) == pytest.approx(record["validation_score"], **tolerance)
        return
    model.to(memory_format=torch.channels_last)  # half as fast again
    held_out, tested = printed[record["hash"]]
    assert tested or dataset not in NEEDS
    if not washed:
        some = SOME if found.channels == 3 else len(found.validation)
        check(model, found.validation[:some], float(held_out), len(found.validation))
    if tested:
        check(model, found.test, float(tested), len(found.test))


def check(model: torch.nn.Module, some: Split, printed: float, count: int) -> None:
    """The accuracy on all ``count`` images is the one that is printed; or, on some, about it."""
    found = accuracy(model, some, batch_size=100)
    if len(some) == count:
        assert found == pytest.approx(printed, abs=0.001)
    else:
        low, high = wilson(round(found * len(some)), len(some))
        assert low <= printed <= high


def test_records_name_recipes_of_this_version():
    study = Study("chapter1", profile="laptop", compute=False, progress=False)
    recipe = chapter1.classifier_of({"dataset": "mnist", "net": "cnn", "seed": 0}, "laptop")
    assert study.stored_hash(recipe) in {record["hash"] for record in SHIPPED}
    assert torch.get_default_dtype() == torch.float32
