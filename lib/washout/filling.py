"""``python -m washout results``: computes what the plans ask for and nobody has stored yet."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from washout import chapters, workers
from washout.chapters.plans import Entries
from washout.executors import connected
from washout.files import sweep
from washout.paths import results_folder, weights_folder
from washout.status import outlook
from washout.study import Missing, Study, may_compute

Plans = Sequence[tuple[Study, Entries]]


class Left(NamedTuple):
    """Rows of a plan that are not there, and how many of them failed."""

    rows: int
    failed: int


# ---- times -------------------------------------------------------------------------------------
def seconds(text: str, option: str) -> float:
    """``90s``, ``9m``, ``1.5h`` or plain seconds, as seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not match:
        raise ValueError(f"{option}: got {text!r}; allowed are a number and s, m or h, such as 9m")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def moment(text: str) -> float:
    """``2026-11-22T11:40:00+00:00``, by this machine's clock without an offset, as unix time."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(
            f"since: got {text!r}; allowed are times such as 2026-11-22T11:40:00+00:00"
        ) from None


# ---- the command -------------------------------------------------------------------------------
def results(arguments: argparse.Namespace) -> int:
    """Compute every row of the plan that is not stored, store each at once."""
    begin = arguments.worker or time.time()
    deadline = begin + seconds(arguments.limit, "limit") if arguments.limit else float("inf")
    again = arguments.recompute or arguments.retrain
    if arguments.since and not again:
        raise ValueError("since: only with --recompute or --retrain")
    if arguments.worker:
        return _work(arguments, begin, deadline)
    if arguments.workers != 1 and arguments.scheduler:
        raise ValueError(
            f"workers: got {arguments.workers} and a scheduler; a scheduler has workers of its own"
        )
    asked = plans(arguments, begin, deadline)  # bad input is told here, once
    for folder in (results_folder(), weights_folder()):
        sweep(folder)
    if again and not arguments.since:
        now = datetime.fromtimestamp(begin, UTC).isoformat()
        print(f"to go on later with what this run does not reach, add --since {now}", flush=True)
    for study, plan in asked:
        if not again:
            print(outlook(study, plan), flush=True)
    killed = 0
    never = not may_compute()
    if arguments.workers != 1 and not never:
        # They know the run by its begin: what they make is new to it, what failed has failed.
        code = workers.spawn(arguments.workers, [*arguments.words, "--worker", repr(begin)])
        if code > 0:  # and it has said why
            return code
        killed = -code
    with connected(arguments.scheduler) if arguments.scheduler else nullcontext() as executor:
        wary = executor is None  # a scheduler gives up such rows itself
        left = through(asked, executor, count=bool(killed), wary=wary)
        if wary and left.rows > left.failed and not (killed or never) and time.time() < deadline:
            print("once more, for what was left out", flush=True)
            left = through(asked)
    if not killed:  # a network that was trained again leaves stale rows behind it
        left = Left(max(through(asked, count=True).rows, left.failed), left.failed)
    print(summary(left, killed, time.time() >= deadline, never))
    return 1 if left.failed or ((killed or never) and left.rows) else 0


def _work(arguments: argparse.Namespace, begin: float, deadline: float) -> int:
    """What each of several processes does: pass after pass, until others do all that is left."""
    first = iter([True])

    def once() -> int:
        left = through(plans(arguments, begin, deadline), wary=next(first, False))
        return left.rows - left.failed

    workers.until_done(once, deadline)
    return 0


def summary(left: Left, killed: int, late: bool, never: bool = False) -> str:
    """How many rows are left, and why.

    Args:
        killed: the signal that ended a worker, or 0.
        late: the time limit is past.
        never: computing is forbidden.
    """
    reasons = [f"a worker was killed by signal {killed}"] if killed else []
    reasons += ["time limit"] if late else []
    reasons += ["WASHOUT_COMPUTE is set to never"] if never else []
    why = f" ({', '.join(reasons)})" if reasons else ""
    parts = [(left.failed, "failed"), (left.rows - left.failed, f"not computed{why}")]
    told = ", ".join(f"{number} {what}" for number, what in parts if number)
    return f"{left.rows} rows left" + (f": {told}" if told else "")


# ---- plans -------------------------------------------------------------------------------------
def plans(arguments: argparse.Namespace, begin: float, deadline: float) -> Plans:
    """What each chapter is asked for, with its study; computes nothing.

    Raises:
        ValueError: no chapter knows what is asked for.
    """
    names = [arguments.chapter] if arguments.chapter else chapters.NAMES
    if not arguments.chapter and arguments.dataset != "auto":
        names = [n for n in names if arguments.dataset in chapters.get(n).DATASETS] or names
    more = {"defense": arguments.defense} if arguments.defense else {}
    if more:
        names = [name for name in names if chapters.get(name).__name__.endswith("chapter2")]
        if not names:
            raise ValueError(
                f"defense: got {arguments.defense!r}; only chapter 2 takes one: --chapter 2"
            )
    if arguments.attack != "all":
        names = _knowing(names, arguments.attack)
    since = moment(arguments.since) if arguments.since else begin
    found: list[tuple[Study, Entries]] = []
    known: list[str] = []
    for chapter in map(chapters.get, names):
        study = Study(
            chapter.__name__.rsplit(".", 1)[-1],
            profile=arguments.profile,
            device=arguments.device,
            exact=True,
            local=arguments.local,
            rows_since=since if arguments.recompute or arguments.retrain else 0.0,
            weights_since=since if arguments.retrain else 0.0,
            deadline=deadline,
            patient=not arguments.worker,
            run=begin,
            elsewhere=bool(arguments.scheduler),
            progress=not arguments.worker,
        )
        seeds = None if arguments.seed is None else (arguments.seed,)
        plan = chapter.plan(study, arguments.dataset, arguments.attack, seeds, **more)
        known += [table.name for table, _ in plan]
        if arguments.table:
            plan = [entry for entry in plan if entry[0].name == arguments.table]
        found.append((study, plan))
    if arguments.table and arguments.table not in known:
        raise ValueError(
            f"table: got {arguments.table!r}; allowed are {', '.join(dict.fromkeys(known))}"
        )
    return found


def _knowing(names: Sequence[str], attack: str) -> list[str]:
    """The chapters that know an attack: by a label of their own, or as all do."""
    from washout.chapters.parameters import check_attack

    errors = {}
    for name in names:
        try:
            check_attack(chapters.get(name), attack)
        except ValueError as error:
            errors[name] = error
    if len(errors) == len(names):
        others = dict.fromkeys(label for name in names[1:] for label in chapters.get(name).VARIANTS)
        more = f"; in others {', '.join(others)}" if others else ""
        raise ValueError(f"{errors[names[0]]}{more}")
    return [name for name in names if name not in errors]


def through(
    asked: Plans, executor: Executor | None = None, *, count: bool = False, wary: bool = False
) -> Left:
    """Go through the plans once, and count what is left.

    Args:
        count: do nothing else.
        wary: leave out rows that a process died in.
    """
    left = failed = 0
    for study, plan in asked:
        telling = study.progress and not count
        own = replace(
            study, compute=study.compute and not count, wary=wary, progress=telling
        )  # fmt: skip
        for table, specs in plan:
            before = time.time()
            rows = own.table(table, specs, executor)
            missing = sum(isinstance(row, Missing) for row in rows)
            left += missing
            failed += sum(isinstance(row, Missing) and bool(row.error) for row in rows)
            took = time.time() - before
            if telling or (took > 1 and not count):
                print(
                    f"{study.chapter} {table.name}: {len(rows) - missing} of {len(rows)} rows "
                    f"at profile {study.profile}, {took:.0f} s",
                    flush=True,
                )
    return Left(left, failed)
