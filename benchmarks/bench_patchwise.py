"""Time patch-wise application against a loop over patches, and compare what both give.

    python benchmarks/bench_patchwise.py

Float32 on the CPU, random images of 299 x 299 in three channels, no gradient. The ways take turns;
each one's median counts. On a busy machine ``--clock cpu`` counts the process's own time only.
Two functions:

    identity    the cost of cutting and putting together alone
    network     two convolutions, pooling, a dense layer in between: an autoencoder in small
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from washout.checks import check_count
from washout.defenses import patchwise

RESULTS = Path(__file__).parent / "results" / "bench_patchwise.csv"
SIDE = 299
PLANS = ((16, 16), (16, 8), (32, 32), (32, 16), (64, 64), (64, 32))


def loop(function: Callable[[Tensor], Tensor], images: Tensor, size: int, stride: int) -> Tensor:
    """Image by image and patch by patch, as one would write it down."""
    more = (size - images.shape[-1]) % stride
    padded = F.pad(images, (0, more, 0, more), "reflect")
    total, count = torch.zeros_like(padded), torch.zeros_like(padded)
    places = range(0, padded.shape[-1] - size + 1, stride)
    for image in range(len(images)):
        for top in places:
            for left in places:
                rows, columns = slice(top, top + size), slice(left, left + size)
                patch = padded[image : image + 1, :, rows, columns]
                total[image : image + 1, :, rows, columns] += function(patch)
                count[image : image + 1, :, rows, columns] += 1
    return (total / count)[..., : images.shape[-2], : images.shape[-1]]


def network(size: int) -> nn.Module:
    """(N, 3, size, size) to the same."""
    inner = 4 * (size // 4) ** 2
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(inner, 64),
        nn.ReLU(),
        nn.Linear(64, inner),
        nn.Unflatten(1, (4, size // 4, size // 4)),
        nn.Upsample(scale_factor=4),
        nn.Conv2d(4, 3, 3, padding=1),
        nn.Sigmoid(),
    ).eval()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    for name in ("images", "threads", "repeats"):
        check_count(getattr(given, name), 1, name)

    torch.set_num_threads(given.threads)
    clock = time.perf_counter if given.clock == "wall" else time.process_time
    torch.manual_seed(0)
    images = torch.rand(given.images, 3, SIDE, SIDE)
    rows = []
    with torch.inference_mode():
        for size, stride in PLANS:
            for name, function in (("identity", nn.Identity()), ("network", network(size))):
                ways = {
                    "loop": lambda f=function, z=size, s=stride: loop(f, images, z, s),
                    "patchwise": lambda f=function, z=size, s=stride: patchwise(
                        f, images, size=z, stride=s
                    ),
                }
                difference = (ways["loop"]() - ways["patchwise"]()).abs().max().item()
                seconds: dict[str, list[float]] = {way: [] for way in ways}
                for _ in range(given.repeats):
                    for way, run in ways.items():
                        start = clock()
                        run()
                        seconds[way].append(clock() - start)
                median = {way: statistics.median(times) for way, times in seconds.items()}
                rows.append(
                    {
                        "function": name,
                        "size": size,
                        "stride": stride,
                        "patches_per_image": (-(-(SIDE - size) // stride) + 1) ** 2,
                        "loop_seconds": round(median["loop"], 4),
                        "patchwise_seconds": round(median["patchwise"], 4),
                        "times_as_fast": round(median["loop"] / median["patchwise"], 1),
                        "largest_difference": f"{difference:.1e}",
                        "images": given.images,
                        "threads": given.threads,
                        "clock": given.clock,
                        "repeats": given.repeats,
                        "torch": torch.__version__,
                    }
                )
    table = pd.DataFrame(rows)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
