"""Rows over an executor: as they are done, within a time limit, past workers that die."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from typing import Any

POLL = 3600.0  # seconds; an infinite wait cannot be interrupted everywhere


@contextmanager
def connected(address: str) -> Iterator[Executor]:
    """The executor of a Dask scheduler, which runs a dead worker's row on another one.

    Args:
        address: ``tcp://host:port``, or whatever Dask's ``Client`` takes.

    Raises:
        ValueError: Dask is not installed, or there is no scheduler at that address.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError(
            f"scheduler: got {address!r}, and Dask is not installed; pip install 'washout[cluster]'"
        ) from error
    try:
        client = Client(address, timeout="20s")
    except (OSError, TimeoutError, ValueError) as error:
        raise ValueError(
            f"scheduler: got {address!r}, where none answers ({error}); start one with "
            "'dask scheduler' and give its address, such as tcp://host:8786"
        ) from error
    with client:
        yield client.get_executor(pure=False)


def as_done(
    executor: Executor,
    function: Callable[..., Any],
    calls: Mapping[int, tuple[Any, ...]],
    deadline: float = float("inf"),
) -> Iterator[tuple[int, Any]]:
    """Results of ``function(*call)`` by the calls' keys, in the order in which they are done.

    A call that takes its worker down again and again yields None; other errors are raised.

    Args:
        deadline: unix time after which no call is begun; those under way are waited for.

    Raises:
        ValueError: the executor gave up what was asked of it.
    """
    pending: dict[Future, int] = {
        executor.submit(function, *call): key for key, call in calls.items()
    }
    while pending:
        left = max(deadline - time.time(), 0.0)
        done = wait(pending, timeout=min(left, POLL), return_when=FIRST_COMPLETED).done
        for future in done:
            key = pending.pop(future)
            try:
                result = future.result()
            except CancelledError as error:  # not by us: Dask does so when its scheduler is gone
                raise ValueError(
                    "scheduler: the connection is lost; what was stored stays, and the same "
                    "command goes on from there when a scheduler answers again"
                ) from error
            except Exception as error:
                if type(error).__name__ != "KilledWorker":  # Dask's, which may not be installed
                    raise
                result = None
            yield key, result
        if time.time() >= deadline:
            for future in [future for future in pending if future.cancel()]:
                del pending[future]
            deadline = float("inf")
