"""Kills processes of a results run at random moments, and looks at what is in the store then.

``test_killed.py`` runs this file, which imports the package once and forks all processes, so that
kills cost no imports; ``benchmarks/kills.py`` uses its trials with the real commands.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

import made_up
from washout import workers
from washout.files import sweep
from washout.provenance import commit
from washout.store import Row, Store

VICTIMS = ("main", "worker", "all")
PATIENCE = 120.0  # seconds until a run that has not ended hangs
LONGEST = 0.2  # seconds after a row's begin, until a kill


class Process(Protocol):
    pid: int

    def poll(self) -> int | None: ...


class Forked:
    """``python -m washout WORDS`` in a fork of this process, as far as ``Popen`` is needed."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], own: bool = False):
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            if own:
                os.setsid()
            os.environ.update(environment)
            with open(Path(environment["WASHOUT_RESULTS"]) / "out", "a") as out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
            code = made_up.main(words)
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code & 0xFF)

    def poll(self) -> int | None:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self) -> int:
        while self.poll() is None:
            time.sleep(0.005)
        assert self.code is not None
        return self.code

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


# ---- what is in a store ------------------------------------------------------------------------
def stored(folder: Path) -> dict[int, float]:
    """When each stored row was finished."""
    rows = Store(folder / made_up.CHAPTER).rows(made_up.TABLE.name)
    return {row.spec["i"]: row.run["finished"] for row in rows.values()}


def torn(folder: Path) -> bool:
    """Whether the last line is half-written."""
    path = Store(folder / made_up.CHAPTER).path(made_up.TABLE.name)
    return path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0


def faults(folder: Path, count: int) -> list[str]:
    """All that is wrong with the store of a run that has ended; its leftovers are swept."""
    home, found = Store(folder / made_up.CHAPTER), []
    seen: Counter[int] = Counter()
    known = {f"{made_up.CHAPTER}/{made_up.TABLE.name}.jsonl", "log", "out"}
    *lines, end = home.path(made_up.TABLE.name).read_bytes().split(b"\n")
    if end:
        found.append("the last line is torn")
    for number, line in enumerate(lines, 1):
        try:
            row = Row(**json.loads(line))
        except (ValueError, TypeError):
            found.append(f"line {number} is no row")
            continue
        i = row.spec["i"]
        seen[i] += 1
        known.add(f"{made_up.CHAPTER}/images/{row.values['images']['png']}")
        random_ = np.random.default_rng(i)
        images = random_.integers(0, 256, (2, 8, 8), dtype=np.uint8)
        right = {"shared": float(i // 4), "bits": random_.bytes(4000).hex()}
        if {k: v for k, v in row.values.items() if k != "images"} != right:
            found.append(f"row {i} has other values")
        if not np.array_equal(home.load_images(row.values["images"]), images):
            found.append(f"row {i} has another image")
    found += [f"row {i} is lost" for i in range(count) if i not in seen]
    found += [f"row {i} is there {n} times" for i, n in seen.items() if n > 1]
    sweep(folder, age=0.0)
    names = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    found += [f"{name} is left" for name in sorted(names) if not _expected(name, known)]
    return found


def _expected(name: Path, known: set[str]) -> bool:
    """Whether a file is one of the rows', a lock or a note, or a tensor that rows share."""
    shared = name.match("local/artifacts/*.safetensors") and not name.name.startswith(".")
    return str(name) in known or ".work" in name.parts or shared


# ---- a kill ------------------------------------------------------------------------------------
def kill(pid: int, group: bool = False) -> None:
    with suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(pid, signal.SIGKILL)


def busy(folder: Path) -> list[int]:
    """The processes that are in the middle of a row."""
    last = {line.pid: line.word for line in made_up.noted(folder)}
    return sorted(pid for pid, word in last.items() if word == "begin")


def ended(process: Process) -> int | None:
    """How a process ended; None if it hangs."""
    until = time.time() + PATIENCE
    while process.poll() is None and time.time() < until:
        time.sleep(0.01)
    return process.poll()


def trial(
    start: Callable[[], Process],
    folder: Path,
    count: int,
    victim: str,
    draw: random.Random,
    others: Mapping[str, Callable[[], None]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Start a run, kill one of its processes or all, and let another run come to its end.

    The moment is drawn: when so many rows have been begun, and up to ``LONGEST`` seconds later.

    Args:
        start: begins a run that leads a session of its own.
        others: further victims, by name, and how they are killed.

    Returns:
        what was killed, when and what was stored then, and what is wrong at the end.
    """
    first, begun = start(), time.time()
    rows = draw.randrange(1 if victim == "worker" else 0, count * 9 // 10)
    while sum(line.word == "begin" for line in made_up.noted(folder)) < rows:
        if time.time() - begun > PATIENCE:
            raise TimeoutError(f"{rows} rows were not begun in {PATIENCE} s")
        time.sleep(0.002)
    time.sleep(draw.uniform(0, LONGEST))
    moment = time.time() - begun
    candidates = busy(folder) if victim == "worker" else []
    if victim in others:
        others[victim]()
    elif candidates:
        kill(draw.choice(candidates))
    else:  # no worker has begun a row yet
        victim = "all" if victim == "all" else "main"
        kill(first.pid, group=victim == "all")
    before, half = stored(folder), torn(folder)
    second = start()
    code = ended(second)
    wrong = ["the run that was hit hangs"] if ended(first) is None else []
    for process in (first, second):  # workers that outlived their main process
        kill(process.pid, group=True)
    if code != 0:
        wrong.append(f"the second run ended with {code}")
    after = stored(folder)
    wrong += faults(folder, count)
    wrong += [f"row {i} was stored and computed again" for i in before if after[i] != before[i]]
    ends = Counter(line.row for line in made_up.noted(folder) if line.word == "end")
    again = sum(ends.values()) - count  # computed and not stored, or computed twice
    if again > {"main": 0, "worker": 1}.get(victim, 2):  # rows that died with their process
        wrong.append(f"{again} rows were computed twice")
    return {
        "victim": victim,
        "after, s": round(moment, 2),
        "stored": len(before),
        "torn": half,
        "computed again": again,
        "faults": wrong,
    }


def main(root: Path, moments: int, seed: int, count: int = 24) -> None:
    os.environ["MADE_UP"] = json.dumps({"kind": "quick", "rows": count, "seconds": 0.03})
    made_up.install()
    workers.begin = Forked  # type: ignore[assignment]
    commit()  # asked once, for all forks

    def start(folder: Path) -> Forked:
        folder.mkdir(exist_ok=True)
        return Forked(["results", "--workers", "2"], {"WASHOUT_RESULTS": str(folder)}, own=True)

    code = start(root / "undisturbed").wait()
    draw, trials = random.Random(seed), []
    for index in range(moments):
        folder = root / f"killed{index}"
        trials.append(trial(partial(start, folder), folder, count, VICTIMS[index % 3], draw))
    whole = {"code": code, "faults": faults(root / "undisturbed", count)}
    print(json.dumps({"undisturbed": whole, "trials": trials}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
