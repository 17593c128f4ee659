"""Fixtures that the tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from washout import data, weights
from washout.data import Dataset, downloaded
from washout.paths import data_folder
from washout.status import status_frame
from washout.study import Study
from washout.training import Recipe, trained


@pytest.fixture(scope="session", autouse=True)
def _offline() -> Iterator[None]:
    """No test downloads anything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(downloaded, "_unreachable", lambda address: "the tests stay offline")
        yield


@pytest.fixture(scope="session")
def digits_data() -> Dataset:
    """The bundled digits: 28 x 28, one channel, 1,197 / 300 / 300 images."""
    return data.digits()


@pytest.fixture(scope="session")
def digits_model(digits_data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    """A LeNet trained on the digits for a few seconds, in eval mode, about 97 % right."""
    recipe = Recipe(data="digits", epochs=8, batch_size=64, lr=2e-3)
    folder = tmp_path_factory.mktemp("weights")
    return trained(recipe, data=digits_data, write=folder, progress=False).model


@pytest.fixture(scope="session")
def whole_status() -> tuple[pd.DataFrame, list[str]]:
    """The status of the project's own rows, and the keys of networks that were looked up for it."""
    asked = []
    found = weights.find

    def find(folders, key, *rest, **more):
        asked.append(key)
        return found(folders, key, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "find", find)
        return status_frame(), asked


@pytest.fixture(scope="session")
def mnist_folder() -> Path:
    """The data folder, if MNIST is in it."""
    folder = data_folder()
    if not (folder / "MNIST" / "raw").is_dir():
        pytest.skip(f"MNIST is not in {folder}; set WASHOUT_DATA to the folder that has it")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """PyTorch on one thread meanwhile: memory and bits then do not depend on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def chapter4_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Chapter 4 at profile smoke: what one test computes the others find."""
    folder = tmp_path_factory.mktemp("chapter4")
    return Study("chapter4", profile="smoke", device="cpu", progress=False,
                 results=folder / "results")  # fmt: skip
