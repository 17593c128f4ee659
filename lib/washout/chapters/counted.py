"""Which of a paper's numbers and claims the front page counts, and why not the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatch
from importlib import import_module

from washout import papers
from washout.chapters import NAMES
from washout.report import Judgment, Verdict

# Why numbers are left out -> patterns of their ids.
LeftOut = Mapping[str, Sequence[str]]


def reason(id_: str, left_out: LeftOut) -> str:
    """Why a number or a claim is left out; empty if it counts."""
    named = (why for why, patterns in left_out.items() if any(fnmatch(id_, p) for p in patterns))
    return next(named, "")


def counted(found: Iterable[Verdict | Judgment], left_out: LeftOut) -> list[Verdict | Judgment]:
    """Those that could have come out otherwise."""
    return [
        v
        for v in found
        if not reason(v.number.id if isinstance(v, Verdict) else v.claim.id, left_out)
    ]


def uncounted() -> list[dict[str, str | int]]:
    """A line for each chapter and reason, with how many numbers and claims it is about."""
    lines: list[dict[str, str | int]] = []
    for paper in sorted(map(papers.load, papers.names()), key=lambda paper: paper.chapter):
        if (name := f"chapter{paper.chapter}") in NAMES:
            left_out = import_module(f"washout.chapters.{name}.score").LEFT_OUT
            why = [reason(id_, left_out) for id_ in (*paper.numbers, *paper.claims)]
            lines += [
                {"chapter": paper.chapter, "why": text, "how many": why.count(text)}
                for text in left_out
            ]
    return lines
