"""Computing a table's missing rows: claimed by locks, stored at once, past those that fail."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import Timeout
from torch import Tensor

from washout import failures
from washout.executors import Answer, as_done
from washout.failures import Failed
from washout.files import Busy
from washout.inference import exact
from washout.provenance import commit, device_name, versions
from washout.store import Row, Spec, Store, words

if TYPE_CHECKING:
    from washout.study import Study, Table


def each(
    study: Study, table: Table, specs: Sequence[Spec], todo: list[int], executor: Executor | None
) -> Iterator[tuple[int, Row | str]]:
    """Rows as they are done, by their place; or, in a line, why one failed.

    Args:
        todo: the places of the specifications to compute.
        executor: each row is one task there; None computes them here, one after another.
    """
    if executor is None:
        # Rows that another process is computing come last: by then they may be stored.
        for patient in (False, True) if study.patient else (False,):
            for index in list(todo):
                if time.time() >= study.deadline:
                    return
                made = _made(study, table, specs[index], patient)
                if made is not None:
                    todo.remove(index)
                    yield index, made
        return
    calls = {index: (study, table, specs[index]) for index in todo}
    for index, made in as_done(executor, _made_elsewhere, calls, study.deadline):
        if made is Answer.DIED:
            made = f"{_words(study, table, specs[index])}: {made.value}"
        if isinstance(made, str):
            failures.tell(made)
        yield index, made


def _made_elsewhere(study: Study, table: Table, spec: Spec) -> Row | str:
    """On a worker: it leaves what others are at to them, and computes another row meanwhile."""
    made = _made(replace(study, elsewhere=False, patient=False), table, spec, patient=False)
    if made is None:
        raise Busy(f"{table.name}: a row is being computed")
    return made


def _made(study: Study, table: Table, spec: Spec, patient: bool) -> Row | str | None:
    """``claimed``; or, in a run that goes on past rows that fail, why this one failed."""
    try:
        return claimed(study, table, spec, patient)
    except Failed as error:
        return str(error)


def claimed(study: Study, table: Table, spec: Spec, patient: bool = True) -> Row | None:
    """Compute a row unless another process is at it; then wait for its row, or return None.

    None too, if the row needs what another process is at and the study is not patient.
    """
    key = Row(table.name, study.profile, spec, {}, {}).key
    lock = study.store.lock(f"{table.name}-{key}")
    try:
        lock.acquire(timeout=-1 if patient else 0)
    except Timeout:
        return None
    try:
        stored = study.store.rows(table.name).get(key)
        if (
            stored
            and stored.run["finished"] >= study.rows_since
            and study.is_current(stored, table)
        ):
            return stored
        with failures.noting(_note(study, table, key), study.run, _words(study, table, spec)):
            return computed(study, table, spec)
    except Busy:  # what the row needs
        return None
    finally:
        lock.release()


def computed(study: Study, table: Table, spec: Spec) -> Row:
    """Compute a row, whether it is stored or not, and store it."""
    start = time.time()
    with exact():
        values = table.compute(spec, study)
    depends = study.depends(table, spec, study.profile)
    finished = time.time()
    run = {
        "device": device_name(study.device),
        "commit": commit(),
        "versions": versions(),
        "seconds": round(finished - start, 2),
        "finished": finished,  # not rounded: it decides whether a row is of this run
    }
    row = Row(table.name, study.profile, dict(spec), depends, _plain(values, study.store), run)
    study.store.append(row)
    return row


def failed(study: Study, table: Table, spec: Spec) -> str:
    """Why a row failed in this run, here or in another process; or nothing."""
    key = Row(table.name, study.profile, spec, {}, {}).key
    return failures.noted(_note(study, table, key), study.run)


def _note(study: Study, table: Table, key: str) -> Path:
    return study.store.folder / ".work" / f"{table.name}-{key}.failed"


def _words(study: Study, table: Table, spec: Spec) -> str:
    return f"{study.chapter} {table.name} ({words(spec)})"


def _plain(values: dict[str, Any], store: Store) -> dict[str, Any]:
    """Values as JSON holds them; uint8 image stacks become files."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim >= 3:
            return store.save_images(value)
        if isinstance(value, (np.ndarray, np.generic)):
            return plain(value.tolist())
        if isinstance(value, Tensor):
            return plain(value.tolist())
        if isinstance(value, dict):
            return {str(k): plain(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return float(f"{value:.6g}") if isinstance(value, float) else value

    return plain(values)
