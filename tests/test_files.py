"""Files that are written whole or not at all, and what kills leave of them."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from washout import files
from washout.__main__ import main
from washout.files import DAY, sweep, write_whole
from washout.paths import project_root


class Killed(BaseException):
    """In the place of a kill, after which nothing is tidied."""


@pytest.fixture
def leftover(tmp_path, monkeypatch):
    """Makes what a process leaves that is killed while it writes a file."""

    def make(path, age=0.0):
        def die(temporary, target):
            os.link(temporary, temporary + "~")
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "replace", die)
            with pytest.raises(Killed):
                write_whole(path, b"half")
        (kept,) = path.parent.glob(f".{path.name}.*~")
        found = kept.rename(kept.with_name(kept.name[:-1]))
        os.utime(found, (time.time() - age,) * 2)
        return found

    return make


def test_git_ignores_what_a_kill_leaves(leftover, tmp_path):
    name = leftover(tmp_path / "a.png").name
    for folder in ("results/chapter1/images", "weights", "weights/large"):
        words = ["git", "-C", project_root(), "check-ignore", "-q", f"{folder}/{name}"]
        done = subprocess.run(words, capture_output=True)
        if done.returncode == 128:
            pytest.skip("no checkout with git")
        assert done.returncode == 0


def test_what_is_older_than_a_day_is_swept(leftover, tmp_path):
    young = leftover(tmp_path / "chapter1" / "images" / "a.png", DAY / 2)
    old = leftover(tmp_path / ".work" / "a.checkpoint", 2 * DAY)
    other = tmp_path / ".work" / ".other.x1y2"
    other.touch()
    os.utime(other, (0, 0))
    sweep(tmp_path)
    assert not old.exists()
    assert young.exists()
    assert other.exists()
    sweep(tmp_path / "nowhere")


def test_a_run_sweeps_its_folders(leftover, tmp_path, monkeypatch):
    monkeypatch.setenv("WASHOUT_COMPUTE", "never")
    left = []
    for name in ("results", "weights"):
        monkeypatch.setenv(f"WASHOUT_{name.upper()}", str(tmp_path / name))
        left.append(leftover(tmp_path / name / "large" / "a", 2 * DAY))
    words = ["results", "--chapter", "3", "--profile", "smoke", "--table", "baseline"]
    assert main(words) == 1  # rows are left
    assert not any(path.exists() for path in left)
