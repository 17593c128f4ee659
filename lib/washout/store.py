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
import re
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
    return _short(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode())


def _short(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def words(spec: Spec) -> str:
    """What a row is about, for people."""
    return ", ".join(f"{name} {value}" for name, value in spec.items())


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


# Where a line, as ``Row.line`` writes it, says what its row is about.
_ABOUT = re.compile(
    rb',"profile":("[^"]*"),"run":\{[^{}]*(?:\{[^{}]*\})?[^{}]*\},"spec":(\{.*?\}),'
    rb'"table":("[^"]*"),"values":\{'
)


def _key_of(line: bytes) -> str | None:
    """The key of a line's row without parsing it; None if only parsing can tell."""
    about = _ABOUT.search(line)
    if about is None or line.count(b'"spec":') != 1 or not line.endswith(b"}}"):
        return None
    profile, spec, table = about.groups()
    return _short(b"[%b,%b,%b]" % (table, profile, spec))


class Rows(Mapping[str, Row]):
    """A table's rows by key, parsed when they are asked for: few of a large table are."""

    def __init__(self, path: Path):
        self.path = path
        self.order: list[str] = []  # of the file's lines, superseded ones included
        self._found: dict[str, bytes | Row] = {}

    def extended(self, content: bytes) -> Rows:
        """These rows and those of more lines."""
        more = Rows(self.path)
        more.order, more._found = list(self.order), dict(self._found)
        for line in content.splitlines():
            key = _key_of(line)
            found: bytes | Row = line
            if key is None:
                found = row = more._parsed(line)
                key = row.key
            more.order.append(key)
            more._found[key] = found
        return more

    @property
    def parsed(self) -> int:
        """How many rows were asked for."""
        return sum(isinstance(found, Row) for found in self._found.values())

    def __getitem__(self, key: str) -> Row:
        found = self._found[key]
        if isinstance(found, bytes):
            found = self._found[key] = self._parsed(found, key)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def _parsed(self, line: bytes, key: str = "") -> Row:
        try:
            return Row(**json.loads(line))
        except (ValueError, TypeError) as error:
            behind = self.order[::-1].index(key) if key else -1
            raise ValueError(
                f"{self.path}, line {len(self.order) - behind}: not a stored row ({error}); remove "
                "the line, and the row is computed again"
            ) from error


@dataclass
class _File:
    """What is known of a file of rows, so that no line is parsed twice.

    A file that did not change is not read again; one that did is read whole, and hashed, to see
    that the lines known before are still its first.

    Attributes:
        stamp: inode, size and time of change, when it was read last.
        length: bytes up to the end of the last whole line.
        digest: of these bytes.
    """

    stamp: tuple[int, int, int]
    length: int
    digest: bytes
    rows: Rows


_known: dict[Path, _File] = {}


def _read(path: Path) -> Rows:
    """The rows of a file: as known if it did not change, or the new ones behind the known."""
    try:
        with path.open("rb") as file:  # a shared disk may tell of another machine's lines late
            stat = os.fstat(file.fileno())
            stamp = stat.st_ino, stat.st_size, stat.st_mtime_ns
            known = _known.get(path)
            if known and known.stamp == stamp:
                return known.rows
            content = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return Rows(path)
    length = content.rfind(b"\n") + 1  # what comes behind was torn by a kill: it was never stored
    same = known and hashlib.sha256(content[: known.length]).digest() == known.digest
    start, rows = (known.length, known.rows) if known and same else (0, Rows(path))
    rows = rows.extended(content[start:length])
    _known[path] = _File(stamp, length, hashlib.sha256(content[:length]).digest(), rows)
    return rows


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

    def rows(self, table: str) -> Rows:
        """The table's rows by key as they are now; the last of several with one key counts."""
        return _read(self.path(table))

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
            found = self.rows(table)
            order = sorted(found.values(), key=lambda row: (row.profile, json.dumps(row.spec)))
            if [row.key for row in order] != found.order:
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
