"""JSMA against brute force: one step, and whole runs."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from test_saliency import best_by_brute_force
from washout.attacks.jsma import jsma

INF = float("inf")


class Viewing(nn.Module):
    """A small network that flattens with ``view``, which only contiguous activations survive."""

    def __init__(self, channels: int = 1, size: int = 8, flatten=lambda x: x.view(len(x), -1)):
        super().__init__()
        self.conv = nn.Conv2d(channels, 6, 3)
        self.linear = nn.Linear(6 * (size - 2) ** 2, 4)
        self.flatten = flatten

    def forward(self, x: Tensor) -> Tensor:
        return 3 * self.linear(self.flatten(torch.tanh(self.conv(2 * x - 1))))


def network(channels: int = 1, **settings) -> nn.Module:
    torch.manual_seed(5)
    return Viewing(channels, **settings).double().eval()


def pictures(count: int, channels: int = 1) -> Tensor:
    """Images with many pixels at 0 and at 1, as MNIST's."""
    draw = torch.Generator().manual_seed(11)
    noise = torch.rand(count, channels, 8, 8, generator=draw, dtype=torch.float64)
    return (1.6 * noise - 0.3).clamp(0, 1)


def classes(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images).argmax(1)


def algorithm_2(model, image, true, target, theta, gamma, on):
    """The paper's loop for one image, with the whole Jacobian and every pair of features."""
    x = image.flatten().clone()
    outputs = (lambda v: model(v.view_as(image[None]))[0]) if on == "logits" else (
        lambda v: model(v.view_as(image[None]))[0].softmax(0))  # fmt: skip
    chosen = true if target is None else target
    for _ in range(int(gamma * len(x) / 2)):
        now = int(outputs(x).argmax())
        if (now != true) if target is None else (now == target):
            break
        jacobian = torch.autograd.functional.jacobian(outputs, x)
        a = jacobian[chosen]
        b = -torch.cat((jacobian[:chosen], jacobian[chosen + 1 :])).sum(0)
        sign = (1 if theta > 0 else -1) * (-1 if target is None else 1)
        saturated = x == (1.0 if theta > 0 else 0.0)
        a, b = (side.mul(sign).masked_fill(saturated, -INF) for side in (a, b))
        best, winners = best_by_brute_force(a, b)
        if best == 0:
            break
        pair = list(winners.pop())
        x[pair] = (x[pair] + theta).clamp(0, 1)
    return x.view_as(image)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("on", ["logits", "probabilities"])
@pytest.mark.parametrize("theta", [1.0, -1.0, 0.3])
@pytest.mark.parametrize("targeted", [True, False])
def test_whole_runs_equal_the_papers_algorithm(channels, on, theta, targeted):
    model, x = network(channels), pictures(6, channels)
    y = classes(model, x)
    target = (y + 1 + torch.arange(6) % 3) % 4
    images, success = jsma(
        model, x, y, theta=theta, gamma=0.2, target=target if targeted else "untargeted", on=on,
        batch=4,
    )  # fmt: skip
    for row in range(6):
        aim = int(target[row]) if targeted else None
        expected = algorithm_2(model, x[row], int(y[row]), aim, theta, 0.2, on)
        torch.testing.assert_close(images[row], expected, atol=1e-12, rtol=0)
    now = classes(model, images)
    assert torch.equal(success, now == target if targeted else now != y)
    assert not torch.equal(images, x)


def test_one_step_on_a_linear_model_is_the_pair_that_its_weights_say():
    torch.manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False))
    x = torch.full((3, 1, 4, 4), 0.5)
    y, target = torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0])
    # Far from the boundary, so that one step changes no class.
    with torch.no_grad():
        model[1].weight *= 0.01
    x[0] += 0.001
    y = classes(model, x)
    target = (y + 1) % 3
    images, _ = jsma(model, x, y, theta=0.25, gamma=2 / 16, target=target)
    weight = model[1].weight.detach()
    for row in range(3):
        a = weight[target[row]]
        _, winners = best_by_brute_force(a, a - weight.sum(0))
        changed = (images[row] - x[row]).flatten()
        assert tuple(changed.nonzero()[:, 0].tolist()) in winners
        assert torch.allclose(changed[changed != 0], torch.tensor(0.25))


@pytest.mark.parametrize("gamma", [0.0, 0.02, 0.05, 0.13, 1.0])
@pytest.mark.parametrize("stuck", ["stop", "first"])
@pytest.mark.parametrize("theta", [1.0, -0.4])
def test_budget_bounds_and_untouched_inputs(gamma, stuck, theta):
    model, x = network(3), pictures(9, 3)
    y = classes(model, x)
    model(x).sum().backward()
    before = copy.deepcopy([*model.parameters()]), x.clone()
    gradients = [p.grad.clone() for p in model.parameters()]
    draw = torch.Generator().manual_seed(0)
    images, success = jsma(model, x, y, theta=theta, gamma=gamma, stuck=stuck, generator=draw)
    assert images.shape == x.shape
    assert images.dtype == x.dtype
    assert images.min() >= 0
    assert images.max() <= 1
    assert ((images != x).flatten(1).sum(1) <= gamma * x[0].numel()).all()
    assert (theta * (images - x) >= 0).all()
    assert torch.equal(x, before[1])
    for parameter, old, gradient in zip(model.parameters(), before[0], gradients, strict=True):
        assert torch.equal(parameter, old)
        assert torch.equal(parameter.grad, gradient)
    assert not success.any() if gamma == 0 else success.any() or gamma < 0.1


def test_random_targets_are_seeded_spread_and_never_the_true_class():
    model, x = network(), pictures(1).expand(300, -1, -1, -1)
    y = torch.arange(300) % 4  # true classes as given, whatever the model says

    def run(seed: int) -> Tensor:
        draw = torch.Generator().manual_seed(seed)
        images, success = jsma(model, x, y, gamma=0.5, generator=draw)
        reached = classes(model, images)
        assert (reached[success] != y[success]).all()
        assert len(reached[success].unique()) > 1
        return images

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_an_image_fares_alone_as_it_does_in_a_batch():
    model, x = network(), pictures(11)
    y = classes(model, x)
    target = (y + 1) % 4
    together = jsma(model, x, y, target=target, gamma=0.3)
    trickled = jsma(model, x, y, target=target, gamma=0.3, batch=3)
    torch.testing.assert_close(together, trickled, atol=1e-12, rtol=0)
    for row in range(11):
        part = slice(row, row + 1)
        alone = jsma(model, x[part], y[part], target=target[part], gamma=0.3)
        torch.testing.assert_close(alone.images, together.images[part], atol=1e-12, rtol=0)


def test_networks_that_view_and_those_that_flatten_get_the_same_images():
    x = pictures(5, 3)
    viewing, flattening = network(3), network(3, flatten=lambda v: v.flatten(1))
    y = classes(viewing, x)
    target = (y + 1) % 4
    first, second = (jsma(m, x, y, target=target, gamma=0.3) for m in (viewing, flattening))
    torch.testing.assert_close(first, second, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("toward", "away"),
    [([-1.0, -1, -1, -1], [-1.0, -1, -1, -1]), ([3.0, -2, -9, -9], [-4.0, 3, -9, -9])],
    ids=["no candidate", "one candidate"],
)
def test_without_a_positive_saliency_stop_leaves_the_image_and_first_spends_the_first_feature(
    toward, away
):
    class Linear(nn.Module):
        """Class 1 is far below; a pixel's gains are ``toward`` for it and ``away`` from 0."""

        def forward(self, images: Tensor) -> Tensor:
            pixels = images.flatten(1)
            return torch.stack(
                (-pixels @ torch.tensor(away), pixels @ torch.tensor(toward) - 99), dim=1
            )

    x, y = torch.full((2, 1, 2, 2), 0.125), torch.tensor([0, 0])
    stopped = jsma(Linear(), x, y, theta=0.25, gamma=0.5)
    assert torch.equal(stopped.images, x)
    spent = jsma(Linear(), x, y, theta=0.25, gamma=0.5, stuck="first")
    expected = x.clone()
    expected[:, 0, 0, 0] = 0.625  # the pair is (0, 0): theta twice
    assert torch.equal(spent.images, expected)
    assert not stopped.success.any()
    assert not spent.success.any()


def test_tiny_gradients_are_not_taken_for_none():
    class Sure(nn.Module):
        """A classifier that returns probabilities, of which the target's is 1e-30 or so."""

        def forward(self, images: Tensor) -> Tensor:
            score = 70 * images.flatten(1)[:, :4].mean(1)
            return torch.stack((torch.zeros_like(score), score - 70), dim=1).softmax(1)

    x = torch.zeros(1, 1, 3, 3)
    images, _ = jsma(Sure(), x, torch.tensor([0]), gamma=0.25)
    assert images.flatten().nonzero()[:, 0].lt(4).sum() == 2


def test_the_loop_reads_no_tensor_but_in_its_one_synchronization():
    class Reads(TorchDispatchMode):
        """Counts the operations that would make the host wait for a GPU."""

        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function.__name__.split(".")[0]
            self.count += name in ("_local_scalar_dense", "nonzero", "masked_select", "equal")
            if name in ("index", "index_put_"):  # a mask as an index has a size to find out
                self.count += any(i is not None and i.dtype == torch.bool for i in args[1])
            return function(*args, **(kwargs or {}))

    model, x = network(), pictures(6)
    y = classes(model, x)
    counts = []
    for gamma in (0.04, 0.5):  # 1 step and 16
        with Reads() as reads:
            images, _ = jsma(model, x, y, target="untargeted", theta=0.001, gamma=gamma)
        assert ((images - x).flatten(1).sum(1) > 0.001 * 50 * gamma).all()  # used all its steps
        counts.append(reads.count)
    assert counts[0] == counts[1]


def test_works_where_gradients_are_off_and_with_no_images():
    model, x = network(), pictures(4)
    y = classes(model, x)
    with torch.no_grad():
        assert jsma(model, x, y, target="untargeted", gamma=0.5).success.any()
    images, success = jsma(model, x[:0], y[:0])
    assert images.shape == (0, 1, 8, 8)
    assert success.shape == (0,)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"theta": 0.0}, "theta: got 0"),
        ({"theta": 1.5}, "theta: got 1.5"),
        ({"gamma": -0.1}, "gamma: got -0.1"),
        ({"gamma": float("nan")}, "gamma: got nan"),
        ({"on": "softmax"}, "allowed are logits, probabilities"),
        ({"stuck": "random"}, "allowed are stop, first"),
        ({"target": "all"}, "allowed are random, untargeted"),
        ({"target": torch.tensor([0.5])}, "int64"),
        ({"target": torch.tensor([1, 2])}, "expected shape"),
        ({"target": torch.tensor([4])}, "classes are 0 to 3"),
        ({"target": torch.tensor([0])}, "true class"),
        ({"batch": 0}, "batch: got 0"),
    ],
)
def test_bad_settings_are_named(settings, says):
    with pytest.raises(ValueError, match=says):
        jsma(network(), pictures(1), torch.tensor([0]), **settings)
