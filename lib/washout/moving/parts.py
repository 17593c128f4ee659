"""Archives in parts of a given size, with a manifest of their checksums.

``cat part-* | tar xz`` unpacks one on any machine.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from washout.checks import check_range
from washout.files import write_whole

MIB = 2**20
MANIFEST = "manifest.json"


class Parts(io.RawIOBase):
    """A stream that is cut into files of at most ``size`` bytes, each written whole."""

    def __init__(self, folder: Path, size: int):
        self.folder, self.size = folder, size
        self.waiting = bytearray()
        self.sums: dict[str, str] = {}

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.waiting += content
        while len(self.waiting) >= self.size:
            self._out(self.size)
        return len(content)

    def _out(self, count: int) -> None:
        content, self.waiting = bytes(self.waiting[:count]), self.waiting[count:]
        name = f"part-{len(self.sums):03d}"
        write_whole(self.folder / name, content)
        self.sums[name] = hashlib.sha256(content).hexdigest()

    def close(self) -> None:
        if not self.closed and self.waiting:
            self._out(len(self.waiting))
        super().close()


def in_parts(
    folder: Path, files: Iterable[tuple[Path, str]], size: float, about: dict[str, Any]
) -> list[Path]:
    """Put files into an archive in parts of at most ``size`` MiB, and a manifest beside them.

    Args:
        folder: is made; must not hold parts already.
        files: where each lies, and its path in the archive; folders go with what is in them, links
            as what they lead to.
        about: what else the manifest says.

    Returns:
        The parts, in their order.

    Raises:
        ValueError: a bad size, or a folder that holds parts.
    """
    check_range(size, 1e-3, 1e6, "part", unit="MiB")
    if any(folder.glob("part-*")):
        raise ValueError(f"{folder} holds parts already; name an empty folder, or remove them")
    stream = Parts(folder, int(size * MIB))
    with stream, tarfile.open(fileobj=stream, mode="w|gz", dereference=True) as archive:
        for path, name in files:
            archive.add(path, name)
    manifest = {"unpack": "cat part-* | tar xz", **about, "parts": stream.sums}
    write_whole(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    return [folder / name for name in stream.sums]


def opened(folder: Path, target: Path) -> None:
    """Unpack the parts in ``folder`` into ``target``.

    Raises:
        ValueError: no manifest of parts; a part is missing or altered; no archive in them.
    """
    try:
        sums = dict(json.loads((folder / MANIFEST).read_text())["parts"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / MANIFEST} does not list parts ({error!r}); bring it again"
        ) from error
    with tempfile.TemporaryFile() as archive:
        for name, expected in sums.items():
            path = folder / name
            content = path.read_bytes() if path.is_file() else b""
            if hashlib.sha256(content).hexdigest() != expected:
                state = "altered" if content else "missing"
                raise ValueError(f"{path} is {state}; bring it again, nothing was taken")
            archive.write(content)
        archive.seek(0)
        try:
            with tarfile.open(fileobj=archive, mode="r:gz") as packed:
                packed.extractall(target, filter="data")
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(
                f"the parts in {folder} cannot be unpacked ({error}); pack them again"
            ) from error
