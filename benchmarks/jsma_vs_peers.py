"""Compare washout's JSMA with ART's and torchattacks': same network, images and targets.

    python benchmarks/jsma_vs_peers.py --images 200 --threads 2

The network is chapter 3's LeNet, the images are the first of MNIST's test images that it gets
right, the target of each is (label + 1) % 10, the only one that torchattacks attacks by default.
theta is 1. Both peers round the number of steps for gamma = 0.1 up, to 80 of 784 pixels; ours, as
the paper, down, to 78: here all may change 80.

    probabilities   ART's rule takes the two largest target gradients, without the saliency map's
                    second term; it is the paper's rule where outputs sum to one, so ART gets the
                    network with a softmax, at its own batch size 1 and at 128
    logits          torchattacks builds the whole Jacobian and the D x D matrix image by image
    bfloat16        ours inside torch.autocast, to see whether the outcome stays the same

The methods take turns, so that a busy machine slows all of them; each one's best time counts. On a
machine too busy for that, compare the processor time (summed over threads) of runs with one thread.
It needs the peers; README.md says how to install them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from washout import data
from washout.attacks.jsma import jsma
from washout.checks import check_count, check_device
from washout.inference import predict
from washout.performance import keep
from washout.provenance import device_name
from washout.training import Recipe, trained

RESULTS = Path(__file__).parent / "results" / "jsma_vs_peers.csv"
GAMMA = 80 / 784

Method = Callable[[Tensor, Tensor, Tensor], Tensor]


def art(model: nn.Module, batch_size: int) -> Method:
    """ART's SaliencyMapMethod on the network's probabilities."""
    from art.attacks.evasion import SaliencyMapMethod
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        nn.Sequential(model, nn.Softmax(1)),
        loss=nn.NLLLoss(),
        input_shape=(1, 28, 28),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="gpu" if next(model.parameters()).is_cuda else "cpu",
    )
    attack = SaliencyMapMethod(
        classifier, theta=1.0, gamma=0.1, batch_size=batch_size, verbose=False
    )
    return lambda x, y, target: torch.from_numpy(
        attack.generate(x.cpu().numpy(), target.cpu().numpy())
    ).to(x)


def torchattacks(model: nn.Module) -> Method:
    """torchattacks' JSMA, whose default target is (label + 1) % 10."""
    import torchattacks

    attack = torchattacks.JSMA(model, theta=1.0, gamma=0.1)
    return lambda x, y, target: attack(x, y)


def ours(model: nn.Module, on: str) -> Method:
    """washout's JSMA."""
    return lambda x, y, target: jsma(model, x, y, gamma=GAMMA, target=target, on=on).images


def ours_in_bfloat16(model: nn.Module, on: str) -> Method:
    """washout's JSMA with the network's passes in bfloat16."""

    def run(x: Tensor, y: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return ours(model, on)(x, y, target)

    return run


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=Recipe().epochs, help="the LeNet's training")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(words)
    for name in ("images", "threads", "repeats", "epochs"):
        check_count(getattr(given, name), 1, name)

    device = check_device(given.device)
    torch.set_num_threads(given.threads)
    mnist = data.mnist()
    model = trained(Recipe(epochs=given.epochs), data=mnist, device=device).model
    images, labels = mnist.test.images[: 2 * given.images], mnist.test.labels[: 2 * given.images]
    right = (predict(model, images, device=device) == labels).nonzero()[: given.images, 0]
    x, y = images[right].to(device), labels[right].to(device)
    target = (y + 1) % 10

    # The first of each kind of outputs is what the others are compared with.
    methods: dict[tuple[str, str], Method] = {
        ("probabilities", "washout"): ours(model, "probabilities"),
        ("probabilities", "washout, bfloat16"): ours_in_bfloat16(model, "probabilities"),
        ("probabilities", "ART, batch size 1"): art(model, 1),
        ("probabilities", "ART, batch size 128"): art(model, 128),
        ("logits", "washout"): ours(model, "logits"),
        ("logits", "washout, bfloat16"): ours_in_bfloat16(model, "logits"),
        ("logits", "torchattacks"): torchattacks(model),
    }
    seconds = dict.fromkeys(methods, float("inf"))
    processor = seconds.copy()
    attacked = {}
    for method in methods.values():
        method(x[:2], y[:2], target[:2])
    for _ in range(given.repeats):
        for key, method in methods.items():
            start, start_processor = time.perf_counter(), time.process_time()
            attacked[key] = method(x, y, target).detach()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            took, worked = time.perf_counter() - start, time.process_time() - start_processor
            seconds[key] = min(seconds[key], took)
            processor[key] = min(processor[key], worked)
            print(*key, f"{took:.2f} s", f"{worked:.2f} CPU s", sep=", ", flush=True)

    rows = []
    for (outputs, name), adversarial in attacked.items():
        reference = (outputs, "washout")
        with torch.no_grad():
            reached = (model(adversarial).argmax(1) == target).double()
        same = (adversarial - attacked[reference]).abs().flatten(1).amax(1) < 1e-6
        rows.append(
            {
                "outputs": outputs,
                "method": name,
                "seconds": round(seconds[outputs, name], 3),
                "cpu_seconds": round(processor[outputs, name], 3),
                "images_per_second": round(len(x) / seconds[outputs, name], 2),
                "washout_is_faster_by": round(seconds[outputs, name] / seconds[reference], 1),
                "success": round(reached.mean().item(), 4),
                "changed_pixels": round((adversarial != x).sum().item() / len(x), 2),
                "same_image_as_washout": round(same.double().mean().item(), 4),
            }
        )
    table = pd.DataFrame(rows).assign(
        images=len(x),
        device=device_name(str(device)),
        threads=given.threads,
        repeats=given.repeats,
        epochs=given.epochs,
        torch=torch.__version__,
        art=version("adversarial-robustness-toolbox"),
        torchattacks=version("torchattacks"),
    )
    keep(table, given.out)
    print(table.iloc[:, :9].to_string(index=False))


if __name__ == "__main__":
    main()
