"""What spreading rows costs, and how a large store answers.

    python benchmarks/scheduling.py

Three parts: two local workers against one, both of one thread, on rows that train a small
convolutional network; rows that sleep for a second, by eight workers, as processes and over a Dask
scheduler, against the rows' own seconds; ``python -m washout status`` of a store of 100,000 rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

import kills  # which looks beside the tests for the other two
import made_up
import many_rows

RESULTS = Path(__file__).parent / "results" / "scheduling.csv"
FASTER = 1.7  # two workers than one, at least
OVERHEAD = 0.1  # of the rows' own seconds, at most
ANSWER = 5.0  # seconds, at most
STEPS = 6  # of training in a row of part one: about a second


def timed(results: Path, words: list[str], asked: dict[str, Any]) -> dict[str, float]:
    """Run rows to completion.

    Returns:
        Seconds of the whole command, seconds from the first row's begin to the last one's end, and
        processor seconds for each row, with what its process did between rows.
    """
    os.environ["MADE_UP"] = json.dumps(asked)
    begun = time.time()
    code = kills.run(results, words, OMP_NUM_THREADS="1").wait()
    took = time.time() - begun
    log = made_up.noted(results)
    ends = {line.row for line in log if line.word == "end"}
    if code or len(ends) != asked["rows"] or len(log) != 2 * asked["rows"]:
        raise SystemExit(f"{' '.join(words)}: ended with {code}, {results / 'out'} says why")
    cpu: dict[int, list[float]] = {}
    for line in log:
        cpu.setdefault(line.pid, []).append(line.cpu)
    return {
        "whole": took,
        "rows": max(line.time for line in log) - min(line.time for line in log),
        "cpu": sum(max(times) - min(times) for times in cpu.values()) / asked["rows"],
    }


def two_against_one(folder: Path, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Part one: they take turns, as other work may share the cores.

    The clock decides. Processor time says what two cores would do that are free and never wait for
    each other: it tells other work on the machine from waits.
    """
    asked = {"kind": "network", "rows": given.network_rows, "steps": STEPS}
    for turn in range(given.rounds):
        found = {
            n: timed(folder / f"network-{turn}-{n}", ["results", "--workers", str(n)], asked)
            for n in (1, 2)
        }
        clock = found[1]["rows"] / found[2]["rows"]
        free = 2 * found[1]["cpu"] / found[2]["cpu"]
        for n, one in found.items():
            yield {
                "part": "two workers against one",
                "executor": "processes",
                "workers": n,
                "rows": given.network_rows,
                "processor s per row": round(one["cpu"], 3),
                "rows, s": round(one["rows"], 2),
                "command, s": round(one["whole"], 2),
                "result": round(clock, 2) if n == 2 else 1.0,
                "by processor time": round(free, 2) if n == 2 else 1.0,
                "limit": f">= {FASTER}",
                "within": clock >= FASTER if n == 2 else "",
            }


def sleeping(folder: Path, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Part two: what remains beside the rows' own seconds, spread evenly."""
    asked = {"kind": "sleep", "rows": given.rows, "seconds": given.seconds}
    ideal = given.rows * given.seconds / given.workers
    for executor in ("processes", "Dask scheduler"):
        if executor == "processes":
            words = ["results", "--workers", str(given.workers)]
            found = timed(folder / "processes", words, asked)
        else:
            with kills.cluster(folder, given.workers) as made:
                words = ["results", "--scheduler", made.address]
                found = timed(folder / "scheduler", words, asked)
        overhead = found["rows"] / ideal - 1
        yield {
            "part": f"rows of {given.seconds:g} s asleep, ideally {ideal:.0f} s",
            "executor": executor,
            "workers": given.workers,
            "rows": given.rows,
            "processor s per row": round(found["cpu"], 3),
            "rows, s": round(found["rows"], 2),
            "command, s": round(found["whole"], 2),
            "result": round(overhead, 3),
            "limit": f"< {OVERHEAD}",
            "within": overhead < OVERHEAD,
        }


def answering(folder: Path, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Part three: the whole command, imports included."""
    results = folder / "many"
    many_rows.fill(results, given.stored)
    took = []
    for _ in range(given.rounds):
        begun = time.time()
        subprocess.run(
            [sys.executable, "-m", "washout", "status"],
            env={**os.environ, "WASHOUT_RESULTS": str(results)},
            check=True,
            capture_output=True,
        )
        took.append(time.time() - begun)
    yield {
        "part": f"status of {sum(f.stat().st_size for f in results.rglob('*.jsonl')) >> 20} MiB",
        "executor": "",
        "workers": 1,
        "rows": given.stored,
        "command, s": round(median(took), 2),
        "result": round(median(took), 2),
        "limit": f"< {ANSWER:g} s",
        "within": median(took) < ANSWER,
    }


PARTS = {"two": two_against_one, "sleep": sleeping, "status": answering}
BEGIN = {"two": "two ", "sleep": "rows ", "status": "status "}  # how the table names a part


def keep(table: pd.DataFrame, parts: Sequence[str], path: Path) -> None:
    """Write the table; what the file says of parts that were not run stays in it."""
    if path.is_file():
        before = pd.read_csv(path)
        again = before["part"].str.startswith(tuple(BEGIN[part] for part in parts))
        table = pd.concat([before[~again], table]) if not again.all() else table
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="of parts one and three")
    parser.add_argument("--network-rows", type=int, default=24)
    parser.add_argument("--rows", type=int, default=1000, help="that sleep")
    parser.add_argument("--seconds", type=float, default=1.0, help="that they sleep")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--stored", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        table = pd.DataFrame(
            [row for part in given.parts for row in PARTS[part](Path(temporary), given)]
        )
    keep(table, given.parts, given.out)
    print(table.to_string(index=False))
    return int((table["within"] == False).any())  # noqa: E712 (a column)


if __name__ == "__main__":
    sys.exit(main())
