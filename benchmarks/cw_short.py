"""How short Carlini and Wagner's attack may be: median L2 beside the full one's.

    python benchmarks/cw_short.py --threads 1 --images 40 --lengths 50 100 200

Chapter 2's networks of profile ``laptop`` and validation images, so that nothing is chosen on an
image that is reported on. The full attack is the chapter's; short ones differ in steps and rate.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd
import torch

from washout import attacks
from washout.chapters import chapter2 as ch
from washout.chapters.chapter2 import networks
from washout.chapters.chapter2.settings import CW
from washout.inference import predict
from washout.study import Study

RESULTS = Path(__file__).parent / "results" / "cw_short.csv"
RATES = (5e-3, 1e-2, 2e-2)


def measured(name: str, images: int, lengths: list[int], rates: list[float]) -> list[dict]:
    """The full attack, then every length with every rate, on images that are read rightly."""
    study = Study("chapter2", profile="laptop", device="cpu", progress=False)
    spec = ch.about(name, 0, study)
    model, _ = networks.classifier(spec, study)
    found = networks.whole(spec, study).validation[: 2 * images]
    right = (predict(model, found.images) == found.labels).nonzero().flatten()[:images]
    pool = found[right]

    def attacked(steps: int, lr: float) -> dict:
        start = time.perf_counter()
        done = attacks.run(
            "cw", model, pool.images, pool.labels, **{**CW, "steps": steps, "lr": lr}
        )
        sizes = (done.images - pool.images).flatten(1).norm(dim=1)
        return {
            "dataset": name, "network": spec["net"], "images": len(pool), "steps": steps,
            "rate": lr, "fooled": int(done.success.sum()),
            "median L2": sizes[done.success].double().median().item(),
            "seconds": round(time.perf_counter() - start, 1),
        }  # fmt: skip

    rows = [attacked(CW["steps"], CW["lr"])]
    rows += [attacked(steps, lr) for steps in lengths for lr in rates]
    return [{**row, "ratio": round(row["median L2"] / rows[0]["median L2"], 4)} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lengths", type=int, nargs="+", default=[50, 100, 200, 400])
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES))
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = [
        {**row, "threads": given.threads}
        for name in ch.AUTO
        for row in measured(name, given.images, given.lengths, given.rates)
    ]
    frame = pd.DataFrame(rows)
    print(frame.to_string(index=False))
    given.out.parent.mkdir(exist_ok=True)
    frame.to_csv(given.out, index=False)


if __name__ == "__main__":
    main()
