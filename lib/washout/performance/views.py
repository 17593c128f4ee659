"""The performance page's tables, or what is missing of them and the command that computes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from washout import report
from washout.chapters import chapter2
from washout.chapters.chapter2 import views
from washout.chapters.shown import SETS
from washout.performance.benchmarks import GPU, benchmark, command, machine, on_gpu
from washout.performance.ledger import Entry, costs, device_name, full_test_set, outstanding

LAST = 3  # points that a power is fitted to: small batches leave a part of the machine idle
LIMIT = 24  # hours, chapter 2's paper's
BESIDE = {
    "jsma_vs_peers": "JSMA",
    "kmeans_vs_sklearn": "K-means",
    "tvm_vs_skimage": "total variation",
}
WHOLE = {
    "whole": "TVM, each as by default",
    "sweep": "TVM, one sweep",
    "converged": "TVM, converged",
}
ON_CPU = ("scikit-",)  # libraries that know no GPU


def _missing(what: str, name: str, table: pd.DataFrame | None) -> None:
    """Say which of a benchmark's devices has no rows."""
    if table is None or on_gpu(table).all():
        report.not_computed(f"{what} on a CPU", command(name))
    if table is None or not on_gpu(table).any():
        report.not_computed(f"{what} on a GPU", command(name, GPU))


def _devices(table: pd.DataFrame | None) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each device, in the order of the file."""
    if table is None:
        return []
    return [(str(device), rows) for device, rows in table.groupby("device", sort=False)]


def _kind(device: str) -> str:
    """What a table about a device is called."""
    return "gpu" if device.startswith(GPU) else "cpu"


# ---- steps -------------------------------------------------------------------------------------
def power(x: pd.Series, y: pd.Series) -> float | None:
    """The slope in logarithms, or None from a single point."""
    return round(float(np.polyfit(np.log(x), np.log(y), 1)[0]), 2) if len(x) > 1 else None


def show_steps(growth: pd.DataFrame | None) -> None:
    """Each step's speed, and how its time grows: a table for each device."""
    for device, points in _devices(growth):
        lines = []
        for step, own in points.groupby("step", sort=False):
            more, larger = (own[own["axis"] == axis] for axis in ("images", "size"))
            last = more.iloc[-1]
            lines.append(
                {
                    "step": step,
                    "images": last["images"],
                    "images/s": last["images_per_second"],
                    "power of images": power(more["images"][-LAST:], more["seconds"][-LAST:]),
                    "power of side": power(larger["size"], 1 / larger["images_per_second"]),
                }
            )
        side = points[points["axis"] == "images"]["size"].iloc[0]
        caption = f"Each step, {machine(points)}: images of {side} × {side} a second"
        name = f"performance-steps-{_kind(device)}"
        report.show(pd.DataFrame(lines), caption=f"{caption}, how time grows", name=name)
    _missing("the steps' images a second", "growth", growth)


WAYS = {
    "bf16": "bfloat16",
    "compiled": "compiled",
    "graph": "CUDA graph",
}


def show_gradients(gradients: pd.DataFrame | None) -> None:
    """One gradient in the image, way by way: a table for each device."""
    for device, rows in _devices(gradients):
        usual = "eager" if device.startswith(GPU) else "channels"  # as attacks lay images out there
        lines = []
        for (network, images), own in rows.groupby(["network", "images"], sort=False):
            way = own.set_index("way")
            speed, first = way["images_per_second"], way["first"].get("compiled", np.nan)
            gain = 1 / speed[usual] - 1 / speed.get("compiled", np.nan)
            lines.append(
                {
                    "network": network,
                    "images": images,
                    "images/s": speed[usual],
                    **{f"{w}, ×": speed.get(key, np.nan) / speed[usual] for key, w in WAYS.items()},
                    "compiling, s": first,
                    "pays after, images": first / gain if gain > 0 else np.nan,
                    "other signs in bfloat16, %": 100 * way["signs"].get("bf16", np.nan),
                }
            )
        table = pd.DataFrame(lines).dropna(axis=1, how="all")
        table = table.round({"compiling, s": 0, "other signs in bfloat16, %": 1})
        table = table.round({f"{words}, ×": 2 for words in WAYS.values()})
        if "pays after, images" in table:
            table["pays after, images"] = [
                f"{x:,.0f}" if x == x else "never" for x in table["pays after, images"]
            ]
        caption = f"One gradient in the image, {machine(rows)}: ways of running a network"
        report.show(table, caption=caption, name=f"performance-gradients-{_kind(device)}")
    _missing("a gradient, way by way,", "gradients", gradients)


# ---- other libraries ---------------------------------------------------------------------------
def show_peers(peers: pd.DataFrame | None) -> None:
    """Attacks by library: their speed, and what they found; two tables for each device."""
    for device, rows in _devices(peers):
        counts = sorted(rows["images"].unique())
        told = f"{' or '.join(map(str, counts))} MNIST images, LeNet, {machine(rows)}"
        found = rows.assign(
            outcome=[
                f"{100 * row['success']:.0f} %, {row['median']:.3g}" if row["success"] else "none"
                for row in rows.to_dict("records")
            ]
        )
        for values, words, name in (
            ("images_per_second", "images a second", "performance-attacks"),
            ("outcome", "share fooled, and the median size of the change", "performance-outcomes"),
        ):
            table = found.pivot(index="attack", columns="method", values=values)
            table = table.reindex(index=found["attack"].unique(), columns=found["method"].unique())
            table = table.astype(object).where(table.notna(), None).reset_index()
            caption = f"Attacks by library, {told}: {words}"
            report.show(table, caption=caption, name=f"{name}-{_kind(device)}")
    _missing("attacks beside foolbox, torchattacks and ART", "attacks_vs_peers", peers)


def show_beside() -> None:
    """JSMA, K-means and total variation: every other library's speed, and washout's."""
    lines = []
    for name, what in BESIDE.items():
        table = benchmark(name)
        lines += [] if table is None else beside(name, table)
        _missing(f"{what} beside other libraries", name, table)
    if lines:
        caption = "Images a second (for a sweep, sweeps over an image) beside other libraries"
        report.show(pd.DataFrame(lines), caption=caption, name="performance-beside")


def beside(name: str, table: pd.DataFrame) -> list[dict]:
    """A line for each other library, work and device; on a CPU with the most threads timed."""
    gpu = on_gpu(table)
    lines = []
    for rows in (table[~gpu], *(own for _, own in _devices(table[gpu]))):
        lines += _beside(name, rows[rows["threads"] == rows["threads"].max()])
    return lines


def _beside(name: str, rows: pd.DataFrame) -> list[dict]:
    if name == "jsma_vs_peers":
        work = "JSMA on " + rows["outputs"]
    elif "what" in rows:
        work = rows["what"].map(WHOLE)
    else:
        work = "K-means, " + rows["clusters"].astype(str) + ", start " + rows["start"]
    speed = "images_per_second" if "images_per_second" in rows else "per_second"
    lines = []
    for label, own in rows.groupby(work, sort=False):
        ours = own[own["method"] == "washout"].iloc[0]
        for row in own[~own["method"].str.startswith("washout")].to_dict("records"):
            other = row["method"]
            if other.startswith(ON_CPU) and row["device"].startswith(GPU):
                other += f" (CPU, {row['threads']} threads)".replace(" 1 threads", " 1 thread")
            lines.append(
                {
                    "work": label,
                    "device": device_name(row["device"]),
                    "other": other,
                    "other, a second": row[speed],
                    "washout, a second": ours[speed],
                    "times as fast": round(ours[speed] / row[speed], 2),
                }
            )
    return lines


# ---- spreading rows ----------------------------------------------------------------------------
def show_spreading() -> None:
    """What two workers are worth, what spreading costs, how soon a large store answers."""
    table = benchmark("scheduling")
    if table is None:
        report.not_computed(
            "what two workers are worth, and what spreading rows costs", command("scheduling")
        )
        return
    table = table[
        ["part", "executor", "workers", "rows", "rows, s", "command, s", "result", "limit"]
    ]
    table = table.astype(object).where(table.notna(), None)
    report.show(table, caption="Spreading rows, and a large store", name="performance-spreading")


def show_kills() -> None:
    """What kills at random moments left behind, by who was killed."""
    table = benchmark("kills")
    if table is None:
        report.not_computed("what kills at random moments leave behind", command("kills"))
        return
    lines = [
        {
            "executor": executor,
            "killed": victim,
            "kills": len(own),
            "rows stored by then": f"{own['stored'].min()} to {own['stored'].max()}",
            "torn lines": int(own["torn"].sum()),
            "rows computed again": int(own["computed again"].sum()),
            "wrong at the end": "; ".join(dict.fromkeys(own["wrong"])),
        }
        for (executor, victim), own in table.groupby(["executor", "victim"], sort=False)
    ]
    report.show(pd.DataFrame(lines), caption="Kills at random moments", name="performance-kills")


# ---- the whole book ----------------------------------------------------------------------------
def show_costs(book: Sequence[Entry], price: float) -> None:
    """What the stored rows took, per chapter, profile and device, and in all."""
    found = costs(book, price)
    if len(found):
        table = found.assign(chapter=found["chapter"].str.removeprefix("chapter"))
        place, parts = ["profile", "device"], ["rows", "minutes", "training"]
        whole = table.groupby(place, sort=False)[parts].sum().reset_index().assign(chapter="all")
        whole["dollars"] = (whole["minutes"] + whole["training"]) / 60 * price
        whole.loc[whole["device"].str.startswith("CPU"), "dollars"] = np.nan
        table = pd.concat([table, whole])[found.columns].round({"minutes": 1, "training": 1})
        table = table.round({"dollars": 2}).rename(columns={"training": "minutes of training"})
        if table["dollars"].isna().all():
            table = table.drop(columns="dollars")
        report.show(table, caption="What the stored rows took", name="performance-costs")
    else:
        report.not_computed("no row is stored yet", "python -m washout results")
    if not len(found) or found["dollars"].isna().all():
        report.not_computed(
            f"no row was computed on a GPU, so there is nothing to price at ${price:g} an hour",
            "python -m washout results --profile paper --device cuda",
        )


def show_outstanding(book: Sequence[Entry]) -> None:
    """What is missing, and how long it may take."""
    left = outstanding(book)
    left = left[left["missing"] > 0]
    left = left.assign(
        chapter=left["chapter"].str.removeprefix("chapter"),
        minutes=left["minutes"].round(1).where(left["untimed"] < left["missing"]),
    ).rename(columns={"minutes": "minutes, by rows timed", "untimed": "of them not timed"})
    if len(left):
        caption = "Rows that are missing, and how long they may take where such rows were computed"
        report.show(left, caption=caption, name="performance-missing")


def show_full_test_set(book: Sequence[Entry]) -> None:
    """The hours of chapter 2's attacks and defenses for a whole test set, by dataset."""
    hours = full_test_set(book)
    for name in chapter2.AUTO:
        parts = (*chapter2.MAIN, "defenses")
        own = hours[hours["dataset"] == name]
        own = own.sort_values("part", key=lambda part: part == "defenses")
        # Every cell: clean images and those of each attack, through each column.
        cells = (len(chapter2.MAIN) + 1) * len(chapter2.columns(name))
        counts = own.groupby("part")["rows"].sum()
        absent = [p for p in parts if counts.get(p, 0) < (cells if p == "defenses" else 1)]
        if absent:
            report.not_computed(
                f"{SETS[name]}: the time of {', '.join(absent)}",
                f"python -m washout results --chapter 2 --dataset {name}",
            )
            continue
        total = own[own["part"].isin(parts)]["hours"].sum()
        table = pd.DataFrame(
            {
                "part": [
                    "clean and attacked images through all defenses"
                    if part == "defenses"
                    else views.attack_name(part)
                    for part in own["part"]
                ],
                "network": [views.NETS.get(net, net) for net in own["network"]],
                "images timed": own["images"],
                "hours for 10,000": own["hours"].round(2),
                "device": own["device"],
            }
        )
        caption = (
            f"{SETS[name]}: four attacks and the defenses take {total:.1f} hours for 10,000 "
            f"images, {100 * total / LIMIT:.0f} % of {LIMIT}"
        )
        report.show(table, caption=caption, name=f"performance-10000-{name}")
