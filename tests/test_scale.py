"""A large store answers soon, and workers with nothing left to do do not keep the run waiting."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

import many_rows
from slow_table import TABLE
from washout import chapters, status, workers
from washout.paths import results_folder
from washout.store import Row, Rows, Store, _key_of
from washout.study import Missing, Study

ROWS = 20_000  # benchmarks/scheduling.py takes 100,000


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """A folder of rows as they are, of seeds that no plan asks for."""
    folder = tmp_path_factory.mktemp("results")
    many_rows.fill(folder, ROWS, planned=False)
    return folder


def processor(function) -> float:
    """Processor seconds, which other work on the machine does not change much."""
    start = time.process_time()
    function()
    return time.process_time() - start


def tables(results: Path) -> list[Rows]:
    stores = [Store(home) for home in results.glob("chapter*")]
    return [store.rows(table) for store in stores for table in store.tables()]


def test_many_rows_are_there_sooner_than_they_could_be_parsed(results):
    lines = [line for path in results.rglob("*.jsonl") for line in path.open()]
    assert len(lines) == ROWS
    parsing = processor(lambda: [json.loads(line) for line in lines])
    assert 2 * processor(lambda: tables(results)) < parsing
    assert sum(map(len, tables(results))) == ROWS


def test_status_parses_no_row_that_no_plan_asks_for(results, monkeypatch):
    monkeypatch.setenv("WASHOUT_RESULTS", str(results))
    frame = status.status_frame()
    assert frame["stored"].sum() == 0
    assert frame["missing"].sum() > 1000
    parsed = {rows.path.stem for rows in tables(results) if rows.parsed}
    assert parsed <= {"baseline"}  # which says what classifier of NIPS 2017 there is


def test_status_looks_up_each_network_once_and_says_the_same(whole_status, monkeypatch):
    frame, asked = whole_status
    assert len(asked) == len(set(asked)) > 20
    monkeypatch.setattr(status.Glance, "stored_hash", Study.stored_hash)
    monkeypatch.setattr(chapters, "NAMES", ("chapter3",))
    alone = frame[frame["chapter"] == "chapter3"].reset_index(drop=True)
    assert status.status_frame().equals(alone)


def test_a_rows_key_is_told_without_parsing_its_line():
    told = 0
    for path in results_folder().glob("chapter*/*.jsonl"):
        for line in path.read_bytes().splitlines():
            key = _key_of(line)
            assert key in (Row(**json.loads(line)).key, None)
            told += key is not None
    assert told > 1000


OTHER = Row("t", "smoke", {"i": 2}, {}, {"a": 1}, {"seconds": 1.0})


@pytest.mark.parametrize(
    "row",
    [
        Row("t", "smoke", {"i": 1}, {"of": asdict(OTHER)}, {"a": 1}, {"seconds": 1.0}),
        Row("t", "smoke", {"i": 1}, {"spec": {"i": 2}}, {"a": 1}, {"seconds": 1.0}),
        Row("t", "smoke", {"i": 1}, {}, {"spec": {}, "values": {}, "table": "t"}, {}),
        Row("t", "smoke", {"a": {"table": "t", "values": {}}}, {}, {"b": []}, {"c": {"d": {}}}),
        Row("tä", "smoke", {"a": 'quote " and }', "b": "},"}, {"run": {}}, {}, {}),
    ],
)
def test_odd_rows_are_found_by_their_keys(row, tmp_path):
    store = Store(tmp_path)
    store.append(row)
    assert _key_of(row.line().encode()) in (row.key, None)
    spaced = Row("t", "smoke", {"i": 3}, {}, {}, {})
    with open(store.path(row.table), "a") as file:
        file.write(json.dumps(asdict(spaced)) + "\n")
    assert dict(store.rows(row.table)) == {row.key: row, spaced.key: spaced}


def test_a_line_that_is_no_row_is_named_when_its_row_is_asked_for(tmp_path):
    store = Store(tmp_path)
    rows = [Row("t", "smoke", {"i": i}, {}, {"x": [1, 2]}, {}) for i in range(3)]
    for row in rows:
        store.append(row)
    text = store.path("t").read_text()
    store.path("t").write_text(
        text.replace('"i":1},"table":"t","values":{"x":[1,', '"i":1},"table":"t","values":{"x":[1;')
    )
    assert store.rows("t")[rows[2].key] == rows[2]
    with pytest.raises(ValueError, match=r"t\.jsonl, line 2: not a stored row"):
        store.rows("t")[rows[1].key]
    store.path("t").write_text(text[:-20] + "\n")  # torn, and ended all the same
    with pytest.raises(ValueError, match=r"t\.jsonl, line 3: not a stored row"):
        store.rows("t")


def missing(folder: Path, stored: int) -> float:
    """Processor seconds to find out that 300 rows are missing from a table of so many."""
    study = Study("chapter0", results=folder / str(stored), compute=False, progress=False)
    path = Store(study.results / "chapter0").path(TABLE.name)
    path.parent.mkdir(parents=True)
    rows = (Row(TABLE.name, "laptop", {"i": i}, {}, {"square": i}, {}) for i in range(stored))
    path.write_text("".join(f"{row.line()}\n" for row in rows))
    study.table(TABLE, [])  # parses them
    specs = [{"i": -1 - i} for i in range(300)]
    assert all(isinstance(row, Missing) for row in study.table(TABLE, specs))
    return min(processor(lambda: study.table(TABLE, specs)) for _ in range(3))


def test_a_missing_row_costs_as_much_in_a_large_table_as_in_a_small_one(tmp_path):
    assert missing(tmp_path, 50_000) < 4 * missing(tmp_path, 500)


@pytest.fixture
def clock(monkeypatch):
    """Time that passes by sleeping only, and by what a test says."""
    now = [0.0]
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(workers, "time", SimpleNamespace(time=lambda: now[0], sleep=sleep))
    return now, slept


def passes(now: list[float], *took: float):
    """Passes through a plan, each of so many seconds; nothing is left after the last."""
    left = list(took)

    def once() -> int:
        now[0] += left.pop(0)
        return len(left)

    return once


def test_a_worker_that_has_computed_looks_again_soon(clock):
    now, slept = clock
    workers.until_done(passes(now, 125.0, 0.1, 0.1), float("inf"))
    assert slept == [workers.PAUSE, workers.PAUSE]


def test_looks_that_take_long_are_followed_by_a_rest(clock):
    now, slept = clock
    workers.until_done(passes(now, 300.0, 4.0, 700.0, 5.0, 4.0), float("inf"))
    rest = workers.REST * 4.0
    assert slept == [workers.PAUSE, rest, rest, rest]


def test_nobody_sleeps_past_the_time_limit(clock):
    now, slept = clock
    workers.until_done(passes(now, 1.0, 30.0, 0.0, 0.0), 80.0)
    assert now[0] == 80.0
    assert slept[-1] == 80.0 - (1 + workers.PAUSE + 30)
