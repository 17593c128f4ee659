"""Time Monte Carlo dropout against repeating the whole network, and compare what both give.

    python benchmarks/mc_dropout.py

Float32 on the CPU, the LeNet of chapter 3 with fresh weights (time does not depend on them). The
ways take turns, so that a busy machine slows all of them; each one's median counts. Three ways:

    whole, torch dropout    50 forward passes, masks from torch.nn.Dropout
    whole, washout dropout  50 forward passes, masks from washout.models.Dropout
    mc_dropout              features once, head 50 times, masks from washout.models.Dropout
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from washout.checks import check_count
from washout.detectors import DropoutPrediction, mc_dropout
from washout.models import Dropout, build

RESULTS = Path(__file__).parent / "results" / "mc_dropout.csv"


def whole(model: nn.Module, images: Tensor, passes: int, batch_size: int) -> DropoutPrediction:
    """Every pass through every layer, as one would write it down; dropout is on already."""
    moments = []
    with torch.no_grad():
        for batch in images.split(batch_size):
            scores = torch.stack([model(batch).softmax(1) for _ in range(passes)])
            moments.append(torch.std_mean(scores, dim=0, correction=0))
    stds, means = zip(*moments, strict=True)
    return DropoutPrediction(torch.cat(means), torch.cat(stds))


def with_torch_dropout(model: nn.Module) -> nn.Module:
    """The same weights with torch.nn.Dropout in the place of every dropout layer."""
    settings = {"in_channels": 1, "size": 28, "classes": 10}
    twin = build("lenet", **settings)
    twin.load_state_dict(model.state_dict())
    for name, layer in list(twin.named_children()):
        if isinstance(layer, Dropout):
            setattr(twin, name, nn.Dropout(layer.p))
    return twin


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--passes", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=250)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    for name in ("images", "passes", "batch_size", "threads", "repeats"):
        check_count(getattr(given, name), 1, name)

    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    ours = build("lenet", in_channels=1, size=28, classes=10).eval()
    theirs, fast_whole = (
        with_torch_dropout(ours),
        build("lenet", in_channels=1, size=28, classes=10),
    )
    fast_whole.load_state_dict(ours.state_dict())
    for model in (theirs, fast_whole):
        model.train()  # LeNet has no layer but dropout that training mode changes
    images = torch.rand(given.images, 1, 28, 28)
    size = given.batch_size
    ways: dict[str, Callable[[], DropoutPrediction]] = {
        "whole, torch dropout": lambda: whole(theirs, images, given.passes, size),
        "whole, washout dropout": lambda: whole(fast_whole, images, given.passes, size),
        "mc_dropout": lambda: mc_dropout(ours, images, passes=given.passes, batch_size=size),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    uncertainty = {}
    for way in ways.values():
        way()
    for _ in range(given.repeats):
        for way, run in ways.items():
            start = time.perf_counter()
            uncertainty[way] = run().uncertainty.mean().item()
            seconds[way].append(time.perf_counter() - start)

    median = {way: statistics.median(times) for way, times in seconds.items()}
    table = pd.DataFrame(
        {
            "way": list(ways),
            "seconds": [round(median[way], 3) for way in ways],
            "images_per_second": [round(given.images / median[way]) for way in ways],
            "times_as_slow_as_mc_dropout": [
                round(median[way] / median["mc_dropout"], 2) for way in ways
            ],
            "mean_uncertainty": [round(uncertainty[way], 6) for way in ways],
            "images": given.images,
            "passes": given.passes,
            "batch_size": size,
            "threads": given.threads,
            "repeats": given.repeats,
            "torch": torch.__version__,
        }
    )
    given.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
