"""Rows travel by any address that fsspec knows."""

from __future__ import annotations

import json

import fsspec
import pytest

import moving_cases
from moving_cases import SPECS, TABLE, study
from washout import moving
from washout.__main__ import main
from washout.moving import places
from washout.moving.parts import MANIFEST

PLACE = "memory://rows/machine-1"


@pytest.fixture(autouse=True)
def chapter(monkeypatch):
    moving_cases.install(monkeypatch)
    yield
    memory = fsspec.filesystem("memory")
    if memory.exists("/rows"):
        memory.rm("/rows", recursive=True)


@pytest.mark.parametrize("address", [PLACE, "file"])
def test_rows_go_to_an_address_and_come_back_from_it(tmp_path, monkeypatch, capsys, address):
    place = f"file://{tmp_path / 'far' / 'rows'}" if address == "file" else address
    there, here = study(tmp_path / "there"), study(tmp_path / "here")
    there.table(TABLE, SPECS[:3])
    for name, own in (("pack", there), ("merge", here)):
        for word in ("results", "weights"):
            monkeypatch.setenv(f"WASHOUT_{word.upper()}", str(getattr(own, word)))
        assert main([name, place]) == 0, capsys.readouterr()
    assert "3 rows and 0 weights taken" in capsys.readouterr().out
    rows = here.table(TABLE, SPECS[:3])
    assert [row.values["value"] for row in rows] == [0, 1, 2]
    assert (here.images(rows[1].values["images"]) == moving_cases.PICTURE + 1).all()


def test_the_manifest_comes_last_and_nothing_is_written_over(tmp_path, monkeypatch):
    order: list[str] = []
    files = fsspec.filesystem("memory")
    put = type(files).put_file

    def noted(self, source, target, **more):
        order.append(target.rpartition("/")[2])
        return put(self, source, target, **more)

    monkeypatch.setattr(type(files), "put_file", noted)
    with moving.sent(PLACE) as folder:
        (folder / MANIFEST).write_text(json.dumps({"parts": {}}))
        (folder / "part-000").write_bytes(b"0")
        (folder / "z").write_bytes(b"1")
    assert order == ["part-000", "z", MANIFEST]
    with (
        pytest.raises(ValueError, match=r"rows/machine-1 holds files already"),
        moving.sent(PLACE),
    ):
        pass


def test_a_folder_stays_what_it_is(tmp_path):
    with moving.sent(str(tmp_path)) as folder, moving.fetched(str(tmp_path)) as same:
        assert folder == same == tmp_path


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["merge", "memory://rows/nowhere"], "memory://rows/nowhere"),
        (["merge", "nosuch://x"], "place: got 'nosuch://x', which fsspec cannot open"),
        (["pack", "nosuch://x"], "place: got 'nosuch://x', which fsspec cannot open"),
    ],
)
def test_what_cannot_be_opened_is_said_in_a_line(command, words, capsys):
    assert main(command) != 0
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_a_copy_that_breaks_off_is_told(monkeypatch):
    def broken(*_, **__):
        raise OSError("gone")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", broken)
    with (
        pytest.raises(ValueError, match=r"cannot be written to \(gone\)"),
        moving.sent(PLACE) as folder,
    ):
        (folder / "part-000").write_bytes(b"0")
    assert not places.is_address("C:/rows")
