"""How the cost of the chapters' steps grows with the number of images and with their size.

    python benchmarks/growth.py --device cpu --threads 2

Attacks on a ResNet-8: FGSM, PGD with 40 steps, DeepFool. Defenses: JPEG 90, total-variation
minimization, K-means with 50 colors, and a VAE on patches of 16 x 16. The weights are random: a
pass costs what it costs with trained ones, and only DeepFool's number of passes depends on them.
The images are cut from scikit-image's photographs. JPEG takes a thread for each core whatever
--threads says.

First more and more images of 32 x 32, then larger and larger ones, of which a point takes the fewer
the larger they are. A step ends where a point would take more than --limit seconds. A point is
repeated for --seconds, at most five times; the first time warms up and counts only where it is the
only one. The median counts. On a machine that has other work to do, one thread and --clock
processor tell what the machine's company does not change. Another device's points in the file stay.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from washout import attacks
from washout.checks import check_count, check_device, check_range
from washout.data.bundled import PHOTOGRAPHS, photograph
from washout.defenses import jpeg, kmeans, patchwise, tvm
from washout.inference import predict
from washout.models import build
from washout.performance import keep
from washout.provenance import device_name

RESULTS = Path(__file__).parent / "results" / "growth.csv"
SIDE = 32  # of the images while their number grows, in pixels
PATCH = 16
MOST = 5
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}

Step = Callable[[Tensor, Tensor], object]


def crops(count: int, side: int) -> Tensor:
    """Seeded squares of the bundled photographs, in turn: (count, 3, side, side)."""
    generator = torch.Generator().manual_seed(0)
    photographs = [photograph(name) for name in PHOTOGRAPHS]
    found = []
    for index in range(count):
        whole = photographs[index % len(photographs)]
        top, left = (
            int(torch.randint(length - side + 1, (), generator=generator))
            for length in whole.shape[1:]
        )
        found.append(whole[:, top : top + side, left : left + side])
    return torch.stack(found)


def classifier(side: int, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    return build("resnet", in_channels=3, size=side, classes=10, blocks=1).eval().to(device)


def steps(model: nn.Module, device: torch.device) -> dict[str, Step]:
    """What is timed, each a function of images and labels."""
    torch.manual_seed(0)
    shape = {"widths": (64, 32, 16), "pooled": 1, "latent": 512}  # chapter 1's, for these patches
    vae = build("vae", in_channels=3, size=PATCH, classes=10, **shape).eval().to(device)

    def attack(name: str, **settings: float) -> Step:
        return lambda x, y: attacks.run(name, model, x, y, device=device, **settings)

    def drawn() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    return {
        "FGSM": attack("fgsm", eps=8 / 255),
        "PGD, 40 steps": attack("pgd", eps=8 / 255, steps=40),
        "DeepFool": attack("deepfool"),
        "JPEG 90": lambda x, y: jpeg(x, 90),
        "TVM": lambda x, y: tvm(x, generator=drawn()),
        "K-means, 50": lambda x, y: kmeans(x, clusters=50, generator=drawn()),
        "VAE, patches": torch.inference_mode()(
            lambda x, y: patchwise(vae.reconstruct, x, size=PATCH, stride=PATCH)
        ),
    }


def timed(
    run: Callable[[], object], seconds: float, device: torch.device, clock: str
) -> list[float]:
    """Seconds of each repeat that counts."""
    now = CLOCKS[clock]
    found: list[float] = []
    while not found or (sum(found) < seconds and len(found) <= MOST):
        start = now()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(now() - start)
    return found[1:] or found


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", default="wall", choices=list(CLOCKS))
    parser.add_argument("--images", type=int, nargs="+", default=[10, 32, 100, 320, 1000, 3200])
    parser.add_argument("--sizes", type=int, nargs="+", default=[28, 32, 64, 128, 299])
    parser.add_argument("--batch", type=int, default=64, help="images of 32 x 32 behind --sizes")
    parser.add_argument("--seconds", type=float, default=1.0, help="to repeat a point for")
    parser.add_argument("--limit", type=float, default=10.0, help="of a point, in seconds")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(words)
    device = check_device(given.device)
    for name in ("threads", "batch"):
        check_count(getattr(given, name), 1, name)
    for name in ("images", "sizes"):
        for value in getattr(given, name):
            check_count(value, 1, name)
    for name in ("seconds", "limit"):
        check_range(getattr(given, name), 0, float("inf"), name)
    if device.type == "cuda" and given.clock == "processor":
        raise ValueError("clock: got processor, which does not see a GPU; allowed there is wall")
    torch.set_num_threads(given.threads)

    by_size = [(side, max(1, given.batch * SIDE**2 // side**2)) for side in sorted(given.sizes)]
    sweeps = {"images": [(SIDE, count) for count in sorted(given.images)], "size": by_size}
    rows = []
    for axis, points in sweeps.items():
        known: dict[str, float] = {}  # seconds for a pixel, at the step's last point
        for side, count in points:
            images = crops(count, side).to(device)
            model = classifier(side, device)
            labels = predict(model, images, device=device).to(device)
            for name, step in steps(model, device).items():
                if known.get(name, 0.0) * count * side**2 > given.limit:
                    continue
                times = timed(partial(step, images, labels), given.seconds, device, given.clock)
                took = statistics.median(times)
                known[name] = took / (count * side**2)
                rows.append(
                    {
                        "device": device_name(str(device)),
                        "step": name,
                        "axis": axis,
                        "images": count,
                        "size": side,
                        "seconds": round(took, 5),
                        "images_per_second": round(count / took, 2),
                        "repeats": len(times),
                        "clock": given.clock,
                        "torch": torch.__version__,
                    }
                )
                print(*list(rows[-1].values())[1:7], sep=", ", flush=True)
    keep(pd.DataFrame(rows), given.out)


if __name__ == "__main__":
    main()
