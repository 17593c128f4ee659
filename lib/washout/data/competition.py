"""The tables of the NIPS 2017 competition: its CSV, and the names of the 1,001 classes."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

CLASSES = 1001  # ImageNet's 1,000 after the background, 0


@dataclass(frozen=True)
class Entry:
    """One line of the CSV.

    Attributes:
        id: what its file is called, without the suffix.
        url: where the photograph was.
        box: x1, y1, x2, y2 of the crop as fractions of the photograph's width and height.
        label: the true class, 0 to 1,000.
        target: the class that a targeted attack aims at.
        page: the photograph's page on Flickr.
        licence: the address of its licence.
        author: who took it.
    """

    id: str
    url: str
    box: tuple[float, float, float, float]
    label: int
    target: int
    page: str
    licence: str
    author: str


def entries(text: str, where: Path | str) -> list[Entry]:
    """The lines of the competition's CSV, checked.

    Args:
        text: the CSV's content.
        where: where it comes from, for messages.

    Raises:
        ValueError: a column is missing, or a line holds something else than it should.
    """
    found = []
    try:
        lines = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error:
        lines = []
    for number, line in enumerate(lines, start=2):
        try:
            entry = Entry(
                id=line["ImageId"],
                url=line["URL"],
                box=(float(line["x1"]), float(line["y1"]), float(line["x2"]), float(line["y2"])),
                label=int(line["TrueLabel"]),
                target=int(line["TargetClass"]),
                page=line["OriginalLandingURL"],
                licence=line["License"],
                author=_unescaped(line["Author"]),
            )
            x1, y1, x2, y2 = entry.box
            right = (
                re.fullmatch(r"\w+", entry.id)  # it becomes a file's name
                and 0 <= x1 < x2 <= 1
                and 0 <= y1 < y2 <= 1
                and all(0 <= value < CLASSES for value in (entry.label, entry.target))
            )
        except (KeyError, TypeError, ValueError):
            right = None
        if not right:
            raise ValueError(
                f"NIPS 2017: line {number} of {where} is not one of dev_dataset.csv's; delete the "
                "file and run `python -m washout fetch nips2017`, or put the original in its place"
            )
        found.append(entry)
    if not found:
        raise ValueError(
            f"NIPS 2017: {where} holds no images; delete it and run `python -m washout fetch "
            "nips2017`, or put the original in its place"
        )
    return found


def class_names(text: str, where: Path | str) -> tuple[str, ...]:
    """The 1,001 names of the classes, a line each.

    Raises:
        ValueError: another number of them, or the first is not the background.
    """
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if len(names) != CLASSES or names[0] != "background":
        raise ValueError(
            f"{where}: got {len(names):,} names; allowed are {CLASSES:,}, the first of them "
            "'background'; delete the file and run `python -m washout fetch nips2017`"
        )
    return names


def _unescaped(text: str) -> str:
    r"""The CSV has letters outside of ASCII as the octal codes of their UTF-8, such as \303\244."""

    def letters(match: re.Match[str]) -> str:
        codes = re.findall(r"\d{3}", match[0])
        return bytes(int(code, 8) for code in codes).decode("utf-8", "replace")

    return re.sub(r"(?:\\[0-3][0-7]{2})+", letters, text)
