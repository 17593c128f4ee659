"""Attacks: closed forms on linear classifiers, invariants, and messages for bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from washout import attacks
from washout.attacks import Attack, Attacked, bim, cw, deepfool, fgsm, pgd

CW = {"steps": 60, "binary_search_steps": 4, "lr": 0.05, "initial_const": 1.0}
# Each attack with settings that keep it short.
ALL: dict[str, Callable[..., Attacked]] = {
    "fgsm": lambda m, x, y, **k: fgsm(m, x, y, **{"eps": 0.1} | k),
    "bim": lambda m, x, y, **k: bim(m, x, y, **{"eps": 0.1} | k),
    "bim-first": lambda m, x, y, **k: bim(
        m, x, y, **{"eps": 0.1, "stop": "first", "step": 0.005, "steps": 25} | k
    ),
    "pgd": lambda m, x, y, **k: pgd(
        m, x, y, **{"eps": 0.1, "steps": 10, "step": 0.02} | k, generator=seeded()
    ),
    "deepfool": deepfool,
    "deepfool-linf": lambda m, x, y, **k: deepfool(m, x, y, norm="linf", **k),
    "cw": lambda m, x, y, **k: cw(m, x, y, **CW | k),
}
BUDGET = ("fgsm", "bim", "bim-first", "pgd")
MINIMAL = ("deepfool", "deepfool-linf", "cw")
TARGETED = ("fgsm", "bim", "bim-first", "pgd", "cw")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sizes(result: Attacked, x: Tensor, p: float) -> Tensor:
    return torch.linalg.vector_norm((result.images - x).flatten(1), p, dim=1)


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    found = load_digits()
    x = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    return x, torch.tensor(found.target)


@pytest.fixture(scope="module")
def net(digits: tuple[Tensor, Tensor]) -> nn.Module:
    """A small network on 8 x 8 digits, trained for two seconds, with dropout."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.25), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    x, y = digits[0][:1500], digits[1][:1500]
    for _ in range(12):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    model.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def batch(net: nn.Module, digits: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """48 unseen images that the network has right."""
    x, y = digits[0][1500:], digits[1][1500:]
    with torch.no_grad():
        right = net(x).argmax(1) == y
    assert right.float().mean() > 0.85
    return x[right][:48], y[right][:48]


class Linear(nn.Module):
    """A linear classifier with boundaries so near to gray images that the box is out of reach."""

    def __init__(self, classes: int = 4, pixels: int = 36):
        super().__init__()
        weight = torch.randn(classes, pixels, generator=seeded(3))
        self.weight = nn.Parameter(weight / 6)

    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5).flatten(1) @ self.weight.T


def linear(n: int = 40, classes: int = 4) -> tuple[Linear, Tensor, Tensor]:
    model = Linear(classes)
    x = 0.5 + 0.1 * torch.randn(n, 1, 6, 6, generator=seeded(4)).clamp(-2, 2)
    return model, x, model(x).argmax(1)


def distance_to_hyperplanes(model: Linear, x: Tensor, y: Tensor, dual: float) -> Tensor:
    """The smallest distance to another class, in the norm that ``dual`` is the dual of."""
    logits = model(x).detach()
    gaps = logits.gather(1, y[:, None]) - logits
    slopes = torch.linalg.vector_norm(model.weight[y][:, None] - model.weight[None], dual, dim=2)
    return (gaps / slopes).scatter(1, y[:, None], torch.inf).amin(1).detach()


# --- closed forms ---------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "p", "dual"), [("l2", 2, 2), ("linf", torch.inf, 1)])
def test_deepfool_finds_the_nearest_hyperplane(norm: str, p: float, dual: float):
    model, x, y = linear()
    result = deepfool(model, x, y, norm=norm, overshoot=0.0)
    best = distance_to_hyperplanes(model, x, y, dual)
    assert result.success.all()
    # Up to the 1e-4 that it steps beyond the boundary, twice at most.
    assert (sizes(result, x, p) >= best - 1e-6).all()
    assert (sizes(result, x, p) <= best + 2.1e-4).all()


def test_deepfool_overshoots_by_its_share():
    model, x, y = linear()
    result = deepfool(model, x, y, overshoot=0.5)
    best = distance_to_hyperplanes(model, x, y, 2)
    torch.testing.assert_close(sizes(result, x, 2), 1.5 * (best + 1e-4), rtol=1e-3, atol=1e-5)


def test_cw_finds_the_hyperplane():
    # With more classes it may settle at the hyperplane of the likeliest, not of the nearest.
    model, x, y = linear(classes=2)
    result = cw(model, x, y, steps=400, binary_search_steps=8, initial_const=0.1, lr=0.01)
    best = distance_to_hyperplanes(model, x, y, 2)
    assert result.success.all()
    assert (sizes(result, x, 2) >= best - 1e-6).all()
    assert (sizes(result, x, 2) <= 1.03 * best + 2e-3).all()


def test_cw_keeps_the_confidence():
    model, x, y = linear()
    result = cw(model, x, y, **CW, confidence=0.2)
    logits = model(result.images)
    other = logits.scatter(1, y[:, None], -torch.inf).amax(1)
    assert result.success.all()
    assert (other - logits.gather(1, y[:, None])[:, 0] >= 0.2 - 1e-5).all()


@pytest.mark.parametrize(("attack", "own"), [(fgsm, {}), (bim, {}), (pgd, {"steps": 70})])
def test_signed_steps_succeed_exactly_beyond_the_distance(
    attack: Callable[..., Attacked], own: dict[str, int]
):
    # With two classes the sign of the gradient is the optimal direction everywhere.
    model, x, y = linear(classes=2)
    best = distance_to_hyperplanes(model, x, y, 1)
    assert attack(model, x, y, eps=best * 1.01, **own).success.all()
    assert not attack(model, x, y, eps=best * 0.99, **own).success.any()


def test_bim_first_stops_at_the_first_step_beyond_the_boundary():
    model, x, y = linear(classes=2)
    best = distance_to_hyperplanes(model, x, y, 1)
    step = 0.004
    result = bim(model, x, y, eps=0.3, step=step, steps=75, stop="first")
    assert result.success.all()
    torch.testing.assert_close(sizes(result, x, torch.inf), (best / step).ceil() * step)


def test_pixels_at_the_ends_of_the_range_move_too():
    # Black and white pixels have infinite coordinates in tanh space.
    x = torch.zeros(1, 1, 6, 6)
    x[..., 3:] = 1.0
    weight = torch.ones(6, 6)
    weight[:, 3:] = -1.0
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    model[1].weight.data = torch.stack([torch.zeros(36), weight.flatten()])
    model[1].bias.data = torch.tensor([0.0, 18.0 - 3.6])
    y = model(x).argmax(1)
    result = cw(model, x, y, steps=300, binary_search_steps=5, lr=0.05, initial_const=1.0)
    assert result.success.all()
    # The boundary is 3.6 / 6 away, each pixel moving by 0.1.
    assert sizes(result, x, 2).item() == pytest.approx(0.6, rel=0.02)


# --- invariants -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_within_the_bounds_and_judged_as_returned(name: str, net: nn.Module, batch):
    x, y = batch
    result = ALL[name](net, x, y)
    assert result.images.shape == x.shape
    assert result.images.dtype == x.dtype
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    with torch.no_grad():
        assert torch.equal(net(result.images).argmax(1) != y, result.success)
    assert result.success.float().mean() > 0.2


@pytest.mark.parametrize("name", BUDGET)
def test_within_eps(name: str, net: nn.Module, batch):
    x, y = batch
    eps = torch.linspace(0.0, 0.3, len(x))
    assert (sizes(ALL[name](net, x, y, eps=eps), x, torch.inf) <= eps + 1e-6).all()


@pytest.mark.parametrize("name", ALL)
def test_leaves_everything_else_alone(name: str, net: nn.Module, batch):
    x, y = batch
    before = x.clone()
    parameters = list(net.parameters())
    parameters[0].requires_grad_(False)
    parameters[1].grad = torch.full_like(parameters[1], 7.0)
    net[6].train()
    try:
        result = ALL[name](net, x[:8], y[:8])
        assert net[6].training
        assert not net.training
        assert [p.requires_grad for p in parameters] == [False] + [True] * (len(parameters) - 1)
        assert parameters[1].grad is not None
        assert (parameters[1].grad == 7).all()
        assert all(p.grad is None for p in parameters[2:])
    finally:
        parameters[0].requires_grad_(True)
        parameters[1].grad = None
        net.eval()
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert not result.images.requires_grad
    assert result.images.data_ptr() != x.data_ptr()


@pytest.mark.parametrize("name", ALL)
def test_works_without_gradients_around_it(name: str, net: nn.Module, batch):
    x, y = batch[0][:6], batch[1][:6]
    expected = ALL[name](net, x, y)
    with torch.no_grad():
        assert torch.equal(ALL[name](net, x, y).images, expected.images)


@pytest.mark.parametrize("name", ALL)
def test_an_image_alone_fares_as_in_a_batch(name: str, net: nn.Module, batch):
    if name == "pgd":
        pytest.skip("random starts; see the next test")
    x, y = batch
    together = ALL[name](net, x, y)
    for row in range(0, len(x), 12):
        alone = ALL[name](net, x[row : row + 1], y[row : row + 1])
        assert alone.success[0] == together.success[row]
        # Adam amplifies rounding; what counts is the size of what it finds.
        norms = [sizes(r, b, 2) for r, b in ((alone, x[row]), (together, x))]
        assert norms[0][0].item() == pytest.approx(norms[1][row].item(), rel=0.03, abs=1e-4)
        if name != "cw":
            torch.testing.assert_close(alone.images[0], together.images[row], rtol=0, atol=2e-4)


def test_pgd_repeats_with_the_seed_and_differs_without(net: nn.Module, batch):
    x, y = batch
    first, second, other = (
        pgd(net, x, y, eps=0.1, steps=5, generator=seeded(s)).images for s in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", ["fgsm", "bim", "bim-first"])
def test_a_sweep_in_one_batch_is_separate_runs(name: str, net: nn.Module, batch):
    x, y = batch[0][:10], batch[1][:10]
    levels = (0.0, 0.05, 0.2)
    eps = torch.tensor(levels).repeat_interleave(len(x))
    sweep = ALL[name](net, x.repeat(3, 1, 1, 1), y.repeat(3), eps=eps)
    for level, images in zip(levels, sweep.images.split(len(x)), strict=True):
        torch.testing.assert_close(
            images, ALL[name](net, x, y, eps=level).images, rtol=0, atol=1e-6
        )
    assert torch.equal(sweep.images[:10], x)


def test_more_effort_never_fools_less(net: nn.Module, digits):
    x, y = digits[0][1500:], digits[1][1500:]
    for eps in (0.05, 0.1, 0.2):
        once = fgsm(net, x, y, eps=eps).success
        often = bim(net, x, y, eps=eps, steps=30, step=eps / 10)
        first = bim(net, x, y, eps=eps, steps=30, step=eps / 10, stop="first")
        assert often.success.sum() >= once.sum()
        assert not (often.success & ~first.success).any()
    one, four = (
        pgd(net, x, y, eps=0.08, steps=5, restarts=r, generator=seeded()).success for r in (1, 4)
    )
    assert not (one & ~four).any()  # the first of the four starts is the one
    assert four.sum() >= one.sum()
    wide = bim(net, x, y, eps=1.0, steps=40).success
    assert wide.float().mean() > 0.99


@pytest.mark.parametrize("name", TARGETED)
def test_targets_are_reached(name: str, net: nn.Module, batch):
    x = batch[0]
    with torch.no_grad():
        target = net(x).topk(2, 1).indices[:, 1]
    extra = {} if name == "cw" else {"eps": 0.3}
    if name not in ("cw", "fgsm"):
        extra |= {"step": 0.02, "steps": 40}
    result = ALL[name](net, x, target, targeted=True, **extra)
    with torch.no_grad():
        assert torch.equal(net(result.images).argmax(1) == target, result.success)
    assert result.success.float().mean() > (0.5 if name == "fgsm" else 0.95)


@pytest.mark.parametrize("name", [*MINIMAL, "bim-first"])
def test_images_that_fool_already_stay(name: str, net: nn.Module, batch):
    x, y = batch
    wrong = (y + 1) % 10
    result = ALL[name](net, x, wrong)
    assert result.success.all()
    assert torch.equal(result.images, x)


@pytest.mark.parametrize("name", MINIMAL)
def test_failures_are_the_input(name: str, batch):
    x, y = batch
    never = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    never[1].weight.data.mul_(1e-3)
    y = torch.zeros_like(y)
    never[1].bias.data = 50.0 * F.one_hot(torch.tensor(0), 10).float()
    extra = {"steps": 2} if name != "cw" else {}
    result = ALL[name](never, x, y, **extra)
    assert not result.success.any()
    assert torch.equal(result.images, x)


def test_doubling_the_batch_does_not_change_the_gradient(net: nn.Module, batch):
    # A loss averaged over the batch would; in half precision it would vanish.
    x, y = batch
    scaled = x * (1 - 1e-3)
    single = fgsm(net, scaled[:4], y[:4], eps=0.01).images
    many = fgsm(net, scaled[:4].repeat(50, 1, 1, 1), y[:4].repeat(50), eps=0.01).images
    torch.testing.assert_close(many[:4], single, rtol=0, atol=1e-6)


# --- by name --------------------------------------------------------------------------------


def test_the_registry_names_sources_and_defaults():
    assert attacks.names() == ["fgsm", "bim", "pgd", "deepfool", "cw", "jsma"]
    assert attacks.get("ifgsm") is attacks.get("bim")
    table = attacks.describe()
    assert list(table["attack"]) == ["fgsm", "bim, ifgsm", "pgd", "deepfool", "cw", "jsma"]
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


class Returns(nn.Module):
    def __init__(self, output: Callable[[Tensor], Any]):
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> Any:
        return self.output(x)


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
