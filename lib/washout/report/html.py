"""How pages show a table: readable on a phone, with its CSV and where its numbers come from.

Looks are in ``book/_static/washout.css``; without it (in a notebook) the tables stay readable.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from numbers import Integral, Real
from typing import Any

import pandas as pd

# A verdict is told by its word and its sign; color only repeats it.
SIGNS = {
    "reproduced": "✓",
    "close": "≈",
    "not reproduced": "✗",
    "not comparable": "≠",
    "not computed": "…",
    "holds": "✓",
    "contradicted": "✗",
    "undecided": "?",
}


LONG = 34  # characters from which a cell holds a sentence


class _Shown:
    """Something with an HTML and a plain-text form."""

    def __init__(self, html: str, text: str):
        self.html, self.text = html, text

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def _display(html: str, text: str) -> None:
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:
        print(text)
        return
    if get_ipython() is None:
        print(text)
    else:
        display(_Shown(html, text))


def show(
    table: pd.DataFrame,
    *,
    caption: str,
    name: str,
    rows: Iterable[Any] = (),
    data: pd.DataFrame | None = None,
) -> None:
    """Show a table with its caption, a link to its CSV, and where its numbers come from.

    Args:
        caption: what the table says, in a sentence.
        name: of the CSV file, without ending: letters, digits, ``-``, ``_``, ``.``.
        rows: the stored rows that the table was made from, for the line on provenance.
        data: what the CSV holds, if not the table itself (``tidy`` beside ``compare``).
    """
    rows = list(rows)
    text = "\n".join([caption, table.to_string(index=False), provenance(rows)])
    _display(table_html(table, caption=caption, name=name, rows=rows, data=data), text)


def table_html(
    table: pd.DataFrame,
    *,
    caption: str,
    name: str,
    rows: Iterable[Any] = (),
    data: pd.DataFrame | None = None,
) -> str:
    """The HTML of ``show``."""
    if not re.fullmatch(r"[\w.-]+", name):
        raise ValueError(f"name: got {name!r}; allowed are letters, digits, '-', '_', '.'")
    head = "".join(f'<th scope="col">{escape(str(c))}</th>' for c in table.columns)
    body = "".join(f"<tr>{_cells(row)}</tr>" for row in table.itertuples(index=False, name=None))
    # A first column of sentences scrolls away on a phone; one of short labels stays in view.
    long = len(table.columns) and table.iloc[:, 0].map(lambda value: len(str(value))).max() > LONG
    kind = "dataframe washout washout-wide" if long else "dataframe washout"
    csv = (table if data is None else data).to_csv(index=False).encode()
    link = "data:text/csv;base64," + base64.b64encode(csv).decode()
    source = provenance(rows)
    # The class "dataframe" keeps the book's dark mode from painting the table white.
    return (
        f'<div class="washout-table"><div class="washout-scroll" style="overflow-x:auto" '
        f'tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="{kind}"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        f'<p class="washout-source"><a download="{name}.csv" href="{link}">'
        f"Download {name}.csv</a>{' · ' + escape(source) if source else ''}</p></div>"
    )


def _cells(row: Sequence[Any]) -> str:
    first, *others = (_cell(value) for value in row)
    return f'<th scope="row">{first[0]}</th>' + "".join(
        f'<td class="{kind}">{text}</td>' for text, kind in others
    )


def _cell(value: Any) -> tuple[str, str]:
    """A cell's HTML and the class that aligns it."""
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return "–", "washout-number"
    if isinstance(value, str):
        if value in SIGNS:
            return badge(value), "washout-verdict"
        if re.search(r"[\d%)] \[[^]]*\]$", value):  # may break before its interval
            rate, interval = (part.replace(" ", "\u00a0") for part in value.rsplit(" [", 1))
            return f"{escape(rate)} [{escape(interval)}", "washout-interval"
        return escape(value), "washout-text" if len(value) > LONG else "washout-short"
    if isinstance(value, bool):
        return ("yes" if value else "no"), "washout-short"
    if isinstance(value, Integral):
        return f"{int(value):,}", "washout-number"
    if isinstance(value, Real):
        number = float(value)  # a column of counts turns to floats where one is missing
        whole = number.is_integer() or abs(number) >= 1000
        text = f"{number:,.0f}" if whole else f"{number:.4g}"
        return text.replace("-", "−"), "washout-number"
    return escape(str(value)), "washout-short"


def badge(word: str) -> str:
    """A verdict's word with its sign, as HTML."""
    kind = word.replace(" ", "-")
    return (
        f'<span class="washout-badge washout-{kind}">'
        f'<span aria-hidden="true">{SIGNS[word]}</span> {word}</span>'
    )


def not_computed(what: str, command: str) -> None:
    """Say that something is not computed, and the command that computes it."""
    html = (
        f'<div class="washout-missing"><p>{badge("not computed")} {escape(what)}. '
        f"This command computes it:</p><pre>{escape(command)}</pre></div>"
    )
    _display(html, f"not computed: {what}\n    {command}")


def provenance(rows: Iterable[Any]) -> str:
    """One line on what made the rows: profile, device, n, seed, commit, when.

    Args:
        rows: stored rows; rows that are missing (they have no ``values``) are counted.
    """
    rows = list(rows)
    stored = [row for row in rows if getattr(row, "values", None) is not None]
    parts = [
        _distinct("profile", _found(stored, "profile")),
        _distinct("", _found(stored, "device")),
        _distinct("n", _found(stored, "n")),
        _distinct("seed", _found(stored, "seed")),
        _distinct("commit", _found(stored, "commit")),
        _when(_found(stored, "finished")),
    ]
    if len(stored) < len(rows):
        parts.append(f"{len(rows) - len(stored)} of {len(rows)} rows not computed")
    return " · ".join(part for part in parts if part)


def _found(rows: Iterable[Any], key: str) -> list[Any]:
    """The values under ``key``, wherever the rows keep it, without repetitions."""
    found = []
    for row in rows:
        places = [getattr(row, name, None) for name in ("run", "values", "spec", "depends")]
        value = getattr(row, key, None)
        for place in places:
            if value is None and isinstance(place, Mapping):
                value = place.get(key)
        if value is not None and value not in found:
            found.append(value)
    return found


def _distinct(name: str, values: Sequence[Any]) -> str:
    if not values:
        return ""
    numeric = all(isinstance(value, Real) for value in values)
    values = sorted(values) if numeric else values
    words = [f"{v:,}" if isinstance(v, Integral) else str(v) for v in values]
    text = f"{words[0]} to {words[-1]}" if numeric and len(words) > 3 else ", ".join(words)
    return f"{name} {text}".strip()


def _when(values: Sequence[Any]) -> str:
    days = sorted({_day(value) for value in values})
    if not days:
        return ""
    return f"computed {days[0]}" + (f" to {days[-1]}" if len(days) > 1 else "")


def _day(value: float | str) -> str:
    if isinstance(value, str):
        return value[:10]
    return datetime.fromtimestamp(value, UTC).date().isoformat()
