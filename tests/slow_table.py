"""A table whose rows take a moment and say who computed them, for tests of studies."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

from washout.study import Study, Table


def compute(spec: dict, study: Study) -> dict:
    log = study.results / "computed.log"
    with open(log, "a") as file:
        file.write(f"{spec['i']} {os.getpid()} start\n")
    time.sleep(spec.get("seconds", 0.02))
    deadly = study.results / f"deadly-{spec['i']}"
    if deadly.exists():  # this row takes its process down: once, or whenever it is tried
        if deadly.read_text() == "once":
            deadly.unlink()
        os._exit(1)
    square = study.artifact("square", {"i": spec["i"]}, lambda: {"x": _tensor(spec["i"])})
    with open(log, "a") as file:
        file.write(f"{spec['i']} {os.getpid()} end\n")
    return {"square": float(square["x"])}


def _tensor(i: int):
    import torch

    return torch.tensor(float(i * i))


def depends(spec: dict, study: Study) -> dict:
    return {"component": int(os.environ.get("WASHOUT_TEST_VERSION", "1"))}


TABLE = Table("slow", compute, depends)


def specs(n: int, seconds: float = 0.02) -> list[dict]:
    return [{"i": i, "seconds": seconds} for i in range(n)]


def _noted(folder: Path) -> list[list[str]]:
    """The whole lines of the log: row, process, start or end."""
    lines = (folder / "computed.log").read_text().split("\n")
    return [words for words in map(str.split, lines) if len(words) == 3]


def ends(folder: Path) -> Counter[int]:
    """How often each row's computation came to its end."""
    return Counter(int(row) for row, _, word in _noted(folder) if word == "end")


def processes(folder: Path) -> set[str]:
    """Who has computed rows."""
    return {process for _, process, _ in _noted(folder)}
