"""Stored rows come out again on this machine's CPU, from the weights that ship.

A few images may be read otherwise where the processor adds up in another order; how many is
printed (``pytest -rP``). Rates have to lie within the stored ones' intervals.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from washout import chapters
from washout.chapters.bits import unpacked
from washout.chapters.chapter2.settings import CAPPED
from washout.computing import computed
from washout.metrics import wilson
from washout.paths import data_folder, project_root, results_folder
from washout.store import Row, Store
from washout.study import Study, Table
from washout.training import recipes

SHIPPED = project_root() / "weights"
NEEDS = {"mnist": "MNIST", "cifar10": "cifar-10-batches-py"}
CHEAP = 5.0  # seconds that a row took, and the attack on its images
SEED = 7
# Tables of rows that stand alone, or share no more than the attack's images with the table named.
TABLES = [
    ("chapter1", "knowing", ""),
    ("chapter1", "knowing", ""),
    ("chapter2", "cell", "attack"),
    ("chapter2", "knowing", ""),
    ("chapter3", "baseline", ""),
    ("chapter3", "second_library", ""),
    ("chapter4", "cleaned", "attack"),
    ("chapter4", "second_library", "attack"),
]
COUNTS = ("correct", "correct_in_all", "clean_correct", "misread", "success", "ours_success",
          "foolbox_success", "agree")  # fmt: skip


# ---- which rows --------------------------------------------------------------------------------
def shipped(row: Row) -> bool:
    """Whether all networks behind a row ship."""
    named = row.values.get("weights", "")
    hashes = named.values() if isinstance(named, dict) else [named]
    return all((SHIPPED / f"{hash_}.safetensors").is_file() for hash_ in hashes)


def cost(row: Row, store: Store, shared: str) -> float:
    """Seconds that a row may take with nothing to start from but networks and other rows."""
    seconds = row.run["seconds"]
    for other in store.rows(shared).values() if shared else ():
        if other.profile == row.profile and other.spec.items() <= row.spec.items():
            seconds += other.run["seconds"]
    return seconds


def candidates(study: Study, table: Table, shared: str) -> list[Row]:
    """Stored rows that are current, cheap, and about networks that ship."""
    store = study.stores[0]
    return [
        row
        for row in store.rows(table.name).values()
        if row.profile == "laptop"
        and row.spec["dataset"] in NEEDS
        and shipped(row)
        and row.spec.get("attack") not in CAPPED  # made of another attack's images
        and cost(row, store, shared) < CHEAP
        and study.is_current(row, table)
    ]


# ---- what to compare ---------------------------------------------------------------------------
def rates(values: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The counts of images among a row's values, by name; a column's behind a slash."""
    for name in COUNTS:
        found = values.get(name, {})
        if isinstance(found, list):
            found = dict(enumerate(found))
        for column, count in (found if isinstance(found, dict) else {"": found}).items():
            yield f"{name}/{column}", count


def bits(values: dict[str, Any]) -> np.ndarray:
    """Which images a row is right about, in all of its columns, (columns, n) bool."""
    found = values.get("right", [])
    columns = list(found.values()) if isinstance(found, dict) else [found]
    made = [unpacked(c, values["n"]) if isinstance(c, str) else np.array(c) for c in columns]
    return np.array(made, dtype=bool)


def outside(stored: dict[str, Any], again: dict[str, Any]) -> list[str]:
    """Rates that do not lie in the stored ones' intervals."""
    counts, n = dict(rates(again)), stored["n"]
    found = []
    for name, count in rates(stored):
        low, high = wilson(count, n)
        if not low <= counts[name] / again["n"] <= high:
            found.append(f"{name}: {counts[name]} of {again['n']} against {count} of {n}")
    return found


def difference(stored: dict[str, Any], again: dict[str, Any]) -> str:
    """How many counts and, where a row has them, decisions on single images are others."""
    counts, same = list(rates(stored)), set(rates(again))
    said = f"{sum(pair not in same for pair in counts)} of {len(counts)} counts differ"
    was, now = bits(stored), bits(again)
    if was.size and was.shape == now.shape:
        said += f", {int((was != now).sum())} of {was.size} decisions"
    return said


# ---- the tests ---------------------------------------------------------------------------------
@pytest.fixture
def results(tmp_path: Path, monkeypatch) -> Path:
    """A copy of the stored rows, and no training."""

    def refuse(recipe, *_):
        raise AssertionError(f"{recipe.key()} would be trained, and should be among the shipped")

    monkeypatch.setattr(recipes, "_train", refuse)
    shutil.copytree(
        results_folder(), tmp_path / "results", ignore=shutil.ignore_patterns("local", "images")
    )
    return tmp_path / "results"


@pytest.mark.data
@pytest.mark.parametrize("index", range(len(TABLES)), ids=lambda i: "-".join(TABLES[i][:2]))
def test_a_stored_row_comes_out_again(index, results):
    chapter, name, shared = TABLES[index]
    study = Study(
        chapter, profile="laptop", device="cpu", exact=True, local=False, progress=False,
        results=results, weights=SHIPPED,
    )  # fmt: skip
    (table,) = {t for t, _ in chapters.get(chapter).plan(study) if t.name == name}
    found = [row for row in candidates(study, table, shared) if _has_data(row)]
    if not found:
        pytest.skip(f"no cheap row of {chapter} {name} is stored, or its data is not there")
    stored = random.Random(SEED + index).choice(sorted(found, key=lambda row: row.key))
    again = computed(replace(study, rows_since=0.0), table, stored.spec)
    assert again.depends == stored.depends
    assert list(rates(stored.values)), stored.values
    assert outside(stored.values, again.values) == []
    print(
        f"{chapter} {name} {stored.spec}, stored on {stored.run['device']}: "
        f"{difference(stored.values, again.values)}; {again.run['seconds']:.1f} s"
    )


def _has_data(row: Row) -> bool:
    return (data_folder() / NEEDS[row.spec["dataset"]]).is_dir()


def test_rates_outside_of_an_interval_are_found():
    stored = {"n": 100, "correct": {"a": 50, "b": 90}, "success": [3, 4]}
    assert outside(stored, stored) == []
    assert outside(stored, {**stored, "correct": {"a": 50, "b": 80}}) == [
        "correct/b: 80 of 100 against 90 of 100"
    ]
    assert outside(stored, {**stored, "success": [3, 40]}) == [
        "success/1: 40 of 100 against 4 of 100"
    ]
    other = {**stored, "success": [3, 5], "right": [0, 1]}
    assert difference({**stored, "right": [1, 1]}, other) == (
        "1 of 4 counts differ, 1 of 2 decisions"
    )
