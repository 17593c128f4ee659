"""One small chapter whose rows have pictures and a network, for the tests of what travels."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from washout import chapters
from washout.moving import sending
from washout.study import Study, Table
from washout.training import Recipe, Trained, trained

PICTURE = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
NET = Recipe(model="lenet", data="digits", epochs=1, model_args=(("dropout", 0.0),))
VERSION = {"now": 1}


def compute(spec, study):
    return {"value": spec["i"], "images": PICTURE + spec["i"]}


def depends(spec, study):
    return {"version": VERSION["now"], "network": study.stored_hash(NET)}


TABLE = Table("numbers", compute, depends)
SPECS = [{"dataset": "digits", "i": i} for i in range(4)]


def install(monkeypatch) -> None:
    """Put the chapter in the place of all."""
    one = SimpleNamespace(__name__="washout.chapters.chapter9", plan=lambda study: [(TABLE, SPECS)])
    monkeypatch.setattr(chapters, "get", lambda name: one)
    monkeypatch.setattr(chapters, "NAMES", ("chapter9",))
    monkeypatch.setitem(VERSION, "now", 1)


def study(folder: Path) -> Study:
    return Study("chapter9", profile="smoke", exact=True, local=False, progress=False,
                 results=folder / "results", weights=folder / "weights")  # fmt: skip


def network(own: Study) -> Trained:
    """The network that rows depend on, trained or loaded."""
    return trained(NET, search=[own.weights], write=own.weights, progress=False)


def checkout(folder: Path, monkeypatch) -> None:
    """Track what is in a folder and put it in the project's place."""
    (folder / ".gitignore").write_text(".work/\n/weights/large/*.safetensors\n")
    subprocess.run(["git", "init", "-q", folder], check=True)
    subprocess.run(["git", "-C", folder, "add", "-A"], check=True)
    monkeypatch.setattr(sending, "project_root", lambda: folder)
    for name in ("results", "weights"):
        monkeypatch.setenv(f"WASHOUT_{name.upper()}", str(folder / name))
