"""Kill -9 of any process at random moments of a results run, over two executors.

    python benchmarks/kills.py --moments 10

A made-up chapter of quick rows (``tests/made_up.py``) on a disk that is slow on purpose, so that
kills leave torn lines. Of two worker processes the main one, a worker or all at once are killed;
over a Dask scheduler the main one, a worker or the scheduler. Another run then comes to its end
in the same store, together with what is left of the first. The table says what is wrong then.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))

import kill_results  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "kills.csv"


class Cluster:
    """A Dask scheduler and workers of one thread, each a process of its own."""

    def __init__(self, folder: Path, workers: int):
        self.folder, self.workers = folder, workers
        self.processes: list[subprocess.Popen] = []
        self.address = ""

    def start(self) -> None:
        from distributed import Client

        paths = filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        file = self.folder / f"scheduler-{time.time()}.json"
        known = ["--scheduler-file", str(file), "--no-dashboard"]
        known += ["--preload", "made_up"]  # ready before the first row
        many = ["--nworkers", str(self.workers), "--nthreads", "1"]
        ways = [
            ["scheduler", "--host", "127.0.0.1", "--port", "0", *known[:3]],
            ["worker", *many, *known, "--local-directory", str(self.folder)],
        ]
        with open(self.folder / "cluster.log", "a") as log:
            for words in ways:
                command = [sys.executable, "-m", "dask", *words]
                self.processes.append(
                    subprocess.Popen(
                        command, env=environment, stdout=log, stderr=log, start_new_session=True
                    )
                )
                while not file.exists():
                    time.sleep(0.1)
        with Client(scheduler_file=str(file)) as client:
            client.wait_for_workers(self.workers, timeout=120)
            self.address = client.scheduler.address

    def stop(self) -> None:
        for process in self.processes:
            kill_results.kill(process.pid, group=True)
            process.wait()
        self.processes = []

    def kill_scheduler(self) -> None:
        """Only the scheduler; a new cluster takes its place."""
        kill_results.kill(self.processes[0].pid)
        time.sleep(1)
        self.stop()
        self.start()


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    made = Cluster(folder, workers)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def run(results: Path, words: list[str], **more: object) -> subprocess.Popen:
    """Begin ``python -m washout WORDS`` over the made-up chapter."""
    results.mkdir(parents=True, exist_ok=True)
    with open(results / "out", "a") as out:
        return subprocess.Popen(
            [sys.executable, str(TESTS / "made_up.py"), *words],
            env={**os.environ, "WASHOUT_RESULTS": str(results), **more},  # type: ignore[dict-item]
            stdout=out,
            stderr=out,
            start_new_session=True,
        )


def trials(folder: Path, words, executor: str, given: argparse.Namespace, made: Cluster | None):
    """One undisturbed run, then a trial at each moment."""
    begun = time.time()
    assert run(folder / "undisturbed", words()).wait() == 0
    took = time.time() - begun
    draw = random.Random(given.seed)
    victims = ("main", "worker", "scheduler") if made else kill_results.VICTIMS
    others = {"scheduler": made.kill_scheduler} if made else {}
    for index in range(given.moments):
        home = folder / f"killed{index}"
        found = kill_results.trial(
            lambda home=home: run(home, words()), home, given.rows,
            victims[index % len(victims)], draw, others,
        )  # fmt: skip
        wrong = "; ".join(found.pop("faults")) or "nothing"
        row = {"executor": executor, "undisturbed, s": round(took, 1), **found, "wrong": wrong}
        print(row, flush=True)
        yield row


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--moments", type=int, default=10, help="for each executor")
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.3, help="that a row takes")
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    os.environ["MADE_UP"] = json.dumps(
        {"kind": "quick", "rows": given.rows, "seconds": given.seconds}
    )
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        words = ["results", "--workers", "2"]
        rows += trials(folder / "processes", lambda: words, "two workers", given, None)
        with cluster(folder, 2) as made:
            rows += trials(
                folder / "scheduler",
                lambda: ["results", "--scheduler", made.address],
                "Dask scheduler, two workers",
                given,
                made,
            )
    table = pd.DataFrame(rows)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(given.out, index=False)
    print(table.to_string(index=False))
    return int((table["wrong"] != "nothing").any())


if __name__ == "__main__":
    sys.exit(main())
