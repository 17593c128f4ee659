"""What the tests of attacks share: classifiers, images, and each attack with short settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from washout.attacks import (
    Attacked,
    bim,
    cw,
    deepfool,
    deepfool_fb2,
    fgsm,
    fgsm_min,
    pgd,
    pgd_min,
)

CW = {"steps": 60, "binary_search_steps": 4, "lr": 0.05, "initial_const": 1.0}


def _without_steps(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name != "steps"}


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
    # A grid and a search as coarse as this leave room between the boundary and rounding.
    "fgsm-min": lambda m, x, y, **k: fgsm_min(m, x, y, epsilons=200, **_without_steps(k)),
    "pgd-min": lambda m, x, y, **k: pgd_min(m, x, y, **{"bisections": 10} | k),
    # In more steps some images creep up to the boundary itself, where rounding decides.
    "deepfool-fb2": lambda m, x, y, **k: deepfool_fb2(m, x, y, **{"steps": 5} | k),
    "deepfool-fb2-linf": lambda m, x, y, **k: deepfool_fb2(
        m, x, y, norm="linf", overshoot=2.0, **{"steps": 5} | k
    ),
}
BUDGET = ("fgsm", "bim", "bim-first", "pgd")
MINIMAL = (
    "deepfool",
    "deepfool-linf",
    "cw",
    "fgsm-min",
    "pgd-min",
    "deepfool-fb2",
    "deepfool-fb2-linf",
)
TARGETED = ("fgsm", "bim", "bim-first", "pgd", "cw")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sizes(result: Attacked, x: Tensor, p: float) -> Tensor:
    return torch.linalg.vector_norm((result.images - x).flatten(1), p, dim=1)


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


class Returns(nn.Module):
    def __init__(self, output: Callable[[Tensor], Any]):
        super().__init__()
        self.output = output

    def forward(self, x: Tensor) -> Any:
        return self.output(x)


@cache
def digits() -> tuple[Tensor, Tensor]:
    """8 x 8 digits and their classes; the first 1,500 are for training."""
    found = load_digits()
    x = torch.tensor(found.images, dtype=torch.float32)[:, None] / 16
    return x, torch.tensor(found.target)


@cache
def network() -> nn.Module:
    """A small network on 8 x 8 digits, trained for two seconds, with dropout."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.25), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    x, y = (tensor[:1500] for tensor in digits())
    for _ in range(12):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    model.zero_grad()
    return model.eval()


def right_ones() -> tuple[Tensor, Tensor]:
    """48 unseen images that the network has right."""
    x, y = (tensor[1500:] for tensor in digits())
    with torch.no_grad():
        right = network()(x).argmax(1) == y
    assert right.float().mean() > 0.85
    return x[right][:48], y[right][:48]
