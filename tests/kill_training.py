"""Trains in forked processes and kills them; ``test_recipes.py`` runs it and reads its line.

One process imports the package and forks the others, so that ten kills cost no ten imports.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from washout.training import Recipe, checkpoint, recipes, trained

RECIPE = Recipe(data="digits", epochs=5, batch_size=128, lr=2e-3, augment="shift1")


def fork(folder: Path, since: float = 0.0) -> int:
    """Start a process that trains the recipe into a folder and notes each real training."""
    child = os.fork()
    if child:
        return child
    train = recipes._train

    def noted(*arguments):
        with open(folder / "trainings", "a") as file:
            file.write(f"{os.getpid()}\n")
        return train(*arguments)

    recipes._train = noted
    found = trained(RECIPE, search=[folder], since=since, progress=False)
    with open(folder / "hashes", "a") as file:
        file.write(f"{found.hash}\n")
    os._exit(0)


def wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def lines(path: Path) -> list[str]:
    return path.read_text().split()


def main(root: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    checkpoint.EVERY = 0.0  # its epochs are short
    whole, together, killed = (root / name for name in ("whole", "together", "killed0"))
    for folder in (whole, together, killed):
        folder.mkdir()

    start = time.monotonic()
    codes = [wait(fork(whole))]
    undisturbed = time.monotonic() - start

    moments = random.Random(seed)
    died, hashes = 0, []
    while died < kills:
        child = fork(killed)
        time.sleep(moments.uniform(0, 0.3 * undisturbed))
        os.kill(child, signal.SIGKILL)
        if wait(child) == -signal.SIGKILL:
            died += 1
        else:  # the training ended before the kill: begin another one
            hashes += lines(killed / "hashes")
            killed = root / f"killed{len(hashes)}"
            killed.mkdir()
    codes.append(wait(fork(killed)))
    hashes += lines(killed / "hashes")

    codes += [wait(child) for child in [fork(together), fork(together)]]
    result = {
        "codes": codes,
        "died": died,
        "whole": lines(whole / "hashes"),
        "killed": hashes,
        "together": lines(together / "hashes"),
        "trainings_together": len(lines(together / "trainings")),
        "left": sorted(path.name for path in root.rglob("*.checkpoint")),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
