"""Training: the loop, its checkpoints, augmentation."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from washout import models, weights
from washout.data import Split
from washout.training import (
    accuracy,
    augmentation,
    checkpoint,
    fit,
    flip,
    shift,
)
from washout.training.loop import _rate


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
