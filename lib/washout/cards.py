"""A model card for each network that ships, written from its record and from stored rows."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from washout import weights
from washout.data.downloaded import VALIDATION
from washout.files import write_whole
from washout.status import current_rows
from washout.store import Row

NAME = "README.md"
TITLE = """# The networks that ship

Trained here by the recipes below and stored in half precision. A file's name is the start of its
SHA-256 checksum; the record beside it, named by the recipe, holds every setting and the history of
the training. `washout.training.trained` loads a network, or trains it where its file is missing.
Of the networks in `large/` only the records ship. `python -m washout cards` writes this page.
"""
HELD_OUT = {"mnist": VALIDATION, "cifar10": VALIDATION, "digits": 300, "photos": 140}
# What networks that are no classifiers are scored by: less is better.
SCORES = {
    "autoencoder": "Mean squared error", "vqvae": "Mean squared error",
    "vae": "Loss (error and divergence)", "glow": "Bits per dimension",
}  # fmt: skip
UNSAID = {"precision": "bf16", "version": 1, "stop_at": None, "augment": "", "weight_decay": 0.0}


def write(folder: Path, results: Path) -> int:
    """Write the page of a folder of weights, and return how many cards it has."""
    page = cards(folder, results)
    write_whole(folder / NAME, page.encode())
    return page.count("\n## ")


def cards(folder: Path, results: Path) -> str:
    """The page of all cards.

    Args:
        folder: of the weights and their records.
        results: of the chapters' stored rows, which say who uses a network and how good it is, as
            far as they are current.
    """
    shipped = [record for place, record in weights.records(folder) if place == folder]
    shipped.sort(key=lambda found: (found["recipe"]["model"], found["recipe"]["data"]))
    users, tested = usage(folder, results)
    parts = [card(folder, found, users[found["hash"]], tested) for found in shipped]
    size = sum((folder / f"{found['hash']}.safetensors").stat().st_size for found in shipped)
    return "\n".join([TITLE, f"{len(parts)} networks, {size:,} bytes.\n", *parts])


def usage(folder: Path, results: Path) -> tuple[dict[str, set[tuple[str, str]]], dict[str, Row]]:
    """By the hash of weights: the (chapter and profile, table) of rows, and the baseline's row."""
    users: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    tested: dict[str, Row] = {}
    for chapter, row in current_rows(results, folder):
        named = row.values.get("weights", "")
        for hash_ in re.findall(r"\b[0-9a-f]{16}\b", json.dumps([row.depends, named])):
            users[hash_].add((f"{chapter} at profile {row.profile}", row.table))
        if row.table == "baseline":
            tested.setdefault(named, row)  # of several profiles the best one's
    return users, tested


def card(
    folder: Path, record: dict[str, Any], users: set[tuple[str, str]], tested: dict[str, Row]
) -> str:
    """One network's: how it was trained, how good it is, its file, and who uses it."""
    recipe, name = record["recipe"], f"{record['hash']}.safetensors"
    content = (folder / name).read_bytes()
    rows: defaultdict[str, list[str]] = defaultdict(list)
    for where, table in sorted(users):
        rows[where].append(table)
    used = [f"{where}: {', '.join(tables)}" for where, tables in rows.items()]
    device = f"{record['device']}, threads: {record['threads']}"
    epochs, most = len(record["history"]), recipe["epochs"]  # a training may stop early
    took = f"{most} epochs" if epochs == most else f"{epochs} of at most {most} epochs"
    lines = [
        f"{took}, seed {recipe['seed']}, {_settings(recipe)}",
        f"Trained in {record['seconds']:,.0f} s ({device})",
        _score(record, tested.get(record["hash"])),
        f"`{name}`, {len(content):,} bytes, SHA-256 `{hashlib.sha256(content).hexdigest()}`",
        f"Used by {'; '.join(used) or 'quick runs (profile smoke), live cells and tests'}",
    ]
    title = f"## {recipe['model']} on {recipe['data']}, `{record['hash']}`\n\n"
    return title + "".join(f"- {line}\n" for line in lines)


def _settings(recipe: dict[str, Any]) -> str:
    said = ("model", "data", "epochs", "seed", "model_args")
    left = [(k, v) for k, v in recipe.items() if k not in said and UNSAID.get(k, ...) != v]
    if recipe["optimizer"] != "sgd":
        left = [(k, v) for k, v in left if k != "momentum"]
    return ", ".join(f"{key} {value}" for key, value in [*left, *recipe["model_args"]])


def _score(record: dict[str, Any], baseline: Row | None) -> str:
    """On what the best epoch was chosen by, and on all test images where a row says so."""
    name, score = record["recipe"]["data"], record["validation_score"]
    n = HELD_OUT.get(name.partition("-vqvae")[0])  # washed images are as many
    where = f"on {n:,} validation images" if n else "on held-out patches"
    if record["recipe"]["model"] in SCORES:
        return f"{SCORES[record['recipe']['model']]}: {-score:.4g} {where}"
    said = f"Accuracy: {score:.4f} {where}"
    if baseline:
        right, n = baseline.values["correct"], baseline.values["n"]
        said += f", {right / n:.4f} on {n:,} test images"
    return said
