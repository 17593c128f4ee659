"""Rows by several processes: each row once, and what is busy is left to who is at it."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

import made_up
from washout import chapters, workers
from washout.__main__ import main
from washout.files import Busy
from washout.paths import project_root
from washout.store import Row
from washout.study import Missing, Study, Table
from washout.training import Recipe, trained


def double(spec, study):
    return {"twice": 2 * spec["number"]}


def nothing(spec, study):
    return {}


def needs(spec, study):
    return {"more": study.row(TABLE, {"number": 1}).values["twice"]}


TABLE = Table("numbers", double, nothing)
NEEDS = Table("needs", needs, nothing)


def study(tmp_path: Path, **more) -> Study:
    return Study("chapter1", profile="smoke", device="cpu", progress=False,
                 results=tmp_path / "results", weights=tmp_path / "weights", **more)  # fmt: skip


def key(spec: dict) -> str:
    return Row("numbers", "smoke", spec, {}, {}).key


def test_a_row_that_another_process_is_at_is_left_out(tmp_path):
    busy = study(tmp_path, patient=False)
    with busy.store.lock(f"numbers-{key({'number': 1})}"):
        rows = busy.table(TABLE, [{"number": 1}, {"number": 2}])
        assert [isinstance(row, Missing) for row in rows] == [True, False]
        # Nor is a row begun that needs it.
        (needing,) = busy.table(NEEDS, [{"a": 1}])
        assert isinstance(needing, Missing)
        with pytest.raises(Busy):
            busy.row(TABLE, {"number": 1})
    assert not any(isinstance(row, Missing) for row in busy.table(NEEDS, [{"a": 1}]))


def test_a_training_that_another_process_is_at_is_left_to_it(tmp_path):
    recipe = Recipe(data="digits", epochs=1)
    holder = (
        "import sys, time; from filelock import FileLock\n"
        "lock = FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    work = tmp_path / ".work"
    work.mkdir()
    command = [sys.executable, "-c", holder, str(work / f"{recipe.key()}.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(Busy, match="is being trained"):
            trained(recipe, search=[tmp_path], write=tmp_path, patient=False, progress=False)
        other.kill()


def test_passes_go_on_until_nothing_is_left(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    left = [3, 1, 0, 9]
    workers.until_done(lambda: left.pop(0), float("inf"))
    assert left == [9]
    left = [3, 1, 0]
    workers.until_done(lambda: left.pop(0), time.time() - 1)
    assert left == [1, 0]


@pytest.fixture
def made(tmp_path, monkeypatch) -> Path:
    """A made-up chapter of twelve rows, and where they are stored."""
    monkeypatch.setenv("WASHOUT_RESULTS", str(tmp_path))
    monkeypatch.setenv("MADE_UP", json.dumps({"kind": "sleep", "rows": 12, "seconds": 0.3}))
    chapter = SimpleNamespace(__name__=made_up.CHAPTER, DATASETS=(), plan=made_up.plan)
    monkeypatch.setattr(chapters, "NAMES", (made_up.CHAPTER,))
    monkeypatch.setattr(chapters, "get", lambda name: chapter)
    monkeypatch.setattr(workers, "begin", made_up.begin)
    return tmp_path


def test_two_workers_compute_each_row_once(made, capfd):
    assert main(["results", "--workers", "2"]) == 0
    assert "0 rows left" in capfd.readouterr().out
    # Of the store one could not tell: what is there twice is tidied away.
    begun = [line for line in made_up.noted(made) if line.word == "begin"]
    assert sorted(line.row for line in begun) == list(range(12))
    assert os.getpid() not in {line.pid for line in begun}


def test_the_estimate_comes_before_the_workers(made, monkeypatch, capsys):
    monkeypatch.setattr(workers, "spawn", lambda *_: print("at work") or 0)
    assert main(["results", "--workers", "2"]) == 0
    before, after = capsys.readouterr().out.split("at work")
    assert "0 of 12 rows stored; nothing timed yet" in before
    assert "rows stored" not in after


def test_bad_numbers_of_workers(capsys):
    assert main(["results", "--chapter", "1", "--workers", "0"]) == 2
    assert "workers: got 0; allowed are whole numbers from 1 up" in capsys.readouterr().err


def test_a_worker_that_fails_is_told_when_all_are_done(monkeypatch):
    codes, started = [0, 2, 3], []

    def begin(words, environment):
        assert words == ["results", "--worker"]
        assert environment["OMP_NUM_THREADS"] == str(max(1, workers.cores() // 3))
        command = [sys.executable, "-S", "-c", f"raise SystemExit({codes[len(started)]})"]
        started.append(subprocess.Popen(command, env=environment))
        return started[-1]

    monkeypatch.setattr(workers, "begin", begin)
    assert workers.spawn(3, ["results", "--worker"]) == 2
    assert [process.returncode for process in started] == codes


def test_parts_that_were_not_run_stay_in_the_table(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(project_root() / "benchmarks")
    scheduling = importlib.import_module("scheduling")
    path = tmp_path / "scheduling.csv"
    shutil.copy(scheduling.RESULTS, path)
    before = pd.read_csv(path)
    two = before["part"].str.startswith("two")
    assert two.any()
    assert not two.all()
    scheduling.keep(before[two][:2].assign(result=9.0), ["two"], path)
    after = pd.read_csv(path)
    pd.testing.assert_frame_equal(after[:-2], before[~two].reset_index(drop=True))
    assert (after["result"][-2:] == 9.0).all()
    scheduling.keep(before, list(scheduling.PARTS), path)
    assert path.read_text() == scheduling.RESULTS.read_text()


@pytest.mark.parametrize(("clock", "within"), [(8.0, False), (5.5, True)])
def test_two_workers_are_judged_by_the_clock(clock, within, monkeypatch, tmp_path):
    """Processor time would not see that they wait for each other."""
    monkeypatch.syspath_prepend(project_root() / "benchmarks")
    scheduling = importlib.import_module("scheduling")
    found = {"1": (10.0, 1.0), "2": (clock, 1.0)}

    def timed(results, words, asked):
        rows, cpu = found[words[-1]]
        return {"whole": rows, "rows": rows, "cpu": cpu}

    monkeypatch.setattr(scheduling, "timed", timed)
    given = SimpleNamespace(network_rows=4, rounds=1)
    _, two = scheduling.two_against_one(tmp_path, given)
    assert two["by processor time"] == 2.0
    assert two["within"] is within
