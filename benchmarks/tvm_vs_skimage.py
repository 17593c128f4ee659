"""Compare washout's total-variation minimization with scikit-image's, on the same images.

    python benchmarks/tvm_vs_skimage.py --images 256 --threads 1 2
    python benchmarks/tvm_vs_skimage.py --images 256 --threads 1 2 --device cuda

    whole      as each does by default: washout drops half of the values, and takes 10 sweeps per
               step until a step changes an image by at most 0.01; scikit-image has no mask, takes
               one sweep per step, and solves the channels together until 0.001 (weight 5), or each
               channel by itself
    sweep      20 sweeps, divided by 20: washout's masked, with a shrinkage after every tenth;
               scikit-image's not masked, with one after each; both at weight 1 / 0.03. What each
               needs to start with is counted, too
    converged  without a mask, both at weight 1 / 0.03 and to a tolerance of 1e-4

scikit-image works on one image at a time in one thread of the CPU, whatever --device says; threads
are PyTorch's. A run replaces the stored rows of its own device. The methods take turns, so that a
busy machine slows both; each one's best time counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from skimage.restoration import denoise_tv_bregman

from washout import data
from washout.checks import check_count, check_device
from washout.defenses.tvm import drop_mask, tvm
from washout.performance import keep
from washout.provenance import device_name

RESULTS = Path(__file__).parent / "results" / "tvm_vs_skimage.csv"
SWEEPS = 20
WEIGHT = 1 / 0.03


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", choices=("cifar10", "photos", "mnist"), default="cifar10")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu", help="washout's: cpu or cuda")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(words)
    for name in ("images", "repeats"):
        check_count(getattr(given, name), 1, name)

    device = check_device(given.device)
    images = data.load(given.data).test.images[: given.images].contiguous()
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    images = images.to(device)
    mask = drop_mask(images, 0.5, torch.Generator().manual_seed(0))

    def scikit(channel_axis: int | None = -1, **settings: float) -> None:
        for image in pixels:
            denoise_tv_bregman(image, channel_axis=channel_axis, **settings)

    methods: dict[tuple[str, str], tuple[Callable[[], object], int]] = {
        ("whole", "washout"): (partial(tvm, images, mask=mask), 1),
        ("whole", "scikit-image, channels together"): (partial(scikit, None), 1),
        ("whole", "scikit-image, by channel"): (scikit, 1),
        ("sweep", "washout"): (
            partial(tvm, images, mask=mask, steps=SWEEPS // 10, tolerance=0),
            SWEEPS,
        ),
        ("sweep", "scikit-image, channels together"): (
            partial(scikit, None, weight=WEIGHT, eps=0.0, max_num_iter=SWEEPS),
            SWEEPS,
        ),
        ("sweep", "scikit-image, by channel"): (
            partial(scikit, weight=WEIGHT, eps=0.0, max_num_iter=SWEEPS),
            SWEEPS,
        ),
        ("converged", "washout"): (
            partial(tvm, images, drop=0, sweeps=3, tolerance=1e-4),
            1,
        ),
        ("converged", "scikit-image, by channel"): (
            partial(scikit, weight=WEIGHT, eps=1e-4, max_num_iter=1000),
            1,
        ),
    }
    rows = []
    for threads in given.threads:
        torch.set_num_threads(check_count(threads, 1, "threads"))
        best = {key: (float("inf"), float("inf")) for key in methods}
        for _ in range(given.repeats):
            for key, (method, parts) in methods.items():
                wall, processor = time.perf_counter(), time.process_time()
                method()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                wall = (time.perf_counter() - wall) / parts
                processor = (time.process_time() - processor) / parts
                best[key] = (min(best[key][0], wall), min(best[key][1], processor))
        for (what, name), (wall, processor) in best.items():
            rows.append(
                {
                    "data": given.data,
                    "what": what,
                    "threads": threads,
                    "device": device_name(str(device)),
                    "method": name,
                    "us_per_image": round(wall / len(images) * 1e6, 2),
                    "cpu_us_per_image": round(processor / len(images) * 1e6, 2),
                    "per_second": round(len(images) / wall),
                    "washout_is_faster_by": round(wall / best[what, "washout"][0], 2),
                    "in_cpu_time_by": round(processor / best[what, "washout"][1], 2),
                }
            )
    table = pd.DataFrame(rows).assign(images=len(images), torch=torch.__version__)
    print(table.drop(columns=["data", "images", "torch"]).to_string(index=False))
    keep(table, given.out)


if __name__ == "__main__":
    main()
