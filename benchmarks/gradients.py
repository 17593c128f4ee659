"""One gradient in the image, way by way: what each step of an attack asks of a network.

    python benchmarks/gradients.py --threads 2

LeNet on 28 x 28 gray images, and on 32 x 32 color ones a ResNet-8, a ResNet-20 and the DenseNet of
chapter 2's paper. Images and weights are random: a pass costs what it costs with others. Ways:

    eager       as a network comes; attacks run it like this on a GPU
    channels    with the channels of a pixel side by side in memory; attacks do so on a CPU
    bf16        channels, and convolutions in bfloat16 (autocast)
    compiled    torch.compile (Inductor; on a CPU it calls a C++ compiler)
    graph       torch.compile with CUDA graphs, on a GPU

All ways of a network take turns; the median of the rounds counts. ``first`` is the first call's
seconds, compilation among them. ``signs`` is the share of pixels where the gradient has another
sign than eager's: FGSM, BIM and PGD see nothing else of it. Zeros count as a sign.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from washout.checks import check_choice, check_count, check_device
from washout.models import build
from washout.performance import keep
from washout.provenance import device_name

RESULTS = Path(__file__).parent / "results" / "gradients.csv"
NETWORKS = {
    "LeNet": ("lenet", 1, 28, {}),
    "ResNet-8": ("resnet", 3, 32, {"blocks": 1}),
    "ResNet-20": ("resnet", 3, 32, {"blocks": 3}),
    "DenseNet": ("densenet", 3, 32, {}),
}

WAYS = ("channels", "bf16", "compiled", "graph")

Gradient = Callable[[], Tensor]


def gradient(model: nn.Module, images: Tensor, labels: Tensor, bf16: bool = False) -> Tensor:
    """The loss's gradient in the images, in float32."""
    with torch.enable_grad(), torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
        points = images.detach().requires_grad_()
        loss = nn.functional.cross_entropy(model(points).float(), labels, reduction="sum")
        return torch.autograd.grad(loss, points)[0].clone()


def ways(name: str, count: int, device: torch.device, asked: list[str]) -> dict[str, Gradient]:
    """Each way's gradient of a network, over the same images and labels."""
    kind, channels, side, settings = NETWORKS[name]
    torch.manual_seed(0)
    model = build(kind, in_channels=channels, size=side, classes=10, **settings)
    model = model.eval().requires_grad_(False).to(device)
    images = torch.rand(count, channels, side, side).to(device)
    labels = torch.arange(count, device=device) % 10
    beside = copy.deepcopy(model).to(memory_format=torch.channels_last)
    last = images.to(memory_format=torch.channels_last)
    compiled = torch.compile(model, dynamic=False)
    graph = torch.compile(model, dynamic=False, mode="reduce-overhead")
    found: dict[str, Gradient] = {
        "eager": lambda: gradient(model, images, labels),
        "channels": lambda: gradient(beside, last, labels),
        "bf16": lambda: gradient(beside, last, labels, bf16=True),
        "compiled": lambda: gradient(compiled, images, labels),
        "graph": lambda: gradient(graph, images, labels),
    }
    return {way: found[way] for way in asked}


def seconds(run: Gradient, device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, nargs="+", help="10 100, on a GPU 100 1000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="beside eager; all there are")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(words)
    device = check_device(given.device)
    for name in ("threads", "rounds"):
        check_count(getattr(given, name), 1, name)
    batches = given.batches or ([100, 1000] if device.type == "cuda" else [10, 100])
    for count in batches:
        check_count(count, 1, "batches")
    known = WAYS if device.type == "cuda" else WAYS[:-1]
    for way in given.ways or known:
        check_choice(way, known, f"ways on {device.type}")
    asked = ["eager", *(given.ways or known)]
    torch.set_num_threads(given.threads)

    rows = []
    for name in given.networks:
        for count in batches:
            torch.compiler.reset()
            runs = ways(name, count, device, asked)
            first = {way: seconds(run, device) for way, run in runs.items()}
            expected = runs["eager"]().sign()
            turns = [{w: seconds(r, device) for w, r in runs.items()} for _ in range(given.rounds)]
            took = {way: statistics.median(turn[way] for turn in turns) for way in runs}
            for way, run in runs.items():
                rows.append(
                    {
                        "device": device_name(str(device)),
                        "network": name,
                        "images": count,
                        "way": way,
                        "images_per_second": round(count / took[way], 1),
                        "times_eager": round(took["eager"] / took[way], 3),
                        "first": round(first[way], 3),
                        "signs": round(float((run().sign() != expected).float().mean()), 5),
                        "threads": given.threads,
                        "torch": torch.__version__,
                    }
                )
                print(*list(rows[-1].values())[1:8], sep=", ", flush=True)
    keep(pd.DataFrame(rows), given.out)


if __name__ == "__main__":
    main()
