"""Compare washout's batched K-means with a loop of scikit-learn's over the same images.

    python benchmarks/kmeans_vs_sklearn.py --images 200 --threads 1 2
    python benchmarks/kmeans_vs_sklearn.py --images 200 --threads 1 2 --device cuda

Both quantize the colors of each image by itself, in float32 and with scikit-learn's stopping rule
(300 steps, tolerance 1e-4):

    given random       from the same centers, random points
    given k-means++    from the same centers, drawn by washout's k-means++
    random             each draws its own random points
    k-means++          each draws its own centers by k-means++

Distortion is the mean over images of the squared distances to the centers, summed over an image.
Threads are PyTorch's, and those of scikit-learn's OpenMP; scikit-learn stays on the CPU whatever
--device says. A run replaces the stored rows of its own device. The methods take turns, so that a
busy machine slows both; each one's best time counts. OpenMP threads that wait for a busy core
spin: on a machine too busy, compare the processor time (summed over threads) of runs with one
thread.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor

from washout import data
from washout.checks import check_count, check_device
from washout.defenses.kmeans import kmeans, lloyd
from washout.defenses.kmeans_starts import plus_plus, random_start
from washout.performance import keep
from washout.provenance import device_name

RESULTS = Path(__file__).parent / "results" / "kmeans_vs_sklearn.csv"

Method = Callable[[], float]


def seed() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def scikit(points: Tensor, clusters: int, start: str | Tensor) -> float:
    """Distortion of scikit-learn's K-means, image by image."""
    inertia = []
    for row, few in enumerate(points.numpy()):
        init = start if isinstance(start, str) else start[row].numpy()
        found = KMeans(clusters, init=init, n_init=1, random_state=row).fit(few)
        inertia.append(found.inertia_)
    return float(np.mean(inertia))


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", choices=("cifar10", "photos", "mnist"), default="cifar10")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--clusters", type=int, default=50)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu", help="washout's: cpu or cuda")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(words)
    for name in ("images", "clusters", "repeats"):
        check_count(getattr(given, name), 1, name)
    device = check_device(given.device)
    warnings.simplefilter("ignore", ConvergenceWarning)

    images = data.load(given.data).test.images[: given.images].contiguous().to(device)
    points = images.flatten(2).mT.contiguous()
    host = points.cpu()
    starts = {
        "random": random_start(points, given.clusters, seed()),
        "k-means++": plus_plus(points, given.clusters, seed()),
    }

    def whole(start: str) -> float:
        found = kmeans(images, clusters=given.clusters, start=start, generator=seed())
        return float((found - images).pow(2).sum() / len(images))

    methods: dict[tuple[str, str], Method] = {}
    for start, centers in starts.items():
        methods["given " + start, "washout"] = lambda c=centers: float(
            lloyd(points, c).inertia.mean()
        )
        methods["given " + start, "scikit-learn"] = partial(
            scikit, host, given.clusters, centers.cpu()
        )
    for start in starts:
        methods[start, "washout"] = lambda s=start: whole(s)
        methods[start, "scikit-learn"] = partial(scikit, host, given.clusters, start)

    rows = []
    for threads in given.threads:
        torch.set_num_threads(check_count(threads, 1, "threads"))
        best = {key: (float("inf"), float("inf"), 0.0) for key in methods}
        with threadpool_limits(threads, "openmp"):
            for _ in range(given.repeats):
                for key, method in methods.items():
                    wall, processor = time.perf_counter(), time.process_time()
                    distortion = method()
                    wall = time.perf_counter() - wall
                    processor = time.process_time() - processor
                    best[key] = (min(best[key][0], wall), min(best[key][1], processor), distortion)
        for (start, name), (wall, processor, distortion) in best.items():
            rows.append(
                {
                    "data": given.data,
                    "clusters": given.clusters,
                    "start": start,
                    "threads": threads,
                    "device": device_name(str(device)),
                    "method": name,
                    "images_per_second": round(len(images) / wall, 1),
                    "cpu_ms_per_image": round(processor / len(images) * 1e3, 3),
                    "distortion": round(distortion, 5),
                    "washout_is_faster_by": round(wall / best[start, "washout"][0], 2),
                    "in_cpu_time_by": round(processor / best[start, "washout"][1], 2),
                }
            )
    table = pd.DataFrame(rows).assign(images=len(images), torch=torch.__version__)
    print(table.drop(columns=["data", "clusters", "images", "torch"]).to_string(index=False))
    keep(table, given.out)


if __name__ == "__main__":
    main()
