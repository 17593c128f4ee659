"""Folders that lie elsewhere: at any address that fsspec knows, such as ``s3://bucket/rows``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from washout.moving.parts import MANIFEST


def is_address(place: str) -> bool:
    """Whether it names something else than a folder of this machine."""
    return "://" in place


@contextmanager
def fetched(place: str) -> Iterator[Path]:
    """A folder with what lies at ``place``: itself, or a copy for as long as it is needed.

    Raises:
        ValueError: an address that fsspec cannot open or where nothing is.
    """
    if not is_address(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory() as work:
        files, root = _opened(place)
        try:
            names = files.find(root)
            for name in names:
                target = Path(work) / name.removeprefix(root).lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                files.get_file(name, str(target))
        except Exception as error:  # each file system raises its own
            raise ValueError(
                f"{place}: cannot be read ({error}); is it there, and yours?"
            ) from error
        if not names:
            raise ValueError(f"{place}: nothing is there; name what `pack` was given")
        yield Path(work)


@contextmanager
def sent(place: str) -> Iterator[Path]:
    """A folder to write to, which lies at ``place`` or is copied there in the end.

    The manifest is copied last: where it is, the parts are.

    Raises:
        ValueError: an address that fsspec cannot open or write to, or which holds parts already.
    """
    if not is_address(place):
        yield Path(place)
        return
    files, root = _opened(place)
    with tempfile.TemporaryDirectory() as work:
        _empty(files, root, place)
        yield Path(work)
        made = sorted(path for path in Path(work).rglob("*") if path.is_file())
        try:
            for path in sorted(made, key=lambda path: path.name == MANIFEST):
                target = f"{root}/{path.relative_to(work)}"
                files.makedirs(target.rpartition("/")[0], exist_ok=True)
                files.put_file(str(path), target)
        except Exception as error:
            raise ValueError(f"{place}: cannot be written to ({error})") from error


def _opened(place: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(place)
    except Exception as error:  # no such kind, no package for it, no access
        raise ValueError(
            f"place: got {place!r}, which fsspec cannot open ({error}); allowed are folders and "
            "addresses such as s3://bucket/rows, with the package that fsspec asks for"
        ) from error
    return files, root.rstrip("/")


def _empty(files: Any, root: str, place: str) -> None:
    try:
        there = files.find(root) if files.exists(root) else []
    except Exception as error:
        raise ValueError(f"{place}: cannot be looked into ({error})") from error
    if there:
        raise ValueError(f"{place} holds files already; name an empty place, or remove them")
