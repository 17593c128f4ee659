"""What comes back from elsewhere: rows, pictures and networks, as far as they belong here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import moving_cases
from moving_cases import NET, PICTURE, SPECS, TABLE, VERSION, checkout, network, study
from washout import moving, weights
from washout.__main__ import main
from washout.models import imagenet
from washout.moving import merging
from washout.moving.parts import opened
from washout.moving.planned import planned_networks, planned_rows
from washout.paths import project_root
from washout.store import Row
from washout.study import Missing, Study


@pytest.fixture
def chapter(monkeypatch):
    moving_cases.install(monkeypatch)


def test_rows_pictures_and_weights_come_back(tmp_path, chapter):
    there, here = study(tmp_path / "there"), study(tmp_path / "here")
    made = network(there)
    there.table(TABLE, SPECS[:3])
    here.table(TABLE, SPECS[:1])  # depends on no network yet
    assert moving.pack(tmp_path / "parts", there, 0.05) == (3, 0, 0, ())
    done = moving.merge(tmp_path / "parts", here)
    assert (done.rows, done.known, done.weights, done.refused) == (3, 0, 1, [])
    rows = here.table(TABLE, SPECS[:3])
    assert [row.values["value"] for row in rows] == [0, 1, 2]
    assert (here.images(rows[2].values["images"]) == PICTURE + 2).all()
    assert network(here).hash == made.hash
    again = moving.merge(tmp_path / "parts", here)
    assert (again.rows, again.known, again.weights, again.refused) == (0, 3, 0, [])


def test_rows_from_here_stay_there_without_their_pictures(tmp_path, chapter, monkeypatch):
    home, there = study(tmp_path / "home"), study(tmp_path / "there")
    home.table(TABLE, SPECS[:3])
    checkout(tmp_path / "home", monkeypatch)
    assert moving.bundle(tmp_path / "out", "smoke", ["chapter9"]) == {"chapter9": 1}
    opened(tmp_path / "out", tmp_path / "there")
    assert not list((tmp_path / "there").rglob("*.png"))
    assert not any(isinstance(row, Missing) for row in there.table(TABLE, SPECS))
    assert moving.pack(tmp_path / "parts", there) == (1, 3, 0, ())
    done = moving.merge(tmp_path / "parts", home)
    assert (done.rows, done.refused) == (1, [])
    rows = home.table(TABLE, SPECS)
    assert (home.images(rows[3].values["images"]) == PICTURE + 3).all()


def test_a_large_network_comes_back_as_a_record_or_whole(tmp_path, chapter, monkeypatch, capsys):
    monkeypatch.setattr(weights, "SMALL", 1000)
    there, here = study(tmp_path / "there"), study(tmp_path / "here")
    made = network(there)
    there.table(TABLE, SPECS[:2])
    moving.pack(tmp_path / "records", there)
    done = moving.merge(tmp_path / "records", here)
    assert (done.rows, done.weights, done.refused) == (2, 1, [])
    assert not list(here.weights.rglob("*.safetensors"))
    moving.pack(tmp_path / "whole", there, large=True)
    done = moving.merge(tmp_path / "whole", here)
    assert (done.known, done.refused) == (2, [])
    capsys.readouterr()
    assert network(here).record == made.record  # loaded
    assert capsys.readouterr().err == ""


def test_a_large_network_goes_there_as_a_record_or_whole(tmp_path, chapter, monkeypatch, capsys):
    monkeypatch.setattr(weights, "SMALL", 1000)
    home = study(tmp_path / "home")
    made = network(home)
    home.table(TABLE, SPECS[:1])
    checkout(tmp_path / "home", monkeypatch)
    moving.bundle(tmp_path / "records", "smoke", ["chapter9"])
    moving.bundle(tmp_path / "whole", "smoke", ["chapter9"], large=True)
    for name in ("records", "whole"):
        there = study(tmp_path / f"{name} there")
        opened(tmp_path / name, there.results.parent)
        assert there.stored_hash(NET) == made.hash
        capsys.readouterr()
        found = network(there)
        said = capsys.readouterr().err
        if name == "records":  # it was trained again, and that was told
            assert found.record["trained_at"] > made.record["trained_at"]
            (line,) = said.splitlines()
            assert line.startswith(f"washout: only the record of {NET.key()} is here")
            assert f"{made.hash}.safetensors" in line
        else:
            assert found.record == made.record
            assert said == ""


def test_what_was_finished_long_ago_stays_and_is_counted(tmp_path, chapter, monkeypatch, capsys):
    there = study(tmp_path)
    there.table(TABLE, SPECS[:2])
    assert moving.pack(tmp_path / "none", there, since=9e9) == (0, 0, 2, ())
    assert moving.pack(tmp_path / "all", there, since=1.0) == (2, 0, 0, ())
    for name in ("results", "weights"):
        monkeypatch.setenv(f"WASHOUT_{name.upper()}", str(tmp_path / name))
    assert main(["pack", str(tmp_path / "last"), "--last", "0s"]) == 0
    assert "2 rows stay, which were finished more than 0s ago" in capsys.readouterr().out


def test_networks_of_packed_rows_go_along_however_old(tmp_path, chapter):
    there, here = study(tmp_path / "there"), study(tmp_path / "here")
    made = network(there)
    there.table(TABLE, SPECS[:2])
    record = there.weights / f"{NET.key()}.json"
    record.write_text(json.dumps({**made.record, "trained_at": 1.0}))
    unasked = {**made.record, "trained_at": 1.0}
    (there.weights / "lenet-digits-9-0123456789ab.json").write_text(json.dumps(unasked))
    assert moving.pack(tmp_path / "parts", there, since=2.0) == (2, 0, 0, ())
    done = moving.merge(tmp_path / "parts", here)
    assert (done.rows, done.weights, done.refused) == (2, 1, [])


def test_a_network_that_a_packed_row_needs_and_that_is_not_here_is_named(
    tmp_path, chapter, monkeypatch, capsys
):
    there = study(tmp_path)
    network(there)
    there.table(TABLE, SPECS[:2])
    (there.weights / f"{NET.key()}.json").unlink()
    assert moving.pack(tmp_path / "parts", there) == (2, 0, 0, (NET.key(),))
    for name in ("results", "weights"):
        monkeypatch.setenv(f"WASHOUT_{name.upper()}", str(tmp_path / name))
    assert main(["pack", str(tmp_path / "more")]) == 0
    assert f"network not here: {NET.key()}" in capsys.readouterr().out


def test_rows_that_do_not_belong_here_are_refused(tmp_path, chapter):
    there, here = study(tmp_path / "there"), study(tmp_path / "here")
    there.table(TABLE, SPECS[:1])
    VERSION["now"] = 2  # here the code went on
    odd = {"dataset": "digits", "i": 99}
    there.store.append(Row("numbers", "smoke", odd, {}, {}, {"finished": 1.0}))
    there.store.append(Row("numbers", "smoke", SPECS[1], {}, {}, {}))  # finished when?
    there.store.append(Row("numbers", "huge", SPECS[1], {}, {}, {"finished": 1.0}))
    done = merging._merged(tmp_path / "there", here)
    assert done.rows == 0
    assert sorted(done.refused) == [
        "chapter9 numbers, smoke: made with another version (1 rows)",
        "chapter9 numbers, smoke: not in the plan (1 rows)",
        "chapter9 numbers: no whole rows (2 rows)",
    ]
    assert here.store.rows("numbers") == {}


def test_rows_about_the_better_classifier_belong_here(tmp_path, chapter, monkeypatch):
    """It was there, where they were computed, and not here, where the plan is made."""
    specs = {name: [{**spec, "net": name} for spec in SPECS[:2]] for name in imagenet.NAMES}
    monkeypatch.setattr(moving_cases, "SPECS", specs["mobilenet_v2"])
    there, here = study(tmp_path / "there"), study(tmp_path / "here")
    there.table(TABLE, specs["inception_v3"] + [{**SPECS[0], "net": "inception_v4"}])
    done = merging._merged(tmp_path / "there", here)
    assert done.rows == 2
    assert done.refused == ["chapter9 numbers, smoke: not in the plan (1 rows)"]


def test_chapter_1_takes_rows_about_either_classifier(tmp_path):
    whole = planned_rows(Study("chapter1", profile="laptop", results=tmp_path), ["paper"])
    mine = {"dataset": "nips2017", "net": "inception_v3", "seed": 0}
    assert Row("baseline", "paper", mine, {}, {}).key in whole
    assert Row("baseline", "paper", {**mine, "net": "cnn"}, {}, {}).key not in whole


def test_a_row_without_its_picture_is_refused(tmp_path, chapter):
    there, here = study(tmp_path / "there"), study(tmp_path / "here")
    (row,) = there.table(TABLE, SPECS[:1])
    name = row.values["images"]["png"]
    (there.store.folder / "images" / name).write_bytes(b"?")
    done = merging._merged(tmp_path / "there", here)
    assert done.refused == [
        f"chapter9 numbers, smoke: picture {name} is missing or altered (1 rows)"
    ]


def test_altered_or_other_weights_are_refused(tmp_path):
    there, here = study(tmp_path / "there"), study(tmp_path / "here")
    made = network(there)
    record = there.weights / f"{NET.key()}.json"
    content = there.weights / f"{made.hash}.safetensors"

    def why(path: Path = record, planned: tuple[str, ...] = (NET.key(),)) -> str | None:
        return merging._take_weights(path, there.weights, here, set(planned))

    raw = content.read_bytes()
    content.write_bytes(raw[:-4] + b"????")
    assert "is truncated or altered" in why()
    content.unlink()
    assert "is missing" in why()
    content.write_bytes(raw)
    renamed = record.with_name("other-name.json")
    renamed.write_bytes(record.read_bytes())
    assert f"its recipe is {NET.key()}" in why(renamed)
    renamed.write_text('{"recipe": {}}')
    assert "no record of trained weights" in why(renamed)
    assert why(planned=()) == "no row of the plans depends on it"
    assert not here.weights.exists()
    assert why() is None
    known = here.weights / record.name
    known.write_text(json.dumps({**json.loads(known.read_text()), "hash": "0" * 16}))
    assert "other weights of that recipe" in why()


def test_networks_that_rows_depend_on_are_those_of_the_plans(tmp_path):
    asked = planned_networks(study(tmp_path))
    shipped = {path.stem for path in (project_root() / "weights").glob("*cifar10*.json")}
    assert asked & shipped
    assert NET.key() not in asked


def test_a_folder_without_rows_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds neither manifest\.json nor results/"):
        moving.merge(tmp_path, study(tmp_path))


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_merge_asks_for_the_folder():
    unset = ("DIR", "MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    done = subprocess.run(
        ["make", "-n", "merge"], cwd=project_root(), capture_output=True, text=True,
        env={name: value for name, value in os.environ.items() if name not in unset},
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "make merge DIR=out/back" in line
