"""What made a row: device, libraries, commit."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from washout.paths import project_root

COMMIT = ".commit"  # in the project's folder, where it came without git


def device_name(device: str) -> str:
    """``cuda (NVIDIA H200)``, or ``cpu (2 threads)``."""
    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)"


def versions() -> dict[str, str]:
    """Of the libraries that results depend on; recorded, but no reason to compute again."""
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy")},
    }


@cache
def commit() -> str:
    """The checkout's commit at the first call, ``+`` if files differ from it or are new.

    Where there is no git, it is what ``python -m washout bundle`` wrote down, or ``unknown``, as in
    a reader's own repository, which says nothing about an installed package.
    """
    root = project_root()

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        if (root / COMMIT).is_file() and not (root / ".git").exists():
            return (root / COMMIT).read_text().strip()
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return "unknown"
        git("ls-files", "--error-unmatch", "--", "lib/washout/__init__.py")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "lib", "book")
        changed += git("ls-files", "--others", "--exclude-standard", "--", "lib/*.py")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
