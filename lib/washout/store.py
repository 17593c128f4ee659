"""Stored rows: tidy text, one JSON object a line, one file a table.

A row is appended in one write under a file lock, so two processes can fill one table and a kill
can tear the last line at most; readers pass over a torn end and the next writer cuts it off.
Rows name their small uint8 images by content; those lie beside the tables as PNG files.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from washout.files import write_whole

Spec = dict[str, Any]


def fingerprint(*parts: Any) -> str:
    """A short name for JSON values that depends on nothing but their content."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Row:
    """One computed row.

    Attributes:
        table: the table's name.
        profile: how much was computed (``smoke``, ``laptop``, ``paper``).
        spec: what the row is about; with table and profile, its identity.
        depends: what the result depends on besides (versions, settings); if the program's own
            differ now, the row is stale.
        values: the result.
        run: what made it: device, commit, versions, seconds, finished (unix time).
    """

    table: str
    profile: str
    spec: Spec
    depends: dict[str, Any]
    values: dict[str, Any]
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return fingerprint(self.table, self.profile, self.spec)

    def line(self) -> str:
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass
class _File:
    """What is known of a file of rows, so that no line is parsed twice.

    Attributes:
        stamp: inode, size and time of change, when it was read last.
        length: bytes up to the end of the last whole line.
        digest: of these bytes.
    """

    stamp: tuple[int, int, int]
    length: int
    digest: bytes
    rows: list[Row]
    by_key: dict[str, Row]


_known: dict[Path, _File] = {}


def _read(path: Path) -> _File:
    """The rows of a file: as known if it did not change, or the new ones behind the known."""
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _File((0, 0, 0), 0, b"", [], {})
    stamp = stat.st_ino, stat.st_size, stat.st_mtime_ns
    known = _known.get(path)
    if known and known.stamp == stamp:
        return known
    content = path.read_bytes()
    length = content.rfind(b"\n") + 1  # what comes behind was torn by a kill: it was never stored
    same = known and hashlib.sha256(content[: known.length]).digest() == known.digest
    start, rows = (known.length, known.rows) if known and same else (0, [])
    new = list(_parsed(path, content[start:length], content[:start].count(b"\n")))
    every = [*rows, *new]
    by_key = {row.key: row for row in new}
    if known and same:
        by_key = {**known.by_key, **by_key}
    digest = hashlib.sha256(content[:length]).digest()
    found = _File(stamp, length, digest, every, by_key)
    _known[path] = found
    return found


def _parsed(path: Path, content: bytes, before: int) -> Iterator[Row]:
    for number, line in enumerate(content.splitlines(), before + 1):
        try:
            yield Row(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}, line {number}: not a stored row ({error}); remove the line, and the "
                "row is computed again"
            ) from error


def _writable(action: str, path: Path, error: OSError) -> ValueError:
    return ValueError(
        f"cannot {action} {path}: {error.strerror}; make the folder writable or set "
        "WASHOUT_RESULTS to one that is"
    )


class Store:
    """The rows of one chapter in one folder (``<results>/<chapter>``)."""

    def __init__(self, folder: Path):
        self.folder = folder

    def lock(self, name: str) -> FileLock:
        """A lock that the system releases when its holder dies."""
        work = self.folder / ".work"
        try:
            work.mkdir(parents=True, exist_ok=True)
            (work / f"{name}.lock").touch()
        except OSError as error:
            raise _writable("write to", work, error) from error
        return FileLock(work / f"{name}.lock")

    def path(self, table: str) -> Path:
        return self.folder / f"{table}.jsonl"

    def rows(self, table: str) -> dict[str, Row]:
        """The table's rows by key; the last of several with one key counts."""
        return dict(_read(self.path(table)).by_key)

    def append(self, row: Row) -> None:
        """Store one row at once."""
        path = self.path(row.table)
        line = (row.line() + "\n").encode()
        with self.lock(row.table):
            try:
                with open(path, "ab+") as file:
                    self._cut_torn_end(file)
                    file.write(line)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise _writable("write", path, error) from error

    @staticmethod
    def _cut_torn_end(file: io.BufferedRandom) -> None:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        file.seek(0, os.SEEK_END)

    def tidy(self, table: str) -> None:
        """Drop superseded rows and sort the rest, so that a rerun changes few lines."""
        with self.lock(table):
            found = _read(self.path(table))
            order = sorted(
                found.by_key.values(), key=lambda row: (row.profile, json.dumps(row.spec))
            )
            if order != found.rows:
                write_whole(self.path(table), "".join(f"{r.line()}\n" for r in order).encode())

    def tables(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.jsonl"))

    def save_images(self, images: np.ndarray) -> dict[str, Any]:
        """Write uint8 images (N, H, W) or (N, H, W, 3) as one PNG; return the reference to it."""
        flat = np.ascontiguousarray(images.reshape(-1, *images.shape[2:]))
        buffer = io.BytesIO()
        Image.fromarray(flat).save(buffer, format="PNG", optimize=True)
        name = hashlib.sha256(buffer.getvalue()).hexdigest()[:16] + ".png"
        write_whole(self.folder / "images" / name, buffer.getvalue())
        return {"png": name, "shape": list(images.shape)}

    def load_images(self, reference: Mapping[str, Any]) -> np.ndarray:
        """The uint8 images that ``save_images`` returned ``reference`` for."""
        path = self.folder / "images" / reference["png"]
        with Image.open(path) as image:
            return np.asarray(image).reshape(reference["shape"])
