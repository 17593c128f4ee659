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
from washout import executors
from washout.__main__ import main
from washout.executors import as_done, connected
from washout.files import Busy
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


def test_what_is_busy_is_tried_again_while_others_are_done(monkeypatch):
    monkeypatch.setattr(executors, "PAUSE", 0.05)
    tries = []

    def work(i):
        tries.append(i)
        if i == 0 and tries.count(0) < 4:
            raise Busy("taken")
        return i

    with ThreadPoolExecutor(1) as pool:
        found = [key for key, _ in as_done(pool, work, {i: (i,) for i in range(3)})]
    assert sorted(found[:2]) == [1, 2]
    assert found[2] == 0
    assert tries.count(0) == 4
    # Not past the time limit.
    tries.clear()
    with ThreadPoolExecutor(1) as pool:
        assert dict(as_done(pool, work, {0: (0,)}, time.time() + 0.1)) == {}
    assert 1 <= tries.count(0) < 4


def test_who_went_down_with_another_gets_a_turn_alone():
    class KilledWorker(Exception):
        """What Dask calls it."""

    tries = []

    def work(i):
        tries.append(i)
        if i == 0 or (i == 1 and tries.count(1) == 1):
            raise KilledWorker
        return i

    with ThreadPoolExecutor(1) as pool:
        found = dict(as_done(pool, work, {i: (i,) for i in range(4)}))
    assert found == {0: executors.Answer.DIED, 1: 1, 2: 2, 3: 3}
    assert sorted(tries) == [0, 0, 1, 1, 2, 3]
    assert tries[:4] == [0, 1, 2, 3]  # a turn alone, when all others are done


def test_a_row_that_another_process_is_at_keeps_no_worker_waiting(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "PAUSE", 0.1)
    study = make_study(tmp_path)
    key = Row(TABLE.name, "smoke", specs(1)[0], {}, {}).key
    lock = study.store.lock(f"{TABLE.name}-{key}")
    lock.acquire()
    with ThreadPoolExecutor(1) as pool:
        whole = pool.submit(study.table, TABLE, specs(4), ThreadPoolExecutor(1))
        until = time.time() + 20
        while len(study.store.rows(TABLE.name)) < 3 and time.time() < until:
            time.sleep(0.02)
        assert len(study.store.rows(TABLE.name)) == 3  # by one worker, past the row that is taken
        lock.release()
        assert all(isinstance(row, Row) for row in whole.result(20))


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
    assert isinstance(rows[2], Missing)
    assert "took down one worker after another" in rows[2].error
    (tmp_path / "deadly-2").unlink()
    assert isinstance(make_study(tmp_path).table(TABLE, specs(6))[2], Row)


def test_the_time_limit_waits_for_rows_under_way_and_begins_no_other(tmp_path, cluster):
    with connected(cluster.scheduler_address) as executor:
        executor._client.run(exec, "import slow_table")  # takes its time
        study = make_study(tmp_path, deadline=time.time() + 1)
        rows = study.table(TABLE, specs(8, 2), executor)
    done = [row for row in rows if isinstance(row, Row)]
    assert len(done) == 2  # one for each worker
    assert ends(tmp_path) == {row.spec["i"]: 1 for row in done}


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


# The last: it sends the workers away.
def test_past_the_time_limit_nobody_waits_for_workers_that_are_gone(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(executors, "LAST", 0.5)
    with connected(cluster.scheduler_address) as executor:
        cluster.scale(0)
        until = time.time() + 30
        while executor._client.nthreads() and time.time() < until:
            time.sleep(0.1)
        study = make_study(tmp_path, deadline=time.time() + 1)
        start = time.time()
        rows = study.table(TABLE, specs(3), executor)
    assert time.time() - start < 10
    assert all(isinstance(row, Missing) for row in rows)
