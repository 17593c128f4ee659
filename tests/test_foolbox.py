"""The second opinion: our attacks agree with foolbox's, and the adapter closes foolbox's traps."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from washout import attacks
from washout.attacks import foolbox as adapter
from washout.data import Dataset

pytest.importorskip("foolbox")

CW = {"steps": 80, "binary_search_steps": 3, "initial_const": 1.0}
# Our attack, foolbox's, settings of each that mean the same, the norm that is compared.
PAIRS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], float]] = {
    "fgsm": ("fgsm", "FGSM", {"eps": 0.2}, {"eps": 0.2}, 2),
    "bim": (
        "bim",
        "LinfBasicIterativeAttack",
        {"eps": 0.1, "steps": 10, "step": None, "stop": "last"},
        {"eps": 0.1},
        2,
    ),
    "pgd": ("pgd", "LinfPGD", {"eps": 0.1}, {"eps": 0.1}, 2),
    "deepfool": ("deepfool", "L2DeepFoolAttack", {}, {}, 2),
    "deepfool-linf": ("deepfool", "LinfDeepFoolAttack", {"norm": "linf"}, {}, torch.inf),
    "cw": ("cw", "L2CarliniWagnerAttack", CW | {"lr": 0.05}, CW | {"stepsize": 0.05}, 2),
}


@pytest.fixture(scope="module")
def batch(digits_data: Dataset) -> tuple[Tensor, Tensor]:
    return digits_data.test.images[:64], digits_data.test.labels[:64]


def both(
    name: str, model: nn.Module, x: Tensor, y: Tensor
) -> tuple[list[float], list[float], list[Tensor]]:
    """Success rates, median sizes of the successes, images: ours, then foolbox's."""
    ours, theirs, own, their_own, p = PAIRS[name]
    rates, medians, images = [], [], []
    for attack, settings in ((ours, own), (f"foolbox:{theirs}", their_own)):
        generator = torch.Generator().manual_seed(0)
        found = attacks.run(attack, model, x, y, dataset="digits", generator=generator, **settings)
        size = torch.linalg.vector_norm((found.images - x).flatten(1), p, dim=1)
        rates.append(found.success.float().mean().item())
        medians.append(size[found.success].median().item())
        images.append(found.images)
    return rates, medians, images


@pytest.mark.parametrize("name", PAIRS)
def test_ours_and_foolbox_agree(name: str, digits_model: nn.Module, batch):
    x, y = batch
    if name == "cw":
        x, y = x[:24], y[:24]
    (ours, theirs), (size, their_size), images = both(name, digits_model, x, y)
    assert theirs > 0.2
    assert ours >= theirs - 0.02
    assert size <= 1.05 * their_size
    if name != "cw":  # which may only be better: foolbox's hardly moves black pixels
        assert ours <= theirs + 0.02
        assert size >= 0.95 * their_size
    if name in ("fgsm", "bim"):
        assert (images[0] - images[1]).abs().flatten(1).amax(1).lt(1e-5).float().mean() > 0.95


def test_a_sanity_floor_below_cw(digits_model: nn.Module, batch):
    # DDN is another algorithm for the same problem: ours must not be far above it.
    x, y = batch[0][:24], batch[1][:24]
    ddn = attacks.run("foolbox:DDNAttack", digits_model, x, y)
    own = attacks.run("cw", digits_model, x, y, **CW | {"lr": 0.05})
    sizes = [(found.images - x).flatten(1).norm(dim=1).median().item() for found in (own, ddn)]
    assert ddn.success.all()
    assert own.success.all()
    assert sizes[0] <= 1.2 * sizes[1]


def test_every_attack_of_foolbox_has_a_description():
    names = adapter.names()
    assert {"LinfPGD", "FGSM", "L2DeepFoolAttack", "HopSkipJumpAttack"} <= set(names)
    for name in names:
        attack = attacks.get(f"foolbox:{name}")
        assert attack.name == f"foolbox:{name}"
        assert {"eps", "targeted"} <= set(attack.settings("mnist"))
        # A fixed budget needs a size, a minimizing attack none.
        assert (attack.settings()["eps"] is None) == attack.minimal
    assert attacks.get("foolbox:LinfPGD").settings("cifar10")["eps"] == pytest.approx(8 / 255)
    assert attacks.get("foolbox:LinfPGD").norm == "linf"
    assert attacks.get("foolbox:L2CarliniWagnerAttack").settings()["steps"] == 10_000


@pytest.mark.parametrize(
    "name", ["L2PGD", "MIFGSM", "L2FMNAttack", "SaltAndPepperNoiseAttack", "GaussianBlurAttack"]
)
def test_others_run_by_name(name: str, digits_model: nn.Module, batch):
    x, y = batch[0][:8], batch[1][:8]
    own = {"steps": 20} if name in ("L2FMNAttack", "SaltAndPepperNoiseAttack") else {}
    found = attacks.run(f"foolbox:{name}", digits_model, x, y, dataset="digits", **own)
    assert found.images.shape == x.shape
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    with torch.no_grad():
        assert torch.equal(digits_model(found.images).argmax(1) != y, found.success)


def test_failed_carlini_wagner_returns_the_input_and_no_black_image(digits_model, batch):
    # One search step of few steps finds nearly nothing; foolbox then returns zeros, and calls
    # them a success where the network does not take black for the class.
    x, y = batch
    found = attacks.run(
        "foolbox:L2CarliniWagnerAttack", digits_model, x, y, steps=5, binary_search_steps=1
    )
    assert not (found.images.flatten(1) == 0).all(1).any()
    assert found.success.float().mean() < 0.5
    assert torch.equal(found.images[~found.success], x[~found.success])


def test_parameters_gradients_and_flags_stay(digits_model: nn.Module, batch):
    x, y = batch[0][:4], batch[1][:4]
    first, second, *others = digits_model.parameters()
    first.requires_grad_(False)
    second.grad = torch.full_like(second, 7.0)
    try:
        attacks.run("foolbox:LinfPGD", digits_model, x, y, steps=2)
        assert not first.requires_grad
        assert second.requires_grad
        assert second.grad is not None
        assert (second.grad == 7).all()
        assert all(p.requires_grad and p.grad is None for p in others)
    finally:
        first.requires_grad_(True)
        second.grad = None


def test_the_seed_decides_and_the_global_state_stays(digits_model: nn.Module, batch):
    x, y = batch[0][:8], batch[1][:8]

    def attack(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return attacks.run(
            "foolbox:LinfPGD", digits_model, x, y, steps=2, generator=generator
        ).images

    before = torch.get_rng_state()
    assert torch.equal(attack(1), attack(1))
    assert not torch.equal(attack(1), attack(2))
    assert torch.equal(torch.get_rng_state(), before)


def test_targets_are_reached(digits_model: nn.Module, batch):
    x, y = batch[0][:20], (batch[1][:20] + 1) % 10
    found = attacks.run("foolbox:LinfPGD", digits_model, x, y, targeted=True, eps=0.5)
    with torch.no_grad():
        assert torch.equal(digits_model(found.images).argmax(1) == y, found.success)
    assert found.success.float().mean() > 0.8


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("LinfPGD", {"eps": None}, "refused"),
        ("LinfPGD", {"eps": -1.0}, "eps: got -1"),
        ("LinfPGD", {"eps": torch.full((4,), 0.1)}, "one number for all"),
        ("LinfPGD", {"step": 0.1}, "setting of attack 'foolbox:LinfPGD'.*abs_stepsize"),
        ("FGSM", {"targeted": True}, "unsupported criterion"),
        ("VirtualAdversarialAttack", {}, "refused.*steps"),
    ],
)
def test_refusals_are_one_clear_message(
    name: str, settings: dict, message: str, digits_model, batch
):
    with pytest.raises(ValueError, match=message):
        attacks.run(f"foolbox:{name}", digits_model, batch[0][:4], batch[1][:4], **settings)


def test_without_foolbox_the_message_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    with pytest.raises(ValueError, match="pip install foolbox"):
        attacks.get("foolbox:LinfPGD")
    assert attacks.get("fgsm").name == "fgsm"
