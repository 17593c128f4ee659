"""What each paper prints: numbers, claims and errata by id, read from one TOML file a paper.

The files hold facts only. Pages take every printed number from here, so none is typed into prose;
``washout.report`` compares them with what was computed.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

from washout.checks import check_choice

UNITS = ("percent", "fraction", "count")
RELATIONS = ("=", ">=", "<=")
KINDS = {
    "direction": "one rate is higher than another: a paired test",
    "equality": "two rates are the same: the interval of their difference",
    "picture": "seen in a figure, judged by eye",
    "argument": "a property of the method, shown by using it",
}


@dataclass(frozen=True)
class Number:
    """One printed number.

    Attributes:
        id: ``paper/table/row/column``.
        value: as printed, in ``unit``.
        unit: ``percent``, ``fraction`` (both rates), or ``count`` (of ``n`` images).
        n: how many images the rate is of, as the paper says or its counts imply.
        decimals: how many the paper prints.
        where: table, figure or section.
        what: what is counted.
        relation: ``=``, or ``>=`` and ``<=`` where the paper prints a bound.
    """

    id: str
    value: float
    unit: str
    n: int
    decimals: int
    where: str
    what: str
    relation: str = "="

    @property
    def rate(self) -> float:
        """The value as a rate in [0, 1]."""
        return self.value / {"percent": 100, "fraction": 1, "count": self.n}[self.unit]

    @property
    def half_unit(self) -> float:
        """How far rounding can have moved the rate; 0 for a count, which is exact."""
        if self.unit == "count":
            return 0.0
        return 0.5 * 10**-self.decimals / (100 if self.unit == "percent" else 1)

    @property
    def printed(self) -> str:
        """The value as the paper prints it, a count with its share."""
        sign = {"=": "", ">=": "≥ ", "<=": "≤ "}[self.relation]
        if self.unit == "count":
            return f"{sign}{self.value:,.0f} ({100 * self.rate:.1f} %)"
        text = f"{sign}{self.value:.{self.decimals}f}"
        return f"{text} %" if self.unit == "percent" else text


@dataclass(frozen=True)
class Claim:
    """One claim: ``text`` in our words, ``kind`` (one of ``KINDS``) says how it is judged."""

    id: str
    kind: str
    text: str
    where: str


@dataclass(frozen=True)
class Check:
    """One line of arithmetic with a paper's own numbers.

    Attributes:
        says: what the line shows.
        expression: the arithmetic in digits.
        value: what it gives; a quotient is in percent.
        printed: the number that it should give, if it is about one.
    """

    says: str
    expression: str
    value: float
    printed: Number | None = None

    @property
    def agrees(self) -> bool | None:
        """Whether ``value`` rounds to the printed number; None without one."""
        if self.printed is None:
            return None
        return abs(self.value - self.printed.value) <= 0.5 * 10**-self.printed.decimals + 1e-9


@dataclass(frozen=True)
class Erratum:
    """Something that the paper gets wrong or leaves open, with arithmetic that proves it."""

    id: str
    where: str
    text: str
    checks: tuple[Check, ...] = ()


T = TypeVar("T")


class Ids(dict[str, T]):
    """A dict whose missing key raises a ``ValueError`` that names near matches."""

    def __missing__(self, key: str) -> T:
        near = difflib.get_close_matches(key, self, n=3, cutoff=0.4) or list(self)[:3]
        raise ValueError(f"id: got {key!r}; near ones are {', '.join(near) or 'none: no ids here'}")


@dataclass(frozen=True)
class Paper:
    """One paper, its printed numbers, claims, errata, settings and pictures by id.

    Attributes:
        key: the file's name.
        chapter: of the book.
        summary: the paper in a sentence.
        year: None where the text does not say.
        original: title, authors, links of the work that this one itself reproduces.
        settings: what the method needs, as printed, or ``not printed``.
        exhibits: figures and tables without numbers.
        quoted: what it prints of others' work, in their own units, by whose it is: shown beside
            ours and not judged.
    """

    key: str
    title: str
    authors: tuple[str, ...]
    chapter: int
    summary: str
    venue: str
    year: int | None
    links: Mapping[str, str]
    original: Mapping[str, Any]
    settings: Mapping[str, str]
    numbers: Ids[Number] = field(repr=False)
    claims: Ids[Claim] = field(repr=False)
    errata: Ids[Erratum] = field(repr=False)
    exhibits: Ids[str] = field(repr=False)
    quoted: Mapping[str, Any] = field(repr=False)


def names() -> tuple[str, ...]:
    """The papers, in the chapters' order."""
    return tuple(sorted(_stored(), key=lambda name: load(name).chapter))


def _stored() -> list[str]:
    found = (file.name for file in files(__name__).iterdir())
    return sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml"))


@cache
def load(name: str) -> Paper:
    """Read one paper.

    Raises:
        ValueError: no such paper, or its file breaks a rule (unknown unit, twice the same id, ...).
    """
    check_choice(name, _stored(), "paper")
    return parse(files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8"), name)


def parse(text: str, key: str) -> Paper:
    """A paper from the text of its TOML file.

    Numbers come in ``[[table]]`` (one by one) or ``[[grid]]`` (rows x columns, with ``{row}`` and
    ``{column}`` in its ``id``); what a group says holds for each of its numbers. How a number is
    written gives its decimals, unless ``decimals`` does.
    """
    raw = tomllib.loads(text, parse_float=Decimal)
    numbers: Ids[Number] = Ids()
    for group in raw.get("table", ()):
        shared = {k: v for k, v in group.items() if k != "numbers"}
        for id_, entry in group["numbers"].items():
            own = entry if isinstance(entry, dict) else {"value": entry}
            _add(numbers, id_, _number(id_, {**shared, **own}))
    for grid in raw.get("grid", ()):
        shared = {k: v for k, v in grid.items() if k not in ("id", "rows", "columns")}
        for row, values in grid["rows"].items():
            for column, value in zip(grid["columns"], values, strict=True):
                id_ = grid["id"].format(row=row, column=column)
                _add(numbers, id_, _number(id_, {**shared, "value": value}))
    claims: Ids[Claim] = Ids()
    for entry in raw.get("claim", ()):
        check_choice(entry["kind"], KINDS, f"kind of {entry['id']}")
        _add(claims, entry["id"], Claim(**entry))
    errata: Ids[Erratum] = Ids()
    for entry in raw.get("erratum", ()):
        checks = tuple(_check(line, numbers) for line in entry.pop("checks", ()))
        _add(errata, entry["id"], Erratum(**entry, checks=checks))
    return Paper(
        key=key,
        title=raw["title"],
        authors=tuple(raw["authors"]),
        chapter=raw["chapter"],
        summary=raw["summary"],
        venue=raw["venue"],
        year=raw.get("year"),
        links=raw.get("links", {}),
        original=raw.get("original", {}),
        settings=raw.get("settings", {}),
        numbers=numbers,
        claims=claims,
        errata=errata,
        exhibits=Ids(raw.get("exhibits", {})),
        quoted=raw.get("quoted", {}),
    )


def _add(ids: Ids[T], id_: str, item: T) -> None:
    if id_ in ids:
        raise ValueError(f"id: {id_!r} is there twice; give each number its own")
    ids[id_] = item


def _number(id_: str, entry: Mapping[str, Any]) -> Number:
    check_choice(entry["unit"], UNITS, f"unit of {id_}")
    check_choice(entry.get("relation", "="), RELATIONS, f"relation of {id_}")
    if not isinstance(entry["n"], int) or entry["n"] < 1:
        raise ValueError(f"n of {id_}: got {entry['n']}; allowed are whole numbers from 1 up")
    value = entry["value"]
    written = -int(value.as_tuple().exponent) if isinstance(value, Decimal) else 0
    number = Number(
        **{**entry, "id": id_, "value": float(value), "decimals": entry.get("decimals", written)}
    )
    if not 0 <= number.rate <= 1:
        raise ValueError(f"{id_}: got {number.printed}; allowed are rates in [0, 1]")
    return number


def _check(line: Mapping[str, Any], numbers: Ids[Number]) -> Check:
    """Resolve the terms of numerator and denominator: ids (``-id`` subtracts) and numbers."""
    above, expression = _sum(line["numerator"], numbers)
    counts = any(
        isinstance(t, str) and numbers[t.lstrip("-")].unit == "count" for t in line["numerator"]
    )
    if "denominator" in line:
        below, text = _sum(line["denominator"], numbers)
        above *= (100 if counts else 1) / below
        expression = f"({expression})" if len(line["numerator"]) > 1 else expression
        expression += f" / ({text})" if len(line["denominator"]) > 1 else f" / {text}"
    printed = numbers[line["printed"]] if "printed" in line else None
    return Check(line["says"], expression, above, printed)


def _sum(terms: Sequence[Any], numbers: Ids[Number]) -> tuple[float, str]:
    """The sum of ``terms`` and how it is written."""
    total, text = 0.0, ""
    for term in terms:
        if isinstance(term, str):
            number = numbers[term.lstrip("-")]
            value, shown = number.value, f"{number.value:.{number.decimals}f}"
            value = -value if term.startswith("-") else value
        else:
            value, shown = float(term), str(abs(term))
        total += value
        text += (" − " if value < 0 else " + " if text else "") + shown
    return total, text
