"""Our attacks beside foolbox's: images per second, success, and the size of what they find.

Both get the same network, images and settings, and take turns, so that a busy machine slows both;
the best of the rounds counts. ``seconds`` are of the processor over all threads, which company on
the machine disturbs less than the clock; ``--clock wall`` takes the clock.

    python benchmarks/attacks_vs_foolbox.py --images 256 --threads 2 \\
        --out benchmarks/results/attacks_vs_foolbox.csv
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import foolbox
import pandas as pd
import torch
from torch import Tensor, nn

from washout import attacks, data
from washout.data import Dataset
from washout.inference import predict
from washout.training import Recipe, trained

A = foolbox.attacks
CW = {"steps": 200, "binary_search_steps": 3, "initial_const": 1.0}
# Ours, its settings, foolbox's, its epsilon, the norm whose median is shown.
PAIRS = {
    "FGSM": ("fgsm", {"eps": 0.2}, A.LinfFastGradientAttack(), 0.2, "inf"),
    "BIM 10": (
        "bim", {"eps": 0.15, "steps": 10}, A.LinfBasicIterativeAttack(steps=10), 0.15, "inf"
    ),
    "PGD 40": ("pgd", {"eps": 0.1}, A.LinfPGD(), 0.1, "inf"),
    "DeepFool L2": ("deepfool", {}, A.L2DeepFoolAttack(), None, "2"),
    "DeepFool Linf": ("deepfool", {"norm": "linf"}, A.LinfDeepFoolAttack(), None, "inf"),
    "CW 3 x 200": ("cw", CW | {"progress": 0.02}, A.L2CarliniWagnerAttack(**CW), None, "2"),
}  # fmt: skip


def network(dataset: Dataset, epochs: int) -> nn.Module:
    """The chapter's network, from the store or trained for a minute."""
    return trained(Recipe(model="lenet", data=dataset.name, epochs=epochs), data=dataset).model


def found(images: Tensor, x: Tensor, y: Tensor, model: nn.Module, norm: str) -> tuple[float, float]:
    """Share of images that fool the model, black ones left out, and their median size."""
    fooled = (predict(model, images) != y) & images.flatten(1).any(1)
    size = torch.linalg.vector_norm((images - x).flatten(1), float(norm), dim=1)
    return fooled.float().mean().item(), size[fooled].median().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dataset", default="mnist", choices=["mnist", "digits"])
    parser.add_argument("--epochs", type=int, default=12, help="of the network's recipe")
    parser.add_argument("--clock", default="processor", choices=["processor", "wall"])
    parser.add_argument("--only", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time

    dataset = data.load(arguments.dataset)
    model = network(dataset, arguments.epochs).eval()
    x, y = dataset.test.images[: arguments.images], dataset.test.labels[: arguments.images]
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    rows = []
    for name in arguments.only:
        ours, settings, theirs, eps, norm = PAIRS[name]

        def run_ours(ours: str = ours, settings: dict = settings) -> Tensor:
            return attacks.run(ours, model, x, y, **settings).images

        def run_theirs(theirs: A.Attack = theirs, eps: float | None = eps) -> Tensor:
            return theirs(wrapped, x, y, epsilons=eps)[1].detach()

        sides: dict[str, Callable[[], Tensor]] = {"ours": run_ours, "foolbox": run_theirs}
        best, images = dict.fromkeys(sides, float("inf")), {}
        for _ in range(arguments.rounds):
            for side, run in sides.items():
                begin = clock()
                images[side] = run()
                best[side] = min(best[side], clock() - begin)
        row: dict[str, object] = {"attack": name, "norm": f"L{norm}", "images": len(x)}
        for side in sides:
            row[f"{side} images/s"] = round(len(x) / best[side], 1)
        row["ratio"] = round(best["foolbox"] / best["ours"], 2)
        for side in sides:
            rate, median = found(images[side], x, y, model, norm)
            row |= {f"{side} success": round(rate, 4), f"{side} median": round(median, 4)}
        rows.append(row)
        print(pd.DataFrame([row]).to_string(index=False), flush=True)
    table = pd.DataFrame(rows).assign(threads=arguments.threads, clock=arguments.clock)
    print(table.to_string(index=False))
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
