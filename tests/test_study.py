"""Rows are computed once, stored at once, found again, and survive kills and company."""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from slow_table import TABLE, ends, processes, specs
from washout import provenance, weights
from washout.checks import check_device
from washout.files import Busy
from washout.provenance import COMMIT, commit
from washout.store import Row, Store
from washout.study import Missing, Study, Table
from washout.training import Recipe


def make_study(folder: Path, **settings) -> Study:
    found = {"profile": "smoke", "local": False, "progress": False, **settings}
    return Study("chapter0", results=folder, **found)


def fill(folder: Path, n: int) -> None:
    """What a process does that fills the table."""
    make_study(folder).table(TABLE, specs(n))


def test_rows_come_in_order_and_are_computed_once(tmp_path):
    study = make_study(tmp_path)
    rows = study.table(TABLE, specs(5)[::-1])
    assert [row.values["square"] for row in rows] == [16, 9, 4, 1, 0]
    again = make_study(tmp_path).table(TABLE, specs(5))
    assert [row.values["square"] for row in again] == [0, 1, 4, 9, 16]
    assert set(ends(tmp_path).values()) == {1}
    run = again[0].run
    assert run.keys() == {"device", "commit", "versions", "seconds", "finished"}
    assert run["commit"] == commit()


def test_rows_made_without_git_name_the_commit_that_came_along(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
    assert commit.__wrapped__() == "unknown"
    (tmp_path / COMMIT).write_text("0123456789ab+\n")
    assert commit.__wrapped__() == "0123456789ab+"
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert commit.__wrapped__() == "unknown"  # a checkout speaks for itself


def test_a_commit_is_the_projects_own_and_says_what_is_new(tmp_path, monkeypatch):
    def git(*words: str) -> str:
        me = ["-c", "user.name=me", "-c", "user.email=me@here"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *me, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    package = tmp_path / "lib" / "washout"
    package.mkdir(parents=True)
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "a reader's own")
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
    (package / "__init__.py").write_text("")
    assert commit.__wrapped__() == "unknown"
    git("add", "lib")
    git("commit", "-q", "-m", "the package")
    head = git("rev-parse", "--short=12", "HEAD")
    assert commit.__wrapped__() == head
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path / "lib")
    assert commit.__wrapped__() == "unknown"
    monkeypatch.setattr(provenance, "project_root", lambda: tmp_path)
    (package / "new.py").write_text("")
    assert commit.__wrapped__() == head + "+"


def test_stored_text_is_sorted_and_one_row_a_line(tmp_path):
    study = make_study(tmp_path)
    study.table(TABLE, specs(4)[::-1])
    lines = study.store.path("slow").read_text().splitlines()
    assert [json.loads(line)["spec"]["i"] for line in lines] == [0, 1, 2, 3]
    before = study.store.path("slow").read_bytes()
    make_study(tmp_path).table(TABLE, specs(4))
    assert study.store.path("slow").read_bytes() == before


def test_recompute_computes_again_and_once(tmp_path):
    make_study(tmp_path).table(TABLE, specs(2))
    study = make_study(tmp_path, rows_since=time.time())
    study.table(TABLE, specs(2))
    study.table(TABLE, specs(2))
    assert ends(tmp_path) == {0: 2, 1: 2}
    assert len(study.store.path("slow").read_text().splitlines()) == 2


def test_changed_component_makes_rows_stale(tmp_path, monkeypatch):
    make_study(tmp_path).table(TABLE, specs(2))
    monkeypatch.setenv("WASHOUT_TEST_VERSION", "2")
    found = make_study(tmp_path, compute=False).table(TABLE, specs(3))
    assert [(type(row), row.stale) for row in found] == [(Missing, True)] * 2 + [(Missing, False)]
    make_study(tmp_path).table(TABLE, specs(2))
    assert ends(tmp_path) == {0: 2, 1: 2}


def test_best_profile_is_shown_and_exact_is_not_satisfied_by_it(tmp_path):
    make_study(tmp_path, profile="laptop").table(TABLE, specs(1))
    make_study(tmp_path, profile="paper").table(TABLE, specs(1))
    for asked, compute in (("smoke", True), ("laptop", True), ("paper", False)):
        (shown,) = make_study(tmp_path, profile=asked, compute=compute).table(TABLE, specs(1))
        assert shown.profile == "paper"
    exact = make_study(tmp_path, profile="smoke", compute=False, exact=True)
    assert isinstance(exact.table(TABLE, specs(1))[0], Missing)


def test_site_build_never_computes(tmp_path, monkeypatch):
    monkeypatch.setenv("WASHOUT_COMPUTE", "never")
    flagged = replace(TABLE, flags=lambda spec: ["--attack", spec["attack"]])
    (missing,) = make_study(tmp_path).table(flagged, [{"i": 1, "attack": "foolbox:LinfPGD"}])
    assert isinstance(missing, Missing)
    assert missing.command == (
        "python -m washout results --chapter 0 --profile smoke --table slow "
        "--attack foolbox:LinfPGD"
    )
    assert not (tmp_path / "computed.log").exists()


def test_readers_rows_go_to_local_and_are_searched_last(tmp_path):
    make_study(tmp_path, local=True).table(TABLE, specs(1))
    assert not (tmp_path / "chapter0" / "slow.jsonl").exists()
    assert (tmp_path / "local" / "chapter0" / "slow.jsonl").exists()
    project = make_study(tmp_path, rows_since=time.time())
    project.table(TABLE, specs(1))
    (row,) = make_study(tmp_path, local=True).table(TABLE, specs(1))
    assert row.run["finished"] >= project.rows_since


def test_what_is_stored_for_the_project_rests_on_nothing_of_a_readers(tmp_path):
    reader = make_study(tmp_path, local=True, weights=tmp_path / "weights")
    reader.table(TABLE, specs(1))
    record(reader.weights_write, "mine")
    project = replace(reader, local=False)
    assert (reader.stored_hash(NET), project.stored_hash(NET)) == ("mine", None)
    assert reader.find(TABLE, specs(1)[0])
    assert project.find(TABLE, specs(1)[0]) is None
    project.table(TABLE, specs(1))
    assert (tmp_path / "chapter0" / "slow.jsonl").exists()


NET = Recipe(data="digits")
NAMES = Table("names", lambda spec, study: {}, lambda spec, study: {"net": study.stored_hash(NET)})


def record(folder: Path, name: str, *, whole: bool = True) -> None:
    """As a training leaves it."""
    weights.write_record(folder, NET.key(), {"hash": name, "trained_at": time.time()})
    if whole:
        (folder / f"{name}.safetensors").touch()


def test_a_row_names_the_weights_that_are_whole(tmp_path):
    """The project has the record alone; a reader trains the network, to other weights."""
    study = make_study(tmp_path, local=True, weights=tmp_path / "weights")
    record(study.weights / "large", "theirs", whole=False)
    replace(study, local=False).table(NAMES, [{"i": 0}])
    assert study.stored_hash(NET) == "theirs"
    record(study.weights / "local" / "large", "mine")
    # What the project has stays; what is made now is made with what is here.
    for own in (study, replace(study, compute=False)):
        rows = own.table(NAMES, [{"i": 0}, {"i": 1}])
        assert [row.depends["net"] for row in rows] == ["theirs", "mine"]

    def compute(spec, own):
        return dict(own.row(NAMES, {"i": 0}).depends)

    (row,) = study.table(replace(NAMES, name="needing", compute=compute), [{}])
    assert row.values["net"] == row.depends["net"] == "mine"


def test_a_row_begins_anew_if_its_network_was_trained_again_meanwhile(tmp_path):
    study = make_study(tmp_path, weights=tmp_path / "weights")
    record(study.weights, "first")
    used = []

    def compute(spec, own):
        used.append(own.stored_hash(NET))
        record(study.weights, "second")  # by another process
        return {"used": used[-1]}

    (row,) = study.table(replace(NAMES, compute=compute), [{}])
    assert used == ["first", "second"]
    assert row.values["used"] == row.depends["net"] == "second"


def test_a_row_that_its_process_died_in_comes_last(tmp_path):
    (tmp_path / "deadly-1").write_text("always")
    for tries in (1, 2):
        sitting = get_context("fork").Process(
            target=make_study(tmp_path).table, args=(TABLE, specs(4)[1:])
        )
        sitting.start()
        sitting.join(60)
        assert sitting.exitcode == 1
        assert sum(line.startswith("1 ") for line in computed_log(tmp_path)) == tries
    assert ends(tmp_path) == {2: 1, 3: 1}
    wary = make_study(tmp_path, wary=True)
    assert [isinstance(row, Missing) for row in wary.table(TABLE, specs(4))] == [
        False, True, False, False,
    ]  # fmt: skip
    (tmp_path / "deadly-1").unlink()
    assert isinstance(make_study(tmp_path).table(TABLE, specs(4))[1], Row)
    assert not list(tmp_path.rglob("*.begun"))


def computed_log(folder: Path) -> list[str]:
    return (folder / "computed.log").read_text().splitlines()


def test_deadline_leaves_rows_for_the_next_run(tmp_path):
    rows = make_study(tmp_path, deadline=time.time() + 1).table(TABLE, specs(40, 0.05))
    done = [row for row in rows if not isinstance(row, Missing)]
    assert 0 < len(done) < 40
    make_study(tmp_path).table(TABLE, specs(40, 0.05))
    assert ends(tmp_path) == dict.fromkeys(range(40), 1)


def test_process_pool(tmp_path):
    with ProcessPoolExecutor(2) as pool:
        rows = make_study(tmp_path).table(TABLE, specs(8), executor=pool)
    assert [row.values["square"] for row in rows] == [i * i for i in range(8)]
    assert set(ends(tmp_path).values()) == {1}


def on(spec, study):
    return {"device": study.device}


def test_the_device_is_found_where_the_row_is_computed(tmp_path):
    table = Table("on", on, lambda spec, study: {})
    for word in ("auto", "cuda:9"):  # which is not here
        study = make_study(tmp_path, device=word, elsewhere=True)
        assert study.device == word
        with ThreadPoolExecutor(1) as pool:
            if word == "auto":
                (row,) = study.table(table, [{}], pool)
                assert row.values["device"] == str(check_device("auto"))
            else:
                with pytest.raises(ValueError, match="device: got 'cuda:9'"):
                    study.table(table, [{"i": 1}], pool)
                # In a run it is that row's failure.
                (missing,) = replace(study, run=1.5).table(table, [{"i": 1}], pool)
                assert isinstance(missing, Missing)
                assert "device: got 'cuda:9'" in missing.error


class Unshared(ThreadPoolExecutor):
    """Its workers have folders of their own."""

    def submit(self, function, deadline, call, study, *rest):
        own = replace(study, results=study.results / "elsewhere")
        return super().submit(function, deadline, call, own, *rest)


def test_rows_that_workers_store_elsewhere_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = make_study(Path("results"), weights=Path("weights"))
    assert (study.results, study.weights) == (tmp_path / "results", tmp_path / "weights")
    table = Table("quick", lambda spec, study: {}, lambda spec, study: {})
    with Unshared(1) as pool, pytest.raises(ValueError, match=r"results/chapter0/quick\.jsonl"):
        study.table(table, [{}], pool)


def test_two_processes_fill_one_table(tmp_path):
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(fill, [tmp_path] * 2, [30] * 2))
    assert ends(tmp_path) == dict.fromkeys(range(30), 1)
    assert len(processes(tmp_path)) == 2
    lines = Store(tmp_path / "chapter0").path("slow").read_text().splitlines()
    assert len(lines) == 30


def test_torn_last_line_is_passed_over_and_cut_off(tmp_path):
    study = make_study(tmp_path)
    study.table(TABLE, specs(2))
    path = study.store.path("slow")
    path.write_bytes(path.read_bytes() + b'{"table":"slow","pro')
    assert len(study.store.rows("slow")) == 2
    study.table(TABLE, specs(3))
    assert len(path.read_text().splitlines()) == 3


def test_altered_row_is_named(tmp_path):
    store = Store(tmp_path)
    store.append(Row("t", "smoke", {"i": 1}, {}, {}, {"finished": 0}))
    store.path("t").write_text("not a row\n")
    with pytest.raises(ValueError, match=r"t\.jsonl, line 1"):
        store.rows("t")


def test_images_are_kept_by_content(tmp_path):
    store = Store(tmp_path)
    gray = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    color = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    for images in (gray, color):
        reference = store.save_images(images)
        assert np.array_equal(store.load_images(reference), images)
        assert store.save_images(images) == reference
    assert len(list((tmp_path / "images").iterdir())) == 2


def test_read_only_results_folder(tmp_path):
    blocked = tmp_path / "results"
    blocked.write_text("a file stands where the folder should")
    with pytest.raises(ValueError, match="WASHOUT_RESULTS"):
        make_study(blocked).table(TABLE, specs(1))


def test_values_that_json_does_not_hold_are_refused(tmp_path):
    table = Table("nan", lambda spec, study: {"x": float("nan")}, lambda spec, study: {})
    with pytest.raises(ValueError, match="JSON"):
        make_study(tmp_path).table(table, [{}])
    assert not (tmp_path / "chapter0" / "nan.jsonl").exists()


def test_an_artifact_that_another_process_is_at_is_left_by_who_does_not_wait(tmp_path):
    study = Study("chapter3", profile="smoke", results=tmp_path, progress=False)

    def slow() -> dict[str, torch.Tensor]:
        with pytest.raises(Busy, match="shared: another process is at it"):
            replace(study, patient=False).artifact("shared", {"i": 1}, dict)
        return {"x": torch.ones(2)}

    assert torch.equal(study.artifact("shared", {"i": 1}, slow)["x"], torch.ones(2))
    again = replace(study, patient=False).artifact("shared", {"i": 1}, dict)
    assert torch.equal(again["x"], torch.ones(2))


def test_of_an_artifact_some_tensors_alone_are_read(tmp_path):
    study = Study("made", results=tmp_path, progress=False)

    def make():
        return {"x": torch.ones(2), "y": torch.zeros(3, dtype=torch.bool)}

    assert set(study.artifact("parts", {"i": 1}, make, ("y",))) == {"y"}
    assert set(study.artifact("parts", {"i": 1}, dict)) == {"x", "y"}  # all are kept
    (read,) = study.artifact("parts", {"i": 1}, dict, ("x",)).values()
    assert torch.equal(read, torch.ones(2))
