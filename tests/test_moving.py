"""Work is packed in parts: the project, what rows need, and the commands for there."""

from __future__ import annotations

import hashlib
import inspect
import json
import subprocess

import numpy as np
import pytest

import moving_cases
from moving_cases import SPECS, TABLE, study
from washout import moving
from washout.__main__ import main
from washout.moving import sending
from washout.moving.parts import MANIFEST, in_parts, opened
from washout.paths import project_root
from washout.provenance import COMMIT, commit


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


def test_links_travel_as_what_they_lead_to(tmp_path):
    shared, data = tmp_path / "shared", tmp_path / "data"
    shared.mkdir()
    data.mkdir()
    (shared / "train").write_bytes(b"digits")
    (data / "raw").symlink_to(shared)
    (data / "one").symlink_to(shared / "train")
    in_parts(tmp_path / "out", [(data, "data"), (data / "raw", "raw")], 1, {})
    opened(tmp_path / "out", tmp_path / "back")
    for name in ("data/raw/train", "data/one", "raw/train"):
        assert (tmp_path / "back" / name).read_bytes() == b"digits"
        assert not (tmp_path / "back" / name).is_symlink()


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


def test_what_is_no_archive_is_said_in_a_line(tmp_path, capsys):
    (tmp_path / "one").write_bytes(b"1" * 1000)
    (part,) = in_parts(tmp_path / "out", [(tmp_path / "one", "one")], 1, {})
    manifest = tmp_path / "out" / MANIFEST
    known = json.loads(manifest.read_text())
    for broken in (b"no archive", part.read_bytes()[:60]):
        part.write_bytes(broken)
        known["parts"] = {part.name: hashlib.sha256(broken).hexdigest()}
        manifest.write_text(json.dumps(known))
        assert main(["merge", str(tmp_path / "out")]) == 2
        assert "cannot be unpacked" in capsys.readouterr().err
    for text in ('{"rows": 3}', "[]", '{"parts": 3}', "{"):
        manifest.write_text(text)
        assert main(["merge", str(tmp_path / "out")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "manifest.json does not list parts" in line


def test_parts_do_not_mix_with_others(tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    in_parts(tmp_path / "out", [(tmp_path / "one", "one")], 1, {})
    with pytest.raises(ValueError, match="holds parts already"):
        in_parts(tmp_path / "out", [(tmp_path / "one", "one")], 1, {})
    with pytest.raises(ValueError, match="part: got"):
        in_parts(tmp_path / "other", [(tmp_path / "one", "one")], 0, {})


def test_a_part_travels_beside_the_projects_files_within_64_mib():
    listed = subprocess.run(
        ["git", "-C", project_root(), "ls-files", "-z"], capture_output=True, text=True, check=True
    ).stdout
    paths = [project_root() / name for name in listed.split("\0") if name]
    size = sum(path.stat().st_size for path in paths if path.is_file())
    part = inspect.signature(moving.bundle).parameters["size"].default
    assert size + part * 2**20 < 64 * 2**20


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
    assert (tmp_path / "there" / COMMIT).read_text().strip() == commit()
    then = json.loads((tmp_path / "out" / MANIFEST).read_text())["then"]
    assert then == [
        "export PYTHONPATH=lib WASHOUT_DATA=data",
        "python3 -m washout results --chapter 3 --profile paper --device cuda --limit 6m",
        "python3 -m washout pack out/back",
    ]
    with pytest.raises(ValueError, match=r"cifar10: .* is missing"):
        moving.bundle(tmp_path / "more", "paper", ["chapter4"])


def test_wheels_are_those_of_the_requirements_but_pytorch(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(sending.subprocess, "run", lambda words, **_: asked.append(words))
    (listed,) = sending._wheels(tmp_path, "3.12")
    wanted = asked[0][asked[0].index(str(tmp_path)) + 1 :]
    assert any(word.startswith("safetensors") for word in wanted)
    assert not any(word.startswith("torch") for word in wanted)
    assert listed.read_text().split() == wanted
    assert "--no-deps" not in asked[0]
    assert asked[0][asked[0].index("--python-version") + 1] == "3.12"
    assert "--find-links wheels" in sending._then("paper", {"chapter3": 1}, wheels=True)[1]
    with pytest.raises(ValueError, match=r"python: got 'three'; allowed are .* 3\.12"):
        sending._wheels(tmp_path, "three")


def test_what_pip_does_not_find_is_said_in_a_line(tmp_path, monkeypatch):
    def fail(words, **_):
        text = "WARNING: old\nERROR: No matching distribution found for foolbox>=3\n[notice] new\n"
        raise subprocess.CalledProcessError(1, words, stderr=text)

    monkeypatch.setattr(sending.subprocess, "run", fail)
    with pytest.raises(ValueError, match=r"^wheels: .*\(ERROR: No matching.*\); go without"):
        sending._wheels(tmp_path, None)


def test_nothing_missing_is_nothing_to_move(tmp_path, monkeypatch):
    moving_cases.install(monkeypatch)
    monkeypatch.setenv("WASHOUT_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("WASHOUT_WEIGHTS", str(tmp_path / "weights"))
    study(tmp_path).table(TABLE, SPECS)
    with pytest.raises(ValueError, match="nothing is missing"):
        moving.bundle(tmp_path / "out", "smoke", ["chapter9"])
