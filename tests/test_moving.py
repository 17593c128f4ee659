"""Work is packed in parts, and only what belongs here comes back."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from washout import chapters, moving
from washout.moving import merging, sending
from washout.moving.parts import MANIFEST, in_parts, opened
from washout.store import Row
from washout.study import Study, Table
from washout.training import Recipe, trained

PICTURE = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)


def compute(spec, study):
    return {"value": spec["i"], "images": PICTURE + spec["i"]}


def depends(spec, study):
    return {"version": VERSION["now"]}


VERSION = {"now": 1}
TABLE = Table("numbers", compute, depends)
SPECS = [{"dataset": "digits", "i": i} for i in range(4)]


@pytest.fixture
def chapter(monkeypatch):
    """One small chapter in the place of all."""
    one = SimpleNamespace(__name__="washout.chapters.chapter9", plan=lambda study: [(TABLE, SPECS)])
    monkeypatch.setattr(chapters, "get", lambda name: one)
    monkeypatch.setattr(chapters, "NAMES", ("chapter9",))
    monkeypatch.setitem(VERSION, "now", 1)
    return one


def study(folder, **more) -> Study:
    return Study("chapter9", profile="smoke", exact=True, local=False, progress=False,
                 results=folder / "results", weights=folder / "weights", **more)  # fmt: skip


# ---- parts -------------------------------------------------------------------------------------
def test_parts_are_small_enough_and_unpack_to_what_went_in(tmp_path):
    content = np.random.default_rng(0).bytes(300_000)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(content)
    (tmp_path / "a" / "two").write_bytes(b"two")
    parts = in_parts(tmp_path / "out", [(tmp_path / "a", "data/a")], 0.1, {"rows": 3})
    assert len(parts) >= 3
    assert all(path.stat().st_size <= 0.1 * 2**20 for path in parts)
    opened(tmp_path / "out", tmp_path / "back")
    assert (tmp_path / "back" / "data" / "a" / "one").read_bytes() == content
    by_hand = tmp_path / "by hand"
    by_hand.mkdir()
    words = json.loads((tmp_path / "out" / MANIFEST).read_text())["unpack"]
    command = words.replace("part-*", f"{tmp_path}/out/part-*") + f" -C '{by_hand}'"
    subprocess.run(command, shell=True, check=True)
    assert (by_hand / "data" / "a" / "two").read_bytes() == b"two"


@pytest.mark.parametrize("harm", ["missing", "altered"])
def test_harmed_parts_are_named(tmp_path, harm):
    (tmp_path / "one").write_bytes(b"1" * 1000)
    (part,) = in_parts(tmp_path / "out", [(tmp_path / "one", "one")], 1, {})
    if harm == "missing":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=f"part-000 is {harm}"):
        opened(tmp_path / "out", tmp_path / "back")


def test_parts_do_not_mix_with_others(tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    in_parts(tmp_path / "out", [(tmp_path / "one", "one")], 1, {})
    with pytest.raises(ValueError, match="holds parts already"):
        in_parts(tmp_path / "out", [(tmp_path / "one", "one")], 1, {})
    with pytest.raises(ValueError, match="part: got"):
        in_parts(tmp_path / "other", [(tmp_path / "one", "one")], 0, {})


# ---- there -------------------------------------------------------------------------------------
def test_a_bundle_holds_source_and_the_data_of_missing_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("WASHOUT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("WASHOUT_RESULTS", str(tmp_path / "results"))
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "train").write_bytes(b"digits")
    counts = moving.bundle(tmp_path / "out", "paper", ["chapter3"], size=5.0)
    assert counts["chapter3"] > 10
    opened(tmp_path / "out", tmp_path / "there")
    names = {str(p.relative_to(tmp_path / "there")) for p in (tmp_path / "there").rglob("*")}
    assert {"pyproject.toml", "lib/washout/study.py", "data/MNIST/raw/train"} <= names
    assert not any("cifar" in name for name in names if name.startswith("data"))
    then = json.loads((tmp_path / "out" / MANIFEST).read_text())["then"]
    assert then == [
        "python -m washout results --chapter 3 --profile paper --device cuda --limit 9m"
    ]
    with pytest.raises(ValueError, match=r"cifar10: .* is missing"):
        moving.bundle(tmp_path / "more", "paper", ["chapter4"])


def test_wheels_are_those_of_the_requirements_but_pytorch(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(sending.subprocess, "run", lambda words, check: asked.append(words))
    assert sending._wheels(tmp_path) == []
    wanted = asked[0][asked[0].index(str(tmp_path)) + 1 :]
    assert any(word.startswith("safetensors") for word in wanted)
    assert not any(word.startswith("torch") for word in wanted)


def test_nothing_missing_is_nothing_to_move(tmp_path, chapter, monkeypatch):
    monkeypatch.setenv("WASHOUT_RESULTS", str(tmp_path / "results"))
    study(tmp_path).table(TABLE, SPECS)
    with pytest.raises(ValueError, match="nothing is missing"):
        moving.bundle(tmp_path / "out", "smoke", ["chapter9"])


# ---- and back ----------------------------------------------------------------------------------
def test_rows_pictures_and_weights_come_back(tmp_path, chapter):
    there, here = study(tmp_path / "there"), study(tmp_path / "here")
    there.table(TABLE, SPECS[:3])
    here.table(TABLE, SPECS[:1])
    recipe = Recipe(model="lenet", data="digits", epochs=1, model_args=(("dropout", 0.0),))
    made = trained(recipe, search=[there.weights], write=there.weights, progress=False)
    assert moving.pack(tmp_path / "parts", there, 0.05) == 3
    done = moving.merge(tmp_path / "parts", here)
    assert (done.rows, done.known, done.weights, done.refused) == (2, 1, 1, [])  # one is newer here
    rows = here.table(TABLE, SPECS[:3])
    assert [row.values["value"] for row in rows] == [0, 1, 2]
    assert (here.images(rows[2].values["images"]) == PICTURE + 2).all()
    loaded = trained(recipe, search=[here.weights], write=here.weights, progress=False)
    assert loaded.hash == made.hash
    again = moving.merge(tmp_path / "parts", here)
    assert (again.rows, again.known, again.refused) == (0, 3, [])


def test_of_large_weights_the_records_come_back(tmp_path, chapter):
    there, here = study(tmp_path / "there"), study(tmp_path / "here")
    recipe = Recipe(model="lenet", data="digits", epochs=1, model_args=(("dropout", 0.0),))
    large = there.weights / "large"
    made = trained(recipe, search=[there.weights], write=large, progress=False)
    there.table(TABLE, SPECS[:1])
    moving.pack(tmp_path / "parts", there)
    assert moving.merge(tmp_path / "parts", here).weights == 1
    assert here.stored_hash(recipe) == made.hash
    assert not list(here.weights.rglob("*.safetensors"))


def test_what_was_finished_long_ago_stays(tmp_path, chapter):
    there = study(tmp_path)
    there.table(TABLE, SPECS[:2])
    assert moving.pack(tmp_path / "none", there, since=9e9) == 0
    assert moving.pack(tmp_path / "all", there, since=1.0) == 2


def test_rows_that_do_not_belong_here_are_refused(tmp_path, chapter):
    there, here = study(tmp_path / "there"), study(tmp_path / "here")
    there.table(TABLE, SPECS[:1])
    VERSION["now"] = 2  # here the code went on
    stranger = Row("numbers", "smoke", {"dataset": "digits", "i": 99}, {}, {}, {"finished": 1.0})
    there.store.append(stranger)
    done = merging._merged(tmp_path / "there", here)
    assert done.rows == 0
    assert sorted(done.refused) == [
        "chapter9 numbers, smoke: made with another version (1 rows)",
        "chapter9 numbers, smoke: not in the plan (1 rows)",
    ]
    assert here.store.rows("numbers") == {}


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
    recipe = Recipe(model="lenet", data="digits", epochs=1, model_args=(("dropout", 0.0),))
    made = trained(recipe, search=[there.weights], write=there.weights, progress=False)
    record, content = (
        there.weights / f"{recipe.key()}.json",
        there.weights / f"{made.hash}.safetensors",
    )
    raw = content.read_bytes()
    content.write_bytes(raw[:-4] + b"????")
    assert "is truncated or altered" in merging._take_weights(record, there.weights, here)
    content.unlink()
    assert "is missing" in merging._take_weights(record, there.weights, here)
    content.write_bytes(raw)
    renamed = record.with_name("other-name.json")
    renamed.write_bytes(record.read_bytes())
    assert f"its recipe is {recipe.key()}" in merging._take_weights(renamed, there.weights, here)
    assert merging._take_weights(record, there.weights, here) is None
    known = here.weights / record.name
    known.write_text(json.dumps({**json.loads(known.read_text()), "hash": "0" * 16}))
    assert "other weights of that recipe" in merging._take_weights(record, there.weights, here)


def test_a_folder_without_rows_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds neither manifest\.json nor results/"):
        moving.merge(tmp_path, study(tmp_path))
