"""Kill -9 of any process of a results run: no row is lost, none is twice, none half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import Executor, Future
from pathlib import Path

import pytest

import kill_results
from washout.executors import as_done

ROWS = 24


def test_a_results_run_survives_kills_of_any_process(tmp_path):
    # benchmarks/kills.py does this at ten moments, with the real commands and over a scheduler.
    done = subprocess.run(
        [sys.executable, kill_results.__file__, str(tmp_path), "3", "0"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["undisturbed"] == {"code": 0, "faults": []}
    for trial in found["trials"]:
        assert trial["faults"] == [], trial
    assert {trial["victim"] for trial in found["trials"]} == set(kill_results.VICTIMS)
    assert all(0 < trial["stored"] < ROWS for trial in found["trials"])  # kills came in between


def test_what_is_wrong_with_a_store_is_found(tmp_path):
    """The check of the other test can fail."""
    home = kill_results.Store(tmp_path / "chapter0")
    random = kill_results.np.random.default_rng(0)
    images = random.integers(0, 256, (2, 8, 8), dtype="uint8")
    values = {"shared": 0.0, "bits": random.bytes(4000).hex(), "images": home.save_images(images)}
    row = kill_results.Row("made_up", "smoke", {"i": 0}, {}, values, {"finished": 0.0})
    home.append(row)
    assert kill_results.faults(tmp_path, 1) == []
    assert kill_results.faults(tmp_path, 2) == ["row 1 is lost"]
    for name in (".a.png.x1y2", ".b.png.x1y2.unfinished"):  # the second is a later run's to sweep
        (home.folder / "images" / name).touch()
    assert kill_results.faults(tmp_path, 1) == ["chapter0/images/.a.png.x1y2 is left"]
    (home.folder / "images" / ".a.png.x1y2").unlink()
    home.append(row)
    assert kill_results.faults(tmp_path, 1) == ["row 0 is there 2 times"]
    path: Path = home.path("made_up")
    path.write_bytes(path.read_bytes()[:-10])
    assert kill_results.torn(tmp_path)
    assert kill_results.faults(tmp_path, 1) == ["the last line is torn"]


class Lost(Executor):
    """What Dask's does when its scheduler is gone: all that is waited for is cancelled."""

    def submit(self, *_, **__) -> Future:
        future: Future = Future()
        future.cancel()
        future.set_running_or_notify_cancel()
        return future


def test_a_scheduler_that_is_gone_is_said_in_a_line():
    with pytest.raises(ValueError, match="scheduler: the connection is lost"):
        list(as_done(Lost(), pow, {0: (1, 2)}))
