"""Rows over executors: within a time limit, past workers that die, from the command line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import slow_table
from slow_table import TABLE, specs
from washout.executors import as_done, connected
from washout.store import Row
from washout.study import Missing, Study

HERE = Path(slow_table.__file__).parent


def make_study(folder: Path, **settings) -> Study:
    found = {"profile": "smoke", "local": False, "progress": False, **settings}
    return Study("chapter0", results=folder, weights=folder / "weights", **found)


def ends(folder: Path) -> Counter:
    lines = (folder / "computed.log").read_text().split("\n")
    return Counter(int(line.split()[0]) for line in lines if line.endswith("end"))


def test_results_come_with_their_keys_and_errors_are_raised():
    with ThreadPoolExecutor(2) as pool:
        found = dict(as_done(pool, pow, {7: (2, 3), 8: (3, 2)}))
        assert found == {7: 8, 8: 9}
        assert dict(as_done(pool, pow, {})) == {}
        with pytest.raises(ZeroDivisionError):
            dict(as_done(pool, divmod, {0: (1, 0)}))


def test_no_call_begins_after_the_deadline():
    begun = []

    def work(i):
        begun.append(i)
        time.sleep(0.2)
        return i

    with ThreadPoolExecutor(2) as pool:
        calls = {i: (i,) for i in range(40)}
        start = time.time()
        found = dict(as_done(pool, work, calls, start + 0.5))
    assert 2 <= len(found) < 12
    assert sorted(found) == sorted(begun)  # what was under way was waited for
    assert time.time() - start < 2


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("distributed")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), before]))
    try:
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as made:
            yield made
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def test_a_row_of_a_worker_that_dies_is_done_by_another(tmp_path, cluster):
    (tmp_path / "deadly-3").write_text("once")
    with connected(cluster.scheduler_address) as executor:
        rows = make_study(tmp_path).table(TABLE, specs(8, 0.05), executor)
    assert [row.values["square"] for row in rows if isinstance(row, Row)] == [
        i * i for i in range(8)
    ]
    assert set(ends(tmp_path).values()) == {1}  # none lost, none twice


def test_a_row_that_kills_every_worker_is_left_and_the_others_are_done(tmp_path, cluster):
    (tmp_path / "deadly-2").write_text("always")
    with connected(cluster.scheduler_address) as executor:
        rows = make_study(tmp_path).table(TABLE, specs(6, 0.05), executor)
    assert [isinstance(row, Missing) for row in rows] == [i == 2 for i in range(6)]
    (tmp_path / "deadly-2").unlink()
    assert isinstance(make_study(tmp_path).table(TABLE, specs(6))[2], Row)


def test_the_command_line_computes_over_a_scheduler(tmp_path, cluster):
    environment = {
        **os.environ,
        "WASHOUT_RESULTS": str(tmp_path / "results"),
        "SCHEDULER": cluster.scheduler_address,
    }
    words = ["results", "--chapter", "3", "--profile", "smoke", "--table", "baseline"]
    done = subprocess.run(
        [sys.executable, "-m", "washout", *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("0 rows left")
    both = subprocess.run(
        [sys.executable, "-m", "washout", *words, "--workers", "2"],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert both.returncode == 2
    assert "a scheduler has workers of its own" in both.stderr


def test_no_scheduler_at_an_address_is_said_in_a_line(monkeypatch):
    pytest.importorskip("distributed")
    with (
        pytest.raises(ValueError, match=r"scheduler: got 'nonsense://1'.*none answers"),
        connected("nonsense://1"),
    ):
        pass
