"""Compare washout's attacks with foolbox's, torchattacks' and ART's, in one run.

    python benchmarks/attacks_vs_peers.py --images 100 --threads 2

The network is chapter 3's LeNet, the images are the first of MNIST's test images that it gets
right, all in one batch; --few of them where Carlini-Wagner tries several constants, for which ART
takes seconds an image. What all are told:

    FGSM            epsilon 0.2
    PGD             epsilon 0.1, 40 steps of 0.1 / 30, a random start
    DeepFool        L2, at most 50 linearizations, all ten classes, overshoot 0.02
    Carlini-Wagner  L2, --steps steps with each constant, the first constant 1, rate 0.05

torchattacks has no search for the constant: so Carlini-Wagner runs with one constant and with three
(--consts), and torchattacks in the first only. It computes atanh of pixels that are 0 or 1, which
then never move; a second turn gives it pixels a little off both ends, as the others do themselves.
ART gets its batch in one piece (its default is image by image) and 0.02 where its own overshoot is
1e-6; it searches the length of each step, so that one of its steps is several passes. When to give
up is each library's own rule. An image counts as fooled if the network reads the result as another
class; an all-black one, foolbox's answer where it found nothing, does not count.

The methods take turns, so that a busy machine slows all of them, for --seconds an attack, ten
rounds at most and one at least; the median counts. On a machine too busy for that, take one thread
and --clock processor. It needs the peers; README.md says how to install them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from washout import attacks, data
from washout.checks import check_count, check_device, check_range
from washout.inference import predict
from washout.performance import keep
from washout.provenance import device_name
from washout.training import Recipe, trained

RESULTS = Path(__file__).parent / "results" / "attacks_vs_peers.csv"
FGSM, PGD = 0.2, 0.1  # epsilons
LINEARIZATIONS, OVERSHOOT = 50, 0.02
RATE = 0.05
ROUNDS = 10
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
OFF = 0.999  # as washout shrinks the range of pixels before atanh

Method = Callable[[Tensor, Tensor], Tensor]
Methods = dict[str, Method]


@dataclass(frozen=True)
class Given:
    """What the libraries are told; ``batch`` images at once, ``steps`` and ``consts`` of CW."""

    model: nn.Module
    device: torch.device
    batch: int
    steps: int
    consts: int

    @property
    def one(self) -> str:
        return "Carlini-Wagner, 1 constant"

    @property
    def several(self) -> str:
        return f"Carlini-Wagner, {self.consts} constants"


def ours(given: Given) -> Methods:
    def method(name: str, **settings: float) -> Method:
        run = {"device": given.device, "batch_size": given.batch, **settings}
        return lambda x, y: attacks.run(name, given.model, x, y, **run).images

    cw = {"steps": given.steps, "lr": RATE, "initial_const": 1.0}
    return {
        "FGSM": method("fgsm", eps=FGSM),
        "PGD 40": method("pgd", eps=PGD, steps=40),
        "DeepFool": method("deepfool", steps=LINEARIZATIONS, overshoot=OVERSHOOT),
        given.one: method("cw", binary_search_steps=1, **cw),
        given.several: method("cw", binary_search_steps=given.consts, **cw),
    }


def foolbox(given: Given) -> Methods:
    import foolbox

    device = given.device
    wrapped = foolbox.PyTorchModel(given.model, bounds=(0, 1), device=device)
    library = foolbox.attacks
    cw = {"steps": given.steps, "stepsize": RATE, "initial_const": 1.0}

    def method(attack: foolbox.attacks.Attack, eps: float | None = None) -> Method:
        return lambda x, y: attack(wrapped, x.to(device), y.to(device), epsilons=eps)[1].detach()

    return {
        "FGSM": method(library.LinfFastGradientAttack(), FGSM),
        "PGD 40": method(library.LinfPGD(steps=40, rel_stepsize=1 / 30), PGD),
        "DeepFool": method(
            library.L2DeepFoolAttack(steps=LINEARIZATIONS, candidates=10, overshoot=OVERSHOOT)
        ),
        given.one: method(library.L2CarliniWagnerAttack(binary_search_steps=1, **cw)),
        given.several: method(
            library.L2CarliniWagnerAttack(binary_search_steps=given.consts, **cw)
        ),
    }


def torchattacks(given: Given) -> Methods:
    import torchattacks

    model = given.model

    def method(attack: torchattacks.attack.Attack) -> Method:
        return lambda x, y: attack(x.to(given.device), y.to(given.device))

    return {
        "FGSM": method(torchattacks.FGSM(model, eps=FGSM)),
        "PGD 40": method(torchattacks.PGD(model, eps=PGD, alpha=PGD / 30, steps=40)),
        "DeepFool": method(torchattacks.DeepFool(model, steps=LINEARIZATIONS, overshoot=OVERSHOOT)),
        given.one: method(torchattacks.CW(model, c=1, steps=given.steps, lr=RATE)),
    }


def torchattacks_off(given: Given) -> Methods:
    """Its Carlini-Wagner on images whose pixels are a little off 0 and 1."""
    run = torchattacks(given)[given.one]
    return {given.one: lambda x, y: run((x - 0.5) * OFF + 0.5, y)}


def art(given: Given) -> Methods:
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    batch = given.batch
    classifier = PyTorchClassifier(
        given.model,
        loss=nn.CrossEntropyLoss(),
        input_shape=(1, 28, 28),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="gpu" if given.device.type == "cuda" else "cpu",
    )

    def method(attack: evasion.EvasionAttack) -> Method:
        def run(x: Tensor, y: Tensor) -> Tensor:
            return torch.from_numpy(attack.generate(x.numpy(), np.eye(10, dtype="float32")[y]))

        return run

    return {
        "FGSM": method(evasion.FastGradientMethod(classifier, eps=FGSM, batch_size=batch)),
        "PGD 40": method(
            evasion.ProjectedGradientDescent(
                classifier, eps=PGD, eps_step=PGD / 30, max_iter=40, num_random_init=1,
                batch_size=batch, verbose=False,
            )
        ),
        "DeepFool": method(
            evasion.DeepFool(
                classifier, max_iter=LINEARIZATIONS, epsilon=OVERSHOOT, nb_grads=10,
                batch_size=batch, verbose=False,
            )
        ),
        given.several: method(
            evasion.CarliniL2Method(
                classifier, learning_rate=RATE, binary_search_steps=given.consts,
                max_iter=given.steps, initial_const=1.0, batch_size=batch, verbose=False,
            )
        ),
    }  # fmt: skip


def outcome(images: Tensor, x: Tensor, y: Tensor, model: nn.Module, norm: float) -> list[float]:
    """Share of images that fool the model, and the median norm of their change."""
    device = next(model.parameters()).device
    fooled = (predict(model, images, device=device) != y) & images.flatten(1).any(1)
    size = torch.linalg.vector_norm((images - x).flatten(1), norm, dim=1)
    return [round(fooled.double().mean().item(), 4), round(size[fooled].median().item(), 4)]


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--few", type=int, default=25, help="images for Carlini-Wagner's search")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--clock", default="wall", choices=list(CLOCKS))
    parser.add_argument("--steps", type=int, default=100, help="of Carlini-Wagner")
    parser.add_argument("--consts", type=int, default=3, help="that Carlini-Wagner tries")
    parser.add_argument("--seconds", type=float, default=10.0, help="for an attack")
    parser.add_argument("--epochs", type=int, default=Recipe().epochs, help="the LeNet's training")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(words)
    for name in ("images", "few", "threads", "steps", "consts", "epochs"):
        check_count(getattr(given, name), 2 if name == "consts" else 1, name)
    check_range(given.seconds, 0, float("inf"), "seconds")
    device = check_device(given.device)
    if device.type == "cuda" and given.clock == "processor":
        raise ValueError("clock: got processor, which does not see a GPU; allowed there is wall")
    clock = CLOCKS[given.clock]
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)

    mnist = data.mnist()
    model = trained(Recipe(epochs=given.epochs), data=mnist, device=device).model
    images, labels = mnist.test.images[: 2 * given.images], mnist.test.labels[: 2 * given.images]
    right = (predict(model, images, device=device) == labels).nonzero()[: given.images, 0]
    every = images[right], labels[right]

    told = Given(model, device, len(right), given.steps, given.consts)
    sides = {
        "washout": ours(told),
        "foolbox": foolbox(told),
        "torchattacks": torchattacks(told),
        "torchattacks, off 0 and 1": torchattacks_off(told),
        "ART": art(told),
    }
    rows = []
    for attack in sides["washout"]:
        x, y = (part[: given.few] if attack == told.several else part for part in every)
        methods = {side: found[attack] for side, found in sides.items() if attack in found}
        for method in methods.values():
            method(x[:2], y[:2])
        seconds: dict[str, list[float]] = {side: [] for side in methods}
        attacked = {}
        begin = time.perf_counter()
        for done in range(ROUNDS):
            if done and time.perf_counter() - begin > given.seconds:
                break
            for side, method in methods.items():
                start = clock()
                attacked[side] = method(x, y).cpu()
                seconds[side].append(clock() - start)
        median = {side: statistics.median(times) for side, times in seconds.items()}
        norm = float("inf") if attack in ("FGSM", "PGD 40") else 2.0
        for side in methods:
            success, size = outcome(attacked[side], x, y, model, norm)
            rows.append(
                {
                    "attack": attack,
                    "method": side,
                    "images_per_second": round(len(x) / median[side], 2),
                    "washout_is_faster_by": round(median[side] / median["washout"], 2),
                    "success": success,
                    "norm": f"L{norm:g}",
                    "median": size,
                    "rounds": len(seconds[side]),
                    "images": len(x),
                }
            )
            print(*rows[-1].values(), sep=", ", flush=True)
    table = pd.DataFrame(rows).assign(
        steps=given.steps,
        device=device_name(str(device)),
        clock=given.clock,
        epochs=given.epochs,
        torch=torch.__version__,
        **{
            name: version(package)
            for name, package in {
                "foolbox": "foolbox",
                "torchattacks": "torchattacks",
                "art": "adversarial-robustness-toolbox",
            }.items()
        },
    )
    keep(table, given.out)


if __name__ == "__main__":
    main()
