"""Rows and networks that were made elsewhere: taken one by one, as far as they belong here.

A row belongs here if the plan has it and it depends on what this checkout depends on, a network if
a row of the plans depends on it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from washout import chapters, weights
from washout.files import write_whole
from washout.moving.parts import MANIFEST, opened
from washout.moving.planned import planned_networks, planned_rows
from washout.moving.sending import pictures
from washout.store import Row, Store
from washout.study import PROFILES, Study
from washout.training import Recipe


@dataclass
class Merged:
    """What a merge did.

    Attributes:
        rows, weights: how many were taken.
        known: rows that were here already.
        refused: why, for each row or weights that were not taken.
    """

    rows: int = 0
    weights: int = 0
    known: int = 0
    refused: list[str] = field(default_factory=list)


def merge(folder: Path, study: Study) -> Merged:
    """Take rows and weights that were made elsewhere into ``study.results`` and ``study.weights``.

    Args:
        folder: parts with their manifest, or a folder that holds ``results`` and ``weights``.

    Raises:
        ValueError: a folder without either, or parts that are missing or altered.
    """
    if not (folder / MANIFEST).is_file():
        return _merged(folder, study)
    with tempfile.TemporaryDirectory() as work:
        opened(folder, Path(work))
        return _merged(Path(work), study)


def _merged(folder: Path, study: Study) -> Merged:
    done = Merged()
    if not (folder / "results").is_dir() and not (folder / "weights").is_dir():
        raise ValueError(
            f"{folder} holds neither {MANIFEST} nor results/ or weights/; name a folder that does"
        )
    records = sorted((folder / "weights").rglob("*.json"))
    planned = planned_networks(study) if records else set()
    for path in records:
        why = _take_weights(path, folder / "weights", study, planned)
        done.weights += why is None
        done.refused += [f"{path.name}: {why}"] if why else []
    for place in sorted((folder / "results").glob("chapter*")):
        if place.name in chapters.NAMES:
            _take_rows(Store(place), study.of(place.name), done)
        else:
            done.refused.append(f"{place.name}: no chapter here has that name")
    return done


# ---- networks ----------------------------------------------------------------------------------
def _take_weights(path: Path, root: Path, study: Study, planned: set[str]) -> str | None:
    """Copy a record and its weights, or say why not; nothing, if they are here already."""
    try:
        record = json.loads(path.read_text())
        made = {**record["recipe"]}
        made["model_args"] = tuple((name, _tuples(value)) for name, value in made["model_args"])
        key, name, _ = Recipe(**made).key(), record["hash"], float(record["trained_at"])
        content = path.with_name(f"{name}.safetensors")
    except (ValueError, KeyError, TypeError) as error:
        return f"no record of trained weights ({error!r})"
    if key != path.stem:
        return f"its recipe is {key}"
    raw = content.read_bytes() if content.is_file() else b""
    if raw and hashlib.sha256(raw).hexdigest()[: len(name)] != name:
        return f"{content.name} is truncated or altered"
    target = study.weights / path.parent.relative_to(root)
    if not raw and target.name != "large":
        return f"{content.name} is missing"
    known = weights.find([study.weights], key)
    if known and known[1]["hash"] != name:
        return f"other weights of that recipe are here ({known[1]['hash']})"
    if not known and key not in planned:
        return "no row of the plans depends on it"
    home = known[0] if known else target
    if raw and not (home / content.name).is_file():  # of large networks the record may come first
        write_whole(home / content.name, raw)
    elif known:
        return ""
    if not known:
        write_whole(home / path.name, path.read_bytes())
    return None


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


# ---- rows --------------------------------------------------------------------------------------
def _take_rows(source: Store, study: Study, done: Merged) -> None:
    """Append the rows that the plan has and that depend on what is here."""
    why: Counter[str] = Counter()
    found: dict[str, list[Row]] = {}
    for name in source.tables():
        rows = list(source.rows(name).values())
        found[name] = [row for row in rows if _whole(row)]
        why[f"{name}: no whole rows"] += len(rows) - len(found[name])
    planned = planned_rows(study, {row.profile for rows in found.values() for row in rows})
    for name, rows in found.items():
        stored = study.store.rows(name)
        for row in rows:
            if row.key not in planned:
                why[f"{name}, {row.profile}: not in the plan"] += 1
                continue
            differing = _differing(row, study, planned[row.key])
            if differing:
                why[f"{name}, {row.profile}: made with another {differing}"] += 1
                continue
            known = stored.get(row.key)
            if (
                known
                and known.depends == row.depends
                and known.run["finished"] >= row.run["finished"]
            ):
                done.known += 1
                continue
            lost = _take_pictures(row, source, study.store)
            if lost:
                why[f"{name}, {row.profile}: picture {lost} is missing or altered"] += 1
                continue
            study.store.append(row)
            done.rows += 1
        if name in {table.name for table in planned.values()} and done.rows:
            study.store.tidy(name)
    done.refused += [
        f"{study.chapter} {reason} ({count} rows)" for reason, count in why.items() if count
    ]


def _whole(row: Row) -> bool:
    """Whether a row has all that is looked at here, in particular when it was finished."""
    parts = (row.spec, row.depends, row.values, row.run)
    return (
        all(isinstance(part, dict) for part in parts)
        and isinstance(row.run.get("finished"), (int, float))
        and row.profile in PROFILES
    )


def _differing(row: Row, study: Study, table: Any) -> str:
    """What a row depends on that is otherwise here; empty if nothing."""
    here = study.depends(table, row.spec, row.profile)
    names = [k for k in sorted({*here, *row.depends}) if here.get(k) != row.depends.get(k)]
    return ", ".join(names)


def _take_pictures(row: Row, source: Store, target: Store) -> str:
    """Copy a row's pictures; the name of the first that is not there as its name says, or ''."""
    for name in pictures(row.values):
        path = source.folder / "images" / name
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest()[:16] + ".png" != name:
            return name
        write_whole(target.folder / "images" / name, content)
    return ""
