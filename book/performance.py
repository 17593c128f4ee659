# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Performance
#
# What the book costs in time and money: each step by itself, beside other libraries, and all of it. The tables
# are drawn from stored benchmarks (`benchmarks/results/`) and from the times that stored rows keep; nothing is
# timed while the site is built. The price is a parameter.

# %% tags=["parameters"]
price: float = 3.0  # US dollars per GPU hour

# %% tags=["remove-input"]
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from washout import performance, report
from washout.chapters import chapter2
from washout.chapters.chapter2 import views
from washout.chapters.shown import SETS
from washout.figures.style import COLORS, DASHES, MARKERS, SOFT, drawing

growth = performance.benchmark("growth")
peers = performance.benchmark("attacks_vs_peers")
book = performance.entries()


def missing(what: str, name: str) -> None:
    report.not_computed(what, performance.BENCHMARKS[name])


def machine(points: pd.DataFrame) -> str:
    """The device, and the clock if it is not the one on the wall."""
    first = points.iloc[0]
    name = performance.device_name(first["device"])
    return name if first["clock"] == "wall" else f"{name}, {first['clock']} time"


# %% [markdown]
# ## Each step
#
# Attacks run on a small residual network (ResNet-8), the VAE on patches of 16 × 16 pixels. The images are pieces of
# photographs, so that K-means and total variation have real work; the networks' weights are random, which costs the
# same. How time grows is told as a power: 1 for images says that twice as many take twice as long, 2 for the side
# says that time grows as the number of pixels. K-means goes on until its centers rest, which on larger images may
# take more rounds.

# %% tags=["remove-input"]
LAST = 3  # points that a power is fitted to: small batches leave a part of the machine idle


def power(x: pd.Series, y: pd.Series) -> float | None:
    """The slope in logarithms, or None from a single point."""
    return round(float(np.polyfit(np.log(x), np.log(y), 1)[0]), 2) if len(x) > 1 else None


def show_steps(device: str, points: pd.DataFrame) -> None:
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
    caption = f"Each step, {machine(points)}: images of {side} × {side} a second, how time grows"
    kind = "gpu" if device.startswith("cuda") else "cpu"
    report.show(pd.DataFrame(lines), caption=caption, name=f"performance-steps-{kind}")


for device, points in [] if growth is None else growth.groupby("device", sort=False):
    show_steps(str(device), points)
if growth is None:
    missing("the steps' images a second on a CPU", "growth")
if growth is None or not growth["device"].str.startswith("cuda").any():
    report.not_computed(
        "the steps' images a second on a GPU", "python benchmarks/growth.py --device cuda"
    )


# %% tags=["remove-input"]
def spread(values: Sequence[float], gap: float) -> np.ndarray:
    """The values, moved apart to ``gap`` at least, in their order."""
    order = np.argsort(values)
    placed = np.asarray(values, dtype=float)[order]
    for index in range(1, len(placed)):
        placed[index] = max(placed[index], placed[index - 1] + gap)
    placed -= (placed - np.asarray(values)[order]).mean()
    found = np.empty_like(placed)
    found[order] = placed
    return found


def short(seconds: float, _: object = None) -> str:
    return f"{1000 * seconds:g} ms" if seconds < 1 else f"{seconds:g} s"


def draw(axes: Axes, points: pd.DataFrame, x: str, slope: int, guide: str) -> None:
    """A line for each step, named at its end, and a gray one that grows with the slope."""
    axes.set(xscale="log", yscale="log")
    ends = {}
    for index, (step, line) in enumerate(points.groupby("step", sort=False)):
        look = {"color": COLORS[index], "linestyle": DASHES[index], "marker": MARKERS[index]}
        axes.plot(line[x], line["y"], **look)
        ends[step] = line[x].iloc[-1], line["y"].iloc[-1], COLORS[index]
    ticks = sorted(points[x].unique())
    low = points.groupby(x)["y"].min()
    start = 0.4 * min(low / (low.index / ticks[0]) ** slope)
    far = start * (ticks[-1] / ticks[0]) ** slope
    axes.plot([ticks[0], ticks[-1]], [start, far], color=SOFT, linewidth=1.2, linestyle=":")
    ends[guide] = ticks[-1], far, SOFT
    room = np.log10(max(end[1] for end in ends.values()) / start)
    for place in {end[0] for end in ends.values()}:  # lines that end in one place share its room
        here = {name: end for name, end in ends.items() if end[0] == place}
        heights = 10 ** spread([np.log10(end[1]) for end in here.values()], 0.065 * room)
        last = place == ticks[-1]
        for (name, end), height in zip(here.items(), heights, strict=True):
            axes.annotate(
                name, (place, height), xytext=(7, 0) if last else (6, 11), color=end[2],
                textcoords="offset points", va="center", ha="left" if last else "right",
                weight="normal" if name == guide else "bold", fontsize=10.5,
                annotation_clip=False,
            )  # fmt: skip
    axes.set_ylim(top=2 * points["y"].max())
    apart = [at for at, after in zip(ticks, [*ticks[1:], np.inf], strict=True) if after > 1.3 * at]
    axes.xaxis.set_major_locator(FixedLocator(apart))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(short))


def growing(axis: str, slope: int, guide: str, xlabel: str, ylabel: str) -> Figure | None:
    """A panel for each device."""
    if growth is None:
        return None
    points = growth[growth["axis"] == axis]
    points = points.assign(y=points["seconds"] / (points["images"] if axis == "size" else 1))
    devices = list(points.groupby("device", sort=False))
    with drawing(height=4.4 * len(devices)) as figure:
        panels = figure.subplots(len(devices), 1, squeeze=False)[:, 0]
        for axes, (_, own) in zip(panels, devices, strict=True):
            draw(axes, own, axis, slope, guide)
            axes.set(title=machine(own), xlabel=xlabel, ylabel=ylabel)
    return figure


# %% tags=["remove-input"] mystnb={"image": {"alt": "Time against the number of images, both logarithmic: a line for each attack and defense, named at its end, beside a dotted line along which twice the images take twice as long. PGD and DeepFool lie highest."}, "figure": {"name": "fig-growth-images", "caption": "More images: a line as steep as the dotted one doubles with them. A line ends where the next point would take too long."}}
growing("images", 1, "in proportion", "images of 32 × 32 pixels", "time")

# %% tags=["remove-input"] mystnb={"image": {"alt": "Time for an image against its side in pixels, both logarithmic: a line for each attack and defense, named at its end, beside a dotted line that grows as the number of pixels. PGD and DeepFool lie highest."}, "figure": {"name": "fig-growth-size", "caption": "Larger images: a line as steep as the dotted one grows as the number of pixels."}}
growing("size", 2, "as the pixels", "side in pixels", "time for an image")

# %% [markdown]
# ## Beside other libraries
#
# The same network, images and settings, in one run and in turns. A library is told the same numbers, and keeps its
# own rule for giving up; the second table says what each found. Processor time is that of one thread, which company on
# the machine does not change. torchattacks' DeepFool goes image by image and stops
# on the boundary itself, where the class often has not changed yet; its Carlini-Wagner has no search for the constant
# and cannot move pixels that are exactly 0 or 1. ART's searches the length of each step. The benchmark's head says
# more.

# %% tags=["remove-input"]
if peers is None:
    missing("attacks beside foolbox, torchattacks and ART", "attacks_vs_peers")
else:
    counts = sorted(peers["images"].unique())
    told = f"{' or '.join(map(str, counts))} MNIST images, LeNet, {machine(peers)}"
    found = peers.assign(
        outcome=[
            f"{100 * row.success:.0f} %, {row.median:.3g}" if row.success else "none"
            for row in peers.itertuples()
        ]
    )
    for values, words, name in (
        ("images_per_second", "images a second", "performance-attacks"),
        ("outcome", "share fooled, and the median size of the change", "performance-outcomes"),
    ):
        table = found.pivot(index="attack", columns="method", values=values)
        table = table.reindex(index=found["attack"].unique(), columns=found["method"].unique())
        table = table.astype(object).where(table.notna(), None).reset_index()
        report.show(table, caption=f"Attacks by library, {told}: {words}", name=name)

# %% [markdown]
# JSMA, K-means and total variation have benchmarks of their own. scikit-image has no mask for dropped pixels, and does
# less work in a whole solve.

# %% tags=["remove-input"]
WHOLE = {
    "whole": "TVM, each as by default",
    "sweep": "TVM, one sweep",
    "converged": "TVM, converged",
}


def beside(name: str, frame: pd.DataFrame) -> list[dict]:
    """Every other library's speed over washout's at the same work."""
    if name == "jsma_vs_peers":
        work = "JSMA on " + frame["outputs"]
    else:
        frame = frame[frame["threads"] == frame["threads"].max()]
        work = frame["what"].map(WHOLE) if "what" in frame else None
        if work is None:
            work = "K-means, " + frame["clusters"].astype(str) + ", start " + frame["start"]
    speed = "images_per_second" if "images_per_second" in frame else "per_second"
    lines = []
    for label, rows in frame.groupby(work, sort=False):
        ours = rows[rows["method"] == "washout"][speed].iloc[0]
        for row in rows[~rows["method"].str.startswith("washout")].to_dict("records"):
            lines.append(
                {
                    "work": label,
                    "other": row["method"],
                    "other, a second": row[speed],
                    "washout, a second": ours,
                    "times as fast": round(ours / row[speed], 2),
                }
            )
    return lines


lines = []
for name in ("jsma_vs_peers", "kmeans_vs_sklearn", "tvm_vs_skimage"):
    frame = performance.benchmark(name)
    if frame is None:
        missing(name.replace("_", " "), name)
    else:
        lines += beside(name, frame)
if lines:
    caption = "Images a second (for a sweep, sweeps over an image) beside other libraries"
    report.show(pd.DataFrame(lines), caption=caption, name="performance-beside")

# %% [markdown]
# ## The whole book
#
# Minutes are those of the rows themselves, summed, as if one came after the other. Training is told apart: a network
# is trained by the first row that needs it, or before. What waits for a row of its kind to be timed has no estimate.

# %% tags=["remove-input"]
costs = performance.costs(book, price)
if len(costs):
    table = costs.assign(chapter=costs["chapter"].str.removeprefix("chapter"))
    sums = table.groupby(["profile", "device"], sort=False)[["rows", "minutes", "training"]].sum()
    whole = sums.reset_index().assign(chapter="all")
    whole["dollars"] = (whole["minutes"] + whole["training"]) / 60 * price
    whole.loc[whole["device"].str.startswith("CPU"), "dollars"] = np.nan
    table = pd.concat([table, whole])[costs.columns].round({"minutes": 1, "training": 1})
    table = table.round({"dollars": 2}).rename(columns={"training": "minutes of training"})
    if table["dollars"].isna().all():
        table = table.drop(columns="dollars")
    report.show(table, caption="What the stored rows took", name="performance-costs")
else:
    report.not_computed("no row is stored yet", "python -m washout results")
if not len(costs) or costs["dollars"].isna().all():
    report.not_computed(
        f"no row was computed on a GPU, so there is nothing to price at ${price:g} an hour",
        "python -m washout results --profile paper --device cuda",
    )

# %% tags=["remove-input"]
left = performance.outstanding(book)
left = left[left["missing"] > 0]
left = left.assign(
    chapter=left["chapter"].str.removeprefix("chapter"),
    minutes=[
        None if row.untimed == row.missing else round(row.minutes, 1) for row in left.itertuples()
    ],
).rename(columns={"minutes": "minutes, by rows timed", "untimed": "of them not timed"})
if len(left):
    caption = "Rows that are missing, and how long they may take where such rows were computed"
    report.show(left, caption=caption, name="performance-missing")

# %% [markdown]
# ## 10,000 images in 24 hours
#
# Chapter 2's paper attacked 1,000 random test images of each dataset: all 10,000 took more than 24 hours, on a machine
# that it does not name. Here are the hours that its four attacks and its defenses take for 10,000, from the rows of
# that chapter, on the device that they were computed on. Where a row is about fewer images, its time is scaled by
# their number, as the first figure suggests; loading data and networks is scaled along, so that the defenses' hours
# are too many rather than too few. Training is left out, and so is, from the sum, the short Carlini-Wagner, which
# takes fewer steps. Which network was attacked stands beside the hours: the paper's, on CIFAR-10, is a DenseNet.

# %% tags=["remove-input"]
LIMIT = 24  # hours, the paper's
hours = performance.full_test_set(book)
for name in chapter2.AUTO:
    parts = (*chapter2.MAIN, "defenses")
    own = hours[hours["dataset"] == name].sort_values("part", key=lambda part: part == "defenses")
    absent = [part for part in parts if part not in set(own["part"])]
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
                if row.part == "defenses"
                else views.attack_name(row.part)
                for row in own.itertuples()
            ],
            "network": [views.NETS.get(row.network, row.network) for row in own.itertuples()],
            "images timed": own["images"],
            "hours for 10,000": own["hours"].round(2),
            "device": own["device"],
        }
    )
    caption = (
        f"{SETS[name]}: four attacks and the defenses take {total:.1f} hours for 10,000 images, "
        f"{100 * total / LIMIT:.0f} % of {LIMIT}"
    )
    report.show(table, caption=caption, name=f"performance-10000-{name}")
