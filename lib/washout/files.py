"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

UNFINISHED = ".unfinished"  # ends names of files that are being written; git ignores them
DAY = 86_400.0  # seconds


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, so that readers and kills see the old file or the new one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(UNFINISHED, f".{path.name}.", path.parent)
    except OSError as error:
        raise ValueError(
            f"cannot write {path}: {error.strerror}; make the folder writable or name another one "
            "(WASHOUT_RESULTS for rows, WASHOUT_WEIGHTS for weights)"
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def sweep(folder: Path, age: float = DAY) -> None:
    """Remove what kills left of files that were being written, in a folder and all below it.

    Args:
        age: seconds since the last change; what is younger may be at work.
    """
    for path in folder.rglob(f".*{UNFINISHED}"):
        with suppress(OSError):  # another process sweeps too, or the file is not ours
            if time.time() - path.stat().st_mtime >= age:
                path.unlink()


class Busy(Exception):
    """Another process is making what was asked for, and the caller does not wait."""
