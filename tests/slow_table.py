"""A table for the tests of ``washout.study``: rows that take a moment and say who computed them.

Run as a script it fills the table; the tests kill such a process.
"""

from __future__ import annotations

import os
import sys
import time
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


if __name__ == "__main__":
    folder, n, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    study = Study("chapter0", profile="smoke", results=folder, local=False, progress=False)
    print("ready", flush=True)
    study.table(TABLE, specs(n, seconds))
