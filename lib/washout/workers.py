"""Several processes on one machine that share the rows of a run.

On a CPU two processes of one thread compute nearly twice as much as one of them
(benchmarks/scheduling.py). Who computes which row is settled by locks alone, so a process that dies
loses the row in progress, which comes last from then on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from washout.checks import check_count

PAUSE = 2.0  # seconds, at least, before rows that others are at are tried again
REST = 5  # times as long as a look at all rows takes
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def begin(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen:
    """Start one process of ``python -m washout WORDS``."""
    return subprocess.Popen([sys.executable, "-m", "washout", *words], env=environment)


def spawn(count: int, words: Sequence[str]) -> int:
    """Run ``python -m washout WORDS`` in several processes, each with its share of the cores.

    Args:
        count: how many, at least 1.

    Returns:
        0, or the exit status of the first that failed; the others go on until they are done.
    """
    check_count(count, 1, "workers")
    share = str(max(1, cores() // count))
    environment = {**os.environ, **dict.fromkeys(THREADS, share)}
    processes = [begin(words, environment) for _ in range(count)]
    try:
        codes = [process.wait() for process in processes]
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    return next((code for code in codes if code), 0)


def until_done(once: Callable[[], int], deadline: float) -> None:
    """Go through a plan again and again until nothing of it is left.

    Args:
        once: goes through it, leaves out what other processes are at, and returns what is left.
        deadline: unix time in seconds at which to stop.
    """
    passes: list[float] = []
    while True:
        start = time.time()
        if not once() or time.time() >= deadline:
            return
        passes.append(time.time() - start)
        # Looking costs those who compute, so a rest follows. The first pass computes what it can;
        # of the others, the shortest tells what a look takes.
        rest = max(PAUSE, min(REST * min(passes[1:], default=0.0), 60.0))
        time.sleep(max(0.0, min(rest, deadline - time.time())))
