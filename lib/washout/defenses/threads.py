"""A batch worked off in slices, by as many threads as PyTorch may use."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from washout.checks import check_count

Result = TypeVar("Result")


def in_threads(
    work: Callable[[slice], Result], length: int, most: int, device: torch.device
) -> list[Result]:
    """Call ``work`` with consecutive slices of a batch.

    Small operations in a row gain little from PyTorch's own threads, which wait for one another
    after each: thirty times as long as one thread where other programs keep the cores busy. So on
    a CPU each slice has a thread to itself.

    Args:
        work: takes a slice of range(length); has to be safe to call from several threads.
        length: of the batch.
        most: longest slice, at least 1; shorter where threads would be left without any.
        device: where the work is done; on a GPU, slices come one after the other.

    Returns:
        What ``work`` returned, in the order of the batch.

    Raises:
        ValueError: a bad longest slice.
    """
    check_count(most, 1, "most")
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    step = max(1, min(most, -(-length // threads)))
    parts = [slice(at, min(at + step, length)) for at in range(0, length, step)]
    if threads == 1 or len(parts) < 2:
        return [work(part) for part in parts]
    inference = torch.is_inference_mode_enabled()

    def alike(part: slice) -> Result:
        with torch.inference_mode(inference):  # the mode is each thread's own, too
            return work(part)

    try:
        # The number is each thread's own, and that of threads which start later: so it is put back.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(alike, parts))
    finally:
        torch.set_num_threads(threads)
