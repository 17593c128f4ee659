"""Training Glow: in both precisions, by recipe, and after a kill."""

from __future__ import annotations

import math

import pytest
import torch

from glow_cases import gradients, small, take_steps
from washout import data
from washout.models import Glow
from washout.training import Recipe, checkpoint, fit, trained
from washout.training.loop import objective


@pytest.mark.parametrize("bf16", [False, True])
def test_a_few_steps_lower_the_loss(bf16):
    glow = small(3, 3, 32, hidden=16, depth=3).train()
    losses = take_steps(glow, data.photos().train.images, 15, bf16)
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0] - 0.3
    assert all(bool(p.isfinite().all()) and p.dtype == torch.float32 for p in glow.parameters())


def test_extreme_images_stay_finite():
    glow = small(2, 3, 8).train()
    for x in (torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8)):
        glow.started = False
        loss = glow.loss(x)
        loss.backward()
        assert loss.isfinite()
        assert all(bool(p.grad.isfinite().all()) for p in glow.parameters())


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_training_by_recipe(tmp_path, precision):
    recipe = Recipe(
        model="glow", data="patches", epochs=8, batch_size=16, lr=3e-3, precision=precision,
        model_args=(("depth", 2), ("hidden", 16), ("levels", 2)),
    )  # fmt: skip
    made = trained(recipe, data=gradients, write=tmp_path, progress=False)
    glow, split = made.model, gradients().validation
    assert isinstance(glow, Glow)
    assert glow.started
    assert made.history[-1]["loss"] < made.history[0]["loss"] - 0.5
    # Half-precision weights are a little worse than those that were trained.
    assert glow.score(split) == pytest.approx(made.history[-1]["score"], abs=0.1)
    assert glow.score(split) == pytest.approx(made.record["validation_score"], abs=1e-4)
    x = split.images / 255
    assert (glow.decode(glow.encode(x)[0], clamp=False) - x).abs().max() < 1e-4
    again = trained(recipe, data=lambda: pytest.fail("trained twice"), search=[tmp_path])
    assert again.model.started
    assert torch.equal(again.model.latent(x), glow.latent(x))


def test_a_killed_training_goes_on_with_the_scales_it_had(tmp_path, one_thread, monkeypatch):
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    found, calls = gradients(), []
    loss, score = objective(small(2, 1, 8))

    def killed(model, split):
        calls.append(model)
        return score(model, split) if len(calls) == 1 else 1 / 0

    def run(glow, score, name):
        fit(
            glow, found.train, found.validation, loss=loss, score=score, epochs=2, batch_size=16,
            checkpoint=tmp_path / name, progress=False,
        )  # fmt: skip
        return glow.state_dict()

    whole = run(small(2, 1, 8), score, "whole")
    with pytest.raises(ZeroDivisionError):
        run(small(2, 1, 8), killed, "parts")
    assert (tmp_path / "parts").is_file()
    parts = run(small(2, 1, 8), score, "parts")
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
