"""Stored benchmarks: a table of each, with a column that says on which device."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from washout.checks import check_choice
from washout.paths import project_root
from washout.performance.ledger import device_name

# What fills benchmarks/results/<name>.csv on a CPU.
BENCHMARKS = {
    "growth": "python benchmarks/growth.py --threads 1 --clock processor",
    "gradients": "python benchmarks/gradients.py --threads 2",
    "attacks_vs_peers": "python benchmarks/attacks_vs_peers.py --threads 1 --clock processor",
    "jsma_vs_peers": "python benchmarks/jsma_vs_peers.py --images 200 --threads 2",
    "kmeans_vs_sklearn": "python benchmarks/kmeans_vs_sklearn.py --threads 1 2",
    "tvm_vs_skimage": "python benchmarks/tvm_vs_skimage.py --threads 1 2",
    "scheduling": "python benchmarks/scheduling.py",
    "kills": "python benchmarks/kills.py",
}
GPU = "cuda"


def command(name: str, device: str = "cpu") -> str:
    """What fills a benchmark's table on a CPU, or adds a GPU's rows to it."""
    words = BENCHMARKS[name]
    if device == "cpu":
        return words
    # The processor's clock does not see a GPU.
    return f"{words.replace(' --clock processor', '')} --device {device}"


def benchmark(name: str) -> pd.DataFrame | None:
    """A benchmark's stored table, or None if it was not run yet.

    Raises:
        ValueError: there is no such benchmark.
    """
    path = project_root() / "benchmarks" / "results" / f"{name}.csv"
    stored = sorted(found.stem for found in path.parent.glob("*.csv"))
    check_choice(name, dict.fromkeys([*BENCHMARKS, *stored]), "benchmark")
    return pd.read_csv(path) if name in stored else None


def keep(table: pd.DataFrame, path: Path) -> None:
    """Write a benchmark's table; rows of devices that it is not about stay in the file.

    Args:
        table: with a column ``device``.
    """
    if path.is_file():
        before = pd.read_csv(path)
        before = before[~before["device"].isin(table["device"])]
        table = pd.concat([before, table]) if len(before) else table
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)


def on_gpu(table: pd.DataFrame) -> pd.Series:
    """Which rows were timed on a GPU."""
    return table["device"].str.startswith(GPU)


def machine(rows: pd.DataFrame) -> str:
    """The device of some rows, and the clock if it is not the one on the wall."""
    first = rows.iloc[0]
    name = device_name(first["device"])
    return name if first.get("clock", "wall") == "wall" else f"{name}, {first['clock']} time"
