"""``python -m washout`` over one made-up chapter, for tests and benchmarks that kill and time it.

    MADE_UP='{"kind": "quick", "rows": 40}' python tests/made_up.py results --workers 2

All but the chapter is the program's own: workers, claims, store. Rows say in a log who computed
them and when. To make torn lines likely, the disk is slow: a row is written in two halves.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from washout import chapters, store, workers
from washout.__main__ import main
from washout.store import Spec
from washout.study import Study, Table

CHAPTER = "chapter0"
PATCHES = 64  # in a batch of the network's


class Noted(NamedTuple):
    """A line of the log: which row, by which process, when, at how much of its processor time."""

    row: int
    pid: int
    word: str
    time: float
    cpu: float


def note(study: Study, spec: Spec, word: str) -> None:
    with open(study.results / "log", "a") as file:
        file.write(f"{spec['i']} {os.getpid()} {word} {time.time()} {time.process_time()}\n")


def noted(results: Path) -> list[Noted]:
    """What the rows of a store have said, in order."""
    path = results / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    parts = [line.split() for line in lines]
    return [Noted(int(i), int(pid), word, float(t), float(c)) for i, pid, word, t, c in parts]


# ---- rows --------------------------------------------------------------------------------------
def compute(spec: Spec, study: Study) -> dict[str, Any]:
    """A row's values, which depend on nothing but the specification."""
    note(study, spec, "begin")
    values = KINDS[spec["kind"]](spec, study)
    note(study, spec, "end")
    return values


def quick(spec: Spec, study: Study) -> dict[str, Any]:
    """A moment's sleep, a tensor that four rows share, an image, and a line of some kilobytes."""
    time.sleep(spec["seconds"])
    number = float(spec["i"] // 4)
    shared = study.artifact("made-up", {"i": number}, lambda: {"x": torch.tensor(number)})
    random = np.random.default_rng(spec["i"])
    return {
        "shared": float(shared["x"]),
        "images": random.integers(0, 256, (2, 8, 8), dtype=np.uint8),
        "bits": random.bytes(4000).hex(),
    }


def sleep(spec: Spec, study: Study) -> dict[str, Any]:
    """A row that takes its time and no processor: what is left over is the scheduler's."""
    time.sleep(spec["seconds"])
    return {"n": 100, "correct": spec["i"] % 100}


def failing(spec: Spec, study: Study) -> dict[str, Any]:
    """Of three rows one fails."""
    if spec["i"] % 3 == 0:
        raise ValueError("made up")
    return {"n": 1, "correct": 1}


def network(spec: Spec, study: Study) -> dict[str, Any]:
    """Training steps of a convolutional network on images of 32 pixels: work for a processor."""
    generator = torch.Generator().manual_seed(spec["i"])
    images = torch.rand(PATCHES, 3, 32, 32, generator=generator)
    labels = torch.randint(10, (PATCHES,), generator=generator)
    widths = [3, 32, 32, 64, 64]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(spec["steps"]):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return {"n": PATCHES, "correct": int((model(images).argmax(1) == labels).sum())}


KINDS: dict[str, Callable[[Spec, Study], dict[str, Any]]] = {
    "quick": quick, "sleep": sleep, "failing": failing, "network": network,
}  # fmt: skip


def depends(spec: Spec, study: Study) -> dict[str, Any]:
    return {"versions": {"made up": 1}}


TABLE = Table("made_up", compute, depends)


def plan(study: Study, *_: Any) -> list[tuple[Table, list[Spec]]]:
    asked = json.loads(os.environ["MADE_UP"])
    count = asked.pop("rows")
    return [(TABLE, [{"dataset": "none", "i": i, **asked} for i in range(count)])]


# ---- the program -------------------------------------------------------------------------------
class SlowFile(io.BufferedRandom):
    """A file on a disk that takes its time in the middle of what is written."""

    def write(self, content: Any) -> int:
        half = len(content) // 2
        super().write(content[:half])
        self.flush()
        time.sleep(0.03)
        return half + super().write(content[half:])


def begin(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, __file__, *words], env=environment)


def slow_disk() -> None:
    """Rows that are to be torn come to a slow disk."""
    if "quick" in os.environ.get("MADE_UP", ""):
        setattr(store, "open", lambda path, mode: SlowFile(io.FileIO(path, mode.replace("b", ""))))  # noqa: B010


def dask_setup(worker: Any) -> None:
    """What a scheduler's worker does that preloads this file."""
    slow_disk()


def install() -> None:
    """Put the made-up chapter in the place of the book's."""
    chapter = SimpleNamespace(__name__=CHAPTER, DATASETS=(), plan=plan)
    setattr(chapters, "NAMES", (CHAPTER,))  # noqa: B010 (of another type)
    setattr(chapters, "get", lambda name: chapter)  # noqa: B010
    workers.begin = begin
    workers.PAUSE = 0.1
    slow_disk()


if __name__ == "__main__":
    import made_up  # by its name, so that a scheduler's workers find its functions

    made_up.install()
    sys.exit(main())
