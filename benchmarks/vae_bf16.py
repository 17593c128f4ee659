"""Chapter 1's VAEs in bfloat16 and in float32: images per second, and decisions that differ.

    python benchmarks/vae_bf16.py --threads 2

The VAEs and classifiers of profile ``laptop``, the same latent noise, clean test images and the
same images after FGSM. Both ways take turns; the best of a few rounds counts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from washout import attacks
from washout.chapters import chapter1 as ch
from washout.chapters.chapter1 import networks
from washout.chapters.chapter1.settings import PROFILES, SHAPES
from washout.inference import predict
from washout.models import VAE
from washout.study import Study

RESULTS = Path(__file__).parent / "results" / "vae_bf16.csv"
EPS = {"mnist": 0.0776, "cifar10": 0.0321}


def reconstructed(net: VAE, images: Tensor, bf16: bool) -> tuple[Tensor, float]:
    """Images through the VAE in one precision, and images per second."""
    net.bf16 = bf16
    source = torch.Generator().manual_seed(0)
    start = time.perf_counter()
    with torch.inference_mode():
        parts = [net.reconstruct(x, generator=source) for x in images.split(500)]
    return torch.cat(parts), len(images) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    study = Study("chapter1", profile="laptop", device="cpu", progress=False)
    rows = []
    for name, eps in EPS.items():
        spec = ch.about(name, 0, study)
        (size,) = SHAPES[name]
        net, _ = networks.vae(spec, study, size, PROFILES["laptop"].betas[name][-1])
        model, _ = networks.classifier(spec, study)
        pool = networks.pool(spec, study, "test")[: given.images]
        hit = attacks.run("fgsm", model, pool.images, pool.labels, eps=eps).images
        for words, images in (("clean", pool.images), (f"FGSM {eps}", hit)):
            speed = {True: 0.0, False: 0.0}
            found: dict[bool, Tensor] = {}
            for _ in range(given.rounds):
                for bf16 in (False, True):
                    found[bf16], now = reconstructed(net, images, bf16)
                    speed[bf16] = max(speed[bf16], now)
            said = {bf16: predict(model, made) for bf16, made in found.items()}
            right = {bf16: int((s == pool.labels).sum()) for bf16, s in said.items()}
            rows.append(
                {
                    "dataset": name,
                    "images": words,
                    "n": len(images),
                    "float32, images/s": round(speed[False]),
                    "bfloat16, images/s": round(speed[True]),
                    "ratio": round(speed[True] / speed[False], 2),
                    "largest difference": round(float((found[True] - found[False]).abs().max()), 4),
                    "decisions that differ": int((said[True] != said[False]).sum()),
                    "right in float32": right[False],
                    "right in bfloat16": right[True],
                    "threads": given.threads,
                }
            )
    table = pd.DataFrame(rows)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
