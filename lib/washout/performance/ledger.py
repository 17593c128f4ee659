"""What the book costs, by its stored rows: minutes, money, what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

from washout import chapters, weights
from washout.chapters import chapter2
from washout.chapters.chapter2.settings import SHORT
from washout.checks import check_range
from washout.status import estimate
from washout.store import Row
from washout.study import PROFILES, Missing, Study

MACHINES = ("x86_64", "amd64", "i386", "i686", "aarch64", "arm64", "ppc64le", "riscv64")
PLACE = ["chapter", "profile", "device"]


class Entry(NamedTuple):
    """A table of a chapter's plan at one profile: its rows as stored, or missing."""

    study: Study
    table: str
    stored: list[Row]
    missing: list[Missing]


def entries() -> list[Entry]:
    """The plans of all chapters at all profiles, the best first; nothing is computed."""
    found = []
    for name in chapters.NAMES:
        for profile in PROFILES:
            study = Study(name, profile=profile, exact=True, compute=False, progress=False)
            for table, specs in chapters.get(name).plan(study):
                rows = study.table(table, specs)
                stored = [row for row in rows if isinstance(row, Row)]
                missing = [row for row in rows if isinstance(row, Missing)]
                found.append(Entry(study, table.name, stored, missing))
    return found


def timings(book: Sequence[Entry]) -> pd.DataFrame:
    """What each stored row took by itself, and what the training of networks took.

    A row's seconds may hold the training of a network that it names, or the wait for another row
    that trains it: neither counts as its own. The training counts for a row whose seconds hold all
    of it, one that names the network if there is one; else it has a line of its own.

    Returns:
        chapter, profile, device, table, row (None on a network's own line), seconds, and those of
        training.
    """
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in book:
        for row in entry.stored:
            chapter, device = entry.study.chapter, device_name(row.run["device"])
            place = {"chapter": chapter, "profile": row.profile, "device": device}
            took = {"row": row, "seconds": row.run["seconds"], "training": 0.0}
            names = set(_texts(row.values.get("weights")))
            lines[chapter, row.key] = {**place, "table": entry.table, **took, "names": names}
    apart = []
    for name, record in _records(book).items():
        named = [line for line in lines.values() if name in line["names"]]
        near = {line["chapter"] for line in named}
        most = 0.999 * record["seconds"]
        around = [line for line in lines.values() if _shared(line["row"], record) > most]
        around = [line for line in around if line["chapter"] in near]
        home = max(around, key=lambda line: (name in line["names"], line["seconds"]), default=None)
        for line in [*named, home] if home and name not in home["names"] else named:
            line["seconds"] = max(0.0, line["seconds"] - _shared(line["row"], record))
        if home:
            home["training"] += record["seconds"]
        elif named:
            on_cpu = record["device"].lower() in MACHINES
            device = f"cpu ({record['threads']} threads)" if on_cpu else record["device"]
            alone = {"row": None, "seconds": 0.0, "training": record["seconds"]}
            apart.append({**named[0], **alone, "device": device_name(device)})
    columns = [*PLACE, "table", "row", "seconds", "training"]
    return pd.DataFrame([*lines.values(), *apart], columns=columns)


def _records(book: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    folders = dict.fromkeys(folder for entry in book for folder in entry.study.weight_folders)
    return {r["hash"]: r for folder in folders for _, r in weights.records(folder)}


def _shared(row: Row, record: dict[str, Any]) -> float:
    """Seconds of the row that passed while the network was trained."""
    end, done = record["trained_at"], row.run["finished"]
    begin = max(end - record["seconds"], done - row.run["seconds"])
    return max(0.0, min(end, done) - begin)


def _texts(value: Any) -> Iterator[str]:
    """Every text in nested lists and mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def device_name(text: str) -> str:
    """``CPU, 2 threads`` for a row's ``cpu (2 threads)``; a GPU by its name."""
    name, _, inside = text.removesuffix(")").partition(" (")
    if name == "cpu":
        return f"CPU, {inside}".replace(" 1 threads", " 1 thread")
    return inside if name.startswith("cuda") else text


def costs(book: Sequence[Entry], price: float) -> pd.DataFrame:
    """What the stored rows took, and on a GPU cost, per chapter, profile and device.

    Args:
        price: of a GPU for an hour.

    Returns:
        rows; minutes without training; minutes of training; the price of both, NaN on a CPU.

    Raises:
        ValueError: a negative price.
    """
    check_range(price, 0.0, float("inf"), "price")
    lines = timings(book)
    lines["rows"] = lines["row"].notna().astype(int)
    lines["minutes"], lines["training"] = lines["seconds"] / 60, lines["training"] / 60
    sums = lines.groupby(PLACE, sort=False)[["rows", "minutes", "training"]].sum().reset_index()
    dollars = (sums["minutes"] + sums["training"]) / 60 * price
    return sums.assign(dollars=dollars.where(~sums["device"].str.startswith("CPU").astype(bool)))


def outstanding(book: Sequence[Entry]) -> pd.DataFrame:
    """What each chapter lacks at each profile, and how long that may take.

    Returns:
        chapter, profile; rows that are stored and missing (stale ones too); minutes for those of
        which a row about the same data was timed, and how many ``untimed`` others there are.
    """
    lines = []
    for study, _, stored, missing in book:
        seconds, untimed = estimate(stored, [row.spec for row in missing])
        counts = {"stored": len(stored), "missing": len(missing), "untimed": untimed}
        place = {"chapter": study.chapter, "profile": study.profile}
        lines.append({**place, **counts, "minutes": seconds / 60})
    columns = ["chapter", "profile", "stored", "missing", "minutes", "untimed"]
    return pd.DataFrame(lines, columns=columns).groupby(columns[:2], sort=False).sum().reset_index()


def full_test_set(book: Sequence[Entry], images: int = 10_000) -> pd.DataFrame:
    """What chapter 2's attacks and defenses take for a whole test set, without training.

    Each row is scaled by its number of images; of several, the one about the most images counts.

    Returns:
        By dataset, network, part (an attack's label, or ``defenses``: clean and attacked images
        through every column of Figure 6) and device: rows, images in the smallest, hours.
    """
    by = ["dataset", "network", "part", "device"]
    best: dict[tuple[str, ...], dict[str, Any]] = {}
    lines = timings([e for e in book if e.study.chapter == "chapter2"]).dropna(subset="row")
    for line in lines[lines["table"].isin(["attack", "cell"])].to_dict("records"):
        spec, n = line["row"].spec, line["row"].values["n"]
        attack, defense = spec["attack"], spec.get("defense", "")
        usual = (*chapter2.MAIN, *((chapter2.CLEAN,) if defense else SHORT.values()))
        known = defense in ("", *chapter2.columns(spec["dataset"]))
        if attack not in usual or not known or "-" in spec["net"]:
            continue
        key = spec["dataset"], spec["net"], "defenses" if defense else attack, line["device"]
        cell = spec["dataset"], attack, defense
        if cell not in best or n > best[cell]["images"]:
            hours = line["seconds"] / n * images / 3600
            best[cell] = {**dict(zip(by, key, strict=True)), "rows": 1, "images": n, "hours": hours}
    how = {"rows": "sum", "images": "min", "hours": "sum"}
    frame = pd.DataFrame(best.values(), columns=[*by, *how])
    return frame.groupby(by, sort=False).agg(how).reset_index()
