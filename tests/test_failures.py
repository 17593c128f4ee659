"""A row that fails is told in a line and tried once in a run; all others are computed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

import made_up
from washout import __main__, chapters, workers
from washout.__main__ import main
from washout.filling import Left, summary
from washout.store import Row
from washout.study import Missing, Study, Table
from washout.training import Recipe

NET = Recipe(data="digits", epochs=1)
TRIED: Counter[str] = Counter()


def compute(spec, study):
    TRIED[f"row {spec['i']}"] += 1
    if spec["i"] == 1:
        raise KeyError("no\nsuch thing")
    if spec["i"] == 2:
        raise KeyboardInterrupt
    return {"i": spec["i"]}


def needing(spec, study):
    return study.row(TABLE, {"i": spec["of"]}).values


def training(spec, study):
    def data():
        TRIED["training"] += 1
        raise OSError("no such disk")

    study.trained(NET, data)


def nothing(spec, study):
    return {}


TABLE = Table("fragile", compute, nothing)
NEEDING = Table("needing", needing, nothing)
TRAINING = Table("training", training, nothing)
SPECS = [{"i": 0}, {"i": 1}, {"i": 3}]


def told(text: str) -> list[str]:
    """The lines about what failed, between bars of progress."""
    return [line for line in text.splitlines() if line.startswith("failed: ")]


@pytest.fixture(autouse=True)
def _afresh():
    TRIED.clear()


def make_study(tmp_path: Path, **more) -> Study:
    return Study("chapter0", profile="smoke", local=False, progress=False,
                 results=tmp_path, weights=tmp_path / "weights", **more)  # fmt: skip


def test_a_run_goes_on_past_a_row_that_fails_and_tries_it_once(tmp_path, capsys):
    study = make_study(tmp_path, run=1.5)
    for _ in range(2):
        rows = study.table(TABLE, SPECS)
        assert [type(row) for row in rows] == [Row, Missing, Row]
        assert isinstance(rows[1], Missing)
        assert rows[1].error.startswith("chapter0 fragile (i 1): KeyError: 'no\\nsuch thing' (")
        assert rows[1].error.endswith("in compute)")
    (line,) = told(capsys.readouterr().err)
    assert line == f"failed: {rows[1].error}"
    assert TRIED["row 1"] == 1
    # Another run tries again, and a look at the store says what the run has met.
    make_study(tmp_path, run=2.5).table(TABLE, SPECS)
    assert TRIED["row 1"] == 2
    look = make_study(tmp_path, run=2.5, compute=False).table(TABLE, SPECS)[1]
    assert isinstance(look, Missing)
    assert look.error == rows[1].error
    assert TRIED["row 1"] == 2


def test_a_reader_sees_the_error_itself(tmp_path):
    with pytest.raises(KeyError):
        make_study(tmp_path).table(TABLE, SPECS)


def test_an_interrupt_ends_a_run(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make_study(tmp_path, run=1.5).table(TABLE, [{"i": 2}])


def test_rows_that_need_a_failed_row_fail_in_a_line_too(tmp_path, capsys):
    study = make_study(tmp_path, run=1.5)
    rows = study.table(NEEDING, [{"of": 1}, {"of": 0}, {"of": 1, "again": True}])
    assert [isinstance(row, Missing) for row in rows] == [True, False, True]
    first, *needs = told(capsys.readouterr().err)
    assert first.startswith("failed: chapter0 fragile (i 1): KeyError")
    assert [line.split(": ")[1:4] for line in needs] == [
        ["chapter0 needing (of 1)", "needs chapter0 fragile (i 1)", "KeyError"],
        ["chapter0 needing (of 1, again True)", "needs chapter0 fragile (i 1)", "KeyError"],
    ]
    assert TRIED["row 1"] == 1


def test_a_training_that_fails_is_not_begun_for_every_row(tmp_path, capsys):
    rows = make_study(tmp_path, run=1.5).table(TRAINING, SPECS)
    assert all(isinstance(row, Missing) and "no such disk" in row.error for row in rows)
    assert TRIED["training"] == 1
    assert len(told(capsys.readouterr().err)) == 4


# ---- the command line --------------------------------------------------------------------------
@pytest.fixture
def chapter(monkeypatch, tmp_path):
    """One small chapter in the place of all."""
    install(monkeypatch, tmp_path, [(TABLE, SPECS), (NEEDING, [{"of": 1}])])


def install(monkeypatch, tmp_path, plan):
    """Put a chapter of that plan in the place of all."""
    one = SimpleNamespace(__name__="chapter0", DATASETS=(), plan=lambda study, *_: plan)
    monkeypatch.setattr(chapters, "get", lambda name: one)
    monkeypatch.setattr(chapters, "NAMES", ("chapter0",))
    monkeypatch.setenv("WASHOUT_RESULTS", str(tmp_path))
    monkeypatch.setenv("WASHOUT_WEIGHTS", str(tmp_path / "weights"))


def test_the_command_ends_with_how_many_failed(chapter, capsys):
    assert main(["results"]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "2 rows left: 2 failed"
    assert len(told(said.err)) == 2


def test_what_is_left_by_the_time_limit_is_no_failure(chapter, capsys):
    assert main(["results", "--limit", "0"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "4 rows left: 4 not computed (time limit)"


def test_rows_of_killed_workers_are_counted_and_not_tried(chapter, capsys, monkeypatch):
    monkeypatch.setattr(workers, "spawn", lambda count, words: -9)
    assert main(["results", "--workers", "2"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "4 rows left: 4 not computed (a worker was killed by signal 9)"
    assert not TRIED


def test_what_is_stale_in_the_end_is_left(monkeypatch, tmp_path, capsys):
    """As when a network is trained again that rows of earlier tables depend on."""
    network = {"hash": 1}

    def train(spec, study):
        network["hash"] = 2
        return {}

    first = Table("first", lambda spec, study: {}, lambda spec, study: dict(network))
    plan = [(first, [{"i": 0}, {"i": 1}]), (Table("training", train, nothing), [{}])]
    install(monkeypatch, tmp_path, plan)
    assert main(["results"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 rows left: 2 not computed"
    assert main(["results"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 rows left"


def test_computing_again_goes_on_where_it_ended(chapter, capsys):
    main(["results", "--recompute"])
    said = capsys.readouterr().out
    (since,) = re.findall(r"add --since (\S+)$", said, re.M)
    main(["results", "--recompute", "--since", since])
    assert TRIED == {"row 0": 1, "row 1": 2, "row 3": 1}  # what failed is tried again
    assert "--since" not in capsys.readouterr().out
    main(["results", "--recompute"])
    assert TRIED["row 0"] == 2
    assert main(["results", "--since", since]) == 2
    assert "since: only with --recompute or --retrain" in capsys.readouterr().err
    assert main(["results", "--recompute", "--since", "noon"]) == 2
    assert "since: got 'noon'; allowed are times such as" in capsys.readouterr().err


def test_a_run_that_may_not_compute_ends_and_says_why(chapter, monkeypatch, capsys):
    monkeypatch.setenv("WASHOUT_COMPUTE", "never")
    monkeypatch.setattr(workers, "spawn", None)  # must not be called
    for words in (["results", "--workers", "2"], ["results"]):
        assert main(words) == 1
        last = capsys.readouterr().out.splitlines()[-1]
        assert last == "4 rows left: 4 not computed (WASHOUT_COMPUTE is set to never)"


def test_rows_that_a_process_died_in_come_after_all_tables(monkeypatch, tmp_path, capsys):
    order = []

    def compute(spec, study):
        order.append(spec["i"])
        return {}

    tables = [Table(name, compute, nothing) for name in ("first", "second")]
    install(monkeypatch, tmp_path, [(tables[0], [{"i": 0}, {"i": 1}]), (tables[1], [{"i": 2}])])
    study = make_study(tmp_path)
    key = Row("first", "laptop", {"i": 0}, {}, {}).key
    study.store.lock("any")
    (study.store.folder / ".work" / f"first-{key}.begun").touch()
    assert main(["results"]) == 0
    assert order == [1, 2, 0]
    assert capsys.readouterr().out.splitlines()[-1] == "0 rows left"


def test_a_summary_says_all_reasons():
    assert summary(Left(0, 0), 0, True) == "0 rows left"
    both = "a worker was killed by signal 15, time limit"
    assert summary(Left(5, 2), 15, True) == f"5 rows left: 2 failed, 3 not computed ({both})"
    assert summary(Left(5, 0), 0, False) == "5 rows left: 5 not computed"


def test_two_workers_try_a_failing_row_once_and_come_to_an_end(tmp_path):
    asked = {"kind": "failing", "rows": 6}
    # That a row is there from before is no comfort when it is to be computed again.
    spec = {"dataset": "none", "i": 0, "kind": "failing"}
    depends = {"table": 1, **made_up.depends({}, make_study(tmp_path))}
    before = Row("made_up", "laptop", spec, depends, {}, {"finished": 1.0, "seconds": 1.0})
    make_study(tmp_path).store.append(before)
    code = (  # forks, which import nothing again
        "import kill_results, made_up, washout.workers as workers\n"
        "made_up.install()\nworkers.begin = kill_results.Forked\nraise SystemExit(made_up.main())"
    )
    paths = [str(Path(made_up.__file__).parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-c", code, "results", "--workers", "2", "--recompute"],
        env={
            **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "WASHOUT_RESULTS": str(tmp_path), "MADE_UP": json.dumps(asked),
        },
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == "2 rows left: 2 failed"
    said = (tmp_path / "out").read_text() + done.stderr
    names = re.findall(r"^failed: .* i (\d), .*ValueError: made up", said, re.M)
    assert sorted(names) == ["0", "3"]
    begun = Counter(line.row for line in made_up.noted(tmp_path) if line.word == "begin")
    assert begun == dict.fromkeys(range(6), 1)


def test_data_that_are_missing_fail_their_own_rows(tmp_path, monkeypatch, capsys):
    for name in ("DATA", "RESULTS", "WEIGHTS"):
        monkeypatch.setenv(f"WASHOUT_{name}", str(tmp_path / name))
    words = ["results", "--chapter", "1", "--profile", "laptop", "--table", "baseline"]
    assert main([*words, "--device", "cpu"]) == 1
    lines = told(capsys.readouterr().err)
    for name in ("mnist", "cifar10", "nips2017"):
        assert any(f"dataset {name}" in line and ": ValueError: " in line for line in lines)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "no space", "results"), 2, "no space"),
        (subprocess.CalledProcessError(3, "git"), 2, "exit status 3"),
        (tarfile.ReadError("empty file"), 2, "empty file"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(error, code, words, monkeypatch, capsys):
    def fail():
        raise error

    monkeypatch.setattr(__main__, "status_frame", fail)
    assert main(["status"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("washout: ")
    assert words in line
