"""What is left of a plan, and how long it may take by what was timed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from washout import chapters
from washout.__main__ import main
from washout.status import current_rows, estimate, outlook, waiting
from washout.store import Row
from washout.study import PROFILES, Study, Table


def row(dataset: str, seconds: float) -> Row:
    return Row("t", "laptop", {"dataset": dataset}, {}, {}, {"seconds": seconds})


def test_an_estimate_is_the_mean_of_rows_about_the_same_dataset():
    done = [row("mnist", 2.0), row("mnist", 4.0), row("cifar10", 10.0)]
    todo = [{"dataset": name} for name in ("mnist", "mnist", "cifar10", "nips2017")]
    assert estimate(done, todo) == (3.0 + 3.0 + 10.0, 1)
    assert estimate([], todo) == (0.0, 4)
    assert estimate(done, []) == (0.0, 0)


def compute(spec, study):
    return {"value": spec["i"]}


def depends(spec, study):
    return {}


TABLE = Table("numbers", compute, depends)


def test_an_outlook_says_what_is_stored_and_what_is_not_known(tmp_path):
    study = Study("chapter9", profile="smoke", results=tmp_path, exact=True, progress=False)
    specs = [{"dataset": "digits", "i": i} for i in range(4)]
    plan = [(TABLE, specs)]
    start = outlook(study, plan)
    assert start == "chapter9 at profile smoke: 0 of 4 rows stored; nothing timed yet for 4"
    study.table(TABLE, specs[:3])
    assert "3 of 4 rows stored; about 0 minutes for 1 of the others" in outlook(study, plan)
    study.table(TABLE, specs)
    assert outlook(study, plan).endswith("4 of 4 rows stored")


def test_the_status_of_every_chapter_adds_up(whole_status):
    frame, _ = whole_status
    assert {"chapter1", "chapter2", "chapter3", "chapter4"} == set(frame["chapter"])
    assert (frame[["stored", "stale", "missing"]] >= 0).all().all()
    planned = {}
    for name in chapters.NAMES:
        for profile in PROFILES:
            study = Study(name, profile=profile, exact=True, compute=False)
            for table, specs in chapters.get(name).plan(study):
                planned[name, profile, table.name] = len(specs)
    keys = frame[["chapter", "profile", "table"]].itertuples(index=False, name=None)
    told = frame["stored"] + frame["stale"] + frame["missing"]
    assert dict(zip(keys, told, strict=True)) == planned


def test_each_row_that_waits_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WASHOUT_RESULTS", str(tmp_path))
    monkeypatch.setattr(chapters, "NAMES", ("chapter9",))
    specs = [{"dataset": "digits", "i": i} for i in range(3)]
    old = replace(TABLE, version=0)
    chapter = SimpleNamespace(plan=lambda study: [(TABLE, specs)])
    monkeypatch.setattr(chapters, "get", lambda name: chapter)
    study = Study("chapter9", profile="paper", results=tmp_path, exact=True, local=False)
    study.table(TABLE, specs[:1])
    study.table(old, specs[1:2])
    assert waiting("paper") == [
        "chapter9 numbers (dataset digits, i 1), stale",
        "chapter9 numbers (dataset digits, i 2)",
    ]
    assert len(waiting("laptop")) == 3
    assert main(["status", "--missing", "paper"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [*waiting("paper"), "2 rows missing at profile paper"]
    assert main(["status", "--missing", "papers"]) == 2
    assert "profile: got 'papers'; allowed are paper, laptop, smoke" in capsys.readouterr().err
    study.of("local/chapter9").table(TABLE, specs[2:])  # a reader's own, not the project's
    assert [(name, row.spec) for name, row in current_rows(tmp_path, tmp_path)] == [
        ("chapter9", specs[0])
    ]
