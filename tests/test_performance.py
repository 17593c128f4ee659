"""The book's costs against sums by hand, and what the performance page draws from."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from washout import chapters, performance, weights
from washout.performance import Entry, benchmarks, pictures, views
from washout.store import Row, Store
from washout.study import Study, Table

ROOT = Path(__file__).resolve().parents[1]
SPECS = [*({"dataset": "mnist", "i": i} for i in range(3)), {"dataset": "cifar10", "i": 0}]


def compute(spec, study):
    return {}


def depends(spec, study):
    return {}


TABLE = Table("numbers", compute, depends)


def row(spec, seconds, finished=0.0, *, profile="laptop", device="cpu (2 threads)", **more) -> Row:
    """A stored row; ``more`` are its values, but ``version`` is what it depends on."""
    run = {"device": device, "commit": "c", "versions": {}, "seconds": seconds}
    stands = {"table": more.pop("version", 1)}
    return Row("numbers", profile, spec, stands, more, {**run, "finished": finished})


@pytest.fixture
def book(tmp_path, monkeypatch) -> list[Entry]:
    """One chapter with a few rows, and three networks."""
    monkeypatch.setenv("WASHOUT_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("WASHOUT_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(chapters, "NAMES", ("chapter9",))
    chapter = SimpleNamespace(plan=lambda study: [(TABLE, SPECS)])
    monkeypatch.setattr(chapters, "get", lambda name: chapter)
    store = Store(tmp_path / "results" / "chapter9")
    gpu = {"profile": "paper", "device": "cuda (NVIDIA H200)"}
    for found in (
        row(SPECS[0], 100.0, 1000.0, weights="aaa"),
        row(SPECS[1], 60.0, 1020.0, weights={"classifier": "aaa", "vaes": ["bbb"]}),
        row(SPECS[0], 1800.0, 9000.0, **gpu),
        row(SPECS[0], 5.0, 3000.0, profile="smoke", version=0),  # stale
    ):
        store.append(found)
    own = {"device": "x86_64", "threads": 1}
    for name, seconds, end in (("aaa", 70.0, 990.0), ("bbb", 30.0, 500.0), ("ccc", 20.0, 999.0)):
        record = {"hash": name, "seconds": seconds, "trained_at": end, **own}
        weights.write_record(tmp_path / "weights", f"recipe-{name}", record)
    return performance.entries()


def test_costs_are_sums_with_each_training_once(book):
    found = performance.costs(book, price=2.0).set_index(["profile", "device"])
    assert set(found["chapter"]) == {"chapter9"}
    # The first row's 100 s hold the 70 s of aaa, for which the second waited 30 of its 60; bbb was
    # trained before them both, and no row names ccc.
    assert found.loc[("laptop", "CPU, 2 threads"), "rows"] == 2
    assert found.loc[("laptop", "CPU, 2 threads"), "minutes"] == pytest.approx((30 + 30) / 60)
    assert found.loc[("laptop", "CPU, 2 threads"), "training"] == pytest.approx(70 / 60)
    assert found.loc[("laptop", "CPU, 1 thread"), "rows"] == 0
    assert found.loc[("laptop", "CPU, 1 thread"), "training"] == pytest.approx(30 / 60)
    assert found.loc[("paper", "NVIDIA H200"), "minutes"] == pytest.approx(30)
    assert found.loc[("paper", "NVIDIA H200"), "dollars"] == pytest.approx(1.0)  # half an hour
    assert found.loc["laptop", "dollars"].isna().all()
    assert len(found) == 3


def test_costs_refuse_a_negative_price(book):
    with pytest.raises(ValueError, match="price: got -1"):
        performance.costs(book, price=-1)


def test_costs_of_nothing_are_an_empty_table():
    assert performance.costs([], price=3.0).empty
    assert performance.outstanding([]).empty
    assert performance.full_test_set([]).empty


def test_what_is_missing_and_how_long_it_may_take(book):
    found = performance.outstanding(book).set_index("profile")
    assert found.loc["laptop", ["stored", "missing", "untimed"]].tolist() == [2, 2, 1]
    assert found.loc["laptop", "minutes"] == pytest.approx((100 + 60) / 2 / 60)
    assert found.loc["paper", ["stored", "missing", "untimed"]].tolist() == [1, 3, 1]
    assert found.loc["paper", "minutes"] == pytest.approx(60)
    assert found.loc["smoke", ["stored", "missing", "untimed"]].tolist() == [0, 4, 4]


def test_a_full_test_set_is_scaled_from_the_row_about_most_images(tmp_path, capsys):
    base = {"dataset": "mnist", "net": "lenet", "seed": 0}
    fgsm = {**base, "attack": "fgsm-min"}
    clean, through = {**base, "attack": "none"}, {"defense": "tvm"}
    attacks = [row(fgsm, 50.0, n=500), row({**fgsm, "attack": "fgsm-0.3"}, 7.0, n=500)]
    attacks += [row({**fgsm, "net": "lenet-long"}, 9.0, n=9000)]
    cells = [row({**clean, **through}, 5.0, n=500), row({**fgsm, **through}, 10.0, n=100)]
    cells += [row({**fgsm, "defense": "jpeg10"}, 99.0, n=500)]  # no column of the paper's
    larger = [row(fgsm, 40.0, n=1000, profile="paper", device="cuda (NVIDIA H200)")]

    def entry(table, rows, profile="laptop"):
        study = Study("chapter2", profile=profile, results=tmp_path, weights=tmp_path)
        return Entry(study, table, rows, [])

    book = [entry("attack", larger, "paper"), entry("attack", attacks), entry("cell", cells)]
    found = performance.full_test_set(book, images=10_000).set_index("part")
    assert set(found.index) == {"fgsm-min", "defenses"}
    assert found.loc["fgsm-min", ["network", "device"]].tolist() == ["lenet", "NVIDIA H200"]
    assert found.loc["fgsm-min", "hours"] == pytest.approx(400 / 3600)
    assert found.loc["defenses", ["rows", "images"]].tolist() == [2, 100]
    assert found.loc["defenses", "hours"] == pytest.approx((100 + 1000) / 3600)
    views.show_full_test_set(book)
    assert "MNIST: the time of pgd-min, cw-fb2, deepfool-fb2, defenses" in capsys.readouterr().out


def test_a_benchmark_is_read_or_not_run_yet_or_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "project_root", lambda: tmp_path)
    assert performance.benchmark("growth") is None
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    (folder / "mine.csv").write_text("a,b\n1,2\n")
    assert performance.benchmark("mine")["b"].tolist() == [2]
    with pytest.raises(ValueError, match=r"benchmark: got 'grow'; allowed are growth.*mine"):
        performance.benchmark("grow")


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()  # of which several wait for one another on a busy machine
    yield
    torch.set_num_threads(threads)


def test_growth_from_its_command_line(tmp_path, one_thread):
    out = tmp_path / "results" / "growth.csv"
    out.parent.mkdir()
    steps, device = 7, "cpu (1 threads)"
    out.write_text(f"device,step\ncuda (NVIDIA H200),FGSM\n{device},old\n")
    words = ["--images", "2", "4", "--sizes", "28", "--batch", "2", "--seconds", "0"]
    words += ["--limit", "0", "--threads", "1", "--out", str(out)]
    runpy.run_path(str(ROOT / "benchmarks" / "growth.py"))["main"](words)
    found = pd.read_csv(out)
    assert found["device"].tolist() == ["cuda (NVIDIA H200)", *[device] * 2 * steps]
    own = found[1:]
    assert "old" not in set(own["step"])
    # With no time left, a step's second point is not run.
    assert own[own["axis"] == "images"]["images"].tolist() == [2] * steps
    assert own[own["axis"] == "size"]["size"].tolist() == [28] * steps
    rates = own["images"] / own["seconds"]
    assert own["images_per_second"].tolist() == pytest.approx(rates.tolist(), rel=0.05, abs=0.01)


def test_gradients_way_by_way(tmp_path, one_thread, capsys):
    out = tmp_path / "gradients.csv"
    out.write_text("device,way\ncuda (NVIDIA H200),eager\ncpu (1 threads),old\n")
    main = runpy.run_path(str(ROOT / "benchmarks" / "gradients.py"))["main"]
    # Without those that need a C++ compiler, half a minute for each network.
    words = ["--networks", "LeNet", "ResNet-8", "--ways", "channels", "bf16", "--threads", "1"]
    main([*words, "--batches", "3", "--rounds", "1", "--out", str(out)])
    found = pd.read_csv(out)
    assert found["device"].tolist() == ["cuda (NVIDIA H200)", *["cpu (1 threads)"] * 6]
    own = found[1:].set_index(["network", "way"])
    assert own["times_eager"].xs("eager", level="way").tolist() == [1, 1]
    # The same gradient; in bfloat16 (eight bits) almost the same.
    assert (own["signs"].drop("bf16", level="way") < 0.001).all()
    assert own["signs"].xs("bf16", level="way").between(1e-5, 0.1).all()
    views.show_gradients(found[1:])
    said = capsys.readouterr().out
    assert "ResNet-8" in said
    assert benchmarks.command("gradients", "cuda") in said
    with pytest.raises(ValueError, match="ways on cpu: got 'graph'"):
        main(["--ways", "graph"])


@pytest.mark.parametrize("stored", [True, False])
def test_page_runs_with_what_is_stored_and_with_nothing(stored, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib").use("agg")
    if not stored:
        monkeypatch.setattr(benchmarks, "project_root", lambda: tmp_path)
        monkeypatch.setenv("WASHOUT_RESULTS", str(tmp_path / "results"))
        monkeypatch.setenv("WASHOUT_WEIGHTS", str(tmp_path / "weights"))
    page = runpy.run_path(str(ROOT / "book" / "performance.py"))
    shown = capsys.readouterr().out
    assert stored or "not computed" in shown
    for caption in ("What the stored rows took", "10,000 images, ", "Each step, CPU"):
        assert (caption in shown) == stored
    figure = pictures.growing(page["growth"], "images", 1, "guide", "images", "time")
    assert (figure is not None) == stored


@pytest.mark.parametrize("name", ["kmeans_vs_sklearn", "tvm_vs_skimage"])
def test_a_benchmark_beside_a_library_keeps_other_devices(name, tmp_path, one_thread):
    out = tmp_path / f"{name}.csv"
    out.write_text("device,method\ncuda (NVIDIA H200),washout\ncpu (1 threads),old\n")
    words = ["--data", "photos", "--images", "2", "--threads", "1", "--repeats", "1"]
    words += ["--clusters", "3"] if name.startswith("kmeans") else []
    main = runpy.run_path(str(ROOT / "benchmarks" / f"{name}.py"))["main"]
    main([*words, "--device", "cpu", "--out", str(out)])
    found = pd.read_csv(out)
    assert found["device"].tolist()[0] == "cuda (NVIDIA H200)"
    assert set(found["device"][1:]) == {"cpu (1 threads)"}
    assert "old" not in set(found["method"])
    assert len(views.beside(name, found[1:])) == 4 + (name == "tvm_vs_skimage")
    with pytest.raises(ValueError, match="device: got 'tpu'"):
        main([*words, "--device", "tpu", "--out", str(out)])


def test_a_cpu_and_a_gpu_stand_beside_each_other():
    def run(device, threads, ours, other):
        base = {"device": device, "threads": threads, "clusters": 50, "start": "random"}
        speeds = {"washout": ours, "scikit-learn": other}
        return [{**base, "method": m, "images_per_second": s} for m, s in speeds.items()]

    rows = run("cpu (1 threads)", 1, 10.0, 5.0) + run("cpu (2 threads)", 2, 18.0, 6.0)
    rows += run("cuda (NVIDIA H200)", 1, 800.0, 8.0) + run("cuda (NVIDIA H200)", 16, 900.0, 9.0)
    cpu, gpu = views.beside("kmeans_vs_sklearn", pd.DataFrame(rows))
    assert (cpu["device"], cpu["other"], cpu["times as fast"]) == (
        "CPU, 2 threads",
        "scikit-learn",
        3,
    )
    assert (gpu["device"], gpu["times as fast"]) == ("NVIDIA H200", 100)
    assert gpu["other"] == "scikit-learn (CPU, 16 threads)"


@pytest.mark.parametrize("name", ["growth", "attacks_vs_peers"])
def test_each_device_has_its_tables(name, capsys):
    show = {"growth": views.show_steps, "attacks_vs_peers": views.show_peers}[name]
    own = performance.benchmark(name)
    assert own is not None
    other = own.assign(device="cuda (NVIDIA H200)", clock="wall")
    show(own)
    shown = capsys.readouterr().out
    assert benchmarks.command(name, "cuda") in shown
    assert "processor" not in benchmarks.command(name, "cuda")
    show(pd.concat([own, other]))
    both = capsys.readouterr().out
    assert "CPU, 1 thread, processor time" in both
    assert "NVIDIA H200" in both
    assert "not computed" not in both
    if name == "growth":
        figure = pictures.growing(pd.concat([own, other]), "size", 2, "guide", "side", "time")
        assert [axes.get_title(loc="left") for axes in figure.axes] == [
            "CPU, 1 thread, processor time", "NVIDIA H200"
        ]  # fmt: skip


def test_spreading_and_kills_are_told_by_what_was_killed(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    monkeypatch.setattr(benchmarks, "project_root", lambda: tmp_path)
    views.show_spreading()
    views.show_kills()
    said = capsys.readouterr().out
    assert "python benchmarks/scheduling.py" in said
    assert "python benchmarks/kills.py" in said
    columns = ["executor", "victim", "stored", "torn", "computed again", "wrong"]
    trials = [["two", "main", 3, True, 0, "nothing"], ["two", "main", 9, False, 1, "lost 4"]]
    pd.DataFrame(trials, columns=columns).to_csv(folder / "kills.csv")
    part = {"part": "two against one", "executor": "processes", "workers": 2, "rows": 24}
    part |= {"rows, s": 18.0, "command, s": 20.5, "result": 1.83, "limit": ">= 1.7", "within": True}
    pd.DataFrame([part]).to_csv(folder / "scheduling.csv")
    views.show_spreading()
    views.show_kills()
    said = capsys.readouterr().out
    assert "1.83" in said
    assert "3 to 9" in said
    assert "nothing; lost 4" in said
