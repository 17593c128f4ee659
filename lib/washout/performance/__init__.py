"""What the book costs, by its stored rows: minutes, money, what is missing; stored benchmarks."""

from washout.performance.benchmarks import BENCHMARKS, benchmark, command, keep
from washout.performance.ledger import (
    Entry,
    costs,
    device_name,
    entries,
    full_test_set,
    outstanding,
    timings,
)

__all__ = [
    "BENCHMARKS",
    "Entry",
    "benchmark",
    "command",
    "costs",
    "device_name",
    "entries",
    "full_test_set",
    "keep",
    "outstanding",
    "timings",
]
