"""Rows over an executor: as they are done, within a time limit, past workers that die."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from enum import Enum
from typing import Any

from washout.files import Busy

POLL = 3600.0  # seconds; an infinite wait cannot be interrupted everywhere
LAST = 5.0  # seconds between two looks whether anybody is left, once the deadline is past
PAUSE, LONGEST = 2.0, 30.0  # seconds before a busy call is made again: at first, and at most


class Answer(Enum):
    """What there is in the place of a call's result."""

    BUSY = "another process is at what the call needs"
    LATE = "the deadline is past"
    DIED = "it took down one worker after another"


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
            f"scheduler: got {address!r}, and Dask is not installed; pip install -e '.[cluster]'"
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

    A call that raises ``Busy`` is made again a little later. One whose worker goes down again and
    again is made once more when all others are done, for it may only have waited beside the one
    that takes workers down; then it yields ``Answer.DIED``. Other errors are raised.

    Args:
        deadline: unix time after which no call is begun, by the worker's clock; those under way
            are waited for.

    Raises:
        ValueError: the executor gave up what was asked of it.
    """
    pending: dict[Future, int] = {}
    later: dict[int, float] = {}
    tries: Counter[int] = Counter()
    suspects: list[int] = []
    alone: set[int] = set()

    def submit(key: int) -> None:
        pending[executor.submit(_in_time, deadline, function, *calls[key])] = key

    for key in calls:
        submit(key)
    while pending or later or suspects:
        now = time.time()
        late = now >= deadline
        if late:
            later.clear()
            suspects.clear()
            if not pending:
                return
        for key in [key for key, moment in later.items() if moment <= now]:
            del later[key]
            submit(key)
        if suspects and not pending and not later:
            submit(suspects.pop())
        pause = LAST if late else min([now + POLL, deadline, *later.values()]) - now
        if not pending:
            time.sleep(pause)
            continue
        done = wait(pending, timeout=pause, return_when=FIRST_COMPLETED).done
        if not done and late and _deserted(executor):
            return
        for future in done:
            key = pending.pop(future)
            answer = _answer(future)
            if answer is Answer.BUSY:
                later[key] = time.time() + min(PAUSE * 2 ** tries[key], LONGEST)
                tries[key] += 1
            elif answer is Answer.DIED and key not in alone:
                alone.add(key)
                suspects.append(key)
            elif answer is not Answer.LATE:
                yield key, answer


def _in_time(deadline: float, function: Callable[..., Any], *call: Any) -> Any:
    """On the worker: a future does not say whether its call is under way, as Dask's never do."""
    if time.time() >= deadline:
        return Answer.LATE
    try:
        return function(*call)
    except Busy:
        return Answer.BUSY


def _answer(future: Future) -> Any:
    try:
        return future.result()
    except CancelledError as error:  # not by us: Dask does so when its scheduler is gone
        raise ValueError(
            "scheduler: the connection is lost; what was stored stays, and the same "
            "command goes on from there when a scheduler answers again"
        ) from error
    except Exception as error:
        if type(error).__name__ != "KilledWorker":  # Dask's, which may not be installed
            raise
        return Answer.DIED


def _deserted(executor: Executor) -> bool:
    """Whether a Dask scheduler has no worker left; other executors have their own."""
    client = getattr(executor, "_client", None)
    return client is not None and not client.nthreads()
