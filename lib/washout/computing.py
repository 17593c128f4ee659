"""Computing a table's missing rows: claimed by locks, stored at once, past those that fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import Timeout
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from washout import failures
from washout.executors import Answer, as_done
from washout.failures import Failed
from washout.files import Busy, write_whole
from washout.inference import exact
from washout.provenance import commit, device_name, versions
from washout.store import Row, Spec, Store, fingerprint, words

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
        # Rows that another process is computing come last: by then they may be stored. So do those
        # that a process died in: they may take down this one too.
        wary = replace(study, wary=True)
        for own, patient in ((wary, False), (study, True)) if study.patient else ((study, False),):
            for index in list(todo):
                if time.time() >= study.deadline:
                    return
                made = _made(own, table, specs[index], patient)
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
    key = Row(table.name, study.profile, spec, {}, {}).key
    try:
        with failures.noting(_note(study, table, key), study.run, _words(study, table, spec)):
            here = replace(study, elsewhere=False, patient=False)  # may lack the device
    except Failed as error:
        return str(error)
    made = _made(here, table, spec, patient=False)
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

    None too, if the row needs what another process is at and the study is not patient, or if a
    process died in it and the study is wary.
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
        begun = _note(study, table, key).with_suffix(".begun")
        if study.wary and begun.is_file():  # by whom, if the lock is free?
            return None
        begun.touch()
        try:
            with failures.noting(_note(study, table, key), study.run, _words(study, table, spec)):
                return computed(study, table, spec)
        finally:
            begun.unlink(missing_ok=True)
    except Busy:  # what the row needs
        return None
    finally:
        lock.release()


def computed(study: Study, table: Table, spec: Spec) -> Row:
    """Compute a row, whether it is stored or not, and store it.

    Raises:
        Busy: a network of the row's was trained again meanwhile.
    """
    start = time.time()
    if study.met is None:  # a row that another one needs shares its networks
        study = replace(study, met={})
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


def artifact(
    study: Study,
    name: str,
    key: dict[str, Any],
    make: Callable[[], dict[str, Tensor]],
    only: Sequence[str],
) -> dict[str, Tensor]:
    """``Study.artifact``: made under a lock, unless it is there."""
    store = Store(study.results / "local" / "artifacts")
    path = store.folder / f"{name}-{fingerprint(name, key)}.safetensors"
    lock = store.lock(path.stem)
    try:
        lock.acquire(timeout=-1 if study.patient else 0)
    except Timeout as error:
        raise Busy(f"{name}: another process is at it") from error
    try:
        if not path.is_file() or path.stat().st_mtime < study.rows_since:
            write_whole(path, save({k: v.contiguous().cpu() for k, v in make().items()}))
        with safe_open(path, "pt") as file:
            return {word: file.get_tensor(word) for word in only or file.keys()}
    finally:
        lock.release()


def check_kept(study: Study, table: Table, made: Sequence[Row]) -> None:
    """Refuse rows that workers have stored, if they are not stored here.

    Raises:
        ValueError: the workers write to other folders.
    """
    here = replace(study, weights_since=0.0)  # by another machine's clock
    stored = study.store.rows(table.name)
    for row in made:
        own = stored.get(row.key)
        if (
            own is None
            or own.run["finished"] < row.run["finished"]
            or not here.is_current(own, table)
        ):
            raise ValueError(
                f"{_words(study, table, row.spec)}: computed by a worker, and not in "
                f"{study.store.path(table.name)} with its networks in {study.weights}; put both "
                "folders on a disk that all machines share (WASHOUT_RESULTS, WASHOUT_WEIGHTS)"
            )


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
