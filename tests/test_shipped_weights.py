"""The networks that ship load anywhere and score what their records say."""

from __future__ import annotations

import pytest
import torch

from washout import data, models, weights
from washout.chapters.chapter1 import networks as chapter1
from washout.paths import data_folder, project_root
from washout.study import Study
from washout.training.loop import objective

FOLDER = project_root() / "weights"
SHIPPED = [record for folder, record in weights.records(FOLDER) if folder == FOLDER]
PLAIN = ("digits", "photos", "mnist", "cifar10")  # not what another network makes of them, or cuts
NEEDS = {"mnist": "MNIST", "cifar10": "cifar-10-batches-py"}
FEW = 1000  # validation images of what costs long: flows and auto-encoders


def name(record) -> str:
    return f"{record['recipe']['model']}-{record['recipe']['data']}-{record['hash'][:6]}"


def test_they_are_small_and_all_there():
    assert len(SHIPPED) > 10
    total = 0
    for record in SHIPPED:
        path = FOLDER / f"{record['hash']}.safetensors"
        assert path.stat().st_size <= weights.SMALL
        total += path.stat().st_size
    named = {record["hash"] for record in SHIPPED}
    assert {path.stem for path in FOLDER.glob("*.safetensors")} == named  # and none unnamed
    assert total < 28 * 2**20


@pytest.mark.parametrize("record", SHIPPED, ids=name)
def test_weights_load_on_a_cpu_and_score_as_recorded(record):
    recipe = record["recipe"]
    arguments = {key: value for key, value in recipe["model_args"]}
    model = models.build(recipe["model"], **record["shape"], **arguments)
    model.load_state_dict(weights.read(FOLDER, record["hash"]))
    assert all(tensor.device.type == "cpu" for tensor in model.state_dict().values())
    dataset = recipe["data"]
    if dataset not in PLAIN:
        pytest.skip(f"{dataset} is made by another network, or cut from other images")
    if dataset in NEEDS and not (data_folder() / NEEDS[dataset]).is_dir():
        pytest.skip(f"{dataset} is not in {data_folder()}")
    split = data.load(dataset).validation
    _, score = objective(model.eval())
    if dataset in NEEDS and hasattr(model, "loss"):
        expected = record["validation_score"]
        assert score(model, split[:FEW]) == pytest.approx(expected, rel=0.1)
    else:
        assert score(model, split) == pytest.approx(record["validation_score"], abs=0.001)


def test_records_name_recipes_of_this_version():
    study = Study("chapter1", profile="laptop", compute=False, progress=False)
    recipe = chapter1.classifier_of({"dataset": "mnist", "net": "cnn", "seed": 0}, "laptop")
    assert study.stored_hash(recipe) in {record["hash"] for record in SHIPPED}
    assert torch.get_default_dtype() == torch.float32
