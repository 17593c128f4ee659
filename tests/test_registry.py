"""Attacks by name: descriptions, defaults, batches, and messages for bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attack_cases import CW, Linear, Returns, network, right_ones, seeded, sizes
from washout import attacks
from washout.attacks import Attack, Attacked, fgsm


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return network()


@pytest.fixture(scope="module")
def batch() -> tuple[Tensor, Tensor]:
    return right_ones()


def test_the_registry_names_sources_and_defaults():
    searches = ["fgsm-min", "pgd-min", "deepfool-fb2"]
    assert attacks.names() == ["fgsm", "bim", "pgd", "deepfool", "cw", "jsma", *searches]
    assert attacks.get("ifgsm") is attacks.get("bim")
    table = attacks.describe()
    also = ["fgsm", "bim, ifgsm", "pgd", "deepfool", "cw", "jsma", *searches]
    assert list(table["attack"]) == also
    assert table[["norm", "source", "summary", "defaults"]].map(bool).all(axis=None)
    feinman = attacks.get("bim").settings("mnist")
    assert {k: feinman[k] for k in ("eps", "step", "steps", "stop")} == {
        "eps": 0.3, "step": 0.01, "steps": 50, "stop": "first",
    }  # fmt: skip
    assert attacks.get("bim").settings("elsewhere", steps=3)["steps"] == 3
    jsma = attacks.get("jsma").settings("mnist")
    assert (jsma["theta"], jsma["gamma"], jsma["target"]) == (1.0, 0.1, "random")


@pytest.mark.parametrize("name", ["fgsm", "bim", "deepfool", "cw", "jsma"])
def test_run_is_the_function_in_batches(name: str, net: nn.Module, batch):
    x, y = batch
    own = CW if name == "cw" else {}
    if name == "jsma":
        own = {"target": (y + 1) % 10}
    net.train()
    try:
        result = attacks.run(name, net, x, y, batch_size=20, **own)
        assert net.training
        assert net[6].training
    finally:
        net.eval()
    direct = attacks.get(name).function(net, x, y, **own)
    assert (result.success == direct.success).float().mean() > 0.95
    assert sizes(result, x, 2).median().item() == pytest.approx(
        sizes(direct, x, 2).median().item(), rel=0.02
    )


def test_run_splits_tensors_with_the_images(net: nn.Module, batch):
    x, y = batch
    eps = torch.linspace(0, 0.3, len(x))
    result = attacks.run("fgsm", net, x, y, batch_size=7, eps=eps)
    torch.testing.assert_close(result.images, fgsm(net, x, y, eps=eps).images, rtol=0, atol=1e-6)


def test_run_repeats_with_the_seed(net: nn.Module, batch):
    x, y = batch
    first, second = (
        attacks.run("pgd", net, x, y, steps=3, batch_size=16, generator=seeded()).images
        for _ in range(2)
    )
    assert torch.equal(first, second)


def test_run_takes_a_readers_own_attack_and_no_images(net: nn.Module, batch):
    x, y = batch

    def invert(model: nn.Module, x: Tensor, y: Tensor, *, share: float = 1.0) -> Attacked:
        images = (1 - share) * x + share * (1 - x)
        return Attacked(images, model(images).argmax(1) != y)

    own = Attack("invert", invert, "any", "here", "negative", False, {"*": {"share": 1.0}})
    torch.testing.assert_close(attacks.run(own, net, x, y).images, 1 - x)
    assert attacks.run("pgd", net, x[:0], y[:0]).images.shape == (0, 1, 8, 8)


def test_models_that_need_contiguous_images_work(batch):
    class View(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.conv(x).view(len(x), -1))

    x, y = batch[0][:9].expand(-1, 3, -1, -1).contiguous(), batch[1][:9]
    for name, own in (("fgsm", {}), ("bim", {}), ("pgd", {}), ("deepfool", {}), ("cw", CW)):
        assert attacks.run(name, View(), x, y, **own).images.shape == x.shape


X, Y = torch.full((3, 1, 6, 6), 0.5), torch.tensor([0, 1, 2])
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("unknown attack", {"attack": "fsgm"}, r"'fsgm'.*fgsm, bim.*ifgsm.*foolbox:"),
    ("attack of another type", {"attack": 3}, r"attack: got 3"),
    ("unknown foolbox attack", {"attack": "foolbox:Nothing"}, r"'Nothing'.*LinfPGD"),
    ("unknown setting", {"epsilon": 0.1}, r"setting of attack 'fgsm': got 'epsilon'.*eps"),
    ("negative eps", {"eps": -0.1}, r"eps: got -0.1.*\[0, 1\]"),
    ("eps of 8 bits", {"eps": 8}, r"eps: got 8.*\[0, 1\]"),
    ("NaN eps", {"eps": float("nan")}, r"eps: got nan"),
    ("text for eps", {"eps": "large"}, r"eps: got 'large'"),
    ("an eps too few", {"eps": torch.tensor([0.1, 0.2])}, r"eps: got shape \(2,\).*\(3,\)"),
    ("no steps", {"attack": "bim", "steps": 0}, r"steps: got 0.*from 1 up"),
    ("half a step", {"attack": "pgd", "steps": 1.5}, r"steps: got 1.5"),
    ("unknown stop", {"attack": "bim", "stop": "never"}, r"stop: got 'never'.*first, last"),
    ("negative step", {"attack": "bim", "step": -1.0}, r"step: got -1.0"),
    ("no restarts", {"attack": "pgd", "restarts": 0}, r"restarts: got 0"),
    (
        "equal restarts",
        {"attack": "pgd", "restarts": 2, "random_start": False},
        r"restarts: got 2.*random_start=True",
    ),
    ("unknown norm", {"attack": "deepfool", "norm": "l1"}, r"norm: got 'l1'.*l2, linf"),
    ("one candidate", {"attack": "deepfool", "candidates": 1}, r"candidates: got 1"),
    ("negative overshoot", {"attack": "deepfool", "overshoot": -1.0}, r"overshoot: got -1"),
    ("no lr", {"attack": "cw", "lr": 0.0}, r"lr: got 0"),
    ("no const", {"attack": "cw", "initial_const": 0.0}, r"initial_const: got 0"),
    ("negative confidence", {"attack": "cw", "confidence": -1}, r"confidence: got -1"),
    ("progress", {"attack": "cw", "progress": 1.5}, r"progress: got 1.5"),
    ("no grid", {"attack": "fgsm-min", "epsilons": 0}, r"epsilons: got 0"),
    ("cap of 8 bits", {"attack": "fgsm-min", "max_eps": 8}, r"max_eps: got 8.*\[0, 1\]"),
    ("no eps", {"attack": "pgd-min", "eps": 0.0}, r"eps: got 0"),
    ("no step", {"attack": "pgd-min", "step": 0.0}, r"step: got 0"),
    ("no tries", {"attack": "pgd-min", "tries": 0}, r"tries: got 0"),
    ("no bisections", {"attack": "pgd-min", "bisections": -1}, r"bisections: got -1"),
    ("kept", {"attack": "pgd-min", "keep": "linf"}, r"keep: got 'linf'.*eps, l2"),
    ("a share", {"attack": "deepfool-fb2", "overshoot": 0.05}, r"overshoot: got 0.05"),
    ("reduction", {"attack": "deepfool-fb2", "reduction": "no"}, r"reduction: got 'no'.*sum, mean"),
    ("gamma", {"attack": "jsma", "gamma": 2.0}, r"gamma: got 2"),
    ("no batch", {"batch_size": 0}, r"batch_size: got 0"),
    ("unknown device", {"device": "tpu"}, r"device: got 'tpu'"),
    ("array", {"images": X.numpy()}, r"images: expected a torch.Tensor"),
    ("one image", {"images": X[0]}, r"images: expected shape"),
    ("bytes", {"images": X.to(torch.uint8)}, r"images: .*float\(\) / 255"),
    ("not scaled", {"images": X * 255}, r"images: .*range of"),
    ("NaN image", {"images": X * float("nan")}, r"images: .*finite"),
    ("no labels", {"labels": None}, r"labels: expected an int64 tensor"),
    ("float labels", {"labels": Y.float()}, r"labels: .*torch.float32"),
    ("a label too few", {"labels": Y[:2]}, r"labels: .*\(3,\).*\(2,\)"),
    ("label beyond the classes", {"labels": Y + 2}, r"labels: got class 4.*0 to 3"),
    ("target beyond the classes", {"labels": Y + 2, "targeted": True}, r"targets: got class 4"),
    ("features for logits", {"model": Returns(lambda x: x)}, r"model: .*\(3, 1, 6, 6\)"),
    ("a tuple", {"model": Returns(lambda x: (x,))}, r"model: .*tuple"),
    (
        "NaN logits",
        {"model": Returns(lambda x: x.flatten(1) * float("nan"))},
        r"model: .*NaN or infinite",
    ),
]


@pytest.mark.parametrize(("change", "message"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_bad_input_is_one_clear_message(change: dict[str, Any], message: str):
    given = {"attack": "fgsm", "model": Linear(), "images": X, "labels": Y} | change
    with pytest.raises(ValueError, match=f"(?s){message}"):
        attacks.run(
            given.pop("attack"), given.pop("model"), given.pop("images"), given.pop("labels"),
            **given,
        )  # fmt: skip
