"""Rows that fail: told in a line, and noted, so that no process of a run tries them twice."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from washout.files import Busy, write_whole


class Failed(Exception):
    """A row failed, or what it needs; the text says which and why, in a line."""


@contextmanager
def noting(path: Path, run: float | None, what: str) -> Iterator[None]:
    """Tell an exception in a line and note it.

    Args:
        path: the note's file.
        run: when the run began, which is its name; None leaves exceptions as they are.
        what: what is being made, in words.

    Raises:
        Failed: in the place of an exception; at once, if it was noted earlier in the run.
    """
    if run is None:
        yield
        return
    if known := noted(path, run):
        raise Failed(known)
    why = ""
    try:
        yield
    except Busy:
        raise
    except Failed as error:
        why = f"needs {error}"
    except Exception as error:
        why = _reason(error)
    if not why:
        path.unlink(missing_ok=True)
        return
    line = f"{what}: {why}"
    write_whole(path, json.dumps({"run": run, "line": line}).encode())
    tell(line)
    raise Failed(line)


def noted(path: Path, run: float | None) -> str:
    """The line that was noted in this run, or nothing."""
    if run is None or not path.is_file():
        return ""
    note = json.loads(path.read_text())
    return note["line"] if note["run"] == run else ""


def tell(line: str) -> None:
    """Print why something failed, past any bar."""
    tqdm.write(f"failed: {line}\n", file=sys.stderr, end="")  # at once, as others write too


def _reason(error: Exception) -> str:
    """An exception's type and message, and where it came from."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    place = f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"
    return f"{type(error).__name__}: {text} ({place})"
