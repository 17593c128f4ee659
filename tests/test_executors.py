"""Rows over executors: within a time limit, past workers that die, from the command line."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import slow_table
from slow_table import TABLE, ends, processes, specs
from washout.__main__ import main
from washout.executors import as_done, connected
from washout.store import Row
from washout.study import Missing, Study


def make_study(folder: Path, **settings) -> Study:
    found = {"profile": "smoke", "local": False, "progress": False, **settings}
    return Study("chapter0", results=folder, weights=folder / "weights", **found)


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


# ---- a scheduler -------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler and two workers; those that die are forked anew, with all imports behind them."""
    distributed = pytest.importorskip("distributed")
    import dask
    from distributed.utils import get_mp_context

    with (
        pytest.MonkeyPatch.context() as patch,
        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}),
    ):
        patch.setenv("PYTHONPATH", str(Path(slow_table.__file__).parent), prepend=os.pathsep)
        get_mp_context().set_forkserver_preload(["distributed", "slow_table"])
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as made:
            yield made


def test_two_workers_share_the_rows(tmp_path, cluster):
    with connected(cluster.scheduler_address) as executor:
        rows = make_study(tmp_path).table(TABLE, specs(12, 0.1), executor)
    assert [row.values["square"] for row in rows] == [i * i for i in range(12)]
    assert len(processes(tmp_path)) == 2
    assert set(ends(tmp_path).values()) == {1}


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


def test_the_command_line_computes_over_a_scheduler(tmp_path, cluster, monkeypatch, capsys):
    monkeypatch.setenv("WASHOUT_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SCHEDULER", cluster.scheduler_address)
    words = ["results", "--chapter", "3", "--profile", "smoke", "--table", "baseline"]
    words += ["--attack", "fgsm"]
    assert main(words) == 0
    assert capsys.readouterr().out.strip().endswith("0 rows left")
    assert (tmp_path / "results" / "chapter3" / "baseline.jsonl").is_file()
    assert main([*words, "--workers", "2"]) == 2
    assert "a scheduler has workers of its own" in capsys.readouterr().err


def test_no_scheduler_at_an_address_is_said_in_a_line(monkeypatch):
    pytest.importorskip("distributed")
    with (
        pytest.raises(ValueError, match=r"scheduler: got 'nonsense://1'.*none answers"),
        connected("nonsense://1"),
    ):
        pass
