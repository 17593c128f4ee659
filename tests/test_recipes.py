"""Recipes and the store of weights: what is trained once, found again, damaged, or killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from test_training import network
from washout import weights
from washout.paths import project_root
from washout.training import Recipe, accuracy, fit, recipes, trained

QUICK = Recipe(data="digits", epochs=2, batch_size=128, lr=2e-3)


@pytest.fixture(scope="module")
def quick(digits_data, tmp_path_factory):
    """A trained recipe and the folder of its weights."""
    folder = tmp_path_factory.mktemp("weights")
    return trained(QUICK, data=digits_data, search=[folder], progress=False), folder


def test_loaded_weights_give_the_trained_logits(digits_data, tmp_path):
    model = network()
    few = digits_data.validation[:100]
    fit(model, digits_data.train[:300], few, epochs=1, progress=False)
    _, name = weights.write(tmp_path, model)
    loaded = network(seed=1)
    loaded.load_state_dict(weights.read(tmp_path, name))
    images = few.images
    assert torch.equal(loaded.eval()(images), model(images))


def test_second_call_loads(quick, digits_data, monkeypatch):
    first, folder = quick
    monkeypatch.setattr(recipes, "fit", None)  # must be called no more
    monkeypatch.setattr(recipes.datasets, "load", None)  # nor are the data needed
    second = trained(QUICK, search=[folder])
    images = digits_data.test.images
    assert second.hash == first.hash
    assert torch.equal(second.model(images), first.model(images))
    assert second.history == first.history
    assert second.record["validation_score"] == accuracy(second.model, digits_data.validation)
    assert not list(folder.rglob("*.checkpoint"))


def test_normalization_is_the_training_sets(quick, digits_data):
    images = digits_data.train.images
    normalize = quick[0].model.normalize
    torch.testing.assert_close(normalize.mean.squeeze(), images.mean(), rtol=1e-3, atol=0)
    torch.testing.assert_close(normalize.std.squeeze(), images.std(), rtol=1e-3, atol=0)


def test_each_value_of_a_recipe_changes_its_key():
    others = [
        replace(QUICK, **change)
        for change in (
            {"model": "feinman"}, {"data": "mnist"}, {"epochs": 3}, {"batch_size": 64},
            {"lr": 0.1}, {"optimizer": "sgd"}, {"weight_decay": 0.1}, {"schedule": "constant"},
            {"augment": "flip"}, {"precision": "fp32"}, {"seed": 1}, {"version": 2},
            {"model_args": (("dropout", 0.3),)},
        )
    ]  # fmt: skip
    assert len({recipe.key() for recipe in [QUICK, *others]}) == len(others) + 1
    assert replace(QUICK).key() == QUICK.key()


def test_folders_are_searched_in_order(quick, digits_data, tmp_path):
    first, folder = quick
    own = tmp_path / "own"
    found = trained(QUICK, data=digits_data, search=[tmp_path, folder], write=own)
    assert found.record == first.record
    assert not own.exists()
    start = time.time()
    again = trained(
        QUICK, data=digits_data, search=[folder], write=own, since=start, progress=False
    )
    assert again.record["trained_at"] >= start
    assert again.hash == first.hash  # same recipe, same machine
    assert sorted(path.suffix for path in own.iterdir() if path.is_file()) == [
        ".json",
        ".safetensors",
    ]
    # Found in `write` though `search` does not name it.
    third = trained(QUICK, search=[folder], write=own, since=start)
    assert third.record == again.record


def test_finished_checkpoint_does_not_pass_for_a_new_training(digits_data, tmp_path, monkeypatch):
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
    trained(QUICK, data=digits_data, write=tmp_path, progress=False)  # as if killed at the end
    monkeypatch.setattr(Path, "unlink", unlink)
    assert len(list(tmp_path.rglob("*.checkpoint"))) == 1
    epochs = []

    def fit_and_count(*arguments, **settings):
        epochs.append(settings["checkpoint"].exists())
        return fit(*arguments, **settings)

    monkeypatch.setattr(recipes, "fit", fit_and_count)
    trained(QUICK, data=digits_data, write=tmp_path, since=time.time(), progress=False)
    assert epochs == [False]


def test_the_seconds_of_a_training_are_those_of_all_sittings(digits_data, tmp_path, monkeypatch):
    history = [{"epoch": 1, "loss": 1.0, "score": 0.5, "seconds": s} for s in (400.0, 300.25)]

    def resumed(model, *_, **settings):
        weights.round_to_half(model)
        return history

    monkeypatch.setattr(recipes, "fit", resumed)
    made = trained(QUICK, data=digits_data, write=tmp_path, progress=False)
    assert made.record["seconds"] == 700.25


def test_the_records_that_ship_count_all_epochs():
    for _, record in weights.records(project_root() / "weights"):
        epochs = sum(epoch["seconds"] for epoch in record["history"])
        assert record["seconds"] > 0.999 * epochs, record["recipe"]


def test_a_training_that_leads_elsewhere_says_what_is_stale(quick, digits_data, tmp_path, capsys):
    first, _ = quick
    for name, lines in ((first.hash, 0), ("0123456789abcdef", 1)):
        folder = tmp_path / name
        weights.write_record(folder / "large", QUICK.key(), {**first.record, "hash": name})
        trained(QUICK, data=digits_data, search=[folder], progress=False)
        said = capsys.readouterr().err.splitlines()
        assert sum("only the record" in line for line in said) == 1
        assert sum(f"{first.hash} instead of {name}: rows" in line for line in said) == lines
        assert sum("are stale" in line for line in said) == lines


def test_damaged_stores_are_told(quick, tmp_path):
    first, folder = quick
    for path in folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    stored = tmp_path / f"{first.hash}.safetensors"
    content = bytearray(stored.read_bytes())
    content[-5] ^= 1
    for damaged in (content, content[:-100], b""):
        stored.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"truncated or altered.*retrain"):
            trained(QUICK, search=[tmp_path])
    stored.unlink()
    with pytest.raises(ValueError, match=r"cannot read .*train again"):
        trained(QUICK, search=[tmp_path])
    record = tmp_path / f"{QUICK.key()}.json"
    for text in ("", "{", "[]", json.dumps({"hash": first.hash})):
        record.write_text(text)
        with pytest.raises(ValueError, match=r"no record of trained weights"):
            trained(QUICK, search=[tmp_path])


def test_bad_recipes(digits_data, tmp_path):
    with pytest.raises(ValueError, match=r"data: got digits, but the recipe names mnist"):
        trained(Recipe(data="mnist"), data=digits_data, write=tmp_path)
    with pytest.raises(ValueError, match=r"dataset: got 'svhn'"):
        trained(Recipe(data="svhn"), write=tmp_path)
    with pytest.raises(ValueError, match=r"model: got 'vgg'"):
        trained(Recipe(data="digits", model="vgg"), data=digits_data, write=tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ValueError, match=r"cannot write to .*WASHOUT_WEIGHTS"):
        trained(QUICK, data=digits_data, write=file)


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_killed_trainings_and_two_at_once(tmp_path):
    """Four kills at random moments, then two processes that want the same weights."""
    script = Path(__file__).with_name("kill_training.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "4", "0"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["codes"] == [0, 0, 0, 0]
    assert result["died"] == 4
    assert len(set(result["whole"] + result["together"])) == 1
    assert set(result["killed"]) == set(result["whole"])
    assert len(result["together"]) == 2
    assert result["trainings_together"] == 1
    assert result["left"] == []
