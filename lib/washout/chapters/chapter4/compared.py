"""Differences with their intervals: areas of two detectors, images attacked and clean."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from washout.chapters.chapter4.pools import Found, untrained
from washout.chapters.chapter4.settings import CLEAN, MAIN
from washout.metrics import paired_interval
from washout.report.verdicts import CLOSE


class Area(NamedTuple):
    """An area under a ROC curve with its 95 % interval."""

    value: float
    low: float
    high: float


def area(group: Found, label: str, kind: str, pool: str = "B", **more: Any) -> Area | None:
    """A detector's area, if it is stored, has images in the pool, and was trained."""
    row = group.detector(label, kind, **more)
    part = {} if row is None or untrained(row) else row.values.get(pool, {})
    return Area(part["auc"], part["auc_low"], part["auc_high"]) if "auc" in part else None


def areas(group: Found, kind: str, pool: str = "B", **more: Any) -> str:
    """The areas for all three attacks in words."""
    row = group.detector(MAIN[0], kind, **more)
    if row is not None and untrained(row):
        return "not trained"
    found = [area(group, label, kind, pool, **more) for label in MAIN]
    return " / ".join("–" if one is None else f"{one.value:.3f}" for one in found)


def difference(one: Area | None, other: Area | None) -> tuple[float, float] | None:
    """The 95 % interval of one area less another, taken as if they were independent.

    Both are over the same images, which makes the true one narrower.

    Source: G. Y. Zou & A. Donner (2008), "Construction of confidence limits about effect
    measures": each limit from the distances of the two intervals' ends.
    """
    if one is None or other is None:
        return None
    gap = one.value - other.value
    low = gap - math.hypot(one.value - one.low, other.high - other.value)
    return low, gap + math.hypot(one.high - one.value, other.value - other.low)


class Against(NamedTuple):
    """Attacked images through the autoencoder, less the same images clean, in points of 100."""

    points: float
    low: float
    high: float
    word: str


def against_clean(group: Found) -> dict[str, Against]:
    """By attack, over pool B: the same up to five points (``holds``), or not."""
    ae, found = f"ae{group.width}", {}
    clean = group.read(CLEAN, ae)
    for label in group.attacks:
        bits, pool = group.read(label, ae), group.pool(label, "B")
        if bits is None or clean is None or pool is None or not pool.any():
            continue
        clean = clean[: len(pool)]
        won, lost = int((bits & ~clean)[pool].sum()), int((~bits & clean)[pool].sum())
        low, high = paired_interval(won, lost, int(pool.sum()))
        word = "undecided"
        if low > -CLOSE and high < CLOSE:
            word = "holds"
        elif high < -CLOSE or low > CLOSE:
            word = "contradicted"
        found[label] = Against(100 * (won - lost) / pool.sum(), 100 * low, 100 * high, word)
    return found
