"""Training: the loop, checkpoints, recipes and the store of weights."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from washout import models, weights
from washout.data import Split
from washout.training import (
    Recipe,
    accuracy,
    augmentation,
    checkpoint,
    fit,
    flip,
    recipes,
    shift,
    trained,
)
from washout.training.loop import _rate

QUICK = Recipe(data="digits", epochs=2, batch_size=128, lr=2e-3)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return models.build("lenet", in_channels=1, size=28, classes=10)


def bits(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def small(digits_data) -> tuple[Split, Split]:
    return digits_data.train[:300], digits_data.validation[:100]


@pytest.fixture(scope="module")
def quick(digits_data, tmp_path_factory):
    """A trained recipe and the folder of its weights."""
    folder = tmp_path_factory.mktemp("weights")
    return trained(QUICK, data=digits_data, search=[folder], progress=False), folder


def test_it_learns(digits_model, digits_data):
    assert accuracy(digits_model, digits_data.test) > 0.93
    assert not digits_model.training


def test_accuracy_counts(digits_data):
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, images):
            return nn.functional.one_hot(torch.full((len(images),), 3), 10).float()

    expected = (digits_data.test.labels == 3).double().mean().item()
    assert accuracy(Constant(), digits_data.test, batch_size=7) == pytest.approx(expected)


def test_the_rest_of_the_program_is_left_alone(small):
    model = network()
    before = [split.images.clone() for split in small]
    torch.manual_seed(4)
    state = torch.get_rng_state()
    history = fit(model, *small, epochs=1, augment=augmentation("shift2"), progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b.images) for a, b in zip(before, small, strict=True))
    assert [row["epoch"] for row in history] == [1]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_same_seed_same_bits(small, optimizer, precision):
    def run(seed):
        model = network()
        fit(
            model, *small, epochs=2, lr=0.003, seed=seed, optimizer=optimizer,
            precision=precision, progress=False,
        )  # fmt: skip
        return bits(model)

    first = run(1)
    torch.rand(5)  # the state outside must not matter
    assert same(first, run(1))
    assert not same(first, run(2))


def test_resumed_training_ends_with_the_same_bits(small, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)

    class Killed(Exception):
        pass

    arguments = {
        "epochs": 4, "schedule": "onecycle", "lr": 0.003, "augment": augmentation("shift1"),
        "progress": False,
    }  # fmt: skip
    undisturbed = network()
    history = fit(undisturbed, *small, **arguments)

    def score(model, split):
        if len(calls) == 2:
            raise Killed
        calls.append(0)
        return accuracy(model, split)

    calls: list[int] = []
    path = tmp_path / "deep" / "state.checkpoint"
    with pytest.raises(Killed):
        fit(network(), *small, **arguments, score=score, checkpoint=path)
    assert path.is_file()
    model = network(seed=99)  # its weights are replaced by the checkpoint's
    resumed = fit(model, *small, **arguments, checkpoint=path)
    assert same(bits(model), bits(undisturbed))
    drop = [{key: row[key] for key in ("epoch", "loss", "score")} for row in history]
    assert [{key: row[key] for key in ("epoch", "loss", "score")} for row in resumed] == drop


def test_checkpoints_are_written_when_half_a_minute_has_passed_and_at_the_end(
    small, tmp_path, monkeypatch
):
    now, written = [0.0], []
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(checkpoint, "write_whole", lambda path, content: written.append(now[0]))

    def score(model, split):
        now[0] += 20.0
        return now[0]

    arguments = {"score": score, "checkpoint": tmp_path / "state", "progress": False}
    fit(network(), *small, epochs=5, **arguments)
    assert written == [40.0, 80.0, 100.0]
    now[0] = 0.0
    written.clear()
    fit(network(), *small, epochs=5, stop_at=60.0, **arguments)
    assert written == [40.0, 60.0]


def test_checkpoints_of_other_trainings_are_refused(small, tmp_path):
    path = tmp_path / "state"
    fit(network(), *small, epochs=1, checkpoint=path, progress=False)
    with pytest.raises(ValueError, match=r"belongs to a training with .*delete .*state"):
        fit(network(), *small, epochs=1, lr=0.5, checkpoint=path, progress=False)
    other = models.build("feinman", in_channels=1, size=28, classes=10)
    with pytest.raises(ValueError, match=r"fits another model"):
        fit(other, *small, epochs=1, checkpoint=path, progress=False)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cannot read the checkpoint .*delete"):
        fit(network(), *small, epochs=1, checkpoint=path, progress=False)


def test_best_epoch_is_chosen_on_validation(small):
    train, validation = small
    kept = []

    def score(model, split):
        assert split is validation
        kept.append(bits(model))
        return [0.2, 0.9, 0.9, 0.1][len(kept) - 1]

    model = network()
    fit(model, train, validation, epochs=4, score=score, channels_last=False, progress=False)
    best = {key: value.half().float() for key, value in kept[2].items()}
    assert same(bits(model), best)
    assert not same(best, {key: value.half().float() for key, value in kept[1].items()})


def test_weights_are_rounded_to_half(small):
    model = network()
    fit(model, *small, epochs=1, progress=False)
    for value in model.state_dict().values():
        assert value.dtype == torch.float32
        assert torch.equal(value.half().float(), value)
    assert all(value.is_contiguous() for value in model.state_dict().values())


def test_an_autoencoder_trains_unchanged(small):
    train, validation = small
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))

    def loss(model, images, labels):
        noisy = images + 0.1 * torch.randn_like(images)
        return nn.functional.mse_loss(model(noisy), images)

    def score(model, split):
        with torch.no_grad():
            return -nn.functional.mse_loss(model(split.images), split.images).item()

    before = score(model, validation)
    fit(model, train, validation, loss=loss, score=score, epochs=3, lr=0.01, progress=False)
    assert score(model, validation) > before / 3


def test_divergence_is_told(small):
    with pytest.raises(ValueError, match=r"diverged.*lower lr"):
        fit(network(), *small, epochs=3, lr=1e6, optimizer="sgd", progress=False)
    model = network()
    with torch.no_grad():
        model.fc1.weight[0, 0] = 1e6
    with pytest.raises(ValueError, match=r"fc1.weight .*half precision"):
        weights.round_to_half(model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs: got 0"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"seed": -1}, "seed: got -1"),
        ({"lr": 0.0}, "allowed are lr > 0"),
        ({"lr": float("nan")}, "allowed are lr > 0"),
        ({"weight_decay": -1.0}, "weight_decay >= 0"),
        ({"optimizer": "lion"}, "optimizer: got 'lion'; allowed are adam, sgd"),
        ({"schedule": "step"}, "schedule: got 'step'; allowed are constant, cosine, onecycle"),
        ({"precision": "fp16"}, "precision: got 'fp16'; allowed are bf16, fp32"),
        ({"device": "tpu"}, "device: got 'tpu'"),
    ],
)
def test_bad_arguments(small, arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(network(), *small, **({"epochs": 1, "progress": False} | arguments))


def test_schedules():
    assert _rate("constant", 0.7) == 1
    assert _rate("cosine", 0.0) == 1
    assert _rate("cosine", 0.5) == pytest.approx(0.5)
    assert _rate("cosine", 1.0) == pytest.approx(0)
    assert _rate("onecycle", 0.15) == pytest.approx(0.5)
    assert _rate("onecycle", 0.3) == pytest.approx(1)
    assert _rate("onecycle", 1.0) == pytest.approx(0)


def test_shift_moves_whole_images():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(200, 2, 6, 7) + 0.1
    moved = shift(images, generator, pixels=2)
    assert moved.shape == images.shape
    padded = nn.functional.pad(images, (2, 2, 2, 2))
    seen = set()
    for row in range(200):
        matches = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(padded[row, :, y : y + 6, x : x + 7], moved[row])
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 25


def test_flip_mirrors_half():
    images = torch.rand(400, 1, 3, 4)
    flipped = flip(images, torch.Generator().manual_seed(0))
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert torch.equal(flipped[~mirrored], images[~mirrored])
    assert 150 < mirrored.sum() < 250


def test_augmentation_names():
    assert augmentation("") is None
    images = torch.rand(50, 1, 8, 8)
    for name in ("shift3", "flip", "shift1+flip"):
        apply = augmentation(name)
        assert apply is not None
        assert not torch.equal(apply(images, torch.Generator().manual_seed(0)), images)
    for name in ("shift", "+flip", "shift1+", "shift-1", "rotate"):
        with pytest.raises(ValueError, match=r"augment: got .*shiftN"):
            augmentation(name)


# Recipes and the store.


def test_loaded_weights_give_the_trained_logits(small, tmp_path):
    model = network()
    fit(model, *small, epochs=1, progress=False)
    _, name = weights.write(tmp_path, model)
    loaded = network(seed=1)
    loaded.load_state_dict(weights.read(tmp_path, name))
    images = small[1].images
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
    """Ten kills at random moments, then two processes that want the same weights."""
    script = Path(__file__).with_name("kill_training.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "10", "0"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["codes"] == [0, 0, 0, 0]
    assert result["died"] == 10
    assert len(set(result["whole"] + result["together"])) == 1
    assert set(result["killed"]) == set(result["whole"])
    assert len(result["together"]) == 2
    assert result["trainings_together"] == 1
    assert result["left"] == []
