"""What is left of a plan, and how long it may take by what was timed."""

from __future__ import annotations

from washout.status import estimate, outlook
from washout.store import Row
from washout.study import Study, Table


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
    whole = frame["left"] == ""
    assert ((frame["missing"] + frame["stale"] == 0) == whole).all()
