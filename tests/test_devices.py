"""What a GPU would be handed, looked at without one; with one, rows of every table on it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from washout import attacks, chapters
from washout.attacks import Attack, Attacked, running
from washout.chapters.chapter1 import beyond, columns
from washout.chapters.chapter2 import defending
from washout.inference import ON_GPU, at_once
from washout.study import Study


def test_a_gpu_takes_more_images_at_once():
    assert at_once(500, "cpu") == at_once(500, torch.device("cpu")) == 500
    assert at_once(500, "cuda") == at_once(500, torch.device("cuda", 1)) == 500 * ON_GPU


def test_an_attack_that_splits_its_images_gets_more_of_them_on_a_gpu(monkeypatch):
    given = []

    def own(model: nn.Module, x: Tensor, y: Tensor, *, batch: int = 128) -> Attacked:
        given.append((len(x), batch))
        return Attacked(x, model(x).argmax(1) != y)

    attack = Attack("own", own, "any", "here", "nothing", False, {"*": {"batch": 128}})
    x, y = torch.rand(200, 1, 4, 4), torch.zeros(200, dtype=torch.int64)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    attacks.run(attack, model, x, y)
    monkeypatch.setattr(running, "at_once", lambda count, device: 8 * count)
    attacks.run(attack, model, x, y)
    attacks.run(attack, model, x, y, batch=50)  # whoever asks for a number gets it
    attacks.run(attack, model, x, y, batch_size=30)
    assert given == [(200, 128), (200, 1024), (200, 50), (200, 30)]


def test_draws_and_starts_count_where_gradients_are_held_on_a_gpu():
    def together(device: str, dataset: str, **spec: Any) -> int:
        return beyond._together({"dataset": dataset, **spec}, place(device))

    for more in ({}, {"draws": 4}, {"restarts": 5}):
        assert together("cpu", "nips2017", defense="vae", **more) == beyond.SOME["nips2017"]
        assert together("cpu", "mnist", defense="vae", **more) == 25
    samples = 4  # of profile paper
    held = beyond.ON_GPU["nips2017"]
    assert together("cuda", "nips2017", defense="vae") == held // samples
    assert together("cuda", "nips2017", defense="vae", draws=4) == held // (4 * samples)
    assert together("cuda:1", "nips2017", defense="jpeg23", restarts=5) == held // 5
    assert together("cuda", "mnist", defense="gauss") > 1000


def place(device: str) -> Any:
    """As much of a study as says where."""
    return SimpleNamespace(device=device, profile="paper")


def test_noise_is_drawn_where_the_images_are(monkeypatch):
    class Recorded:
        """In the place of a generator, which asks for its device."""

        def __init__(self, device="cpu"):
            self.device = torch.device(device)

        def manual_seed(self, seed):
            return self

    monkeypatch.setattr(torch, "Generator", Recorded)
    for device in ("cpu", "cuda", "cuda:1"):
        spec = {"seed": 3}
        row = SimpleNamespace(spec=spec, study=place(device))
        assert columns.Columns.generator(row, "ours").device == torch.device(device)
        assert defending.generator("tvm", spec, place(device)).device == torch.device(device)


# ---- with a GPU --------------------------------------------------------------------------------
APART = ("attack", "defense", "knows", "features", "trained", "guard", "flow", "change", "rule")


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", chapters.NAMES)
def test_rows_of_every_table_are_computed_on_a_gpu(name, tmp_path):
    """At profile smoke: one row for each attack, defense, detector and attacker of the plan."""
    study = Study(
        name, profile="smoke", device="cuda", exact=True, local=False, progress=False,
        results=tmp_path / "results", weights=tmp_path / "weights",
    )  # fmt: skip
    for table, specs in chapters.get(name).plan(study):
        kinds = {tuple(spec.get(word) for word in APART): spec for spec in specs}
        for row in study.table(table, list(kinds.values())):
            assert row.run["device"].startswith("cuda")
