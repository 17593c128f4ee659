"""Check the built site: ``python book/check_site.py`` prints one line a fault and exits with 1.

A page of the table of contents that is missing, a page that nothing made in this build, a
traceback or error output, a link or anchor inside the site that leads nowhere, an image without a
description.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup

BOOK = Path(__file__).resolve().parent
MADE_BY_SPHINX = ("genindex.html", "search.html", "py-modindex.html", "_modules/", "_static/")
ERROR_OUTPUT = ".output.traceback, .output.stderr"


def pages(toc: Path) -> list[str]:
    """The table of contents' pages, without suffix, the landing page first."""

    def below(entry: dict) -> Iterator[str]:
        for name in ("root", "file"):
            if name in entry:
                yield entry[name]
        for name in ("parts", "chapters", "sections"):
            for child in entry.get(name, ()):
                yield from below(child)

    return list(below(yaml.safe_load(toc.read_text(encoding="utf-8"))))


def faults(html: Path, expected: list[str]) -> Iterator[str]:
    """One line for each fault of the site in ``html``, which should have the pages ``expected``."""
    for name in ["index", *expected]:
        if not (html / f"{name}.html").is_file():
            yield f"{name}.html: missing; the build made no such page"
    found = {path.relative_to(html).as_posix(): path for path in sorted(html.rglob("*.html"))}
    soups = {
        name: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for name, path in found.items()
        if not name.startswith("_static/")
    }
    anchors = {
        name: {tag["id"] for tag in soup.find_all(id=True)}
        | {tag["name"] for tag in soup.find_all("a", attrs={"name": True})}
        for name, soup in soups.items()
    }
    allowed = {f"{name}.html" for name in ["index", *expected]}
    for name, soup in soups.items():
        if name not in allowed and not name.startswith(MADE_BY_SPHINX):
            yield f"{name}: left over from another build; remove _build/html and build again"
        yield from _content(name, soup)
        yield from _links(name, soup, html, anchors)


def _content(name: str, soup: BeautifulSoup) -> Iterator[str]:
    outputs = soup.select(ERROR_OUTPUT)
    for output in outputs:
        lines = output.get_text().strip().splitlines() or [""]
        yield f"{name}: a cell printed an error: {lines[-1][:120]}"
    article = soup.find("article") or soup
    if not outputs and "Traceback (most recent call last)" in article.get_text():
        yield f"{name}: shows a traceback"
    for image in soup.find_all("img"):
        text = image.get("alt")
        described = text is not None and (text.strip() or image.find_parent("article") is None)
        if not described or re.search(r"\.(png|svg|jpe?g|gif)$", text):
            yield f"{name}: image without a description: {image.get('src', '')[:80]}"


def _links(
    name: str, soup: BeautifulSoup, html: Path, anchors: dict[str, set[str]]
) -> Iterator[str]:
    for tag in soup.find_all(["a", "link", "script", "img", "source"]):
        target = tag.get("href") or tag.get("src") or ""
        parts = urlsplit(target)
        if parts.scheme or parts.netloc or not target:
            continue
        path = (html / name).parent / unquote(parts.path) if parts.path else html / name
        path = path.resolve()
        if path.is_dir():
            path /= "index.html"
        if not path.is_file():
            yield f"{name}: link to {target}, which is not there"
            continue
        inside = path.relative_to(html.resolve()).as_posix()
        fragment = unquote(parts.fragment)
        if fragment and inside in anchors and fragment not in anchors[inside]:
            yield f"{name}: link to {target}, which has no such anchor"


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--html", type=Path, default=BOOK.parent / "_build" / "html")
    parser.add_argument("--toc", type=Path, default=BOOK / "_toc.yml")
    arguments = parser.parse_args(words)
    expected = pages(arguments.toc)
    found = list(dict.fromkeys(faults(arguments.html, expected)))
    print("\n".join(found) or f"{arguments.html}: {len(expected)} pages, no fault")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
